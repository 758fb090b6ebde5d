"""The speed of this package by network and by size is drawn as tabled, and its caption names who misses a bar."""

from __future__ import annotations

import numpy as np
from figure_rows import ROUNDS, drawn, said_of
from figure_rows import full as full

from figures import speed
from repro.measures import BACKPROPAGATION, FORWARD_GRADIENT
from repro.results import Results


def test_speed_by_network_is_drawn_as_tabled(full: Results) -> None:
    table = speed.select(full)
    limit, plain, backpropagation = drawn(speed, table).axes[:3]
    expected = {
        (limit, "limit", BACKPROPAGATION): 5 / 8,
        (limit, "limit", FORWARD_GRADIENT): 7 / 8,
        (plain, "plain", FORWARD_GRADIENT): 0.5,
        (backpropagation, "backpropagation", f"plain {FORWARD_GRADIENT}"): 1.0,
    }
    for (axes, panel, series), value in expected.items():
        rows = table[(table["panel"] == panel) & (table["series"] == series)]
        assert len(rows) == 12  # four networks, three optimizers
        np.testing.assert_allclose(rows["y"], value)
        np.testing.assert_allclose(rows["low"], value)
        assert any(np.array_equal(np.sort(e.get_xdata()), np.sort(rows["x"])) for e in axes.lines)
    assert table[table["kind"] == "guide"]["y"].tolist() == [1.0, 1.8]
    assert "n=12 rounds" in said_of(limit)
    labels = [label.get_text() for label in limit.get_xticklabels()]
    assert labels[:3] == ["S\n", "N\nlogistic", "A\n"]
    assert limit.get_xlabel() == "S: SGD, N: Nesterov, A: Adam"


def test_the_caption_of_speed_names_who_misses_a_bar(full: Results) -> None:
    table = speed.select(full)
    kept = speed.caption(table)
    assert "single-tangent step over a backpropagation step: at most 1.8, kept by all." in kept
    slow = (table["panel"] == "backpropagation") & (table["note"] == "mlp, SGD")
    missed = speed.caption(table.assign(y=table["y"].where(~slow, 2.03)))
    assert "at most 1.8, missed by MLP with SGD (2.03)." in missed


def test_speed_by_size_is_drawn_as_tabled(full: Results) -> None:
    table = speed.select(full)
    rate = 1 / (8e-3 * (1 + (ROUNDS - 1) / 200))
    for panel, series, note, xs, factors in (
        ("replicas", BACKPROPAGATION, "logistic", [1, 4, 16], [1, 4, 16]),
        ("replicas", BACKPROPAGATION, "mlp", [1, 4, 16], [1, 1, 1]),
        ("tangents", FORWARD_GRADIENT, "mlp", [1, 2, 4], [1, 1 / 2, 1 / 4]),
        ("tangents", f"plain {FORWARD_GRADIENT}", "mlp", [1, 2, 4], [1 / 2, 1 / 4, 1 / 8]),
        ("depth", f"plain {BACKPROPAGATION}", "mlp", [1, 4, 16], [1 / 2, 1 / 8, 1 / 32]),
    ):
        rows = table[(table["panel"] == panel) & (table["series"] == series)]
        rows = rows[rows["note"] == note].sort_values("x")
        assert rows["x"].tolist() == xs
        np.testing.assert_allclose(rows["y"], rate * np.array(factors), rtol=1e-3)

"""Flügel et al. 2024 on functions: estimates against theory, lowest values by dimension and angle, projection against mean."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from figure_rows import DIMENSIONS, cells, drawn, line, lowest, make, said_of, text
from figure_rows import empty as empty
from figure_rows import full as full

import figures
from figures import (
    fluegel2024_fig3,
    fluegel2024_fig4,
    fluegel2024_fig5,
    fluegel2024_projection,
    fluegel2024_runs,
    fluegel2024_seed0,
    selection,
)
from repro.measures import BACKPROPAGATION
from repro.results import Results


def test_the_caption_says_what_is_left_of_the_error_of_the_projection(full: Results) -> None:
    table = fluegel2024_fig3.select(full)
    assert fluegel2024_fig3.caption(table).endswith("the projection's error is at most 0.09.")
    none = table.assign(y=0.0)
    assert "error is exactly 0" in fluegel2024_fig3.caption(none)


def test_estimates_are_drawn_as_tabled(full: Results) -> None:
    table = fluegel2024_fig3.select(full)
    rows = table[(table["panel"] == "norm_ratio") & (table["kind"] == "mean")]
    ours = rows[rows["series"] == "projection"]
    assert ours["x"].tolist() == [4, 16, 64]
    np.testing.assert_allclose(ours["y"], [1.0, 0.25, 0.0625])
    np.testing.assert_allclose(ours["high"] - ours["y"], 1.96 * 0.2 / ours["x"] / 10)
    assert set(ours["n"]) == {100}
    cosine, length, *_ = figure = drawn(fluegel2024_fig3, table).axes
    np.testing.assert_array_equal(line(length, "projection").get_ydata(), ours["y"])
    assert cosine.get_title() == "Cosine, n = 64"
    assert said_of(cosine).startswith("All panels: 100 draws\n")
    by_dimension = table[(table["panel"] == "cosine by dimension") & (table["series"] == "mean")]
    assert by_dimension["x"].tolist() == [16, 64, 128]
    assert len(line(figure[3], "mean, unit length").get_xdata()) == 3


def test_theory_of_several_tangents() -> None:
    # one coordinate of a unit vector in the plane: the mean of |cos| is 2/pi; two of three: pi/4
    assert fluegel2024_fig3.expected_cosine(1, 2) == pytest.approx(2 / math.pi)
    assert fluegel2024_fig3.expected_cosine(2, 3) == pytest.approx(math.pi / 4)
    assert fluegel2024_fig3.expected_cosine(5, 5) == fluegel2024_fig3.expected_cosine(9, 5) == 1.0
    generator = np.random.default_rng(0)
    k, n, draws = 3, 8, 20_000
    tangents = generator.normal(size=(draws, k, n))
    mean = tangents.sum(-1)[:, None] @ tangents / k / math.sqrt(n)
    basis = np.linalg.qr(tangents.swapaxes(1, 2))[0]
    projection = (basis @ (basis.swapaxes(1, 2).sum(-1))[..., None])[..., 0] / math.sqrt(n)
    unit = np.full(n, 1 / math.sqrt(n))
    for method, found in (
        ("mean", mean[:, 0]),
        ("sum", k * mean[:, 0]),
        ("projection", projection),
    ):
        squares = {"norm_ratio": found, "relative_error": found - unit}
        for metric, values in squares.items():
            sample = np.square(values).sum(-1)
            expected = fluegel2024_fig3.THEORY[metric, method](k, n) ** 2
            assert abs(sample.mean() - expected) < 4.5 * sample.std() / math.sqrt(draws)


def test_lowest_values_by_dimension(full: Results) -> None:
    table = fluegel2024_fig4.select(full)
    layout = figures.layout_of(fluegel2024_fig4, table)
    assert (layout.rows, layout.cols) == (2, 2)
    for function, divided in (("sphere", False), ("styblinski-tang", True)):
        rows = table[(table["panel"] == f"published {function}") & (table["series"] == "mean, k=2")]
        means, stated = rows[rows["kind"] == "mean"], rows[rows["kind"] == "published"]
        assert means["x"].tolist() == list(DIMENSIONS)
        found = np.array(
            [lowest(function, n, "mean, k=2", 1) / (n if divided else 1) for n in DIMENSIONS]
        )
        np.testing.assert_allclose(means["y"], found)  # the mean of three is the second
        assert len(stated) == 2
    assert set(table["n"][table["kind"] == "mean"]) == {3}
    figure = drawn(fluegel2024_fig4, table)
    sphere, styblinski, *_ = figure.axes
    assert (sphere.get_yscale(), styblinski.get_yscale()) == ("log", "linear")
    assert styblinski.get_ylabel() == "lowest value f/n"
    # what was tuned is the value at the end
    assert figure.axes[3].get_ylabel() == "last value f/n"
    # backpropagation gets to zero exactly, which stands at a tick of its own beneath all that is shown
    (floor,) = set(line(sphere, BACKPROPAGATION).get_ydata())
    edge = fluegel2024_runs.lowest_of(table["y"][table["panel"].str.endswith("sphere")])
    assert sphere.get_ylim()[0] < floor < edge
    text(figure)  # lays out, which makes the labels
    label = f"$10^{{{round(math.log10(edge))}}}$"
    assert [t.get_text() for t in sphere.get_yticklabels()[:2]] == [f"below\n{label}", label]


def test_an_axis_does_not_stretch_to_what_is_zero_in_single_precision(full: Results) -> None:
    assert fluegel2024_runs.lowest_of(pd.Series([0.0])) == fluegel2024_runs.LEAST
    assert fluegel2024_runs.lowest_of(pd.Series([3e-4, 0.0, 2.0])) == 1e-4
    assert fluegel2024_runs.lowest_of(pd.Series([1e-40, 2.0])) == fluegel2024_runs.LEAST
    table = fluegel2024_fig4.select(full)
    one = (table["panel"] == "published sphere") & (table["series"] == "mean, k=2")
    one &= (table["kind"] == "mean") & (table["x"] == DIMENSIONS[0])
    table.loc[one, ["y", "low", "high"]] = 1e-40
    sphere = drawn(fluegel2024_fig4, table).axes[0]
    drawn_at = line(sphere, "mean, k=2").get_ydata()[0]
    assert drawn_at == line(sphere, BACKPROPAGATION).get_ydata()[0]  # where zeros stand
    assert 1e-13 < sphere.get_ylim()[0] < drawn_at < fluegel2024_runs.LEAST


def test_what_is_zero_everywhere_is_said_in_words(full: Results) -> None:
    flat = full.runs["experiment"].str.endswith("-sphere-2")
    runs = full.runs.assign(best_value=full.runs["best_value"].mask(flat, 0.0))
    start = full.curves["key"].isin(full.runs["key"][flat]) & (full.curves["step"] == 0)
    curves = full.curves.assign(value=full.curves["value"].mask(start, 0.0))
    zero = dataclasses.replace(full, runs=runs, curves=curves)
    for module, said in (
        (fluegel2024_fig4, "f = 0 from the start"),
        (fluegel2024_projection, "nothing to descend"),
    ):
        table = module.select(zero)
        shown = table[table["panel"] == "tuned sphere"]
        assert shown["x"][shown["kind"] == "mean"].unique().tolist() == [4]
        assert shown["note"][shown["kind"] == "guide"].tolist() == [said]
        assert said in text(drawn(module, table))


def test_new_functions_dimensions_and_aggregations_appear(full: Results) -> None:
    ours = full.runs["study"] == "fluegel2024"
    names = ("experiment", "problem", "method")
    new = full.runs[ours].assign(
        key="n" + full.runs["key"][ours],
        **{
            name: full.runs[name][ours]
            .str.replace("styblinski-tang-2", "ackley-path-32")
            .str.replace("styblinski-tang 2", "ackley-path 32")
            .str.replace("mean", "median")
            .str.replace("at 15", "at 37.5")
            for name in names
        },
    )
    dimension = new["num_parameters"].mask(new["problem"] == "ackley-path 32", 32)
    curves = full.curves[full.curves["key"].isin(full.runs["key"][ours])]
    more = dataclasses.replace(
        full,
        runs=pd.concat([full.runs, new.assign(num_parameters=dimension)], ignore_index=True),
        curves=pd.concat([full.curves, curves.assign(key="n" + curves["key"])], ignore_index=True),
    )
    more = dataclasses.replace(
        more,
        runs=more.runs.drop_duplicates(
            ["experiment", "method", "role", "trial", "repetition", "study"]
        ),
    )
    table = fluegel2024_fig4.select(more)
    assert figures.layout_of(fluegel2024_fig4, table).cols == 3
    panel = table[table["panel"] == "tuned ackley-path"]
    assert panel["x"].unique().tolist() == [32]
    assert {"median, k=2", "projection, k=4"} <= set(panel["series"])
    shown = text(drawn(fluegel2024_fig4, table))
    assert "Ackley-Path, tuned rates" in shown
    estimates = fluegel2024_fig3.select(more)
    assert {"median", "median, unit length", "mean"} <= set(estimates["series"])
    angles = fluegel2024_fig5.select(more)
    median = angles[(angles["panel"] == "quality") & (angles["series"] == "median, k=16")]
    assert median["x"].tolist() == [37.5, 90]
    for module, rows in ((fluegel2024_fig3, estimates), (fluegel2024_fig5, angles)):
        assert "not run" not in text(drawn(module, rows))
    assert "Ackley-Path, due to the rate" in text(
        drawn(fluegel2024_projection, fluegel2024_projection.select(more))
    )


def test_lowest_values_by_angle(full: Results) -> None:
    table = fluegel2024_fig5.select(full)
    rows = table[(table["panel"] == "published") & (table["series"] == "mean, k=16")]
    means = rows[rows["kind"] == "mean"].set_index("x")["y"]
    assert means[15.0] == pytest.approx((-80 + 0.5 * 11) / 2)
    assert means[90.0] == pytest.approx(-40)
    assert rows[rows["kind"] == "published"][["x", "y"]].to_numpy().tolist() == [[15.0, -35.0]]
    # one search for all angles: its value at each
    same = table[(table["kind"] == "published") & (table["series"] == "projection, k=16")]
    assert same["x"].tolist() == [15.0, 90.0]
    quality = table[(table["panel"] == "quality") & (table["series"] == "projection, k=4")]
    assert quality["x"].tolist() == [15.0, 90.0]
    assert "100 draws" in text(drawn(fluegel2024_fig5, table))


def test_projection_less_mean_is_split_in_two(full: Results) -> None:
    table = fluegel2024_projection.select(full)
    for function in ("sphere", "styblinski-tang"):
        expected = {"tuned": 0.0, "published": -10.0, "rate": -3.0, "direction": -7.0}
        for row, value in expected.items():
            rows = table[(table["panel"] == f"{row} {function}") & (table["series"] == "k=4")]
            assert rows["x"].tolist() == list(DIMENSIONS)
            np.testing.assert_allclose(rows["y"], value, atol=1e-9)
    assert figures.layout_of(fluegel2024_projection, table).rows == 4
    alone = full.runs["arm"] != "exchanged"
    without = fluegel2024_projection.select(dataclasses.replace(full, runs=full.runs[alone]))
    assert text(drawn(fluegel2024_projection, without)).count("not run") == 4


def test_a_diverged_descent_leaves_no_mean_and_is_counted() -> None:
    lost = {("functions-sphere-4", "projection, k=2", 1)}
    hurt = make(diverged=frozenset(lost))
    table = fluegel2024_fig4.select(hurt)
    (row,) = selection.each(table[table["kind"] == "diverged"])
    assert (row.series, row.x, row.n, row.diverged) == ("projection, k=2", 4, 3, 1)
    figure = drawn(fluegel2024_fig4, table)
    assert "n=3 each" in figure.get_suptitle()
    assert figure.axes[0].get_title().endswith("1 diverged")
    assert any(
        entry.get_marker() == "x" and np.size(entry.get_xdata()) for entry in figure.axes[0].lines
    )
    split = fluegel2024_projection.select(hurt)
    assert set(split["panel"][split["kind"] == "diverged"]) == {
        "published sphere",
        "direction sphere",
    }


def test_final_values_of_seed_0(full: Results, empty: Results) -> None:
    table = fluegel2024_seed0.table(full)
    assert len(table.rows) == 12
    assert [row[0] for row in table.rows[::6]] == ["sphere", "styblinski-tang"]
    by_method = {row[2]: cells(table, index) for index, row in enumerate(table.rows[:3])}
    back, mean, projection = (
        by_method[m] for m in (BACKPROPAGATION, "mean, k=2", "projection, k=2")
    )
    assert (back["ours"], back["met"]) == (0.0, "yes")
    assert math.isnan(back["relative_difference"])
    assert mean["relative_difference"] == pytest.approx(0.01 / 1.01)
    assert (mean["met"], mean["scale"]) == ("no", "full")
    assert projection["met"] == "no"  # at its own rate it gets further here than was published
    assert any(note.startswith("sphere: 2 of 6 met, 0 not run") for note in table.notes)
    facts = fluegel2024_seed0.table(dataclasses.replace(empty, facts=full.facts))
    assert len(facts.rows) == 12
    assert all(cell is None for cell in facts.rows[0][4:])
    assert fluegel2024_seed0.table(empty).rows == ()

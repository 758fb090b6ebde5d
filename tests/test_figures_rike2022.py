"""Rike & Førland 2022: losses and shares are drawn as tabled, beside what its notebooks print; tables of its networks."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from figure_rows import CLIPPED, cells, drawn, make, printed_curve, said_of, text
from figure_rows import empty as empty
from figure_rows import full as full

import studies
from figures import (
    network_runs,
    rike2022_fig1,
    rike2022_fig2,
    rike2022_last_batch,
    rike2022_scaling,
    rike2022_table1,
    selection,
    tuned_differences,
)
from repro import results
from repro.measures import BACKPROPAGATION, FORWARD_GRADIENT
from repro.protocol import Trial, expand
from repro.results import Results


def test_training_losses_are_drawn_as_tabled(full: Results) -> None:
    table = rike2022_fig2.select(full)
    panel = drawn(rike2022_fig2, table).axes[2]  # the dense network with Adam: not clipped
    rows = table[(table["panel"] == "nn-adam") & (table["kind"] == "repetition")]
    assert set(rows["series"]) == {BACKPROPAGATION, FORWARD_GRADIENT}
    curves = [np.asarray(entry.get_ydata()) for entry in panel.lines]
    for _, part in rows.groupby(["series", "repetition"]):
        assert any(np.array_equal(part["y"], curve) for curve in curves)
    # the first repetition is thicker than the others
    assert len({entry.get_linewidth() for entry in panel.lines if np.size(entry.get_xdata())}) == 2
    assert "n=3 each, 0 diverged" in said_of(panel)


def test_shares_missed_are_drawn_as_tabled(full: Results) -> None:
    table = rike2022_scaling.select(full)
    rows = table[(table["panel"] == "Adam, clipped") & (table["series"] == "CNN")]
    assert rows["x"].tolist() == [2.0, 4.0]
    # both methods fall alike, from starts that differ by 0.25
    np.testing.assert_allclose(rows["y"], [0.25 / (2.3 * (1 - math.exp(-e / 4))) for e in (2, 4)])
    panel = drawn(rike2022_scaling, table).axes[5]
    assert any(np.array_equal(np.asarray(e.get_ydata()), rows["y"]) for e in panel.lines)


def test_no_share_is_drawn_where_a_run_diverged() -> None:
    hurt = make(diverged=frozenset({("tuned-cnn-sgd", f"{CLIPPED}, SGD", 1)}))
    table = rike2022_scaling.select(hurt)
    lost = table["y"].isna()
    assert set(table[lost]["panel"] + ": " + table[lost]["series"]) == {"SGD, clipped: CNN"}
    panel = drawn(rike2022_scaling, table).axes[3]
    assert "n=3 each" in said_of(panel)
    assert "CNN: 1 diverged" in panel.get_title()
    assert "CNN: no share, 1 of 3 diverged" in [t.get_text() for t in panel.texts]
    # without a divergence it is backpropagation that left nothing to miss
    table["diverged"] = 0
    (told,) = (t.get_text() for t in drawn(rike2022_scaling, table).axes[3].texts if t.get_text())
    assert told == f"CNN: no share, {rike2022_scaling.STUCK}"


def test_a_diverged_training_run_ends_in_a_cross() -> None:
    hurt = make(diverged=frozenset({("cifar-sgd", f"{CLIPPED}, SGD", 1)}))
    table = rike2022_fig1.select(hurt)
    (cross,) = selection.each(table[table["kind"] == "diverged"])
    assert (cross.x, cross.diverged, cross.n) == (19, 1, 3)
    assert f"n=3 each, {CLIPPED}: 1 diverged" in text(drawn(rike2022_fig1, table))


def test_the_last_batch_stands_beside_the_whole_test_split(full: Results) -> None:
    table = rike2022_last_batch.select(full)
    rows = table[(table["panel"] == "nn-sgd") & (table["series"] == BACKPROPAGATION)]
    mean, dots = (rows[rows["kind"] == kind] for kind in ("mean", "point"))
    assert mean["x"].tolist() == [0, 1, 2, 3, 4]  # epochs
    np.testing.assert_allclose(mean["y"], 2.3 * np.exp(-mean["x"]) + 0.05)
    assert len(dots) == 15
    np.testing.assert_allclose(dots["y"][dots["repetition"] == 2], mean["y"] / 100)
    (printed,) = selection.each(rows[rows["kind"] == "published"])
    assert (printed.x, printed.y) == (50, 1.87e-5)  # what is printed, not the zero of Table I


def test_bands_of_losses_are_those_of_the_repetitions(full: Results) -> None:
    table = rike2022_last_batch.select(full)
    means = table[table["kind"] == "mean"]
    np.testing.assert_allclose(means["low"], means["y"])  # all repetitions are alike
    assert not (table["kind"] == "repetition").any()
    values = {"repetition": (0.1, 0.3, 0.8), "mean": (0.4,)}
    spread = selection.frame(
        {"kind": kind, "series": "a", "x": 1.0, "y": y} for kind, ys in values.items() for y in ys
    )
    (mean,) = selection.each(
        rike2022_last_batch._between_extremes(spread.assign(low=-0.5, high=1.3))
    )
    assert (mean.y, mean.low, mean.high) == (0.4, 0.1, 0.8)


def test_what_the_notebooks_print_is_drawn_after_every_epoch(full: Results) -> None:
    known = dataclasses.replace(
        full, facts=pd.concat([full.facts, pd.DataFrame(printed_curve("nn-sgd", 50))])
    )
    table = rike2022_fig1.select(known)
    assert (table["kind"] == "published").sum() == 100
    figure = drawn(rike2022_fig1, table)
    (printed,) = figure.axes[1].lines
    assert np.asarray(printed.get_ydata()).tolist() == [2.0 / x for x in range(1, 101)]
    silent = full.facts[full.facts["quantity"] != "reported curve"]
    nothing = rike2022_fig1.select(dataclasses.replace(full, facts=silent))
    assert "not run" in text(drawn(rike2022_fig1, nothing))
    rows = rike2022_last_batch.select(known)
    rows = rows[(rows["kind"] == "published") & (rows["panel"] == "nn-sgd")]
    assert sorted(rows["x"][rows["series"] == BACKPROPAGATION]) == list(range(1, 51))


def test_lengths_of_runs_stand_in_title_and_caption(full: Results) -> None:
    runs = full.runs.assign(
        num_steps=full.runs["num_steps"].mask(full.runs["experiment"] == "cnn-sgd", 10)
    )
    table = rike2022_fig2.select(dataclasses.replace(full, runs=runs))
    figure = drawn(rike2022_fig2, table)
    assert "40 steps, 4 epochs" in figure.get_suptitle()
    assert "40 steps" not in figure.axes[3].get_title()
    assert figure.axes[3].get_title().endswith("10 steps, 1 epoch")
    assert rike2022_fig2.caption(table).endswith("; CNN with SGD: 10 steps, 1 epoch.")


def test_losses_of_zero_stand_at_the_lower_edge(full: Results) -> None:
    table = rike2022_last_batch.select(full)
    zero = table.assign(y=table["y"].where(table["kind"] != "point", 0.0))
    panel = drawn(rike2022_last_batch, zero).axes[0]
    dots = [
        np.asarray(entry.get_ydata()) for entry in panel.lines if entry.get_linestyle() == "None"
    ]
    assert panel.get_ylim()[0] == rike2022_last_batch.FLOOR
    assert sum(int((y == rike2022_last_batch.FLOOR).sum()) for y in dots) == 30


# Tables


def test_table_1_has_its_fourteen_rows(full: Results) -> None:
    table = rike2022_table1.table(full)
    assert [row[0] for row in table.rows] == [f"R{i}" for i in range(1, 15)]
    forward, back = cells(table, 0), cells(table, 1)
    assert (forward["method"], back["method"]) == (CLIPPED, BACKPROPAGATION)
    assert (forward["published"], back["published"]) == (0.332, 0.0)
    assert math.isnan(cells(table, 2)["published"])
    end = 2.3 * math.exp(-4) + 0.05
    assert back["loss"].estimate == pytest.approx(end + 0.1)
    last = back["last_batch"]
    np.testing.assert_allclose([last.low, last.high, last.estimate], [end / 100, end, 0.37 * end])
    assert (back["scale"], back["diverged"]) == ("full", "0 of 3")
    # the tuned forward gradient stands unclipped and clipped, whatever was published
    ends = {s: 2.3 * math.exp(-1) + lowest + 0.02 for s, lowest in (("", 0.4), ("_clipped", 0.3))}
    for suffix, value in ends.items():
        assert forward[f"tuned{suffix}"].estimate == pytest.approx(value)
    assert math.isnan(back["tuned_clipped"])
    assert cells(table, 4)["method"] == FORWARD_GRADIENT  # with Adam the paper did not clip


def test_table_1_counts_what_diverged_and_names_scales() -> None:
    lost = {("nn-sgd", f"{CLIPPED}, SGD", 0), ("tuned-nn-sgd", f"{CLIPPED}, SGD", 2)}
    table = rike2022_table1.table(make(diverged=frozenset(lost), scale="reduced"))
    row = cells(table, 0)
    assert (row["diverged"], row["tuned_diverged"]) == ("1 of 3", "0 of 3; 1 of 3")
    assert table.notes[-1] == "Rows at scale reduced are not the published protocol."


def test_tuned_differences_at_equal_cost(full: Results, empty: Results) -> None:
    table = tuned_differences.table(full)
    assert len(table.rows) == 19
    assert cells(table, 0)["network"] == "Dense NN of Baydin et al., SGD"
    row = cells(table, 1)
    assert row["method"] == FORWARD_GRADIENT
    assert row["epochs"].estimate == pytest.approx(0.35)
    assert row["test_accuracy"].estimate == pytest.approx(-0.35 / 3)
    # the time of 40 steps of the one is that of 80 / 3 of the other, a third of the way from 20 to 40
    loss = {s: 2.3 * math.exp(-s / 40) for s in (20, 40)}
    cut = loss[20] + (loss[40] - loss[20]) / 3
    assert row["seconds"].estimate == pytest.approx(loss[40] + 0.4 - cut - 0.05)
    assert (row["scale"], row["diverged"]) == ("full", "0 of 6")
    assert "Timed on: Test." in table.notes
    assert all(cell is None for cell in tuned_differences.table(empty).rows[0][2:])


def test_differences_without_timing_say_so(full: Results) -> None:
    untimed = full.runs[~full.runs["experiment"].str.startswith("run-time-nn")]
    row = cells(tuned_differences.table(dataclasses.replace(full, runs=untimed)), 1)
    assert row["seconds"] is None
    assert row["epochs"].num == 3


def test_network_runs_say_what_a_reader_needs_to_repeat_them() -> None:
    study = studies.get("rike2022")
    specs = [
        *expand(study, "reduced", only=["cifar-sgd"]),
        *expand(study, "smoke", only=["cifar-sgd"]),
        *expand(study, "reduced", only=["run-time-cifar-sgd"]),  # a timing trains nothing
    ]
    trial = dataclasses.replace(specs[0], experiment="tuned-cifar-sgd")
    specs += [
        *(
            dataclasses.replace(trial, role="tune", trial=Trial(number, "digest"))
            for number in range(3)
        ),
        *(dataclasses.replace(trial, repetition=number) for number in range(2)),
    ]
    records = [results.Record(spec, "done", {"num_parameters": 264_370}, ()) for spec in specs]
    rows = network_runs.table(Results(*results.tabulate(records), pd.DataFrame())).rows
    shared = (
        "reduced",
        "cifar10",
        "vgg (channels 8, pairs 1, width 128)",
        264_370,
        "unit",
        64,
        10_000,
        62_500,
    )
    assert rows == (
        ("rike2022", "cifar-sgd", *shared, 0, 3),
        ("rike2022", "tuned-cifar-sgd", *shared, 3, 2),
    )  # fmt: skip
    function = expand(studies.get("baydin2022"), "full", only=["beale"])  # no data set
    only = results.tabulate([results.Record(function[0], "done", {}, ())])
    assert network_runs.table(Results(*only, pd.DataFrame())).rows == ()

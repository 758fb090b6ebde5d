"""Baydin et al. 2022: curves, times and moments are drawn as tabled, and scales, machines and survivors never mixed."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from figure_rows import ROUNDS, drawn, line, make, said_of, text
from figure_rows import full as full

import figures
from figures import (
    baydin2022_curves,
    baydin2022_fig1,
    baydin2022_fig2,
    baydin2022_fig3,
    baydin2022_fig4,
    baydin2022_fig5,
    baydin2022_fig6,
    baydin2022_identification,
    baydin2022_run_time,
    landscapes,
    marks,
    selection,
    style,
)
from repro import measures
from repro.measures import BACKPROPAGATION, FORWARD_GRADIENT
from repro.results import Results


def test_loss_curves_are_drawn_as_tabled(full: Results) -> None:
    table = baydin2022_fig3.select(full)
    by_iteration, by_time = drawn(baydin2022_fig3, table).axes
    for axes, panel in ((by_iteration, "logistic iteration"), (by_time, "logistic time")):
        for method in (BACKPROPAGATION, FORWARD_GRADIENT):
            rows = table[
                (table["panel"] == panel) & (table["kind"] == "mean") & (table["series"] == method)
            ]
            np.testing.assert_array_equal(line(axes, method).get_xdata(), rows["x"])
            np.testing.assert_array_equal(line(axes, method).get_ydata(), rows["y"])
            assert len(rows) == 11
    # the mean over three repetitions, and seconds of iterations by the median step
    mean = line(by_iteration, BACKPROPAGATION).get_ydata()
    assert mean[-1] == pytest.approx(2.5 * math.exp(-1) + 0.01)
    seconds = 4e-3 * (1 + (ROUNDS - 1) / 200)
    assert line(by_time, BACKPROPAGATION).get_xdata()[-1] == pytest.approx(25_000 * seconds)
    (markers,) = [entry for entry in by_iteration.lines if entry.get_marker() == "D"]
    np.testing.assert_array_equal(markers.get_ydata(), [2.58, 1.17, 0.54])


def test_guides_are_the_papers(full: Results) -> None:
    table = baydin2022_fig3.select(full)
    guides = table[table["kind"] == "guide"].set_index("series")
    step = 1e-3 * (1 + (ROUNDS - 1) / 200)
    assert guides.loc["T_b", "x"] == pytest.approx(25_000 * 4 * step)
    # twice the rate: half of the iterations; between evaluations the curve is taken as straight
    assert guides.loc["T_f", "x"] == pytest.approx(12_500 * 3 * step)
    ours = table[(table["kind"] == "ratio") & ~table["published"]].iloc[0]
    assert ours["y"] == pytest.approx(0.375)
    # known no better than evaluations are apart, at steps 10,000 and 12,500; 0.375 lies halfway between two roundings
    shown = text(drawn(baydin2022_fig3, table))
    assert re.search(r"\$T_f/T_b\$ = 0\.3[78] \[0\.30, 0\.3[78]\]", shown)


def test_step_time_ratios_are_drawn_as_tabled(full: Results) -> None:
    table = baydin2022_fig6.select(full)
    step_time, relative, memory, tangents = drawn(baydin2022_fig6, table).axes
    expected = {(step_time, "R_f"): 3, (step_time, "R_b"): 4, (relative, "R_f/R_b"): 0.75}
    expected |= {(tangents, "tangents alone"): 1 / 6, (memory, BACKPROPAGATION): 4}
    for (axes, series), value in expected.items():
        rows = table[(table["kind"] == "mean") & (table["series"] == series)]
        assert rows["x"].tolist() == [1, 10, 100]
        np.testing.assert_allclose(rows["y"], value)
        drawn_y = [entry.get_ydata() for entry in axes.lines]
        assert any(np.array_equal(np.asarray(y), rows["y"]) for y in drawn_y)
    first = drawn(baydin2022_fig6, table).axes[0]
    assert "timed on Test" in said_of(first)
    assert "n=12 rounds" in said_of(first)


def test_geometric_means_of_closed_forms(full: Results) -> None:
    table = baydin2022_fig2.select(full)
    rows = table[(table["panel"] == "beale iteration") & (table["kind"] == "mean")]
    first = rows[rows["series"] == BACKPROPAGATION].iloc[0]
    assert first["y"] == pytest.approx(10 * (1.0 * 1.1 * 1.2) ** (1 / 3))
    assert 0 < first["low"] < first["y"] < first["high"]


def test_theory_of_estimates(full: Results) -> None:
    table = baydin2022_fig1.select(full)
    theory = table[(table["panel"] == "error") & (table["kind"] == "theory")]
    np.testing.assert_allclose(theory["y"], np.sqrt(3 / theory["x"]))
    means = table[(table["panel"] == "error") & (table["kind"] == "mean")]
    np.testing.assert_allclose(means["y"] * means["x"], math.sqrt((1 + 4 + 9) / 3))


def test_deviation_from_the_published_curve(full: Results) -> None:
    table = baydin2022_identification.select(full)
    found = table[table["kind"] == "ratio"]
    values = {0: 2.5 + 0.01, 2_500: 2.5 * math.exp(-0.1) + 0.01, 25_000: 2.5 * math.exp(-1) + 0.01}
    published = {0: 2.58, 2_500: 1.17, 25_000: 0.54}
    np.testing.assert_allclose(found["y"], max(abs(values[x] - published[x]) for x in published))
    assert len(found) == 6


def test_diverged_runs_are_counted_and_end_the_mean() -> None:
    hurt = make(diverged=frozenset({("mlp-2e-4-exponential", FORWARD_GRADIENT, 1)}))
    table = baydin2022_fig4.select(hurt)
    rows = table[
        (table["panel"] == "mlp-2e-4-exponential iteration") & (table["series"] == FORWARD_GRADIENT)
    ]
    assert set(rows[rows["kind"] == "mean"]["diverged"]) == {1}
    assert set(rows[rows["kind"] == "mean"]["n"]) == {3}
    assert rows[rows["kind"] == "mean"]["x"].max() == 12_500  # no mean of survivors
    assert rows[rows["kind"] == "repetition"]["x"].max() == 25_000
    assert rows[rows["kind"] == "diverged"]["x"].tolist() == [12_500]
    hurt_panel = drawn(baydin2022_fig4, table).axes[3]
    assert "n=3 each" in said_of(hurt_panel)
    assert "forward gradient: 1 diverged" in hurt_panel.get_title()


def test_a_run_that_shoots_up_leaves_the_others_their_panel() -> None:
    hurt = make(diverged=frozenset({("cnn", FORWARD_GRADIENT, 1)}))
    table = baydin2022_fig5.select(hurt)
    said = "Crosses at the upper edge: last seen above it."
    assert said not in baydin2022_fig5.caption(table)
    where = (table["kind"] == "diverged") & (table["panel"] == "cnn iteration")
    far = table.assign(y=table["y"].mask(where, 100.0))
    assert said in baydin2022_fig5.caption(far)
    panel = drawn(baydin2022_fig5, far).axes[0]
    low, high = panel.get_ylim()
    assert low < 0.9 < 2.6 < high < 4  # from the lowest end to above the highest start
    (cross,) = (line for line in panel.lines if line.get_marker() == "x")
    assert 2.6 < np.max(cross.get_ydata()) < high


def test_the_counts_above_the_last_column_stay_on_the_figure() -> None:
    hurt = make(diverged=frozenset({("cnn", FORWARD_GRADIENT, 1)}))
    fewer = (hurt.runs["experiment"] == "cnn-exponential") & (hurt.runs["repetition"] == 2)
    table = baydin2022_fig5.select(dataclasses.replace(hurt, runs=hurt.runs[~fewer]))
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style.STYLE)  # type: ignore[arg-type]
        figure = drawn(baydin2022_fig5, table)
        figure.draw_without_rendering()
        title = figure.axes[2].title
        assert "n=3 each, forward gradient: 1 diverged" in title.get_text()
        assert title.get_window_extent().x1 <= figure.bbox.x1


def test_scales_are_named_and_never_mixed(full: Results) -> None:
    small = make(scale="smoke")
    small = dataclasses.replace(
        small,
        runs=small.runs.assign(key="s" + small.runs["key"]),
        curves=small.curves.assign(key="s" + small.curves["key"], value=99.0),
    )
    assert "smoke scale, no result" in text(drawn(baydin2022_fig3, baydin2022_fig3.select(small)))
    both = Results(
        pd.concat([full.runs, small.runs], ignore_index=True),
        pd.concat([full.curves, small.curves], ignore_index=True),
        full.facts,
    )
    for module in (baydin2022_fig1, baydin2022_fig3, baydin2022_fig6):
        pd.testing.assert_frame_equal(module.select(both), module.select(full))


def test_a_missing_method_is_named(full: Results) -> None:
    partial = dataclasses.replace(full, runs=full.runs[full.runs["method"] != FORWARD_GRADIENT])
    shown = text(drawn(baydin2022_fig4, baydin2022_fig4.select(partial)))
    assert "n=3, 0 diverged, forward gradient not run" in shown


def test_run_time_table(full: Results, tmp_path: Path) -> None:
    table = baydin2022_run_time.table(full)
    rows = {row[0]: row for row in table.rows}
    header = [column.name for column in table.columns]
    cell = dict(zip(header, rows["MLP, 2e-4"], strict=True))
    assert cell["R_f"].estimate == pytest.approx(3)  # type: ignore[union-attr]
    assert cell["R_f_over_R_b"].num == ROUNDS  # type: ignore[union-attr]
    assert cell["T_f_over_T_b"].estimate == pytest.approx(0.375)  # type: ignore[union-attr]
    assert cell["T_f_over_T_b_published"] == 0.229
    assert math.isnan(dict(zip(header, rows["CNN"], strict=True))["T_f_over_T_b_published"])  # type: ignore[arg-type]
    assert dict(zip(header, rows["Beale"], strict=True))["R_f_over_R_b_published"] == 0.87
    assert any("Test" in note for note in table.notes)
    written = figures.build_tables(full, tmp_path, ["baydin2022_run_time"])
    assert [path.suffix for path in written] == [".csv", ".md", ".tex", ".typ", ".html"]


def test_a_method_that_never_gets_there_is_counted(full: Results) -> None:
    reverse = measures.steps_to_loss_ratio(
        full, "logistic", method=BACKPROPAGATION, baseline=FORWARD_GRADIENT
    )
    assert reverse.missed == 3
    assert math.isinf(reverse.interval.estimate)
    # the whole budget over the baseline's iterations
    assert reverse.interval.low == pytest.approx(1.0)
    rows = selection.ratio("p", "T_f/T_b", reverse, math.nan)
    assert marks.number(rows, "T") == "T > 1.00\nnever reached by\nhalf or more"
    hurt = make(diverged=frozenset(("logistic", BACKPROPAGATION, n) for n in range(3)))
    none = measures.steps_to_loss_ratio(
        hurt, "logistic", method=BACKPROPAGATION, baseline=FORWARD_GRADIENT
    )
    rows = selection.ratio("p", "T_f/T_b", none, math.nan)
    assert marks.number(rows, "T") == "T: never reached, all diverged"


def test_diverged_runs_leave_no_mean_of_survivors() -> None:
    hurt = make(diverged=frozenset({("logistic", FORWARD_GRADIENT, 1)}))
    at_end = measures.curve_at(hurt, "logistic", FORWARD_GRADIENT, "loss", 25_000)
    assert math.isnan(at_end.interval.estimate)
    assert (at_end.interval.num, at_end.diverged) == (3, 1)
    assert measures.diverged_share(
        hurt, "logistic", FORWARD_GRADIENT
    ).interval.estimate == pytest.approx(1 / 3)


def test_one_machine_only(full: Results) -> None:
    timing = full.runs["task"] == "timing"
    other = full.runs[timing & full.runs["experiment"].isin(["run-time-mlp"])].iloc[:3]
    other = other.assign(device="Other", key="o" + other["key"])
    more = dataclasses.replace(full, runs=pd.concat([other, full.runs], ignore_index=True))
    measured = measures.step_time_ratio(more, "run-time-mlp", FORWARD_GRADIENT, BACKPROPAGATION)
    assert measured.device == "Test(R) CPU @ 1GHz"
    assert measured.interval.num == ROUNDS


def test_one_run_has_no_band_and_says_so(full: Results) -> None:
    first = full.runs["repetition"] == 0
    reduced = full.runs.assign(scale="reduced")
    table = baydin2022_fig5.select(dataclasses.replace(full, runs=reduced[first]))
    assert baydin2022_fig5.caption(table).endswith(
        "One run of each method: lines without an interval. At reduced scale: 25,000 iterations."
    )
    legend = [entry.get_text() for entry in drawn(baydin2022_fig5, table).legends[0].get_texts()]
    assert legend == [f"{BACKPROPAGATION} (one run)", f"{FORWARD_GRADIENT} (one run)"]
    flat = table.assign(y=table["y"].where(table["kind"] != "mean", 2.3))
    low, high = drawn(baydin2022_fig5, flat).axes[0].get_ylim()
    assert high - low >= baydin2022_curves.LEAST
    several = baydin2022_fig5.caption(baydin2022_fig5.select(full))
    assert several.endswith("Mean over repetitions, 95 % t band.")


def test_landscapes() -> None:
    at = np.array
    assert landscapes.beale(at(0.0), at(0.5)) == pytest.approx(14.203125)
    assert landscapes.rosenbrock(at(-1.0), at(0.0)) == pytest.approx(104.0)
    assert landscapes.beale(at(3.0), at(0.5)) == landscapes.rosenbrock(at(1.0), at(1.0)) == 0

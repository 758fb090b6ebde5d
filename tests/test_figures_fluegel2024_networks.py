"""Flügel et al. 2024 on networks: both epochs of both arms, lengths and scales named, costs and gaps paired."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from figure_rows import ROUNDS, accuracy_of, drawn, make, text
from figure_rows import empty as empty
from figure_rows import full as full

import figures
import studies
from figures import (
    fluegel2024_cost,
    fluegel2024_fig6,
    fluegel2024_losses,
    fluegel2024_networks,
    fluegel2024_paired,
    fluegel2024_passes,
    fluegel2024_runs,
    fluegel2024_size_gap,
    fluegel2024_table1,
)
from repro import results
from repro.measures import FORWARD_GRADIENT
from repro.protocol import expand
from repro.results import Results
from repro.stats import Interval


def test_fig6_shows_both_epochs_of_both_arms(full: Results) -> None:
    table = fluegel2024_fig6.select(full)
    means = table[table["kind"] == "mean"]
    assert list(dict.fromkeys(table["panel"])) == [
        "published best",
        "tuned best",
        "published last",
        "tuned last",
    ]
    assert len(means) == 4 * 24
    one = means[(means["series"] == "mean, k=2") & (means["x"] == 256)].set_index("panel")["y"]
    expected = np.mean([accuracy_of("mean, k=2", 0, r) for r in range(3)])
    assert one["tuned best"] == pytest.approx(expected)
    assert one["tuned last"] == pytest.approx(expected - 0.05)


def test_a_width_that_was_not_run_says_so(full: Results) -> None:
    runs = full.runs[~full.runs["experiment"].str.contains("fc4096")]
    some = dataclasses.replace(full, runs=runs)
    shown = text(drawn(fluegel2024_fig6, fluegel2024_fig6.select(some)))
    assert shown.count("FC 4,096, MNIST: not run") == 4


def with_steps(source: Results, experiment: str, num_steps: int, scale: str) -> Results:
    """Return the results with the runs of an experiment as long as that, at that scale."""
    runs = source.runs.copy()
    its = runs["experiment"] == experiment
    runs.loc[its, "num_steps"], runs.loc[its, "scale"] = num_steps, scale
    return dataclasses.replace(source, runs=runs)


def test_widths_are_joined_only_where_runs_are_equally_long(full: Results) -> None:
    def joined(source: Results) -> list[int]:
        axes = drawn(fluegel2024_fig6, fluegel2024_fig6.select(source)).axes[0]
        return sorted(np.size(e.get_xdata()) for e in axes.lines if e.get_label() == "mean, k=2")

    assert joined(full) == [3]
    shorter = with_steps(full, "networks-fc4096-mnist", 8, "reduced")
    assert joined(shorter) == [1, 2]
    of_other_lengths = with_steps(shorter, "networks-fc1024-mnist", 300, "reduced")
    assert joined(of_other_lengths) == [1, 1, 1]
    # the legend shows lines only where some are drawn
    apart = with_steps(of_other_lengths, "networks-tuned-fc1024-mnist", 300, "reduced")
    apart = with_steps(apart, "networks-tuned-fc4096-mnist", 8, "reduced")
    for source, dashes in ((full, True), (apart, False)):
        (legend,) = drawn(fluegel2024_fig6, fluegel2024_fig6.select(source)).legends
        shown = {handle.get_linestyle() for handle in legend.get_lines()}
        assert (shown != {"None"}) is dashes
    stopped_early = with_steps(full, "networks-fc1024-mnist", 300, "full")
    assert joined(stopped_early) == [3]


@pytest.mark.parametrize("module", [fluegel2024_fig6, fluegel2024_size_gap])
def test_lengths_and_scales_of_runs_are_named(module: Any, full: Results) -> None:
    some = with_steps(full, "networks-fc4096-mnist", 8, "reduced")
    some = with_steps(some, "networks-fc256-mnist", 156_400, "full")
    axes = drawn(module, module.select(some)).axes[0]
    labels = {t.get_text().split("\n")[0]: t.get_text() for t in axes.get_xticklabels()}
    (smallest,) = (label for name, label in labels.items() if name.endswith("256"))
    (largest,) = (label for name, label in labels.items() if name.replace(",", "").endswith("4096"))
    assert smallest.endswith("156,400 steps\nfull scale")
    assert largest.endswith("8 steps")
    assert axes.get_title().endswith("full and reduced scale")


@pytest.mark.parametrize(("name", "num"), [("table1", 32), ("fig6_values", 24)])
def test_every_cell_has_a_value_and_its_scale_or_says_not_run(
    name: str, num: int, full: Results, empty: Results
) -> None:
    module = figures.module_of(f"fluegel2024_{name}")
    for source, run in ((full, True), (empty, False)):
        table = module.table(source)
        assert len(table.rows) == num
        assert {row[2] for row in table.rows} == {"not found"}
        for row in table.rows:
            assert all((cell is not None) == run for cell in row[3:])
            assert not run or (row[5], row[9]) == ("full", "full")


def test_divergence_leaves_no_mean_and_is_counted() -> None:
    lost = make(diverged=frozenset({("networks-tuned-vit-mnist", "mean, k=4", 1)}))
    (row,) = [
        r for r in fluegel2024_table1.table(lost).rows if r[:2] == ("ViT, MNIST", "mean, k=4")
    ]
    assert isinstance(row[7], Interval)
    assert math.isnan(row[7].estimate)
    assert row[10] == "1 of 3"
    gap = fluegel2024_size_gap.select(lost)
    (cross,) = gap[gap["kind"] == "diverged"].itertuples()
    assert (cross.panel, cross.series, cross.note) == ("tuned mnist", "mean, k=4", "ViT, MNIST")


def test_the_gap_is_paired_and_stands_at_the_size(full: Results) -> None:
    table = fluegel2024_size_gap.select(full)
    row = table[(table["panel"] == "tuned cifar10") & (table["series"] == "mean, k=16")].iloc[0]
    assert row["x"] == 1_000 * 10**4
    assert row["y"] == pytest.approx(0.2 / 16 * 1.1)
    assert row["low"] < row["y"] < row["high"]


def test_the_history_stands_beside_our_losses(full: Results, empty: Results) -> None:
    table = fluegel2024_losses.table(full)
    assert len(table.rows) == len(fluegel2024_losses.table(empty).rows) == 56
    names = [column.name for column in table.columns]
    (row,) = [r for r in table.rows if r[:2] == ("FC 256, MNIST", "mean, k=2")]
    cells = dict(zip(names, row, strict=True))
    assert cells["history"] == 0.1327
    last, best = cells["rerun_last"], cells["rerun_best"]
    assert isinstance(last, Interval)
    assert isinstance(best, Interval)
    assert last.estimate == pytest.approx(best.estimate + 0.1)
    assert (cells["used_rate"], cells["tuned_rate"]) == (0.1, 0.1)


def test_projection_less_mean_is_paired(full: Results) -> None:
    table = fluegel2024_paired.table(full)
    assert len(table.rows) == 21
    first = table.rows[0]
    assert first[:2] == ("FC 256, MNIST", 2)
    assert first[2] == pytest.approx(0.1295 - 0.1327)
    assert isinstance(first[3], Interval)
    assert first[3].estimate == pytest.approx(0.0, abs=1e-12)


def test_costs_are_medians_of_rounds_and_peaks(full: Results) -> None:
    table = fluegel2024_cost.select(full)
    rows = table[table["series"] == "forward, activations"].set_index(["panel", "x"])["y"]
    middle = 1 + (ROUNDS - 1) / 200
    assert rows["seconds fc256", 16.0] == pytest.approx(16 * middle)
    assert rows["memory vit", 16.0] == 16.0
    assert set(table["panel"].str.split(" ").str[1]) == set(fluegel2024_networks.NETWORKS)


def test_equal_steps_and_equal_passes_stand_side_by_side() -> None:
    study = studies.get("fluegel2024")
    values = {FORWARD_GRADIENT: 4.0, "mean, k=16": 3.0, "projection, k=16": 2.0}

    def runs(
        experiment: str, like: str, metric: str, factor: float, steps: int
    ) -> list[results.Record]:
        return [
            results.Record(
                dataclasses.replace(spec, experiment=experiment),
                "done",
                {metric: factor * values[spec.method.name], "num_parameters": 64.0, "num_steps": steps},
                (),
            )
            for spec in expand(study, "full", only=[like])
            if spec.method.name in values and spec.repetition < 2
        ]  # fmt: skip

    records = [
        *runs("functions-tuned-sphere-64", "functions-sphere-64", "value", 1.0, 1_000),
        *runs("functions-passes-sphere-64", "functions-sphere-64", "value", 10.0, 90),
        *runs("networks-passes-fc256-mnist", "networks-fc256-mnist", "best_test_accuracy", 0.2, 3_714),
        *runs("networks-tuned-fc256-mnist", "networks-fc256-mnist", "best_test_accuracy", 0.1, 782),
    ]  # fmt: skip
    found = Results(*results.tabulate(records), pd.DataFrame())
    function, network = (
        [cell.estimate if isinstance(cell, Interval) else cell for cell in row]
        for row in fluegel2024_passes.table(found).rows
    )
    assert function == ["sphere-64", "last value", 4.0, 30.0, 20.0, 3.0, 2.0, 1_000, "full"]
    assert network[:2] == ["fc256-mnist", "test accuracy"]
    assert network[2:5] == pytest.approx([0.8, 0.3, 0.2])
    assert network[5:] == [None, None, 3_714, "full"]
    # figures over the dimension have one value a dimension and method: that of the common budget
    only = found.beside(found.runs[found.runs["experiment"].str.startswith("functions")])
    assert set(fluegel2024_runs.functions(only)["experiment"]) == {"functions-tuned-sphere-64"}

"""`figures`: complete tables, drawings that show them, and the same bytes from the same rows."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import figures
import studies
from figures import (
    approaches,
    baydin2022_curves,
    baydin2022_fig1,
    baydin2022_fig2,
    baydin2022_fig3,
    baydin2022_fig4,
    baydin2022_fig5,
    baydin2022_fig6,
    baydin2022_identification,
    baydin2022_run_time,
    fluegel2024_cost,
    fluegel2024_fig3,
    fluegel2024_fig4,
    fluegel2024_fig5,
    fluegel2024_fig6,
    fluegel2024_losses,
    fluegel2024_networks,
    fluegel2024_paired,
    fluegel2024_passes,
    fluegel2024_projection,
    fluegel2024_runs,
    fluegel2024_seed0,
    fluegel2024_size_gap,
    fluegel2024_table1,
    headings,
    landscapes,
    learning_rate_sensitivity,
    learning_rate_sensitivity_many,
    marks,
    network_runs,
    rike2022_fig1,
    rike2022_fig2,
    rike2022_last_batch,
    rike2022_runs,
    rike2022_scaling,
    rike2022_table1,
    searches,
    selection,
    speed,
    style,
    tuned_differences,
    tuning_budget,
    tuning_budget_many,
)
from repro import measures, results
from repro.measures import BACKPROPAGATION, FORWARD_GRADIENT
from repro.protocol import Trial, expand
from repro.results import Results
from repro.results.table import typed
from repro.stats import Interval
from repro.tables import Table

CLIPPED = rike2022_runs.CLIPPED
FIGURES = figures.names()
TABLES = (
    "baydin2022_run_time",
    "fluegel2024_fig6_values",
    "fluegel2024_losses",
    "fluegel2024_paired",
    "fluegel2024_passes",
    "fluegel2024_seed0",
    "fluegel2024_table1",
    "network_runs",
    "rike2022_table1",
    "tuned_differences",
)
ROUNDS = 12


def make(
    *, diverged: frozenset[tuple[str, str, int]] = frozenset(), scale: str = "full"
) -> Results:
    """Results of every experiment, few points each; `diverged` names (experiment, method, repetition)."""
    runs: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []

    def add(
        experiment: str,
        method: str,
        repetition: int,
        task: str,
        curves: dict[tuple[str, str], dict[int, float]],
        *,
        study: str = "baydin2022",
        epoch: float = math.nan,
        **columns: object,
    ) -> None:
        key = f"{experiment}/{method}/{repetition}/{columns.get('trial', '')}"
        ended = (experiment, method, repetition) in diverged
        identity = {"key": key, "study": study, "arm": "published", "scale": scale}
        identity |= {"experiment": experiment, "method": method, "role": "report", "task": task}
        state = {"repetition": repetition, "status": "diverged" if ended else "done"}
        machine = {"device": "Test(R) CPU @ 1GHz", "num_threads": 1}
        runs.append({**identity, **state, **machine, **columns})
        for (split, metric), curve in curves.items():
            steps = [step for step in curve if not ended or step <= max(curve) // 2]
            points.extend(
                {
                    "key": key,
                    "step": step,
                    "epoch": step / epoch,
                    "split": split,
                    "metric": metric,
                    "value": curve[step],
                }
                for step in steps
            )

    steps = range(0, 101, 10)
    for name in ("beale", "rosenbrock"):
        for method, rate in ((BACKPROPAGATION, 0.05), (FORWARD_GRADIENT, 0.06)):
            for repetition in range(3):
                values = {s: 10 * math.exp(-rate * s) * (1 + 0.1 * repetition) for s in steps}
                path = {("none", f"x{i}"): {s: s / 100 for s in steps} for i in (0, 1)}
                add(name, method, repetition, "training", {("none", "value"): values, **path})
    at_rates = ["mlp-2e-5", "mlp-2e-4"]
    at_both_decays = [*at_rates, "cnn"]
    networks = ["logistic", *at_both_decays, *(f"{name}-exponential" for name in at_both_decays)]
    scalings, schedules = ("unit", "standardised"), ("constant", "exponential", "hyperbolic")
    alone = [f"identification-{a}-{b}" for a in scalings for b in schedules]
    for name in networks + alone:
        for method, rate in ((BACKPROPAGATION, 0.01), (FORWARD_GRADIENT, 0.02)):
            for repetition in range(3 if method == BACKPROPAGATION or name not in alone else 0):
                loss = {s * 250: 2.5 * math.exp(-rate * s) + 0.01 * repetition for s in steps}
                accuracy = {s: 1 - value / 3 for s, value in loss.items()}
                curves = {("validation", "loss"): loss, ("validation", "accuracy"): accuracy}
                add(name, method, repetition, "training", curves)
    timed = ["beale", "rosenbrock", "logistic", "mlp", "cnn", *(f"depth-{d}" for d in (1, 10, 100))]
    costs = {"function alone": 1, "tangents alone": 0.5, FORWARD_GRADIENT: 3, BACKPROPAGATION: 4}
    for name in timed:
        for method, cost in costs.items():
            seconds = {s: cost * (1 + s / 100) * 1e-3 for s in range(ROUNDS)}
            curve = {("none", "step_seconds"): seconds}
            add(f"run-time-{name}", method, 0, "timing", curve, peak_bytes=cost * 1e9)
    generator = np.random.default_rng(0)
    for repetition in range(3):
        draws = generator.normal(size=(16, 2))
        curves = {("none", "relative_error"): {2**i: 2.0**-i * (1 + repetition) for i in (1, 2, 3)}}
        for i in (0, 1):
            curves["none", f"gradient_{i}"] = {0: -1.0 - i}
            curves["none", f"estimate_{i}"] = dict(enumerate(draws[:, i].tolist()))
        add("estimates", FORWARD_GRADIENT, repetition, "sampling", curves)
    add_rike(add)
    add_speed(add)
    add_fluegel(add, diverged)
    add_networks(add, diverged)
    facts = [
        {"quantity": "validation loss", "setting": "logistic", "x": x, "value": y, "method": ""}
        for x, y in ((0.0, 2.58), (2_500.0, 1.17), (25_000.0, 0.54))
    ]
    facts += [
        {"quantity": "T_f/T_b", "setting": "mlp-2e-4", "x": math.nan, "value": 0.229, "method": ""},
        {"quantity": "T_f/T_b", "setting": "cnn", "x": math.nan, "value": math.nan, "method": ""},
        {"quantity": "R_f", "setting": "depth", "x": 10.0, "value": 2.92, "method": ""},
        {"quantity": "time ratio", "setting": "beale", "x": math.nan, "value": 0.87, "method": ""},
    ]
    printed = {"quantity": "test loss", "setting": "nn-sgd", "x": math.nan, "study": "rike2022"}
    facts += [
        {**printed, "method": method, "item": item, "value": value}
        for method, item, value in (
            (f"{BACKPROPAGATION}, SGD", "Table I", 0.0),
            (f"{BACKPROPAGATION}, SGD", "notebook, last epoch", 1.87e-5),
            (f"{CLIPPED}, SGD", "Table I", 0.332),
            (f"{CLIPPED}, SGD", "notebook, last epoch", 0.332),
        )
    ]
    facts += printed_curve("cifar-sgd", 100)
    final = {"quantity": "final value", "study": "fluegel2024", "x": math.nan}
    facts += [
        {
            **final,
            "setting": f"{name}-{n}",
            "method": method,
            "value": lowest(name, n, method, 0) * off,
        }
        for name in ("sphere", "styblinski-tang")
        for n in DIMENSIONS
        for method, off in (
            (BACKPROPAGATION, 1.0),
            ("projection, k=2", 1 + 1e-6),
            ("mean, k=2", 1.01),
        )
    ]
    facts += [
        {**final, "setting": "angles-16", "method": "mean, k=16", "x": 15.0, "value": -70.0},
        {**final, "setting": "angles-16", "method": "projection, k=16", "value": -80.0},
    ]
    history = {"setting": "fc256-mnist", "study": "fluegel2024", "item": "lrs/", "x": math.nan}
    facts += [
        {**history, "quantity": "best search score", "method": method, "value": value}
        for method, value in (("mean, k=2", 0.1327), ("projection, k=2", 0.1295))
    ]
    table = pd.DataFrame(
        [{"study": "baydin2022", "item": "Fig.", "source": "read", **f} for f in facts]
    )
    frame = typed(
        pd.DataFrame(runs).reindex(columns=list(results.RUN_COLUMNS)), results.RUN_COLUMNS
    )
    return Results(frame, pd.DataFrame(points)[list(results.CURVE_COLUMNS)], table)


def printed_curve(setting: str, epochs: int) -> list[dict[str, Any]]:
    """Facts of what a notebook printed after every epoch: 2 nats over the epoch."""
    what = {"study": "rike2022", "quantity": "reported curve", "item": "notebook, every epoch"}
    of = {**what, "setting": setting, "method": f"{BACKPROPAGATION}, SGD", "source": "R0"}
    return [{**of, "x": x, "value": 2.0 / x} for x in range(1, epochs + 1)]


def add_rike(add: Callable[..., None]) -> None:
    """Rows of Rike & Førland: 4 epochs of 10 steps; trials whose loss is lowest at a rate of its own."""
    best = {BACKPROPAGATION: (-1, 0.05), FORWARD_GRADIENT: (-4, 0.4), CLIPPED: (-3.5, 0.3)}
    rates = [10.0 ** (-6 + 7 * i / 8) for i in (0, 5, 3, 6, 1, 7, 2, 4)]
    passes = {BACKPROPAGATION: 3.0, FORWARD_GRADIENT: 2.0, CLIPPED: 2.0}
    for setting in rike2022_runs.SETTINGS:
        common = {"study": "rike2022", "epoch": 10, "num_steps": 40}
        for series, (place, lowest) in best.items():
            name, tuned = setting.method(series), f"tuned-{setting.name}"
            for number, rate in enumerate([*rates, 30.0]):  # the last is of the edge rule
                far = math.log10(rate) - place
                score = 1_000.0 if far > 2 else min(2.3, lowest * 3 ** abs(far))
                searched = {"trial": number, "search": "d", "learning_rate": rate, "score": score}
                status = {"status": "diverged" if far > 2 else "done", "role": "tune"}
                problem = {"problem": f"mnist {setting.network}"}
                add(tuned, name, 0, "training", {}, **common, **searched, **status, **problem)
            for repetition in range(3):
                loss = {
                    s: 2.3 * math.exp(-s / 40) + lowest + 0.01 * repetition for s in (0, 20, 40)
                }
                ends = {"test_loss": loss[40] + 0.01, "test_accuracy": 1 - loss[40] / 3}
                spent = {"forward_passes": 40 * passes[series]}
                curve = {("validation", "loss"): loss}
                add(tuned, name, repetition, "training", curve, **common, **ends, **spent)
            seconds = {s: passes[series] * (1 + s / 100) * 1e-3 for s in range(ROUNDS)}
            timed = {("none", "step_seconds"): seconds}
            add(f"run-time-{setting.name}", name, 0, "timing", timed, study="rike2022")
        for series in setting.published:
            for repetition in range(3):
                lowest = best[series][1]
                loss = {s: 2.3 * math.exp(-s / 10) + lowest for s in range(40)}
                test = {s: 2.3 * math.exp(-s / 10) + lowest for s in (0, 10, 20, 30, 40)}
                last = {s: value * 10.0**-repetition for s, value in test.items()}
                curves = {("train", "loss"): loss, ("test", "loss"): test}
                curves["test", "last_batch_loss"] = last
                finals = {"test_loss": test[40] + 0.1 * repetition, "test_accuracy": 0.9}
                finals["test_last_batch_loss"] = last[40]
                name = setting.method(series)
                add(setting.name, name, repetition, "training", curves, **common, **finals)


def add_speed(add: Callable[..., None]) -> None:
    """Rows of our own speed: a step of backpropagation is 8, of k tangents 8 k, the plain loop's twice that."""

    def timed(experiment: str, tangents: tuple[int, ...], unit: float = 1e-3) -> None:
        for k in tangents:
            many = f"{FORWARD_GRADIENT} k={k}" if k > 1 else FORWARD_GRADIENT
            name = many if k else BACKPROPAGATION
            costs = {f"products of {name}": 4, f"random numbers of {name}": 2 if k else 0}
            for optimizer in speed.OPTIMIZERS if experiment.startswith("steps") else ("SGD",):
                step = f"{name}, {optimizer}"
                costs |= {step: 8 * max(k, 1), f"plain {step}": 16 * max(k, 1)}
                costs[f"memory passes of {step}"] = 1
            for method, cost in costs.items():
                seconds = {s: cost * (1 + s / 100) * unit for s in range(ROUNDS)}
                curve = {("none", "step_seconds"): seconds}
                add(experiment, method, 0, "timing", curve, study="speed")

    for network in speed.NETWORKS:
        timed(f"steps-{network}", (0, 1))
    for size in (1, 4, 16):
        timed(f"replicas-{size}-logistic", (0, 1), 1e-3 / size)
        timed(f"replicas-{size}-mlp", (0, 1))
        timed(f"depth-{size}-mlp", (0, 1), 1e-3 * size)
    timed("tangents-mlp", (0, 1, 2, 4))


DIMENSIONS = (2, 4)
APPROACHES = (
    BACKPROPAGATION,
    FORWARD_GRADIENT,
    *(f"{name}, k={k}" for name in ("mean", "projection") for k in (2, 4)),
)


def lowest(function: str, dimension: int, method: str, repetition: int, gain: float = 0.0) -> float:
    """Lowest value: backpropagation gets to 0 or -10 n from n or 0, the others miss a share of that."""
    share = 0.0 if method == BACKPROPAGATION else 0.4 / max(1, approaches.num_tangents(method))
    share += 0.01 * repetition * (method != BACKPROPAGATION) + gain
    start, end = (dimension, 0.0) if function != "styblinski-tang" else (0.0, -10.0 * dimension)
    return end + (start - end) * share


def add_fluegel(
    add: Callable[..., None],
    diverged: frozenset[tuple[str, str, int]] = frozenset(),
    functions: tuple[str, ...] = ("sphere", "styblinski-tang"),
) -> None:
    """Rows of Flügel et al.: the projection is 0.1 of the descent ahead of the mean, 0.03 of it by its rate."""
    gains = {"published": {"projection": -0.1}, "tuned": {}, "exchanged": {"mean": -0.03}}
    names = {
        "published": "functions",
        "tuned": "functions-tuned",
        "exchanged": "functions-exchanged",
    }

    def ran(
        experiment: str, method: str, repetition: int, start: float, best: float, **columns: object
    ) -> None:
        lost = (experiment, method, repetition) in diverged
        values = {"best_value": math.nan if lost else best, "value": math.nan if lost else best}
        curve = {("none", "value"): {0: start, 10: best}}
        add(
            experiment,
            method,
            repetition,
            "training",
            curve,
            study="fluegel2024",
            num_steps=10,
            **values,
            **columns,
        )

    for function in functions:
        for n in DIMENSIONS:
            for arm, gain in gains.items():
                for method in APPROACHES[2 if arm == "exchanged" else 0 :]:
                    for repetition in range(3):
                        more = gain.get(method.partition(",")[0], 0.0)
                        best = lowest(function, n, method, repetition, more)
                        start = 0.0 if function == "styblinski-tang" else float(n)
                        problem = {"problem": f"{function} {n}", "num_parameters": n, "arm": arm}
                        ran(
                            f"{names[arm]}-{function}-{n}",
                            method,
                            repetition,
                            start,
                            best,
                            **problem,
                        )
    for k in (16, 64):
        for arm, name in (("published", "angles"), ("tuned", "angles-tuned")):
            for method, slope in (("mean", 0.5), ("projection", 0.0)):
                for angle in (15, 90):
                    for repetition in range(3):
                        best = -80.0 + slope * (90 - angle) / 75 * (10 + repetition)
                        turned = f"{method} at {angle} degrees"
                        problem = {"problem": "styblinski-tang 2", "num_parameters": 2, "arm": arm}
                        ran(f"{name}-{k}", turned, repetition, 0.0, best, **problem)
    angled = [f"{m} at {angle} degrees" for m in ("mean", "projection") for angle in (15, 90)]
    estimates = {
        f"approximation-{n}": (n, ["mean", "projection", "mean, unit length"])
        for n in (16, 64, 128)
    }
    for name, (n, methods) in {**estimates, "angles-quality": (64, angled)}.items():
        for place, method in enumerate(methods):
            curves = {
                ("none", metric + suffix): {k: (1 + place) * value / k for k in (4, 16, 64)}
                for metric, number in (
                    ("cosine", 0.5),
                    ("norm_ratio", 2.0),
                    ("relative_error", 3.0),
                )
                for suffix, value in (("", number), ("_std", 0.1))
            }
            add(
                name, method, 0, "approximation", curves, study="fluegel2024", num_steps=100, num_parameters=n,
                problem=f"ones {n}",
            )  # fmt: skip


def accuracy_of(method: str, place: int, repetition: int) -> float:
    """Test accuracy at the best epoch: backpropagation 0.9, the others behind by less the more tangents they have."""
    behind = 0.0 if method == BACKPROPAGATION else 0.2 / max(1, approaches.num_tangents(method))
    return 0.9 - 0.01 * place - behind * (1 + 0.1 * repetition)


def add_networks(
    add: Callable[..., None], diverged: frozenset[tuple[str, str, int]] = frozenset()
) -> None:
    """Rows of Flügel et al. on networks: the last epoch is 0.05 below the best, and costs grow with k."""
    for place, of in enumerate(fluegel2024_networks.SETTINGS):
        for arm in fluegel2024_networks.ARMS:
            for method in fluegel2024_networks.APPROACHES:
                for repetition in range(3):
                    best = accuracy_of(method, place, repetition)
                    ends = {
                        "best_test_accuracy": best,
                        "test_accuracy": best - 0.05,
                        "best_validation_loss": 1 - best,
                        "validation_loss": 1.1 - best,
                    }
                    if (of.experiment(arm), method, repetition) in diverged:
                        ends = dict.fromkeys(ends, math.nan)
                    add(
                        of.experiment(arm), method, repetition, "training", {}, study="fluegel2024", arm=arm,
                        num_parameters=1_000 * 10**place, learning_rate=0.1, **ends,
                    )  # fmt: skip
    of = fluegel2024_networks.SETTINGS[0]
    for place, method in enumerate(fluegel2024_networks.APPROACHES):
        for number, rate in enumerate((1e-5, 1e-3, 1e-1, 1.0)):
            lost = number == 3
            add(
                of.experiment("tuned"), method, 0, "training", {}, study="fluegel2024", role="tune", search="n",
                trial=number, learning_rate=rate, score=1_000.0 if lost else 2.0 - place / 10 + abs(number - 1),
                status="diverged" if lost else "done", problem="mnist fc",
            )  # fmt: skip
    modes = [f"{m}, {p}, k={k}" for m in ("forward", "simulated") for p in ("activations", "weights") for k in (1, 16)]  # fmt: skip
    for network in fluegel2024_networks.NETWORKS:
        for method in (BACKPROPAGATION, *modes):
            cost = max(1, approaches.num_tangents(method))
            curve = {("none", "step_seconds"): {s: cost * (1 + s / 100) for s in range(ROUNDS)}}
            add(
                f"networks-run-time-{network}-mnist", method, 0, "timing", curve, study="fluegel2024", arm="cost",
                peak_bytes=cost * 2.0**20,
            )  # fmt: skip


@pytest.fixture(scope="module")
def full() -> Results:
    return make()


@pytest.fixture(scope="module")
def empty() -> Results:
    runs, curves = results.tabulate(())
    return Results(runs, curves, pd.DataFrame())


def drawn(module: Any, table: pd.DataFrame) -> Figure:
    return figures.draw(module, table)


def text(figure: Figure) -> str:
    figure.draw_without_rendering()
    pieces = [t.get_text() for axes in figure.axes for t in (axes.title, *axes.texts)]
    return "\n".join([figure.get_suptitle(), *pieces])


def said_of(axes: Any) -> str:
    """Return what a reader is told of a panel: what all panels share, and its own title."""
    return f"{axes.figure.get_suptitle()}\n{axes.get_title()}"


def line(axes: Any, label: str) -> Any:
    (found,) = [entry for entry in axes.lines if entry.get_label() == label]
    return found


def test_names_are_of_two_kinds() -> None:
    rike = ("rike2022_fig1", "rike2022_fig2", "rike2022_last_batch", "rike2022_scaling")
    baydin = (*(f"baydin2022_fig{i}" for i in range(1, 7)), "baydin2022_identification")
    fluegel = (
        "fluegel2024_cost",
        *(f"fluegel2024_fig{i}" for i in (3, 4, 5, 6)),
        "fluegel2024_projection",
        "fluegel2024_size_gap",
    )
    assert (
        *baydin,
        *fluegel,
        "learning_rate_sensitivity",
        "learning_rate_sensitivity_many",
        *rike,
        "speed",
        "tuning_budget",
        "tuning_budget_many",
    ) == FIGURES
    assert figures.table_names() == TABLES


def test_unknown_names_list_the_choices(empty: Results, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown figure 'fig9'. Choose from: baydin2022_fig1, "):
        figures.build(empty, tmp_path, ["fig9"])
    with pytest.raises(ValueError, match=rf"Unknown table 'x'. Choose from: {', '.join(TABLES)}\."):
        figures.build_tables(empty, tmp_path, ["x"])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_caption_in_plain_words(
    name: str, full: Results, empty: Results
) -> None:
    module = figures.module_of(name)
    for given in (full, empty):
        caption = figures.caption_of(module, module.select(given))
        assert caption.endswith(".")
        # an SVG's alternative text and the page show it as it is: no markup
        assert "`" not in caption
        assert "\n" not in caption


@pytest.mark.parametrize("name", FIGURES)
def test_without_rows_every_panel_says_not_run(name: str, empty: Results) -> None:
    module = figures.module_of(name)
    table = module.select(empty)
    layout = figures.layout_of(module, table)
    assert text(drawn(module, table)).count("not run") == layout.rows * layout.cols


def test_empty_results_build(empty: Results, tmp_path: Path) -> None:
    written = figures.build(empty, tmp_path / "new", ["baydin2022_fig5"])
    assert [p.suffix for p in written] == [".csv", ".pdf", ".svg", ".png"]
    (csv, *_) = figures.build_tables(empty, tmp_path)
    assert pd.read_csv(csv)["R_f"].isna().all()


@pytest.mark.parametrize("name", FIGURES)
def test_select_is_tidy_and_nothing_is_mutated(name: str, full: Results) -> None:
    copies = [frame.copy(deep=True) for frame in (full.runs, full.curves, full.facts)]
    module = figures.module_of(name)
    table = module.select(full)
    assert tuple(table.columns) == tuple(selection.COLUMNS)
    assert not table["published"].isna().any()
    kept = table.copy(deep=True)
    assert "not run" not in text(drawn(module, table))
    pd.testing.assert_frame_equal(table, kept)
    for frame, copy in zip((full.runs, full.curves, full.facts), copies, strict=True):
        pd.testing.assert_frame_equal(frame, copy)


def test_two_builds_are_byte_identical(full: Results, tmp_path: Path) -> None:
    only = ["baydin2022_fig3", "learning_rate_sensitivity", "rike2022_last_batch", "tuning_budget"]
    first, second = (figures.build(full, tmp_path / name, only) for name in ("a", "b"))
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.suffix
    shown = pd.read_csv(first[0], keep_default_na=False, na_values={"x": "", "y": ""})
    table = baydin2022_fig3.select(full)
    np.testing.assert_array_equal(shown["y"], table["y"])
    svg = next(p for p in first if p.suffix == ".svg").read_text()
    assert "<dc:date>" not in svg


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


def test_losses_of_zero_stand_at_the_lower_edge(full: Results) -> None:
    table = rike2022_last_batch.select(full)
    zero = table.assign(y=table["y"].where(table["kind"] != "point", 0.0))
    panel = drawn(rike2022_last_batch, zero).axes[0]
    dots = [
        np.asarray(entry.get_ydata()) for entry in panel.lines if entry.get_linestyle() == "None"
    ]
    assert panel.get_ylim()[0] == rike2022_last_batch.FLOOR
    assert sum(int((y == rike2022_last_batch.FLOOR).sum()) for y in dots) == 30


def cells(table: Table, index: int) -> dict[str, Any]:
    return {c.name: cell for c, cell in zip(table.columns, table.rows[index], strict=True)}


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


def test_trials_winners_and_divergences(full: Results) -> None:
    table = learning_rate_sensitivity.select(full)
    rows = table[table["panel"] == "rike2022 tuned-nn-sgd: mnist nn, SGD"]
    ours = rows[rows["series"] == FORWARD_GRADIENT]
    counts = ours["kind"].value_counts()
    assert (counts["point"], counts["diverged"], counts["winner"]) == (5, 4, 1)
    assert set(ours["diverged"]) == {4}
    assert set(ours["n"]) == {9}
    assert ours[ours["kind"] == "diverged"]["y"].isna().all()
    (winner,) = selection.each(ours[ours["kind"] == "winner"])
    assert winner.x == pytest.approx(10.0 ** (-6 + 7 * 2 / 8))
    assert winner.note == "trial 6"
    ranges = rows[rows["kind"] == "guide"][["low", "high"]].to_numpy().tolist()
    assert ranges == [[1e-6, 10.0], [10.0, 100.0]]  # the edge rule added a decade
    assert text(drawn(learning_rate_sensitivity, table)).count("4 of 9") == 9


def test_losses_beyond_the_axis_are_arrows_at_its_edge(full: Results) -> None:
    ceiling = learning_rate_sensitivity.CEILING
    tuned = full.runs["role"] == "tune"
    high = tuned & (full.runs["trial"] == 3) & (full.runs["method"] == f"{BACKPROPAGATION}, SGD")
    runs = full.runs.assign(score=full.runs["score"].mask(high, 7_000.0))
    table = learning_rate_sensitivity.select(dataclasses.replace(full, runs=runs))
    beyond = table[table["y"] > ceiling]
    assert len(beyond) == 3  # the table has what they ended at
    figure = drawn(learning_rate_sensitivity, table)
    arrows = [
        each
        for axes in figure.axes
        for each in axes.lines
        if each.get_marker() == learning_rate_sensitivity.ARROW and np.size(each.get_xdata())
    ]
    assert [np.asarray(each.get_ydata()).tolist() for each in arrows] == [[ceiling]] * 3
    assert all(max(axes.get_yticks()) <= 1.1 * ceiling for axes in figure.axes)
    (legend,) = figure.legends
    assert "above 10 nats" in [entry.get_text() for entry in legend.get_texts()]


def test_a_panel_for_every_searched_comparison(full: Results) -> None:
    table = learning_rate_sensitivity.select(full)
    layout = figures.layout_of(learning_rate_sensitivity, table)
    assert (layout.rows, layout.cols) == (3, 3)
    kept = full.runs["experiment"].isin([f"tuned-nn-{name}" for name in rike2022_runs.OPTIMIZERS])
    tuned = full.runs["role"] == "tune"
    few = dataclasses.replace(full, runs=full.runs[kept | ~tuned])
    four = full.runs[tuned & kept].iloc[:9].assign(study="another2030", method="mine", search="e")
    more = dataclasses.replace(few, runs=pd.concat([few.runs, four], ignore_index=True))
    figure = drawn(tuning_budget, tuning_budget.select(more))
    assert [axes.axison for axes in figure.axes] == [True] * 4 + [False] * 2
    assert sum("another2030" in axes.get_title() for axes in figure.axes) == 1
    assert "rike2022" in figure.get_suptitle()


def test_comparisons_of_many_methods_have_panels_with_room(full: Results) -> None:
    for module, few in (
        (learning_rate_sensitivity_many, learning_rate_sensitivity),
        (tuning_budget_many, tuning_budget),
    ):
        table, others = module.select(full), few.select(full)
        assert not set(table["panel"]) & set(others["panel"])
        assert set(table["series"]) >= set(fluegel2024_networks.APPROACHES)
        assert set(others["series"]) & set(fluegel2024_networks.APPROACHES) <= set(selection.BOTH)
        tall, low = (figures.layout_of(m, t) for m, t in ((module, table), (few, others)))
        assert tall.height / tall.rows > low.height / low.rows
    table = learning_rate_sensitivity_many.select(full)
    shown = text(drawn(learning_rate_sensitivity_many, table))
    assert shown.count("1 of 4") == len(fluegel2024_networks.APPROACHES)
    shown = text(drawn(tuning_budget_many, tuning_budget_many.select(full)))
    behind = [
        line.partition(": ")[0] for line in shown.splitlines() if "never" in line or ": " in line
    ]
    ordered = [name for name in behind if name in fluegel2024_networks.APPROACHES]
    assert ordered == approaches.ordered(ordered)


def test_smaller_budgets_are_read_off_the_search(full: Results) -> None:
    table = tuning_budget.select(full)
    rows = table[table["panel"].str.startswith("rike2022 tuned-nn-sgd")]
    best = rows[(rows["kind"] == "best") & (rows["series"] == BACKPROPAGATION)]
    trials = next(s for s in searches.searched(full) if "tuned-nn-sgd" in s.panel).trials
    scores = trials[BACKPROPAGATION]["score"].to_numpy()
    np.testing.assert_array_equal(best["y"], np.minimum.accumulate(scores[:8]))
    assert best["n"].tolist() == [8] * 8  # without the trial of the edge rule
    words = rows[rows["kind"] == "settled"].set_index("series")["note"]
    assert words[CLIPPED].startswith(f"{CLIPPED}: behind from m=2, ")
    assert words[CLIPPED].endswith(tuning_budget.NEVER)
    # what is said of nearly all pairs stands in the caption, once
    shown = text(drawn(tuning_budget, table))
    assert words[CLIPPED] not in shown.replace(":\n", ": ")
    reach = int(rows["y"][rows["kind"] == "settled"].max())
    assert f" up to m = {reach} of 8 trials, " in tuning_budget.caption(table)
    assert "8 trials each" in shown


def test_what_is_certain_stands_in_its_panel(full: Results) -> None:
    table = tuning_budget.select(full)
    note = f"{CLIPPED}: behind from m=2, certain at 1"
    settled = table["panel"].str.startswith("rike2022 tuned-nn-sgd") & (table["kind"] == "settled")
    one = settled & (table["series"] == CLIPPED)
    sure = table.assign(low=table["low"].mask(one, 1.0), note=table["note"].mask(one, note))
    panels = drawn(tuning_budget, sure).axes
    told = [t.get_text() for axes in panels for t in axes.texts if t.get_text()]
    assert told == [note.replace(": ", ":\n")]


def test_no_band_is_drawn_over_the_words(full: Results) -> None:
    table = tuning_budget.select(full)
    assert np.isinf(table["low"][table["kind"] == "expected"]).any()
    table.loc[table["kind"] == "settled", "low"] = 1.0  # everything is certain, and said
    for axes in drawn(tuning_budget, table).axes:
        assert not axes.collections
        words = min(t.get_window_extent().y0 for t in axes.texts)
        for each in axes.lines:
            heights = axes.transData.transform(each.get_xydata())[:, 1]
            assert np.nanmax(heights, initial=0) < words


def test_no_loss_while_every_trial_has_diverged(full: Results) -> None:
    first = (full.runs["role"] == "tune") & (full.runs["trial"] == 0)
    runs = full.runs.assign(
        status=full.runs["status"].mask(first, "diverged"),
        score=full.runs["score"].mask(first, 1_000.0),
    )
    table = tuning_budget.select(dataclasses.replace(full, runs=runs))
    best = table[table["kind"] == "best"]
    assert best["y"][best["x"] == 1].isna().all()
    assert best["y"][best["x"] > 1].max() < 3
    assert "not run" not in text(drawn(tuning_budget, table))


def test_trials_come_at_the_scale_of_what_is_reported(full: Results) -> None:
    tuned = full.runs[full.runs["role"] == "tune"]
    larger = tuned.assign(scale="full", key="f" + tuned["key"], score=9.0)
    reduced = full.runs.assign(scale="reduced")
    both = dataclasses.replace(full, runs=pd.concat([reduced, larger], ignore_index=True))
    assert {found.scale for found in searches.searched(both)} == {"reduced"}
    alone = dataclasses.replace(both, runs=both.runs[both.runs["role"] == "tune"])
    assert {found.scale for found in searches.searched(alone)} == {"full"}
    figure = drawn(learning_rate_sensitivity, learning_rate_sensitivity.select(both))
    assert figure.get_suptitle() == "All panels: rike2022, 9 trials each, reduced scale"


def test_an_unfinished_search_counts_up_to_its_first_gap() -> None:
    trials = pd.DataFrame(
        {"number": [0, 1, 3], "rate": [1e-3, 1e-2, 1e-1], "refines": False, "score": 1.0}
    )
    assert searches.declared(trials)["number"].tolist() == [0, 1]
    added = trials.assign(number=[0, 1, 2], rate=[1e-3, 1e-2, 20.0])
    assert searches.declared(added)["number"].tolist() == [0, 1]
    beside = added.assign(rate=[1e-3, 1e-2, 2e-2], refines=[False, False, True])
    assert searches.declared(beside)["number"].tolist() == [0, 1]
    unscored = added.assign(rate=1e-3, score=[1.0, 1.0, math.inf])
    assert searches.declared(unscored)["number"].tolist() == [0, 1]


def test_a_trial_of_which_a_run_has_no_score_never_wins(full: Results) -> None:
    ours = full.runs[full.runs["experiment"] == "tuned-nn-sgd"]
    first = ours["trial"] == 0
    # the score of its other run would be the best of all
    good = ours.assign(score=ours["score"].mask(first, 0.01))
    none = ours[first].assign(key="b" + ours["key"][first], repetition=1, score=math.nan)
    twice = dataclasses.replace(full, runs=pd.concat([good, none], ignore_index=True))
    table = learning_rate_sensitivity.select(twice)
    assert "trial 0" not in set(table["note"][table["kind"] == "winner"])
    shown = table[(table["kind"] == "point") & (table["note"] == "trial 0")]
    assert len(shown)
    assert shown["y"].isna().all()
    drawn(learning_rate_sensitivity, table)
    # it ends the part of the search that tells what a smaller budget would have found
    assert tuning_budget.select(twice)["kind"].tolist() == ["not run"]


def test_of_trials_that_were_run_again_one_wins_by_its_mean(full: Results) -> None:
    ours = full.runs[full.runs["experiment"] == "tuned-nn-sgd"]
    scores = dict.fromkeys(ours["trial"].dropna().unique(), 9.0) | {0: 1.0, 1: 2.0, 2: 3.0}
    once = ours.assign(score=ours["trial"].map(scores), status="done")
    again = once[once["trial"] < 2]
    again = again.assign(key="b" + again["key"], repetition=1, stage="final")
    again["score"] = again["trial"].map({0: 8.0, 1: 2.5})
    twice = dataclasses.replace(full, runs=pd.concat([once, again], ignore_index=True))
    table = learning_rate_sensitivity.select(twice)
    assert set(table["note"][table["kind"] == "winner"]) == {"trial 1"}
    shown = {
        n: set(table["y"][(table["kind"] == "point") & (table["note"] == f"trial {n}")])
        for n in range(3)
    }
    assert shown == {0: {4.5}, 1: {2.25}, 2: {3.0}}
    # a first run whose file is damaged, and was skipped, costs no figure
    lost = once["key"][once["trial"] == 0].iloc[0]
    left = dataclasses.replace(full, runs=twice.runs[twice.runs["key"] != lost])
    assert len(learning_rate_sensitivity.select(left)) == len(table)
    # a smaller budget would have had the first runs alone
    without = dataclasses.replace(full, runs=once)
    pd.testing.assert_frame_equal(tuning_budget.select(twice), tuning_budget.select(without))


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


def test_the_caption_says_what_is_left_of_the_error_of_the_projection(full: Results) -> None:
    table = fluegel2024_fig3.select(full)
    assert fluegel2024_fig3.caption(table).endswith("the projection's error is at most 0.09.")
    none = table.assign(y=0.0)
    assert "error is exactly 0" in fluegel2024_fig3.caption(none)


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


def test_searches_on_functions_have_figures_of_their_own(full: Results) -> None:
    searched = full.runs[full.runs["experiment"] == "tuned-nn-sgd"]
    searched = searched[searched["role"] == "tune"]
    functions = searched.assign(
        study="fluegel2024",
        experiment="functions-tuned-sphere-2",
        key="f" + searched["key"],
        value=1.0,
    )
    functions["value"] = functions["value"].mask(functions["status"] == "diverged")
    both = dataclasses.replace(full, runs=pd.concat([full.runs, functions], ignore_index=True))
    for module in (learning_rate_sensitivity, tuning_budget):
        pd.testing.assert_frame_equal(module.select(both), module.select(full))


def test_numbers_of_tangents_are_told_apart_without_colours() -> None:
    names = [f"{of}, k={k}" for of in ("mean", "projection", "mine") for k in (2, 4, 16)]
    looks = approaches.looks([*selection.BOTH, *names])
    shapes = {(look.marker, look.open) for look in looks.values()}
    assert len(shapes) == len(looks)
    for of in ("mean", "projection", "mine"):
        few, some, most = (looks[f"{of}, k={k}"] for k in (2, 4, 16))
        assert (few.open, some.open, most.open) == (True, False, False)
        assert len({str(look.dashes) for look in (few, some, most)}) == 3
        assert len({look.color for look in (few, some, most)}) == 1
        assert few.line["mfc"] == "white"
        assert most.line["mfc"] == most.color


def test_what_panels_share_is_said_once() -> None:
    def titled(*notes: dict[str, str]) -> list[str]:
        figure = Figure()
        panels = figure.subplots(1, len(notes), squeeze=False).flat
        headings.titles((axes, "a name", each) for axes, each in zip(panels, notes, strict=True))
        return [figure.get_suptitle(), *(axes.get_title() for axes in figure.axes)]

    few, full_ = {"n": "n=3"}, {"n": "n=5", "scale": "full scale"}
    reduced = {"n": "n=5", "scale": "reduced scale"}
    assert titled(few) == ["", "a name\nn=3"]
    assert titled(few, few) == ["All panels: n=3", "a name", "a name"]
    assert titled(few, few, {}) == ["All panels: n=3", "a name", "a name", "a name"]
    assert titled(full_, full_) == ["All panels: n=5", "a name", "a name"]
    assert titled(full_, reduced) == ["All panels: n=5", "a name", "a name\nreduced scale"]
    assert titled(reduced, reduced, full_) == [
        "Unless a panel says otherwise: n=5, reduced scale",
        "a name",
        "a name",
        "a name\nfull scale",
    ]
    # what is not known of a panel is not said of it
    assert titled(reduced, reduced, few)[0] == "Unless a panel says otherwise: n=5"


@pytest.mark.parametrize("name", figures.names())
def test_titles_of_panels_have_two_lines_at_most(name: str, full: Results) -> None:
    module = figures.module_of(name)
    figure = drawn(module, module.select(full))
    assert max(axes.get_title().count("\n") for axes in figure.axes) <= 1


def test_methods_without_a_look_get_one_each() -> None:
    looks = style.looks(["mine", BACKPROPAGATION, "yours"])
    assert looks[BACKPROPAGATION] == style.LOOKS[BACKPROPAGATION]
    assert looks["mine"] != looks["yours"]


def test_landscapes() -> None:
    at = np.array
    assert landscapes.beale(at(0.0), at(0.5)) == pytest.approx(14.203125)
    assert landscapes.rosenbrock(at(-1.0), at(0.0)) == pytest.approx(104.0)
    assert landscapes.beale(at(3.0), at(0.5)) == landscapes.rosenbrock(at(1.0), at(1.0)) == 0


def test_no_torch() -> None:
    code = "import sys, figures; figures.names(); figures.table_names(); sys.exit('torch' in sys.modules)"
    root = Path(figures.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


# Networks of Flügel et al.


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


def test_two_budgets_of_one_problem_are_told_apart_by_their_steps(full: Results) -> None:
    rows = full.runs
    short = rows[rows["experiment"] == "networks-tuned-fc256-mnist"]
    short = short.assign(problem="fc256-mnist", num_steps=782)
    longer = short.assign(experiment="networks-passes-fc256-mnist", num_steps=3_714)

    def headings(*tables: pd.DataFrame) -> list[str]:
        runs = full.beside(pd.concat(tables, ignore_index=True))
        return [searches.heading_of(found.panel) for found in searches.searched(runs, many=True)]

    assert headings(short) == ["FC 256, MNIST"]
    assert headings(short, longer) == ["FC 256, MNIST (3,714 steps)", "FC 256, MNIST (782 steps)"]


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

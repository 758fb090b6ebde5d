"""Rows of every experiment that a figure or table shows, few points each, and what a reader finds in a drawing.

A test module takes a fixture from here under its own name: `from figure_rows import full as full`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import figures
from figures import approaches, fluegel2024_networks, rike2022_runs, speed
from repro import results
from repro.measures import BACKPROPAGATION, FORWARD_GRADIENT
from repro.results import Results
from repro.results.table import typed
from repro.tables import Table

CLIPPED = rike2022_runs.CLIPPED


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
                # these have no trials here
                as_long = [f"tuned-nn-as-{n}-{setting.optimizer}" for n in ("cnn", "cifar")]
                for experiment in (tuned, *(as_long if setting.network == "nn" else [])):
                    add(experiment, name, repetition, "training", curve, **common, **ends, **spent)
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


def cells(table: Table, index: int) -> dict[str, Any]:
    return {c.name: cell for c, cell in zip(table.columns, table.rows[index], strict=True)}

"""Baydin et al. 2022, run times: what a step costs and how long a loss takes, ours beside the published."""

from __future__ import annotations

import math

from figures.baydin2022_facts import STUDY, published_number
from figures.headings import short_device
from figures.selection import BACKPROPAGATION, FORWARD_GRADIENT
from repro import measures
from repro.measures import Measurement
from repro.results import EmptySelectionError, Results
from repro.stats import Interval
from repro.tables import Cell, Column, Table

TITLE = (
    "Run time of the forward gradient and of backpropagation: a step over the function alone (R_f, R_b), one step over the other "
    "(R_f/R_b), and the time to backpropagation's lowest validation loss (T_f/T_b)"
)
ROWS = (  # label, setting of the facts, training experiment, timing experiment, metric
    ("Logistic regression", "logistic", "logistic", "run-time-logistic", "loss"),
    ("MLP, 2e-5", "mlp-2e-5", "mlp-2e-5-exponential", "run-time-mlp", "loss"),
    ("MLP, 2e-4", "mlp-2e-4", "mlp-2e-4-exponential", "run-time-mlp", "loss"),
    ("CNN", "cnn", "cnn", "run-time-cnn", "loss"),
    ("Beale", "beale", "beale", "run-time-beale", "value"),
    ("Rosenbrock", "rosenbrock", "rosenbrock", "run-time-rosenbrock", "value"),
)
STEP_RATIOS = {
    "R_f": (FORWARD_GRADIENT, "function alone"),
    "R_b": (BACKPROPAGATION, "function alone"),
    "R_f/R_b": (FORWARD_GRADIENT, BACKPROPAGATION),
}
NOTES = (
    "R_f, R_b, R_f/R_b: median over rounds (n) in which the methods were timed in turn, with its distribution-free 95 % interval; "
    "they hold for this machine alone.",
    "T_f/T_b: geometric mean over repetitions (n) of the ratio of iterations, times the ratio of step times; joint 95 % interval. "
    "Infinite where half of the repetitions or more never reach the loss.",
    "Published values are printed in Figs. 3 and 4. For Beale and Rosenbrock, R_f/R_b is the ratio of total times, read off Fig. 2, "
    "and our T_f/T_b is to backpropagation's lowest f. n/a: not found in the paper.",
)


def table(results: Results) -> Table:
    """Return the table of run times; its notes name devices, scales, divergences and misses."""
    columns = [Column("problem", "Problem", "left")]
    for name in (*STEP_RATIOS, "T_f/T_b"):
        machine = name.replace("/", "_over_")
        columns += [
            Column(machine, f"{name} ours", format=".2f", interval=True),
            Column(f"{machine}_published", f"{name} published", format=".3f"),
        ]
    columns.append(Column("scale", "Scale", "left"))
    rows, found = [], []
    for label, setting, experiment, run_time, metric in ROWS:
        ours = {
            **{name: _step(results, run_time, *pair) for name, pair in STEP_RATIOS.items()},
            "T_f/T_b": _time(results, experiment, run_time, metric),
        }
        measured = [m for m in ours.values() if m is not None]
        found += [(label, m) for m in measured]
        cells: list[Cell] = [label]
        for name, measurement in ours.items():
            cells += [_interval(measurement), _published(results, name, setting)]
        rows.append((*cells, ", ".join(sorted({m.scale for m in measured})) or None))
    return Table(
        "baydin2022_run_time", TITLE, tuple(columns), tuple(rows), (*NOTES, *_remarks(found))
    )


def _step(results: Results, experiment: str, a: str, b: str) -> Measurement | None:
    try:
        return measures.step_time_ratio(results, experiment, a, b, study=STUDY)
    except EmptySelectionError:
        return None


def _time(results: Results, experiment: str, run_time: str, metric: str) -> Measurement | None:
    try:
        return measures.time_to_loss_ratio(
            results, experiment, run_time, metric=metric, study=STUDY
        )
    except EmptySelectionError:
        return None


def _interval(measured: Measurement | None) -> Interval | None:
    return None if measured is None else measured.interval


def _published(results: Results, name: str, setting: str) -> float:
    value = published_number(results, name, setting)
    if name == "R_f/R_b" and math.isnan(value):
        return published_number(results, "time ratio", setting)
    return value


def _remarks(found: list[tuple[str, Measurement]]) -> list[str]:
    devices = sorted({short_device(m.device) for _, m in found if m.device})
    remarks = [f"Timed on: {', '.join(devices)}."] if devices else []
    for label, m in found:
        if m.missed or m.diverged:
            remarks.append(
                f"{label}: {m.missed} of {m.interval.num} repetitions never reached the loss; {m.diverged} runs diverged."
            )
    if smaller := sorted({m.scale for _, m in found} - {"full"}):
        remarks.append(f"Rows at scale {' and '.join(smaller)} are not the published protocol.")
    return remarks

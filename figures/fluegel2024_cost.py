"""Flügel et al. 2024: what a step of multi-tangent forward gradients costs, in seconds and in memory, by tangents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.ticker import NullLocator

from figures import headings, legends, marks, style, ticks
from figures.approaches import num_tangents
from figures.fluegel2024_networks import NETWORKS
from figures.fluegel2024_runs import STUDY, doubling, narrowed
from figures.selection import BACKPROPAGATION, each, frame, not_run, stack
from repro import measures
from repro.measures import Measurement
from repro.results import EmptySelectionError, Results

FAMILY = "networks-run-time"
SERIES = {
    "forward, activations": style.Look(style.PALETTE[1], "-", "s"),
    "forward, weights": style.Look(style.PALETTE[3], (0, (4, 1.2)), "^"),
    "simulated, activations": style.Look(style.PALETTE[2], "-", "o"),
    "simulated, weights": style.Look(style.PALETTE[4], (0, (4, 1.2)), "D"),
}
"""Mode of the derivatives and space of the tangents."""
MEBIBYTE = 2.0**20
QUANTITIES: dict[str, tuple[str, float]] = {
    "seconds": ("seconds a step", 1.0),
    "memory": ("peak memory (MiB)", 1 / MEBIBYTE),
}
TITLE = (
    "Cost of a step of the projection with k tangents, perturbing the activations of the blocks or the weights, in forward mode and "
    "simulated with backpropagation, as in the paper's network runs; MNIST, batch 64, one thread. Top: median over rounds in which "
    "all took turns, with its distribution-free 95 % interval where there are six rounds or more. Bottom: the allocator's peak "
    "over one step. Blue: a step of backpropagation. ResNet18 and ViT are narrower at reduced scale. With batch normalisation, "
    "forward mode perturbs one example at a time."
)
LAYOUT = style.Layout(2, len(NETWORKS), style.DOUBLE, 3.9)


def select(results: Results) -> pd.DataFrame:
    """Return seconds and peak memory of a step by network, series and number of tangents."""
    results = narrowed(results, FAMILY)
    return stack(_panel(results, network, what) for what in QUANTITIES for network in NETWORKS)


def _panel(results: Results, network: str, what: str) -> pd.DataFrame:
    panel, experiment = f"{what} {network}", f"{FAMILY}-{network}-mnist"
    try:
        runs = measures.report_runs(results, experiment, study=STUDY)
    except EmptySelectionError as error:
        return not_run(panel, note=str(error))
    return frame([_row(results, panel, experiment, str(m), what) for m in runs["method"].unique()])


def _row(
    results: Results, panel: str, experiment: str, method: str, what: str
) -> dict[str, object]:
    series, _, _ = method.partition(", k=")
    measured = _MEASURES[what](results, experiment, method)
    interval, factor = measured.interval, QUANTITIES[what][1]
    bounded = np.isfinite(interval.high) and interval.low > 0
    return {
        "panel": panel,
        "kind": "mean",
        "series": series,
        "x": float(num_tangents(method)) if series != BACKPROPAGATION else np.nan,
        "y": factor * interval.estimate,
        "low": factor * interval.low if bounded else np.nan,
        "high": factor * interval.high if bounded else np.nan,
        "n": interval.num,
        "scale": measured.scale,
        "device": measured.device,
        "note": measured.procedure,
    }


def _seconds(results: Results, experiment: str, method: str) -> Measurement:
    return measures.step_seconds(results, experiment, method, study=STUDY)


def _memory(results: Results, experiment: str, method: str) -> Measurement:
    return measures.final_metric(results, experiment, method, "peak_bytes", study=STUDY)


_MEASURES: dict[str, Callable[[Results, str, str], Measurement]] = {
    "seconds": _seconds,
    "memory": _memory,
}


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a column for each network, seconds above memory."""
    titles = []
    for panel, name in zip(axes.flat, dict.fromkeys(table["panel"]), strict=True):
        rows = table[table["panel"] == name]
        what, network = name.split(" ")
        titles.append((panel, NETWORKS[network], _notes(rows)))
        if marks.missing(panel, rows):
            continue
        panel.set_yscale("log")
        doubling(panel, table["x"].dropna())
        for series, look in SERIES.items():
            part = rows[rows["series"] == series].sort_values("x")
            panel.vlines(part["x"], part["low"], part["high"], color=look.color, lw=0.6, alpha=0.7)
            panel.plot(part["x"], part["y"], **look.line, ms=2.6, lw=0.9, label=series)
        for base in each(rows[rows["series"] == BACKPROPAGATION]):
            panel.axhline(base.y, color=style.LOOKS[BACKPROPAGATION].color, lw=1.1, zorder=1.2)
        ticks.logarithmic(panel)
        panel.xaxis.set_minor_locator(NullLocator())
        if what == list(QUANTITIES)[-1]:
            panel.set_xlabel("tangents k")
    for line, (label, _) in zip(axes, QUANTITIES.values(), strict=True):
        line[0].set_ylabel(label)
    headings.titles(titles)
    looks = {BACKPROPAGATION: style.Look(style.LOOKS[BACKPROPAGATION].color, "-", ""), **SERIES}
    entries: list[tuple[str, dict[str, object]]] = [
        (name, {**look.line, "ms": 3}) for name, look in looks.items()
    ]
    legends.key(axes, entries, 5)


def _notes(rows: pd.DataFrame) -> dict[str, str]:
    timed = rows[rows["kind"] == "mean"]
    rounds = {"n": f"n={timed['n'].min()}"} if len(timed) and timed["n"].min() > 1 else {}
    return rounds | headings.scale_note(timed["scale"])  # memory is measured once

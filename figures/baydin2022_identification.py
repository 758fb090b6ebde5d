"""Which input scaling and decay the paper left unsaid: settings against the published curves of Figs. 3 and 4."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from figures import headings, legends, marks, style, ticks
from figures.baydin2022_facts import STUDY, published
from figures.selection import BACKPROPAGATION, curves, frame, stack
from repro.results import Results

TITLE = (
    "Settings that our sources of the paper leave open, identified from its published curves of backpropagation: validation loss of "
    "logistic regression (Fig. 3) for two input scalings and three decays, and of the multi-layer network at 2×10⁻⁴ (Fig. 4) for "  # noqa: RUF001
    "two decays. The legend gives the largest absolute deviation of the mean from the published values (read off within 0.02), "
    "leaving out the start, which no decay decides."
)
LAYOUT = style.Layout(1, 3, style.DOUBLE, 2.9)
SCHEDULES = ("constant", "exponential", "hyperbolic")
SCALINGS = {"unit": "Pixels in [0, 1]", "standardised": "Pixels standardised"}
PANELS = {**SCALINGS, "mlp": "Multi-layer network"}
MLP = {"exponential": "mlp-2e-4-exponential", "hyperbolic": "mlp-2e-4"}


def select(results: Results) -> pd.DataFrame:
    """Return eight curves, the two published ones, and how far each is from its own."""
    parts = []
    for scaling in SCALINGS:
        tried = {schedule: f"identification-{scaling}-{schedule}" for schedule in SCHEDULES}
        read = published(results, scaling, "validation loss", "logistic")
        parts += _panel(results, scaling, tried, read)
    read = published(results, "mlp", "validation loss", "mlp-2e-4", BACKPROPAGATION)
    parts += _panel(results, "mlp", MLP, read.assign(series="published"))
    return stack(parts)


def _panel(
    results: Results, panel: str, tried: Mapping[str, str], read: pd.DataFrame
) -> list[pd.DataFrame]:
    parts = [read]
    for schedule, experiment in tried.items():
        rows = curves(results, panel, experiment, "loss", study=STUDY, methods=[BACKPROPAGATION])
        parts += [rows.assign(series=schedule), _deviation(rows, read).assign(series=schedule)]
    return parts


def _deviation(rows: pd.DataFrame, read: pd.DataFrame) -> pd.DataFrame:
    means = rows[rows["kind"] == "mean"]
    both = means.merge(read[["x", "y"]], on="x", suffixes=("", "_read"))
    both = both[
        both["x"] > 0
    ]  # the start depends on the initial parameters, not on what is identified
    if both.empty:
        return frame()
    largest = float(np.abs(both["y"] - both["y_read"]).max())
    note = (
        "largest absolute deviation from the published curve after its start, "
        f"at {len(both)} of {len(read)} values"
    )
    first = means.iloc[0]
    common = {name: first[name] for name in ("panel", "n", "diverged", "scale")}
    return frame([{**common, "kind": "ratio", "y": largest, "note": note}])


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a panel for each input scaling, and one for the multi-layer network."""
    titles = []
    for panel, (name, heading) in zip(axes.flat, PANELS.items(), strict=True):
        rows = table[table["panel"] == name]
        titles.append((panel, heading, headings.notes(rows)))
        panel.set(xlabel="iteration", ylabel="validation loss (nats)")
        ticks.whole(panel)
        if marks.missing(panel, rows):
            marks.published(panel, rows[rows["kind"] == "published"])
        else:
            marks.lines(panel, rows)
        labels = {
            schedule: f"{schedule}: off by ≤ {_largest(rows, schedule):.3f}"
            for schedule in SCHEDULES
            if not math.isnan(_largest(rows, schedule))
        }
        handles = [line for line in panel.lines if line.get_label() in labels]
        if handles:
            low, high = panel.get_ylim()
            panel.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
            panel.legend(
                handles, [labels[str(line.get_label())] for line in handles], loc="upper right"
            )
    headings.titles(titles)
    mean = ("mean, 95 % t band", {"color": style.GREY})
    legends.key(axes, [mean, *legends.curve_entries(table, ())], 4)


def _largest(rows: pd.DataFrame, schedule: str) -> float:
    found = rows[(rows["kind"] == "ratio") & (rows["series"] == schedule)]["y"]
    return float(found.iloc[0]) if len(found) else math.nan

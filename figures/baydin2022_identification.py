"""Which input scaling and decay the paper left unsaid: six settings against the published curve of Fig. 3."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from figures import style
from figures.selection import BACKPROPAGATION, curves, frame, published, stack
from repro.results import Results

TITLE = (
    "Settings that the paper leaves open, identified from the published curve of its Fig. 3: validation loss of logistic "
    "regression by backpropagation for two input scalings and three decays. The legend gives the largest absolute "
    "deviation of the mean from the published values (read off within 0.02) after the start, which no decay decides."
)
LAYOUT = style.Layout(1, 2, style.DOUBLE, 2.9)
SCALINGS = {"unit": "Pixels in [0, 1]", "standardised": "Pixels standardised"}
SCHEDULES = ("constant", "exponential", "hyperbolic")


def select(results: Results) -> pd.DataFrame:
    """Return six curves, the published one, and how far each is from it."""
    parts = []
    for scaling in SCALINGS:
        read = published(results, scaling, "validation loss", "logistic")
        for schedule in SCHEDULES:
            experiment = f"identification-{scaling}-{schedule}"
            rows = curves(results, scaling, experiment, "loss", methods=[BACKPROPAGATION])
            parts += [rows.assign(series=schedule), _deviation(rows, read).assign(series=schedule)]
        parts.append(read)
    return stack(parts)


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
    """Draw a panel for each input scaling."""
    for panel, (scaling, heading) in zip(axes.flat, SCALINGS.items(), strict=True):
        rows = table[table["panel"] == scaling]
        style.title(panel, heading, rows)
        panel.set(xlabel="iteration", ylabel="validation loss (nats)")
        style.whole_ticks(panel)
        if style.missing(panel, rows):
            style.markers(panel, rows[rows["kind"] == "published"])
        else:
            style.lines(panel, rows)
        labels = {
            schedule: f"{schedule}: off by ≤ {_largest(rows, schedule):.3f}"
            for schedule in SCHEDULES
            if not math.isnan(_largest(rows, schedule))
        }
        handles = [line for line in panel.lines if line.get_label() in labels]
        if handles:
            panel.legend(
                handles, [labels[str(line.get_label())] for line in handles], loc="upper right"
            )
    mean = ("mean, 95 % t band", {"color": style.GREY})
    style.key(axes, [mean, *style.curve_entries(table, ())], 4)


def _largest(rows: pd.DataFrame, schedule: str) -> float:
    found = rows[(rows["kind"] == "ratio") & (rows["series"] == schedule)]["y"]
    return float(found.iloc[0]) if len(found) else math.nan

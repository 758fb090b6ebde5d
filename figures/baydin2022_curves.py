"""What Figs. 3 to 5 of Baydin et al. share: validation curves of both methods by iteration and by time, with T_f and T_b."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures import headings, legends, marks, style, ticks
from figures.baydin2022_facts import STUDY, published, published_number
from figures.selection import (
    BACKPROPAGATION,
    BOTH,
    FORWARD_GRADIENT,
    curves,
    each,
    frame,
    ratio,
    stack,
)
from repro import measures, stats
from repro.results import EmptySelectionError, Results

LEAST = 0.1
"""Least that an ordinate spans, in nats or as an accuracy: what differs by far less must not look like a descent."""
EDGE = 1.25
"""The ordinate of a loss ends at so many times the highest start, mean or band: a run that shoots up must not flatten the rest."""


def caption(title: str, table: pd.DataFrame) -> str:
    """Return a caption that ends with what lines and bands are, and with the scale where it is not full.

    Args:
        title: The caption without that.
        table: Rows of `select_comparison`.

    Returns:
        The caption.
    """
    means = table[table["kind"] == "mean"]
    if means.empty:
        return title
    single = " One run of each method: lines without an interval."
    scales = sorted(set(means["scale"]) - {"full"})
    steps = means["x"][means["panel"].str.endswith(" iteration")].max()
    short = f" At {' and '.join(scales)} scale: {steps:,.0f} iterations." if scales else ""
    of_losses = table[~table["panel"].str.endswith(" accuracy")]
    losses = [rows for _, rows in of_losses.groupby("panel")]
    beyond = " Crosses at the upper edge: last seen above it." if any(map(_shot_up, losses)) else ""
    return title + (single if means["n"].max() == 1 else BAND) + beyond + short


BAND = " Mean over repetitions, 95 % t band."


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One row of panels: a training experiment, the timing experiment of the same problem, and what the facts call it."""

    experiment: str
    run_time: str
    label: str
    setting: str
    accuracy: bool = True


def select_comparison(results: Results, comparison: Comparison) -> pd.DataFrame:
    """Return the rows of one comparison: loss by iteration and time, accuracy, guides and T_f/T_b.

    Args:
        results: The tables.
        comparison: What to compare.

    Returns:
        Panels `<experiment> iteration`, `<experiment> time` and `<experiment> accuracy`.
    """
    name = comparison.experiment
    by_time = curves(
        results, f"{name} time", name, "loss", run_time=comparison.run_time, study=STUDY
    )
    parts = [
        curves(results, f"{name} iteration", name, "loss", study=STUDY),
        _read_offs(results, name, comparison.setting),
        by_time,
        _guides(by_time, f"{name} time"),
        _time_ratio(results, comparison),
    ]
    if comparison.accuracy:
        parts.append(curves(results, f"{name} accuracy", name, "accuracy", study=STUDY))
    return stack(parts)


def _read_offs(results: Results, name: str, setting: str) -> pd.DataFrame:
    panel = f"{name} iteration"
    common = published(results, panel, "validation loss", setting)  # those given for both at once
    own = [published(results, panel, "validation loss", setting, series) for series in BOTH]
    return common if len(common) else stack(own)


def _guides(rows: pd.DataFrame, panel: str) -> pd.DataFrame:
    """Return the paper's guide lines, on the mean curves: T_b, T_f and the loss at which they are read."""
    means = rows[rows["kind"] == "mean"]
    ours, base = (
        means[means["series"] == series] for series in (FORWARD_GRADIENT, BACKPROPAGATION)
    )
    if ours.empty or base.empty:
        return frame()
    lowest = int(np.argmin(base["y"]))
    level = float(base["y"].iloc[lowest])
    crossing, _, _ = stats.first_crossing(ours["x"], ours["y"], level)
    note = "on the mean curves"
    found = {"T_b": float(base["x"].iloc[lowest]), "T_f": crossing}
    return frame(
        [
            {"panel": panel, "kind": "guide", "series": name, "x": x, "y": level, "note": note}
            for name, x in found.items()
            if not math.isnan(x)
        ]
    )


def _time_ratio(results: Results, comparison: Comparison) -> pd.DataFrame:
    name = comparison.experiment
    value = published_number(results, "T_f/T_b", comparison.setting)
    try:
        measured = measures.time_to_loss_ratio(results, name, comparison.run_time, study=STUDY)
    except EmptySelectionError:
        return ratio(f"{name} time", "T_f/T_b", None, value)
    return ratio(f"{name} time", "T_f/T_b", measured, value)


def draw_comparisons(
    table: pd.DataFrame, axes: style.AxesGrid, comparisons: Sequence[Comparison]
) -> None:
    """Draw a row of panels for each comparison, and one legend beneath.

    Args:
        table: Rows of `select_comparison`.
        axes: A row for each comparison; two or three columns.
        comparisons: In order of the rows.
    """
    titles = []
    for row, comparison in zip(axes, comparisons, strict=True):
        panels = {
            "iteration": ("iteration", "validation loss (nats)"),
            "time": ("time (s)", "validation loss (nats)"),
            "accuracy": ("iteration", "validation accuracy"),
        }
        for panel, (column, labels) in zip(row, panels.items(), strict=False):
            rows = table[table["panel"] == f"{comparison.experiment} {column}"]
            what = "accuracy" if column == "accuracy" else f"loss by {column}"
            titles.append((panel, f"{comparison.label}, {what}", headings.notes(rows)))
            panel.set(xlabel=labels[0], ylabel=labels[1])
            if column != "time":
                ticks.whole(panel)
            if marks.missing(panel, rows):
                marks.published(panel, rows[rows["kind"] == "published"])
            else:
                within = rows if column == "accuracy" else _cut(rows)
                marks.lines(panel, within)
                _widen(panel)
                if column != "accuracy" and _shot_up(rows):
                    low, high = min(within["y"].min(), within["low"].min()), _edge(rows)
                    panel.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
            if column == "time":
                _draw_guides(panel, rows)
    headings.titles(titles)
    legends.key(axes, legends.curve_entries(table, BOTH), 3)


def _edge(rows: pd.DataFrame) -> float:
    """Return where the ordinate of a loss ends at most."""
    starts = rows[(rows["kind"] == "repetition") & (rows["x"] == 0)]["y"]
    settled = rows[rows["kind"].isin(["mean", "published"])]
    return EDGE * float(pd.concat([starts, settled["y"], settled["high"]]).max())


def _shot_up(rows: pd.DataFrame) -> bool:
    """Return whether a single run leaves the panel upwards."""
    return bool((rows[rows["kind"].isin(["repetition", "diverged"])]["y"] > _edge(rows)).any())


def _cut(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a loss with its crosses within the panel; lines are cut by the panel itself."""
    crosses = (rows["kind"] == "diverged") & (rows["y"] > _edge(rows))
    return rows.assign(y=rows["y"].mask(crosses, _edge(rows)))


def _widen(axes: Axes) -> None:
    low, high = axes.get_ylim()
    room = (LEAST - (high - low)) / 2
    if room > 0:
        axes.set_ylim(low - room, high + room)


def _draw_guides(axes: Axes, rows: pd.DataFrame) -> None:
    guides = rows[rows["kind"] == "guide"]
    thin: dict[str, Any] = {"color": style.GREY, "lw": 0.7, "ls": (0, (3, 2)), "zorder": 1.4}
    bottom = axes.get_ylim()[0]
    for guide in each(guides):
        axes.axhline(guide.y, **thin)
        axes.plot([guide.x, guide.x], [bottom, guide.y], **thin)
        last = guide.x == guides["x"].max()  # outwards, so that two close guides can both be read
        axes.annotate(
            f"${guide.series}$",
            (guide.x, bottom),
            xytext=(2 if last else -2, 2),
            textcoords="offset points",
            ha="left" if last else "right",
            size=7,
        )
    if len(guides):
        axes.set_ylim(bottom=bottom)
    marks.write_number(axes, rows, "$T_f/T_b$", left=_shot_up(rows))

"""What the figures and tables of Flügel et al. share: functions by dimension, exact zeros.

Nothing here lists functions, dimensions, aggregations or angles: they are what the rows have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from figures import headings, legends, style
from figures.selection import each, frame
from repro.measures import Measurement
from repro.results import Results

STUDY = "fluegel2024"
FINAL = "final value"
"""Quantity of the facts that hold where the authors' searches ended, seed 0."""
ENDS = {"tuned": ("value", "last")}
"""What runs of an arm come to, and in a word; of others `LOWEST`. What was tuned is the last value."""
LOWEST = ("best_value", "lowest")
PASSES = "functions-passes-"
"""First words of the experiments in which 16 tangents take as many forward passes in all as one does elsewhere."""
LEAST = 1e-10
"""Of a value on a function: what lies below is zero for a network in single precision, and has one place on an axis."""
FUNCTIONS = ("sphere", "rosenbrock", "styblinski-tang")
"""Order of the paper; others follow."""


def column_a_function(
    table: pd.DataFrame, num_rows: int, height: float, margin: float
) -> style.Layout:
    """Return a grid with a column of panels a function.

    Args:
        table: What is drawn; a single panel says that nothing was run.
        num_rows: Panels of a function.
        height: Of a row, in inches.
        margin: Inches more for the whole, where the legend stands.

    Returns:
        The grid; as wide as the page from three functions on.
    """
    num_panels = table["panel"].nunique()
    cols = max(1, num_panels // num_rows)
    rows = num_rows if num_panels > 1 else 1
    width = max(style.SINGLE, style.DOUBLE * cols / max(cols, 3))
    return style.Layout(rows, cols, width, rows * height + margin)


def narrowed(results: Results, family: str) -> Results:
    """Return the results without the runs that are not of a family: what is left is searched many times.

    Args:
        results: The tables; unchanged.
        family: First word of the experiments.

    Returns:
        Reported runs of the study, with all curves and facts.
    """
    runs = results.runs
    ours = (runs["study"] == STUDY) & (runs["role"] == "report")
    return results.beside(runs[ours & runs["experiment"].str.startswith(f"{family}-")])


def functions(results: Results) -> pd.DataFrame:
    """Return the runs on functions, with the function's name; those of the budget of all, and not of fewer steps.

    Args:
        results: The tables.

    Returns:
        Rows of the runs table with a column `function`, by function in the paper's order and dimension.
    """
    runs = results.runs[~results.runs["experiment"].str.startswith(PASSES)]
    found = runs.assign(function=runs["problem"].str.rsplit(" ", n=1).str[0])
    names = [*FUNCTIONS, *sorted(set(found["function"]) - set(FUNCTIONS))]
    place = found["function"].map({name: index for index, name in enumerate(names)})
    order = found.assign(place=place).sort_values(["place", "num_parameters"], kind="stable")
    return order.drop(columns="place").reset_index(drop=True)


def function_title(function: str) -> str:
    """Return a function's name as a heading, e.g. `Styblinski-Tang`."""
    return "-".join(word.capitalize() for word in function.split("-"))


def mean_row(measured: Measurement, factor: float = 1.0) -> dict[str, object]:
    """Return the columns of a mean; of one that does not exist, since runs diverged, those of its divergence.

    Args:
        measured: The number.
        factor: What the ordinate is multiplied with.

    Returns:
        Columns for `frame`.
    """
    interval = measured.interval
    known = math.isfinite(interval.estimate)
    return {
        "kind": "mean" if known else "diverged",
        "y": factor * interval.estimate,
        "low": factor * interval.low if math.isfinite(interval.low) else math.nan,
        "high": factor * interval.high if math.isfinite(interval.high) else math.nan,
        "n": interval.num,
        "diverged": measured.diverged,
        "scale": measured.scale,
        "note": measured.procedure,
    }


def published_row(value: float, divisor: float = 1.0) -> dict[str, object]:
    """Return the columns of a published final value."""
    note = f"{FINAL} of the search, seed 0"
    return {"kind": "published", "y": value / divisor, "published": True, "note": note}


def per_dimension(values: pd.Series) -> bool:
    """Whether a function's values are shown per dimension, f/n: those of a function that gets below zero."""
    return bool((values < 0).any())


def notes(rows: pd.DataFrame, unit: str = "") -> dict[str, str]:
    """Return what a panel's title says of its runs: n of every point, divergences of all points, scale.

    Args:
        rows: Rows of the panel.
        unit: What is counted instead of runs: draws, which cannot diverge.

    Returns:
        Words by what they are about, for `headings.titles`.
    """
    points = rows[rows["kind"].isin(["mean", "diverged"]) & (rows["n"] > 0)]
    if points.empty:
        return {}
    number = headings.span(points["n"])
    counted = {"n": f"n={number} each", "diverged": f"{points['diverged'].sum()} diverged"}
    return ({"n": f"{number} {unit}"} if unit else counted) | headings.scale_note(points["scale"])


def doubling(axes: Axes, values: pd.Series) -> None:
    """Make the abscissa logarithmic to base 2, every second power of the range labelled."""
    low, high = (round(math.log2(v)) for v in (values.min(), values.max()))
    axes.set_xscale("log", base=2)
    axes.set_xlim(2.0 ** (low - 0.5), 2.0 ** (high + 0.5))
    axes.xaxis.set_major_locator(FixedLocator([2.0**p for p in range(low, high + 1, 2)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")


def dodged(axes: Axes, x: pd.Series, place: int, count: int) -> pd.Series:
    """Return abscissae moved a little, so that the bars of several series stand side by side.

    Args:
        axes: The panel; its abscissa is logarithmic to base 2, or has a tick at every value.
        x: The abscissae.
        place: Of the series among all.
        count: How many series there are.

    Returns:
        As many; all series together take half the room between neighbours.
    """
    shift = (place - (count - 1) / 2) / max(count, 4) / 2
    ticks = np.diff(axes.get_xticks())
    room = ticks.min() if len(ticks) else 1.0
    moved: pd.Series = x * 2.0**shift if axes.get_xscale() == "log" else x + shift * room
    return moved


def lowest_of(values: pd.Series) -> float:
    """Return the lowest power of ten that a logarithmic ordinate shows: none below `LEAST`."""
    positive = values[values > 0]
    if positive.empty:
        return LEAST
    return float(max(LEAST, 10.0 ** math.floor(math.log10(positive.min()))))


def logarithmic_above(axes: Axes, lowest: float, high: float) -> float:
    """Make the ordinate logarithmic above a lowest power of ten, with a floor for what lies below it.

    Args:
        axes: The panel.
        lowest: The power.
        high: The largest value.

    Returns:
        Where what lies below stands, zeros too.
    """
    first, last = round(math.log10(lowest)), math.ceil(math.log10(max(high, 10 * lowest)))
    step = next(s for s in (1, 2, 5, 10) if s >= (last - first) / 6)
    floor = float(lowest / 10 ** ((last - first) / 8))
    powers = [10.0**p for p in range(first, last + 1) if (p - first) % step == 0]
    axes.set_yscale("log")
    axes.set_ylim(floor / 10 ** ((last - first) / 25), 10.0**last * 10 ** ((last - first) / 25))
    axes.yaxis.set_major_locator(FixedLocator([floor, *powers]))
    axes.yaxis.set_minor_locator(NullLocator())
    labels = {power: f"$10^{{{round(math.log10(power))}}}$" for power in powers}
    labels[floor] = f"below\n{labels[powers[0]]}"
    axes.yaxis.set_major_formatter(lambda y, _: labels.get(y, ""))
    axes.axhline(lowest, color=style.GREY, lw=0.4, zorder=0.5)
    return floor


def bars(
    axes: Axes,
    rows: pd.DataFrame,
    found: Mapping[str, style.Look],
    lowest: float = -math.inf,
    floor: float = -math.inf,
    *,
    apart: bool = True,
) -> None:
    """Draw means as lines with markers, their intervals as bars, divergences as crosses at the upper edge.

    Args:
        axes: The panel; its scales are set.
        rows: Rows of the panel.
        found: Look of every series, in order.
        lowest: What lies below it stands at the floor.
        floor: Where that is.
        apart: Whether series stand side by side, for the sake of their bars.
    """
    bottom = axes.get_ylim()[0] if math.isfinite(floor) else -math.inf
    for place, (series, look) in enumerate(found.items()):
        part = rows[rows["series"] == series]
        if apart:
            part = part.assign(x=dodged(axes, part["x"], place, len(found)))
        means, stated, lost = (
            part[part["kind"] == kind] for kind in ("mean", "published", "diverged")
        )
        y = means["y"].where(means["y"] >= lowest, floor)
        axes.vlines(
            means["x"], means["low"].clip(lower=bottom), means["high"], color=look.color, lw=0.6, alpha=0.7, zorder=1.8
        )  # fmt: skip
        axes.plot(means["x"], y, **look.line, lw=0.9, ms=2.8, mew=0.7, label=series, zorder=2.5)
        y = stated["y"].where(stated["y"] >= lowest, floor)
        axes.plot(
            stated["x"], y, ls="", marker=look.marker, ms=4.2, mfc="none", mec=style.GREY, mew=0.4, zorder=3
        )  # fmt: skip
        # the marker says which series, since several have one colour
        crosses = {"color": style.GREY, "marker": "x", "ls": "", "ms": 5, "mew": 0.8}
        for mark in ({**look.line, "ls": "", "ms": 2.8, "mew": 0.7}, crosses):
            axes.plot(
                lost["x"], np.full(len(lost), 0.97), transform=axes.get_xaxis_transform(), zorder=3, **mark
            )  # fmt: skip


def entries(
    table: pd.DataFrame, found: Mapping[str, style.Look]
) -> list[tuple[str, dict[str, object]]]:
    """Return legend entries of approaches, published values and divergences, as far as shown.

    Args:
        table: The figure's table.
        found: Look of every series, in order.

    Returns:
        Entries for `legends.key`.
    """
    rows: list[tuple[str, dict[str, object]]] = [
        (name, {**look.line, "lw": 0.9, "ms": 3, "mew": 0.7}) for name, look in found.items()
    ]
    if (table["kind"] == "published").any():
        ring = {"color": style.GREY, "marker": "o", "ms": 4.2, "mfc": "none", "mew": 0.4, "ls": ""}
        rows.append(("published, seed 0, final", ring))
    return rows + [(label, dict(options)) for label, options in legends.diverged_entry(table)]


def words(panel: str, x: float, note: str) -> pd.DataFrame:
    """Return the row that says in words what cannot be drawn at an abscissa."""
    return frame([{"panel": panel, "kind": "guide", "x": x, "note": note}])


def write_words(axes: Axes, rows: pd.DataFrame) -> None:
    """Write what `words` says, upright at its abscissa."""
    for row in each(rows[(rows["kind"] == "guide") & (rows["note"] != "")]):
        axes.text(
            row.x, 0.5, row.note, rotation=90, transform=axes.get_xaxis_transform(),
            ha="center", va="center", color=style.GREY, size=6,
        )  # fmt: skip

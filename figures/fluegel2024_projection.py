"""Projection against mean at equal k, the comparison that Flügel et al. 2024 rest on: how much of it is the rate?"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pandas as pd
import seaborn as sns  # type: ignore[import-untyped, unused-ignore]
from matplotlib.axes import Axes

from figures import headings, legends, marks, style
from figures.approaches import num_tangents
from figures.fluegel2024_runs import (
    ENDS,
    LOWEST,
    STUDY,
    bars,
    column_a_function,
    doubling,
    entries,
    function_title,
    functions,
    mean_row,
    narrowed,
    notes,
    words,
    write_words,
)
from figures.selection import BACKPROPAGATION, frame, not_run, stack
from repro import measures
from repro.measures import DIRECTION, RATE, TOTAL, Measurement
from repro.results import EmptySelectionError, Results

FAMILY, EXCHANGED = "functions", "exchanged"
PROJECTION, MEAN = "projection", "mean"
ROWS = {  # row of panels: arm of both methods, part of their difference, words
    "tuned": ("tuned", TOTAL, "tuned rates"),
    "published": ("published", TOTAL, "authors' rates"),
    RATE: ("published", RATE, "due to the rate"),
    DIRECTION: ("published", DIRECTION, "due to the direction"),
}
TITLE = (
    "Projection less mean at equal k: difference of the lowest values (at tuned rates: of the last values, for which they were "
    "tuned), in per cent of the descent of backpropagation; below zero the projection is ahead. First row: every rate tuned under "
    "one budget. Second row: the authors' rates. Third and fourth rows split the second. The rate: the mean with steps as long as "
    "the projection's (its rate divided by (n+k+1)/k) less the mean at its own rate. The direction: the projection less that mean. "
    "Mean over repetitions with its 95 % paired-t interval; points stand side by side, bars are cut at the edge. At the authors' "
    "rates the two methods of a repetition see the same tangents; at tuned rates a repetition shares only the start, and pairing "
    "gains nothing. Crosses: a run diverged. n=1 of Rosenbrock: nothing to descend."
)
HEIGHT = 1.65


@dataclasses.dataclass(frozen=True)
class Differences:
    """What was measured of an experiment.

    Attributes:
        function: Its function.
        dimension: Its dimension.
        measured: Of `measures.descent_differences`.
        why: Why there is nothing.
    """

    function: str
    dimension: int
    measured: Mapping[tuple[str, str, str], Measurement]
    why: str


def layout(table: pd.DataFrame) -> style.Layout:
    """Return a column of panels a function, a row for each part of the comparison."""
    return column_a_function(table, len(ROWS), HEIGHT, 0.6)


def select(results: Results) -> pd.DataFrame:
    """Return the differences by function, dimension and number of tangents, and their parts."""
    results = narrowed(results, FAMILY)
    runs = functions(results)
    names = list(dict.fromkeys(runs["function"]))
    if not names:
        return not_run(FAMILY, note="no function was run")
    arms = dict.fromkeys(arm for arm, _, _ in ROWS.values())
    found = {arm: _differences(results, runs, arm) for arm in arms}
    return stack(
        _panel(found[arm], name, f"{row} {name}", part)
        for row, (arm, part, _) in ROWS.items()
        for name in names
    )


def _differences(results: Results, runs: pd.DataFrame, arm: str) -> list[Differences]:
    """Return what was measured of an arm, an experiment each."""
    found = []
    for (experiment, function), rows in runs[runs["arm"] == arm].groupby(
        ["experiment", "function"], sort=False
    ):
        # the other rates are the authors': of searched ones there is no exchange
        same = (runs["arm"] == EXCHANGED) & (runs["problem"] == rows["problem"].iloc[0])
        other = runs["experiment"][same] if arm == "published" else runs["experiment"][:0]
        methods = set(rows["method"])
        compared = [
            (name, name.replace(PROJECTION, MEAN, 1))
            for name in sorted(methods, key=num_tangents)
            if name.startswith(f"{PROJECTION}, ")
        ]
        try:
            measured = measures.descent_differences(
                results,
                str(experiment),
                compared,
                BACKPROPAGATION,
                exchanged=next(iter(other), ""),
                metric=ENDS.get(arm, LOWEST)[0],
                study=STUDY,
            )
        except EmptySelectionError as error:
            measured, why = {}, str(error)
        else:
            why = ""
        dimension = int(rows["num_parameters"].iloc[0])
        found.append(Differences(str(function), dimension, measured, why))
    return found


def _panel(found: list[Differences], function: str, panel: str, part: str) -> pd.DataFrame:
    rows = []
    for of in found:
        if of.function == function:
            if of.why:
                rows.append(words(panel, of.dimension, "nothing to descend"))
            common = {"panel": panel, "x": of.dimension}
            told = [
                {**common, "series": name.partition(", ")[2], **mean_row(measured, 100.0)}
                for (what, name, _), measured in of.measured.items()
                if what == part
            ]
            if told:
                rows.append(frame(told))
    known = stack(rows)
    shown = known["kind"].isin(["mean", "diverged"])
    return known if shown.any() else not_run(panel)


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a column for each function, a row for each part."""
    found = _looks(table)
    titles = []
    for panel, name in zip(axes.flat, dict.fromkeys(table["panel"]), strict=True):
        rows = table[table["panel"] == name]
        row, _, function = name.partition(" ")
        label = f", {ROWS[row][2]}" if row in ROWS else ""
        titles.append((panel, f"{function_title(function)}{label}", notes(rows)))
        if marks.missing(panel, rows):
            continue
        doubling(panel, table["x"].dropna())
        _limits(panel, table[table["panel"].str.partition(" ")[2] == function])
        panel.axhline(0.0, color=style.GREY, lw=0.5, zorder=0.5)
        bars(panel, rows, found)
        write_words(panel, rows)
    for panel in axes[-1]:
        panel.set_xlabel("dimension n")
    figure = axes.flat[0].figure
    size = style.STYLE["axes.labelsize"]
    figure.supylabel("missed descent, projection less mean (% of backpropagation's)", size=size)
    headings.titles(titles)
    if found:
        legends.key(axes, entries(table, found), 5)


def _looks(table: pd.DataFrame) -> dict[str, style.Look]:
    names = sorted({name for name in table["series"] if name}, key=num_tangents)
    shades = sns.color_palette("crest", len(names)).as_hex()
    return {
        name: style.rung(PROJECTION, shade, place - len(names))
        for place, (name, shade) in enumerate(zip(names, shades, strict=True))
    }


def _limits(axes: Axes, rows: pd.DataFrame) -> None:
    """Give all panels of a function one ordinate that shows every mean; an interval may reach beyond."""
    largest = max(rows["y"].abs().max(), 1e-6)
    axes.set_ylim(-1.35 * largest, 1.35 * largest)

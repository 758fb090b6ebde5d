"""Tuning budget: what a search with fewer trials would have found, and from which budget on a ranking is settled."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures import approaches, headings, legends, searches, style
from figures.searches import Searched, declared, searched
from figures.selection import BACKPROPAGATION, frame, not_run, stack
from repro import stats
from repro.results import Results
from repro.stats import Settled

CONFIDENCE = 0.95
EACH = 1.0 - (1.0 - CONFIDENCE) / 2.0
"""Confidence of a band such that two of them hold together with `CONFIDENCE`."""
TITLE = (
    "Best validation loss by the number m of trials allowed. Thick lines: the best of the first m trials of the search, as it "
    "happened. Thin lines: the median over repeated searches, estimated from these trials. Dotted: the edges of its band, which "
    "holds at all m at once and at 95 % for two methods together, as far as they lie within the panel (most bands are unbounded "
    "below). Trials added by the edge rule, and beside a winner, take no part, nor do further runs of the best. "
    "Where not all fit on a page, searches that others on the same problem outlast are not shown."
)

EDGE = (0, (1, 1.5))
"""Dashes of a band's edges."""
MARKS: dict[str, Any] = {"ms": 3.0, "mew": 0.7}
EVERY = 4
"""Trials between two markers of a curve."""
NEVER = "certain at no m"
WORDS = 0.17
"""Share of a panel's height, at its top, that is kept for what is certain of one method, in two lines."""

layout = searches.layout


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with what can be certain after so many trials."""
    return TITLE + certainty(table)


def certainty(table: pd.DataFrame) -> str:
    """Return what a reader may conclude from the search of a panel; nothing where there are no pairs of methods."""
    settled = table[table["kind"] == "settled"]
    if settled.empty:
        return ""
    reaches = settled.assign(reach=settled["y"].fillna(0).astype("int64")).groupby("n")["reach"]
    told = [f"m = {reach} of {num} trials" for num, reach in reaches.max().items()]
    return (
        f" The bands of two methods can lie apart up to {' and '.join(told)}, whatever the trials score; beyond that an order is only "
        "what this search happened to find. Where they do lie apart the panel says so; of all other pairs the order is certain at no m."
    )


def select(results: Results) -> pd.DataFrame:
    """Return the best so far, the bands, and what is settled about pairs of methods."""
    return selected(results, many=False)


def selected(results: Results, *, many: bool) -> pd.DataFrame:
    """Return the table of comparisons of few methods, or of those of many; see `searches.searched`."""
    parts = [_comparison(found) for found in searched(results, many=many, finals=False)]
    kept = stack(part for part in parts if len(part))
    return kept if len(kept) else not_run("searches", note="no trials")


def _comparison(found: Searched) -> pd.DataFrame:
    trials = {series: declared(rows) for series, rows in found.trials.items()}
    scores = {series: rows["score"].to_numpy() for series, rows in trials.items() if len(rows)}
    parts = []
    for series, sample in scores.items():
        curve = stats.tuning_curve(sample, EACH)
        common = {"panel": found.panel, "series": series, "scale": found.scale, "n": len(sample)}
        common |= {"diverged": int(trials[series]["diverged"].sum()), "x": curve.budgets}
        # as long as every trial has diverged there is no loss to show
        lost = trials[series]["diverged"].to_numpy()[stats.winner_at(sample)]
        so_far = np.where(lost, np.nan, stats.best_so_far(sample))
        best = {"kind": "best", "y": so_far, "note": "best of the first trials"}
        band = {"kind": "expected", "y": curve.estimate, "low": curve.low, "high": curve.high}
        note = f"median over searches, {100 * EACH:g} % band over all budgets"
        parts += [frame({**common, **best}), frame({**common, **band, "note": note})]
    for base, other in _pairs(list(scores)):
        size = min(scores[base].size, scores[other].size)
        settled = stats.ranking_settled(scores[other][:size], scores[base][:size], CONFIDENCE)
        parts.append(_words(found, other, base, settled, size))
    return stack(parts)


def _pairs(series: list[str]) -> list[tuple[str, str]]:
    """Return every other method beside backpropagation, or all pairs where there is none."""
    if BACKPROPAGATION not in series:
        return list(combinations(series, 2))
    return [(BACKPROPAGATION, other) for other in series if other != BACKPROPAGATION]


def _words(found: Searched, other: str, base: str, settled: Settled, size: int) -> pd.DataFrame:
    places = {"a": "ahead", "b": "behind"}
    if settled.observed_from is None:
        observed = (
            "tied" if settled.better == "" else f"{places[settled.better]} at the last m only"
        )
    else:
        observed = f"{places[settled.better]} from m={settled.observed_from}"
    if settled.certain_from is None:
        certain = NEVER
    else:
        ends = dict.fromkeys((settled.certain_from, settled.certain_to))
        agree = settled.certain_better == settled.better
        sure = "certain" if agree else f"certainly {places[settled.certain_better]}"
        certain = f"{sure} at {' to '.join(map(str, ends))}"
    against = "" if base == BACKPROPAGATION else f" against {base}"
    row = {
        "panel": found.panel,
        "kind": "settled",
        "series": other,
        "scale": found.scale,
        "n": size,
    }
    bounds = {"x": settled.observed_from, "low": settled.certain_from, "high": settled.certain_to}
    note = f"{other}{against}: {observed}, {certain}"
    return frame([{**row, **bounds, "y": settled.reach, "note": note}])


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a panel for each comparison; of many methods without their bands, which would hide one another."""
    crowded = searches.is_crowded(table)
    looks = approaches.looks(dict.fromkeys(table["series"][table["kind"] == "best"]))
    titles = []
    for panel, heading, rows in searches.panels(table, axes):
        certain = rows[(rows["kind"] == "settled") & rows["low"].notna()]
        titles.append((panel, heading, searches.notes(rows)))
        panel.set(yscale="log", xlabel="trials allowed, m", ylabel="best validation loss (nats)")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        losses = rows["y"][(rows["kind"] == "best") & rows["y"].notna()]
        if len(losses):
            low, high = losses.min() / 1.3, losses.max() * 1.2
            searches.reserve(panel, low, high, WORDS * len(certain))
        for place, (series, look) in enumerate(looks.items()):
            of_series = rows[rows["series"] == series]
            _best(panel, of_series[of_series["kind"] == "best"], look, place)
            if not crowded and len(losses):
                _band(panel, of_series[of_series["kind"] == "expected"], look, (low, high))
        _verdicts(panel, certain)
    entries = [(name, {**look.line, **MARKS}) for name, look in looks.items()]
    thin = ("median over searches", {"color": style.GREY, "lw": 0.6})
    edge = ("edges of its band", {"color": style.GREY, "lw": 0.7, "ls": EDGE})
    headings.titles(titles)
    if entries:
        legends.key(axes, entries if crowded else [*entries, thin, edge], 5)


def _best(axes: Axes, best: pd.DataFrame, look: style.Look, place: int) -> None:
    # markers of methods that end alike stand side by side
    every = (place % EVERY, EVERY)
    axes.step(best["x"], best["y"], where="mid", markevery=every, zorder=2.5, **look.line, **MARKS)


def _band(
    axes: Axes, expected: pd.DataFrame, look: style.Look, within: tuple[float, float]
) -> None:
    # edges, not areas: most bands have no lower end, and areas without end hide what is measured
    lines: dict[str, dict[str, Any]] = {"y": {"lw": 0.6, "zorder": 2.2}}
    lines |= {edge: {"lw": 0.7, "ls": EDGE, "zorder": 1.6} for edge in ("low", "high")}
    for column, line in lines.items():
        shown = expected[column].where(expected[column].between(*within))
        axes.step(expected["x"], shown, where="mid", color=look.color, **line)


def _verdicts(axes: Axes, certain: pd.DataFrame) -> None:
    """Write what is certain, and no more: of nearly all pairs nothing is, which the caption says."""
    axes.text(
        0.98, 0.99, "\n".join(certain["note"].str.replace(": ", ":\n")), transform=axes.transAxes, color=style.GREY, size=6.3,
        ha="right", va="top", zorder=5,
    )  # fmt: skip

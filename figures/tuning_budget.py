"""Tuning budget: what a search with fewer trials would have found, and from which budget on a ranking is settled."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from figures import approaches, searches, style
from figures.searches import Searched, declared, searched
from figures.selection import BACKPROPAGATION, frame, not_run, stack
from repro import stats
from repro.results import Results
from repro.stats import Settled

CONFIDENCE = 0.95
EACH = 1.0 - (1.0 - CONFIDENCE) / 2.0
"""Confidence of a band such that two of them hold together with `CONFIDENCE`."""
TITLE = (
    "Best validation loss by the number of trials allowed. Lines: the best of the first m trials of the search, as it happened. "
    "Thin lines and bands: the median over repeated searches, the bands at all budgets at once and 95 % for two together; most are "
    "unbounded below. In the panels: where a method stands against backpropagation, from which budget "
    "on as observed, and at which budgets with certainty, that is, with the bands apart; beyond the budget named `reach` this "
    "many trials cannot tell methods apart whatever they score. Trials added by the edge rule, and beside a winner, take no part."
)

TOP = 0.40
"""Share of a panel's height, at its top, that is kept for what is settled."""

layout = searches.layout


def select(results: Results) -> pd.DataFrame:
    """Return the best so far, the bands, and what is settled about pairs of methods."""
    return selected(results, many=False)


def selected(results: Results, *, many: bool) -> pd.DataFrame:
    """Return the table of comparisons of few methods, or of those of many; see `searches.searched`."""
    parts = [_comparison(found) for found in searched(results, many=many)]
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
        parts.append(_words(found, other, base, settled))
    return stack(parts)


def _pairs(series: list[str]) -> list[tuple[str, str]]:
    """Return every other method beside backpropagation, or all pairs where there is none."""
    if BACKPROPAGATION not in series:
        return list(combinations(series, 2))
    return [(BACKPROPAGATION, other) for other in series if other != BACKPROPAGATION]


def _words(found: Searched, other: str, base: str, settled: Settled) -> pd.DataFrame:
    places = {"a": "ahead", "b": "behind"}
    if settled.observed_from is None:
        observed = "tied" if settled.better == "" else f"{places[settled.better]} at the last only"
    else:
        observed = f"{places[settled.better]} from {settled.observed_from} on"
    if settled.certain_from is None:
        certain = "never certain"
    else:
        ends = dict.fromkeys((settled.certain_from, settled.certain_to))
        certain = f"certainly {places[settled.certain_better]} at {' to '.join(map(str, ends))}"
    against = "" if base == BACKPROPAGATION else f" against {base}"
    row = {"panel": found.panel, "kind": "settled", "series": other, "scale": found.scale}
    bounds = {"x": settled.observed_from, "low": settled.certain_from, "high": settled.certain_to}
    note = f"{other}{against}: {observed}, {certain}"
    return frame([{**row, **bounds, "y": settled.reach, "note": note}])


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a panel for each comparison; of many methods without their bands, which would hide one another."""
    crowded = searches.is_crowded(table)
    looks = approaches.looks(dict.fromkeys(table["series"][table["kind"] == "best"]))
    for panel, heading, rows in searches.panels(table, axes):
        settled = rows[rows["kind"] == "settled"]
        reach = [f"reach {settled['y'].max():g}"] if len(settled) else []
        searches.title(panel, heading, rows, *reach)
        panel.set(yscale="log", xlabel="trials", ylabel="best validation loss")
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        losses = rows["y"][(rows["kind"] == "best") & rows["y"].notna()]
        if len(losses):
            low, high = losses.min() / 1.3, losses.max() * 1.2
            panel.set_ylim(low, low * (high / low) ** (1 / (1 - TOP)))
            style.log_ticks(panel)
        for series, look in looks.items():
            of_series = rows[rows["series"] == series]
            _best(panel, of_series[of_series["kind"] == "best"], look)
            if not crowded:
                _band(panel, of_series[of_series["kind"] == "expected"], look)
        _verdicts(panel, settled, looks, crowded)
    entries = [(name, {"color": look.color, "ls": look.dashes}) for name, look in looks.items()]
    band = ("expected: median over searches, with its band", {"color": style.GREY, "lw": 0.6})
    if entries:
        style.key(axes, entries if crowded else [*entries, band], 4)


def _best(axes: Axes, best: pd.DataFrame, look: style.Look) -> None:
    axes.step(best["x"], best["y"], where="mid", color=look.color, ls=look.dashes, zorder=2.5)


def _band(axes: Axes, expected: pd.DataFrame, look: style.Look) -> None:
    # what is unbounded, or of trials that diverged, goes on beyond the panel
    limits = axes.get_ylim()
    median, low, high = (
        expected[c].clip(limits[0] / 2, limits[1] * 2) for c in ("y", "low", "high")
    )
    axes.step(expected["x"], median, where="mid", color=look.color, lw=0.6, zorder=2.2)
    axes.fill_between(
        expected["x"], low, high, step="mid", color=look.color, alpha=0.13, lw=0, zorder=1.2
    )
    axes.set_ylim(limits)


def _verdicts(
    axes: Axes, settled: pd.DataFrame, looks: dict[str, style.Look], crowded: bool
) -> None:
    ordered = settled.set_index("series").loc[
        [name for name in looks if name in set(settled["series"])]
    ]
    for place, row in enumerate(style.each(ordered.reset_index())):
        axes.text(
            0.98,
            0.98 - place * TOP / len(settled),
            row.note.removesuffix(", never certain")
            if crowded
            else row.note.replace(": ", ":\n", 1),
            transform=axes.transAxes,
            color=looks[row.series].color,
            size=4.8 if crowded else 6.3,
            ha="right",
            va="top",
            zorder=5,
        )

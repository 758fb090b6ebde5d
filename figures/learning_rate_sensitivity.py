"""Learning-rate sensitivity: where every trial of a search ended, by the learning rate it was given."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures import approaches, headings, legends, searches, style
from figures.searches import DECLARED, Searched, searched
from figures.selection import each, frame, not_run, stack
from repro.results import Results

CEILING = 10.0
"""Loss, in nats, above which a trial is shown by an arrow: four times what guessing costs says all there is to say."""
TITLE = (
    "Sensitivity to the learning rate: the validation loss at the end of every trial of the searches. All methods of a panel have "
    "the same number of trials, epochs and batch order, and the same rates except for the last few, beside each method's own "
    "winner. Where a search ran its best trials again, their means are shown, which decide. Rings: the winners. Crosses: diverged trials, one row per method, with its marker and their count at the left. Arrows: trials that ended above "
    f"{CEILING:g} nats without diverging, at the height of {CEILING:g}. Shaded: the declared range; lighter: decades that the edge "
    "rule added. Comparisons without trials are not shown, nor, where not all fit on a page, searches that others on the same problem outlast."
)
TOP, CROWDED_TOP = 0.30, 0.40
"""Share of a panel's height, at its top, that is kept for diverged trials."""
ARROW = "$\\uparrow$"

layout = searches.layout


def select(results: Results) -> pd.DataFrame:
    """Return every trial, the winners, and the ranges searched."""
    return selected(results, many=False)


def selected(results: Results, *, many: bool) -> pd.DataFrame:
    """Return the table of comparisons of few methods, or of those of many; see `searches.searched`."""
    parts = [_comparison(found) for found in searched(results, many=many)]
    return stack(parts) if parts else not_run("searches", note="no trials")


def _comparison(found: Searched) -> pd.DataFrame:
    parts = [_ranges(found)]
    for series, trials in found.trials.items():
        diverged = trials["diverged"]
        common: dict[str, object] = {"panel": found.panel, "series": series, "scale": found.scale}
        common |= {"n": len(trials), "diverged": int(diverged.sum())}
        winner = trials[trials["won"]]
        kinds = {"point": trials[~diverged], "diverged": trials[diverged], "winner": winner}
        for kind, shown in kinds.items():
            if len(shown):
                note = ("trial " + shown["number"].astype("str")).to_numpy()
                # a diverged trial has a stand-in for a score, which is no loss
                losses = shown["score"].where(~shown["diverged"] & np.isfinite(shown["score"]))
                values = {"x": shown["rate"].to_numpy(), "y": losses.to_numpy(), "note": note}
                parts.append(frame({**common, **values, "kind": kind}))
    return stack(parts)


def _ranges(found: Searched) -> pd.DataFrame:
    rates = np.concatenate([trials["rate"] for trials in found.trials.values()])
    rows = [("declared range", *DECLARED)]
    # the edge rule adds whole decades
    if rates.min() < DECLARED[0]:
        rows.append(("added range", 10 ** np.floor(np.log10(rates.min())), DECLARED[0]))
    if rates.max() > DECLARED[1]:
        rows.append(("added range", DECLARED[1], 10 ** np.ceil(np.log10(rates.max()))))
    names = ("series", "low", "high")
    where = {"panel": found.panel, "kind": "guide", "note": "learning rates searched"}
    return frame([{**where, **dict(zip(names, row, strict=True))} for row in rows])


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a panel for each comparison."""
    trials = table[table["kind"] != "guide"]
    looks = approaches.looks(name for name in dict.fromkeys(trials["series"]) if name)
    titles = []
    for panel, heading, rows in searches.panels(table, axes):
        titles.append((panel, heading, searches.notes(rows)))
        panel.set(
            xscale="log", yscale="log", xlabel="learning rate", ylabel="validation loss (nats)"
        )
        for guide in each(rows[rows["kind"] == "guide"]):
            alpha = 0.09 if guide.series == "declared range" else 0.04
            panel.axvspan(guide.low, guide.high, color=style.GREY, alpha=alpha, lw=0, zorder=0.5)
        _losses(panel, rows, looks)
        _divergences(panel, rows, looks)
    entries = [(name, look.line) for name, look in looks.items()]
    ring: dict[str, object] = {"color": style.GREY, "marker": "o", "ms": 7, "mfc": "none", "ls": ""}
    cross: dict[str, object] = {"color": style.GREY, "marker": "x", "ls": ""}
    more: list[tuple[str, dict[str, object]]] = [("winner", ring), ("diverged", cross)]
    if (trials["y"] > CEILING).any():
        more.append((f"above {CEILING:g} nats", {"color": style.GREY, "marker": ARROW, "ls": ""}))
    headings.titles(titles)
    if entries:
        legends.key(axes, [*entries, *more], 6)


def _losses(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    ours = rows[rows["kind"].isin(["point", "diverged"])].sort_values("x")
    crowded = searches.is_crowded(rows)
    for place, (series, look) in enumerate(looks.items()):
        part = ours[ours["series"] == series]
        # a diverged trial has no loss: the line is broken there
        axes.plot(
            part["x"], part["y"].clip(upper=CEILING), **look.line,
            lw=0.8, ms=2.8, mew=0.6, zorder=2.2, markevery=(part["y"] <= CEILING).tolist(),
        )  # fmt: skip
        beyond = part[part["y"] > CEILING]
        axes.plot(
            beyond["x"], np.full(len(beyond), CEILING), ls="", color=look.color, marker=ARROW,
            ms=5, mew=0, zorder=2.4,
        )  # fmt: skip
        won = rows[(rows["kind"] == "winner") & (rows["series"] == series)]
        # rings of several sizes, since two may lie on one point
        axes.plot(
            won["x"], won["y"], "o", color=look.color,
            ms=5.5 + (1 if crowded else 2) * place, mfc="none", mew=0.9, zorder=2.6,
        )  # fmt: skip
    losses = ours["y"].dropna().clip(upper=CEILING)
    low, high = (losses.min(), losses.max()) if len(losses) else (1.0, 1.0)
    low, high = low / 1.25, high * 1.1
    searches.reserve(axes, low, high, CROWDED_TOP if crowded else TOP)


def _divergences(axes: Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    counts = rows[rows["n"] > 0].drop_duplicates("series").set_index("series")
    across = axes.get_xaxis_transform()
    crowded = searches.is_crowded(rows)
    top, size = (CROWDED_TOP, 5.5) if crowded else (TOP, 6.5)
    # all methods are given the same rates: a row each, or their crosses would lie on one another
    for place, series in enumerate(name for name in looks if name in counts.index):
        look, count = looks[series], counts.loc[series]
        height = 0.97 - place * top / (len(counts) + 0.5)
        lost = rows[(rows["kind"] == "diverged") & (rows["series"] == series)]
        rates = lost["x"].to_numpy()
        heights = np.full(len(rates), height)
        axes.plot(rates, heights, "x", color=look.color, ms=3.5, mew=0.9, transform=across)
        # the marker says which method, since several have one colour
        axes.plot(0.025, height, **look.line, ms=2.8, mew=0.6, transform=axes.transAxes, zorder=2.2)
        axes.text(
            0.05,
            height,
            f"{count['diverged']} of {count['n']}",
            transform=axes.transAxes,
            color=style.GREY,
            size=size,
            va="center",
        )

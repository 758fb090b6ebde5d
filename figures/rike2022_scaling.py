"""Rike & Førland 2022, "do not scale": which share of backpropagation's descent forward gradients miss, by task and epoch."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from figures import headings, legends, marks, style
from figures.rike2022_runs import BP, CLIPPED, FG, NETWORKS, OPTIMIZERS, STUDY, Setting
from figures.selection import frame, not_run, stack
from repro import measures, stats
from repro.results import EmptySelectionError, Results

TITLE = (
    "Share of backpropagation's descent in validation loss that forward gradients miss after as many epochs, by task and optimizer, "
    "without (top) and with (bottom) clipping of the directional derivative, every method at a rate searched on that very task. Each of the "
    "other networks is compared with the dense one at rates searched for runs as long as its own. At "
    "0 % a method is where backpropagation is, at 100 % it has not left the start. Mean over paired repetitions, 95 % t band, "
    "which may reach beyond a panel; none where a run diverged, or where one of backpropagation's has hardly left its start. Above "
    "the grey line nearly all is missed: where the dense network is there, it is too early to compare tasks. An epoch of CIFAR-10 has "
    "fewer images, and so fewer steps, than one of MNIST."
)
LAYOUT = style.Layout(2, 3, style.DOUBLE, 4.4)
ESTIMATORS = {FG: "not clipped", CLIPPED: "clipped"}
PAIRS = (("nn-as-cnn", "cnn"), ("nn-as-cifar", "cifar"))
"""Networks that are compared, and so at one scale: the dense one, searched for runs as long, and the other."""
LOOKS = {
    "nn-as-cnn": style.Look(style.PALETTE[9], (0, (1, 1)), "o", open=True),
    "cnn": style.Look(style.PALETTE[4], (0, (4, 1.2)), "s"),
    "nn-as-cifar": style.Look(style.PALETTE[9], "-", "o"),
    "cifar": style.Look(style.PALETTE[3], (0, (2, 1)), "^"),
}
SERIES = {
    **NETWORKS,
    **{dense: f"{NETWORKS['nn']}, as long as {NETWORKS[of]}" for dense, of in PAIRS},
}
STUCK = "backpropagation\nhardly left its start in a repetition"
"""Why there is no share where no run diverged."""
HIGHEST = 1.3
"""Of the ordinate; a method that ends above its start is beyond 1."""


def select(results: Results) -> pd.DataFrame:
    """Return the shares by estimator, optimizer, network and epoch."""
    return stack(_panel(results, e, o) for e in ESTIMATORS for o in OPTIMIZERS)


def _panel(results: Results, estimator: str, optimizer: str) -> pd.DataFrame:
    name = f"{OPTIMIZERS[optimizer]}, {ESTIMATORS[estimator]}"
    found = stack(_shares(results, name, Setting(n, optimizer), estimator) for n in LOOKS)
    return not_run(name) if (found["kind"] == "not run").all() else found


def _shares(results: Results, panel: str, of: Setting, estimator: str) -> pd.DataFrame:
    series = SERIES[of.network]
    (pair,) = (pair for pair in PAIRS if of.network in pair)
    try:
        rows, missed = measures.missed_shares(
            results, f"tuned-{of.name}", "loss", of.method(estimator), of.method(BP),
            split="validation", study=STUDY, beside=[f"tuned-{n}-{of.optimizer}" for n in pair],
        )  # fmt: skip
    except EmptySelectionError as error:
        return not_run(panel, series, str(error))
    common: dict[str, object] = {
        "panel": panel,
        "series": series,
        "n": missed.shape[1],
        "diverged": int((rows["status"] == "diverged").sum()),
        "scale": rows["scale"].iloc[0],
        "kind": "mean",
        "note": "mean, 95 % t interval",
    }
    found = []
    for epoch, values in zip(missed.index, missed.to_numpy(np.float64), strict=True):
        row = {**common, "x": epoch}
        if np.isfinite(values).all():
            interval = stats.mean_interval(values)
            row |= {"y": interval.estimate, "low": interval.low, "high": interval.high}
        found.append(row)
    return frame(found)


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a row of panels for each estimator, a column for each optimizer."""
    titles = []
    for panel, name in zip(axes.flat, dict.fromkeys(table["panel"]), strict=True):
        rows = table[table["panel"] == name]
        titles.append((panel, name, headings.notes(rows)))
        if not marks.missing(panel, rows):
            _lines(panel, rows)
            _absent(panel, rows)
    for panel in axes[-1]:
        panel.set_xlabel("epochs")
    for panel in axes[:, 0]:
        panel.set_ylabel("share of the descent missed")
    headings.titles(titles)
    entries = [(SERIES[name], look.line) for name, look in LOOKS.items()]
    legends.key(axes, entries, len(entries))


def _absent(axes: Axes, rows: pd.DataFrame) -> None:
    """Write which network has no share after any epoch, and why."""
    told = []
    for series, part in rows[rows["kind"] == "mean"].groupby("series", sort=False):
        if part["y"].isna().all():
            lost, runs = part["diverged"].iloc[0], part["n"].iloc[0]
            told.append(f"{series}: no share, " + (f"{lost} of {runs} diverged" if lost else STUCK))
    axes.text(
        0.02, 0.04, "\n".join(told), transform=axes.transAxes, color=style.GREY, size=6.5, zorder=3
    )


def _lines(axes: Axes, rows: pd.DataFrame) -> None:
    for series, part in rows[rows["kind"] == "mean"].groupby("series"):
        look = next(look for name, look in LOOKS.items() if SERIES[name] == series)
        # a band of one repetition has no bounds
        low, high = (part[name].where(np.isfinite(part[name])) for name in ("low", "high"))
        axes.fill_between(part["x"], low, high, color=look.color, alpha=0.2, lw=0, zorder=1.2)
        axes.plot(part["x"], part["y"], **look.line, zorder=2.5)
    axes.axhline(measures.ROOM, color=style.GREY, lw=0.5, zorder=0.5)
    axes.set_ylim(0.0, HIGHEST)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))

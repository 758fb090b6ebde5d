"""Rike & Førland 2022, Fig. 1: training loss on CIFAR-10, and beside it the test losses that its notebooks print."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from figures import headings, marks, style
from figures.rike2022_runs import (
    PUBLISHED,
    draw_training_losses,
    lengths,
    method_key,
    notes,
    published_curve,
    training_losses,
)
from figures.selection import not_run, stack
from repro.results import Results

TITLE = (
    "CIFAR-10 with SGD, each method at its own published rate; the paper runs 100 epochs. Left, ours: the loss of single training "
    "mini-batches of 64, unsmoothed, at evenly spaced iterations (at most 500 per run); every repetition is drawn, the first one "
    "thicker. Right, published: what the notebooks print after every epoch, which is not the training loss of the paper's figure "
    "but the loss of the last 16 test images."
)
LAYOUT = style.Layout(1, 2, style.DOUBLE, 2.5)
(CIFAR,) = (setting for setting in PUBLISHED if setting.network == "cifar")
PRINTED = "printed"
"""The panel of what was published."""


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with how long the runs are."""
    return TITLE + lengths(table)


def select(results: Results) -> pd.DataFrame:
    """Return the losses of rows 13 and 14 of Table I: ours, and those that were printed."""
    printed = stack(published_curve(results, PRINTED, CIFAR, name) for name in CIFAR.published)
    absent = not_run(PRINTED, note="no fact holds what the notebooks print")
    return stack([training_losses(results, CIFAR), printed if len(printed) else absent])


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw our training losses, and beside them the printed test losses."""
    ours, theirs = axes.flat
    trained = table[table["panel"] == CIFAR.name]
    draw_training_losses(ours, trained)
    headings.titles(
        [(ours, CIFAR.label, notes(trained)), (theirs, f"{CIFAR.label}, published", {})]
    )
    ours.set(xlabel="iterations", ylabel="training loss (nats)")
    rows = table[table["panel"] == PRINTED]
    _printed(theirs, rows)
    mark = {"color": style.GREY, "ls": ":", "lw": 0.9, "marker": "o", "ms": 2.5, "mfc": "white"}
    method_key(axes, table, 4, *([("published", mark)] if rows["published"].any() else []))


def _printed(axes: Axes, rows: pd.DataFrame) -> None:
    axes.set(xlabel="epoch", ylabel="test loss of 16 images (nats)")
    if not rows["published"].any():
        marks.missing(axes, rows)
        return
    for series, part in rows.groupby("series"):
        look = style.LOOKS[str(series)]
        axes.plot(
            part["x"], part["y"], ls=":", lw=0.9, color=look.color, marker=look.marker,
            ms=2.5, mfc="white", mew=0.6,
        )  # fmt: skip
    axes.set_ylim(bottom=0)

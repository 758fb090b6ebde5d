"""Rike & Førland 2022, Fig. 2: training loss on MNIST by network and optimizer."""

from __future__ import annotations

import pandas as pd

from figures import headings, style
from figures.rike2022_runs import (
    PUBLISHED,
    draw_training_losses,
    lengths,
    notes,
    outer_labels,
    training_losses,
)
from figures.selection import stack
from repro.results import Results

TITLE = (
    "Training loss on MNIST, each method at its own published settings; the paper runs 50 epochs. The loss is that of single "
    "mini-batches of 64, unsmoothed, at evenly spaced iterations (at most 500 per run). Every repetition is drawn, the first one "
    "thicker. Forward gradients with Nesterov's method are evaluated at the look-ahead point."
)
LAYOUT = style.Layout(2, 3, style.DOUBLE, 4.2)
MNIST = tuple(setting for setting in PUBLISHED if setting.network != "cifar")


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with how long the runs are."""
    return TITLE + lengths(table)


def select(results: Results) -> pd.DataFrame:
    """Return the losses of the first twelve rows of Table I."""
    return stack(training_losses(results, setting) for setting in MNIST)


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a panel for each network and optimizer."""
    titles = []
    for panel, setting in zip(axes.flat, MNIST, strict=True):
        rows = table[table["panel"] == setting.name]
        draw_training_losses(panel, rows)
        titles.append((panel, setting.label, notes(rows)))
    headings.titles(titles)
    outer_labels(axes, table, 5)

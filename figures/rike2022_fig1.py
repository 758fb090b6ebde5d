"""Rike & Førland 2022, Fig. 1: training loss on CIFAR-10."""

from __future__ import annotations

import pandas as pd

from figures import style
from figures.rike2022_runs import PUBLISHED, draw_training_losses, outer_labels, training_losses
from repro.results import Results

TITLE = (
    "Training loss on CIFAR-10 as published (SGD, 100 epochs, each method at its own rate): the loss of single mini-batches "
    "of 64, unsmoothed, at evenly spaced iterations (at most 500 a run). Every repetition is drawn, the first one thicker."
)
LAYOUT = style.Layout(1, 1, style.SINGLE, 2.6)
(CIFAR,) = (setting for setting in PUBLISHED if setting.network == "cifar")


def select(results: Results) -> pd.DataFrame:
    """Return the losses of rows 13 and 14 of Table I."""
    return training_losses(results, CIFAR)


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw the one panel."""
    draw_training_losses(axes.flat[0], table, CIFAR.label)
    outer_labels(axes, table, 2)

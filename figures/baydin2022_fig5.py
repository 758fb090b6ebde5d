"""Baydin et al. 2022, Fig. 5: a convolutional network on MNIST; the figure's published numbers were not found."""

from __future__ import annotations

import pandas as pd

from figures import style
from figures.training_curves import Comparison, draw_comparisons, select_comparison
from repro.results import Results

TITLE = (
    "Convolutional network on MNIST, one learning rate for both methods: validation loss by iteration and by time, "
    "validation accuracy. The published values were not found. Mean over repetitions, 95 % t band."
)
LAYOUT = style.Layout(1, 3, style.DOUBLE, 2.7)
COMPARISONS = (Comparison("cnn", "run-time-cnn", "CNN, rate 2×10⁻⁴", "cnn"),)  # noqa: RUF001


def select(results: Results) -> pd.DataFrame:
    """Return the curves and T_f/T_b."""
    return select_comparison(results, COMPARISONS[0])


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw loss by iteration and by time, and accuracy."""
    draw_comparisons(table, axes, COMPARISONS)

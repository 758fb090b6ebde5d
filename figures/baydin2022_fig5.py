"""Baydin et al. 2022, Fig. 5: a convolutional network on MNIST; the figure's published numbers were not found."""

from __future__ import annotations

import pandas as pd

from figures import baydin2022_curves, style
from figures.baydin2022_curves import Comparison, draw_comparisons, select_comparison
from repro.results import Results

TITLE = (
    "Convolutional network on MNIST, one learning rate for both methods: validation loss by iteration and by time, "
    "validation accuracy. The published values were not found. T_b is when backpropagation reaches its lowest loss, T_f when the "
    "forward gradient reaches the same loss."
)
LAYOUT = style.Layout(1, 3, style.DOUBLE, 2.7)
COMPARISONS = (Comparison("cnn", "run-time-cnn", "CNN, rate 2×10⁻⁴", "cnn"),)  # noqa: RUF001


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with what lines and bands are."""
    return baydin2022_curves.caption(TITLE, table)


def select(results: Results) -> pd.DataFrame:
    """Return the curves and T_f/T_b."""
    return select_comparison(results, COMPARISONS[0])


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw loss by iteration and by time, and accuracy."""
    draw_comparisons(table, axes, COMPARISONS)

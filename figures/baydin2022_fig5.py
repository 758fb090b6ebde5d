"""Baydin et al. 2022, Fig. 5: a convolutional network on MNIST; the figure's published numbers were not found."""

from __future__ import annotations

import pandas as pd

from figures import baydin2022_curves, style
from figures.baydin2022_curves import Comparison, draw_comparisons, select_comparison
from figures.selection import stack
from repro.results import Results

TITLE = (
    "Convolutional network on MNIST, one learning rate of 2e-4 for both methods, under the two decays: validation loss by iteration and by time, "
    "validation accuracy. The published values were not found. T_b is when backpropagation reaches its lowest loss, T_f when the "
    "forward gradient reaches the same loss."
)
LAYOUT = style.Layout(2, 3, style.DOUBLE, 4.7, right=0.985)
COMPARISONS = (
    Comparison("cnn", "run-time-cnn", "CNN, hyperbolic decay", "cnn"),
    Comparison("cnn-exponential", "run-time-cnn", "CNN, exponential decay", "cnn"),
)


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with what lines and bands are."""
    return baydin2022_curves.caption(TITLE, table)


def select(results: Results) -> pd.DataFrame:
    """Return the curves under both decays, and T_f/T_b."""
    return stack(select_comparison(results, comparison) for comparison in COMPARISONS)


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a row of panels for each decay."""
    draw_comparisons(table, axes, COMPARISONS)

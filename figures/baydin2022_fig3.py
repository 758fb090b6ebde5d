"""Baydin et al. 2022, Fig. 3: logistic regression on MNIST, validation loss by iteration and by time."""

from __future__ import annotations

import pandas as pd

from figures import baydin2022_curves, style
from figures.baydin2022_curves import Comparison, draw_comparisons, select_comparison
from repro.results import Results

TITLE = (
    "Logistic regression on MNIST at one learning rate for both methods: validation loss by iteration and by time "
    "(iterations times the median time of a step). T_b is when backpropagation reaches its lowest loss, T_f when the "
    "forward gradient reaches the same loss."
)
LAYOUT = style.Layout(1, 2, style.DOUBLE, 2.9)
COMPARISONS = (
    Comparison("logistic", "run-time-logistic", "Logistic regression", "logistic", accuracy=False),
)


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with what lines and bands are."""
    return baydin2022_curves.caption(TITLE, table)


def select(results: Results) -> pd.DataFrame:
    """Return the curves, the published read-offs, and T_f/T_b."""
    return select_comparison(results, COMPARISONS[0])


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw loss by iteration and by time."""
    draw_comparisons(table, axes, COMPARISONS)

"""Baydin et al. 2022, Fig. 4: a multi-layer network on MNIST at two learning rates."""

from __future__ import annotations

import pandas as pd

from figures import baydin2022_curves, style
from figures.baydin2022_curves import Comparison, draw_comparisons, select_comparison
from figures.selection import stack
from repro.results import Results

TITLE = (
    "Multi-layer network (784-1024-1024-10) on MNIST at the two published learning rates, one rate and one exponential decay "
    "for both methods: "
    "validation loss by iteration and by time, validation accuracy. T_b is when backpropagation reaches its lowest loss, "
    "T_f when the forward gradient reaches the same loss."
)
LAYOUT = style.Layout(2, 3, style.DOUBLE, 4.7)
COMPARISONS = (
    Comparison("mlp-2e-5-exponential", "run-time-mlp", "MLP, rate 2×10⁻⁵", "mlp-2e-5"),  # noqa: RUF001
    Comparison("mlp-2e-4-exponential", "run-time-mlp", "MLP, rate 2×10⁻⁴", "mlp-2e-4"),  # noqa: RUF001
)


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with what lines and bands are."""
    return baydin2022_curves.caption(TITLE, table)


def select(results: Results) -> pd.DataFrame:
    """Return the curves of both rates, the published read-offs, and T_f/T_b."""
    return stack(select_comparison(results, comparison) for comparison in COMPARISONS)


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a row of panels for each rate."""
    draw_comparisons(table, axes, COMPARISONS)

"""Learning-rate sensitivity of comparisons of more than a few methods, in panels that have room for them."""

from __future__ import annotations

import pandas as pd

from figures import learning_rate_sensitivity as few
from figures import searches
from repro.results import Results

TITLE = f"The same for comparisons of more than {searches.FEW} methods. {few.TITLE}"

layout, draw = few.layout, few.draw


def select(results: Results) -> pd.DataFrame:
    """Return every trial, the winners, and the ranges searched."""
    return few.selected(results, many=True)

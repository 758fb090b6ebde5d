"""Tuning budget of comparisons of more than a few methods, in panels that have room for them."""

from __future__ import annotations

import pandas as pd

from figures import searches
from figures import tuning_budget as few
from repro.results import Results

TITLE = (
    f"Best validation loss by the number of trials allowed, for comparisons of more than {searches.FEW} methods: the best of the "
    "first m trials of the search, as it happened. The bands are not drawn. Trials added by the edge rule take no part."
)

layout, draw = few.layout, few.draw


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with what can be certain after so many trials."""
    return TITLE + few.certainty(table)


def select(results: Results) -> pd.DataFrame:
    """Return the best so far, the bands, and what is settled about pairs of methods."""
    return few.selected(results, many=True)

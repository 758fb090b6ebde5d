"""Tuning budget of comparisons of more than a few methods, in panels that have room for them."""

from __future__ import annotations

import pandas as pd

from figures import searches
from figures import tuning_budget as few
from repro.results import Results

TITLE = (
    f"Best validation loss by the number of trials allowed, for comparisons of more than {searches.FEW} methods: the best of the first "
    "m trials of the search, as it happened. In the panels: where a method stands against backpropagation, from which budget on as "
    "observed, and at which budgets with certainty, if at any: with the bands of both, which are not drawn, apart; beyond the budget "
    "named `reach` this many trials cannot tell methods apart whatever they score. Trials added by the edge rule take no part."
)

layout, draw = few.layout, few.draw


def select(results: Results) -> pd.DataFrame:
    """Return the best so far, the bands, and what is settled about pairs of methods."""
    return few.selected(results, many=True)

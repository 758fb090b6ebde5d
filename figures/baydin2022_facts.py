"""Baydin et al. 2022: its name among the rows, and what it published, as rows of a figure."""

from __future__ import annotations

import math

import pandas as pd

from figures.selection import BOTH, frame
from repro.results import Results

STUDY = "baydin2022"


def published(
    results: Results, panel: str, quantity: str, setting: str, series: str = "published"
) -> pd.DataFrame:
    """Return published values of a quantity; `series` names a method, or `published` for all.

    Args:
        results: The tables.
        panel: Where the values are shown.
        quantity: Column `quantity` of the facts.
        setting: Column `setting` of the facts.
        series: Name of the series; facts of another method than this one are left out.

    Returns:
        Rows, none where the paper is silent.
    """
    facts = results.facts
    if facts.empty:
        return frame()
    wanted = (facts["quantity"] == quantity) & (facts["setting"] == setting)
    methods = facts["method"].isin(["", series]) if series in BOTH else facts["method"] == ""
    facts = facts[wanted & methods & (facts["study"] == STUDY) & facts["value"].notna()]
    shown = {"panel": panel, "kind": "published", "series": series, "published": True}
    columns = {"x": facts["x"].to_numpy(), "y": facts["value"].to_numpy()}
    if facts.empty:
        return frame()
    return frame({**shown, **columns, "note": (facts["item"] + ", " + facts["source"]).to_numpy()})


def published_number(results: Results, quantity: str, setting: str) -> float:
    """Return one published value without abscissa, NaN where the paper does not give it."""
    rows = published(results, "", quantity, setting)
    return float(rows["y"].iloc[0]) if len(rows) else math.nan

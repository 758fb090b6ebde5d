"""What Optuna itself notes at trials: which sampler chose them, from which grid, and whether they broke a constraint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pandas as pd

from repro.audit.evidence import Range

ENQUEUED = "fixed_params"
"""Optuna's own attribute of a trial whose values were given, so that no sampler chose them."""
CONSTRAINTS = "constraints"
"""How Optuna's own attributes begin that have one number a constraint, above 0 where the trial broke it."""
GRID = "search_space"
"""Optuna's own attribute of a trial with all values that a grid search tries, by hyperparameter."""
SAMPLERS = {
    "grid_id": "grid",
    "gp": "Gaussian process",
    "tpe": "TPE",
    "cma": "CMA-ES",
    "sepcma": "CMA-ES, separable",
    "cmawm": "CMA-ES, with margin",
    "nsga2": "NSGA-II",
    "NSGAIISampler": "NSGA-II",
    "NSGAIIISampler": "NSGA-III",
}
"""Samplers by how the attributes begin that they leave at some trials. Random and Sobol leave none, nor does TPE by default."""


def infeasible(marks: pd.DataFrame) -> set[int]:
    """Return the trials that broke a constraint."""
    told = marks[marks["key"].str.partition(":")[0] == CONSTRAINTS] if len(marks) else marks
    read = [
        (trial, json.loads(text))
        for trial, text in zip(told["trial_id"], told["value"], strict=True)
    ]
    return {
        trial
        for trial, numbers in read
        if any(
            n > 0 for n in (numbers if isinstance(numbers, list) else [numbers]) if _is_number(n)
        )
    }


def samplers(marks: pd.DataFrame) -> pd.Series:
    """Return the sampler that chose the values of each trial where one left its mark, by trial."""
    begins = marks["key"].str.partition(":")[0] if len(marks) else marks["key"]
    left = marks.assign(sampler=begins.map(SAMPLERS)).dropna(subset=["sampler"])
    return left.drop_duplicates("trial_id").set_index("trial_id")["sampler"]


def ranges_of_grids(
    marks: pd.DataFrame, methods: pd.Series, bounds: Mapping[tuple[str, str], Range | None]
) -> dict[tuple[str, str], Range]:
    """Return the ranges of grids, by method and hyperparameter: what a trial might draw from besides is never tried."""
    grids = marks[marks["key"] == GRID].set_index("trial_id")["value"]
    found = {}
    for (method, parameter), declared in bounds.items():
        # a study has one grid, which every trial repeats
        own = grids[grids.index.isin(methods.index[methods == method])]
        grid = json.loads(own.iloc[0]) if len(own) else {}
        values = grid.get(parameter, ()) if isinstance(grid, dict) else ()
        ends = [end_of(v) for v in values if _is_number(v)]
        if declared is not None and ends:
            found[method, parameter] = Range(min(ends), max(ends), declared.log)
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def end_of(value: float) -> float:
    """Return an end of a range as a number; a whole number too large for a double becomes infinite, which is no end."""
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value > 0 or -1)

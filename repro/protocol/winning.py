"""Which trial wins a search: one rule, for the search, for telling what is missing, and for reading the rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TypeVar

N = TypeVar("N", int, float)


def mean_score(scores: Iterable[float]) -> float:
    """Return the score of a trial: the mean over its runs, infinite if one of them has none."""
    known = [math.inf if math.isnan(score) else score for score in scores]
    return math.fsum(known) / len(known)


def best_trial(trials: Mapping[N, Iterable[float]]) -> N:
    """Return the trial that a search chooses: the one with the lowest mean score, the earliest of equals.

    Args:
        trials: Scores of the runs of each trial, by its number.

    Returns:
        The number of the best trial.
    """
    return min(trials, key=lambda number: (mean_score(trials[number]), number))

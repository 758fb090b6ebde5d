"""Which trial wins a search: one rule, for the search, for telling what is missing, and for reading the rows.

Trials are ranked by their mean score. Where the best of them are run again, as finalists, one of these wins: another may
owe its score to a lucky run. Rows do not say how many finalists a search has, so one that was run again stays a finalist
when further trials of a search that is taken further score lower at first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

N = TypeVar("N", int, float)


def mean_score(scores: Iterable[float]) -> float:
    """Return the score of a trial: the mean over its runs, infinite if one of them has none."""
    known = [math.inf if math.isnan(score) else score for score in scores]
    return math.fsum(known) / len(known)


def best_trials(trials: Mapping[N, Iterable[float]], num: int) -> tuple[N, ...]:
    """Return the trials with the lowest mean scores, the earliest of equals first.

    Args:
        trials: Scores of the runs of each trial, by its number.
        num: How many are wanted; if there are fewer, all of them.

    Returns:
        Their numbers.
    """
    return tuple(sorted(trials, key=lambda number: (mean_score(trials[number]), number))[:num])


def finalists(trials: Mapping[N, Iterable[float]], num: int, again: Collection[N]) -> tuple[N, ...]:
    """Return the trials of which one wins: the best, and those that were the best before the search was taken further.

    Args:
        trials: Scores of the first runs of each trial, by its number.
        num: How many of the best are run again; 0 if none is.
        again: Numbers of those that have been run again, all runs of them finished.

    Returns:
        Their numbers.
    """
    best = best_trials(trials, num)
    return best + tuple(n for n in trials if num and n in again and n not in best)


def best_trial(trials: Mapping[N, Iterable[float]], finalists: Collection[N] = ()) -> N:
    """Return the trial that a search chooses: the one with the lowest mean score, the earliest of equals.

    Args:
        trials: Scores of the runs of each trial, by its number.
        finalists: Numbers of those that were run again; if there are any, one of them is chosen.

    Returns:
        The number of the best trial.
    """
    (best,) = best_trials({n: trials[n] for n in finalists or trials}, 1)
    return best

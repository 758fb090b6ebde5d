"""Is the difference between the reported runs of two methods more than chance?

Student's test compares means. If a run diverged there is no mean: the mean of the other runs would compare the
survivors of one method with all runs of another. Then ranks are compared, with diverged runs last.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special  # type: ignore[import-untyped, unused-ignore]
from scipy import stats as scipy_stats  # type: ignore[import-untyped, unused-ignore]

from repro import stats
from repro.audit.evidence import BAD

Vector = npt.NDArray[np.float64]


def one_a_seed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one run per seed, and all runs without a seed, as nothing says that they repeat each other.

    Args:
        rows: Reported runs of one method.

    Returns:
        The runs, with an infinite score for those that diverged or failed.
    """
    lost = rows["status"].isin(BAD) | ~np.isfinite(rows["score"])
    rows = rows.assign(score=rows["score"].mask(lost, np.inf))
    return rows[~rows["seed"].duplicated() | (rows["seed"] == "")]


def p_value(a: pd.DataFrame, b: pd.DataFrame) -> float | None:
    """Return the two-sided p-value of no difference, paired if both methods have the same seeds.

    Args:
        a: Reported runs of a method, from `one_a_seed`.
        b: Reported runs of another method.

    Returns:
        The p-value; `None` if there are too few runs, or none that differ.
    """
    if min(len(a), len(b)) < 2:
        return None
    first, second = (dict(zip(rows["seed"], rows["score"], strict=True)) for rows in (a, b))
    if "" not in first and first.keys() == second.keys():
        x, y = np.array([(first[seed], second[seed]) for seed in first]).T
        return paired(x, y)
    return _unpaired(a["score"].to_numpy(np.float64), b["score"].to_numpy(np.float64))


def paired(x: Vector, y: Vector) -> float:
    """Return the two-sided p-value of Student's paired test, or of Wilcoxon's signed ranks if a score is infinite.

    Args:
        x: shape (n,), n >= 2, scores; smaller is better.
        y: shape (n,), their partners.

    Returns:
        The p-value.

    Example:
        >>> paired(np.array([1.0, 2.0, 3.0, 4.0]), np.array([5.0, 6.0, 7.0, math.inf]))
        0.125
    """
    if np.isinf(x).any() or np.isinf(y).any():
        return _signed_ranks(x, y)
    difference = x - y
    noise = 1e-12 * max(np.abs(x).max(), np.abs(y).max())
    if np.ptp(difference) <= noise:
        # no scatter to measure the difference by: its sign is all that repeats
        return 1.0 if np.abs(difference).max() <= noise else stats.smallest_two_sided_p(len(x))
    t = difference.mean() / (difference.std(ddof=1) / math.sqrt(len(difference)))
    # Student's paired test, without the checks of arguments that take most of its time
    return float(2 * special.stdtr(len(difference) - 1, -abs(t)))


def _unpaired(x: Vector, y: Vector) -> float | None:
    """Return the p-value of Welch's test, or of Mann and Whitney's if a score is infinite."""
    every = np.concatenate([x, y])
    if np.isinf(every).all():
        return 1.0
    if np.isinf(every).any():
        return float(scipy_stats.mannwhitneyu(x, y).pvalue)
    if min(np.ptp(x), np.ptp(y)) == 0:
        return None
    return float(scipy_stats.ttest_ind(x, y, equal_var=False).pvalue)


def _signed_ranks(x: Vector, y: Vector) -> float:
    """Return the exact p-value of Wilcoxon's signed ranks; a pair of infinite scores is tied."""
    tied = np.isinf(x) & np.isinf(y)
    difference = np.subtract(x, y, where=~tied, out=np.zeros_like(x))
    difference = difference[difference != 0]
    # twice the ranks, since ranks of ties may end in a half
    ranks = np.rint(2 * scipy_stats.rankdata(np.abs(difference))).astype(int)
    # how many choices of signs give each sum of ranks
    ways = np.ones(1)
    for rank in ranks:
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    observed = int(ranks[difference > 0].sum())
    tail = min(ways[: observed + 1].sum(), ways[observed:].sum()) / ways.sum()
    return float(min(1.0, 2 * tail))

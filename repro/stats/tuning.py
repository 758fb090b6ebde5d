"""Say what a search would have found with fewer trials, and whether that settles a ranking.

A search that chooses its trials beforehand, without looking at scores, contains every shorter search:
the first m of its n trials are what a budget of m would have run. So one finished search answers for
all budgets up to its own, in two ways that must not be confused:

- *What happened* (`best_so_far`, `winner_at`): the best of the first m trials, in the order they were
  drawn. Exact, but one draw: another search of the same space has another order.
- *What to expect* (`tuning_curve`): the median, over repeated searches, of the best of m trials. A
  property of method and space, hence an estimate with bounds, which hold at all budgets at once.

`ranking_settled` asks both of two methods. The second answer is cautious by nature: it assumes nothing
about the distribution of scores, so it has to allow for good scores too rare to have shown up in n
trials. At 95 %, two methods of 16 trials can be told apart for a budget of 1 only, of 32 for up to 3.

Scores are losses or errors: the smallest wins, and a diverged trial has the finite worst score. The
confidence bands are those of Lourie, Cho & He (2024, "Show Your Work with Confidence: Confidence Bands
for Tuning Curves", NAACL), computed by their library opda.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from opda.nonparametric import EmpiricalDistribution

from repro.stats.checks import Vector, as_vector, check_confidence

Ranks = npt.NDArray[np.intp]
Lead = Literal["a", "b", ""]


@dataclass(frozen=True, eq=False)
class TuningCurve:
    """Median of the best score after 1 to n trials, with a band that holds at all budgets at once.

    Attributes:
        budgets: shape (n,), the numbers of trials 1, ..., n.
        estimate: shape (n,), in the unit of the scores; never rises, like the bounds.
        low: shape (n,), lower bounds; minus infinity where n trials bound nothing and no lower end of
            the scores was given.
        high: shape (n,), upper bounds; likewise infinity.
        confidence: probability that the true curve lies within the band at every budget.
    """

    budgets: Ranks
    estimate: Vector
    low: Vector
    high: Vector
    confidence: float


@dataclass(frozen=True)
class Settled:
    """From which budget on one of two methods is ahead: as it happened, and with confidence.

    Attributes:
        better: the method, "a" or "b", whose best score over all its trials is lower; "" if equal.
        observed_from: the budget from which on that method was ahead at every budget that was run; a
            tie is not ahead. None if it came ahead only at the last budget, or if the best are equal.
        certain_better: the method whose band is wholly below the other's from `certain_from` to
            `certain_to`; "" if the bands never part. May contradict `better`: the two speak of
            different budgets.
        certain_from: first budget of the last unbroken stretch where the bands are apart; None if
            they never are within the budget.
        certain_to: last budget of that stretch; None likewise.
        reach: the largest budget at which the bands of n trials could part at all, whatever the scores
            (0 if at none): beyond it the lower bounds of both methods are the lower end of the scores.
    """

    better: Lead
    observed_from: int | None
    certain_better: Lead
    certain_from: int | None
    certain_to: int | None
    reach: int


def best_so_far(scores: npt.ArrayLike) -> Vector:
    """Return the best score that each smaller budget would have found.

    Args:
        scores: shape (n,), n >= 1, finite, smaller is better, in the order the trials were drawn; a
            ValueError says otherwise.

    Returns:
        Shape (n,), in the unit of `scores`: entry m - 1 is the smallest of the first m.

    Example:
        >>> best_so_far([3.0, 1.0, 2.0]).tolist()
        [3.0, 1.0, 1.0]
    """
    return np.minimum.accumulate(_as_scores(scores, "scores"))


def winner_at(scores: npt.ArrayLike) -> Ranks:
    """Return the trial that each smaller budget would have selected.

    Args:
        scores: as in `best_so_far`.

    Returns:
        Shape (n,): entry m - 1 is the position, from 0, of the smallest of the first m scores; of
        equal ones the earliest.

    Example:
        >>> winner_at([3.0, 1.0, 2.0]).tolist()
        [0, 1, 1]
    """
    sample = _as_scores(scores, "scores")
    before = np.concatenate([[np.inf], np.minimum.accumulate(sample)[:-1]])
    records = np.where(sample < before, np.arange(sample.size), 0)
    return np.maximum.accumulate(records)


def tuning_curve(
    scores: npt.ArrayLike,
    confidence: float = 0.95,
    lower: float | None = None,
    upper: float | None = None,
) -> TuningCurve:
    """Estimate the median of the best score after m trials, for every m up to the number run.

    The median of the best of m independent trials is the 1 - 2^(-1/m) quantile of the score of one,
    so a band of its distribution gives one of the whole curve. The band is Learned-Miller &
    DeStefano's (2008, IEEE Trans. Inf. Theory 54) by highest density intervals. Of a continuous
    distribution it covers the whole exactly as often as it says; the curve uses the better half only,
    and with ties the band is wider than needed, so that both are covered more often.

    It is derived for *independent* trials. Ours come from a scrambled Sobol sequence: each is uniform,
    but together they are spread evenly over the space. With one hyperparameter and a number of trials
    that is a power of two, the share of trials that score below any level then varies no more than
    among independent ones (Pan & Owen 2023, J. Complexity: the gain is at most 2^(t+s-1), which is 1
    here), so the band is expected to hold at least as often as it says; a simulation in the tests
    agrees. It is no band for a search that chooses or stops its trials by the scores seen.

    Args:
        scores: as in `best_so_far`; the result does not depend on their order.
        confidence: within (0, 1); of the band as a whole, not of each budget.
        lower: the lowest score there can be, if there is one: 0 for a loss.
        upper: the highest score there can be, if there is one: the score that a diverged trial is
            given, for instance.

    Returns:
        The curve at budgets 1 to n, in the unit of `scores`. One trial bounds nothing.

    Raises:
        ValueError: if `scores` are not as said or lie outside [lower, upper], if `lower` is not below
            `upper`, or if `confidence` is not within (0, 1).

    Example:
        >>> curve = tuning_curve([0.5, 0.9, 0.2, 0.7], confidence=0.5, lower=0.0, upper=1.0)
        >>> for row in zip(curve.budgets, curve.low, curve.estimate, curve.high):
        ...     print(*row)
        1 0.2 0.5 0.9
        2 0.0 0.5 0.7
        3 0.0 0.2 0.7
        4 0.0 0.2 0.7
    """
    check_confidence(confidence)
    support = _check_support(lower, upper)
    sample = _within(support, _as_scores(scores, "scores"), "scores")
    return _curve(sample, confidence, support)


def ranking_settled(
    scores_a: npt.ArrayLike,
    scores_b: npt.ArrayLike,
    confidence: float = 0.95,
    lower: float | None = None,
    upper: float | None = None,
) -> Settled:
    """Say from which budget on the better of two methods is known, as observed and with confidence.

    The two bands hold together with at least `confidence`: each is of confidence 1 - (1 - c) / 2
    (Bonferroni, which asks nothing of how the methods depend on one another). Where they are apart,
    the sign of the difference of the true median curves is certain in that sense.

    Args:
        scores_a: shape (n,), as in `best_so_far`.
        scores_b: shape (n,): the same number of trials, for the comparison is at equal budget.
        confidence: within (0, 1), of everything that is called certain.
        lower: as in `tuning_curve`, of both methods.
        upper: as in `tuning_curve`, of both methods.

    Returns:
        The budgets from which on the ranking is settled.

    Raises:
        ValueError: as `tuning_curve` does, and if the numbers of trials differ.

    Example:
        >>> settled = ranking_settled([4.0, 2.0, 1.0, 3.0], [3.0, 3.5, 3.2, 3.1])
        >>> settled.better, settled.observed_from, settled.certain_from
        ('a', 2, None)
    """
    check_confidence(confidence)
    support = _check_support(lower, upper)
    a = _within(support, _as_scores(scores_a, "scores_a"), "scores_a")
    b = _within(support, _as_scores(scores_b, "scores_b"), "scores_b")
    if a.size != b.size:
        raise ValueError(
            f"methods are compared at equal budget, found {a.size} trials in `scores_a` and {b.size} "
            "in `scores_b`; pass the first trials of both, as many as the shorter search has."
        )
    each = 1.0 - (1.0 - confidence) / 2.0
    curve_a, curve_b = _curve(a, each, support), _curve(b, each, support)
    # who leads at each budget: -1 for a, 1 for b, 0 for neither
    observed = np.sign(np.minimum.accumulate(a) - np.minimum.accumulate(b)).astype(np.intp)
    certain = np.where(curve_a.high < curve_b.low, -1, curve_b.high < curve_a.low).astype(np.intp)
    since = _start_of_last_run(observed)
    leads_longer = observed[-1] != 0 and since < a.size
    # up to the last budget at which the bands are apart
    apart = np.trim_zeros(certain, "b")
    low_ranks, _ = _rank_bands(a.size, each)
    return Settled(
        better=_lead(observed[-1]),
        observed_from=since if leads_longer else None,
        certain_better=_lead(apart[-1]) if apart.size else "",
        certain_from=_start_of_last_run(apart) if apart.size else None,
        certain_to=apart.size or None,
        reach=int(np.count_nonzero(low_ranks)),
    )


def _curve(sample: Vector, confidence: float, support: tuple[float, float]) -> TuningCurve:
    num = sample.size
    budgets = np.arange(1, num + 1)
    # The best of m is at most y with probability 1 - (1 - F(y))^m, so its median is a quantile of F:
    # the smallest score with at least this share of the sample at or below it. opda's own estimate
    # sums the shares in floating point, and so takes the upper of the two middle ones of 12 or 20 scores.
    ranks = np.ceil(num * (1.0 - 0.5 ** (1.0 / budgets))).astype(np.intp)
    low, high = _rank_bands(num, confidence)
    scale = np.concatenate([support[:1], np.sort(sample), support[1:]])
    return TuningCurve(budgets, scale[ranks], scale[low], scale[high], confidence)


@functools.lru_cache(maxsize=64)
def _rank_bands(num: int, confidence: float) -> tuple[Ranks, Ranks]:
    """Return the order statistics that bound the tuning curve, 0 and n + 1 for the ends of the support.

    The band consists of order statistics whose ranks depend on n and the confidence alone. So opda is
    given ranks for scores: one simulation, which takes seconds, serves all curves of n trials, and ties
    among scores do no harm.

    Returns:
        Shapes (n,), ranks of the lower and of the upper bounds at budgets 1 to n; do not write to them.
    """
    budgets = np.arange(1, num + 1)
    if num == 1:
        # The density is flat, so that opda finds no highest one. The centred interval holds 1/2 at any
        # confidence: the median is unbounded on either side.
        return np.zeros(1, dtype=np.intp), np.full(1, 2, dtype=np.intp)
    lower_cdf, _, upper_cdf = EmpiricalDistribution.confidence_bands(
        budgets,
        confidence,
        a=0,
        b=num + 1,
        # The critical value is a constant without closed form, simulated to within 5 % of
        # 1 - confidence; a fixed seed keeps it constant, and figures with it.
        generator=np.random.default_rng(0),
        n_jobs=1,  # a pool of processes costs more than it saves, and would fork a threaded one
    )
    low = upper_cdf.quantile_tuning_curve(budgets, minimize=True)
    high = lower_cdf.quantile_tuning_curve(budgets, minimize=True)
    return low.astype(np.intp), high.astype(np.intp)


def _start_of_last_run(signs: Ranks) -> int:
    """Return the budget from which on all signs equal the last one."""
    others = np.flatnonzero(signs != signs[-1])
    return int(others[-1]) + 2 if others.size else 1


def _lead(sign: np.intp) -> Lead:
    if sign == 0:
        return ""
    return "a" if sign < 0 else "b"


def _as_scores(scores: npt.ArrayLike, name: str) -> Vector:
    mend = "give a diverged trial the finite worst score"
    return as_vector(scores, name, each="trial", mend=mend)


def _check_support(lower: float | None, upper: float | None) -> tuple[float, float]:
    low = -math.inf if lower is None else float(lower)
    high = math.inf if upper is None else float(upper)
    if not low < high:
        raise ValueError(
            f"`lower` must be below `upper`, found lower={low} and upper={high}; pass the ends of what "
            "a score can be, or None where it has no end."
        )
    return low, high


def _within(support: tuple[float, float], sample: Vector, name: str) -> Vector:
    low, high = support
    bad = np.flatnonzero((sample < low) | (sample > high))
    if bad.size:
        raise ValueError(
            f"`{name}` must lie within [{low}, {high}], found {sample[bad[0]]} at position {bad[0]}; "
            "widen `lower` and `upper` to all that a score can be."
        )
    return sample

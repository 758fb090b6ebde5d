"""Say how certain a number is, with the few repetitions that training runs allow.

Every reported number is an estimate from a handful of seeds, so it travels as an `Interval`: the
estimate, its bounds, the number of observations and the confidence. Four rules run through the
module:

- *Paired before unpaired.* Methods share start, split and data order, so their difference (or the
  ratio of their costs) is taken seed by seed and the spread common to both drops out.
- *Student t before bootstrap.* With nominal 95 % intervals of a Gaussian mean, scipy's bootstrap
  covered 0.69 to 0.72 at n = 3 and 0.83 at n = 5 (1,000 simulations), Student t 0.94 to 0.95.
- *Nothing is known from one observation.* With n = 1 the spread cannot be estimated: the interval
  is unbounded, `(-inf, inf)` or `(0, inf)` for a ratio, rather than absent or of zero width.
- *Nothing is dropped in silence.* A non-finite observation is an error; diverged runs are counted
  beside the interval by whoever selects the rows.

Arithmetic and distributions are numpy's and scipy's. Randomness enters as a numpy `Generator`.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

from repro.stats.checks import Vector, as_vector, check_confidence


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; `low`, `high` and `estimate` share one unit.

    The bounds are closed and may be infinite. The estimate may lie outside them: a bootstrap
    interval corrects for the bias of its estimate.

    Attributes:
        estimate: the value to report.
        low: lower bound.
        high: upper bound, at least `low`.
        num: number of independent observations (of pairs, if paired), at least 1.
        confidence: probability, above 0 and at most 1, that the procedure covers the truth.
    """

    estimate: float
    low: float
    high: float
    num: int
    confidence: float

    def __post_init__(self) -> None:
        """Refuse bounds, counts and confidences that no procedure yields.

        Raises:
            ValueError: if `low <= high`, `num >= 1` or `0 < confidence <= 1` does not hold.
        """
        if not self.low <= self.high:
            raise ValueError(
                f"Interval: `low` must be at most `high`, found low={self.low} and "
                f"high={self.high}; pass the bounds in order and without NaN."
            )
        if self.num < 1:
            raise ValueError(
                f"Interval: `num` must be at least 1, found {self.num}; show a missing estimate "
                "as not run instead."
            )
        if not 0 < self.confidence <= 1:
            raise ValueError(
                f"Interval: `confidence` must lie in (0, 1], found {self.confidence}; write 95 % "
                "as 0.95."
            )

    def contains(self, x: float) -> bool:
        """Tell whether `low <= x <= high`; false for NaN.

        Returns:
            Whether `x`, in the unit of the estimate, lies within the closed bounds.
        """
        return self.low <= x <= self.high


def mean_interval(values: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of a mean by Student's t; exact for independent normal observations.

    Args:
        values: shape (n,), n >= 1, finite; a ValueError says otherwise. One observation gives
            `(-inf, inf)`; observations without spread give an interval of zero width.
        confidence: within (0, 1).

    Returns:
        The sample mean and its interval, in the unit of `values`.

    Example:
        >>> interval = mean_interval([1.0, 2.0, 3.0])
        >>> f"{interval.estimate:.2f} [{interval.low:.2f}, {interval.high:.2f}], n={interval.num}"
        '2.00 [-0.48, 4.48], n=3'
    """
    sample = as_vector(values, "values")
    check_confidence(confidence)
    num = sample.size
    estimate = float(sample.mean())
    if num == 1:
        return Interval(estimate, -math.inf, math.inf, num, confidence)
    standard_error = float(sample.std(ddof=1)) / math.sqrt(num)
    half = _t_quantile(confidence, num - 1) * standard_error
    return Interval(estimate, estimate - half, estimate + half, num, confidence)


def paired_p_value(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sided p-value of a paired t test of equal means.

    Args:
        a: shape (n,), n >= 2, finite; a ValueError says otherwise.
        b: shape (n,), the partners of `a`, in the same order and unit.

    Returns:
        The p-value; 1 if all differences are zero, 0 if they are all equal to another number.

    Raises:
        ValueError: if the samples are no pairs of finite numbers, or fewer than two.

    Example:
        >>> f"{paired_p_value([1.0, 2.0, 3.0], [0.5, 1.0, 1.5]):.3f}"
        '0.074'
    """
    first, second = _as_pairs(a, b)
    difference = first - second
    if difference.size < 2:
        raise ValueError(f"A paired test needs at least 2 pairs, found {difference.size}.")
    standard_error = float(difference.std(ddof=1)) / math.sqrt(difference.size)
    if standard_error == 0.0:
        return 1.0 if difference[0] == 0.0 else 0.0
    ratio = abs(float(difference.mean())) / standard_error
    return 2.0 * float(stats.t.sf(ratio, difference.size - 1))


def ratio_interval(a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of the ratio of the geometric means of `a` and `b`, by paired t on logarithms.

    Costs multiply, so their logarithms are about normal. The interval is that of
    mean(log a - log b). Inverting the ratio inverts the interval.

    Args:
        a: shape (n,), positive and finite, e.g. seconds a step; a ValueError says otherwise.
        b: shape (n,), in the unit of `a`; entry i was measured together with that of `a`.
        confidence: within (0, 1).

    Returns:
        The ratio and its interval, without unit. A single pair gives `(0, inf)`. `num` counts pairs.
    """
    first, second = _as_pairs(a, b)
    logs = mean_interval(_logarithms(first, "a") - _logarithms(second, "b"), confidence)
    with np.errstate(over="ignore", under="ignore"):  # few seeds reach 0 or inf, and may
        estimate, low, high = (float(x) for x in np.exp([logs.estimate, logs.low, logs.high]))
    return Interval(estimate, low, high, logs.num, confidence)


def median_interval(values: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Distribution-free interval of a median, between two order statistics.

    The r-th smallest and r-th largest of n observations enclose the median with probability
    1 - 2 P(B < r), B binomial(n, 1/2): exactly for continuous distributions, at least so with ties
    (David & Nagaraja 2003, Order Statistics, 7.1). The largest r that keeps the asked
    confidence is taken. If not even r = 1 keeps it (95 % needs n >= 6), the bounds are
    `(-inf, inf)`, which cover with certainty.

    Args:
        values: shape (n,), n >= 1, finite; a ValueError says otherwise.
        confidence: the least confidence to accept, within (0, 1).

    Returns:
        The sample median and its interval, in the unit of `values`; its `confidence` is the one
        attained, at least the one asked for.
    """
    sample = np.sort(as_vector(values, "values"))
    check_confidence(confidence)
    num = sample.size
    ranks = np.arange(num // 2 + 1)
    attained = 1.0 - 2.0 * stats.binom.cdf(ranks - 1, num, 0.5)
    rank = int(np.flatnonzero(attained >= confidence)[-1])  # rank 0 attains 1
    bounded = np.concatenate([[-np.inf], sample, [np.inf]])
    low, high = float(bounded[rank]), float(bounded[num + 1 - rank])
    return Interval(float(np.median(sample)), low, high, num, float(attained[rank]))


def bootstrap_interval(
    values: npt.ArrayLike,
    statistic: Callable[..., Any],
    confidence: float,
    rng: np.random.Generator,
    num_resamples: int = 9999,
) -> Interval:
    """Interval of any statistic by the bias-corrected and accelerated bootstrap (Efron 1987).

    For statistics without a closed form, and for ten observations or more. With fewer it covers
    too rarely (numbers in the module docstring): use `mean_interval` or `median_interval`.

    Args:
        values: shape (n,), n >= 1, finite; one observation gives `(-inf, inf)`, identical
            observations an interval of zero width.
        statistic: maps a sample (n,) to a number; one that has a parameter `axis` is called on
            all resamples (num_resamples, n) at once.
        confidence: within (0, 1).
        rng: source of the resamples.
        num_resamples: how many, at least 1.

    Returns:
        The statistic of `values` and its interval.

    Raises:
        ValueError: if `num_resamples` is below 1, or if the interval is undefined because the
            statistic hardly moves when observations are left out.
    """
    sample = as_vector(values, "values")
    check_confidence(confidence)
    if num_resamples < 1:
        raise ValueError(
            f"bootstrap_interval: `num_resamples` must be at least 1, found {num_resamples}; "
            "9999 is usual."
        )
    num = sample.size
    estimate = float(statistic(sample))
    if num == 1:
        return Interval(estimate, -math.inf, math.inf, num, confidence)
    if sample.min() == sample.max():
        return Interval(estimate, estimate, estimate, num, confidence)
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")  # degenerate samples end in the error below
        low, high = stats.bootstrap(
            (sample,),
            statistic,
            confidence_level=confidence,
            n_resamples=num_resamples,
            method="BCa",
            rng=rng,
        ).confidence_interval
    if math.isnan(low) or math.isnan(high):
        raise ValueError(
            f"bootstrap_interval: the BCa interval needs a statistic that varies when observations "
            f"are left out, found one stuck at {estimate} for n={num}; use mean_interval or "
            "median_interval."
        )
    return Interval(estimate, float(low), float(high), num, confidence)


def binomial_interval(successes: int, num: int, confidence: float = 0.95) -> Interval:
    """Interval of a proportion by Clopper & Pearson (1934); covers at least as often as stated.

    Args:
        successes: number of successes, e.g. of runs that diverged.
        num: number of trials, at least 1.
        confidence: within (0, 1).

    Returns:
        `successes / num` and its interval within [0, 1].

    Raises:
        ValueError: if not `0 <= successes <= num` with `num >= 1`.
    """
    check_confidence(confidence)
    if num < 1 or not 0 <= successes <= num:
        raise ValueError(
            f"binomial_interval: needs 0 <= successes <= num and num >= 1, found "
            f"successes={successes} and num={num}; count successes among the trials."
        )
    low, high = stats.binomtest(successes, num).proportion_ci(confidence, method="exact")
    return Interval(successes / num, float(low), float(high), num, confidence)


def welch_interval(a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of mean(a) - mean(b) of independent samples by t, which lets their spreads differ (Welch 1947, Biometrika 34).

    Args:
        a: shape (n,), n >= 1, finite; a ValueError says otherwise.
        b: shape (m,), m >= 1, finite, in the unit of `a`.
        confidence: within (0, 1).

    Returns:
        The difference of the means and its interval; `num` is the smaller of n and m.
    """
    a, b = as_vector(a, "a"), as_vector(b, "b")
    check_confidence(confidence)
    estimate = float(a.mean() - b.mean())
    num = min(a.size, b.size)
    if num == 1:
        return Interval(estimate, -math.inf, math.inf, num, confidence)
    parts = np.array([a.var(ddof=1) / a.size, b.var(ddof=1) / b.size])
    variance = float(parts.sum())
    if variance == 0:
        return Interval(estimate, estimate, estimate, num, confidence)
    shares = parts / variance  # of the variance; dividing first cannot underflow
    degrees = 1.0 / float(np.sum(shares**2 / np.array([a.size - 1, b.size - 1])))
    half = _t_quantile(confidence, degrees) * math.sqrt(variance)
    return Interval(estimate, estimate - half, estimate + half, num, confidence)


def slope_interval(x: npt.ArrayLike, y: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of the slope of the line of least squares, by t with n - 2 degrees of freedom.

    Args:
        x: shape (n,), n >= 2, finite; a ValueError says otherwise.
        y: shape (n,), finite; its scatter about the line is taken to be normal and the same everywhere.
        confidence: within (0, 1).

    Returns:
        The slope, in the unit of `y` per that of `x`. Two points say nothing of the scatter: `(-inf, inf)`.

    Raises:
        ValueError: if all of `x` are the same.
    """
    first, second = _as_pairs(x, y)
    check_confidence(confidence)
    if np.ptp(first) == 0.0:
        raise ValueError(
            f"slope_interval: expected different values in `x`, found {first[0]} alone; a line needs two."
        )
    line = stats.linregress(first, second)
    slope = float(line.slope)
    if first.size == 2:
        return Interval(slope, -math.inf, math.inf, 2, confidence)
    half = _t_quantile(confidence, first.size - 2) * float(line.stderr)
    return Interval(slope, slope - half, slope + half, first.size, confidence)


def _t_quantile(confidence: float, degrees: float) -> float:
    """Return the half width of a two-sided t interval, in standard errors."""
    return float(stats.t.isf((1.0 - confidence) / 2.0, degrees))


def _as_pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Vector, Vector]:
    first, second = as_vector(a, "a"), as_vector(b, "b")
    if first.size != second.size:
        raise ValueError(
            f"paired observations must be of one length, found {first.size} in `a` and "
            f"{second.size} in `b`; keep the repetitions that both have, in the same order."
        )
    return first, second


def _logarithms(sample: Vector, name: str) -> Vector:
    bad = np.flatnonzero(sample <= 0)
    if bad.size:
        raise ValueError(
            f"ratio_interval: `{name}` must be positive, found {sample[bad[0]]} at position "
            f"{bad[0]}; compare values that may be zero by mean_interval of their differences."
        )
    return np.log(sample)

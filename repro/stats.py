"""Say how sure a number is, with the few repetitions that training runs allow.

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

Vector = npt.NDArray[np.float64]


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
    sample = _as_sample(values, "values")
    _check_confidence(confidence)
    num = sample.size
    estimate = float(sample.mean())
    if num == 1:
        return Interval(estimate, -math.inf, math.inf, num, confidence)
    standard_error = float(sample.std(ddof=1)) / math.sqrt(num)
    half = _t_quantile(confidence, num - 1) * standard_error
    return Interval(estimate, estimate - half, estimate + half, num, confidence)


def paired_interval(a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Interval of `mean(a - b)` by paired t; entry i of `a` and of `b` share their seed.

    Args:
        a: shape (n,), n >= 1, finite.
        b: shape (n,), in the same order and unit; a ValueError says otherwise.
        confidence: within (0, 1).

    Returns:
        The mean difference and its interval, in the unit of `a`; positive where `a` is larger.
    """
    first, second = _as_pairs(a, b)
    return mean_interval(first - second, confidence)


def ratio_interval(
    a: npt.ArrayLike, b: npt.ArrayLike, confidence: float = 0.95, paired: bool = True
) -> Interval:
    """Interval of the ratio of the geometric means of `a` and `b`, by t on logarithms.

    Costs multiply, so their logarithms are what is about normal. Paired, the interval is that of
    mean(log a - log b); unpaired, it is Welch's (1947, Biometrika 34) of mean(log a) - mean(log b),
    which lets the two spreads differ. Inverting the ratio inverts the interval.

    Args:
        a: shape (n,), positive and finite, e.g. seconds a step; a ValueError says otherwise.
        b: shape (n,) if paired, any shape (m,) if not; in the unit of `a`.
        confidence: within (0, 1).
        paired: whether entry i of `a` and of `b` were measured together.

    Returns:
        The ratio and its interval, without unit. A single observation on a side gives `(0, inf)`.
        `num` counts pairs, or the smaller of the two samples.
    """
    first, second = _as_pairs(a, b) if paired else (_as_sample(a, "a"), _as_sample(b, "b"))
    log_a, log_b = _logarithms(first, "a"), _logarithms(second, "b")
    if paired:
        logs = mean_interval(log_a - log_b, confidence)
    else:
        logs = _welch_interval(log_a, log_b, confidence)
    with np.errstate(over="ignore", under="ignore"):  # few seeds reach 0 or inf, and may
        estimate, low, high = (float(x) for x in np.exp([logs.estimate, logs.low, logs.high]))
    return Interval(estimate, low, high, logs.num, confidence)


def median_interval(values: npt.ArrayLike, confidence: float = 0.95) -> Interval:
    """Distribution-free interval of a median, between two order statistics.

    The r-th smallest and r-th largest of n observations enclose the median with probability
    1 - 2 P(B < r), B binomial(n, 1/2): exactly for continuous distributions, at least so with ties
    (David & Nagaraja 2003, Order Statistics, 7.1). The largest r that keeps the asked
    confidence is taken. Where not even r = 1 keeps it (95 % needs n >= 6) the bounds are
    `(-inf, inf)`, which cover with certainty.

    Args:
        values: shape (n,), n >= 1, finite; a ValueError says otherwise.
        confidence: the least confidence to accept, within (0, 1).

    Returns:
        The sample median and its interval, in the unit of `values`; its `confidence` is the one
        attained, at least the one asked for.
    """
    sample = np.sort(_as_sample(values, "values"))
    _check_confidence(confidence)
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

    For statistics without a closed form, and for ten observations or more: below that it covers
    too rarely (numbers in the module docstring), use `mean_interval` or `median_interval`.

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
    sample = _as_sample(values, "values")
    _check_confidence(confidence)
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
    _check_confidence(confidence)
    if num < 1 or not 0 <= successes <= num:
        raise ValueError(
            f"binomial_interval: needs 0 <= successes <= num and num >= 1, found "
            f"successes={successes} and num={num}; count successes among the trials."
        )
    low, high = stats.binomtest(successes, num).proportion_ci(confidence, method="exact")
    return Interval(successes / num, float(low), float(high), num, confidence)


def smallest_two_sided_p(num_pairs: int) -> float:
    """Smallest two-sided p-value that an exact paired rank or sign-flip test can return.

    Of the 2^n equally likely sign patterns two are the most extreme, so neither Wilcoxon's signed
    ranks nor the sign-flip test goes below 2^(1-n): 0.0625 at 5 pairs, 0.03125 at 6.

    Args:
        num_pairs: number of paired repetitions, at least 1.

    Returns:
        The bound, within (0, 1].

    Raises:
        ValueError: if `num_pairs` is below 1.
    """
    if num_pairs < 1:
        raise ValueError(
            f"smallest_two_sided_p: `num_pairs` must be at least 1, found {num_pairs}; count the "
            "repetitions that both methods have."
        )
    return math.ldexp(1.0, 1 - num_pairs)


def holm(p_values: npt.ArrayLike) -> Vector:
    """Adjust p-values for their number by Holm (1979, Scand. J. Stat. 6), in the given order.

    Rejecting where the adjusted value is at most alpha keeps the probability of any false
    rejection at most alpha, however the tests depend on one another.

    Args:
        p_values: shape (m,), m >= 0, each within [0, 1].

    Returns:
        Shape (m,): adjusted p-values, none smaller than its own p-value.

    Raises:
        ValueError: if a value is outside [0, 1] or NaN, or `p_values` is not a vector.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not np.all((p >= 0) & (p <= 1)):
        raise ValueError(
            f"holm: `p_values` must be a vector within [0, 1], found {p.tolist()}; leave out the "
            "claims that were not tested."
        )
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(np.arange(p.size, 0, -1) * p[order])
    return np.minimum(adjusted, 1.0)


def first_crossing(steps: npt.ArrayLike, values: npt.ArrayLike, level: float) -> float:
    """Step at which a recorded curve first falls to `level`, e.g. a loss to its target.

    Between two recorded points the curve is taken as straight. Where the point before is not
    finite there is no line to follow and the recorded step itself is returned.

    Args:
        steps: shape (n,), finite and strictly increasing; steps, epochs or seconds.
        values: shape (n,); NaN counts as above the level, so a diverged curve may be passed.
        level: finite, in the unit of `values`.

    Returns:
        The crossing in the unit of `steps`; NaN if the curve never falls to `level` (which an
        empty curve does not).

    Raises:
        ValueError: if the shapes differ, `steps` do not increase, or `level` is not finite.

    Example:
        >>> first_crossing([0, 10, 20], [4.0, 2.0, 1.0], level=3.0)
        5.0
    """
    x = np.asarray(steps, dtype=np.float64)
    y = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"first_crossing: `steps` and `values` must be vectors of one length, found shapes "
            f"{x.shape} and {y.shape}; pass one curve at a time."
        )
    previous = np.concatenate([[-np.inf], x[:-1]])
    bad = np.flatnonzero(~((x > previous) & np.isfinite(x)))
    if bad.size:
        raise ValueError(
            f"first_crossing: `steps` must be finite and strictly increasing, found {x[bad[0]]} at "
            f"position {bad[0]} after {previous[bad[0]]}; sort the curve, keep one point a step."
        )
    if not math.isfinite(level):
        raise ValueError(
            f"first_crossing: `level` must be finite, found {level}; take it from a finished run."
        )
    reached = np.flatnonzero(y <= level)
    if reached.size == 0:
        return math.nan
    i = int(reached[0])
    if i == 0 or not (math.isfinite(y[i - 1]) and math.isfinite(y[i])):
        return float(x[i])
    fraction = (y[i - 1] - level) / (y[i - 1] - y[i])
    return float(x[i - 1] + fraction * (x[i] - x[i - 1]))


def _welch_interval(a: Vector, b: Vector, confidence: float) -> Interval:
    """Return the interval of mean(a) - mean(b) by Welch's t; `num` is the smaller n."""
    _check_confidence(confidence)
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


def _t_quantile(confidence: float, degrees: float) -> float:
    """Return the half width of a two-sided t interval, in standard errors."""
    return float(stats.t.isf((1.0 - confidence) / 2.0, degrees))


def _as_sample(values: npt.ArrayLike, name: str) -> Vector:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(
            f"`{name}` must be a vector of at least one observation, found shape {sample.shape}; "
            "pass one number a repetition."
        )
    bad = np.flatnonzero(~np.isfinite(sample))
    if bad.size:
        raise ValueError(
            f"`{name}` must be finite, found {sample[bad[0]]} at position {bad[0]}; count diverged "
            "runs apart or use their finite worst score."
        )
    return sample


def _as_pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Vector, Vector]:
    first, second = _as_sample(a, "a"), _as_sample(b, "b")
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
            f"{bad[0]}; compare values that may be zero by paired_interval."
        )
    return np.log(sample)


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(
            f"`confidence` must lie strictly between 0 and 1, found {confidence}; write 95 % as "
            "0.95."
        )

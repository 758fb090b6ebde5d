"""Say what a p-value is worth among others, and how small it can get with few repetitions."""

import math

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

from repro.stats.checks import Vector


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


def sign_p_value(num_lower: int, num_higher: int) -> float:
    """Two-sided p-value of the exact sign test: are pairs as often lower as higher?

    Args:
        num_lower: number of pairs whose first value is the lower one, without ties.
        num_higher: number of pairs whose second value is the lower one.

    Returns:
        The p-value, 1 if there is no pair.

    Raises:
        ValueError: if a number is negative.
    """
    if min(num_lower, num_higher) < 0:
        raise ValueError(
            f"sign_p_value: needs numbers of pairs, found {num_lower} and {num_higher}; count them."
        )
    num = num_lower + num_higher
    return float(stats.binomtest(num_lower, num).pvalue) if num else 1.0


def holm(p_values: npt.ArrayLike) -> Vector:
    """Adjust p-values for their number by Holm (1979, Scand. J. Stat. 6), in the given order.

    Rejecting if the adjusted value is at most alpha keeps the probability of any false
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

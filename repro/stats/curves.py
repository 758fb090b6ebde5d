"""Say when a recorded curve reaches a level, even if that happens between two records."""

import math

import numpy as np
import numpy.typing as npt


def first_crossing(
    steps: npt.ArrayLike, values: npt.ArrayLike, level: float
) -> tuple[float, float, float]:
    """Step at which a recorded curve first falls to `level`, e.g. a loss to its target.

    Between two recorded points the curve is taken as straight for the estimate, but as unknown for the bounds: a curve
    that falls between two records may have fallen right after the first of them. If the point before is not finite,
    there is no line to follow, and the recorded step itself is the estimate.

    Args:
        steps: shape (n,), finite and strictly increasing; steps, epochs or seconds.
        values: shape (n,); NaN counts as above the level, so a diverged curve may be passed.
        level: finite, in the unit of `values`.

    Returns:
        The crossing in the unit of `steps`, the last record before it and the first one after it; all NaN if the
        curve never falls to `level`, as an empty curve does not.

    Raises:
        ValueError: if the shapes differ, `steps` do not increase, or `level` is not finite.

    Example:
        >>> first_crossing([0, 10, 20], [4.0, 2.0, 1.0], level=3.0)
        (5.0, 0.0, 10.0)
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
        return math.nan, math.nan, math.nan
    i = int(reached[0])
    before, after = float(x[max(i - 1, 0)]), float(x[i])
    if i == 0 or not (math.isfinite(y[i - 1]) and math.isfinite(y[i])):
        return after, before, after
    fraction = (y[i - 1] - level) / (y[i - 1] - y[i])
    return float(before + fraction * (after - before)), before, after

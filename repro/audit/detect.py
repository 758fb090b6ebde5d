"""How many examples does a printed score average over? What the numbers themselves give away.

A mean over few examples leaves traces that a mean over a whole split cannot:

- *Accuracies* over `q` examples are all multiples of `1/q`.
- A *loss* is in general a multiple of nothing. But in single precision the loss of a learned example is a multiple of
  the machine epsilon, and if the code clamps probabilities, the loss of a lost example is the largest loss there is.
  So means of either kind fall on sixteenths if 16 examples were averaged.
- A loss of exactly 0 means that every example was learned to the last bit. If the next epoch's loss is not tiny,
  those were other examples, or few.
- A mean over `n` examples whose loss has a standard deviation of `c` times its mean moves by `c / sqrt(n)` of itself
  from one draw to the next. If it moves more from epoch to epoch, either fewer examples were averaged or
  training itself is that unstable. This trace alone cannot tell the two apart, unless another score of the same run
  stays calm.

Chance is allowed for: a trace counts if numbers without it would show it less than once in a million cases.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import numpy.typing as npt
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

Vector = npt.NDArray[np.float64]

LUCK = 1e-6
"""Probability by chance below which a trace counts."""
EPSILON = float(np.finfo(np.float32).eps)
CAPS = {  # nats: the largest loss where code clamps probabilities
    "-log(float32 epsilon)": -math.log(EPSILON),
    "-log(1e-7)": -math.log(1e-7),
    "-log(1e-8)": -math.log(1e-8),
    "-log(1e-12)": -math.log(1e-12),
}
SIZES = (4, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 256)
"""Numbers of examples that are looked for in losses."""
SPREAD = 5.0
"""Standard deviation of an example's loss over the mean loss: larger than in trained networks."""
MOST = 2_000
"""The most values that are looked at; more tell nothing new."""


@dataclasses.dataclass(frozen=True)
class Trace:
    """A sign of few examples.

    Attributes:
        examples: The largest number of examples that explains it; NaN if the trace gives none.
        text: What was seen.
        certain: Whether nothing else explains it.
    """

    examples: float
    text: str
    certain: bool


def in_accuracies(values: npt.ArrayLike) -> Iterator[Trace]:
    """Look for a common coarse denominator of accuracies.

    Args:
        values: Fractions in [0, 1], or percentages.

    Yields:
        A trace, if all values are multiples of one fraction.

    Example:
        >>> [trace.examples for trace in in_accuracies([0.9375, 0.875, 0.8125, 0.6875, 1.0])]
        [16.0]
    """
    sample = _finite(values)
    whole = 100.0 if sample.size and sample.max() > 1 else 1.0
    printed = np.unique(sample[(sample > 0) & (sample < whole)])[:MOST]
    if printed.size < 3:
        return
    # in the unit in which they were written: divided by 100, a percentage has other digits
    unit = max(min(_half_unit(float(f"{v:.12g}")) for v in printed) / whole, 1e-9)
    interior = printed / whole
    sizes = np.arange(2, 513)
    tolerances = sizes * unit * (1 + 1e-6)
    off = np.abs(np.outer(sizes, interior) - np.round(np.outer(sizes, interior)))
    fits = (tolerances < 0.25) & (off <= tolerances[:, None]).all(axis=1)
    rare = (2 * tolerances) ** interior.size < LUCK / 512
    for size in sizes[fits & rare][:1]:
        text = f"all {interior.size} accuracies are multiples of 1/{size}"
        yield Trace(float(size), text, True)


def in_losses(values: npt.ArrayLike) -> Iterator[Trace]:
    """Look for traces of few examples in the losses of one run, epoch by epoch.

    Args:
        values: Losses, not negative, in nats, in order.

    Yields:
        The traces, at most one of each kind.
    """
    sample = _finite(values)[:MOST]
    if sample.size < 2 or sample.min() < 0:
        return
    zeros = np.flatnonzero(sample == 0)
    if zeros.size and (later := sample[zeros[0] :].max()) > 1e-3:
        text = f"exactly 0 at {zeros.size} of {sample.size} evaluations, and {later:.3g} after the first"
        yield Trace(math.nan, text, True)
    for name, cap in CAPS.items():
        near = sample[(sample >= cap / 2) & (sample <= cap * (1 + 1e-3))]
        if size := _common_denominator(near, cap):
            yield Trace(size, f"{near.size} losses are multiples of ({name})/{size}", True)
            break
    tiny = sample[(sample > 0) & (sample < 1e-5)]
    if size := _common_denominator(tiny, EPSILON):
        yield Trace(
            size, f"{tiny.size} tiny losses are multiples of (float32 epsilon)/{size}", True
        )
    moved = fluctuation(sample)
    if math.isfinite(moved) and moved > 0:
        examples = (SPREAD / moved) ** 2
        yield Trace(
            examples,
            f"moves by {math.expm1(moved):.0%} of itself from one evaluation to the next, as a mean of "
            f"at most {examples:.0f} examples does",
            False,
        )


def fluctuation(values: npt.ArrayLike) -> float:
    """Return how much a series of losses scatters about its trend, relative to itself.

    Args:
        values: Losses, in order; the second half counts, where training has settled.

    Returns:
        Standard deviation of the logarithm of one value, robust and free of a steady trend; NaN for fewer
        than eight positive values.
    """
    sample = _finite(values)
    settled = sample[sample.size // 2 :]
    settled = settled[settled > 0]
    if settled.size < 8:
        return math.nan
    steps = np.diff(np.log(settled))
    # 1.4826 makes the median deviation a standard deviation; a difference of two has sqrt(2) of it
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / math.sqrt(2))


def _common_denominator(values: Vector, unit: float) -> int:
    """Return the smallest number `n` such that the values are multiples of `unit / n`, 0 if there is none."""
    values = np.unique(values)[:MOST]
    if values.size < 4:
        return 0
    rounding = np.array([max(_half_unit(v), 6e-8 * v) for v in values])
    for size in SIZES:
        tolerance = size * rounding / unit
        kept = tolerance < 0.1  # others are near a multiple of anything
        if kept.sum() < 4:
            continue
        parts = values[kept] * size / unit
        on = int((np.abs(parts - np.round(parts)) <= tolerance[kept] * 1.1 + 1e-3).sum())
        chance = float(np.mean(2 * tolerance[kept] * 1.1 + 2e-3))
        luck = stats.binom.sf(on - 1, int(kept.sum()), chance)
        if on >= 0.6 * kept.sum() and luck < LUCK / len(SIZES):
            return size
    return 0


def _half_unit(value: float) -> float:
    """Return half a unit of the last digit with which a number is written."""
    exponent = Decimal(repr(float(value))).as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * 10.0**exponent


def _finite(values: npt.ArrayLike) -> Vector:
    sample = np.array(values, dtype=np.float64).ravel()
    return sample[np.isfinite(sample)]

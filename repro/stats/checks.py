"""Refuse, before any arithmetic, input that would give a wrong number rather than an error."""

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def as_vector(
    values: npt.ArrayLike,
    name: str,
    each: str = "repetition",
    mend: str = "count diverged runs apart or use their finite worst score",
) -> Vector:
    """Return observations as a vector of floats.

    Args:
        values: shape (n,), n >= 1, finite.
        name: what the caller calls them, for the message.
        each: what one observation stands for, for the message.
        mend: what to do about an observation that is not finite, for the message.

    Returns:
        Shape (n,), in the unit of `values`.

    Raises:
        ValueError: if `values` is no vector, is empty, or holds a value that is not finite.
    """
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(
            f"`{name}` must be a vector of at least one observation, found shape {vector.shape}; "
            f"pass one number a {each}."
        )
    bad = np.flatnonzero(~np.isfinite(vector))
    if bad.size:
        raise ValueError(
            f"`{name}` must be finite, found {vector[bad[0]]} at position {bad[0]}; {mend}."
        )
    return vector


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that no procedure can have.

    Args:
        confidence: within (0, 1).

    Raises:
        ValueError: if it is outside, or NaN.
    """
    if not 0 < confidence < 1:
        raise ValueError(
            f"`confidence` must lie strictly between 0 and 1, found {confidence}; write 95 % as "
            "0.95."
        )

"""Tangents: random directions with zero mean and, but for `unit` and `angle`, second moment `E[v v^T] = I`.

That moment is what makes a forward gradient `(nabla f . v) v` unbiased (Baydin et al. 2022, Theorem 1):
`E[v v^T] nabla f = nabla f`. Each distribution fills a preallocated `(k, d)` tensor from one generator, so a
replica's tangents depend on its own seed and on nothing that is trained beside it.

Tangents at an `angle` are the experiment of Flügel et al. (2024, Section 4.3): unit vectors of which all
but the first are turned towards it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import SupportsFloat

import torch
from torch import Tensor


def normal_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill with independent standard normals (Baydin et al. 2022, Section 4)."""
    return out.normal_(generator=generator)


def rademacher_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill with independent signs, the distribution of least variance (Flügel et al. 2024)."""
    return out.bernoulli_(0.5, generator=generator).mul_(2.0).sub_(1.0)


def on_sphere_(normals: Tensor) -> Tensor:
    """Scale normals to directions uniform on the sphere of radius `sqrt(d)`."""
    return normals.mul_(math.sqrt(normals.shape[-1]) / normals.norm(dim=-1, keepdim=True))


def of_unit_length_(normals: Tensor) -> Tensor:
    """Scale normals to length one (Flügel et al. 2024, Section 4.1, there called normalised)."""
    return normals.div_(normals.norm(dim=-1, keepdim=True))


def at_angle_(normals: Tensor, degrees: float) -> Tensor:
    """Turn normals to unit vectors at one angle to the first (Flügel et al. 2024, Section 4.3).

    The first is uniform on the unit sphere; each other is uniform among the unit vectors at that angle to
    it. Their span is that of as many normal vectors, whatever the angle.

    Args:
        normals: Shape `(..., k, d)`, overwritten.
        degrees: The angle, in (0, 180).

    Returns:
        The same tensor.

    Raises:
        ValueError: If there is no other direction to turn from: `d` is 1 and `k` above it.
    """
    if normals.shape[-1] == 1 and normals.shape[-2] > 1:
        raise ValueError("Tangents at an angle need at least 2 dimensions. Found 1.")
    of_unit_length_(normals)
    first, others = normals[..., :1, :], normals[..., 1:, :]
    for _ in range(2):
        # once more: in few dimensions the rejection of float32 is not quite orthogonal
        others.sub_((others @ first.mT) * first)
        of_unit_length_(others)
    others.mul_(math.sin(math.radians(degrees))).add_(math.cos(math.radians(degrees)) * first)
    return normals


Fill = Callable[[Tensor, torch.Generator], Tensor]
Shape = Callable[[Tensor], Tensor]

OF_NORMALS: dict[str, Shape] = {
    "normal": lambda normals: normals,
    "sphere": on_sphere_,
    "unit": of_unit_length_,
}
"""How a distribution is made of normals, `(..., k, d)` in place: one draw serves them all."""


def _of_normals(shape: Shape) -> Fill:
    return lambda out, generator: shape(normal_(out, generator))


DISTRIBUTIONS: dict[str, Fill] = {
    "normal": normal_,
    "rademacher": rademacher_,
    "sphere": _of_normals(on_sphere_),
}
"""Those of second moment one, under which a forward gradient is unbiased."""


def choose(name: str, angle: float | None = None) -> Fill:
    """Return the distribution of that name.

    Args:
        name: A key of `DISTRIBUTIONS` or of `OF_NORMALS`, or `angle`.
        angle: Degrees between the first tangent and each other, for `angle` alone.

    Returns:
        A function that fills a `(k, d)` tensor from a generator.

    Raises:
        ValueError: If the name is unknown, or the angle missing, out of (0, 180) or given to another.
    """
    if angle is None and name in tuple(DISTRIBUTIONS):  # of which a list, say, is none either
        return DISTRIBUTIONS[name]
    return _of_normals(shape_of(name, angle))


def shape_of(name: str, angle: float | None = None) -> Shape:
    """Return how the distribution of that name is made of normals.

    Args:
        name: A key of `OF_NORMALS`, or `angle`.
        angle: As of `choose`.

    Returns:
        A function that changes normals `(..., k, d)` in place.

    Raises:
        ValueError: As `choose`, and if the distribution is not made of normals.
    """
    names = tuple(dict.fromkeys((*DISTRIBUTIONS, *OF_NORMALS, "angle")))
    if name not in names:
        raise ValueError(f"`tangents` must be one of: {', '.join(names)}. Found {name!r}.")
    if name != "angle" and angle is not None:
        raise ValueError(f"`angle` belongs to the tangents 'angle'. Found tangents {name!r}.")
    if name in OF_NORMALS:
        return OF_NORMALS[name]
    if name != "angle":
        raise ValueError(f"Expected tangents made of normals. Found {name!r}.")
    given: object = angle  # a bool is a number to Python
    if isinstance(given, bool) or not isinstance(angle, SupportsFloat) or not 0.0 < angle < 180.0:
        raise ValueError(f"`angle` must be in (0, 180) degrees. Found {angle!r}.")
    return functools.partial(at_angle_, degrees=float(angle))

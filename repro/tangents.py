"""Tangents: random directions with zero mean and, but for `angle`, second moment `E[v v^T] = I`.

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

import torch
from torch import Tensor


def normal_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill with independent standard normals (Baydin et al. 2022, Section 4)."""
    return out.normal_(generator=generator)


def rademacher_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill with independent signs, the distribution of least variance (Flügel et al. 2024)."""
    return out.bernoulli_(0.5, generator=generator).mul_(2.0).sub_(1.0)


def sphere_(out: Tensor, generator: torch.Generator) -> Tensor:
    """Fill with directions uniform on the sphere of radius `sqrt(d)`."""
    out.normal_(generator=generator)
    return out.mul_(math.sqrt(out.shape[-1]) / out.norm(dim=-1, keepdim=True))


def angle_(out: Tensor, generator: torch.Generator, degrees: float) -> Tensor:
    """Fill with unit vectors at one angle to the first (Flügel et al. 2024, Section 4.3).

    The first is uniform on the unit sphere; each other is uniform among the unit vectors at that angle to
    it. Their span is that of as many normal vectors, whatever the angle.

    Args:
        out: Shape `(k, d)`, overwritten.
        generator: Source of the draws.
        degrees: The angle, in (0, 180).

    Returns:
        `out`.

    Raises:
        ValueError: If there is no other direction to turn from: `d` is 1 and `k` above it.
    """
    if out.shape[-1] == 1 and out.shape[-2] > 1:
        raise ValueError("Tangents at an angle need at least 2 dimensions. Found 1.")
    out.normal_(generator=generator)
    out.div_(out.norm(dim=-1, keepdim=True))
    first, others = out[:1], out[1:]
    for _ in range(
        2
    ):  # once more: in few dimensions the rejection of float32 is not quite orthogonal
        others.sub_((others @ first.mT) * first)
        others.div_(others.norm(dim=-1, keepdim=True))
    others.mul_(math.sin(math.radians(degrees))).add_(math.cos(math.radians(degrees)) * first)
    return out


Fill = Callable[[Tensor, torch.Generator], Tensor]

DISTRIBUTIONS: dict[str, Fill] = {
    "normal": normal_,
    "rademacher": rademacher_,
    "sphere": sphere_,
}
"""Those of second moment one, under which a forward gradient is unbiased."""


def choose(name: str, angle: float | None = None) -> Fill:
    """Return the distribution of that name.

    Args:
        name: A key of `DISTRIBUTIONS`, or `angle`.
        angle: Degrees between the first tangent and each other, for `angle` alone.

    Returns:
        A function that fills a `(k, d)` tensor from a generator.

    Raises:
        ValueError: If the name is unknown, or the angle missing, out of (0, 180) or given to another.
    """
    names = (*DISTRIBUTIONS, "angle")
    if name not in names:
        raise ValueError(f"`tangents` must be one of: {', '.join(names)}. Found {name!r}.")
    if name != "angle":
        if angle is not None:
            raise ValueError(f"`angle` belongs to the tangents 'angle'. Found tangents {name!r}.")
        return DISTRIBUTIONS[name]
    if angle is None or not 0.0 < angle < 180.0:
        raise ValueError(f"`angle` must be in (0, 180) degrees. Found {angle}.")
    return functools.partial(angle_, degrees=angle)

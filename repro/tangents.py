"""Tangents: random directions with zero mean and second moment `E[v v^T] = I`.

That moment is what makes a forward gradient `(nabla f . v) v` unbiased (Baydin et al. 2022, Theorem 1):
`E[v v^T] nabla f = nabla f`. Each distribution fills a preallocated `(k, d)` tensor from one generator, so a
replica's tangents depend on its own seed and on nothing that is trained beside it.
"""

from __future__ import annotations

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


DISTRIBUTIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "normal": normal_,
    "rademacher": rademacher_,
    "sphere": sphere_,
}

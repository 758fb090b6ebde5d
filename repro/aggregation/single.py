"""One estimate from all tangents of a draw: sum, mean, and the orthogonal projection."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from repro.aggregation.factors import (
    CONDITION_LIMIT,
    DOUBLE_LIMIT,
    REFINEMENTS,
    factorise,
    project_exactly,
    reciprocal,
)

Aggregation = Callable[[Tensor, Tensor], Tensor]


def sum_(tangents: Tensor, directional_derivatives: Tensor) -> Tensor:
    """Return the sum of the forward gradients, `(R, d)`."""
    directional_derivatives = directional_derivatives.to(tangents.dtype)
    if len(tangents) == 1:
        return directional_derivatives @ tangents[0]
    return torch.matmul(directional_derivatives[..., None, :], tangents).squeeze(-2)


def mean(tangents: Tensor, directional_derivatives: Tensor) -> Tensor:
    """Return the mean of the forward gradients, `(R, d)`."""
    return sum_(tangents, directional_derivatives / tangents.shape[-2])


def orthogonal_projection(tangents: Tensor, directional_derivatives: Tensor) -> Tensor:
    """Return the orthogonal projection of the gradient on the span of the tangents.

    The Gram matrix of the tangents, scaled to length one, is factorised by Cholesky: in the tangents' own
    type, or in float64 where `k` exceeds a quarter of `d`, since random tangents are then nearly dependent.
    For `k > d` the normal equations take its place. Where the factor shows an ill-conditioned matrix the
    replica is solved again from the singular vectors of its tangents. Linearly dependent tangents, `k > d`
    and tangents of length zero are all defined: the projection is on whatever they span.

    Args:
        tangents: Shape `(R, k, d)`, or `(1, k, d)` where the replicas share them.
        directional_derivatives: Shape `(R, k)`; must be those of one gradient a replica. In float64 their
            rounding is not magnified where the tangents are nearly dependent.

    Returns:
        Shape `(R, d)`.
    """
    if len(tangents) == 1:
        return _project(tangents, directional_derivatives.mT[None])[0]
    return _project(tangents, directional_derivatives[..., None])[:, 0]


def nearly_dependent(tangents: Tensor) -> bool:
    """Tell whether a projection on random tangents `(R, k, d)` magnifies rounding: `k` above a quarter of `d`."""
    return 4 * tangents.shape[-2] > tangents.shape[-1]


def _project(tangents: Tensor, slopes: Tensor) -> Tensor:
    """Return projections `(B, c, d)` from tangents `(B, k, d)` and `c` sets of derivatives `(B, k, c)`."""
    if tangents.dtype.itemsize < 4:  # there are no factors in half precision
        return _project(tangents.float(), slopes).to(tangents.dtype)
    num_tangents, dimension = tangents.shape[-2:]
    if not nearly_dependent(tangents):
        gram = tangents @ tangents.mT
        scale = reciprocal(gram.diagonal(dim1=-2, dim2=-1).sqrt())[..., None]
        factor, failed = factorise(gram * scale * scale.mT, CONDITION_LIMIT)
        weights = torch.cholesky_solve(slopes.to(scale.dtype) * scale, factor) * scale
        estimate = weights.mT @ tangents
    else:
        wide = tangents.double()
        scale = reciprocal(wide.norm(dim=-1, keepdim=True))
        wide, right = wide * scale, slopes * scale
        limit = DOUBLE_LIMIT if tangents.dtype == torch.float32 else CONDITION_LIMIT
        if num_tangents <= dimension:
            factor, failed = factorise(wide @ wide.mT, limit)
            weights = torch.cholesky_solve(right, factor)
            for _ in range(REFINEMENTS):
                weights += torch.cholesky_solve(right - wide @ (wide.mT @ weights), factor)
            solution = weights.mT @ wide
        else:
            factor, failed = factorise(wide.mT @ wide, limit)
            point = torch.cholesky_solve(wide.mT @ right, factor)
            for _ in range(REFINEMENTS):
                point += torch.cholesky_solve(wide.mT @ (right - wide @ point), factor)
            solution = point.mT
        estimate = solution.to(tangents.dtype)
    if failed.any():
        estimate[failed] = project_exactly(tangents[failed], slopes[failed])
    return estimate


AGGREGATIONS: dict[str, Aggregation] = {
    "sum": sum_,
    "mean": mean,
    "orthogonal_projection": orthogonal_projection,
}

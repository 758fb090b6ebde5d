"""Aggregation: how `k` forward gradients become one estimate of the gradient.

With tangents as the rows of `V` `(k, d)` and directional derivatives `D = V nabla f` `(k,)`, every
aggregation is a linear map of `D` into the span of the tangents (Flügel et al. 2024, Section 3):

* `sum`: `V^T D`.
* `mean`: `V^T D / k`, unbiased when `E[v v^T] = I`.
* `orthogonal_projection`: `V^T (V V^T)^+ D`, the point of the span closest to the gradient. It depends on
  the span alone, not on the lengths or angles of the tangents, and is the gradient itself once they span
  the whole space.

All take replicas: tangents `(R, k, d)`, or `(1, k, d)` where the replicas share them, and directional
derivatives `(R, k)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

CONDITION_LIMIT = 1e4
"""Estimated condition of a Gram matrix above which its Cholesky factor is not trusted.

The relative error of the solution is about condition times machine epsilon: 1e4 * 6e-8 keeps six in
ten thousand, and only close to it.
"""
DOUBLE_LIMIT = 1e8
"""The same for tangents in float32 whose Gram matrix is taken in float64: 1e8 * 1e-16."""

REFINEMENTS = 2
"""Times that a solution in float64 is corrected by its residual: the pivots underestimate the condition of large
matrices, and each correction takes as many digits off the error as the factor has left."""

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
    num_tangents, dimension = tangents.shape[-2:]
    if not nearly_dependent(tangents):
        gram = tangents @ tangents.mT
        scale = _reciprocal(gram.diagonal(dim1=-2, dim2=-1).sqrt())[..., None]
        factor, failed = _factorise(gram * scale * scale.mT, CONDITION_LIMIT)
        weights = torch.cholesky_solve(slopes.to(scale.dtype) * scale, factor) * scale
        estimate = weights.mT @ tangents
    else:
        wide = tangents.double()
        scale = _reciprocal(wide.norm(dim=-1, keepdim=True))
        wide, right = wide * scale, slopes * scale
        limit = DOUBLE_LIMIT if tangents.dtype == torch.float32 else CONDITION_LIMIT
        if num_tangents <= dimension:
            factor, failed = _factorise(wide @ wide.mT, limit)
            weights = torch.cholesky_solve(right, factor)
            for _ in range(REFINEMENTS):
                weights += torch.cholesky_solve(right - wide @ (wide.mT @ weights), factor)
            solution = weights.mT @ wide
        else:
            factor, failed = _factorise(wide.mT @ wide, limit)
            point = torch.cholesky_solve(wide.mT @ right, factor)
            for _ in range(REFINEMENTS):
                point += torch.cholesky_solve(wide.mT @ (right - wide @ point), factor)
            solution = point.mT
        estimate = solution.to(tangents.dtype)
    if failed.any():
        estimate[failed] = _project_exactly(tangents[failed], slopes[failed])
    return estimate


def _reciprocal(lengths: Tensor) -> Tensor:
    return torch.where(lengths > 0.0, 1.0 / lengths, 0.0)


def _factorise(matrix: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Return Cholesky factors `(B, m, m)`, and which of them are not to be trusted, `(B,)`."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    condition = (pivots.amax(-1) / pivots.amin(-1)).square()
    return factor, (info != 0) | ~(condition < limit)


def _project_exactly(tangents: Tensor, slopes: Tensor) -> Tensor:
    # least-norm solution of V g = D from the singular vectors of V, in float64
    wide = tangents.double()
    left, singular, right = torch.linalg.svd(wide, full_matrices=False)
    # what rounding leaves of a dependent tangent is nothing to divide by: the rounding of the derivatives, which
    # tell apart what they resolve, or that of the factorisation
    rounding = 8 * torch.finfo(slopes.dtype).eps
    precision = max(rounding, max(wide.shape[-2:]) * torch.finfo(wide.dtype).eps)
    kept = singular > precision * singular[..., :1]
    inverse = torch.where(kept, 1.0 / torch.where(kept, singular, 1.0), 0.0)
    weights = inverse[..., None] * (left.mT @ slopes.double())
    estimate: Tensor = (weights.mT @ right).to(tangents.dtype)
    return estimate


AGGREGATIONS: dict[str, Aggregation] = {
    "sum": sum_,
    "mean": mean,
    "orthogonal_projection": orthogonal_projection,
}


def of_the_first(
    name: str, tangents: Tensor, directional_derivatives: Tensor, counts: Sequence[int]
) -> Tensor:
    """Aggregate the first `k` tangents of the same draw for several `k`.

    What the estimates of different `k` share is computed once: the sum is carried on from `k` to `k`, and
    the leading block of a Gram matrix's Cholesky factor is the factor of the leading block.

    Args:
        name: A key of `AGGREGATIONS`.
        tangents: Shape `(R, K, d)`.
        directional_derivatives: Shape `(R, K)`.
        counts: Increasing `k`, at most `K`.

    Returns:
        Estimates, `(len(counts), R, d)`.
    """
    if name in SHARED:
        return SHARED[name](tangents, directional_derivatives, counts)
    slopes = directional_derivatives.to(tangents.dtype)
    return _each_alone(AGGREGATIONS[name])(tangents, slopes, counts)


Shared = Callable[[Tensor, Tensor, Sequence[int]], Tensor]


def _each_alone(aggregate: Aggregation) -> Shared:
    def estimates(tangents: Tensor, slopes: Tensor, counts: Sequence[int]) -> Tensor:
        return torch.stack([aggregate(tangents[:, :k], slopes[:, :k]) for k in counts])

    return estimates


def _sums(tangents: Tensor, slopes: Tensor, counts: Sequence[int]) -> Tensor:
    bounds = [0, *counts]
    blocks = [sum_(tangents[:, a:b], slopes[:, a:b]) for a, b in itertools.pairwise(bounds)]
    return torch.stack(blocks).cumsum_(0)


def _means(tangents: Tensor, slopes: Tensor, counts: Sequence[int]) -> Tensor:
    return _sums(tangents, slopes, counts) / tangents.new_tensor(counts).view(-1, 1, 1)


def _projections(tangents: Tensor, slopes: Tensor, counts: Sequence[int]) -> Tensor:
    few = [k for k in counts if not nearly_dependent(tangents[:, :k])]
    alone = _each_alone(orthogonal_projection)
    if not few:
        return alone(tangents, slopes, counts)
    head, right = tangents[:, : few[-1]], slopes[:, : few[-1], None]
    gram = _lower_gram(head)
    scale = _reciprocal(gram.diagonal(dim1=-2, dim2=-1).sqrt())[..., None]
    factor, failed = _factorise(gram.mul_(scale).mul_(scale.mT), CONDITION_LIMIT)
    half = torch.linalg.solve_triangular(factor, right.to(scale.dtype) * scale, upper=False)
    estimates = []
    for k in few:
        weights = torch.linalg.solve_triangular(factor[:, :k, :k].mT, half[:, :k], upper=True)
        estimates.append(sum_(head[:, :k], (weights * scale[:, :k]).squeeze(-1)))
    shared = torch.stack(estimates)
    if failed.any():
        shared[:, failed] = alone(tangents[failed], slopes[failed], few)
    many = counts[len(few) :]
    return torch.cat([shared, alone(tangents, slopes, many)]) if many else shared


def _lower_gram(tangents: Tensor, block: int = 128) -> Tensor:
    """Return the Gram matrices with their lower triangle alone filled, for half the products."""
    size = tangents.shape[-2]
    gram = tangents.new_zeros(len(tangents), size, size)
    for begin in range(0, size, block):
        rows = tangents[:, begin : begin + block]
        end = begin + rows.shape[1]
        gram[:, begin:end, :end] = rows @ tangents[:, :end].mT
    return gram


SHARED: dict[str, Shared] = {
    "sum": _sums,
    "mean": _means,
    "orthogonal_projection": _projections,
}
"""How estimates of several `k` share work; an aggregation without an entry is computed for each `k` alone."""

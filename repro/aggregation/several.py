"""Estimates from the first `k` tangents of one draw, for several `k`: what they share is computed once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from repro.aggregation.factors import (
    CONDITION_LIMIT,
    DOUBLE_LIMIT,
    REFINEMENTS,
    factorise,
    ill_conditioned,
    project_exactly,
    reciprocal,
)
from repro.aggregation.single import AGGREGATIONS, Aggregation, nearly_dependent, sum_
from repro.autodiff import product

CONVERGED = 1e-6
"""Relative size of the last correction of a solution above which its factor led nowhere."""

CACHED = 2**20
"""Numbers of tangents projected on at once on a CPU, for several `k`: with their Gram matrices, what a core's cache holds."""


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
    # a few draws at a time: their factors then stay in the cache from one k to the next; a GPU would wait for each part
    num = max(1, CACHED // tangents[0].numel()) if tangents.device.type == "cpu" else len(tangents)
    parts = zip(torch.split(tangents, num), torch.split(slopes, num), strict=True)
    return torch.cat([_projections_at_once(*part, counts) for part in parts], dim=1)


def _projections_at_once(tangents: Tensor, slopes: Tensor, counts: Sequence[int]) -> Tensor:
    if tangents.dtype.itemsize < 4:  # there are no factors in half precision
        return _projections_at_once(tangents.float(), slopes, counts).to(tangents.dtype)
    dimension = tangents.shape[-1]
    # beyond a quarter of the dimensions a factor in the tangents' own type only leads to the solution, step by step
    few = [k for k in counts if 2 * k <= dimension]
    near = [k for k in counts[len(few) :] if k <= dimension]
    beyond = counts[len(few) + len(near) :]
    limit = DOUBLE_LIMIT if tangents.dtype == torch.float32 else CONDITION_LIMIT
    wide = (
        tangents
        if all(not nearly_dependent(tangents[:, :k]) for k in counts)
        else tangents.double()
    )
    solved = []
    if few:
        solved.append(_of_leading_blocks(tangents, wide, slopes, few, CONDITION_LIMIT))
    if near:
        solved.append(_of_leading_blocks(wide, wide, slopes, near, limit))
    if beyond:
        solved.append(_of_growing_sums(wide, slopes, beyond, limit))
    estimates = torch.cat([found.to(tangents.dtype) for found, _ in solved])
    failed = torch.cat([lost for _, lost in solved])
    for index, k in enumerate(counts):
        lost = failed[index]
        if lost.any():
            estimates[index, lost] = project_exactly(
                tangents[lost, :k], slopes[lost, :k, None]
            ).squeeze(1)
    return estimates


def _of_leading_blocks(
    tangents: Tensor, wide: Tensor, slopes: Tensor, counts: Sequence[int], limit: float
) -> tuple[Tensor, Tensor]:
    """Project on the first `k <= d` tangents: the factor of their Gram matrix is a leading block of the largest one's.

    Args:
        tangents: Shape `(R, K, d)`, in the type in which they are factorised.
        wide: The same, in the type of the solution where they are nearly dependent.
        slopes: Shape `(R, K)`; may be wider than the tangents.
        counts: Increasing `k`, at most `K` and `d`.
        limit: Of the condition.

    Returns:
        Estimates `(len(counts), R, d)`, and which of them are not to be trusted, `(len(counts), R)`.
    """
    head = tangents[:, : counts[-1]]
    right = slopes[:, : counts[-1], None]
    gram = _lower_gram(head)
    scale = reciprocal(gram.diagonal(dim1=-2, dim2=-1).sqrt())[..., None]
    factor, info = torch.linalg.cholesky_ex(gram.mul_(scale).mul_(scale.mT))
    half = torch.linalg.solve_triangular(factor, right.to(head.dtype) * scale, upper=False)
    estimates, failed = [], []
    for k in counts:
        leading, first, lengths = factor[:, :k, :k], head[:, :k], scale[:, :k]
        weights = torch.linalg.solve_triangular(leading.mT, half[:, :k], upper=True) * lengths
        # a factorisation that broke off is not looked into for how far it came
        lost = (info != 0) | ill_conditioned(leading, limit)
        if nearly_dependent(first):
            first = wide[:, :k]
            weights = weights.to(wide.dtype)
            for _ in range(REFINEMENTS):
                missing = right[:, :k] - first @ (first.mT @ weights)
                better = torch.cholesky_solve(missing.to(head.dtype) * lengths, leading) * lengths
                weights += better
            # the pivots may underestimate the condition
            lost |= ~(better.norm(dim=(1, 2)) <= CONVERGED * weights.norm(dim=(1, 2)))
        estimates.append(sum_(first, weights.squeeze(-1)).to(head.dtype))
        failed.append(lost)
    return torch.stack(estimates), torch.stack(failed)


def _of_growing_sums(
    tangents: Tensor, slopes: Tensor, counts: Sequence[int], limit: float
) -> tuple[Tensor, Tensor]:
    """Project on the first `k > d` tangents: their normal equations are sums carried on from `k` to `k`.

    Args:
        tangents: Shape `(R, K, d)`, in the type of the solution.
        slopes: Shape `(R, K)`.
        counts: Increasing `k`, above `d`.
        limit: Of the condition.

    Returns:
        As of `_of_leading_blocks`.
    """
    tangents = tangents[:, : counts[-1]]
    scale = reciprocal(tangents.norm(dim=-1, keepdim=True))
    tangents, right = tangents * scale, slopes[:, : counts[-1], None] * scale
    normal = tangents.new_zeros(len(tangents), *tangents.shape[-1:] * 2)
    side = tangents.new_zeros(len(tangents), tangents.shape[-1], 1)
    estimates, failed = [], []
    for begin, end in itertools.pairwise([0, *counts]):
        added, first = tangents[:, begin:end], tangents[:, :end]
        normal += _lower_gram(added.mT)
        side += added.mT @ right[:, begin:end]
        factor, lost = factorise(normal, limit)
        point = torch.cholesky_solve(side, factor)
        for _ in range(REFINEMENTS):
            missing = first.mT @ (right[:, :end] - first @ point)
            point += torch.cholesky_solve(missing, factor)
        estimates.append(point.squeeze(-1))
        failed.append(lost)
    return torch.stack(estimates), torch.stack(failed)


def _lower_gram(tangents: Tensor, block: int = 128) -> Tensor:
    """Return the Gram matrices with their lower triangle alone filled, for half the products."""
    size = tangents.shape[-2]
    gram = tangents.new_zeros(len(tangents), size, size)
    for begin in range(0, size, block):
        rows = tangents[:, begin : begin + block]
        end = begin + rows.shape[1]
        gram[:, begin:end, :end] = product(rows, tangents[:, :end].mT)
    return gram


SHARED: dict[str, Shared] = {
    "sum": _sums,
    "mean": _means,
    "orthogonal_projection": _projections,
}
"""How estimates of several `k` share work; an aggregation without an entry is computed for each `k` alone."""

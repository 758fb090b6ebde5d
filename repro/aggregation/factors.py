"""Factors of Gram matrices, which of them to trust, and what takes their place where none is to be trusted."""

from __future__ import annotations

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


def reciprocal(lengths: Tensor) -> Tensor:
    """Return what scales tangents to length one, zero for those of length zero."""
    return torch.where(lengths > 0.0, 1.0 / lengths, 0.0)


def factorise(matrix: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Return Cholesky factors `(B, m, m)`, and which of them are not to be trusted, `(B,)`."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    return factor, (info != 0) | ill_conditioned(factor, limit)


def ill_conditioned(factor: Tensor, limit: float) -> Tensor:
    """Return which Cholesky factors `(B, m, m)` show a matrix of a condition above the limit, `(B,)`."""
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    smallest, largest = torch.aminmax(pivots, dim=-1)
    return ~((largest / smallest).square() < limit)


def project_exactly(tangents: Tensor, slopes: Tensor) -> Tensor:
    """Return projections `(B, c, d)`, as `c` least-norm solutions of `V g = D`, from the singular vectors of `V`.

    Args:
        tangents: `V`, shape `(B, k, d)`, of any rank.
        slopes: `D`, shape `(B, k, c)`.

    Returns:
        The projections, solved in float64, in the tangents' type.
    """
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

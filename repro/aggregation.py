"""Aggregation: how `k` forward gradients become one estimate of the gradient.

With tangents as the rows of `V` `(k, d)` and directional derivatives `D = V nabla f` `(k,)`, every
aggregation is a linear map of `D` into the span of the tangents (Flügel et al. 2024, Section 3):

* `sum`: `V^T D`.
* `mean`: `V^T D / k`, unbiased when `E[v v^T] = I`.
* `orthogonal_projection`: `V^T (V V^T)^+ D`, the point of the span closest to the gradient. It depends on
  the span alone, not on the lengths or angles of the tangents, and is the gradient itself once they span
  the whole space.

All take leading replica dimensions: tangents `(R, k, d)` and directional derivatives `(R, k)`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

CONDITION_LIMIT = 1e4
"""Estimated condition of the Gram matrix above which float32 Cholesky gives way to float64 QR.

The relative error of the solution is about condition times machine epsilon: 1e4 * 6e-8 keeps six in
ten thousand, and only close to it.
"""


def sum_(tangents: Tensor, directional_derivatives: Tensor) -> Tensor:
    """Return the sum of the forward gradients, `(R, d)`."""
    return torch.matmul(directional_derivatives[..., None, :], tangents).squeeze(-2)


def mean(tangents: Tensor, directional_derivatives: Tensor) -> Tensor:
    """Return the mean of the forward gradients, `(R, d)`."""
    return sum_(tangents, directional_derivatives / tangents.shape[-2])


def orthogonal_projection(tangents: Tensor, directional_derivatives: Tensor) -> Tensor:
    """Return the orthogonal projection of the gradient on the span of the tangents.

    The Gram matrix is factorised by Cholesky; where that fails or its diagonal shows an ill-conditioned
    matrix, and always where `k` exceeds a quarter of `d` (random tangents are then nearly dependent), the
    replica is solved again in float64 from the tangents themselves. Linearly dependent tangents, `k > d`
    and tangents of length zero are all defined: the projection is on whatever they span.

    Args:
        tangents: Shape `(R, k, d)`.
        directional_derivatives: Shape `(R, k)`; must be those of one gradient.

    Returns:
        Shape `(R, d)`.
    """
    num_tangents, dimension = tangents.shape[-2:]
    if 4 * num_tangents > dimension:
        return _project_exactly(tangents, directional_derivatives)
    gram = tangents @ tangents.mT
    factor, info = torch.linalg.cholesky_ex(gram)
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    condition = (pivots.amax(-1) / pivots.amin(-1)).square()
    failed = (info != 0) | ~(condition < CONDITION_LIMIT)
    weights = torch.cholesky_solve(directional_derivatives[..., None], factor)
    estimate = (weights.mT @ tangents).squeeze(-2)
    if failed.any():
        estimate[failed] = _project_exactly(tangents[failed], directional_derivatives[failed])
    return estimate


def _project_exactly(tangents: Tensor, directional_derivatives: Tensor) -> Tensor:
    # least-norm solution of V g = D from the singular vectors of V, in float64
    wide = tangents.double()
    left, singular, right = torch.linalg.svd(wide, full_matrices=False)
    # what rounding leaves of a dependent tangent: that of its entries, or that of the factorisation
    rounding = 8 * torch.finfo(tangents.dtype).eps
    precision = max(rounding, max(wide.shape[-2:]) * torch.finfo(wide.dtype).eps)
    kept = singular > precision * singular[..., :1]
    inverse = torch.where(kept, 1.0 / torch.where(kept, singular, 1.0), 0.0)
    weights = inverse[..., None] * (left.mT @ directional_derivatives.double()[..., None])
    estimate: Tensor = (weights.mT @ right).squeeze(-2).to(tangents.dtype)
    return estimate


AGGREGATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": sum_,
    "mean": mean,
    "orthogonal_projection": orthogonal_projection,
}

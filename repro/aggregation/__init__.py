"""Aggregation: how `k` forward gradients become one estimate of the gradient.

With tangents as the rows of `V` `(k, d)` and directional derivatives `D = V nabla f` `(k,)`, every
aggregation is a linear map of `D` into the span of the tangents (Flügel et al. 2024, Section 3):

* `sum`: `V^T D`.
* `mean`: `V^T D / k`, unbiased when `E[v v^T] = I`.
* `orthogonal_projection`: `V^T (V V^T)^+ D`, the point of the span closest to the gradient. It depends on
  the span alone, not on the lengths or angles of the tangents, and is the gradient itself once they span
  the whole space.

All take replicas: tangents `(R, k, d)`, or `(1, k, d)` where the replicas share them, and directional
derivatives `(R, k)`. `of_the_first` gives the estimates of several `k` from the same draw.
"""

from repro.aggregation.several import of_the_first
from repro.aggregation.single import (
    AGGREGATIONS,
    mean,
    nearly_dependent,
    orthogonal_projection,
    sum_,
)

__all__ = [
    "AGGREGATIONS",
    "mean",
    "nearly_dependent",
    "of_the_first",
    "orthogonal_projection",
    "sum_",
]

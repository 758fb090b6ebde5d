"""Estimators: ways to get a gradient, or an unbiased or projected guess of it, and what that costs.

An estimator is a frozen value; called with an objective, parameters and a generator it returns an `Estimate`
whose gradient has the structure of the parameters. `ForwardGradient` is tangents times aggregation: draw
`k` directions, take `k` directional derivatives, aggregate (Baydin et al. 2022, Section 3; Flügel et al.
2024, Section 3). `Backpropagation` is an estimator like any other.

One call serves a single set of parameters (objective to a scalar, one generator) or `R` replicas at once
(leaves `(R, ...)`, objective to `(R,)`, a sequence of `R` generators); a replica's estimate depends on its
own parameters and its own generator alone, also where replicas share one, which `draw_stacked` sees to.

Tangents live on the weights, or on the activations of a `Layered` objective's blocks: then each example of the
mini-batch has its own directional derivatives and its own estimate, and the weights' gradients follow by a
backward pass inside each block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from repro import protocol
from repro.estimators.backpropagation import Backpropagation
from repro.estimators.estimates import (
    Cost,
    Estimate,
    Estimator,
    Generators,
    as_stack_of_one,
    draw_stacked,
)
from repro.estimators.forward_gradient import ForwardGradient

__all__ = [
    "ESTIMATORS",
    "Backpropagation",
    "Cost",
    "Estimate",
    "Estimator",
    "ForwardGradient",
    "Generators",
    "as_stack_of_one",
    "build",
    "draw_stacked",
]

ESTIMATORS: dict[str, Callable[..., Estimator]] = {
    "backpropagation": Backpropagation,
    "forward_gradient": ForwardGradient,
}


def build(name: str, /, **options: Any) -> Estimator:
    """Return the estimator of that name.

    Args:
        name: A key of `ESTIMATORS`.
        **options: Its fields.

    Returns:
        The estimator.

    Raises:
        ValueError: If there is no such name or setting, or one that it needs is missing.
    """
    return protocol.build("estimator", ESTIMATORS, name, **options)

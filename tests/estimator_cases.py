"""Every estimator, in lists by what holds of it, and one objective to test them on.

Monte Carlo tests draw many estimates in one call, as replicas at the same point with seeds 0, 1, ...
"""

import itertools
from collections.abc import Callable

import pytest
import torch
from asserts import flatten
from references import draw, generators, gradient
from torch import Tensor

from repro.aggregation import AGGREGATIONS
from repro.autodiff import Objective, Params
from repro.estimators import Backpropagation, Estimator, ForwardGradient
from repro.tangents import DISTRIBUTIONS

DRAWS = 4_000
D = 6
FORWARD = [
    ForwardGradient(num_tangents=k, aggregation=a, tangents=t, mode=m)  # type: ignore[arg-type]
    for a, t, m, k in itertools.product(
        AGGREGATIONS, DISTRIBUTIONS, ("forward", "simulated"), (1, 2, D)
    )
]
EVERY: list[Estimator] = [Backpropagation(), *FORWARD]
CLIPPED = [
    ForwardGradient(k, a, clip=0.5) for a in ("mean", "orthogonal_projection") for k in (1, 2)
]


def name(estimator: Estimator) -> str:
    if not isinstance(estimator, ForwardGradient):
        return type(estimator).__name__
    parts = (estimator.aggregation, estimator.tangents, estimator.mode, estimator.num_tangents)
    return "-".join(map(str, parts)) + ("" if estimator.clip is None else "-clipped")


every_estimator = pytest.mark.parametrize("estimator", EVERY, ids=name)
forward_or_clipped = pytest.mark.parametrize("estimator", [*FORWARD, *CLIPPED], ids=name)
SIMULATED = ForwardGradient(2, mode="simulated")
every_way = pytest.mark.parametrize(
    "estimator", [Backpropagation(), ForwardGradient(1), ForwardGradient(2), SIMULATED], ids=name
)


# One objective of a dict of two leaves, d = 6; smooth, no symmetry, not quadratic.

WEIGHT, BIAS = draw(2, 2), draw(2, seed=1)
POINT = torch.cat([WEIGHT.flatten(), BIAS])


def function(point: Tensor) -> Tensor:
    a, b, c, d, e, f = point.unbind(-1)
    return (a * b).sin() + (c - d * e).square() + (f / 2.0).exp() * a + 0.5 * e * f


def objective(params: Params) -> Tensor:
    return function(flatten(params))


def stacked(count: int) -> Params:
    return {"weight": WEIGHT.repeat(count, 1, 1), "bias": BIAS.repeat(count, 1)}


def estimates(estimator: Estimator, count: int = DRAWS) -> Tensor:
    return flatten(estimator(objective, stacked(count), generators(count)).gradient)


GRADIENT = gradient(function, POINT)


def on_tensor(stacked_function: Callable[[Tensor], Tensor]) -> Objective:
    def result(params: Params) -> Tensor:
        assert isinstance(params, Tensor)
        return stacked_function(params)

    return result

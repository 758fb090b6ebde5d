"""One estimate, however it is computed: by a naive reference, alone or among replicas, in either mode."""

import dataclasses
from typing import Any

import pytest
import torch
from asserts import assert_close, flatten
from estimator_cases import (
    BIAS,
    CLIPPED,
    FORWARD,
    POINT,
    WEIGHT,
    D,
    every_estimator,
    function,
    name,
    objective,
    on_tensor,
    stacked,
)
from references import draw, forward_gradient, generators
from torch import Tensor

from repro.aggregation import AGGREGATIONS
from repro.autodiff import Objective, Params, leaves
from repro.estimators import Estimator, ForwardGradient
from repro.models import Network
from repro.models import build as build_network
from repro.problems.closed_form import beale, rosenbrock
from repro.tangents import DISTRIBUTIONS


@pytest.mark.parametrize(
    "estimator",
    # an explicit inverse of d tangents is the naive version's weakness
    [
        e
        for e in (*FORWARD, *CLIPPED)
        if (e.aggregation, e.num_tangents) != ("orthogonal_projection", D)
    ],
    ids=name,
)
def test_naive_reference_at_equal_seed(estimator: ForwardGradient) -> None:
    generator = torch.Generator().manual_seed(3)
    tangents = torch.empty(estimator.num_tangents, D, dtype=torch.float64)
    DISTRIBUTIONS[estimator.tangents](tangents, generator)
    expected = forward_gradient(function, POINT, tangents, estimator.aggregation, estimator.clip)
    found = flatten(estimator(objective, stacked(1), generators(1, seed=3)).gradient)
    assert_close(found, expected[None], rtol=1e-10)


@every_estimator
def test_one_generator_serves_one_set_of_parameters(estimator: Estimator) -> None:
    single: Params = {"weight": WEIGHT, "bias": BIAS}
    one = estimator(
        lambda p: function(torch.cat([x.flatten() for x in leaves(p)])), single, generators(1)[0]
    )
    many = estimator(objective, stacked(1), generators(1))
    assert isinstance(one.gradient, dict)
    assert {n: leaf.shape for n, leaf in one.gradient.items()} == {"weight": (2, 2), "bias": (2,)}
    assert one.value.shape == ()
    torch.testing.assert_close(one.value, many.value[0])
    assert_close(
        torch.cat([x.flatten() for x in leaves(one.gradient)]), flatten(many.gradient)[0], 1e-12
    )
    if isinstance(estimator, ForwardGradient):
        assert one.directional_derivatives is not None
        assert one.directional_derivatives.shape == (estimator.num_tangents,)


@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 0), (1, 0, 0)])
@pytest.mark.parametrize("mode", ["forward", "simulated"])
@pytest.mark.parametrize(
    ("k", "aggregation"),
    [(1, "mean"), (2, "sum"), (1, "orthogonal_projection"), (3, "orthogonal_projection")],
)
def test_replicas_that_share_a_generator_share_its_draws(
    k: int, aggregation: Any, mode: Any, seeds: tuple[int, ...]
) -> None:
    estimator = ForwardGradient(k, aggregation, mode=mode)
    params = {"weight": draw(3, 2, 2), "bias": draw(3, 2, seed=1)}
    sources = generators(2)
    found = estimator(objective, params, [sources[seed] for seed in seeds])
    assert found.directional_derivatives is not None
    for replica, seed in enumerate(seeds):
        own = {name: leaf[replica : replica + 1] for name, leaf in params.items()}
        alone = estimator(objective, own, generators(1, seed=seed))
        assert_close(flatten(found.gradient)[replica], flatten(alone.gradient)[0], rtol=1e-12)
        assert alone.directional_derivatives is not None
        slopes = found.directional_derivatives[:, replica]
        assert_close(slopes, alone.directional_derivatives[:, 0], rtol=1e-12)


@every_estimator
def test_parameters_and_value_are_left_as_they_are(estimator: Estimator) -> None:
    params = stacked(2)
    before = flatten(params).clone()
    estimate = estimator(objective, params, generators(2))
    assert torch.equal(flatten(params), before)
    torch.testing.assert_close(estimate.value, objective(params))
    assert not any(leaf.requires_grad for leaf in (estimate.value, *leaves(estimate.gradient)))


def on_images(network: Network) -> Objective:
    images, labels = draw(2, 5, 1, 6, 6), torch.tensor([0, 1, 2, 1, 0])

    def loss(params: Params) -> Tensor:
        assert isinstance(params, dict)
        return -network(params, images).log_softmax(-1)[:, range(5), labels].mean(1)

    return loss


MLP = build_network("mlp", (1, 6, 6), 3, width=7)
CNN = build_network("cnn", (1, 6, 6), 3, channels=2, padding=1)
CPU = torch.device("cpu")
OBJECTIVES: dict[str, tuple[Objective, Params]] = {
    "beale": (on_tensor(beale), draw(2, 2)),
    "rosenbrock": (on_tensor(rosenbrock), draw(2, 10)),
    "mlp": (on_images(MLP), MLP.start(generators(2), torch.float64, CPU)),
    "cnn": (on_images(CNN), CNN.start(generators(2), torch.float64, CPU)),
}


@pytest.mark.parametrize("problem", OBJECTIVES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("k", "chunk_size"), [(1, None), (2, None), (3, 2)])
def test_forward_and_simulated_agree(
    problem: str, aggregation: str, k: int, chunk_size: int | None
) -> None:
    function_, params = OBJECTIVES[problem]
    forward = ForwardGradient(k, aggregation, chunk_size=chunk_size)  # type: ignore[arg-type]
    one = forward(function_, params, generators(2))
    other = dataclasses.replace(forward, mode="simulated")(function_, params, generators(2))
    assert_close(flatten(one.gradient), flatten(other.gradient), rtol=1e-9)
    torch.testing.assert_close(one.value, other.value, rtol=1e-12, atol=0.0)
    assert one.directional_derivatives is not None
    assert other.directional_derivatives is not None
    assert one.directional_derivatives.shape == other.directional_derivatives.shape == (k, 2)
    assert_close(one.directional_derivatives.mT, other.directional_derivatives.mT, rtol=1e-9)


def test_directional_derivatives_are_reported_before_clipping() -> None:
    plain = ForwardGradient(3)(objective, stacked(50), generators(50))
    clipped = ForwardGradient(3, clip=0.5)(objective, stacked(50), generators(50))
    assert plain.directional_derivatives is not None
    assert clipped.directional_derivatives is not None
    assert torch.equal(plain.directional_derivatives, clipped.directional_derivatives)
    assert plain.directional_derivatives.abs().max() > 0.5
    loose = ForwardGradient(3, clip=1e6)(objective, stacked(50), generators(50))
    assert torch.equal(flatten(loose.gradient), flatten(plain.gradient))

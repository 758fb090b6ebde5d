"""Activation perturbation: both modes against each other and a naive version, for every replica and example on its own."""

import dataclasses

import pytest
import torch
from asserts import assert_close, assert_replicas_independent, flatten
from blocks import (
    CLASSES,
    MODES,
    NETWORKS,
    activations,
    case,
    every_network,
    losses,
    on_images,
    scattered,
)
from references import forward_gradient, generators
from test_deep_models import num_activations
from torch import Tensor

from repro.aggregation import AGGREGATIONS
from repro.autodiff import Layered, Objective, Params, leaves
from repro.estimators import Backpropagation, Cost, Estimate, Estimator, ForwardGradient, Generators
from repro.models import Network

# Agreement


@every_network
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("k", "chunk_size"), [(1, None), (3, None), (3, 2)])
def test_forward_and_simulated_agree(
    name: str, aggregation: str, k: int, chunk_size: int | None
) -> None:
    _, objective, params = case(name)
    one, other = (
        activations(k, aggregation, mode=mode, chunk_size=chunk_size)(
            objective, params, generators(2)
        )
        for mode in MODES
    )
    assert_close(flatten(one.gradient), flatten(other.gradient), rtol=1e-9)
    assert torch.equal(one.value, other.value)
    assert one.directional_derivatives is not None
    assert other.directional_derivatives is not None
    assert one.directional_derivatives.shape == other.directional_derivatives.shape == (k, 2, 4)
    assert_close(one.directional_derivatives, other.directional_derivatives, rtol=1e-9)


def naive(
    network: Network, objective: Layered, params: Params, tangents: Tensor, aggregation: str
) -> dict[str, Tensor]:
    """Estimate one replica's gradient from its definition: each example's activities moved alone, blocks cut apart."""
    assert isinstance(params, dict)
    inputs, examples = objective.inputs, objective.inputs.shape[1]
    points = {name: leaf.clone().requires_grad_() for name, leaf in params.items()}

    def call(index: int, activity: Tensor) -> Tensor:
        block = network.blocks[index]
        return block({name: points[f"{index}.{name}"] for name in block.shapes}, activity)

    borders = [inputs]
    for index in range(len(network.blocks)):
        borders.append(call(index, borders[-1]).detach())
    sizes = [border[0, 0].numel() for border in borders[1:]]

    def total(moved: Tensor, example: int) -> Tensor:
        activity = inputs
        for index, piece in enumerate(torch.split(moved, sizes)):
            outputs = call(index, activity)
            one_hot = torch.eye(examples, dtype=moved.dtype)[example]
            offset = piece.view(1, 1, *outputs.shape[2:])
            activity = outputs + offset * one_hot.view(1, -1, *[1] * (outputs.ndim - 2))
        return objective.losses(activity).sum()

    rest = torch.zeros(sum(sizes), dtype=torch.float64)
    estimates = [
        forward_gradient(lambda moved, e=example: total(moved, e), rest, tangents, aggregation)  # type: ignore[misc]
        for example in range(examples)
    ]
    gradient: dict[str, Tensor] = {}
    for index, block in enumerate(network.blocks):
        own = {name: points[f"{index}.{name}"] for name in block.shapes}
        outputs = block(own, borders[index])
        pieces = [torch.split(estimate, sizes)[index] for estimate in estimates]
        wanted = torch.stack(pieces).view_as(outputs) / examples
        found = torch.autograd.grad((outputs * wanted).sum(), list(own.values()))
        gradient |= {f"{index}.{name}": leaf for name, leaf in zip(own, found, strict=True)}
    return gradient


@every_network
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_naive_version_at_equal_seed(name: str, aggregation: str) -> None:
    network, objective, params = case(name, replicas=1, examples=3)
    size = num_activations(network, NETWORKS[name][1])
    (tangents,) = ForwardGradient(2).draw(torch.zeros(1, size, dtype=torch.float64), generators(1))
    expected = naive(network, objective, params, tangents, aggregation)
    for mode in MODES:
        found = activations(2, aggregation, mode=mode)(objective, params, generators(1)).gradient
        assert isinstance(found, dict)
        assert list(found) == list(params)
        for parameter, leaf in expected.items():
            assert_close(found[parameter].flatten(), leaf.flatten(), rtol=1e-9, atol=1e-12)


@every_network
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("perturb", ["weights", "activations"])
@pytest.mark.parametrize(("k", "chunk_size"), [(1, None), (3, None), (3, 2)])
def test_what_a_pass_notes_does_not_depend_on_how_often_it_passes(
    name: str, mode: str, perturb: str, k: int, chunk_size: int | None
) -> None:
    _, objective, params = case(name)
    objective(params)
    expected = dict(objective.noted)
    estimator = activations(k, mode=mode, chunk_size=chunk_size)
    for each in (dataclasses.replace(estimator, perturb=perturb), Backpropagation()):  # type: ignore[arg-type]
        objective.noted = {}
        each(objective, params, generators(2))
        assert objective.noted.keys() == expected.keys()
        assert bool(expected) == name.startswith("resnet18")
        for statistic, value in expected.items():
            found = objective.noted[statistic]
            assert not found.requires_grad
            torch.testing.assert_close(found, value, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["mlp", "resnet18", "vit"])
@pytest.mark.parametrize("mode", MODES)
def test_replicas_are_independent_of_each_other(name: str, mode: str) -> None:
    network, _, _ = case(name)
    image = NETWORKS[name][1]

    def of(params: Params) -> Layered:
        return on_images(network, image, len(leaves(params)[0]), 3)

    class OnAsMany(Estimator):
        """Takes the objective of as many replicas as it is given."""

        cost = Cost(0.0, 0)

        def __call__(self, objective: Objective, params: Params, generator: Generators) -> Estimate:
            del objective
            return activations(2, mode=mode)(of(params), params, generator)

    params = scattered(network, 3)
    assert_replicas_independent(OnAsMany(), of(params), params, [5, 6, 7], rtol=1e-9)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("mode", MODES)
def test_replicas_that_share_a_generator_share_its_tangents(aggregation: str, mode: str) -> None:
    _, objective, params = case("mlp")
    (shared,) = generators(1)
    found = activations(2, aggregation, mode=mode)(objective, params, [shared, shared])
    apart = activations(2, aggregation, mode=mode)(
        objective, params, [generators(1)[0], generators(1)[0]]
    )
    assert_close(flatten(found.gradient), flatten(apart.gradient), rtol=1e-9)


# Examples


def test_an_examples_derivative_is_its_own() -> None:
    network, objective, params = case("mlp", replicas=1)
    all_ = activations(2)(objective, params, generators(1)).directional_derivatives
    assert all_ is not None
    for example in range(4):
        labels = torch.tensor([[example % CLASSES]])
        alone = network.objective(
            objective.inputs[:, example : example + 1],
            lambda logits, y=labels: losses(y, logits),  # type: ignore[misc]
        )
        found = activations(2)(alone, params, generators(1)).directional_derivatives
        assert found is not None
        assert_close(found[..., 0], all_[..., example], rtol=1e-9)


def test_one_generator_serves_one_set_of_parameters() -> None:
    _, objective, params = case("mlp", replicas=1)
    assert isinstance(params, dict)
    single: Params = {name: leaf[0] for name, leaf in params.items()}
    for mode in MODES:
        many = activations(2, mode=mode)(objective, params, generators(1))
        one = activations(2, mode=mode)(objective, single, generators(1)[0])
        assert one.value.shape == ()
        assert one.directional_derivatives is not None
        assert one.directional_derivatives.shape == (2, 4)
        for found, expected in zip(leaves(one.gradient), leaves(many.gradient), strict=True):
            assert torch.equal(found, expected[0])


def test_clipping_cuts_the_derivative_of_an_example() -> None:
    _, objective, params = case("mlp")
    plain = activations(1)(objective, params, generators(2))
    assert plain.directional_derivatives is not None
    limit = float(plain.directional_derivatives.abs().median())
    clipped = activations(1, clip=limit)(objective, params, generators(2))
    assert clipped.directional_derivatives is not None
    assert torch.equal(clipped.directional_derivatives, plain.directional_derivatives)
    loose = activations(1, clip=1e6)(objective, params, generators(2))
    assert torch.equal(flatten(loose.gradient), flatten(plain.gradient))
    assert not torch.equal(flatten(clipped.gradient), flatten(plain.gradient))


def test_frozen_values() -> None:
    _, objective, params = case("mlp", replicas=1)
    found = flatten(activations(2)(objective, params, generators(1)).gradient)[0, -3:]
    expected = torch.tensor([-0.01895104541, 0.00604236564, 0.01856116274], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0.0)

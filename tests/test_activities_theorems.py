"""The theorems, of estimates that perturb activities; with a tangent an activity they are backpropagation."""

import itertools

import pytest
import torch
from asserts import assert_close, assert_descent_direction, assert_in_span, assert_unbiased, flatten
from blocks import (
    CLASSES,
    CPU,
    MODES,
    NETWORKS,
    activations,
    case,
    every_network,
    losses,
    on_images,
    scattered,
)
from references import draw, generators
from test_deep_models import num_activations
from torch import Tensor

from repro.aggregation import AGGREGATIONS
from repro.autodiff import Params, leaves, value_and_gradient
from repro.estimators import Backpropagation, Estimator, ForwardGradient
from repro.models import Linear, Network
from repro.models import build as build_network

# On blocks whose bias gradients are the activities' gradients: linear ones, of one example

SIZES = (4, 3, CLASSES)
STRAIGHT = Network(tuple(Linear(a, b, relu=False) for a, b in itertools.pairwise((2, *SIZES))))
D = sum(SIZES)
DRAWS = 2_000
FORWARD = [
    activations(k, aggregation, mode=mode)
    for aggregation, mode, k in itertools.product(AGGREGATIONS, MODES, (1, 3, D))
]


def label(estimator: ForwardGradient) -> str:
    return f"{estimator.aggregation}-{estimator.mode}-{estimator.num_tangents}"


def activity_gradients(estimator: Estimator, count: int = DRAWS) -> Tensor:
    objective = on_images(STRAIGHT, (1, 1, 2), count, 1)
    found = estimator(objective, scattered(STRAIGHT, count, alike=True), generators(count)).gradient
    assert isinstance(found, dict)
    return torch.cat([leaf.flatten(1) for name, leaf in found.items() if "bias" in name], dim=1)


(EXACT,) = activity_gradients(Backpropagation(), 1)


@pytest.mark.parametrize("estimator", FORWARD, ids=label)
def test_unbiased_up_to_the_known_multiple(estimator: ForwardGradient) -> None:
    k = estimator.num_tangents
    multiple = {"mean": 1.0, "sum": float(k), "orthogonal_projection": k / D}
    assert_unbiased(activity_gradients(estimator), multiple[estimator.aggregation] * EXACT)


@pytest.mark.parametrize("estimator", FORWARD, ids=label)
def test_descent_direction_in_the_span_of_the_tangents(estimator: ForwardGradient) -> None:
    found = activity_gradients(estimator, 500)
    assert_descent_direction(found, EXACT)
    tangents = estimator.draw(torch.zeros(500, D, dtype=torch.float64), generators(500))
    assert_in_span(found, tangents)


def test_the_projection_is_the_closest_point() -> None:
    projected = activity_gradients(activations(3, "orthogonal_projection"), 200)
    rest = EXACT - projected
    tangents = ForwardGradient(3).draw(torch.zeros(200, D, dtype=torch.float64), generators(200))
    products = (tangents @ rest[..., None]).squeeze(-1)
    assert products.abs().max() < 1e-9
    averaged = activity_gradients(activations(3), 200)
    assert bool((rest.norm(dim=1) <= (EXACT - averaged).norm(dim=1)).all())


def test_squared_cosine_of_the_projection_is_k_over_n() -> None:
    for k in (1, 4):
        draws = activity_gradients(activations(k, "orthogonal_projection"))
        cosines = draws @ EXACT / (draws.norm(dim=1) * EXACT.norm())
        assert_unbiased(cosines.square()[:, None], torch.tensor([k / D]))


@pytest.mark.parametrize(
    ("name", "mode", "count"),
    [("mlp", "forward", 2_000), ("resnet18", "simulated", 200), ("vit", "forward", 1_000)],
)
def test_weight_gradients_are_unbiased(name: str, mode: str, count: int) -> None:
    component, image = NETWORKS[name]
    small = {"mlp": {"width": 3}, "resnet18": {"channels": 1}, "vit": {"width": 4}}[name]
    network = build_network(component.name, image, CLASSES, **(component.options() | small))
    objective = on_images(network, image, count, 2)
    params = scattered(network, count, alike=True)
    (expected, *_) = flatten(value_and_gradient(objective, params)[1])
    draws = flatten(activations(2, mode=mode)(objective, params, generators(count)).gradient)
    along = draw(len(expected), 20, seed=9)  # its components vary together
    assert_unbiased(draws @ along, expected @ along)


# As many tangents as activities


@every_network
@pytest.mark.parametrize("more", [0, 3])
def test_with_a_tangent_an_activity_the_projection_is_backpropagation(name: str, more: int) -> None:
    network, objective, params = case(name)
    expected = flatten(Backpropagation()(objective, params).gradient)
    k = num_activations(network, NETWORKS[name][1]) + more
    modes = ("simulated",) if "resnet18" in name else MODES
    for mode in modes:
        found = activations(k, "orthogonal_projection", mode=mode)(objective, params, generators(2))
        assert_close(flatten(found.gradient), expected, rtol=1e-8)


@pytest.mark.parametrize(
    ("width", "mode"), [(8, "simulated"), (8, "forward"), (64, "forward"), (256, "simulated")]
)
def test_with_a_tangent_an_activity_it_is_backpropagation_in_float32(width: int, mode: str) -> None:
    network = build_network("mlp", (1, 28, 28), 10, width=width)
    params: Params = network.start(generators(1), torch.float32, CPU)
    images, labels = draw(1, 64, 1, 28, 28, dtype=torch.float32), torch.arange(64).remainder(10)
    objective = network.objective(images, lambda logits: losses(labels[None], logits))
    k = 2 * width + 10
    found = activations(k, "orthogonal_projection", mode=mode)(objective, params, generators(1))
    expected = Backpropagation()(objective, params).gradient
    for leaf, wanted in zip(leaves(found.gradient), leaves(expected), strict=True):
        assert leaf.dtype == torch.float32
        assert_close(leaf.flatten(), wanted.flatten(), rtol=1e-6)


def test_tangents_beyond_the_activities_count_in_the_mean() -> None:
    draws = activity_gradients(activations(3 * D))
    assert_unbiased(draws, EXACT)

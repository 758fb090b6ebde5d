"""Activation perturbation: both modes against each other, a naive version and the theorems; its costs and its errors."""

import dataclasses
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from asserts import (
    assert_close,
    assert_descent_direction,
    assert_in_span,
    assert_replicas_independent,
    assert_unbiased,
    flatten,
)
from references import draw, forward_gradient, generators
from small_runs import comparable
from test_checkpoints import go_on, interrupt
from test_deep_models import num_activations
from torch import Tensor

from repro.aggregation import AGGREGATIONS
from repro.autodiff import Layer, Layered, Noted, Objective, Params, leaves, value_and_gradient
from repro.estimators import (
    Backpropagation,
    Cost,
    Estimate,
    Estimator,
    ForwardGradient,
    Generators,
    build,
)
from repro.models import Linear, Network
from repro.models import build as build_network
from repro.protocol import Classification, Component, Method, RunSpec, Training, settings, use
from repro.timing.steps import Step
from repro.training import train

CPU = torch.device("cpu")
CLASSES = 3
MODES = ("forward", "simulated")


def activations(k: int = 1, aggregation: str = "mean", **options: object) -> ForwardGradient:
    found = build(
        "forward_gradient",
        num_tangents=k,
        aggregation=aggregation,
        perturb="activations",
        **options,
    )
    assert isinstance(found, ForwardGradient)
    return found


def losses(labels: Tensor, logits: Tensor) -> Tensor:
    return -logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)


def on_images(
    network: Network, image: tuple[int, ...], replicas: int, examples: int, seed: int = 3
) -> Layered:
    images = draw(1, examples, *image, seed=seed).expand(replicas, -1, *[-1] * len(image))
    labels = torch.arange(examples).remainder(CLASSES).expand(replicas, -1)
    return network.objective(images.clone(), lambda logits: losses(labels, logits))


def scattered(network: Network, replicas: int, alike: bool = False) -> Params:
    """A start at which nothing is zero: the head of a ViT starts there, and stops every gradient."""
    start = network.start(generators(replicas), torch.float64, CPU)
    shapes = [leaf[0].shape if alike else leaf.shape for leaf in start.values()]
    return {
        name: (leaf[:1] if alike else leaf) + 0.1 * draw(*shape, seed=seed).expand_as(leaf)
        for seed, ((name, leaf), shape) in enumerate(zip(start.items(), shapes, strict=True))
    }


# name: component, image
NETWORKS: dict[str, tuple[Component, tuple[int, ...]]] = {
    "mlp": (use("mlp", width=7), (1, 8, 8)),
    "cnn": (use("cnn", channels=2, padding=1, width=5), (1, 8, 8)),
    "resnet18": (use("resnet18", channels=2), (1, 16, 16)),
    "resnet18, fine": (use("resnet18", channels=2, grouping="fine"), (3, 16, 16)),
    "vit": (use("vit", layers=2, width=8, heads=2), (1, 8, 8)),
    "vit, fine": (use("vit", layers=2, width=8, heads=2, grouping="fine"), (2, 8, 8)),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def case(name: str, replicas: int = 2, examples: int = 4) -> tuple[Network, Layered, Params]:
    component, image = NETWORKS[name]
    network = build_network(component.name, image, CLASSES, **component.options())
    return network, on_images(network, image, replicas, examples), scattered(network, replicas)


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


# Theorems, on blocks whose bias gradients are the activities' gradients: linear ones, of one example

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


# What it costs


def test_costs() -> None:
    _, mlp, _ = case("mlp")
    _, vit, _ = case("vit")
    _, resnet18, _ = case("resnet18")
    forward, simulated = activations(4), activations(4, mode="simulated")
    assert simulated.cost_on(mlp) == simulated.cost == Cost(3.0, 4)
    assert forward.cost_on(mlp) == forward.cost == Cost(1.0 + 5.0 + 1.0, 4)
    assert simulated.cost_on(vit) == simulated.cost_on(resnet18) == Cost(4.0, 4)
    assert forward.cost_on(vit) == Cost(1.0 + 5.0 + 2.0, 4)
    # a mini-batch of four is normalised: four sweeps
    assert forward.cost_on(resnet18) == Cost(1.0 + 4 * 5.0 + 2.0, 4)
    assert Backpropagation().cost_on(resnet18) == Cost(3.0, 0)
    assert ForwardGradient(4).cost_on(resnet18) == ForwardGradient(4).cost


def test_simulated_mode_does_what_backpropagation_does_and_no_more() -> None:
    network, objective, params = case("mlp", replicas=1)
    calls: list[Layer] = []

    def counting(layer: Layer) -> Layer:
        def function(given: dict[str, Tensor], inputs: Tensor, noted: Noted) -> Tensor:
            calls.append(layer)
            return layer.function(given, inputs, noted)

        return dataclasses.replace(layer, function=function)

    counted = [counting(layer) for layer in objective.layers]
    once = Layered(counted, objective.inputs, objective.losses)
    activations(8, mode="simulated")(once, params, generators(1))
    assert calls == list(objective.layers)
    assert len(calls) == len(network.blocks)


def peak(estimator: ForwardGradient, objective: Layered, params: Params) -> int:
    def run() -> None:
        estimator(objective, params, generators(1))

    run()
    return Step(run, run, 0, 0).peak_bytes(CPU)


def test_chunks_bound_the_memory_of_forward_mode() -> None:
    network = build_network("mlp", (1, 4, 4), CLASSES, width=512)
    params = network.start(generators(1), torch.float32, CPU)
    objective = network.objective(
        draw(1, 64, 1, 4, 4, dtype=torch.float32),
        lambda logits: losses(torch.zeros(1, 64, dtype=torch.int64), logits),
    )
    whole, part, chunked = (
        peak(activations(k, chunk_size=chunk), objective, params)
        for k, chunk in ((32, None), (4, None), (32, 4))
    )
    layer = 64 * 512 * 4  # bytes of a layer's activities
    tangents = (32 - 4) * (2 * 512 + CLASSES) * 4
    assert whole - part > 28 * layer  # grows with the tangents
    assert chunked - part < 2 * tangents + layer  # but for the drawn ones and their derivatives


# Training


def specs(network: Component, estimator: Component, steps: int = 30) -> list[RunSpec]:
    problem = Classification(
        f"digits {network.name}", "digits", network, 16, "standardised", validation_size=297
    )
    return [
        RunSpec(
            study="test", arm="published", scale="smoke", experiment="test", role="report",
            problem=problem, method=Method("test", estimator, use("sgd")), repetition=repetition,
            hyperparameters=settings(learning_rate=0.01), task=Training(steps, steps // 2),
        )
        for repetition in range(2)
    ]  # fmt: skip


SMALL = {
    "mlp": use("mlp", width=8),
    "resnet18": use("resnet18", channels=2),
    "vit": use("vit", layers=1, width=8, heads=2),
}


@pytest.mark.parametrize("network", SMALL)
def test_stopped_it_goes_on_bit_for_bit(network: str, tmp_path: Path) -> None:
    estimator = use(
        "forward_gradient", num_tangents=2, aggregation="orthogonal_projection",
        perturb="activations", mode="simulated",
    )  # fmt: skip
    group = specs(SMALL[network], estimator)
    expected = train(group, CPU)
    interrupt(group, tmp_path, 1)
    found = go_on(group, tmp_path)
    assert [comparable(record) for record in found] == [comparable(record) for record in expected]


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("perturb", ["weights", "activations"])
def test_training_in_forward_mode_is_training_in_simulated_mode(network: str, perturb: str) -> None:
    runs = []
    for mode in MODES:
        estimator = use("forward_gradient", num_tangents=2, perturb=perturb, mode=mode)
        (spec, _) = specs(SMALL[network], estimator)
        task, rate = Training(4, 2, precision="float64"), settings(learning_rate=1e-4)
        (record,) = train([dataclasses.replace(spec, task=task, hyperparameters=rate)], CPU)
        runs.append(record)
    forward, simulated = runs
    for metric in ("validation_loss", "test_loss", "train_loss", "parameter_norm"):
        expected = simulated.measured[metric]
        assert forward.measured[metric] == pytest.approx(expected, rel=1e-9)
    passes = forward.measured["forward_passes"]
    assert isinstance(passes, float)
    if perturb == "activations":
        sweeps = 16 if network == "resnet18" else 1
        assert passes == 4 * (1 + 3 * sweeps + (1 if network == "mlp" else 2))


# Bad input


def identity(params: Params, inputs: Tensor, noted: Noted) -> Tensor:
    del params, noted
    return inputs


def layered(*functions: object) -> Layered:
    """Return an objective whose first block has the parameter in `PARAMS` and does not look at it."""
    layers = [
        Layer(f"Block {i} (test)", f, () if i else ("unused",))  # type: ignore[arg-type]
        for i, f in enumerate(functions)
    ]
    return Layered(layers, draw(1, 2, 3), lambda logits: logits.square().sum(-1))


PARAMS: Params = {"unused": torch.ones(1, 1, dtype=torch.float64)}
LINEAR = Layer("Block 0 (test)", lambda p, x, noted: x @ p["w"].mT, ("w",))
ONE = {"w": torch.ones(2, 3, dtype=torch.float64)}


def linear(*layers: Layer) -> Layered:
    return Layered(
        layers, draw(1, 4, 3, dtype=torch.float64), lambda outputs: outputs.square().sum(-1)
    )


def test_one_generator_goes_with_one_set_of_parameters_for_every_estimator() -> None:
    """The mini-batch keeps its dimension of replicas; parameters and estimate have none."""
    objective = linear(LINEAR)
    (expected,) = torch.autograd.grad(
        (objective.inputs[0] @ (w := ONE["w"].clone().requires_grad_()).mT).square().sum(1).mean(),
        w,
    )
    exact = Backpropagation()(objective, ONE, generators(1)[0])
    assert exact.value.shape == ()
    assert isinstance(exact.gradient, dict)
    assert_close(exact.gradient["w"], expected, rtol=1e-12)
    for mode in MODES:
        near = activations(8, mode=mode, aggregation="orthogonal_projection")
        found = near(objective, ONE, generators(1)[0]).gradient
        assert isinstance(found, dict)
        assert_close(found["w"], expected, rtol=1e-9)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        ((), ONE, "Found 'w', but the blocks do not name it: make them agree."),
        (("w",), {**ONE, "v": ONE["w"]}, "Found 'v', but the blocks do not name it: make them"),
        (("w", "v"), ONE, "Found 'v', but it is not given: make them agree."),
    ],
)
def test_a_parameter_of_no_block_is_named_for_its_estimate_would_be_zero(
    mode: str, names: tuple[str, ...], given: Params, message: str
) -> None:
    objective = linear(dataclasses.replace(LINEAR, parameters=names))
    with pytest.raises(ValueError, match=f"^Every parameter is named in .* one block. {message}"):
        activations(2, mode=mode)(objective, given, generators(1)[0])


def test_what_makes_no_blocks_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a tuple of names\. Found 'w': write \('w',\)\.$"):
        dataclasses.replace(LINEAR, parameters="w")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Found Linear: write `Layer\(name, function, parameters"):
        linear(torch.nn.Linear(3, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^A parameter belongs to one block\. Found 'w' in two:"):
        linear(LINEAR, dataclasses.replace(LINEAR, name="Block 1 (test)"))


@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient(2), activations(2)])
def test_parameters_of_blocks_have_names(estimator: Estimator) -> None:
    with pytest.raises(TypeError, match=r"takes parameters by name, .* Found Tensor: write \{name"):
        estimator(linear(LINEAR), ONE["w"], generators(1)[0])


@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient(2), activations(2)])
@pytest.mark.parametrize(
    ("losses", "found"),
    [
        (lambda y: y.square().sum(), r"\(\)"),
        (lambda y: y.square(), r"\(1, 4, 2\)"),
        (lambda y: 1.0, "float"),
    ],
)
def test_losses_are_one_a_replica_and_example(
    estimator: Estimator, losses: Callable[[Tensor], Tensor], found: str
) -> None:
    objective = Layered([LINEAR], linear(LINEAR).inputs, losses)
    message = rf"^`losses` must return .* \(1, 4\)\. Found {found}: reduce"
    with pytest.raises(ValueError, match=message):
        estimator(objective, ONE, generators(1)[0])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p, x, n: (x, x), r"must return one tensor, which can be perturbed. Found tuple."),
        (lambda p, x, n: None, r"must return one tensor, which can be perturbed. Found NoneType."),
        (
            lambda p, x, n: x.sum(1),
            r"must return one entry a replica and example, \(1, 2, ...\). Found shape \(1, 3\).",
        ),
        (lambda p, x, n: x.relu_(), r"overwrites its inputs in place.*`inplace=False`"),
        (lambda p, x, n: x.mul_(2.0) + 1.0, r"overwrites its inputs in place"),
    ],
)
def test_a_block_that_cannot_be_perturbed_is_named(
    mode: str, position: int, function: object, message: str
) -> None:
    functions = [identity, identity]
    functions[position] = function  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=rf"^Block {position} \(test\) {message}"):
        activations(2, mode=mode)(layered(*functions), PARAMS, generators(1))


def test_a_block_that_draws_needs_its_pass_to_be_the_only_one() -> None:
    def dropped(params: Params, inputs: Tensor, noted: Noted) -> Tensor:
        del params, noted
        return torch.nn.functional.dropout(inputs, 0.5)

    objective = layered(identity, dropped)
    with pytest.raises(
        ValueError, match=r"^In forward mode the blocks .*Use `mode='simulated'`\.$"
    ):
        activations(2)(objective, PARAMS, generators(1))
    activations(2, mode="simulated")(objective, PARAMS, generators(1))


def test_a_block_that_detaches_cannot_be_passed_backward() -> None:
    objective = layered(identity, lambda params, inputs, noted: inputs.detach())
    with pytest.raises(ValueError, match=r"^The objective must depend on its parameters"):
        activations(2, mode="simulated")(objective, PARAMS, generators(1))


@pytest.mark.parametrize("mode", MODES)
def test_in_place_operations_inside_a_block_are_its_own_business(mode: str) -> None:
    network = build_network("mlp", (1, 1, 3), CLASSES, width=4)
    params = scattered(network, 1)
    objective = on_images(network, (1, 1, 3), 1, 2)

    def doubled(given: Params, inputs: Tensor, noted: Noted) -> Tensor:
        return objective.layers[0].function(given, inputs, noted).mul(1.0).relu_()  # type: ignore[arg-type]

    first = dataclasses.replace(objective.layers[0], function=doubled)
    other = Layered([first, *objective.layers[1:]], objective.inputs, objective.losses)
    found, expected = (
        activations(2, mode=mode)(each, params, generators(1)).gradient
        for each in (other, objective)
    )
    assert_close(flatten(found), flatten(expected), rtol=1e-12)


def test_a_model_without_blocks() -> None:
    with pytest.raises(ValueError, match=r"one block or more. Found a model without blocks."):
        Network(()).objective(draw(1, 2, 3), lambda logits: logits)


@pytest.mark.parametrize("single", [False, True])
def test_an_objective_without_blocks(single: bool) -> None:
    def sphere(params: Params) -> Tensor:
        return leaves(params)[0].square().sum(-1)

    message = re.escape("`perturb='activations'` needs an objective made of blocks")
    given = (torch.ones(3), generators(1)[0]) if single else (torch.ones(1, 3), generators(1))
    with pytest.raises(ValueError, match=f"{message}.*Found 'function'. Use `perturb='weights'`."):
        activations()(sphere, *given)


def test_replicas_of_mini_batch_and_parameters_must_agree() -> None:
    _, objective, _ = case("mlp", replicas=2)
    _, _, params = case("mlp", replicas=3)
    with pytest.raises(ValueError, match=r"one leading entry per generator, \(3, n, ...\)"):
        activations()(objective, params, generators(3))

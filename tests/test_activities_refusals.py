"""What cannot be perturbed: blocks, parameters, losses and mini-batches, each refused in a line that names it."""

import dataclasses
import re
from collections.abc import Callable

import pytest
import torch
from asserts import assert_close, flatten
from blocks import CLASSES, MODES, activations, case, on_images, scattered
from references import draw, generators
from torch import Tensor

from repro.autodiff import Layer, Layered, Noted, Params, leaves
from repro.estimators import Backpropagation, Estimator, ForwardGradient
from repro.models import Network
from repro.models import build as build_network


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

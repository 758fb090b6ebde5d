"""What estimators ask of parameters, generators and objectives, each in a line if it is not so."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from asserts import flatten
from estimator_cases import FORWARD, SIMULATED, every_way, name, objective, stacked
from references import generators
from torch import Tensor

from repro.autodiff import Params, leaves
from repro.estimators import Backpropagation, Estimator, ForwardGradient


@pytest.mark.parametrize("estimator", [Backpropagation(), *FORWARD[:3]], ids=name)
def test_parameters_in_a_list_are_refused(estimator: Estimator) -> None:
    point: Params = [torch.ones(3)]  # type: ignore[assignment]
    with pytest.raises(
        TypeError,
        match=r"^Parameters are .* Found list: of a module give `dict\(module\.named_parameters\(\)\)`\.$",
    ):
        estimator(lambda p: leaves(p)[0].sum(), point, generators(1)[0])
    with pytest.raises(
        TypeError,
        match=r"^Parameters are .* Found list: of a module give `dict\(module\.named_parameters\(\)\)`\.$",
    ):
        estimator(lambda p: leaves(p)[0].sum(1), point, generators(1))


@pytest.mark.parametrize("mode", ["forward", "simulated"])
@pytest.mark.parametrize("k", [1, 2])
def test_generators_parameters_and_objective_must_agree(mode: str, k: int) -> None:
    estimator = ForwardGradient(k, mode=mode)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"one leading entry per generator, \(3, ...\).*\(2, 2, 2\)"
    ):
        estimator(objective, stacked(2), generators(3))
    with pytest.raises(ValueError, match=r"one value a replica, \(2,\). Found \(2, 6\): reduce"):
        estimator(flatten, stacked(2), generators(2))
    with pytest.raises(
        ValueError, match=r"must return a scalar. Found shape \(1,\): reduce it, as by"
    ):
        estimator(lambda p: leaves(p)[0].sum()[None], torch.ones(3), generators(1)[0])


@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient()], ids=name)
def test_one_generator_goes_with_one_value(estimator: Estimator) -> None:
    with pytest.raises(ValueError, match=r"must return a scalar. Found shape \(3,\)"):
        estimator(lambda p: leaves(p)[0] ** 2, torch.ones(3), generators(1)[0])


@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient()], ids=name)
def test_replicas_have_a_value_each(estimator: Estimator) -> None:
    """Of a sum over replicas the gradients are right, and the value is no replica's."""
    with pytest.raises(ValueError, match=r"one value a replica, \(2,\)\. Found \(\): reduce all"):
        estimator(lambda p: leaves(p)[0].sum(), torch.ones(2, 3), generators(2))


@pytest.mark.parametrize("generator", [None, 0, 1, "ab", (1, 2)])
def test_a_seed_is_no_generator(generator: Any) -> None:
    for estimator in (ForwardGradient(), *([Backpropagation()] if generator is not None else [])):
        with pytest.raises(TypeError, match=r"`generator` is a torch.Generator, or one a replica"):
            estimator(lambda p: leaves(p)[0].sum(), torch.ones(3), generator)


def test_generators_draw_on_the_device_of_the_parameters() -> None:
    class Elsewhere(torch.Generator):
        device = torch.device("cuda")

    with pytest.raises(
        ValueError,
        match=r"^A generator draws on the device of the parameters, cpu\. Found one on cuda: ",
    ):
        ForwardGradient()(lambda p: leaves(p)[0].sum(), torch.ones(3), Elsewhere())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"^Expected one parameter or more\. Found none"),
        (torch.ones(0), r"^Expected one parameter or more\. Found none"),
        (
            torch.ones(3, dtype=torch.int64),
            r"of floating-point numbers\. Found torch\.int64: convert",
        ),
        (torch.ones(3, dtype=torch.complex64), r"Found torch\.complex64: convert"),
        (torch.ones(3).to_sparse(), r"^Parameters are dense .* Found torch\.sparse_coo: convert"),
        ({"a": {"b": torch.ones(3)}}, r"a dict with a value of type dict: nested"),
        ({"a": 1.0}, r"a dict with a value of type float: nested ones go into one dict"),
    ],
)
@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient(2)], ids=name)
def test_what_has_no_gradient_is_no_parameter(
    estimator: Estimator, params: Params, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        estimator(lambda p: leaves(p)[0].sum(), params, generators(1)[0])


def test_tangents_are_of_one_type() -> None:
    params = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.float64)}
    with pytest.raises(
        ValueError, match=r"Found torch\.float32 on cpu, torch\.float64 on cpu: convert"
    ):
        ForwardGradient()(objective, params, generators(1)[0])
    assert Backpropagation()(objective_of_two, params, generators(1)[0]).value == 4.0


def objective_of_two(params: Params) -> Tensor:
    return sum((leaf.double().sum() for leaf in leaves(params)), torch.zeros(()))


@every_way
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p: p.sum().item(), r"^The objective must return a tensor.* Found float: drop"),
        (lambda p: (p.sum(), p), r"^The objective must return a tensor.* Found tuple: drop"),
        (
            lambda p: p.detach().sum(),
            r"^The objective must depend on its parameters.* compiled objective, give the original\.$",
        ),
        (lambda p: torch.as_tensor(p.numpy()).sum(), r"^The objective must depend on its .*NumPy"),
        (lambda p: p.sum() * 1j, r"must return real numbers\. Found torch\.complex64: take such"),
        (lambda p: (p > 0).sum(), r"^The objective must depend on its parameters"),
        (
            lambda p: torch.ones(3).sum(),
            r"as `functional_call\(model, params, inputs\)` does and `model\(inputs\)` does not;",
        ),
        (  # as of a module's own parameters
            lambda p: torch.ones(3, requires_grad=True).sum(),
            r"as `functional_call\(model, params, inputs\)` does and `model\(inputs\)` does not;",
        ),
        (torch.ones(3), r"^The objective is a function .* comes before them\. Found Tensor: give"),
        (lambda p: p.mul_(2.0).sum(), r"overwrites them in place: use operations that return"),
    ],
)
def test_an_objective_that_cannot_be_differentiated_is_one_line(
    estimator: Estimator, function: Callable[[Params], Tensor], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as raised:
        estimator(function, torch.ones(3), generators(1)[0])
    assert "\n" not in str(raised.value)


def test_under_inference_mode_no_slope_is_taken_for_zero() -> None:
    with (
        torch.inference_mode(),
        pytest.raises(
            ValueError, match=r"nor compute it under `torch\.no_grad` or `torch\.inference_mode`"
        ),
    ):
        ForwardGradient()(lambda p: leaves(p)[0].square().sum(), torch.ones(3), generators(1)[0])


@pytest.mark.parametrize("estimator", [Backpropagation(), SIMULATED], ids=name)
def test_backward_passes_need_the_graph_that_no_grad_leaves_out(estimator: Estimator) -> None:
    with pytest.raises(ValueError, match=r"nor compute it under `torch\.no_grad` or"):
        estimator(torch.no_grad()(objective_of_two), torch.ones(3), generators(1)[0])


@pytest.mark.parametrize("num_tangents", [1, 2])
def test_parameters_that_share_memory_are_copied_first(num_tangents: int) -> None:
    shared = torch.ones(3).expand(2, 3)
    with pytest.raises(ValueError, match=r"^Parameters, .* as `\.expand\(\)` makes it: use"):
        ForwardGradient(num_tangents)(stacked_squares, shared, generators(2))
    assert ForwardGradient(num_tangents)(
        stacked_squares, shared.clone(), generators(2)
    ).value.tolist() == [3.0, 3.0]


def stacked_squares(params: Params) -> Tensor:
    return leaves(params)[0].square().sum(1)


@every_way
def test_a_single_number_is_a_parameter(estimator: Estimator) -> None:
    params = {"scale": torch.tensor(2.0), "more": torch.ones(2)}
    estimate = estimator(
        lambda p: p["scale"] * p["more"].sum(),  # type: ignore[index]
        params,
        generators(1)[0],
    )
    assert [leaf.shape for leaf in leaves(estimate.gradient)] == [(), (2,)]

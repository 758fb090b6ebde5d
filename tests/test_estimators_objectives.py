"""Objectives as people write them, with derivatives, draws, statistics or a module inside: followed, or refused in a line."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest
import torch
from asserts import assert_close
from estimator_cases import every_way
from references import draw, generators
from torch import Tensor

from repro.autodiff import Params, Recorded, leaves
from repro.autodiff.sweeps import EAGER_CALLS
from repro.estimators import Backpropagation, Estimator, ForwardGradient


@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient(1), ForwardGradient(2)])
def test_a_formula_that_looks_at_a_value_is_one_line(estimator: Estimator) -> None:
    """What is replayed would go on with the branch that it was recorded in."""

    def looks(params: Params) -> Tensor:
        (point,) = leaves(params)
        return point.square().sum(-1) if point.sum() > 0 else -point.sum(-1)

    objective = Recorded(looks)
    for _ in range(EAGER_CALLS):
        estimator(objective, torch.ones(2, 3), generators(2))
    with pytest.raises(ValueError, match=r"^A function with a formula must .* use `torch\.where`"):
        estimator(objective, torch.ones(2, 3), generators(2))


def test_a_derivative_in_the_objective_that_is_zero_is_one_line() -> None:
    model = torch.nn.Linear(3, 1)
    params = {name: p.detach() for name, p in model.named_parameters()}

    def penalty(params: Params) -> Tensor:
        def loss(inner: Params) -> Tensor:
            outputs: Tensor = torch.func.functional_call(model, inner, (torch.ones(8, 3),))  # type: ignore[arg-type]
            return torch.nn.functional.mse_loss(outputs, torch.zeros(8, 1))

        slopes = torch.func.grad(loss)(params)
        return sum((leaf.square().sum() for leaf in leaves(slopes)), torch.zeros(()))

    with pytest.raises(ValueError, match=r"\(`torch\.func\.grad`\) are zero .*`mode='simulated'`"):
        ForwardGradient()(penalty, params, generators(1)[0])
    simulated = ForwardGradient(mode="simulated")(penalty, params, generators(1)[0])
    assert simulated.value > 0


class Square(torch.autograd.Function):
    """A function as users write them, without a rule for forward mode."""

    @staticmethod
    def forward(ctx: Any, point: Tensor) -> Tensor:
        ctx.save_for_backward(point)
        return point * point

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (point,) = ctx.saved_tensors
        found: Tensor = 2 * point * slope
        return found


@pytest.mark.parametrize("num_tangents", [1, 2])
def test_a_function_without_a_rule_for_forward_mode_is_one_line(num_tangents: int) -> None:
    def squares(params: Params) -> Tensor:
        return Square.apply(params).sum()  # type: ignore[no-any-return, no-untyped-call]

    with pytest.raises(
        ValueError, match=r"^In forward mode a .* Found one without: write its `jvp`"
    ):
        ForwardGradient(num_tangents)(squares, torch.ones(3), generators(1)[0])
    simulated = ForwardGradient(num_tangents, mode="simulated")
    assert simulated(squares, torch.ones(3), generators(1)[0]).value == 3.0


def slope_of_a_curve(params: Params, derive: Callable[..., Tensor]) -> Tensor:
    """Return the squared slopes of a curve in its inputs, as objectives of differential equations have them."""
    return derive(lambda x: (leaves(params)[0] * x).sin().sum(), torch.arange(3.0)).square().sum()


def by_autograd(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.autograd.grad(function(x.requires_grad_()), x, create_graph=True)[0]


def by_func_jvp(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.stack([torch.func.jvp(function, (x,), (e,))[1] for e in torch.eye(3)])


@pytest.mark.parametrize("num_tangents", [1, 2])
def test_an_objective_may_take_derivatives_by_torch_func(num_tangents: int) -> None:
    def by_func_grad(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.func.grad(function)(x)  # type: ignore[no-any-return]

    point = torch.tensor([0.5, 1.0, 1.5])
    forward = ForwardGradient(num_tangents)(
        lambda p: slope_of_a_curve(p, by_func_grad), point, generators(1)[0]
    )
    simulated = ForwardGradient(num_tangents, mode="simulated")(
        lambda p: slope_of_a_curve(p, by_autograd), point, generators(1)[0]
    )
    assert_close(leaves(forward.gradient)[0], leaves(simulated.gradient)[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("num_tangents", "derive"), [(1, by_autograd), (2, by_autograd), (1, by_func_jvp)]
)
def test_derivatives_inside_that_forward_mode_cannot_follow_are_one_line(
    num_tangents: int, derive: Callable[..., Tensor]
) -> None:
    with pytest.raises(
        ValueError, match=r"^In forward mode an .* must do so by `torch\.func\.grad`"
    ):
        ForwardGradient(num_tangents)(
            lambda p: slope_of_a_curve(p, derive), torch.ones(3), generators(1)[0]
        )


@every_way
def test_an_estimate_holds_no_graph(estimator: Estimator) -> None:
    """As it would of an objective that records one, for derivatives of its own."""
    params: Params = {"w": torch.nn.Parameter(torch.ones(3))}
    estimate = estimator(
        torch.enable_grad()(lambda p: p["w"].square().sum()),
        params,
        generators(1)[0],
    )
    found = [estimate.value, *leaves(estimate.gradient)]
    if estimate.directional_derivatives is not None:
        found.append(estimate.directional_derivatives)
    assert not any(tensor.requires_grad for tensor in found)


@every_way
def test_a_gradient_has_the_type_of_the_parameters(estimator: Estimator) -> None:
    """With the types that a user writes, whom a type checker follows into the package (`py.typed`)."""
    assert isinstance(estimator, Backpropagation | ForwardGradient)
    model = torch.nn.Linear(3, 1)
    inputs = torch.ones(8, 3)

    def loss(params: Mapping[str, Tensor]) -> Tensor:
        outputs: Tensor = torch.func.functional_call(model, dict(params), (inputs,))
        return outputs.square().mean()

    def height(point: Tensor) -> Tensor:
        return point.square().sum()

    whole = estimator(height, torch.ones(3), generators(1)[0])
    assert whole.gradient.shape == (3,)
    of_module = estimator(loss, dict(model.named_parameters()), generators(1)[0])
    read_only = estimator(loss, MappingProxyType(dict(model.named_parameters())), generators(1)[0])
    for name, leaf in model.named_parameters():
        assert of_module.gradient[name].shape == leaf.shape
        assert torch.equal(of_module.gradient[name], read_only.gradient[name])


def test_dropout_is_the_same_for_all_tangents_of_an_estimate() -> None:
    def dropped(params: Params) -> Tensor:
        return torch.nn.functional.dropout(leaves(params)[0].square(), 0.5).sum()

    point = draw(32)
    estimate = ForwardGradient(48, "orthogonal_projection")(dropped, point, generators(1)[0])
    # kept by all of them or by none
    kept = leaves(estimate.gradient)[0] / (4.0 * point)
    assert_close(kept, kept.round(), rtol=1e-9)
    assert set(kept.round().tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match=r"Use `chunk_size=None`\.$"):
        ForwardGradient(4, chunk_size=2)(dropped, point, generators(1)[0])


def test_batch_norm_gets_copies_of_its_statistics() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).double()
    inputs, params = draw(8, 3), {n: p.detach() for n, p in model.named_parameters()}

    def capturing(params: Params) -> Tensor:
        return torch.func.functional_call(model, params, (inputs,)).pow(3).sum()  # type: ignore[arg-type, no-any-return]

    def copying(params: Params) -> Tensor:
        buffers = {n: b.clone() for n, b in model.named_buffers()}
        return torch.func.functional_call(model, (params, buffers), (inputs,)).pow(3).sum()  # type: ignore[arg-type, no-any-return]

    with pytest.raises(ValueError, match=r"Hand it copies: `functional_call\(model, \(params, "):
        ForwardGradient(3)(capturing, params, generators(1)[0])
    forward, simulated = (
        estimator(copying, params, generators(1)[0])
        for estimator in (ForwardGradient(3), ForwardGradient(3, mode="simulated"))
    )
    for one, other in zip(leaves(forward.gradient), leaves(simulated.gradient), strict=True):
        assert_close(one, other, rtol=1e-9)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")  # type: ignore[no-untyped-call]
def test_an_operation_without_forward_mode_is_named() -> None:
    model = torch.nn.LSTM(2, 2)

    def recurrent(params: Params) -> Tensor:
        return torch.func.functional_call(model, params, (torch.ones(3, 2),))[0].sum()  # type: ignore[arg-type, no-any-return]

    params = {n: p.detach() for n, p in model.named_parameters()}
    with pytest.raises(
        ValueError, match=r"no forward mode .* objective \(mkldnn_rnn_layer\)\. Use"
    ):
        ForwardGradient()(recurrent, params, generators(1)[0])


@pytest.mark.parametrize("num_tangents", [1, 2])
def test_an_operation_that_will_never_have_forward_mode_is_named_too(num_tangents: int) -> None:
    model = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 2))

    def normalised(params: Params) -> Tensor:
        return torch.func.functional_call(model, params, (torch.ones(4, 3),)).square().sum()  # type: ignore[arg-type, no-any-return]

    params = {n: p.detach() for n, p in model.named_parameters()}
    with pytest.raises(ValueError, match=r"no forward mode .* objective \(div_out\)\. Use"):
        ForwardGradient(num_tangents)(normalised, params, generators(1)[0])


@pytest.mark.parametrize("chunk_size", [None, 1])
def test_an_operation_that_takes_one_tangent_alone_is_named(chunk_size: int | None) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.RReLU(), torch.nn.Linear(3, 1))
    params = {name: leaf.detach() for name, leaf in model.named_parameters()}

    def objective(given: dict[str, Tensor]) -> Tensor:
        outputs: Tensor = torch.func.functional_call(model, given, (torch.ones(2, 4),))
        return outputs.mean()

    with pytest.raises(
        ValueError,
        match=r"^PyTorch cannot take several .* objective \(rrelu_with_noise\), .* `num_tangents=1`",
    ):
        ForwardGradient(3, chunk_size=chunk_size)(objective, params, torch.Generator())
    for estimator in (ForwardGradient(1), ForwardGradient(3, mode="simulated")):
        assert estimator(objective, params, torch.Generator()).value.isfinite()


@pytest.mark.parametrize("num_tangents", [1, 3])
def test_a_backward_pass_within_the_objective_is_refused(num_tangents: int) -> None:
    def objective(point: Tensor) -> Tensor:
        inputs = torch.ones(4, requires_grad=True)
        (inputs * point.detach()).sum().backward()  # type: ignore[no-untyped-call]
        return point.square().sum()

    with pytest.raises(ValueError, match=r"^In forward mode an .* in place of .*`\.backward\(\)`"):
        ForwardGradient(num_tangents)(objective, torch.ones(4), torch.Generator())

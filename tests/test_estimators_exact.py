"""Estimates that are known: as many tangents as parameters, a basis, no slope at all; by hand, and frozen."""

import dataclasses
from typing import Literal

import pytest
import torch
from asserts import assert_close, flatten
from estimator_cases import GRADIENT, D, estimates, every_estimator, objective, on_tensor, stacked
from references import draw, generators, gradient
from torch import Tensor

from repro.estimators import Backpropagation, Estimator, ForwardGradient
from repro.problems.closed_form import beale, rosenbrock
from repro.tangents import DISTRIBUTIONS


@pytest.mark.parametrize("k", [D, D + 1, 3 * D])
@pytest.mark.parametrize("mode", ["forward", "simulated"])
@pytest.mark.parametrize("tangents", ["normal", "sphere"])
def test_projection_on_d_or_more_tangents_is_the_gradient(k: int, mode: str, tangents: str) -> None:
    estimator = ForwardGradient(k, "orthogonal_projection", tangents, mode=mode)  # type: ignore[arg-type]
    assert_close(estimates(estimator, 20), GRADIENT.expand(20, D), rtol=1e-9)


@pytest.mark.parametrize(("d", "k"), [(2, 2), (5, 5), (5, 9), (20, 20), (20, 40), (50, 60)])
def test_projection_is_the_gradient_in_float32(d: int, k: int) -> None:
    point = draw(1, d, dtype=torch.float32)
    estimate = ForwardGradient(k, "orthogonal_projection")(
        on_tensor(rosenbrock), point, generators(1)
    )
    exact = gradient(rosenbrock, point[0].double())[None]
    assert_close(flatten(estimate.gradient), exact, rtol=1e-5)


def float32_errors(estimator: Estimator, d: int, num: int) -> Tensor:
    """Return the relative errors of so many estimates on Rosenbrock's function in float32, `(num,)`."""
    point = draw(num, d, dtype=torch.float32)
    found = flatten(estimator(on_tensor(rosenbrock), point, generators(num)).gradient).double()
    wide = point.double().requires_grad_()
    (exact,) = torch.autograd.grad(rosenbrock(wide).sum(), wide)
    errors: Tensor = (found - exact).norm(dim=1) / exact.norm(dim=1)
    return errors


@pytest.mark.parametrize("d", [2, 16, 64])
@pytest.mark.parametrize("excess", ["none", "one", "all"])
def test_a_simulated_projection_is_the_gradient_in_every_draw(d: int, excess: str) -> None:
    k = d + {"none": 0, "one": 1, "all": d}[excess]
    errors = float32_errors(ForwardGradient(k, "orthogonal_projection", mode="simulated"), d, 500)
    backpropagated = float32_errors(Backpropagation(), d, 500)
    assert (errors <= backpropagated + 1e-6).all()


@pytest.mark.parametrize(("d", "most"), [(2, 0.01), (16, 0.05), (64, 0.1)])
def test_a_forward_projection_in_float32_misses_the_gradient_as_rarely_as_it_says(
    d: int, most: float
) -> None:
    square = float32_errors(ForwardGradient(d, "orthogonal_projection"), d, 1_000)
    assert (square > 1e-5).double().mean() <= most
    assert square.median() < 2e-6
    assert square.max() < 0.1
    tall = float32_errors(ForwardGradient(2 * d, "orthogonal_projection"), d, 1_000)
    assert (tall > 1e-5).double().mean() <= 0.002  # of two variables the derivative itself cancels
    assert tall.median() < 2e-7


def test_derivatives_come_back_in_the_precision_of_the_parameters() -> None:
    point = draw(2, 4, dtype=torch.float32)
    modes: tuple[Literal["forward", "simulated"], ...] = ("forward", "simulated")
    for mode in modes:
        estimator = ForwardGradient(4, "orthogonal_projection", mode=mode)
        found = estimator(on_tensor(rosenbrock), point, generators(2))
        assert found.directional_derivatives is not None
        assert found.directional_derivatives.dtype == flatten(found.gradient).dtype == torch.float32


@pytest.mark.parametrize("mode", ["forward", "simulated"])
def test_basis_as_tangents(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DISTRIBUTIONS, "normal", lambda out, _: out.copy_(torch.eye(D)))
    for aggregation, multiple in (("sum", 1.0), ("mean", 1 / D), ("orthogonal_projection", 1.0)):
        estimator = ForwardGradient(D, aggregation, mode=mode)  # type: ignore[arg-type]
        assert_close(estimates(estimator, 2), multiple * GRADIENT.expand(2, D), rtol=1e-12)


@pytest.mark.parametrize("mode", ["forward", "simulated"])
@pytest.mark.parametrize("num_tangents", [2, D, D + 1])
def test_the_projection_does_not_depend_on_the_angle(mode: str, num_tangents: int) -> None:
    # turning tangents towards the first leaves their span (Flügel et al. 2024, Section 4.3)
    normal = ForwardGradient(num_tangents, "orthogonal_projection", mode=mode)  # type: ignore[arg-type]
    expected = flatten(normal(objective, stacked(2), generators(2)).gradient)
    for angle in (15.0, 45.0, 90.0, 120.0):
        turned = dataclasses.replace(normal, tangents="angle", angle=angle)
        found = flatten(turned(objective, stacked(2), generators(2)).gradient)
        assert_close(found, expected, rtol=1e-9)


@every_estimator
def test_zero_gradient(estimator: Estimator) -> None:
    estimate = estimator(lambda p: (0.0 * flatten(p)).sum(1) + 3.0, stacked(2), generators(2))
    assert torch.equal(estimate.value, torch.full((2,), 3.0, dtype=torch.float64))
    assert torch.equal(flatten(estimate.gradient), torch.zeros(2, D, dtype=torch.float64))


def test_backpropagation_at_the_start_of_beale() -> None:
    # by hand at x = 0, y = 1/2: 2 (1.5 (y - 1) + 2.25 (y^2 - 1) + 2.625 (y^3 - 1)), and 0
    found = Backpropagation()(on_tensor(beale), torch.tensor([[0.0, 0.5]])).gradient
    assert_close(flatten(found), torch.tensor([[-9.46875, 0.0]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (Backpropagation(), (-3.433947, -0.807885)),
        (ForwardGradient(), (-7.7891839, 1.4831781)),
        (ForwardGradient(3), (-9.4514567, -0.4379540)),
        (ForwardGradient(2, "sum", "rademacher"), (-6.867894, -1.61577)),
        (ForwardGradient(1, "orthogonal_projection", "sphere"), (-3.1653447, 0.6027294)),
        (ForwardGradient(2, tangents="sphere", clip=1.0), (-1.3788309, 0.3107716)),
    ],
)
def test_frozen_values(estimator: Estimator, expected: tuple[float, ...]) -> None:
    start = torch.tensor([[1.5, -0.1]], dtype=torch.float64)
    found = flatten(estimator(on_tensor(beale), start, generators(1)).gradient)
    torch.testing.assert_close(
        found[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0.0
    )

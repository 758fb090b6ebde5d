"""Derivatives of stacked objectives against autograd and derivations by hand."""

import itertools

import pytest
import torch
from references import beale_gradient, directional_derivatives, draw, gradient, rosenbrock_gradient
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

from repro.autodiff import (
    Params,
    affine,
    convolution,
    leaves,
    like,
    value_and_directional_derivatives,
    value_and_gradient,
)
from repro.models import build
from repro.problems.closed_form import beale, rosenbrock


def tensor(params: Params) -> Tensor:
    assert isinstance(params, Tensor)
    return params


def stacked_beale(params: Params) -> Tensor:
    return beale(tensor(params))


def stacked_rosenbrock(params: Params) -> Tensor:
    return rosenbrock(tensor(params))


def test_leaves_and_like_are_inverse() -> None:
    pair: Params = {"b": torch.ones(2), "a": torch.zeros(3)}
    assert [leaf.shape for leaf in leaves(pair)] == [(2,), (3,)]  # in the order of the dict
    again = like(pair, leaves(pair))
    assert isinstance(again, dict)
    assert list(again) == ["b", "a"]
    assert like(torch.ones(2), leaves(torch.zeros(4))).shape == (4,)  # type: ignore[union-attr]


def test_like_refuses_another_number_of_tensors() -> None:
    with pytest.raises(ValueError, match="shorter than argument"):
        like({"a": torch.ones(1), "b": torch.ones(1)}, [torch.ones(1)])


def test_gradient_of_beale_is_the_derived_one() -> None:
    points = torch.tensor([[0.0, 0.5], [1.5, -0.1], [3.0, 0.5]], dtype=torch.float64)
    value, slope = value_and_gradient(stacked_beale, points)
    expected = [beale_gradient(x, y) for x, y in points.tolist()]
    torch.testing.assert_close(tensor(slope), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(value, beale(points))


def test_gradient_of_rosenbrock_is_the_derived_one() -> None:
    points = draw(3, 7)
    _, slope = value_and_gradient(stacked_rosenbrock, points)
    expected = [rosenbrock_gradient(point) for point in points.tolist()]
    torch.testing.assert_close(tensor(slope), torch.tensor(expected, dtype=torch.float64))


def test_gradient_is_detached_and_leaves_the_parameters_alone() -> None:
    points = draw(2, 3)
    before = points.clone()
    value, slope = value_and_gradient(stacked_rosenbrock, points)
    assert not (points.requires_grad)
    assert not (value.requires_grad)
    assert not (tensor(slope).requires_grad)
    assert torch.equal(points, before)


@pytest.mark.parametrize("num_tangents", [1, 2, 5])
@pytest.mark.parametrize("chunk_size", [None, 1, 2, 100])
def test_directional_derivatives_are_gradient_times_tangent(
    num_tangents: int, chunk_size: int | None
) -> None:
    points, tangents = draw(3, 4), draw(num_tangents, 3, 4, seed=1)
    value, slopes = value_and_directional_derivatives(
        stacked_rosenbrock, points, tangents, chunk_size=chunk_size
    )
    expected = torch.stack(
        [directional_derivatives(rosenbrock, points[r], tangents[:, r]) for r in range(3)], dim=1
    )
    torch.testing.assert_close(slopes, expected, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(value, rosenbrock(points), rtol=1e-14, atol=0.0)
    assert not (value.requires_grad)
    assert not (slopes.requires_grad)


@pytest.mark.parametrize("num_tangents", [1, 3])
def test_basis_vectors_read_off_the_gradient(num_tangents: int) -> None:
    point = draw(1, 3)
    basis = torch.eye(3, dtype=torch.float64)[:num_tangents, None]
    _, slopes = value_and_directional_derivatives(stacked_rosenbrock, point, basis)
    torch.testing.assert_close(slopes[:, 0], gradient(rosenbrock, point[0])[:num_tangents])


@pytest.mark.parametrize("num_tangents", [1, 3])
def test_a_constant_objective_has_slope_zero(num_tangents: int) -> None:
    _, slopes = value_and_directional_derivatives(
        lambda _: torch.full((2,), 7.0), torch.ones(2, 4), torch.ones(num_tangents, 2, 4)
    )
    assert torch.equal(slopes, torch.zeros(num_tangents, 2))


@pytest.mark.parametrize("num_tangents", [1, 3])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_both_modes_agree_on_networks(name: str, num_tangents: int) -> None:
    options = {"mlp": {"width": 5}, "cnn": {"channels": 2, "padding": 1}}[name]
    network = build(name, (1, 6, 6), 3, **options)
    start = network.start(
        [torch.Generator().manual_seed(s) for s in (0, 1)], torch.float64, torch.device("cpu")
    )
    images = draw(2, 4, 1, 6, 6)

    def objective(params: Params) -> Tensor:
        assert isinstance(params, dict)
        return network(params, images).logsumexp(-1).square().mean(-1)

    tangents = {n: draw(num_tangents, *leaf.shape, seed=2) for n, leaf in start.items()}
    value, slope = value_and_gradient(objective, start)
    again, slopes = value_and_directional_derivatives(objective, start, tangents)
    products = [
        (tangents[n] * leaf).flatten(2).sum(-1)
        for n, leaf in zip(start, leaves(slope), strict=True)
    ]
    torch.testing.assert_close(slopes, torch.stack(products).sum(0), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(again, value)


@pytest.mark.parametrize("moving", list(itertools.product([False, True], repeat=3)))
def test_affine_derives_along_any_of_its_arguments(moving: tuple[bool, bool, bool]) -> None:
    values = [draw(2, 5, 3, seed=0), draw(2, 3, 4, seed=1), draw(2, 1, 4, seed=2)]
    tangents = [draw(*value.shape, seed=9 + i) for i, value in enumerate(values)]
    inputs, weight, bias = values
    expected = torch.zeros(2, 5, 4, dtype=torch.float64)
    for part, moves in zip(
        (tangents[0] @ weight, inputs @ tangents[1], tangents[2]), moving, strict=True
    ):
        expected = expected + part if moves else expected
    with forward_ad.dual_level():
        duals = [
            forward_ad.make_dual(value, tangent) if moves else value  # type: ignore[no-untyped-call]
            for value, tangent, moves in zip(values, tangents, moving, strict=True)
        ]
        primal, slope = forward_ad.unpack_dual(affine(*duals))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(primal, inputs @ weight + bias)
    assert (slope is None) == (not any(moving))
    torch.testing.assert_close(expected if slope is None else slope, expected)


@pytest.mark.parametrize("moving", list(itertools.product([False, True], repeat=3)))
def test_convolution_derives_along_any_of_its_arguments(moving: tuple[bool, bool, bool]) -> None:
    values = [draw(2, 3, 5, 6, seed=0), draw(4, 3, 3, 3, seed=1), draw(4, seed=2)]
    tangents = [
        draw(*v.shape, seed=9 + i) if moves else torch.zeros_like(v)
        for i, (v, moves) in enumerate(zip(values, moving, strict=True))
    ]

    def plain(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return nn.functional.conv2d(images, weight, bias, padding=1)

    expected, expected_slope = torch.func.jvp(plain, tuple(values), tuple(tangents))  # type: ignore[misc]
    with forward_ad.dual_level():
        duals = [
            forward_ad.make_dual(value, tangent) if moves else value  # type: ignore[no-untyped-call]
            for value, tangent, moves in zip(values, tangents, moving, strict=True)
        ]
        images, weight, bias = duals
        primal, slope = forward_ad.unpack_dual(convolution(images, weight, bias, 1))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(primal, expected)
    assert (slope is None) == (not any(moving))
    torch.testing.assert_close(expected_slope if slope is None else slope, expected_slope)


@pytest.mark.parametrize("num_tangents", [1, 3])
def test_forward_mode_multiplies_nothing_idle(num_tangents: int) -> None:
    network = build("mlp", (1, 4, 4), 3, width=5)
    start = network.start([torch.Generator()], torch.float64, torch.device("cpu"))
    images = draw(1, 7, 1, 4, 4)

    def objective(params: Params) -> Tensor:
        assert isinstance(params, dict)
        return network(params, images).logsumexp(-1).mean(-1)

    tangents = {n: draw(num_tangents, *leaf.shape, seed=2) for n, leaf in start.items()}
    with FlopCounterMode(display=False) as counter:
        value_and_directional_derivatives(objective, start, tangents)
    # images have no tangent, so the first layer has one product a tangent, the others two
    first, others = 16 * 5, 5 * 5 + 5 * 3
    products = first + others + num_tangents * (first + 2 * others)
    assert counter.get_total_flops() == 2 * 7 * products

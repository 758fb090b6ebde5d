"""Derivatives of stacked objectives against autograd and derivations by hand."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from references import beale_gradient, directional_derivatives, draw, gradient, rosenbrock_gradient
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from repro.autodiff import (
    Params,
    affine,
    batch_norm,
    convolution,
    leaves,
    like,
    product,
    products,
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


@pytest.mark.parametrize("num_tangents", [1, 2])
def test_a_first_sweep_of_a_process_warns_of_nothing(num_tangents: int) -> None:
    program = f"""
import warnings, torch
from repro import estimators
warnings.simplefilter("error")  # PyTorch's import has its own
estimator = estimators.ForwardGradient(num_tangents={num_tangents})
estimator(lambda x: x.square().sum(), torch.ones(3), torch.Generator().manual_seed(0))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


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
def test_a_value_without_derivatives_is_not_one_of_slope_zero(num_tangents: int) -> None:
    # nobody could tell it from an objective that lost its derivatives on the way
    with pytest.raises(ValueError, match=r"^The objective must depend on its parameters in a way"):
        value_and_directional_derivatives(
            lambda _: torch.full((2,), 7.0), torch.ones(2, 4), torch.ones(num_tangents, 2, 4)
        )


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


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts products that oneDNN makes."""

    num = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.num += func is torch.ops.mkldnn._linear_pointwise.default
        return func(*args, **(kwargs or {}))


def large(*shape: int, seed: int) -> Tensor:
    return draw(*shape, seed=seed).float()


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("layout", ["rows", "columns", "cut"])
@torch.no_grad()
def test_large_products_are_those_of_float64(replicas: int, layout: str) -> None:
    left = large(replicas, 64, 128, seed=0)
    right = {
        "rows": lambda: large(replicas, 128, 96, seed=1),
        "columns": lambda: large(replicas, 96, 128, seed=1).mT,
        "cut": lambda: large(replicas, 128, 200, seed=1)[:, :, 60:156],
    }[layout]()
    offset = large(replicas, 1, 96, seed=2)
    with Products() as made:  # type: ignore[no-untyped-call]
        found = product(left, right, offset), product(left, right)
    assert made.num == (2 * replicas if products.ONEDNN else 0)
    exact = left.double() @ right.double()
    # a sum of 128 products of standard normals, each rounded
    torch.testing.assert_close(found[0].double(), exact + offset, rtol=0.0, atol=1e-4)
    torch.testing.assert_close(found[1].double(), exact, rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("replicas", [1, 2])
@torch.no_grad()
def test_offsets_may_lie_as_they_like(replicas: int) -> None:
    left, right = large(replicas, 64, 128, seed=0), large(replicas, 128, 96, seed=1)
    offsets = (
        torch.ones(1, 1, 1).expand(replicas, 1, 96),
        large(replicas, 1, 192, seed=2)[:, :, ::2],
        large(1, 96, replicas, seed=3).permute(2, 0, 1),
        large(1, 1, 96, seed=4),  # one for all
    )
    for offset in offsets:
        exact = left.double() @ right.double() + offset
        torch.testing.assert_close(
            product(left, right, offset).double(), exact, rtol=0.0, atol=1e-4
        )


@pytest.mark.parametrize(
    ("dtype", "width"), [(torch.float64, 128), (torch.float32, 8)], ids=["float64", "small"]
)
def test_other_products_are_pytorch_s_own(dtype: torch.dtype, width: int) -> None:
    left, right = draw(2, 64, width, seed=0).to(dtype), draw(2, width, 96, seed=1).to(dtype)
    with Products() as made:  # type: ignore[no-untyped-call]
        assert torch.equal(product(left, right), torch.bmm(left, right))
    assert made.num == 0


@torch.no_grad()
def test_without_onednn_products_are_pytorch_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = large(1, 64, 128, seed=0), large(1, 128, 96, seed=1)
    torch._C._set_mkldnn_enabled(False)  # the public way warns of TF32
    try:
        assert torch.equal(product(left, right), torch.bmm(left, right))
    finally:
        torch._C._set_mkldnn_enabled(True)
    monkeypatch.setattr(products, "ONEDNN", False)
    assert torch.equal(product(left, right), torch.bmm(left, right))


@torch.no_grad()
def test_products_that_cannot_be_say_so_as_pytorch_does() -> None:
    with pytest.raises(RuntimeError, match="size"):
        product(large(1, 64, 128, seed=0), large(1, 129, 96, seed=1))
    assert product(large(0, 64, 128, seed=0), large(0, 128, 96, seed=1)).shape == (0, 64, 96)


def test_a_large_layer_has_second_derivatives_for_whoever_takes_them() -> None:
    values = [large(1, 64, 128, seed=0), large(1, 128, 96, seed=1), large(1, 1, 96, seed=2)]
    tangents = [large(*value.shape, seed=7) for value in values]

    def curvature(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        def loss(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
            return affine(x, w, b).square().sum()

        gradients = torch.func.grad(loss, argnums=(0, 1, 2))
        moved = [t.to(inputs.dtype) for t in tangents]
        _, forward = torch.func.jvp(loss, (inputs, weight, bias), tuple(moved))  # type: ignore[misc]
        found: Tensor = forward + sum(g.square().sum() for g in gradients(inputs, weight, bias))
        return found

    found = torch.func.grad(curvature, argnums=(0, 1, 2))(*values)
    exact = torch.func.grad(curvature, argnums=(0, 1, 2))(*(value.double() for value in values))
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(
            one.double(), other, rtol=1e-3, atol=1e-3 * float(other.abs().max())
        )


def test_a_large_layer_has_the_gradients_of_a_small_one_and_computes_those_asked_for() -> None:
    values = [large(2, 64, 128, seed=0), large(2, 128, 96, seed=1), large(2, 1, 96, seed=2)]
    slope = large(2, 64, 96, seed=3)
    exact = [value.double().requires_grad_() for value in values]
    expected = torch.autograd.grad(
        torch.baddbmm(exact[2], exact[0], exact[1]), exact, slope.double()
    )
    moving = [value.requires_grad_() for value in values]
    with products.first_derivatives():
        outputs = affine(*moving)
    for wanted, num in (((0,), 2), ((1, 2), 2), ((0, 1, 2), 4)):
        with Products() as made:  # type: ignore[no-untyped-call]
            found = torch.autograd.grad(
                outputs, [moving[i] for i in wanted], slope, retain_graph=True
            )
        assert made.num == (num if products.ONEDNN else 0)
        for i, gradient_ in zip(wanted, found, strict=True):
            torch.testing.assert_close(gradient_.double(), expected[i], rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("num_tangents", [1, 3])
@pytest.mark.parametrize("moving", [(True, True), (True, False), (False, True)])
def test_a_large_layer_derives_forward_as_a_small_one(
    num_tangents: int, moving: tuple[bool, bool]
) -> None:
    starts = {"inputs": large(2, 64, 128, seed=0), "weight": large(2, 128, 96, seed=1)}
    moved = dict(itertools.compress(starts.items(), moving))
    bias = large(2, 1, 96, seed=2)

    def objective(params: Params) -> Tensor:
        assert isinstance(params, dict)
        own = {n: leaf.to(next(iter(params.values())).dtype) for n, leaf in starts.items()} | params
        shift = params["bias"] if "bias" in params else bias.to(own["inputs"].dtype)
        return affine(own["inputs"], own["weight"], shift).square().mean((1, 2))

    start = {**moved, **({"bias": bias} if moving[1] else {})}
    tangents = {n: large(num_tangents, *leaf.shape, seed=5) for n, leaf in start.items()}
    with Products() as made:  # type: ignore[no-untyped-call]
        value, slopes = value_and_directional_derivatives(objective, start, tangents)
    # two replicas: of the layer itself, and of what moves in it
    assert made.num >= (4 if products.ONEDNN else 0)
    in_chunks = value_and_directional_derivatives(objective, start, tangents, chunk_size=1)
    torch.testing.assert_close(in_chunks[1], slopes, rtol=1e-4, atol=1e-4)
    with Products() as made:  # type: ignore[no-untyped-call]
        exact, expected = value_and_directional_derivatives(
            objective,
            {n: leaf.double() for n, leaf in start.items()},
            {n: leaf.double() for n, leaf in tangents.items()},
        )
    assert made.num == 0
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(slopes.double(), expected, rtol=1e-3, atol=1e-3)


MOVING = list(itertools.product([False, True], repeat=3))
"""Which of three arguments have a tangent."""


def derives_as(
    plain: Callable[..., Tensor],
    ours: Callable[..., Tensor],
    values: Sequence[Tensor],
    moving: Sequence[bool],
) -> None:
    """Assert that a layer of ours and PyTorch's have one value and one derivative, along some of their arguments."""
    tangents = [
        draw(*v.shape, seed=9 + i) if moves else torch.zeros_like(v)
        for i, (v, moves) in enumerate(zip(values, moving, strict=True))
    ]
    expected, expected_slope = torch.func.jvp(plain, tuple(values), tuple(tangents))  # type: ignore[misc]
    with forward_ad.dual_level():
        duals = [
            forward_ad.make_dual(value, tangent) if moves else value  # type: ignore[no-untyped-call]
            for value, tangent, moves in zip(values, tangents, moving, strict=True)
        ]
        primal, slope = forward_ad.unpack_dual(ours(*duals))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(primal, expected)
    assert (slope is None) == (not any(moving))
    torch.testing.assert_close(expected_slope if slope is None else slope, expected_slope)


@pytest.mark.parametrize("moving", MOVING)
def test_convolution_derives_along_any_of_its_arguments(moving: tuple[bool, bool, bool]) -> None:
    def plain(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return nn.functional.conv2d(images, weight, bias, padding=1)

    def ours(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return convolution(images, weight, bias, padding=1)

    values = [draw(2, 3, 5, 6, seed=0), draw(4, 3, 3, 3, seed=1), draw(4, seed=2)]
    derives_as(plain, ours, values, moving)


@pytest.mark.parametrize("moving", MOVING)
def test_batch_norm_derives_along_any_of_its_arguments(moving: tuple[bool, bool, bool]) -> None:
    def plain(maps: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return nn.functional.batch_norm(maps, None, None, scale, shift, training=True)

    values = [draw(4, 3, 2, 2, seed=0), draw(3, seed=1), draw(3, seed=2)]
    derives_as(plain, lambda *three: batch_norm(*three)[0], values, moving)


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

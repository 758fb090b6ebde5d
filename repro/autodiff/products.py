"""Layers whose derivatives are written out: no product with zeros is made, and products go where they are fastest.

PyTorch's own rules multiply weights by a tangent of zeros where the inputs have none, in the first layer of every
network, and inputs by one where the weights have none, in every layer when activities are perturbed.

On a CPU its products of float32 matrices come from MKL, which uses half the width of processors that are not
Intel's; its convolutions come from oneDNN, which uses all of it. Products large enough to gain go there too, in every
method alike and in both modes.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable

ONEDNN = bool(torch.backends.mkldnn.is_available()) and hasattr(  # type: ignore[no-untyped-call]
    torch.ops.mkldnn, "_linear_pointwise"
)
"""Whether this PyTorch has oneDNN and the operator of its linear layers, which is private and may go away."""

LARGE = 2**19
"""Multiplications of a product above which oneDNN takes less time than MKL, its call of 20 microseconds included."""


_FIRST = contextvars.ContextVar("first derivatives alone", default=False)


@contextlib.contextmanager
def first_derivatives() -> Iterator[None]:
    """Promise that what is recorded here is differentiated once, in reverse mode, which large layers then make use of."""
    token = _FIRST.set(True)
    try:
        yield
    finally:
        _FIRST.reset(token)


def product(left: Tensor, right: Tensor, offset: Tensor | None = None) -> Tensor:
    """Multiply stacked matrices, where gradients are recorded as PyTorch does.

    Args:
        left: Shape `(R, n, i)`.
        right: Shape `(R, i, o)`.
        offset: Added to every row, `(R, 1, o)`.

    Returns:
        `left @ right + offset`, shape `(R, n, o)`.
    """
    return _multiply(left, right, offset, recorded=torch.is_grad_enabled())


def _multiply(
    left: Tensor, right: Tensor, offset: Tensor | None, *, recorded: bool = False
) -> Tensor:
    if not recorded and _is_large(left, right):
        found: Tensor = _Product.apply(left, right, offset)  # type: ignore[no-untyped-call]
        return found
    return torch.bmm(left, right) if offset is None else torch.baddbmm(offset, left, right)


def _is_large(left: Tensor, right: Tensor) -> bool:
    return (
        ONEDNN
        and left.shape[1] * left.shape[2] * right.shape[2] >= LARGE
        and left.shape[0] > 0
        and left.shape[2] == right.shape[1]
        and left.dtype == right.dtype == torch.float32
        and left.device.type == right.device.type == "cpu"
        and bool(torch.backends.mkldnn.enabled)  # type: ignore[truthy-bool, unused-ignore]
        and not torch.is_autocast_enabled("cpu")
    )


class _Product(torch.autograd.Function):
    """The product, from oneDNN, as a function of its left factor: a node that knew both would differentiate both."""

    @staticmethod
    def forward(left: Tensor, right: Tensor, offset: Tensor | None) -> Tensor:
        multiply = torch.ops.mkldnn._linear_pointwise
        offsets: list[Tensor | None] = [None] * len(left)
        if offset is not None:  # of which oneDNN takes no other layout
            whole = offset.expand(len(left), 1, right.shape[2])
            offsets = [one.contiguous() for one in whole.squeeze(1).unbind()]
        found = [
            multiply(_dense(a), _dense(b.mT), c, "none", [], "")
            for a, b, c in zip(left.unbind(), right.unbind(), offsets, strict=True)
        ]
        return torch.stack(found) if len(found) > 1 else found[0][None]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, object], output: Tensor) -> None:
        del output
        ctx.save_for_backward(inputs[1])

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        (right,) = ctx.saved_tensors
        return product(slope, right.mT), None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        left: Tensor,
        right: Tensor,
        offset: Tensor | None,
    ) -> tuple[Tensor, int]:
        num = info.batch_size
        of_left, of_right, of_offset = in_dims
        if of_left is not None and of_right is None and of_offset is None:
            # tangents of one product's inputs are further rows of its left factor
            rows = left.movedim(of_left, 1).flatten(1, 2)
            found = _multiply(rows, right, offset)
            return found.view(len(found), num, -1, found.shape[2]), 1

        def stacked(factor: Tensor, dim: int | None) -> Tensor:
            each = factor.expand(num, *factor.shape) if dim is None else factor.movedim(dim, 0)
            return each.flatten(0, 1)

        offsets = None if offset is None else stacked(offset, of_offset)
        found = _multiply(stacked(left, of_left), stacked(right, of_right), offsets)
        return found.view(num, -1, *found.shape[1:]), 0


def _dense(matrix: Tensor) -> Tensor:
    # rows cut out of longer ones are multiplied ten times slower
    dense = matrix.is_contiguous() or matrix.mT.is_contiguous()
    return matrix if dense else matrix.contiguous()


class _OfWeights(torch.autograd.Function):
    """Nothing, with the derivatives of `inputs @ weight + bias` with respect to weight and bias."""

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return bias.new_zeros(()).expand(*inputs.shape[:2], weight.shape[2])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        del output
        ctx.save_for_backward(inputs[0])
        ctx.bias_shape = inputs[2].shape

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, slope: Tensor) -> tuple[None, Tensor, Tensor]:
        (inputs,) = ctx.saved_tensors
        return (
            None,
            product(inputs.mT, slope),
            slope.sum(1, keepdim=True).sum_to_size(ctx.bias_shape),
        )


def affine(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return `inputs @ weight + bias` for stacked replicas.

    Args:
        inputs: Shape `(R, n, i)`.
        weight: Shape `(R, i, o)`.
        bias: Shape `(R, 1, o)`.

    Returns:
        Shape `(R, n, o)`.
    """
    (x, dx), (w, dw), (b, db) = map(_unpack, (inputs, weight, bias))
    if dw is not None and db is not None:
        slope = product(x, dw, db)
        if dx is not None:
            slope = slope + product(dx, w)
    elif dx is not None and dw is None and db is None:
        slope = product(dx, w)
    elif dx is None and dw is None and db is None and not torch.is_grad_enabled():
        return product(inputs, weight, bias)
    elif dx is None and dw is None and db is None and _FIRST.get() and _is_large(inputs, weight):
        outputs: Tensor = _Product.apply(inputs, weight.detach(), bias.detach())  # type: ignore[no-untyped-call]
        weights: Tensor = _OfWeights.apply(inputs.detach(), weight, bias)  # type: ignore[no-untyped-call]
        return outputs + weights
    else:
        return torch.baddbmm(bias, inputs, weight)
    return _dual(product(x, w, b), slope)


def convolution(
    images: Tensor, weight: Tensor, bias: Tensor | None, padding: int, stride: int = 1
) -> Tensor:
    """Return the convolution of images.

    Args:
        images: Shape `(n, C, H, W)`.
        weight: Shape `(O, C, k, k)`.
        bias: Shape `(O,)`; none by default.
        padding: Zeros added on every side.
        stride: Pixels from one result to the next.

    Returns:
        Shape `(n, O, H', W')`.
    """
    (x, dx), (w, dw) = _unpack(images), _unpack(weight)
    b, db = (None, None) if bias is None else _unpack(bias)
    if dw is not None and (bias is None or db is not None):
        x = _channels_last(x)
        slope = F.conv2d(x, dw, db, padding=padding, stride=stride)
        if dx is not None:
            slope = slope.add_(F.conv2d(_channels_last(dx), w, padding=padding, stride=stride))
    elif dx is not None and dw is None and db is None:
        x = _channels_last(x)
        slope = F.conv2d(_channels_last(dx), w, padding=padding, stride=stride)
    else:
        return F.conv2d(_channels_last(images), weight, bias, padding=padding, stride=stride)
    return _dual(F.conv2d(x, w, b, padding=padding, stride=stride), slope)


def batch_norm(
    maps: Tensor, scale: Tensor, shift: Tensor, epsilon: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    """Return maps normalised over their mini-batch, and what they were normalised by.

    Args:
        maps: Shape `(n, C, H, W)`.
        scale: Shape `(C,)`.
        shift: Shape `(C,)`.
        epsilon: Added to the variance.

    Returns:
        Shape `(n, C, H, W)`; mean and unbiased variance of every channel, `(C,)`, without derivatives.

    Raises:
        ValueError: If a channel has one value only.
    """
    (x, dx), (w, dw), (b, db) = map(_unpack, (maps, scale, shift))
    count = maps.numel() // maps.shape[1]
    if count < 2:
        raise ValueError(
            "Batch norm needs two values a channel or more. Found a mini-batch of one example and maps of "
            "one pixel: use larger mini-batches or images."
        )
    if dx is None and dw is None and db is None:
        mean, variance = (torch.zeros_like(b, requires_grad=False) for _ in range(2))
        outputs = F.batch_norm(
            maps, mean, variance, scale, shift, training=True, momentum=1.0, eps=epsilon
        )
        return outputs, mean, variance
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    width = (variance + epsilon).rsqrt()
    normal = (x - _wide(mean)) * _wide(width)
    slope = torch.zeros((), dtype=x.dtype, device=x.device)
    if dx is not None:
        along = _wide((normal * dx).mean((0, 2, 3)))
        slope = (dx - _wide(dx.mean((0, 2, 3))) - normal * along) * _wide(width * w)
    if dw is not None:
        slope = slope + normal * _wide(dw)
    if db is not None:
        slope = slope + _wide(db)
    # a tangent of the shift alone is the same for all values of a channel
    outputs = _dual(normal * _wide(w) + _wide(b), slope.expand_as(normal))
    return outputs, mean, variance * (count / (count - 1))


def _wide(channels: Tensor) -> Tensor:
    return channels[:, None, None]


def _channels_last(images: Tensor) -> Tensor:
    """Lay images out as CPUs convolve and pool them fastest; results keep the layout."""
    if images.device.type != "cpu":
        return images
    # not `memory_format`, which `vmap` refuses
    return images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


def _dual(primal: Tensor, tangent: Tensor) -> Tensor:
    dual: Tensor = forward_ad.make_dual(primal, tangent)  # type: ignore[no-untyped-call]
    return dual


def _unpack(tensor: Tensor) -> tuple[Tensor, Tensor | None]:
    primal, tangent = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return primal, tangent

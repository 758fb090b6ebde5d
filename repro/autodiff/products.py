"""Layers whose forward-mode derivatives are written out, so that no product with zeros is made.

PyTorch's own rules multiply weights by a tangent of zeros where the inputs have none, in the first layer of every
network, and inputs by one where the weights have none, in every layer when activities are perturbed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad


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
        slope = torch.baddbmm(db, x, dw)
        if dx is not None:
            slope = slope.add_(torch.bmm(dx, w))
    elif dx is not None and dw is None and db is None:
        slope = torch.bmm(dx, w)
    else:
        return torch.baddbmm(bias, inputs, weight)
    return _dual(torch.baddbmm(b, x, w), slope)


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
    outputs = _dual(normal * _wide(w) + _wide(b), slope)
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

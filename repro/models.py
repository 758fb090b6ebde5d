"""Networks as sequences of blocks, each a pure function of stacked parameters.

A block declares its parameters' shapes and applies them to an input with a leading replica dimension:
`(R, n, ...) -> (R, n, ...)`. A network is a tuple of blocks; its parameters are one dict, `"0.weight"`,
`"0.bias"`, ..., with leaves `(R, ...)`. Initial values follow PyTorch's layers: uniform within
`1 / sqrt(fan_in)` for weights and biases alike.

The papers' networks are in `NETWORKS`; a new one is one function there.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.autodiff import affine, convolution

Shape = tuple[int, ...]


class Block(Protocol):
    """A differentiable piece of a network."""

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""

    @property
    def fan_in(self) -> int:
        """Inputs of one output unit; sets the range of the initial values."""

    def __call__(self, params: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Map inputs `(R, n, ...)` to outputs `(R, n, ...)`."""


@dataclasses.dataclass(frozen=True)
class Linear:
    """A fully-connected layer, of flattened inputs, with an optional ReLU."""

    num_inputs: int
    num_outputs: int
    relu: bool

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        # inputs first: the product is then `inputs @ weight` without a transposed copy in any mode
        return {"weight": (self.num_inputs, self.num_outputs), "bias": (1, self.num_outputs)}

    @property
    def fan_in(self) -> int:
        """Inputs of one output unit."""
        return self.num_inputs

    def __call__(self, params: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Map inputs `(R, n, ...)` to outputs `(R, n, num_outputs)`."""
        outputs = affine(inputs.flatten(2), params["weight"], params["bias"])
        return outputs.relu() if self.relu else outputs


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A square convolution with stride one, ReLU, and optional 2 x 2 max-pooling."""

    num_inputs: int
    num_outputs: int
    kernel: int
    padding: int
    pool: bool

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        return {
            "weight": (self.num_outputs, self.num_inputs, self.kernel, self.kernel),
            "bias": (self.num_outputs,),
        }

    @property
    def fan_in(self) -> int:
        """Inputs of one output unit."""
        return self.num_inputs * self.kernel**2

    def __call__(self, params: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Map inputs `(R, n, C, H, W)` to outputs `(R, n, C', H', W')`."""
        # a loop over replicas: one grouped convolution is slower on the CPU and changes the rounding
        maps = [
            self._one(images, weight, bias)
            for images, weight, bias in zip(
                inputs.unbind(), params["weight"].unbind(), params["bias"].unbind(), strict=True
            )
        ]
        return torch.stack(maps) if len(maps) > 1 else maps[0][None]

    def _one(self, images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        maps = convolution(images, weight, bias, self.padding)
        # pooled first, the ReLU has a quarter of the work and the same result
        return (F.max_pool2d(maps, 2) if self.pool else maps).relu()


@dataclasses.dataclass(frozen=True)
class Network:
    """A sequence of blocks."""

    blocks: tuple[Block, ...]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica, by `block.name`."""
        return {
            f"{index}.{name}": shape
            for index, block in enumerate(self.blocks)
            for name, shape in block.shapes.items()
        }

    @property
    def num_parameters(self) -> int:
        """Parameters of one replica, `d`."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def start(
        self, generators: Sequence[torch.Generator], dtype: torch.dtype, device: torch.device
    ) -> dict[str, Tensor]:
        """Draw initial parameters, on the CPU so that every device starts alike.

        Args:
            generators: One a replica.
            dtype: Floating-point type.
            device: Where the parameters are put.

        Returns:
            Leaves `(R, ...)`.
        """
        ranges = {
            f"{index}.{name}": 1.0 / math.sqrt(block.fan_in)
            for index, block in enumerate(self.blocks)
            for name in block.shapes
        }
        replicas = [
            {
                name: torch.empty(shape).uniform_(-ranges[name], ranges[name], generator=generator)
                for name, shape in self.shapes.items()
            }
            for generator in generators
        ]
        # leaves are views of one buffer, laid out as one flat tangent is: only then does forward mode
        # take a tangent as it is, without copying it
        flat = torch.empty(len(replicas), self.num_parameters, device=device, dtype=dtype)
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        params = {
            name: piece.view(len(replicas), *shape)
            for (name, shape), piece in zip(
                self.shapes.items(), torch.split(flat, sizes, dim=1), strict=True
            )
        }
        for name, leaf in params.items():
            leaf.copy_(torch.stack([replica[name] for replica in replicas]))
        return params

    def __call__(self, params: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """Map inputs `(R, n, ...)` to logits `(R, n, classes)`."""
        outputs = inputs
        for index, block in enumerate(self.blocks):
            outputs = block({name: params[f"{index}.{name}"] for name in block.shapes}, outputs)
        return outputs


def logistic_regression(image: Shape, num_classes: int) -> Network:
    """One linear layer (Baydin et al. 2022, Section 5.2)."""
    return Network((Linear(math.prod(image), num_classes, relu=False),))


def mlp(image: Shape, num_classes: int, width: int = 1024, depth: int = 2) -> Network:
    """Return `depth` hidden layers of one width with ReLU, and a linear output layer.

    The multi-layer network of Baydin et al. (2022, Section 5.2) has depth 2 and width 1024; their
    scaling experiment (Section 5.3) has depths 1 to 100.

    Args:
        image: Channels, height, width.
        num_classes: Logits.
        width: Units of a hidden layer.
        depth: Hidden layers.

    Returns:
        The network.

    Raises:
        ValueError: If width or depth is below 1.
    """
    if depth < 1 or width < 1:
        raise ValueError(f"`depth` and `width` must be at least 1. Found {depth} and {width}.")
    sizes = [math.prod(image), *[width] * depth]
    hidden = [Linear(a, b, relu=True) for a, b in itertools.pairwise(sizes)]
    return Network((*hidden, Linear(width, num_classes, relu=False)))


def cnn(
    image: Shape, num_classes: int, channels: int = 64, padding: int = 0, width: int = 1024
) -> Network:
    """Return four 3 x 3 convolutions, max-pooling after the 2nd and 4th, and two linear layers.

    The convolutional network of Baydin et al. (2022, Section 5.2); the padding is not stated there.

    Args:
        image: Channels, height, width.
        num_classes: Logits.
        channels: Channels of every convolution.
        padding: Zeros added on every side before a convolution.
        width: Units of the first linear layer.

    Returns:
        The network.

    Raises:
        ValueError: If nothing is left of the images after the poolings.
    """
    inputs, *size = image
    side = [(pixels + 4 * (padding - 1)) // 2 for pixels in size]
    side = [(pixels + 4 * (padding - 1)) // 2 for pixels in side]
    if min(side) < 1:
        raise ValueError(
            f"Images of {size[0]} x {size[1]} are too small for four 3 x 3 convolutions and two poolings "
            f"with padding {padding}. Use `padding=1`."
        )
    features = channels * math.prod(side)
    return Network(
        (
            Convolution(inputs, channels, 3, padding, pool=False),
            Convolution(channels, channels, 3, padding, pool=True),
            Convolution(channels, channels, 3, padding, pool=False),
            Convolution(channels, channels, 3, padding, pool=True),
            Linear(features, width, relu=True),
            Linear(width, num_classes, relu=False),
        )
    )


def vgg(
    image: Shape, num_classes: int, channels: int = 64, width: int = 4096, pairs: int = 3
) -> Network:
    """Return pairs of 3 x 3 convolutions, channels doubling, pooled, and two linear layers.

    The CIFAR-10 network of Rike & Førland (2022, Section III): padding 1, ReLU after every convolution,
    max-pooling after every pair.

    Args:
        image: Channels, height, width.
        num_classes: Logits.
        channels: Channels of the first pair; every next one has twice as many.
        width: Units of the first linear layer.
        pairs: Pairs of convolutions, three in the paper.

    Returns:
        The network.

    Raises:
        ValueError: If there is no pair, or nothing is left of the images after the poolings.
    """
    if pairs < 1:
        raise ValueError(f"Expected one pair of convolutions or more, found {pairs}.")
    inputs, *size = image
    smallest = 2**pairs
    side = [pixels // smallest for pixels in size]
    if min(side) < 1:
        raise ValueError(
            f"Images of {size[0]} x {size[1]} are too small for {pairs} poolings. "
            f"Use {smallest} x {smallest} or more."
        )
    sizes = [inputs, *(channels * 2**pair for pair in range(pairs) for _ in range(2))]
    convolutions = [
        Convolution(a, b, 3, 1, pool=index % 2 == 1)
        for index, (a, b) in enumerate(itertools.pairwise(sizes))
    ]
    features = sizes[-1] * math.prod(side)
    return Network(
        (
            *convolutions,
            Linear(features, width, relu=True),
            Linear(width, num_classes, relu=False),
        )
    )


NETWORKS: dict[str, Callable[..., Network]] = {
    "logistic_regression": logistic_regression,
    "mlp": mlp,
    "cnn": cnn,
    "vgg": vgg,
}


def build(name: str, image: Shape, num_classes: int, **options: Any) -> Network:
    """Return the network of that name for images of a shape.

    Args:
        name: A key of `NETWORKS`.
        image: Channels, height, width.
        num_classes: Logits.
        **options: Further settings of the network.

    Returns:
        The network.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in NETWORKS:
        raise ValueError(f"Unknown network {name!r}. Choose from: {', '.join(NETWORKS)}.")
    return NETWORKS[name](image, num_classes, **options)

"""ResNet18 with its stem for ImageNet: normalised convolutions around shortcuts (He et al. 2016).

As Flügel et al. (2024, Section 4.5) train it on images of 28 and 32 pixels, of which the last maps have one. In
training the mini-batch normalises, so that an example's outputs depend on the others.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.autodiff import Noted, batch_norm, convolution
from repro.models.chains import call, grouped, joined
from repro.models.layers import Block, Linear, Network, Shape, Start, Stateless, uniform

EPSILON = 1e-5
"""Added to the variance of a channel."""


@dataclasses.dataclass(frozen=True)
class NormalisedConvolution:
    """A square convolution without bias, batch norm, and optional ReLU and 3 x 3 max-pooling with stride two.

    Attributes:
        num_inputs: Channels of the inputs.
        num_outputs: Channels of the outputs.
        kernel: Its side.
        stride: Pixels from one result to the next.
        relu: Whether a ReLU follows the normalisation.
        pool: Whether max-pooling follows that.
        by_default: Whether initial weights are those of a PyTorch layer, uniform within `1 / sqrt(fan_in)`; normal
            with variance `2 / fan_out` otherwise, as in torchvision's ResNet.
    """

    num_inputs: int
    num_outputs: int
    kernel: int
    stride: int
    relu: bool = True
    pool: bool = False
    by_default: bool = False

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        kernel = (self.num_outputs, self.num_inputs, self.kernel, self.kernel)
        return {"weight": kernel, "scale": (self.num_outputs,), "shift": (self.num_outputs,)}

    @property
    def statistics(self) -> dict[str, Shape]:
        """Shapes of the running statistics of one replica."""
        return {"mean": (self.num_outputs,), "variance": (self.num_outputs,)}

    @property
    def deep(self) -> bool:
        """No: it is one product."""
        return False

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica."""
        shape = self.shapes["weight"]
        if self.by_default:
            fan_in = self.num_inputs * self.kernel**2
            weight = uniform({"weight": shape}, fan_in, generator)["weight"]
        else:
            deviation = math.sqrt(2.0 / (self.num_outputs * self.kernel**2))
            weight = torch.empty(shape).normal_(0.0, deviation, generator=generator)
        ones = torch.ones(self.num_outputs)
        return {"weight": weight, "scale": ones, "shift": torch.zeros_like(ones)}

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map inputs `(R, n, C, H, W)` to outputs `(R, n, C', H', W')`."""
        # a loop over replicas, as of other convolutions
        results = [
            self._one({name: leaf[replica] for name, leaf in params.items()}, images)
            for replica, images in enumerate(inputs.unbind())
        ]
        if noted is not None:
            noted["mean"] = torch.stack([mean for _, mean, _ in results])
            noted["variance"] = torch.stack([variance for _, _, variance in results])
        maps = [found for found, _, _ in results]
        return torch.stack(maps) if len(maps) > 1 else maps[0][None]

    def _one(self, own: Mapping[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        maps = convolution(images, own["weight"], None, self.kernel // 2, self.stride)
        if "mean" in own:
            mean, variance = own["mean"], own["variance"]
            maps = F.batch_norm(maps, mean, variance, own["scale"], own["shift"], eps=EPSILON)
        else:
            maps, mean, variance = batch_norm(maps, own["scale"], own["shift"], EPSILON)
        maps = maps.relu() if self.relu else maps
        return F.max_pool2d(maps, 3, 2, 1) if self.pool else maps, mean, variance


@dataclasses.dataclass(frozen=True)
class Residual:
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    num_inputs: int
    num_outputs: int
    stride: int

    @property
    def parts(self) -> dict[str, NormalisedConvolution]:
        """The convolutions."""
        first = NormalisedConvolution(self.num_inputs, self.num_outputs, 3, self.stride)
        second = NormalisedConvolution(self.num_outputs, self.num_outputs, 3, 1, relu=False)
        parts = {"first": first, "second": second}
        if self.stride != 1 or self.num_inputs != self.num_outputs:
            parts["shortcut"] = dataclasses.replace(first, kernel=1, relu=False)
        return parts

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        return joined({name: part.shapes for name, part in self.parts.items()})

    @property
    def statistics(self) -> dict[str, Shape]:
        """Shapes of the running statistics of one replica."""
        return joined({name: part.statistics for name, part in self.parts.items()})

    @property
    def deep(self) -> bool:
        """Yes: one product after the other."""
        return True

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica."""
        return joined({name: part.start(generator) for name, part in self.parts.items()})

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map inputs `(R, n, C, H, W)` to outputs `(R, n, C', H', W')`."""
        parts = self.parts
        maps = call("first", parts["first"], params, inputs, noted)
        maps = call("second", parts["second"], params, maps, noted)
        if "shortcut" in parts:
            inputs = call("shortcut", parts["shortcut"], params, inputs, noted)
        return (maps + inputs).relu()


@dataclasses.dataclass(frozen=True)
class PooledLinear(Stateless):
    """The mean of every map, and a linear layer."""

    num_inputs: int
    num_outputs: int

    @property
    def linear(self) -> Linear:
        """The layer."""
        return Linear(self.num_inputs, self.num_outputs, relu=False)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        return self.linear.shapes

    @property
    def deep(self) -> bool:
        """No: it is one product."""
        return False

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica."""
        return self.linear.start(generator)

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map inputs `(R, n, C, H, W)` to outputs `(R, n, num_outputs)`."""
        return self.linear(params, inputs.mean((-2, -1)), noted)


def resnet18(
    image: Shape, num_classes: int, channels: int = 64, grouping: str = "paper"
) -> Network:
    """Return a 7 x 7 convolution, four stages of two residual blocks, channels doubling, and a linear layer.

    The ResNet18 of Flügel et al. (2024, Section 4.5), initialised as torchvision does; they make the first
    convolution anew, with PyTorch's own start, where images have not three channels.

    Args:
        image: Channels, height, width.
        num_classes: Logits.
        channels: Channels of the stem and the first stage, 64 in the paper.
        grouping: `paper` for a block a stage, six in all; `fine` for a block a shortcut, ten in all.

    Returns:
        The network.

    Raises:
        ValueError: If there is no channel, or the grouping is unknown.
    """
    if channels < 1:
        raise ValueError(f"`channels` must be at least 1. Found {channels}.")
    stem = NormalisedConvolution(image[0], channels, 7, 2, pool=True, by_default=image[0] != 3)
    groups: list[tuple[Block, ...]] = [(stem,)]
    before = channels
    for stage in range(4):
        width = channels * 2**stage
        first = Residual(before, width, stride=1 if stage == 0 else 2)
        groups.append((first, Residual(width, width, stride=1)))
        before = width
    groups.append((PooledLinear(before, num_classes),))
    return Network(grouped(grouping, tuple(groups)))

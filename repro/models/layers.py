"""Blocks, and networks as sequences of them: pure functions of stacked parameters.

A block declares its parameters' shapes and applies them to an input with a leading replica dimension:
`(R, n, ...) -> (R, n, ...)`. A network is a tuple of blocks; its parameters are one dict, `"0.weight"`,
`"0.bias"`, ..., with leaves `(R, ...)`.

Running statistics are no parameters: they lie in a dict of their own. A block that finds its own among its
parameters normalises by them, as an evaluation does; one that does not normalises by the mini-batch and notes
by what.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.autodiff import Layer, Layered, Noted, affine, convolution

Shape = tuple[int, ...]
Start = dict[str, Tensor]

MOMENTUM = 0.1
"""Share of a mini-batch's mean and variance in the running ones after its step, as in PyTorch."""


class Block(Protocol):
    """A differentiable piece of a network."""

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""

    @property
    def statistics(self) -> dict[str, Shape]:
        """Shapes of the running statistics of one replica: of names that end in `mean` and `variance`."""

    @property
    def deep(self) -> bool:
        """Whether derivatives pass through more than one matrix product on the way to its parameters."""

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica, in float32 on the CPU."""

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map inputs `(R, n, ...)` to outputs `(R, n, ...)`, and note what normalised them if asked."""


class Stateless:
    """What blocks have in common that keep nothing from step to step but their parameters."""

    @property
    def statistics(self) -> dict[str, Shape]:
        """None."""
        return {}


def uniform(shapes: Mapping[str, Shape], fan_in: int, generator: torch.Generator) -> Start:
    """Draw parameters as PyTorch's layers do: weights and biases alike within `1 / sqrt(fan_in)`."""
    bound = 1.0 / math.sqrt(fan_in)
    return {
        name: torch.empty(shape).uniform_(-bound, bound, generator=generator)
        for name, shape in shapes.items()
    }


@dataclasses.dataclass(frozen=True)
class Linear(Stateless):
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

    @property
    def deep(self) -> bool:
        """No: it is one product."""
        return False

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica."""
        return uniform(self.shapes, self.fan_in, generator)

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map inputs `(R, n, ...)` to outputs `(R, n, num_outputs)`."""
        del noted
        outputs = affine(inputs.flatten(2), params["weight"], params["bias"])
        return outputs.relu() if self.relu else outputs


@dataclasses.dataclass(frozen=True)
class Convolution(Stateless):
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

    @property
    def deep(self) -> bool:
        """No: it is one product."""
        return False

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica."""
        return uniform(self.shapes, self.fan_in, generator)

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map inputs `(R, n, C, H, W)` to outputs `(R, n, C', H', W')`."""
        del noted
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

    @property
    def couples_examples(self) -> bool:
        """Whether outputs of an example depend on the other examples of a mini-batch in training."""
        return any(block.statistics for block in self.blocks)

    def statistics(
        self, num_replicas: int, dtype: torch.dtype, device: torch.device
    ) -> dict[str, Tensor]:
        """Return running statistics before any step: means of zero and variances of one.

        Args:
            num_replicas: `R`.
            dtype: Floating-point type.
            device: Where they are put.

        Returns:
            Leaves `(R, ...)` by `block.name`; none for a network that normalises nothing.
        """
        return {
            f"{index}.{name}": torch.full(
                (num_replicas, *shape), float(name.endswith("variance")), dtype=dtype, device=device
            )
            for index, block in enumerate(self.blocks)
            for name, shape in block.statistics.items()
        }

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
        replicas = [
            {
                f"{index}.{name}": leaf
                for index, block in enumerate(self.blocks)
                for name, leaf in block.start(generator).items()
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

    def __call__(self, params: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Map inputs `(R, n, ...)` to logits `(R, n, classes)`.

        Args:
            params: Leaves `(R, ...)`; with the running statistics among them these normalise, without them
                the mini-batch does.
            inputs: Images.

        Returns:
            The logits.
        """
        outputs = inputs
        for index, block in enumerate(self.blocks):
            outputs = block(_own(index, block, params), outputs)
        return outputs

    @functools.cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The blocks as layers of an objective."""
        return tuple(_layer(index, block) for index, block in enumerate(self.blocks))

    def objective(self, images: Tensor, losses: Callable[[Tensor], Tensor]) -> Layered:
        """Return the mean loss of a mini-batch as a function of the parameters, block by block.

        Args:
            images: Shape `(R, n, C, H, W)`.
            losses: Maps logits `(R, n, classes)` to the losses of the examples, `(R, n)`.

        Returns:
            The objective.

        Raises:
            ValueError: If the network has no blocks.
        """
        return Layered(self.layers, images, losses, coupled=self.couples_examples)


def _layer(index: int, block: Block) -> Layer:
    def function(params: dict[str, Tensor], inputs: Tensor, noted: Noted) -> Tensor:
        mine: Noted = {}
        outputs = block(_own(index, block, params), inputs, mine)
        noted |= {f"{index}.{name}": leaf for name, leaf in mine.items()}
        return outputs

    parameters = tuple(f"{index}.{name}" for name in block.shapes)
    return Layer(f"Block {index} ({type(block).__name__})", function, parameters, block.deep)


def _own(index: int, block: Block, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = {name: params[f"{index}.{name}"] for name in block.shapes}
    given = (name for name in block.statistics if f"{index}.{name}" in params)
    return own | {name: params[f"{index}.{name}"] for name in given}

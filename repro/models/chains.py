"""Blocks made of blocks: their parameters and statistics are named `part.name`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from repro.autodiff import Noted
from repro.models.layers import Block, Shape, Start

T = TypeVar("T")


def joined(found: Mapping[str, Mapping[str, T]]) -> dict[str, T]:
    """Return what parts have, by `part.name`."""
    return {f"{part}.{name}": value for part, own in found.items() for name, value in own.items()}


def call(
    name: str, part: Block, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None
) -> Tensor:
    """Call a part with the parameters and running statistics that are its own."""
    start = f"{name}."
    own = {
        full.removeprefix(start): leaf for full, leaf in params.items() if full.startswith(start)
    }
    if noted is None or not part.statistics:
        return part(own, inputs)
    mine: Noted = {}
    outputs = part(own, inputs, mine)
    noted |= {f"{start}{key}": leaf for key, leaf in mine.items()}
    return outputs


@dataclasses.dataclass(frozen=True)
class Chain:
    """Blocks one after the other, as one block."""

    blocks: tuple[Block, ...]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        return joined({str(index): block.shapes for index, block in enumerate(self.blocks)})

    @property
    def statistics(self) -> dict[str, Shape]:
        """Shapes of the running statistics of one replica."""
        return joined({str(index): block.statistics for index, block in enumerate(self.blocks)})

    @property
    def deep(self) -> bool:
        """Whether derivatives pass through more than one product."""
        learning = [block for block in self.blocks if block.shapes]
        return len(learning) > 1 or any(block.deep for block in learning)

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica."""
        return joined({str(i): block.start(generator) for i, block in enumerate(self.blocks)})

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map inputs `(R, n, ...)` to outputs `(R, n, ...)`."""
        outputs = inputs
        for index, block in enumerate(self.blocks):
            outputs = call(str(index), block, params, outputs, noted)
        return outputs


def grouped(name: str, coarse: tuple[tuple[Block, ...], ...]) -> tuple[Block, ...]:
    """Return the blocks of a network from its finest ones.

    Args:
        name: `paper` for one block a group; `fine` for the finest blocks themselves.
        coarse: Finest blocks, in the paper's groups.

    Returns:
        The blocks.

    Raises:
        ValueError: If the name is neither.
    """
    if name == "fine":
        return tuple(block for group in coarse for block in group)
    if name != "paper":
        raise ValueError(f"`grouping` must be one of: paper, fine. Found {name!r}.")
    return tuple(group[0] if len(group) == 1 else Chain(group) for group in coarse)

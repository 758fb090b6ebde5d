"""Derivatives with respect to activities, the outputs of an objective's blocks (Flügel et al. 2024, Section 4.4).

Tangents live on the concatenated outputs of all blocks of one example, `N` numbers, and are shared by the
examples of a mini-batch. Each example has its own directional derivatives: those of the sum of the losses when
its activities alone move along a tangent, which without batch norm is how its own loss moves. An estimate of
the activities' gradients becomes one of the weights' by a backward pass within each block; no gradient
crosses from block to block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor
from torch.func import jvp, vmap

from repro.autodiff.objectives import Layered, Noted, Params, apply, leaves, like
from repro.autodiff.products import first_derivatives
from repro.autodiff.refusals import DRAWS, IN_BLOCKS, in_words
from repro.autodiff.sweeps import load_rules


class BlockwisePass:
    """One forward pass in which every block has a graph of its own, for derivatives within and across blocks."""

    def __init__(self, objective: Layered, params: Params) -> None:
        """Take the pass, the only one that notes.

        Args:
            objective: The objective.
            params: Leaves `(R, ...)`.

        Raises:
            TypeError: If the parameters have no names.
            ValueError: If one belongs to no block.
        """
        objective.require_owners(params)
        self._objective, self._params = objective, params
        self._points = like(params, [leaf.detach().requires_grad_() for leaf in leaves(params)])
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        objective.noted = {}
        activity = objective.inputs.detach()
        with torch.enable_grad(), first_derivatives(), in_words():
            for layer in objective.layers:
                self._inputs.append(activity)
                outputs = apply(layer, self._points, activity, objective.noted)
                self._outputs.append(outputs)
                activity = outputs.detach().requires_grad_()
            losses = objective.losses_of(activity)
            (self._last,) = torch.autograd.grad(losses.sum(), activity)
        self.value = losses.detach().mean(1)
        """The mean losses `(R,)`."""
        self.shapes = tuple(outputs.shape[2:] for outputs in self._outputs)
        """Shapes of the blocks' outputs, of one example."""

    @property
    def num_activities(self) -> int:
        """Activities of one example, `N`."""
        return sum(map(math.prod, self.shapes))

    @in_words()
    def gradients(self) -> Tensor:
        """Return the gradients of the sum of the losses by reverse mode, `(R, n, N)`.

        No gradient of a weight is computed on the way.

        Raises:
            ValueError: If a block detaches what it is given.
        """
        found = [self._last]
        for inputs, outputs in zip(self._inputs[:0:-1], self._outputs[:0:-1], strict=True):
            found += torch.autograd.grad(outputs, inputs, found[-1], retain_graph=True)
        return torch.cat([gradient.flatten(2) for gradient in reversed(found)], dim=2)

    def local_backward(self, estimates: Tensor) -> Params:
        """Return weight gradients by backpropagation inside each block, from its output's gradients alone.

        Args:
            estimates: Gradients of the sum of the losses with respect to the activities, `(R, n, N)`.

        Returns:
            Gradients of the mean loss in the structure of the parameters. The pass is used up.
        """
        assert isinstance(self._points, dict)
        found: dict[str, Tensor] = {}
        scaled = estimates / estimates.shape[1]
        for layer, outputs, piece in zip(
            self._objective.layers, self._outputs, split(scaled, self.shapes), strict=True
        ):
            own = [self._points[name] for name in layer.parameters]
            if own and outputs.requires_grad:
                gradients = torch.autograd.grad(outputs, own, piece, materialize_grads=True)
                found |= dict(zip(layer.parameters, gradients, strict=True))
        return {
            name: found[name] if name in found else torch.zeros_like(leaf)
            for name, leaf in self._points.items()
        }


def split(flat: Tensor, shapes: tuple[torch.Size, ...]) -> Iterator[Tensor]:
    """Yield the blocks' parts of flat activities, views `(..., *shape)` of `(..., N)`."""
    pieces = torch.split(flat, [math.prod(shape) for shape in shapes], dim=-1)
    for piece, shape in zip(pieces, shapes, strict=True):
        yield piece.reshape(*piece.shape[:-1], *shape)


def _of_one(offset: Tensor, chosen: Tensor) -> Tensor:
    """Return offsets `(R, n, ...)` that are zero but for the chosen example, from `(R, 1, ...)`."""
    return offset * chosen.view(1, -1, *[1] * (offset.ndim - 2))


@torch.no_grad()
@in_words({DRAWS: IN_BLOCKS})
def activity_derivatives(
    objective: Layered,
    params: Params,
    tangents: Tensor,
    shapes: tuple[torch.Size, ...],
    *,
    chunk_size: int | None = None,
) -> Tensor:
    """Return the directional derivatives of every example by forward mode.

    One pass carries all tangents, or `chunk_size` of them at once. Where examples are coupled, each must be
    perturbed alone: that takes a pass an example.

    Args:
        objective: The objective.
        params: Leaves `(R, ...)`.
        tangents: Shape `(R, k, N)`, or `(1, k, N)` where the replicas share them; their type is that of the
            arithmetic.
        shapes: Shapes of the blocks' outputs, of one example.
        chunk_size: Tangents carried at once; all by default. Beside the tangents and a pass without
            derivatives, memory is that of so many times the activities inside a block.

    Returns:
        Derivatives of the sum of the losses, `(R, k, n)`.

    Raises:
        ValueError: If a block draws random numbers, or does what forward mode has no rule for.
    """
    load_rules()
    directions = tuple(piece.transpose(0, 1).unsqueeze(2) for piece in split(tangents, shapes))
    zeros = tuple(torch.zeros_like(direction[0]) for direction in directions)
    points = like(params, [leaf.to(tangents.dtype) for leaf in leaves(params)])
    inputs = objective.inputs.to(tangents.dtype)

    def along(chosen: Tensor | None, *tangent: Tensor) -> Tensor:
        def losses(*offsets: Tensor) -> Tensor:
            unused: Noted = {}
            activity = inputs
            for layer, offset in zip(objective.layers, offsets, strict=True):
                activity = apply(layer, points, activity, unused)
                activity = activity + (offset if chosen is None else _of_one(offset, chosen))
            found = objective.losses(activity)
            return found if chosen is None else found.sum(1, keepdim=True)

        return cast("tuple[Tensor, Tensor]", jvp(losses, zeros, tangent))[1]

    sweep = vmap(along, in_dims=(None, *(0 for _ in directions)), chunk_size=chunk_size)
    if not objective.coupled:
        slopes: Tensor = sweep(None, *directions)
    else:
        one_hot = torch.eye(objective.inputs.shape[1], dtype=tangents.dtype, device=tangents.device)
        slopes = torch.cat([sweep(chosen, *directions) for chosen in one_hot], dim=2)
    return slopes.transpose(0, 1)

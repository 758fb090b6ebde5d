"""The work that no step can avoid: its matrix products, its random numbers, its passes over memory.

Each function prepares one of them for given sizes and returns a program that does it once, and nothing else: no
derivative is recorded, products are made as a step makes them, and numbers go where they went before. Timed beside a step, in the
same run, they say how much of the step is that work; what the rest is made of (activations, the loss, allocating,
calling) is what an implementation can save.

The products are those of the methods as published. Backpropagation: each layer forward, the gradient of its
weights, and that of its inputs except in the first layer. A forward gradient: each layer forward, and for every
tangent the inputs times the weights' tangent, and the inputs' tangent times the weights except in the first layer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from repro import models, tangents
from repro.autodiff import Params, leaves, product
from repro.optimizers import State

Program = Callable[[], object]


@torch.no_grad()
def products(
    network: models.Network, params: Params, images: Tensor, num_tangents: int = 0
) -> Program:
    """Return the matrix products and convolutions of one step.

    Args:
        network: The network.
        params: Its parameters, leaves `(R, ...)`.
        images: A mini-batch, `(R, n, C, H, W)`.
        num_tangents: Tangents that are carried forward; 0 for backpropagation.

    Returns:
        The program.

    Raises:
        ValueError: If a block is neither linear nor a plain convolution.
    """
    assert isinstance(params, dict)
    programs: list[Program] = []
    inputs = images
    for index, block in enumerate(network.blocks):
        own = {name: params[f"{index}.{name}"] for name in block.shapes}
        first = index == 0
        if isinstance(block, models.Linear):
            programs += _of_linear(own["weight"], inputs, num_tangents, first)
        elif isinstance(block, models.Convolution):
            programs += _of_convolution(block, own["weight"], inputs, num_tangents, first)
        else:
            raise ValueError(
                "The products are listed for linear layers and convolutions only. "
                f"Found {type(block).__name__}."
            )
        inputs = block(own, inputs)
    return functools.partial(_in_turn, programs)


def _in_turn(programs: Sequence[Program]) -> None:
    with torch.no_grad():
        for program in programs:
            program()


def _of_linear(weight: Tensor, inputs: Tensor, num_tangents: int, first: bool) -> list[Program]:
    x = inputs.flatten(2)
    if not num_tangents:
        slope = product(x, weight)  # stands for the gradient of the outputs, which has its shape
        pairs = [(x, weight), (x.mT, slope), (slope, weight.mT)]
    else:
        many = x.repeat_interleave(num_tangents, 0)
        along = weight.repeat_interleave(num_tangents, 0)
        # one product for the inputs' tangents of a replica
        together = many.view(len(x), -1, x.shape[2])
        pairs = [(x, weight), (many, along), (together, weight)]
    return [functools.partial(product, *pair) for pair in (pairs[:-1] if first else pairs)]


def _of_convolution(
    block: models.Convolution, weight: Tensor, inputs: Tensor, num_tangents: int, first: bool
) -> list[Program]:
    programs: list[Program] = []
    side = [block.padding] * 2
    convolve = functools.partial(F.conv2d, padding=block.padding)
    for images, kernels in zip(inputs.unbind(), weight.unbind(), strict=True):
        programs.append(functools.partial(convolve, images, kernels))
        if not num_tangents:
            slope, wanted = convolve(images, kernels), [not first, True, False]
            sizes = (None, [1, 1], side, [1, 1], False, [0, 0], 1)
            programs.append(
                functools.partial(
                    torch.ops.aten.convolution_backward, slope, images, kernels, *sizes, wanted
                )
            )
            continue
        programs.append(functools.partial(convolve, images, kernels.repeat(num_tangents, 1, 1, 1)))
        if not first:
            programs.append(
                functools.partial(convolve, images.repeat(num_tangents, 1, 1, 1), kernels)
            )
    return programs


def random_numbers(
    params: Params,
    generators: Sequence[torch.Generator],
    num_tangents: int = 1,
    distribution: str = "normal",
) -> Program:
    """Return the drawing of one step's tangents.

    Args:
        params: Parameters, leaves `(R, ...)`.
        generators: One a replica.
        num_tangents: Tangents of a replica.
        distribution: A key of `repro.tangents.DISTRIBUTIONS`.

    Returns:
        The program.
    """
    size = sum(leaf[0].numel() for leaf in leaves(params))
    out = leaves(params)[0].new_empty(len(generators), num_tangents, size)
    fill = tangents.DISTRIBUTIONS[distribution]

    def draw() -> None:
        for replica, generator in zip(out, generators, strict=True):
            fill(replica, generator)

    return draw


def memory_passes(params: Params, state: State, num_tangents: int = 1) -> Program:
    """Return the reading and writing of parameter-sized memory that one update cannot do without.

    The parameters are read and written, the gradient is read, or the tangents that it is a sum of, and each
    tensor of the optimizer's state is read and written; nothing is read or written twice.

    Args:
        params: Parameters, leaves `(R, ...)`.
        state: State of an optimizer.
        num_tangents: Tangents that are summed; 1 also for backpropagation, whose gradient is as large.

    Returns:
        The program.
    """
    flat = torch.cat([leaf.detach().flatten() for leaf in leaves(params)])
    slopes = flat.new_zeros(num_tangents, flat.numel())
    weights = flat.new_ones(num_tangents)
    moments = [torch.zeros_like(flat) for kept in state.values() if isinstance(kept, list)]

    def update() -> None:
        if num_tangents == 1:
            flat.add_(slopes[0])
        else:
            torch.addmv(flat, slopes.mT, weights, out=flat)
        for moment in moments:
            moment.mul_(0.5)

    return update

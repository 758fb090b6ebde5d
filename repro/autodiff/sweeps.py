"""Sweeps: the gradient of a stacked objective by reverse mode, its directional derivatives by forward mode.

A formula of a few operations can be `Recorded`: its sweeps are then replayed without PyTorch's bookkeeping.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.autograd import forward_ad
from torch.func import jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from repro.autodiff.objectives import Layered, Noted, Objective, Params, leaves, like
from repro.autodiff.products import first_derivatives
from repro.autodiff.refusals import (
    DERIVES,
    NO_GRAPH,
    UNSEEN,
    in_words,
    require_value,
    unchanged,
)

CACHED = 2**17
"""Numbers a recorded sweep carries from operation to operation at once: what a core's cache holds."""


EAGER_CALLS = 20
"""Sweeps done as they are before one is recorded, which takes as long as a hundred."""


class Recorded:
    """An objective that does the same operations whatever its argument: differentiated once, then replayed.

    For a formula of a few operations PyTorch's bookkeeping of derivatives takes ten times longer than the
    arithmetic. Here the arithmetic of a sweep is written down once some shapes come again and again, and later
    calls do that and nothing else: the same operations in the same order, so the same numbers. On CUDA the
    whole training step is recorded instead (`repro.engine`).
    """

    def __init__(self, objective: Objective) -> None:
        """Take the objective.

        Args:
            objective: Maps a tensor `(R, ...)` to values `(R,)`, without looking at values to decide what to do.
        """
        self.objective = objective
        self._calls: dict[object, int] = {}
        self._programs: dict[object, Callable[..., tuple[Tensor, Tensor]]] = {}

    def __call__(self, params: Params) -> Tensor:
        """Evaluate the objective."""
        return self.objective(params)

    def replay(
        self, name: object, sweep: Callable[..., tuple[Tensor, Params]], *arguments: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what a sweep through the objective returns.

        Args:
            name: Names the sweep.
            sweep: Takes the arguments to a value and derivatives.
            *arguments: Tensors on the CPU.

        Returns:
            The value and the derivatives.
        """
        kind = (name, *((a.shape, a.stride(), a.dtype) for a in arguments))
        calls = self._calls[kind] = self._calls.get(kind, 0) + 1
        if calls <= EAGER_CALLS:
            value, derivatives = sweep(*arguments)
            return value, leaves(derivatives)[0]
        if kind not in self._programs:
            traced = make_fx(sweep)(*(argument.detach() for argument in arguments))
            self._programs[kind] = _simplified(traced).forward
        with torch.no_grad():
            return self._programs[kind](*arguments)


NATIVE: dict[object, Callable[..., Tensor]] = {
    torch.ops.aten.add.Tensor: torch.add,
    torch.ops.aten.mul.Scalar: torch.mul,
    torch.ops.aten.mul.Tensor: torch.mul,
    torch.ops.aten.neg.default: torch.neg,
    torch.ops.aten.pow.Tensor_Scalar: torch.pow,
    torch.ops.aten.rsub.Scalar: torch.rsub,
    torch.ops.aten.sub.Tensor: torch.sub,
    torch.ops.aten.sum.dim_IntList: torch.sum,
}
"""Operations as they are recorded, and the functions that reach the same kernels in half the time."""


def _simplified(program: fx.GraphModule) -> fx.GraphModule:
    """Return a recorded sweep without the operations that change nothing, the others by their fastest names."""
    aten = torch.ops.aten
    for node in program.graph.nodes:
        if node.op == "call_function":
            node.target = NATIVE.get(node.target, node.target)
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node):
            continue
        before, after = source.meta.get("tensor_meta"), node.meta.get("tensor_meta")
        same = before and after and before.shape == after.shape and before.dtype == after.dtype
        idle = (
            node.target in (aten.alias.default, aten.detach.default)
            or (node.target == torch.pow and node.args[1] == 1)
            or (node.target in (aten.expand.default, aten._to_copy.default) and same)
        )
        if idle:
            node.replace_all_uses_with(source)
    program.graph.eliminate_dead_code()
    program.recompile()
    return program


@functools.cache
def load_rules() -> None:
    """Have PyTorch load its rules of forward mode, as it does at the first dual number, without a warning of its own.

    It scripts some, of which it warns whoever takes derivatives, from 2.14 on for all to see.
    """
    nothing = torch.zeros((), device="cpu")
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore")
        forward_ad.make_dual(nothing, nothing)  # type: ignore[no-untyped-call]


def _on_cpu(params: Params) -> bool:
    return leaves(params)[0].device.type == "cpu"


def value_and_gradient(objective: Objective, params: Params) -> tuple[Tensor, Params]:
    """Evaluate a stacked objective and its gradient by reverse mode.

    Args:
        objective: Maps leaves `(R, ...)` to values `(R,)`.
        params: Where to evaluate.

    Returns:
        Values `(R,)` and the gradients in the structure of `params`.

    Raises:
        TypeError: If the objective returns no tensor.
        ValueError: If it does what derivatives do not survive, such as to overwrite or to detach its parameters.
    """
    if isinstance(objective, Recorded) and _on_cpu(params):

        def backward(point: Tensor) -> tuple[Tensor, Params]:
            return value_and_gradient(objective.objective, point)

        return objective.replay("reverse", backward, *leaves(params))
    inputs = [leaf.detach().requires_grad_() for leaf in leaves(params)]
    with torch.enable_grad(), first_derivatives(), in_words():
        value = objective(like(params, inputs))
        require_value(value)
        found: Sequence[Tensor | None] = torch.autograd.grad(value.sum(), inputs, allow_unused=True)
    if all(gradient is None for gradient in found):
        raise ValueError(UNSEEN)
    gradients = [
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(inputs, found, strict=True)
    ]
    return value.detach(), like(params, gradients)


def value_and_directional_derivatives(
    objective: Objective, params: Params, tangents: Params, *, chunk_size: int | None = None
) -> tuple[Tensor, Tensor]:
    """Evaluate a stacked objective and its directional derivatives by forward mode.

    Args:
        objective: Maps leaves `(R, ...)` to values `(R,)`.
        params: Where to evaluate.
        tangents: In the structure of `params`, leaves `(k, R, ...)`.
        chunk_size: Tangents carried through the objective at once; all by default. Memory of the
            intermediate results grows with it.

    Returns:
        Values `(R,)` and directional derivatives `(k, R)`.

    Raises:
        TypeError: If the objective returns no tensor.
        ValueError: If it does what derivatives do not survive, such as to overwrite or to detach its parameters, or
            what forward mode has no rule for.
    """
    if isinstance(objective, Recorded) and _on_cpu(params):

        def forward(point: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
            return value_and_directional_derivatives(
                objective.objective, point, directions, chunk_size=chunk_size
            )

        (start,), (ways,) = leaves(params), leaves(tangents)
        size = max(1, CACHED // ways[:, 0].numel())
        if len(start) <= size:
            return objective.replay(("forward", chunk_size), forward, start, ways)
        parts = [
            objective.replay(("forward", chunk_size), forward, *part)
            for part in zip(torch.split(start, size), torch.split(ways, size, dim=1), strict=True)
        ]
        return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts], dim=1)
    load_rules()
    with torch.no_grad(), in_words({NO_GRAPH: DERIVES}), unchanged(leaves(params)):
        if leaves(tangents)[0].shape[0] == 1:
            value, slopes = _along_one(objective, params, tangents)
        else:
            value, slopes = _along_several(objective, params, tangents, chunk_size)
    # an objective may record a graph all the same, under `torch.enable_grad`
    return value.detach(), slopes.detach()


def _along_one(objective: Objective, params: Params, tangents: Params) -> tuple[Tensor, Tensor]:
    """Take one dual sweep: about 100 microseconds less overhead than vmap around jvp."""
    with forward_ad.dual_level():
        duals = [
            forward_ad.make_dual(point, direction[0])  # type: ignore[no-untyped-call]
            for point, direction in zip(leaves(params), leaves(tangents), strict=True)
        ]
        dual = objective(like(params, duals))
        require_value(dual)
        value, slope = forward_ad.unpack_dual(dual)  # type: ignore[no-untyped-call]
        if slope is None:
            raise ValueError(UNSEEN)
        return value, slope[None]


def _along_several(
    objective: Objective, params: Params, tangents: Params, chunk_size: int | None
) -> tuple[Tensor, Tensor]:
    """Take sweeps of all tangents at once, or of so many; what a `Layered` objective notes is kept once."""
    points = tuple(leaves(params))

    def along(*tangent: Tensor) -> tuple[Tensor, Tensor, Noted]:
        def function(*arguments: Tensor) -> tuple[Tensor, Noted]:
            value = objective(like(params, arguments))
            require_value(value)
            return value, _noted(objective)

        return cast(
            "tuple[Tensor, Tensor, Noted]",
            jvp(function, points, tangent, has_aux=True, strict=True),
        )

    # in one sweep what has no tangent has no tangent dimension either, in chunks it is repeated
    whole = chunk_size is None
    once = None if whole else 0
    sweep = vmap(
        along,
        out_dims=cast("Any", (once, 0, once)),
        # an objective that draws, as with dropout, is one function for all tangents of a sweep
        randomness="same" if whole else "error",
        chunk_size=chunk_size,
    )
    value, slopes, noted = sweep(*leaves(tangents))
    if isinstance(objective, Layered):
        objective.noted = {name: leaf if whole else leaf[0] for name, leaf in noted.items()}
    return (value if whole else value[0]), slopes


def _noted(objective: Objective) -> Noted:
    return objective.noted if isinstance(objective, Layered) else {}

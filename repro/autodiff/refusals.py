"""What cannot be differentiated, in a line each: what was expected, what was found, how to mend it.

PyTorch says these things late and in words of its own, or does not say them: an objective whose derivatives
it cannot see has slopes of zero in forward mode.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from repro.autodiff.objectives import Params, leaves

UNSEEN = (
    "The objective must depend on its parameters in a way that PyTorch can follow. Found a value without derivatives: "
    "compute it from the parameters that the objective is given, as `functional_call(model, params, inputs)` does and `model(inputs)` "
    "does not; do not detach it (`.detach()`, `.data`, NumPy), nor compute it under `torch.no_grad` or "
    "`torch.inference_mode`; of a compiled objective, give the original."
)
OVERWRITTEN = (
    "The objective must leave its parameters as they are. Found that it overwrites them in place: use operations that "
    "return a new tensor."
)
NO_RULE = (
    "In forward mode a `torch.autograd.Function` of the objective needs a rule for it. Found one without: write its `jvp`, and for "
    "several tangents `setup_context` and `generate_vmap_rule = True`, or use `mode='simulated'`."
)
DERIVES = (
    "In forward mode an objective that takes derivatives itself, as of a network's inputs, must do so by `torch.func.grad`. Found "
    "another way: use that in place of `torch.autograd`, `.backward()` and `torch.func.jvp`, or `mode='simulated'`."
)
NOT_SEVERAL = (
    "PyTorch cannot take several tangents at once through an operation of the objective ({}), whatever the `chunk_size`. Use "
    "`num_tangents=1`, `mode='simulated'`, or another operation."
)
LOOKS = (
    "A function with a formula must do the same operations at every point. Found that it looks at a value, as by `if`, `.item()` or "
    "`float()`: use `torch.where`, or an operation on tensors."
)
DRAWS = "called random operation while in randomness error mode"
"""What PyTorch says of random numbers that it cannot draw once for all tangents."""
NO_GRAPH = "does not require grad and does not have a grad_fn"
"""What PyTorch says of a value that it is to pass back from, and cannot."""
IN_CHUNKS = (
    "With `chunk_size` the objective must draw no random numbers, as dropout does: every chunk would draw its own. "
    "Use `chunk_size=None`."
)
IN_BLOCKS = (
    "In forward mode the blocks whose activations are perturbed must draw no random numbers, as dropout does: the value and "
    "its derivatives would draw their own. Use `mode='simulated'`."
)
IN_WORDS = {
    "The output of f is independent of the inputs": UNSEEN,
    NO_GRAPH: UNSEEN,
    "Can't call numpy() on Tensor that requires grad": UNSEEN,
    "Cannot access data pointer of Tensor that doesn't have storage": UNSEEN,
    "leaf Variable that requires grad is being used in an in-place operation": OVERWRITTEN,
    "more than one element of the written-to tensor refers to a single memory location": (
        "Parameters, and what the objective writes to, must have memory for every element. Found a tensor without, as "
        "`.expand()` makes it: use `.clone()`."
    ),
    "that would mutate a captured Tensor": (
        "With several tangents the objective must not write to tensors of its own, as batch norm does to its running "
        "statistics. Hand it copies: `functional_call(model, (params, {name: b.clone() for name, b in "
        "model.named_buffers()}), inputs)`."
    ),
    "You must implement the jvp function for custom autograd.Function": NO_RULE,
    "must override the setup_context staticmethod": NO_RULE,
    "does not have vmap support": NO_RULE,
    "inside of a function being transformed by a functorch transform": DERIVES,
    "called inside a functorch transform": DERIVES,
    "Nested forward mode AD is not supported": DERIVES,
    "ZeroTensors are immutable": (
        "In forward mode PyTorch fails on an objective whose own derivatives (`torch.func.grad`) are zero where it writes to them. Use "
        "`mode='simulated'`, or write these derivatives out."
    ),
    "trying to get value out of a tracing tensor": LOOKS,
    DRAWS: IN_CHUNKS,
    "vmap: we do not yet support aten::": NOT_SEVERAL,
    "Batching rule not implemented for aten::": NOT_SEVERAL,
    "that does not support it": (
        "PyTorch has no forward mode for an operation of the objective ({}). Use `mode='simulated'`, or an operation that "
        "has it; of attention, inside `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`."
    ),
}
"""What PyTorch says of an objective, and what it comes to."""


@contextlib.contextmanager
def in_words(instead: Mapping[str, str] = MappingProxyType({})) -> Iterator[None]:
    """Say in words what PyTorch refuses of an objective.

    Args:
        instead: What some of it comes to here, in place of what `IN_WORDS` says.

    Yields:
        Nothing.

    Raises:
        ValueError: In place of an error of PyTorch that is listed in `IN_WORDS`.
        RuntimeError: Any other, as it is.
    """
    try:
        yield
    except RuntimeError as error:  # which one that is not implemented is, too
        text = str(error)
        for theirs, ours in {**IN_WORDS, **instead}.items():
            if theirs in text:
                named = re.search(r"forward AD with (\S+)|aten::(\w+)", text)
                operation = (named[1] or named[2]) if named else "unnamed"
                raise ValueError(ours.format(operation) if "({})" in ours else ours) from error
        raise


@contextlib.contextmanager
def unchanged(points: Sequence[Tensor]) -> Iterator[None]:
    """See to it that an objective does not write to its parameters, of which forward mode makes no copies.

    Args:
        points: The parameters.

    Yields:
        Nothing.

    Raises:
        ValueError: If it does.
    """
    counted = [point for point in points if not point.is_inference()]  # others have no version
    before = [point._version for point in counted]
    yield
    if [point._version for point in counted] != before:
        raise ValueError(OVERWRITTEN)


def require_objective(objective: object) -> None:
    """Refuse what cannot be called.

    Raises:
        TypeError: If it is no function.
    """
    if not callable(objective):
        raise TypeError(
            f"The objective is a function of the parameters, and comes before them. Found {type(objective).__name__}: give "
            "such as `lambda params: (params**2).sum()`."
        )


def require_value(value: object) -> None:
    """Refuse what an objective cannot return.

    Raises:
        TypeError: If it is no tensor of real numbers.
    """
    if not isinstance(value, Tensor):
        raise TypeError(
            f"The objective must return a tensor, the value itself. Found {type(value).__name__}: drop such as `.item()`, "
            "and what is returned beside the value."
        )
    if value.is_complex():
        raise TypeError(
            f"The objective must return real numbers. Found {value.dtype}: take such as `.abs()` or `.real` of it."
        )


def require_parameters(params: Params, *, alike: bool = False) -> None:
    """Refuse parameters that have no gradient.

    Args:
        params: The parameters.
        alike: Whether all have to be of one type and on one device, as tangents drawn at once are.

    Raises:
        TypeError: If they are no tensors of floating-point numbers.
        ValueError: If there is none, or if they are not alike.
    """
    points = leaves(params)
    for point in points:
        if not isinstance(point, Tensor):
            raise TypeError(
                "Parameters are a tensor or a dict of tensors. Found a dict with a value of type "
                f"{type(point).__name__}: nested ones go into one dict, numbers into `torch.tensor`."
            )
        if not point.dtype.is_floating_point or point.layout != torch.strided:
            kind = point.dtype if point.layout == torch.strided else point.layout
            raise TypeError(
                f"Parameters are dense tensors of floating-point numbers. Found {kind}: convert them, as by "
                "`.float()` or `.to_dense()`, or leave them out."
            )
    if not sum(point.numel() for point in points):
        raise ValueError(
            "Expected one parameter or more. Found none: is the dict, or the tensor, empty?"
        )
    if (
        alike
        and len(points) > 1
        and len(kinds := {(point.dtype, point.device) for point in points}) > 1
    ):
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise ValueError(
            f"Parameters of a forward gradient are of one type and on one device. Found {found}: convert them by `.to(...)`."
        )

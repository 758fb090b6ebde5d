"""Objectives: functions of stacked parameters, as a whole or block by block.

A *stacked objective* maps parameters whose leaves have a leading replica dimension, `(R, ...)`, to `R`
independent values. Because replica `r`'s value depends on replica `r`'s parameters alone, the gradient of
the sum of the values is the stack of the replicas' gradients, and one forward-mode sweep with stacked
tangents gives the stack of their directional derivatives.

A `Layered` objective is one whose blocks can be called one by one: what activation perturbation needs.

Parameters are a tensor or a dict of tensors; `leaves` and `like` go back and forth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from torch import Tensor

Params: TypeAlias = Tensor | Mapping[str, Tensor]
Objective: TypeAlias = Callable[[Params], Tensor]
Noted: TypeAlias = dict[str, Tensor]
"""What a pass noted on its way: statistics of the mini-batch, `(R, ...)`, by name."""


def leaves(params: Params) -> list[Tensor]:
    """Return the tensors of a parameter structure in its order.

    Raises:
        TypeError: If it is neither a tensor nor a mapping.
    """
    if isinstance(params, Tensor):
        return [params]
    if not isinstance(params, Mapping):
        raise TypeError(
            f"Parameters are a tensor or a dict of tensors. Found {type(params).__name__}: of a module give "
            "`dict(module.named_parameters())`."
        )
    return list(params.values())


def like(params: Params, tensors: Sequence[Tensor]) -> Params:
    """Return tensors arranged as a parameter structure is."""
    if isinstance(params, Tensor):
        (tensor,) = tensors
        return tensor
    return dict(zip(params, tensors, strict=True))


@dataclasses.dataclass(frozen=True)
class Layer:
    """A block of a layered objective.

    Attributes:
        name: Names it in messages.
        function: Maps parameters by name, inputs `(R, n, ...)` and a dict to note in to outputs `(R, n, ...)`.
        parameters: Names of the parameters that it uses; no other layer uses them.
        deep: Whether derivatives pass through more than one matrix product on the way to its parameters.

    Raises:
        TypeError: If the parameters are one name and not a tuple of names.
    """

    name: str
    function: Callable[[dict[str, Tensor], Tensor, Noted], Tensor]
    parameters: tuple[str, ...]
    deep: bool = False

    def __post_init__(self) -> None:
        given: object = self.parameters
        if isinstance(given, str):
            raise TypeError(
                f"The parameters of a block are a tuple of names. Found {given!r}: write ({given!r},)."
            )


class Layered:
    """The mean loss of a mini-batch as a function of the parameters, block by block.

    Attributes:
        layers: The blocks, in order.
        inputs: The mini-batch, `(R, n, ...)`.
        losses: Maps the last block's outputs to the losses of the examples, `(R, n)`.
        coupled: Whether an example's loss depends on other examples, as it does where a mini-batch is normalised.
        noted: What the blocks noted in the latest pass; without derivatives.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        inputs: Tensor,
        losses: Callable[[Tensor], Tensor],
        *,
        coupled: bool = False,
    ) -> None:
        """Take the blocks and the mini-batch.

        Args:
            layers: See the class, as all others.
            inputs: See there.
            losses: See there.
            coupled: See there.

        Raises:
            TypeError: If a block is no `Layer`.
            ValueError: If there is no block, or if two name one parameter.
        """
        if not layers:
            raise ValueError("Expected a model of one block or more. Found a model without blocks.")
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(
                    "The blocks of an objective are each a `repro.autodiff.Layer`. Found "
                    f"{type(layer).__name__}: write `Layer(name, function, parameters)`."
                )
        names = [name for layer in layers for name in layer.parameters]
        if shared := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"A parameter belongs to one block. Found {shared[0]!r} in two: make one block of them."
            )
        self.layers, self.inputs, self.losses = tuple(layers), inputs, losses
        self.coupled = coupled
        self.noted: Noted = {}

    @property
    def deep(self) -> bool:
        """Whether some block is deep."""
        return any(layer.deep for layer in self.layers)

    def __call__(self, params: Params) -> Tensor:
        """Return the mean losses `(R,)`."""
        self.noted = {}
        outputs = self.inputs
        for layer in self.layers:
            outputs = apply(layer, params, outputs, self.noted)
        return self.losses_of(outputs).mean(1)

    def losses_of(self, outputs: Tensor) -> Tensor:
        """Return the losses of the examples, `(R, n)`.

        Args:
            outputs: Those of the last block.

        Returns:
            The losses.

        Raises:
            ValueError: If they are not one number a replica and example.
        """
        found: object = self.losses(outputs)
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if not isinstance(found, Tensor) or shape != tuple(outputs.shape[:2]):
            raise ValueError(
                f"`losses` must return one number a replica and example, {tuple(outputs.shape[:2])}. Found {shape}: "
                "reduce the dimensions of an example, and no other."
            )
        return found

    def require_owners(self, params: Params) -> None:
        """Refuse parameters that are not each a block's: of others, no block would pass an estimate on.

        Args:
            params: The parameters.

        Raises:
            TypeError: If they have no names.
            ValueError: If one belongs to no block, or is missing.
        """
        given = _by_name(params)
        owned = {name for layer in self.layers for name in layer.parameters}
        if odd := sorted(owned ^ given.keys()):
            here = "the blocks do not name it" if odd[0] in given else "it is not given"
            raise ValueError(
                f"Every parameter is named in the `parameters` of one block. Found {odd[0]!r}, but {here}: make "
                "them agree."
            )


def apply(layer: Layer, params: Params, inputs: Tensor, noted: Noted) -> Tensor:
    """Call a block, and see to it that what it does can be differentiated.

    Args:
        layer: The block.
        params: Parameters by name.
        inputs: Shape `(R, n, ...)`.
        noted: Where the block notes.

    Returns:
        Shape `(R, n, ...)`.

    Raises:
        TypeError: If the parameters have no names.
        ValueError: If the block's output is no tensor of that many replicas and examples, or if it overwrites
            what derivatives need.
        RuntimeError: If the block does for another reason.
    """
    given = _by_name(params)
    before = inputs._version
    try:
        outputs: object = layer.function(given, inputs, noted)
    except RuntimeError as error:
        if "in-place" not in str(error) and "inplace" not in str(error):
            raise
        raise ValueError(_in_place(layer)) from error
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"{layer.name} must return one tensor, which can be perturbed. Found {type(outputs).__name__}."
        )
    if outputs.shape[:2] != inputs.shape[:2]:
        raise ValueError(
            f"{layer.name} must return one entry a replica and example, "
            f"({inputs.shape[0]}, {inputs.shape[1]}, ...). Found shape {tuple(outputs.shape)}."
        )
    if inputs._version != before:
        raise ValueError(_in_place(layer))
    return outputs


def _by_name(params: Params) -> dict[str, Tensor]:
    if not isinstance(params, Mapping):
        raise TypeError(
            "An objective in blocks takes parameters by name, a dict of tensors. Found "
            f"{type(params).__name__}: write {{name: tensor}}, with the names that its blocks give."
        )
    return params if isinstance(params, dict) else dict(params)


def _in_place(layer: Layer) -> str:
    return (
        f"{layer.name} overwrites its inputs in place, which derivatives still need. "
        "Use operations that return a new tensor (of modules: `inplace=False`)."
    )

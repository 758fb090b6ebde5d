"""What an estimator takes and gives, and how one that works on stacks serves a single set of parameters."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, Protocol

import torch
from torch import Tensor
from typing_extensions import TypeVar

from repro.autodiff import Layered, Objective, Params, leaves, like, require_value
from repro.tangents import normal_

Structure = TypeVar("Structure", bound=Params)
"""What the parameters are, a tensor or tensors by name: what an objective takes, and what its gradient is."""
Structure_co = TypeVar("Structure_co", bound=Params, covariant=True, default=Params)


@dataclasses.dataclass(frozen=True)
class Cost:
    """What an estimate costs, in units that do not depend on the machine.

    Attributes:
        forward_passes: Work in forward passes of the objective, by its matrix products: one for the value,
            two more for each tangent carried along (the product rule has two terms), two more for a
            backward pass. The first layer's input has no derivative, so networks pay slightly less. See
            `ForwardGradient.cost_on` for activations.
        tangents: Random directions drawn.
    """

    forward_passes: float
    tangents: int


@dataclasses.dataclass(frozen=True)
class Estimate(Generic[Structure_co]):
    """A gradient estimate.

    Attributes:
        value: Objective at the parameters, `()` or `(R,)`.
        gradient: The estimate, in the structure of the parameters.
        directional_derivatives: Shape `(k,)` or `(k, R)`, before clipping; of perturbed activations those of each
            example, `(k, n)` or `(k, R, n)`; `None` where none were taken.
        cost: What one replica's estimate costs.
    """

    value: Tensor
    gradient: Structure_co
    directional_derivatives: Tensor | None
    cost: Cost


Generators = torch.Generator | Sequence[torch.Generator]


class Estimator(Protocol):
    """What training asks of an estimator; one that is made from this has what is not abstract here.

    It costs the same whatever the objective, and no CUDA graph holds it, until it says otherwise: recorded, an estimator
    that looks at its values could not be taken at all; not recorded, it is only slower.
    """

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """Cost of one estimate."""

    def cost_on(self, objective: Objective) -> Cost:
        """Return the cost of one estimate of an objective's gradient."""
        del objective
        return self.cost

    @property
    def recordable(self) -> bool:
        """Whether an estimate is the same work every time, decided by no value, which a CUDA graph can hold."""
        return False

    @abstractmethod
    def __call__(self, objective: Objective, params: Params, generator: Generators) -> Estimate:
        """Estimate the gradient of the objective at the parameters."""


def draw_stacked(
    point: Tensor,
    shape: Sequence[int],
    generators: Sequence[torch.Generator],
    fill: Callable[[Tensor, torch.Generator], object] = normal_,
) -> Tensor:
    """Draw once from every distinct generator, so that a replica's draws do not depend on what is stacked with it.

    Replicas may share a generator, as the trials of a search do: each of them gets what it would draw alone. One draw a
    replica would give the second of them the next numbers of the first.

    Args:
        point: What the draws have type and device of.
        shape: Shape of one replica's draws.
        generators: One a replica.
        fill: Fills a tensor of that shape from a generator, in place; with standard normals by default.

    Returns:
        Draws of shape `(R, *shape)`; `(1, *shape)` where all replicas share them, which broadcasts.
    """
    sources = list(dict.fromkeys(generators))
    drawn = point.new_empty(len(sources), *shape)
    for own, source in zip(drawn, sources, strict=True):
        fill(own, source)
    if len(sources) in (1, len(generators)):
        return drawn
    # not by a list of indices, which a GPU would have to wait for
    return torch.stack([drawn[sources.index(generator)] for generator in generators])


def as_stack_of_one(
    estimate: Callable[[Objective, Params, list[torch.Generator]], Estimate],
    objective: Objective,
    params: Params,
    generator: torch.Generator,
) -> Estimate:
    """Return the estimate of a single set of parameters, made as a stack of one replica.

    Args:
        estimate: Makes the estimate of stacked parameters `(R, ...)` with a generator a replica.
        objective: Maps parameters to a scalar; a `Layered` one has a replica dimension in its mini-batch already.
        params: Where to evaluate, not stacked.
        generator: Source of the tangents.

    Returns:
        The estimate without the replica dimension.

    Raises:
        ValueError: If the objective returns more than one value.
    """
    stacked = like(params, [leaf[None] for leaf in leaves(params)])
    whole = objective if isinstance(objective, Layered) else _stack(objective, params)
    found = estimate(whole, stacked, [generator])
    slopes = found.directional_derivatives
    return Estimate(
        value=found.value[0],
        gradient=like(params, [leaf[0] for leaf in leaves(found.gradient)]),
        directional_derivatives=None if slopes is None else slopes[:, 0],
        cost=found.cost,
    )


def _stack(objective: Objective, params: Params) -> Objective:
    def stacked(replicas: Params) -> Tensor:
        value = objective(like(params, [leaf[0] for leaf in leaves(replicas)]))
        refuse_many(value)
        return value[None]

    return stacked


def refuse_many(value: Tensor) -> None:
    """Refuse what an objective returned beside a single generator, unless it is a scalar.

    Args:
        value: What the objective returned.

    Raises:
        TypeError: If it is no tensor.
        ValueError: If it is no scalar.
    """
    require_value(value)
    if value.shape != ():
        raise ValueError(
            "With one generator the objective must return a scalar. "
            f"Found shape {tuple(value.shape)}: reduce it, as by `.mean()`, or pass one generator a replica to stack."
        )


def refuse_other_than_one_each(value: Tensor, replicas: int) -> None:
    """Refuse what an objective returned beside several generators, unless it is one value a replica.

    Args:
        value: What the objective returned.
        replicas: How many there are.

    Raises:
        ValueError: If it has another shape.
    """
    if value.shape != (replicas,):
        raise ValueError(
            f"A stacked objective must return one value a replica, ({replicas},). "
            f"Found {tuple(value.shape)}: reduce all dimensions but the first."
        )


def require_generators(generator: object) -> None:
    """Refuse what draws nothing.

    Args:
        generator: What was given: a generator, or one a replica.

    Raises:
        TypeError: If it is neither.
    """
    every: Sequence[object] = generator if isinstance(generator, Sequence) else [generator]
    if strange := [type(g).__name__ for g in every if not isinstance(g, torch.Generator)]:
        raise TypeError(
            f"`generator` is a torch.Generator, or one a replica. Found {strange[0]}: give such as "
            "torch.Generator().manual_seed(0)."
        )

"""Backpropagation, as an estimator like any other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from repro import autodiff
from repro.autodiff import Layered, Objective
from repro.estimators.estimates import (
    Cost,
    Estimate,
    Estimator,
    Generators,
    Structure,
    as_stack_of_one,
    refuse_many,
    refuse_other_than_one_each,
    require_generators,
)


@dataclasses.dataclass(frozen=True)
class Backpropagation(Estimator):
    """The gradient itself, by reverse mode."""

    @property
    def cost(self) -> Cost:
        """Cost of one estimate."""
        return Cost(forward_passes=3.0, tangents=0)

    @property
    def recordable(self) -> bool:
        """Whether a CUDA graph can hold an estimate: it looks at no value."""
        return True

    def __call__(
        self,
        objective: Callable[[Structure], Tensor],
        params: Structure,
        generator: Generators | None = None,
    ) -> Estimate[Structure]:
        """Return the value and the gradient.

        Args:
            objective: Maps parameters to a scalar, or stacked parameters to `(R,)`.
            params: Where to evaluate.
            generator: Draws nothing; every estimator takes one. One alone says that the parameters are not stacked.

        Returns:
            The estimate, without directional derivatives.

        Raises:
            TypeError: If the objective is no function or returns no tensor; if the parameters are no tensors of floating-point
                numbers; if the generator is neither a `torch.Generator` nor several.
            ValueError: If there is no parameter; if the objective detaches or overwrites them; if one generator is given and
                the objective returns more than one value, or if several are and it does not return one for each.
        """
        autodiff.require_objective(objective)
        autodiff.require_parameters(params)
        if generator is not None:
            require_generators(generator)
        if isinstance(generator, torch.Generator) and isinstance(objective, Layered):
            return cast("Estimate[Structure]", as_stack_of_one(self, objective, params, generator))
        # it is called with parameters of this structure alone
        function = cast("Objective", objective)
        value, gradient = autodiff.value_and_gradient(function, params)
        if isinstance(generator, torch.Generator):
            refuse_many(value)
        elif generator:  # backpropagation draws nothing, so there may be none
            refuse_other_than_one_each(value, len(generator))
        return Estimate(value, cast("Structure", gradient), None, self.cost)

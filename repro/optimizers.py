"""Optimizers: update rules on stacked tensors, one learning rate a replica.

An optimizer is a pair of functions on values: `init(params)` gives its state, `update` changes parameters
and state in place from a gradient. It knows no objective and no estimator. Every rule follows the
arithmetic of its namesake in `torch.optim`, step for step; tests hold them in lockstep.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from repro import protocol
from repro.autodiff import Params, leaves, like

State = dict[str, Any]


class Optimizer(Protocol):
    """What training asks of an optimizer."""

    def init(self, params: Params) -> State:
        """Return the state before the first step."""

    def update(self, gradient: Params, state: State, params: Params, learning_rate: Tensor) -> None:
        """Change `params` and `state` in place; `learning_rate` has shape `(R,)`."""

    def evaluated(self, params: Params, state: State) -> Params:
        """Return the parameters at which the method is judged; mostly `params` themselves."""


def _refuse_number(learning_rate: Tensor) -> None:
    if not isinstance(learning_rate, Tensor):
        raise TypeError(
            "`learning_rate` is a tensor of shape (R,), one rate a replica. "
            f"Found {type(learning_rate).__name__}: for one replica, give such as torch.tensor([0.1])."
        )


def _rates(learning_rate: Tensor, leaf: Tensor) -> Tensor:
    # (R,) -> (R, 1, ..., 1), to multiply a leaf (R, ...)
    return learning_rate.view(-1, *[1] * (leaf.ndim - 1))


def _fused(learning_rate: Tensor, params: Params) -> bool:
    """Whether PyTorch's fused kernels serve: one pass over the memory, in its order, but one rate and no recording."""
    alone = learning_rate.shape == (1,) and learning_rate.device.type == "cpu"
    return alone and all(leaf.is_contiguous() for leaf in leaves(params))


def _in_order(gradient: Params) -> list[Tensor]:
    # the fused kernels walk through memory: a gradient in another layout than its parameter would be
    # added to the wrong entries, without a word
    return [slope.contiguous() for slope in leaves(gradient)]


@dataclasses.dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent, with optional momentum (Polyak, or Nesterov as in Sutskever et al. 2013).

    Attributes:
        momentum: Factor of the previous velocity, 0 for none.
        nesterov: Whether the step looks one momentum step ahead.
        weight_decay: Factor of the parameters added to the gradient.
    """

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.momentum < 1.0:
            raise ValueError(f"`momentum` must be in [0, 1). Found {self.momentum}.")
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("Nesterov's method needs `momentum` above 0. Found 0.0.")

    def init(self, params: Params) -> State:
        """Return no state, or the velocities, zero before the first step."""
        if not self.momentum:
            return {}
        return {"velocity": [torch.zeros_like(leaf) for leaf in leaves(params)]}

    @torch.no_grad()
    def update(self, gradient: Params, state: State, params: Params, learning_rate: Tensor) -> None:
        """Take one step.

        Args:
            gradient: In the structure of `params`.
            state: From `init`; changed in place.
            params: Leaves `(R, ...)`; changed in place.
            learning_rate: Shape `(R,)`.

        Raises:
            TypeError: If the learning rate is no tensor.
        """
        _refuse_number(learning_rate)
        if self.momentum and _fused(learning_rate, params):
            sgd(
                leaves(params),
                _in_order(gradient),
                state["velocity"],
                fused=True,
                weight_decay=self.weight_decay,
                momentum=self.momentum,
                lr=float(learning_rate),
                dampening=0.0,
                nesterov=self.nesterov,
                maximize=False,
            )
            return
        for index, (leaf, slope) in enumerate(zip(leaves(params), leaves(gradient), strict=True)):
            step = slope.add(leaf, alpha=self.weight_decay) if self.weight_decay else slope
            if self.momentum:
                velocity = state["velocity"][index].mul_(self.momentum).add_(step)
                step = step.add(velocity, alpha=self.momentum) if self.nesterov else velocity
            leaf.addcmul_(_rates(learning_rate, leaf), step, value=-1.0)

    def evaluated(self, params: Params, state: State) -> Params:
        """Return `params`: the step is taken, and the method judged, where the gradient was."""
        del state
        return params


@dataclasses.dataclass(frozen=True)
class LookAhead:
    """Nesterov's method with the rate inside the velocity (Sutskever et al. 2013, Section 2).

    `v <- mu v - eta g(theta + mu v)`, `theta <- theta + v`. `params` are the look-ahead point
    `theta + mu v`, where the gradient is taken; the method is judged at `theta`. At a constant rate the
    look-ahead points are the iterates of `Sgd(nesterov=True)`; under a decaying rate the velocity keeps
    the rates at which it was made.

    Attributes:
        momentum: `mu`, factor of the previous velocity.
    """

    momentum: float

    def __post_init__(self) -> None:
        if not 0.0 < self.momentum < 1.0:
            raise ValueError(f"`momentum` must be in (0, 1). Found {self.momentum}.")

    def init(self, params: Params) -> State:
        """Return the velocities, zero before the first step."""
        return {"velocity": [torch.zeros_like(leaf) for leaf in leaves(params)]}

    @torch.no_grad()
    def update(self, gradient: Params, state: State, params: Params, learning_rate: Tensor) -> None:
        """Take one step.

        Args:
            gradient: At the look-ahead point, in the structure of `params`.
            state: From `init`; changed in place.
            params: The look-ahead point, leaves `(R, ...)`; changed in place.
            learning_rate: Shape `(R,)`.

        Raises:
            TypeError: If the learning rate is no tensor.
        """
        _refuse_number(learning_rate)
        for index, (leaf, slope) in enumerate(zip(leaves(params), leaves(gradient), strict=True)):
            velocity = state["velocity"][index]
            leaf.sub_(velocity, alpha=self.momentum)  # back to theta
            velocity.mul_(self.momentum).addcmul_(_rates(learning_rate, leaf), slope, value=-1.0)
            leaf.add_(velocity, alpha=1.0 + self.momentum)  # a step, and ahead again

    @torch.no_grad()
    def evaluated(self, params: Params, state: State) -> Params:
        """Return `theta`, one momentum step behind the look-ahead point."""
        pairs = zip(leaves(params), state["velocity"], strict=True)
        return like(params, [leaf.sub(v, alpha=self.momentum) for leaf, v in pairs])


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015, Algorithm 1).

    Attributes:
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        epsilon: Added to the root of the second moment.
        weight_decay: Factor of the parameters added to the gradient.
        epsilon_inside: Whether `epsilon` is added under the root instead (Rike & Førland 2022, Eq. 4).
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    epsilon_inside: bool = False

    def __post_init__(self) -> None:
        for name in ("beta1", "beta2"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"`{name}` must be in [0, 1). Found {getattr(self, name)}.")

    def init(self, params: Params) -> State:
        """Return zero moments and a step count of zero."""
        return {
            # a tensor, so that a step recorded on CUDA counts on when it is replayed
            "step": torch.zeros((), device=leaves(params)[0].device, dtype=torch.float64),
            "first": [torch.zeros_like(leaf) for leaf in leaves(params)],
            "second": [torch.zeros_like(leaf) for leaf in leaves(params)],
        }

    @torch.no_grad()
    def update(self, gradient: Params, state: State, params: Params, learning_rate: Tensor) -> None:
        """Take one step.

        Args:
            gradient: In the structure of `params`.
            state: From `init`; changed in place.
            params: Leaves `(R, ...)`; changed in place.
            learning_rate: Shape `(R,)`.

        Raises:
            TypeError: If the learning rate is no tensor.
        """
        _refuse_number(learning_rate)
        points, slopes = leaves(params), leaves(gradient)
        state["step"] += 1
        if not self.epsilon_inside and _fused(learning_rate, params):
            adam(
                points,
                _in_order(gradient),
                state["first"],
                state["second"],
                max_exp_avg_sqs=[],
                state_steps=[state["step"].float() - 1.0 for _ in points],
                fused=True,
                amsgrad=False,
                beta1=self.beta1,
                beta2=self.beta2,
                lr=float(learning_rate),
                weight_decay=self.weight_decay,
                eps=self.epsilon,
                maximize=False,
            )
            return
        first_bias = 1.0 - self.beta1 ** state["step"]
        second_bias = 1.0 - self.beta2 ** state["step"]
        for index, (leaf, slope) in enumerate(zip(points, slopes, strict=True)):
            step = slope.add(leaf, alpha=self.weight_decay) if self.weight_decay else slope
            first = state["first"][index].lerp_(step, 1.0 - self.beta1)
            second = state["second"][index].mul_(self.beta2)
            second.addcmul_(step, step, value=1.0 - self.beta2)
            if self.epsilon_inside:
                scale = second.div(second_bias).add_(self.epsilon).sqrt_()
            else:
                scale = second.sqrt().div_(second_bias**0.5).add_(self.epsilon)
            rates = _rates(learning_rate, leaf) / first_bias
            # into `scale`, which is ours: a fresh tensor of this size costs as much as the division
            leaf.addcmul_(rates, torch.div(first, scale, out=scale), value=-1.0)

    def evaluated(self, params: Params, state: State) -> Params:
        """Return `params`: the step is taken, and the method judged, where the gradient was."""
        del state
        return params


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": Sgd,
    "look_ahead": LookAhead,
    "adam": Adam,
}


def build(name: str, /, **options: Any) -> Optimizer:
    """Return the optimizer of that name.

    Args:
        name: A key of `OPTIMIZERS`.
        **options: Its fields.

    Returns:
        The optimizer.

    Raises:
        ValueError: If there is no such name or setting, or one that it needs is missing.
    """
    return protocol.build("optimizer", OPTIMIZERS, name, **options)

"""What a run draws and how fast it learns: the seed of its tangents, and its learning rate by step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from repro.protocol import SCHEDULES, RunSpec, derive_seed


def tangent_generator(spec: RunSpec, device: torch.device) -> torch.Generator:
    """Return the generator of a run's tangents."""
    return torch.Generator(device).manual_seed(tangent_seed(spec))


def tangent_seed(spec: RunSpec) -> int:
    """Return the seed of a run's tangents, from (problem, method, role, repetition) if not as published."""
    if spec.method.tangent_seed == "repetition":
        return spec.repetition
    if spec.method.tangent_seed != "identity":
        raise ValueError(
            "`tangent_seed` of a method must be `identity` or `repetition`. "
            f"Found {spec.method.tangent_seed!r}."
        )
    return derive_seed("tangents", spec.problem.name, spec.method.name, spec.role, spec.repetition)


class Schedule:
    """Learning rates `(R,)` by step.

    `constant`: `eta_0`. `exponential`: `eta_0 exp(-k i)`. `hyperbolic`: `eta_0 / (1 + k i)`. `k` is the
    hyperparameter `decay`, per step.
    """

    def __init__(self, kind: str, specs: Sequence[RunSpec], device: torch.device) -> None:
        """Read rates and decays of the runs.

        Args:
            kind: A key of `SCHEDULES`.
            specs: The replicas, in stacking order.
            device: Where the rates are used.

        Raises:
            ValueError: If the kind is unknown, or a hyperparameter is missing.
        """
        if kind not in SCHEDULES:
            raise ValueError(f"Unknown schedule {kind!r}. Choose from: {', '.join(SCHEDULES)}.")
        self.kind = kind
        columns: dict[str, list[float]] = {name: [] for name in SCHEDULES[kind]}
        for spec in specs:
            given = dict(spec.hyperparameters)
            for name, column in columns.items():
                value = given.get(name)
                if not isinstance(value, (int, float)):
                    raise ValueError(
                        f"The {kind} schedule needs the hyperparameter `{name}`. Found {given}."
                    )
                column.append(float(value))
        self.dtype = getattr(torch, specs[0].task.precision)
        self.rates = torch.tensor(columns["learning_rate"], device=device, dtype=torch.float64)
        self.decays = torch.tensor(
            columns.get("decay", [0.0] * len(specs)), device=device, dtype=torch.float64
        )

    def __call__(self, step: Tensor | int) -> Tensor:
        """Return the rates of a step, counted from 0; a step in a tensor is not waited for."""
        if self.kind == "exponential":
            rates = self.rates * torch.exp(-self.decays * step)
        elif self.kind == "hyperbolic":
            rates = self.rates / (1.0 + self.decays * step)
        else:
            rates = self.rates
        return rates.to(self.dtype)

"""What is timed on functions with a formula: a learning-rate search, and the approximation experiment's grid.

Each stands beside the same work done as the formulas say it: one trial, one draw and one tangent at a time, see
`repro.plain`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from repro import engine, estimators, plain
from repro.approximation import approximate
from repro.optimizers import Optimizer
from repro.problems.closed_form import ClosedFormProblem
from repro.protocol import Approximation, ClosedForm, Method, RunSpec, settings, use

Program = Callable[[], object]

APPROACHES = (
    (0, "mean"),
    (1, "mean"),
    *((k, a) for k in (2, 4, 16) for a in ("mean", "orthogonal_projection")),
)
"""Tangents and aggregation of the eight approaches of Flügel et al. (2024); none is backpropagation."""
GRID = (
    ("orthogonal_projection", "normal"), ("mean", "normal"), ("mean", "unit"), ("sum", "normal"), ("sum", "unit"),
)  # fmt: skip
"""Aggregation and tangents of the estimates that their Fig. 3 compares."""
COUNTS = tuple(2**power for power in range(11))
"""Numbers of tangents of that figure."""


def search(
    problem: ClosedFormProblem,
    start: Tensor,
    optimizer: Optimizer,
    rates: Tensor,
    generator: torch.Generator,
    num_steps: int,
) -> Program:
    """Return some steps of every trial of every approach, the trials of an approach stacked.

    Args:
        problem: The function.
        start: Where all trials begin, `(R, d)`.
        optimizer: Their update.
        rates: One a trial, `(R,)`.
        generator: Source of the tangents, which trials share.
        num_steps: Steps of a call.

    Returns:
        The program; calls carry on where the last one ended.
    """
    steps = []
    for k, aggregation in APPROACHES:
        params = start.clone()
        estimator = (
            estimators.build("forward_gradient", num_tangents=k, aggregation=aggregation)
            if k
            else estimators.build("backpropagation")
        )
        steps.append(
            engine.Step(
                problem, estimator, optimizer, lambda step: rates, params, optimizer.init(params),
                [generator] * len(start), engine.Patience(50, rates),
            )
        )  # fmt: skip
    rows = next(problem.batches([]))

    def run() -> None:
        for step in steps:
            for number in range(num_steps):
                step(rows, number)

    return run


def plain_search(
    function: Callable[[Tensor], Tensor],
    start: Tensor,
    rates: Tensor,
    generator: torch.Generator,
    num_steps: int,
) -> Program:
    """Return the same steps one trial and one tangent at a time.

    Args:
        function: Maps `(d,)` to a scalar.
        start: As of `search`.
        rates: As of `search`.
        generator: Source of the tangents.
        num_steps: Steps of a call.

    Returns:
        The program.
    """

    def run() -> None:
        for k, aggregation in APPROACHES:
            for begin, rate in zip(start, rates.tolist(), strict=True):
                point = begin
                for _ in range(num_steps):
                    point = plain.descend(function, point, rate, k, aggregation, generator)

    return run


def grid(spec: RunSpec, largest: int, num_draws: int, device: torch.device) -> Program:
    """Return the approximation experiment with few draws, at every power of two up to the largest dimension.

    Args:
        spec: Gives the runs their identity.
        largest: The largest dimension.
        num_draws: Draws of a call.
        device: Where to draw.

    Returns:
        The program.
    """
    task = Approximation(num_draws, COUNTS)
    groups: list[Sequence[RunSpec]] = [
        [
            RunSpec(
                spec.study, spec.arm, spec.scale, spec.experiment, spec.role,
                ClosedForm(f"ones {dimension}", "coordinate_sum", (0.0,), dimension),
                Method(f"{aggregation}, {tangents}",
                       use("forward_gradient", aggregation=aggregation, tangents=tangents), use("sgd")),
                settings(), spec.repetition, task,
            )
            for aggregation, tangents in GRID
        ]
        for dimension in _powers(largest)
    ]  # fmt: skip
    return lambda: [approximate(group, device) for group in groups]


def plain_grid(largest: int, num_draws: int, generator: torch.Generator) -> Program:
    """Return the same experiment one draw at a time.

    Args:
        largest: As of `grid`.
        num_draws: As of `grid`.
        generator: Source of the tangents.

    Returns:
        The program.
    """
    return lambda: [
        list(plain.approximate(dimension, COUNTS, num_draws, generator))
        for dimension in _powers(largest)
    ]


def _powers(largest: int) -> list[int]:
    return [2**power for power in range(largest.bit_length())]

"""Start: from specifications to the first step, with everything built and nothing trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from repro import engine, estimators, optimizers, problems
from repro.engine import Patience
from repro.protocol import ClosedForm, Replica, RunSpec, Training
from repro.training.schedule import Schedule, tangent_seed


def first_step(
    specs: Sequence[RunSpec], device: torch.device, chunk_size: int | None
) -> engine.Step:
    """Return the first step of replicas.

    Args:
        specs: Runs of one group, see `repro.training.replica_group`.
        device: Where to train.
        chunk_size: Tangents carried through the network at once; `None` for what the method says.

    Returns:
        The step, of which nothing has been taken.

    Raises:
        ValueError: If the rule by which runs stand still is asked for where they would move again.
    """
    first = specs[0]
    method, precision = first.method, getattr(torch, first.task.precision)
    problem = problems.build(first.trained_problem, device, precision)
    options = method.estimator.options()
    if chunk_size is not None:
        options = {**options, "chunk_size": chunk_size}
    optimizer = optimizers.build(method.optimizer.name, **method.optimizer.options())
    params = problem.start([Replica(spec.role, spec.repetition) for spec in specs])
    schedule = Schedule(method.schedule, specs, device)
    assert isinstance(first.task, Training)
    return engine.Step(
        problem,
        estimators.build(method.estimator.name, **options),
        optimizer,
        schedule,
        params,
        optimizer.init(params),
        _generators(specs, device),
        _patience(first, schedule.rates),
        problem.statistics(len(specs)),
    )


def _patience(spec: RunSpec, rates: Tensor) -> Patience | None:
    """Return the rule by which runs stand still, `None` where they do not.

    Raises:
        ValueError: If they would move again: the next mini-batch has another loss, and velocities go on at a rate of zero.
    """
    assert isinstance(spec.task, Training)
    if not spec.task.patience:
        return None
    if not isinstance(spec.problem, ClosedForm) or spec.method.optimizer.name == "look_ahead":
        raise ValueError(
            "`patience` is for functions, whose loss stays where a run stands still, and for optimizers that move by nothing "
            f"at a rate of zero. Found {spec.problem.name} and {spec.method.optimizer.name}: `early_stopping` ends runs "
            "on data."
        )
    return Patience(spec.task.patience, rates)


def _generators(specs: Sequence[RunSpec], device: torch.device) -> list[torch.Generator]:
    """Return a generator a run; runs of one seed, such as the trials of a search, share it and its draws."""
    seeds = [tangent_seed(spec) for spec in specs]
    made = {seed: torch.Generator(device).manual_seed(seed) for seed in seeds}
    return [made[seed] for seed in seeds]

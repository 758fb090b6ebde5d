"""Training: where problem, estimator and optimizer meet, and specifications become records.

Runs that differ only in repetition or in numeric hyperparameters are *replicas*: they train together,
stacked along a leading dimension, and each draws from its own generators, so a run's numbers do not depend
on what is trained beside it (up to the rounding of stacked products).
"""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from repro import engine, estimators
from repro.autodiff import leaves
from repro.checkpoints import Checkpoint, Checkpoints
from repro.environment import describe, give_memory_back, is_out_of_memory, now, synchronize
from repro.protocol import Replica, RunSpec, Training
from repro.results import Record
from repro.training.log import Log, add_best, final_rows
from repro.training.looks import CHECK_EVERY, Looking, early_stopping, is_look, steps_until_look
from repro.training.schedule import Schedule, tangent_generator, tangent_seed
from repro.training.start import first_step

__all__ = [
    "Interrupted",
    "Progress",
    "Schedule",
    "replica_group",
    "tangent_generator",
    "tangent_seed",
    "train",
    "train_within_memory",
]

ASK_EVERY = 1.0
"""Seconds after which slow steps are interrupted to be asked whether they shall stop or leave a checkpoint."""

Progress = Callable[[int], None]


class Interrupted(Exception):
    """Raised inside training when the caller asked to stop."""


def replica_group(spec: RunSpec) -> RunSpec:
    """Return what runs must share to train together: all but repetition, hyperparameters and trial."""
    return dataclasses.replace(spec, repetition=0, hyperparameters=(), trial=None)


def train_within_memory(
    specs: Sequence[RunSpec],
    device: torch.device,
    *,
    chunk_size: int | None = None,
    on_steps: Progress = lambda steps: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
) -> list[Record]:
    """Train replicas together, or in smaller parts where the device's memory runs out, and say so.

    Args:
        specs: Runs of one `replica_group`.
        device: Where to train.
        chunk_size: Tangents carried through the network at once; `None` for all.
        on_steps: As of `train`; steps of an attempt that did not fit are told too.
        should_stop: As of `train`.
        checkpoints: As of `train`; each part has its own.

    Returns:
        Records in the order of `specs`.

    Raises:
        OSError: If one run with one tangent at a time does not fit.
        RuntimeError: If PyTorch did for another reason than memory.
        ValueError, Interrupted: As `train`.
    """
    how: dict[str, Any] = {
        "on_steps": on_steps,
        "should_stop": should_stop,
        "checkpoints": checkpoints,
    }
    try:
        return train(specs, device, chunk_size=chunk_size, **how)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # what was allocated is free once the exception is
    give_memory_back(device)
    what = f"{specs[0].experiment}: {specs[0].method.name}"
    if len(specs) > 1:
        half = (len(specs) + 1) // 2
        _say(f"{what}: {len(specs)} runs together do not fit in memory; trying {half}.")
        parts = specs[:half], specs[half:]
        return [
            r for p in parts for r in train_within_memory(p, device, chunk_size=chunk_size, **how)
        ]
    tangents = chunk_size or specs[0].method.estimator.options().get("num_tangents", 1)
    assert isinstance(tangents, int)
    if tangents == 1:
        raise OSError(
            f"{what} does not fit in the memory of {device} alone. Use another device or a smaller scale."
        )
    half = (tangents + 1) // 2
    _say(f"{what}: {tangents} tangents at once do not fit in memory; trying {half}.")
    return train_within_memory(specs, device, chunk_size=half, **how)


def _say(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def train(
    specs: Sequence[RunSpec],
    device: torch.device,
    *,
    chunk_size: int | None = None,
    on_steps: Progress = lambda steps: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
) -> list[Record]:
    """Train replicas together and return one record each.

    Args:
        specs: Runs of one `replica_group`.
        device: Where to train.
        chunk_size: Tangents carried through the network at once, which bounds memory and changes no
            number; what the method says by default.
        on_steps: Told how many steps were just done, at least every `CHECK_EVERY` steps.
        should_stop: Asked as often, and every `ASK_EVERY` seconds; training stops when it answers yes.
        checkpoints: Where these runs go on from, if they were under way before, and what they leave behind
            now and then and when they are stopped.

    Returns:
        Records in the order of `specs`.

    Raises:
        ValueError: If the runs are not replicas of each other.
        Interrupted: If `should_stop` answered yes; nothing is kept but a checkpoint.
    """
    task = _shared_task(specs)
    environment = describe(device)
    replicas = [Replica(spec.role, spec.repetition) for spec in specs]
    start = first_step(specs, device, chunk_size)
    log = Log(len(specs), task)
    look = Looking(start, replicas, log, early_stopping(task, start.problem, len(specs)))
    checkpoint = None if checkpoints is None else checkpoints.of(specs, device, chunk_size)
    batches = start.problem.batches(replicas)
    step, seconds = _take_up(checkpoint, look, batches)
    if step:
        on_steps(step)
    else:
        look(0, at_end=False)
    advance = engine.prepare(start, device)
    dtype = leaves(start.params)[0].dtype
    losses = torch.empty(CHECK_EVERY, len(specs), device=device, dtype=dtype)
    ended = step == task.num_steps or (is_look(task, step) and log.all_ended())
    while not ended:
        wanted = losses[: steps_until_look(task, step)]
        steps, took = _take_steps(advance, batches, step, wanted, should_stop, checkpoint)
        step, seconds = step + steps, seconds + took
        log.extend(losses[:steps].to("cpu", torch.float64, copy=True))
        on_steps(steps)
        # who ends, and where, is decided at looks alone: a run that was broken off has the looks of any other
        if is_look(task, step):
            log.stop(start.patience)
            ended = step == task.num_steps or log.all_ended()
            look(step, at_end=ended)
            ended = ended or log.all_ended()
        stop = should_stop()
        # a part that has ended is no record before the others have
        last = ended and checkpoint is not None and checkpoint.of_part
        _leave(checkpoint, stop or last, step, seconds, look)
        if stop:
            raise Interrupted

    log.close()
    return _records(specs, look, step, {**environment, "seconds": seconds})


def _shared_task(specs: Sequence[RunSpec]) -> Training:
    """Return the task of replicas.

    Raises:
        ValueError: If the runs are not replicas of each other.
    """
    first = specs[0]
    if not isinstance(first.task, Training) or any(
        replica_group(spec) != replica_group(first) for spec in specs
    ):
        raise ValueError(
            "Runs trained together must be training runs that differ in repetition and "
            f"hyperparameters only. Found {[spec.key[:12] for spec in specs]}."
        )
    return first.task


def _take_steps(
    advance: engine.Advance,
    batches: Iterator[Tensor],
    step: int,
    losses: Tensor,
    should_stop: Callable[[], bool],
    checkpoint: Checkpoint | None,
) -> tuple[int, float]:
    """Take a step for every row of `losses`, or fewer where they are broken off.

    Args:
        advance: Takes a step.
        batches: What each step is taken on.
        step: Steps that were done before.
        losses: Filled with the loss of every step.
        should_stop: See `train`.
        checkpoint: Where to leave what was done, if that is due.

    Returns:
        How many steps were taken, and their seconds.
    """
    taken = 0
    synchronize(losses.device)
    started, asking = time.perf_counter(), _Asking(should_stop, checkpoint)
    for offset in range(len(losses)):
        losses[offset] = advance(next(batches), step + offset)
        taken += 1
        if asking():
            break
    synchronize(losses.device)
    return taken, time.perf_counter() - started


def _records(
    specs: Sequence[RunSpec], look: Looking, step: int, told: Mapping[str, float | int | str]
) -> list[Record]:
    """Return the records of runs that have ended.

    Args:
        specs: The runs.
        look: What was trained, and what was seen of it.
        step: Steps that were done.
        told: What the records of all of them say.

    Returns:
        One a run.
    """
    start, replicas, log, early = look.start, look.replicas, look.log, look.early
    problem, role = start.problem, specs[0].role
    final = final_rows(problem, start.judged(), replicas, log, role)
    if early is not None and log.task.early_stopping:
        add_best(final, problem, start.judged(), replicas, log, early, role)
    cost = start.estimator.cost_on(problem.objective(next(problem.batches(replicas))))
    shared: dict[str, float | int | str] = {
        "num_parameters": sum(leaf[0].numel() for leaf in leaves(start.params)),
        "group_size": len(specs),
        "finished": now(),
        **told,
    }
    return [
        Record(
            spec=spec,
            status="diverged" if log.diverged_at(index) else "done",
            measured={
                **final[index],
                # a run that ended early is charged for what it did, not for what its stack did after it
                **_cost(cost, log.diverged_at(index) or log.stopped_at(index) or step),
                **shared,
            },
            curves=log.curves(index),
            steps_per_epoch=problem.steps_per_epoch,
        )
        for index, spec in enumerate(specs)
    ]


def _cost(cost: estimators.Cost, steps: int) -> dict[str, float | int]:
    return {
        "num_steps": steps,
        "forward_passes": cost.forward_passes * steps,
        "tangents": float(cost.tangents * steps),
    }


def _leave(
    checkpoint: Checkpoint | None,
    stop: bool,
    step: int,
    seconds: float,
    look: Looking,
) -> None:
    """Keep what the rest of training depends on, and what it adds to, if it is time or this is the end."""
    if checkpoint is not None and (stop or checkpoint.is_due()):
        state = {
            "seconds": seconds,
            "start": look.start.state_dict(),
            "log": look.log.state_dict(),
        }
        if look.early is not None:
            state["early"] = look.early.state_dict()
        checkpoint.save(step, state)


def _take_up(
    checkpoint: Checkpoint | None, look: Looking, batches: Iterator[Tensor]
) -> tuple[int, float]:
    """Put everything where it was at a checkpoint; return its step and seconds, 0 without one."""
    saved = None if checkpoint is None else checkpoint.load()
    if saved is None:
        return 0, 0.0
    step, kept = saved
    look.start.restore(kept["start"])
    look.log.restore(kept["log"])
    if look.early is not None:
        look.early.restore(kept["early"], leaves(look.start.params)[0])
    for _ in range(step):  # the order of the data follows from its seed alone
        next(batches)
    return step, kept["seconds"]


class _Asking:
    """Tells, once a while, whether steps shall be broken off to stop or to leave a checkpoint."""

    def __init__(self, should_stop: Callable[[], bool], checkpoint: Checkpoint | None) -> None:
        self._should_stop, self._checkpoint = should_stop, checkpoint
        self._last = time.monotonic_ns()

    def __call__(self) -> bool:
        clock = time.monotonic_ns()
        if clock - self._last < ASK_EVERY * 1e9:
            return False
        self._last = clock
        return self._should_stop() or (self._checkpoint is not None and self._checkpoint.is_due())

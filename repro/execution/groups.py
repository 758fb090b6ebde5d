"""Which runs happen together, and how a group of them is run and kept.

Groups are formed from what a study declares, never from what happens to be missing, so that a resumed run
repeats the arithmetic of an undisturbed one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from repro.protocol import (
    Approximation,
    ClosedForm,
    RunSpec,
    Sampling,
    Task,
    Timing,
    Training,
)
from repro.results import Record, Store

STACKED_REPLICAS = {"cpu": 16, "cuda": 32}
"""Largest group of networks trained together where stacking pays, by device."""
STACKED_FORMULAS = 64
"""Largest group of training runs of a closed form; a step of one is mostly overhead."""
STACKED_NETWORKS = {
    # larger networks gain nothing from stacking on a CPU, and lose the cache: one run at a time
    "cpu": ("logistic_regression",),
    # products of stacked matrices fill a GPU; convolutions run replica by replica and gain nothing
    "cuda": ("logistic_regression", "mlp"),
}
"""Networks whose runs train together, by device; closed forms always do."""

CHECKPOINT_EVERY = 120.0
"""Seconds between two checkpoints of runs under way, by default."""

Group = tuple[RunSpec, ...]


class HaltError(OSError):
    """The store takes no more files or the device is gone: no other group can be run and kept either."""


def form_groups(specs: Sequence[RunSpec], device: str = "cpu") -> list[Group]:
    """Return the groups that run together, in declared order.

    Args:
        specs: Runs as declared.
        device: `cpu` or `cuda`; where they will run.

    Returns:
        Timing runs grouped by comparison; training runs stacked where that pays; others alone.
    """
    # imports torch: only the process that runs needs it
    from repro.approximation import approximation_group
    from repro.timing import timing_group
    from repro.training import replica_group

    groups: dict[object, list[RunSpec]] = {}
    for index, spec in enumerate(specs):
        if isinstance(spec.task, Timing):
            identity: object = timing_group(spec)
        elif isinstance(spec.task, Approximation):
            identity = approximation_group(spec)
        elif _stacks(spec, device):
            identity = replica_group(spec)
        else:
            identity = index
        groups.setdefault(identity, []).append(spec)
    return [
        chunk
        for members in groups.values()
        for chunk in _chunks(members, _group_size(members[0], device))
    ]


def _chunks(members: list[RunSpec], size: int) -> list[Group]:
    return [tuple(members[begin : begin + size]) for begin in range(0, len(members), size)]


def _stacks(spec: RunSpec, device: str) -> bool:
    return isinstance(spec.problem, ClosedForm) or (
        spec.problem.network.name in STACKED_NETWORKS[device]
    )


def _group_size(spec: RunSpec, device: str) -> int:
    if isinstance(spec.task, (Timing, Approximation)):
        return 10_000
    formula = isinstance(spec.problem, ClosedForm) and isinstance(spec.task, Training)
    return STACKED_FORMULAS if formula else STACKED_REPLICAS[device]


def is_timing(group: Group) -> bool:
    """Tell whether a group wants the machine to itself."""
    return isinstance(group[0].task, Timing)


def num_steps(group: Group) -> int:
    """Return how many steps a group reports in all."""
    task = group[0].task
    if isinstance(task, (Sampling, Approximation)):
        return task.num_draws * len(group)
    return task.num_steps + (task.num_warmup if isinstance(task, Timing) else 0)


def describe(group: Group) -> str:
    """Return a group in words: study, experiment, methods, and which of their runs."""
    first = group[0]
    names = tuple(dict.fromkeys(spec.method.name for spec in group))
    methods = ", ".join(names) if len(names) < 4 else f"{len(names)} methods"
    trial = "" if first.trial is None else f"trial {first.trial.number}, "
    which = f"{len(group)} runs" if len(group) > 1 else f"{trial}repetition {first.repetition}"
    return f"{first.study} {first.experiment}: {methods} ({which})"


def run_group(
    group: Group,
    store: Store,
    device: str,
    on_steps: Callable[[int], None],
    should_stop: Callable[[], bool],
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> tuple[str, ...]:
    """Run a group and write the runs that are missing; of a timing, whose runs take turns, all of them.

    Args:
        group: Runs that belong together.
        store: Where finished runs go.
        device: `cpu` or `cuda`.
        on_steps: Told how many steps were just done.
        should_stop: Whether to give up.
        checkpoint_every: Seconds between two checkpoints of training runs, of which one is also left when
            they are given up; 0 for none.

    Returns:
        The statuses of the runs that were missing; none if it gave up.

    Raises:
        HaltError: If the device failed, or the store takes no more files.
        OSError: If the device has too little memory for a run alone.
        RecordingError: If what is timed could not be recorded.
        RuntimeError: If PyTorch did for another reason.
    """
    import torch

    from repro.approximation import approximate
    from repro.checkpoints import Checkpoints
    from repro.environment import set_up_process
    from repro.sampling import sample
    from repro.timing import measure
    from repro.training import Interrupted, train_within_memory

    checkpoints = Checkpoints(store.directory, checkpoint_every, group)
    work: dict[type[Task], Any] = {
        Training: functools.partial(train_within_memory, checkpoints=checkpoints),
        Timing: measure,
        Sampling: sample,
        Approximation: approximate,
    }
    set_up_process()
    started, processor_started = time.perf_counter(), time.process_time()
    try:
        with _halting(device):
            records = work[type(group[0].task)](
                group, torch.device(device), on_steps=on_steps, should_stop=should_stop
            )
    except Interrupted:
        return ()
    took = {"wall_seconds": checkpoints.earlier_seconds + time.perf_counter() - started}
    if device == "cpu" and not is_timing(group):
        # other work on the machine lengthens the one, and hardly the other
        processor = time.process_time() - processor_started
        took["processor_seconds"] = checkpoints.earlier_processor_seconds + processor
    shares = {name: seconds / len(group) for name, seconds in took.items()}
    fresh = [record for record in records if record.spec.key not in store]
    # turns of two sessions are no pairs: what was kept of an earlier one goes
    for record in records if is_timing(group) else fresh:
        _write(store, dataclasses.replace(record, measured={**record.measured, **shares}))
    checkpoints.remove()
    return tuple(record.status for record in fresh)


@contextlib.contextmanager
def _halting(device: str) -> Iterator[None]:
    """Raise a `HaltError` in place of the error of a device that is gone."""
    from repro.engine import RecordingError
    from repro.environment import is_out_of_memory

    try:
        yield
    except RecordingError:
        raise  # its reason may be an error of CUDA, but the device goes on
    except RuntimeError as error:
        if "CUDA error" not in str(error) or is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise HaltError(
            f"The device {device} failed ({reason}). Finished runs are kept: the same command carries on "
            "from them once the device answers again."
        ) from error


def _write(store: Store, record: Record) -> None:
    try:
        store.write(record)
    except OSError as error:
        raise HaltError(
            f"{store.directory} takes no more files ({error.strerror or error}). Finished runs are kept; "
            "make room and run the same command again."
        ) from error

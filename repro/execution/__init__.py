"""Where runs happen: a queue of experiments, worked off by this process or by a pool of workers.

A run is done when its file is in the store, so resuming is: run what is missing. A search is a loop of that:
what its finished runs call for next is run until nothing is. Training groups share the workers; a timing group
runs alone, in this process with the threads that its specifications name, because a busy neighbour would be
in its numbers. What fails is named at the end, and the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from repro.campaign import Work
from repro.execution.cluster_task import Stop
from repro.execution.groups import (
    CHECKPOINT_EVERY,
    STACKED_FORMULAS,
    STACKED_NETWORKS,
    STACKED_REPLICAS,
    Group,
    HaltError,
    describe,
    form_groups,
    is_timing,
    num_steps,
    run_group,
)
from repro.execution.holds import HeldError, hold
from repro.execution.queue import Failure, Given, Queue, Searched, Source
from repro.execution.sbatch import Slurm, SubmissionError
from repro.execution.slurm import FOLDER as SLURM_FOLDER
from repro.execution.slurm import Cluster
from repro.execution.tasks import is_finished, read_task, work_on, write_task
from repro.execution.workers import Ended, Event, Pool, run_here
from repro.protocol import RunSpec
from repro.results import Store, read_record, read_store, tabulate

if TYPE_CHECKING:
    from repro.search import Score

__all__ = [
    "CHECKPOINT_EVERY",
    "STACKED_FORMULAS",
    "STACKED_NETWORKS",
    "STACKED_REPLICAS",
    "Event",
    "Failure",
    "Group",
    "HaltError",
    "HeldError",
    "Outcome",
    "Slurm",
    "Stop",
    "SubmissionError",
    "check_device",
    "describe",
    "execute",
    "finished_scores",
    "form_groups",
    "is_finished",
    "num_steps",
    "pending_groups",
    "read_store",
    "read_task",
    "run_group",
    "steps_kept",
    "tabulate",
    "work_off",
    "work_on",
    "write_task",
]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an execution did.

    Attributes:
        done: Runs finished now.
        diverged: How many of them diverged.
        cached: Runs that were finished already.
        left: Runs not finished because of the time limit, an interruption, or what halted everything.
        seconds: Wall-clock time.
        failures: What could not be run; the rest went on.
        lost: Groups that were under way when everything had to stop.
        halted: Whether a failure stopped everything: the store takes no more, or the device is gone.
        not_begun: Expected seconds of the shortest group that was left because it could not end in time;
            `None` where there is none.
    """

    done: int
    diverged: int
    cached: int
    left: int
    seconds: float
    failures: tuple[Failure, ...] = ()
    lost: tuple[Group, ...] = ()
    halted: bool = False
    not_begun: float | None = None


def execute(
    specs: Sequence[RunSpec], store: Store, *, published: Container[str] = (), **options: Any
) -> Outcome:
    """Run what is missing of runs at given settings.

    Args:
        specs: Runs as declared; finished ones are skipped.
        store: Where finished runs go.
        published: Keys of runs that are finished elsewhere.
        **options: As of `work_off`.

    Returns:
        Counts, failures and the time taken.

    Raises:
        ValueError: If the device or the number of workers cannot be.
        OSError: If the store takes no files.
    """
    return _execute([Given("runs", specs)], store, published, **options)


def work_off(work: Iterable[Work], store: Store, *, runs: pd.DataFrame, **options: Any) -> Outcome:
    """Run what is missing of experiments in their order, and of their searches.

    Args:
        work: The experiments.
        store: Where finished runs go.
        runs: Runs table of everything finished so far, there or elsewhere.
        **options: `device`, `cpu` or `cuda`; `workers`, processes for training runs, 1 for this process;
            `time_limit`, seconds after which to stop; `expected`, the seconds of a run, so that none is
            begun that cannot end in time; `on_groups`, told of groups as they become known, numbered in this
            order by the events; `on_event`, told of progress; `on_stop`, told of the groups that are under
            way when the workers are asked to stop; `checkpoint_every`, seconds between two checkpoints of
            runs under way, 0 for none; `slurm`, how to ask a cluster for tasks instead of running here;
            `on_note`, told of what happens there, in lines.

    Returns:
        Counts, failures and the time taken.

    Raises:
        ValueError: If the device or the number of workers cannot be, trials of another search are among the
            rows, or another coordinator is at one of the searches.
        OSError: If the store takes no files.
    """
    work, known = tuple(work), frozenset(runs["key"])
    searched = [w.comparison for w in work if w.comparison is not None]
    scores = finished_scores(store, runs)
    sources = _sources(work, scores)
    if not searched:
        return _execute(sources, store, known, **options)

    from repro import search

    search.refuse_other_searches(searched, runs)
    with contextlib.ExitStack() as stack:
        for w in work:
            if w.comparison is not None and w.left:
                place = store.directory / "holds" / f"{w.study}-{w.experiment}-{w.scale}"
                stack.enter_context(hold(place, f"{w.study} {w.experiment} is searched"))
        outcome = _execute(sources, store, known, **options)
    try:
        search.write_journal(searched, scores, store.directory / "optuna.journal")
    except OSError as error:
        failure = Failure("optuna.journal", f"cannot be written ({error.strerror or error})")
        outcome = dataclasses.replace(outcome, failures=(*outcome.failures, failure))
    return outcome


def pending_groups(
    work: Iterable[Work], store: Store, *, runs: pd.DataFrame, device: str = "cpu"
) -> tuple[list[Group], tuple[Failure, ...]]:
    """Return the groups that can be run now: of a search, those of its next batch.

    Args:
        work: The experiments.
        store: Where finished runs go.
        runs: Runs table of everything finished so far, there or elsewhere.
        device: `cpu` or `cuda`; where they will run.

    Returns:
        The groups, and what cannot be run.

    Raises:
        ValueError: If trials of another search are among the rows.
    """
    work = tuple(work)
    if searched := [w.comparison for w in work if w.comparison is not None]:
        from repro import search

        search.refuse_other_searches(searched, runs)
    sources = _sources(work, finished_scores(store, runs))
    queue = Queue(sources, store, frozenset(runs["key"]), device, lambda groups: None)
    return queue.groups, tuple(queue.failures)


def _sources(work: Iterable[Work], scores: Callable[[str], Score | None]) -> list[Source]:
    return [
        Given(f"{w.study} {w.experiment}", w.specs)
        if w.comparison is None
        else Searched(f"{w.study} {w.experiment}", w.comparison, scores)
        for w in work
    ]


def _execute(
    sources: Iterable[Source],
    store: Store,
    published: Container[str],
    *,
    device: str = "cpu",
    workers: int = 1,
    time_limit: float | None = None,
    expected: Callable[[RunSpec], float | None] = lambda spec: None,
    on_groups: Callable[[list[Group]], None] = lambda groups: None,
    on_event: Callable[[Event], None] = lambda event: None,
    on_stop: Callable[[list[Group]], None] = lambda groups: None,
    on_note: Callable[[str], None] = lambda line: None,
    checkpoint_every: float = CHECKPOINT_EVERY,
    slurm: Slurm | None = None,
) -> Outcome:
    _check(workers, checkpoint_every)
    check_device(device, here=slurm is None)
    started = time.monotonic()
    stop = _Stop(None if time_limit is None else started + time_limit)
    _sweep_checkpoints(store)
    queue = Queue(tuple(sources), store, published, device, on_groups)
    if queue.groups:
        _refuse_read_only(store.directory)
    statuses: list[str] = []
    stopped: list[Group] = []
    halted = False

    def seconds(group: Group) -> float:
        return sum(expected(spec) or 0.0 for spec in group)

    def fits(group: Group) -> bool:
        return stop.deadline is None or time.monotonic() + seconds(group) <= stop.deadline

    def end(ended: Ended) -> None:
        nonlocal halted
        if ended.fatal:
            halted = stop.requested = True
        if not (ended.statuses or ended.error):
            stopped.append(queue.groups[ended.group])
        queue.end(ended)
        statuses.extend(ended.statuses)
        on_event(Event(ended.group, statuses=ended.statuses))

    def here(index: int) -> None:
        def advance(steps: int) -> None:
            on_event(Event(index, steps))

        end(run_here(index, queue.groups[index], store, device, advance, stop, checkpoint_every))

    with stop.on_interrupt(), contextlib.ExitStack() as stack:
        pool: Pool | Cluster | None = None
        if slurm is not None and queue.groups:
            place = store.directory / SLURM_FOLDER / "coordinator"
            stack.enter_context(hold(place, f"A coordinator submits the runs of {store.directory}"))
            pool = Cluster(slurm, store, device, checkpoint_every, on_note)
        elif slurm is None and workers > 1 and queue.is_shared():
            pool = stack.enter_context(Pool(workers, store, device, checkpoint_every))
        while True:
            while not stop() and (pool is None or pool.has_room):
                idle = pool is None or not (pool.running and pool.shares_machine)
                index = queue.take(idle, fits)
                if index is None:
                    break
                if pool is None or (is_timing(queue.groups[index]) and pool.shares_machine):
                    here(index)
                else:
                    pool.start(index, queue.groups[index])
            if pool is None or not pool.running:
                break
            if stop() and pool.stop():
                on_stop([queue.groups[index] for index in pool.running])
            for ended in pool.poll(on_event):
                # the signal that stops us may have reached the workers as well
                end(dataclasses.replace(ended, error="") if ended.lost and stop() else ended)
        waiting = [] if stop() else queue.waiting()
    return Outcome(
        done=len(statuses),
        diverged=statuses.count("diverged"),
        cached=queue.cached,
        left=queue.left(),
        seconds=time.monotonic() - started,
        failures=tuple(queue.failures),
        lost=tuple(g for g in stopped if any(not store.path(s.key).exists() for s in g)),
        halted=halted,
        not_begun=min(map(seconds, waiting), default=None),
    )


def finished_scores(store: Store, runs: pd.DataFrame) -> Callable[[str], Score | None]:
    """Return a function that looks up the score of a finished run by its key.

    Args:
        store: Finished runs here.
        runs: Runs table of what was finished before, here or elsewhere.

    Returns:
        The function; it answers `None` for a run that has not finished.
    """
    from repro.search import Score

    rows = zip(runs["key"], runs["score"], runs["status"], strict=True)
    known = {key: Score(float(score), status == "diverged") for key, score, status in rows}

    def look_up(key: str) -> Score | None:
        if key not in known:
            try:
                record = read_record(store.path(key))
            except FileNotFoundError:
                return None
            value = record.measured["score"]
            assert isinstance(value, (int, float))
            known[key] = Score(float(value), record.status == "diverged")
        return known[key]

    return look_up


def steps_kept(group: Group, store: Store) -> int:
    """Return from which step the runs of a group go on, 0 for their start."""
    from repro.checkpoints import steps_done

    return steps_done(store.directory, group)


def _check(workers: int, checkpoint_every: float) -> None:
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1. Found {workers}.")
    if checkpoint_every < 0.0:
        raise ValueError(
            f"`checkpoint_every` must be at least 0 seconds. Found {checkpoint_every}."
        )


def _sweep_checkpoints(store: Store) -> None:
    """Remove what runs left behind that were killed between their end and their tidying."""
    from repro.checkpoints import sweep

    sweep(store.directory, lambda key: store.path(key).exists())


def _refuse_read_only(directory: Path) -> None:
    """Raise before any work is done if what is finished could not be kept."""
    place = next(
        folder
        for folder in (directory.absolute(), *directory.absolute().parents)
        if folder.exists()
    )
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        reason = "it is read-only" if place.is_dir() else f"{place} is a file"
        raise OSError(
            f"{directory} takes no files: {reason}. Give `--store` a folder that you can write to; nothing was "
            "run."
        )


def check_device(device: str, *, here: bool = True) -> None:
    """Raise unless a device exists.

    Args:
        device: `cpu` or `cuda`.
        here: Whether it has to be in this machine.

    Raises:
        ValueError: If the name is unknown or the device absent.
    """
    import torch

    if device not in ("cpu", "cuda"):
        raise ValueError(f"Unknown device {device!r}. Choose from: cpu, cuda.")
    if here and device == "cuda" and not torch.cuda.is_available():
        raise ValueError("Device 'cuda' was asked for, but PyTorch finds none. Use `--device cpu`.")


class _Stop:
    """Asks work to stop at a deadline or at the first Ctrl-C; a second Ctrl-C is not caught."""

    def __init__(self, deadline: float | None) -> None:
        self.deadline = deadline
        self.requested = False

    def __call__(self) -> bool:
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return self.requested or late

    def on_interrupt(self) -> _Handler:
        return _Handler(self)


class _Handler:
    """While active, SIGINT and SIGTERM request a stop instead of raising."""

    def __init__(self, stop: _Stop) -> None:
        self._stop = stop
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # signals belong to the main thread

        def request(number: int, frame: object) -> None:
            del frame
            self._stop.requested = True
            signal.signal(number, self._previous[number])

        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, request)

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

"""The coordinator: a queue of groups, worked off by this process, a pool of workers or a cluster.

Training groups share the workers. A timing group runs alone, in this process and with the threads that its
specifications name, because a busy neighbour would show in its numbers. A group that fails does not stop the others,
and is named at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from repro.execution.groups import CHECKPOINT_EVERY, Group, is_timing, num_steps
from repro.execution.queue import Failure, Queue, Source
from repro.execution.sbatch import Slurm
from repro.execution.slurm import FOLDER as SLURM_FOLDER
from repro.execution.slurm import Cluster
from repro.execution.stops import Stop
from repro.execution.workers import Ended, Event, Pool, run_here
from repro.protocol import DEVICES, RunSpec
from repro.results import Store, hold


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an execution did.

    Attributes:
        done: Runs finished now.
        diverged: How many of them diverged.
        cached: Runs that were finished already.
        left: Runs not finished because of the time limit, an interruption, or what halted everything.
        seconds: Wall-clock time.
        failures: What could not be run, while the rest went on.
        lost: Groups that were under way when everything had to stop.
        halted: Whether a failure stopped everything: the store takes no more files, or the device is gone.
        not_begun: Expected seconds of the shortest group that was not started because it could not end in time;
            `None` if there is none.
        elsewhere: Runs that were missing and that another process finished meanwhile.
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
    elsewhere: int = 0


def coordinate(
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
    """Work sources off, in their order, until nothing is missing or it is time to stop.

    Args:
        sources: What calls for runs.
        store: Where finished runs go.
        published: Keys of runs that are finished elsewhere.
        device: `cpu` or `cuda`.
        workers: Processes for training runs, 1 for this process.
        time_limit: Seconds after which to stop.
        expected: The seconds of a run, `None` if unknown, so that none is started that cannot end in time.
        on_groups: Told of groups as they become known, numbered in this order by the events.
        on_event: Told of progress.
        on_stop: Told of the groups that are under way when the workers are asked to stop.
        on_note: Told of what happens on a cluster, in lines.
        checkpoint_every: Seconds between two checkpoints of runs under way, 0 for none.
        slurm: How to ask a cluster for tasks instead of running here.

    Returns:
        Counts, failures and the time taken.

    Raises:
        ValueError: If the device or the number of workers cannot be.
        OSError: If the store takes no files.
    """
    _check(workers, checkpoint_every, device, here=slurm is None)
    started = time.monotonic()
    stop = Stop(time_limit)
    _sweep_checkpoints(store)
    queue = Queue(tuple(sources), store, published, device, on_groups)
    if queue.groups:
        refuse_read_only(store.directory)
    execution = _Execution(queue, store, device, stop, expected, checkpoint_every, on_event)
    with stop.at(signal.SIGINT, signal.SIGTERM, once=True), contextlib.ExitStack() as stack:
        pool: Pool | Cluster | None = None
        if slurm is not None and queue.groups:
            what = f"A coordinator submits the runs of {store.directory}"
            stack.enter_context(hold(store.directory, f"{SLURM_FOLDER}/coordinator", what))
            pool = Cluster(slurm, store, device, checkpoint_every, on_note)
        elif slurm is None and workers > 1 and queue.is_shared():
            pool = stack.enter_context(Pool(workers, store, device, checkpoint_every))
        execution.work_off(pool, on_stop)
        waiting = [] if stop() else queue.waiting()
    return Outcome(
        done=len(execution.statuses),
        diverged=execution.statuses.count("diverged"),
        cached=queue.cached,
        left=queue.left(),
        seconds=time.monotonic() - started,
        failures=tuple(queue.failures),
        lost=tuple(g for g in execution.stopped if any(s.key not in store for s in g)),
        halted=execution.halted,
        not_begun=min(map(execution.seconds, waiting), default=None),
        elsewhere=queue.elsewhere(),
    )


class _Execution:
    """Hands out the groups of a queue, to a pool or to this process, and takes them back as they end.

    Attributes:
        statuses: Of the runs finished so far.
        stopped: Groups that ended before they were finished.
        halted: Whether a failure stopped everything.
    """

    def __init__(
        self,
        queue: Queue,
        store: Store,
        device: str,
        stop: Stop,
        expected: Callable[[RunSpec], float | None],
        checkpoint_every: float,
        on_event: Callable[[Event], None],
    ) -> None:
        self._queue, self._store, self._device, self._stop = queue, store, device, stop
        self._checkpoint_every = checkpoint_every
        self._expected, self._on_event = expected, on_event
        self._needed: dict[str, float] = {}  # seconds by the key of a group's first run
        self.statuses: list[str] = []
        self.stopped: list[Group] = []
        self.halted = False

    def work_off(self, pool: Pool | Cluster | None, on_stop: Callable[[list[Group]], None]) -> None:
        """Go on until nothing is missing or it is time to stop."""
        while True:
            self._hand_out(pool)
            if pool is None or not pool.running:
                return
            if self._stop() and pool.stop():
                on_stop([self._queue.groups[index] for index in pool.running])
            for ended in pool.poll(self._on_event):
                # the signal that stops us may have reached the workers as well
                by_us = ended.lost and self._stop()
                self._end(dataclasses.replace(ended, error="") if by_us else ended)

    def _hand_out(self, pool: Pool | Cluster | None) -> None:
        """Start whatever can start now."""
        while not self._stop() and (pool is None or pool.has_room):
            idle = pool is None or not (pool.running and pool.shares_machine)
            index = self._queue.take(idle, self._fits)
            if index is None:
                return
            group = self._queue.groups[index]
            if pool is None or (is_timing(group) and pool.shares_machine):
                self._run_here(index, group)
            else:
                pool.start(index, group)

    def _fits(self, group: Group) -> bool:
        return self._stop.deadline is None or self.seconds(group) <= self._stop.left()

    def seconds(self, group: Group) -> float:
        """Return the seconds that a group still needs, with 0 for a run of unknown cost."""
        from repro.checkpoints import steps_done

        key = group[0].key
        if key not in self._needed:
            whole = sum(self._expected(spec) or 0.0 for spec in group)
            # without a price, no checkpoint has to be read
            done = steps_done(self._store.directory, group) / num_steps(group) if whole else 0.0
            self._needed[key] = whole * (1.0 - min(1.0, done))
        return self._needed[key]

    def _run_here(self, index: int, group: Group) -> None:
        def advance(steps: int) -> None:
            self._on_event(Event(index, steps))

        self._end(
            run_here(
                index, group, self._store, self._device, advance, self._stop, self._checkpoint_every
            )
        )

    def _end(self, ended: Ended) -> None:
        if ended.fatal:
            self.halted = self._stop.requested = True
        if not (ended.statuses or ended.error):
            self.stopped.append(self._queue.groups[ended.group])
        self._queue.end(ended)
        self.statuses.extend(ended.statuses)
        self._on_event(Event(ended.group, statuses=ended.statuses))


def _check(workers: int, checkpoint_every: float, device: str, *, here: bool) -> None:
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1. Found {workers}.")
    if checkpoint_every < 0.0:
        raise ValueError(
            f"`checkpoint_every` must be at least 0 seconds. Found {checkpoint_every}."
        )
    check_device(device, here=here)


def _sweep_checkpoints(store: Store) -> None:
    """Remove what runs left behind that were killed between their end and their tidying."""
    from repro.checkpoints import sweep

    sweep(store.directory, store.__contains__)


def refuse_read_only(directory: Path) -> None:
    """Raise before any work is done if what is finished could not be kept.

    Args:
        directory: Of a store; it need not exist.

    Raises:
        OSError: If it takes no files.
    """
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

    if device not in DEVICES:
        raise ValueError(f"Unknown device {device!r}. Choose from: {', '.join(DEVICES)}.")
    if here and device == "cuda" and not torch.cuda.is_available():
        raise ValueError("Device 'cuda' was asked for, but PyTorch finds none. Use `--device cpu`.")

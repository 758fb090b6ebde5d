"""Where runs happen: groups of runs go to this process or to a pool of single-threaded workers.

A run is done when its file is in the store, so resuming is: run what is missing. A search is a loop of that:
what its finished runs call for next is run until nothing is. Groups are formed from
what a study declares, never from what happens to be missing, so that a resumed run repeats the arithmetic
of an undisturbed one. Training groups share the workers; timing groups follow, alone, in one process with
the threads that their specifications name, because a busy neighbour would be in their numbers.
"""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any

import pandas as pd

from repro.protocol import ClosedForm, Comparison, RunSpec, Sampling, Task, Timing, Training
from repro.results import Store, read_record, read_store, tabulate

if TYPE_CHECKING:
    from repro.search import Score

STACKED_REPLICAS = {"cpu": 16, "cuda": 32}
"""Largest group trained together where stacking pays, by device."""
STACKED_NETWORKS = {
    # larger networks gain nothing from stacking on a CPU, and lose the cache: one run at a time
    "cpu": ("logistic_regression",),
    # products of stacked matrices fill a GPU; convolutions run replica by replica and gain nothing
    "cuda": ("logistic_regression", "mlp"),
}
"""Networks whose runs train together, by device; closed forms always do."""

Group = tuple[RunSpec, ...]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an execution did.

    Attributes:
        done: Runs finished now.
        diverged: How many of them diverged.
        cached: Runs that were in the store already.
        left: Runs not finished because of the time limit or an interruption.
        seconds: Wall-clock time.
    """

    done: int
    diverged: int
    cached: int
    left: int
    seconds: float


@dataclasses.dataclass(frozen=True)
class Event:
    """Progress of a group: steps just done, or the records it ended with."""

    group: int
    steps: int = 0
    statuses: tuple[str, ...] = ()


def form_groups(specs: Sequence[RunSpec], device: str = "cpu") -> list[Group]:
    """Return the groups that run together, in declared order.

    Args:
        specs: Runs as declared.
        device: `cpu` or `cuda`; where they will run.

    Returns:
        Timing runs grouped by comparison; training runs stacked where that pays; others alone.
    """
    # imports torch: only the process that runs needs it
    from repro.timing import timing_group
    from repro.training import replica_group

    groups: dict[object, list[RunSpec]] = {}
    for index, spec in enumerate(specs):
        if isinstance(spec.task, Timing):
            identity: object = timing_group(spec)
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
    return 10_000 if isinstance(spec.task, Timing) else STACKED_REPLICAS[device]


def num_steps(group: Group) -> int:
    """Return how many steps a group reports in all."""
    task = group[0].task
    if isinstance(task, Sampling):
        return task.num_draws * len(group)
    return task.num_steps + (task.num_warmup if isinstance(task, Timing) else 0)


def execute(
    specs: Sequence[RunSpec],
    store: Store,
    *,
    published: Container[str] = (),
    device: str = "cpu",
    workers: int = 1,
    time_limit: float | None = None,
    on_start: Callable[[list[Group]], None] = lambda groups: None,
    on_event: Callable[[Event], None] = lambda event: None,
) -> Outcome:
    """Run what is missing from a store.

    Args:
        specs: Runs as declared; finished ones are skipped.
        store: Where finished runs go.
        published: Keys of runs that are finished elsewhere.
        device: `cpu` or `cuda`.
        workers: Processes for training runs; 1 means this process.
        time_limit: Seconds after which to stop; finished runs are kept.
        on_start: Told of the groups that will run, numbered in this order by the events.
        on_event: Told of progress.

    Returns:
        Counts and the time taken.

    Raises:
        ValueError: If the device or the number of workers cannot be.
        RejectedFileError: If an unusable file has the name of a missing run; nothing is run then.
    """
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1. Found {workers}.")
    check_device(device)
    started = time.monotonic()
    missing = {s.key for s in specs if s.key not in published and s.key not in store}
    for path in (store.path(key) for key in sorted(missing)):
        if path.exists():
            read_record(path)  # unusable: said now, not when hours of work are to be written there
    groups = [g for g in form_groups(specs, device) if any(spec.key in missing for spec in g)]
    groups.sort(key=lambda group: isinstance(group[0].task, Timing))  # timing last, stable
    on_start(groups)
    deadline = None if time_limit is None else started + time_limit
    statuses: list[str] = []
    finished = 0

    def note(event: Event) -> None:
        nonlocal finished
        statuses.extend(event.statuses)
        finished += len(event.statuses)
        on_event(event)

    stop = _Stop(deadline)
    training = [i for i, g in enumerate(groups) if not isinstance(g[0].task, Timing)]
    timing = [i for i, g in enumerate(groups) if isinstance(g[0].task, Timing)]
    with stop.on_interrupt():
        if workers > 1 and len(training) > 1:
            _in_pool(groups, training, store, device, workers, stop, note)
        else:
            _here(groups, training, store, device, stop, note)
        _here(groups, timing, store, device, stop, note)
    return Outcome(
        done=finished,
        diverged=statuses.count("diverged"),
        cached=len(specs) - len(missing),
        left=sum(not store.path(key).exists() for key in missing),  # others may write here too
        seconds=time.monotonic() - started,
    )


def search_and_execute(
    specs: Sequence[RunSpec],
    comparisons: Sequence[Comparison],
    store: Store,
    *,
    published: pd.DataFrame,
    time_limit: float | None = None,
    **options: Any,
) -> Outcome:
    """Run what is missing of given runs and of searches, batch after batch, then the winners' runs.

    Args:
        specs: Runs at given settings.
        comparisons: Searched experiments.
        store: Where finished runs go.
        published: Runs table of what is finished elsewhere.
        time_limit: Seconds after which to stop; finished runs are kept.
        **options: As of `execute`.

    Returns:
        Counts over all batches and the time taken.

    Raises:
        ValueError: As `execute`, or if trials of another search are among the rows.
    """
    from repro import search

    started = time.monotonic()
    if comparisons:
        search.refuse_other_searches(comparisons, published)
        records, _ = read_store(store.directory)
        search.refuse_other_searches(comparisons, tabulate(records)[0])
    known = frozenset(published["key"])
    scores = finished_scores(store, published)
    total: Outcome | None = None
    while True:
        progress = [search.advance(comparison, scores) for comparison in comparisons]
        batch = [run for state in progress for run in state.pending] + [
            run
            for comparison, state in zip(comparisons, progress, strict=True)
            for method in comparison.experiment.methods
            if method.name in state.winners
            for run in comparison.report_runs(method, state.winners[method.name])
        ]
        left = None if time_limit is None else time_limit - (time.monotonic() - started)
        outcome = execute([*specs, *batch], store, published=known, time_limit=left, **options)
        if total is None:
            total = outcome
        else:
            total = dataclasses.replace(
                outcome,
                done=total.done + outcome.done,
                diverged=total.diverged + outcome.diverged,
                cached=total.cached,
            )
        if comparisons:
            search.write_journal(comparisons, scores, store.directory / "optuna.journal")
        if outcome.left or not any(state.pending for state in progress):
            return dataclasses.replace(total, seconds=time.monotonic() - started)


def finished_scores(store: Store, published: pd.DataFrame) -> Callable[[str], Score | None]:
    """Return a function that looks up the score of a finished run by its key.

    Args:
        store: Finished runs here.
        published: Runs table of what is finished elsewhere.

    Returns:
        The function; it answers `None` for a run that has not finished.
    """
    from repro.search import Score

    rows = zip(published["key"], published["score"], published["status"], strict=True)
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


def check_device(device: str) -> None:
    """Raise unless a device exists.

    Args:
        device: `cpu` or `cuda`.

    Raises:
        ValueError: If the name is unknown or the device absent.
    """
    import torch

    if device not in ("cpu", "cuda"):
        raise ValueError(f"Unknown device {device!r}. Choose from: cpu, cuda.")
    if device == "cuda" and not torch.cuda.is_available():
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


def run_group(
    group: Group,
    store: Store,
    device: str,
    on_steps: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> tuple[str, ...]:
    """Run a group and write what is missing of it.

    Args:
        group: Runs that belong together.
        store: Where finished runs go.
        device: `cpu` or `cuda`.
        on_steps: Told how many steps were just done.
        should_stop: Whether to give up.

    Returns:
        The statuses of the runs written; none if it gave up.

    Raises:
        OSError: If the device failed, or has too little memory for a run alone.
        RuntimeError: If PyTorch did for another reason.
    """
    import torch

    from repro.environment import exact_products
    from repro.sampling import sample
    from repro.timing import measure
    from repro.training import Interrupted, train_within_memory

    work: dict[type[Task], Any] = {
        Training: train_within_memory,
        Timing: measure,
        Sampling: sample,
    }
    exact_products()
    try:
        records = work[type(group[0].task)](
            group, torch.device(device), on_steps=on_steps, should_stop=should_stop
        )
    except Interrupted:
        return ()
    except RuntimeError as error:
        if "CUDA error" not in str(error):
            raise
        reason = str(error).partition("\n")[0]
        raise OSError(
            f"The device {device} failed ({reason}). Finished runs are kept: the same command carries on "
            "from them once the device answers again."
        ) from error
    fresh = [record for record in records if record.spec.key not in store]
    for record in fresh:
        store.write(record)
    return tuple(record.status for record in fresh)


def _here(
    groups: Sequence[Group],
    chosen: Sequence[int],
    store: Store,
    device: str,
    stop: Callable[[], bool],
    note: Callable[[Event], None],
) -> None:
    import torch

    for index in chosen:
        if stop():
            return
        if not isinstance(groups[index][0].task, Timing):
            torch.set_num_threads(1)  # as in the pool: how many processes must not change a sum

        def advance(steps: int, index: int = index) -> None:
            note(Event(index, steps))

        note(Event(index, statuses=run_group(groups[index], store, device, advance, stop)))


_messages: Any = None
_stop_event: Any = None


def _initialise(messages: Any, stop_event: Any) -> None:
    global _messages, _stop_event
    _messages, _stop_event = messages, stop_event
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator decides
    import torch

    torch.set_num_threads(1)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    # a coordinator that was killed cannot say so; without it, nobody reads what we do
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(
    index: int, group: Group, directory: Path, device: str
) -> tuple[int, tuple[str, ...]]:
    def advance(steps: int) -> None:
        _messages.put(Event(index, steps))

    return index, run_group(group, Store(directory), device, advance, _stop_event.is_set)


def _in_pool(
    groups: Sequence[Group],
    chosen: Sequence[int],
    store: Store,
    device: str,
    workers: int,
    stop: Callable[[], bool],
    note: Callable[[Event], None],
) -> None:
    context = multiprocessing.get_context("spawn")
    messages, stop_event = context.Queue(), context.Event()
    pool = ProcessPoolExecutor(
        min(workers, len(chosen)),
        mp_context=context,
        initializer=_initialise,
        initargs=(messages, stop_event),
    )
    with pool:
        waiting = iter(chosen)
        running: set[Future[tuple[int, tuple[str, ...]]]] = set()

        def submit() -> None:
            if not stop():
                for index in itertools.islice(waiting, 1):
                    with _interrupts_held():
                        running.add(
                            pool.submit(_in_worker, index, groups[index], store.directory, device)
                        )

        for _ in range(workers):
            submit()
        try:
            while running:
                done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for event in _drain(messages):
                    note(event)
                for future in done:
                    running.remove(future)
                    try:
                        index, statuses = future.result()
                    except BrokenProcessPool:
                        if stop():  # the signal that stops us reached the workers as well
                            continue
                        raise OSError(
                            "A worker was ended from outside, most likely for lack of memory. "
                            "Finished runs are kept; carry on with fewer `--workers`."
                        ) from None
                    note(Event(index, statuses=statuses))
                    submit()
                if stop():
                    stop_event.set()
        finally:
            stop_event.set()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    # a worker inherits the mask, so Ctrl-C cannot end it before `_initialise` has it ignored
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _drain(messages: Any) -> Iterator[Event]:
    while True:
        try:
            yield messages.get_nowait()
        except Empty:
            return

"""Where a group happens: in this process, or in one of a pool of single-threaded workers.

A group ends with the runs it wrote or with one line that says what went wrong, which concerns no other group. If a
worker is killed, all groups that its pool has under way are lost with it; a new pool carries on with the others.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty
from typing import Any

from repro.execution.groups import Group, HaltError, is_timing, run_group
from repro.results import Store

GRACE = 30.0
"""Seconds that a worker has to stop by itself once asked to: to finish a step of a large network, evaluate it if that
is due, and write a checkpoint."""


@dataclasses.dataclass(frozen=True)
class Event:
    """Progress of a group: steps just done, or the records it ended with."""

    group: int
    steps: int = 0
    statuses: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a group ended.

    Attributes:
        group: Its number.
        statuses: Of the runs written; none if it was stopped.
        error: What went wrong, in one line; empty if nothing did.
        fatal: Whether no other group can be run and kept either.
        lost: Whether its worker was ended from outside.
    """

    group: int
    statuses: tuple[str, ...] = ()
    error: str = ""
    fatal: bool = False
    lost: bool = False


def tally(statuses: Sequence[str]) -> str:
    """Return how many runs have each status, such as `1 diverged, 3 done`."""
    return ", ".join(f"{statuses.count(status)} {status}" for status in sorted(set(statuses)))


def run_here(
    index: int,
    group: Group,
    store: Store,
    device: str,
    on_steps: Callable[[int], None],
    should_stop: Callable[[], bool],
    checkpoint_every: float,
) -> Ended:
    """Run a group in this process.

    Args:
        index: Number of the group.
        group: The runs.
        store: Where finished runs go.
        device: `cpu` or `cuda`.
        on_steps: Told how many steps were just done.
        should_stop: Whether to give up.
        checkpoint_every: Seconds between two checkpoints, 0 for none.

    Returns:
        How it ended.
    """
    import torch

    if not is_timing(group):
        torch.set_num_threads(1)  # how many processes there are must not change a sum
    try:
        return Ended(
            index, run_group(group, store, device, on_steps, should_stop, checkpoint_every)
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this group's; the others go on
        if os.environ.get("REPRO_DEBUG"):
            traceback.print_exc()
        return Ended(index, error=_in_a_line(error), fatal=isinstance(error, HaltError))


INSTALLED = tuple(
    Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
"""Folders of code that nobody here writes."""


def _in_a_line(error: Exception) -> str:
    """Return what went wrong; of an error that nobody worded for users, with its kind and the line that it comes from."""
    said = " ".join(str(error).split())
    if said and isinstance(error, (ValueError, OSError)):
        return said
    if type(error).__module__.partition(".")[0] == __name__.partition(".")[0]:
        return f"{type(error).__name__}: {said}"
    # an estimator of one's own may err in what it calls: that line is of more use than one of PyTorch's
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if not any(map(Path(f.filename).is_relative_to, INSTALLED))]
    last = (ours or frames)[-1]
    path = Path(last.filename)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{type(error).__name__}: {said} ({shown.as_posix()}, line {last.lineno}; REPRO_DEBUG=1 shows the traceback)"


_messages: Any = None
_asked_to_stop: Any = None


def _initialise(messages: Any, asked_to_stop: Connection) -> None:
    global _messages, _asked_to_stop
    _messages, _asked_to_stop = messages, asked_to_stop
    messages.cancel_join_thread()  # progress that nobody reads any more must not keep a worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator decides
    import torch

    from repro.environment import end_with_parent

    torch.set_num_threads(1)
    # a coordinator that was killed cannot say so
    for end in (end_with_parent, _follow_stop):
        threading.Thread(target=end, daemon=True).start()


def _follow_stop() -> None:
    # what is under way is lost in any case, and a finished run is renamed into place or not there
    _asked_to_stop.poll(None)
    time.sleep(GRACE)
    os._exit(1)


def _in_worker(index: int, group: Group, directory: Path, device: str, every: float) -> Ended:
    def advance(steps: int) -> None:
        _messages.put(Event(index, steps))

    return run_here(index, group, Store(directory), device, advance, _asked_to_stop.poll, every)


class Pool:
    """Worker processes, one thread each, started when there is work for them."""

    shares_machine = True
    """Whether its groups run on this machine, so that a timing has to wait for them."""

    def __init__(self, size: int, store: Store, device: str, checkpoint_every: float) -> None:
        """Take the number of workers, where finished runs go, the device, and the seconds between checkpoints."""
        self._size, self._store, self._device = size, store, device
        self._checkpoint_every = checkpoint_every
        self._context = multiprocessing.get_context("spawn")
        self._executor: ProcessPoolExecutor | None = None
        self._messages: Any = None
        # closed to ask workers to stop: unlike an event, it has no lock that a killed worker could keep
        self._asked, self._ask = self._context.Pipe(duplex=False)
        self._running: dict[Future[Ended], int] = {}
        self._ended: list[Ended] = []  # since the last look

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the groups under way, and of those whose end has not been reported yet."""
        return (*self._running.values(), *(ended.group for ended in self._ended))

    @property
    def has_room(self) -> bool:
        """Whether a worker is idle."""
        return len(self._running) < self._size

    def start(self, index: int, group: Group) -> None:
        """Give a group to an idle worker; one that was lost meanwhile is replaced."""
        try:
            self._submit(index, group)
        except BrokenProcessPool:
            self._give_up()
            self._submit(index, group)

    def _submit(self, index: int, group: Group) -> None:
        if self._executor is None:
            # a worker that was killed may have kept a lock of its queue: every pool has its own
            self._messages = self._context.Queue()
            self._executor = ProcessPoolExecutor(
                self._size,
                mp_context=self._context,
                initializer=_initialise,
                initargs=(self._messages, self._asked),
            )
        with _interrupts_held():
            future = self._executor.submit(
                _in_worker,
                index,
                group,
                self._store.directory,
                self._device,
                self._checkpoint_every,
            )
        self._running[future] = index

    def poll(self, on_event: Callable[[Event], None]) -> list[Ended]:
        """Wait a moment for groups that end.

        Args:
            on_event: Told of steps done.

        Returns:
            The groups that ended; all that were under way if a worker was lost.
        """
        if not self._ended:
            done, _ = wait(self._running, timeout=0.2, return_when=FIRST_COMPLETED)
            self._ended = [_end_of(future, self._running.pop(future)) for future in done]
            if any(ended.lost for ended in self._ended):
                self._give_up()
        for event in _drain(self._messages):
            on_event(event)
        ended, self._ended = self._ended, []
        return ended

    def _give_up(self) -> None:
        """Let go of a broken pool, which takes no more, and of what it had."""
        # its futures end one after another: one that has not is lost, too
        self._ended += [_end_of(future, index) for future, index in self._running.items()]
        self._running.clear()
        if self._executor is not None:
            self._executor.shutdown()
            self._executor = None

    def stop(self) -> bool:
        """Ask the workers to stop; return whether they had not been asked before."""
        first = not self._ask.closed
        self._ask.close()
        return first

    def __enter__(self) -> Pool:
        """Return the pool."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the workers and wait for their end."""
        self.stop()
        if self._executor is not None:
            self._executor.shutdown()
        self._asked.close()


LOST = (
    "a worker was ended from outside, most likely for lack of memory; "
    "run it again, with fewer `--workers` if it happens again"
)


def _end_of(future: Future[Ended], index: int) -> Ended:
    """Return how a group ended; a group whose worker was killed is lost."""
    try:
        return future.result(timeout=0.0)
    except (BrokenProcessPool, TimeoutError):
        return Ended(index, error=LOST, lost=True)


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

"""Taking turns: every method in every round, in this process or at the same time in several."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from repro.environment import end_with_parent, set_up_process, synchronize
from repro.protocol import RunSpec, Timing
from repro.timing.steps import Step, build
from repro.training import Interrupted

PATIENCE = 600.0
"""Seconds within which a process must come to its next turn."""

LOST = "A process that was timed beside this one ended or does not answer, most likely for lack of memory."

Turns: TypeAlias = npt.NDArray[np.float64]
"""Seconds of each turn, `(rounds, methods)`."""


def take_turns(
    task: Timing,
    steps: Sequence[Step],
    device: torch.device,
    *,
    wait: Callable[[], object] = lambda: None,
    on_steps: Callable[[int], None] = lambda steps: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Turns:
    """Time one turn of every step, round after round.

    Args:
        task: How many rounds, and how many before they count.
        steps: What is timed.
        device: Where it runs.
        wait: Called before every turn, outside its time.
        on_steps: Told of every round done.
        should_stop: Asked after every round.

    Returns:
        Seconds of the turns.

    Raises:
        Interrupted: If `should_stop` answered yes.
    """
    seconds = np.empty((task.num_steps, len(steps)))
    for round_ in range(-task.num_warmup, task.num_steps):
        for index, step in enumerate(steps):
            wait()
            synchronize(device)
            started = time.perf_counter()
            step.run()
            synchronize(device)
            if round_ >= 0:
                seconds[round_, index] = time.perf_counter() - started
        on_steps(1)
        if should_stop():
            raise Interrupted
    return seconds


class Company:
    """The other processes of a timing run, which take each turn at the same time as this one.

    They agree by messages: a process that is killed closes its pipe, and would keep a lock that it holds.
    """

    def __init__(self, specs: Sequence[RunSpec], device: torch.device) -> None:
        """Name what they time; they start on entering.

        Args:
            specs: Timing runs of one group.
            device: Where they run.
        """
        task = specs[0].task
        assert isinstance(task, Timing)
        context = multiprocessing.get_context("spawn")
        self._pipes = [context.Pipe() for _ in range(task.processes - 1)]
        self._processes = [
            context.Process(target=_keep_up, args=(tuple(specs), device, theirs), daemon=True)
            for _, theirs in self._pipes
        ]

    def __enter__(self) -> Company:
        """Start the processes."""
        for process, (_, theirs) in zip(self._processes, self._pipes, strict=True):
            process.start()
            theirs.close()  # so that a process that ends without an answer is noticed
        return self

    def wait(self) -> None:
        """Wait until all of them are about to take the next turn, and have them take it.

        Raises:
            OSError: If one of them ended, or does not come.
        """
        self._receive()
        try:
            for ours, _ in self._pipes:
                ours.send(None)
        except OSError:
            raise OSError(LOST) from None

    def turns(self) -> list[Turns]:
        """Return the seconds of the turns of each, once they are done.

        Raises:
            OSError: If one of them ended without an answer, or gives none.
        """
        return self._receive()

    def _receive(self) -> list[Any]:
        received = []
        for ours, _ in self._pipes:
            try:
                if not ours.poll(PATIENCE):
                    raise OSError(LOST)
                received.append(ours.recv())
            except (EOFError, ConnectionError):
                raise OSError(LOST) from None
        return received

    def __exit__(self, *exception: object) -> None:
        """End them: one that still waits for its turn finds its pipe closed."""
        for (ours, _), process in zip(self._pipes, self._processes, strict=True):
            ours.close()
            process.join()


def _keep_up(specs: tuple[RunSpec, ...], device: torch.device, pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides
    threading.Thread(target=end_with_parent, daemon=True).start()
    task = specs[0].task
    assert isinstance(task, Timing)
    torch.set_num_threads(task.num_threads)
    set_up_process()

    def wait() -> None:
        pipe.send(None)
        pipe.recv()

    with contextlib.suppress(EOFError, ConnectionError):  # the first process gave up
        pipe.send(take_turns(task, build(specs, device), device, wait=wait))

"""When to stop: at a deadline, at a signal, or when it was asked for."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any


class Stop:
    """Whether it is time to stop; nothing is interrupted, whoever works has to ask.

    Attributes:
        deadline: On the clock `time.monotonic`; `None` for none.
        requested: Whether somebody asked, or a signal did.
    """

    def __init__(self, time_limit: float | None = None) -> None:
        """Start the clock.

        Args:
            time_limit: Seconds from now after which it is time; `None` for no end.
        """
        self.deadline = None if time_limit is None else time.monotonic() + time_limit
        self.requested = False

    def __call__(self) -> bool:
        """Return whether it is time."""
        return self.requested or self.left() <= 0.0

    def left(self) -> float:
        """Return the seconds until the deadline; infinitely many without one."""
        return math.inf if self.deadline is None else self.deadline - time.monotonic()

    @contextlib.contextmanager
    def at(self, *numbers: signal.Signals, once: bool = False) -> Iterator[None]:
        """Take signals for requests while the block lasts, in the main thread, to which they belong.

        Args:
            *numbers: The signals.
            once: Whether the second of a kind does what it did before: a human who presses Ctrl-C twice means it,
                while a scheduler may say the same thing several times.

        Yields:
            Nothing.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous: dict[int, Any] = {}

        def request(number: int, frame: object) -> None:
            del frame
            self.requested = True
            if once:
                signal.signal(number, previous[number])

        for number in numbers:
            previous[number] = signal.signal(number, request)
        try:
            yield
        finally:
            for taken, handler in previous.items():
                signal.signal(taken, handler)

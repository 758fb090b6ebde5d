"""Progress of an execution on a terminal: how far, how fast, how much longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from repro.execution import Event, Group


class Display:
    """One bar for all steps and one for each group that is running.

    Off a terminal, a line for every group that ends.
    """

    def __init__(self, console: Console) -> None:
        """Draw on a console."""
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._groups: list[Group] = []
        self._bars: dict[int, TaskID] = {}
        self._all: TaskID | None = None
        self._total = 0

    def __enter__(self) -> Display:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop drawing; what was drawn stays."""
        self._progress.stop()

    def add(self, groups: list[Group]) -> None:
        """Take groups that will run, after those before them."""
        from repro.execution import num_steps

        self._groups += groups
        self._total += sum(map(num_steps, groups))
        if self._all is None:
            self._all = self._progress.add_task("all steps known so far", total=None)
        self._progress.update(self._all, total=self._total)

    def update(self, event: Event) -> None:
        """Advance the bars by an event."""
        from repro.execution import describe, num_steps, tally

        group = self._groups[event.group]
        name = describe(group)
        if event.steps:
            if event.group not in self._bars:
                self._bars[event.group] = self._progress.add_task(name, total=num_steps(group))
            self._progress.advance(self._bars[event.group], event.steps)
            assert self._all is not None
            self._progress.advance(self._all, event.steps)
            return
        if event.group in self._bars:
            self._progress.remove_task(self._bars.pop(event.group))
        if event.statuses:
            self._console.print(f"{name}: {tally(event.statuses)}", highlight=False, soft_wrap=True)

    def note_stop(self, groups: list[Group]) -> None:
        """Say what is under way when everything is asked to stop."""
        from repro.execution import describe

        for group in groups:
            self._console.print(f"stopping: {describe(group)}", highlight=False, soft_wrap=True)

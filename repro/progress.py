"""Progress of an execution on a terminal: how far, how fast, how much longer."""

from __future__ import annotations

from types import TracebackType
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

    def __enter__(self) -> Display:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing; what was drawn stays."""
        self._progress.stop()

    def start(self, groups: list[Group]) -> None:
        """Take the groups that will run."""
        from repro.execution import num_steps

        self._groups = groups
        self._all = self._progress.add_task("all steps", total=sum(map(num_steps, groups)))

    def update(self, event: Event) -> None:
        """Advance the bars by an event."""
        from repro.execution import num_steps

        group = self._groups[event.group]
        spec = group[0]
        names = tuple(dict.fromkeys(member.method.name for member in group))
        methods = ", ".join(names) if len(names) < 4 else f"{len(names)} methods"
        name = f"{spec.experiment}: {methods} (repetition {spec.repetition})"
        if len(group) > 1:
            name = f"{spec.experiment}: {methods} ({len(group)} runs)"
        if event.steps:
            if event.group not in self._bars:
                self._bars[event.group] = self._progress.add_task(name, total=num_steps(group))
            self._progress.advance(self._bars[event.group], event.steps)
            assert self._all is not None
            self._progress.advance(self._all, event.steps)
        if event.statuses:
            if event.group in self._bars:
                self._progress.remove_task(self._bars.pop(event.group))
            ended = ", ".join(
                f"{event.statuses.count(status)} {status}" for status in sorted(set(event.statuses))
            )
            self._console.print(f"{name}: {ended}", highlight=False)

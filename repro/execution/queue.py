"""What runs next: groups in the order of their experiments, those of a search batch by batch.

An idle worker gets the first group in line. While a search waits for the last trials of a batch, that is a group of a
later experiment, so workers wait for nothing but a timing, which needs the machine to itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING, Protocol

from repro.execution.groups import Group, describe, form_groups, is_timing
from repro.execution.workers import Ended
from repro.protocol import Comparison, RunSpec
from repro.results import Store

if TYPE_CHECKING:
    from repro.search import Scores


@dataclasses.dataclass(frozen=True)
class Failure:
    """What could not be run.

    Attributes:
        name: Which runs.
        reason: What went wrong, in one line.
    """

    name: str
    reason: str


class Source(Protocol):
    """An experiment: it says what has to be run next, until nothing is left."""

    name: str

    def next_batch(self) -> tuple[int, Sequence[RunSpec]]:
        """Return how many finished runs are passed over, and the runs of the next batch; none at the end."""


class Given:
    """Runs at given settings: one batch."""

    def __init__(self, name: str, specs: Sequence[RunSpec]) -> None:
        """Take the runs as declared."""
        self.name = name
        self._specs = specs

    def next_batch(self) -> tuple[int, Sequence[RunSpec]]:
        """Return all runs, and then none."""
        specs, self._specs = self._specs, ()
        return 0, specs


class Searched:
    """A search: each batch follows from the scores of those before it, the winners' runs from all."""

    def __init__(self, name: str, comparison: Comparison, scores: Scores) -> None:
        """Take the comparison and where its scores are found."""
        self.name = name
        self._comparison, self._scores = comparison, scores
        self._first = True

    def next_batch(self) -> tuple[int, Sequence[RunSpec]]:
        """Return the next batch of every method, or the winners' runs, or none."""
        from repro.search import advance

        progress = advance(self._comparison, self._scores)
        runs = progress.pending or tuple(
            run
            for method in self._comparison.experiment.methods
            for run in self._comparison.report_runs(method, progress.winners[method.name])
        )
        ended = all(self._scores(run.key) is not None for run in runs)
        passed_over = 0
        if self._first:
            trials = (trial for done in progress.trials.values() for trial in done)
            passed_over = sum(len(trial.scores) for trial in trials) + ended * len(runs)
            self._first = False
        return passed_over, () if ended else runs


@dataclasses.dataclass
class _Line:
    """One experiment's place in the queue."""

    source: Source
    waiting: list[int] = dataclasses.field(default_factory=list)
    running: set[int] = dataclasses.field(default_factory=set)
    closed: bool = False


class Queue:
    """Groups by number, handed out in order.

    Attributes:
        groups: All groups known so far; their numbers are their places here.
        cached: Runs that were finished before.
        failures: What could not be run.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        store: Store,
        published: Container[str],
        device: str,
        on_groups: Callable[[list[Group]], None],
    ) -> None:
        """Ask every experiment for its first batch.

        Args:
            sources: The experiments, in order.
            store: Where finished runs are.
            published: Keys of runs that are finished elsewhere.
            device: `cpu` or `cuda`.
            on_groups: Told of groups as they become known.
        """
        self._store, self._published, self._device = store, published, device
        self._on_groups = on_groups
        self._lines = [_Line(source) for source in sources]
        self._missing: set[str] = set()
        self.groups: list[Group] = []
        self.cached = 0
        self.failures: list[Failure] = []
        for line in self._lines:
            self._refill(line)
        on_groups(self.groups[:])

    def is_shared(self) -> bool:
        """Tell whether there is work for more than one process at once."""
        searches = any(
            isinstance(line.source, Searched) and not line.closed for line in self._lines
        )
        return searches or sum(not is_timing(group) for group in self.groups) > 1

    def take(self, idle: bool, fits: Callable[[Group], bool]) -> int | None:
        """Hand out the first group in line that can start now.

        Args:
            idle: Whether nothing is under way, so that a timing may start.
            fits: Whether a group can end in time.

        Returns:
            Its number; `None` if none can start before something else ends, or ever.
        """
        for line in self._lines:
            known = len(self.groups)
            self._refill(line)
            if len(self.groups) > known:
                self._on_groups(self.groups[known:])
            for index in line.waiting:
                if not fits(self.groups[index]):
                    continue
                if is_timing(self.groups[index]) and not idle:
                    return None  # nothing overtakes it: the machine has to fall silent
                line.waiting.remove(index)
                line.running.add(index)
                return index
        return None

    def end(self, ended: Ended) -> None:
        """Take a group back; if it failed, its experiment gets no further batch."""
        (line,) = (line for line in self._lines if ended.group in line.running)
        line.running.remove(ended.group)
        group = self.groups[ended.group]
        if ended.error:
            self._fail(line, describe(group), ended.error, group)
        elif ended.statuses:
            self._missing -= {spec.key for spec in group}

    def waiting(self) -> list[Group]:
        """Return the groups that nobody took."""
        return [self.groups[index] for line in self._lines for index in line.waiting]

    def left(self) -> int:
        """Return how many runs are known to be missing, those that failed left out."""
        for line in self._lines:
            self._refill(line)
        return sum(key not in self._store for key in self._missing)

    def elsewhere(self) -> int:
        """Return how many runs that were missing another process has finished, on the same store."""
        return sum(key in self._store for key in self._missing)

    def _refill(self, line: _Line) -> None:
        while not (line.closed or line.waiting or line.running):
            try:
                passed_over, batch = line.source.next_batch()
                missing = {spec.key for spec in batch if not self._is_finished(spec.key)}
            except (ValueError, OSError) as error:
                self._fail(line, line.source.name, str(error), ())
                return
            self.cached += passed_over + len(batch) - len(missing)
            self._missing |= missing
            line.closed = not batch
            groups = [
                group
                for group in form_groups(batch, self._device)
                if any(spec.key in missing for spec in group)
            ]
            for group in sorted(groups, key=is_timing):  # timing last, else as declared
                line.waiting.append(len(self.groups))
                self.groups.append(group)

    def _is_finished(self, key: str) -> bool:
        # a file that is unusable is said now, not when hours of work are to be written there
        return key in self._published or self._store.is_finished(key)

    def _fail(self, line: _Line, name: str, reason: str, group: Group) -> None:
        self.failures.append(Failure(name, " ".join(reason.split())))
        self._missing -= {spec.key for spec in group}
        line.closed = True

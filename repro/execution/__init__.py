"""Where runs happen: a queue of experiments, worked off by this process or by a pool of workers.

A run is done once its file is in the store, so to resume is to run what is missing. A search repeats that: it runs
what its finished runs call for next, until they call for nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from repro.campaign import Work
from repro.execution.coordinator import Outcome, check_device, coordinate, refuse_read_only
from repro.execution.groups import (
    CHECKPOINT_EVERY,
    STACKED_FORMULAS,
    STACKED_NETWORKS,
    STACKED_REPLICAS,
    Group,
    HaltError,
    describe,
    form_groups,
    num_steps,
    run_group,
)
from repro.execution.queue import Failure, Given, Queue, Searched, Source
from repro.execution.sbatch import Slurm, SubmissionError
from repro.execution.stops import Stop
from repro.execution.tasks import is_finished, read_task, work_on, write_task
from repro.execution.workers import Event, tally
from repro.protocol import RunSpec
from repro.results import RejectedFileError, Store, hold, read_record

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
    "read_task",
    "refuse_read_only",
    "run_group",
    "steps_kept",
    "tally",
    "work_off",
    "work_on",
    "write_task",
]


def execute(
    specs: Sequence[RunSpec], store: Store, *, published: Container[str] = (), **options: Any
) -> Outcome:
    """Run what is missing of runs at given settings.

    Args:
        specs: Runs as declared; finished ones are skipped.
        store: Where finished runs go.
        published: Keys of runs that are finished elsewhere.
        **options: As of `repro.execution.coordinator.coordinate`.

    Returns:
        Counts, failures and the time taken.

    Raises:
        ValueError: If the device or the number of workers cannot be.
        OSError: If the store takes no files.
    """
    return coordinate([Given("runs", specs)], store, published, **options)


def work_off(work: Iterable[Work], store: Store, *, runs: pd.DataFrame, **options: Any) -> Outcome:
    """Run what is missing of experiments in their order, and of their searches.

    Args:
        work: The experiments.
        store: Where finished runs go.
        runs: Runs table of everything finished so far, there or elsewhere.
        **options: As of `repro.execution.coordinator.coordinate`.

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
        return coordinate(sources, store, known, **options)

    from repro import search

    search.refuse_other_searches(searched, runs)
    with contextlib.ExitStack() as stack:
        for w in work:
            if w.comparison is not None:
                name = f"holds/{w.study}-{w.experiment}-{w.scale}"
                what = f"{w.study} {w.experiment} is searched"
                stack.enter_context(hold(store.directory, name, what))
        outcome = coordinate(sources, store, known, **options)
    try:
        search.write_journal(searched, scores, store.directory / "optuna.journal")
    except (OSError, ValueError) as error:  # of the disk, or of a trial's file that is damaged
        reason = getattr(error, "strerror", None) or error
        failure = Failure("optuna.journal", f"cannot be written ({reason})")
        outcome = dataclasses.replace(outcome, failures=(*outcome.failures, failure))
    return outcome


def pending_groups(
    work: Iterable[Work], store: Store, *, runs: pd.DataFrame, device: str = "cpu"
) -> tuple[list[Group], tuple[Failure, ...]]:
    """Return the groups that can run now, which for a search are those of its next batch.

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


def finished_scores(store: Store, runs: pd.DataFrame) -> Callable[[str], Score | None]:
    """Return a function that looks up the score of a finished run by its key.

    Args:
        store: Finished runs here.
        runs: Runs table of what was finished before, here or elsewhere.

    Returns:
        The function; it answers `None` for a run that has not finished, and raises a `RejectedFileError` for a file
        that cannot be used.
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
            value = record.measured.get("score")
            if not isinstance(value, (int, float)):
                raise RejectedFileError(f"{store.path(key)}: holds no score. Move it away.")
            known[key] = Score(float(value), record.status == "diverged")
        return known[key]

    return look_up


def steps_kept(group: Group, store: Store) -> int:
    """Return from which step the runs of a group go on, 0 for their start."""
    from repro.checkpoints import steps_done

    return steps_done(store.directory, group)

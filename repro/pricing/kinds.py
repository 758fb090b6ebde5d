"""Finished runs, by what decides their price.

Runs that differ in repetition, hyperparameters and trial alone cost alike, and a study has few different kinds of them:
their specification is parsed once, and their seconds are columns.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from repro.protocol import FINAL, ClosedForm, Problem, RunSpec, Training, kind_of, parse_run

Numbers: TypeAlias = npt.NDArray[np.float64]

LATEST = 5
"""How many of the latest rows alike a price is the median of."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """Finished runs that differ in repetition, hyperparameters and trial alone, the latest first.

    Attributes:
        spec: What they have in common.
        place: Of each among the rows of all kinds, the latest first.
        done: Whether each ended as it should.
        final: Whether each is a further run of one of the best trials of a search.
        steps: Steps of each.
        seconds: Of its training, its share where a group trained together; those of other work on the machine left
            out where the processor's are known, here and below.
        wall_seconds: From its start to its end.
        step_seconds: Of a step, where steps were timed.
        at_work: Whether the seconds are those of the processor, without those of other work.
    """

    spec: RunSpec
    place: npt.NDArray[np.intp]
    done: npt.NDArray[np.bool_]
    final: npt.NDArray[np.bool_]
    steps: Numbers
    seconds: Numbers
    wall_seconds: Numbers
    step_seconds: Numbers
    at_work: npt.NDArray[np.bool_]

    @property
    def took(self) -> Numbers:
        """Seconds from start to end, as far as they were measured."""
        return np.where(np.isnan(self.wall_seconds), self.seconds, self.wall_seconds)

    @property
    def step(self) -> Numbers:
        """Seconds of a step."""
        return self.seconds / self.steps

    @property
    def look(self) -> Numbers:
        """Seconds of a look at a held-out split; NaN where nothing tells."""
        if not isinstance(self.spec.task, Training):
            return np.full(len(self.place), math.nan)
        looks = (self.wall_seconds - self.seconds) / num_looks(self.spec, self.steps)
        return np.where(self.done, looks, math.nan)

    def at_most(self, step: float) -> Rows:
        """Return them with the seconds scaled down of those whose step took longer and may have waited for other work.

        Args:
            step: Seconds.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = np.where(~self.at_work & (self.step > step), step / self.step, 1.0)
        return dataclasses.replace(
            self, seconds=self.seconds * scale, wall_seconds=self.wall_seconds * scale
        )

    def only(self, chosen: npt.NDArray[np.bool_]) -> Rows:
        """Return some of them."""
        columns = {
            field.name: getattr(self, field.name)[chosen]
            for field in dataclasses.fields(self)
            if field.name != "spec"
        }
        return Rows(self.spec, **columns)


Kinds: TypeAlias = Sequence[Rows]


def by_kind(runs: pd.DataFrame, places: npt.NDArray[np.intp]) -> list[Rows]:
    """Return rows by kind.

    Args:
        runs: A runs table.
        places: Which of its rows, the latest first.

    Returns:
        A value a kind, in the order in which kinds first occur.
    """
    texts = runs["spec"].to_numpy()
    known: dict[object, int] = {}
    codes = np.array(
        [known.setdefault(kind_of(text), len(known)) for text in texts[places]], dtype=np.intp
    )
    num = {
        name: runs[name].to_numpy(np.float64)[places]
        for name in ("num_steps", "seconds", "wall_seconds", "processor_seconds", "step_seconds")
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        share = num["processor_seconds"] / num["wall_seconds"]
    at_work = np.isfinite(share)
    # what a run waited for, beside other work, the next one need not
    share[~at_work] = 1.0
    columns = {
        "place": np.arange(len(codes)),
        "done": (runs["status"] == "done").to_numpy(bool)[places],
        "final": (runs["stage"] == FINAL).to_numpy(bool)[places],
        "steps": num["num_steps"],
        "seconds": num["seconds"] * share,
        "wall_seconds": num["wall_seconds"] * share,
        "step_seconds": num["step_seconds"],
        "at_work": at_work,
    }
    together = np.maximum(1, runs["group_size"].to_numpy())[places]
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(known)))
    found = []
    for part in np.split(order, ends)[: len(known)]:
        spec = parse_run(texts[places[part[0]]])
        values = {name: column[part] for name, column in columns.items()}
        if isinstance(spec.task, Training):
            # the runs of a training group share their seconds; timing runs have their own
            values["seconds"] = values["seconds"] / together[part]
        found.append(Rows(spec, **values))
    return found


def done_only(rows: Kinds) -> Kinds:
    """Return those that ended as they should."""
    return [r.only(r.done) for r in rows if r.done.any()]


def size_of(problem: Problem) -> tuple[object, ...]:
    """Return what of a problem decides the cost of a step."""
    if isinstance(problem, ClosedForm):
        return (problem.function, problem.num_parameters)
    return (problem.dataset, problem.network, problem.batch_size)


def like(spec: RunSpec, rows: Kinds) -> Kinds:
    """Return the rows of the same method, or else those of the same estimator."""
    method, estimator = spec.method, spec.method.estimator
    same = [r for r in rows if r.spec.method.name == method.name]
    return same or [r for r in rows if r.spec.method.estimator == estimator]


def num_looks(spec: RunSpec, steps: Numbers | float) -> Numbers:
    """Return how often training runs of so many steps look at a held-out split."""
    task = spec.task
    assert isinstance(task, Training)
    validation: Numbers = 1 + np.ceil(np.asarray(steps) / task.evaluate_every)
    if task.test_every:
        return validation + 1 + np.ceil(np.asarray(steps) / task.test_every)
    # after early stopping the best epoch is tested beside the last
    tested = 2 if task.early_stopping else 1
    return validation + (tested if spec.role == "report" else 0)


def median(rows: Kinds, value: Callable[[Rows], Numbers]) -> float | None:
    """Return the median of the latest positive values, or `None` without any.

    Rows without the seconds of the processor, which may have waited for other work, count only where all are such.
    """
    latest: list[tuple[bool, int, float]] = []
    for r in rows:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = value(r)
        known = np.flatnonzero(np.isfinite(values) & (values > 0))
        known = known[np.argsort(~r.at_work[known], kind="stable")][:LATEST]
        waited = (~r.at_work[known]).tolist()
        latest += zip(waited, r.place[known].tolist(), values[known].tolist(), strict=True)
    latest = sorted(latest)[:LATEST]
    counted = [number for waited, _, number in latest if waited is latest[0][0]]
    return statistics.median(counted) if counted else None

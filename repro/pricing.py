"""What a run will cost, from what runs like it did cost.

A run costs its steps and its looks at the validation and the test split. Both prices come from rows: of the
same device where it has any, the latest first, because the code gets faster. Rows count as alike by what
decides the cost: the problem's function or network, data set and batch size, not its name, and the method or, where its
optimizer was never run there, the estimator.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import pandas as pd

from repro.protocol import (
    Approximation,
    Classification,
    ClosedForm,
    Problem,
    RunSpec,
    Sampling,
    Timing,
    Training,
    parse_run,
)

LATEST = 5
"""How many of the latest rows alike a price is the median of."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What some runs cost.

    Attributes:
        shared: Core-seconds of the runs that share the machine.
        alone: Seconds of the timing runs, which have the machine to themselves.
        unknown: Runs without a price.
    """

    shared: float = 0.0
    alone: float = 0.0
    unknown: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Return the cost of both."""
        return Cost(
            self.shared + other.shared, self.alone + other.alone, self.unknown + other.unknown
        )

    @property
    def seconds(self) -> float:
        """Core-seconds of everything that has a price."""
        return self.shared + self.alone

    def wall_clock(self, workers: int) -> float:
        """Return the seconds it takes a number of processes."""
        return self.shared / workers + self.alone


@dataclasses.dataclass(frozen=True)
class _Row:
    """A finished run: its specification and what it took, its share where a group trained together."""

    spec: RunSpec
    done: bool
    steps: int
    seconds: float
    wall_seconds: float
    step_seconds: float

    @property
    def took(self) -> float:
        """Seconds from start to end, as far as they were measured."""
        return self.seconds if math.isnan(self.wall_seconds) else self.wall_seconds

    @property
    def look(self) -> float:
        """Seconds of a look at a held-out split; NaN where nothing tells."""
        if not (self.done and isinstance(self.spec.task, Training)):
            return math.nan
        return (self.wall_seconds - self.seconds) / _looks(self.spec)


Rows: TypeAlias = Sequence[_Row]


class Prices:
    """Predicts the seconds of runs, each on one core, from the rows of one device.

    Attributes:
        device: Name of the device.
        borrowed: Whether it has no rows, so that those of others stand in.
    """

    def __init__(self, runs: pd.DataFrame, device: str = "") -> None:
        """Read the rows.

        Args:
            runs: A runs table.
            device: Name of the device whose rows count; that of the latest row by default. Where it has no
                rows, those of all devices count.
        """
        latest_first = runs.sort_values("finished", ascending=False, kind="stable")
        self.device = device or next(iter(latest_first["device"]), "")
        own = latest_first[latest_first["device"] == self.device]
        self.borrowed = own.empty
        counted = latest_first if self.borrowed else own
        self._rows = [_row(row) for _, row in counted.iterrows()]
        self._known: dict[object, float | None] = {}
        self._company = _company(self._rows)

    def __call__(self, spec: RunSpec) -> float | None:
        """Return the price of a run in seconds; `None` where nothing like it was ever run.

        Training: steps times the seconds of a step, plus looks times the seconds of a look, which rows with
        `wall_seconds` tell. A trial of a search may diverge and stop early: it has the mean cost of the
        finished trials of its experiment and method, or else of its problem and estimator, by the share of
        them that diverged and what those took.

        Args:
            spec: The run.

        Returns:
            The price of its share, if it runs in a group.
        """
        # repetition and hyperparameters change no price: a study has few different ones
        kind = dataclasses.replace(spec, hyperparameters=(), repetition=0, trial=None)
        if kind not in self._known:
            self._known[kind] = self._price(spec)
        return self._known[kind]

    def of(self, specs: Iterable[RunSpec]) -> Cost:
        """Return the cost of runs together."""
        total = Cost()
        for spec in specs:
            seconds = self(spec)
            if seconds is None:
                total += Cost(unknown=1)
            else:
                alone = isinstance(spec.task, Timing)
                total += Cost(alone=seconds) if alone else Cost(shared=seconds)
        return total

    def _price(self, spec: RunSpec) -> float | None:
        rows = [row for row in self._rows if _size(row.spec.problem) == _size(spec.problem)]
        match spec.task:
            case Training():
                return self._training(spec, spec.task, rows)
            case Timing():
                return self._timing(spec, spec.task, rows)
            case Sampling(num_draws=num) | Approximation(num_draws=num):
                sampled = [row for row in rows if isinstance(row.spec.task, type(spec.task))]
                draw = _median(row.wall_seconds / row.steps for row in _alike(spec, sampled))
                return None if draw is None else draw * num

    def _training(self, spec: RunSpec, task: Training, rows: Rows) -> float | None:
        trained = [row for row in rows if isinstance(row.spec.task, Training)]
        step = self._step(spec, trained, rows)
        look = self._look(spec, trained, step)
        whole = None if step is None else step * task.num_steps + look * _looks(spec)
        trials = [row for row in trained if row.spec.role == "tune"] if spec.role == "tune" else []
        own = [row for row in trials if _searched(row.spec) == _searched(spec)]
        of_estimator = [row for row in trials if row.spec.method.estimator == spec.method.estimator]
        found = own or of_estimator
        if not found:
            return whole
        # a trial that diverges does so after as many steps, whatever its budget
        early = [row.took for row in found if not row.done]
        share = len(early) / len(found)
        lost = share * statistics.fmean(early) if early else 0.0
        if share == 1.0:
            return lost
        return None if whole is None else lost + (1 - share) * whole

    def _step(self, spec: RunSpec, trained: Rows, rows: Rows) -> float | None:
        done = [row for row in trained if row.done]
        step = _median(row.seconds / row.steps for row in _alike(spec, done))
        if step is None:
            alone = _median(
                row.step_seconds
                for row in _alike(spec, [row for row in rows if _is_plain(row.spec.task)])
            )
            step = None if alone is None else alone * self._company
        return step

    def _look(self, spec: RunSpec, trained: Rows, step: float | None) -> float:
        look = _median(row.look for row in trained)
        if look is None and step is not None:
            # of another network, in steps: both pass as many examples through it
            like = [
                row
                for row in self._rows
                if isinstance(row.spec.problem, Classification)
                and (row.spec.scale == "smoke") == (spec.scale == "smoke")
            ]
            look = step * (_median(row.look / row.seconds * row.steps for row in like) or 0.0)
        return look or 0.0

    def _timing(self, spec: RunSpec, task: Timing, rows: Rows) -> float | None:
        turns = task.num_warmup + task.num_steps
        timed = [row for row in rows if _turn(row.spec.task) == _turn(task)]
        whole = _median(
            row.wall_seconds / (row.spec.task.num_warmup + row.spec.task.num_steps)
            for row in _alike(spec, timed)
            if isinstance(row.spec.task, Timing)
        )
        turn = whole or _median(row.seconds / row.steps for row in _alike(spec, timed))
        if turn is None and _is_plain(task):
            done = [row for row in rows if isinstance(row.spec.task, Training) and row.done]
            turn = _median(row.seconds / row.steps for row in _alike(spec, done))
        return None if turn is None else turn * turns


def _row(row: pd.Series) -> _Row:
    spec = parse_run(row["spec"])
    # the runs of a training group share their seconds; timing runs have their own
    shared = row["group_size"] if isinstance(spec.task, Training) else 1
    return _Row(
        spec,
        row["status"] == "done",
        int(row["num_steps"]),
        float(row["seconds"]) / max(1, shared),
        float(row["wall_seconds"]),
        float(row["step_seconds"]),
    )


def _size(problem: Problem) -> tuple[object, ...]:
    """Return what of a problem decides the cost of a step."""
    if isinstance(problem, ClosedForm):
        return (problem.function, problem.num_parameters)
    return (problem.dataset, problem.network, problem.batch_size)


def _alike(spec: RunSpec, rows: Rows) -> Rows:
    """Return the rows of the same method, or else those of the same estimator."""
    method, estimator = spec.method, spec.method.estimator
    same = [row for row in rows if row.spec.method.name == method.name]
    return same or [row for row in rows if row.spec.method.estimator == estimator]


def _company(rows: Rows) -> float:
    """Return how much longer a step takes in training, beside other workers, than timed alone."""
    trained: dict[object, list[float]] = {}
    timed: dict[object, list[float]] = {}
    for row in rows:
        kind = (_size(row.spec.problem), row.spec.method.estimator, row.spec.method.optimizer)
        if isinstance(row.spec.task, Training) and row.done:
            trained.setdefault(kind, []).append(row.seconds / row.steps)
        elif _is_plain(row.spec.task):
            timed.setdefault(kind, []).append(row.step_seconds)
    pairs = [(_median(trained[kind]), _median(timed[kind])) for kind in trained if kind in timed]
    return statistics.median([long / short for long, short in pairs if long and short] or [1.0])


def _median(values: Iterable[float]) -> float | None:
    """Return the median of the latest positive values, or `None` without any."""
    latest = [value for value in values if math.isfinite(value) and value > 0][:LATEST]
    return statistics.median(latest) if latest else None


def _looks(spec: RunSpec) -> int:
    """Return how often a training run looks at a held-out split."""
    task = spec.task
    assert isinstance(task, Training)
    validation = 1 + math.ceil(task.num_steps / task.evaluate_every)
    if task.test_every:
        return validation + 1 + math.ceil(task.num_steps / task.test_every)
    # after early stopping the best epoch is tested beside the last
    tested = 2 if task.early_stopping else 1
    return validation + (tested if spec.role == "report" else 0)


def _searched(spec: RunSpec) -> tuple[str, str, str]:
    return (spec.study, spec.experiment, spec.method.name)


def _turn(task: object) -> Timing | None:
    """Return what two timings share if their turns are the same work."""
    return (
        dataclasses.replace(task, num_steps=1, num_warmup=0) if isinstance(task, Timing) else None
    )


def _is_plain(task: object) -> bool:
    """Tell whether a turn of a timing is one step of one run."""
    if not isinstance(task, Timing):
        return False
    return task == Timing(
        task.num_steps, task.num_warmup, task.device, task.num_threads, task.memory, task.precision
    )

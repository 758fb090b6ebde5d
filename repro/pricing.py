"""What a run will cost, from what runs like it did cost.

A run costs its steps and its looks at the validation and the test split. Both prices come from rows: of the
same device where it has any, the latest first, because the code gets faster. Where a row has the seconds of its
processor, these are the price: a row that was made beside other work has waited for it, too. Rows count as alike by what
decides the cost: the problem's function or network, data set and batch size, not its name, and the method or, where its
optimizer was never run there, the estimator. A run that may end early has as many steps as such runs took; all that it
is allowed where none has run.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
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

Numbers: TypeAlias = npt.NDArray[np.float64]

LATEST = 5
"""How many of the latest rows alike a price is the median of."""

LONG = 0.1
"""Share of a run's steps below which another says little of their price: it mostly paid for its start."""


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
class _Rows:
    """Finished runs that differ in repetition, hyperparameters and trial alone, the latest first.

    Attributes:
        spec: What they have in common.
        place: Of each among the rows of all kinds, the latest first.
        done: Whether each ended as it should.
        steps: Steps of each.
        seconds: Of its training, its share where a group trained together; those of other work on the machine left
            out where the processor's are known, here and below.
        wall_seconds: From its start to its end.
        step_seconds: Of a step, where steps were timed.
    """

    spec: RunSpec
    place: npt.NDArray[np.intp]
    done: npt.NDArray[np.bool_]
    steps: Numbers
    seconds: Numbers
    wall_seconds: Numbers
    step_seconds: Numbers

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
        looks = (self.wall_seconds - self.seconds) / _looks(self.spec, self.steps)
        return np.where(self.done, looks, math.nan)

    def only(self, chosen: npt.NDArray[np.bool_]) -> _Rows:
        """Return some of them."""
        columns = {
            field.name: getattr(self, field.name)[chosen]
            for field in dataclasses.fields(self)
            if field.name != "spec"
        }
        return _Rows(self.spec, **columns)


Kinds: TypeAlias = Sequence[_Rows]


class Prices:
    """Predicts the seconds of runs, each on one core that it has to itself, from the rows of one device.

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
        # by key, too: what was finished in the same second has one order wherever it comes from
        told = runs[["finished", "key"]].reset_index(drop=True)
        places = told.sort_values(["finished", "key"], ascending=False).index.to_numpy()
        devices = runs["device"].to_numpy()[places]
        self.device = device or next(iter(devices), "")
        own = places[devices == self.device]
        self.borrowed = not own.size
        self._rows = _kinds(runs, places if self.borrowed else own)
        self._known: dict[object, float | None] = {}
        self._foreign_looks: dict[bool, float] = {}
        self._sizes: dict[object, list[_Rows]] = {}
        for rows in self._rows:
            self._sizes.setdefault(_size(rows.spec.problem), []).append(rows)
        self._company = _company(self._rows)

    def __call__(self, spec: RunSpec) -> float | None:
        """Return the price of a run in seconds; `None` where nothing like it was ever run.

        Training: steps times the seconds of a step, plus looks times the seconds of a look, which rows with
        `wall_seconds` tell. A trial of a search may diverge and stop early: it has the mean cost of the
        finished trials of its experiment and method, or else of its problem and estimator, or else of its estimator
        alone, by the share of them that diverged and what those took.

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
        rows = self._sizes.get(_size(spec.problem), [])
        match spec.task:
            case Training():
                return self._training(spec, spec.task, rows)
            case Timing():
                return self._timing(spec, spec.task, rows)
            case Sampling(num_draws=num) | Approximation(num_draws=num):
                sampled = [r for r in rows if isinstance(r.spec.task, type(spec.task))]
                draw = _median(_alike(spec, sampled), lambda r: r.wall_seconds / r.steps)
                return None if draw is None else draw * num

    def _training(self, spec: RunSpec, task: Training, rows: Kinds) -> float | None:
        trained = [r for r in rows if isinstance(r.spec.task, Training)]
        step = self._step(spec, task, trained, rows)
        look = self._look(spec, trained, step)
        steps = self._steps(spec, task, trained)
        whole = None if step is None else step * steps + look * float(_looks(spec, steps))
        if spec.role != "tune":
            return whole
        trials = _trials(spec, trained)
        own = [r for r in trials if _searched(r.spec) == _searched(spec)]
        if own or trials:
            share, early = _early(own or trials, lambda r: r.took)
        else:  # of other problems only how often they diverge, and after how many steps
            share, early = _early(_trials(spec, self._rows), lambda r: r.steps)
            early *= step or 0.0
        if share == 1.0 and early:
            return early
        return None if whole is None else share * early + (1 - share) * whole

    def _steps(self, spec: RunSpec, task: Training, trained: Kinds) -> float:
        if not task.early_stopping:
            return task.num_steps
        ended = _alike(spec, _done([r for r in trained if r.spec.task == task]))
        taken = [number for r in ended for number in r.steps.tolist()]
        # the mean: some runs learn to the end, and it is their sum that is predicted
        return statistics.fmean(taken) if taken else task.num_steps

    def _step(self, spec: RunSpec, task: Training, trained: Kinds, rows: Kinds) -> float | None:
        alike = _alike(spec, _done(trained))
        most = max((r.steps.max() for r in alike), default=0.0)
        long = [r.only(r.steps >= LONG * min(task.num_steps, most)) for r in alike]
        step = _median(long, lambda r: r.step)
        if step is None:
            timed = [r for r in rows if _is_plain(r.spec.task)]
            alone = _median(_alike(spec, timed), lambda r: r.step_seconds)
            step = None if alone is None else alone * self._company
        return step

    def _look(self, spec: RunSpec, trained: Kinds, step: float | None) -> float:
        look = _median(trained, lambda r: r.look)
        if look is None and step is not None:
            look = step * self._steps_of_a_look(spec.scale == "smoke")
        return look or 0.0

    def _steps_of_a_look(self, smoke: bool) -> float:
        """Return how many steps a look takes with other networks: both pass as many examples through one."""
        if smoke not in self._foreign_looks:
            like = [
                r
                for r in self._rows
                if isinstance(r.spec.problem, Classification) and (r.spec.scale == "smoke") == smoke
            ]
            self._foreign_looks[smoke] = _median(like, lambda r: r.look / r.step) or 0.0
        return self._foreign_looks[smoke]

    def _timing(self, spec: RunSpec, task: Timing, rows: Kinds) -> float | None:
        turns = task.num_warmup + task.num_steps
        timed = _alike(spec, [r for r in rows if _turn(r.spec.task) == _turn(task)])
        turn = _median(timed, lambda r: r.wall_seconds / _turns(r.spec.task))
        turn = turn or _median(timed, lambda r: r.step)
        if turn is None and _is_plain(task):
            trained = _done([r for r in rows if isinstance(r.spec.task, Training)])
            turn = _median(_alike(spec, trained), lambda r: r.step)
        return None if turn is None else turn * turns


def _kinds(runs: pd.DataFrame, places: npt.NDArray[np.intp]) -> list[_Rows]:
    """Return the rows at some places by kind: a specification is parsed once, however many runs have it."""
    texts = runs["spec"].to_numpy()
    known: dict[object, int] = {}
    codes = np.array(
        [known.setdefault(_kind(text), len(known)) for text in texts[places]], dtype=np.intp
    )
    num = {
        name: runs[name].to_numpy(np.float64)[places]
        for name in ("num_steps", "seconds", "wall_seconds", "processor_seconds", "step_seconds")
    }
    with np.errstate(divide="ignore", invalid="ignore"):
        at_work = num["processor_seconds"] / num["wall_seconds"]
    # what a run waited for, beside other work, the next one need not
    at_work[~np.isfinite(at_work)] = 1.0
    columns = {
        "place": np.arange(len(codes)),
        "done": (runs["status"] == "done").to_numpy(bool)[places],
        "steps": num["num_steps"],
        "seconds": num["seconds"] * at_work,
        "wall_seconds": num["wall_seconds"] * at_work,
        "step_seconds": num["step_seconds"],
    }
    shared = np.maximum(1, runs["group_size"].to_numpy())[places]
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(known)))
    found = []
    for part in np.split(order, ends)[: len(known)]:
        spec = parse_run(texts[places[part[0]]])
        values = {name: column[part] for name, column in columns.items()}
        if isinstance(spec.task, Training):
            # the runs of a training group share their seconds; timing runs have their own
            values["seconds"] = values["seconds"] / shared[part]
        found.append(_Rows(spec, **values))
    return found


def _kind(text: str) -> tuple[str, str, str]:
    """Return what is left of a canonical JSON without hyperparameters, repetition and trial: found, not parsed."""
    # a key is followed by the next of its class, and no string holds a bare quote
    head, _, rest = text.partition('"hyperparameters":[')
    body, _, rest = rest.partition('],"method":')[2].partition('"repetition":')
    return head, body, rest.partition(',"role":')[2].partition(',"trial":')[0].rstrip("}")


def _done(rows: Kinds) -> Kinds:
    """Return those that ended as they should."""
    return [r.only(r.done) for r in rows if r.done.any()]


def _size(problem: Problem) -> tuple[object, ...]:
    """Return what of a problem decides the cost of a step."""
    if isinstance(problem, ClosedForm):
        return (problem.function, problem.num_parameters)
    return (problem.dataset, problem.network, problem.batch_size)


def _alike(spec: RunSpec, rows: Kinds) -> Kinds:
    """Return the rows of the same method, or else those of the same estimator."""
    method, estimator = spec.method, spec.method.estimator
    same = [r for r in rows if r.spec.method.name == method.name]
    return same or [r for r in rows if r.spec.method.estimator == estimator]


def _company(rows: Kinds) -> float:
    """Return how much longer a step takes in training, beside other workers, than timed alone."""
    trained: dict[object, list[_Rows]] = {}
    timed: dict[object, list[_Rows]] = {}
    for r in rows:
        kind = (_size(r.spec.problem), r.spec.method.estimator, r.spec.method.optimizer)
        if isinstance(r.spec.task, Training) and r.done.any():
            trained.setdefault(kind, []).append(r.only(r.done))
        elif _is_plain(r.spec.task):
            timed.setdefault(kind, []).append(r)
    pairs = [
        (_median(trained[kind], lambda r: r.step), _median(timed[kind], lambda r: r.step_seconds))
        for kind in trained
        if kind in timed
    ]
    return statistics.median([long / short for long, short in pairs if long and short] or [1.0])


def _median(rows: Kinds, value: Callable[[_Rows], Numbers]) -> float | None:
    """Return the median of the latest positive values, or `None` without any."""
    latest: list[tuple[int, float]] = []
    for r in rows:
        with np.errstate(divide="ignore", invalid="ignore"):
            values = value(r)
        known = np.flatnonzero(np.isfinite(values) & (values > 0))[:LATEST]
        latest += zip(r.place[known].tolist(), values[known].tolist(), strict=True)
    counted = [number for _, number in sorted(latest)[:LATEST]]
    return statistics.median(counted) if counted else None


def _trials(spec: RunSpec, rows: Kinds) -> Kinds:
    """Return the trials of a run's estimator, on functions or on data as its own problem is."""
    return [
        r
        for r in rows
        if r.spec.role == "tune"
        and isinstance(r.spec.task, Training)
        and isinstance(r.spec.problem, type(spec.problem))
        and r.spec.method.estimator == spec.method.estimator
    ]


def _early(trials: Kinds, cost: Callable[[_Rows], Numbers]) -> tuple[float, float]:
    """Return which share of trials diverged, and their mean cost: they do so after as many steps, whatever the budget."""
    if not trials:
        return 0.0, 0.0
    early = np.concatenate([cost(r)[~r.done] for r in trials])
    share = len(early) / sum(len(r.place) for r in trials)
    return share, statistics.fmean(early.tolist()) if len(early) else 0.0


def _looks(spec: RunSpec, steps: Numbers | float) -> Numbers:
    """Return how often training runs of so many steps look at a held-out split."""
    task = spec.task
    assert isinstance(task, Training)
    validation: Numbers = 1 + np.ceil(np.asarray(steps) / task.evaluate_every)
    if task.test_every:
        return validation + 1 + np.ceil(np.asarray(steps) / task.test_every)
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


def _turns(task: object) -> int:
    assert isinstance(task, Timing)
    return task.num_warmup + task.num_steps


def _is_plain(task: object) -> bool:
    """Tell whether a turn of a timing is one step of one run."""
    if not isinstance(task, Timing):
        return False
    return task == Timing(
        task.num_steps, task.num_warmup, task.device, task.num_threads, task.memory, task.precision
    )

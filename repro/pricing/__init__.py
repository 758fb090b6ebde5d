"""What a run will cost, estimated from what similar runs have cost.

A run costs its steps and its looks at the validation and the test split. Both prices come from rows: of the
same device where it has any, the latest first, because the code gets faster. Where a row has the seconds of its
processor, these are the price: a row that was made beside other work has waited for it, too. Where it has not, and a
step like its own was timed alone, it counts for no more than such steps take in training. Rows count as alike by what
decides the cost: the problem's function or network, data set and batch size, not its name, and the method or, where its
optimizer was never run there, the estimator. A run that may end early has as many steps as such runs took; all that it
is allowed where none has run.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from repro.pricing.kinds import (
    Kinds,
    Numbers,
    Rows,
    by_kind,
    done_only,
    like,
    median,
    num_looks,
    size_of,
)
from repro.protocol import (
    FINAL,
    Approximation,
    Classification,
    RunSpec,
    Sampling,
    Timing,
    Training,
)

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
        told_rows = by_kind(runs, places if self.borrowed else own)
        self._company = _company(told_rows)
        self._rows: list[Rows] = []
        self._known: dict[object, float | None] = {}
        self._foreign_looks: dict[bool, float] = {}
        self._sizes: dict[object, list[Rows]] = {}
        for same_size in _by_size(told_rows).values():
            quiet = [self._without_waiting(rows, same_size) for rows in same_size]
            self._rows += quiet
            self._sizes[size_of(quiet[0].spec.problem)] = quiet

    def __call__(self, spec: RunSpec) -> float | None:
        """Return the price of a run in seconds; `None` where nothing like it was ever run.

        Training: steps times the seconds of a step, plus looks times the seconds of a look, which rows with
        `wall_seconds` tell. A trial of a search may diverge and stop early: it has the mean cost of the
        finished trials of its experiment and method, or else of its problem and estimator, or else of its estimator
        alone, by the share of them that diverged and what those took. One of the best that is run again goes on to the end.

        Args:
            spec: The run.

        Returns:
            The price of its share, if it runs in a group.
        """
        # repetition and hyperparameters change no price: a study has few different ones
        same = dataclasses.replace(spec, hyperparameters=(), repetition=0, trial=None)
        kind = same, _is_final(spec)
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
        rows = self._sizes.get(size_of(spec.problem), [])
        match spec.task:
            case Training():
                return self._training(spec, spec.task, rows)
            case Timing():
                return self._timing(spec, spec.task, rows)
            case Sampling(num_draws=num) | Approximation(num_draws=num):
                sampled = [r for r in rows if isinstance(r.spec.task, type(spec.task))]
                draw = median(like(spec, sampled), lambda r: r.wall_seconds / r.steps)
                return None if draw is None else draw * num

    def _training(self, spec: RunSpec, task: Training, rows: Kinds) -> float | None:
        trained = [r for r in rows if isinstance(r.spec.task, Training)]
        step = self._step(spec, task, trained, rows)
        look = self._look(spec, trained, step)
        steps = self._steps(spec, task, trained)
        whole = None if step is None else step * steps + look * float(num_looks(spec, steps))
        if spec.role != "tune" or _is_final(spec):
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
        if not (task.early_stopping or task.patience):
            return task.num_steps
        ended = like(spec, done_only([r for r in trained if r.spec.task == task]))
        taken = [number for r in ended for number in r.steps.tolist()]
        # the mean: some runs learn to the end, and it is their sum that is predicted
        return statistics.fmean(taken) if taken else task.num_steps

    def _step(self, spec: RunSpec, task: Training, trained: Kinds, rows: Kinds) -> float | None:
        alike = like(spec, done_only(trained))
        most = max((r.steps.max() for r in alike), default=0.0)
        long = [r.only(r.steps >= LONG * min(task.num_steps, most)) for r in alike]
        step = median(long, lambda r: r.step)
        if step is None:
            step = self._from_timings(spec, rows)
        return step

    def _from_timings(self, spec: RunSpec, rows: Kinds) -> float | None:
        """Return what a step takes in training by the rows that timed it alone."""
        timed = [r for r in rows if _is_plain(r.spec.task)]
        alone = median(like(spec, timed), lambda r: r.step_seconds)
        return None if alone is None else alone * self._company

    def _without_waiting(self, rows: Rows, same_size: Kinds) -> Rows:
        """Return training rows, where they know no processor, at no more than their timed steps cost."""
        if not isinstance(rows.spec.task, Training):
            return rows
        most = self._from_timings(rows.spec, same_size)
        return rows if most is None else rows.at_most(most)

    def _look(self, spec: RunSpec, trained: Kinds, step: float | None) -> float:
        look = median(trained, lambda r: r.look)
        if look is None and step is not None:
            look = step * self._steps_of_a_look(spec.scale == "smoke")
        return look or 0.0

    def _steps_of_a_look(self, smoke: bool) -> float:
        """Return how many steps a look takes with other networks: both pass as many examples through one."""
        if smoke not in self._foreign_looks:
            on_data = [
                r
                for r in self._rows
                if isinstance(r.spec.problem, Classification) and (r.spec.scale == "smoke") == smoke
            ]
            self._foreign_looks[smoke] = median(on_data, lambda r: r.look / r.step) or 0.0
        return self._foreign_looks[smoke]

    def _timing(self, spec: RunSpec, task: Timing, rows: Kinds) -> float | None:
        turns = task.num_warmup + task.num_steps
        timed = like(spec, [r for r in rows if _turn(r.spec.task) == _turn(task)])
        turn = median(timed, lambda r: r.wall_seconds / _turns(r.spec.task))
        turn = turn or median(timed, lambda r: r.step)
        if turn is None and _is_plain(task):
            trained = done_only([r for r in rows if isinstance(r.spec.task, Training)])
            turn = median(like(spec, trained), lambda r: r.step)
        return None if turn is None else turn * turns


def _by_size(rows: Kinds) -> dict[object, list[Rows]]:
    """Return the rows by what of their problem decides the cost of a step."""
    sizes: dict[object, list[Rows]] = {}
    for r in rows:
        sizes.setdefault(size_of(r.spec.problem), []).append(r)
    return sizes


def _company(rows: Kinds) -> float:
    """Return how much longer a step takes in training, beside other workers, than timed alone."""
    trained: dict[object, list[Rows]] = {}
    timed: dict[object, list[Rows]] = {}
    for r in rows:
        kind = (size_of(r.spec.problem), r.spec.method.estimator, r.spec.method.optimizer)
        if isinstance(r.spec.task, Training):
            trained.setdefault(kind, []).append(r.only(r.done))
        elif _is_plain(r.spec.task):
            timed.setdefault(kind, []).append(r)
    pairs = [
        (median(trained[kind], lambda r: r.step), median(timed[kind], lambda r: r.step_seconds))
        for kind in trained
        if kind in timed
    ]
    return statistics.median([long / short for long, short in pairs if long and short] or [1.0])


def _trials(spec: RunSpec, rows: Kinds) -> Kinds:
    """Return the first runs of trials of a run's estimator, on functions or on data as its own problem is."""
    return [
        r.only(~r.final)
        for r in rows
        if r.spec.role == "tune"
        and isinstance(r.spec.task, Training)
        and isinstance(r.spec.problem, type(spec.problem))
        and r.spec.method.estimator == spec.method.estimator
        and not r.final.all()
    ]


def _early(trials: Kinds, cost: Callable[[Rows], Numbers]) -> tuple[float, float]:
    """Return which share of trials diverged, and their mean cost: they do so after as many steps, whatever the budget."""
    if not trials:
        return 0.0, 0.0
    early = np.concatenate([cost(r)[~r.done] for r in trials])
    share = len(early) / sum(len(r.place) for r in trials)
    return share, statistics.fmean(early.tolist()) if len(early) else 0.0


def _searched(spec: RunSpec) -> tuple[str, str, str]:
    return (spec.study, spec.experiment, spec.method.name)


def _is_final(spec: RunSpec) -> bool:
    return spec.trial is not None and spec.trial.stage == FINAL


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

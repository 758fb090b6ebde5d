"""What to run next: everything that is missing, in the order that completes verdicts soonest.

The queue goes by claims, the one that costs least to complete first, and what a claim needs is worked off
together. A timing experiment takes its place by its own price, before the claims that need it, because nothing
else may run beside it; only what is cheaper comes before it. What no claim needs comes last.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import pandas as pd

from repro.pricing import Cost
from repro.protocol import (
    FINAL,
    REFINEMENT,
    Comparison,
    RunSpec,
    Search,
    Study,
    Timing,
    Trial,
    best_trial,
    experiments_of,
    finalists,
    kind_of,
)
from repro.results import HYPERPARAMETERS

PLACE = ("study", "experiment", "scale", "method")
Place: TypeAlias = tuple[str, ...]
"""Values of `PLACE`."""


class _Row(NamedTuple):
    """What of a row tells whether its run is one of a search."""

    role: str
    stage: str
    search: str
    trial: float
    repetition: int
    score: float
    spec: str
    values: tuple[float, ...]


class _Found(NamedTuple):
    """The rows of a searched method: finished trials and reported runs, each with a run that they are like."""

    trial: RunSpec
    report: RunSpec
    tuned: Sequence[_Row]
    reported: Sequence[_Row]


@dataclasses.dataclass(frozen=True)
class Work:
    """An experiment at one scale, as far as it was chosen.

    Attributes:
        study: Name of the study.
        experiment: Name of the experiment.
        scale: The scale of its rows.
        specs: Its runs at given settings.
        comparison: Its search; `None` where the settings are given.
        done: Finished runs by method.
        missing: Runs that have not finished, by method; of a search, runs that cost what its own will.
    """

    study: str
    experiment: str
    scale: str
    specs: tuple[RunSpec, ...]
    comparison: Comparison | None
    done: Mapping[str, int]
    missing: Mapping[str, tuple[RunSpec, ...]]

    @property
    def left(self) -> tuple[RunSpec, ...]:
        """What is missing of all methods."""
        return tuple(spec for specs in self.missing.values() for spec in specs)

    @property
    def is_timing(self) -> bool:
        """Whether it wants the machine to itself."""
        return any(isinstance(spec.task, Timing) for spec in self.specs)


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the queue.

    Attributes:
        purpose: The claim that it completes, as `study number`; empty where no claim needs it.
        work: Its experiments, in order.
        cost: What is missing of them.
    """

    purpose: str
    work: tuple[Work, ...]
    cost: Cost


def survey(
    specs: Iterable[RunSpec], comparisons: Iterable[Comparison], runs: pd.DataFrame
) -> tuple[Work, ...]:
    """Return what is done and what is missing of chosen experiments.

    Args:
        specs: Chosen runs at given settings.
        comparisons: Chosen searches.
        runs: Runs table of everything finished.

    Returns:
        One value an experiment, those at given settings first, in declared order.
    """
    given: dict[tuple[str, str], list[RunSpec]] = {}
    for spec in specs:
        given.setdefault((spec.study, spec.experiment), []).append(spec)
    finished = set(runs["key"])
    comparisons = tuple(comparisons)
    rows = _rows_of(comparisons, runs)
    return (
        *(_given(tuple(members), finished) for members in given.values()),
        *(_searched(comparison, rows) for comparison in comparisons),
    )


def _given(specs: tuple[RunSpec, ...], finished: set[str]) -> Work:
    methods = dict.fromkeys(spec.method.name for spec in specs)
    missing = {
        name: tuple(s for s in specs if s.method.name == name and s.key not in finished)
        for name in methods
    }
    done = {
        name: sum(spec.method.name == name for spec in specs) - len(missing[name])
        for name in methods
    }
    first = specs[0]
    return Work(first.study, first.experiment, first.scale, specs, None, done, missing)


def _rows_of(comparisons: Sequence[Comparison], runs: pd.DataFrame) -> Mapping[Place, list[_Row]]:
    """Return the rows of searched experiments by study, experiment, scale and method."""
    # one look at all rows, of which there may be very many: taking them out of the table takes longest
    names = {comparison.experiment.name for comparison in comparisons}
    chosen = runs["experiment"].isin(list(names)).to_numpy(bool)
    found: dict[Place, list[_Row]] = {}
    places, held, values = (
        zip(*(runs[name].to_numpy()[chosen].tolist() for name in columns), strict=True)
        for columns in (PLACE, _Row._fields[:-1], HYPERPARAMETERS)
    )
    for place, row, at in zip(places, held, values, strict=True):
        found.setdefault(place, []).append(_Row._make((*row, at)))
    return found


def _searched(comparison: Comparison, rows: Mapping[Place, list[_Row]]) -> Work:
    experiment = comparison.experiment
    scale, digest = experiment.label(comparison.scale), comparison.digest
    found: dict[str, _Found] = {}
    for method in experiment.methods:
        own = [
            row
            for row in rows.get((comparison.study, experiment.name, scale, method.name), [])
            if row.search in ("", digest)
        ]
        trial, report = comparison.typical_runs(method)
        found[method.name] = _Found(trial, report, _alike(trial, own), _alike(report, own))
    proposed = _proposed(comparison, (row for own in found.values() for row in own.tuned))
    done, missing = {}, {}
    for name, own_rows in found.items():
        done[name], missing[name] = _lacking(comparison, own_rows, proposed)
    return Work(comparison.study, experiment.name, scale, (), comparison, done, missing)


def _proposed(comparison: Comparison, tuned: Iterable[_Row]) -> int:
    """Return how many trials every method gets before those beside its winner, as far as that can be told."""
    # the edge rule adds the same whole decades for all methods: one trial of any of them tells of the others
    search = comparison.search
    num, each = search.num_trials, search.extension_trials
    last = max((row.trial for row in tuned if not row.stage and row.trial >= num), default=num - 1)
    return num + math.ceil((last + 1 - num) / each) * each


def _lacking(
    comparison: Comparison, found: _Found, proposed: int
) -> tuple[int, tuple[RunSpec, ...]]:
    """Return how many runs of a searched method are done, and what is missing as far as that can be told."""
    search, (trial, report, tuned, reported) = comparison.search, found
    final = dataclasses.replace(trial, trial=Trial(0, "", FINAL))
    trials: dict[float, dict[int, _Row]] = {}
    for row in tuned:
        trials.setdefault(row.trial, {})[row.repetition] = row
    refined = {row.trial for row in tuned if row.stage == REFINEMENT}
    # those beside the winners have any number
    wanted = [*range(proposed), *sorted(refined)]
    trials_left = sum(n not in trials.get(at, {}) for at in wanted for n in search.first_runs)
    to_refine = max(0, search.refinement_trials - len(refined))
    trials_left += to_refine * search.repetitions
    if trials_left:
        finals_left = search.num_further_runs(len(wanted) + to_refine)
    else:
        finals_left, winner = _finals(search, {at: trials[at] for at in wanted})
        if winner is not None:
            reported = [row for row in reported if _same(row.values, winner.values)]
    ended = {row.repetition for row in reported} & set(range(comparison.plan.repetitions))
    done = sum(map(len, trials.values())) + len(ended)
    reports_left = comparison.plan.repetitions - len(ended)
    return done, (trial,) * trials_left + (final,) * finals_left + (report,) * reports_left


def _finals(search: Search, trials: Mapping[float, Mapping[int, _Row]]) -> tuple[int, _Row | None]:
    """Return how many runs the finalists lack, and a row of the winner once they lack none."""
    scores = {at: [own[n].score for n in search.first_runs] for at, own in trials.items()}
    again = [at for at, own in trials.items() if own.keys() >= set(search.further_runs)]
    chosen = finalists(scores, search.finalists, again)
    for at in chosen:
        scores[at] += [trials[at][n].score for n in search.further_runs if n in trials[at]]
    wanted = search.repetitions + search.finalist_repetitions
    if left := sum(wanted - len(scores[at]) for at in chosen):
        return left, None
    return 0, next(iter(trials[best_trial(scores, chosen)].values()))


def _alike(spec: RunSpec, rows: Sequence[_Row]) -> list[_Row]:
    """Return the rows whose runs differ from one in repetition, hyperparameters and trial alone."""
    kind = kind_of(spec.canonical_json())
    return [row for row in rows if row.role == spec.role and kind_of(row.spec) == kind]


def _same(one: Iterable[float], other: Iterable[float]) -> bool:
    """Tell whether hyperparameters are equal; one that a method has not is missing in both."""
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(one, other, strict=True))


def plan(
    work: Sequence[Work],
    studies: Sequence[Study],
    price: Callable[[Iterable[RunSpec]], Cost],
) -> tuple[Stage, ...]:
    """Return all work as a queue: cheapest verdict first.

    Claims are taken by what still has to be run for them once those before them are complete, those with
    runs of unknown cost after those without; ties keep the declared order.

    Args:
        work: What was chosen, see `survey`.
        studies: The studies whose claims count.
        price: The cost of runs.

    Returns:
        Stages; every experiment is in one of them.
    """
    costs = {_identity(w): price(w.left) for w in work}
    rest = {_identity(w): w for w in work}
    goals = list(_goals(studies, rest))
    stages: list[Stage] = []
    while goals:
        ranked = min(goals, key=lambda goal: _rank(costs[i] for i in goal[1] if i in rest))
        goals.remove(ranked)
        purpose, needed = ranked
        chosen = sorted((i for i in needed if i in rest), key=lambda i: _rank([costs[i]]))
        if chosen:
            cost = sum((costs[i] for i in chosen), Cost())
            stages.append(Stage(purpose, tuple(rest.pop(i) for i in chosen), cost))
    stages += [
        Stage("", (rest[i],), costs[i]) for i in sorted(rest, key=lambda i: _rank([costs[i]]))
    ]
    return tuple(stages)


def _identity(work: Work) -> tuple[str, str]:
    return (work.study, work.experiment)


def _goals(
    studies: Sequence[Study], work: Mapping[tuple[str, str], Work]
) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Yield what completes something, with its name: a claim's experiments, each of its timings alone."""
    for study in studies:
        for claim in study.claims:
            needed = tuple(i for i in experiments_of(study, claim, studies) if i in work)
            purpose = f"{study.name} {claim.number}"
            for identity in needed:
                if work[identity].is_timing:
                    yield purpose, (identity,)
            if needed:
                yield purpose, needed


def _rank(costs: Iterable[Cost]) -> tuple[bool, float]:
    total = sum(costs, Cost())
    return total.unknown > 0, total.seconds

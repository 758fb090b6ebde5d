"""What to run next: everything that is missing, in the order that completes verdicts soonest.

The queue goes by claims, the one that costs least to complete first, and what a claim needs is worked off
together. A timing experiment takes its place by its own price, before the claims that need it: the machine
has to fall silent for it, and what runs before it is cheaper than it is. What no claim needs comes last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from repro.pricing import Cost
from repro.protocol import Comparison, RunSpec, Study, Timing, experiments_of


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
    named = ["study", "experiment", "scale", "method", "role", "stage"]
    counts: dict[Any, int] = runs.groupby(named).size().to_dict()
    return (
        *(_given(tuple(members), finished) for members in given.values()),
        *(_searched(comparison, counts) for comparison in comparisons),
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


def _searched(comparison: Comparison, counts: Mapping[Any, int]) -> Work:
    experiment, search = comparison.experiment, comparison.search
    scale = experiment.label(comparison.scale)
    done, missing = {}, {}
    for method in experiment.methods:
        place = (comparison.study, experiment.name, scale, method.name)
        shared, refining, reports = (
            counts.get((*place, *kind), 0)
            for kind in (("tune", ""), ("tune", "refinement"), ("report", ""))
        )
        done[method.name] = shared + refining + reports
        reports_left = max(0, comparison.plan.repetitions - reports)
        # reported runs come after the search has ended, however many trials the edge rule gave it; trials beside
        # the winners may be asked for when there are reported runs already
        shared_left = search.num_trials * search.repetitions - shared if reports_left else 0
        refining_left = search.refinement_trials * search.repetitions - refining
        trial, report = comparison.typical_runs(method)
        trials_left = max(0, shared_left) + max(0, refining_left)
        missing[method.name] = (trial,) * trials_left + (report,) * reports_left
    return Work(comparison.study, experiment.name, scale, (), comparison, done, missing)


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
            needed = tuple(i for i in experiments_of(study, claim) if i in work)
            purpose = f"{study.name} {claim.number}"
            for identity in needed:
                if work[identity].is_timing:
                    yield purpose, (identity,)
            if needed:
                yield purpose, needed


def _rank(costs: Iterable[Cost]) -> tuple[bool, float]:
    total = sum(costs, Cost())
    return total.unknown > 0, total.seconds

"""The course of a search: what every method is asked for next, and who has won.

Every method of a comparison gets the same sequence over the same space. If the winner of any of them lies near
a bound, all of them get the same further trials in the decade beyond it (the edge rule). Then, if the search says
so, each gets the same number of further trials between the trials beside its own winner, and as many of its best
trials are run again, so that none wins by one lucky run.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping

import pandas as pd

from repro.protocol import (
    REFINEMENT,
    SAMPLER,
    Comparison,
    LogUniform,
    RunSpec,
    SearchSpace,
    Settings,
    best_trial,
)
from repro.search.asking import Asking, Scored, Scores


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a comparison's search is.

    Attributes:
        pending: Runs that have to finish before it can go on; empty once it has ended.
        trials: Finished trials by method, in trial order.
        space: The space, with the decades that the edge rule added.
        winners: Best values by method, once the search has ended.
        on_edge: Methods whose winner still lies near a bound: no more decades may be added, or a trial beside the
            winner, or the further runs of the finalists, both of which come later, moved it there.
    """

    pending: tuple[RunSpec, ...]
    trials: Mapping[str, tuple[Scored, ...]]
    space: SearchSpace
    winners: Mapping[str, Settings] = dataclasses.field(default_factory=dict)
    on_edge: tuple[str, ...] = ()


def advance(comparison: Comparison, scores: Scores) -> Progress:
    """Replay a search from finished runs and return what it needs next.

    Args:
        comparison: The searched experiment.
        scores: Looks finished runs up.

    Returns:
        The pending runs of the next batch of every method, or the winners.
    """
    search = comparison.search
    methods = comparison.experiment.methods
    asking = {method.name: Asking(comparison, method) for method in methods}
    # what every method is asked for next: shared until all winners lie well inside, then beside each winner
    spaces, count, stage = dict.fromkeys(asking, search.space), search.num_trials, ""
    bounds = dict(search.space.ranges)
    added: dict[tuple[str, str], int] = {}
    while True:
        pending = [
            run
            for name, asked in asking.items()
            for run in asked.go(spaces[name], count, stage, scores)
        ]
        trials = {name: tuple(asked.trials) for name, asked in asking.items()}
        grown = SearchSpace(tuple(bounds.items()))
        if pending:
            return Progress(tuple(pending), trials, grown)
        best = {name: _best(done) for name, done in trials.items()}
        near = {name: _near_bounds(trial, bounds, search.edge) for name, trial in best.items()}
        open_ = [
            bound
            for bound in itertools.product(bounds, ("low", "high"))
            if any(bound in own for own in near.values())
            and added.get(bound, 0) < search.max_extensions
        ]
        if stage or not (open_ or search.refinement_trials):
            return _final(asking, scores, grown)
        if not open_:
            spaces = {name: _beside(best[name], done, bounds) for name, done in trials.items()}
            count, stage = search.refinement_trials, REFINEMENT
            continue
        parameter, side = bound = open_[0]
        added[bound] = added.get(bound, 0) + 1
        old = bounds[parameter]
        below, above = LogUniform(old.low / 10, old.low), LogUniform(old.high, old.high * 10)
        decade = below if side == "low" else above
        beyond = SearchSpace(tuple({**bounds, parameter: decade}.items()))
        spaces, count = dict.fromkeys(asking, beyond), search.extension_trials
        bounds[parameter] = LogUniform(min(old.low, decade.low), max(old.high, decade.high))


def _final(asking: Mapping[str, Asking], scores: Scores, space: SearchSpace) -> Progress:
    """Return the end of a search, or what it still needs: runs of its finalists."""
    edge = next(iter(asking.values())).comparison.search.edge
    pending = tuple(run for asked in asking.values() for run in asked.run_finalists(scores))
    trials = {name: tuple(asked.trials) for name, asked in asking.items()}
    if pending:
        return Progress(pending, trials, space)
    best = {name: _best(done) for name, done in trials.items()}
    winners = {name: trial.values for name, trial in best.items()}
    bounds = dict(space.ranges)
    on_edge = tuple(name for name, trial in best.items() if _near_bounds(trial, bounds, edge))
    return Progress((), trials, space, winners, on_edge)


def _best(trials: Iterable[Scored]) -> Scored:
    numbered = {trial.number: trial for trial in trials}
    final = [n for n, trial in numbered.items() if trial.final]
    return numbered[best_trial({n: t.scores for n, t in numbered.items()}, final)]


def _near_bounds(
    winner: Scored, bounds: Mapping[str, LogUniform], edge: float
) -> set[tuple[str, str]]:
    """Return the bounds that a winner lies near, each as a parameter and `low` or `high`."""
    return {
        (parameter, side)
        for parameter, side in itertools.product(bounds, ("low", "high"))
        if is_near(winner.values, parameter, side, bounds, edge)
    }


def is_near(
    values: Settings, parameter: str, side: str, bounds: Mapping[str, LogUniform], edge: float
) -> bool:
    """Tell whether a value lies within a share of the log range of one of its bounds.

    Args:
        values: The hyperparameters.
        parameter: Name of one of them.
        side: `low` or `high`.
        bounds: The ranges searched.
        edge: The share.

    Returns:
        Whether it does.
    """
    value = dict(values)[parameter]
    assert isinstance(value, float)
    bound = bounds[parameter]
    place = math.log(value / bound.low) / math.log(bound.high / bound.low)
    return place < edge if side == "low" else place > 1.0 - edge


def _beside(
    winner: Scored, trials: Iterable[Scored], bounds: Mapping[str, LogUniform]
) -> SearchSpace:
    """Return the space between the values tried on either side of a winner's; a bound takes the place of a missing one."""
    ranges = []
    for parameter, value in winner.values:
        assert isinstance(value, float)
        tried = [bounds[parameter].low, bounds[parameter].high]
        tried += [v for t in trials if isinstance(v := dict(t.values)[parameter], float)]
        low = max((v for v in tried if v < value), default=value)
        high = min((v for v in tried if v > value), default=value)
        ranges.append((parameter, LogUniform(low, high)))
    return SearchSpace(tuple(ranges))


def refuse_other_searches(comparisons: Iterable[Comparison], runs: pd.DataFrame) -> None:
    """Raise if rows hold trials of the same comparison from another search.

    Args:
        comparisons: What is about to be searched.
        runs: A runs table.

    Raises:
        ValueError: If there are such trials; the message says how to start again.
    """
    tuned = runs[runs["role"] == "tune"]
    for comparison in comparisons:
        own = comparison.digest
        same = tuned[
            (tuned["study"] == comparison.study)
            & (tuned["experiment"] == comparison.experiment.name)
            & (tuned["scale"] == comparison.experiment.label(comparison.scale))
        ]
        if len(other := sorted(set(same["search"]) - {own})):
            num = int((same["search"] == other[0]).sum())
            raise ValueError(
                f"The rows of {comparison.study}, {comparison.experiment.name} hold {num} run{'' if num == 1 else 's'} "
                f"of search {other[0]}, of another space, budget or sampler; this one is {own} "
                f"({SAMPLER}). Trials of two searches do not mix: rename the experiment, or start anew "
                "with `--store` on an empty folder, once `repro publish --retire` has taken what is "
                "published of the other one out of studies/results."
            )

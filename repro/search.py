"""Equal-budget search: Optuna proposes, the rows decide, and nothing else is remembered.

A search has no state of its own. Trials come from a scrambled Sobol sequence, asked for in fixed batches and
told in trial order, so its whole course follows from its declaration and the scores of finished runs:
`advance` replays it from these and says what has to be run next. Interrupted, resumed, repeated, or with any
number of workers, it proposes the same trials and never one more.

Every method of a comparison gets the same sequence over the same space. If the winner of any of them lies near
a bound, all of them get the same further trials in the decade beyond it (the edge rule). Then, if the search says
so, each gets the same number of further trials between the trials beside its own winner, and as many of its best
trials are run again, so that none wins by one lucky run.

Only this module imports Optuna. `to_optuna` shows finished trials as Optuna studies, for
`optuna.visualization`, and `write_journal` as a file that `optuna-dashboard` opens.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import secrets
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from repro.protocol import (
    FINAL,
    REFINEMENT,
    SAMPLER,
    Comparison,
    LogUniform,
    Method,
    RunSpec,
    SearchSpace,
    Settings,
    Trial,
    best_trial,
    finalists,
    mean_score,
    settings,
)


@dataclasses.dataclass(frozen=True)
class Score:
    """What a search learns about a finished run: its score, finite even if it diverged."""

    value: float
    diverged: bool = False


Scores: TypeAlias = Callable[[str], Score | None]
"""The score of a finished run by its key; `None` if it has not finished."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """A finished trial.

    Attributes:
        number: Number of the trial, from 0.
        values: The searched hyperparameters.
        scores: Scores of its runs, smaller is better.
        diverged: Whether one of its runs diverged.
        space: The space from which it was drawn.
        final: Whether it was one of the best, and was run again.
    """

    number: int
    values: Settings
    scores: tuple[float, ...]
    diverged: bool
    space: SearchSpace
    final: bool = False

    @property
    def score(self) -> float:
        """Mean score of its runs."""
        return mean_score(self.scores)


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
    asking = {method.name: _Asking(comparison, method) for method in methods}
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


def _final(asking: Mapping[str, _Asking], scores: Scores, space: SearchSpace) -> Progress:
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


class _Asking:
    """Asking and telling for one method, in memory, from the first trial on."""

    def __init__(self, comparison: Comparison, method: Method) -> None:
        self.comparison, self.method = comparison, method
        self.search_digest = comparison.digest
        self.sampler = _sampler(comparison.search.seed)
        with _quiet():
            self.study = optuna.create_study(sampler=self.sampler)
        self.trials: list[Scored] = []

    def go(self, space: SearchSpace, count: int, stage: str, scores: Scores) -> Iterator[RunSpec]:
        """Ask for a stage's trials batch by batch; yield the runs of the first unfinished batch."""
        self.sampler.space = _distributions(space)
        while count:
            size = min(count, self.comparison.search.batch)
            count -= size
            # asked for all at once, told in their order: workers and interruptions change neither
            asked = [self.study.ask(self.sampler.space) for _ in range(size)]
            runs = [
                self.comparison.trial_runs(
                    self.method,
                    Trial(trial.number, self.search_digest, stage),
                    settings(trial.params),
                )
                for trial in asked
            ]
            if (found := _found(runs, scores)) is None:
                yield from (run for members in runs for run in members)
                return
            for trial, (values, diverged) in zip(asked, found, strict=True):
                scored = Scored(trial.number, settings(trial.params), values, diverged, space)
                self.study.tell(trial, scored.score)
                self.trials.append(scored)

    def run_finalists(self, scores: Scores) -> Iterator[RunSpec]:
        """Add their further runs to the best trials; yield these runs while one is unfinished."""
        num = self.comparison.search.finalists
        further = {
            t.number: self.comparison.trial_runs(
                self.method, Trial(t.number, self.search_digest, FINAL), t.values
            )
            for t in self.trials
        }
        again = [n for n, members in further.items() if _found([members], scores)] if num else []
        first = {t.number: t.scores for t in self.trials}
        chosen = [self.trials[n] for n in finalists(first, num, again)]
        runs = [further[trial.number] for trial in chosen]
        if (found := _found(runs, scores)) is None:
            yield from (run for members in runs for run in members)
            return
        for trial, (values, diverged) in zip(chosen, found, strict=True):
            self.trials[trial.number] = dataclasses.replace(
                trial,
                scores=(*trial.scores, *values),
                diverged=trial.diverged or diverged,
                final=True,
            )


def _found(
    runs: Iterable[Iterable[RunSpec]], scores: Scores
) -> list[tuple[tuple[float, ...], bool]] | None:
    """Return the scores of every trial's runs, and whether one diverged; `None` while one is unfinished."""
    found = []
    for members in runs:
        known = [scores(run.key) for run in members]
        finished = [score for score in known if score is not None]
        if len(finished) < len(known):
            return None
        found.append((tuple(s.value for s in finished), any(s.diverged for s in finished)))
    return found


class _DeclaredSpaceSampler(optuna.samplers.QMCSampler):
    """Sobol over a space that is declared, not inferred: its first trial belongs to the sequence too."""

    space: dict[str, BaseDistribution]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the declared space."""
        del study, trial
        return self.space


def _sampler(seed: int) -> _DeclaredSpaceSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # every argument given: defaults have changed between versions
        return _DeclaredSpaceSampler(
            qmc_type="sobol",
            scramble=True,
            seed=seed,
            independent_sampler=optuna.samplers.RandomSampler(seed=seed),
            warn_asynchronous_seeding=False,
            warn_independent_sampling=True,
        )


def _distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    return {
        name: FloatDistribution(bound.low, bound.high, log=True) for name, bound in space.ranges
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # one line a study on stderr tells the user nothing here
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


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


def to_optuna(
    comparison: Comparison, scores: Scores, storage: optuna.storages.BaseStorage | None = None
) -> dict[str, optuna.Study]:
    """Return the finished trials of a comparison as Optuna studies, for `optuna.visualization`.

    A trial's value is the mean over its runs. Where the best trials are run again, the winner is the best of those whose
    attribute `final` is true; a trial that was run once may have a lower value by luck.

    Args:
        comparison: The searched experiment.
        scores: Looks finished runs up.
        storage: Where the studies are put; in memory by default.

    Returns:
        A study by method, named `study/experiment/scale/method`.
    """
    progress = advance(comparison, scores)
    prefix = (
        f"{comparison.study}/{comparison.experiment.name}"
        f"/{comparison.experiment.label(comparison.scale)}"
    )
    studies = {}
    for method, trials in progress.trials.items():
        with _quiet():
            study = optuna.create_study(
                study_name=f"{prefix}/{method}", storage=storage, direction="minimize"
            )
        for trial in trials:
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(trial.values),
                    distributions=_distributions(trial.space),
                    value=trial.score,
                    user_attrs={
                        "diverged": trial.diverged,
                        "final": trial.final,
                        "sampler": SAMPLER,
                    },
                )
            )
        studies[method] = study
    return studies


def write_journal(comparisons: Iterable[Comparison], scores: Scores, path: Path) -> None:
    """Write the finished trials of comparisons as a journal file, which `optuna-dashboard` opens.

    The file is only a view: it is written whole every time, and never read back.

    Args:
        comparisons: The searched experiments.
        scores: Looks finished runs up.
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}-{secrets.token_hex(8)}"
    try:
        backend = JournalFileBackend(str(temporary), JournalFileOpenLock(str(temporary)))
        storage = optuna.storages.JournalStorage(backend)
        for comparison in comparisons:
            to_optuna(comparison, scores, storage)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

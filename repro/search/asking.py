"""Trials of one method: asked of Optuna batch by batch, told the scores of their runs.

Nothing of it is kept: the Optuna study is in memory, made anew from the first trial whenever a search is replayed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

from repro.protocol import (
    FINAL,
    Comparison,
    Method,
    RunSpec,
    SearchSpace,
    Settings,
    Trial,
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


class Asking:
    """Asks and tells for one method, from the first trial on.

    Attributes:
        trials: Its finished trials, in trial order.
    """

    def __init__(self, comparison: Comparison, method: Method) -> None:
        """Begin before the first trial.

        Args:
            comparison: The searched experiment.
            method: One of its methods.
        """
        self.comparison, self.method = comparison, method
        self.search_digest = comparison.digest
        self.sampler = _sampler(comparison.search.seed)
        with quiet():
            self.study = optuna.create_study(sampler=self.sampler)
        self.trials: list[Scored] = []

    def go(self, space: SearchSpace, count: int, stage: str, scores: Scores) -> Iterator[RunSpec]:
        """Ask for a stage's trials batch by batch; yield the runs of the first unfinished batch.

        Args:
            space: The space from which they are drawn.
            count: Number of trials.
            stage: Name of the stage.
            scores: Looks finished runs up.

        Yields:
            The runs; none once all trials have finished.
        """
        self.sampler.space = distributions(space)
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
        """Add their further runs to the best trials; yield these runs while one is unfinished.

        Args:
            scores: Looks finished runs up.

        Yields:
            The runs; none once all of them have finished.
        """
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


def distributions(space: SearchSpace) -> dict[str, BaseDistribution]:
    """Return a space in Optuna's words."""
    return {
        name: FloatDistribution(bound.low, bound.high, log=True) for name, bound in space.ranges
    }


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from writing a line a study to stderr, which tells the user nothing here."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)

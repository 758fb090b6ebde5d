"""Searches as Optuna shows them: studies in memory, and a journal that opens."""

import dataclasses
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.storages.journal import JournalFileBackend
from searches import METHODS, SMALL, SPACE, bowl, comparison, lucky, rates
from searches import undisturbed as undisturbed

from repro import execution
from repro.protocol import Search, settings
from repro.results import Store, tabulate
from repro.search import Score, Scores, advance, to_optuna, write_journal


@pytest.fixture
def scores(undisturbed: Store) -> Scores:
    return execution.finished_scores(undisturbed, tabulate(())[0])


def test_optuna_studies_hold_the_trials_and_the_winner(scores: Scores) -> None:
    progress = advance(SMALL, scores)
    for method, study in to_optuna(SMALL, scores).items():
        assert [t.params["learning_rate"] for t in study.trials] == rates(progress, method)
        assert settings(study.best_params) == progress.winners[method]
        diverged = [t.user_attrs["diverged"] for t in study.trials]
        assert diverged == [trial.diverged for trial in progress.trials[method]]
        assert {t.state for t in study.trials} == {optuna.trial.TrialState.COMPLETE}


def test_optuna_studies_tell_of_every_trial_the_space_it_was_drawn_from() -> None:
    plan = comparison(Search(SPACE, 8, extension_trials=2, refinement_trials=2))
    known: dict[str, Score] = {}
    score = bowl(backpropagation=0.99)
    # at a smaller scale of the same budget: the rows are those of the full one
    grown = dataclasses.replace(plan, scale="reduced")
    while (progress := advance(grown, known.get)).pending:
        known |= {run.key: Score(score(run)) for run in progress.pending}
    assert len({trial.space for trial in progress.trials["backpropagation"]}) > 2
    for method, study in to_optuna(grown, known.get).items():
        assert study.study_name == f"someone2030/tuned/full/{method}"
        for found, trial in zip(study.trials, progress.trials[method], strict=True):
            (given,) = found.distributions.values()
            assert isinstance(given, FloatDistribution)
            (bound,) = dict(trial.space.ranges).values()
            assert (given.low, given.high, given.log) == (bound.low, bound.high, True)


def test_a_journal_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(key: str) -> Score:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_journal([SMALL], interrupt, tmp_path / "optuna.journal")
    assert list(tmp_path.iterdir()) == []


def test_optuna_studies_tell_finalists_of_which_one_won() -> None:
    again = comparison(Search(SPACE, 16, max_extensions=0, finalists=3))
    known: dict[str, Score] = {}
    while (progress := advance(again, known.get)).pending:
        known |= {run.key: Score(lucky(run)) for run in progress.pending}
    for method, study in to_optuna(again, known.get).items():
        final = [t for t in study.trials if t.user_attrs["final"]]
        assert len(final) == 3
        winner = min(final, key=lambda t: float(t.value or 0.0))
        assert settings(winner.params) == progress.winners[method]


def test_the_journal_opens_and_is_written_whole(scores: Scores, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "optuna.journal"
    for _ in range(2):
        write_journal([SMALL], scores, path)
        assert [p.name for p in path.parent.iterdir()] == ["optuna.journal"]
        backend = JournalFileBackend(str(path))
        storage = optuna.storages.JournalStorage(backend)
        names = optuna.get_all_study_names(storage)
        assert names == [f"someone2030/tuned/full/{method.name}" for method in METHODS]
        study = optuna.load_study(study_name=names[0], storage=storage)
        winner = advance(SMALL, scores).winners["backpropagation"]
        assert settings(study.best_params) == winner

"""The trials that a search proposes: one balanced sequence, the same for every method, batch by batch."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc  # type: ignore[import-untyped, unused-ignore]
from searches import METHODS, SPACE, bowl, comparison, rates, searched

from repro.protocol import RunSpec, Search
from repro.search import Score, advance


def test_trials_are_the_scrambled_sobol_sequence_on_a_log_scale() -> None:
    progress, _ = searched(comparison(Search(SPACE, 16, seed=3)), bowl())
    unit = qmc.Sobol(1, scramble=True, seed=3).random(16).ravel()
    expected = 10.0 ** (-6.0 + 7.0 * unit)
    np.testing.assert_allclose(rates(progress, "forward gradient"), expected, rtol=1e-12)
    # balanced: one trial in every sixteenth of the range
    assert sorted((unit * 16).astype(int)) == list(range(16))


@pytest.mark.parametrize("batch", [1, 3, 4, 16])
def test_every_method_gets_the_same_trials_and_a_smaller_budget_is_a_prefix(batch: int) -> None:
    long, _ = searched(comparison(Search(SPACE, 16, batch=16)), bowl())
    short, asked = searched(comparison(Search(SPACE, 8, batch=batch)), bowl())
    for method in METHODS:
        assert rates(short, method.name) == rates(long, "backpropagation")[:8]
    assert len({run.key for run in asked}) == len(asked) == 8 * len(METHODS)


def budget(run: RunSpec) -> tuple[Any, ...]:
    assert run.trial is not None
    return run.trial, run.repetition, run.problem, run.task, run.hyperparameters


@pytest.mark.parametrize("place", [-9.0, -5.9, -3.0, 0.8, 0.99, 3.5, 9.0])
def test_budgets_are_equal_to_the_trial(place: float) -> None:
    compared = comparison(Search(SPACE, 8, repetitions=2, extension_trials=2))
    _, asked = searched(compared, bowl(backpropagation=place))
    first, second = ([budget(r) for r in asked if r.method == method] for method in METHODS)
    assert first == second
    one_more = [*asked, dataclasses.replace(asked[0], repetition=2)]
    more = [budget(r) for r in one_more if r.method == METHODS[0]]
    assert more != second  # what this test would see


def test_a_trial_scores_the_mean_over_its_repetitions_and_diverges_if_one_does() -> None:
    compared = comparison(Search(SPACE, 2, repetitions=2))
    pending = advance(compared, lambda key: None).pending
    scores = {
        run.key: Score(float(run.repetition), diverged=run.repetition == 1) for run in pending
    }
    (first, _) = advance(compared, scores.get).trials["backpropagation"]
    assert (first.score, first.diverged) == (0.5, True)


@pytest.mark.parametrize("repetitions", [1, 2])
def test_a_batch_waits_for_all_of_its_runs(repetitions: int) -> None:
    compared = comparison(Search(SPACE, 4, repetitions, batch=4))
    pending = advance(compared, lambda key: None).pending
    scores = {run.key: Score(1.0) for run in pending[:-1]}
    again = advance(compared, scores.get)
    assert set(again.pending) <= set(pending)
    assert pending[-1] in again.pending
    assert len(again.trials["backpropagation"]) == 4
    assert again.trials["forward gradient"] == ()


def test_ties_go_to_the_earliest_trial() -> None:
    compared = comparison(Search(SPACE, 8, max_extensions=0))
    progress, _ = searched(compared, lambda run: 1.0)
    for method in METHODS:
        assert progress.winners[method.name] == progress.trials[method.name][0].values

"""The course of a search: it grows at an edge, refines beside winners and runs finalists again, equally for all methods."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
from searches import METHODS, SPACE, bowl, comparison, lucky, rate, rates, searched

from repro.protocol import LogUniform, RunSpec, Search, SearchSpace
from repro.search import Score, advance, is_near

# The edge rule


@pytest.mark.parametrize("place", [-9.0, -6.1, -5.9, -5.0, -2.0, 0.2, 0.9, 1.9, 2.5, 9.0])
def test_the_space_grows_for_all_methods_until_no_winner_is_near_an_edge(place: float) -> None:
    compared = comparison(Search(SPACE, 16, extension_trials=4))
    progress, _ = searched(compared, bowl(backpropagation=place))
    (bound,) = dict(progress.space.ranges).values()
    decades = round(math.log10(bound.high / bound.low)) - 7
    assert (decades > 0) == (place not in (-5.0, -2.0))
    for method in METHODS:
        assert len(progress.trials[method.name]) == 16 + 4 * decades
        on_edge = any(
            is_near(
                progress.winners[method.name], "learning_rate", side, {"learning_rate": bound}, 0.1
            )
            for side in ("low", "high")
        )
        assert on_edge == (method.name in progress.on_edge)
        later = rates(progress, method.name)[16:]
        for number, value in enumerate(later):
            decade = number // 4  # four trials in each that was added, nearest first
            low = 10.0 ** (1 + decade) if place > 0 else 10.0 ** (-7 - decade)
            assert low * (1 - 1e-12) <= value <= 10 * low * (1 + 1e-12)
    # three decades are the most; a winner beyond them stays on the edge, and is said to
    assert progress.on_edge == (("backpropagation",) if abs(place) == 9.0 else ())
    assert decades <= 3
    assert abs(place) != 9.0 or decades == 3


@pytest.mark.parametrize("decades", [0, 1, 2])
def test_the_space_grows_by_as_many_decades_as_the_search_allows(decades: int) -> None:
    search = Search(SPACE, 8, extension_trials=2, max_extensions=decades)
    progress, _ = searched(comparison(search), bowl(backpropagation=9.0))
    (bound,) = dict(progress.space.ranges).values()
    assert (bound.low, bound.high) == pytest.approx((1e-6, 10.0 ** (1 + decades)))
    assert len(progress.trials["forward gradient"]) == 8 + 2 * decades
    assert progress.on_edge == ("backpropagation",)


TWO = SearchSpace((("learning_rate", LogUniform(1e-4, 1.0)), ("decay", LogUniform(1e-6, 1e-2))))


def test_of_two_hyperparameters_each_grows_where_its_own_winner_is() -> None:
    # inside of one range, beyond the other
    places = {"learning_rate": -2.0, "decay": -1.5}
    compared = comparison(
        Search(TWO, 32, extension_trials=8, refinement_trials=8), schedule="exponential"
    )
    progress, _ = searched(
        compared,
        lambda run: sum(
            abs(math.log10(rate(run.hyperparameters, name)) - place)
            for name, place in places.items()
        ),
    )
    bounds = dict(progress.space.ranges)
    assert bounds["learning_rate"] == LogUniform(1e-4, 1.0)
    assert (bounds["decay"].low, bounds["decay"].high) == pytest.approx((1e-6, 0.1))
    assert progress.on_edge == ()
    for trials in progress.trials.values():
        shared, beside = trials[:40], trials[40:]
        assert len(beside) == 8
        assert {t.space for t in shared[:32]} == {TWO}
        assert {t.space.ranges[0] for t in shared[32:]} == {TWO.ranges[0]}  # the other stays whole
        assert all(0.01 <= rate(t.values, "decay") <= 0.1 + 1e-12 for t in shared[32:])
        best = min(shared, key=lambda t: t.score).values
        for name in places:
            tried, own = [rate(t.values, name) for t in shared], rate(best, name)
            low, high = max(v for v in tried if v < own), min(v for v in tried if v > own)
            assert all(low <= rate(t.values, name) <= high for t in beside)


# Beside the winners


def cliff(run: RunSpec) -> float:
    """Better the larger the rate, up to a rate of each method's own beyond which nothing works."""
    decades, limit = math.log10(rate(run.hyperparameters)), CLIFFS[run.method.name]
    return -decades if decades <= limit else 1e3


CLIFFS = {"backpropagation": -1.3, "forward gradient": -3.52}


@pytest.mark.parametrize("score", [cliff, bowl(), bowl(backpropagation=0.8)])
def test_refining_moves_no_trial_and_searches_beside_every_winner(
    score: Callable[[RunSpec], float],
) -> None:
    plain = comparison(Search(SPACE, 16, extension_trials=4))
    refined = comparison(Search(SPACE, 16, extension_trials=4, refinement_trials=4))
    assert plain.digest == refined.digest
    (before, asked), (after, more) = searched(plain, score), searched(refined, score)
    assert more[: len(asked)] == asked
    assert {run.trial.stage for run in more[len(asked) :] if run.trial} == {"refinement"}
    for method in METHODS:
        shared, beside = rates(before, method.name), rates(after, method.name)[-4:]
        assert rates(after, method.name)[:-4] == shared
        best = rate(before.winners[method.name])
        (bound,) = dict(before.space.ranges).values()
        low = max(v for v in (bound.low, *shared) if v < best)
        high = min(v for v in (bound.high, *shared) if v > best)
        # one in every quarter of what lies between the trials on either side
        quarters = sorted(int(4 * math.log(v / low) / math.log(high / low)) for v in beside)
        assert quarters == [0, 1, 2, 3]
        tried = after.trials[method.name]
        assert after.winners[method.name] == min(tried, key=lambda t: t.score).values
        assert [t.space for t in tried[:-4]] == [t.space for t in before.trials[method.name]]


@pytest.mark.parametrize("place", [-9.0, 9.0])
@pytest.mark.parametrize("decades", [0, 1])
def test_beside_the_outermost_trial_the_search_reaches_to_the_bound(
    place: float, decades: int
) -> None:
    search = Search(SPACE, 16, extension_trials=4, max_extensions=decades, refinement_trials=4)
    progress, _ = searched(comparison(search), bowl(backpropagation=place))
    (bound,) = dict(progress.space.ranges).values()
    found = rates(progress, "backpropagation")
    shared, beside = sorted(found[:-4]), found[-4:]
    low, high = (bound.low, shared[1]) if place < 0 else (shared[-2], bound.high)
    quarters = sorted(int(4 * math.log(v / low) / math.log(high / low)) for v in beside)
    assert quarters == [0, 1, 2, 3]


def test_a_narrow_range_between_two_trials_is_found() -> None:
    progress, _ = searched(comparison(Search(SPACE, 16, refinement_trials=4)), cliff)
    for name, limit in CLIFFS.items():
        found = math.log10(rate(progress.winners[name]))
        unrefined = max(math.log10(r) for r in rates(progress, name)[:16] if math.log10(r) < limit)
        assert unrefined < found <= limit


# Finalists


def test_the_best_trials_are_run_again_and_none_wins_by_one_lucky_run() -> None:
    plain = comparison(Search(SPACE, 16, max_extensions=0, refinement_trials=4))
    again = comparison(dataclasses.replace(plain.search, finalists=3, finalist_repetitions=2))
    assert plain.digest == again.digest
    (before, asked), (after, more) = searched(plain, lucky), searched(again, lucky)
    assert more[: len(asked)] == asked
    further = more[len(asked) :]
    assert {run.trial.stage for run in further if run.trial} == {"final"}
    for method in METHODS:
        first = sorted(before.trials[method.name], key=lambda t: (t.score, t.number))[:3]
        own = [run for run in further if run.method == method]
        assert [(r.trial.number, r.repetition, r.hyperparameters) for r in own if r.trial] == [
            (trial.number, repetition, trial.values) for trial in first for repetition in (1, 2)
        ]
        assert before.winners[method.name] == first[0].values
        means = {t.number: t.score for t in after.trials[method.name]}
        for trial in first:
            runs = [r for r in more if r.method == method and r.hyperparameters == trial.values]
            assert means[trial.number] == pytest.approx(np.mean([lucky(run) for run in runs]))
            assert len(runs) == 3
        others = [t for t in after.trials[method.name] if t.number not in {f.number for f in first}]
        assert others == [t for t in before.trials[method.name] if t in others]
        # a trial that was run once is no match for a finalist, even if it scored lower
        winner = min(first, key=lambda t: means[t.number])
        assert after.winners[method.name] == winner.values
        assert min(means, key=means.__getitem__) != winner.number


def test_finalists_have_equal_budgets_and_a_search_without_them_is_what_it_was() -> None:
    search = Search(SPACE, 8, repetitions=2, finalists=2, finalist_repetitions=3)
    _, asked = searched(comparison(search), bowl(backpropagation=-4.0))
    numbers = [sum(run.method == method for run in asked) for method in METHODS]
    assert numbers == [8 * 2 + 2 * 3] * 2 == [search.num_runs] * 2
    finals = [run for run in asked if run.trial and run.trial.stage == "final"]
    assert sorted({run.repetition for run in finals}) == [2, 3, 4]
    # more finalists than trials are all of them
    few = comparison(dataclasses.replace(search, num_trials=1, max_extensions=0))
    assert few.search.num_runs == 2 + 3
    assert len(searched(few, bowl())[1]) == (2 + 3) * len(METHODS)


@pytest.mark.parametrize("stage", ["", "final"])
def test_a_finalist_diverged_if_any_of_its_runs_did(stage: str) -> None:
    again = comparison(Search(SPACE, 4, max_extensions=0, finalists=4))
    known: dict[str, Score] = {}
    while (progress := advance(again, known.get)).pending:
        known |= {
            run.key: Score(
                1.0, run.trial is not None and (run.trial.number, run.trial.stage) == (2, stage)
            )
            for run in progress.pending
        }
    for trials in progress.trials.values():
        assert [trial.diverged for trial in trials] == [False, False, True, False]

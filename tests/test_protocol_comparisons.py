"""Searched comparisons: one budget for every method, no seed shared by trials and reports, one rule for who wins."""

import dataclasses
import math
from typing import Any

import pytest
from small_study import BACK, FORWARD, NETWORK, SPACE, searched

from repro.protocol import (
    SCALES,
    Comparison,
    Experiment,
    LogUniform,
    Plan,
    RunSpec,
    Scale,
    Search,
    SearchSpace,
    Training,
    Trial,
    best_trial,
    best_trials,
    derive_seed,
    finalists,
    mean_score,
    parse_run,
    settings,
)


def comparison(scale: Scale = "full", **options: Any) -> Comparison:
    return Comparison("someone2022", searched("search", **options), scale)


RATE = settings(learning_rate=0.25)


@pytest.mark.parametrize("scale", SCALES)
def test_every_method_gets_the_same_budget(scale: Scale) -> None:
    declared = comparison(scale)
    trials = {m: declared.trial_runs(m, Trial(0, "digest"), RATE) for m in (BACK, FORWARD)}
    reported = {m: declared.report_runs(m, RATE) for m in (BACK, FORWARD)}
    for runs in (trials, reported):
        assert {method: {r.method for r in runs[method]} for method in runs} == {
            BACK: {BACK},
            FORWARD: {FORWARD},
        }
        assert [dataclasses.replace(r, method=FORWARD) for r in runs[BACK]] == [*runs[FORWARD]]
    assert len(trials[BACK]) == declared.search.repetitions
    assert len(reported[BACK]) == declared.plan.repetitions


@pytest.mark.parametrize("scale", SCALES)
def test_a_trial_is_a_reported_run_evaluated_at_its_end_only(scale: Scale) -> None:
    declared = comparison(scale)
    for r in declared.report_runs(BACK, RATE):
        assert r.task == declared.plan.task
        assert (r.role, r.trial) == ("report", None)
    task = declared.plan.task
    assert isinstance(task, Training)
    for r in declared.trial_runs(BACK, Trial(1, "digest"), RATE):
        assert (r.role, r.trial) == ("tune", Trial(1, "digest"))
        assert isinstance(r.task, Training)
        assert r.task.evaluate_every == r.task.num_steps == task.num_steps
        assert r.task.test_every == 0  # no look at the test split before the choice is made
        assert (
            dataclasses.replace(
                r.task, evaluate_every=task.evaluate_every, test_every=task.test_every
            )
            == task
        )
    both = (
        declared.trial_runs(BACK, Trial(1, "digest"), RATE)[0],
        declared.report_runs(BACK, RATE)[0],
    )
    for part in ("study", "arm", "scale", "experiment", "problem", "method", "hyperparameters"):
        assert getattr(both[0], part) == getattr(both[1], part)
    assert both[0].scale == ("smoke" if scale == "smoke" else "full")


def test_a_trial_that_may_stop_early_looks_as_often_as_a_reported_run() -> None:
    task = Training(100, 10, early_stopping=3)
    declared = comparison(full=Plan(NETWORK, task, 2, Search(SPACE, 4)))
    (trial,) = declared.trial_runs(BACK, Trial(0, "digest"), RATE)
    assert trial.task == task == declared.report_runs(BACK, RATE)[0].task


def test_tuning_and_reported_runs_share_no_seed() -> None:
    declared = comparison()
    tuning = [r for m in (BACK, FORWARD) for r in declared.trial_runs(m, Trial(0, "d"), RATE)]
    reported = [r for m in (BACK, FORWARD) for r in declared.report_runs(m, RATE)]
    assert {r.repetition for r in tuning} <= {r.repetition for r in reported}  # not by the number

    def seeds(runs: list[RunSpec]) -> set[int]:
        return {
            derive_seed(purpose, r.problem.name, *method, r.role, r.repetition)
            for r in runs
            for purpose, method in (
                ("start", ()),
                ("split", ()),
                ("order", ()),
                ("tangents", (r.method.name,)),
            )
        }

    # three that methods share and one of each method's own, by repetition
    assert (len(seeds(tuning)), len(seeds(reported))) == (2 * 5, 3 * 5)
    assert not seeds(tuning) & seeds(reported)


def test_values_that_a_search_proposes_join_the_settings() -> None:
    # one that stands before what is proposed, and one behind it: a run has one text
    decaying = dataclasses.replace(FORWARD, schedule="exponential")
    (decay, rate) = settings(decay=1e-4, learning_rate=0.25)
    for given, proposed in ((decay, rate), (rate, decay)):
        space = SearchSpace(((proposed[0], LogUniform(1e-6, 1.0)),))
        plan = Plan(NETWORK, Training(2, 1), 1, Search(space, 2))
        shared = Experiment("x", "tuned", (BACK, decaying), ((given,),), plan, plan, plan)
        own = dataclasses.replace(shared, hyperparameters=((),), own=(("forward", (given,)),))
        for declared in (Comparison("someone2022", each, "full") for each in (shared, own)):
            for r in (
                *declared.trial_runs(decaying, Trial(0, "digest"), (proposed,)),
                *declared.report_runs(decaying, (proposed,)),
            ):
                assert r.hyperparameters == (decay, rate)
                assert parse_run(r.canonical_json()) == r


def test_every_trial_is_a_run_of_its_own() -> None:
    declared = comparison()
    runs = [
        r
        for method in (BACK, FORWARD)
        for trial in (Trial(0, "a"), Trial(1, "a"), Trial(0, "b"))
        for r in declared.trial_runs(method, trial, RATE)
    ] + [r for method in (BACK, FORWARD) for r in declared.report_runs(method, RATE)]
    assert len({r.key for r in runs}) == len(runs) == 2 * 3 * 2 + 2 * 3


def test_typical_runs_are_the_first_ones_in_the_middle_of_the_space() -> None:
    declared = comparison()
    middle = settings(learning_rate=math.sqrt(1e-6 * 10.0))
    assert declared.typical_runs(FORWARD) == (
        declared.trial_runs(FORWARD, Trial(0, ""), middle)[0],
        declared.report_runs(FORWARD, middle)[0],
    )


def test_the_digest_of_a_search_is_fixed() -> None:
    # published trials carry it: another text for the same search would cut them off from it
    declared = comparison()
    assert declared.digest == "038cfaee1c76"
    search = dataclasses.replace(
        declared.search, refinement_trials=4, finalists=3, finalist_repetitions=5
    )
    more = dataclasses.replace(declared.plan, repetitions=9, search=search)
    assert comparison(full=more).digest == declared.digest


# Which trial wins


def test_the_best_trial_has_the_lowest_mean_and_is_the_earliest_of_equals() -> None:
    assert best_trial({0: [1.0, 3.0], 1: [1.5, 1.5], 2: [0.5, 9.0]}) == 1
    assert best_trial({7: [2.0], 3: [2.0], 5: [4.0, 0.0]}) == 3
    # the order of the runs does not matter, as it would to a sum that is rounded
    assert best_trial({0: [0.1, 0.2, 0.3], 1: [0.3, 0.2, 0.1]}) == 0


def test_of_finalists_one_wins() -> None:
    assert best_trial({0: [1.0], 1: [2.0, 4.0], 2: [2.5, 2.5]}, [1, 2]) == 2
    assert best_trial({0: [1.0], 1: [2.0, 4.0], 2: [2.5, 2.5]}) == 0
    assert best_trials({4: [3.0], 0: [1.0, 2.0], 2: [1.5], 1: [math.nan]}, 3) == (0, 2, 4)
    assert best_trials({0: [1.0]}, 3) == (0,)
    assert best_trials({0: [1.0]}, 0) == ()


def test_a_trial_that_was_run_again_stays_a_finalist() -> None:
    scores = {0: [3.0], 1: [1.0], 2: [2.0], 3: [2.5]}
    assert finalists(scores, 2, []) == (1, 2)
    assert finalists(scores, 2, [2, 3]) == (1, 2, 3)
    assert finalists(scores, 0, [2, 3]) == ()


def test_a_run_without_a_score_is_the_worst() -> None:
    assert mean_score([1.0, 2.0]) == 1.5
    assert best_trial({0: [2.0, 2.0, 2.0], 1: [3.0]}) == 0  # a trial may lack a repetition
    assert mean_score([1.0, math.nan]) == math.inf
    assert best_trial({0.0: [0.0, math.nan], 1.0: [9.0, 9.0]}) == 1.0
    assert best_trial({4: [math.nan], 2: [math.nan]}) == 2

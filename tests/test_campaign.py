"""The queue: everything missing, cheapest verdict first, decided from rows alone."""

import dataclasses
import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import pytest

import studies
from repro import claims
from repro.campaign import Stage, Work, plan, survey
from repro.pricing import Cost, Prices
from repro.protocol import (
    EXPERIMENT_SETTINGS,
    SCALES,
    Check,
    Claim,
    Classification,
    Comparison,
    Expectation,
    Experiment,
    LogUniform,
    Method,
    Plan,
    RunSpec,
    Search,
    SearchSpace,
    Study,
    Timing,
    Training,
    Trial,
    comparisons,
    expand,
    experiments_of,
    settings,
    use,
)
from repro.results import Record, read_published, tabulate

METHOD = Method("backpropagation", use("backpropagation"), use("sgd"))
SPACE = SearchSpace((("learning_rate", LogUniform(1e-3, 1.0)),))
SEARCH = Search(SPACE, num_trials=4, extension_trials=2)


def experiment(name: str, steps: int, search: Search | None = None) -> Experiment:
    """An experiment of its own network: what is known of the cost of one says nothing of another."""
    problem = Classification(name, "digits", use(name), 8, "unit", 10)
    whole = Plan(problem, Training(steps, evaluate_every=steps), 2, search)
    given = settings({} if search else {"learning_rate": 0.1})
    return Experiment(name, "published", (METHOD,), (given,), whole, whole, whole)


def timing(name: str, turns: int) -> Experiment:
    trained = experiment(name, 1)
    whole = Plan(trained.full.problem, Timing(turns, 0, "cpu", 1), 1)
    return dataclasses.replace(trained, smoke=whole, reduced=whole, full=whole)


def claim(number: int, *experiments: str, **more: str) -> Claim:
    checks = tuple(
        Check(name, use("final_metric", experiment=name, **more), Expectation(high=1.0))
        for name in experiments
    )
    return Claim(number, "it works", "Section 1", checks, "" if checks else "nothing to measure")


def study(experiments: Iterable[Experiment], claims: Iterable[Claim], name: str = "s") -> Study:
    return Study(name, "Someone 2022", (), tuple(experiments), tuple(claims))


def finished(spec: RunSpec, seconds: float, **more: Any) -> Record:
    steps = spec.task.num_steps  # type: ignore[union-attr]
    measured = {"device": "a cpu", "num_steps": steps, "seconds": seconds, "group_size": 1}
    return Record(spec, "done", {**measured, **more}, ())


def first_runs(of: Study, seconds: Mapping[str, float]) -> pd.DataFrame:
    """Rows that price experiments: the first run of each, which took so many seconds."""
    found = {spec.experiment: spec for spec in reversed(expand(of, "full"))}
    return tabulate([finished(found[name], cost) for name, cost in seconds.items()])[0]


def queue(of: Study, runs: pd.DataFrame) -> tuple[Stage, ...]:
    work = survey(expand(of, "full"), comparisons(of, "full"), runs)
    return plan(work, [of], Prices(runs).of)


def shown(stages: Iterable[Stage]) -> list[tuple[str, list[str]]]:
    return [(stage.purpose, [work.experiment for work in stage.work]) for stage in stages]


def test_the_cheapest_verdict_comes_first() -> None:
    every = [experiment(name, 10) for name in ("dear", "middle", "cheap")]
    of = study(every, [claim(1, "dear"), claim(2, "middle"), claim(3, "cheap")])
    runs = first_runs(of, {"dear": 90.0, "middle": 50.0, "cheap": 10.0})
    stages = queue(of, runs)
    assert shown(stages) == [("s 3", ["cheap"]), ("s 2", ["middle"]), ("s 1", ["dear"])]
    assert [stage.cost for stage in stages] == [Cost(10.0), Cost(50.0), Cost(90.0)]


def test_a_claim_costs_all_of_its_experiments_and_they_stay_together() -> None:
    every = [experiment(name, 10) for name in "abc"]
    of = study(every, [claim(1, "b", "a"), claim(2, "c")])
    runs = first_runs(of, {"a": 20.0, "b": 30.0, "c": 40.0})
    assert shown(queue(of, runs)) == [("s 2", ["c"]), ("s 1", ["a", "b"])]


def test_what_an_earlier_claim_has_run_costs_the_next_nothing() -> None:
    every = [experiment(name, 10) for name in "abc"]
    of = study(every, [claim(1, "c"), claim(2, "a", "b"), claim(3, "a")])
    # by their whole cost, claim 2 (110) would come after claim 1 (60); once claim 3 is complete it costs 50
    runs = first_runs(of, {"a": 50.0, "b": 50.0, "c": 60.0})
    assert shown(queue(of, runs)) == [("s 3", ["a"]), ("s 2", ["b"]), ("s 1", ["c"])]


def test_ties_keep_the_declared_order() -> None:
    every = [experiment(name, 10) for name in "abc"]
    of = study(every, [claim(1, "c"), claim(2, "a"), claim(3, "b")])
    runs = first_runs(of, dict.fromkeys("abc", 50.0))
    assert [stage.purpose for stage in queue(of, runs)] == ["s 1", "s 2", "s 3"]


def test_unknown_cost_comes_after_any_known_one_and_before_what_no_claim_needs() -> None:
    every = [experiment(name, 10) for name in ("idle", "unknown", "dear", "idle too")]
    of = study(every, [claim(1, "unknown"), claim(2, "dear")])
    runs = first_runs(of, {"dear": 9e9, "idle": 5.0, "idle too": 1.0})
    assert shown(queue(of, runs)) == [
        ("s 2", ["dear"]),
        ("s 1", ["unknown"]),
        ("", ["idle too"]),
        ("", ["idle"]),
    ]


def test_a_timing_goes_by_its_own_price_ahead_of_the_claim_that_needs_it() -> None:
    every = [experiment("dear", 10), experiment("middle", 10), timing("timed", 3)]
    of = study(every, [claim(1, "dear", "timed"), claim(2, "middle")])
    runs = first_runs(of, {"dear": 90.0, "middle": 50.0})
    prices = {"dear": 90.0, "middle": 50.0, "timed": 2.0}

    def price(specs: Iterable[RunSpec]) -> Cost:
        return sum((Cost(prices[spec.experiment]) for spec in specs), Cost())

    work = survey(expand(of, "full"), (), runs)
    assert shown(plan(work, [of], price)) == [
        ("s 1", ["timed"]),
        ("s 2", ["middle"]),
        ("s 1", ["dear"]),
    ]


def test_what_is_complete_costs_nothing_and_comes_first() -> None:
    of = study([experiment(name, 10) for name in "ab"], [claim(1, "a"), claim(2, "b")])
    done = [finished(spec, 10.0) for spec in expand(of, "full", only=["b"])]
    stages = queue(of, tabulate(done)[0])
    assert shown(stages) == [("s 2", ["b"]), ("s 1", ["a"])]
    assert [stage.cost for stage in stages] == [Cost(), Cost(unknown=2)]


def test_a_claim_may_rest_on_another_study() -> None:
    mine = study([experiment("a", 10)], [claim(1, "b", study="t"), claim(2, "a")])
    theirs = study([experiment("b", 10)], [], name="t")
    specs = [*expand(mine, "full"), *expand(theirs, "full")]
    runs = first_runs(theirs, {"b": 5.0})
    work = survey(specs, (), runs)
    assert shown(plan(work, [mine, theirs], Prices(runs).of)) == [("s 1", ["b"]), ("s 2", ["a"])]
    chosen = survey(expand(mine, "full"), (), runs)
    assert shown(plan(chosen, [mine], Prices(runs).of)) == [("s 2", ["a"])]


def test_what_is_done_and_what_is_missing_is_told_by_method() -> None:
    other = Method("forward gradient", use("forward_gradient"), use("sgd"))
    both = dataclasses.replace(experiment("a", 10), methods=(METHOD, other))
    specs = expand(study([both], []), "full")
    own = [spec for spec in specs if spec.method == METHOD]
    (work,) = survey(specs, (), tabulate([finished(own[0], 10.0)])[0])
    assert work.done == {METHOD.name: 1, other.name: 0}
    assert work.missing == {
        METHOD.name: tuple(own[1:]),
        other.name: tuple(spec for spec in specs if spec.method == other),
    }


# Searches


SEARCHED = experiment("tuned", 10, SEARCH)


def trials(of: Comparison, *numbers: int) -> list[Record]:
    return [
        finished(run, 10.0)
        for n in numbers
        for run in of.trial_runs(METHOD, Trial(n, of.digest), settings(learning_rate=0.1 + n))
    ]


def reports(of: Comparison, num: int) -> list[Record]:
    values = settings(learning_rate=0.1)
    return [finished(run, 10.0) for run in of.report_runs(METHOD, values)[:num]]


@pytest.mark.parametrize(
    ("num_trials", "num_reports", "missing"),
    [(0, 0, 4 + 2), (3, 0, 1 + 2), (4, 0, 2), (5, 0, 1 + 2), (6, 0, 2), (6, 1, 1), (6, 2, 0)],
)
def test_a_search_lacks_its_trials_and_then_its_reports(
    num_trials: int, num_reports: int, missing: int
) -> None:
    of = study([SEARCHED], [claim(1, "tuned")])
    (comparison,) = comparisons(of, "full")
    rows = trials(comparison, *range(num_trials)) + reports(comparison, num_reports)
    (work,) = survey((), [comparison], tabulate(rows)[0])
    assert len(work.left) == missing
    assert work.done == {METHOD.name: num_trials + num_reports}
    assert {spec.role for spec in work.left[: missing - 2]} <= {"tune"}


def test_a_finished_search_that_is_to_be_refined_lacks_that() -> None:
    refined = dataclasses.replace(SEARCH, refinement_trials=3)
    (comparison,) = comparisons(study([experiment("tuned", 10, refined)], []), "full")
    rows = trials(comparison, *range(6)) + reports(comparison, 2)
    (work,) = survey((), [comparison], tabulate(rows)[0])
    assert [spec.role for spec in work.left] == ["tune"] * 3
    beside = [
        run
        for number in (6, 7)
        for run in comparison.trial_runs(
            METHOD,
            Trial(number, comparison.digest, "refinement"),
            settings(learning_rate=0.2 + number),
        )
    ]
    rows += [finished(r, 10.0) for r in beside]
    (work,) = survey((), [comparison], tabulate(rows)[0])
    assert [spec.role for spec in work.left] == ["tune"]
    # if fewer are wanted than there are, those hide no other trial that is missing
    fewer = dataclasses.replace(SEARCH, refinement_trials=1)
    (comparison,) = comparisons(study([experiment("tuned", 10, fewer)], []), "full")
    assert missing_of(comparison, rows) == (10, [])
    assert missing_of(comparison, rows[1:]) == (9, ["tune"])


def finished_search() -> tuple[Comparison, list[Record]]:
    (comparison,) = comparisons(study([SEARCHED], []), "full")
    rows = trials(comparison, *range(6)) + reports(comparison, 2)  # two trials of the edge rule
    return comparison, rows


def missing_of(comparison: Comparison, rows: Iterable[Record]) -> tuple[int, list[str]]:
    (work,) = survey((), [comparison], tabulate(rows)[0])
    return work.done[METHOD.name], [spec.role for spec in work.left]


def test_a_trial_without_its_row_is_missing_however_many_there_are() -> None:
    comparison, rows = finished_search()
    assert missing_of(comparison, rows) == (8, [])
    assert missing_of(comparison, rows[1:]) == (7, ["tune"])


def test_of_a_trial_every_repetition_is_wanted_and_their_mean_decides() -> None:
    twice = dataclasses.replace(SEARCH, repetitions=2, refinement_trials=1)
    (comparison,) = comparisons(study([experiment("tuned", 10, twice)], []), "full")
    rows = trials(comparison, *range(4))
    assert missing_of(comparison, rows) == (8, ["tune"] * 2 + ["report"] * 2)
    assert missing_of(comparison, rows[1:]) == (7, ["tune"] * 3 + ["report"] * 2)
    last = Trial(9, comparison.digest, "refinement")
    beside = comparison.trial_runs(METHOD, last, settings(learning_rate=0.15))
    rows += [finished(run, 10.0) for run in beside]
    assert missing_of(comparison, rows[:-1]) == (9, ["tune"] + ["report"] * 2)
    # the first trial has the lowest score, and the second the lowest mean
    scores = [0.0, 3.0, 1.0, 1.0, *[2.0] * 6]
    scored = [
        dataclasses.replace(row, measured={**row.measured, "score": score})
        for row, score in zip(rows, scores, strict=True)
    ]
    assert missing_of(comparison, scored + reports(comparison, 2)) == (10, ["report"] * 2)
    there = comparison.report_runs(METHOD, settings(learning_rate=1.1))
    assert missing_of(comparison, scored + [finished(run, 10.0) for run in there]) == (12, [])


def test_a_finished_search_that_is_to_run_its_best_again_lacks_that() -> None:
    comparison, rows = finished_search()
    again = dataclasses.replace(SEARCH, finalists=2, finalist_repetitions=2)
    (more,) = comparisons(study([experiment("tuned", 10, again)], []), "full")
    assert more.digest == comparison.digest
    # the second trial scores lowest, then the fourth; the first is the best only if they are not run again
    scores = [2.0, 1.0, 3.0, 1.5, 3.0, 3.0, 9.0, 9.0]
    rows = [
        dataclasses.replace(row, measured={**row.measured, "score": score})
        for row, score in zip(rows, scores, strict=True)
    ]
    assert missing_of(more, rows[2:]) == (6, ["tune"] * (2 + 4))
    assert missing_of(more, rows) == (8, ["tune"] * 4)
    finals = [
        dataclasses.replace(finished(run, 10.0), measured={**rows[0].measured, "score": score})
        for number, score in ((1, 4.0), (3, 1.6))
        for run in more.trial_runs(
            METHOD, Trial(number, more.digest, "final"), rows[number].spec.hyperparameters
        )
    ]
    assert missing_of(more, rows + finals[1:]) == (11, ["tune"])
    # the fourth has won, where nothing was reported yet
    assert missing_of(more, rows + finals) == (10, ["report"] * 2)
    there = more.report_runs(METHOD, rows[3].spec.hyperparameters)
    ended = [finished(run, 10.0) for run in there]
    assert missing_of(more, rows + finals + ended) == (12, [])
    # without finalists their runs are none of it
    assert missing_of(comparison, rows + finals)[1] == ["report"] * 2
    # there are no more finalists than trials
    fewer = dataclasses.replace(again, num_trials=1)
    (few,) = comparisons(study([experiment("tuned", 10, fewer)], []), "full")
    assert missing_of(few, []) == (0, ["tune"] * (1 + 2) + ["report"] * 2)


def test_a_repetition_beyond_the_plan_is_none_of_it() -> None:
    comparison, rows = finished_search()
    beyond = finished(dataclasses.replace(rows[-1].spec, repetition=7), 10.0)
    assert missing_of(comparison, [*rows, beyond]) == (8, [])
    assert missing_of(comparison, [*rows[:-1], beyond]) == (7, ["report"])


def test_a_decade_of_the_edge_rule_is_wanted_of_every_method_once_one_has_a_trial_in_it() -> None:
    other = Method("forward gradient", use("forward_gradient"), use("sgd"))
    both = dataclasses.replace(SEARCHED, methods=(METHOD, other))
    (comparison,) = comparisons(study([both], []), "full")
    rows = [
        finished(run, 10.0)
        for method, num in ((METHOD, 5), (other, 4))
        for n in range(num)
        for run in comparison.trial_runs(
            method, Trial(n, comparison.digest), settings(learning_rate=0.1 + n)
        )
    ]
    (work,) = survey((), [comparison], tabulate(rows)[0])
    lacking = {name: [run.role for run in runs] for name, runs in work.missing.items()}
    assert lacking == {
        METHOD.name: ["tune"] + ["report"] * 2,
        other.name: ["tune"] * 2 + ["report"] * 2,
    }


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": use("adam")},
        {"estimator": use("forward_gradient")},
        {"schedule": "exponential"},
    ],
)
def test_rows_of_another_method_of_the_name_are_not_its_own(change: dict[str, Any]) -> None:
    comparison, rows = finished_search()
    other = dataclasses.replace(METHOD, **change)
    changed = dataclasses.replace(
        comparison, experiment=dataclasses.replace(SEARCHED, methods=(other,))
    )
    assert missing_of(changed, rows) == (0, ["tune"] * 4 + ["report"] * 2)


def test_rows_of_another_arm_or_budget_are_not_its_own() -> None:
    comparison, rows = finished_search()
    plan = comparison.plan
    longer = dataclasses.replace(plan, task=Training(99, evaluate_every=99))
    for other in (
        dataclasses.replace(SEARCHED, arm="tuned"),
        dataclasses.replace(SEARCHED, smoke=longer, reduced=longer, full=longer),
    ):
        changed = dataclasses.replace(comparison, experiment=other)
        assert missing_of(changed, rows) == (0, ["tune"] * 4 + ["report"] * 2)


def test_trials_of_another_search_are_not_its_own() -> None:
    comparison, rows = finished_search()
    longer = dataclasses.replace(SEARCH, num_trials=5)
    changed = dataclasses.replace(comparison, experiment=experiment("tuned", 10, longer))
    assert missing_of(changed, rows) == (2, ["tune"] * 5)


def test_what_is_reported_elsewhere_than_at_the_winner_is_missing_there() -> None:
    comparison, rows = finished_search()
    scored = [
        dataclasses.replace(
            row, measured={**row.measured, "score": 2.0 - (row.spec.trial.number == 2)}
        )
        for row in rows
        if row.spec.trial is not None
    ]
    assert missing_of(comparison, [*scored, *rows[6:]]) == (6, ["report"] * 2)
    at_winner = comparison.report_runs(METHOD, settings(learning_rate=2.1))[:1]
    found = [*scored, *rows[6:], *(finished(run, 10.0) for run in at_winner)]
    assert missing_of(comparison, found) == (7, ["report"])


def test_a_search_takes_its_place_by_its_price() -> None:
    of = study([SEARCHED, experiment("a", 10)], [claim(1, "tuned"), claim(2, "a")])
    (comparison,) = comparisons(of, "full")
    found = pd.concat(
        [tabulate(trials(comparison, 0, 1))[0], first_runs(of, {"a": 45.0})], ignore_index=True
    )
    stages = queue(of, found)
    assert shown(stages) == [("s 1", ["tuned"]), ("s 2", ["a"])]  # two trials and two reports
    assert [stage.cost.seconds for stage in stages] == [40.0, 45.0]


# What is declared


@pytest.mark.parametrize("scale", SCALES)
def test_every_declared_experiment_is_in_the_queue_once(scale: Any) -> None:
    every = [studies.get(name) for name in studies.names()]
    specs = [spec for of in every for spec in expand(of, scale)]
    searched = [comparison for of in every for comparison in comparisons(of, scale)]
    runs, _, _ = read_published(studies.RESULTS)
    work = survey(specs, searched, runs)
    prices = Prices(runs)
    stages = plan(work, every, prices.of)

    def names(found: Iterable[Work]) -> list[tuple[str, str]]:
        return sorted((w.study, w.experiment) for w in found)

    assert names(w for stage in stages for w in stage.work) == names(work)
    assert sorted(names(work)) == sorted((of.name, e.name) for of in every for e in of.experiments)
    # what no run speaks for comes after every claim that needs none of it
    unpriced = {(w.study, w.experiment) for w in work if prices.of(w.left).unknown}
    priced = {
        f"{of.name} {claim.number}"
        for of in every
        for claim in of.claims
        if not unpriced & set(experiments_of(of, claim, every))
    }
    queued = [stage for stage in stages if stage.purpose]
    unknown = [place for place, stage in enumerate(queued) if stage.cost.unknown]
    known = [place for place, stage in enumerate(queued) if stage.purpose in priced]
    assert max(known, default=-1) < min(unknown, default=len(queued))


def test_the_settings_that_name_an_experiment_are_those_of_the_measures() -> None:
    named = {
        parameter
        for measure in claims.MEASURES.values()
        for parameter in inspect.signature(measure).parameters
        if "experiment" in parameter or parameter in ("first", "last", "family")
    }
    assert named == set(EXPERIMENT_SETTINGS)


def test_a_claim_needs_what_its_checks_are_provided() -> None:
    def check(experiment: str, provided: Check | None = None) -> Check:
        measure = use("final_metric", experiment=experiment, method="m", metric="value")
        return Check(experiment, measure, Expectation(low=0.0), provided=provided)

    stated = Claim(1, "a claim", "Fig. 9", (check("a", check("b", check("c"))), check("a")))
    of = Study("author2000", "citation", (), (), (stated,))
    assert experiments_of(of, stated, []) == tuple((of.name, name) for name in "abc")


def test_a_claim_on_a_family_of_another_study_needs_its_members() -> None:
    other = studies.get("fluegel2024")
    measure = use(
        "share_lower",
        study=other.name,
        family="functions-tuned-sphere",
        metric="value",
        a="x",
        b="y",
    )
    stated = Claim(1, "a claim", "Fig. 9", (Check("a", measure, Expectation(low=0.5)),))
    of = Study("author2000", "citation", (), (), (stated,))
    members = [e.name for e in other.experiments if e.name.startswith("functions-tuned-sphere-")]
    assert len(members) == 11
    assert experiments_of(of, stated, [other]) == tuple((other.name, name) for name in members)


def test_every_tested_claim_needs_experiments_that_exist() -> None:
    for of in (studies.get(name) for name in studies.names()):
        for stated in of.claims:
            needed = experiments_of(of, stated, map(studies.get, studies.names()))
            assert bool(needed) == bool(stated.checks)
            for owner, name in needed:
                assert name in {e.name for e in studies.get(owner).experiments}

"""A price is a measured speed times a budget, of the same device, and nothing where nothing was measured."""

import dataclasses
from typing import Any

import pandas as pd
import pytest
from measured_runs import PROBLEM, results

from repro.pricing import Cost, Prices
from repro.protocol import (
    Approximation,
    ClosedForm,
    Method,
    Problem,
    Role,
    RunSpec,
    Sampling,
    Task,
    Timing,
    Training,
    Trial,
    settings,
    use,
)
from repro.results import Record

SGD, NESTEROV = use("sgd"), use("sgd", momentum=0.9)
BP = Method("backpropagation, SGD", use("backpropagation"), SGD)
BP_NESTEROV = Method("backpropagation, Nesterov", use("backpropagation"), NESTEROV)
FG = Method("forward gradient, SGD", use("forward_gradient"), SGD)
FUNCTION = Method("function alone", use("function"), SGD)
BUDGET = Training(100, evaluate_every=50)
AT_END = Training(100, evaluate_every=100)


def run(
    method: Method = BP,
    repetition: int = 0,
    *,
    task: Task = BUDGET,
    problem: Problem = PROBLEM,
    experiment: str = "e",
    role: Role = "report",
    trial: int | None = None,
) -> RunSpec:
    return RunSpec(
        study="s",
        arm="tuned",
        scale="full",
        experiment=experiment,
        role=role,
        problem=problem,
        method=method,
        hyperparameters=settings(learning_rate=0.1),
        repetition=repetition,
        task=task,
        trial=None if trial is None else Trial(trial, "abc"),
    )


def trial(number: int, method: Method = BP, experiment: str = "e") -> RunSpec:
    return run(method, task=AT_END, role="tune", trial=number, experiment=experiment)


def row(
    spec: RunSpec, seconds: float = float("nan"), *, status: str = "done", **more: Any
) -> Record:
    steps = (
        spec.task.num_draws
        if isinstance(spec.task, (Sampling, Approximation))
        else spec.task.num_steps
    )
    measured: dict[str, Any] = {
        "device": "a cpu",
        "group_size": 1,
        "num_steps": steps,
        "seconds": seconds,
    }
    return Record(spec, status, {**measured, **more}, ())


def rows(*records: Record) -> pd.DataFrame:
    return results(*records).runs


# Training


def test_a_step_of_the_same_method_is_the_price_of_a_step() -> None:
    prices = Prices(rows(row(run(), 50.0, group_size=5)))
    assert prices(run(task=Training(1_000, 50))) == pytest.approx(1_000 * 50.0 / 100 / 5)
    assert prices(run(FG)) is None


def test_a_row_that_waited_for_other_work_is_priced_by_its_processor() -> None:
    # half of a run of 60 seconds, of which 50 trained: a step takes 0.25, and three looks take 5 in all
    waited = row(run(), 50.0, wall_seconds=60.0, processor_seconds=30.0)
    prices = Prices(rows(waited))
    assert prices(run()) == pytest.approx(30.0)
    assert prices(run(task=Training(1_000, 500))) == pytest.approx(1_000 * 0.25 + 5.0)
    alone = row(run(), 25.0, wall_seconds=30.0)
    assert Prices(rows(alone))(run()) == prices(run())


def test_a_row_that_may_have_waited_counts_for_no_more_than_a_timed_step_does_in_training() -> None:
    timing = Timing(3, 1, "cpu", 1)
    wide, deep = (
        dataclasses.replace(PROBLEM, network=use("mlp", **sizes))
        for sizes in ({"width": 4096}, {"depth": 9})
    )
    known = [
        entry
        for problem in (wide, deep)  # in training 1.5 times as long as timed
        for entry in (
            row(run(task=timing, problem=problem), 0.6, step_seconds=0.2),
            row(run(problem=problem), 30.0, wall_seconds=36.0),
        )
    ]
    timed = row(run(task=timing), 0.6, step_seconds=0.2)
    waited = row(run(), 300.0, wall_seconds=360.0)  # ten times as long: its looks, too
    assert Prices(rows(*known, timed, waited))(run()) == pytest.approx(36.0)
    assert Prices(rows(*known, waited))(run()) == pytest.approx(360.0)
    quick = row(run(), 15.0, wall_seconds=18.0)
    assert Prices(rows(*known, timed, quick))(run()) == pytest.approx(18.0)
    at_work = row(run(), 300.0, wall_seconds=360.0, processor_seconds=360.0)  # it did take as long
    assert Prices(rows(*known, timed, at_work))(run()) == pytest.approx(360.0)


def test_only_steps_of_one_run_timed_as_it_takes_them_tell_what_a_step_takes() -> None:
    task = Timing(3, 1, "cpu", 2, memory=False, precision="float64")
    assert Prices(rows(row(run(task=task), step_seconds=0.2)))(run()) == pytest.approx(20.0)
    for turns in (
        dataclasses.replace(task, loop_steps=10),
        dataclasses.replace(task, replicas=8),
        dataclasses.replace(task, processes=2),
    ):
        assert Prices(rows(row(run(task=turns), step_seconds=2.0)))(run()) is None
        assert Prices(rows(row(run(), 50.0)))(run(task=turns)) is None
        # nor how much longer it takes in training
        known = (row(run(), 30.0), row(run(task=turns), step_seconds=2.0))
        wider = dataclasses.replace(PROBLEM, network=use("mlp", width=4096))
        timed = row(run(task=task, problem=wider), step_seconds=1.0)
        assert Prices(rows(*known, timed))(run(problem=wider)) == pytest.approx(100.0)


def test_training_is_set_against_timings_of_the_same_estimator_and_optimizer() -> None:
    timed = row(run(task=Timing(3, 1, "cpu", 1)), step_seconds=0.2)
    trained = [row(run(method), seconds) for method, seconds in ((BP, 30.0), (FG, 900.0))]
    trained.append(row(run(BP_NESTEROV), 900.0))
    wider = dataclasses.replace(PROBLEM, network=use("mlp", width=4096))
    alone = row(run(task=Timing(3, 1, "cpu", 1), problem=wider), step_seconds=1.0)
    assert Prices(rows(*trained, timed, alone))(run(problem=wider)) == pytest.approx(150.0)


def test_rows_that_may_have_waited_count_only_where_there_are_no_others() -> None:
    waited = [row(run(BP, n), 400.0, wall_seconds=400.0) for n in range(5)]
    at_work = row(run(BP, 9), 60.0, wall_seconds=60.0, processor_seconds=50.0)
    for later in (False, True):
        stamp = "2026-01-02T00:00:00Z" if later else "2026-01-01T00:00:00Z"
        known = [
            *(record_at(r, "2026-01-01T12:00:00Z") for r in waited),
            record_at(at_work, stamp),
        ]
        assert Prices(rows(*known))(run()) == pytest.approx(50.0)
    assert Prices(rows(*waited))(run()) == pytest.approx(400.0)


def record_at(record: Record, finished: str) -> Record:
    return dataclasses.replace(record, measured={**record.measured, "finished": finished})


def test_an_optimizer_that_was_never_run_is_priced_by_its_estimator() -> None:
    prices = Prices(rows(row(run(BP), 50.0), row(run(FG), 90.0)))
    assert prices(run(BP_NESTEROV)) == pytest.approx(50.0)
    prices = Prices(rows(row(run(BP), 50.0), row(run(BP_NESTEROV), 60.0)))
    assert prices(run(BP_NESTEROV)) == pytest.approx(60.0)


def test_a_timed_step_prices_training_that_nobody_ran_yet() -> None:
    timed = row(run(task=Timing(3, 1, "cpu", 1)), 0.6, step_seconds=0.2)
    assert Prices(rows(timed))(run()) == pytest.approx(100 * 0.2)
    assert Prices(rows(timed, row(run(), 50.0)))(run()) == pytest.approx(50.0)


def test_a_step_takes_longer_in_training_than_timed_alone() -> None:
    timing = Timing(3, 1, "cpu", 1)
    known = [row(run(task=timing), 0.6, step_seconds=0.2), row(run(), 50.0)]  # 2.5 times as long
    known += [row(run(BP, n), 50.0, status="diverged", num_steps=1) for n in (1, 2)]  # tell nothing
    wider = dataclasses.replace(PROBLEM, network=use("mlp", width=4096))
    timed = row(run(task=timing, problem=wider), 3.0, step_seconds=1.0)
    assert Prices(rows(*known, timed))(run(problem=wider)) == pytest.approx(100 * 2.5)


def test_a_smaller_network_of_the_same_name_prices_nothing() -> None:
    smaller = dataclasses.replace(PROBLEM, network=use("mlp", width=16))
    assert Prices(rows(row(run(problem=smaller), 1.0)))(run()) is None
    digits = dataclasses.replace(PROBLEM, dataset="mnist")
    assert Prices(rows(row(run(problem=digits), 1.0)))(run()) is None


def test_another_function_of_as_many_dimensions_prices_nothing() -> None:
    one, other = (ClosedForm("p", name, (1.0, 1.0)) for name in ("sphere", "beale"))
    assert Prices(rows(row(run(problem=one), 1.0)))(run(problem=other)) is None


def test_a_function_of_fewer_dimensions_prices_nothing() -> None:
    few, many = (ClosedForm("p", "sphere", (1.0,) * n) for n in (4, 400))
    prices = Prices(rows(row(run(problem=few), 1.0)))
    assert prices(run(problem=few)) == pytest.approx(1.0)
    assert prices(run(problem=many)) is None


def test_the_same_network_of_another_name_does() -> None:
    other = dataclasses.replace(PROBLEM, name="another paper's", validation_size=20)
    assert Prices(rows(row(run(problem=other), 7.0)))(run()) == pytest.approx(7.0)


def test_the_latest_rows_count_because_code_gets_faster() -> None:
    old = [row(run(BP, n), 90.0, finished=f"2026-01-01T00:00:0{n}Z") for n in range(5)]
    new = [row(run(BP, n), 30.0, finished=f"2026-02-01T00:00:0{n}Z") for n in range(5, 10)]
    assert Prices(rows(*old, *new))(run()) == pytest.approx(30.0)


def test_rows_of_one_second_have_one_price_in_any_order() -> None:
    found = rows(*(row(run(BP, n), 10.0 + n, finished="2026-01-01T00:00:00Z") for n in range(9)))
    assert Prices(found)(run()) == Prices(found.iloc[::-1])(run())


@pytest.mark.parametrize("tasks", [(BUDGET,), (BUDGET, AT_END)], ids=["of one kind", "of two"])
def test_the_price_is_the_median_of_the_latest_five(tasks: tuple[Training, ...]) -> None:
    # each of 100 steps; with one more, or one less, the median would be 35
    made = [
        row(run(BP, n, task=tasks[n % len(tasks)]), seconds, finished=f"2026-01-01T00:00:0{n}Z")
        for n, seconds in enumerate((1_000.0, 1_000.0, 10.0, 20.0, 30.0, 40.0, 50.0))
    ]
    assert Prices(rows(*made))(run()) == pytest.approx(30.0)
    assert Prices(rows(*reversed(made)))(run()) == pytest.approx(30.0)


def test_a_run_of_a_tenth_of_the_steps_is_no_short_one() -> None:
    long = row(run(task=Training(1_000, 500)), 100.0)
    tenth = row(run(task=AT_END), 30.0)
    assert Prices(rows(long, tenth))(run(task=Training(1_000, 500))) == pytest.approx(200.0)
    less = row(run(task=Training(99, 99)), 30.0)
    assert Prices(rows(long, less))(run(task=Training(1_000, 500))) == pytest.approx(100.0)


def test_every_row_has_its_own_group_and_of_many_the_latest_count() -> None:
    # the latest first, a step takes 0.5, 0.51, ... in groups of 1 to 4 by turns, of two kinds
    made = [
        row(
            run(BP, n, task=(BUDGET, AT_END)[n % 2]),
            (89.0 - n) * (n % 4 + 1),
            group_size=n % 4 + 1,
            finished=f"2026-01-01T00:00:{n:02d}Z",
        )
        for n in range(40)
    ]
    for known in (made, made[::-1]):
        assert Prices(rows(*known))(run()) == pytest.approx(52.0)


def test_short_runs_say_little_of_long_ones() -> None:
    long = row(run(task=Training(1_000, 500)), 100.0, finished="2026-01-01T00:00:00Z")
    short = [
        row(
            run(BP, n, task=Training(10, 10)), 5.0, finished=f"2026-02-01T00:00:0{n}Z", num_steps=10
        )
        for n in range(5)
    ]
    assert Prices(rows(long, *short))(run(task=Training(2_000, 500))) == pytest.approx(200.0)
    assert Prices(rows(*short))(run(task=Training(2_000, 500))) == pytest.approx(1_000.0)
    assert Prices(rows(long, *short))(run(task=Training(20, 10))) == pytest.approx(10.0)


def test_looks_are_paid_for_where_rows_tell_their_price() -> None:
    # 100 steps of 0.5 s; looks at 0, 50 and 100 and at the test split: 4 of 2 s
    measured = row(run(), 50.0, wall_seconds=58.0)
    prices = Prices(rows(measured))
    assert prices(run()) == pytest.approx(58.0)
    often = Training(100, evaluate_every=10, test_every=20)  # 11 and 6
    assert prices(run(task=often)) == pytest.approx(50.0 + 17 * 2.0)
    # a look costs the same under every method
    assert Prices(rows(measured, row(run(FG), 90.0)))(run(FG)) == pytest.approx(98.0)


def test_a_trial_looks_at_no_test_split() -> None:
    # 0.5 s a step and 2 s a look: at the start and the end, and of a reported run at the test split
    prices = Prices(rows(row(run(task=AT_END), 50.0, wall_seconds=56.0)))
    assert prices(run(task=AT_END)) == pytest.approx(50.0 + 3 * 2.0)
    assert prices(trial(0)) == pytest.approx(50.0 + 2 * 2.0)


def test_the_end_is_looked_at_whether_or_not_it_is_due() -> None:
    prices = Prices(rows(row(run(task=AT_END), 50.0, wall_seconds=56.0)))
    # at 0, 30, 60, 90 and 100 steps, and at the test split
    assert prices(run(task=Training(100, evaluate_every=30))) == pytest.approx(50.0 + 6 * 2.0)


def test_a_row_that_does_not_tell_its_group_trained_alone_and_no_time_is_no_price() -> None:
    assert Prices(rows(row(run(), 50.0, group_size=0)))(run()) == pytest.approx(50.0)
    assert Prices(rows(row(run(), 0.0)))(run()) is None


def test_looks_at_a_network_that_nobody_looked_at_cost_as_many_steps_as_elsewhere() -> None:
    wider = dataclasses.replace(PROBLEM, network=use("mlp", width=4096))
    known = row(run(), 50.0, wall_seconds=58.0)  # a look takes as long as four steps
    stepped = row(run(problem=wider), 500.0)
    prices = Prices(rows(known, stepped))
    assert prices(run(problem=wider)) == pytest.approx(500.0 + 4 * 4 * 5.0)


def test_looks_at_a_function_say_nothing_of_those_at_a_network() -> None:
    bowl = ClosedForm("p", "beale", (0.0, 0.5))
    watched = row(run(problem=bowl), 50.0, wall_seconds=450.0)  # 200 steps a look
    assert Prices(rows(watched, row(run(), 50.0)))(run()) == pytest.approx(50.0)


def test_looks_of_smoke_scale_say_nothing_of_those_of_others() -> None:
    wider = dataclasses.replace(PROBLEM, network=use("mlp", width=4096))
    smoke = row(
        dataclasses.replace(run(), scale="smoke"), 50.0, wall_seconds=450.0
    )  # 200 steps a look
    known = row(run(problem=dataclasses.replace(PROBLEM, batch_size=3)), 50.0, wall_seconds=58.0)
    prices = Prices(rows(smoke, known, row(run(problem=wider), 500.0)))
    assert prices(run(problem=wider)) == pytest.approx(500.0 + 4 * 4 * 5.0)
    tiny = dataclasses.replace(run(problem=wider), scale="smoke")
    assert prices(tiny) == pytest.approx(500.0 + 4 * 200 * 5.0)


def test_a_run_that_diverged_tells_the_price_of_no_step_and_no_look() -> None:
    lost = row(run(BP, 1), 1.0, wall_seconds=90.0, status="diverged", num_steps=50)
    assert Prices(rows(lost))(run()) is None
    assert Prices(rows(lost, row(run(), 50.0)))(run()) == pytest.approx(50.0)


def test_a_run_that_may_end_early_has_as_many_steps_as_such_runs_took() -> None:
    # 0.5 s a step and 2 s a look: at the start, every 50 steps, and the last and best epoch at the test split
    early = Training(1_000, 50, early_stopping=10)
    prices = Prices(rows(row(run(), 50.0, wall_seconds=58.0)))
    assert prices(run(task=early)) == pytest.approx(500.0 + 23 * 2.0)
    found = [
        row(
            run(BP, n, task=early), steps / 2, wall_seconds=steps / 2 + looks * 2.0, num_steps=steps
        )
        for n, (steps, looks) in enumerate([(100, 5), (300, 9), (800, 19)])
    ]
    prices = Prices(rows(*found))
    # 400 steps, the mean: it is the sum over many runs that is predicted
    assert prices(run(task=early)) == pytest.approx(200.0 + 11 * 2.0)
    # neither a run that diverged nor one of another method tells when such a run ends
    lost = row(run(BP, 4, task=early), 1.0, status="diverged", num_steps=2)
    other = row(run(FG, 5, task=early), 500.0, num_steps=1_000)
    assert Prices(rows(*found, lost, other))(run(task=early)) == prices(run(task=early))
    # under other rules others end
    assert prices(run(task=Training(1_000, 50, early_stopping=20))) == pytest.approx(546.0)
    assert prices(run(task=Training(1_000, 50))) == pytest.approx(500.0 + 22 * 2.0)


def test_a_run_that_may_stand_still_has_as_many_steps_as_such_runs_took() -> None:
    still = Training(1_000, 1_000, patience=50)
    found = [
        row(run(BP, n, task=still), steps / 2, num_steps=steps) for n, steps in ((0, 51), (1, 149))
    ]
    prices = Prices(rows(*found))
    assert prices(run(task=still)) == pytest.approx(50.0)
    assert prices(run(task=Training(1_000, 1_000))) == pytest.approx(500.0)


# Searches


def test_trials_cost_what_trials_did_on_average_diverged_ones_among_them() -> None:
    found = [row(trial(n), 50.0) for n in range(3)]
    found.append(row(trial(3), 2.0, status="diverged", num_steps=1))
    prices = Prices(rows(*found))
    assert prices(trial(9)) == pytest.approx(152.0 / 4)
    # a reported run has a rate that works, and so has a trial that is run again because it is one of the best
    again = dataclasses.replace(trial(9), trial=Trial(9, "s", "final"))
    assert prices(run()) == prices(again) == pytest.approx(50.0)
    # and it says nothing of how many trials diverge
    found += [row(dataclasses.replace(again, repetition=n), 50.0) for n in (1, 2)]
    assert Prices(rows(*found))(trial(9)) == prices(trial(9))
    assert Prices(rows(row(again, 50.0)))(trial(9)) == pytest.approx(50.0)


def test_trials_of_a_new_search_cost_what_those_of_its_estimator_did() -> None:
    found = [row(trial(0, BP), 50.0), row(trial(1, BP), 2.0, status="diverged")]
    own = [row(trial(0, BP_NESTEROV, "other"), 70.0)]
    new = trial(0, BP_NESTEROV, "other")
    assert Prices(rows(*found))(new) == pytest.approx(26.0)
    assert Prices(rows(*found, *own))(new) == pytest.approx(70.0)
    # its own are those of its method in its experiment of its study
    first = trial(1, BP)
    for other in (
        dataclasses.replace(first, study="another"),
        dataclasses.replace(first, experiment="another"),
        dataclasses.replace(first, method=BP_NESTEROV),
    ):
        strange = row(other, 2.0, status="diverged")
        assert Prices(rows(row(first, 50.0), strange))(trial(2, BP)) == pytest.approx(50.0)


def test_trials_on_a_new_problem_diverge_as_often_and_as_soon_as_those_of_their_estimator_elsewhere() -> (
    None
):
    elsewhere = dataclasses.replace(PROBLEM, batch_size=2 * PROBLEM.batch_size)
    on = [dataclasses.replace(trial(n), problem=elsewhere) for n in range(4)]
    lost = row(on[0], 1.0, status="diverged", num_steps=10)
    found = [lost, *(row(spec, 900.0) for spec in on[1:])]
    timed = row(run(task=Timing(3, 1, "cpu", 1)), 0.6, step_seconds=0.2)
    prices = Prices(rows(*found, timed))
    assert prices(run()) == pytest.approx(20.0)
    assert prices(trial(0)) == pytest.approx((10 * 0.2 + 3 * 20.0) / 4)


def test_trials_on_a_function_say_nothing_of_those_on_data() -> None:
    bowl = ClosedForm("p", "beale", (0.0, 0.5))
    lost = row(dataclasses.replace(trial(0), problem=bowl), 1.0, status="diverged", num_steps=10)
    assert Prices(rows(lost, row(run(), 50.0)))(trial(0)) == pytest.approx(50.0)
    other = row(
        trial(1, FG), 1.0, status="diverged", num_steps=10
    )  # nor do those of another estimator
    assert Prices(rows(other, row(run(), 50.0)))(trial(0)) == pytest.approx(50.0)


def test_a_longer_search_loses_no_more_to_trials_that_diverge_at_once() -> None:
    found = [row(trial(0), 50.0), row(trial(1), 2.0, status="diverged", num_steps=1)]
    longer = dataclasses.replace(trial(0), task=Training(500, evaluate_every=500))
    assert Prices(rows(*found))(longer) == pytest.approx((250.0 + 2.0) / 2)
    # what it spent from start to end, as far as that was measured
    found[1] = row(trial(1), 2.0, wall_seconds=6.0, status="diverged", num_steps=1)
    assert Prices(rows(*found))(longer) == pytest.approx((250.0 + 6.0) / 2)


def test_where_every_trial_diverged_so_may_the_next() -> None:
    found = [row(trial(n), 2.0 + n, status="diverged", num_steps=1) for n in range(2)]
    assert Prices(rows(*found))(trial(2)) == pytest.approx(2.5)
    # of those of another problem a step here has to be known, or they would cost nothing
    elsewhere = dataclasses.replace(PROBLEM, batch_size=2 * PROBLEM.batch_size)
    there = [
        row(dataclasses.replace(trial(n), problem=elsewhere), 2.0, status="diverged", num_steps=10)
        for n in range(2)
    ]
    assert Prices(rows(*there))(trial(0)) is None
    assert Prices(rows(*there, row(run(), 50.0)))(trial(0)) == pytest.approx(10 * 0.5)


def test_without_any_trial_a_whole_run_is_the_price() -> None:
    assert Prices(rows(row(run(), 50.0)))(trial(0)) == pytest.approx(50.0)


# Other tasks


def test_timing_is_priced_by_turns_and_warm_up() -> None:
    task = Timing(30, 5, "cpu", 1)
    turns = row(run(task=task), 3.0, step_seconds=0.1, group_size=5)  # seconds of its own
    assert Prices(rows(turns))(run(task=task)) == pytest.approx(35 * 0.1)
    whole = row(run(task=task), 3.0, step_seconds=0.1, wall_seconds=7.0)
    assert Prices(rows(whole))(run(task=task)) == pytest.approx(7.0)
    assert Prices(rows(whole))(run(task=Timing(30, 5, "cuda", 1))) is None
    assert Prices(rows(whole))(run(task=Timing(6, 1, "cpu", 1))) == pytest.approx(7 * 0.2)
    assert Prices(rows(row(run(), 50.0)))(run(task=task)) == pytest.approx(35 * 0.5)
    assert Prices(rows(row(run(), 50.0)))(run(FUNCTION, task=task)) is None
    lost = row(run(), 50.0, status="diverged", num_steps=1)
    assert Prices(rows(lost))(run(task=task)) is None


def test_sampling_is_priced_by_draws() -> None:
    point = ClosedForm("p", "beale", (0.0, 0.5))
    sampled = row(run(FG, task=Sampling(10), problem=point), wall_seconds=5.0)
    elsewhere = dataclasses.replace(point, name="q", start=(1.0, 1.0))
    assert Prices(rows(sampled))(run(FG, task=Sampling(40), problem=elsewhere)) == 20.0
    assert Prices(rows(row(run(FG, task=Sampling(10)))))(run(FG, task=Sampling(40))) is None


# Devices


def test_only_rows_of_the_device_count_where_it_has_any() -> None:
    slow = row(run(BP), 90.0, device="old cpu", finished="2026-01-01T00:00:00Z")
    fast = row(run(FG), 10.0, device="new cpu", finished="2026-02-01T00:00:00Z")
    prices = Prices(rows(slow, fast))
    assert (prices.device, prices.borrowed) == ("new cpu", False)
    assert prices(run(FG)) == pytest.approx(10.0)
    assert prices(run(BP)) is None  # of another device: no price is better than a wrong one
    assert Prices(rows(slow, fast), "old cpu")(run(BP)) == pytest.approx(90.0)


def test_a_device_without_rows_borrows_those_of_others_and_says_so() -> None:
    prices = Prices(rows(row(run(), 50.0)), "a gpu")
    assert (prices.device, prices.borrowed) == ("a gpu", True)
    assert prices(run()) == pytest.approx(50.0)


def test_nothing_has_a_price_before_anything_ran() -> None:
    prices = Prices(rows())
    assert prices(run()) is None
    assert prices.of([run(), run(FG)]) == Cost(unknown=2)


# Sums


def test_workers_share_what_does_not_want_the_machine_to_itself() -> None:
    timed = row(run(task=Timing(3, 1, "cpu", 1)), wall_seconds=8.0)
    prices = Prices(rows(row(run(), 50.0), timed))
    cost = prices.of([run(), run(BP, 1), run(task=Timing(3, 1, "cpu", 1)), run(FG)])
    assert cost == Cost(shared=100.0, alone=8.0, unknown=1)
    assert cost.seconds == 108.0
    assert cost.wall_clock(workers=4) == 33.0


def test_what_is_left_of_a_study_is_predicted_within_a_quarter() -> None:
    """Half of a study has run on a machine whose speed wavers; the other half is then run."""

    def cost(spec: RunSpec, number: int) -> Record:
        wave = 1.0 + 0.15 * (-1) ** number
        step = {"backpropagation": 0.01, "forward_gradient": 0.02}[spec.method.estimator.name]
        lost = spec.role == "tune" and number % 3 == 0  # a third of the trials, early
        spent = 0.02 if lost else 1.0
        looks = 1 if lost else 2 if spec.role == "tune" else 4
        assert isinstance(spec.task, Training)
        seconds = spec.task.num_steps * step * wave * spent
        status = "diverged" if lost else "done"
        stamp = f"2026-01-01T00:{number:02d}:00Z"
        return row(
            spec,
            seconds,
            status=status,
            num_steps=max(1, int(spec.task.num_steps * spent)),
            wall_seconds=seconds + 0.1 * wave * looks,
            finished=stamp,
        )

    half = [cost(trial(n, m), n) for n in range(12) for m in (BP, FG)]
    half += [cost(run(m, n), n) for n in range(3) for m in (BP, FG)]
    rest = [cost(trial(n, m, "other"), n) for n in range(12, 24) for m in (BP_NESTEROV, FG)]
    rest += [cost(run(BP_NESTEROV, n, experiment="other"), n) for n in range(12, 18)]
    truth = sum(float(record.measured["wall_seconds"] or 0) for record in rest)
    predicted = Prices(rows(*half)).of(record.spec for record in rest)
    assert predicted.unknown == 0
    assert predicted.seconds == pytest.approx(truth, rel=0.25)

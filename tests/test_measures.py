"""Measures against numbers worked out by hand, on rows made for the purpose."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repro import measures, stats
from repro.protocol import Classification, Method, RunSpec, Timing, Training, Trial, settings, use
from repro.results import Curve, EmptySelectionError, Record, Results, tabulate

BP, FG = measures.BACKPROPAGATION, measures.FORWARD_GRADIENT
PROBLEM = Classification("p", "digits", use("mlp"), 8, "unit", 10)


def record(
    experiment: str,
    method: str,
    repetition: int = 0,
    *,
    curves: Mapping[tuple[str, str], Sequence[tuple[int, float]]] | None = None,
    status: str = "done",
    timing: bool = False,
    scale: str = "full",
    rate: float = 0.1,
    **measured: float | str,
) -> Record:
    task = Timing(3, 0, "cpu", 1) if timing else Training(100, 10)
    spec = RunSpec(
        study="s",
        arm="published",
        scale=scale,  # type: ignore[arg-type]
        experiment=experiment,
        role="report",
        problem=PROBLEM,
        method=Method(method, use("backpropagation"), use("sgd")),
        hyperparameters=settings(learning_rate=rate),
        repetition=repetition,
        task=task,
    )
    lines = tuple(
        Curve(split, metric, tuple(s for s, _ in points), tuple(v for _, v in points))
        for (split, metric), points in (curves or {}).items()
    )
    return Record(spec, status, {"device": "a cpu", "num_threads": 1, **measured}, lines)


def results(*records: Record) -> Results:
    return Results(*tabulate(records), pd.DataFrame())


def losses(*points: tuple[int, float]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    return {("validation", "loss"): list(points)}


def paired_t(ours: Sequence[float], theirs: Sequence[float]) -> stats.Interval:
    return stats.mean_interval([a - b for a, b in zip(ours, theirs, strict=True)])


def rounds(*seconds: float) -> dict[tuple[str, str], list[tuple[int, float]]]:
    return {("none", "step_seconds"): list(enumerate(seconds))}


def test_final_metric_is_the_mean_over_repetitions_with_its_t_interval() -> None:
    rows = results(*(record("e", BP, r, value=v) for r, v in enumerate((1.0, 2.0, 6.0))))
    measured = measures.final_metric(rows, "e", BP, "value")
    assert measured.interval == stats.mean_interval([1.0, 2.0, 6.0])
    assert len(measured.keys) == 3
    assert measured.scale == "full"


def test_a_measure_is_taken_at_the_confidence_asked_for_and_says_it() -> None:
    values = {BP: (1.0, 2.0, 6.0), FG: (1.5, 3.0, 5.0)}
    rows = results(
        *(record("e", m, r, value=v) for m, each in values.items() for r, v in enumerate(each))
    )
    differences = np.subtract(values[FG], values[BP])
    mean = measures.final_metric(rows, "e", BP, "value", confidence=0.9975)
    assert mean.interval == stats.mean_interval(values[BP], 0.9975)
    assert mean.procedure == "mean, 99.75 % t interval"
    difference = measures.paired_difference(rows, "e", "value", FG, BP, confidence=0.8)
    assert difference.interval == stats.mean_interval(differences, 0.8)
    assert difference.procedure == "mean difference, 80 % paired-t interval"
    ratio = measures.paired_ratio(rows, "e", "value", FG, BP, confidence=0.99)
    assert ratio.interval == stats.ratio_interval(values[FG], values[BP], 0.99)
    share = measures.diverged_share(rows, "e", BP, confidence=0.99)
    assert share.interval == stats.binomial_interval(0, 3, 0.99)
    assert measures.final_metric(rows, "e", BP, "value").procedure == "mean, 95 % t interval"


def test_the_time_that_a_run_took_is_no_metric() -> None:
    rows = results(
        *(record("e", m, r, value=1.0, seconds=5.0 + r) for m in (BP, FG) for r in range(3))
    )
    for clock in ("seconds", "wall_seconds", "processor_seconds"):
        with pytest.raises(ValueError, match=rf"^'{clock}' is no metric: .* `step_time_ratio`"):
            measures.paired_difference(rows, "e", clock, FG, BP)
    with pytest.raises(ValueError, match="Unknown metric 'second'") as error:
        measures.final_metric(rows, "e", BP, "second")
    assert "seconds," not in str(error.value).replace("step_seconds,", "")


def test_a_diverged_run_leaves_no_mean_over_survivors() -> None:
    rows = results(record("e", BP, 0, value=1.0), record("e", BP, 1, status="diverged", score=9.0))
    measured = measures.final_metric(rows, "e", BP, "value")
    assert math.isnan(measured.interval.estimate)
    assert measured.diverged == 1
    more = results(*(record("e", BP, r, status="diverged" if r < 3 else "done") for r in range(5)))
    share = measures.diverged_share(more, "e", BP).interval
    assert share == stats.binomial_interval(3, 5)


def test_differences_and_ratios_are_paired_by_repetition() -> None:
    ours, theirs = (3.0, 5.0, 9.0), (1.0, 2.0, 4.0)
    rows = results(
        *(record("e", FG, r, value=v) for r, v in enumerate(ours)),
        *(record("e", BP, r, value=v) for r, v in enumerate(theirs)),
        record("e", BP, 7, value=1e9),  # no partner: left out
    )
    difference = measures.paired_difference(rows, "e", "value", FG, BP)
    assert difference.interval == paired_t(ours, theirs)
    ratio = measures.paired_ratio(rows, "e", "value", FG, BP)
    assert ratio.interval == stats.ratio_interval(ours, theirs)
    assert len(ratio.keys) == 6
    for lost in (FG, BP):  # a run that diverged leaves no ratio over survivors
        kept = [record("e", m, 0, value=2.0) for m in (FG, BP)]
        kept += [
            record("e", m, 1, status="diverged") if m == lost else record("e", m, 1, value=3.0)
            for m in (FG, BP)
        ]
        nothing = measures.paired_ratio(results(*kept), "e", "value", FG, BP).interval
        assert math.isnan(nothing.estimate)
        assert (nothing.low, nothing.high, nothing.num) == (0.0, math.inf, 2)


def test_times_are_of_the_machine_that_took_most_of_them() -> None:
    rows = results(
        *(record("t", BP, r, timing=True, curves=rounds(2.0), device="a cpu") for r in range(3)),
        *(record("t", BP, r, timing=True, curves=rounds(9.0), device="b cpu") for r in (3, 4)),
        record("t", BP, 5, timing=True, curves=rounds(7.0), device="a cpu", num_threads=2),
    )
    measured = measures.step_seconds(rows, "t", BP)
    assert (measured.interval.estimate, measured.interval.num) == (2.0, 3)
    assert measured.device == "a cpu, 1 thread"


def test_the_largest_scale_counts_and_scales_never_mix() -> None:
    rows = results(
        record("e", BP, 0, value=1.0, scale="smoke"), record("e", BP, 0, value=5.0, scale="reduced")
    )
    measured = measures.final_metric(rows, "e", BP, "value")
    assert (measured.interval.estimate, measured.scale) == (5.0, "reduced")


def both(scale: str, repetitions: Mapping[str, int]) -> list[Record]:
    value = {"reduced": 5.0, "full": 7.0, "smoke": 9.0}[scale]
    return [
        record("e", method, r, value=value + r, scale=scale)
        for method, num in repetitions.items()
        for r in range(num)
    ]


@pytest.mark.parametrize(
    ("reduced", "full", "shown"),
    [
        ({BP: 6, FG: 6}, {BP: 1}, "reduced"),  # a method is missing yet
        ({BP: 6, FG: 6}, {BP: 6, FG: 1}, "reduced"),  # one run has no interval
        ({BP: 6, FG: 6}, {BP: 2, FG: 2}, "full"),
        ({BP: 1, FG: 1}, {BP: 1, FG: 1}, "full"),  # no scale has more
        (
            {BP: 6},
            {FG: 6},
            "full",
        ),  # no scale has all of them: the largest, and what is missing is said
        ({BP: 6}, {BP: 2, FG: 2}, "full"),
    ],
)
def test_a_scale_that_is_being_run_replaces_none_that_is_complete(
    reduced: dict[str, int], full: dict[str, int], shown: str
) -> None:
    smoke = both("smoke", {BP: 3, FG: 3})  # never in place of a result
    rows = results(*both("reduced", reduced), *both("full", full), *smoke)
    # whatever methods a measure asks for, all take one scale
    there = {"reduced": reduced, "full": full}[shown]
    for methods in ([], *([method] for method in there)):
        assert set(measures.report_runs(rows, "e", methods)["scale"]) == {shown}
    for method in {BP, FG} - set(there):
        with pytest.raises(EmptySelectionError, match=f"no run of '{method}' at scale '{shown}'"):
            measures.report_runs(rows, "e", [method])


def test_curve_at_reads_a_recorded_step_and_interpolates_nothing() -> None:
    rows = results(record("e", BP, 0, curves=losses((0, 2.0), (50, 1.0))))
    assert measures.curve_at(rows, "e", BP, "loss", 50).interval.estimate == 1.0
    with pytest.raises(EmptySelectionError, match="not recorded at step 25"):
        measures.curve_at(rows, "e", BP, "loss", 25)
    # of two runs one diverged before that step: there is no mean over survivors
    lost = record("e", BP, 1, curves=losses((0, 2.0)), status="diverged")
    both = results(record("e", BP, 0, curves=losses((0, 2.0), (50, 1.0))), lost)
    assert math.isnan(measures.curve_at(both, "e", BP, "loss", 50).interval.estimate)


def test_a_metric_is_of_the_validation_split_or_where_else_it_was_recorded() -> None:
    train = {("train", "loss"): [(50, 3.0)]}
    rows = results(
        record("both", BP, curves={**train, **losses((50, 1.0))}), record("one", BP, curves=train)
    )
    assert measures.curve_at(rows, "both", BP, "loss", 50).interval.estimate == 1.0
    assert measures.curve_at(rows, "both", BP, "loss", 50, split="train").interval.estimate == 3.0
    assert measures.curve_at(rows, "one", BP, "loss", 50).interval.estimate == 3.0


def timed(experiment: str, ours: Sequence[float], theirs: Sequence[float]) -> tuple[Record, Record]:
    return (
        record(experiment, FG, timing=True, curves=rounds(*ours)),
        record(experiment, BP, timing=True, curves=rounds(*theirs)),
    )


def test_step_time_ratio_pairs_rounds() -> None:
    # every round is twice as slow for one method, whatever the machine does meanwhile
    rows = results(*timed("t", (2.0, 8.0, 4.0), (1.0, 4.0, 2.0)))
    measured = measures.step_time_ratio(rows, "t", FG, BP)
    assert measured.interval.estimate == 2.0
    assert measured.interval.num == 3
    assert measured.device == "a cpu, 1 thread"
    assert measures.step_seconds(rows, "t", BP).interval.estimate == 2.0


def depths(*ratios: float) -> tuple[Record, ...]:
    """Return timings of the depths 1, 2, 3, ... in which one method takes so many times as long."""
    return tuple(
        one
        for depth, ratio in enumerate(ratios, 1)
        for one in timed(f"depth-{depth}", (ratio, 2 * ratio, 9.0), (1.0, 2.0, 9.0 / ratio))
    )


def test_a_trend_that_is_a_line_of_logarithms_is_known_exactly() -> None:
    trend = measures.step_time_ratio_trend(results(*depths(2.0, 4.0, 8.0)), "depth", FG, BP)
    found = trend.interval
    assert (found.estimate, found.low, found.high) == pytest.approx((4.0, 4.0, 4.0))
    assert (found.num, len(trend.keys)) == (3, 6)


def test_the_scatter_about_a_trend_is_that_of_the_timings_not_of_their_rounds() -> None:
    ratios = (2.0, 2.2, 1.9, 2.1)  # of which every round says the same
    trend = measures.step_time_ratio_trend(results(*depths(*ratios)), "depth", FG, BP).interval
    slope = stats.slope_interval([1.0, 2.0, 3.0, 4.0], [math.log(ratio) for ratio in ratios])
    assert (trend.low, trend.high) == pytest.approx(
        (math.exp(3 * slope.low), math.exp(3 * slope.high))
    )
    assert trend.low < 1.0 < trend.high


def test_one_timing_has_no_trend_and_two_bound_none() -> None:
    with pytest.raises(EmptySelectionError, match="'depth' only one experiment was run"):
        measures.step_time_ratio_trend(results(*depths(2.0)), "depth", FG, BP)
    trend = measures.step_time_ratio_trend(results(*depths(2.0, 3.0)), "depth", FG, BP).interval
    assert trend.estimate == pytest.approx(1.5)
    assert (trend.low, trend.high) == (0.0, math.inf)


@pytest.mark.parametrize(
    ("ours", "bounds", "confidence"),
    [
        ((2.0, 8.0, 4.0, 1.0, 5.0), (0.0, math.inf), 1.0),  # a time is positive: no more is known
        ((3.0, 1.0, 2.0, 6.0, 5.0, 4.0), (1.0, 6.0), 1 - 2 / 64),
    ],
)
def test_six_rounds_bound_a_time_and_five_do_not(
    ours: Sequence[float], bounds: tuple[float, float], confidence: float
) -> None:
    rows = results(*timed("t", ours, (1.0,) * len(ours)))
    ratio = measures.step_time_ratio(rows, "t", FG, BP).interval
    for interval in (ratio, measures.step_seconds(rows, "t", FG).interval):
        assert (interval.low, interval.high) == bounds
        assert interval.confidence == confidence


def test_a_trend_over_two_scales_is_of_the_smaller_one() -> None:
    timings = depths(6.0, 6.0)
    rows = results(
        *(
            dataclasses.replace(one, spec=dataclasses.replace(one.spec, scale="smoke"))
            for one in timings[:2]
        ),
        *timings[2:],
    )
    assert measures.step_time_ratio_trend(rows, "depth", FG, BP).scale == "smoke"


def test_a_part_is_taken_from_the_rounds_in_which_it_was_timed() -> None:
    whole = ((5.0, 1.0), (6.0, 1.0), (9.0, 2.0))
    rows = results(
        *(
            record("t", method, repetition, timing=True, curves=rounds(seconds))
            for repetition, pair in enumerate(whole)
            for method, seconds in zip((FG, BP), pair, strict=True)
        ),
        record("t", "part", 2, timing=True, curves=rounds(1.0)),
    )
    found = measures.step_time_ratio_without(rows, "t", FG, "part", BP).interval
    assert (found.estimate, found.num) == (4.0, 1)


def test_a_step_without_one_of_its_parts() -> None:
    rows = results(
        *timed("t", (5.0, 10.0, 5.0), (2.0, 4.0, 2.0)),
        record("t", "part", timing=True, curves=rounds(2.0, 4.0, 2.0)),
    )
    measured = measures.step_time_ratio_without(rows, "t", FG, "part", BP)
    assert measured.interval.estimate == 1.5
    assert measured.interval.num == 3
    assert len(measured.keys) == 3
    with pytest.raises(EmptySelectionError):
        measures.step_time_ratio_without(rows, "t", FG, "elsewhere", BP)


def test_peak_memory_is_compared_without_chance() -> None:
    rows = results(
        record("t", FG, timing=True, peak_bytes=300.0),
        record("t", BP, timing=True, peak_bytes=200.0),
    )
    interval = measures.peak_memory_ratio(rows, "t", FG, BP).interval
    assert (interval.estimate, interval.low, interval.high, interval.num) == (1.5, 1.5, 1.5, 1)


def test_peak_memory_is_bounded_by_the_runs_furthest_apart() -> None:
    rows = results(
        *(
            record("t", method, repetition, timing=True, peak_bytes=peak)
            for method, peaks in ((FG, (300.0, 250.0, 400.0)), (BP, (200.0,) * 3))
            for repetition, peak in enumerate(peaks)
        )
    )
    interval = measures.peak_memory_ratio(rows, "t", FG, BP).interval
    assert interval == stats.Interval(1.5, 1.25, 2.0, 3, 1.0)


def test_time_to_loss_is_iterations_times_step_time() -> None:
    # backpropagation reaches its lowest loss 1.0 at step 100; the forward gradient crosses it at 50
    rows = results(
        *(record("e", BP, r, curves=losses((0, 2.0), (100, 1.0))) for r in range(3)),
        *(record("e", FG, r, curves=losses((0, 1.5), (100, 0.5))) for r in range(3)),
        *timed("t", (2.0, 4.0, 3.0), (1.0, 2.0, 1.5)),
    )
    steps = measures.steps_to_loss_ratio(rows, "e")
    assert steps.interval.estimate == pytest.approx(0.5)
    assert (steps.missed, steps.interval.num) == (0, 3)
    # no run looked between steps 0 and 100
    assert (steps.interval.low, steps.interval.high) == pytest.approx((0.0, 1.0))
    time = measures.time_to_loss_ratio(rows, "e", "t")
    assert time.interval.estimate == pytest.approx(1.0)
    assert time.interval.low == 0.0
    assert len(time.keys) == 8


def test_a_loss_never_reached_counts_as_infinite() -> None:
    reached = losses((0, 1.5), (100, 0.5))
    never = losses((0, 1.5), (100, 1.2))
    rows = results(
        *(record("e", BP, r, curves=losses((0, 2.0), (100, 1.0))) for r in range(3)),
        record("e", FG, 0, curves=reached),
        record("e", FG, 1, curves=never),
        record("e", FG, 2, curves=never),
    )
    measured = measures.steps_to_loss_ratio(rows, "e")
    assert measured.missed == 2
    assert measured.interval.estimate == math.inf
    assert measured.interval.low == 0.0  # the first may have got there right after its start


def test_what_never_gets_there_bounds_the_ratio_by_its_budget() -> None:
    base = losses((0, 2.0), (100, 1.0))
    reached = losses((0, 1.5), (40, 1.1), (80, 0.9))  # at step 60
    never = losses((0, 1.5), (300, 1.2))
    lost = record("e", FG, 1, curves=losses((0, 1.5), (20, 1.2)), status="diverged")

    def ratio(*ours: Record) -> measures.Measurement:
        theirs = (record("e", BP, r, curves=base) for r in range(len(ours)))
        return measures.steps_to_loss_ratio(results(*ours, *theirs), "e")

    most = ratio(
        record("e", FG, 0, curves=never),
        lost,
        *(record("e", FG, r, curves=reached) for r in (2, 3, 4)),
    )
    interval = most.interval
    # the median of five; below it lies the smallest but in one of 32 draws
    assert (interval.estimate, interval.low, interval.high) == pytest.approx((0.6, 0.4, math.inf))
    assert (most.missed, interval.num, interval.confidence) == (2, 5, 1 - 1 / 32)
    # a run of 300 steps would have needed more; one that diverged would never have got there
    none = ratio(record("e", FG, 0, curves=never), lost).interval
    assert (none.estimate, none.low, none.high) == (math.inf, 3.0, math.inf)
    assert none.confidence == 0.75


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (losses((0, 3.0), (100, 0.5)), losses((0, 1.0), (100, 2.0))),  # the baseline only rises
        (losses((0, 3.0), (100, 0.5)), losses((0, math.nan), (100, math.nan))),
        (losses((0, 3.0), (100, 0.5)), {}),
        (losses((0, 0.9), (100, 0.5)), losses((0, 2.0), (100, 1.0))),  # there from the start
    ],
    ids=["rises", "nowhere", "unrecorded", "at once"],
)
def test_one_repetition_without_a_ratio_leaves_none(
    ours: dict[tuple[str, str], list[tuple[int, float]]],
    theirs: dict[tuple[str, str], list[tuple[int, float]]],
) -> None:
    rows = results(
        record("e", FG, 0, curves=losses((0, 3.0), (100, 0.5))),
        record("e", BP, 0, curves=losses((0, 2.0), (100, 1.0))),
        record("e", FG, 1, curves=ours),
        record("e", BP, 1, curves=theirs),
    )
    interval = measures.steps_to_loss_ratio(rows, "e").interval
    assert math.isnan(interval.estimate)
    assert (interval.low, interval.high, interval.num) == (0.0, math.inf, 2)


def test_the_doubt_of_a_time_to_loss_is_that_of_both_its_factors() -> None:
    dense = [(step, 3.0 - step / 100) for step in range(0, 301, 5)]  # at 1.0 after 200 steps
    rows = results(
        *(record("e", BP, r, curves=losses((0, 2.0), (400 + 10 * r, 1.0))) for r in range(3)),
        *(record("e", FG, r, curves=losses(*dense)) for r in range(3)),
        *(
            dataclasses.replace(one, spec=dataclasses.replace(one.spec, scale="reduced"))
            for one in timed("t", (2.0, 2.1, 1.9, 2.2, 1.8, 2.3, 1.7, 2.0), (1.0,) * 8)
        ),
    )
    steps = measures.steps_to_loss_ratio(rows, "e", confidence=0.975).interval
    step = measures.step_time_ratio(rows, "t", FG, BP, confidence=0.975).interval
    time = measures.time_to_loss_ratio(rows, "e", "t")
    joint = time.interval
    assert time.scale == "reduced"  # the smaller of the two
    assert 0.0 < steps.low < steps.estimate < steps.high
    assert (joint.estimate, joint.low, joint.high) == pytest.approx(
        (steps.estimate * step.estimate, steps.low * step.low, steps.high * step.high)
    )
    # the risks add up, whatever the two have to do with one another
    assert joint.confidence == pytest.approx(1 - (1 - steps.confidence) - (1 - step.confidence))
    assert joint.confidence >= 0.95
    surer = measures.time_to_loss_ratio(rows, "e", "t", confidence=0.98).interval
    assert surer.low < joint.low < joint.high < surer.high
    assert surer.confidence >= 0.98


def test_a_crossing_between_two_evaluations_is_known_no_better_than_they_are_apart() -> None:
    base = losses((0, 2.0), (400, 1.0))
    sparse = losses((0, 3.0), (100, 1.25), (200, 0.75))
    dense = losses((0, 3.0), (100, 1.25), (149, 1.005), (150, 1.0), (200, 0.75))
    for curve, bounds in ((sparse, (0.25, 0.5)), (dense, (149 / 400, 0.375))):
        rows = results(
            *(record("e", BP, r, curves=base) for r in range(3)),
            *(record("e", FG, r, curves=curve) for r in range(3)),
        )
        interval = measures.steps_to_loss_ratio(rows, "e").interval
        assert interval.estimate == pytest.approx(0.375)
        assert (interval.low, interval.high) == pytest.approx(bounds)


def test_crossings_between_evaluations_are_as_uncertain_as_these_are_over_repetitions() -> None:
    base = losses((0, 2.0), (400, 1.0))
    rows = results(
        *(record("e", BP, r, curves=base) for r in range(3)),
        # the straight lines cross at 150 in all three
        record("e", FG, 0, curves=losses((0, 3.0), (100, 1.5), (200, 0.5))),
        record("e", FG, 1, curves=losses((0, 3.0), (50, 1.5), (250, 0.5))),
        record("e", FG, 2, curves=losses((0, 3.0), (140, 1.5), (160, 0.5))),
    )
    interval = measures.steps_to_loss_ratio(rows, "e").interval
    before = stats.ratio_interval([100.0, 50.0, 140.0], [400.0] * 3)
    after = stats.ratio_interval([200.0, 250.0, 160.0], [400.0] * 3)
    assert interval.estimate == pytest.approx(0.375)
    assert (interval.low, interval.high) == pytest.approx((before.low, after.high))


def test_moments_are_taken_over_theory_at_the_largest_number_of_draws() -> None:
    drawn = {
        ("none", "gradient_0"): [(0, 3.0)],
        ("none", "gradient_1"): [(0, 4.0)],
        ("none", "mean_0"): [(2, 9.0), (8, 6.0)],
        ("none", "variance_0"): [(2, 1.0), (8, 68.0)],  # theory: 25 + 9
        ("none", "relative_error"): [(2, 9.0), (8, 0.5)],
    }
    rows = results(record("e", FG, curves=drawn))
    for moment in ("mean", "variance"):
        ratio = measures.estimate_ratio(rows, "e", FG, moment=moment, component=0)
        assert ratio.interval.estimate == 2.0
    error = measures.mean_square_error(rows, "e", FG, dimension=3)
    assert error.interval.estimate == pytest.approx(0.25 * 8 / 4)


def test_nothing_run_is_said_as_such() -> None:
    rows = results(record("e", BP, value=1.0))
    with pytest.raises(EmptySelectionError, match="'elsewhere' was not run"):
        measures.final_metric(rows, "elsewhere", BP, "value")
    with pytest.raises(EmptySelectionError, match="'e' was not run"):
        measures.final_metric(rows, "e", BP, "value", study="other")
    with pytest.raises(EmptySelectionError, match="no run of 'forward gradient'"):
        measures.paired_difference(rows, "e", "value", FG, BP)
    with pytest.raises(ValueError, match="Unknown metric 'charm'"):
        measures.final_metric(rows, "e", BP, "charm")


def test_two_studies_with_one_name_must_be_told_apart() -> None:
    one = record("e", BP, value=1.0)
    other = dataclasses.replace(one, spec=dataclasses.replace(one.spec, study="other"))
    rows = results(one, other)
    with pytest.raises(ValueError, match="exists in several studies: other, s"):
        measures.final_metric(rows, "e", BP, "value")
    assert measures.final_metric(rows, "e", BP, "value", study="s").interval.num == 1


def priced(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> list[Record]:
    # losses at steps 0, 50 and 100; 10 steps an epoch; 2 passes a step of FG, 3 of BP
    return [
        dataclasses.replace(
            record(
                "e",
                method,
                repetition,
                curves=losses(*zip((0, 50, 100), values, strict=True)),
                num_steps=100.0,
                forward_passes=passes * 100,
            ),
            steps_per_epoch=10.0,
        )
        for method, rows, passes in ((FG, ours, 2.0), (BP, theirs, 3.0))
        for repetition, values in enumerate(rows)
    ]


OURS = ((4.0, 3.0, 2.0), (4.0, 3.5, 2.5), (4.0, 2.0, 1.0))
THEIRS = ((4.0, 2.0, 1.0), (4.0, 1.5, 0.5), (4.0, 1.0, 0.4))


def test_differences_at_equal_epochs_are_those_at_the_end() -> None:
    rows = results(*priced(OURS, THEIRS))
    measured = measures.paired_difference_at_equal(rows, "e", "loss", FG, BP)
    assert measured.interval == paired_t([2.0, 2.5, 1.0], [1.0, 0.5, 0.4])
    assert len(measured.keys) == 6


def test_differences_at_equal_passes_cut_the_dearer_method() -> None:
    # FG spends 200 passes; BP has spent them at step 200 / 3, a third of the way from step 50 to 100
    rows = results(*priced(OURS, THEIRS))
    measured = measures.paired_difference_at_equal(
        rows, "e", "loss", FG, BP, equal="forward_passes"
    )
    cut = [2.0 - 1.0 / 3, 1.5 - 1.0 / 3, 1.0 - 0.6 / 3]
    expected = paired_t([2.0, 2.5, 1.0], cut)
    assert measured.interval.estimate == pytest.approx(expected.estimate)
    assert measured.interval.high == pytest.approx(expected.high)
    swapped = measures.paired_difference_at_equal(rows, "e", "loss", BP, FG, equal="forward_passes")
    assert swapped.interval.estimate == pytest.approx(-expected.estimate)


def test_passes_are_counted_by_the_step_where_runs_differ_in_length() -> None:
    rows = results(
        *(
            record(
                "e", method, 0, num_steps=float(steps), forward_passes=passes * steps,
                curves=losses((0, 4.0), (steps // 2, 3.0), (steps, 1.0)),
            )
            for method, steps, passes in ((FG, 100, 2.0), (BP, 200, 4.0))
        )
    )  # fmt: skip
    measured = measures.paired_difference_at_equal(
        rows, "e", "loss", FG, BP, equal="forward_passes"
    )
    # 200 passes are all of the one and a quarter of the other's 800
    assert measured.interval.estimate == 1.0 - 3.5


def test_differences_at_equal_seconds_take_the_timed_steps() -> None:
    # a step of FG takes twice as long: BP's 100 steps are 50 of FG's
    rows = results(*priced(OURS, THEIRS), *timed("t", (2.0, 8.0, 4.0), (1.0, 4.0, 2.0)))
    measured = measures.paired_difference_at_equal(
        rows, "e", "loss", FG, BP, equal="seconds", run_time_experiment="t"
    )
    assert measured.interval == paired_t([3.0, 3.5, 2.0], [1.0, 0.5, 0.4])
    assert len(measured.keys) == 8
    assert measured.device == "a cpu, 1 thread"
    assert measured.procedure.startswith("mean difference at equal seconds")
    with pytest.raises(EmptySelectionError, match="'elsewhere' was not run"):
        measures.paired_difference_at_equal(
            rows, "e", "loss", FG, BP, equal="seconds", run_time_experiment="elsewhere"
        )


@pytest.mark.parametrize("change", [{"name": "wider"}, {"dataset": "mnist"}])
def test_seconds_of_another_problem_do_not_count(change: dict[str, str]) -> None:
    own = timed("t", (2.0, 8.0, 4.0), (1.0, 4.0, 2.0))
    small = [dataclasses.replace(r, spec=dataclasses.replace(r.spec, scale="reduced")) for r in own]
    other = dataclasses.replace(PROBLEM, **change)  # type: ignore[arg-type]
    large = [
        dataclasses.replace(r, spec=dataclasses.replace(r.spec, problem=other))
        for r in timed("t", (9.0,), (1.0,))
    ]
    rows = results(*priced(OURS, THEIRS), *small, *large)
    measured = measures.paired_difference_at_equal(
        rows, "e", "loss", FG, BP, equal="seconds", run_time_experiment="t"
    )
    assert measured.interval == paired_t([3.0, 3.5, 2.0], [1.0, 0.5, 0.4])
    assert measured.scale == "reduced"


def test_a_diverged_run_leaves_no_difference_at_equal_cost() -> None:
    good = priced(OURS, THEIRS)
    hurt = dataclasses.replace(good[1], status="diverged", curves=())
    measured = measures.paired_difference_at_equal(
        results(good[0], hurt, *good[2:]), "e", "loss", FG, BP
    )
    assert math.isnan(measured.interval.estimate)
    assert (measured.interval.num, measured.diverged) == (3, 1)


def test_equal_costs_are_named() -> None:
    rows = results(*priced(OURS, THEIRS))
    with pytest.raises(ValueError, match=r"epochs, forward_passes, seconds\. Found 'money'"):
        measures.paired_difference_at_equal(rows, "e", "loss", FG, BP, equal="money")
    with pytest.raises(ValueError, match="Equal seconds need `run_time_experiment`"):
        measures.paired_difference_at_equal(rows, "e", "loss", FG, BP, equal="seconds")
    without = results(*(record("e", m, curves=losses((0, 2.0), (9, 1.0))) for m in (FG, BP)))
    with pytest.raises(EmptySelectionError, match="its runs have no epochs"):
        measures.paired_difference_at_equal(without, "e", "loss", FG, BP)


# --- Searches and scatter -------------------------------------------------------------------------------


def trial(
    method: str, number: int, status: str = "done", repetition: int = 0, stage: str = ""
) -> Record:
    made = record("e", method, repetition, status=status, score=1.0)
    spec = dataclasses.replace(made.spec, role="tune", trial=Trial(number, "abc", stage))
    return dataclasses.replace(made, spec=spec)


def test_diverged_trials_difference_counts_trials_and_resolves_one() -> None:
    table = results(
        *(trial("a", n, "diverged" if n < 3 else "done") for n in range(4)),
        trial("a", 3, "diverged", repetition=1),  # one of its runs is enough
        *(trial("b", n, "diverged" if n < 1 else "done") for n in range(4)),
        record("e", "a", status="diverged"),  # a reported run is no trial
        record("e", "b"),
        trial("b", 4, "diverged", stage="refinement"),  # of a range that is its method's own
    )
    measured = measures.diverged_trials_difference(table, "e", "a", "b")
    # each share may be off by the trial at its threshold
    assert measured.interval == stats.Interval(0.75, 0.25, 1.25, 4, 1.0)
    assert len(measured.keys) == 9
    assert measured.diverged == 5
    with pytest.raises(EmptySelectionError):
        measures.diverged_trials_difference(table, "e", "a", "c")
    ended = [record("e", "a"), record("e", "b")]
    unequal = results(trial("a", 0), trial("a", 1), trial("b", 1), *ended)
    with pytest.raises(EmptySelectionError, match="has not ended, 'a' has 2 trials and 'b' 1"):
        measures.diverged_trials_difference(unequal, "e", "a", "b")
    begun = results(trial("a", 0), trial("b", 0))  # the same trials, but no reported run yet
    with pytest.raises(EmptySelectionError):
        measures.diverged_trials_difference(begun, "e", "a", "b")


def searched(method: str, chosen: float, *tried: float, lost: int = 0) -> list[Record]:
    """Return trials at some rates, the first of which diverged, and three reported runs."""
    trials = [trial(method, n, "diverged" if n < lost else "done") for n in range(len(tried))]
    return [
        *(
            dataclasses.replace(
                t, spec=dataclasses.replace(t.spec, hyperparameters=settings(learning_rate=r))
            )
            for t, r in zip(trials, tried, strict=True)
        ),
        *(record("e", method, n, rate=chosen) for n in range(3)),
    ]


def test_the_largest_rate_that_learns_is_known_up_to_the_next_larger() -> None:
    # scores are 1; which rate was chosen does not matter
    rows = results(
        *searched("a", 0.01, 8.0, 0.4, 0.1, lost=1), *searched("b", 0.1, 0.4, 0.2, 0.1, lost=2)
    )
    measured = measures.usable_rate_ratio(rows, "e", "a", "b", limit=2.0)
    ratio = measured.interval
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx(
        (0.4 / 0.1, 0.4 / 0.2, 8.0 / 0.1)
    )
    assert measured.diverged == 3
    # a rate at which one of two runs was lost has been lost; beyond the largest tried nothing is known
    again = trial("b", 2, "diverged", repetition=1)
    spec = dataclasses.replace(again.spec, hyperparameters=settings(learning_rate=0.1))
    twice = results(
        *searched("a", 0.1, 0.4), *searched("b", 0.1, 0.4, 0.2, 0.1, 0.05, lost=2),
        dataclasses.replace(again, spec=spec),
    )  # fmt: skip
    ratio = measures.usable_rate_ratio(twice, "e", "a", "b", limit=2.0).interval
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx((8.0, 4.0, math.inf))
    # a finalist that is lost when it is run again had more chances to be than the other trials
    final = dataclasses.replace(spec, trial=Trial(2, "abc", "final"))
    later = results(
        *searched("a", 0.1, 0.4), *searched("b", 0.1, 0.4, 0.2, 0.1, 0.05, lost=2),
        dataclasses.replace(again, spec=final),
    )  # fmt: skip
    ratio = measures.usable_rate_ratio(later, "e", "a", "b", limit=2.0).interval
    assert (ratio.estimate, ratio.low) == pytest.approx((4.0, 2.0))
    with pytest.raises(EmptySelectionError, match=r"'e': no trial of 'a' ended below 0\.5\."):
        measures.usable_rate_ratio(rows, "e", "a", "b", limit=0.5)


def test_a_chosen_rate_is_known_up_to_the_trials_beside_it() -> None:
    rows = results(
        *searched("a", 0.1, 0.4, 0.1, 0.02, 0.01), *searched("b", 0.01, 0.1, 0.01, 0.02, 0.005)
    )
    chosen = measures.chosen_rate(rows, "e", "a")
    # not 3 observations of one rate
    assert chosen.interval == stats.Interval(0.1, 0.02, 0.4, 4, 1.0)
    ratio = measures.chosen_rate_ratio(rows, "e", "a", "b").interval
    assert (ratio.estimate, ratio.low, ratio.high) == pytest.approx(
        (10.0, 0.02 / 0.02, 0.4 / 0.005)
    )
    # beyond what was tried nothing is known
    edge = results(*searched("a", 0.4, 0.4, 0.1), *searched("b", 0.1, 0.4, 0.1))
    assert measures.chosen_rate(edge, "e", "a").interval.high == math.inf
    assert measures.chosen_rate_ratio(edge, "e", "a", "b").interval.high == math.inf
    with pytest.raises(EmptySelectionError, match="none is left after role"):
        measures.chosen_rate(results(record("e", "a")), "e", "a")


def wave(height: float) -> dict[tuple[str, str], list[tuple[int, float]]]:
    """A fall, then ten points of which the last five are higher."""
    fall = [(step, 100.0 - step) for step in range(90)]
    return {("train", "loss"): [*fall, *((90 + n, height * (n // 5)) for n in range(10))]}


def test_curve_spread_ratio_is_of_the_last_tenth() -> None:
    table = results(
        *(record("e", "a", r, curves=wave(6.0)) for r in range(2)),
        *(record("e", "b", r, curves=wave(2.0)) for r in range(2)),
    )
    measured = measures.curve_spread_ratio(table, "e", "loss", "a", "b")
    assert measured.interval.estimate == pytest.approx(3.0)
    assert measured.interval.num == 2


def test_a_curve_of_a_thousandth_of_the_level_scatters_as_much_for_its_size() -> None:
    large = [(step, 1000.0 * (2.0 + (-1) ** step)) for step in range(40)]
    small = [(step, value / 1000.0) for step, value in large]
    table = results(
        record("e", "a", curves={("train", "loss"): large}),
        record("e", "b", curves={("train", "loss"): small}),
    )
    for relative, expected in ((False, 1000.0), (True, 1.0)):
        measured = measures.curve_spread_ratio(table, "e", "loss", "a", "b", relative=relative)
        assert measured.interval.estimate == pytest.approx(expected)


@pytest.mark.parametrize(
    "bad", [{"curves": wave(0.0)}, {"curves": wave(6.0), "status": "diverged"}]
)
def test_curve_spread_ratio_is_unknown_without_scatter_or_after_divergence(
    bad: dict[str, Any],
) -> None:
    table = results(record("e", "a", **bad), record("e", "b", curves=wave(2.0)))
    measured = measures.curve_spread_ratio(table, "e", "loss", "a", "b")
    assert math.isnan(measured.interval.estimate)
    assert (measured.interval.low, measured.interval.high) == (0.0, math.inf)


def descent(experiment: str, method: str, *best: float, start: float = 10.0) -> list[Record]:
    curve = {("none", "value"): [(0, start), (100, best[0])]}
    return [record(experiment, method, r, best_value=v, curves=curve) for r, v in enumerate(best)]


A, B = "projection", "mean"


def test_a_difference_of_descents_is_of_rate_and_direction() -> None:
    rows = results(
        *descent("own", BP, 5.0, 0.0, 6.0),  # by 5, 10 and 4
        *descent("own", A, 1.0, 2.0, 3.0),
        *descent("own", B, 2.0, 4.0, 3.0),
        *descent("other", B, 1.5, 2.0, 4.0),
    )
    found = measures.descent_differences(rows, "own", [(A, B), (A, "x")], BP, exchanged="other")
    shares = {
        measures.TOTAL: [-0.2, -0.2, 0.0],
        measures.RATE: [-0.1, -0.2, 0.25],
        measures.DIRECTION: [-0.1, 0.0, -0.25],
    }
    assert set(found) == {(part, A, B) for part in shares}
    for part, values in shares.items():
        interval, expected = found[part, A, B].interval, stats.mean_interval(values)
        assert interval.estimate == pytest.approx(expected.estimate)
        assert interval.low == pytest.approx(expected.low)
        assert interval.num == 3
    # rate and direction make the total, repetition by repetition
    parts = (found[part, A, B].interval.estimate for part in (measures.RATE, measures.DIRECTION))
    assert sum(parts) == pytest.approx(found[measures.TOTAL, A, B].interval.estimate)
    alone = measures.descent_differences(rows, "own", [(A, B)], BP, exchanged="never run")
    assert set(alone) == {(measures.TOTAL, A, B)}


def test_differences_of_descents_share_repetitions_and_lose_what_diverged() -> None:
    rows = results(
        *descent("e", BP, 0.0, 0.0),
        *descent("e", A, 1.0, 2.0, 9.0),  # the third has no partner
        *descent("e", B, 1.0, 4.0),
    )
    (total,) = measures.descent_differences(rows, "e", [(A, B)], BP).values()
    assert total.interval.estimate == pytest.approx(-0.1)
    assert total.interval.num == 2
    lost = results(
        *descent("e", BP, 0.0, 0.0),
        *descent("e", A, 1.0, 2.0),
        *descent("e", B, 1.0),
        record("e", B, 1, status="diverged", score=9.0),
    )
    (total,) = measures.descent_differences(lost, "e", [(A, B)], BP).values()
    assert math.isnan(total.interval.estimate)
    assert total.diverged == 1


def test_differences_of_descents_need_a_descent() -> None:
    flat = results(*descent("e", BP, 0.0, start=0.0), *descent("e", A, 0.0, start=0.0))
    with pytest.raises(EmptySelectionError, match="'backpropagation' descends nowhere"):
        measures.descent_differences(flat, "e", [(A, BP)], BP)
    once = results(*descent("e", BP, 0.0, 10.0), *descent("e", A, 0.0, 0.0))
    with pytest.raises(EmptySelectionError, match="'backpropagation' descends nowhere"):
        measures.descent_differences(once, "e", [(A, BP)], BP)
    with pytest.raises(EmptySelectionError, match="has no run of 'x'"):
        measures.descent_differences(flat, "e", [(A, BP)], "x")


def test_final_metrics_are_those_of_every_method() -> None:
    rows = results(record("e", BP, 0, value=1.0), record("e", FG, 0, value=2.0))
    found = measures.final_metrics(rows, "e", "value")
    assert found == {m: measures.final_metric(rows, "e", m, "value") for m in (BP, FG)}


# Rates


def test_a_method_is_compared_with_itself_in_another_experiment() -> None:
    first = [record("p", BP, r, test_accuracy=v) for r, v in enumerate((0.5, 0.7, 0.9))]
    last = [record("t", BP, r, test_accuracy=v) for r, v in enumerate((0.6, 0.7))]
    rows = results(*first, *last)
    measured = measures.difference_between(rows, "p", "t", BP, "test_accuracy")
    # the repetitions of both
    assert measured.interval == stats.mean_interval([0.5 - 0.6, 0.7 - 0.7])
    assert len(measured.keys) == 4
    small = [record("t", BP, r, scale="reduced", test_accuracy=0.5) for r in range(2)]
    with pytest.raises(
        EmptySelectionError, match=r"compared on one scale\. Found full and reduced"
    ):
        measures.difference_between(results(*first, *small), "p", "t", BP, "test_accuracy")
    with pytest.raises(EmptySelectionError, match="share no repetition of 'backpropagation'"):
        measures.difference_between(results(first[2], *last), "p", "t", BP, "test_accuracy")


def test_two_methods_of_two_experiments_are_paired_by_repetition() -> None:
    # in any order of the rows
    long = [record("long", FG, r, value=v) for r, v in ((1, 3.0), (0, 1.0), (2, 4.0))]
    short = [record("short", BP, r, value=v) for r, v in ((0, 0.5), (2, 1.0), (1, 2.5))]
    rows = results(*long, *short)
    measured = measures.difference_between(rows, "long", "short", FG, "value", last_method=BP)
    assert measured.interval == stats.mean_interval([0.5, 0.5, 3.0])
    lonely = results(long[0], short[0])
    with pytest.raises(
        EmptySelectionError, match="share no repetition of 'forward gradient' and 'backpropagation'"
    ):
        measures.difference_between(lonely, "long", "short", FG, "value", last_method=BP)


def at_rates(**lost: int) -> Results:
    """Runs whose validation loss is lowest at 3, then at 1; test losses are theirs plus 0.1 by repetition."""
    validation = {0.1: 2.0, 1.0: 1.0, 3.0: 0.5, 10.0: 0.9}
    return results(
        *(
            record(
                "e",
                A,
                r,
                rate=rate,
                best_validation_loss=loss,
                best_test_loss=loss + 0.1 * r * rate,
            )
            if lost.get(f"at_{rate:g}") != r
            else record("e", A, r, rate=rate, status="diverged", score=9.0)
            for rate, loss in validation.items()
            for r in range(3)
        )
    )


def change(rows: Results, limit: float = 1.0) -> measures.Measurement:
    return measures.change_beyond(
        rows, "e", A, "best_test_loss", by="best_validation_loss", limit=limit
    )


def test_the_best_rate_beyond_a_limit_is_compared_with_the_best_up_to_it() -> None:
    measured = change(at_rates())
    differences = [(0.5 + 0.3 * r) - (1.0 + 0.1 * r) for r in range(3)]
    assert measured.interval.estimate == pytest.approx(sum(differences) / 3)
    assert measured.interval.num == 3
    assert "rates 3 and 1" in measured.procedure
    # beyond the best rate the others are worse
    differences = [(0.9 + 1.0 * r) - (0.5 + 0.3 * r) for r in range(3)]
    assert change(at_rates(), 3.0).interval.estimate == pytest.approx(sum(differences) / 3)


def test_a_rate_with_diverged_runs_comes_last() -> None:
    # the repetitions whose others have it divergent are taken at the next best; its own is lost
    measured = change(at_rates(at_3=1))
    assert "rates 3, 10 and 1" in measured.procedure
    assert math.isnan(measured.interval.estimate)
    assert measured.diverged == 1


def test_a_rate_is_not_chosen_by_the_luck_of_the_run_it_is_judged_by() -> None:
    # three rates beyond the limit, each lucky once, and all as good as the one below it
    lucky = {3.0: 0, 10.0: 1, 30.0: 2}
    rows = results(
        *(
            record("e", A, r, rate=rate, best_validation_loss=loss, best_test_loss=loss)
            for rate in (1.0, *lucky)
            for r in range(3)
            for loss in [0.4 if lucky.get(rate) == r else 1.0]
        )
    )
    assert change(rows).interval.estimate == pytest.approx(0.0)


def test_a_rate_is_chosen_by_the_mean_of_the_others() -> None:
    # at 3 all but one are lucky: their mean is above that at 10 wherever the unlucky one is among them
    by = {1.0: (1.0,) * 4, 3.0: (0.1, 0.1, 0.1, 5.0), 10.0: (1.0,) * 4}
    rows = results(
        *(
            record(
                "e", A, r, rate=rate, best_validation_loss=loss, best_test_loss=float(rate == 10)
            )
            for rate, each in by.items()
            for r, loss in enumerate(each)
        )
    )
    assert change(rows).interval.estimate == 3 / 4


def test_a_rate_needs_other_repetitions_to_be_chosen_by() -> None:
    rows = at_rates()
    alone = dataclasses.replace(rows, runs=rows.runs[rows.runs["repetition"] == 0])
    with pytest.raises(EmptySelectionError, match="share 1 repetitions, and each is chosen"):
        change(alone)


def test_rates_are_compared_in_the_repetitions_that_all_of_them_have() -> None:
    # as after an interruption: the last repetition of the best rate is missing
    rows = at_rates()
    gone = (rows.runs["learning_rate"] == 3.0) & (rows.runs["repetition"] == 2)
    measured = change(dataclasses.replace(rows, runs=rows.runs[~gone]))
    differences = [(0.5 + 0.3 * r) - (1.0 + 0.1 * r) for r in range(2)]
    assert measured.interval.estimate == pytest.approx(sum(differences) / 2)
    assert measured.interval.num == 2


@pytest.mark.parametrize("limit", [0.01, 100.0])
def test_a_limit_needs_rates_on_both_sides(limit: float) -> None:
    with pytest.raises(EmptySelectionError, match=f"no rate on one side of {limit:g} was run"):
        change(at_rates(), limit)


# Ends of curves, and problems after equal epochs


def by_epoch(experiment: str, method: str, repetition: int, *losses: float) -> Record:
    curves = {("validation", "loss"): list(enumerate(losses))}
    return dataclasses.replace(
        record(experiment, method, repetition, curves=curves), steps_per_epoch=1
    )


def test_the_end_of_a_curve_is_the_mean_of_its_last_values() -> None:
    values = [(9.0,) * 98 + (1.0, 3.0), (9.0,) * 98 + (2.0, 6.0)]
    rows = results(*(by_epoch("e", A, r, *v) for r, v in enumerate(values)))
    measured = measures.curve_end(rows, "e", A, "loss", split="validation")
    assert measured.interval == stats.mean_interval([2.0, 4.0])
    alone = measures.curve_end(rows, "e", A, "loss", split="validation", share=0.001)
    assert alone.interval == stats.mean_interval([3.0, 6.0])
    lost = results(record("e", A, status="diverged", curves={("validation", "loss"): [(0, 1.0)]}))
    ended = measures.curve_end(lost, "e", A, "loss", split="validation")
    assert math.isnan(ended.interval.estimate)


def easy_and_hard(easy: float = 1.5, more: int = 0) -> Results:
    """After one step `A` has missed (easy - 1) of the easy problem's descent of 1, and 0.9 of the hard one's of 2."""
    return results(
        *(
            by_epoch(name, method, r, 2.0 + start, end + 0.01 * r * (method == A), *later)
            for r in range(3)
            for name, start, ends in (("easy", 0.0, (easy, 1.0)), ("hard", 1.0, (2.8, 1.0)))
            for method, end in zip((A, BP), ends, strict=True)
            for later in [(7.0,) * more if name == "easy" else ()]
        )
    )


def missed(rows: Results) -> measures.Measurement:
    return measures.missed_change_at_equal(rows, "easy", "hard", "loss", A, BP)


def test_no_change_is_measured_from_a_later_point_than_the_start() -> None:
    long = [3.0 - epoch / 1e3 for epoch in range(1_002)]
    rows = results(*(by_epoch(e, m, 0, *long) for e in ("easy", "hard") for m in (A, BP)))
    assert rows.curves["epoch"].min() == 2.0
    with pytest.raises(EmptySelectionError, match="has no evaluation at its start"):
        missed(rows)


@pytest.mark.parametrize("more", [0, 3])  # what the easy one was trained beyond does not count
def test_what_is_missed_on_two_problems_is_compared_after_equal_epochs(more: int) -> None:
    measured = missed(easy_and_hard(more=more))
    shares = [[0.5 + 0.01 * r for r in range(3)], [0.9 + 0.005 * r for r in range(3)]]
    expected = stats.welch_interval(shares[1], shares[0])
    assert measured.interval.estimate == pytest.approx(expected.estimate)
    assert measured.interval.low == pytest.approx(expected.low)


def test_problems_are_compared_after_the_last_epoch_that_both_have() -> None:
    curves = {
        ("easy", BP): (2.0, 1.5, 1.0, 0.9), ("easy", A): (2.0, 1.9, 1.5, 1.0),  # half is missed
        ("hard", BP): (3.0, 2.0, 1.0), ("hard", A): (3.0, 2.0, 2.5),  # three quarters
    }  # fmt: skip
    rows = results(*(by_epoch(e, m, r, *c) for (e, m), c in curves.items() for r in range(2)))
    assert missed(rows).interval.estimate == pytest.approx(0.75 - 0.5)


def test_the_share_of_a_descent_that_is_missed_epoch_by_epoch() -> None:
    # the base falls from 3 to 1 to 0, the other by half as much, then to where it is
    curves = [
        (m, r, *c) for r in range(2) for m, c in ((BP, (3.0, 1.0, 0.0)), (A, (3.0, 2.0, 0.0)))
    ]
    rows = results(*(by_epoch("e", *curve) for curve in curves))
    runs, shares = measures.missed_shares(rows, "e", "loss", A, BP)
    assert len(runs) == 4
    assert shares.index.tolist() == [1.0, 2.0]
    assert shares.to_numpy().tolist() == [[0.5, 0.5], [0.0, 0.0]]
    one = dataclasses.replace(by_epoch("e", A, 1, 3.0, 2.0, 0.0), status="diverged")
    rows = results(*(by_epoch("e", *curve) for curve in curves[:3]), one)
    assert measures.missed_shares(rows, "e", "loss", A, BP)[1].isna().all(axis=None)


def test_a_base_that_has_not_left_its_start_leaves_nothing_to_miss() -> None:
    ends = {BP: (1.0, 1.0, 1.9), A: (1.2, 1.3, 1.5)}
    rows = results(
        *(by_epoch("hard", m, r, 2.0, ends[m][r]) for m in ends for r in range(3)),
        *(by_epoch("easy", m, r, 2.0, 1.0 + 0.1 * (m == A)) for m in ends for r in range(3)),
    )
    _, shares = measures.missed_shares(rows, "hard", "loss", A, BP)
    assert shares.to_numpy().round(6).tolist() == [[0.2, 0.3, -4.0]]  # a tenth is just left
    lower = dataclasses.replace(rows, curves=rows.curves.replace({"value": {1.9: 1.95}}))
    _, shares = measures.missed_shares(lower, "hard", "loss", A, BP)
    assert shares.isna().to_numpy().tolist() == [[False, False, True]]
    measured = missed(lower)
    assert math.isnan(measured.interval.estimate)
    assert measured.procedure == (
        f"{BP} itself has hardly left its start after epoch 1 in 1 of 3 runs of hard"
    )


def test_where_nothing_has_been_learned_yet_nothing_is_compared() -> None:
    measured = missed(easy_and_hard(easy=1.95))
    assert math.isnan(measured.interval.estimate)
    assert "too early to compare: after epoch 1 96% are missed on the first" in measured.procedure
    start = results(*(by_epoch(e, m, 0, 1.0) for e in ("easy", "hard") for m in (A, BP)))
    with pytest.raises(EmptySelectionError, match="after no epoch in common"):
        missed(start)


def test_repetitions_are_taken_together_at_one_setting() -> None:
    rows = results(
        *(
            record("e", m, 0, rate=rate, score=1.0, curves=losses((0, 1.0), (50, 0.5)))
            for m in (A, BP)
            for rate in (0.1, 1.0)
        )
    )
    for measured in (
        lambda: measures.paired_difference(rows, "e", "score", A, BP),
        lambda: measures.final_metric(rows, "e", A, "score"),
        lambda: measures.final_metrics(rows, "e", "score"),
        lambda: measures.diverged_share(rows, "e", A),
        lambda: measures.curve_at(rows, "e", A, "loss", 50),
        lambda: measures.curve_end(rows, "e", A, "loss", split="validation"),
        lambda: measures.difference_between(rows, "e", "e", A, "score", last_method=BP),
        lambda: measures.steps_to_loss_ratio(rows, "e", method=A, baseline=BP),
    ):
        with pytest.raises(EmptySelectionError, match="was run at several settings"):
            measured()

"""The time and memory of a step relative to another method's, round by round on one machine."""

import dataclasses
import math
from collections.abc import Sequence

import pytest
from measured_runs import BP, FG, record, results, rounds, timed

from repro import measures, stats
from repro.results import EmptySelectionError, Record


def test_times_are_of_the_machine_that_took_most_of_them() -> None:
    rows = results(
        *(record("t", BP, r, timing=True, curves=rounds(2.0), device="a cpu") for r in range(3)),
        *(record("t", BP, r, timing=True, curves=rounds(9.0), device="b cpu") for r in (3, 4)),
        record("t", BP, 5, timing=True, curves=rounds(7.0), device="a cpu", num_threads=2),
    )
    measured = measures.step_seconds(rows, "t", BP)
    assert (measured.interval.estimate, measured.interval.num) == (2.0, 3)
    assert measured.device == "a cpu, 1 thread"


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

"""How long it takes to reach a loss: known no better than evaluations are apart, and infinite for who never gets there."""

import dataclasses
import math

import pytest
from measured_runs import BP, FG, losses, record, results, timed

from repro import measures, stats
from repro.results import Record


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

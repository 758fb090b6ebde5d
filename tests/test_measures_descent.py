"""How far methods descend on a function, and the moments of an estimator at one point, worked out by hand."""

import math

import pytest
from measured_runs import BP, FG, A, B, record, results

from repro import measures, stats
from repro.results import EmptySelectionError, Record


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


def descent(experiment: str, method: str, *best: float, start: float = 10.0) -> list[Record]:
    curve = {("none", "value"): [(0, start), (100, best[0])]}
    return [record(experiment, method, r, best_value=v, curves=curve) for r, v in enumerate(best)]


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

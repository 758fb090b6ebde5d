"""Where runs end: final metrics, their paired differences and ratios, and curves, against numbers worked out by hand."""

import math
from typing import Any

import numpy as np
import pytest
from measured_runs import BP, FG, A, by_epoch, losses, paired_t, record, results

from repro import measures, stats
from repro.results import EmptySelectionError


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


def test_final_metrics_are_those_of_every_method() -> None:
    rows = results(record("e", BP, 0, value=1.0), record("e", FG, 0, value=2.0))
    found = measures.final_metrics(rows, "e", "value")
    assert found == {m: measures.final_metric(rows, "e", m, "value") for m in (BP, FG)}


# Curves


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

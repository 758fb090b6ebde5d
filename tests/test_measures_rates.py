"""What another experiment or a larger rate changes: paired, and no rate judged by the run that it was chosen by."""

import dataclasses
import math

import pytest
from measured_runs import BP, FG, A, record, results

from repro import measures, stats
from repro.results import EmptySelectionError, Results


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
        EmptySelectionError, match="'t' is compared at one scale with p, and was not run at 'full'"
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

"""What the trials of a search show: a share is known up to one trial, and a rate up to the trials beside it."""

import dataclasses
import math

import pytest
from measured_runs import record, results

from repro import measures, stats
from repro.protocol import Trial, settings
from repro.results import EmptySelectionError, Record


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

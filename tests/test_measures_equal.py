"""Two methods at equal epochs, passes or seconds, and two problems after equal epochs, on curves of a few points."""

import dataclasses
import math
from collections.abc import Sequence

import pytest
from measured_runs import BP, FG, PROBLEM, A, by_epoch, losses, paired_t, record, results, timed

from repro import measures, stats
from repro.results import EmptySelectionError, Record, Results


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


# Problems after equal epochs


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


def test_problems_are_compared_at_a_scale_that_both_have() -> None:
    # rates searched for a long run, as at full scale, miss more of the first epoch
    curves = {
        ("easy", "full", BP): (2.0, 1.0), ("easy", "full", A): (2.0, 1.9),
        ("easy", "reduced", BP): (2.0, 1.0), ("easy", "reduced", A): (2.0, 1.5),
        ("hard", "reduced", BP): (3.0, 1.0), ("hard", "reduced", A): (3.0, 2.5),
    }  # fmt: skip
    made = [by_epoch(e, m, r, *c, scale=s) for (e, s, m), c in curves.items() for r in range(2)]
    measured = missed(results(*made))
    assert measured.interval.estimate == pytest.approx(0.75 - 0.5)
    assert measured.scale == "reduced"
    _, alone = measures.missed_shares(results(*made), "easy", "loss", A, BP)
    assert alone.to_numpy().round(6).tolist() == [[0.9, 0.9]]


@pytest.mark.parametrize(
    ("longer", "open_bounds"),
    [((), (False, False)), (("easy",), (False, True)), (("hard",), (True, False))],
)
def test_rates_searched_for_longer_runs_leave_a_bound_open(
    longer: tuple[str, ...], open_bounds: tuple[bool, bool]
) -> None:
    curves = {
        ("easy", BP): (2.0, 1.0), ("easy", A): (2.0, 1.5), ("hard", BP): (3.0, 1.0), ("hard", A): (3.0, 2.5),
    }  # fmt: skip
    made = [
        by_epoch(e, m, r, *c, *((0.5,) if e in longer else ()))
        for (e, m), c in curves.items()
        for r in range(3)
    ]
    published = missed(results(*made)).interval  # at given rates, whose runs may be of any length
    assert math.isfinite(published.low)
    assert math.isfinite(published.high)
    searched = [dataclasses.replace(o, spec=dataclasses.replace(o.spec, arm="tuned")) for o in made]
    measured = missed(results(*searched))
    assert measured.interval.estimate == published.estimate
    found = (measured.interval.low, measured.interval.high)
    assert (found[0] == -math.inf, found[1] == math.inf) == open_bounds
    assert [x for x in found if math.isfinite(x)] == [
        x
        for x, is_open in zip((published.low, published.high), open_bounds, strict=True)
        if not is_open
    ]
    told = (
        f", open where rates were searched for longer runs ({longer[0]})" if longer else "interval"
    )
    assert measured.procedure.endswith(told)


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

"""Measures over families of experiments, against numbers worked out by hand."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repro import measures, stats
from repro.measures import Measurement
from repro.protocol import ClosedForm, Method, RunSpec, Training, settings, use
from repro.results import Curve, EmptySelectionError, Record, Results, tabulate

BP = "backpropagation"


def record(
    experiment: str,
    method: str,
    repetition: int = 0,
    *,
    best: float = 0.0,
    rate: float = 0.1,
    status: str = "done",
    curves: Mapping[str, Sequence[tuple[int, float]]] | None = None,
    dimension: int = 4,
    scale: str = "full",
) -> Record:
    spec = RunSpec(
        "s", "tuned", scale, experiment, "report",  # type: ignore[arg-type]
        ClosedForm("p", "sphere", (1.0,), dimension),
        Method(method, use("backpropagation"), use("sgd")), settings(learning_rate=rate),
        repetition, Training(100, 10),
    )  # fmt: skip
    ended = {} if status == "diverged" else {"best_value": best, "value": best}
    lines = tuple(
        Curve("none", metric, tuple(s for s, _ in points), tuple(v for _, v in points))
        for metric, points in (curves or {}).items()
    )
    return Record(spec, status, {"num_parameters": dimension, **ended}, lines)


def results(*records: Record, facts: pd.DataFrame | None = None) -> Results:
    return Results(*tabulate(records), pd.DataFrame() if facts is None else facts)


def value(measurement: Measurement) -> float:
    return measurement.interval.estimate


def cell(experiment: str, **methods: Sequence[float]) -> list[Record]:
    return [
        record(experiment, method, repetition, best=best)
        for method, values in methods.items()
        for repetition, best in enumerate(values)
    ]


def test_a_family_is_named_by_its_first_words() -> None:
    rows = results(record("f-1", BP), record("f-22", BP), record("fg-1", BP), record("g", BP))
    assert measures.members(rows, "f", "s") == ["f-1", "f-22"]
    assert measures.members(rows, "g", None) == ["g"]
    with pytest.raises(EmptySelectionError, match="No experiment of the family 'h' was run"):
        measures.members(rows, "h", "s")


def test_extremes_of_curves_by_number_of_tangents() -> None:
    def points(*values: float) -> dict[str, list[tuple[int, float]]]:
        return {"cosine": list(zip((1, 2, 4, 8), values, strict=True))}

    rows = results(
        record("a-4", "one", curves=points(0.1, 0.4, 0.9, 1.0)),
        record("a-4", "two", curves=points(0.1, 0.3, 0.5, 1.2)),
        record("a-2", "one", curves=points(0.2, 0.3, 0.6, 0.5), dimension=2),
        record("a-2", "two", curves=points(0.2, 0.6, 0.6, 0.6), dimension=2),
    )

    def extreme(kind: str, **more: Any) -> Measurement:
        return measures.curve_extreme(rows, "a", "one", "cosine", extreme=kind, **more)

    assert value(extreme("min")) == 0.1
    assert value(extreme("max")) == 1.0
    assert value(extreme("max", minus="two")) == pytest.approx(0.4)
    assert value(extreme("max_abs", minus="two", steps="few")) == pytest.approx(0.4)
    assert value(extreme("min", minus="two", steps="few")) == pytest.approx(-0.3)
    assert value(extreme("min", steps="many")) == 0.3
    assert value(extreme("min", minus="previous")) == pytest.approx(-0.1)
    assert value(extreme("min", minus="previous", steps="few")) == pytest.approx(0.1)
    assert extreme("min").interval.num == 8
    assert value(extreme("max", largest=2)) == 0.6
    assert len(extreme("max", largest=2).keys) == 1
    assert len(extreme("min", minus="two").keys) == 4
    with pytest.raises(ValueError, match="`extreme` is one of min, max, max_abs"):
        extreme("median")


CLEAR = (1.0, 1.1, 0.9, 1.05, 0.95, 1.0)


def test_a_share_is_bounded_by_what_is_beyond_doubt() -> None:
    rows = results(
        *cell("f-1", a=CLEAR, b=tuple(v + 1.0 + 0.01 * i for i, v in enumerate(CLEAR))),
        *cell("f-2", a=CLEAR, b=tuple(v + 0.01 * (-1) ** i + 1e-3 for i, v in enumerate(CLEAR))),
        *cell("f-3", a=CLEAR, b=CLEAR),
        *cell("f-4", a=tuple(v + 1 for v in CLEAR), b=CLEAR),
        *cell("f-5", a=tuple(v + 1e-7 for v in CLEAR), b=CLEAR),
    )
    # lower, perhaps lower and higher; two tie
    found = measures.share_lower(rows, "f", "best_value", "a", "b")
    interval = found.interval
    assert [interval.estimate, interval.low, interval.high] == pytest.approx([2 / 3, 1 / 3, 2 / 3])
    assert interval.num == 3
    assert "2 ties left out" in found.procedure
    turned = measures.share_lower(rows, "f", "best_value", "b", "a").interval
    assert [turned.estimate, turned.low, turned.high] == pytest.approx([1 / 3, 1 / 3, 2 / 3])
    # f-1 and f-4 differ by what hardly scatters or not at all: only the latter is beyond any doubt
    surest = measures.share_lower(rows, "f", "best_value", "a", "b", confidence=1 - 1e-12).interval
    assert [surest.low, surest.high] == pytest.approx([0.0, 2 / 3])
    assert surest.confidence == 1 - 1e-12


def test_ties_may_count_as_not_lower() -> None:
    rows = results(
        *cell("f-1", a=CLEAR, b=tuple(v + 1.0 + 0.01 * i for i, v in enumerate(CLEAR))),
        *cell("f-2", a=CLEAR, b=CLEAR),
    )
    interval = measures.share_lower(rows, "f", "best_value", "a", "b", ties="counted").interval
    assert (interval.estimate, interval.low, interval.high, interval.num) == (0.5, 0.5, 0.5, 2)
    with pytest.raises(ValueError, match=r"`ties` is one of left out, counted\. Found 'lost'"):
        measures.share_lower(rows, "f", "best_value", "a", "b", ties="lost")


def test_a_tie_of_methods_that_always_diverge_settles_nothing() -> None:
    rows = results(
        *cell("f-1", a=CLEAR, b=CLEAR),
        *(
            dataclasses.replace(row, status="diverged")
            for row in cell("f-2", a=(math.nan,) * len(CLEAR), b=(math.nan,) * len(CLEAR))
        ),
    )
    interval = measures.share_lower(rows, "f", "best_value", "a", "b", ties="counted").interval
    assert (interval.estimate, interval.low, interval.high, interval.num) == (0.0, 0.0, 0.5, 2)


def test_a_share_may_be_of_the_larger_dimensions() -> None:
    rows = results(
        *(
            record(f"f-{n}", method, repetition, best=best + repetition / 100, dimension=n)
            for n, higher in ((2, "a"), (4, "a"), (8, "b"))
            for method in ("a", "b")
            for best in [float(method == higher)]
            for repetition in range(6)
        )
    )
    share = measures.share_lower(rows, "f", "best_value", "a", "b", above=4)
    assert (value(share), share.interval.num) == (1.0, 1)
    assert value(measures.share_lower(rows, "f", "best_value", "a", "b")) == pytest.approx(1 / 3)
    with pytest.raises(EmptySelectionError, match=r"'f' has no dimension above 8\."):
        measures.share_lower(rows, "f", "best_value", "a", "b", above=8)


def test_one_repetition_settles_no_share() -> None:
    rows = results(*(row for n in range(9) for row in cell(f"f-{n}", a=(1.0,), b=(2.0,))))
    interval = measures.share_lower(rows, "f", "best_value", "a", "b").interval
    assert (interval.estimate, interval.low, interval.high) == (1.0, 0.0, 1.0)


def test_where_all_tie_there_is_no_share() -> None:
    rows = results(*cell("f-1", a=(5.0, 5.0), b=(5.0, 5.0 - 1e-6)))
    interval = measures.share_lower(rows, "f", "best_value", "a", "b").interval
    assert math.isnan(interval.estimate)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_p_values_of_pairs() -> None:

    ones = np.ones(3)
    assert measures.paired_p(ones, ones + 1e-9) == (1.0, 0)
    assert measures.paired_p(ones, ones + 1) == (0.0, -1)
    # three of three of one method alone diverged, and one of six: what a sign test makes of it
    assert measures.paired_p(ones * np.nan, ones) == (0.25, 1)
    assert measures.paired_p(ones, ones * np.nan) == (0.25, -1)
    six = np.array([np.nan, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert measures.paired_p(six, np.ones(6)) == (1.0, 1)
    assert measures.paired_p(np.full(6, np.nan), np.ones(6)) == (2 / 64, 1)
    assert measures.paired_p(ones * np.nan, ones * np.nan) == (1.0, 0)
    # one pair decides nothing
    assert measures.paired_p(np.array([2.0]), np.array([1.0])) == (1.0, 1)
    p_value, sign = measures.paired_p(np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 1.5]))
    assert (round(p_value, 3), sign) == (0.074, 1)
    with pytest.raises(ValueError, match="at least 2 pairs, found 1"):
        stats.paired_p_value([1.0], [2.0])


def test_missed_descent() -> None:
    start = {"value": [(0, 10.0), (100, 1.0)]}
    rows = results(
        *(record("f-1", BP, r, best=0.0, curves=start) for r in range(3)),
        *(record("f-1", "m", r, best=v, curves=start) for r, v in enumerate((1.0, 2.0, 3.0))),
        *(record("f-2", BP, r, best=0.0, curves=start) for r in range(3)),
        *(record("f-2", "m", r, best=v, curves=start) for r, v in enumerate((6.0, 7.0, 8.0))),
        *(record("zero", BP, r, curves={"value": [(0, 0.0)]}) for r in range(2)),
        *(record("zero", "m", r, curves={"value": [(0, 0.0)]}) for r in range(2)),
    )
    assert value(measures.missed_descent(rows, "f-1", "m", BP)) == pytest.approx(0.2)
    change = measures.missed_descent_change(rows, "f-1", "f-2", "m", BP)
    expected = stats.welch_interval([0.6, 0.7, 0.8], [0.1, 0.2, 0.3])
    assert change.interval == expected
    assert value(measures.missed_descent(rows, "zero", "m", BP)) == 0.0
    later = rows.beside(rows.runs.assign(value=rows.runs["best_value"] + 2.0))
    # (value - base's) / (start - base's), of the last values
    last = measures.missed_descent(later, "f-1", "m", BP, metric="value")
    assert value(last) == pytest.approx(2.0 / 8.0)


def test_no_descent_is_measured_from_a_later_point_than_the_start() -> None:
    # of 1,002 points every third is kept, counted from the end
    long = {"value": [(step, 10.0 - step / 1e3) for step in range(1_002)]}
    rows = results(record("f-1", BP, curves=long), record("f-1", "m", best=5.0, curves=long))
    assert rows.curves["step"].min() == 2
    with pytest.raises(EmptySelectionError, match="recorded its value at the start"):
        measures.missed_descent(rows, "f-1", "m", BP)


def test_a_baseline_that_diverged_is_no_measure_of_descent() -> None:
    start = {"value": [(0, 10.0)]}
    rows = results(
        record("f-1", BP, 0, best=0.0, curves=start),
        record("f-1", BP, 1, status="diverged", curves=start),
        *(record("f-1", "m", r, best=5.0, curves=start) for r in range(2)),
    )
    assert math.isnan(value(measures.missed_descent(rows, "f-1", "m", BP)))


def test_a_run_that_diverged_leaves_no_change_of_descent() -> None:
    start = {"value": [(0, 10.0)]}
    rows = results(
        *(record(e, BP, r, best=0.0, curves=start) for e in ("f-1", "f-2") for r in range(2)),
        *(record("f-1", "m", r, best=5.0 + r, curves=start) for r in range(2)),
        record("f-2", "m", 0, best=5.0, curves=start),
        record("f-2", "m", 1, status="diverged", curves=start),
    )
    for first, last in (("f-1", "f-2"), ("f-2", "f-1")):
        change = measures.missed_descent_change(rows, first, last, "m", BP)
        assert math.isnan(value(change))
        assert change.diverged == 1


def test_welch_by_hand() -> None:
    found = stats.welch_interval([1.0, 3.0], [2.0, 2.0])
    # the second sample has no spread: one degree of freedom, as of the first alone
    assert found.estimate == 0.0
    assert found.high == pytest.approx(stats.mean_interval([1.0, 3.0]).high - 2.0)


def test_published_values_are_met_or_not() -> None:
    facts = pd.DataFrame(
        [
            {"study": "s", "quantity": "final value", "setting": setting, "method": method,
             "value": stated}
            for setting, method, stated in (
                ("x-1", "a", 100.0), ("x-1", "b", 1e-40), ("x-1", "c", 2.0), ("x-1", "d", 1e-40),
                ("x-2", "a", 3.0), ("x-2", "b", 4.0), ("x-3", "a", 1.0),
                ("y-1", "a", 5.0),
            )
        ]
    )  # fmt: skip
    rows = results(
        record("f-y-1", "a", best=6.0),
        record("f-x-1", "a", best=100.001),
        record("f-x-1", "a", 1, best=7.0),
        record("f-x-1", "b", best=0.0),
        record("f-x-1", "c", best=0.0),  # of two values that are not both tiny one is wrong
        record("f-x-1", "d", best=1.0),
        record("f-x-2", "a", best=3.1),
        record("f-x-2", "b", status="diverged"),
        record("f-x-2", "c", best=9.0),
        facts=facts,
    )
    found = measures.published_share(
        rows, "f", setting="x", quantity="final value", rtol=1e-4, smallest=1e-30, study="s"
    )
    assert value(found) == pytest.approx(2 / 6)
    assert found.interval.num == 6
    with pytest.raises(EmptySelectionError, match=r"No experiment named f-z-\.\.\. was run"):
        measures.published_share(
            rows, "f", setting="z", quantity="final value", rtol=1e-4, smallest=0.0, study="s"
        )


def test_rates_and_their_theory() -> None:
    rows = results(
        record("f-8", "mean", rate=0.01, dimension=8),
        record("f-8", "projection", rate=0.08, dimension=8),
        record("f-16", "mean", rate=0.01, dimension=16),
        record("f-16", "projection", rate=0.04, dimension=16),
        record("f-2", "mean", rate=1.0, dimension=2),
        record("f-2", "projection", rate=9.0, dimension=2),
    )
    found = measures.rate_ratio(rows, "f", "projection", "mean", num_tangents=2, smallest=8)
    # 8 / (8 / 2) = 2 and 4 / (16 / 2) = 1/2
    assert value(found) == pytest.approx(1.0)
    assert found.interval.num == 2
    assert found.interval.low < 1.0 < found.interval.high
    with pytest.raises(EmptySelectionError, match="no dimension of 99 or more"):
        measures.rate_ratio(rows, "f", "projection", "mean", num_tangents=2, smallest=99)


def test_the_repetition_that_was_tuned_on() -> None:
    rows = results(
        *cell("f-1", a=(1.0, 2.0, 3.0, 4.0), b=(5.0, 2.0, 3.0, 4.0)),
        *cell("f-2", a=(1.0, 2.0, 3.0, 4.0), b=(1.0, 1.0, 1.0, 1.0)),
        *cell("f-3", a=(1.0, 2.0)),  # of two one is always the lower
    )
    found = measures.tuning_seed_share(rows, "f", "best_value")
    assert value(found) == pytest.approx(2 / 3)
    # had it been the last, it would have been below the others in none, the second in one of three
    assert (found.interval.low, found.interval.high) == pytest.approx((0.0, 1.0))
    assert found.interval.num == 3
    with pytest.raises(EmptySelectionError, match="No repetitions of the family 'g' differ"):
        measures.tuning_seed_share(results(*cell("g", a=(1.0, 1.0, 1.0))), "g", "best_value")


def test_a_family_is_of_its_smallest_scale() -> None:
    rows = results(
        record("f-1", "a"), record("f-1", "b"),
        record("f-2", "a", scale="reduced"), record("f-2", "b", scale="reduced"),
    )  # fmt: skip
    found = measures.share_lower(rows, "f", "best_value", "a", "b")
    assert found.scale == "reduced"

"""Which rows count for a measure: of one scale, one study and one setting, or a clear word on what was not run."""

import dataclasses
from collections.abc import Mapping

import pytest
from measured_runs import BP, FG, A, losses, record, results

from repro import measures
from repro.results import EmptySelectionError, Record


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


def test_experiments_that_are_compared_share_a_scale() -> None:
    both_scales = [
        record("e", BP, r, value=1.0, scale=s) for s in ("reduced", "full") for r in (0, 1)
    ]
    other = [record("o", BP, r, value=1.0, scale="reduced") for r in (0, 1)]
    rows = results(*both_scales, *other)
    assert set(measures.report_runs(rows, "e")["scale"]) == {"full"}
    # named among them or not, and whatever was not run at all
    for beside in (["o"], ["e", "o", "not run"]):
        assert set(measures.report_runs(rows, "e", beside=beside)["scale"]) == {"reduced"}
    assert set(measures.report_runs(rows, "e", beside=["not run"])["scale"]) == {"full"}
    apart = results(*both_scales[2:], *other)
    assert set(measures.report_runs(apart, "e", beside=["o"])["scale"]) == {"full"}
    with pytest.raises(
        EmptySelectionError,
        match=r"^Experiment 'o' is compared at one scale with e, and was not run at 'full'\. Run what is missing\.$",
    ):
        measures.report_runs(apart, "o", beside=["e"])
    # an experiment of that name in another study is another
    elsewhere = [dataclasses.replace(o, spec=dataclasses.replace(o.spec, study="z")) for o in other]
    rows = results(*both_scales, *elsewhere)
    assert set(measures.report_runs(rows, "e", study="s", beside=["o"])["scale"]) == {"full"}


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

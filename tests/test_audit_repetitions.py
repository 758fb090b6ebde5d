"""Runs that repeat each other, and those that diverged: what is compared, what is missing, and who is ahead."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import pytest
from fair import (
    METHODS,
    SEEDS,
    fair_rows,
)
from outsiders import of_rule
from scipy.stats import ttest_ind, wilcoxon  # type: ignore[import-untyped, unused-ignore]

from repro.audit import differences, report
from repro.audit.evidence import Evidence, runs_frame
from repro.audit.findings import judge
from repro.audit.rules import RULES
from repro.protocol import Fact


def test_repetitions_that_may_end_alike_are_no_copies() -> None:
    rows = fair_rows()
    same = (rows["method"] == "new") & (rows["role"] == "report")
    rows.loc[same, "score"] = rows.loc[same, "score"].iloc[0]
    evidence = Evidence("x", "foreign", METHODS, (), runs_frame(rows))
    told = (Fact("x", "repetitions", float(SEEDS), "rows"),)
    drawn, exact = (
        next(
            f.status
            for f in report.audit(dataclasses.replace(evidence, facts=facts)).findings
            if f.rule.name == "repetitions"
        )
        for facts in (told, (*told, Fact("x", "equal ends", 1.0, "rows", "new")))
    )
    assert (drawn, exact) == ("fail", "pass")


def test_differences_of_runs_without_seeds_are_tested_too() -> None:
    rows = runs_frame(fair_rows())
    with_seeds = Evidence("x", "foreign", METHODS, (), rows)
    without = dataclasses.replace(with_seeds, runs=runs_frame(rows.assign(seed="")))
    paired, apart = (
        next(f for f in report.audit(e).findings if f.rule.name == "multiplicity")
        for e in (with_seeds, without)
    )
    assert (paired.status, apart.status) == ("pass", "pass")
    reported = [without.rows("report", m)["score"] for m in METHODS]
    p = ttest_ind(*reported, equal_var=False).pvalue
    assert apart.parts[0].values["new against baseline, Holm"] == pytest.approx(p, abs=0)
    assert paired.parts[0].values["new against baseline, Holm"] != pytest.approx(p, abs=0)


@pytest.mark.parametrize(
    ("seeds", "spoken"),
    [
        ({"a": range(6), "b": range(6)}, {"": "pass: no method has fewer reported runs than another: 6"}),
        # no test is paired, and no run is missing
        ({"a": range(6), "b": range(100, 106)}, {"a": "warn: no seed in common", "b": "warn: no seed in common"}),
        ({"a": range(6), "b": range(6), "c": range(100, 106)}, {"c": "warn: no seed in common"}),
        ({"a": range(6), "b": range(5)}, {"b": "fail: no reported run with seed 5, which"}),
        ({"a": range(6), "b": range(100, 103)}, {"a": "warn: no seed in common", "b": "fail: 3 reported runs, but 6 of a"}),
        ({"a": range(6), "b": ()}, {"b": "fail: 0 reported runs, but 6 of a"}),
        ({"a": range(6), "b": (0, 1, 2, 3, 4, 7)}, {"a": "fail: with seed 7, which", "b": "fail: with seed 5, which"}),
    ],
)  # fmt: skip
def test_a_repetition_is_missing_where_seeds_are_shared_and_unpaired_where_they_are_not(
    seeds: dict[str, Iterable[int]], spoken: dict[str, str]
) -> None:
    rows = [
        {"method": method, "role": "report", "seed": f"{seed}", "score": 0.1 + 0.01 * seed}
        for method, own in seeds.items()
        for seed in own
    ]
    evidence = Evidence("x", "foreign", tuple(seeds), (), runs_frame(rows))
    found = {p.method: p for p in RULES["survivors"].look(evidence)}
    assert found.keys() == spoken.keys()
    for method, part in found.items():
        status, _, text = spoken[method].partition(": ")
        assert part.status == status
        assert text in part.text


@pytest.mark.parametrize(
    ("counts", "status", "text"),
    [
        ({"a": 3, "b": 5}, "fail", "a: 3 reported runs, but 5 of b"),
        ({"a": 5, "b": 5}, "pass", "no method has fewer reported runs than another: 5"),
        (
            {"a": 5},
            "unknown",
            "not in the evidence: the numbers of the trials, or the reported runs",
        ),
    ],
)
def test_repetitions_without_seeds_are_counted(
    counts: dict[str, int], status: str, text: str
) -> None:
    rows = [
        {"method": method, "role": "report", "score": 0.1 + 0.01 * i}
        for method, num in counts.items()
        for i in range(num)
    ]
    evidence = Evidence("x", "foreign", tuple(counts), (), runs_frame(rows))
    assert of_rule(evidence, "survivors") == (status, text)
    # beside trials without numbers, nobody knows whether one of these is missing
    tuned = [{"method": method, "role": "tune", "score": 0.1} for method in counts]
    both = Evidence("x", "foreign", tuple(counts), (), runs_frame([*rows, *tuned]))
    assert of_rule(both, "survivors")[0] == ("fail" if status == "fail" else "unknown")


@pytest.mark.parametrize("limit", [math.nan, 1e9])
@pytest.mark.parametrize("paired", [True, False])
def test_what_diverged_is_worse_than_anything_in_a_test(paired: bool, limit: float) -> None:
    """Four of the six runs of `a` diverged, and the two that are left are better than all of `b`."""
    scores = {"a": [0.50, 0.51, *[limit] * 4], "b": [0.60, 0.61, 0.605, 0.604, 0.612, 0.6]}
    rows = runs_frame(
        [
            {
                "method": method, "role": "report", "score": score, "seed": f"{i}" if paired else f"{method}{i}",
                "status": "diverged" if method == "a" and i >= 2 else "done",
            }
            for method, own in scores.items()
            for i, score in enumerate(own)
        ]
    )  # fmt: skip
    (part,) = RULES["multiplicity"].look(Evidence("x", "foreign", ("a", "b"), (), rows))
    assert part.text == "0 of 1 differences significant, with and without correction"
    p = part.values["a against b, Holm"]
    if paired:
        assert part.sources == (
            "t tests, paired where seeds are the same",
            "rank tests where a run diverged",
        )
        # with ranks 1 and 2 for `a` and four for `b`: of the 64 choices of signs, 4 are as extreme on one side
        assert p == 2 * 4 / 64
    else:
        assert float(p) > 0.05


@pytest.mark.parametrize("num", [2, 5, 6, 10])
def test_signed_ranks_are_those_of_any_score_that_is_worse_than_all(num: int) -> None:
    x, y = np.random.default_rng(num).normal(size=(2, num))
    worst = x.copy()
    x[0], worst[0] = math.inf, 100.0
    expected = wilcoxon(worst - y, method="exact").pvalue
    assert differences.paired(x, y) == pytest.approx(expected, rel=1e-12)
    assert differences.paired(y, x) == pytest.approx(expected, rel=1e-12)
    assert differences.paired(x, x) == 1.0


def test_a_method_that_always_diverges_differs_from_one_that_never_does() -> None:
    def spoken(b: float) -> str:
        rows = runs_frame(
            [
                {"method": m, "role": "report", "score": score + i / 100, "seed": f"{m}{i}"}
                for m, score in (("a", math.inf), ("b", b))
                for i in range(6)
            ]
        )
        (part,) = RULES["multiplicity"].look(Evidence("x", "foreign", ("a", "b"), (), rows))
        return part.text

    assert spoken(0.1).startswith("1 of 1 differences significant")
    assert spoken(math.inf).startswith("0 of 1 differences significant")


@pytest.mark.parametrize("num", [2, 6])
def test_a_difference_without_scatter_is_worth_its_signs(num: int) -> None:
    x = np.linspace(0.91, 0.96, num, dtype=np.float64)
    assert differences.paired(x, x + 0.02) == 2.0 ** (1 - num)
    assert differences.paired(x, x + 1e-16) == 1.0


def test_a_search_of_which_every_trial_diverged_left_nothing() -> None:
    rows = runs_frame(
        [
            {"method": m, "role": "tune", "number": n, "status": "diverged", "score": math.nan}
            for m in ("a", "b")
            for n in range(6)
        ]
    )
    (part,) = RULES["divergence"].look(Evidence("x", "foreign", ("a", "b"), (), rows))
    assert part.status == "warn"
    assert "6 of 6 trials of a diverged or failed, 6 of 6 trials of b" in part.text


@pytest.mark.parametrize(("left", "status"), [(5, "pass"), (4, "warn")])
def test_a_search_that_lost_more_than_half_of_its_trials_is_told(left: int, status: str) -> None:
    rows = runs_frame(
        [
            {"method": m, "role": "tune", "score": 0.1, "status": "done" if n < well else "failed"}
            for m, well in (("a", 10), ("b", left))
            for n in range(10)
        ]
    )
    finding = judge(RULES["divergence"], Evidence("x", "foreign", ("a", "b"), (), rows))
    assert finding.status == status


def test_methods_that_end_at_one_score_are_tied() -> None:
    def spoken(b: list[float], seconds: float) -> tuple[str, str]:
        scores = {"a": [9.0, 5.0, 3.0, 2.0], "b": b}
        rows = runs_frame(
            [
                {"method": m, "number": i, "score": score, "seconds": 1.0 if m == "a" else seconds}
                for m, own in scores.items()
                for i, score in enumerate(own)
            ]
        )
        finding = judge(RULES["rank"], Evidence("x", "foreign", ("a", "b"), (), rows))
        return finding.status, finding.parts[0].text

    assert spoken([9.0, 5.0, 3.0, 2.0], math.nan) == ("pass", "a and b are tied after 4 trials")
    # no order that could turn, neither late nor at equal time
    assert spoken([8.0, 6.0, 3.0, 2.0], 9.0) == ("pass", "a and b are tied after 4 trials")
    for b, trial, status in (([9.5, 5.5, 2.5, 1.0], 3, "warn"), ([9.5, 4.0, 2.5, 1.0], 2, "pass")):
        text = f"b is ahead of a from trial {trial} of 4 on"
        assert spoken(b, math.nan) == (status, text)


def test_of_trials_that_ended_well_those_run_again_count_once() -> None:
    scores = {"a": [1.0, 2.0, math.inf, math.inf], "b": [1.0, 2.0, 3.0, math.inf]}
    rows = runs_frame(
        [
            {"method": m, "number": number, "score": score}
            for m, first in scores.items()
            for number, score in [*enumerate(first), *enumerate(first[:2])]
        ]
    )
    finding = judge(RULES["divergence"], Evidence("x", "foreign", ("a", "b"), (), rows))
    assert finding.text == (
        "2 of 4 trials of a diverged or failed, 1 of 4 trials of b diverged or failed"
    )


def test_the_order_for_smaller_budgets_is_that_of_first_runs() -> None:
    first = {"a": [9.0, 5.0, 3.0, 2.0], "b": [8.0, 4.0, 2.5, 1.0]}
    again = {"a": (3, 2.0), "b": (3, 9.0)}  # the best of each, of which that of b was lucky
    rows = runs_frame(
        [
            {"method": m, "number": number, "score": score, "seconds": 1.0}
            for m in first
            for number, score in [*enumerate(first[m]), again[m]]
        ]
    )
    finding = judge(RULES["rank"], Evidence("x", "foreign", ("a", "b"), (), rows))
    assert [part.text for part in finding.parts] == [
        "b is ahead of a from trial 1 of 4 on",
        "b 1, a 2 after 4 s of trials each",
    ]

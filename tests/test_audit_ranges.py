"""Ranges: which differences of observed ones are chance, and which winners lie at an end that could be further out."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from fair import say
from outsiders import UNSAMPLED, of_rule

from repro.audit import stated
from repro.audit.evidence import Evidence
from repro.audit.findings import Finding, judge
from repro.audit.rules import RULES
from repro.audit.rules.ranges import chance_outside
from repro.audit.trials import from_rows


def found(rule: str, tried: dict[str, list[float]], best: float = 0.0) -> Finding:
    """Return what a rule finds of two searches of a rate, in which the trials closest to `best` are best."""
    rows = [
        {"method": method, "score": abs(value - best), "param lr": value}
        for method, values in tried.items()
        for value in values
    ]
    return judge(RULES[rule], from_rows(pd.DataFrame(rows), {}, "x"))


@pytest.mark.parametrize(("own", "others"), [(2, 1), (2, 4), (3, 3), (4, 2), (3, 5)])
def test_the_chance_of_values_outside_a_range_is_counted_over_all_orders(
    own: int, others: int
) -> None:
    total = own + others
    places = list(itertools.combinations(range(total), own))
    for least in range(others + 1):
        cases = sum(p[0] + total - 1 - p[-1] >= least for p in places)
        assert chance_outside(own, total, least) == pytest.approx(cases / len(places), rel=1e-12)


def test_observed_ranges_of_few_random_trials_of_one_range_are_unknown_and_not_unfair() -> None:
    generator = np.random.default_rng(0)
    answers = []
    for _ in range(200):
        a, b = (list(10 ** generator.uniform(-5, 0, 10)) for _ in range(2))
        answers.append(found("space", {"a": a, "b": b}).status)
    assert answers.count("warn") <= 0.08 * len(answers)
    assert answers.count("unknown") > 0.2 * len(answers)
    # half the range, with 30 trials: that is no chance
    a, b = (list(10 ** generator.uniform(-5, high, 30)) for high in (0.0, -2.5))
    narrow = found("space", {"a": a, "b": b})
    assert narrow.status == "warn"
    assert narrow.text.startswith("lr searched over observed [")


def test_of_many_methods_one_may_have_an_odd_range_by_chance() -> None:
    generator = np.random.default_rng(1)
    answers = [
        found("space", {f"{m}": list(10 ** generator.uniform(-5, 0, 8)) for m in range(12)}).status
        for _ in range(40)
    ]
    assert answers.count("warn") <= 0.1 * len(answers)


def test_what_is_unknown_of_observed_ranges_says_how_to_state_them() -> None:
    finding = found("space", {"a": [0.0011, 0.012, 0.13], "b": [0.0032, 0.031, 0.9]})
    assert finding.status == "unknown"
    assert finding.text == (
        "lr tried over observed [0.0011, 0.13] for a, observed [0.0032, 0.9] for b; random trials of one range may differ as "
        "much by chance; state the range by `--fact 'searched from lr=...'` and `searched to`"
    )


def test_ends_of_lists_do_not_differ_by_chance() -> None:
    finding = found("space", {"a": [1e-4, 1e-3, 1e-2, 1e-1], "b": [1e-3, 1e-2, 1e-1]})
    assert finding.status == "warn"


def test_a_winner_beside_a_zero_that_was_tried_lies_within_its_range() -> None:
    """Weight decays are often searched over such a list: of 1e-05, both neighbours were tried."""
    decays = [0.0, 1e-5, 1e-4, 1e-3]
    assert found("edge", {"a": decays, "b": decays}, best=1.1e-5).status == "pass"
    above = found("edge", {"a": decays, "b": decays}, best=1e-3)
    assert above.status == "warn"
    assert "at the upper bound" in above.text
    # of a range from 0 in which nobody tried 0, the winner is at the end of what was tried
    declared = Evidence(
        "x",
        "paper",
        ("a",),
        tuple(say(f"{q} lr", v) for q, v in (("searched from", 0.0), ("searched to", 1e-3), ("best", 1e-5))),
    )  # fmt: skip
    assert judge(RULES["edge"], declared).status == "warn"


@pytest.mark.parametrize("value", [1e-7, 40.0])
def test_a_better_value_on_either_side_is_told_beside_the_range(value: float) -> None:
    facts = {"searched from": 1e-6, "searched to": 10.0, "best": 1e-3, "known better": value}
    told = tuple(say(f"{q} lr", v) for q, v in facts.items())
    finding = judge(RULES["edge"], Evidence("x", "paper", ("a",), told))
    assert finding.status == "fail"
    assert finding.text == (
        f"a: lr in [1e-06, 10]; a better value was seen outside the range: {value:.4g}"
    )


def test_one_range_is_no_one_sampler() -> None:
    same: list[float] = [1e-4, 1e-3, 1e-2, 1e-1]
    rows = [{"method": m, "score": x, "param lr": x} for m in "ab" for x in same]
    told = "lr over observed [0.0001, 0.1] for all"

    def space(*facts: str) -> tuple[str, str]:
        evidence = from_rows(pd.DataFrame(rows), {}, "x", facts=stated.parse_facts(facts))
        return of_rule(evidence, "space")

    assert space() == ("pass", told + UNSAMPLED)
    assert space("sampler=random") == ("pass", told)


def test_a_winner_s_blank_cell_of_a_table_leaves_its_edge_open() -> None:
    rows = [
        {"method": m, "score": x, "param lr": x, "param warmup": None if x == 1 else 10 * x}
        for m in "ab"
        for x in (1.0, 2.0, 3.0, 4.0)
    ]
    finding = judge(RULES["edge"], from_rows(pd.DataFrame(rows), {}, "x"))
    assert "best warmup of a: not in the evidence" in [p.text for p in finding.parts]

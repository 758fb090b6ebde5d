"""Budgets of a table: how many trials, of what length in epochs, steps or seconds, and whether they are equal."""

from __future__ import annotations

import numpy as np
import pytest
from outsiders import MAP, of_rule, statuses, table

from repro.audit import report, stated, trials


@pytest.mark.parametrize(
    ("epochs", "steps", "status", "text"),
    [
        (10, 100, "pass", ""),
        (10, 2000, "warn", "6000 steps of search for b, 300 steps of search for a"),
        (40, 100, "fail", "120 epochs of search for b, 30 epochs of search for a"),
    ],
)
def test_lengths_are_compared_in_epochs_and_in_steps(
    epochs: int, steps: int, status: str, text: str
) -> None:
    frame = table().assign(epochs=[10] * 3 + [epochs] * 3, steps=[100] * 3 + [steps] * 3)
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.number("search epochs", "b") == 3 * epochs
    assert evidence.number("trial steps", "b") == steps
    assert not any("steps" in note for note in evidence.notes)
    (finding,) = [f for f in report.audit(evidence).findings if f.rule.name == "budget"]
    assert finding.status == status
    assert text in finding.text


def test_stated_epochs_hide_no_steps() -> None:
    frame = table().assign(steps=[100] * 3 + [400] * 3)
    facts = stated.parse_facts(["trial epochs=10"])
    assert statuses(trials.from_table(frame, MAP, "x", facts=facts))["budget"] == "warn"
    assert statuses(trials.from_table(frame, MAP, "x"))["budget"] == "fail"


def test_trials_whose_length_is_known_of_some_methods_are_no_equal_budget() -> None:
    frame = table().assign(epochs=[10.0] * 3 + [np.nan] * 3)
    (finding,) = [
        f
        for f in report.audit(trials.from_table(frame, MAP, "x")).findings
        if f.rule.name == "budget"
    ]
    assert (finding.status, finding.text) == ("unknown", "trial epochs of b: not in the evidence")


def test_equal_counts_of_trials_of_unknown_length_are_no_equal_budget() -> None:
    told = (
        "unknown",
        "3 trials for every method, but their length is not in the evidence: `trial epochs` or `trial steps`",
    )
    assert of_rule(trials.from_table(table(), MAP, "x"), "budget") == told
    uneven = trials.from_table(table()[:5], MAP, "x")
    assert of_rule(uneven, "budget") == ("fail", "3 trials for a, 2 trials for b")
    facts = stated.parse_facts(["trial steps=100"])
    long = of_rule(trials.from_table(table(), MAP, "x", facts=facts), "budget")
    assert long == ("pass", "3 trials for every method; 300 steps of search for every method")


def test_one_method_has_no_budget_to_be_compared() -> None:
    evidence = trials.from_table(table()[:3].assign(epochs=10), MAP, "x")
    assert of_rule(evidence, "budget") == (
        "unknown",
        "3 trials for a, with no other method to compare; 30 epochs of search for a, with no other method to compare",
    )


@pytest.mark.parametrize("column", ["epochs", "steps", "seconds"])
@pytest.mark.parametrize("beside", ["epochs", "seconds"])
def test_a_length_below_zero_is_refused(column: str, beside: str) -> None:
    frame = table().assign(**{beside: 5} | {column: [5, 5, -40, 5, 5, 5]})
    message = f"column '{column}' needs numbers of 0 or more. Found -40 in row 3"
    with pytest.raises(ValueError, match=message):
        trials.from_table(frame, MAP, "x")

"""Search spaces of a table: ranges on their scales, declared, stated or observed, and winners at an edge of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from outsiders import MAP, UNSAMPLED, statuses, table

from repro.audit import report, stated, trials
from repro.audit.evidence import Range


@pytest.mark.parametrize(
    ("low", "high", "log", "inside", "outer"),
    [
        (1e-300, 1e300, True, 1.0, 1e290),
        (5e-324, 1.7e308, True, 1e-10, 1e-320),
        (-1.7e308, 1.7e308, False, 0.0, 1.6e308),
    ],
)
def test_ranges_wider_than_a_double_have_an_inside_and_an_edge(
    low: float, high: float, log: bool, inside: float, outer: float
) -> None:
    def found(best: float) -> dict[str, str]:
        rows = pd.DataFrame(
            {"method": ["a"] * 2 + ["b"] * 2, "score": [0.1, 0.2] * 2, "param lr": [best, inside] * 2}
        )  # fmt: skip
        ranges = {("a", "lr"): Range(low, high, log), ("b", "lr"): Range(low, high / 2, log)}
        return statuses(trials.from_rows(rows, ranges, "x"))

    assert found(inside)["edge"] == "pass"
    assert found(outer)["edge"] == ("fail" if log else "warn")
    assert found(inside)["space"] == "warn"


def sampled(b: list[float], *, log: bool = True) -> tuple[str, str]:
    """Return what `space` says of 20 rates of `a` over a declared range on a log scale, and of some of `b`."""
    a = list(np.logspace(-6, 1, 20))
    rows = pd.DataFrame(
        {
            "method": ["a"] * 20 + ["b"] * len(b), "param lr": [*a, *b],
            "score": np.linspace(0.5, 0.9, 20 + len(b)), "number": [*range(20), *range(len(b))],
        }
    )  # fmt: skip
    ranges = {("a", "lr"): Range(1e-6, 10, log=True), ("b", "lr"): Range(1e-6, 10, log=log)}
    found = report.audit(trials.from_rows(rows, ranges, "x")).findings
    return next((f.status, f.text) for f in found if f.rule.name == "space")


def test_a_range_is_the_same_on_the_same_scale_only() -> None:
    rates = list(np.logspace(-6, 1, 20))
    assert sampled(rates) == ("pass", "lr over [1e-06, 10] for all" + UNSAMPLED)
    told = ("warn", "lr sampled on a log scale for a, on a linear scale for b")
    assert sampled(list(np.linspace(1e-6, 10, 20)), log=False) == told


def test_ranges_that_differ_have_their_trials_a_decade_on_a_log_scale_alone() -> None:
    rows = pd.DataFrame(
        {"method": ["a"] * 8 + ["b"] * 8, "score": np.linspace(0.5, 0.9, 16), "lr": [*np.logspace(-4, 0, 8), *np.logspace(-2, 0, 8)],
         "momentum": [*np.linspace(0.1, 0.9, 8), *np.linspace(0.5, 0.9, 8)]}
    )  # fmt: skip
    evidence = trials.from_table(rows, {"params": "lr:momentum"}, "x")
    (space,) = (f for f in report.audit(evidence).findings if f.rule.name == "space")
    (rate, momentum) = (p.values for p in space.parts if p.status == "warn")
    assert rate == pytest.approx({"lr, trials a decade, a": 2, "lr, trials a decade, b": 4})
    assert momentum == {}


def test_the_scale_of_a_range_that_was_only_observed_is_a_guess() -> None:
    rows = pd.DataFrame(
        {
            "method": ["a"] * 5 + ["b"] * 5, "score": np.linspace(0.5, 0.9, 10),
            "lr": [0.1, 0.3, 0.5, 0.8, 1.0, 0.12, 0.3, 0.5, 0.8, 1.0],
        }
    )  # fmt: skip
    evidence = trials.from_table(rows, {"params": "lr"}, "x")
    assert (evidence.word("scale of lr", "a"), evidence.word("scale of lr", "b")) == (
        "log",
        "linear",
    )
    assert statuses(evidence)["space"] == "pass"


def test_a_grid_of_few_values_is_no_search_as_dense_as_one_of_many() -> None:
    few = list(np.logspace(-6, 1, 5))
    told = ("warn", "lr tried at 20 values in 20 trials for a, 5 values in 20 trials for b")
    assert sampled(few * 4) == told
    # fewer trials are the budget's, and no other way to sample
    assert sampled(few)[0] == "pass"
    assert sampled([*few, *np.logspace(-5, 0, 6)] * 2)[0] == "pass"


def test_a_stated_range_takes_the_place_of_what_was_seen() -> None:
    rows = pd.DataFrame(
        {"method": ["a"] * 4, "score": [0.4, 0.3, 0.2, 0.1], "lr": [0.1, 0.2, 0.3, 0.4]}
    )
    seen = trials.from_table(rows, {"params": "lr"}, "x")
    assert (seen.number("searched from lr", "a"), statuses(seen)["edge"]) == (0.1, "warn")
    facts = stated.parse_facts(["searched from lr=0.001", "searched to lr=10", "scale of lr=log"])
    told = trials.from_table(rows, {"params": "lr"}, "x", facts=facts)
    assert told.number("searched from lr", "a") == 0.001
    assert statuses(told)["edge"] == "pass"


def test_the_edge_of_a_range_that_was_only_observed_warns_and_a_declared_one_fails() -> None:
    rows = pd.DataFrame(
        {
            "method": ["a"] * 4 + ["b"] * 4, "score": [0.4, 0.3, 0.2, 0.1] * 2,
            "lr": [0.001, 0.01, 0.1, 1.0, 0.1, 0.2, 0.5, 1.0],
        }
    )  # fmt: skip

    def found(*facts: str) -> dict[str, tuple[str, str]]:
        told = stated.parse_facts(["equivalent lr=40", *facts])
        evidence = trials.from_table(rows, {"params": "lr"}, "x", facts=told)
        return {f.rule.name: (f.status, f.text) for f in report.audit(evidence).findings}

    seen = found()
    assert seen["edge"][0] == "warn"
    assert "a: lr = 1 in observed [0.001, 1], at the upper bound" in seen["edge"][1]
    assert "lr in observed [0.001, 1]; the bound binds" in seen["edge"][1]
    assert seen["space"][1] == "lr searched over observed [0.001, 1] for a, observed [0.1, 1] for b"
    told = found("searched from lr=0.001", "searched to lr=1", "scale of lr=log")
    assert told["edge"][0] == "fail"
    assert "lr = 1 in [0.001, 1], at the upper bound" in told["edge"][1]
    assert "lr in [0.001, 1]; the bound binds" in told["edge"][1]
    assert told["space"] == ("pass", "lr over [0.001, 1] for all" + UNSAMPLED)


def test_an_infinite_hyperparameter_bounds_no_range() -> None:
    frame = table().assign(lr=[0.01, 0.1, np.inf, 0.01, 0.1, 1.0])
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.number("searched to lr", "a") == 0.1
    assert statuses(evidence)["space"] == "warn"  # other ranges, and none of them fixed
    report_of_a = {"opt": "a", "val_loss": 0.3, "role": "report", "lr": np.inf, "seed": 9}
    tried = table().assign(lr=[0.1, np.inf, 1.0, 0.1, 1.0, 2.0], role="tune")
    told = trials.from_table(pd.concat([tried, pd.DataFrame([report_of_a])]), MAP, "x")
    assert told.word("best lr", "a") == told.word("used lr", "a") == "inf"
    (finding,) = [f for f in report.audit(told).findings if f.rule.name == "winner"]
    assert [part.text for part in finding.parts if part.method == "a"] == [
        "lr: found inf, used inf"
    ]
    never = table().assign(lr=np.inf)
    assert statuses(trials.from_table(never, MAP, "x"))["space"] == "unknown"

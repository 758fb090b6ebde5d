"""What a rule says of evidence that is given by hand: thresholds, settings, ratios, and what nobody told."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fair import (
    METHODS,
    Draft,
    fair_rows,
    of,
    say,
    study,
)

from repro.audit import report
from repro.audit.counting import count
from repro.audit.evidence import QUANTITIES, Evidence, runs_frame
from repro.audit.findings import judge
from repro.audit.rules import RULES
from repro.audit.trials import from_rows
from repro.protocol import Fact


@pytest.mark.parametrize(
    ("to_loss", "step", "status", "text"),
    [
        (1e-308, 1e308, "fail", "times less than 5e-324 in the number of steps"),
        (1e308, 1e-308, "fail", "times more than 1.8e308 in the number of steps"),
        (5e-324, 5e-324, "pass", "rests on synchronised timings; time-to-loss ratio 4.94e-324 is"),
        (1e308, 1e308, "pass", "per step times 1 in"),
    ],
)
def test_ratios_of_any_size_are_compared(
    to_loss: float, step: float, status: str, text: str
) -> None:
    def extreme(draft: Draft) -> None:
        draft.facts |= {"time-to-loss ratio": to_loss, "step-time ratio": step}

    finding = judge(RULES["cost"], study(extreme))
    assert finding.status == status
    assert text in finding.text
    report.to_json([report.audit(study(extreme))])  # whose numbers are finite


OF_ALL_BUT_ONE: tuple[tuple[str, dict[str, float | str]], ...] = (
    ("space", {"searched from lr": 1e-6, "searched to lr": 10, "scale of lr": "log"}),
    ("space", {"sampler": "random"}),
    ("edge", {"searched from lr": 1e-6, "searched to lr": 10, "scale of lr": "log", "best lr": 1e-3}),
    ("baseline", {"origin of lr": "search"}),
    ("winner", {"best lr": 0.1, "used lr": 0.1}),
    ("horizon", {"trial steps": 10, "reported steps": 10}),
    ("selection", {"selection split": "validation"}),
    ("objective", {"selection moment": "last", "reported moment": "last"}),
    ("metric", {"reported examples": 10_000, "reported split size": 10_000}),
    ("learned", {"final loss": 0.1, "chance loss": 2.3}),
    ("learned", {"best search score": 0.1, "chance loss": 2.3}),
    ("settings", {"ran with loss": "nll"}),
    ("transfer", {"ran with loss": "nll", "tuned with loss": "nll"}),
    ("stated", {"ran with loss": "nll", "stated loss": "nll"}),
    ("interval", {"interval multiplier": 2.5706, "repetitions": 6}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "told"), OF_ALL_BUT_ONE, ids=[f"{n}-{next(iter(t))}" for n, t in OF_ALL_BUT_ONE]
)
def test_a_method_of_which_nothing_is_known_keeps_a_rule_from_passing(
    name: str, told: dict[str, float | str]
) -> None:
    def found(*methods: str) -> tuple[str, str]:
        facts = tuple(say(q, v, m) for m in methods for q, v in told.items())
        evidence = Evidence("x", "paper", ("a", "b", "c"), facts)
        (finding,) = (f for f in report.audit(evidence).findings if f.rule.name == name)
        assert not any(
            "for all" in p.text or "every method" in p.text
            for p in finding.parts
            if "c" not in methods
        )
        return finding.status, finding.text

    status, text = found("a", "b")
    assert status == "unknown"
    assert "c: " in text
    if name != "space" or "sampler" not in told:  # of a sampler alone there is nothing to pass
        assert found("a", "b", "c")[0] == "pass"


def test_a_setting_that_one_method_has_from_a_search_is_not_unknown_of_it() -> None:
    facts = (
        say("ran with beta1", 0.9, "b"),
        say("ran with beta1", 0.9, "c"),
        say("used beta1", 0.8, "a"),
    )
    finding = judge(RULES["settings"], Evidence("x", "paper", ("a", "b", "c"), facts))
    assert (finding.status, finding.text) == ("pass", "beta1: 0.9 for b, c")


def test_a_method_without_rows_keeps_rules_from_passing() -> None:
    rows = runs_frame(fair_rows())
    without = Evidence("x", "foreign", (*METHODS, "absent"), (), rows)
    found = {f.rule.name: f for f in report.audit(without).findings}
    complete = report.audit(dataclasses.replace(without, methods=METHODS)).findings
    for name in ("seeds", "divergence", "rank", "multiplicity"):
        assert {f.status for f in complete if f.rule.name == name} == {"pass"}
        assert found[name].status == "unknown"
        assert "absent: " in found[name].text
    assert found["survivors"].status == "fail"  # its repetitions are missing


def test_a_setting_that_nobody_wrote_down_is_unknown_and_no_difference() -> None:
    def unrecorded(draft: Draft) -> None:
        draft.rows.loc[draft.rows["role"] == "tune", "setting clip"] = np.nan

    def blank_texts(draft: Draft) -> None:
        draft.rows["setting schedule"] = np.where(draft.rows["method"] == "new", "", "cosine")

    findings = {f.rule.name: f for f in report.audit(study(unrecorded)).findings}
    assert findings["settings"].status == "pass"
    assert findings["transfer"].status == "unknown"
    assert "tuned with clip of new: not in the evidence" in findings["transfer"].text
    findings = {f.rule.name: f for f in report.audit(study(blank_texts)).findings}
    assert findings["settings"].text == "schedule: none for new, cosine for baseline"


def spoken_of_trials(rates_of_b: list[float]) -> dict[str, str]:
    """Return what warns or fails of four trials of `a`, and of trials of `b` at some rates; nothing was reported."""
    rows = pd.DataFrame(
        {
            "method": ["a"] * 4 + ["b"] * len(rates_of_b),
            "score": [0.4, 0.1, 0.2, 0.3, *(0.3 + 0.01 * i for i in range(len(rates_of_b)))],
            "param lr": [0.001, 0.01, 0.1, 1.0, *rates_of_b],
        }
    )
    findings = report.audit(from_rows(rows, {}, "x")).findings
    return {f.rule.name: f.text for f in findings if f.status in ("warn", "fail")}


def test_a_rate_searched_for_one_method_and_fixed_for_another_is_seen_in_trials_alone() -> None:
    spoken = spoken_of_trials([0.1] * 4)
    assert spoken["space"] == "lr searched for a and fixed for b"
    assert spoken["baseline"] == "lr of b: no search, 4 trials at one setting"
    assert not {"space", "baseline"} & set(spoken_of_trials([0.001, 0.01, 0.1, 1.0]))


def one_trial_of_the_baseline(draft: Draft) -> None:
    rows = draft.rows
    best = rows[of(rows, "baseline", "tune")]["score"].idxmin()
    others = rows[of(rows, "baseline", "tune")].index.difference([best])
    draft.rows = rows.drop(index=others)
    draft.rows.loc[best, "number"] = 0.0


def one_rate_for_all(draft: Draft) -> list[Fact]:
    return [
        fact
        for method in METHODS
        for fact in (
            say("used momentum", 0.9, method),
            say("origin of momentum", "no search", method),
        )
    ]


def test_one_trial_is_no_search() -> None:
    spoken = spoken_of_trials([0.1])
    assert spoken["baseline"] == "lr of b: no search, one trial"
    assert "space" not in spoken
    findings = {f.rule.name: f for f in report.audit(study(one_trial_of_the_baseline)).findings}
    assert findings["baseline"].status == "fail"
    assert findings["baseline"].text == "lr of baseline (0.01433): no search, one trial"


def test_one_given_rate_is_shared_and_untuned() -> None:
    findings = report.audit(study(one_rate_for_all)).findings
    spoken = {f.rule.name for f in findings if f.status in ("warn", "fail")}
    assert spoken == {"baseline", "shared"}  # the one value for all is found apart from its origin


@pytest.mark.parametrize(("size", "status"), [(30.0, "pass"), (10_000.0, "fail"), (None, "fail")])
def test_accuracies_of_a_small_split_have_its_denominator(size: float | None, status: str) -> None:
    """Thirtieths are all that a split of 30 can give, and a slip where it is larger, or nobody knows."""
    right = np.array([20, 23, 29, 21, 27, 25, 28, 22, 26, 24])
    rows = runs_frame(
        [
            {"method": m, "role": "report", "seed": f"{i}", "accuracy": n / 30}
            for m in METHODS
            for i, n in enumerate(right)
        ]
    )
    told = (
        () if size is None else (say("reported examples", size), say("reported split size", size))
    )
    (traces,) = {
        p.status
        for p in RULES["metric"].look(Evidence("x", "foreign", METHODS, told, rows))
        if "accuracy" in p.text
    }
    assert traces == status


@pytest.mark.parametrize(
    ("momentum", "used", "reported", "spoken"),
    [
        # an ordinary setting, of which nobody says that it was searched
        ((0.9, 0.9), (0.9, 0.9), True, {"shared": "warn: momentum = 0.9 for every method, one value in all trials"}),
        ((0.9, 0.0), (0.9, 0.0), True, {"baseline": "warn: momentum was not searched and differs: 0.9 for new, 0 for baseline"}),
        ((0.9, 0.9), (0.9, 0.5), True, {"baseline": "fail: momentum of baseline (0.5): no search, 0.9 in all trials"}),
        ((0.9, 0.9), (0.9, 0.9), False, {}),
        ((0.9, 0.0), (0.9, 0.0), False, {"baseline": "warn: momentum was not searched and differs: 0.9 for new, 0 for baseline"}),
    ],
)  # fmt: skip
def test_a_hyperparameter_that_a_search_left_alone_is_a_setting_and_no_result(
    momentum: tuple[float, float],
    used: tuple[float, float],
    reported: bool,
    spoken: dict[str, str],
) -> None:
    rows = fair_rows()
    for values, role in ((momentum, "tune"), (used, "report")):
        for method, value in zip(METHODS, values, strict=True):
            rows.loc[of(rows, method, role), "param momentum"] = value
    if not reported:
        rows = rows[rows["role"] == "tune"]
    evidence = from_rows(rows, {}, "x", unit="epochs")
    asked = {n: judge(RULES[n], evidence) for n in ("baseline", "shared", "space", "winner")}
    told = {n: f"{f.status}: {f.text}" for n, f in asked.items() if f.status in ("warn", "fail")}
    assert told.keys() == spoken.keys()
    assert all(told[name].startswith(text) for name, text in spoken.items())
    # the rate was searched, the momentum was not, and nothing says so
    every = [p.text for f in asked.values() for p in f.parts]
    assert "lr comes from a search" in every
    assert "momentum comes from a search" not in every
    if momentum == (0.9, 0.9) == used:
        assert "momentum is a setting: 0.9 in all trials of new, baseline" in every


@pytest.mark.parametrize("name", RULES)
def test_no_evidence_is_unknown_and_never_a_fault(name: str) -> None:
    empty = Evidence("nothing", "foreign", METHODS, ())
    (finding,) = (f for f in report.audit(empty).findings if f.rule.name == name)
    assert finding.status == "unknown"
    assert "evidence" in finding.text


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_rule_says_what_it_asks_why_after_whom_and_how_to_mend(rule: Any) -> None:
    assert rule.question.endswith("?")
    for text in (rule.threshold, rule.why, rule.source, rule.mend, rule.needs):
        assert len(text) > 5
    assert "warn" in rule.threshold or "fail" in rule.threshold
    assert rule.look.__doc__


def test_quantities_are_explained() -> None:
    assert all(text for text in QUANTITIES.values())


def test_settings_of_a_search_without_reported_runs_are_those_of_its_trials() -> None:
    rows = runs_frame(
        [
            {"method": m, "role": "tune", "number": n, "score": 0.1 * n, "setting batch": batch}
            for m, batch in (("a", 32.0), ("b", 1024.0))
            for n in range(6)
        ]
    )
    facts = count(rows, {}, "rows")
    parts = RULES["settings"].look(Evidence("x", "foreign", ("a", "b"), facts, rows))
    assert [(p.status, p.text) for p in parts] == [("fail", "batch: 32 for a, 1024 for b")]


Told = float | str | tuple[float | str, float | str]
LR: dict[str, Told] = {"searched from lr": 1e-5, "searched to lr": 1e5, "scale of lr": "log"}
RATE: dict[str, Told] = {"searched from p": 0.0, "searched to p": 1.0, "scale of p": "linear"}
EPOCHS: dict[str, Told] = {"trials": 16, "search epochs": 320}
COST: dict[str, Told] = {"claim of cost": "half", "synchronised timing": 1, "step-time ratio": 0.5}
AT_THE_THRESHOLD: tuple[tuple[str, dict[str, Told], str], ...] = (
    ("budget", {**EPOCHS, "trials": (20, 16)}, "warn"),
    ("budget", {**EPOCHS, "trials": (21, 16)}, "fail"),
    ("budget", {**EPOCHS, "earlier trials": (4, 0)}, "warn"),
    ("budget", {**EPOCHS, "earlier trials": (5, 0)}, "fail"),
    ("budget", {**EPOCHS, "search epochs": (400, 320)}, "pass"),
    ("budget", {**EPOCHS, "search epochs": (401, 320)}, "warn"),
    ("budget", {**EPOCHS, "search epochs": (641, 320)}, "fail"),
    ("budget", {**EPOCHS, "search steps": (9000, 320)}, "warn"),  # of smaller mini-batches
    ("budget", {"trials": 16, "search steps": (641, 320)}, "fail"),
    ("budget", {**EPOCHS, "trials": 20, "repeated trials": (2, 0)}, "pass"),
    ("budget", {**EPOCHS, "trials": 20, "repeated trials": (3, 0)}, "warn"),
    ("space", {**LR, "trials": 20, "tried values of lr": (20, 10)}, "pass"),
    ("space", {**LR, "trials": 21, "tried values of lr": (21, 10)}, "warn"),
    ("space", {**LR, "trials": (50, 5), "tried values of lr": 5}, "pass"),
    ("space", {**LR, "trials": (50, 5), "tried values of lr": (50, 5)}, "pass"),
    ("edge", {**LR, "best lr": (1.03e-4, 0.97e4)}, "pass"),
    ("edge", {**LR, "best lr": (0.97e-4, 1.0)}, "fail"),
    ("edge", {**LR, "best lr": (1.0, 1.03e4)}, "fail"),
    ("edge", {**RATE, "best p": (0.1, 0.9)}, "pass"),
    ("edge", {**RATE, "best p": (0.5, 0.91)}, "warn"),
    ("edge", {**RATE, "best p": (0.09, 0.5)}, "warn"),
    ("edge", {**RATE, "best p": 0.0}, "pass"),  # nothing lies beyond it
    ("edge", {**LR, "best lr": 1.0, "known better lr": 1e5}, "pass"),
    ("edge", {**LR, "best lr": 1.0, "known better lr": 1.1e5}, "fail"),
    ("winner", {"best lr": 1.0, "used lr": 1.02}, "pass"),
    ("winner", {"best lr": 1.0, "used lr": 1.021}, "fail"),
    ("horizon", {"trial epochs": 90, "reported epochs": 100}, "pass"),
    ("horizon", {"trial epochs": 89, "reported epochs": 100}, "warn"),
    ("shared", {"used lr": 0.1, "origin of lr": "no search"}, "fail"),
    ("shared", {"used lr": (0.1, 0.2), "origin of lr": "no search"}, "pass"),
    ("shared", {"used lr": 0.1, "origin of lr": ("search", "no search")}, "pass"),
    ("selection", {"selection split": "train"}, "warn"),
    ("selection", {"selection split": "validation", "reported split": "validation"}, "warn"),
    ("selection", {"selection split": "validation", "searches made again after a test result": (0, 1)}, "fail"),
    ("metric", {"selection examples": 100, "selection split size": 100}, "pass"),
    ("metric", {"selection examples": (100, 99), "selection split size": 100}, "warn"),
    ("metric", {"selection examples": (100, 50), "selection split size": 100}, "warn"),
    ("metric", {"selection examples": (100, 49), "selection split size": 100}, "fail"),
    ("learned", {"final loss": (1.79, 1.0), "chance loss": 2.0}, "pass"),
    ("learned", {"final loss": (1.81, 1.0), "chance loss": 2.0}, "warn"),
    ("settings", {"ran with clip": (1.0, 1.0 + 1e-7)}, "pass"),
    ("settings", {"ran with clip": (1.0, 1.0 + 1e-5)}, "fail"),
    ("settings", {"ran with data order": ("one", "another")}, "warn"),
    ("stated", {"published score": 0.12, "published decimals": 2, "printed score": 0.125}, "pass"),
    ("stated", {"published score": 0.12, "published decimals": 2, "printed score": 0.1251}, "fail"),
    ("repetitions", {"repetitions": (6, 1)}, "fail"),
    ("repetitions", {"repetitions": (2, 5)}, "warn"),
    ("repetitions", {"repetitions": 6, "independent seeds": 6}, "pass"),
    ("repetitions", {"repetitions": 6, "independent seeds": (6, 5)}, "warn"),
    ("interval", {"repetitions": 6, "interval multiplier": 2.35}, "pass"),  # t has 2.571
    ("interval", {"repetitions": 6, "interval multiplier": 2.32}, "warn"),
    ("interval", {"repetitions": 6, "interval multiplier": 2.06}, "warn"),
    ("interval", {"repetitions": 6, "interval multiplier": 2.05}, "fail"),
    ("cost", {**COST, "time-to-loss ratio": 0.549}, "pass"),
    ("cost", {**COST, "time-to-loss ratio": 0.551}, "fail"),
    ("cost", {**COST, "time-to-loss ratio": 0.456}, "pass"),
    ("cost", {**COST, "time-to-loss ratio": 0.454}, "fail"),
    ("cost", {**COST, "timed engine": ("one", "another")}, "warn"),
    ("cost", {"claim of cost": "half", "timed steps": 300}, "warn"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "told", "status"), AT_THE_THRESHOLD)
def test_a_rule_turns_at_the_threshold_that_it_states(
    name: str, told: dict[str, Told], status: str
) -> None:
    facts = [
        say(quantity, value, method)
        for quantity, values in told.items()
        for method, value in (
            zip("ab", values, strict=True) if isinstance(values, tuple) else [("", values)]
        )
    ]
    assert judge(RULES[name], Evidence("x", "paper", ("a", "b"), tuple(facts))).status == status

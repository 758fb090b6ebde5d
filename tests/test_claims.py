"""Verdicts follow from rows: each outcome, each verdict, and nothing without rows."""

import dataclasses
import json
import math
import re
from dataclasses import replace

import pandas as pd
import pytest

import studies
from repro import claims
from repro.measures import Measurement
from repro.protocol import Check, Claim, Component, Expectation, Study, expand, use
from repro.results import EmptySelectionError, Record, Results, load, tabulate
from repro.stats import Interval

NO_ROWS = Results(*tabulate(()), pd.DataFrame())


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 5, 0.95)


@pytest.mark.parametrize(
    ("low", "high", "outcome"),
    [
        (0.2, 0.8, "holds"),
        (0.0, 1.0, "holds"),
        (1.1, 2.0, "fails"),
        (-3.0, -0.1, "fails"),
        (0.5, 1.5, "undecided"),
        (-math.inf, math.inf, "undecided"),
    ],
)
def test_an_interval_holds_fails_or_reaches_across(low: float, high: float, outcome: str) -> None:
    wide = Interval(0.5, low, high, 5, 0.95) if math.isinf(low) else interval(low, high)
    assert claims.compare(wide, Expectation(0.0, 1.0)) == outcome


@pytest.mark.parametrize(
    ("low", "high", "strictly", "loosely"),
    [
        (0.0, 0.0, "fails", "holds"),  # of methods that end alike neither is lower
        (-1.0, 0.0, "undecided", "holds"),
        (0.0, 1.0, "fails", "undecided"),
        (-1.0, -5e-324, "holds", "holds"),
        (-math.inf, -1.0, "holds", "holds"),
    ],
)
def test_a_tie_is_not_lower(low: float, high: float, strictly: str, loosely: str) -> None:
    found = Interval(min(high, 0.0), low, high, 5, 0.95)
    assert claims.compare(found, Expectation(high=0.0, strict=True)) == strictly
    assert claims.compare(found, Expectation(high=0.0)) == loosely
    mirrored = Interval(0.0, -high, -low, 5, 0.95)
    assert claims.compare(mirrored, Expectation(low=0.0, strict=True)) == strictly


@pytest.mark.parametrize(
    "expect", [Expectation(low=0.0), Expectation(), Expectation(high=-1.0, strict=True)]
)
def test_a_number_that_does_not_exist_decides_nothing(expect: Expectation) -> None:
    nothing = Interval(math.nan, 0.0, math.inf, 6, 1.0)  # as of a ratio whose runs diverged
    assert claims.compare(nothing, expect) == "undecided"


def study_of(*checks: Check, untested: str = "") -> Study:
    claim = Claim(1, "a claim", "Fig. 9", checks, untested)
    return Study("author2000", "citation", (), (), (claim,))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(results: Results, *, study: str, low: float, high: float) -> Measurement:
        if low > high:
            raise EmptySelectionError("nothing was run")
        return Measurement(interval(low, high), ("k1", "k2"), "full", "a procedure")

    monkeypatch.setitem(claims.MEASURES, "fixed", measure)


def check(low: float, high: float) -> Check:
    return Check("a ratio", use("fixed", low=low, high=high), Expectation(high=1.0), 0.5)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("condition", "verdict", "reason"),
    [
        (check(0.1, 0.2), "not reproduced", ""),
        (check(2.0, 3.0), "not tested", "decides nothing: a ratio: 2.5 [2, 3] n=5 published 0.5"),
        (check(0.5, 1.5), "not tested", "decides nothing: a ratio: 1 [0.5, 1.5] n=5 published 0.5"),
        (check(1.0, 0.0), "not tested", "decides nothing: a ratio: not run"),
    ],
)
def test_a_check_decides_nothing_where_its_condition_does_not_hold(
    condition: Check, verdict: str, reason: str
) -> None:
    conditional = dataclasses.replace(check(2.0, 3.0), provided=condition)
    (judgement,) = claims.judge(study_of(conditional), NO_ROWS)
    assert (judgement.verdict, judgement.reason) == (verdict, reason)
    assert judgement.findings[0].measurement is not None  # measured it was
    (beside,) = claims.judge(study_of(conditional, check(0.1, 0.2)), NO_ROWS)
    assert beside.verdict == "partly"


@pytest.mark.parametrize(("scale", "verdict"), [("full", "reproduced"), ("reduced", "not tested")])
def test_a_claim_of_what_was_published_is_not_decided_below_full_scale(
    monkeypatch: pytest.MonkeyPatch, scale: str, verdict: str
) -> None:
    measured = Measurement(interval(0.1, 0.2), ("k",), scale, "p")
    monkeypatch.setitem(claims.MEASURES, "fixed", lambda *_, **__: measured)
    study = study_of(check(0.1, 0.2))
    (claim,) = study.claims
    (judgement,) = claims.judge(
        replace(study, claims=(replace(claim, as_published=True),)), NO_ROWS
    )
    assert judgement.verdict == verdict
    assert judgement.findings[0].measurement is measured  # and can be read
    if scale != "full":
        assert judgement.reason == (
            "the claim is of what was published, and the rows are at reduced scale"
        )
    assert claims.judge(study, NO_ROWS)[0].verdict == "reproduced"


@pytest.mark.parametrize(
    ("confidence", "outcome"), [(0.875, "undecided"), (0.9, "holds"), (0.926, "holds")]
)
def test_an_interval_of_few_repetitions_decides_nothing(
    monkeypatch: pytest.MonkeyPatch, confidence: float, outcome: str
) -> None:
    measured = dataclasses.replace(interval(0.1, 0.2), confidence=confidence)
    monkeypatch.setitem(
        claims.MEASURES, "fixed", lambda *_, **__: Measurement(measured, ("k",), "full", "p")
    )
    (judgement,) = claims.judge(study_of(check(0.1, 0.2)), NO_ROWS)
    assert judgement.findings[0].outcome == outcome
    assert ("too few to be sure" in judgement.reason) is (outcome == "undecided")


def test_a_family_is_judged_when_all_of_it_was_run() -> None:
    study = studies.get("fluegel2024")
    (tenth,) = (claim for claim in study.claims if claim.number == 10)
    alone = replace(study, claims=(replace(tenth, checks=tenth.checks[:1]),))
    published = load(studies.RESULTS)
    runs = published.runs[published.runs["study"] == "fluegel2024"]
    absent = runs[runs["experiment"] != "functions-sphere-8"].reset_index(drop=True)
    (whole,), (part,) = (
        claims.judge(alone, published.beside(rows))
        for rows in (runs.reset_index(drop=True), absent)
    )
    assert whole.findings[0].outcome == "holds"
    assert part.findings[0].outcome == "not run"
    told = r"1 of the 11 experiments of 'functions-sphere' were not run, 'functions-sphere-8' the first"
    assert re.match(told, part.findings[0].reason)


HOLDS, FAILS, ACROSS, MISSING = check(0.1, 0.2), check(2.0, 3.0), check(0.5, 1.5), check(1.0, 0.0)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("checks", "verdict", "reason"),
    [
        ((HOLDS, HOLDS), "reproduced", ""),
        ((HOLDS, FAILS), "partly", ""),
        ((HOLDS, ACROSS), "partly", ""),
        ((FAILS, FAILS), "not reproduced", ""),
        ((FAILS, ACROSS), "not reproduced", ""),
        ((ACROSS,), "not tested", "every interval reaches across"),
        ((HOLDS, MISSING), "not tested", "1 of 2 measurements have not been run"),
    ],
)
def test_verdict_of_checks(checks: tuple[Check, ...], verdict: str, reason: str) -> None:
    (judgement,) = claims.judge(study_of(*checks), NO_ROWS)
    assert judgement.verdict == verdict
    assert reason in judgement.reason


@pytest.mark.usefixtures("measured")
def test_every_reason_is_given_with_the_checks_it_covers() -> None:
    conditional = dataclasses.replace(FAILS, provided=ACROSS)
    (judgement,) = claims.judge(study_of(conditional, ACROSS, ACROSS), NO_ROWS)
    assert judgement.reason == (
        "1 of 3 checks: decides nothing: a ratio: 1 [0.5, 1.5] n=5 published 0.5; "
        "2 of 3 checks: reaches across the edge of what the claim says"
    )


def test_rows_of_smoke_scale_judge_nothing() -> None:
    study = studies.get("baydin2022")
    spec = expand(study, "smoke", only=["beale"], methods=["backpropagation"])[0]
    rows = {
        scale: Results(
            *tabulate([Record(replace(spec, scale=scale), "done", {"value": 5e-5}, ())]),
            pd.DataFrame(),
        )
        for scale in ("smoke", "full")
    }
    (fourth,) = (claim for claim in study.claims if claim.number == 4)
    outcomes = {
        scale: [
            f.outcome for f in claims.judge(replace(study, claims=(fourth,)), found)[0].findings
        ]
        for scale, found in rows.items()
    }
    assert set(outcomes["smoke"]) == {"not run"}
    assert outcomes["full"][0] == "undecided"  # one repetition has no interval


def test_a_claim_without_checks_says_why() -> None:
    (judgement,) = claims.judge(study_of(untested="no number in the paper"), NO_ROWS)
    assert (judgement.verdict, judgement.reason) == ("not tested", "no number in the paper")


def test_unknown_measure_names_the_choices() -> None:
    unknown = Check("x", Component("nonsense"), Expectation(high=1.0))
    with pytest.raises(
        ValueError,
        match=r"^Study 'author2000', claim 1, check 'x': Unknown measure 'nonsense'\. Choose from: ",
    ):
        claims.judge(study_of(unknown), NO_ROWS)


def final(**settings: str) -> Component:
    told = {"experiment": "beale", "method": "backpropagation", "metric": "value", **settings}
    return use("final_metric", **{name: value for name, value in told.items() if value})


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (final(experiment="beela"), r"Unknown experiment 'beela'\. Choose from: .*beale"),
        (final(method="backprop"),
         r"Unknown method of 'beale' 'backprop'\. Choose from: backpropagation, forward gradient\."),
        (final(metric=""), r"The measure 'final_metric' needs experiment, method, metric\. Found no metric: add it\."),
        (final(metrics="loss"), r"Unknown setting of 'final_metric' 'metrics'\. Choose from: experiment, method"),
        (final(study="someone1999"), r"Unknown study 'someone1999'\. Choose from: .*baydin2022"),
        (use("share_lower", family="nowhere", metric="value", a="x", b="y"), "Unknown experiment 'nowhere'"),
        (use("time_to_loss_ratio", experiment="mlp-2e-4", run_time_experiment="run-time-mpl"),
         "Unknown experiment 'run-time-mpl'"),
        (use("steps_to_loss_ratio", experiment="mlp-2e-4", baseline="adam"), "Unknown method of 'mlp-2e-4' 'adam'"),
        # each of two methods is one of its own experiment
        (use("difference_between", first="beale", last="mlp-2e-4", method="fg", last_method="backpropagation",
             metric="value"), "Unknown method of 'beale' 'fg'"),
        (use("difference_between", first="beale", last="mlp-2e-4", method="backpropagation", last_method="fg",
             metric="value"), "Unknown method of 'mlp-2e-4' 'fg'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("as_condition", [False, True])
def test_a_check_of_what_there_is_not_is_refused(
    measure: Component, message: str, as_condition: bool
) -> None:
    every = tuple(studies.get(name) for name in studies.names())
    (baydin,) = (study for study in every if study.name == "baydin2022")
    wrong = Check("the loss", measure, Expectation(high=1.0))
    right = Check("the value", final(), Expectation(high=1.0), provided=wrong)
    claim = Claim(7, "a claim", "Fig. 9", (right if as_condition else wrong,))
    with pytest.raises(
        ValueError, match=rf"^Study 'baydin2022', claim 7, check 'the loss': {message}"
    ):
        claims.judge(replace(baydin, claims=(claim,)), NO_ROWS, every)


def test_what_a_measure_refuses_is_said_with_its_claim() -> None:
    wrong = Check("x", final(metric="charm", study="baydin2022"), Expectation(high=1.0))
    message = r"^Study 'author2000', claim 1: Unknown metric 'charm'\. Choose from: "
    with pytest.raises(ValueError, match=message):
        claims.judge(study_of(wrong), load(studies.RESULTS))


@pytest.mark.usefixtures("measured")
def test_words_and_json_carry_numbers_and_rows() -> None:
    judgements = claims.judge(study_of(HOLDS, FAILS), NO_ROWS)
    words = claims.describe(judgements[0].findings[0])
    assert words == "a ratio: 0.15 [0.1, 0.2] n=5 published 0.5"
    (row,) = json.loads(claims.to_json(judgements))
    assert row["verdict"] == "partly"
    assert [c["outcome"] for c in row["checks"]] == ["holds", "fails"]
    assert row["checks"][0]["rows"] == ["k1", "k2"]


def test_a_check_may_rest_on_another_study(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def measure(results: Results, *, study: str) -> Measurement:
        asked.append(study)
        return Measurement(interval(0.1, 0.2), ("k",), "full", "a procedure")

    monkeypatch.setitem(claims.MEASURES, "whose", measure)
    own, other = use("whose"), use("whose", study="someone1999")
    claims.judge(study_of(*(Check("x", m, Expectation(high=1.0)) for m in (own, other))), NO_ROWS)
    assert asked == ["author2000", "someone1999"]

"""Verdicts follow from rows: each outcome, each verdict, and nothing without rows."""

import dataclasses
import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats as reference  # type: ignore[import-untyped, unused-ignore]

import studies
from repro import claims, stats
from repro.claims import naming
from repro.claims.naming import samples
from repro.measures import Measurement
from repro.protocol import Check, Claim, Component, Expectation, Study, expand, use
from repro.results import EmptySelectionError, Record, Results, load, tabulate, tabulate_facts
from repro.stats import Interval

NO_ROWS = Results(*tabulate(()), pd.DataFrame())


def interval(low: float, high: float) -> Interval:
    return Interval((low + high) / 2, low, high, 5, 1.0)  # bounds that no confidence moves


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


PATTERN = np.array([-2.5, -1.0, 0.0, 0.5, 1.0, 2.0]) / np.std(
    [-2.5, -1.0, 0.0, 0.5, 1.0, 2.0], ddof=1
)


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measures of a mean, whose t test has a given two-sided p-value, of a median, and of what has no other confidence."""

    def mean(
        results: Results, *, study: str, p: float, sign: int, confidence: float = 0.95
    ) -> Measurement:
        shift = sign * reference.t.isf(p / 2, PATTERN.size - 1) / math.sqrt(PATTERN.size)
        found = stats.mean_interval(PATTERN + shift, confidence)
        return Measurement(found, ("k",), "full", "a mean")

    def median(results: Results, *, study: str, confidence: float = 0.95) -> Measurement:
        found = stats.median_interval(PATTERN - 5.0, confidence)
        return Measurement(found, ("k",), "full", "a median")

    def rigid(results: Results, *, study: str, confidence_of: float) -> Measurement:
        found = dataclasses.replace(interval(-0.2, -0.1), confidence=confidence_of)
        return Measurement(found, ("k",), "full", "bounds at one confidence")

    for name, measure in (("sample", mean), ("median", median), ("rigid", rigid)):
        monkeypatch.setitem(claims.MEASURES, name, measure)


def below(p: float) -> Check:
    """Return a check that a mean is below 0, which it is with a p-value; a negative one for a mean above 0."""
    measure = use("sample", p=abs(p), sign=-1 if p > 0 else 1)
    return Check("a mean", measure, Expectation(high=0.0, strict=True))


MEDIAN = Check("a median", use("median"), Expectation(high=0.0))
ALONE = "by itself; among {} that is not beyond chance (Holm)"
EACH = ", each by itself; among {} none of them is beyond chance (Holm)"


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize(
    ("p_values", "verdict", "reason"),
    [
        # all of them hold: no choice among them that would need a correction
        ([0.049] * 30, "reproduced", ""),
        # one that barely holds among many, one that holds beyond doubt, and one in between
        ([0.04] + [0.5] * 19, "not tested", "1 of 20 measurements holds " + ALONE.format(20)),
        ([1e-5] + [0.5] * 19, "partly", ""),
        ([0.0024] + [0.5] * 19, "partly", ""),
        ([0.0026] + [0.5] * 19, "not tested", "1 of 20 measurements holds " + ALONE.format(20)),
        # 0.02 is above 0.05 / 3, but below 0.05 / 2 once the surest is set aside; a third step to 0.05 / 1
        ([-1e-6, 0.02, 0.5], "partly", ""),
        ([0.02, 0.5, 0.5], "not tested", "1 of 3 measurements holds " + ALONE.format(3)),
        ([-1e-6, -0.02, 0.049], "partly", ""),
        ([-1e-6, -0.03, 0.049], "not reproduced", "1 of 3 measurements holds " + ALONE.format(3)),
        # what fails counts as what holds does
        ([-0.04] + [0.5] * 19, "not tested", "1 of 20 measurements fails " + ALONE.format(20)),
        ([-0.001, 0.5, 0.5, 0.5], "not reproduced", ""),
        ([-0.001, 0.03, 0.04, 0.5], "not reproduced", "2 of 4 measurements hold" + EACH.format(4)),
        ([0.04, 0.03, 0.02, -0.04, 0.5], "not tested", "3 of 5 measurements hold and 1 fails" + EACH.format(5)),
        # one check is one test
        ([0.049], "reproduced", ""),
        ([-0.049], "not reproduced", ""),
        ([0.2], "not tested", "every interval reaches across the edge of what the claim says"),
    ],
)  # fmt: skip
def test_some_checks_of_many_count_if_one_is_beyond_chance(
    p_values: list[float], verdict: str, reason: str
) -> None:
    for order in (p_values, p_values[::-1]):
        (judgement,) = claims.judge(study_of(*map(below, order)), NO_ROWS)
        assert (judgement.verdict, judgement.reason) == (verdict, reason)
        # each finding is what it is by itself
        found = [finding.outcome for finding in judgement.findings]
        assert found == [
            "undecided" if abs(p) >= 0.05 else "holds" if p > 0 else "fails" for p in order
        ]
        assert {f.measurement.interval.confidence for f in judgement.findings if f.measurement} == {
            0.95
        }


@pytest.mark.usefixtures("sampled")
def test_verdicts_are_those_of_adjusted_p_values() -> None:
    rng = np.random.default_rng(0)
    seen = []
    for _ in range(400):
        num = int(rng.integers(1, 13))
        p_values = 10.0 ** rng.uniform(-4.0, 0.0, num)
        signs = rng.choice([1, -1], num, p=[0.8, 0.2]) if rng.random() < 0.7 else np.ones(num)
        (judgement,) = claims.judge(study_of(*map(below, p_values * signs)), NO_ROWS)
        holds, beyond = signs > 0, stats.holm(p_values) < 0.05
        if (holds & (p_values < 0.05)).all():
            expected = "reproduced"
        elif (holds & beyond).any():
            expected = "partly"
        else:
            expected = "not reproduced" if beyond.any() else "not tested"
        assert judgement.verdict == expected
        bonferroni = (holds & (p_values < 0.05 / num)).any()
        seen.append((expected, bool((holds & (p_values < 0.05)).any()), bool(bonferroni)))
    # every verdict, what is lost by the correction, and what its steps keep
    assert {verdict for verdict, *_ in seen} == {
        "reproduced", "partly", "not reproduced", "not tested",
    }  # fmt: skip
    assert ("not tested", True, False) in seen
    assert ("partly", True, False) in seen


@pytest.mark.usefixtures("sampled")
def test_a_t_test_of_the_samples_has_the_p_values_asked_for() -> None:
    for p in (0.5, 0.02, -1e-4):
        measure = below(p).measure
        found = claims.MEASURES["sample"](NO_ROWS, study="", **measure.options()).interval
        values = PATTERN - PATTERN.mean() + found.estimate
        assert reference.ttest_1samp(values, 0.0).pvalue == pytest.approx(abs(p))
        assert np.sign(found.estimate) == -np.sign(p)


@pytest.mark.usefixtures("measured", "sampled")
def test_what_no_chance_moves_stays_whatever_the_number_of_checks() -> None:
    exact, across = HOLDS, [below(0.5)] * 30
    assert claims.judge(study_of(exact, *across), NO_ROWS)[0].verdict == "partly"
    assert claims.judge(study_of(FAILS, *across), NO_ROWS)[0].verdict == "not reproduced"
    # and leaves the doubt to the others
    assert claims.judge(study_of(FAILS, below(0.04)), NO_ROWS)[0].verdict == "partly"


@pytest.mark.usefixtures("sampled")
def test_too_few_repetitions_for_the_confidence_of_many_checks_are_not_beyond_chance() -> None:
    # six reach 0.969: enough for one check, not for two, and for the last of two
    (alone,) = claims.judge(study_of(MEDIAN), NO_ROWS)
    (beside,) = claims.judge(study_of(MEDIAN, below(0.5)), NO_ROWS)
    (last,) = claims.judge(study_of(MEDIAN, below(-1e-6)), NO_ROWS)
    assert [j.verdict for j in (alone, beside, last)] == ["reproduced", "not tested", "partly"]
    assert beside.findings[0].outcome == "holds"


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize(
    ("confidence", "others", "verdict"),
    [
        (0.92, [], "not reproduced"),
        (0.95, [0.5], "not tested"),
        (0.97, [0.5], "not tested"),
        (0.975, [0.5], "not reproduced"),
        (1.0, [0.5] * 9, "not reproduced"),
    ],
)
def test_bounds_at_one_confidence_count_up_to_that(
    confidence: float, others: list[float], verdict: str
) -> None:
    fails = Check("rigid", use("rigid", confidence_of=confidence), Expectation(low=0.0))
    (judgement,) = claims.judge(study_of(fails, *map(below, others)), NO_ROWS)
    assert judgement.findings[0].outcome == "fails"
    assert judgement.verdict == verdict


@pytest.mark.usefixtures("sampled")
def test_a_condition_is_one_of_the_check_and_not_one_among_many() -> None:
    conditional = dataclasses.replace(below(1e-5), provided=below(0.049))
    (judgement,) = claims.judge(study_of(conditional, *map(below, [0.5] * 9)), NO_ROWS)
    assert judgement.verdict == "partly"


def test_a_published_measure_that_samples_is_wider_at_higher_confidence() -> None:
    every = tuple(studies.get(name) for name in studies.names())
    published = load(studies.RESULTS, None, tabulate_facts(every))
    checks = [(s.name, check.measure) for s in every for c in s.claims for check in c.checks]
    seen: set[str] = set()
    for study, measure in checks:
        if measure.name in seen or not samples(measure.name):
            continue
        options = {"study": study, **measure.options()}
        try:
            plain, same, surer = (
                claims.MEASURES[measure.name](published, **options, **told)
                for told in ({}, {"confidence": 0.95}, {"confidence": 0.999})
            )
        except EmptySelectionError:
            continue
        assert plain.keys == same.keys == surer.keys
        wide, narrow = surer.interval, same.interval
        assert dataclasses.astuple(narrow) == pytest.approx(
            dataclasses.astuple(plain.interval), rel=0, abs=0, nan_ok=True
        )
        assert wide.estimate == pytest.approx(narrow.estimate, rel=0, abs=0, nan_ok=True)
        assert wide.low <= narrow.low
        assert wide.high >= narrow.high
        seen.add(measure.name)
    assert {"final_metric", "paired_difference", "share_lower", "step_time_ratio"} <= seen


def test_what_does_not_sample_has_no_confidence_to_choose() -> None:
    fixed = {name for name in claims.MEASURES if not samples(name)}
    assert fixed == {
        "chosen_rate", "chosen_rate_ratio", "curve_extreme", "diverged_trials_difference", "peak_memory_ratio",
        "published_share", "tuning_seed_share", "usable_rate_ratio",
    }  # fmt: skip


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
        match=r"^Study 'author2000', claim 1, check 'x': Unknown measure 'nonsense'\. Choose from: .*, "
        rf"\.\.\. \(`repro/claims/naming.py` shows all {len(naming.MEASURES)}\)\.$",
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
        # how sure a check has to be follows from the others
        (final(confidence="0.5"), r"Unknown setting of 'final_metric' 'confidence'\. Choose from: experiment, method"),
        (use("step_time_ratio", experiment="run-time-mlp", numerator="backpropagation", denominator="function alone",
             confidence=0.5), r"Unknown setting of 'step_time_ratio' 'confidence'\. Choose from: experiment"),
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

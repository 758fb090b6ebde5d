"""From rows to verdicts: every check is measured, and what was measured is held to what the claim says."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from repro.claims.findings import CheckFinding, Judgement, Outcome, Verdict
from repro.claims.naming import MEASURES, refuse_unknown
from repro.claims.wording import describe
from repro.protocol import Check, Claim, Expectation, Study, spread
from repro.results import EmptySelectionError, Results
from repro.stats import Interval

SURE = 0.9
"""Least confidence of an interval that decides: that of the median of few repetitions may be any."""


def judge(
    study: Study, results: Results, others: Iterable[Study] | None = None
) -> tuple[Judgement, ...]:
    """Return a judgement for every claim of a study; rows of smoke scale, which exercise the wiring, judge nothing.

    Args:
        study: The study.
        results: The tables.
        others: See `refuse_unknown`.

    Returns:
        Judgements in the order of the claims.

    Raises:
        ValueError: As `refuse_unknown`.
    """
    refuse_unknown(study, others)
    smoke = results.runs["scale"] == "smoke"
    if smoke.any():
        results = results.beside(results.runs[~smoke].reset_index(drop=True))
    known = {each.name: each for each in (*(others or ()), study)}
    return tuple(_judge(study, claim, results, known) for claim in study.claims)


def _judge(study: Study, claim: Claim, results: Results, known: Mapping[str, Study]) -> Judgement:
    try:
        findings = tuple(_find(study, check, results, known) for check in claim.checks)
    except ValueError as error:
        raise ValueError(f"Study {study.name!r}, claim {claim.number}: {error}") from error
    if claim.as_published:
        findings = tuple(map(_at_full_scale, findings))
    verdict, reason = _verdict(claim, findings)
    return Judgement(study.name, claim, verdict, findings, reason)


def _find(study: Study, check: Check, results: Results, known: Mapping[str, Study]) -> CheckFinding:
    name, options = check.measure.name, check.measure.options()
    try:
        _refuse_part_of_a_family(options, study, results, known)
        # a check may rest on the rows of another study, if it names it
        measurement = MEASURES[name](results, **{"study": study.name, **options})
    except EmptySelectionError as error:
        return CheckFinding(check, "not run", None, str(error))
    if check.provided is not None:
        condition = _find(study, check.provided, results, known)
        if condition.outcome != "holds":
            reason = f"decides nothing: {describe(condition)}"
            return CheckFinding(check, "undecided", measurement, reason)
    interval = measurement.interval
    reason = ""
    if math.isnan(interval.estimate):
        reason = f"no number: {measurement.procedure}"
    elif interval.confidence < SURE:
        reason = f"{interval.num} repetitions are too few to be sure"
    return CheckFinding(check, compare(interval, check.expect), measurement, reason)


def _at_full_scale(finding: CheckFinding) -> CheckFinding:
    """Return a finding that decides nothing if its rows are below full scale."""
    if finding.measurement is None or finding.measurement.scale == "full":
        return finding
    reason = (
        f"the claim is of what was published, and the rows are at {finding.measurement.scale} scale"
    )
    return dataclasses.replace(finding, outcome="undecided", reason=reason)


def _refuse_part_of_a_family(
    options: Mapping[str, object], study: Study, results: Results, known: Mapping[str, Study]
) -> None:
    """Raise if only a part of the experiments was run over which a measure takes a share or an extreme."""
    whose, family = str(options.get("study", study.name)), str(options.get("family", ""))
    if not family or whose not in known:
        return
    within = f"{family}-{options['setting']}-" if options.get("setting") else family
    names = spread([e.name for e in known[whose].experiments], family)
    named = [name for name in names if name.startswith(within)]
    absent = [name for name in named if whose not in results.reported.get(name, ())]
    if absent:
        raise EmptySelectionError(
            f"{len(absent)} of the {len(named)} experiments of {family!r} were not run, {absent[0]!r} the first: "
            "run what is missing."
        )


def compare(interval: Interval, expect: Expectation) -> Outcome:
    """Return whether an interval lies within an expectation, outside it, or across its edge; one that is not `SURE` is undecided.

    A bound is within, or outside where the expectation is strict: a difference of exactly 0 is not "lower". A number that
    does not exist decides nothing, whatever its bounds: of a ratio they are 0 and infinity.

    Args:
        interval: What was measured.
        expect: What the claim says.

    Returns:
        `holds`, `fails` or `undecided`.
    """
    if interval.confidence < SURE or math.isnan(interval.estimate):
        return "undecided"
    low, high = expect.low, expect.high
    # the next numbers are the first that strict bounds admit; infinity bounds nothing
    if expect.strict:
        low = math.nextafter(low, math.inf) if math.isfinite(low) else low
        high = math.nextafter(high, -math.inf) if math.isfinite(high) else high
    if interval.low >= low and interval.high <= high:
        return "holds"
    if interval.high < low or interval.low > high:
        return "fails"
    return "undecided"


def _verdict(claim: Claim, findings: Sequence[CheckFinding]) -> tuple[Verdict, str]:
    if claim.untested:
        return "not tested", claim.untested
    outcomes = [finding.outcome for finding in findings]
    if "not run" in outcomes:
        missing = outcomes.count("not run")
        return "not tested", f"{missing} of {len(outcomes)} measurements have not been run"
    if all(outcome == "holds" for outcome in outcomes):
        return "reproduced", ""
    if "holds" in outcomes:
        return "partly", ""
    if "fails" in outcomes:
        return "not reproduced", ""
    return "not tested", _reasons(findings)


def _reasons(findings: Sequence[CheckFinding]) -> str:
    """Return why none of the checks decides anything."""
    across = "reaches across the edge of what the claim says"
    counted = collections.Counter(finding.reason or across for finding in findings)
    if set(counted) == {across}:
        return f"every interval {across}"
    if len(findings) == 1:
        return findings[0].reason
    return "; ".join(f"{n} of {len(findings)} checks: {reason}" for reason, n in counted.items())

"""From rows to verdicts: every check is measured, and what was measured is held to what the claim says."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from repro.claims.findings import CheckFinding, Judgement, Outcome, Verdict
from repro.claims.naming import CONFIDENCE, MEASURES, refuse_unknown, samples
from repro.claims.wording import among_many, describe
from repro.measures import Measurement
from repro.protocol import Check, Claim, Expectation, Study, spread
from repro.results import EmptySelectionError, Results
from repro.stats import Interval

SURE = 0.9
"""Least confidence of an interval that decides: that of the median of few repetitions may be any."""
LEVEL = 0.05
"""Probability, at most, that some check of a claim is taken to be beyond chance but is not."""


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
    verdict, reason = _verdict(study, claim, findings, results)
    return Judgement(study.name, claim, verdict, findings, reason)


def _find(study: Study, check: Check, results: Results, known: Mapping[str, Study]) -> CheckFinding:
    try:
        _refuse_part_of_a_family(check.measure.options(), study, results, known)
        measurement = _measure(study, check, results)
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


def _measure(study: Study, check: Check, results: Results, **confidence: float) -> Measurement:
    # a check may rest on the rows of another study, if it names it
    options = {"study": study.name, **check.measure.options(), **confidence}
    return MEASURES[check.measure.name](results, **options)


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


def _verdict(
    study: Study, claim: Claim, findings: Sequence[CheckFinding], results: Results
) -> tuple[Verdict, str]:
    if claim.untested:
        return "not tested", claim.untested
    outcomes = [finding.outcome for finding in findings]
    if "not run" in outcomes:
        missing = outcomes.count("not run")
        return "not tested", f"{missing} of {len(outcomes)} measurements have not been run"
    if all(outcome == "holds" for outcome in outcomes):
        return "reproduced", ""
    certain = _beyond_chance(study, findings, results)
    if "holds" in certain:
        return "partly", ""
    if "fails" in certain:
        return "not reproduced", among_many(outcomes, ["holds"])
    return "not tested", among_many(outcomes, ["holds", "fails"]) or _reasons(findings)


def _beyond_chance(
    study: Study, findings: Sequence[CheckFinding], results: Results
) -> set[Outcome]:
    """Return the outcomes that at least one check has beyond chance, by Holm's rule over all checks of a claim.

    With enough checks one holds by luck. So all that are decided are measured anew with the doubt that each of them may
    have if all are to have no more than `LEVEL` together. The others share that of the ones that stay decided, and so on.
    """
    certain: set[Outcome] = set()
    open_, left = len(findings), [f for f in findings if f.outcome in ("holds", "fails")]
    while left:
        # the last one shares its doubt with no other, and is what it was found to be
        stay = [open_ == 1 or _stays(study, f, results, 1.0 - LEVEL / open_) for f in left]
        if not any(stay):
            break
        open_ -= sum(stay)
        certain |= {f.outcome for f, kept in zip(left, stay, strict=True) if kept}
        left = [f for f, kept in zip(left, stay, strict=True) if not kept]
    return certain


def _stays(study: Study, finding: CheckFinding, results: Results, confidence: float) -> bool:
    """Tell whether a check is as decided at a higher confidence; not if too few repetitions can have that."""
    told = {CONFIDENCE: confidence} if samples(finding.check.measure.name) else {}
    interval = _measure(study, finding.check, results, **told).interval
    attained = interval.confidence > confidence or math.isclose(interval.confidence, confidence)
    return attained and compare(interval, finding.check.expect) == finding.outcome


def _reasons(findings: Sequence[CheckFinding]) -> str:
    """Return why none of the checks decides anything."""
    across = "reaches across the edge of what the claim says"
    counted = collections.Counter(finding.reason or across for finding in findings)
    if set(counted) == {across}:
        return f"every interval {across}"
    if len(findings) == 1:
        return findings[0].reason
    return "; ".join(f"{n} of {len(findings)} checks: {reason}" for reason, n in counted.items())

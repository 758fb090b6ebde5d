"""Claims become verdicts: every check of a claim is measured on the results table, and only there.

A check holds if the whole interval of what was measured lies within what the claim says, fails if the
interval lies outside it, and is undecided if it reaches across. A claim all of whose checks hold is
`reproduced`; if none holds and at least one fails it is `not reproduced`; if some hold it is `partly`.
Without rows, or with nothing but undecided checks, it is `not tested`, with the reason. A check that holds only
provided that another does, such as that a baseline has learned anything, is undecided where that one does
not hold, and so is one below full scale of a claim that speaks of what was published alone. There is no verdict without rows behind it, and each verdict names them.

A check that names what no study declares would never be run: it is refused, and not taken for one that is missing.
"""

from __future__ import annotations

import collections
import dataclasses
import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from repro import measures
from repro.measures import Measurement
from repro.protocol import (
    EXPERIMENT_SETTINGS,
    Check,
    Claim,
    Expectation,
    Study,
    choose,
    spread,
)
from repro.results import EmptySelectionError, Results
from repro.stats import Interval

MEASURES: dict[str, Callable[..., Measurement]] = {
    measure.__name__: measure
    for measure in (
        measures.final_metric,
        measures.paired_difference,
        measures.paired_difference_at_equal,
        measures.paired_ratio,
        measures.peak_memory_ratio,
        measures.curve_at,
        measures.curve_end,
        measures.missed_change_at_equal,
        measures.curve_spread_ratio,
        measures.diverged_share,
        measures.chosen_rate,
        measures.chosen_rate_ratio,
        measures.diverged_trials_difference,
        measures.step_time_ratio,
        measures.step_time_ratio_change,
        measures.step_time_ratio_without,
        measures.steps_to_loss_ratio,
        measures.time_to_loss_ratio,
        measures.mean_square_error,
        measures.estimate_ratio,
        measures.curve_extreme,
        measures.change_beyond,
        measures.difference_between,
        measures.missed_descent,
        measures.missed_descent_change,
        measures.published_share,
        measures.rate_ratio,
        measures.share_lower,
        measures.tuning_seed_share,
        measures.usable_rate_ratio,
    )
}
"""What a check may name."""
METHODS = (
    "method", "last_method", "baseline", "base", "numerator", "denominator", "part", "a", "b", "minus",
)  # fmt: skip
"""Settings of measures that are names of methods, in all experiments that the others name, or in one of two."""

SURE = 0.9
"""Least confidence of an interval that decides: that of the median of few repetitions may be any."""

Outcome = Literal["holds", "fails", "undecided", "not run"]
Verdict = Literal["reproduced", "not reproduced", "partly", "not tested"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of one check.

    Attributes:
        check: The check.
        outcome: Whether it holds.
        measurement: The measured quantity and its rows; `None` where nothing was run.
        reason: Why nothing was measured, or why what was measured decides nothing.
    """

    check: Check
    outcome: Outcome
    measurement: Measurement | None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A claim's verdict and what it rests on.

    Attributes:
        study: Name of the study.
        claim: The claim.
        verdict: The verdict.
        findings: One a check.
        reason: Why it was not tested, if it was not.
    """

    study: str
    claim: Claim
    verdict: Verdict
    findings: tuple[Finding, ...]
    reason: str = ""

    @property
    def scales(self) -> tuple[str, ...]:
        """Scales of the rows that the verdict rests on, sorted."""
        return tuple(sorted({f.measurement.scale for f in self.findings if f.measurement}))


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


def refuse_unknown(study: Study, others: Iterable[Study] | None = None) -> None:
    """Refuse a check whose measure, setting, experiment or method there is not.

    Args:
        study: The study.
        others: Studies on whose rows its checks may rest, too; left out, names in them are not looked up.

    Raises:
        ValueError: Of the first such check, with its claim.
    """
    known = {each.name: each for each in (*(others or ()), study)}
    for claim in study.claims:
        for check in claim.checks:
            for part in check.parts:
                try:
                    _refuse_unknown(part, study, known, closed=others is not None)
                except ValueError as error:
                    raise ValueError(
                        f"Study {study.name!r}, claim {claim.number}, check {part.label!r}: {error}"
                    ) from error


def _refuse_unknown(check: Check, study: Study, known: Mapping[str, Study], closed: bool) -> None:
    name, options = check.measure.name, check.measure.options()
    choose(MEASURES, [name], "measure")
    parameters = list(inspect.signature(MEASURES[name]).parameters.values())[1:]  # first: results
    named = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    if len(named) == len(parameters):
        choose((p.name for p in named), options, f"setting of {name!r}")
    needed = [p.name for p in named if p.default is p.empty and p.name != "study"]
    if missing := [each for each in needed if each not in options]:
        raise ValueError(
            f"The measure {name!r} needs {', '.join(needed)}. Found no {' and no '.join(missing)}: add it."
        )
    whose = str(options.get("study", study.name))
    if closed:
        choose(known, [whose], "study")
    if whose not in known:
        return
    declared = {e.name: {m.name for m in e.methods} for e in known[whose].experiments}
    values = {p.name: str(options.get(p.name, p.default) or "") for p in named}
    experiments: list[str] = []
    for part in (values[each] for each in EXPERIMENT_SETTINGS if values.get(each)):
        family = spread(declared, [part]) if part == values.get("family") else (part,)
        experiments += choose(declared, family, "experiment")
    apart = {"method": "first", "last_method": "last"} if values.get("last_method") else {}
    for setting in METHODS:
        method = values.get(setting)
        if not method or method == "previous":
            continue
        for experiment in [values[apart[setting]]] if setting in apart else experiments:
            choose(sorted(declared[experiment]), [method], f"method of {experiment!r}")


def _judge(study: Study, claim: Claim, results: Results, known: Mapping[str, Study]) -> Judgement:
    findings = tuple(_find(study, check, results, known) for check in claim.checks)
    if claim.as_published:
        findings = tuple(map(_at_full_scale, findings))
    verdict, reason = _verdict(claim, findings)
    return Judgement(study.name, claim, verdict, findings, reason)


def _find(study: Study, check: Check, results: Results, known: Mapping[str, Study]) -> Finding:
    name, options = check.measure.name, check.measure.options()
    try:
        _refuse_part_of_a_family(options, study, results, known)
        # a check may rest on the rows of another study, if it names it
        measurement = MEASURES[name](results, **{"study": study.name, **options})
    except EmptySelectionError as error:
        return Finding(check, "not run", None, str(error))
    if check.provided is not None:
        condition = _find(study, check.provided, results, known)
        if condition.outcome != "holds":
            reason = f"decides nothing: {describe(condition)}"
            return Finding(check, "undecided", measurement, reason)
    interval = measurement.interval
    reason = ""
    if math.isnan(interval.estimate):
        reason = f"no number: {measurement.procedure}"
    elif interval.confidence < SURE:
        reason = f"{interval.num} repetitions are too few to be sure"
    return Finding(check, compare(interval, check.expect), measurement, reason)


def _at_full_scale(finding: Finding) -> Finding:
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


def _verdict(claim: Claim, findings: Sequence[Finding]) -> tuple[Verdict, str]:
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


def _reasons(findings: Sequence[Finding]) -> str:
    """Return why none of the checks decides anything."""
    across = "reaches across the edge of what the claim says"
    counted = collections.Counter(finding.reason or across for finding in findings)
    if set(counted) == {across}:
        return f"every interval {across}"
    if len(findings) == 1:
        return findings[0].reason
    return "; ".join(f"{n} of {len(findings)} checks: {reason}" for reason, n in counted.items())


def describe(finding: Finding) -> str:
    """Return a finding in words: what, measured, published, outcome.

    Args:
        finding: The finding.

    Returns:
        One line.
    """
    label = finding.check.label
    if finding.measurement is None:
        return f"{label}: not run"
    interval = finding.measurement.interval
    unit = f" {finding.check.unit}" if finding.check.unit else ""
    parts = [f"{label}: {number(interval.estimate)}{unit}"]
    if math.isnan(interval.estimate) and not finding.measurement.diverged:
        parts.append(f"({finding.measurement.procedure})")
    elif interval.low != interval.high:
        parts.append(f"[{number(interval.low)}, {number(interval.high)}]")
    parts.append(f"n={interval.num}")
    if finding.measurement.missed:
        parts.append(f"({finding.measurement.missed} never got there)")
    if finding.measurement.diverged:
        parts.append(f"({finding.measurement.diverged} diverged)")
    if finding.check.published is not None:
        parts.append(f"published {number(finding.check.published)}{unit}")
    return " ".join(parts)


def bounds(expect: Expectation) -> str:
    """Return what a claim says of a quantity, in signs: what a measured interval must lie within.

    Example:
        >>> bounds(Expectation(low=10.0)), bounds(Expectation(high=0.0, strict=True)), bounds(Expectation(0.5, 2.0))
        ('≥ 10', '< 0', '0.5 to 2')
    """
    least, most = (">", "<") if expect.strict else ("≥", "≤")
    low, high = number(expect.low), number(expect.high)
    if math.isfinite(expect.low) and math.isfinite(expect.high):
        return f"{low} to {high}"
    if math.isfinite(expect.low):
        return f"{least} {low}"
    return f"{most} {high}" if math.isfinite(expect.high) else "any"


def number(value: float) -> str:
    """Return a number as claims show it: four significant digits."""
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "n/a")
    return f"{value:.4g}"


def to_json(judgements: Iterable[Judgement]) -> str:
    """Return verdicts as JSON: a list of objects, one a claim, with the keys of the rows behind them.

    Args:
        judgements: Verdicts.

    Returns:
        Indented JSON that ends in a newline.
    """
    return json.dumps([_plain(j) for j in judgements], indent=1, ensure_ascii=False) + "\n"


def _plain(judgement: Judgement) -> dict[str, Any]:
    return {
        "study": judgement.study,
        "number": judgement.claim.number,
        "where": judgement.claim.where,
        "claim": judgement.claim.text,
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "scales": list(judgement.scales),
        "checks": [
            {
                "label": finding.check.label,
                "text": describe(finding),
                "measure": finding.check.measure.name,
                "settings": finding.check.measure.options(),
                "expected": [_bound(finding.check.expect.low), _bound(finding.check.expect.high)],
                "published": finding.check.published,
                "outcome": finding.outcome,
                **_measured(finding.measurement),
            }
            for finding in judgement.findings
        ],
    }


def _measured(measurement: Measurement | None) -> dict[str, Any]:
    if measurement is None:
        return {"estimate": None, "interval": None, "n": 0, "rows": []}
    interval = measurement.interval
    return {
        "estimate": _bound(interval.estimate),
        "interval": [_bound(interval.low), _bound(interval.high)],
        "confidence": interval.confidence,
        "n": interval.num,
        "scale": measurement.scale,
        "rows": list(measurement.keys),
    }


def _bound(value: float) -> float | None:
    return value if math.isfinite(value) else None

"""Verdicts for a reader: findings and expectations in words, and everything as JSON for programs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from repro.claims.findings import CheckFinding, Judgement, Outcome
from repro.measures import Measurement
from repro.protocol import Expectation


def describe(finding: CheckFinding) -> str:
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


def among_many(outcomes: Sequence[Outcome], those: Iterable[Outcome]) -> str:
    """Return in words which outcomes checks have by themselves, if all of them may be chance among so many checks.

    Args:
        outcomes: Those of all checks of a claim.
        those: The ones that may be chance, of `holds` and `fails`.

    Returns:
        One sentence; empty if no check has such an outcome.

    Example:
        >>> among_many(["holds", "fails", "undecided", "holds"], ["holds", "fails"])
        '2 of 4 measurements hold and 1 fails, each by itself; among 4 none of them is beyond chance (Holm)'
    """
    counts = {one: outcomes.count(one) for one in those if one in outcomes}
    if not counts:
        return ""
    num = len(outcomes)
    verbs = [one if count == 1 else one.removesuffix("s") for one, count in counts.items()]
    first, *others = (f"{count} {verb}" for count, verb in zip(counts.values(), verbs, strict=True))
    told = " and ".join([first.replace(" ", f" of {num} measurements ", 1), *others])
    if sum(counts.values()) == 1:
        return f"{told} by itself; among {num} that is not beyond chance (Holm)"
    return f"{told}, each by itself; among {num} none of them is beyond chance (Holm)"


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

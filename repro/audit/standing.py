"""Why findings against our own comparisons stand: reasons that a person wrote down, and what they excuse.

A reason excuses one rule of one comparison from failing the audit. It does not outlive its finding: a reason whose
comparison passes fails the audit as a finding without a reason does.
"""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from repro.audit.report import Audited
from repro.audit.rules import RULES

Standing: TypeAlias = Mapping[tuple[str, str], str]
"""Why findings against our own comparisons stand, by the comparisons' name, which may be a pattern, and the rule's."""
NOTHING_STANDS: Standing = {}


def read_standing(path: Path) -> Standing:
    """Return what stands, and why.

    Args:
        path: TOML: tables `stands` with the texts `comparison`, in which `*` stands for anything, `rule` and `why`.

    Returns:
        The reasons; none without the file.

    Raises:
        ValueError: If the file is not TOML, or an entry lacks a text, has another, or names no rule.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("stands", [])
    except FileNotFoundError:
        return NOTHING_STANDS
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: expected TOML. Found: {error}. Mend the file.") from error
    found = {}
    for entry in entries:
        if set(entry) != {"comparison", "rule", "why"} or not all(entry.values()):
            raise ValueError(
                f"{path}: `stands` expects comparison, rule and why, none empty. Found {entry}."
            )
        if entry["rule"] not in RULES:
            raise ValueError(
                f"{path}: expected one of the rules {', '.join(RULES)}. Found {entry['rule']!r}."
            )
        found[entry["comparison"], entry["rule"]] = entry["why"]
    return found


def has(audited: Iterable[Audited], fail_on: str, stands: Collection[tuple[str, str]] = ()) -> bool:
    """Tell whether a comparison fails, or with `fail_on` of `warn` fails or warns.

    Args:
        audited: The comparisons.
        fail_on: `fail` or `warn`.
        stands: Comparison and rule of findings that do not count.

    Returns:
        Whether there is such a finding.
    """
    bad = ("fail", "warn") if fail_on == "warn" else ("fail",)
    return any(
        finding.status in bad
        and not any(_covers(entry, each.evidence.name, finding.rule.name) for entry in stands)
        for each in audited
        for finding in each.findings
    )


def explained(audited: Iterable[Audited], stands: Standing) -> tuple[list[str], list[str]]:
    """Return what is said of the findings that stand.

    Args:
        audited: The comparisons.
        stands: The reasons.

    Returns:
        A line for each reason of findings that stand; and one for each reason whose comparisons are there and do not
        fail.
    """
    failing = {
        (each.evidence.name, finding.rule.name): finding.status == "fail"
        for each in audited
        for finding in each.findings
    }
    told, gone = [], []
    for entry, why in stands.items():
        covered = [fails for key, fails in failing.items() if _covers(entry, *key)]
        comparison, rule = entry
        if any(covered):
            told.append(f"{comparison} does not pass `{rule}`, and that stands: {why}.")
        elif covered:
            gone.append(
                f"{comparison}, `{rule}`: expected to fail, since a reason is kept for it, and it does not. Take the "
                "reason away."
            )
    return told, gone


def _covers(entry: tuple[str, str], comparison: str, rule: str) -> bool:
    pattern, of_rule = entry
    return rule == of_rule and fnmatch.fnmatchcase(comparison, pattern)

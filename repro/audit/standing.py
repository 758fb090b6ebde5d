"""Why findings against our own comparisons stand: reasons that a person wrote down, and what they excuse.

A reason excuses a finding of one rule against one comparison. It must not outlive the finding: once the comparison
passes, the reason itself fails the audit, as a finding without a reason does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from repro.audit.report import Audited
from repro.audit.rules import RULES

Standing: TypeAlias = Mapping[tuple[str, str], str]
"""Why a finding against one of our own comparisons stands, by the comparison's and the rule's name."""
NOTHING_STANDS: Standing = {}


def read_standing(path: Path) -> Standing:
    """Return the findings that stand, and why.

    Args:
        path: TOML: tables `stands` with the texts `rule` and `why`, and the names of the `comparisons`.

    Returns:
        The reasons; none if there is no file.

    Raises:
        ValueError: If the file is not TOML, or an entry lacks one of these, has another, or names no rule.
    """
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("stands", [])
    except FileNotFoundError:
        return NOTHING_STANDS
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: expected TOML. Found: {error}. Mend the file.") from error
    found: dict[tuple[str, str], str] = {}
    for entry in entries:
        kinds = {"comparisons": list, "rule": str, "why": str}
        if entry.keys() != kinds.keys() or not all(
            value and isinstance(value, kinds[key]) for key, value in entry.items()
        ):
            raise ValueError(
                f"{path}: `stands` expects rule, why and a list of comparisons, none empty. Found {entry}."
            )
        if entry["rule"] not in RULES:
            raise ValueError(
                f"{path}: expected one of the rules {', '.join(RULES)}. Found {entry['rule']!r}."
            )
        found |= {(name, entry["rule"]): entry["why"] for name in entry["comparisons"]}
    return found


def has_findings(
    audited: Iterable[Audited], fail_on: str, stands: Container[tuple[str, str]] = ()
) -> bool:
    """Tell whether a comparison fails or, if `fail_on` is `warn`, fails or warns.

    Args:
        audited: The comparisons.
        fail_on: `fail` or `warn`.
        stands: Pairs of comparison and rule whose findings do not count.

    Returns:
        Whether there is such a finding.
    """
    bad = ("fail", "warn") if fail_on == "warn" else ("fail",)
    return any(
        finding.status in bad and (each.evidence.name, finding.rule.name) not in stands
        for each in audited
        for finding in each.findings
    )


def explained(audited: Iterable[Audited], stands: Standing) -> tuple[list[str], list[str]]:
    """Return lines about the findings that stand.

    Args:
        audited: The comparisons.
        stands: The reasons.

    Returns:
        A line per rule and reason for which findings stand; and a line for each reason whose comparison was audited and
        does not fail.
    """
    failing = {
        (each.evidence.name, finding.rule.name): finding.status == "fail"
        for each in audited
        for finding in each.findings
    }
    alike: dict[tuple[str, str], list[str]] = {}
    for (comparison, rule), why in stands.items():
        if failing.get((comparison, rule)):
            alike.setdefault((rule, why), []).append(comparison)
    told = [
        f"`{rule}` does not pass, and that stands: {why}. {', '.join(names)}."
        for (rule, why), names in alike.items()
    ]
    gone = [
        f"{comparison}, `{rule}`: expected to fail, since a reason is kept for it, and it does not. Take the reason away."
        for comparison, rule in stands
        if failing.get((comparison, rule)) is False
    ]
    return told, gone

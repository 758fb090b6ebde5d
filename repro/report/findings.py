"""The audit's findings as a table of the paper, from the file that the audit writes as JSON.

Of that file nothing is asked but that findings are objects with a `rule` and a `status`, wherever they stand;
what else they say of themselves (comparison, text or parts, mend) is taken where it is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from repro.tables import Column, Table

STATUSES = ("fail", "warn", "unknown", "pass")
COLUMNS = (
    Column("comparison", "Comparison", "left"),
    Column("rule", "Rule", "left"),
    Column("status", "Finding", "left"),
    Column("seen", "What was seen", "left"),
    Column("mend", "Mend", "left"),
)


def read(path: Path) -> Table | None:
    """Return the audit table.

    Args:
        path: The file.

    Returns:
        The table `audit`, one row a finding as they stand there; `None` where no audit was run.

    Raises:
        ValueError: If the file holds no findings.
    """
    if not path.exists():
        return None
    expected = f"{path}: expected findings of the audit, each with a `rule` and a `status`."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{expected} Found no JSON ({error}). Run the audit again.") from error
    rows = tuple(_rows(content, ""))
    if not rows:
        raise ValueError(f"{expected} Found none. Run the audit again.")
    return Table("audit", "Is the comparison fair? What the audit found", COLUMNS, rows)


def _rows(node: Any, comparison: str) -> Iterator[tuple[str, ...]]:
    if isinstance(node, list):
        for child in node:
            yield from _rows(child, comparison)
    if not isinstance(node, Mapping):
        return
    named = node.get("comparison", node.get("name", comparison))
    comparison = named if isinstance(named, str) else comparison
    if {"rule", "status"} <= set(node):
        rule = node["rule"] if isinstance(node["rule"], Mapping) else {"name": node["rule"]}
        status = str(node["status"])
        mend = node.get("mend", rule.get("mend", "")) if status in ("fail", "warn") else ""
        fields = (comparison, rule.get("name", ""), status, _seen(node, status), mend)
        yield tuple(" ".join(str(field).split()) for field in fields)
        return
    for key, child in node.items():
        yield from _rows(child, key if isinstance(child, list) and not comparison else comparison)


def _seen(finding: Mapping[str, Any], status: str) -> str:
    if isinstance(finding.get("text"), str):
        return str(finding["text"])
    parts = [part for part in finding.get("parts", ()) if isinstance(part, Mapping)]
    decisive = [part for part in parts if part.get("status", status) == status]
    return "; ".join(str(part.get("text", "")) for part in decisive)

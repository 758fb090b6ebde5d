"""What an audit writes: JSON for machines, Markdown for a review, tables for the paper and the README.

JSON (`to_json`), schema 1:

    schema        1
    rules         by name: question, threshold, why, source, mend
    comparisons   a list, each with
      name        the comparison
      origin      `ours`, `paper` or `foreign`
      methods     names
      status      the worst status of its findings
      notes       how the evidence was read, one line each
      counts      findings by status
      findings    a list, each with rule, status, text, mend (null where nothing is to be mended), and
        parts     a list of what was seen: status, text, method (empty: of all), sources,
                  values (numbers by name; null where not finite)
      checklists  a list: checklist, item, answer (null where the evidence is silent), sources

A status is `pass`, `warn`, `fail`, `unknown` (the evidence does not say) or `not applicable` (the question does not
arise). Keys are never removed within a schema; more may come.
"""

from __future__ import annotations

import dataclasses
import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from repro.audit import checklists
from repro.audit.evidence import Evidence
from repro.audit.findings import FAULTS, SEVERITY, Finding, Rule, Status, judge
from repro.audit.rules import RULES
from repro.tables import Column, Table, replace_block, to_markdown

SCHEMA = 1
WANTING: tuple[Status, ...] = (*reversed(FAULTS), "unknown")
"""Statuses of findings for which there is something to do."""
ORIGINS = {"ours": "Ours, tuned", "foreign": "Foreign"}
MARKERS = ("<!-- audit: written by `repro publish` -->", "<!-- end of audit -->")
"""Marker lines around the audit in the README."""
EXAMPLE_WIDTH = 160
"""Characters of an example in an outline."""


@dataclasses.dataclass(frozen=True, eq=False)
class Audited:
    """A comparison and the findings of every rule."""

    evidence: Evidence
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The worst status."""
        return max((f.status for f in self.findings), key=SEVERITY.index)

    @property
    def group(self) -> str:
        """The paper; or whose comparison it is, if not a paper's."""
        if self.evidence.origin == "paper":
            return self.evidence.name.split("/", maxsplit=1)[0]
        return ORIGINS[self.evidence.origin]


def audit(evidence: Evidence) -> Audited:
    """Return the findings of every rule on a comparison, in the rules' order."""
    return Audited(evidence, tuple(judge(rule, evidence) for rule in RULES.values()))


def to_json(audited: Sequence[Audited]) -> str:
    """Return everything as JSON; the module docstring has the schema."""
    content = {
        "schema": SCHEMA,
        "rules": {
            rule.name: {
                key: getattr(rule, key)
                for key in ("question", "threshold", "why", "source", "mend")
            }
            for rule in RULES.values()
        },
        "comparisons": [_plain(each) for each in audited],
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(each: Audited) -> dict[str, Any]:
    return {
        "name": each.evidence.name,
        "origin": each.evidence.origin,
        "methods": each.evidence.methods,
        "status": each.status,
        "notes": each.evidence.notes,
        "counts": {s: sum(f.status == s for f in each.findings) for s in SEVERITY},
        "findings": [
            {
                "rule": finding.rule.name,
                "status": finding.status,
                "text": finding.text,
                "mend": finding.rule.mend if finding.status in WANTING else None,
                "parts": [
                    {
                        "status": part.status,
                        "text": part.text,
                        "method": part.method,
                        "sources": part.sources,
                        "values": {
                            k: None if isinstance(v, float) and not math.isfinite(v) else v
                            for k, v in part.values.items()
                        },
                    }
                    for part in finding.parts
                ],
            }
            for finding in each.findings
        ],
        "checklists": [
            {
                "checklist": a.checklist,
                "item": a.item,
                "answer": a.text or None,
                "sources": a.sources,
            }
            for a in checklists.fill(each.evidence)
        ],
    }


@dataclasses.dataclass(frozen=True)
class Line:
    """One answer of a rule, and the comparisons for which it holds.

    Attributes:
        rule: The rule.
        status: The status.
        comparisons: Names, without the paper's.
        text: What was seen.
    """

    rule: Rule
    status: Status
    comparisons: tuple[str, ...]
    text: str


def lines(audited: Sequence[Audited], statuses: Iterable[str] = SEVERITY) -> tuple[Line, ...]:
    """Return the findings of some comparisons rule by rule, worst first, equal ones only once.

    Args:
        audited: The comparisons.
        statuses: Which to keep.

    Returns:
        The lines.
    """
    kept = set(statuses)
    found: dict[tuple[str, Status, str], list[str]] = {}
    for each in audited:
        short = each.evidence.name.split("/", maxsplit=1)[-1]
        for finding in each.findings:
            if finding.status in kept:
                key = (finding.rule.name, finding.status, finding.text)
                found.setdefault(key, []).append(short)
    order = list(RULES)
    ranked = sorted(found, key=lambda k: (order.index(k[0]), -SEVERITY.index(k[1])))
    return tuple(
        Line(RULES[name], status, tuple(found[name, status, text]), text)
        for name, status, text in ranked
    )


def overview(audited: Sequence[Audited]) -> Table:
    """Return the table of the paper: one row per rule, one column per paper, with counts of comparisons by status.

    Args:
        audited: The comparisons.

    Returns:
        The table.
    """
    groups = tuple(dict.fromkeys(each.group for each in audited))
    columns = (
        Column("rule", "Rule", "left"),
        Column("question", "A fair comparison answers yes", "left"),
        *(Column(group.lower().replace(", ", "_"), group, "left") for group in groups),
    )
    rows = []
    for rule in RULES.values():
        cells = []
        for group in groups:
            told = [
                finding.status
                for each in audited
                if each.group == group
                for finding in each.findings
                if finding.rule.name == rule.name
            ]
            counts = [f"{told.count(s)} {s}" for s in reversed(SEVERITY) if s in told]
            cells.append(", ".join(counts))
        rows.append((rule.name, rule.question, *cells))
    note = (
        "Numbers of comparisons; unknown: the evidence does not say; not applicable: the question does not arise, as that of "
        "splits where there is no data set."
    )
    return Table("audit", "Is it fair? Every rule of the audit", columns, tuple(rows), (note,))


def found(name: str, title: str, audited: Sequence[Audited]) -> Table:
    """Return the table of all findings that fail, warn or are unknown, with the mend.

    Args:
        name: Name of the table.
        title: Its caption.
        audited: The comparisons.

    Returns:
        One row per rule and answer.
    """
    columns = tuple(
        Column(key, header, "left")
        for key, header in (
            ("rule", "Rule"),
            ("status", "Status"),
            ("comparisons", "Comparisons"),
            ("found", "Found"),
            ("mend", "Mend"),
        )
    )
    rows = tuple(
        (line.rule.name, line.status, ", ".join(line.comparisons), line.text, line.rule.mend)
        for line in lines(audited, WANTING)
    )
    return Table(name, title, columns, rows)


def outline(name: str, title: str, audited: Sequence[Audited]) -> Table:
    """Return `found` shortened to fit on a page: one line per rule and status, each with an example.

    Args:
        name: Name of the table.
        title: Its caption.
        audited: The comparisons.

    Returns:
        One row per rule and status.
    """
    columns = (
        Column("rule", "Rule", "left"),
        Column("status", "Status", "left"),
        Column("comparisons", "Comparisons"),
        Column("example", "For example", "left"),
        Column("mend", "Mend", "left"),
    )
    grouped: dict[tuple[str, Status], list[Line]] = {}
    for line in lines(audited, WANTING):
        grouped.setdefault((line.rule.name, line.status), []).append(line)
    rows = tuple(
        (
            rule,
            status,
            str(sum(len(line.comparisons) for line in members)),
            textwrap.shorten(
                f"{members[0].comparisons[0]}: {members[0].text}", EXAMPLE_WIDTH, placeholder=" …"
            ),
            members[0].rule.mend,
        )
        for (rule, status), members in grouped.items()
    )
    return Table(name, title, columns, rows)


def markdown(audited: Sequence[Audited]) -> str:
    """Return an audit for a review: for each paper or file the findings with their mends, then the checklists.

    Args:
        audited: The comparisons.

    Returns:
        The document.
    """
    parts = ["# Audit\n"]
    for group in dict.fromkeys(each.group for each in audited):
        members = [each for each in audited if each.group == group]
        names = ", ".join(each.evidence.name for each in members)
        parts.append(f"## {group}\n\nComparisons: {names}.\n")
        parts += [f"- {note}\n" for each in members for note in each.evidence.notes]
        told = found("found", "What is not fair, or not known", members)
        parts.append(to_markdown(told) if told.rows else "Every rule that applies passes.\n")
        passed = [
            name for name in RULES
            if all(f.status == "pass" for m in members for f in m.findings if f.rule.name == name)
        ]  # fmt: skip
        parts.append(f"Passed by every comparison: {', '.join(passed) or 'no rule'}.\n")
        parts += [
            f"Not applicable: {line.rule.name} ({line.text}) to {', '.join(line.comparisons)}.\n"
            for line in lines(members, ("not applicable",))
        ]
        if len(members) == 1:
            evidence = members[0].evidence
            parts.append(to_markdown(checklists.table(evidence.name, checklists.fill(evidence))))
    return "\n".join(parts)


def embed(text: str, audited: Sequence[Audited], reasons: Iterable[str] = ()) -> str:
    """Return a README with the audit between its markers brought up to date.

    Args:
        text: The README.
        audited: All comparisons.
        reasons: Why findings against our own comparisons stand, one line each.

    Returns:
        The README.

    Raises:
        ValueError: If a marker line is missing.
    """
    ours = [each for each in audited if each.evidence.origin == "ours"]
    wanting = outline("ours", "Which rules our own tuned comparisons do not pass, and why", ours)
    passed = (
        f"Of {len(RULES)} rules, our {len(ours)} finished tuned comparisons pass all that apply but these; "
        "`nox -s audit` names each comparison.\n"
    )
    listed = "".join(f"- {line}\n" for line in reasons)
    parts = [to_markdown(overview(audited)), passed, to_markdown(wanting), listed]
    return replace_block(text, "\n".join(filter(None, parts)), MARKERS)

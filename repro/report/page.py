"""The results page: one HTML file that holds everything it shows and needs no server.

It is written from the same facts as the paper. Figures are embedded as they were drawn, and tables as
`repro.tables` wrote them, so the page cannot contradict them. What the audit found is folded away by rule.
"""

from __future__ import annotations

import base64
import csv
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from repro.report.answers import says
from repro.report.verdicts import VERDICTS
from repro.results import write_whole
from repro.tables import Column, Table, to_html

HERE = Path(__file__).parent
OWN_SECTIONS = ("verdict_counts", "verdicts", "claims", "audit", "audit_findings", "completeness")
"""Tables that the page does not list among the others."""
FINDINGS, UNKNOWN = "audit_findings", "unknown"


def write(target: Path, facts: Mapping[str, Any], figures: Path, tables: Path) -> None:
    """Write the page.

    Args:
        target: The file.
        facts: What `repro.report.paper.facts` wrote.
        figures: Folder of the figures' SVG files.
        tables: Folder of the tables' HTML files.
    """
    sections = (
        ("answers", "In short", _answers(facts["answers"])),
        ("verdicts", "Verdicts", _verdicts(facts)),
        ("figures", "Figures", _figures(facts["figures"], figures)),
        ("tables", "Tables", _tables(facts["tables"], tables)),
        ("audit", "Audit", _audit(tables, facts["tables"])),
        ("completeness", "What was run", _completeness(facts, tables)),
        ("check", "How to check this page", _check()),
    )
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections)
    body = "\n".join(
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{title}</h2>\n'
        f"{''.join(parts)}</section>"
        for name, title, parts in sections
    )
    text = _PAGE.format(
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        links=links,
        counts=_chips(facts["counts"]),
        body=body,
    )
    write_whole(target, text.encode())


def _e(value: object) -> str:
    return html.escape(str(value))


def _chips(counts: Mapping[str, int]) -> str:
    return "".join(
        f'<span class="chip {_class(verdict)}"><b>{counts[verdict]}</b> {_e(verdict)}</span>'
        for verdict in VERDICTS
    )


def _class(verdict: str) -> str:
    return verdict.replace(" ", "-")


# In short


def _answers(answers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for one in answers:
        links = ", ".join(
            f'<a href="#claim-{_e(study)}-{number}">{_e(study)} {number}</a>'
            for study, number in one["claims"]
        )
        yield (
            f'<p><strong>{_e(one["question"])}</strong> {_e(says(one))} <span class="where">[{links}]</span></p>\n'
        )


# Verdicts


def _verdicts(facts: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "<p>One row per claim, made by the paper or formed from what it says. A check holds if its whole interval lies within what the claim says. "
        "<em>reproduced</em>: all checks hold; <em>partly</em>: some, at least one of them beyond chance (by Holm's rule over "
        "all checks of the claim); <em>not reproduced</em>: none holds beyond chance, and at least one fails beyond it; "
        "<em>not tested</em>: nothing was measured, or nothing measured decides beyond chance.</p>"
    )
    options = "".join(f'<option value="{_class(v)}">{_e(v)}</option>' for v in VERDICTS)
    papers = "".join(
        f"<option>{_e(s)}</option>" for s, one in facts["studies"].items() if one["claims"]
    )
    yield (
        '<form class="filter" role="search"><label>Search <input type="search" id="search"></label>'
        f'<label>Paper <select id="paper"><option value="">all</option>{papers}</select></label>'
        f'<label>Verdict <select id="verdict"><option value="">all</option>{options}</select></label>'
        '<output id="shown" aria-live="polite"></output></form>'
    )
    rows = "\n".join(_claim_row(claim) for claim in facts["claims"].values())
    heads = "".join(
        f'<th scope="col" class="{align}">{title}</th>'
        for title, align in (
            ("Paper", "left"),
            ("No.", "right"),
            ("Claim", "left"),
            ("Verdict", "left"),
        )
    )
    yield _scroll(
        "All claims",
        f'<table class="data" id="tbl-page-claims"><thead><tr>{heads}</tr></thead><tbody>\n{rows}\n</tbody></table>',
    )


def _claim_row(claim: Mapping[str, Any]) -> str:
    checks = "".join(
        f'<li class="{_class(check["outcome"])}"><span class="outcome">{_e(check["outcome"])}</span> '
        f'{_e(check["text"])} <span class="where">(claimed: {_e(check["expected"])})</span></li>'
        for check in claim["checks"]
    )
    links = ", ".join(f'<a href="#fig-{_e(name)}">{_e(name)}</a>' for name in claim["figures"])
    more = (
        (f"<ul>{checks}</ul>" if checks else "")
        + (f"<p>{_e(claim['reason'])}</p>" if claim["reason"] else "")
        + (f"<p>Figures of these rows: {links}</p>" if links else "")
    )
    return (
        f'<tr id="claim-{claim["study"]}-{claim["number"]}" data-paper="{_e(claim["study"])}" '
        f'data-verdict="{_class(claim["verdict"])}"><td class="left">{_e(claim["study"])}</td>'
        f'<td class="right" data-value="{claim["number"]}">{claim["number"]}</td>'
        f'<td class="left"><details><summary>{_e(claim["text"])} <span class="where">({_e(claim["where"])})</span>'
        f"</summary>{more}</details></td>"
        f'<td class="left"><span class="chip {_class(claim["verdict"])}">{_e(claim["label"])}</span></td></tr>'
    )


# Figures


def _figures(figures: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    yield "<p>Select a figure to enlarge it; then <kbd>+</kbd>, <kbd>&minus;</kbd> and <kbd>0</kbd> zoom, arrows move, <kbd>Esc</kbd> closes.</p>"
    for figure in figures:
        name, title = figure["name"], figure["title"]
        svg = (folder / f"{name}.svg").read_bytes()
        source = "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
        width, height = _size(svg.decode())
        lacking = (
            f'<p class="missing">Not run: {_e(figure["missing"])}</p>' if figure["missing"] else ""
        )
        yield (
            f'<figure id="fig-{_e(name)}"><button type="button" class="zoom" aria-label="Enlarge {_e(name)}">'
            f'<img src="{source}" width="{width}" height="{height}" alt="{_e(title)}"></button>'
            f"<figcaption><b>{_e(name)}</b> {_e(title)}{lacking}{_made(figure)}</figcaption></figure>\n"
        )


def _size(svg: str) -> tuple[int, int]:
    """Return width and height in pixels, so that nothing moves while the page loads."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert box is not None  # matplotlib always writes one, in points
    return round(float(box.group(1)) * 4 / 3), round(float(box.group(2)) * 4 / 3)


def _made(one: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<li>{_e(source['study'])} {_e(source['experiment'])}, {_e(source['scale'])} scale: "
        f"{source['num_runs']} runs</li>"
        for source in one["sources"]
    )
    commits = ", ".join(f"<code>{_e(commit)}</code>" for commit in one["commits"]) or "none"
    commands = [f"nox -s figures -- {one['name']}", *one["commands"]]
    lines = "".join(f"<pre>{_e(command)}</pre>" for command in commands)
    return (
        f"<details><summary>How it was made: {one['num_runs']} runs</summary>"
        f"<ul>{rows}</ul><p>Code that made the rows: {commits}. Machines: {_e('; '.join(one['devices']) or 'none')}.</p>"
        f"<p>The first command draws it from the published rows; the others make the rows again.</p>{lines}</details>"
    )


# Tables


def _scroll(title: str, table: str) -> str:
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{_e(title)}">{table}</div>\n'
    )


def _tables(tables: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[str]:
    yield "<p>Select a column's heading to sort by it.</p>"
    for table in tables:
        if table["name"] not in OWN_SECTIONS:
            yield _table(table["name"], table["title"], folder)


def _table(name: str, title: str, folder: Path) -> str:
    return _scroll(title, (folder / f"{name}.html").read_text(encoding="utf-8"))


def _audit(folder: Path, tables: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    titles = {table["name"]: table["title"] for table in tables}
    if "audit" not in titles and FINDINGS not in titles:
        yield '<p class="missing">not run</p>'
    if "audit" in titles:
        yield _table("audit", titles["audit"], folder)
    if FINDINGS in titles:
        yield from _findings(titles[FINDINGS], folder / f"{FINDINGS}.csv")


def _findings(title: str, path: Path) -> Iterator[str]:
    """Yield the findings folded away: those that fail or warn rule by rule, then all that is unknown."""
    with path.open(encoding="utf-8", newline="") as lines:
        keys, *rows = csv.reader(lines)
    columns = tuple(Column(key, key.capitalize(), "left") for key in keys)
    rule, status = keys.index("rule"), keys.index("status")
    folded: dict[str, list[list[str]]] = {}
    for row in sorted(rows, key=lambda row: row[status] == UNKNOWN):
        folded.setdefault(UNKNOWN if row[status] == UNKNOWN else row[rule], []).append(row)
    yield f'<div id="tbl-{FINDINGS}"><h3>{_e(title)}</h3>'
    for name, kept in folded.items():
        told = [row[status] for row in kept]
        counts = ", ".join(f"{told.count(one)} {one}" for one in dict.fromkeys(told))
        heading = f"{counts}: the evidence does not say" if name == UNKNOWN else f"{name}: {counts}"
        table = Table(f"{FINDINGS}-{name}", heading, columns, tuple(map(tuple, kept)))
        yield f"<details><summary>{_e(heading)}</summary>{_scroll(heading, to_html(table))}</details>\n"
    yield "</div>"


def _completeness(facts: Mapping[str, Any], folder: Path) -> Iterator[str]:
    runs = facts["runs"]
    yield (
        f"<p>{runs['total']} runs, {runs['trials']} of them trials of searches; {runs['diverged']} diverged and are "
        f"counted; {runs['core_hours']} core-hours. PyTorch {_e(', '.join(runs['torch']))}. "
        f"Machines: {_e('; '.join(runs['devices']))}.</p>"
    )
    if facts["not_run"]:
        lines = "".join(f"<li>{_e(line)}</li>" for line in facts["not_run"])
        yield f"<details open><summary>What shows “not run”</summary><ul>{lines}</ul></details>"
    yield _table("completeness", "What was run", folder)


def _check() -> Iterator[str]:
    yield (
        "<pre>nox -s reproduce</pre><p>builds this page and the paper again from the published rows.</p>"
        "<pre>nox -s claims</pre><p>judges every claim again, and fails if a committed verdict no longer holds.</p>"
        "<pre>nox -s verify</pre><p>builds everything again, compares it byte by byte with the committed manifest and names what "
        "differs; then repeats a sample of the committed runs and compares their numbers.</p>"
    )


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Forward gradients, re-run: results</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<a class="skip" href="#answers">Skip to the answers</a>
<header><h1>Are forward gradients as good, and as fast, as published?</h1>
<p>A forward gradient estimates a gradient without a backward pass: how fast the loss changes along a random direction, times that
direction. Papers on training with it, re-run as published and under one fair protocol. Everything here was drawn from the published
rows; <em>reduced scale</em> means fewer or shorter runs than published, or smaller networks.</p>
<p class="chips">{counts}</p>
<nav aria-label="Sections">{links}</nav></header>
<main>
{body}
</main>
<dialog id="viewer" aria-label="Enlarged figure"><div class="bar"><button type="button" data-zoom="1.25" aria-label="Larger">+</button>
<button type="button" data-zoom="0.8" aria-label="Smaller">&minus;</button>
<button type="button" data-zoom="0" aria-label="Fit the window">fit</button>
<button type="button" data-close aria-label="Close">close</button></div><div class="stage" tabindex="0"></div></dialog>
<script>
{script}</script>
</body>
</html>
"""

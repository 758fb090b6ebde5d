"""The paper: its facts as data, and the compiler that refuses a sentence whose claim no longer supports it.

The sources in `paper/` hold prose and layout. Numbers, intervals, n and verdicts are read from the facts written
here. A sentence names the claims it rests on and the verdicts it was written for. If a verdict has changed, the
document marks the sentence; it is then found here and named, and no paper is made.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from repro.claims import CheckFinding, Judgement, bounds, describe, number
from repro.protocol import Study
from repro.report.provenance import Source
from repro.report.verdicts import Headlines, count, is_headline, label
from repro.results import Results

SOURCE = "paper.typ"
STALE = "<stale>"
"""Label of sentences that their claims no longer support."""


@dataclasses.dataclass(frozen=True)
class Listed:
    """A figure or table, as the paper and the page list it.

    Attributes:
        name: Its files' name.
        title: Its caption.
        missing: Which parts of it show "not run"; empty if none does.
        sources: The rows behind it.
    """

    name: str
    title: str
    missing: str = ""
    sources: tuple[Source, ...] = ()

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> Listed:
        """Return the value from which `dataclasses.asdict` made this content of JSON."""
        sources = (
            Source(**{**s, "commits": tuple(s["commits"]), "devices": tuple(s["devices"])})
            for s in content["sources"]
        )
        return cls(content["name"], content["title"], content["missing"], tuple(sources))


def facts(
    results: Results,
    studies: Sequence[Study],
    judgements: Sequence[Judgement],
    shown: Mapping[tuple[str, int], Sequence[str]],
    figures: Mapping[str, Listed],
    tables: Mapping[str, Listed],
    headlines: Headlines,
    answers: Sequence[Mapping[str, Any]],
) -> str:
    """Return everything that the paper and the page state, as JSON.

    Args:
        results: The tables.
        studies: The studies.
        judgements: Verdicts of their claims.
        shown: Figures that show a claim's rows, by study and number.
        figures: Figures by name.
        tables: Tables by name.
        headlines: The claims of the first page.
        answers: The answers, from `repro.report.answers.spell`.

    Returns:
        JSON that ends in a newline; the same for the same rows.
    """
    content = {
        "counts": count(judgements),
        "answers": list(answers),
        "claims": {
            f"{j.study}/{j.claim.number}": {
                **_claim(j),
                "headline": is_headline(j, headlines),
                "figures": list(shown.get((j.study, j.claim.number), ())),
            }
            for j in judgements
        },
        "studies": {
            study.name: {
                "citation": study.citation,
                "counts": count(j for j in judgements if j.study == study.name),
                "claims": len(study.claims),
                "experiments": len(study.experiments),
                "runs": _runs(results.runs[results.runs["study"] == study.name]),
            }
            for study in studies
        },
        "runs": _runs(results.runs),
        "figures": [_listed(figure) for figure in figures.values()],
        "tables": [_listed(table) for table in tables.values()],
        "not_run": list(not_run(figures, tables)),
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def not_run(figures: Mapping[str, Listed], tables: Mapping[str, Listed]) -> Iterator[str]:
    """Yield a line for every figure and table that shows "not run" somewhere."""
    for kind, members in (("figure", figures), ("table", tables)):
        for one in members.values():
            if one.missing:
                yield f"{kind} {one.name}: {one.missing}"


def _listed(one: Listed) -> dict[str, Any]:
    sources = one.sources
    by_scale: dict[tuple[str, str], list[str]] = {}
    for source in sources:
        by_scale.setdefault((source.study, source.scale), []).append(source.experiment)
    return {
        **dataclasses.asdict(one),
        "num_runs": sum(source.num_runs for source in sources),
        "commits": sorted({commit for source in sources for commit in source.commits if commit}),
        "devices": sorted({device for source in sources for device in source.devices}),
        "commands": [
            f"nox -s run -- {study} --scale {scale} --only {','.join(experiments)}"
            for (study, scale), experiments in by_scale.items()
        ],
    }


def _runs(runs: pd.DataFrame) -> dict[str, Any]:
    seconds = runs["wall_seconds"].where(runs["wall_seconds"].notna(), runs["seconds"])
    return {
        "total": len(runs),
        "trials": int((runs["role"] == "tune").sum()),
        "diverged": int((runs["status"] == "diverged").sum()),
        "core_hours": f"{seconds.sum() / 3600:.1f}",
        "scales": {
            str(scale): int(n) for scale, n in runs["scale"].value_counts().sort_index().items()
        },
        "devices": sorted(set(runs["device"]) - {""}),
        "torch": sorted(set(runs["torch"]) - {""}),
        "commits": sorted(set(runs["commit"]) - {""}),
    }


def _claim(judgement: Judgement) -> dict[str, Any]:
    claim = judgement.claim
    return {
        "study": judgement.study,
        "number": claim.number,
        "text": claim.text,
        "where": claim.where,
        "theirs": claim.theirs,
        "verdict": judgement.verdict,
        "label": label(judgement),
        "reason": judgement.reason,
        "checks": [_check(finding) for finding in judgement.findings],
    }


def _check(finding: CheckFinding) -> dict[str, Any]:
    published = finding.check.published
    shown: dict[str, Any] = {
        "label": finding.check.label,
        "text": describe(finding),
        "expected": bounds(finding.check.expect),
        "outcome": finding.outcome,
        "unit": finding.check.unit,
        "published": None if published is None else pretty(published),
        "estimate": None,
        "value": None,
    }
    if finding.measurement is not None:
        interval = finding.measurement.interval
        shown |= {
            "estimate": pretty(interval.estimate),
            "value": interval.estimate if math.isfinite(interval.estimate) else None,
            "interval": None
            if interval.low == interval.high
            else f"[{pretty(interval.low)}, {pretty(interval.high)}]",
            "n": interval.num,
            "scale": finding.measurement.scale,
            "diverged": finding.measurement.diverged,
            "missed": finding.measurement.missed,
        }
    return shown


def pretty(value: float) -> str:
    """Return a number for print: four digits, powers of ten raised, a true minus sign.

    Example:
        >>> pretty(0.00005560)
        '5.56·10⁻⁵'
    """
    text = number(value)
    if match := re.fullmatch(r"(.*)e([+-])(\d+)", text):
        mantissa, sign, exponent = match.groups()
        raised = str(int(exponent)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
        text = f"{mantissa}·10{'⁻' if sign == '-' else ''}{raised}"
    return text.replace("-", "\N{MINUS SIGN}")


def compile_pdf(root: Path) -> tuple[bytes | None, tuple[str, ...]]:
    """Compile the paper.

    Args:
        root: Folder with `paper/` and `figures/build`.

    Returns:
        The PDF and no lines; or no PDF, and a line for every sentence that its claims no longer support.

    Raises:
        ValueError: If it does not compile.
    """
    import typst

    source = root / "paper" / SOURCE
    compiler = typst.Compiler(source, root=root, ignore_system_fonts=True)
    try:
        found = json.loads(compiler.query(STALE, field="value"))
        if found:
            return None, tuple(dict.fromkeys(_spell(sentence) for sentence in found))
        content = compiler.compile(format="pdf", timestamp=0)
    except RuntimeError as error:  # what typst raises: its own error, or in a query a bare one
        message = " ".join(str(error).split()).removeprefix("failed to compile document: ")
        raise ValueError(f"{source}: does not compile: {message}") from error
    assert isinstance(content, bytes)
    return content, ()


def turned(ground: Mapping[str, Any]) -> str:
    """Return in words what a ground is now.

    Args:
        ground: Its `study`, `number`, `label` (empty for the claim's verdict), and what it was `found` to be.

    Returns:
        E.g. `someone2030 claim 1 is partly now`.
    """
    claim = f"{ground['study']} claim {ground['number']}"
    verb = f" ({ground['label']}):" if ground["label"] else " is"
    return f"{claim}{verb} {ground['found']} now"


def _spell(sentence: Mapping[str, Any]) -> str:
    changes = "; ".join(
        f"{turned(one)}, and it was written for {one['written']}" for one in sentence["claims"]
    )
    text = " ".join(sentence["text"].split())
    return f"“{text}”: {changes}. Rewrite the sentence in paper/, and name the verdict it then rests on."

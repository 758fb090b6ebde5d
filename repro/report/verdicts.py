"""Verdicts for a reader: the tables that show them, and the committed verdicts that they are compared with.

The committed verdicts are a file with one verdict per claim. If added, removed or changed rows change a verdict, the
claim is named until somebody commits the new verdict.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from repro.claims import Judgement, Verdict, describe
from repro.protocol import Study, experiments_of
from repro.results import write_whole
from repro.tables import Cell, Column, Table, replace_block, to_markdown

VERDICTS: tuple[Verdict, ...] = ("reproduced", "partly", "not reproduced", "not tested")
MARKERS = ("<!-- verdicts: written by `repro publish` -->", "<!-- end of verdicts -->")
"""Marker lines around the verdicts in the README."""

Headlines = Mapping[str, Mapping[int, str]]
"""The claims that the first page shows, by study and number: the label of the measurement to show; empty for the first."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A claim whose verdict is not the committed one.

    Attributes:
        study: Name of the study.
        number: Number of the claim.
        committed: The committed verdict; `None` if there is none.
        found: The verdict that follows from the rows; `None` if the claim is gone.
        why: The grounds of the new verdict.
    """

    study: str
    number: int
    committed: str | None
    found: str | None
    why: str

    def __str__(self) -> str:
        """Say it in one line."""
        old, new = self.committed or "no verdict committed", self.found or "no such claim"
        return f"{self.study} claim {self.number}: {old} → {new}" + (
            f" ({self.why})" if self.why else ""
        )


def read_headlines(path: Path) -> Headlines:
    """Return the claims of the first page.

    Args:
        path: A TOML file: a list per study, of numbers, or of a number with the label of a measurement to show.

    Returns:
        Labels by study and number.

    Raises:
        ValueError: If the file has another content.
    """
    expected = (
        f"{path}: expected a list of claim numbers a study, each alone or with the measurement to show, such as "
        'author2022 = [1, [6, "a label"]].'
    )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{expected} Found no TOML ({error}).") from error
    headlines: dict[str, dict[int, str]] = {}
    for study, entries in content.items():
        if not isinstance(entries, list):
            raise ValueError(f"{expected} Found {entries!r} for {study}.")
        chosen = headlines.setdefault(study, {})
        for entry in entries:
            match entry if isinstance(entry, list) else [entry, ""]:
                case [int(number), str(label)] if type(number) is int:
                    chosen[number] = label
                case _:
                    raise ValueError(f"{expected} Found {entry!r} for {study}.")
    return headlines


def is_headline(judgement: Judgement, headlines: Headlines) -> bool:
    """Tell whether the first page shows a claim."""
    return judgement.claim.number in headlines.get(judgement.study, ())


def label(judgement: Judgement) -> str:
    """Return a verdict with how many of its measurements hold, if some do, and the scale it rests on, if below full."""
    below = [f"{scale} scale" for scale in judgement.scales if scale != "full"]
    outcomes = [finding.outcome for finding in judgement.findings]
    hold = f" ({outcomes.count('holds')} of {len(outcomes)} hold)"
    told = judgement.verdict + (hold if judgement.verdict == "partly" else "")
    return ", ".join([told, *below])


def count(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Return how many claims have each verdict."""
    verdicts = [judgement.verdict for judgement in judgements]
    return {verdict: verdicts.count(verdict) for verdict in VERDICTS}


def counts_table(judgements: Sequence[Judgement]) -> Table:
    """Return how many claims of each paper have each verdict.

    Args:
        judgements: Verdicts.

    Returns:
        The table `verdict_counts`: one row per study that has claims, and their sum.
    """
    names = tuple(dict.fromkeys(j.study for j in judgements))
    rows: list[tuple[Cell, ...]] = []
    for name, own in [
        *((n, [j for j in judgements if j.study == n]) for n in names),
        ("all", judgements),
    ]:
        below = sum(j.verdict != "not tested" and set(j.scales) != {"full"} for j in own)
        rows.append((name, *count(own).values(), len(own), below))
    columns = (
        Column("study", "Paper", "left"),
        *(Column(v.replace(" ", "_"), v.capitalize(), format="d") for v in VERDICTS),
        Column("claims", "Claims", format="d"),
        Column("below_full", "Judged below full scale", format="d"),
    )
    return Table("verdict_counts", "Claims by verdict", columns, tuple(rows))


def headlines_table(judgements: Iterable[Judgement], headlines: Headlines) -> Table:
    """Return the verdicts of the first page.

    Args:
        judgements: Verdicts.
        headlines: The claims that it shows.

    Returns:
        The table `verdicts`: one row per claim, with one of its measurements.

    Raises:
        ValueError: If a claim has no measurement of the label to show.
    """
    rows = tuple(
        (
            j.study,
            j.claim.number,
            f"{j.claim.text} ({j.claim.where})",
            _headline(j, headlines[j.study][j.claim.number]),
            label(j),
        )
        for j in judgements
        if is_headline(j, headlines)
    )
    columns = (
        Column("study", "Paper", "left"),
        Column("number", "No.", format="d"),
        Column("claim", "Claim", "left"),
        Column("measured", "One of its measurements [interval]", "left"),
        Column("verdict", "Verdict", "left"),
    )
    return Table("verdicts", "What the papers are cited for", columns, rows)


def _headline(judgement: Judgement, chosen: str) -> str:
    """Return the measurement to show of a claim: the chosen one, or the first."""
    if not judgement.findings:
        return judgement.reason
    found = [f for f in judgement.findings if not chosen or f.check.label == chosen]
    if not found:
        have = "; ".join(f.check.label for f in judgement.findings)
        raise ValueError(
            f"paper/headlines.toml: {judgement.study} claim {judgement.claim.number} has no measurement {chosen!r}. "
            f"It has: {have}."
        )
    return describe(found[0])


def claims_table(
    judgements: Iterable[Judgement],
    studies: Iterable[Study],
    figures: Mapping[tuple[str, int], Sequence[str]] | None = None,
) -> Table:
    """Return every claim with everything that was measured for it.

    Args:
        judgements: Verdicts.
        studies: The studies that state the claims.
        figures: Figures that show a claim's rows, by study and number; without it, the table has no such column.

    Returns:
        The table `claims`: one row per claim.
    """
    by_name = {study.name: study for study in studies}
    rows = tuple(
        (
            j.study,
            j.claim.number,
            f"{j.claim.text} ({j.claim.where})",
            "; ".join(describe(finding) for finding in j.findings) or None,
            ", ".join(
                name for _, name in experiments_of(by_name[j.study], j.claim, by_name.values())
            ),
            *(() if figures is None else (", ".join(figures.get((j.study, j.claim.number), ())),)),
            label(j) + (f" ({j.reason})" if j.reason else ""),
        )
        for j in judgements
    )
    columns = (
        Column("study", "Paper", "left"),
        Column("number", "No.", format="d"),
        Column("claim", "Claim", "left"),
        Column("measured", "Measured [interval], n, published", "left"),
        Column("rows", "Rows of experiment", "left"),
        *(() if figures is None else (Column("figures", "Figures of these rows", "left"),)),
        Column("verdict", "Verdict", "left"),
    )
    notes = (
        "A check holds if its whole interval lies within what the claim says. reproduced: all checks hold; partly: some, at "
        "least one of them beyond chance (by Holm's rule over all checks of the claim); not reproduced: none holds beyond chance, "
        "and at least one fails beyond it; not tested: nothing was measured, or nothing measured decides beyond chance.",
        "Intervals are at 95 % over repetitions (n), or over rounds for times; those of a rate that a search chose, and of a "
        "share of its trials, are one trial either side (two of a difference), and n is the number of trials.",
    )
    return Table("claims", "Every claim, and all that was measured for it", columns, rows, notes)


def embed(text: str, judgements: Sequence[Judgement], headlines: Headlines) -> str:
    """Return a README with the verdicts between its markers brought up to date.

    Args:
        text: The README.
        judgements: Verdicts.
        headlines: The claims it shows; the others are counted.

    Returns:
        The text.

    Raises:
        ValueError: If a marker line is missing.
    """
    tables = (counts_table(judgements), headlines_table(judgements, headlines))
    block = "\n".join(to_markdown(dataclasses.replace(table, title="")) for table in tables)
    return replace_block(text, block, MARKERS)


def compare(judgements: Iterable[Judgement], committed: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the claims whose verdict is not the committed one.

    Args:
        judgements: Verdicts that follow from the rows.
        committed: See `read_committed`.

    Returns:
        One value per claim, claims that are gone last.
    """
    found = {f"{j.study} {j.claim.number}": j for j in judgements}
    changes = [
        Change(j.study, j.claim.number, committed.get(name), j.verdict, _why(j))
        for name, j in found.items()
        if committed.get(name) != j.verdict
    ]
    for name in committed:
        if name not in found:
            study, number = name.rsplit(" ", 1)
            changes.append(Change(study, int(number), committed[name], None, ""))
    return tuple(changes)


def _why(judgement: Judgement) -> str:
    if judgement.reason:
        return judgement.reason
    return next((describe(finding) for finding in judgement.findings), "")


def read_committed(path: Path) -> dict[str, str]:
    """Return the committed verdicts.

    Args:
        path: The file that `write_committed` wrote.

    Returns:
        The verdict by `study number`.

    Raises:
        ValueError: If the file is missing or has another content.
    """
    mend = "`repro claims --accept` writes it."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: the committed verdicts are missing. {mend}") from None
    except ValueError as error:
        raise ValueError(f"{path}: expected committed verdicts, found no JSON. {mend}") from error
    if not (isinstance(content, dict) and all(verdict in VERDICTS for verdict in content.values())):
        raise ValueError(
            f"{path}: expected one of {', '.join(VERDICTS)} a claim, found something else. {mend}"
        )
    return content


def write_committed(path: Path, judgements: Iterable[Judgement]) -> None:
    """Write verdicts to be committed, one line per claim."""
    verdicts = {f"{j.study} {j.claim.number}": j.verdict for j in judgements}
    write_whole(path, (json.dumps(verdicts, indent=1, ensure_ascii=False) + "\n").encode())

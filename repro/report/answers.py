"""The answers in short: questions and answers with which the abstract, the README and the page begin.

They are written once, in `paper/answers.toml`, each with the verdicts that it was written for. Their numbers are read
from the claims' measurements. An answer whose verdict has changed appears nowhere until it is rewritten.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from repro.claims import CheckFinding, Judgement
from repro.report.paper import pretty, turned
from repro.tables import replace_block

MARKERS = ("<!-- answers: written by `repro publish` -->", "<!-- end of answers -->")
"""Marker lines around the answers in the README."""
Ground: TypeAlias = tuple[str, int, str, str]
"""Study, number of the claim, label of a measurement (empty for the claim's verdict), and the outcome or verdict it must have."""
_SENTENCES = re.compile(r"(?<=\.) (?=[A-Z])")
_NUMBER = re.compile(r"\{(published )?(\w+) (\d+): ([^{}]+)\}")


@dataclasses.dataclass(frozen=True)
class Answer:
    """A question and its answer.

    Attributes:
        question: The question.
        text: The answer; `{study 1: label}` stands for the value measured under that label for claim 1 of the study,
            `{published study 1: label}` for the published value.
        rests: The verdicts and outcomes that it was written for.
    """

    question: str
    text: str
    rests: tuple[Ground, ...]


def read(path: Path) -> tuple[Answer, ...]:
    """Return the answers.

    Args:
        path: TOML: tables `answer` with the texts `question` and `text`, and in `rests` lists of a study, a claim's number
            and its verdict, or with a measurement's label before its outcome.

    Returns:
        The answers, in their order.

    Raises:
        ValueError: If the file has another content.
    """
    expected = (
        f"{path}: expected tables `answer` with the texts question and text, and in rests lists such as "
        '["author2022", 1, "reproduced"] or ["author2022", 1, "a label", "holds"].'
    )
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("answer", [])
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{expected} Found no TOML ({error}).") from error
    found = []
    for entry in entries:
        match entry:
            case {"question": str(), "text": str(), "rests": [_, *_]} if len(entry) == 3:
                grounds: list[Ground] = []
            case _:
                raise ValueError(f"{expected} Found {entry}.")
        for ground in entry["rests"]:
            match ground:
                case [str(study), int(number), str(verdict)]:
                    grounds.append((study, number, "", verdict))
                case [str(study), int(number), str(label), str(outcome)]:
                    grounds.append((study, number, label, outcome))
                case _:
                    raise ValueError(f"{expected} Found {ground!r}.")
        found.append(Answer(entry["question"], entry["text"], tuple(grounds)))
    return tuple(found)


def spell(answers: Sequence[Answer], judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """Return the answers with their numbers, as data.

    Args:
        answers: The answers.
        judgements: Verdicts.

    Returns:
        One value per answer: `question`, `text`, the `claims` that it rests on, and in `stale` the grounds that have
        changed, with what they are now.

    Raises:
        ValueError: If an answer names a measurement that its claim does not have, or has a brace without one.
    """
    by_claim = {(j.study, j.claim.number): j for j in judgements}
    spelled = []
    for answer in answers:
        now = [(ground, _state(by_claim, ground)) for ground in answer.rests]
        spelled.append(
            {
                "question": answer.question,
                "text": " ".join(
                    _sentence(by_claim, text) for text in _SENTENCES.split(answer.text)
                ),
                "claims": [list(claim) for claim in dict.fromkeys(g[:2] for g in answer.rests)],
                "stale": [
                    {
                        "study": study,
                        "number": claim,
                        "label": label,
                        "found": found,
                        "written": written,
                    }
                    for (study, claim, label, written), found in now
                    if found != written
                ],
            }
        )
    return spelled


def _sentence(by_claim: Mapping[tuple[str, int], Judgement], text: str) -> str:
    """Return a sentence with its numbers to two digits, and the scale of those below full: of all together, or of each."""
    measured = [
        finding.measurement.scale
        for published, study, claim, label in _NUMBER.findall(text)
        if not published
        and (finding := _finding(by_claim, study, int(claim), label))
        and finding.measurement
    ]
    together = len(set(measured)) == 1 and measured[0] != "full"

    def number(match: re.Match[str]) -> str:
        published, study, claim, label = match.groups()
        finding = _finding(by_claim, study, int(claim), label)
        if published:
            value = None if finding is None else finding.check.published
            return "n/a" if value is None else _brief(value)
        if finding is None or finding.measurement is None:
            return "not run"
        told, scale = _brief(finding.measurement.interval.estimate), finding.measurement.scale
        return told if together or scale == "full" else f"{told} ({scale} scale)"

    told = _NUMBER.sub(number, text)
    if "{" in told or "}" in told:
        raise ValueError(
            "paper/answers.toml: expected numbers as {study 1: label} or {published study 1: label}. Found "
            f"{told[told.find('{') :]!r}."
        )
    return told.removesuffix(".") + f" ({measured[0]} scale)." if together else told


def _brief(value: float) -> str:
    """Return a number to two digits, even if the last is zero: 0.40 says more than 0.4."""
    rounded = float(f"{value:.2g}")
    if not 1e-4 <= abs(rounded) < 10:
        return pretty(rounded)
    decimals = 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _finding(
    by_claim: Mapping[tuple[str, int], Judgement], study: str, claim: int, label: str
) -> CheckFinding | None:
    """Return the measurement of a claim that has this label; `None` if the claim is not there yet."""
    judgement = by_claim.get((study, claim))
    if judgement is None:
        return None
    found = [finding for finding in judgement.findings if finding.check.label == label]
    if len(found) != 1:
        have = "; ".join(finding.check.label for finding in judgement.findings)
        raise ValueError(
            f"paper/answers.toml: expected a measurement of {study} claim {claim}, found {label!r}. It has: {have}."
        )
    return found[0]


def _state(by_claim: Mapping[tuple[str, int], Judgement], ground: Ground) -> str:
    study, claim, label, _ = ground
    if not label:
        judgement = by_claim.get((study, claim))
        return "not tested" if judgement is None else judgement.verdict
    finding = _finding(by_claim, study, claim, label)
    return "not run" if finding is None else finding.outcome


def embed(text: str, spelled: Sequence[Mapping[str, Any]]) -> str:
    """Return a README with the answers between its markers brought up to date.

    Args:
        text: The README.
        spelled: The answers.

    Returns:
        The text; in place of an answer that no longer stands, the reason.

    Raises:
        ValueError: If a marker line is missing.
    """
    block = "".join(
        f"- **{one['question']}** {says(one)} ({', '.join(f'{s} {n}' for s, n in one['claims'])})\n"
        for one in spelled
    )
    return replace_block(text, block, MARKERS)


def says(one: Mapping[str, Any]) -> str:
    """Return the text of an answer, or why it has to be rewritten."""
    if not one["stale"]:
        return str(one["text"])
    return f"To be rewritten: {'; '.join(map(turned, one['stale']))}."

"""The checklists that reviewers ask for, filled from the evidence; an item without evidence is marked as blank.

The items are paraphrased from the NeurIPS paper checklist (experiments), the how-to-autorl checklist (Eimer, Lindauer
& Raileanu 2023) and the machine-learning reproducibility checklist (Pineau et al. 2021).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from repro.audit.evidence import Evidence, shown, source_of
from repro.tables import Column, Table

NEURIPS = "NeurIPS, experiments"
AUTORL = "how-to-autorl"
REPRODUCIBILITY = "ML reproducibility"


@dataclasses.dataclass(frozen=True)
class Answer:
    """One item of a checklist.

    Attributes:
        checklist: Name of the checklist.
        item: What is asked.
        text: The answer, empty if the evidence does not give one.
        sources: Where the answer was read.
    """

    checklist: str
    item: str
    text: str
    sources: tuple[str, ...]


def fill(evidence: Evidence) -> tuple[Answer, ...]:
    """Return every item of the checklists, answered as far as the evidence allows.

    Args:
        evidence: What is known of a comparison.

    Returns:
        The items in order.
    """
    answers = []
    for checklist, item, parts in ITEMS:
        said = [found for part in parts if (found := part(evidence)) is not None]
        sources = tuple(dict.fromkeys(source for _, source in said if source))
        answers.append(Answer(checklist, item, "; ".join(text for text, _ in said), sources))
    return tuple(answers)


def table(name: str, answers: Iterable[Answer]) -> Table:
    """Return filled checklists as a table.

    Args:
        name: The comparison.
        answers: Its answers.

    Returns:
        One row per item.
    """
    columns = tuple(
        Column(key, header, "left")
        for key, header in (
            ("checklist", "Checklist"),
            ("item", "Item"),
            ("answer", "Answer"),
            ("source", "Source"),
        )
    )
    rows = tuple(
        (a.checklist, a.item, a.text or "BLANK: not in the evidence", ", ".join(a.sources))
        for a in answers
    )
    return Table("checklists", f"Checklists, filled from {name}", columns, rows)


Part = Callable[[Evidence], tuple[str, str] | None]


def _each(quantity: str, label: str) -> Part:
    """Answer with a quantity of every method, given once if it is the same for all."""

    def part(evidence: Evidence) -> tuple[str, str] | None:
        facts = {m: evidence.fact(quantity, m) for m in evidence.methods}
        known = {m: shown(fact) for m, fact in facts.items() if fact is not None}
        if not known:
            return None
        source = source_of(next(fact for fact in facts.values() if fact is not None))
        if len(known) == len(facts) and len(set(known.values())) == 1:
            return f"{label} {next(iter(known.values()))} for every method", source
        return f"{label} " + ", ".join(f"{value} for {m}" for m, value in known.items()), source

    return part


def _every(prefix: str, label: str) -> Part:
    """Answer with a quantity for every hyperparameter."""

    def part(evidence: Evidence) -> tuple[str, str] | None:
        said = [
            found
            for name in evidence.names(prefix)
            if name != "search score"
            if (found := _each(f"{prefix} {name}", f"{name} {label}")(evidence)) is not None
        ]
        return ("; ".join(text for text, _ in said), said[0][1]) if said else None

    return part


def _seeds(role: str, label: str) -> Part:
    def part(evidence: Evidence) -> tuple[str, str] | None:
        counts = {m: len(evidence.seeds(role, m)) for m in evidence.methods}
        if not all(counts.values()):
            return None
        listed = ", ".join(f"{n} for {m}" for m, n in counts.items())
        same = len(set(counts.values())) == 1
        quantity = "tuning seed" if role == "tune" else "reporting seed"
        source = source_of(evidence.fact(quantity, evidence.methods[0])) or "rows"
        return (
            f"{label} {next(iter(counts.values()))} for every method"
            if same
            else f"{label} {listed}",
            source,
        )

    return part


def _total(evidence: Evidence) -> tuple[str, str] | None:
    seconds = evidence.runs["seconds"].to_numpy(np.float64)
    if not seconds.size or not np.isfinite(seconds).all():
        return None
    return f"{seconds.sum() / 3600:.3g} hours over {seconds.size} runs", "rows"


def _runs(evidence: Evidence) -> tuple[str, str] | None:
    if evidence.runs.empty:
        return None
    counts = evidence.runs["role"].value_counts()
    return f"{counts.get('tune', 0)} trials and {counts.get('report', 0)} reported runs", "rows"


def _blank(evidence: Evidence) -> None:
    del evidence


ITEMS: tuple[tuple[str, str, tuple[Part, ...]], ...] = (
    (NEURIPS, "Hyperparameters and how they were chosen",
     (_every("origin of", "from"), _every("used", "="), _each("sampler", "sampler"))),
    (NEURIPS, "Data splits",
     (_each("data set", "data set"), _each("selection split", "selected on"), _each("reported split", "reported on"))),
    (NEURIPS, "Error bars: what varies, how they are computed, over how many runs",
     (_each("interval multiplier", "standard errors either side"), _each("repetitions", "repetitions"))),
    (NEURIPS, "Compute workers", (_each("hardware", "device"),)),
    (NEURIPS, "Time of a run", (_each("seconds", "seconds"),)),
    (NEURIPS, "Total compute, failed and preliminary runs too",
     (_total, _each("earlier trials", "earlier trials"))),
    (AUTORL, "Is tuning apart from testing, in settings and seeds?",
     (_seeds("tune", "tuning seeds"), _seeds("report", "reporting seeds"))),
    (AUTORL, "The search space",
     (_every("searched from", "from"), _every("searched to", "to"), _every("scale of", "scale"))),
    (AUTORL, "The budget, the same for every method?",
     (_each("trials", "trials"), _each("trial epochs", "epochs a trial"), _each("trial steps", "steps a trial"))),
    (AUTORL, "The search method", (_each("sampler", "sampler"),)),
    (AUTORL, "The objective of the search",
     (_each("selection metric", "metric"), _each("selection moment", "evaluation that counts"))),
    (AUTORL, "The final settings of every method, baselines too", (_every("used", "="),)),
    (REPRODUCIBILITY, "Number of training and evaluation runs", (_runs, _each("repetitions", "repetitions"))),
    (REPRODUCIBILITY, "What the reported measure is, and over what",
     (_each("reported examples", "mean over examples:"), _each("reported moment", "evaluation:"))),
    (REPRODUCIBILITY, "Central tendency and variation",
     (_each("interval multiplier", "standard errors either side"),)),
    (REPRODUCIBILITY, "Average time, or energy", (_each("seconds", "seconds a run"),)),
    (REPRODUCIBILITY, "Infrastructure", (_each("hardware", "device"), _each("timed engine", "engine"))),
    (REPRODUCIBILITY, "Licences of data and code", (_blank,)),
)  # fmt: skip
"""Checklist, item, and the functions that may answer it."""

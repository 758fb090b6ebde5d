"""Rules about settings: does anything else differ, between methods or between tuning and reporting?"""

from __future__ import annotations

import math
from collections.abc import Iterator

from repro.audit.evidence import Evidence, shown, source_of
from repro.audit.findings import Part, Status, rule, unsaid
from repro.protocol import Fact

PAIRING = ("data order",)
"""Settings whose difference costs only the pairing of repetitions, not fairness."""
LONGER = 1.1
"""Reported runs of a method may be so many times as long as another's."""


def _same(a: Fact, b: Fact) -> bool:
    if a.value is None or b.value is None:
        return shown(a) == shown(b)
    return math.isclose(a.value, b.value, rel_tol=1e-6)


@rule(
    question="Do all methods have the same loss, clipping, schedule, precision and regularisation?",
    threshold="fail for any difference; warn for one that costs only the pairing, and if reported runs of a method are more than a "
    "tenth longer than another's, which may be meant, unless they stop early",
    why="anything that differs beside the method may be the cause of a difference in scores",
    source="NeurIPS checklist, experimental setting; how-to-autorl checklist, same implementation details",
    mend="run all methods with one setting, or search it for all of them",
    needs="the settings of the runs",
    compares=True,
)
def settings(evidence: Evidence) -> Iterator[Part]:
    """Compare every fixed setting across the methods, and the length of reported runs."""
    # a search without reported runs has the settings of its trials
    ran = "ran with" if evidence.names("ran with") else "tuned with"
    for setting in evidence.names(ran):
        facts = {m: evidence.fact(f"{ran} {setting}", m) for m in evidence.methods}
        known = {m: fact for m, fact in facts.items() if fact is not None}
        # a value that one method has from a search is not compared with another's fixed value
        used = [
            m
            for m in evidence.methods
            if any(evidence.fact(f"{q} {setting}", m) for q in ("used", "best", "searched from"))
        ]
        yield from unsaid(evidence, f"{ran} {setting}", [*known, *used])
        if len(known) < 2:
            continue
        first = next(iter(known.values()))
        if all(_same(first, fact) for fact in known.values()):
            who = "all" if len(known) == len(facts) else ", ".join(known)
            yield Part("pass", f"{setting}: {shown(first)} for {who}", (source_of(first),))
        else:
            groups: dict[str, list[str]] = {}
            for method, fact in known.items():
                groups.setdefault(shown(fact), []).append(method)
            text = ", ".join(f"{value} for {', '.join(m)}" for value, m in groups.items())
            status: Status = "warn" if setting in PAIRING else "fail"
            yield Part(status, f"{setting}: {text}", (source_of(first),))
    patience = {m: evidence.number("early stopping patience", m) for m in evidence.methods}
    if len({num for num in patience.values() if num is not None}) > 1:
        told = ", ".join(f"{num:g} for {m}" for m, num in patience.items() if num is not None)
        yield Part("fail", f"early stopping patience: {told}")
    yield from _lengths(evidence)


def _lengths(evidence: Evidence) -> Iterator[Part]:
    """Yield one part if reported runs differ in length; equal lengths alone do not make equal settings."""
    if any(evidence.number("early stopping patience", m) for m in evidence.methods):
        return
    for unit in ("epochs", "steps"):
        known = {m: evidence.fact(f"reported {unit}", m) for m in evidence.methods}
        lengths = {m: fact.value for m, fact in known.items() if fact is not None and fact.value}
        # with mini-batches of another size, as many epochs have another number of steps
        if len(lengths) < 2:
            continue
        most, least = (pick(lengths, key=lambda m: lengths[m]) for pick in (max, min))
        if lengths[most] > LONGER * lengths[least]:
            groups: dict[float, list[str]] = {}
            for method, length in lengths.items():
                groups.setdefault(length, []).append(method)
            told = ", ".join(f"{length:g} for {', '.join(own)}" for length, own in groups.items())
            sources = tuple(dict.fromkeys(source_of(known[m]) for m in (most, least)))
            values = {f"{unit} of a reported run, {m}": length for m, length in lengths.items()}
            yield Part("warn", f"{unit} of a reported run: {told}", sources, values)
        return


@rule(
    question="Was every method tuned with the settings of its reported runs?",
    threshold="fail for any difference",
    why="the best rate belongs to the settings beside it: clipping or decay added later moves it",
    source="tuning playbook, fixed hyperparameters limit the conclusions; Rike & Førland's unclipped searches",
    mend="search again with the settings of the reported runs",
    needs="the settings during the search and in the reported runs",
)
def transfer(evidence: Evidence) -> Iterator[Part]:
    """Compare every fixed setting of a method between its search and its reported runs."""
    for setting in dict.fromkeys((*evidence.names("tuned with"), *evidence.names("ran with"))):
        for method in evidence.methods:
            tuned, ran = (
                evidence.fact(f"{q} {setting}", method) for q in ("tuned with", "ran with")
            )
            if tuned is None or ran is None:
                # rows of both roles, and one of them blank for every method: nobody wrote it down there
                silent = "tuned with" if tuned is None else "ran with"
                rows = evidence.rows("tune" if tuned is None else "report", method)
                if f"setting {setting}" in rows and len(rows):
                    text = evidence.silence(f"{silent} {setting}", method)
                    yield Part("unknown", text, method=method)
                continue
            text = f"{setting}: {shown(tuned)} in the search, {shown(ran)} in the runs"
            sources = (source_of(tuned), source_of(ran))
            yield Part("pass" if _same(tuned, ran) else "fail", text, sources, method=method)


@rule(
    question="Does what is printed match what was run?",
    threshold="fail if a published score is not the code's, rounded, or the text names another setting than the code",
    why="a number that no run gave cannot be reproduced, and nobody can tell what else was typed by hand",
    source="NeurIPS checklist, claims and reproducibility; ML reproducibility checklist",
    mend="generate the table from the rows, and the text's settings from the code",
    needs="both what was printed and what ran",
)
def stated(evidence: Evidence) -> Iterator[Part]:
    """Compare published scores with printed ones, and settings in the text with those in the code."""
    for method in evidence.methods:
        published, printed = (evidence.fact(f"{q} score", method) for q in ("published", "printed"))
        decimals = evidence.number("published decimals", method)
        if published and printed and decimals is not None:
            assert published.value is not None
            assert printed.value is not None
            off = abs(published.value - printed.value) > 0.5 * 10**-decimals * (1 + 1e-9)
            text = f"published {published.value:.{int(decimals)}f}, printed {printed.value:.5g}"
            sources = (source_of(published), source_of(printed))
            yield Part("fail" if off else "pass", text, sources, method=method)
        for setting in evidence.names("stated"):
            said, ran = (evidence.fact(f"{q} {setting}", method) for q in ("stated", "ran with"))
            if said is not None and ran is not None:
                text = f"{setting}: {shown(said)} in the text, {shown(ran)} in the code"
                sources = (source_of(said), source_of(ran))
                yield Part("pass" if _same(said, ran) else "fail", text, sources, method=method)

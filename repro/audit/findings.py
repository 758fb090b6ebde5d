"""What a rule is and what it answers: a question with its grounds, and a finding with numbers and a mend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Literal

from repro.audit.evidence import Evidence, source_of

Status = Literal["pass", "warn", "fail", "unknown", "not applicable"]
SEVERITY: tuple[Status, ...] = ("not applicable", "pass", "unknown", "warn", "fail")
"""From best to worst: one unknown method keeps a rule from passing, and a proven fault outweighs it."""
FAULTS: tuple[Status, ...] = ("warn", "fail")
"""What asks for a mend."""


@dataclasses.dataclass(frozen=True)
class Part:
    """One thing that a rule saw.

    Attributes:
        status: What it means.
        text: What was seen, with its numbers, in one line.
        sources: Where those numbers were read.
        values: The numbers by name.
        method: The method it is about; empty if it is about several.
    """

    status: Status
    text: str
    sources: tuple[str, ...] = ()
    values: Mapping[str, float | str] = dataclasses.field(default_factory=dict)
    method: str = ""


@dataclasses.dataclass(frozen=True)
class Rule:
    """One question put to a comparison.

    Attributes:
        name: One word.
        question: A question to which a fair comparison answers yes.
        threshold: What counts as `warn` and as `fail`.
        why: What goes wrong otherwise.
        source: Who asks for it.
        mend: How to make it right.
        look: Yields what is seen; nothing if the evidence does not bear on the question.
        needs: What the evidence lacks if the answer is `unknown`.
        presumes: Quantities without which the question does not arise: the answer is `not applicable` if the evidence
            says `none` of one.
        compares: Whether it takes two methods to see anything.
    """

    name: str
    question: str
    threshold: str
    why: str
    source: str
    mend: str
    needs: str
    look: Callable[[Evidence], Iterator[Part]]
    presumes: tuple[str, ...] = ()
    compares: bool = False


@dataclasses.dataclass(frozen=True)
class Finding:
    """The answer of a rule on a comparison.

    Attributes:
        comparison: Name of the comparison.
        methods: Names of the methods compared.
        rule: The rule.
        status: The worst of the parts.
        parts: What was seen, the worst first.
    """

    comparison: str
    methods: tuple[str, ...]
    rule: Rule
    status: Status
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """What led to the status, in one line; what is the same for several methods is said once."""
        said: dict[str, list[str]] = {}
        for part in self.parts:
            if part.status == self.status:
                said.setdefault(part.text, []).append(part.method)
        lines = []
        for text, methods in said.items():
            named = [m for m in methods if m]
            every = len(named) > 1 and set(named) == set(self.methods)
            who = "every method" if every else "; ".join(dict.fromkeys(named))
            lines.append(f"{who}: {text}" if who else text)
        return "; ".join(lines)


def rule(
    *,
    question: str,
    threshold: str,
    why: str,
    source: str,
    mend: str,
    needs: str,
    presumes: tuple[str, ...] = (),
    compares: bool = False,
) -> Callable[[Callable[[Evidence], Iterator[Part]]], Rule]:
    """Make the decorated function a rule of that name, with the arguments of `Rule`."""

    def make(look: Callable[[Evidence], Iterator[Part]]) -> Rule:
        return Rule(
            look.__name__, question, threshold, why, source, mend, needs, look, presumes, compares
        )

    return make


def unsaid(evidence: Evidence, quantity: str, known: Collection[str]) -> Iterator[Part]:
    """Yield the methods for which a quantity is unknown, if it is known for others.

    Args:
        evidence: What is known.
        quantity: The quantity.
        known: The methods for which it is known.

    Yields:
        One part per method for which it is unknown; none if it is known for no method.
    """
    for method in evidence.methods if known else ():
        if method not in known:
            yield Part("unknown", evidence.silence(quantity, method))


def judge(rule_: Rule, evidence: Evidence) -> Finding:
    """Return the finding of a rule on a comparison.

    Args:
        rule_: The rule.
        evidence: What is known.

    Returns:
        The finding; without a fault, `not applicable` if there is none of what the rule presumes, and `unknown` if the rule
        saw nothing, or only some methods.
    """
    parts = sorted(rule_.look(evidence), key=lambda part: -SEVERITY.index(part.status))
    text = f"not in the evidence: {rule_.needs}"
    if rule_.compares and len(evidence.methods) == 1:
        text = "one method, with no other to compare"
    gone = evidence.absent(rule_.presumes)
    if gone is not None and not (parts and parts[0].status in FAULTS):
        parts = [Part("not applicable", f"no {gone.quantity}", (source_of(gone),))]
    elif not parts:
        parts = [Part("unknown", text)]
    elif parts[0].status == "pass" and (seen := {part.method for part in parts} - {""}):
        silent = (m for m in evidence.methods if m not in seen)
        parts = [*(Part("unknown", text, method=m) for m in silent), *parts]
    return Finding(evidence.name, evidence.methods, rule_, parts[0].status, tuple(parts))

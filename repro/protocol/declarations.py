"""What a study declares: published facts, experiments, and claims with what decides them."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

from repro.protocol.canonical import LATER
from repro.protocol.experiments import Experiment, require_tuple
from repro.protocol.runs import Component


@dataclasses.dataclass(frozen=True)
class Fact:
    """A published value.

    Attributes:
        item: The figure, table or section that states it.
        quantity: Name of the quantity.
        value: The number; `None` if the paper is silent, or says it in words.
        source: Where it was read, or why it is missing.
        method: The method it belongs to, if any.
        setting: The experiment it belongs to, if any.
        x: Abscissa (step, depth, ...) if it is a point of a curve.
        text: The value if it is a word: a loss, a schedule, a split.
    """

    item: str
    quantity: str
    value: float | None
    source: str
    method: str = ""
    setting: str = ""
    x: float | None = None
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What a claim says of a measured quantity: `low <= quantity <= high`, or `low < quantity < high`.

    A quantity that is "at most" or "at least" a bound may equal it, and so may one within a published margin. A quantity
    that is "lower", "faster" or "more" may not: the difference of equal methods is exactly 0, neither above nor below.

    Attributes:
        low: Lower bound.
        high: Upper bound.
        strict: Whether a bound itself is outside.
    """

    low: float = -math.inf
    high: float = math.inf
    strict: bool = dataclasses.field(default=False, metadata=LATER)

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(
                f"An expectation needs low < high. Found low={self.low}, high={self.high}."
            )


@dataclasses.dataclass(frozen=True)
class Check:
    """One measurable part of a claim.

    Attributes:
        label: The quantity in a few words.
        measure: Name and settings of a measure of `repro.measures`.
        expect: What the claim says of it.
        published: The published value, if the paper has one.
        unit: Unit of the quantity, empty for pure numbers.
        provided: What must hold for this to decide anything, e.g. that the baseline learned at all.
    """

    label: str
    measure: Component
    expect: Expectation
    published: float | None = None
    unit: str = ""
    provided: Check | None = None

    @property
    def parts(self) -> tuple[Check, ...]:
        """The check, the one that has to hold for it, the one that has to hold for that, and so on."""
        return (self, *(self.provided.parts if self.provided is not None else ()))


@dataclasses.dataclass(frozen=True)
class Claim:
    """A checkable sentence: published, implied, or following from what was published.

    Attributes:
        number: Number in the study's list of claims.
        text: The claim, paraphrased.
        where: Figure, table or section; for a claim that is not the paper's own, who makes it or what it follows from.
        checks: What is measured; empty if nothing is.
        untested: Why nothing is measured, for a claim without checks.
        theirs: Whether the paper makes it.
        as_published: Whether it speaks of networks as large or runs as long as the paper's, so that rows below full
            scale decide nothing.
    """

    number: int
    text: str
    where: str
    checks: tuple[Check, ...] = ()
    untested: str = ""
    theirs: bool = True
    as_published: bool = False

    def __post_init__(self) -> None:
        require_tuple(f"Claim {self.number}", "checks", self.checks, Check)
        if bool(self.checks) == bool(self.untested):
            raise ValueError(
                f"Claim {self.number} needs either checks or a reason why it is untested. "
                f"Found {len(self.checks)} checks and untested={self.untested!r}."
            )


@dataclasses.dataclass(frozen=True)
class Study:
    """One paper re-run: its facts, our experiments, its claims.

    Attributes:
        name: `author2022`.
        citation: Authors, title, year, identifier.
        facts: Published values.
        experiments: What is run.
        claims: What is judged.
    """

    name: str
    citation: str
    facts: tuple[Fact, ...]
    experiments: tuple[Experiment, ...]
    claims: tuple[Claim, ...]

    def __post_init__(self) -> None:
        owner = f"Study {self.name!r}"
        for name, kind in (("facts", Fact), ("experiments", Experiment), ("claims", Claim)):
            require_tuple(owner, name, getattr(self, name), kind)
        experiments = Counter(experiment.name for experiment in self.experiments)
        claims = Counter(claim.number for claim in self.claims)
        if twice := [repr(name) for name, num in experiments.items() if num > 1]:
            raise ValueError(
                f"{owner} has two experiments of the name {twice[0]}: their rows could not be told apart. Rename one."
            )
        if again := [number for number, num in claims.items() if num > 1]:
            raise ValueError(
                f"{owner} has two claims of the number {again[0]}: their verdicts could not be told apart. Renumber one."
            )

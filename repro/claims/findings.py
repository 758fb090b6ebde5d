"""What came of checks and claims, as values."""

from __future__ import annotations

import dataclasses
from typing import Literal

from repro.measures import Measurement
from repro.protocol import Check, Claim

Outcome = Literal["holds", "fails", "undecided", "not run"]
Verdict = Literal["reproduced", "not reproduced", "partly", "not tested"]


@dataclasses.dataclass(frozen=True)
class CheckFinding:
    """What came of one check.

    Attributes:
        check: The check.
        outcome: Whether it holds.
        measurement: The measured quantity and its rows; `None` where nothing was run.
        reason: Why nothing was measured, or why what was measured decides nothing.
    """

    check: Check
    outcome: Outcome
    measurement: Measurement | None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Judgement:
    """A claim's verdict and what it rests on.

    Attributes:
        study: Name of the study.
        claim: The claim.
        verdict: The verdict.
        findings: One a check.
        reason: Why it was not tested, if it was not; of a claim that is not reproduced, which checks hold by themselves.
    """

    study: str
    claim: Claim
    verdict: Verdict
    findings: tuple[CheckFinding, ...]
    reason: str = ""

    @property
    def scales(self) -> tuple[str, ...]:
        """Scales of the rows that the verdict rests on, sorted."""
        return tuple(sorted({f.measurement.scale for f in self.findings if f.measurement}))

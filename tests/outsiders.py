"""Somebody's searches, and what the audit says of them, for tests."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from repro.audit import mapping, report, trials
from repro.audit.evidence import Evidence

EXAMPLES = Path("examples")
MAP = {"method": "opt", "score": "val_loss", "number": "trial", "params": "lr"}
"""What the columns of `table` are called."""
UNSAMPLED = "; by which sampler is not in the evidence: `sampler`"
"""What the rule `space` adds to what it compared if nobody says how trials were chosen."""


def table() -> pd.DataFrame:
    """Return three trials of two methods."""
    return pd.DataFrame(
        {
            "opt": ["a", "a", "a", "b", "b", "b"],
            "val_loss": [0.5, 0.3, 0.4, 0.6, 0.2, 0.7],
            "lr": [0.01, 0.1, 1.0, 0.01, 0.1, 1.0],
            "trial": [0, 1, 2, 0, 1, 2],
        }
    )


def trials_of(**columns: Any) -> Evidence:
    """Return the evidence of a table with these columns, which bear the names that the audit has for them."""
    rows = pd.DataFrame(columns)
    return trials.from_table(rows, {name: name for name in columns if name in mapping.KEYS}, "x")


def digest(path: Path) -> str:
    """Return what changes with a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def statuses(evidence: Evidence) -> dict[str, str]:
    """Return the status of every rule."""
    return {f.rule.name: f.status for f in report.audit(evidence).findings}


def of_rule(evidence: Evidence, name: str) -> tuple[str, str]:
    """Return the status and the text of one rule."""
    return next((f.status, f.text) for f in report.audit(evidence).findings if f.rule.name == name)

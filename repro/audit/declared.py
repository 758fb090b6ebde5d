"""Evidence from what a paper states: each comparison, from the facts that the study declares."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from repro.audit.evidence import CURVE_COLUMNS, QUANTITIES, Evidence
from repro.protocol import Fact


def comparisons(study: str, facts: Iterable[Fact]) -> tuple[Evidence, ...]:
    """Return the evidence of every comparison that a paper's facts describe.

    A comparison is a setting in which at least two methods have facts in the audit's words. It inherits the facts of
    a wider setting: a fact about `resnet18`, for any method, holds for `resnet18-mnist` too.

    Args:
        study: Name of the study.
        facts: What the paper states.

    Returns:
        One comparison per setting, in the order of the facts.
    """
    told = [fact for fact in facts if is_quantity(fact.quantity)]
    methods: dict[str, dict[str, None]] = {}
    for fact in told:
        if fact.setting and fact.method:
            methods.setdefault(fact.setting, {})[fact.method] = None
    found = []
    for setting, names in methods.items():
        if len(names) < 2:
            continue
        inherited = {setting, *(s for s in _wider(setting) if s not in methods)}
        kept = tuple(fact for fact in told if fact.setting in inherited)
        found.append(
            Evidence(f"{study}/{setting}", "paper", tuple(names), kept, curves=_curves(kept))
        )
    return tuple(found)


def is_quantity(name: str) -> bool:
    """Tell whether a fact's quantity is one of the audit's words."""
    if name in QUANTITIES:
        return True
    return any(q.endswith("*") and name.startswith(q[:-1]) for q in QUANTITIES)


def _wider(setting: str) -> list[str]:
    parts = setting.split("-")
    return ["-".join(parts[:i]) for i in range(1, len(parts))]


def _curves(facts: Iterable[Fact]) -> pd.DataFrame:
    rows = [
        (fact.method, 0, "reported score", fact.x, fact.value)
        for fact in facts
        if fact.quantity == "reported curve"
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))

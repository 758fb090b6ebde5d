"""Approaches with a number of tangents: their order, and looks that show aggregation and number at a glance."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from figures import style
from figures.selection import BOTH


def num_tangents(series: str) -> int:
    """Return the last whole number of a name: the `k` of `mean, k=16`; 0 without one."""
    found = re.findall(r"\d+", series)
    return int(found[-1]) if found else 0


def ordered(series: Iterable[str]) -> list[str]:
    """Return approaches in the order of legends: the two that stand alone, then by aggregation and number."""
    alone = {name: place for place, name in enumerate(BOTH)}

    def key(name: str) -> tuple[int, str, int, str]:
        base, _, variant = name.partition(", ")
        return alone.get(name, len(alone)), base, num_tangents(variant), variant

    return sorted(set(series) - {""}, key=key)


def looks(series: Iterable[str]) -> dict[str, style.Look]:
    """Return the look of every approach: an aggregation has one colour, its numbers of tangents are rungs.

    Args:
        series: Names such as `mean, k=16`: the aggregation, and after a comma what varies.

    Returns:
        Look by name, in the order of legends.
    """
    names = ordered(series)
    bases = style.looks(dict.fromkeys(name.partition(", ")[0] for name in names))
    found = {}
    for name in names:
        base, _, variant = name.partition(", ")
        look = style.LOOKS.get(name, bases[base])
        if variant.startswith("k="):
            numbers = [num_tangents(other) for other in names if other.startswith(f"{base}, k=")]
            place = sorted(set(numbers)).index(num_tangents(variant)) - len(set(numbers))
            look = style.rung(base, look.color, place)
        elif variant and name not in style.LOOKS:
            look = dataclasses.replace(look, dashes=(0, (1, 1)), marker="x")
        found[name] = look
    return found

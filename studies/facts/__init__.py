"""What each paper states, fact by fact with its source: one module a paper, on which its study and the audit rest."""

from __future__ import annotations

import importlib
import pkgutil

from repro.protocol import Fact


def names() -> tuple[str, ...]:
    """Return the names of the papers, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get(name: str) -> tuple[Fact, ...]:
    """Return what a paper states.

    Args:
        name: One of `names()`.

    Returns:
        The facts.
    """
    facts: tuple[Fact, ...] = importlib.import_module(f"{__name__}.{name}").FACTS
    return facts

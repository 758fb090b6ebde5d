"""The papers we re-run, one module of declarations each, named `author<year>`; and `speed`, which times ourselves.

A new paper is a new module here with a value `STUDY`; nothing else has to know of it. What the papers state stands in
`studies.facts`, what they claim and long families of experiments in `studies.parts`.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from repro.protocol import Study, choose

RESULTS = Path(__file__).parent / "results"
"""The published snapshot."""


def names() -> tuple[str, ...]:
    """Return the names of all studies, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg))


def get(name: str) -> Study:
    """Return a study by name.

    Args:
        name: One of `names()`.

    Returns:
        The study.

    Raises:
        ValueError: If there is no such study, or its module has another name than it.
    """
    (chosen,) = choose(names(), [name], "study")
    study = importlib.import_module(f"{__name__}.{chosen}").STUDY
    assert isinstance(study, Study)
    if study.name != chosen:
        raise ValueError(
            f"studies/{chosen}.py declares the study {study.name!r}. Rows and commands go by one name: make them equal."
        )
    return study

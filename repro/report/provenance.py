"""Which rows a figure or table was made from: seen while it selects them, not declared.

A frame that tells what is taken from it stands in for the runs table. What is narrowed down to rows of one
experiment was meant. Where nothing ever is, every selection that nobody narrowed further was meant as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, Self, TypeVar

import pandas as pd

from repro.results import Results

_Made = TypeVar("_Made")
EXPERIMENT = ["study", "experiment"]


@dataclasses.dataclass(frozen=True)
class Source:
    """Rows of one experiment at one scale behind a figure or table.

    Attributes:
        study: Name of the study.
        experiment: Name of the experiment.
        scale: Their scale.
        num_runs: How many rows.
        commits: Commits of the code that made them, sorted.
        devices: Devices they were made on, sorted.
    """

    study: str
    experiment: str
    scale: str
    num_runs: int
    commits: tuple[str, ...]
    devices: tuple[str, ...]


def watch(make: Callable[[Results], _Made], results: Results) -> tuple[_Made, tuple[Source, ...]]:
    """Make something from results and see which rows it took.

    Args:
        make: Takes results; must not change them.
        results: The tables.

    Returns:
        What was made, and its sources in the order of the runs table.
    """
    runs = _Watched(results.runs)
    runs._selection = _Selection([])
    made = make(results.beside(runs))
    return made, _sources(results.runs, runs._selection.keys())


def _sources(runs: pd.DataFrame, keys: set[str]) -> tuple[Source, ...]:
    taken = runs[runs["key"].isin(keys)]
    return tuple(
        Source(
            str(study),
            str(experiment),
            str(scale),
            len(rows),
            tuple(sorted(set(rows["commit"]))),
            tuple(sorted(set(rows["device"]))),
        )
        for (study, experiment, scale), rows in taken.groupby([*EXPERIMENT, "scale"], sort=False)
    )


class _Selection:
    """Some rows of the runs table, and what was selected from among them."""

    def __init__(self, family: list[_Selection], rows: pd.DataFrame | None = None) -> None:
        self.family = family
        self.rows = rows
        self.narrowed = False
        family.append(self)

    def keys(self) -> set[str]:
        """Return the keys of all rows that were meant."""
        selected = [(s.rows, s.narrowed) for s in self.family if s.rows is not None and len(s.rows)]
        single = [rows for rows, _ in selected if len(rows[EXPERIMENT].drop_duplicates()) == 1]
        meant = single or [rows for rows, narrowed in selected if not narrowed]
        return {str(key) for rows in meant for key in rows["key"]}


class _Watched(pd.DataFrame):
    """A runs table whose selections are noted."""

    _metadata = ["_selection"]  # noqa: RUF012 - the way pandas passes attributes on
    _selection: Any

    @property
    def _constructor(self) -> type[Self]:
        return type(self)

    def __finalize__(self, other: Any, method: str | None = None, **options: Hashable) -> Self:
        super().__finalize__(other, method, **options)  # type: ignore[misc]
        above = getattr(other, "_selection", None) if isinstance(other, _Watched) else None
        needed = ["key", *EXPERIMENT]
        if above is not None and len(self) < len(other) and set(needed) <= set(self.columns):
            above.narrowed = True
            rows = pd.DataFrame({name: self[name].to_numpy() for name in needed})
            self._selection = _Selection(above.family, rows)
        return self

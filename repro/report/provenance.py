"""Which rows a figure or table was made from, as seen while it selects them; nothing is declared.

A frame that notes what is selected from it stands in for the runs table. Selections within one experiment count as
sources. If there are none, every selection that was not narrowed further counts, as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, Self, TypeVar

import pandas as pd

from repro.results import Memory, Results

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
    """Make something from results and note which rows it took.

    Args:
        make: Makes it from results, which it must not change.
        results: The tables.

    Returns:
        What was made, and its sources in the order of the runs table.
    """
    runs = _Watched(results.runs)
    family: list[_Selection] = []
    runs._selection = _Selection(family)
    watched = results.beside(runs, _Noting(results.memory, family))
    watched.__dict__["reported"] = results.reported  # the same rows
    made = make(watched)
    return made, _sources(results.runs, _keys(family))


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
    """Some rows of the runs table, and whether rows were selected from among them."""

    def __init__(self, family: list[_Selection], rows: pd.DataFrame | None = None) -> None:
        self.family = family
        self.narrowed = False
        self.keys: list[str] = []
        self.single = False
        if rows is not None:
            self.keys = rows["key"].to_list()
            columns = [rows[name].to_numpy() for name in EXPERIMENT]
            self.single = len(rows) > 0 and all((c == c[0]).all() for c in columns)
        family.append(self)


def _keys(family: list[_Selection]) -> set[str]:
    """Return the keys of all rows that count as sources."""
    selected = [s for s in dict.fromkeys(family) if s.keys]
    single = [s for s in selected if s.single]
    return {key for s in single or selected if s.single or not s.narrowed for key in s.keys}


class _Noting(Memory):
    """The memory of all watched selections, with what was noted while each was made."""

    def __init__(self, memory: Memory, family: list[_Selection]) -> None:
        super().__init__(noted=memory.noted)
        self._family = family

    def recall(self, asked: Hashable, select: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        if asked in self.noted:
            rows, selections = self.noted[asked]
            self._family.extend(selections)
        else:
            before = len(self._family)
            rows = pd.DataFrame(select())
            self.noted[asked] = rows, tuple(self._family[before:])
        return rows.copy(deep=False)


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
        # what is taken from rows of one experiment is among them
        if above is None or above.single or len(self) >= len(other):
            return self
        if {"key", *EXPERIMENT} <= set(self.columns):
            above.narrowed = True
            self._selection = _Selection(above.family, self)
        return self

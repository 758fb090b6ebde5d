"""Which rows a snapshot has: those that their studies declare."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Set
from pathlib import Path

import pandas as pd

from repro.protocol import RunSpec, parse_run
from repro.results import read_published_runs, superseded

Declared = Mapping[str, Callable[[RunSpec], bool]]
"""By study, what tells whether it declares a run; of studies that are not there, nothing is known."""

Count = Mapping[tuple[str, str], int]
"""Rows by study and experiment."""


class Planned:
    """Decides which rows a snapshot has, and counts the others.

    It lets in the rows that their studies declare, except for those of smoke scale, which exercise the wiring and
    are no results, and for reported runs that are superseded.

    Attributes:
        left_out: Rows kept back that belong to plans of the past.
        superseded: Rows kept back that are superseded, see `repro.results.superseded`.
        smoke: Number of rows kept back that are of smoke scale.
        retired: Published rows that are taken out.
    """

    def __init__(self, declared: Declared, *, retire: bool = False) -> None:
        """Take the studies.

        Args:
            declared: The studies; rows of others are let through.
            retire: Whether to take out published rows that would not be let in now, except for those of smoke scale.
        """
        self._declared, self._retire = declared, retire
        self.left_out: Count = {}
        self.superseded: Count = {}
        self.smoke = 0
        self.retired: Count = {}
        self._kept_back: set[str] = set()

    def published(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of the snapshot that stay, as far as they tell by themselves."""
        if not self._retire:
            return runs
        gone = _undeclared(runs, self._declared)
        self.retired = _count(runs[gone])
        return runs[~gone]

    def arriving(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Return the new rows that their studies declare, of another scale than smoke."""
        runs = runs[~runs["key"].isin(self._kept_back)]  # counted when another folder brought them
        smoke = runs["study"].isin(list(self._declared)) & (runs["scale"] == "smoke")
        self.smoke += int(smoke.sum())
        self._kept_back.update(runs["key"][smoke])
        runs = runs[~smoke]
        old = _undeclared(runs, self._declared)
        self.left_out = _count(runs[old], self.left_out)
        self._kept_back.update(runs["key"][old])
        return runs[~old]

    def together(self, runs: pd.DataFrame, before: Set[str]) -> pd.DataFrame:
        """Return all rows without those that are superseded, which shows only where all of them are together.

        Args:
            runs: The rows that stay and those that come in.
            before: Keys of those that stay; they are kept unless published rows are to be taken out.

        Returns:
            The rows.
        """
        gone, there = _superseded(runs, self._declared), runs["key"].isin(before)
        self.superseded = _count(runs[gone & ~there])
        if not self._retire:
            return runs[~gone | there]
        self.retired = _count(runs[gone & there], self.retired)
        return runs[~gone]


def retirable(published: Path, declared: Declared) -> tuple[Count, Count]:
    """Count the rows of a snapshot that may be taken out: those of plans of the past, and superseded ones."""
    runs, _ = read_published_runs(published)
    old = _undeclared(runs, declared)
    return _count(runs[old]), _count(runs[_superseded(runs, declared) & ~old])


def _undeclared(runs: pd.DataFrame, declared: Declared) -> pd.Series:
    told = (
        study in declared and not declared[study](parse_run(text))
        for study, text in zip(runs["study"], runs["spec"], strict=True)
    )
    return pd.Series(list(told), index=runs.index, dtype=bool)


def _superseded(runs: pd.DataFrame, declared: Declared) -> pd.Series:
    return superseded(runs) & runs["study"].isin(list(declared))


def _count(runs: pd.DataFrame, more: Count | None = None) -> Count:
    counted = collections.Counter(zip(runs["study"], runs["experiment"], strict=True))
    counted.update(more or {})
    return counted

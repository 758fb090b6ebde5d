"""Rows that come in from elsewhere: nothing of a snapshot that somebody has sent is believed before it is checked."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from repro.protocol import parse_run
from repro.results import (
    HYPERPARAMETERS,
    IDENTITY,
    SEARCH,
    Record,
    RejectedFileError,
    check,
    check_curves,
    published_curves,
    read_published_runs,
    tabulate,
)

CHUNK = 1_024
"""Rows whose specifications are held at once."""

Points = Callable[[Sequence[str]], pd.DataFrame]
"""Gives the points of runs by their keys."""


@dataclasses.dataclass(frozen=True)
class Arrival:
    """Rows that come in: where from, the runs table, and how their points are read."""

    name: str
    runs: pd.DataFrame
    points: Points


def read_snapshot(folder: Path) -> Arrival:
    """Return the rows of a snapshot that was made elsewhere, every one checked against its specification.

    Args:
        folder: Its folder.

    Returns:
        The rows.

    Raises:
        ValueError: If the folder is no snapshot.
        RejectedFileError: If it holds a file that cannot be read, or a row that is not what it says.
    """
    expected = "expected a folder that `repro publish --to` wrote"
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise ValueError(f"{folder}: {expected}. Found {found}. Nothing was published.")
    files = [path.name for path in folder.iterdir()]  # unlike `glob`, says what may not be read
    kinds = [
        {name.removesuffix(end) for name in files if name.endswith(end)}
        for end in (".runs.parquet", ".curves.parquet")
    ]
    if not kinds[0]:
        a_store = next(folder.glob("[0-9a-f][0-9a-f]/*.json"), None)
        hint = ", but finished runs: give it as `--store`" if a_store else ""
        raise ValueError(
            f"{folder}: {expected}. Found no STUDY.runs.parquet there{hint}. Nothing was published."
        )
    if unpaired := sorted(kinds[0] ^ kinds[1]):
        raise RejectedFileError(
            f"{folder}: {expected}. Found only one of {unpaired[0]}.runs.parquet and "
            f"{unpaired[0]}.curves.parquet. Copy both."
        )
    runs = read_whole(folder)
    if strange := _not_themselves(runs):
        raise RejectedFileError(
            f"{folder}: the row {strange[0][:12]} is not that of its specification (changed, or of another "
            "protocol). Have it written again with `repro publish --to`."
        )
    return Arrival(str(folder), runs, functools.partial(published_curves, folder))


def read_whole(folder: Path) -> pd.DataFrame:
    """Return the runs of a snapshot of which every file can be read."""
    runs, problems = read_published_runs(folder)
    if problems:
        raise RejectedFileError(problems[0])
    check_curves(folder)
    return runs


def _not_themselves(runs: pd.DataFrame) -> list[str]:
    """Return the keys of rows whose identity is not that of the run which they specify."""
    parts = (runs[begin : begin + CHUNK] for begin in range(0, len(runs), CHUNK))
    return [key for part in parts for key in _not_themselves_of(part)]


def _not_themselves_of(runs: pd.DataFrame) -> list[str]:
    records = []
    for key, text, status in zip(runs["key"], runs["spec"], runs["status"], strict=True):
        try:
            found = Record(parse_run(text), status, {}, ())
            check(found)
        except (ValueError, TypeError):
            return [key]
        records.append(found)
    own, _ = tabulate(records)
    columns = ["spec", *IDENTITY, *SEARCH, *HYPERPARAMETERS]
    left, right = (
        frame.sort_values("spec")[columns].reset_index(drop=True) for frame in (own, runs)
    )
    same = (left == right) | (left.isna() & right.isna())
    return list(right["key"][~same.all(axis=1)])

"""Publishing: finished runs become rows of a snapshot, from a store, or from folders that others have sent.

A snapshot is a pair of Parquet files a study, wherever it lies: that of the repository grows by `publish`, and a
campaign elsewhere travels as one of its own, which `publish` writes too and `merge` brings home. Rows that are
there already stay as they are, and rows that contradict them are refused, all or nothing. Only one process may
write a snapshot at a time, or one would overwrite what another has just added.

Rows of a plan that a study has changed since would be averaged with those of the new plan, so they stay out, as do
reported runs that are superseded. `Planned` also takes out such rows that are published already, if it is asked to.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import pandas as pd

from repro.protocol import RunSpec, parse_run
from repro.results import (
    HYPERPARAMETERS,
    IDENTITY,
    SEARCH,
    Record,
    RejectedFileError,
    check,
    check_curves,
    hold,
    published_curves,
    read_indexed,
    read_published_runs,
    sort_curves,
    sort_runs,
    superseded,
    tabulate,
    write_curves,
    write_parquet,
)

TOLERANCE = 0.1
"""Largest relative difference of the scores of one run made twice: other machines round otherwise."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""What a study may be called: files are named after it, and rows come from elsewhere."""

CHUNK = 1_024
"""Runs whose curves are held at once."""

Points = Callable[[Sequence[str]], pd.DataFrame]
"""Gives the points of runs by their keys."""

Declared = Mapping[str, Callable[[RunSpec], bool]]
"""By study, what tells whether it declares a run; of studies that are not there, nothing is known."""

Count = Mapping[tuple[str, str], int]
"""Rows by study and experiment."""


@dataclasses.dataclass(frozen=True)
class Arrival:
    """Rows that come in: where from, the runs table, and how their points are read."""

    name: str
    runs: pd.DataFrame
    points: Points


class ContradictionError(ValueError):
    """Rows that cannot both be true; the message names them and says how to mend it."""


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


def publish(
    store: Path,
    published: Path,
    say: Callable[[str], None] = lambda line: None,
    planned: Planned | None = None,
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Merge finished runs into a snapshot.

    Args:
        store: Folder of finished runs.
        published: Folder of the snapshot; it need not exist.
        say: Told, in a line, how far it is.
        planned: Decides which rows the snapshot has; without it, all that come in.

    Returns:
        New rows by study, and a line for every file that was skipped.

    Raises:
        RejectedFileError: If a snapshot file that would grow cannot be read; nothing is written then.
        ContradictionError: If rows contradict those of the snapshot; nothing is written then.
        HeldError: If another process writes the snapshot.
    """
    indexed = read_indexed(store, say)
    arrival = Arrival(str(store), indexed.runs, indexed.curves)
    with _alone(published):
        return _merge([arrival], published, say, planned), indexed.problems


def merge(
    folders: Sequence[Path], published: Path, planned: Planned | None = None
) -> dict[str, int]:
    """Merge snapshots that were made elsewhere into a snapshot.

    Args:
        folders: Folders that `publish` wrote.
        published: Folder of the snapshot.
        planned: As of `publish`.

    Returns:
        New rows by study.

    Raises:
        ValueError: If a folder is no snapshot; nothing is written then.
        RejectedFileError: If a file cannot be read; nothing is written then.
        ContradictionError: If rows contradict each other; nothing is written then.
        HeldError: As `publish`.
    """
    arrivals = [read_snapshot(folder) for folder in folders]
    with _alone(published):
        return _merge(arrivals, published, lambda line: None, planned)


@contextlib.contextmanager
def _alone(published: Path) -> Iterator[None]:
    """Be the only one that writes a snapshot; nothing of that stays beside what is committed."""
    try:
        what = f"{published} is written"
        with hold(published, ".publishing", what, option="--to", traceless=True):
            yield
    finally:
        # it has rows, but for a folder that was made for nothing
        with contextlib.suppress(OSError):
            published.rmdir()


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
    runs = _read_whole(folder)
    if strange := _not_themselves(runs):
        raise RejectedFileError(
            f"{folder}: the row {strange[0][:12]} is not that of its specification (changed, or of another "
            "protocol). Have it written again with `repro publish --to`."
        )
    return Arrival(str(folder), runs, functools.partial(published_curves, folder))


def _read_whole(folder: Path) -> pd.DataFrame:
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


def _merge(
    arrivals: Sequence[Arrival],
    published: Path,
    say: Callable[[str], None],
    planned: Planned | None,
) -> dict[str, int]:
    """Decide what the snapshot has from now on, refuse what cannot be, and only then write any of it."""
    planned = planned or Planned({})
    there = _read_whole(published)
    runs = planned.published(there)
    stays = set(runs["key"])
    sources: list[tuple[Set[str], Points]] = [
        (stays, functools.partial(published_curves, published))
    ]
    for arrival in arrivals:
        known = arrival.runs["key"].isin(runs["key"])
        fresh = planned.arriving(arrival.runs[~known])
        for contradiction in _contradictions(runs, pd.concat([arrival.runs[known], fresh])):
            raise ContradictionError(
                f"{arrival.name}: {contradiction} Find out which is right and take the other away."
            )
        if len(fresh):
            runs = pd.concat([runs, fresh], ignore_index=True)
            sources.append((set(fresh["key"]), arrival.points))
    runs = planned.together(runs, stays)
    added = runs[~runs["key"].isin(stays)].groupby("study").size()
    for study in added.index:
        if not NAME.fullmatch(str(study)):
            raise RejectedFileError(
                f"A row names the study {study!r}, of which no file can be made: expected letters, digits, - and _. "
                "Find out where it comes from and take it away."
            )
    fewer = there["study"][~there["key"].isin(runs["key"])]
    for study in sorted({*map(str, added.index), *fewer}):
        _write(published, study, runs, sources, say)
    return {str(study): int(count) for study, count in added.items()}


def _write(
    published: Path,
    study: str,
    runs: pd.DataFrame,
    sources: Sequence[tuple[Set[str], Points]],
    say: Callable[[str], None] = lambda line: None,
) -> None:
    """Write both files of a study."""
    own = runs[runs["study"] == study]
    # curves first: a crash in between leaves curves without a run, which nothing shows, or runs to be retired
    # without curves, which retiring them again takes out
    points = _points(study, sorted(own["key"]), sources, say)
    write_curves(published / f"{study}.curves.parquet", points)
    write_parquet(published / f"{study}.runs.parquet", sort_runs(own))


def _points(
    study: str,
    keys: Sequence[str],
    sources: Sequence[tuple[Set[str], Points]],
    say: Callable[[str], None],
) -> Iterator[pd.DataFrame]:
    """Yield the points of runs in their order, each from the source that has its row."""
    for begin in range(0, len(keys), CHUNK):
        say(f"{study}: curves of {begin} of {len(keys)} runs")
        part = keys[begin : begin + CHUNK]
        chosen = (([key for key in part if key in own], points) for own, points in sources)
        frames = [points(found) for found, points in chosen if found]
        yield sort_curves(pd.concat(frames, ignore_index=True))


def _contradictions(old: pd.DataFrame, new: pd.DataFrame) -> Iterator[str]:
    """Yield what two runs tables say differently of one run or one search."""
    columns = ["key", "status", "score", "study", "experiment", "method", "repetition"]
    both = old[columns].merge(new[columns[:3]], on="key", suffixes=("_old", "_new"))
    scores = both["score_old"].to_numpy(), both["score_new"].to_numpy()
    told = np.isfinite(scores[0]) & np.isfinite(scores[1])
    with np.errstate(invalid="ignore"):  # of infinite scores, which are not compared
        apart = abs(scores[0] - scores[1]) > TOLERANCE * np.maximum(*map(abs, scores))
    differs = (both["status_old"] != both["status_new"]).to_numpy() | (told & apart)
    for row in both[differs].to_dict("records"):
        ends = [f"{row[f'status_{s}']} with score {row[f'score_{s}']:.4g}" for s in ("new", "old")]
        yield (
            f"{row['study']} {row['experiment']}, {row['method']}, repetition "
            f"{row['repetition']} (run {row['key'][:12]}) is {ends[0]} here, and {ends[1]} in what is "
            "published or was merged before."
        )
    named = ["study", "experiment", "scale", "search"]
    searches = pd.concat([part.loc[part["role"] == "tune", named] for part in (old, new)])
    for (study, experiment, scale), found in searches.groupby(["study", "experiment", "scale"]):
        if len(digests := sorted(set(found["search"]))) > 1:
            yield (
                f"{study} {experiment} at {scale} scale would have trials of the searches "
                f"{' and '.join(digests)}, which differ in space, budget or sampler. `repro publish --retire` takes "
                "out what is published of a search that its study no longer declares."
            )

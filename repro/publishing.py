"""Publishing: finished runs become rows of a snapshot, from a store, or from folders that others have sent.

A snapshot is a pair of Parquet files a study, wherever it lies: that of the repository grows by `publish`, and a
campaign elsewhere travels as one of its own, which `publish` writes too and `merge` brings home. Rows that are
there already stay as they are. Rows that contradict them are refused, all or nothing. Only one may write a snapshot
at a time: what another wrote in between would be written over. Rows of a plan that a study
has changed since would be averaged with those of the new one: they stay out, and `retire` takes them out, as it
does with reported runs that a search has gone beyond.
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

Keep = Callable[[pd.DataFrame], pd.DataFrame]
"""Chooses among rows of a runs table."""

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
    """Lets rows through that their studies declare, and counts those of plans that are no more.

    Rows of smoke scale, which exercise the wiring, are no results: they stay out, too.

    Attributes:
        left_out: What was kept back, of plans that are no more.
        smoke: What was kept back, of smoke scale.
    """

    def __init__(self, declared: Declared) -> None:
        """Take the studies; rows of others are let through."""
        self._declared = declared
        self.left_out: dict[tuple[str, str], int] = {}
        self.smoke = 0

    def __call__(self, runs: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of a runs table that are let through."""
        smoke = runs["study"].isin(list(self._declared)) & (runs["scale"] == "smoke")
        self.smoke += int(smoke.sum())
        runs = runs[~smoke]
        old = _undeclared(runs, self._declared)
        for cell, number in _count(runs[old]).items():
            self.left_out[cell] = self.left_out.get(cell, 0) + number
        return runs[~old]


def publish(
    store: Path,
    published: Path,
    say: Callable[[str], None] = lambda line: None,
    keep: Keep = lambda runs: runs,
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Merge finished runs into a snapshot.

    Args:
        store: Folder of finished runs.
        published: Folder of the snapshot; it need not exist.
        say: Told, in a line, how far it is.
        keep: Told of rows that would be new, and returns those that may come in.

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
        return _merge([arrival], published, say, keep), indexed.problems


def merge(
    folders: Sequence[Path], published: Path, keep: Keep = lambda runs: runs
) -> dict[str, int]:
    """Merge snapshots that were made elsewhere into a snapshot.

    Args:
        folders: Folders that `publish` wrote.
        published: Folder of the snapshot.
        keep: As of `publish`.

    Returns:
        New rows by study.

    Raises:
        RejectedFileError: If a folder is no snapshot, or a file cannot be read; nothing is written then.
        ContradictionError: If rows contradict each other; nothing is written then.
        HeldError: As `publish`.
    """
    arrivals = [read_snapshot(folder) for folder in folders]
    with _alone(published):
        return _merge(arrivals, published, lambda line: None, keep)


def retire(published: Path, declared: Declared) -> Count:
    """Take the rows of plans that studies no longer declare out of a snapshot, and those that are `superseded`.

    Args:
        published: Folder of the snapshot.
        declared: The studies.

    Returns:
        What was taken out.

    Raises:
        RejectedFileError: If a file of the snapshot cannot be read; nothing is written then.
        HeldError: As `publish`.
    """
    with _alone(published):
        runs = _read_whole(published)
        gone = _undeclared(runs, declared) | superseded(runs)
        points = functools.partial(published_curves, published)
        for study in sorted(set(runs["study"][gone])):
            _write(published, study, runs[~gone], [(set(runs["key"]), points)])
    return _count(runs[gone])


@contextlib.contextmanager
def _alone(published: Path) -> Iterator[None]:
    """Be the only one that writes a snapshot; nothing of that stays beside what is committed."""
    try:
        what = f"{published} is written"
        with hold(published, ".publishing", what, option="--to", traceless=True):
            yield
    finally:
        with contextlib.suppress(
            OSError
        ):  # it has rows, but for a folder that was made for nothing
            published.rmdir()


def retirable(published: Path, declared: Declared) -> tuple[Count, Count]:
    """Count the rows of a snapshot that `retire` would take out: of plans that are no more, and the `superseded`."""
    runs, _ = read_published_runs(published)
    old = _undeclared(runs, declared)
    return _count(runs[old]), _count(runs[superseded(runs) & ~old])


def _undeclared(runs: pd.DataFrame, declared: Declared) -> pd.Series:
    told = (
        study in declared and not declared[study](parse_run(text))
        for study, text in zip(runs["study"], runs["spec"], strict=True)
    )
    return pd.Series(list(told), index=runs.index, dtype=bool)


def _count(runs: pd.DataFrame) -> Count:
    return collections.Counter(zip(runs["study"], runs["experiment"], strict=True))


def read_snapshot(folder: Path) -> Arrival:
    """Return the rows of a snapshot that was made elsewhere, every one checked against its specification.

    Args:
        folder: Its folder.

    Returns:
        The rows.

    Raises:
        RejectedFileError: If the folder is no snapshot, or holds a row that is not what it says.
    """
    expected = "expected a folder that `repro publish --to` wrote"
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise RejectedFileError(f"{folder}: {expected}. Found {found}.")
    kinds = [
        {p.name.removesuffix(f".{k}.parquet") for p in folder.glob(f"*.{k}.parquet")}
        for k in ("runs", "curves")
    ]
    if not kinds[0]:
        a_store = next(folder.glob("[0-9a-f][0-9a-f]/*.json"), None)
        hint = ", but finished runs: give it as `--store`" if a_store else ""
        raise RejectedFileError(f"{folder}: {expected}. Found no STUDY.runs.parquet there{hint}.")
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
    arrivals: Sequence[Arrival], published: Path, say: Callable[[str], None], keep: Keep
) -> dict[str, int]:
    runs = _read_whole(published)
    before = set(runs["key"])
    sources: list[tuple[Set[str], Points]] = [
        (before, functools.partial(published_curves, published))
    ]
    for arrival in arrivals:
        known = arrival.runs["key"].isin(runs["key"])
        fresh = keep(arrival.runs[~known])
        for contradiction in _contradictions(runs, pd.concat([arrival.runs[known], fresh])):
            raise ContradictionError(
                f"{arrival.name}: {contradiction} Find out which is right and take the other away."
            )
        if len(fresh):
            runs = pd.concat([runs, fresh], ignore_index=True)
            sources.append((set(fresh["key"]), arrival.points))
    added = runs[~runs["key"].isin(before)].groupby("study").size()
    for study in added.index:
        if not NAME.fullmatch(str(study)):
            raise RejectedFileError(
                f"A row names the study {study!r}, of which no file can be made: expected letters, digits, - and _. "
                "Find out where it comes from and take it away."
            )
    for study in added.index:
        _write(published, str(study), runs, sources, say)
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

"""Publishing: finished runs become rows of a snapshot, from a store, or from folders that others have sent.

A snapshot is a pair of Parquet files a study, wherever it lies: that of the repository grows by `publish`, and a
campaign elsewhere travels as one of its own, which `publish` writes too and `merge` brings home. Rows that are
there already stay as they are. Rows that contradict them are refused, all or nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from repro.protocol import parse_run
from repro.results import (
    HYPERPARAMETERS,
    IDENTITY,
    SEARCH,
    Record,
    RejectedFileError,
    read_published,
    read_store,
    sort_curves,
    sort_runs,
    tabulate,
    write_parquet,
)

TOLERANCE = 0.1
"""Largest relative difference of the scores of one run made twice: other machines round otherwise."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""What a study may be called: files are named after it, and rows come from elsewhere."""

Rows = tuple[pd.DataFrame, pd.DataFrame]


class ContradictionError(ValueError):
    """Rows that cannot both be true; the message names them and says how to mend it."""


def publish(store: Path, published: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    """Merge finished runs into a snapshot.

    Args:
        store: Folder of finished runs.
        published: Folder of the snapshot; it need not exist.

    Returns:
        New rows by study, and a line for every file that was skipped.

    Raises:
        RejectedFileError: If a snapshot file that would grow cannot be read; nothing is written then.
        ContradictionError: If rows contradict those of the snapshot; nothing is written then.
    """
    records, skipped = read_store(store)
    return _merge([(str(store), tabulate(records))], published), skipped


def merge(folders: Sequence[Path], published: Path) -> dict[str, int]:
    """Merge snapshots that were made elsewhere into a snapshot.

    Args:
        folders: Folders that `publish` wrote.
        published: Folder of the snapshot.

    Returns:
        New rows by study.

    Raises:
        RejectedFileError: If a folder is no snapshot, or a file cannot be read; nothing is written then.
        ContradictionError: If rows contradict each other; nothing is written then.
    """
    return _merge([(str(folder), read_snapshot(folder)) for folder in folders], published)


def read_snapshot(folder: Path) -> Rows:
    """Return the rows of a snapshot that was made elsewhere, every one checked against its specification.

    Args:
        folder: Its folder.

    Returns:
        Runs and curves.

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
    runs, curves, problems = read_published(folder)
    if problems:
        raise RejectedFileError(problems[0])
    if strange := _not_themselves(runs):
        raise RejectedFileError(
            f"{folder}: the row {strange[0][:12]} is not that of its specification (changed, or of another "
            "protocol). Have it written again with `repro publish --to`."
        )
    return runs, curves


def _not_themselves(runs: pd.DataFrame) -> list[str]:
    """Return the keys of rows whose identity is not that of the run which they specify."""
    specs = []
    for key, text in zip(runs["key"], runs["spec"], strict=True):
        try:
            specs.append(parse_run(text))
        except ValueError:
            return [key]
    told = zip(specs, runs["status"], strict=True)
    own, _ = tabulate(Record(spec, status, {}, ()) for spec, status in told)
    columns = ["spec", *IDENTITY, *SEARCH, *HYPERPARAMETERS]
    left, right = (
        frame.sort_values("spec")[columns].reset_index(drop=True) for frame in (own, runs)
    )
    same = (left == right) | (left.isna() & right.isna())
    return list(right["key"][~same.all(axis=1)])


def _merge(arrivals: Sequence[tuple[str, Rows]], published: Path) -> dict[str, int]:
    runs, curves, problems = read_published(published)
    if problems:
        raise RejectedFileError(problems[0])
    before = set(runs["key"])
    for name, (new_runs, new_curves) in arrivals:
        for contradiction in _contradictions(runs, new_runs):
            raise ContradictionError(
                f"{name}: {contradiction} Find out which is right and take the other away."
            )
        fresh = ~new_runs["key"].isin(set(runs["key"]))
        if fresh.any():
            of_fresh = new_curves["key"].isin(set(new_runs["key"][fresh]))
            runs = pd.concat([runs, new_runs[fresh]], ignore_index=True)
            curves = pd.concat([curves, new_curves[of_fresh]], ignore_index=True)
    added = runs[~runs["key"].isin(before)].groupby("study").size()
    for study in added.index:
        if not NAME.fullmatch(str(study)):
            raise RejectedFileError(
                f"A row names the study {study!r}, of which no file can be made: expected letters, digits, - and _. "
                "Find out where it comes from and take it away."
            )
    for study in added.index:
        own = runs[runs["study"] == study]
        # curves first: a crash in between leaves curves without a run, which nothing shows
        write_parquet(
            published / f"{study}.curves.parquet",
            sort_curves(curves[curves["key"].isin(set(own["key"]))]),
        )
        write_parquet(published / f"{study}.runs.parquet", sort_runs(own))
    return {str(study): int(count) for study, count in added.items()}


def _contradictions(old: pd.DataFrame, new: pd.DataFrame) -> Iterator[str]:
    """Yield what two runs tables say differently of one run or one search."""
    both = old.merge(new, on="key", suffixes=("_old", "_new"))
    for row in both.to_dict("records"):
        scores = float(row["score_old"]), float(row["score_new"])
        told = math.isfinite(scores[0]) and math.isfinite(scores[1])
        alike = not told or math.isclose(*scores, rel_tol=TOLERANCE)
        if row["status_old"] != row["status_new"] or not alike:
            ends = [
                f"{row[f'status_{s}']} with score {row[f'score_{s}']:.4g}" for s in ("new", "old")
            ]
            yield (
                f"{row['study_old']} {row['experiment_old']}, {row['method_old']}, repetition "
                f"{row['repetition_old']} (run {row['key'][:12]}) is {ends[0]} here, and {ends[1]} in what is "
                "published or was merged before."
            )
    searches = pd.concat([old, new])
    searches = searches[searches["role"] == "tune"]
    for (study, experiment, scale), found in searches.groupby(["study", "experiment", "scale"]):
        if len(digests := sorted(set(found["search"]))) > 1:
            yield (
                f"{study} {experiment} at {scale} scale would have trials of the searches "
                f"{' and '.join(digests)}, which differ in space, budget or sampler."
            )

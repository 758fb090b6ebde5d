"""Merging into a snapshot: all of what comes in, or nothing.

Rows that are there already stay as they are, and rows that contradict them are refused. Only one process may write
a snapshot at a time, or one would overwrite what another has just added.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable, Iterator, Sequence, Set
from pathlib import Path

import numpy as np
import pandas as pd

from repro.publishing.arrivals import Arrival, Points, read_snapshot, read_whole
from repro.publishing.planned import Planned
from repro.results import (
    RejectedFileError,
    hold,
    published_curves,
    read_indexed,
    sort_curves,
    sort_runs,
    write_curves,
    write_parquet,
)

TOLERANCE = 0.1
"""Largest relative difference of the scores of one run made twice: other machines round otherwise."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""What a study may be called: files are named after it, and rows come from elsewhere."""

CHUNK = 1_024
"""Runs whose curves are held at once."""


class ContradictionError(ValueError):
    """Rows that cannot both be true; the message names them and says how to mend it."""


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


def _merge(
    arrivals: Sequence[Arrival],
    published: Path,
    say: Callable[[str], None],
    planned: Planned | None,
) -> dict[str, int]:
    """Decide what the snapshot has from now on, refuse what cannot be, and only then write any of it."""
    planned = planned or Planned({})
    there = read_whole(published)
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

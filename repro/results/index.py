"""An index beside the finished runs: their rows in a few files, so that a large store is not opened run by run.

The files of the runs are the truth, and the index may be removed at any time. A row of it is valid while the file that
it was read from has the same stamp; all other rows are read from the files and added. Segments are only added, each
whole, so any number of processes may add some; many small ones are replaced by a larger one.
"""

from __future__ import annotations

import contextlib
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from repro.results.records import Record, RejectedFileError, read_record
from repro.results.schema import RUN_COLUMNS
from repro.results.segments import (
    CHUNK,
    STAMP,
    Segment,
    SegmentWriter,
    as_arrow,
    merge_small,
    read_segments,
)
from repro.results.store import GONE, Store
from repro.results.table import tabulate, typed

FOLDER = "index"
"""Place of the index in a store."""
FEWEST = 64
"""Fewest new files from which a segment is made; fewer are read every time."""


class Indexed:
    """The rows of a store; their curves are read when they are asked for.

    Attributes:
        runs: One row per run, `RUN_COLUMNS`, in no order.
        problems: One line per file that is not usable.
    """

    def __init__(
        self,
        segments: Sequence[Segment],
        read: pd.DataFrame,
        find: Callable[[str], Path],
        problems: Sequence[str],
    ) -> None:
        """Put together the rows of segments, and those read just now.

        Args:
            segments: The segments.
            read: Rows that are in no segment.
            find: Returns the file of a run by its key.
            problems: What was skipped.
        """
        self._segments, self._find = segments, find
        # as Arrow's tables, which share their words until they are put together
        names = list(RUN_COLUMNS)
        parts = [*(segment.rows.select(names) for segment in segments), as_arrow(read[names])]
        runs = typed(pa.concat_tables(parts).to_pandas(), RUN_COLUMNS)
        homes = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        twice = runs["key"].duplicated().to_numpy()  # the same run is in two
        if twice.any():
            runs, homes = runs[~twice].reset_index(drop=True), homes[~twice]
        self.runs = runs
        self._homes = pd.Series(homes, index=pd.Index(runs["key"]))
        self.problems = tuple(problems)

    def curves(self, keys: Iterable[str]) -> pd.DataFrame:
        """Return the points of runs.

        Args:
            keys: Keys of runs; one that is not here has none.

        Returns:
            Columns of `CURVE_COLUMNS`, in no order.
        """
        homes = self._homes[self._homes.index.isin(list(keys))]
        frames, unread = [], []
        for home, own in homes.groupby(homes).groups.items():
            index = int(str(home))
            segment = self._segments[index] if index < len(self._segments) else None
            points = None if segment is None else segment.points(list(own))
            if points is None:
                unread += list(own)
            else:
                frames.append(points)
        if unread or not frames:
            frames.append(tabulate(self._records(unread))[1])
        return pd.concat(frames, ignore_index=True)

    def _records(self, keys: Iterable[str]) -> Iterator[Record]:
        for key in keys:
            # it was whole a moment ago; if it is not now, the next who reads the store says so
            with contextlib.suppress(RejectedFileError, FileNotFoundError):
                yield read_record(self._find(key))


def read_indexed(directory: Path, say: Callable[[str], None] = lambda line: None) -> Indexed:
    """Return the rows of a store through its index, which is brought up to date if it can be written.

    Args:
        directory: Folder of a `Store`; it need not exist.
        say: Called with a line on the progress while files are read.

    Returns:
        The rows, and a line for every file that is not usable.
    """
    store, folder = Store(directory), directory / FOLDER
    with ThreadPoolExecutor(1) as aside:  # the disk is waited for here, and unpacking done there
        found = aside.submit(lambda: list(read_segments(folder)))
        stamps, strays = _stamps(store)
    true = [_only_true(segment, stamps) for segment in found.result()]
    segments = merge_small(folder, true)
    known = np.zeros(len(stamps), dtype=bool)
    for segment in segments:
        known[_places(segment.rows, stamps)] = True
    new = list(stamps.index[~known])
    reader = _Reader(len(new) + len(strays), say)
    apart: list[pd.DataFrame] = []
    writing = SegmentWriter(folder) if len(new) >= FEWEST else contextlib.nullcontext()
    with writing as writer:
        for runs, curves in reader.chunks(store.path(key) for key in new):
            rows = runs.join(stamps, on="key")  # taken before the files were read
            if writer is None or not writer.add(rows, curves):
                apart.append(rows)
    if writer is not None:
        segments = [*segments, *writer.written]
        apart += writer.lost
    apart += [runs for runs, _ in reader.chunks(strays)]
    read = pd.concat([tabulate(())[0], *apart], ignore_index=True)
    elsewhere = {path.stem: path for path in strays if path not in reader.unusable}

    def find(key: str) -> Path:
        own = store.path(key)
        return own if key in stamps.index and own not in reader.unusable else elsewhere[key]

    return Indexed(segments, read, find, reader.problems)


def _stamps(store: Store) -> tuple[pd.DataFrame, list[Path]]:
    """Return the stamps of files by key, in order, and the files that no key names or that are in a wrong folder."""
    keys: list[str] = []
    strays: list[Path] = []
    numbers = array("q")
    for folder, name, facts in store.look():
        key = name.removesuffix(".json")
        if facts is None or key[:2] != folder:
            strays.append(store.directory / folder / name)
            continue
        keys.append(key)
        inode = facts.st_ino & 0x7FFF_FFFF_FFFF_FFFF  # unsigned
        numbers.extend((facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, inode))
    values = np.array(numbers, dtype=np.int64).reshape(-1, len(STAMP))
    return pd.DataFrame(values, index=pd.Index(keys, dtype="str"), columns=list(STAMP)), strays


def _places(rows: Any, stamps: pd.DataFrame) -> npt.NDArray[np.intp]:
    """Return the places of the files of a segment's rows among the stamps, -1 for one that is gone."""
    return stamps.index.get_indexer(pd.Index(rows["key"].to_pandas()))


def _only_true(segment: Segment, stamps: pd.DataFrame) -> Segment:
    """Return a segment with only those rows whose files still have the same stamps."""
    places = _places(segment.rows, stamps)
    same = places >= 0
    for name in STAMP:
        there = segment.rows[name].to_numpy()[same] == stamps[name].to_numpy()[places[same]]
        same[same] = there
    if not same.all():
        segment.rows = segment.rows.filter(pa.array(same))
    return segment


class _Reader:
    """Reads files, and notes which are not usable."""

    def __init__(self, total: int, say: Callable[[str], None]) -> None:
        self._total, self._say = total, say
        self._done = 0
        self.problems: list[str] = []
        self.unusable: set[Path] = set()

    def chunks(self, paths: Iterable[Path]) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Yield runs and curves, for as many runs at a time as may be held in memory."""
        records = self._records(paths)
        while True:
            runs, curves = tabulate(itertools.islice(records, CHUNK))
            if runs.empty:
                return
            yield runs, curves

    def _records(self, paths: Iterable[Path]) -> Iterator[Record]:
        for path in paths:
            if self._done and self._done % 256 == 0:
                self._say(f"reading finished runs: {self._done} of {self._total}")
            self._done += 1
            try:
                yield read_record(path)
            except RejectedFileError as error:
                self._skip(path, str(error))
            except FileNotFoundError:
                self._skip(path, f"{path}: {GONE}")

    def _skip(self, path: Path, problem: str) -> None:
        self.unusable.add(path)
        self.problems.append(problem)

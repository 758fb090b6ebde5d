"""Segments: the files of an index, pairs of Parquet files named by the hash of their own content.

One of a pair holds rows, each with a stamp of the file that it was read from, and names the other, which holds their
thinned curves. A segment is written once and never changed. One whose content does not match its name is removed; one
that another version of this package wrote is left alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from repro.protocol import PROTOCOL_VERSION
from repro.results.schema import CURVE_COLUMNS, MAX_POINTS, RUN_COLUMNS, SCHEMA
from repro.results.store import write_whole
from repro.results.table import typed

CHUNK = 1_024
"""The most runs that are held in memory with their curves."""
LARGEST = 4 * CHUNK
"""Runs of a segment."""
MANY = 16
"""The most segments of less than a chunk that are kept before they are merged."""

STAMP = ("size", "modified", "changed", "inode")
"""What tells a file from another of its name: one put in its place has another inode, one changed where it is another
time of change, whatever its owner sets the other time to."""
COLUMNS = (*RUN_COLUMNS, *STAMP)
KIND = f"1.{SCHEMA}.{PROTOCOL_VERSION}.{MAX_POINTS}".encode()
"""What rows depend on besides the files; a segment of another kind is left alone."""

_NAME = re.compile(r"[0-9a-f]{64}")
_NEW = ".new-"
_TROUBLE = (pa.ArrowException, OSError)


@dataclasses.dataclass(eq=False)
class Segment:
    """A pair of files.

    Attributes:
        path: The file of the rows.
        curves: The file of their curves.
        rows: The rows, `COLUMNS`, as an Arrow table.
    """

    path: Path
    curves: Path
    rows: Any
    _trusted: bool | None = (
        None  # whether the curves are what their name says; `None` before a look
    )

    def points(self, keys: Sequence[str]) -> pd.DataFrame | None:
        """Return the points of some of its runs.

        Args:
            keys: Keys of runs; what lies between them in the order of keys is read, too.

        Returns:
            Columns of `CURVE_COLUMNS`; `None` if the curves are not usable, and the segment is removed then.
        """
        if self._trusted is None:
            self._trusted = _digest(self.curves) == self.curves.name.partition(".")[0]
            if not self._trusted:
                self.remove()
        if not self._trusted:
            return None
        between = [("key", ">=", min(keys)), ("key", "<=", max(keys))]
        try:
            frame = pq.read_table(self.curves, filters=between, partitioning=None).to_pandas()
        except _TROUBLE:
            return None  # replaced by a larger one just now
        return typed(frame[frame["key"].isin(keys)], CURVE_COLUMNS)

    def remove(self) -> None:
        """Remove both files, if that is possible."""
        for path in (self.path, self.curves):
            _remove(path)


def read_segments(folder: Path) -> Iterator[Segment]:
    """Yield the usable segments of an index; a damaged one is removed.

    Args:
        folder: Folder of the index; it need not exist.

    Yields:
        Segments with all their rows.
    """
    for path in sorted(folder.glob("*.runs.parquet")):
        name = path.name.removesuffix(".runs.parquet")
        if not _NAME.fullmatch(name):
            continue
        try:
            content = path.read_bytes()
        except OSError:
            continue  # replaced by a larger one just now
        if hashlib.sha256(content).hexdigest() != name:
            _remove(path)
            continue
        try:
            rows = pq.read_table(pa.BufferReader(content))
        except (*_TROUBLE, ValueError):
            continue
        about = rows.schema.metadata or {}
        curves = about.get(b"curves", b"").decode(errors="replace")
        # no path is taken from a file, not from our own either
        fits = about.get(b"repro-index") == KIND and rows.column_names == list(COLUMNS)
        if fits and _NAME.fullmatch(curves):
            yield Segment(path, folder / f"{curves}.curves.parquet", rows.replace_schema_metadata())


def as_arrow(frame: pd.DataFrame) -> Any:
    """Return a table as one of Arrow."""
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()


class SegmentWriter:
    """Writes segments as rows come. If that fails it stops, and nothing is lost, as the runs have files.

    Attributes:
        written: The segments.
        lost: Rows taken that are in no segment.
    """

    def __init__(self, folder: Path) -> None:
        """Name the folder of the index; it is made at the first row."""
        self._folder = folder
        self._rows: list[pd.DataFrame] = []
        self._curves: Any = None
        self._path: Path | None = None
        self._broken = False
        self.written: list[Segment] = []
        self.lost: list[pd.DataFrame] = []

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()  # what came until an interruption is kept

    def add(self, rows: pd.DataFrame, curves: pd.DataFrame) -> bool:
        """Take rows with stamps and their curves; tell whether they were taken."""
        if self._broken:
            return False
        table = as_arrow(curves)
        try:
            if self._curves is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._path = self._folder / f"{_NEW}{secrets.token_hex(8)}"
                self._curves = pq.ParquetWriter(str(path), table.schema, compression="zstd")
            self._curves.write_table(table, row_group_size=max(1, len(table)))
        except _TROUBLE:
            self._give_up()
            return False
        self._rows.append(rows[list(COLUMNS)])
        if sum(map(len, self._rows)) >= LARGEST:
            self._end()
        return True

    def _end(self) -> None:
        if not self._rows or self._path is None:
            self._give_up()  # an interruption may have left curves without rows
            return
        rows = as_arrow(pd.concat(self._rows, ignore_index=True))
        try:
            self._curves.close()
            digest = _digest(self._path)
            curves = self._path.replace(self._folder / f"{digest}.curves.parquet")
            self._path = curves
            content = io.BytesIO()
            table = rows.replace_schema_metadata({"repro-index": KIND, "curves": digest})
            # quick to read: most of a row is its key and its specification, of which none comes twice
            alike = [name for name in COLUMNS if name not in ("key", "spec")]
            pq.write_table(table, content, compression="lz4", use_dictionary=alike)
            path = self._folder / f"{hashlib.sha256(content.getvalue()).hexdigest()}.runs.parquet"
            write_whole(path, content.getvalue())
        except _TROUBLE:
            self._give_up()
            return
        self.written.append(Segment(path, curves, rows))
        self._rows, self._curves, self._path = [], None, None

    def _give_up(self) -> None:
        self._broken = True
        self.lost += self._rows
        if self._path is not None:
            _remove(self._path)
        self._rows, self._curves, self._path = [], None, None


def merge_small(folder: Path, segments: list[Segment]) -> list[Segment]:
    """Replace many small segments by larger ones.

    Args:
        folder: Folder of the index.
        segments: Its segments, with only those rows that are still valid.

    Returns:
        The segments that there are then. Runs whose curves were found damaged are in none.
    """
    small = [segment for segment in segments if len(segment.rows) < CHUNK]
    if len(small) <= MANY:
        return segments
    rows = pa.concat_tables(segment.rows for segment in small).to_pandas()
    rows = rows.drop_duplicates("key").sort_values("key", ignore_index=True)
    complete = True
    with SegmentWriter(folder) as writer:
        for begin in range(0, len(rows), CHUNK):
            chunk = rows[begin : begin + CHUNK]
            found = {str(key) for key in chunk["key"]}
            frames = []
            for segment in small:
                own = sorted(found.intersection(segment.rows["key"].to_pylist()))
                points = segment.points(own) if own else None
                if points is None:
                    continue
                frames.append(points)
                found.difference_update(own)
            kept = chunk[~chunk["key"].isin(found)]
            if len(kept):
                curves = pd.concat(frames, ignore_index=True).sort_values("key", kind="stable")
                complete = complete and writer.add(kept, curves)
    if not complete or writer.lost:
        return segments
    names = {path for segment in writer.written for path in (segment.path, segment.curves)}
    for segment in small:
        for path in {segment.path, segment.curves} - names:
            _remove(path)
    for leftover in folder.glob(f"{_NEW}*"):  # of a killed writer; one at work goes on without
        _remove(leftover)
    return [*(segment for segment in segments if segment not in small), *writer.written]


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # of others, or read-only
        path.unlink()

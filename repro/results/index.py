"""An index beside the finished runs: their rows in a few files, so that a large store is not opened run by run.

The files of the runs are the truth, and the index may be removed at any time. It consists of segments, each a pair
of Parquet files named by the hash of its own content: rows, with a stamp of the file that each was read from, and
their thinned curves. Segments are only ever added, whole, so any number of processes may; many small ones are
replaced by a larger one. A row whose file has another stamp now is not used, nor is a segment whose content is not
what its name says, or that another version wrote: then the files are read again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import itertools
import re
import secrets
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd

from repro.protocol import PROTOCOL_VERSION
from repro.results.records import Record, RejectedFileError, read_record
from repro.results.schema import CURVE_COLUMNS, MAX_POINTS, RUN_COLUMNS, SCHEMA
from repro.results.store import GONE, Store, write_whole
from repro.results.table import sort_curves, tabulate, typed

FOLDER = "index"
"""Where it is kept in a store."""
FEWEST = 64
"""New files of which a segment is made; fewer are read every time."""
CHUNK = 1_024
"""Runs that are held in memory with their curves."""
LARGEST = 4 * CHUNK
"""Runs of a segment."""
MANY = 16
"""Segments of less than a chunk that are kept before they are merged."""

STAMP = ("size", "modified", "changed", "inode")
"""What tells a file from another of its name: one put in its place has another inode, one changed where it is another
time of change, whatever its owner sets the other time to."""
COLUMNS = {**RUN_COLUMNS, **dict.fromkeys(STAMP, "int64")}
KIND = f"1.{SCHEMA}.{PROTOCOL_VERSION}.{MAX_POINTS}".encode()
"""What rows depend on besides the files; a segment of another kind is left to whoever wrote it."""

_NAME = re.compile(r"[0-9a-f]{64}")
_NEW = ".new-"


@dataclasses.dataclass(eq=False)
class _Segment:
    """A pair of files; its rows are those whose files are as they were when they were read."""

    path: Path
    curves: Path
    rows: pd.DataFrame
    trusted: bool | None = None  # whether the curves are what their name says; `None` before a look


class Indexed:
    """The rows of a store; their curves are read when they are asked for.

    Attributes:
        runs: One row a run, `RUN_COLUMNS`, in no order.
        problems: One line a file that is not usable.
    """

    def __init__(
        self,
        segments: Sequence[_Segment],
        read: pd.DataFrame,
        find: Callable[[str], Path],
        problems: Sequence[str],
    ) -> None:
        """Put together the rows of segments, and those read just now.

        Args:
            segments: The segments.
            read: Rows that are in none.
            find: Tells the file of a run by its key.
            problems: What was skipped.
        """
        self._segments, self._find = segments, find
        parts = [*(segment.rows for segment in segments), read]
        whole = pd.concat([part[list(RUN_COLUMNS)] for part in parts], ignore_index=True)
        homes = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        first = ~whole["key"].duplicated().to_numpy()  # the same run is in two
        self.runs = whole[first].reset_index(drop=True)
        self._homes = pd.Series(homes[first], index=pd.Index(self.runs["key"]))
        self.problems = tuple(problems)

    def curves(self, keys: Iterable[str]) -> pd.DataFrame:
        """Return the points of runs.

        Args:
            keys: Keys of runs; one that is not here has none.

        Returns:
            Columns of `CURVE_COLUMNS`, in their order.
        """
        homes = self._homes[self._homes.index.isin(list(keys))]
        frames, unread = [], []
        for home, own in homes.groupby(homes).groups.items():
            index = int(str(home))
            points = (
                _points(self._segments[index], list(own)) if index < len(self._segments) else None
            )
            if points is None:
                unread += list(own)
            else:
                frames.append(points)
        if unread or not frames:
            frames.append(tabulate(self._records(unread))[1])
        return sort_curves(pd.concat(frames, ignore_index=True))

    def _records(self, keys: Iterable[str]) -> Iterator[Record]:
        for key in keys:
            # it was whole a moment ago; if it is not now, the next who reads the store says so
            with contextlib.suppress(RejectedFileError, FileNotFoundError):
                yield read_record(self._find(key))


def read_indexed(directory: Path, say: Callable[[str], None] = lambda line: None) -> Indexed:
    """Return the rows of a store through its index, which is brought up to date where it can be written.

    Args:
        directory: Folder of a `Store`; it need not exist.
        say: Told, in a line, how far it is while files are read.

    Returns:
        The rows, and a line for every file that is not usable.
    """
    store = Store(directory)
    stamps, strays = _stamps(store)
    segments = _current(_segments(directory / FOLDER), stamps)
    known = pd.Index([key for segment in segments for key in segment.rows["key"]], dtype="str")
    new = list(stamps.index[~stamps.index.isin(known)])
    reader = _Reader(store, len(new) + len(strays), say)
    apart: list[pd.DataFrame] = []
    writing = _Writer(directory / FOLDER) if len(new) >= FEWEST else contextlib.nullcontext()
    with writing as writer:
        for runs, curves in reader.chunks(store.path(key) for key in new):
            rows = _stamped(runs, stamps)
            if writer is None or not writer.add(rows, curves):
                apart.append(rows)
    if writer is not None:
        segments += writer.written
        apart += writer.lost
    apart += [runs for runs, _ in reader.chunks(strays)]
    read = pd.concat([tabulate(())[0], *apart], ignore_index=True)
    elsewhere: Mapping[str, Path] = {path.stem: path for path in strays}

    def find(key: str) -> Path:
        return store.path(key) if key in stamps.index else elsewhere[key]

    indexed = Indexed(segments, read, find, reader.problems)
    merged = _merge_small(directory / FOLDER, segments, indexed)
    return indexed if merged is None else Indexed(merged, read, find, reader.problems)


def _stamps(store: Store) -> tuple[pd.DataFrame, list[Path]]:
    """Return the stamps of files by key, in order, and the files that are no key's or in another's folder."""
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


def _stamped(runs: pd.DataFrame, stamps: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the stamps that their files had before they were read."""
    return runs.join(stamps, on="key")


class _Reader:
    """Reads files, and notes which are not usable."""

    def __init__(self, store: Store, total: int, say: Callable[[str], None]) -> None:
        self._directory, self._total, self._say = store.directory, total, say
        self._done = 0
        self.problems: list[str] = []

    def chunks(self, paths: Iterable[Path]) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
        """Yield runs and curves, of so many runs at a time as may be held in memory."""
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
                self.problems.append(str(error))
            except FileNotFoundError:
                self.problems.append(f"{path}: {GONE}")


def _segments(folder: Path) -> Iterator[_Segment]:
    """Yield what is usable of an index; what is damaged is removed."""
    import pyarrow
    import pyarrow.parquet

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
            table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
        except (pyarrow.ArrowException, OSError, ValueError):
            continue
        about = table.schema.metadata or {}
        curves = about.get(b"curves", b"").decode(errors="replace")
        # no path is taken from a file, not from our own either
        if about.get(b"repro-index") != KIND or not _NAME.fullmatch(curves):
            continue
        if table.column_names == list(COLUMNS):
            rows = typed(table.to_pandas(), COLUMNS)
            yield _Segment(path, folder / f"{curves}.curves.parquet", rows)


def _current(segments: Iterable[_Segment], stamps: pd.DataFrame) -> list[_Segment]:
    """Return segments with the rows alone whose files have the stamps of now."""
    current = stamps.to_numpy()
    kept = []
    for segment in segments:
        places = stamps.index.get_indexer(pd.Index(segment.rows["key"]))
        same = places >= 0
        same[same] = (segment.rows[list(STAMP)].to_numpy()[same] == current[places[same]]).all(
            axis=1
        )
        kept.append(dataclasses.replace(segment, rows=segment.rows[same]))
    return kept


def _points(segment: _Segment, keys: Sequence[str]) -> pd.DataFrame | None:
    """Return the points of some runs of a segment; `None` if it is not usable, and it is removed then."""
    import pyarrow
    import pyarrow.parquet

    if segment.trusted is None:
        segment.trusted = _digest(segment.curves) == segment.curves.name.partition(".")[0]
        if not segment.trusted:
            for path in (segment.path, segment.curves):
                _remove(path)
    if not segment.trusted:
        return None
    between = [("key", ">=", min(keys)), ("key", "<=", max(keys))]
    try:
        table = pyarrow.parquet.read_table(segment.curves, filters=between, partitioning=None)
    except (pyarrow.ArrowException, OSError):
        return None
    frame = table.to_pandas()
    return typed(frame[frame["key"].isin(keys)], CURVE_COLUMNS)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # of others, or read-only
        path.unlink()


class _Writer:
    """Writes segments as rows come. Where that fails it stops, and nothing is lost: the files are there.

    Attributes:
        written: The segments.
        lost: Rows taken that are in none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[pd.DataFrame] = []
        self._curves: Any = None
        self._path: Path | None = None
        self._broken = False
        self.written: list[_Segment] = []
        self.lost: list[pd.DataFrame] = []

    def __enter__(self) -> _Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()  # what was read until an interruption is kept

    def add(self, rows: pd.DataFrame, curves: pd.DataFrame) -> bool:
        """Take rows with stamps and their curves; tell whether they were taken."""
        import pyarrow
        import pyarrow.parquet

        if self._broken:
            return False
        table = pyarrow.Table.from_pandas(curves, preserve_index=False)
        table = table.replace_schema_metadata(None)
        try:
            if self._curves is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._path = self._folder / f"{_NEW}{secrets.token_hex(8)}"
                self._curves = pyarrow.parquet.ParquetWriter(
                    str(path), table.schema, compression="zstd"
                )
            self._curves.write_table(table, row_group_size=max(1, len(table)))
        except (pyarrow.ArrowException, OSError):
            self._give_up()
            return False
        self._rows.append(rows)
        if sum(map(len, self._rows)) >= LARGEST:
            self._end()
        return True

    def _end(self) -> None:
        import pyarrow
        import pyarrow.parquet

        if self._curves is None or self._path is None:
            return
        rows = pd.concat(self._rows, ignore_index=True)
        try:
            self._curves.close()
            digest = _digest(self._path)
            curves = self._path.replace(self._folder / f"{digest}.curves.parquet")
            self._path = curves
            table = pyarrow.Table.from_pandas(rows[list(COLUMNS)], preserve_index=False)
            table = table.replace_schema_metadata({"repro-index": KIND, "curves": digest})
            content = io.BytesIO()
            pyarrow.parquet.write_table(table, content, compression="zstd")
            name = hashlib.sha256(content.getvalue()).hexdigest()
            path = self._folder / f"{name}.runs.parquet"
            write_whole(path, content.getvalue())
        except (pyarrow.ArrowException, OSError):
            self._give_up()
            return
        self.written.append(_Segment(path, curves, rows))
        self._rows, self._curves = [], None

    def _give_up(self) -> None:
        self._broken = True
        self.lost += self._rows
        self._rows, self._curves = [], None
        if self._path is not None:
            _remove(self._path)


def _merge_small(
    folder: Path, segments: Sequence[_Segment], indexed: Indexed
) -> list[_Segment] | None:
    """Replace many small segments by larger ones; return all that there are then, `None` if none was replaced."""
    small = [segment for segment in segments if len(segment.rows) < CHUNK]
    if len(small) <= MANY:
        return None
    rows = pd.concat([segment.rows for segment in small])
    rows = rows.drop_duplicates("key").sort_values("key", ignore_index=True)
    with _Writer(folder) as writer:
        for begin in range(0, len(rows), CHUNK):
            chunk = rows[begin : begin + CHUNK]
            writer.add(chunk, indexed.curves(chunk["key"]))
    if sum(len(segment.rows) for segment in writer.written) < len(rows):
        return None
    kept = {path for segment in writer.written for path in (segment.path, segment.curves)}
    for path in {path for segment in small for path in (segment.path, segment.curves)} - kept:
        _remove(path)
    for leftover in folder.glob(
        f"{_NEW}*"
    ):  # of a writer that was killed; any other reads on without
        _remove(leftover)
    return [*(segment for segment in segments if segment not in small), *writer.written]

"""Published rows: two Parquet files per study, and the union of them with a store.

A runs table is held in memory whole. Curves, which are most of a snapshot, are written part by part.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from repro.results.index import read_indexed
from repro.results.records import RejectedFileError
from repro.results.schema import CURVE_COLUMNS, LATER_COLUMNS, RUN_COLUMNS, SCHEMA
from repro.results.store import write_whole, writing_whole
from repro.results.superseded import superseded
from repro.results.table import (
    Results,
    consolidated,
    contiguous,
    sort_curves,
    sort_runs,
    tabulate,
    typed,
)

ROW_GROUP = 2**18
"""Points that are compressed together; a writer of curves holds so many."""


def read_parquet(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of a snapshot.

    Args:
        path: A file that `write_parquet` or `write_curves` wrote.
        columns: Columns that it must have, by kind.

    Returns:
        The table, typed.

    Raises:
        RejectedFileError: If the file is damaged, foreign or of another schema.
    """
    with _readable(path):
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
        frame = table.to_pandas()
    return _fitting(path, frame, table.schema, columns)


def check_curves(directory: Path) -> None:
    """Read the curves of a snapshot through, holding few of them.

    Args:
        directory: Folder of `<study>.curves.parquet`.

    Raises:
        RejectedFileError: If a file is damaged, foreign or of another schema.
    """
    for path in sorted(directory.glob("*.curves.parquet")):
        with _readable(path):
            file = pq.ParquetFile(path, page_checksum_verification=True)
            _fitting(
                path, file.schema_arrow.empty_table().to_pandas(), file.schema_arrow, CURVE_COLUMNS
            )
            for _ in file.iter_batches():
                pass


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except RejectedFileError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RejectedFileError(
            f"{path}: not a readable Parquet file ({reason}). Restore it from version control, "
            "or have it written again."
        ) from error


def _fitting(
    path: Path, frame: pd.DataFrame, found: Any, columns: Mapping[str, str]
) -> pd.DataFrame:
    """Return the columns of a file, if it is of this schema."""
    schema = (found.metadata or {}).get(b"repro-schema")
    if schema != str(SCHEMA).encode():
        told = "none" if schema is None else schema.decode(errors="replace")
        raise RejectedFileError(
            f"{path}: expected results schema {SCHEMA}, found {told}. Skipped and left as it is."
        )
    for name in set(LATER_COLUMNS) & set(columns) - set(frame.columns):
        frame[name] = None
    if absent := [name for name in columns if name not in frame.columns]:
        raise RejectedFileError(
            f"{path}: lacks the columns {', '.join(absent)} of results schema {SCHEMA}. "
            "Skipped and left as it is."
        )
    return typed(frame, columns)


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as a Parquet file of this schema, whole or not at all; its folder is made."""
    table = _arrow(frame)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def write_curves(path: Path, parts: Iterable[pd.DataFrame]) -> None:
    """Write a curves table that comes in parts, whole or not at all; its folder is made.

    The bytes depend on the rows alone, not on where the parts end.

    Args:
        path: The file.
        parts: Its rows in order; `sort_curves` of an empty table makes one without rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting = _arrow(tabulate(())[1])
    written = _Written()
    writer = pq.ParquetWriter(written, waiting.schema, compression="zstd", write_page_checksum=True)
    with writing_whole(path) as stream:
        for part in parts:
            waiting = pa.concat_tables([waiting, _arrow(part)])
            while len(waiting) >= ROW_GROUP:
                writer.write_table(waiting[:ROW_GROUP].combine_chunks())
                waiting = waiting[ROW_GROUP:]
                stream.write(written.take())
        if len(waiting):
            writer.write_table(waiting.combine_chunks())
        writer.close()
        stream.write(written.take())


class _Written(io.RawIOBase):
    """What Arrow has written since the last look: a full disk is met by this process, not within Arrow."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def _arrow(frame: pd.DataFrame) -> Any:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return table.replace_schema_metadata({"repro-schema": str(SCHEMA)})


def published_curves(directory: Path, keys: Sequence[str]) -> pd.DataFrame:
    """Return the points of some runs of a snapshot.

    Args:
        directory: Folder of `<study>.curves.parquet`.
        keys: Keys of runs that lie close together in their order, or everything between is read, too.

    Returns:
        Columns of `CURVE_COLUMNS`.
    """
    frames = [tabulate(())[1]]
    between = [("key", ">=", min(keys)), ("key", "<=", max(keys))]
    for path in sorted(directory.glob("*.curves.parquet")):
        with _readable(path):
            table = pq.read_table(path, filters=between, partitioning=None)
            frame = table.to_pandas()
        frames.append(typed(frame[frame["key"].isin(keys)], CURVE_COLUMNS))
    return pd.concat(frames, ignore_index=True).drop_duplicates(POINT)


POINT = ["key", "split", "metric", "step"]
"""Columns that identify a point of a curve."""


def read_published(directory: Path) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Return the committed snapshot.

    Args:
        directory: Folder of `<study>.runs.parquet` and `<study>.curves.parquet`.

    Returns:
        Runs, curves and a line for every file that was skipped.
    """
    runs, problems = read_published_runs(directory)
    curves, more = _read_all(directory, "curves", CURVE_COLUMNS)
    points = curves.drop_duplicates(POINT)
    # curves whose runs were skipped, or never came after them, belong to nothing here
    curves = points[points["key"].isin(runs["key"])].reset_index(drop=True)
    return runs, curves, (*problems, *more)


def read_published_runs(directory: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the runs of the committed snapshot, and a line for every file that was skipped."""
    runs, problems = _read_all(directory, "runs", RUN_COLUMNS)
    return runs.drop_duplicates("key", ignore_index=True), problems


def _read_all(
    directory: Path, kind: str, columns: Mapping[str, str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    tables, problems = [], []
    for path in sorted(directory.glob(f"*.{kind}.parquet")):
        try:
            tables.append(read_parquet(path, columns))
        except RejectedFileError as error:
            problems.append(str(error))
    empty = typed(pd.DataFrame(columns=list(columns)), columns)
    return pd.concat(tables, ignore_index=True) if tables else empty, tuple(problems)


def load(
    published: Path,
    store: Path | None = None,
    facts: pd.DataFrame | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Results:
    """Return the union of the published snapshot and a store; the same key twice is the same run.

    Superseded runs are left out, see `superseded`.

    Args:
        published: Folder of the snapshot.
        store: Folder of finished runs; its rows win nothing, since equal keys are equal runs.
        facts: Published values as rows, see `Results`.
        say: Told, in a line, how far it is while the store is read.

    Returns:
        The tables and what was skipped.
    """
    runs, curves, problems = read_published(published)
    known = set(runs["key"])
    if store is not None:
        indexed = read_indexed(store, say)
        new = indexed.runs[~indexed.runs["key"].isin(runs["key"])]
        if len(new):
            runs = sort_runs(pd.concat([runs, new], ignore_index=True))
            curves = sort_curves(pd.concat([curves, indexed.curves(new["key"])], ignore_index=True))
        problems += indexed.problems
    runs = runs[~superseded(runs)].reset_index(drop=True)
    unpublished = int((~runs["key"].isin(known)).sum())
    stated = pd.DataFrame() if facts is None else facts
    return Results(consolidated(runs), contiguous(curves), stated, problems, unpublished)


def load_runs(
    published: Path, store: Path, say: Callable[[str], None] = lambda line: None
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the runs of `load` in no order, without the curves, which are most of the data, and what was skipped."""
    runs, problems = read_published_runs(published)
    indexed = read_indexed(store, say)
    new = indexed.runs[~indexed.runs["key"].isin(runs["key"])]
    if len(new):
        runs = pd.concat([runs, new], ignore_index=True)
    return runs[~superseded(runs)].reset_index(drop=True), (*problems, *indexed.problems)

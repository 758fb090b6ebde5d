"""Published rows: two Parquet files a study, and the union of them with a store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from repro.results.records import RejectedFileError
from repro.results.schema import CURVE_COLUMNS, LATER_COLUMNS, RUN_COLUMNS, SCHEMA
from repro.results.store import read_store, write_whole
from repro.results.table import Results, sort_curves, sort_runs, tabulate, typed


def read_parquet(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of a snapshot.

    Args:
        path: A file that `write_parquet` wrote.
        columns: What it must have, by kind.

    Returns:
        The table, typed.

    Raises:
        RejectedFileError: If the file is damaged, foreign or of another schema.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        frame = table.to_pandas()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RejectedFileError(
            f"{path}: not a readable Parquet file ({reason}). Restore it from version control, "
            "or have it written again."
        ) from error
    schema = (table.schema.metadata or {}).get(b"repro-schema")
    if schema != str(SCHEMA).encode():
        found = "none" if schema is None else schema.decode(errors="replace")
        raise RejectedFileError(
            f"{path}: expected results schema {SCHEMA}, found {found}. Skipped and left as it is."
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
    import io

    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({"repro-schema": str(SCHEMA)})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def read_published(directory: Path) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Return the committed snapshot.

    Args:
        directory: Folder of `<study>.runs.parquet` and `<study>.curves.parquet`.

    Returns:
        Runs, curves and a line for every file that was skipped.
    """
    tables: dict[str, list[pd.DataFrame]] = {"runs": [], "curves": []}
    problems: list[str] = []
    for kind, columns in (("runs", RUN_COLUMNS), ("curves", CURVE_COLUMNS)):
        for path in sorted(directory.glob(f"*.{kind}.parquet")):
            try:
                tables[kind].append(read_parquet(path, columns))
            except RejectedFileError as error:
                problems.append(str(error))
    empty_runs, empty_curves = tabulate(())
    runs = pd.concat(tables["runs"], ignore_index=True) if tables["runs"] else empty_runs
    curves = pd.concat(tables["curves"], ignore_index=True) if tables["curves"] else empty_curves
    runs = runs.drop_duplicates("key", ignore_index=True)
    points = curves.drop_duplicates(["key", "split", "metric", "step"])
    # curves whose runs were skipped, or never came after them, belong to nothing here
    curves = points[points["key"].isin(runs["key"])].reset_index(drop=True)
    return runs, curves, tuple(problems)


def load(published: Path, store: Path | None = None, facts: pd.DataFrame | None = None) -> Results:
    """Return the union of the published snapshot and a store; the same key twice is the same run.

    Args:
        published: Folder of the snapshot.
        store: Folder of finished runs; its rows win nothing, since equal keys are equal runs.
        facts: Published values as rows, see `Results`.

    Returns:
        The tables and what was skipped.
    """
    runs, curves, problems = read_published(published)
    if store is not None:
        records, more = read_store(store)
        known = set(runs["key"])
        new_runs, new_curves = tabulate(r for r in records if r.spec.key not in known)
        if len(new_runs):
            runs = sort_runs(pd.concat([runs, new_runs], ignore_index=True))
            curves = sort_curves(pd.concat([curves, new_curves], ignore_index=True))
        problems += more
    return Results(runs, curves, pd.DataFrame() if facts is None else facts, problems)

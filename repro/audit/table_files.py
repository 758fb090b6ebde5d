"""Anybody's table of runs as a file: CSV, Parquet or JSON, read as it stands or refused with how to mend it.

Names of methods and seeds are kept as they are written: a method may be called `None`, and a seed may have more digits
than a floating-point number holds.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Words of a CSV file that stand for a blank; as the name of a method they are names."""
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def read_table(path: Path, method: str = "method", seed: str = "seed") -> pd.DataFrame:
    """Return the rows of a CSV, Parquet or JSON file.

    Args:
        path: The file; its suffix says which: `.csv`, `.tsv`, `.parquet`, `.jsonl` or `.json` (an object a line, or
            one array of them). Of nested objects every leaf is a column: `params.lr`.
        method: Column of names, in which no word is a blank.
        seed: Column of numbers of any length.

    Returns:
        The rows as they stand.

    Raises:
        ValueError: If the file cannot be read as what its suffix says, or holds no rows.
    """
    kind = path.suffix.lower()
    if path.is_dir():
        raise ValueError(f"{path}: expected a file. Found a folder.")
    try:
        if kind in (".csv", ".tsv"):
            frame = _read_csv(path, "," if kind == ".csv" else "\t", method, seed)
        elif kind in (".parquet", ".pq"):
            frame = _read_parquet(path, seed)
        elif kind in (".jsonl", ".ndjson", ".json"):
            frame = _read_json(path, (method, seed))
        else:
            frame = None
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path}: holds no trials.") from error
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file.") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected UTF-8. Found the byte {error.object[error.start]:#04x}, which is none of it. Save "
            "the file as UTF-8."
        ) from error
    except (ValueError, OSError, csv.Error) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"{path}: not a readable {kind[1:]} file ({reason}).") from error
    if frame is None:
        raise ValueError(
            f"{path}: expected a file .csv, .tsv, .parquet or .jsonl. Found {kind or 'no suffix'!r}."
        )
    if frame.empty:
        raise ValueError(f"{path}: holds no trials.")
    return frame


def _read_csv(path: Path, delimiter: str, method: str, seed: str) -> pd.DataFrame:
    header = _header(path, delimiter)
    missing = {column: [""] if column == method else list(MISSING) for column in header}
    return pd.read_csv(
        path,
        sep=delimiter,
        index_col=False,  # else pandas takes the first column of longer rows for an index, and shifts the others
        usecols=range(len(header)),
        dtype={method: "str", seed: "str"},
        na_values=missing,
        keep_default_na=False,
        skipinitialspace=True,
    )


def _header(path: Path, delimiter: str) -> list[str]:
    """Return the columns of a file all of whose rows fit under them."""
    csv.field_size_limit(sys.maxsize)  # a cell may hold a whole configuration
    with path.open(encoding="utf-8-sig", newline="") as stream:
        lines = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
        header = next((row for row in lines if len(row) > 1 or "".join(row).strip()), [])
        _refuse_another_delimiter(header, delimiter)
        for row in lines:
            if any(cell.strip() for cell in row[len(header) :]):
                raise ValueError(
                    f"line {lines.line_num} has {len(row)} fields under a header of {len(header)}; quote cells that "
                    "hold the delimiter, or name the missing column"
                )
    if twice := [name for i, name in enumerate(header) if name and name in header[:i]]:
        raise ValueError(f"two columns are called {twice[0]!r}; rename one of them")
    return header


def _refuse_another_delimiter(header: list[str], delimiter: str) -> None:
    for other, word in DELIMITERS.items() if len(header) == 1 else ():
        if other in header[0]:
            raise ValueError(
                f"expected {DELIMITERS[delimiter]} between columns, found {word}; save it with "
                f"{DELIMITERS[delimiter]}{', or call it .tsv' if other == chr(9) else ''}"
            )


def _read_parquet(path: Path, seed: str) -> pd.DataFrame:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path).read()
    frame = table.to_pandas()
    if seed in table.column_names and seed in frame.columns:
        # pandas makes floats of whole numbers with a blank among them
        frame[seed] = pd.Series(table[seed].to_pylist(), index=frame.index, dtype=object)
    return _flattened(frame)


def _read_json(path: Path, verbatim: tuple[str, str]) -> pd.DataFrame:
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        records = json.loads(text)
    else:
        records = []
        for number, line in enumerate(text.split("\n"), 1):
            try:
                records += [json.loads(line)] if line.strip() else []
            except json.JSONDecodeError as error:
                raise ValueError(
                    f"line {number} is no JSON: {error}; expected an object a line, or one array of objects"
                ) from error
    if wrong := [record for record in records if not isinstance(record, dict)]:
        raise ValueError(f"expected objects, one a row; found {str(wrong[0])[:40]!r}")
    frame = _flattened(pd.DataFrame(records, dtype=object))
    for column in frame.columns.difference(list(verbatim)):
        frame[column] = _typed(frame[column])
    return frame


def _typed(values: pd.Series) -> pd.Series:
    """Return values as numbers, where all of them are."""
    found = pd.Series(values.tolist(), index=values.index)
    if pd.api.types.is_bool_dtype(found):
        return found
    try:
        return pd.to_numeric(found)
    except (ValueError, TypeError, OverflowError):
        return found


def _flattened(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which every leaf of an object is a column, and a list is a text."""
    flat: dict[str, pd.Series] = {}

    def put(name: str, values: pd.Series) -> None:
        if name in flat:
            raise ValueError(f"two columns are called {name!r}; rename one of them")
        flat[name] = values

    for name, values in frame.items():
        nested = [isinstance(value, dict) for value in values] if values.dtype == object else []
        if not any(nested):
            put(str(name), _plain(values) if values.dtype == object else values)
            continue
        inner = pd.DataFrame(
            [v if n else {} for v, n in zip(values, nested, strict=True)],
            index=values.index,
            dtype=object,
        )
        for leaf, column in _flattened(inner).items():
            put(f"{name}.{leaf}", column)
        rest = values.mask(np.array(nested))
        if rest.notna().any():
            put(str(name), _plain(rest))
    return pd.DataFrame(flat, index=frame.index)


def _plain(values: pd.Series) -> pd.Series:
    """Return values with lists as texts; whole numbers stay whole, which `map` does not grant beside a blank."""
    lists = [v.tolist() if isinstance(v, np.ndarray) else v for v in values]
    texts = [json.dumps(v, default=str) if isinstance(v, (list, tuple)) else v for v in lists]
    return pd.Series(texts, index=values.index, dtype=object)

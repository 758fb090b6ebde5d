"""Anybody's table of runs as a file: CSV, Parquet or JSON, read as it is or refused with a mend.

Names of methods and seeds are kept as written: a method may be called `None`, and a seed may have more digits than a
floating-point number holds.
"""

from __future__ import annotations

import ast
import csv
import gzip
import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from repro.audit.csv_files import read_csv
from repro.audit.text_files import open_text

DELIMITED = {".csv": ",", ".tsv": "\t", ".txt": "\t"}
"""What separates columns, by suffix; Excel calls its Unicode text `.txt`."""
NAMES = {".csv": "CSV", ".tsv": "TSV", ".jsonl": "JSON", ".ndjson": "JSON", ".json": "JSON", ".parquet": "Parquet", ".pq": "Parquet"}  # fmt: skip
"""What to call a file, by suffix."""
OBJECTS = (".jsonl", ".ndjson", ".json")
PARQUET = (".parquet", ".pq")
FOLDED = ("config", "summary")
"""Columns that W&B's own script for exports fills with objects."""
RAW = "config."
"""Beginning of columns that W&B's interface exports as `config.lr.value` and `config.lr.desc`."""
INTERNAL = re.compile(r"config\.(_wandb|wandb_version)\b.*")
"""Columns in which W&B keeps its own state."""
PLAIN = {"nan": "None", "inf": "1e999", "-inf": "-1e999"}
"""Numbers that Python writes but cannot read again, and expressions of the same value."""
NOT_FINITE = re.compile(r"(?<=[:,\[] )(?:nan|-?inf)(?=[,}\]])")
SCALAR = re.compile(
    r"\b(?:(?:np|numpy)\.\w+|tensor|Array|array)"
    r"\(\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)|True|False|'[^']*')\s*(?:,[^()]*)?\)"
    r"|\b(?:np|numpy)\.(True|False|nan|inf)_?\b"
)
"""One number or word as libraries of arrays write it: `np.float64(0.1)`, `np.True_`, `tensor(0.1, device='cuda:0')`."""
MENDS = {
    "Save the sheet as CSV.": (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers"),
    "Unpack it, or compress the table itself with gzip, as trials.csv.gz.": (
        ".gz", ".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz",
    ),
    "If it is an Optuna storage, `--optuna` reads it.": (".db", ".sqlite", ".sqlite3", ".journal", ".log"),
}  # fmt: skip
"""What to do with a file of another kind, by its suffix."""


def read_table(path: Path, method: str = "method", seed: str = "seed") -> pd.DataFrame:
    """Return the rows of a CSV, Parquet or JSON file.

    Args:
        path: The file; its suffix says of which kind: `.csv`, `.tsv` or `.txt`, `.parquet`, `.jsonl` or `.json` (one
            object per line, or an array of objects); text may be compressed (`.gz`). Every leaf of nested objects is a
            column: `params.lr`.
        method: Column of names, in which no word is a blank.
        seed: Column of numbers of any length.

    Returns:
        The rows as written.

    Raises:
        ValueError: If the file cannot be read as what its suffix says, or holds no rows.
    """
    kind = _kind(path)
    if path.is_dir():
        raise ValueError(f"{path}: expected a file. Found a folder.")
    _refuse_another_kind(path, kind)
    try:
        if kind in DELIMITED:
            frame = read_csv(path, DELIMITED[kind], method, seed)
            frame = _unfolded(frame, [c for c in FOLDED if c in frame], (method, seed))
        elif kind in OBJECTS:
            frame = _read_json(path, (method, seed))
        else:
            frame = _read_parquet(path, seed)
        frame = _without_wrapping(_without_scalars(frame, method, seed))
        frame = _unfolded(frame, _folded(frame, (method, seed)), (method, seed))
    except pd.errors.EmptyDataError as error:
        raise ValueError(f"{path}: holds no trials.") from error
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file.") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected text in {error.encoding.upper()}. Found the byte {error.object[error.start]:#04x}, which is "
            "not valid in it. Save the file as UTF-8."
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path}: expected a complete gzip file. Found one that is cut short or damaged ({error}). Copy it again."
        ) from error
    except (ValueError, OSError, RecursionError, csv.Error) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(
            f"{path}: cannot be read as {NAMES.get(kind, 'text')}: {reason.rstrip('.')}."
        ) from error
    if frame.empty:
        raise ValueError(f"{path}: holds no trials.")
    return frame


def _without_wrapping(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with `config.lr` for W&B's `config.lr.value`, and without what W&B notes beside it."""
    frame = frame.drop(columns=[c for c in frame if INTERNAL.fullmatch(str(c))])
    raw = [str(c) for c in frame if str(c).startswith(RAW)]
    if not any(c.endswith(".value") for c in raw) or not all(
        c.endswith((".value", ".desc")) for c in raw
    ):
        return frame
    short = {c: c.removesuffix(".value") for c in raw if c.endswith(".value")}
    return frame.drop(columns=[c for c in raw if c not in short]).rename(columns=short)


def _without_scalars(frame: pd.DataFrame, method: str, seed: str) -> pd.DataFrame:
    """Return a table in which a text such as `np.float64(0.1)` is the number that it means; names of methods stay."""
    for column in frame.select_dtypes(["object", "string"]).columns.drop(method, errors="ignore"):
        matches = [isinstance(v, str) and SCALAR.fullmatch(v.strip()) for v in frame[column]]
        if any(matches):
            pairs = zip(matches, frame[column], strict=True)
            plain = [_scalar(match) if match else cell for match, cell in pairs]
            values = pd.Series(plain, index=frame.index, dtype=object)
            frame[column] = values if column == seed else _typed(values)
    return frame


def _scalar(found: re.Match[str]) -> str:
    """Return the number or word alone."""
    return (found[1] or found[2]).strip("'")


def _kind(path: Path) -> str:
    """Return the suffix that says what a file is; for compressed text, the one before `.gz`."""
    kind, inner = path.suffix.lower(), Path(path.stem).suffix.lower()
    if kind != ".gz":
        return kind
    return inner if inner in (*DELIMITED, *OBJECTS) else inner + kind


def _refuse_another_kind(path: Path, kind: str) -> None:
    if kind not in (*DELIMITED, *OBJECTS, *PARQUET):
        suffix = path.suffix.lower()
        mends = (mend for mend, suffixes in MENDS.items() if suffix in suffixes)
        raise ValueError(
            f"{path}: expected a file that ends in .csv, .tsv, .parquet or .jsonl. Found {repr(kind) if kind else 'no suffix'}. "
            f"{next(mends, 'Save the table as one of these.')}"
        )


def _read_parquet(path: Path, seed: str) -> pd.DataFrame:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path).read()
    frame = table.to_pandas()
    if any(frame.index.names):  # what rows were grouped by, such as the method
        frame = frame.reset_index()
    if seed in table.column_names and seed in frame.columns:
        # pandas makes floats of whole numbers with a blank among them
        frame[seed] = pd.Series(table[seed].to_pylist(), index=frame.index, dtype=object)
    return _flattened(frame)


def _read_json(path: Path, verbatim: tuple[str, str]) -> pd.DataFrame:
    with open_text(path) as stream:
        text = stream.read()
    records = _parsed(text)
    if wrong := [record for record in records if not isinstance(record, dict)]:
        raise ValueError(f"expected one JSON object per row, found {str(wrong[0])[:40]!r}")
    records = _rows_of(records[0]) if len(records) == 1 else records
    frame = _flattened(pd.DataFrame(records, dtype=object))
    return pd.DataFrame({c: v if c in verbatim else _typed(v) for c, v in frame.items()})


def _parsed(text: str) -> list[Any]:
    """Return the objects of an array, of the lines, or the only one."""
    try:
        whole = json.loads(text)
        return whole if isinstance(whole, list) else [whole]
    except json.JSONDecodeError:
        if text.lstrip().startswith("["):
            raise
    records = []
    for number, line in enumerate(text.split("\n"), 1):
        try:
            records += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise ValueError(
                f"line {number} is not JSON ({error}); expected one object per line, or one array of objects"
            ) from error
    return records


def _rows_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of one object: itself or, if pandas wrote it column by column with row numbers as keys, its rows."""
    columns = list(record.values())
    if columns and all(isinstance(c, dict) and c and all(k.isdigit() for k in c) for c in columns):
        rows = dict.fromkeys(key for column in columns for key in column)
        return [{name: cells.get(row) for name, cells in record.items()} for row in rows]
    for name, value in record.items():
        if isinstance(value, list) and any(isinstance(each, dict) for each in value):
            raise ValueError(
                f"expected one object per row, found a single object that contains the list {name!r}; save that list by itself"
            )
    return [record]


def _folded(frame: pd.DataFrame, verbatim: tuple[str, str]) -> list[str]:
    """Return the columns of texts whose first one begins as an object does."""
    texts = frame.select_dtypes(["object", "string"]).columns.drop(list(verbatim), errors="ignore")
    firsts = {str(c): next(iter(frame[c].dropna()), "") for c in texts}
    found = [c for c, text in firsts.items() if str(text).lstrip().startswith("{")]
    # scikit-learn writes every hyperparameter twice: in a column of its own, and in an object of all of them
    twice = any(str(c).startswith("param_") for c in frame)
    return [c for c in found if not (twice and c == "params")]


def _unfolded(
    frame: pd.DataFrame, columns: Sequence[str], verbatim: tuple[str, str]
) -> pd.DataFrame:
    """Return a table with columns in place of the objects that W&B's script and others wrote as texts into some columns."""
    folded = {c: objects for c in columns if (objects := _objects(frame[c]))}
    if not folded:
        return frame
    inner = _flattened(pd.DataFrame(folded, index=frame.index, dtype=object))
    leaves = {c: v if c in verbatim else _typed(v) for c, v in inner.items()}
    if twice := [column for column in leaves if column in frame]:
        raise ValueError(f"two columns are called {twice[0]!r}; rename one of them")
    return pd.concat([frame.drop(columns=list(folded)), pd.DataFrame(leaves)], axis=1)


def _objects(texts: pd.Series) -> list[dict[str, Any]]:
    """Return the objects written in a column, an empty one for a blank; nothing at all if a text is not an object."""
    try:
        found = [_object(text) if isinstance(text, str) else {} for text in texts]
    except (ValueError, SyntaxError):
        return []
    return found if all(isinstance(each, dict) for each in found) else []


def _object(text: str) -> Any:
    """Return the object that a text means, as JSON or as Python writes it.

    Raises:
        ValueError: If it is neither.
        SyntaxError: If it is neither.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        plain = SCALAR.sub(lambda match: match[1] or match[2], text)
        return ast.literal_eval(NOT_FINITE.sub(lambda match: PLAIN[match[0]], plain))


def _typed(values: pd.Series) -> pd.Series:
    """Return values as numbers, if all of them are."""
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
    """Return values with lists as texts; whole numbers stay whole, which `map` does not ensure beside a blank."""
    lists = [v.tolist() if isinstance(v, np.ndarray) else v for v in values]
    several = [v for v in lists if isinstance(v, (list, tuple))]
    if several and max(map(len, several)) == 1:
        # Hyperopt writes every value so, and nothing where a trial has none
        lists = [next(iter(v), None) if isinstance(v, (list, tuple)) else v for v in lists]
    texts = [json.dumps(v, default=str) if isinstance(v, (list, tuple)) else v for v in lists]
    return pd.Series(texts, index=values.index, dtype=object)

"""A table of text, with columns separated by commas, tabs or, if commas are decimal, semicolons."""

from __future__ import annotations

import contextlib
import csv
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from repro.audit.text_files import open_text

MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""Words that stand for a blank, except in the column of methods."""
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
SUFFIXES = {",": ".csv", "\t": ".tsv", ";": ".csv"}
"""Suffix of a file with this separator."""
HINT = re.compile(r'"?sep=(.)"?\s*')
"""First line of a file that tells Excel what separates its columns."""
NUMBER = r"[-+]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][-+]?\d+)?|[-+]?[iI]nf(?:inity)?"
"""A number with a decimal point or a decimal comma."""
GROUPED = r"[-+]?[1-9]\d{0,2}\.\d{3}"
"""A number with a point that may separate thousands."""
CLEAR = r"[-+]?(?:0?,\d+|\d+,\d{5,})(?:[eE][-+]?\d+)?"
"""A number whose comma must be decimal: it separates neither thousands nor, as in `64,64`, items of a list."""


def read_csv(path: Path, usual: str, method: str, seed: str) -> pd.DataFrame:
    """Return the rows of a table of text.

    Args:
        path: The file.
        usual: What separates columns, by the file's name; semicolons may take the place of commas.
        method: Column of names, in which no word is a blank.
        seed: Column of numbers of any length.

    Returns:
        The rows as written.

    Raises:
        ValueError: If rows do not fit under the header, two columns have one name, or a number can be read in two ways.
    """
    delimiter, hints = _delimiter(path, usual)
    header = _header(path, delimiter, hints)

    def parse(dtype: dict[str, str] | str, decimal: str = ".") -> pd.DataFrame:
        with open_text(path) as stream, _quotes_named():
            return pd.read_csv(
                stream,
                sep=delimiter,
                decimal=decimal,
                dtype=dtype,
                skiprows=hints,
                index_col=False,  # else pandas takes the first column of longer rows for an index, and shifts the others
                usecols=range(len(header)),
                na_values={c: [""] if c == method else list(MISSING) for c in header},
                keep_default_na=False,
                skipinitialspace=True,
                low_memory=False,  # else a column of many rows has types by their parts, with a warning
            )

    verbatim = {method: "str", seed: "str"}
    decimal = "."
    if delimiter == ";":
        texts = parse("str").drop(columns=list(verbatim), errors="ignore")
        decimal = "," if _has_decimal_commas(texts) else "."
    return parse(verbatim, decimal)


@contextlib.contextmanager
def _quotes_named() -> Iterator[None]:
    """Turn pandas's error about a cell that never ends into a message with a mend."""
    try:
        yield
    except pd.errors.ParserError as error:
        if "EOF inside string" not in str(error):
            raise
        row = str(error).rpartition(" ")[2]
        raise ValueError(
            f"the quoted cell that begins in row {row} has no closing quotation mark; add it"
        ) from error


def _delimiter(path: Path, usual: str) -> tuple[str, int]:
    """Return what separates columns, and the number of lines above the header that name it."""
    with open_text(path) as stream:
        line = next((line for line in stream if line.strip()), "")
    if hint := HINT.fullmatch(line):
        return hint[1], 1
    bare = re.sub('"[^"]*"', "", line)
    return (";" if usual == "," and bare.count(";") > bare.count(",") else usual), 0


def _header(path: Path, delimiter: str, hints: int) -> list[str]:
    """Return the columns of a file, and refuse rows that do not fit under them."""
    csv.field_size_limit(sys.maxsize)  # a cell may hold a whole configuration
    with open_text(path) as stream:
        lines = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
        for _ in range(hints):
            next(lines)
        header = next((row for row in lines if len(row) > 1 or "".join(row).strip()), [])
        _refuse_another_delimiter(header, delimiter)
        for row in lines:
            _refuse_row(row, header, lines.line_num)
    if len(header) == 1 and " " in header[0]:
        expected = DELIMITERS.get(delimiter, repr(delimiter))
        raise ValueError(
            f"expected {expected} between the columns, found only blanks in {header[0][:40]!r}; save the table with {expected}"
        )
    if twice := [name for i, name in enumerate(header) if name and name in header[:i]]:
        raise ValueError(f"two columns are called {twice[0]!r}; rename one of them")
    return header


def _refuse_row(row: list[str], header: list[str], line: int) -> None:
    if any(cell.strip() for cell in row[len(header) :]):
        if len(header) == 1:
            raise ValueError(
                f"the first line should name the columns, but {header[0][:40]!r} stands above line {line}; delete what stands above the names"
            )
        raise ValueError(
            f"line {line} has {len(row)} cells, but the header has {len(header)}; put quotation marks around cells that contain "
            "the delimiter, or name the missing column"
        )
    if any("\0" in cell for cell in row):
        raise ValueError(
            f"line {line} contains zero bytes, as when writing was cut off; delete that line"
        )


def _refuse_another_delimiter(header: list[str], delimiter: str) -> None:
    for other, word in DELIMITERS.items() if len(header) == 1 else ():
        if other in header[0]:
            expected = DELIMITERS.get(delimiter, repr(delimiter))
            renamed = f", or rename the file to *{SUFFIXES[other]}" if other in SUFFIXES else ""
            raise ValueError(
                f"expected {expected} between the columns, found {word}; save the table with {expected}{renamed}"
            )


def _has_decimal_commas(texts: pd.DataFrame) -> bool:
    """Tell whether commas are decimal: some can mean nothing else, and no number has a decimal point."""
    numbers = {c: known for c in texts if (known := _numbers(texts[c])) is not None}
    if not any(known.str.fullmatch(CLEAR).any() for known in numbers.values()):
        return False
    pointed = {
        c: own
        for c, known in numbers.items()
        if len(own := known[known.str.contains(".", regex=False)])
    }
    if not all(own.str.fullmatch(GROUPED).all() for own in pointed.values()):
        return False
    for column, own in pointed.items():
        raise ValueError(
            f"column {column!r} has {own.iloc[0]!r} in row {own.index[0] + 1}, and other numbers have decimal commas, so that "
            "point may be decimal or separate thousands; remove points that separate thousands"
        )
    return True


def _numbers(cells: pd.Series) -> pd.Series | None:
    """Return the cells of a column that are not blank, if all of them are numbers."""
    known = cells.dropna().str.strip()
    return known if len(known) and known.str.fullmatch(NUMBER).all() else None

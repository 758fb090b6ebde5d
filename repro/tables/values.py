"""What a table is: columns, cells, and the plain text of a cell."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from repro.stats import Interval

Align = Literal["left", "right", "center"]
Cell = str | int | float | Interval | None

NOT_RUN = "not run"
NOT_AVAILABLE = "n/a"
MINUS = "\N{MINUS SIGN}"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Column:
    """How one column is named, aligned and formatted.

    Attributes:
        name: machine name, the CSV header.
        header: what a reader sees; may hold a unit in parentheses.
        align: "left", "right" or "center".
        format: a format specification such as ".3f", or a function from a number to its text; used
            for finite numbers and for the estimate and bounds of an interval.
        interval: whether CSV always has the four columns of an interval. A column that holds an
            `Interval` has them anyway; set this where all cells may turn out not to be run.
    """

    name: str
    header: str
    align: Align = "right"
    format: str | Callable[[float], str] = ""
    interval: bool = False


@dataclass(frozen=True)
class Table:
    """A titled table; see the module docstring for what each kind of cell becomes.

    Attributes:
        name: file name without suffix, and label (`tab:name` in LaTeX, `<tbl-name>` in Typst).
        title: the caption.
        columns: at least one, of distinct CSV names.
        rows: any number, each with one cell per column.
        notes: shown beneath, one per line.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a table that cannot be written faithfully in every format.

        Raises:
            ValueError: if the name is no plain file name, there is no column, an alignment is
                unknown, a row has the wrong length, two CSV columns share a name, a cell is of
                another type, or a text holds a line break or control character.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", self.name):
            raise ValueError(
                f"A table's name must be letters, digits, '-' and '_', found {self.name!r}; it "
                "becomes a file name and a label."
            )
        if not self.columns:
            raise ValueError(f"Table {self.name} must have a column, found none; add a Column.")
        for column in self.columns:
            if column.align not in get_args(Align):
                raise ValueError(
                    f"Table {self.name}, column {column.name}: `align` must be one of "
                    f"{', '.join(get_args(Align))}, found {column.align!r}; choose one."
                )
        for i, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"Table {self.name} must have {len(self.columns)} cells a row, found "
                    f"{len(row)} in row {i}; write None for what was not run."
                )
        counts = Counter(csv_header(self))
        if repeated := [name for name, count in counts.items() if count > 1 or not name]:
            raise ValueError(
                f"Table {self.name} must have distinct, non-empty CSV columns, found {repeated[0]!r}"
                f" {counts[repeated[0]]} times; rename a column (intervals add _low, _high, _num)."
            )
        for place, cell in _every_cell(self):
            if isinstance(cell, bool) or not isinstance(cell, Cell):
                raise ValueError(
                    f"Table {self.name}, {place}: a cell must be None, str, int, float or "
                    f"Interval, found {cell!r} ({type(cell).__name__}); convert it first."
                )
            if isinstance(cell, str) and _CONTROL.search(cell):
                raise ValueError(
                    f"Table {self.name}, {place}: text must be one line without control "
                    f"characters, found {cell!r}; replace them, or write two notes."
                )


def cell_text(column: Column, cell: Cell) -> str:
    """Return the plain text that a reader sees in this cell, before any escaping.

    Example:
        >>> accuracy = Column("accuracy", "Accuracy", format=".2f")
        >>> cell_text(accuracy, Interval(0.914, 0.9, 0.928, 6, 0.95))
        '0.91 [0.90, 0.93], n=6'
        >>> cell_text(accuracy, None)
        'not run'
        >>> cell_text(accuracy, Interval(0.9, -math.inf, math.inf, 1, 0.95))  # which excludes nothing
        '0.90, n=1'
    """
    if cell is None:
        return NOT_RUN
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        estimate, low, high = (_number(column, x) for x in (cell.estimate, cell.low, cell.high))
        if cell.low == -math.inf and cell.high == math.inf:
            return f"{estimate}, n={cell.num}"
        return f"{estimate} [{low}, {high}], n={cell.num}"
    return _number(column, cell)


def _every_cell(table: Table) -> Iterable[tuple[str, object]]:
    """Yield each text and cell with words that say where it is."""
    yield "title", table.title
    yield from ((f"note {i}", note) for i, note in enumerate(table.notes))
    for j, column in enumerate(table.columns):
        yield f"header of column {column.name!r}", column.header
        yield f"name of column {column.name!r}", column.name
        yield from ((f"row {i}, column {column.name}", row[j]) for i, row in enumerate(table.rows))


def _number(column: Column, x: float) -> str:
    if math.isnan(x):
        return NOT_AVAILABLE
    if math.isinf(x):
        return "∞" if x > 0 else MINUS + "∞"
    if not isinstance(column.format, str):
        return column.format(x)
    try:
        return format(x, column.format).replace("-", MINUS)
    except ValueError as error:
        raise ValueError(
            f"Column {column.name}: `format` must suit its numbers, found {column.format!r} for "
            f"{x!r} ({error}); use e.g. '.3f' for floats, 'd' for integers."
        ) from error


def interval_columns(table: Table) -> list[bool]:
    """Tell for each column whether it takes four CSV columns."""
    return [
        column.interval or any(isinstance(row[j], Interval) for row in table.rows)
        for j, column in enumerate(table.columns)
    ]


def csv_header(table: Table) -> list[str]:
    """Return the names of the CSV columns."""
    header: list[str] = []
    for column, is_wide in zip(table.columns, interval_columns(table), strict=True):
        suffixes = ("", "_low", "_high", "_num") if is_wide else ("",)
        header += [column.name + suffix for suffix in suffixes]
    return header

"""Write one table for four readers: CSV, Markdown, LaTeX and Typst from one frozen value.

A `Table` holds numbers, not text. Its CSV keeps every float exactly (`repr`) and is the source of
truth; the other three show the same cells as each `Column` formats them, so that no two documents
can disagree. What a cell is decides how it reads:

    cell        in text                       in CSV
    None        not run                       empty
    NaN         n/a                           nan
    number      by its column's format        exact
    `Interval`  estimate [low, high], n=num   four columns: name, name_low, name_high, name_num
    str         itself                        itself

Text is plain: nothing in a cell, header, title or note is markup, every character shows as itself
(numbers take the true minus sign and the infinity sign). LaTeX needs the package booktabs and a
Unicode engine or inputenc; the mathematical characters these lack are mapped to commands.
Everything returned is deterministic and ends in one newline.
"""

import csv
import io
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from repro.stats import Interval

Align = Literal["left", "right", "center"]
Cell = str | int | float | Interval | None

NOT_RUN = "not run"
NOT_AVAILABLE = "n/a"
MINUS = "\N{MINUS SIGN}"


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
        rows: any number, each with one cell a column.
        notes: shown beneath, one a line.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be written faithfully to all four formats.

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
        counts = Counter(_csv_header(self))
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


def from_frame(
    name: str,
    title: str,
    frame: pd.DataFrame,
    columns: Sequence[Column],
    notes: Sequence[str] = (),
) -> Table:
    """Make a table of the frame's columns that `columns` name, in that order, rows as they stand.

    Numpy scalars become Python's. None, `pd.NA`, `pd.NaT` and missing strings mean not run; a NaN
    among numbers stays NaN.

    Args:
        name: see `Table`.
        title: see `Table`.
        frame: has a column `column.name` for each of `columns`; others and the index are left out.
        columns: see `Table`.
        notes: see `Table`.

    Returns:
        A table with one row a row of the frame.

    Raises:
        ValueError: if the frame lacks one of the columns, or has it twice.
    """
    for column in columns:
        if (found := list(frame.columns).count(column.name)) != 1:
            raise ValueError(
                f"Table {name}: the frame must have one column {column.name!r}, found {found} "
                f"among {', '.join(map(str, frame.columns))}; rename or add it."
            )
    cells = [_as_cells(frame[column.name]) for column in columns]
    return Table(name, title, tuple(columns), tuple(zip(*cells, strict=True)), tuple(notes))


def cell_text(column: Column, cell: Cell) -> str:
    """Return the plain text that a reader sees in this cell, before any escaping.

    Example:
        >>> accuracy = Column("accuracy", "Accuracy", format=".2f")
        >>> cell_text(accuracy, Interval(0.914, 0.9, 0.928, 6, 0.95))
        '0.91 [0.90, 0.93], n=6'
        >>> cell_text(accuracy, None)
        'not run'
    """
    if cell is None:
        return NOT_RUN
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        estimate, low, high = (_number(column, x) for x in (cell.estimate, cell.low, cell.high))
        return f"{estimate} [{low}, {high}], n={cell.num}"
    return _number(column, cell)


def to_csv(table: Table) -> str:
    r"""Return the cells as CSV: a header of machine names, exact floats, "\n" line ends.

    `float` of a field gives back the very number, and `csv.reader` the very text. Title, notes and
    the confidence of intervals are not part of it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_csv_header(table))
    wide = _interval_columns(table)
    for row in table.rows:
        fields: list[str] = []
        for cell, is_wide in zip(row, wide, strict=True):
            fields += _csv_fields(cell) if is_wide else _csv_fields(cell)[:1]
        writer.writerow(fields)
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """Return a GitHub pipe table under its title in bold, each note a paragraph beneath."""
    header, *rows = _texts(table, _markdown)
    widths = [max(3, *(len(row[j]) for row in (header, *rows))) for j in range(len(header))]
    rule = [
        {"left": ":" + "-" * (w - 1), "right": "-" * (w - 1) + ":", "center": f":{'-' * (w - 2)}:"}
        for w in widths
    ]
    lines = [f"**{_markdown(table.title)}**", ""] if table.title else []
    justify = {"left": str.ljust, "right": str.rjust, "center": str.center}
    aligns = [column.align for column in table.columns]
    grid = [
        [justify[a](text, w) for a, text, w in zip(aligns, row, widths, strict=True)]
        for row in (header, *rows)
    ]
    grid.insert(1, [dashes[a] for a, dashes in zip(aligns, rule, strict=True)])
    lines += [f"| {' | '.join(row)} |" for row in grid]
    for note in table.notes:
        lines += ["", re.sub(r"^(\d*)([#+\->.)])", r"\1\\\2", _markdown(note))]  # no list, heading
    return "\n".join(lines) + "\n"


def to_latex(table: Table) -> str:
    r"""Return a LaTeX `table` with a booktabs `tabular`, caption above, notes beneath.

    The label is `tab:` and the table's name. Needs `\usepackage{booktabs}`.
    """
    header, *rows = _texts(table, _latex)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_latex(table.title)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{''.join(column.align[0] for column in table.columns)}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\smallskip{{\footnotesize {_latex(note)}\par}}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_typst(table: Table) -> str:
    """Return a Typst figure of kind table, to be included and cited as `@tbl-name`.

    All text stands in string literals, in which Typst knows no markup, no smart quotes, no
    comments and no links, so only the quote and the backslash need an escape.
    """
    header, *rows = _texts(table, _typst)
    lines = [
        "table(",
        f"  columns: {len(header)},",
        f"  align: ({', '.join(column.align for column in table.columns)},),",
        "  stroke: none,",
        "  table.hline(),",
        f"  table.header({', '.join(header)}),",
        "  table.hline(stroke: 0.5pt),",
        *(f"  {', '.join(row)}," for row in rows),
        "  table.hline(),",
        ")",
    ]
    if table.notes:
        notes = (f"    #text(size: 0.8em, {_typst(note)})" for note in table.notes)
        lines[0] = "#" + lines[0]
        beneath = ["  #align(left)[", " \\\n".join(notes), "  ]"]
        lines = ["[", *(f"  {line}" for line in lines), *beneath, "]"]
    body = "\n".join(lines).replace("\n", "\n  ")
    return (
        f"#figure(\n  {body},\n  caption: {_typst(table.title)},\n  kind: table,\n"
        f") <tbl-{table.name}>\n"
    )


def write(table: Table, directory: str | os.PathLike[str]) -> list[Path]:
    """Write the table as name.csv, name.md, name.tex and name.typ, in UTF-8.

    Each file is written whole beside its place and renamed into it: a reader, or an interrupted
    writer, sees the old bytes or the new ones.

    Args:
        table: what to write.
        directory: made if missing.

    Returns:
        The four paths, in the order above.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {  # all before the first file, so that a format that fails leaves no half set
        "csv": to_csv(table),
        "md": to_markdown(table),
        "tex": to_latex(table),
        "typ": to_typst(table),
    }
    paths = []
    for suffix, text in texts.items():
        path = folder / f"{table.name}.{suffix}"
        temporary = folder / f".{path.name}.{os.getpid()}.tmp"
        try:
            temporary.write_bytes(text.encode())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        paths.append(path)
    return paths


# Cells


def _as_cells(values: pd.Series) -> list[Cell]:
    missing: list[object] = [None, pd.NA, pd.NaT]
    if isinstance(values.dtype, pd.StringDtype):
        values = values.astype(object).where(values.notna(), None)  # its NaN is no number
    # Whatever else is no cell is refused, by its place, when the Table is made.
    return [
        None if any(x is m for m in missing) else x.item() if isinstance(x, np.generic) else x
        for x in values
    ]


def _every_cell(table: Table) -> Iterable[tuple[str, object]]:
    """Yield each text and cell with the words that say where it stands."""
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


def _interval_columns(table: Table) -> list[bool]:
    """Return for each column whether it takes four CSV columns."""
    return [
        column.interval or any(isinstance(row[j], Interval) for row in table.rows)
        for j, column in enumerate(table.columns)
    ]


def _csv_header(table: Table) -> list[str]:
    header: list[str] = []
    for column, is_wide in zip(table.columns, _interval_columns(table), strict=True):
        suffixes = ("", "_low", "_high", "_num") if is_wide else ("",)
        header += [column.name + suffix for suffix in suffixes]
    return header


def _csv_fields(cell: Cell) -> list[str]:
    """Return the cell's fields as an interval's four: estimate, low, high, num."""
    if isinstance(cell, Interval):
        return [repr(float(x)) for x in (cell.estimate, cell.low, cell.high)] + [str(cell.num)]
    if isinstance(cell, float):
        return [repr(float(cell)), "", "", ""]  # float() drops numpy's subclass and its repr
    return ["" if cell is None else str(cell), "", "", ""]


def _texts(table: Table, escape: Callable[[str], str]) -> list[list[str]]:
    """Return the header and the rows as escaped text."""
    header = [escape(column.header) for column in table.columns]
    body = [
        [escape(cell_text(c, cell)) for c, cell in zip(table.columns, row, strict=True)]
        for row in table.rows
    ]
    return [header, *body]


# Escapes

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

# What Markdown reads as markup inside a line; an underscore within a word is none.
_MARKDOWN = re.compile(
    r"[\\`*|~$]|<(?=[\w/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|(?<=\])[(\[:]|(?<=!)\["
)

# What TeX's fonts and inputenc lack, as mathematics.
# fmt: off
_MATHEMATICS = {
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\varepsilon",  # noqa: RUF001
    "η": r"\eta", "θ": r"\theta", "κ": r"\kappa", "λ": r"\lambda", "μ": r"\mu", "π": r"\pi",
    "ρ": r"\rho", "σ": r"\sigma", "τ": r"\tau", "φ": r"\varphi", "ω": r"\omega",  # noqa: RUF001
    "Δ": r"\Delta", "Θ": r"\Theta", "Λ": r"\Lambda", "Σ": r"\Sigma", "Ω": r"\Omega",
    "≤": r"\le", "≥": r"\ge", "≠": r"\ne", "≈": r"\approx", "≪": r"\ll", "≫": r"\gg",
    "\N{MULTIPLICATION SIGN}": r"\times", "·": r"\cdot", "±": r"\pm", MINUS: "-",
    "‖": r"\|", "∞": r"\infty", "∇": r"\nabla", "∂": r"\partial", "√": r"\surd", "∈": r"\in",
    "→": r"\to", "←": r"\leftarrow", "↔": r"\leftrightarrow", "\N{MICRO SIGN}": r"\mu",
    **{c: f"^{{{digit}}}" for c, digit in zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-", strict=True)},
    **{c: f"_{{{digit}}}" for c, digit in zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True)},
}
# fmt: on

_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "`": r"\textasciigrave{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "\N{NO-BREAK SPACE}": "~",
        "\N{NARROW NO-BREAK SPACE}": r"\,",
        **{c: "\\" + c for c in "&%$#_{}"},
        **{c: f"${command}$" for c, command in _MATHEMATICS.items()},
    }
)


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", text)


def _latex(text: str) -> str:
    # A row must not start with what `\\` would take as its argument, and dashes must not join.
    guard = "{}" if text.startswith(("[", "*")) else ""
    return guard + re.sub("-(?=-)", "-{}", text.translate(_LATEX))


def _typst(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # without control characters, Typst's own escapes

"""The formats of a table: a function from the value to text for each, and one that writes them all."""

import csv
import html
import io
import os
import re
from collections.abc import Callable
from pathlib import Path

from repro.results import write_whole
from repro.stats import Interval
from repro.tables.escapes import escape_latex, escape_markdown, escape_typst
from repro.tables.values import Cell, Table, cell_text, csv_header, interval_columns


def to_csv(table: Table) -> str:
    r"""Return the cells as CSV: a header of machine names, exact floats, "\n" line ends.

    `float` of a field gives back the very number, and `csv.reader` the very text. Title, notes and
    the confidence of intervals are not part of it.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(csv_header(table))
    wide = interval_columns(table)
    for row in table.rows:
        fields: list[str] = []
        for cell, is_wide in zip(row, wide, strict=True):
            fields += _csv_fields(cell) if is_wide else _csv_fields(cell)[:1]
        writer.writerow(fields)
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """Return a GitHub pipe table under its title in bold, with each note as a paragraph beneath."""
    header, *rows = _texts(table, escape_markdown)
    widths = [max(3, *(len(row[j]) for row in (header, *rows))) for j in range(len(header))]
    rule = [
        {"left": ":" + "-" * (w - 1), "right": "-" * (w - 1) + ":", "center": f":{'-' * (w - 2)}:"}
        for w in widths
    ]
    lines = [f"**{escape_markdown(table.title)}**", ""] if table.title else []
    justify = {"left": str.ljust, "right": str.rjust, "center": str.center}
    aligns = [column.align for column in table.columns]
    grid = [
        [justify[a](text, w) for a, text, w in zip(aligns, row, widths, strict=True)]
        for row in (header, *rows)
    ]
    grid.insert(1, [dashes[a] for a, dashes in zip(aligns, rule, strict=True)])
    lines += [f"| {' | '.join(row)} |" for row in grid]
    for note in table.notes:
        lines += [
            "",
            re.sub(r"^(\d*)([#+\->.)])", r"\1\\\2", escape_markdown(note)),
        ]  # no list, heading
    return "\n".join(lines) + "\n"


def replace_block(text: str, block: str, markers: tuple[str, str]) -> str:
    """Return a README with the text between two marker lines replaced; a `ValueError` if one is missing."""
    begin, end = markers
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ValueError(
            f"The README needs one line {begin!r} and one {end!r} after it. Put them back."
        )
    head, rest = text.split(begin)
    return f"{head}{begin}\n\n{block}\n{end}{rest.split(end)[1]}"


def to_latex(table: Table) -> str:
    r"""Return a LaTeX `table` with a booktabs `tabular`, caption above, notes beneath.

    The label is `tab:` and the table's name. Needs `\usepackage{booktabs}`.
    """
    header, *rows = _texts(table, escape_latex)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}}}",
        rf"\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{''.join(column.align[0] for column in table.columns)}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        *(rf"\par\smallskip{{\footnotesize {escape_latex(note)}\par}}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def to_typst(table: Table) -> str:
    """Return a Typst figure of kind table, to be included and cited as `@tbl-name`.

    All text is in string literals, in which Typst has no markup, smart quotes, comments or links, so
    only the quote and the backslash need an escape.
    """
    header, *rows = _texts(table, escape_typst)
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
        notes = (f"    #text({escape_typst(note)})" for note in table.notes)
        lines[0] = "#" + lines[0]
        beneath = ["  #align(left)[", " \\\n".join(notes), "  ]"]
        lines = ["[", *(f"  {line}" for line in lines), *beneath, "]"]
    body = "\n".join(lines).replace("\n", "\n  ")
    return (
        f"#figure(\n  {body},\n  caption: {escape_typst(table.title)},\n  kind: table,\n"
        f") <tbl-{table.name}>\n"
    )


def to_html(table: Table) -> str:
    """Return a `<table>` of class `data`; a cell with a number has the exact number as `data-value`.

    A page that sorts by these attributes sorts by the numbers, however they are shown. A cell that was not
    run has none.
    """
    header, *rows = _texts(table, html.escape)
    aligns = [column.align for column in table.columns]
    heads = (f'<th scope="col" class="{a}">{h}</th>' for a, h in zip(aligns, header, strict=True))
    lines = [
        f'<table class="data" id="tbl-{table.name}">',
        f"<caption>{html.escape(table.title)}</caption>",
        f"<thead><tr>{''.join(heads)}</tr></thead>",
        "<tbody>",
    ]
    for cells, texts in zip(table.rows, rows, strict=True):
        fields = zip(aligns, cells, texts, strict=True)
        inner = (f'<td class="{a}"{_html_value(c)}>{text}</td>' for a, c, text in fields)
        lines.append(f"<tr>{''.join(inner)}</tr>")
    lines += ["</tbody>", "</table>"]
    lines += [f'<p class="note">{html.escape(note)}</p>' for note in table.notes]
    return "\n".join(lines) + "\n"


def _html_value(cell: Cell) -> str:
    if cell is None or isinstance(cell, str):
        return ""
    return f' data-value="{_csv_fields(cell)[0]}"'


SUFFIXES = ("csv", "md", "tex", "typ", "html")
"""Suffixes of the files of a table, in the order in which they are written."""


def write(table: Table, directory: str | os.PathLike[str]) -> list[Path]:
    """Write the table as name.csv, name.md, name.tex, name.typ and name.html, in UTF-8.

    Each file is written whole beside its place and renamed into it: a reader, or an interrupted
    writer, sees the old bytes or the new ones.

    Args:
        table: what to write.
        directory: made if missing.

    Returns:
        The five paths, in the order above.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    formats = (to_csv, to_markdown, to_latex, to_typst, to_html)
    # all before the first file, so that a format that fails leaves no half set
    texts = {suffix: to(table) for suffix, to in zip(SUFFIXES, formats, strict=True)}
    paths = []
    for suffix, text in texts.items():
        path = folder / f"{table.name}.{suffix}"
        write_whole(path, text.encode())
        paths.append(path)
    return paths


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

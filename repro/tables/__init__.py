"""Write one table in five formats: CSV, Markdown, LaTeX, Typst and HTML from one frozen value.

A `Table` holds numbers, not text. Its CSV keeps every float exactly (`repr`) and is the source of
truth; the other four show the same cells as each `Column` formats them, so no two documents can
disagree. The type of a cell decides how it is written:

    cell        in text                       in CSV
    None        not run                       empty
    NaN         n/a                           nan
    number      by its column's format        exact
    `Interval`  estimate [low, high], n=num   four columns: name, name_low, name_high, name_num
    str         itself                        itself

Text is plain: nothing in a cell, header, title or note is markup, and every character shows as itself
(numbers take the true minus sign and the infinity sign). LaTeX needs the package booktabs and a
Unicode engine or inputenc; the mathematical characters these lack are mapped to commands.
Everything returned is deterministic and ends in one newline.
"""

from repro.tables.formats import (
    SUFFIXES,
    replace_block,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
    to_typst,
    write,
)
from repro.tables.values import Align, Cell, Column, Table, cell_text

__all__ = [
    "SUFFIXES",
    "Align",
    "Cell",
    "Column",
    "Table",
    "cell_text",
    "replace_block",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
    "to_typst",
    "write",
]

"""Tables that lose nothing on a narrow terminal: long texts are folded, numbers and short words stay whole."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table as Grid

NARROW = 100
"""Columns of a terminal below which there is no room for lines between the columns, nor for long names."""


def make_grid(
    console: Console,
    long: Iterable[str],
    short: Iterable[str],
    numbers: Iterable[str],
    *,
    title: str = "",
    kept: str = "",
) -> Grid:
    """Return an empty table.

    Args:
        console: Where it will be printed.
        long: Columns that are folded where there is no room.
        short: Columns beside them that stay whole.
        numbers: Columns at the right that stay whole.
        title: Its title.
        kept: Which of the long columns stays whole on a terminal that is not narrow.

    Returns:
        The table.
    """
    narrow = console.width < NARROW
    grid = Grid(
        title=title or None,
        box=box.SIMPLE_HEAD if narrow else box.HEAVY_HEAD,
        collapse_padding=narrow,
        pad_edge=not narrow,
    )
    for header in long:
        grid.add_column(header, overflow="fold", no_wrap=header == kept and not narrow)
    for header in short:
        grid.add_column(header, no_wrap=True)
    for header in numbers:
        grid.add_column(header, justify="right", no_wrap=True)
    return grid

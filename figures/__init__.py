"""Figures and tables of the paper, one module each, drawn from the results table and nothing else.

A **figure** module has `TITLE` (or `caption(table)`, where the rows decide what it says), `LAYOUT` (or
`layout(table)`, where they decide how many panels there are), `select(results) -> DataFrame` and
`draw(table, axes) -> None`; a **table** module has `table(results) -> repro.tables.Table`. A module with neither is
a part that they share: `selection` makes rows, `style` has sizes and looks, and `marks`, `ticks`, `headings` and
`legends` draw what is in panels, along their axes, above and beneath them. New modules are found by themselves.
Everything here runs where no PyTorch is installed, changes none of its inputs, and writes the same bytes from the
same rows.
"""

from __future__ import annotations

import importlib
import io
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from figures import style
from repro import tables
from repro.results import Results, write_whole

METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
"""Formats of a figure, and the metadata that would differ between builds or versions."""


def names() -> tuple[str, ...]:
    """Return the names of all figures, sorted."""
    return _having("draw")


def table_names() -> tuple[str, ...]:
    """Return the names of all tables, sorted."""
    return _having("table")


def build(results: Results, directory: Path, only: Iterable[str] = ()) -> list[Path]:
    """Draw figures as `<name>.pdf`, `.svg`, `.png`, and write what they show as `<name>.csv`.

    Args:
        results: The tables; unchanged.
        directory: Made if missing.
        only: Names of figures; none means all.

    Returns:
        The files written.

    Raises:
        ValueError: If there is no figure of a name.
    """
    written = []
    for name in chosen(only):
        module = module_of(name)
        rows = module.select(results)
        written += write(name, directory, {"csv": to_csv(rows), **render(module, rows)})
    return written


def write(name: str, directory: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write a figure's files.

    Args:
        name: Name of the figure.
        directory: Made if missing.
        contents: Content by suffix.

    Returns:
        The files written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.{suffix}" for suffix in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        write_whole(path, content)
    return paths


def build_tables(results: Results, directory: Path, only: Iterable[str] = ()) -> list[Path]:
    """Write tables as `<name>.csv`, `.html`, `.md`, `.tex` and `.typ`.

    Args:
        results: The tables of results; unchanged.
        directory: Made if missing.
        only: Names of tables; none means all.

    Returns:
        The files written.

    Raises:
        ValueError: If there is no table of a name.
    """
    return [
        path
        for name in _chosen(table_names(), only, "table")
        for path in tables.write(module_of(name).table(results), directory)
    ]


def chosen(only: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the names of the figures asked for.

    Args:
        only: Names of figures; none means all.

    Returns:
        Names, sorted.

    Raises:
        ValueError: If there is no figure of a name.
    """
    return _chosen(names(), only, "figure")


def caption_of(module: ModuleType, rows: pd.DataFrame) -> str:
    """Return a figure's caption.

    Args:
        module: The figure's module.
        rows: What its `select` returned.

    Returns:
        Its `TITLE`, or what its `caption` makes of the rows.
    """
    return str(module.caption(rows) if hasattr(module, "caption") else module.TITLE)


def render(module: ModuleType, rows: pd.DataFrame) -> dict[str, bytes]:
    """Return a figure's bytes by format, whatever the user's matplotlib settings are.

    Args:
        module: The figure's module.
        rows: What its `select` returned.

    Returns:
        Content of the pdf, the svg and the png.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style.STYLE)  # type: ignore[arg-type]
        # one salt a figure: equal ids in two drawings of one page would collide
        mpl.rcParams["svg.hashsalt"] = module.__name__
        figure = draw(module, rows)
        engine = figure.get_layout_engine()
        assert engine is not None
        engine.execute(figure)  # lay out once, for all formats
        figure.set_layout_engine(None)
        contents = {}
        for suffix, metadata in METADATA.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, metadata=metadata)
            contents[suffix] = buffer.getvalue()
    return contents


def draw(module: ModuleType, rows: pd.DataFrame) -> Figure:
    """Return a figure, drawn under the current matplotlib settings.

    Args:
        module: The figure's module.
        rows: What its `select` returned.

    Returns:
        The figure, on no screen.
    """
    layout = layout_of(module, rows)
    arranged = ConstrainedLayoutEngine(rect=(0.0, 0.0, layout.right, 1.0))
    figure = Figure(figsize=(layout.width, layout.height), layout=arranged)
    FigureCanvasAgg(figure)
    axes = figure.subplots(layout.rows, layout.cols, squeeze=False)
    module.draw(rows, axes)
    return figure


def layout_of(module: ModuleType, rows: pd.DataFrame) -> style.Layout:
    """Return a figure's panels and size.

    Args:
        module: The figure's module.
        rows: What its `select` returned.

    Returns:
        Its `LAYOUT`, or what its `layout` makes of the rows.
    """
    layout: style.Layout = module.layout(rows) if hasattr(module, "layout") else module.LAYOUT
    return layout


def to_csv(rows: pd.DataFrame) -> bytes:
    """Return a figure's table as CSV: exact floats, line feeds."""
    return rows.to_csv(index=False, lineterminator="\n").encode()


def _having(attribute: str) -> tuple[str, ...]:
    found = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(name for name in found if hasattr(module_of(name), attribute))


def module_of(name: str) -> ModuleType:
    """Return the module of a figure, a table or a part that they share."""
    return importlib.import_module(f"{__name__}.{name}")


def _chosen(known: Iterable[str], wanted: Iterable[str], what: str) -> tuple[str, ...]:
    known, asked = tuple(known), tuple(wanted)
    for name in asked:
        if name not in known:
            raise ValueError(f"Unknown {what} {name!r}. Choose from: {', '.join(known)}.")
    return tuple(name for name in known if not asked or name in asked)

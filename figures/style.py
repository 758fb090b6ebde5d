"""The look of all figures: sizes, colours, dashes and markers, and the settings of matplotlib.

A method has one colour and one dash pattern everywhere (seaborn's colour-blind palette); what was published is
dark grey and dotted. Sizes are those of a two-column paper: nothing has to be scaled.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy.typing as npt
import seaborn as sns  # type: ignore[import-untyped, unused-ignore]

SINGLE, DOUBLE = 3.4, 7.0
"""Width of one and of both columns, in inches."""

AxesGrid: TypeAlias = npt.NDArray[Any]
"""Axes by row and column."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Panels and size of a figure.

    Attributes:
        rows: Rows of panels.
        cols: Columns of panels.
        width: In inches, `SINGLE` or `DOUBLE`.
        height: In inches.
        right: Fraction of the width at which panels end, for titles that are wider than a panel of the last column.
    """

    rows: int
    cols: int
    width: float
    height: float
    right: float = 1.0


@dataclasses.dataclass(frozen=True)
class Look:
    """How a series is drawn: what tells it apart in print without colours is dashes, marker, and whether that is open."""

    color: str
    dashes: tuple[float, tuple[float, ...]] | str = "-"
    marker: str = "o"
    open: bool = False

    @property
    def line(self) -> dict[str, Any]:
        """Line properties of matplotlib, of a curve with markers and of its legend entry."""
        face = "white" if self.open else self.color
        return {"color": self.color, "ls": self.dashes, "marker": self.marker, "mfc": face}


PALETTE = tuple(sns.color_palette("colorblind").as_hex())
GREY = "#404040"
LOOKS: Mapping[str, Look] = {
    "backpropagation": Look(PALETTE[0], "-", "o"),
    "forward gradient": Look(PALETTE[1], (0, (4, 1.2)), "s"),
    "forward gradient, clipped": Look(PALETTE[2], (0, (2, 1)), "^"),
    "plain backpropagation": Look(PALETTE[9], (0, (1, 1)), "D"),
    "plain forward gradient": Look(PALETTE[5], (0, (1, 1)), "v"),
    "function alone": Look(PALETTE[2], "-.", "^"),
    "tangents alone": Look(PALETTE[4], (0, (6, 1.5, 1, 1.5)), "v"),
    "published": Look(GREY, ":", "D"),
    "theory": Look(GREY, (0, (1, 1)), ""),
    "constant": Look(PALETTE[3], "-", "^"),
    "exponential": Look(PALETTE[9], (0, (4, 1.2)), "s"),
    "hyperbolic": Look(PALETTE[2], "-.", "o"),
    "mean": Look(PALETTE[4], "-", "s"),
    "projection": Look(PALETTE[2], "-", "o"),
    "sum": Look(PALETTE[5], (0, (4, 1.2)), "^"),
    "R_f": Look(PALETTE[1], (0, (4, 1.2)), "s"),
    "R_b": Look(PALETTE[0], "-", "o"),
    "R_f/R_b": Look(PALETTE[2], "-.", "^"),
}
"""Look of every series, by name."""

SPARE = tuple(Look(PALETTE[i], (0, (1 + i % 3, 1)), "ovs^D"[i % 5]) for i in (3, 4, 5, 6, 7, 8, 9))
"""Looks of series that have none of their own."""

RUNGS = (((0, (1, 3)), True), ((0, (1, 1)), True), ((0, (4, 1, 1, 1)), False), ("-", False))
"""Dashes, and whether markers are open, from the fewest tangents to the most."""
RUNG_MARKERS: Mapping[str, str] = {"mean": "<svD", "projection": ">o^P"}
"""Markers of an aggregation, from the fewest tangents to the most."""
OTHER_RUNG_MARKERS = "dhpX"
"""Those of an aggregation that has none of its own."""

STYLE: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "legend.borderaxespad": 0.3,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.5,
    "figure.constrained_layout.h_pad": 0.05,
    "figure.constrained_layout.w_pad": 0.05,
    "savefig.dpi": 220,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "text.usetex": False,
}
"""Runtime configuration of matplotlib under which every figure is drawn, on top of its defaults."""


def looks(series: Iterable[str]) -> dict[str, Look]:
    """Return the look of every series; one that has none of its own gets a spare one, in order.

    Args:
        series: Names; the same names in the same order get the same looks.

    Returns:
        Look by name.
    """
    spare = itertools.cycle(SPARE)
    return {name: LOOKS[name] if name in LOOKS else next(spare) for name in series}


def rung(aggregation: str, color: str, place: int) -> Look:
    """Return the look of an aggregation with some number of tangents, which no two numbers share but in colour.

    Args:
        aggregation: Its name, which decides the shapes.
        color: Its colour.
        place: Of the number among those shown, counted from the end: -1 is the most tangents, always solid and filled.

    Returns:
        The look; beyond `RUNGS` that of the fewest.
    """
    place = max(place, -len(RUNGS))
    dashes, open_ = RUNGS[place]
    return Look(color, dashes, RUNG_MARKERS.get(aggregation, OTHER_RUNG_MARKERS)[place], open_)

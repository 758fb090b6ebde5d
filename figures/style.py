"""The look of all figures: colours, sizes, and the few marks they are made of.

A method has one colour and one dash pattern everywhere (seaborn's colour-blind palette); what was published is
dark grey and dotted. Sizes are those of a two-column paper: nothing has to be scaled.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns  # type: ignore[import-untyped, unused-ignore]
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

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
    """

    rows: int
    cols: int
    width: float
    height: float


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

FULL = "full scale"
NOT_OURS = ("published", "theory", "guide", "ratio", "not run")
"""Kinds of row that show no run of ours."""

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


def short_device(device: str) -> str:
    """Return a device's name without trade marks and clock rates.

    Example:
        >>> short_device("Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz")
        'Intel Xeon Platinum 8481C'
    """
    name = re.sub(
        r"\((?:R|TM|r|tm)\)| CPU| @ [\d.]+ ?[GM]Hz|\d+-Core Processor|Processor", "", device
    )
    return re.sub(r"\s+", " ", name).strip()


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


def notes(rows: pd.DataFrame) -> dict[str, str]:
    """Return what a panel's title says of its runs: n, how many diverged, what is not run, device, scale.

    Args:
        rows: Rows of the panel.

    Returns:
        Words by what they are about, for `titles`.
    """
    found: dict[str, str] = {}
    ours = rows[rows["kind"].isin(["mean", "repetition"])]
    counts = ours[ours["n"] > 0].drop_duplicates("series")[["series", "n", "diverged"]]
    if len(counts):
        alike = counts["n"].nunique() == 1
        apiece = " each" if len(counts) > 1 else ""
        found["n"] = (
            f"n={counts['n'].iloc[0]}{apiece}"
            if alike
            else ", ".join(f"n={row.n} of {row.series}" for row in each(counts))
        )
        lost = counts[counts["diverged"] > 0]
        same = len(lost) == len(counts) and counts["diverged"].nunique() == 1
        found["diverged"] = (
            f"{counts['diverged'].iloc[0]}{apiece} diverged"
            if same
            else ", ".join(f"{row.series}: {row.diverged} diverged" for row in each(lost))
            or "0 diverged"
        )
    if len(ours):  # else the panel itself says so
        absent = [name for name in rows["series"][rows["kind"] == "not run"].unique() if name]
        found |= {"not run": f"{' and '.join(absent)} not run"} if absent else {}
    device = next((d for d in rows["device"] if d), "")
    found |= {"device": f"timed on {short_device(device)}"} if device else {}
    return found | scale_note(rows["scale"])


def span(values: pd.Series) -> str:
    """Return the smallest and the largest of some counts in words, once where they are one.

    Example:
        >>> span(pd.Series([30, 10])), span(pd.Series([1_000]))
        ('10 to 30', '1,000')
    """
    few, most = values.min(), values.max()
    return f"{most:,}" if few == most else f"{few:,} to {most:,}"


def scale_note(scales: Iterable[str]) -> dict[str, str]:
    """Return the note on scales for `titles`; none where none is known."""
    known = sorted(set(scales) - {""})
    said = " and ".join(known) + " scale" + (", no result" if "smoke" in known else "")
    return {"scale": said} if known else {}


def titles(panels: Iterable[tuple[Axes, str, Mapping[str, str]]]) -> None:
    """Write the titles of all panels: a name, and what is not said once for most of them above the figure.

    Args:
        panels: Axes, name, and notes: words by what they are about. A panel without notes has nothing of ours.
    """
    panels = list(panels)
    if not panels:
        return
    told = [notes for _, _, notes in panels if notes]
    common: dict[str, str] = {}
    for about in dict.fromkeys(about for notes in told for about in notes):
        said = [notes[about] for notes in told if about in notes]
        most = max(dict.fromkeys(said), key=said.count)
        # where something was timed is true of a figure in which not every panel shows times
        everywhere = len(said) == len(told) or about == "device"
        if everywhere and len(told) > 1 and said.count(most) > len(said) / 2:
            common[about] = most
    for axes, name, notes in panels:
        own = [text for about, text in notes.items() if common.get(about) != text]
        if "scale" not in common:  # full is what goes without saying
            own = [text for text in own if text != FULL]
        axes.set_title("\n".join([name, ", ".join(own)] if own else [name]))
    shared = [text for text in common.values() if text != FULL]
    differ = any(
        notes.get(about, text) != text
        for notes in told
        for about, text in common.items()
        if text in shared
    )
    if shared:
        head = "Unless a panel says otherwise" if differ else "All panels"
        figure = panels[0][0].figure
        figure.suptitle(f"{head}: {', '.join(shared)}", size=STYLE["axes.titlesize"], color=GREY)


def missing(axes: Axes, rows: pd.DataFrame, height: float = 0.5) -> bool:
    """Write `not run` into a panel that has nothing of ours to show.

    Args:
        axes: The panel.
        rows: Rows of the panel.
        height: Where, as a fraction of the panel's height.

    Returns:
        Whether it was written.
    """
    if not rows["kind"].isin(NOT_OURS).all():
        return False
    axes.text(
        0.5,
        height,
        "not run",
        transform=axes.transAxes,
        ha="center",
        va="center",
        color=GREY,
        size=9,
        zorder=5,
    )
    if not len(rows[rows["kind"] == "published"]):
        axes.set_xticks([])
        axes.set_yticks([])
    return True


def lines(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw a panel's curves: repetitions thin, means with their bands, divergences as crosses.

    Args:
        axes: The panel.
        rows: Rows of the panel; published values become markers.
    """
    for (series, _), part in rows[rows["kind"] == "repetition"].groupby(["series", "repetition"]):
        axes.plot(
            part["x"], part["y"], color=LOOKS[str(series)].color, lw=0.4, alpha=0.45, zorder=1.5
        )
    for series, part in rows[rows["kind"] == "mean"].groupby("series"):
        look = LOOKS[str(series)]
        band = part[np.isfinite(part["low"]) & np.isfinite(part["high"])]
        axes.fill_between(
            band["x"], band["low"], band["high"], color=look.color, alpha=0.2, lw=0, zorder=1.2
        )
        axes.plot(part["x"], part["y"], color=look.color, ls=look.dashes, label=series, zorder=2.5)
    for series, part in rows[rows["kind"] == "diverged"].groupby("series"):
        axes.plot(
            part["x"], part["y"], "x", color=LOOKS[str(series)].color, ms=5, mew=1.2, zorder=3
        )
    markers(axes, rows[rows["kind"] == "published"])


def markers(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw published values: open markers, dotted, in the colour of their method or grey."""
    for series, part in rows.groupby("series"):
        look = LOOKS[str(series)]
        axes.plot(
            part["x"],
            part["y"],
            ls=":",
            lw=0.9,
            color=GREY,
            marker=look.marker,
            mfc="white",
            mec=look.color if series != "published" else GREY,
            mew=0.9,
            zorder=2.8,
        )


def key(axes: AxesGrid, entries: Iterable[tuple[str, Mapping[str, Any]]], columns: int) -> None:
    """Put one legend for all panels beneath the figure.

    Args:
        axes: The panels.
        entries: Label and line properties of each entry.
        columns: Most entries a line; fewer where the figure is too narrow for them.
    """
    handles = [Line2D([], [], label=label, **options) for label, options in entries]
    figure = axes.flat[0].figure
    for fewer in range(columns, 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=fewer)
        if fewer == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def diverged_entry(table: pd.DataFrame) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the legend entry of divergences, if there are any.

    Args:
        table: The figure's table.

    Returns:
        An entry for `key`, or none.
    """
    cross = {"color": GREY, "marker": "x", "ls": "", "mew": 1.2}
    return [("diverged here", cross)] if (table["kind"] == "diverged").any() else []


def curve_entries(
    table: pd.DataFrame, series: Sequence[str], interval: str = "mean, 95 % t band"
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return legend entries of methods, single runs, divergences and published values, as far as shown.

    Args:
        table: The figure's table.
        series: Methods in order.
        interval: What line and band are, where a method has more than one run.

    Returns:
        Entries for `key`.
    """
    means = table[table["kind"] == "mean"]
    single = set(means["series"][means["n"] == 1]) - set(means["series"][means["n"] > 1])
    entries: list[tuple[str, Mapping[str, Any]]] = [
        (
            f"{name} ({'one run' if name in single else interval})",
            {"color": LOOKS[name].color, "ls": LOOKS[name].dashes},
        )
        for name in series
    ]
    kinds = set(table["kind"])
    if "repetition" in kinds and not (len(means) and (means["n"] == 1).all()):
        entries.append(("single repetitions", {"color": GREY, "lw": 0.4}))
    entries += diverged_entry(table)
    for name in dict.fromkeys(table[table["kind"] == "published"]["series"]):
        look = LOOKS[name]
        edge = GREY if name == "published" else look.color
        shape = {"marker": look.marker, "mfc": "white", "mec": edge, "mew": 0.9}
        label = "published (read off)" + ("" if name == "published" else f", {name}")
        entries.append((label, {"color": GREY, "ls": ":", "lw": 0.9, **shape}))
    return entries


def number(rows: pd.DataFrame, symbol: str) -> str:
    """Return a `ratio` of ours and the published one as a line or two of text.

    Args:
        rows: Rows of kind ratio, one series.
        symbol: How the ratio is written.

    Returns:
        E.g. `T_f/T_b = 0.31 [0.29, 0.33], n=5` and beneath it `published 0.229`.
    """
    texts: list[str] = []
    for row in each(rows):
        if row.published:
            texts.append(f"published {row.y:g}" if texts else f"{symbol} published {row.y:g}")
        elif math.isnan(row.y):
            texts.append(f"{symbol} undefined, n={row.n}")
        elif math.isinf(row.y):
            bound = f"{symbol} > {row.low:.2f}\n" if row.low > 0 else f"{symbol}: "
            texts.append(f"{bound}never reached by half or more")
        elif math.isfinite(row.low) and math.isfinite(row.high):
            texts.append(f"{symbol} = {row.y:.2f} [{row.low:.2f}, {row.high:.2f}]")
        elif math.isinf(row.high) and math.isfinite(row.low) and row.low > 0:
            texts.append(f"{symbol} = {row.y:.2f} [{row.low:.2f}, ∞)")
        else:
            texts.append(f"{symbol} = {row.y:.2f}, no interval")
    return "\n".join(texts)


def write_number(axes: Axes, rows: pd.DataFrame, symbol: str) -> None:
    """Write the panel's `ratio` rows at the upper right, where falling curves leave room.

    Args:
        axes: The panel.
        rows: Rows of the panel.
        symbol: How the ratio is written.
    """
    if text := number(rows[rows["kind"] == "ratio"], symbol):
        axes.text(
            0.98,
            0.98,
            text,
            transform=axes.transAxes,
            ha="right",
            va="top",
            size=7,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
        )


def whole_ticks(axes: Axes, most: int = 6) -> None:
    """Keep the iteration axis from crowding: at most that many ticks, thousands as `k`."""
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if abs(x) >= 1000 else f"{x:g}")


def log_ticks(axes: Axes) -> None:
    """Label a logarithmic ordinate with plain numbers, few of them, whatever its range."""
    low, high = axes.get_ylim()
    if high / low < 4:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    axes.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low, high)


def each(rows: pd.DataFrame) -> Iterable[Any]:
    """Return the rows as named tuples, for attribute access."""
    return rows.itertuples(index=False)

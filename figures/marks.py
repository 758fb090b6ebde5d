"""Marks: what panels are drawn with, be it curves, published values, a ratio in words, or that nothing was run."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures import style
from figures.selection import NOT_OURS, each


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
        color=style.GREY,
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
            part["x"],
            part["y"],
            color=style.LOOKS[str(series)].color,
            lw=0.4,
            alpha=0.45,
            zorder=1.5,
        )
    for series, part in rows[rows["kind"] == "mean"].groupby("series"):
        look = style.LOOKS[str(series)]
        band = part[np.isfinite(part["low"]) & np.isfinite(part["high"])]
        axes.fill_between(
            band["x"], band["low"], band["high"], color=look.color, alpha=0.2, lw=0, zorder=1.2
        )
        axes.plot(part["x"], part["y"], color=look.color, ls=look.dashes, label=series, zorder=2.5)
    for series, part in rows[rows["kind"] == "diverged"].groupby("series"):
        axes.plot(
            part["x"], part["y"], "x", color=style.LOOKS[str(series)].color, ms=5, mew=1.2, zorder=3
        )
    published(axes, rows[rows["kind"] == "published"])


def published(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw published values: open markers, dotted, in the colour of their method or grey."""
    for series, part in rows.groupby("series"):
        look = style.LOOKS[str(series)]
        axes.plot(
            part["x"],
            part["y"],
            ls=":",
            lw=0.9,
            color=style.GREY,
            marker=look.marker,
            mfc="white",
            mec=look.color if series != "published" else style.GREY,
            mew=0.9,
            zorder=2.8,
        )


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
            if math.isinf(row.low):  # more steps would have taken none of them there
                texts.append(f"{symbol}: never reached, all diverged")
            else:
                bound = f"{symbol} > {row.low:.2f}\n" if row.low > 0 else f"{symbol}: "
                texts.append(f"{bound}never reached by\nhalf or more")
        elif math.isfinite(row.low) and math.isfinite(row.high):
            texts.append(f"{symbol} = {row.y:.2f} [{row.low:.2f}, {row.high:.2f}]")
        elif math.isinf(row.high) and math.isfinite(row.low) and row.low > 0:
            texts.append(f"{symbol} = {row.y:.2f} [{row.low:.2f}, ∞)")
        else:
            texts.append(f"{symbol} = {row.y:.2f}, no interval")
    return "\n".join(texts)


def write_number(axes: Axes, rows: pd.DataFrame, symbol: str, left: bool = False) -> None:
    """Write the panel's `ratio` rows where falling curves leave room: at the upper right, or at the left.

    Args:
        axes: The panel.
        rows: Rows of the panel.
        symbol: How the ratio is written.
        left: Beneath the start, for curves that fall late or some of which shoot up.
    """
    if text := number(rows[rows["kind"] == "ratio"], symbol):
        axes.text(
            0.02 if left else 0.98,
            0.5 if left else 0.98,
            text,
            transform=axes.transAxes,
            ha="left" if left else "right",
            va="center" if left else "top",
            size=7,
            zorder=5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0},
        )

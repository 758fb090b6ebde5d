"""Legends: one beneath each figure, and the entries that several figures share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from figures import style


def key(
    axes: style.AxesGrid, entries: Iterable[tuple[str, Mapping[str, Any]]], columns: int
) -> None:
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
    cross = {"color": style.GREY, "marker": "x", "ls": "", "mew": 1.2}
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
            {"color": style.LOOKS[name].color, "ls": style.LOOKS[name].dashes},
        )
        for name in series
    ]
    kinds = set(table["kind"])
    if "repetition" in kinds and not (len(means) and (means["n"] == 1).all()):
        entries.append(("single repetitions", {"color": style.GREY, "lw": 0.4}))
    entries += diverged_entry(table)
    for name in dict.fromkeys(table[table["kind"] == "published"]["series"]):
        look = style.LOOKS[name]
        edge = style.GREY if name == "published" else look.color
        shape = {"marker": look.marker, "mfc": "white", "mec": edge, "mew": 0.9}
        label = "published (read off)" + ("" if name == "published" else f", {name}")
        entries.append((label, {"color": style.GREY, "ls": ":", "lw": 0.9, **shape}))
    return entries

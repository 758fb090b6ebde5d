"""Ticks: few of them, labelled with plain numbers."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator


def whole(axes: Axes, most: int = 6) -> None:
    """Keep the iteration axis from crowding: at most that many ticks, thousands as `k`."""
    axes.xaxis.set_major_locator(MaxNLocator(most, integer=True, steps=[1, 2, 2.5, 5, 10]))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if abs(x) >= 1000 else f"{x:g}")


def logarithmic(axes: Axes) -> None:
    """Label a logarithmic ordinate with plain numbers, few of them, whatever its range."""
    low, high = axes.get_ylim()
    if high / low < 4:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    else:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 300 else (1,)))
    axes.yaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_ylim(low, high)

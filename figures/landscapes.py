"""The two test functions of Fig. 2 as contours: known functions, hence no rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

Grid = npt.NDArray[np.float64]


def beale(x: Grid, y: Grid) -> Grid:
    """Return Beale's function, minimum 0 at (3, 0.5)."""
    terms = (1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3)
    total: Grid = terms[0] ** 2 + terms[1] ** 2 + terms[2] ** 2
    return total


def rosenbrock(x: Grid, y: Grid) -> Grid:
    """Return Rosenbrock's function with a=1, b=100, minimum 0 at (1, 1)."""
    total: Grid = (1.0 - x) ** 2 + 100.0 * (y - x**2) ** 2
    return total


FUNCTIONS: Mapping[str, Callable[[Grid, Grid], Grid]] = {"beale": beale, "rosenbrock": rosenbrock}


def contours(
    axes: Axes, function: str, x: tuple[float, float], y: tuple[float, float], num: int = 16
) -> None:
    """Draw level lines of a function, evenly spaced in its logarithm.

    Args:
        axes: The panel, limited to the window.
        function: Name of one of `FUNCTIONS`.
        x: Window, left and right.
        y: Window, bottom and top.
        num: Number of levels.
    """
    across, up = np.meshgrid(np.linspace(*x, 201), np.linspace(*y, 201))
    levels = np.log10(FUNCTIONS[function](across, up) + 1e-3)
    axes.contour(across, up, levels, num, cmap="Greys", linewidths=0.4, alpha=0.8, zorder=1)
    axes.set(xlim=x, ylim=y)

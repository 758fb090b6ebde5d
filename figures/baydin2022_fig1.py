"""Baydin et al. 2022, Fig. 1: forward gradients at a point of Beale's function, and how their mean converges."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from figures import headings, landscapes, legends, marks, style
from figures.baydin2022_facts import STUDY
from figures.selection import FORWARD_GRADIENT, frame, not_run, stack
from repro import measures, stats
from repro.results import EmptySelectionError, Results

TITLE = (
    "Forward gradients at (1.5, -0.1) of Beale's function. Left: the gradient and 500 estimates (dots), twelve of them as arrows, all "
    "drawn at a tenth of their length. Right: relative error of the mean of N draws: every repetition, their root mean square with "
    "its 95 % bootstrap band, and the theory, sqrt((d+1)/N) with d=2."
)
LAYOUT = style.Layout(1, 2, style.DOUBLE, 3.0)
POINT = (1.5, -0.1)
DIMENSION = 2
WIDE = 2.6
"""Width of the line of the mean error, in points."""
SCALE = 0.1
NUM_ARROWS = 12
MIN_BOOTSTRAP = 10
"""Below that many repetitions the bootstrap covers too rarely, and there is no band."""


def select(results: Results) -> pd.DataFrame:
    """Return the gradient, the estimates of the first repetition, and the errors of all."""
    panels = ("estimates", "error")
    try:
        runs = measures.report_runs(results, "estimates", [FORWARD_GRADIENT], study=STUDY)
        return stack([_estimates(results, runs.head(1)), _errors(results, runs)])
    except EmptySelectionError as error:
        return stack(not_run(panel, note=str(error)) for panel in panels)


def _components(results: Results, runs: pd.DataFrame, name: str) -> dict[str, pd.Series]:
    first, second = (
        measures.curve_rows(results, runs, f"{name}_{index}", "none") for index in (0, 1)
    )
    return {"repetition": first["repetition"], "x": first["value"], "y": second["value"]}


def _estimates(results: Results, runs: pd.DataFrame) -> pd.DataFrame:
    common = {"panel": "estimates", "n": 1, "scale": runs["scale"].iloc[0]}
    gradient = _components(results, runs, "gradient")
    draws = _components(results, runs, "estimate")
    return stack(
        [
            frame(
                {
                    **common,
                    "kind": "theory",
                    "series": "backpropagation",
                    "note": "gradient",
                    **gradient,
                }
            ),
            frame(
                {
                    **common,
                    "kind": "repetition",
                    "series": FORWARD_GRADIENT,
                    "note": "estimate",
                    **draws,
                }
            ),
        ]
    )


def _root_mean_square(values: npt.ArrayLike, axis: int = -1) -> Any:
    return np.sqrt(np.square(np.asarray(values)).mean(axis=axis))


def _errors(results: Results, runs: pd.DataFrame) -> pd.DataFrame:
    points = measures.curve_rows(results, runs, "relative_error", "none")
    common = {"panel": "error", "n": len(runs), "scale": runs["scale"].iloc[0]}
    ours = {**common, "series": FORWARD_GRADIENT}
    single = {"repetition": points["repetition"], "x": points["step"], "y": points["value"]}
    means = []
    for step, part in points.groupby("step"):
        rows = {"x": step, "y": _root_mean_square(part["value"])}
        if len(part) >= MIN_BOOTSTRAP:
            interval = stats.bootstrap_interval(
                part["value"], _root_mean_square, 0.95, np.random.default_rng(0), 2_000
            )
            rows |= {"low": interval.low, "high": interval.high}
        means.append(rows)
    note = "root mean square, 95 % bootstrap interval (BCa) from ten repetitions on"
    steps = np.array(sorted(set(points["step"])), dtype=float)
    theory = {"x": steps, "y": np.sqrt((DIMENSION + 1) / steps)}
    return stack(
        [
            frame({**ours, "kind": "repetition", **single}),
            frame([{**ours, "kind": "mean", "note": note, **row} for row in means]),
            frame({**common, "kind": "theory", "series": "theory", **theory}),
        ]
    )


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw the estimates over contours, and the errors on logarithmic axes."""
    left, right = axes.flat
    _draw_estimates(left, table[table["panel"] == "estimates"])
    rows = table[table["panel"] == "error"]
    headings.titles([(right, "Mean of N forward gradients", headings.notes(rows))])
    right.set(xlabel="draws N", ylabel="relative error of the mean")
    if marks.missing(right, rows):
        return
    marks.lines(right, rows)
    mean = rows[rows["kind"] == "mean"]
    # wide, or the line of the theory would hide it where they agree
    right.plot(mean["x"], mean["y"], color=style.LOOKS[FORWARD_GRADIENT].color, lw=WIDE, zorder=2.6)
    theory = rows[rows["kind"] == "theory"]
    look = style.LOOKS["theory"]
    right.plot(theory["x"], theory["y"], color=look.color, ls=look.dashes, zorder=3)
    right.set(xscale="log", yscale="log")
    fg, law = style.LOOKS[FORWARD_GRADIENT], style.LOOKS["theory"]
    legends.key(
        axes,
        [
            ("gradient", {"color": style.LOOKS["backpropagation"].color}),
            ("forward gradient", {"color": fg.color, "marker": ".", "ls": "-"}),
            ("root mean square, 95 % band", {"color": fg.color, "lw": WIDE}),
            ("single repetitions", {"color": fg.color, "lw": 0.4}),
            ("theory √((d+1)/N)", {"color": law.color, "ls": law.dashes}),
        ],
        5,
    )


def _draw_estimates(axes: Axes, rows: pd.DataFrame) -> None:
    axes.set(xlabel="x", ylabel="y")
    if len(rows[rows["kind"] == "not run"]):
        axes.set_title("Beale's function")
        marks.missing(axes, rows)
        return
    x, y = POINT
    landscapes.contours(axes, "beale", (0.2, 2.8), (-1.2, 1.0))
    draws = rows[rows["kind"] == "repetition"]
    axes.set_title(f"Beale's function at ({x}, {y})\n{len(draws)} draws of one repetition")
    color = style.LOOKS[FORWARD_GRADIENT].color
    axes.plot(x + SCALE * draws["x"], y + SCALE * draws["y"], ".", color=color, ms=1.5, alpha=0.5)
    gradient = rows[rows["kind"] == "theory"]
    blue = style.LOOKS["backpropagation"].color
    arrows = [(draws.head(NUM_ARROWS), color, 0.004), (gradient, blue, 0.009)]
    for part, shade, width in arrows:
        axes.quiver(
            np.full(len(part), x),
            np.full(len(part), y),
            part["x"],
            part["y"],
            color=shade,
            angles="xy",
            scale_units="xy",
            scale=1 / SCALE,
            width=width,
            minlength=0,
            zorder=4,
        )
    axes.plot(x, y, "o", color="black", ms=3, zorder=5)

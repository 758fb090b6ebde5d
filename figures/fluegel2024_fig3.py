"""Flügel et al. 2024, Fig. 3: how close estimates from several tangents come to the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from figures import headings, legends, marks, style, ticks
from figures.approaches import looks
from figures.fluegel2024_runs import STUDY, doubling, entries, narrowed, notes
from figures.selection import each, frame, not_run, stack
from repro import measures
from repro.results import EmptySelectionError, Results

FAMILY = "approximation"
DIMENSION, NUM_TANGENTS = 64, 16
"""The dimension n of the paper's figure, and the number k of tangents of the panel over dimensions."""
TITLE = (
    f"Estimates of one gradient from k tangents in n = {DIMENSION} dimensions: cosine with the gradient, length, and distance to it, "
    f"the last two over the gradient's length; and the cosine over n at k = {NUM_TANGENTS}. Mean over draws, which all estimates "
    "share, with 1.96 standard errors (mostly within the line). Grey, dotted: exact expectations; those of length and distance are "
    "root mean squares, so a mean lies below them where estimates scatter (k = 1). A single tangent is k = 1; the vertical line is "
    "k = n"
)
LAYOUT = style.Layout(2, 2, style.DOUBLE, 5.0)
METRICS = {  # metric: heading, label of the ordinate
    "cosine": ("Cosine", "cosine with the gradient"),
    "norm_ratio": ("Length", "length / length of the gradient"),
    "relative_error": ("Relative error", "distance / length of the gradient"),
}
OVER_DIMENSIONS = "cosine by dimension"

Numbers = npt.NDArray[np.float64]


def expected_cosine(num_tangents: float, dimension: float) -> float:
    """Return the expected cosine of the projection on `k` normal tangents with the gradient in `n` dimensions.

    `Γ((k+1)/2) Γ(n/2) / (Γ(k/2) Γ((n+1)/2))`, the mean length of `k` coordinates of a random unit vector.
    """
    if num_tangents >= dimension:
        return 1.0
    halves = ((num_tangents + 1) / 2, dimension / 2), (num_tangents / 2, (dimension + 1) / 2)
    above, below = (sum(math.lgamma(half) for half in pair) for pair in halves)
    return math.exp(above - below)


THEORY: Mapping[tuple[str, str], Callable[[float, float], float]] = {
    ("cosine", "projection"): expected_cosine,
    ("norm_ratio", "mean"): lambda k, n: math.sqrt((n + k + 1) / k),
    ("norm_ratio", "sum"): lambda k, n: math.sqrt(k * (n + k + 1)),
    ("norm_ratio", "projection"): lambda k, n: math.sqrt(min(k / n, 1.0)),
    ("relative_error", "mean"): lambda k, n: math.sqrt((n + 1) / k),
    ("relative_error", "sum"): lambda k, n: math.sqrt(k * (n + k - 1) + 1),
    ("relative_error", "projection"): lambda k, n: math.sqrt(1 - k / n) if k < n else math.nan,
}
"""Exact expectations over normal tangents by metric and method, of `k` and `n`."""


def select(results: Results) -> pd.DataFrame:
    """Return means over draws with their intervals and what theory says, by k and by n."""
    results = narrowed(results, FAMILY)
    parts = [_panel(results, metric) for metric in METRICS]
    return stack([*parts, _over_dimensions(results)])


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with what is left of the projection's error where there are tangents enough."""
    ours = table[(table["panel"] == "relative_error") & (table["series"] == "projection")]
    errors = ours["y"][(ours["kind"] == "mean") & (ours["x"] >= DIMENSION)]
    if errors.empty:
        return f"{TITLE}."
    largest = errors.max()
    left = (
        f"at most {largest:.1g}"
        if largest
        else "exactly 0, which has no place on a logarithmic axis"
    )
    return f"{TITLE}, from which on the projection's error is {left}."


def _panel(results: Results, metric: str) -> pd.DataFrame:
    try:
        runs = measures.report_runs(results, f"{FAMILY}-{DIMENSION}", study=STUDY)
        points = _points(results, runs, metric)
    except EmptySelectionError as error:
        return not_run(metric, note=str(error))
    dimension = float(points["num_parameters"].iloc[0])
    return stack(
        [
            _means(metric, points, points["step"]),
            _theory(metric, metric, np.unique(points["step"].to_numpy(np.float64)), dimension),
            frame([{"panel": metric, "kind": "guide", "series": "k = n", "x": dimension}]),
        ]
    )


def _over_dimensions(results: Results) -> pd.DataFrame:
    try:
        names = measures.members(results, FAMILY, STUDY)
        runs = pd.concat([measures.report_runs(results, name, study=STUDY) for name in names])
        points = _points(results, runs, "cosine")
    except EmptySelectionError as error:
        return not_run(OVER_DIMENSIONS, note=str(error))
    points = points[points["step"] == NUM_TANGENTS]
    points = points.sort_values(["method", "num_parameters"], ignore_index=True)
    if points.empty:
        return not_run(OVER_DIMENSIONS, note=f"no estimate has k = {NUM_TANGENTS}")
    dimensions = np.unique(points["num_parameters"].to_numpy(np.float64))
    theory = frame(
        {
            "panel": OVER_DIMENSIONS,
            "kind": "theory",
            "series": "projection",
            "note": "exact expectation",
            "x": dimensions,
            "y": np.array([expected_cosine(NUM_TANGENTS, n) for n in dimensions]),
        }
    )
    guide = {"panel": OVER_DIMENSIONS, "kind": "guide", "series": "k = n", "x": NUM_TANGENTS}
    return stack(
        [_means(OVER_DIMENSIONS, points, points["num_parameters"]), theory, frame([guide])]
    )


def _points(results: Results, runs: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return mean and standard deviation over draws by method and k, with the columns of the runs."""
    keys = ["key", "method", "step"]
    mean, deviation = (
        measures.curve_rows(results, runs, name, "none").set_index(keys)["value"]
        for name in (metric, f"{metric}_std")
    )
    found = pd.DataFrame({"mean": mean, "deviation": deviation}).reset_index()
    return found.merge(runs[["key", "num_steps", "num_parameters", "scale"]], on="key")


def _means(panel: str, points: pd.DataFrame, x: pd.Series) -> pd.DataFrame:
    error = 1.96 * points["deviation"] / np.sqrt(points["num_steps"])
    return frame(
        {
            "panel": panel,
            "kind": "mean",
            "series": points["method"],
            "x": x,
            "y": points["mean"],
            "low": points["mean"] - error,
            "high": points["mean"] + error,
            "n": points["num_steps"],
            "scale": points["scale"],
            "note": "mean over draws, 1.96 standard errors",
        }
    )


def _theory(panel: str, metric: str, num_tangents: Numbers, dimension: float) -> pd.DataFrame:
    note = "exact expectation" if metric == "cosine" else "exact root mean square"
    return stack(
        frame(
            {
                "panel": panel,
                "kind": "theory",
                "series": method,
                "note": note,
                "x": num_tangents,
                "y": np.array([expected(k, dimension) for k in num_tangents]),
            }
        )
        for (of, method), expected in THEORY.items()
        if of == metric
    )


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw three metrics over k, and the cosine over n."""
    found = looks(table["series"][table["kind"] == "mean"])
    titles = []
    for panel, (metric, (name, label)) in zip(axes.flat, METRICS.items(), strict=False):
        rows = table[table["panel"] == metric]
        guides = rows[rows["kind"] == "guide"]
        where = f", n = {guides['x'].iloc[0]:g}" if len(guides) else ""
        titles.append((panel, name + where, notes(rows, "draws")))
        panel.set(xlabel="tangents k", ylabel=label)
        if metric != "cosine":
            panel.set_yscale("log")
        _draw(panel, rows, found)
    rows = table[table["panel"] == OVER_DIMENSIONS]
    titles.append((axes[1, 1], f"Cosine, k = {NUM_TANGENTS}", notes(rows, "draws")))
    headings.titles(titles)
    axes[1, 1].set(xlabel="dimension n", ylabel="cosine with the gradient", yscale="log")
    _draw(axes[1, 1], rows, found)
    theory = style.LOOKS["theory"]
    more = [("theory", {"color": theory.color, "ls": theory.dashes})] if found else []
    legends.key(axes, [*entries(table, found), *more], 6)


def _draw(axes: Axes, rows: pd.DataFrame, found: Mapping[str, style.Look]) -> None:
    if marks.missing(axes, rows):
        return
    doubling(axes, rows["x"])
    for guide in each(rows[rows["kind"] == "guide"]):
        axes.axvline(guide.x, color=style.GREY, lw=0.4, zorder=0.5)
    for place, (series, look) in enumerate(found.items()):
        part = rows[(rows["series"] == series) & (rows["kind"] == "mean")]
        axes.fill_between(part["x"], part["low"], part["high"], color=look.color, alpha=0.25, lw=0)
        # curves that overlap: the first ones wider beneath
        axes.plot(
            part["x"], part["y"], **look.line,
            lw=1.6 - 0.7 * place / len(found), ms=3, mew=0.7, label=series, zorder=2 + place / len(found),
        )  # fmt: skip
    for _, part in rows[rows["kind"] == "theory"].groupby("series"):
        look = style.LOOKS["theory"]
        axes.plot(part["x"], part["y"], color=look.color, ls=look.dashes, lw=1.0, zorder=3.5)
    if axes.get_yscale() == "log":
        ticks.logarithmic(axes)

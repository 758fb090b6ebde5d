"""Baydin et al. 2022, Fig. 2: descent on Beale's and Rosenbrock's function by iteration, by time, and on the map."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from figures import headings, landscapes, legends, marks, style, ticks
from figures.baydin2022_facts import STUDY, published, published_number
from figures.selection import (
    BACKPROPAGATION,
    BOTH,
    FORWARD_GRADIENT,
    curves,
    frame,
    not_run,
    ratio,
    stack,
)
from repro import measures
from repro.results import EmptySelectionError, Results

TITLE = (
    "Descent on Beale's and Rosenbrock's functions. f by iteration and by time (iterations times the median time of a step): "
    "geometric mean over repetitions with its 95 % t band. Right: the path of every repetition (a point every 10 and every 100 "
    "iterations). t_f/t_b is the ratio of the times of a step, median over rounds with its 95 % interval."
)
LAYOUT = style.Layout(2, 3, style.DOUBLE, 4.6)
FUNCTIONS = ("beale", "rosenbrock")
STEPS = {"beale": 1_000, "rosenbrock": 25_000}
WINDOWS = {"beale": ((-0.6, 4.2), (-0.8, 1.4)), "rosenbrock": ((-1.4, 1.5), (-0.6, 1.7))}
MINIMA = {"beale": (3.0, 0.5), "rosenbrock": (1.0, 1.0)}


def select(results: Results) -> pd.DataFrame:
    """Return f by iteration and by time, paths, and the published ends."""
    parts = []
    for name in FUNCTIONS:
        run_time = f"run-time-{name}"
        end = published(results, f"{name} iteration", "final value", name)
        parts += [
            curves(results, f"{name} iteration", name, "value", study=STUDY, logarithmic=True),
            end.assign(x=float(STEPS[name])),
            curves(
                results,
                f"{name} time",
                name,
                "value",
                study=STUDY,
                run_time=run_time,
                logarithmic=True,
                with_repetitions=False,
            ),
            _cost(results, f"{name} time", run_time, name),
            _paths(results, f"{name} path", name),
        ]
    return stack(parts)


def _cost(results: Results, panel: str, experiment: str, name: str) -> pd.DataFrame:
    value = published_number(results, "time ratio", name)
    try:
        measured = measures.step_time_ratio(
            results, experiment, FORWARD_GRADIENT, BACKPROPAGATION, study=STUDY
        )
    except EmptySelectionError:
        return ratio(panel, "t_f/t_b", None, value)
    return ratio(panel, "t_f/t_b", measured, value)


def _paths(results: Results, panel: str, experiment: str) -> pd.DataFrame:
    parts = []
    for method in BOTH:
        try:
            runs = measures.report_runs(results, experiment, [method], study=STUDY)
            across, up = (measures.curve_rows(results, runs, name) for name in ("x0", "x1"))
        except EmptySelectionError as error:
            parts.append(not_run(panel, method, str(error)))
            continue
        common = {"panel": panel, "kind": "repetition", "series": method, "n": len(runs)}
        common |= {
            "scale": runs["scale"].iloc[0],
            "diverged": int((runs["status"] == "diverged").sum()),
        }
        columns = {"repetition": across["repetition"], "x": across["value"], "y": up["value"]}
        parts.append(frame({**common, **columns}))
    rows = stack(parts)
    return not_run(panel) if (rows["kind"] == "not run").all() else rows


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a row of panels for each function."""
    titles = []
    for row, name in zip(axes, FUNCTIONS, strict=True):
        label = name.capitalize()
        for panel, (column, unit) in zip(
            row, (("iteration", ""), ("time", " (s)"), ("path", "")), strict=True
        ):
            rows = table[table["panel"] == f"{name} {column}"]
            what = "paths" if column == "path" else f"f by {column}"
            titles.append((panel, f"{label}, {what}", headings.notes(rows)))
            if column == "path":
                _draw_path(panel, rows, name)
                continue
            panel.set(xlabel=column + unit, ylabel="f")
            if column == "iteration":
                ticks.whole(panel)
            if marks.missing(panel, rows):
                marks.published(panel, rows[rows["kind"] == "published"])
            else:
                marks.lines(panel, rows)
            if len(rows[rows["kind"].isin(["mean", "published"])]):
                panel.set_yscale("log")
            marks.write_number(panel, rows, "$t_f/t_b$")
    headings.titles(titles)
    legends.key(axes, legends.curve_entries(table, BOTH, "geometric mean, 95 % t band"), 3)


def _draw_path(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    axes.set(xlabel="x", ylabel="y")
    if marks.missing(axes, rows):
        return
    landscapes.contours(axes, name, *WINDOWS[name])
    for series in reversed(BOTH):  # backpropagation on top: its repetitions coincide
        look = style.LOOKS[series]
        for _, path in rows[rows["series"] == series].groupby("repetition"):
            width = 1.2 if series == BACKPROPAGATION else 0.5
            axes.plot(path["x"], path["y"], color=look.color, lw=width, zorder=2)
    axes.plot(*MINIMA[name], "*", color="black", ms=6, zorder=4)

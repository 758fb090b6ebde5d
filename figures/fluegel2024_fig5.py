"""Flügel et al. 2024, Fig. 5: what the angle between tangents does to estimates and to descent."""

from __future__ import annotations

import re

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from figures import headings, legends, marks, style
from figures.approaches import looks
from figures.fluegel2024_runs import (
    ENDS,
    FINAL,
    LOWEST,
    STUDY,
    bars,
    entries,
    mean_row,
    narrowed,
    notes,
    per_dimension,
    published_row,
)
from figures.selection import frame, not_run, stack
from repro import measures
from repro.results import EmptySelectionError, Results

FAMILY = "angles"
QUALITY = "quality"
PANELS = {
    QUALITY: "Estimates",
    "published": "Descent, authors' rates",
    "tuned": "Descent, tuned rates",
}
TITLE = (
    "Tangents at an angle to the first of them. Left: cosine with the gradient, mean over draws with 1.96 standard errors (within "
    "the markers). Middle: the lowest value per dimension at the authors' rates. Right: the last value at tuned rates, which were "
    "tuned for it. Mean over repetitions with its 95 % t interval. Turning tangents leaves their span as it is, and so the "
    "projection. Grey: the final value at which the authors' search ended, seed 0 (for the projection, with normal tangents)."
)
LAYOUT = style.Layout(1, len(PANELS), style.DOUBLE, 3.0)


def select(results: Results) -> pd.DataFrame:
    """Return cosines and values by angle."""
    results = narrowed(results, FAMILY)
    arms = [panel for panel in PANELS if panel != QUALITY]
    return stack([_quality(results), *(_descent(results, arm) for arm in arms)])


def _turned(method: str) -> tuple[str, float] | None:
    """Return aggregation and angle of a method such as `mean at 15 degrees`."""
    found = re.fullmatch(r"(.+) at ([\d.]+) degrees", method)
    return (found[1], float(found[2])) if found else None


def _quality(results: Results) -> pd.DataFrame:
    try:
        runs = measures.report_runs(results, f"{FAMILY}-{QUALITY}", study=STUDY)
        points = measures.curve_rows(results, runs, "cosine", "none")
        deviation = measures.curve_rows(results, runs, "cosine_std", "none")["value"]
    except EmptySelectionError as error:
        return not_run(QUALITY, note=str(error))
    draws = points["key"].map(runs.set_index("key")["num_steps"])
    bound = 1.96 * deviation / draws**0.5
    turned = [_turned(method) or (method, float("nan")) for method in points["method"]]
    return frame(
        {
            "panel": QUALITY,
            "kind": "mean",
            "series": pd.Series(
                [f"{name}, k={k}" for (name, _), k in zip(turned, points["step"], strict=True)]
            ),
            "x": pd.Series([angle for _, angle in turned]),
            "y": points["value"],
            "low": points["value"] - bound,
            "high": points["value"] + bound,
            "n": draws,
            "scale": runs["scale"].iloc[0],
            "note": "mean over draws, 1.96 standard errors",
        }
    )


def _descent(results: Results, arm: str) -> pd.DataFrame:
    runs = results.runs
    runs = runs[(runs["arm"] == arm) & (runs["task"] == "training")]
    divided = per_dimension(runs["best_value"])
    found = []
    for experiment in dict.fromkeys(runs["experiment"]):
        rows = measures.report_runs(results, experiment, study=STUDY)
        divisor = int(rows["num_parameters"].iloc[0]) if divided else 1
        tangents = experiment.rpartition("-")[2]
        metric, _ = ENDS.get(arm, LOWEST)
        values = measures.final_metrics(results, experiment, metric, study=STUDY)
        for method, measured in values.items():
            if (turned := _turned(method)) is None:
                continue
            name, angle = turned
            series = f"{name}, k={tangents}"
            common = {"panel": arm, "series": series, "x": angle}
            found.append({**common, **mean_row(measured, 1 / divisor)})
            found += [
                {**common, **published_row(value, divisor)}
                for value in _published(results, experiment, series, angle)
            ]
    return frame(found) if found else not_run(arm)


def _published(results: Results, experiment: str, method: str, angle: float) -> list[float]:
    """Return the final value of the authors' search at an angle; of one search for all angles, its value."""
    facts = results.facts
    if facts.empty:
        return []
    wanted = (facts["study"] == STUDY) & (facts["quantity"] == FINAL)
    stated = facts[wanted & (facts["setting"] == experiment) & (facts["method"] == method)]
    return [float(v) for v in stated["value"][stated["x"].isna() | (stated["x"] == angle)]]


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw the cosine, and the value at each kind of rate."""
    found = looks(table["series"])
    titles = []
    descents = table[table["panel"] != QUALITY]
    for panel, (name, label) in zip(axes.flat, PANELS.items(), strict=True):
        rows = table[table["panel"] == name]
        titles.append((panel, label, notes(rows, "draws" if name == QUALITY else "")))
        panel.set_xlabel("angle (degrees)")
        if name == QUALITY:
            panel.set_ylabel("cosine with the gradient")
        else:
            _, which = ENDS.get(str(name), LOWEST)
            panel.set_ylabel(f"{which} value f{'/n' if per_dimension(descents['y']) else ''}")
        if not marks.missing(panel, rows):
            _draw(panel, rows, found, None if name == QUALITY else descents["y"])
    headings.titles(titles)
    if found:
        legends.key(axes, entries(table, found), 4)


def _draw(
    axes: Axes, rows: pd.DataFrame, found: dict[str, style.Look], shared: pd.Series | None
) -> None:
    axes.xaxis.set_major_locator(FixedLocator(sorted(set(rows["x"]))))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    if shared is None:
        axes.set_ylim(0, max(1.0, rows["high"].max()) * 1.04)
    else:
        low, high = shared.min(), shared.max()
        margin = 0.08 * (high - low or 1.0)
        axes.set_ylim(low - margin, high + 1.5 * margin)
    bars(axes, rows, found, apart=shared is not None)

"""Flügel et al. 2024, Fig. 6: test accuracy of the eight approaches on fully connected networks, by width."""

from __future__ import annotations

import dataclasses

import pandas as pd

from figures import headings, legends, marks, style
from figures.approaches import looks
from figures.fluegel2024_networks import (
    APPROACHES,
    ARM_TITLES,
    ARMS,
    FULLY_CONNECTED,
    MOMENT_TITLES,
    MOMENTS,
    WIDTHS,
    final,
    row,
    steps_label,
    steps_row,
)
from figures.fluegel2024_runs import bars, doubling, entries, narrowed, notes
from figures.selection import frame, not_run, stack
from repro.results import Results

TITLE = (
    "Test accuracy on MNIST of fully connected networks with two hidden layers, over their width, at the authors' rates (left) and "
    "with every rate tuned under one budget (right); at the epoch of the lowest validation loss (top) and at the last one (bottom), "
    "since the paper's code does not say which is reported. Mean over repetitions with its 95 % t interval, which may reach beyond "
    "a panel; points stand side by side. Published values: not found. Crosses at the upper edge: a run diverged. Beneath a width: "
    "the steps of its runs (fewest to most: some stop early), and “full scale” where others are not. Lines join only widths of one "
    "scale with equally long runs, since with other steps it is not the width that accuracy falls with."
)
LAYOUT = style.Layout(2, 2, style.DOUBLE, 5.6)


def select(results: Results) -> pd.DataFrame:
    """Return the accuracies by arm, reported epoch, width and approach."""
    results = narrowed(results, "networks")
    return stack(_panel(results, arm, moment) for moment in MOMENTS for arm in ARMS)


def _panel(results: Results, arm: str, moment: str) -> pd.DataFrame:
    panel = f"{arm} {moment}"
    rows = [
        row(
            panel, method, width, final(results, of, arm, method, f"{MOMENTS[moment]}test_accuracy")
        )
        for width, of in zip(WIDTHS, FULLY_CONNECTED, strict=True)
        for method in APPROACHES
    ]
    if all(one["kind"] == "not run" for one in rows):
        return not_run(panel)
    ran = {one["x"] for one in rows if one["kind"] != "not run"}
    for width, of in zip(WIDTHS, FULLY_CONNECTED, strict=True):
        if width in ran:
            rows.append(steps_row(results, of, arm, panel, width))
    return frame(rows)


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a column for each arm, a row for each epoch that could be reported."""
    found = looks(name for name in table["series"] if name)
    if not _joined(table):  # then the legend shows no lines either
        found = {name: dataclasses.replace(look, dashes="") for name, look in found.items()}
    titles = []
    for panel, name in zip(axes.flat, dict.fromkeys(table["panel"]), strict=True):
        rows = table[table["panel"] == name]
        arm, moment = name.split(" ")
        titles.append((panel, f"{ARM_TITLES[arm]}, {MOMENT_TITLES[moment]}", notes(rows)))
        panel.set(xlabel="width", ylabel="test accuracy")
        if marks.missing(panel, rows):
            continue
        doubling(panel, pd.Series(WIDTHS))
        panel.set_ylim(*_limits(table))
        guides = rows[rows["kind"] == "guide"]
        mixed = guides["scale"].nunique() > 1
        labels = (steps_label(guides[guides["x"] == width], mixed=mixed) for width in WIDTHS)
        panel.set_xticks(WIDTHS, [f"{w}\n{label}" for w, label in zip(WIDTHS, labels, strict=True)])
        for _, alike in guides.groupby(_budget(guides)):
            bars(panel, rows[rows["x"].isin(alike["x"]) & (rows["kind"] != "guide")], found)
        for width, of in zip(WIDTHS, FULLY_CONNECTED, strict=True):
            absent = rows[(rows["x"] == width) & (rows["kind"] == "not run")]
            if len(absent) == len(APPROACHES):
                panel.text(
                    width, 0.5, f"{of.label}: not run", rotation=90, ha="center", va="center",
                    transform=panel.get_xaxis_transform(), color=style.GREY, size=6,
                )  # fmt: skip
    headings.titles(titles)
    if found:
        legends.key(axes, entries(table, found), 4)


def _budget(guides: pd.DataFrame) -> pd.Series:
    """Return what the runs at each width could spend: at full scale the same, stopped early or not."""
    return guides["scale"].where(guides["scale"] == "full", guides["high"].astype("str"))


def _joined(table: pd.DataFrame) -> bool:
    """Return whether any two widths have runs of one budget, which a line joins."""
    guides = table[table["kind"] == "guide"]
    return bool(guides.groupby(["panel", _budget(guides)])["x"].nunique().gt(1).any())


def _limits(table: pd.DataFrame) -> tuple[float, float]:
    """Return one ordinate for all panels that shows every mean; an interval may reach beyond."""
    low, high = table["y"].min(), table["y"].max()
    room = 0.1 * max(high - low, 0.01)
    return low - room, high + room

"""Flügel et al. 2024: how far forward gradients stay behind backpropagation, by the size of the network."""

from __future__ import annotations

import dataclasses

import pandas as pd
from matplotlib.ticker import EngFormatter

from figures import headings, legends, marks, style
from figures.approaches import looks
from figures.fluegel2024_networks import (
    APPROACHES,
    ARM_TITLES,
    ARMS,
    SETTINGS,
    Setting,
    difference,
    row,
    steps_label,
    steps_row,
)
from figures.fluegel2024_runs import bars, entries, narrowed, notes
from figures.selection import BACKPROPAGATION, frame, not_run, stack
from repro import measures
from repro.results import Results

TITLE = (
    "Test accuracy of backpropagation less that of each approach, at the epoch of the lowest validation loss. Networks in order of "
    "their parameters: fully connected networks, ResNet18 and ViT on MNIST (top) and CIFAR-10 (bottom), at the authors' rates "
    "(left) and with every rate tuned under one budget (right). Mean over paired repetitions with its 95 % paired-t interval, which "
    "may reach beyond a panel; points of a network stand side by side. Beneath a network: its parameters, the steps of its runs "
    "(fewest to most: some stop early), and “full scale” where others are not. Runs of different lengths compare approaches, not "
    "sizes. Above zero, backpropagation is ahead. Crosses: a run diverged."
)
LAYOUT = style.Layout(2, 2, style.DOUBLE, 5.4)
DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
METRIC = "best_test_accuracy"


def select(results: Results) -> pd.DataFrame:
    """Return the gaps by data set, arm, network and approach."""
    results = narrowed(results, "networks")
    return stack(_panel(results, dataset, arm) for dataset in DATASETS for arm in ARMS)


def _panel(results: Results, dataset: str, arm: str) -> pd.DataFrame:
    panel = f"{arm} {dataset}"
    rows = []
    for of in SETTINGS:
        runs = results.runs[results.runs["experiment"] == of.experiment(arm)]
        if of.dataset == dataset and len(runs):
            rows += [_gap(results, of, arm, panel, method) for method in APPROACHES[1:]]
            guide = steps_row(results, of, arm, panel, _size(results, of, arm))
            rows.append({**guide, "series": of.label})
    found = frame(rows)
    return found if found["kind"].isin(["mean", "diverged"]).any() else not_run(panel)


def _size(results: Results, of: Setting, arm: str) -> float:
    runs = measures.report_runs(results, of.experiment(arm))
    return float(runs["num_parameters"].iloc[0])


def _gap(results: Results, of: Setting, arm: str, panel: str, method: str) -> dict[str, object]:
    measured = difference(results, of, arm, BACKPROPAGATION, method, METRIC)
    return {**row(panel, method, _size(results, of, arm), measured), "note": of.label}


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a column for each arm, a row for each data set."""
    # no line joins different networks
    found = {
        name: dataclasses.replace(look, dashes="")
        for name, look in looks(
            name for name in table["series"][table["kind"] != "guide"] if name
        ).items()
    }
    titles = []
    for panel, name in zip(axes.flat, dict.fromkeys(table["panel"]), strict=True):
        rows = table[table["panel"] == name]
        arm, dataset = name.split(" ")
        titles.append((panel, f"{DATASETS[dataset]}, {ARM_TITLES[arm]}", notes(rows)))
        panel.set(ylabel="accuracy behind backpropagation")
        if marks.missing(panel, rows):
            continue
        guides = rows[rows["kind"] == "guide"].sort_values("x")
        mixed = guides["scale"].nunique() > 1
        labels = [_label(guides[guides["x"] == size], mixed) for size in guides["x"]]
        panel.set_xticks(range(len(labels)), labels, size=6)
        panel.set_xlim(-0.6, len(labels) - 0.4)
        panel.axhline(0.0, color=style.GREY, lw=0.5, zorder=0.5)
        places = {size: place for place, size in enumerate(guides["x"])}
        shown = rows[rows["kind"] != "guide"]
        panel.set_ylim(*_limits(shown["y"]))
        bars(panel, shown.assign(x=shown["x"].map(places)), found)
    headings.titles(titles)
    if found:
        legends.key(axes, entries(table, found), 4)


def _label(guide: pd.DataFrame, mixed: bool) -> str:
    """Return a network's name, size, length of its runs and, among others, scale."""
    name = guide["series"].iloc[0].rpartition(", ")[0]
    size = EngFormatter(places=1, sep="")(guide["x"].iloc[0])
    return f"{name}\n{size} par.\n{steps_label(guide, mixed=mixed)}"


def _limits(gaps: pd.Series) -> tuple[float, float]:
    """Return an ordinate that shows zero and every mean; an interval may reach beyond."""
    low, high = min(gaps.min(), 0.0), max(gaps.max(), 0.0)
    room = 0.25 * max(high - low, 0.01)
    return low - room, high + room

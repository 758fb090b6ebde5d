"""Flügel et al. 2024: how far forward gradients stay behind backpropagation, by the size of the network."""

from __future__ import annotations

import dataclasses

import pandas as pd

from figures import style
from figures.approaches import looks
from figures.fluegel2024_networks import (
    APPROACHES,
    ARM_TITLES,
    ARMS,
    SETTINGS,
    Setting,
    difference,
    row,
)
from figures.fluegel2024_runs import bars, entries, heading, narrowed
from figures.selection import BACKPROPAGATION, frame, not_run, stack
from repro import measures
from repro.results import Results

TITLE = (
    "Test accuracy of backpropagation less that of each approach at the epoch of the lowest validation loss, over the number of "
    "parameters: fully connected networks, ResNet18 and ViT on MNIST (top) and CIFAR-10 (bottom), at the authors' rates (left) and with "
    "every rate tuned under one budget (right). Mean over paired repetitions with its 95 % paired-t interval; points of a network stand "
    "side by side, and no line joins different networks. Above zero, backpropagation is ahead. Crosses: a run diverged."
)
LAYOUT = style.Layout(2, 2, style.DOUBLE, 5.4)
DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
METRIC = "best_test_accuracy"


NAMES = 0.16
"""Share of a panel's height, at its foot, that is kept for the networks' names."""


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
    found = frame(rows)
    return found if len(rows) and found["kind"].ne("not run").any() else not_run(panel)


def _gap(results: Results, of: Setting, arm: str, panel: str, method: str) -> dict[str, object]:
    measured = difference(results, of, arm, BACKPROPAGATION, method, METRIC)
    runs = measures.report_runs(results, of.experiment(arm))
    size = float(runs["num_parameters"].iloc[0])
    return {**row(panel, method, size, measured), "note": of.label}


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a column for each arm, a row for each data set."""
    # no line joins different networks
    found = {
        name: dataclasses.replace(look, dashes="")
        for name, look in looks(name for name in table["series"] if name).items()
    }
    for panel, name in zip(axes.flat, dict.fromkeys(table["panel"]), strict=True):
        rows = table[table["panel"] == name]
        arm, dataset = name.split(" ")
        heading(panel, f"{DATASETS[dataset]}, {ARM_TITLES[arm]}", rows)
        panel.set(xlabel="parameters", ylabel="accuracy behind backpropagation")
        if style.missing(panel, rows):
            continue
        sizes = table["x"].dropna()
        panel.set_xscale("log", base=10)
        panel.set_xlim(sizes.min() / 2, sizes.max() * 2)
        panel.axhline(0.0, color=style.GREY, lw=0.5, zorder=0.5)
        bars(panel, rows, found)
        low, high = panel.get_ylim()
        panel.set_ylim(low - NAMES * (high - low), high)
        for place, (size, part) in enumerate(rows.groupby("x")):
            panel.text(
                size, 0.01 + 0.06 * (place % 2), part["note"].iloc[0].rpartition(", ")[0], ha="center",
                transform=panel.get_xaxis_transform(), color=style.GREY, size=6,
            )  # fmt: skip
    if found:
        style.key(axes, entries(table, found), 4)

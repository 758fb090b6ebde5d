"""What the figures and tables on the networks of Flügel et al. share: settings, arms, epochs that are reported, cells."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import pandas as pd

from figures.fluegel2024_runs import STUDY, mean_row
from figures.selection import BOTH, fact
from repro import measures
from repro.measures import Measurement
from repro.results import EmptySelectionError, Results
from repro.tables import Cell, Column

TANGENTS = (2, 4, 16)
APPROACHES = (*BOTH, *(f"{name}, k={k}" for name in ("mean", "projection") for k in TANGENTS))
"""The eight, in the order of the paper."""
WIDTHS = (256, 1024, 4096)
NETWORKS = {**{f"fc{w}": f"FC {w:,}" for w in WIDTHS}, "resnet18": "ResNet18", "vit": "ViT"}
DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10"}
ARMS = {"published": "networks", "tuned": "networks-tuned"}
"""Family of the experiments, by arm."""
ARM_TITLES = {"published": "authors' rates", "tuned": "tuned rates"}
MOMENTS = {"best": "best_", "last": ""}
"""Beginning of the columns, by which epoch is reported: that of the lowest validation loss, or the last."""
MOMENT_TITLES = {"best": "epoch of the lowest validation loss", "last": "last epoch"}
NOT_FOUND = "not found"


@dataclasses.dataclass(frozen=True)
class Setting:
    """A network on a data set.

    Attributes:
        network: Key of `NETWORKS`.
        dataset: Key of `DATASETS`.
    """

    network: str
    dataset: str

    @property
    def name(self) -> str:
        """What the experiments and the facts are named after."""
        return f"{self.network}-{self.dataset}"

    @property
    def label(self) -> str:
        """What a reader is told."""
        return f"{NETWORKS[self.network]}, {DATASETS[self.dataset]}"

    def experiment(self, arm: str) -> str:
        """Return the name of the experiment of an arm."""
        return f"{ARMS[arm]}-{self.name}"


FULLY_CONNECTED = tuple(Setting(f"fc{width}", "mnist") for width in WIDTHS)
LARGE = tuple(Setting(network, dataset) for network in ("resnet18", "vit") for dataset in DATASETS)
SETTINGS = (*FULLY_CONNECTED, *LARGE)


def final(results: Results, of: Setting, arm: str, method: str, metric: str) -> Measurement | None:
    """Return the mean of a final metric of one approach; `None` where it was not run."""
    try:
        return measures.final_metric(results, of.experiment(arm), method, metric, study=STUDY)
    except EmptySelectionError:
        return None


def difference(
    results: Results, of: Setting, arm: str, a: str, b: str, metric: str
) -> Measurement | None:
    """Return the paired difference of two approaches; `None` where one was not run."""
    try:
        return measures.paired_difference(results, of.experiment(arm), metric, a, b, study=STUDY)
    except EmptySelectionError:
        return None


def steps_row(results: Results, of: Setting, arm: str, panel: str, x: float) -> dict[str, object]:
    """Return the columns of the row that says how long the reported runs of a network are.

    Args:
        results: The tables.
        of: The network on its data.
        arm: Key of `ARMS`.
        panel: Where it is said.
        x: At which abscissa.

    Returns:
        Columns of a guide: the fewest and the most steps, which early stopping sets apart, and the scale.
    """
    runs = measures.report_runs(results, of.experiment(arm), study=STUDY)
    steps = {"low": runs["num_steps"].min(), "high": runs["num_steps"].max()}
    told = {"panel": panel, "kind": "guide", "x": x, "scale": runs["scale"].iloc[0]}
    return {**told, **steps, "note": "steps of a run, fewest and most"}


def steps_label(guides: pd.DataFrame, *, mixed: bool) -> str:
    """Return how long the runs at an abscissa are, and where scales are mixed whether they are full."""
    if guides.empty:
        return ""
    low, high = guides["low"].min(), guides["high"].max()
    steps = f"{high:,.0f}" if low == high else f"{low:,.0f} to\n{high:,.0f}"
    return f"{steps} steps" + (
        "\nfull scale" if mixed and (guides["scale"] == "full").all() else ""
    )


def row(panel: str, series: str, x: float, measured: Measurement | None) -> dict[str, object]:
    """Return the columns of a figure's row: a mean, a divergence, or `not run`."""
    common: dict[str, object] = {"panel": panel, "series": series, "x": x}
    if measured is None:
        return {**common, "kind": "not run"}
    return {**common, **mean_row(measured), "device": measured.device}


def interval(measured: Measurement | None) -> Cell:
    """Return a number as a cell."""
    return None if measured is None else measured.interval


def state_columns(arm: str) -> tuple[Column, Column]:
    """Return the columns that hold the `state` of an arm's runs; their names begin with it."""
    return (
        Column(f"{arm}_scale", "Scale", "left"),
        Column(f"{arm}_diverged", "Diverged", "left"),
    )


def state(found: Iterable[Measurement | None]) -> tuple[Cell, Cell]:
    """Return the scale of some numbers of the same runs, and how many of those diverged, as cells."""
    known = [measured for measured in found if measured is not None]
    if not known:
        return None, None
    return known[0].scale, f"{known[0].diverged} of {known[0].interval.num}"


def rate(results: Results, of: Setting, arm: str, method: str) -> Cell:
    """Return the learning rate of the reported runs of an approach; `None` where it was not run."""
    try:
        rows = measures.report_runs(results, of.experiment(arm), [method], study=STUDY)
    except EmptySelectionError:
        return None
    return float(rows["learning_rate"].iloc[0])


def stated(results: Results, of: Setting, method: str, quantity: str) -> float:
    """Return what the authors' repository holds of an approach, NaN where it does not."""
    return fact(results, quantity, of.name, study=STUDY, method=method, item="lrs/")


def published(results: Results, item: str, quantity: str) -> Cell:
    """Return the published value of a cell of a figure or table, `not found` where no source at hand has it."""
    value = fact(results, quantity, "", study=STUDY, method="", item=item)
    return NOT_FOUND if math.isnan(value) else value


ACCURACY_COLUMNS = (
    Column("network", "Network, data", "left"),
    Column("method", "Approach", "left"),
    Column("published", "Published", "left"),
    *(
        column
        for arm, title in (("rerun", "re-run"), ("tuned", "tuned"))
        for column in (
            Column(f"{arm}_best", f"Best epoch, {title}", format=".3f", interval=True),
            Column(f"{arm}_last", f"Last epoch, {title}", format=".3f", interval=True),
            *state_columns(arm),
        )
    ),
)
ACCURACY_NOTES = (
    "Test accuracy; mean over repetitions (n) with its 95 % t interval. The paper's code does not say which epoch is reported: best "
    "is that of the lowest validation loss, last is where early stopping, or the budget, ended the run. n/a: one of the runs "
    "diverged.",
    "Re-run: the authors' rates; for backpropagation on ResNet18 and ViT their 0.1, which no search gave. Tuned: the rate of every "
    "approach from one search. Published: none of our sources has the values.",
    "At reduced scale, runs have an epoch or less, ResNet18 and ViT are an eighth or a sixteenth as wide, and 1,000 "
    "images judge a trial. They say which approach is ahead early in training, not how well a trained network does.",
)


def accuracy_rows(
    results: Results, settings: Iterable[Setting], item: str
) -> tuple[tuple[Cell, ...], ...]:
    """Return a row of `ACCURACY_COLUMNS` for every approach of some settings.

    Args:
        results: The tables.
        settings: Networks on data sets.
        item: The figure or table whose cells these are.

    Returns:
        The rows.
    """
    rows = []
    for of in settings:
        for method in APPROACHES:
            cells: list[Cell] = [of.label, method, published(results, item, "test accuracy")]
            for arm in ARMS:
                found = [
                    final(results, of, arm, method, f"{prefix}test_accuracy")
                    for prefix in MOMENTS.values()
                ]
                cells += [*map(interval, found), *state(found)]
            rows.append(tuple(cells))
    return tuple(rows)

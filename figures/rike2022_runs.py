"""What the figures and tables of Rike & Førland share: the rows of Table I, names, curves of training loss."""

from __future__ import annotations

import dataclasses

import pandas as pd
from matplotlib.axes import Axes

from figures import style
from figures.selection import frame, not_run, stack
from repro import measures
from repro.results import EmptySelectionError, Results

STUDY = "rike2022"
BP, FG, CLIPPED = "backpropagation", "forward gradient", "forward gradient, clipped"
NETWORKS = {"nn": "Dense NN", "cnn": "CNN", "cifar": "CIFAR-10 CNN"}
OPTIMIZERS = {"sgd": "SGD", "nesterov": "Nesterov", "adam": "Adam"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """A network with an optimizer: two rows of Table I, or one tuned comparison.

    Attributes:
        network: Key of `NETWORKS`.
        optimizer: Key of `OPTIMIZERS`.
    """

    network: str
    optimizer: str

    @property
    def name(self) -> str:
        """What the experiments are named after."""
        return f"{self.network}-{self.optimizer}"

    @property
    def label(self) -> str:
        """What a reader is told."""
        return f"{NETWORKS[self.network]}, {OPTIMIZERS[self.optimizer]}"

    @property
    def published(self) -> tuple[str, str]:
        """The two series that the paper ran: its forward gradient was clipped except with Adam."""
        return (FG if self.optimizer == "adam" else CLIPPED, BP)

    def method(self, series: str) -> str:
        """Return the full name of a method."""
        return f"{series}, {OPTIMIZERS[self.optimizer]}"


SETTINGS = tuple(Setting(network, optimizer) for network in NETWORKS for optimizer in OPTIMIZERS)
PUBLISHED = SETTINGS[:7]
"""Those of Table I, in its order: on CIFAR-10 the paper ran SGD alone."""


def training_losses(results: Results, setting: Setting) -> pd.DataFrame:
    """Return the mini-batch losses of every repetition of two rows of Table I.

    Args:
        results: The tables.
        setting: Which two.

    Returns:
        A panel of its name; rows of kinds repetition, diverged and not run.
    """
    parts = []
    for series in setting.published:
        common: dict[str, object] = {"panel": setting.name, "series": series}
        try:
            method = setting.method(series)
            runs = measures.report_runs(results, setting.name, [method], study=STUDY)
            points = measures.curve_rows(results, runs, "loss", "train")
        except EmptySelectionError as error:
            parts.append(not_run(setting.name, series, str(error)))
            continue
        ended = runs["key"][runs["status"] == "diverged"]
        common |= {"n": len(runs), "diverged": len(ended), "scale": runs["scale"].iloc[0]}
        columns = {"repetition": "repetition", "x": "step", "y": "value"}
        last = points[points["key"].isin(ended)].groupby("key", as_index=False).last()
        for kind, shown in (("repetition", points), ("diverged", last)):
            if len(shown):
                values = {name: shown[column] for name, column in columns.items()}
                note = "training loss of a mini-batch, before the step"
                parts.append(frame({**common, **values, "kind": kind, "note": note}))
    return stack(parts)


def draw_training_losses(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    """Draw a panel: the first repetition of each method, the others thinner.

    Args:
        axes: The panel.
        rows: Rows of `training_losses`.
        name: The panel's heading.
    """
    style.title(axes, name, rows)
    if style.missing(axes, rows):
        return
    style.whole_ticks(axes, 5)
    found = rows[rows["kind"] == "repetition"]
    first = found["repetition"].min()
    # the thinner ones beneath, and backpropagation, which is lower, above
    for series in (FG, CLIPPED, BP):
        look = style.LOOKS[series]
        for repetition, part in found[found["series"] == series].groupby("repetition"):
            main = repetition == first
            axes.plot(
                part["x"],
                part["y"],
                color=look.color,
                lw=0.7 if main else 0.35,
                alpha=0.9 if main else 0.45,
                zorder=2.2 if main else 1.8,
            )
        ended = rows[(rows["kind"] == "diverged") & (rows["series"] == series)]
        axes.plot(ended["x"], ended["y"], "x", color=look.color, ms=5, mew=1.2, zorder=3)
    axes.set_ylim(
        0, 1.05 * axes.get_ylim()[1]
    )  # where nothing is learned, the curve is a line at the top


def outer_labels(axes: style.AxesGrid, table: pd.DataFrame, columns: int) -> None:
    """Label the axes of training losses once for all panels, and put the legend beneath.

    Args:
        axes: The panels.
        table: The figure's rows.
        columns: Entries of the legend a line.
    """
    # not `supxlabel`, which would lie on the legend
    axes[-1, axes.shape[1] // 2].set_xlabel("Iterations")
    size = style.STYLE["axes.labelsize"]
    axes.flat[0].figure.supylabel("Training loss (nats)", size=size)
    shown = [name for name in (BP, FG, CLIPPED) if name in set(table["series"])]
    entries = [(name, {"color": style.LOOKS[name].color}) for name in shown or (BP, CLIPPED)]
    thin = ("further repetitions", {"color": style.GREY, "lw": 0.35})
    style.key(axes, [*entries, thin, *style.diverged_entry(table)], columns)

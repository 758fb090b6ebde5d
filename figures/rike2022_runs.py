"""What the figures and tables of Rike & Førland share: the rows of Table I, names, curves of training loss."""

from __future__ import annotations

import dataclasses
import math

import pandas as pd
from matplotlib.axes import Axes

from figures import headings, legends, marks, style, ticks
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


def published_curve(results: Results, panel: str, setting: Setting, series: str) -> pd.DataFrame:
    """Return what the authors' notebooks print of a method after every epoch: the loss of the last 16 test images.

    Args:
        results: The tables.
        panel: Where it is shown.
        setting: The network and the optimizer.
        series: The method.

    Returns:
        Rows of kind published by epoch, none where no notebook holds them.
    """
    facts = results.facts
    if facts.empty:
        return frame()
    wanted = {"study": STUDY, "quantity": "reported curve", "setting": setting.name}
    for column, value in (wanted | {"method": setting.method(series)}).items():
        facts = facts[facts[column] == value]
    if facts.empty:
        return frame()
    row = {"panel": panel, "kind": "published", "series": series, "published": True}
    columns = {"x": facts["x"].to_numpy(), "y": facts["value"].to_numpy()}
    note = (facts["item"] + ", " + facts["source"] + ", the last 16 test images").to_numpy()
    return frame({**row, **columns, "note": note})


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
        # steps of the longest run, and its epochs, which are counted with them
        each = (points["epoch"] / points["step"])[points["step"] > 0].median()
        steps = int(runs["num_steps"].max())
        length = {
            "kind": "guide",
            "x": steps,
            "y": steps * each,
            "note": "steps and epochs of a run",
        }
        parts.append(frame([{**common, **length}]))
        for kind, shown in (("repetition", points), ("diverged", last)):
            if len(shown):
                values = {name: shown[column] for name, column in columns.items()}
                note = "training loss of a mini-batch, before the step"
                parts.append(frame({**common, **values, "kind": kind, "note": note}))
    return stack(parts)


def lengths(table: pd.DataFrame) -> str:
    """Return sentences on how long the runs of every panel are, and on smaller networks; nothing where none was run."""
    guides = table[table["kind"] == "guide"].drop_duplicates("panel")
    labels = {setting.name: setting.label.replace(", ", " with ") for setting in PUBLISHED}
    told = [
        f"{', '.join(labels[name] for name in part['panel'])}: {length}"
        for length, part in guides.groupby(guides.apply(_length, axis=1), sort=False)
    ]
    if not told:
        return ""
    smaller = (table["scale"] == "reduced").any()
    note = " At reduced scale the network is smaller than the paper's." if smaller else ""
    return f" Our runs: {'; '.join(told)}.{note}"


def _length(guide: pd.Series) -> str:
    epochs = f"{guide['y']:.3g} epoch" + ("" if f"{guide['y']:.3g}" == "1" else "s")
    return f"{guide['x']:,.0f} steps" + ("" if math.isnan(guide["y"]) else f", {epochs}")


def notes(rows: pd.DataFrame) -> dict[str, str]:
    """Return the notes of a panel of `training_losses`, with how long its runs are."""
    guides = rows[rows["kind"] == "guide"]
    if guides.empty:
        return headings.notes(rows)
    lengths = "; ".join(dict.fromkeys(guides.apply(_length, axis=1)))
    return headings.notes(rows) | {"length": lengths}


def draw_training_losses(axes: Axes, rows: pd.DataFrame) -> None:
    """Draw a panel: the first repetition of each method, the others thinner.

    Args:
        axes: The panel.
        rows: Rows of `training_losses`.
    """
    if marks.missing(axes, rows):
        return
    ticks.whole(axes, 5)
    found = rows[rows["kind"] == "repetition"]
    first = found["repetition"].min()
    # curves that stay on one another: the lower one wider
    flat = found["y"].max() < 1.1 * found["y"].min()
    widths = {FG: 2.4, CLIPPED: 2.4, BP: 0.7} if flat else dict.fromkeys((FG, CLIPPED, BP), 0.7)
    # the thinner ones beneath, and backpropagation, which is lower, above
    for series in (FG, CLIPPED, BP):
        look = style.LOOKS[series]
        for repetition, part in found[found["series"] == series].groupby("repetition"):
            main = repetition == first
            axes.plot(
                part["x"],
                part["y"],
                color=look.color,
                lw=widths[series] if main else 0.35,
                alpha=0.9 if main else 0.45,
                zorder=2.2 if main else 1.8,
            )
        ended = rows[(rows["kind"] == "diverged") & (rows["series"] == series)]
        axes.plot(ended["x"], ended["y"], "x", color=look.color, ms=5, mew=1.2, zorder=3)
    # where nothing is learned, the curve is a line at the top
    axes.set_ylim(0, 1.05 * axes.get_ylim()[1])


def outer_labels(axes: style.AxesGrid, table: pd.DataFrame, columns: int) -> None:
    """Label the axes of training losses once for all panels, and put the legend beneath.

    Args:
        axes: The panels.
        table: The figure's rows.
        columns: Entries of the legend a line.
    """
    # not `supxlabel`, which would lie on the legend
    axes[-1, axes.shape[1] // 2].set_xlabel("iterations")
    for row in axes:
        row[0].set_ylabel("training loss (nats)")
    method_key(axes, table, columns)


def method_key(
    axes: style.AxesGrid, table: pd.DataFrame, columns: int, *more: tuple[str, dict[str, object]]
) -> None:
    """Put the legend of training losses beneath the panels.

    Args:
        axes: The panels.
        table: The figure's rows.
        columns: Entries of the legend a line.
        *more: Further entries.
    """
    shown = [name for name in (BP, FG, CLIPPED) if name in set(table["series"])]
    entries = [(name, {"color": style.LOOKS[name].color}) for name in shown or (BP, CLIPPED)]
    thin = ("further repetitions", {"color": style.GREY, "lw": 0.35})
    several = [thin] if (table["repetition"] > 0).any() else []
    legends.key(axes, [*entries, *several, *legends.diverged_entry(table), *more], columns)

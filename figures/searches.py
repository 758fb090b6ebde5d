"""What the figures of tuning share: the finished trials of every search that minimised a validation loss, whatever its study.

Searches on closed-form functions minimise another quantity, of which there are dozens of tiny comparisons: they have
figures of their own.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures import headings, marks, style, ticks
from repro import measures
from repro.results import Results, winning_trial

DECLARED = (1e-6, 1e1)
"""Range of the learning rate in every search; trials outside it are those that the edge rule added."""
OPTIMIZERS = ("SGD", "Nesterov", "Adam")
"""Order of the panels of one problem; others follow."""
COLUMNS = 3
PANEL_WIDTH, PANEL_HEIGHT, TALL_HEIGHT = style.DOUBLE / COLUMNS, 2.15, 2.6
MOST = 12
"""Panels that fit on a page; of more, searches that others outlast go first."""
FEW = 3
"""Methods that share a panel easily; comparisons of more have figures of their own, with taller panels."""


@dataclasses.dataclass(frozen=True)
class Searched:
    """The trials of one comparison at one scale.

    Attributes:
        panel: Study, experiment and, after a colon, what a reader is told.
        scale: The scale.
        trials: By series, in trial order: columns number, rate, score, diverged, refines, won; what all methods of the
            comparison end with (their optimizer) is left out of the series.
    """

    panel: str
    scale: str
    trials: Mapping[str, pd.DataFrame]


def searched(results: Results, *, many: bool = False, finals: bool = True) -> Iterator[Searched]:
    """Yield the searched classifications that have trials, by study, problem and optimizer.

    Each comes at the scale of its reported runs; before there are any, at the largest that has trials. If they are more than
    `MOST`, of those by the same methods on one problem only the one with the longest runs comes.

    Args:
        results: The tables.
        many: Whether those of more than `FEW` methods are wanted, or those of no more.
        finals: Whether the further runs of the best trials count, which other trials do not have.

    Yields:
        One value a comparison.
    """
    runs = results.runs
    if not finals:
        runs = measures.first_runs(runs)
    report, tune = (runs[runs["role"] == role] for role in ("report", "tune"))
    # trials on a function end with its value, those on images with a validation loss
    images = tune["value"].isna().groupby([tune["study"], tune["experiment"]]).transform("all")
    comparisons = tune[images].groupby(["study", "experiment"])
    titles = {of: (of[0], _title(rows)) for of, rows in comparisons}
    found: list[tuple[tuple[str, ...], float, Searched]] = []
    for (study, experiment), rows in sorted(comparisons, key=lambda found: _place(found[1])):
        same = (report["study"] == study) & (report["experiment"] == experiment)
        reported = report[same & report["scale"].isin(rows["scale"])]
        scale = measures.scale_shown(rows if reported.empty else reported)
        kept = rows[rows["scale"] == scale]
        # of two searches the one with more trials: theirs never mix
        kept = kept[kept["search"] == kept["search"].value_counts().sort_index().idxmax()]
        methods = sorted(set(kept["method"]))
        if (len(methods) > FEW) is not many:
            continue
        ending = _common_ending(methods)
        title, steps = _title(kept), float(kept["num_steps"].max())
        alike = (str(study), title, *methods)
        if list(titles.values()).count((study, title)) > 1:  # one problem, and two budgets
            title += f" ({steps:,.0f} steps)"
        trials = {m.removesuffix(ending): _trials(kept[kept["method"] == m]) for m in methods}
        found.append((alike, steps, Searched(f"{study} {experiment}: {title}", scale, trials)))
    for alike, steps, one in found:
        longest = max(others for same, others, _ in found if same == alike)
        if len(found) <= MOST or steps == longest:
            yield one


def _place(rows: pd.DataFrame) -> tuple[str, str, int, str]:
    """Return what sorts the comparisons: a reader looks for one optimizer beside the other."""
    study, experiment, problem = rows[["study", "experiment", "problem"]].iloc[0]
    # by their numbers: 256 before 1024
    problem = re.sub(r"\d+", lambda found: f"{int(found[0]):09}", problem)
    ending = _common_ending(sorted(set(rows["method"]))).removeprefix(", ")
    return study, problem, (*OPTIMIZERS, ending).index(ending), experiment


def _title(rows: pd.DataFrame) -> str:
    return f"{rows['problem'].iloc[0]}{_common_ending(sorted(set(rows['method'])))}"


def _common_ending(methods: list[str]) -> str:
    """Return what all names end with from their last comma on, e.g. `, SGD`."""
    endings = {", " + name.rpartition(", ")[2] for name in methods if ", " in name}
    (ending,) = endings if len(endings) == 1 else ("",)
    return ending if all(name.endswith(ending) for name in methods) else ""


def _trials(rows: pd.DataFrame) -> pd.DataFrame:
    by_trial = rows.sort_values("repetition").groupby("trial")
    first = by_trial.first()
    return pd.DataFrame(
        {
            "number": first.index.astype(np.int64),
            "rate": first["learning_rate"],
            "score": measures.trial_scores(rows),
            "diverged": by_trial["status"].agg(lambda of: "diverged" in set(of)),
            "refines": first["stage"] != "",
            "won": first.index == winning_trial(rows),
        }
    ).reset_index(drop=True)


def declared(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of the declared space that a shorter search would have had.

    Args:
        trials: Of one method.

    Returns:
        Those before the first that is missing or has no score, that the edge rule added or that lies beside the winner.
    """
    low, high = DECLARED
    inside = trials["rate"].between(low, high) & (trials["number"] == trials.index)
    inside &= ~trials["refines"] & trials["score"].lt(math.inf)
    return trials[inside.cummin()]


def layout(table: pd.DataFrame) -> style.Layout:
    """Return a panel a comparison, three in a row.

    Args:
        table: The figure's table.

    Returns:
        Panels and size.
    """
    panels = table["panel"].nunique()
    rows, cols = math.ceil(panels / COLUMNS), min(panels, COLUMNS)
    height = TALL_HEIGHT if is_crowded(table) else PANEL_HEIGHT
    return style.Layout(rows, cols, max(style.SINGLE, cols * PANEL_WIDTH), rows * height + 0.7)


def is_crowded(table: pd.DataFrame) -> bool:
    """Return whether a panel has more than `FEW` methods.

    Args:
        table: The figure's table, or rows of a panel.
    """
    methods = table[table["n"] > 0].groupby("panel")["series"].nunique()
    return bool((methods > FEW).any())


NAMES = {
    "cifar10": "CIFAR-10",
    "mnist": "MNIST",
    "mlp": "dense NN",
    "cnn": "CNN",
    "vgg": "VGG",
    "resnet18": "ResNet18",
    "vit": "ViT",
}
"""What is printed for words of a problem's name; others are printed as they are."""
SIZE = re.compile(r"(\w+)(, \d+ \w+)+")
"""A network whose size a problem's name states, which is smaller than the paper's: a heading says no more than that."""


def panels(table: pd.DataFrame, axes: style.AxesGrid) -> Iterator[tuple[Axes, str, pd.DataFrame]]:
    """Yield the panels that have something to show; empty places of the grid are switched off.

    Args:
        table: The figure's table.
        axes: The panels.

    Yields:
        Axes, heading and rows.
    """
    names = list(dict.fromkeys(table["panel"]))
    for empty in axes.flat[len(names) :]:
        empty.set_axis_off()
    for panel, name in zip(axes.flat, names, strict=False):
        rows = table[table["panel"] == name]
        if not marks.missing(panel, rows):
            yield panel, heading_of(name), rows


def heading_of(panel: str) -> str:
    """Return a panel's heading.

    Args:
        panel: Study, experiment and, after a colon, what a reader is told, as in `Searched`.

    Returns:
        Data, network and optimizer.

    Example:
        >>> heading_of("rike2022 tuned-cifar-sgd: cifar10 vgg, 8 channels, 1 pair, SGD")
        'CIFAR-10, small VGG, SGD'
        >>> heading_of("fluegel2024 networks-tuned-fc256-mnist: fc256-mnist")
        'FC 256, MNIST'
    """
    data_and_network = re.sub(r"^(\w+)[ -]", r"\1, ", panel.partition(": ")[2])
    short = SIZE.sub(r"small \1", data_and_network)
    wide = re.sub(r"\bfc(\d+)", r"FC \1", short)
    told = re.sub(r"\w+", lambda word: NAMES.get(word[0], word[0]), wide)
    return re.sub(r" (?=\([\d,]+ steps\)$)", "\n", told)  # too long for a line


def reserve(axes: Axes, low: float, high: float, share: float) -> None:
    """Make the logarithmic ordinate reach from `low` to `high`, and keep room above that has no ticks.

    Args:
        axes: The panel.
        low: The lowest value.
        high: The highest value.
        share: Of the panel's height, that is kept for words and crosses.
    """
    axes.set_ylim(low, high)
    ticks.logarithmic(axes)
    axes.set_yticks([tick for tick in axes.get_yticks() if low <= tick <= high])
    axes.set_ylim(low, low * (high / low) ** (1 / (1 - share)))


def notes(rows: pd.DataFrame) -> dict[str, str]:
    """Return what a panel's title says of its search: the study, how many trials each series has, the scale.

    Args:
        rows: Rows of the panel.

    Returns:
        Words by what they are about, for `headings.titles`.
    """
    counts = rows[rows["n"] > 0].drop_duplicates("series")
    each = " each" if counts["n"].nunique() == 1 else ""
    trials = f"{headings.span(counts['n'])} trials{each}"
    study = str(rows["panel"].iloc[0]).partition(" ")[0]
    return {"study": study, "n": trials} | headings.scale_note(counts["scale"])

"""The speed of this package: its steps beside the work they cannot avoid and beside a plain PyTorch loop's."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures import headings, legends, marks, style, ticks
from figures.selection import each, frame, not_run, stack
from repro.measures import bars, speed
from repro.measures.speed import Speed, Spread
from repro.results import Results

TITLE = (
    "Speed of this package; median and quartiles over rounds in which all methods took turns. Top, for each network with SGD, "
    "Nesterov's method and Adam (S, N, A): the share of a step that is unavoidable work (matrix products, random numbers, "
    "passes over memory), timed alone in the same rounds; the time of a step over that of the plain PyTorch loop; and over that of "
    "backpropagation. Dotted: targets of this package. Bottom: steps per second by stacked replicas (filled: "
    "multi-layer network of width 1,024; open: logistic regression), by tangents, and by hidden layers."
)
LAYOUT = style.Layout(2, 3, style.DOUBLE, 4.8)
OURS = ("backpropagation", "forward gradient")
SERIES = (*OURS, *(f"{speed.PLAIN}{name}" for name in OURS))
OPTIMIZERS = ("SGD", "Nesterov", "Adam")
NETWORKS = {"logistic": "logistic", "mlp": "MLP", "cnn": "CNN", "vgg": "VGG"}
OPEN = "logistic"
"""The network whose markers are open."""
Quantity = Callable[[Speed], Spread | None]
SHARES: dict[str, tuple[str, str, tuple[str, ...], Quantity]] = {
    "limit": ("Unavoidable work", "share of the step", OURS, lambda s: s.limit),
    "plain": ("Over the plain loop", "ratio of times", OURS, lambda s: s.over_plain),
    "backpropagation": (
        "Over backpropagation",
        "ratio of times",
        (SERIES[1], SERIES[3]),
        lambda s: s.over_backpropagation,
    ),
}
"""Panels by network: heading, label, series, and what is shown."""
HELD = {"plain": bars.OVER_PLAIN, "backpropagation": bars.SINGLE_TANGENT}
"""Panels whose quantity is held to a bar."""
SCALING = {
    "replicas": ("Stacked replicas", "replicas $R$", OURS),
    "tangents": ("Tangents, MLP", "tangents $k$", (SERIES[1], SERIES[3])),
    "depth": ("Depth, MLP", "hidden layers", SERIES),
}
"""Panels by size: heading, label, series."""


def select(results: Results) -> pd.DataFrame:
    """Return shares and ratios by network, steps a second by size, and the bars they are held to."""
    by_network = {
        name.removeprefix(speed.STEPS): speed.speeds(results, name)
        for name in speed.experiments(results, speed.STEPS)
    }
    parts = [_by_network(panel, by_network) for panel in SHARES]
    parts += [_by_size(results, panel) for panel in SCALING]
    return stack(parts)


def caption(table: pd.DataFrame) -> str:
    """Return the caption, with every bar and the networks that miss it."""
    sentences = [_held(table, panel, bar) for panel, bar in HELD.items()]
    return " ".join([TITLE, *(sentence for sentence in sentences if sentence)])


def _held(table: pd.DataFrame, panel: str, bar: bars.Bar) -> str:
    """Return a bar in words, and which networks and optimizers miss it; nothing where none was timed."""
    rows = table[(table["panel"] == panel) & table["series"].isin(bar.estimators)]
    rows = rows[rows["kind"] == "mean"].sort_values("x", kind="stable")
    if rows.empty:
        return ""
    missed = [
        f"{NETWORKS[network]} with {optimizer} ({row.y:.2f})"
        for row in each(rows[rows["y"] > bar.bound])
        for network, optimizer in [row.note.split(", ")]
    ]
    said = f"missed by {', '.join(missed)}" if missed else "kept by all"
    return f"Target for {bar.text}: at most {bar.bound:g}, {said}."


def _series(one: Speed) -> str:
    estimator = re.sub(r" k=\d+$", "", one.estimator)
    return f"{speed.PLAIN}{estimator}" if one.plain else estimator


def _by_network(panel: str, timed: dict[str, tuple[Speed, ...]]) -> pd.DataFrame:
    _, _, shown, quantity = SHARES[panel]
    rows = []
    for place, network in enumerate(NETWORKS):
        for one in timed.get(network, ()):
            spread = quantity(one)
            if _series(one) not in shown or spread is None:
                continue
            x = place + _shift(one.optimizer)
            rows.append(_row(panel, _series(one), x, spread, one, f"{network}, {one.optimizer}"))
    if rows and panel in HELD:
        bar = HELD[panel]
        rows.append(
            {"panel": panel, "kind": "guide", "y": bar.bound, "note": f"target: {bar.text}"}
        )
    return frame(rows) if rows else not_run(panel)


def _shift(optimizer: str) -> float:
    """Return where an optimizer stands beside its network; the second in its middle."""
    return 0.22 * (OPTIMIZERS.index(optimizer) - 1)


def _by_size(results: Results, panel: str) -> pd.DataFrame:
    shown = SCALING[panel][2]
    rows = []
    for name in speed.experiments(results, f"{panel}-"):
        size, network = re.fullmatch(rf"{panel}-(?:(\d+)-)?(\w+)", name).groups()  # type: ignore[union-attr]
        for one in speed.speeds(results, name):
            if _series(one) in shown:
                x = float(size or (re.findall(r"k=(\d+)", one.method) or ["1"])[0])
                rows.append(_row(panel, _series(one), x, one.steps_per_second, one, network))
    return frame(rows) if rows else not_run(panel)


def _row(
    panel: str, series: str, x: float, spread: Spread, one: Speed, note: str
) -> dict[str, object]:
    bounds = {"y": spread.median, "low": spread.low, "high": spread.high, "n": spread.num}
    place = {"scale": one.scale, "device": one.device}
    return {
        "panel": panel,
        "kind": "mean",
        "series": series,
        "x": x,
        "note": note,
        **bounds,
        **place,
    }


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw three panels by network and three by size."""
    titles = []
    for panel, (name, (heading, label, _, _)) in zip(axes[0], SHARES.items(), strict=True):
        rows = table[table["panel"] == name]
        titles.append((panel, heading, _notes(rows)))
        panel.set_ylabel(label)
        if marks.missing(panel, rows):
            continue
        _points(panel, rows, joined=False)
        for guide in each(rows[rows["kind"] == "guide"]):
            panel.axhline(guide.y, color=style.GREY, lw=0.8, ls=":")
        if name == "limit":
            panel.axhline(1.0, color=style.GREY, lw=0.6)
        panel.set_ylim(bottom=0)
        panel.set_xlim(-0.6, len(NETWORKS) - 0.4)
        labels = {
            place + _shift(optimizer): f"{optimizer[0]}\n{'' if _shift(optimizer) else network}"
            for place, network in enumerate(NETWORKS.values())
            for optimizer in OPTIMIZERS
        }
        panel.set_xticks(list(labels), list(labels.values()))
        panel.tick_params(axis="x", length=0)
        panel.set_xlabel(", ".join(f"{optimizer[0]}: {optimizer}" for optimizer in OPTIMIZERS))
    for panel, (name, (heading, label, _)) in zip(axes[1], SCALING.items(), strict=True):
        rows = table[table["panel"] == name]
        titles.append((panel, heading, _notes(rows)))
        panel.set(xlabel=label, ylabel="steps a second")
        if marks.missing(panel, rows):
            continue
        panel.set(xscale="log", yscale="log")
        for network, part in rows.groupby("note"):
            _points(panel, part, joined=True, filled=network != OPEN)
        sizes = sorted(set(rows["x"]))
        panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
        panel.set_xticks([], minor=True)
        ticks.logarithmic(panel)
    headings.titles(titles)
    entries = [(name, look.line) for name, look in style.looks(SERIES).items()]
    bar = ("target: at most this", {"color": style.GREY, "ls": ":", "lw": 0.8})
    legends.key(axes, [*entries, bar], 3)


def _notes(rows: pd.DataFrame) -> dict[str, str]:
    counts = rows["n"][(rows["kind"] == "mean")]
    rounds = {"n": f"n={headings.span(counts)} rounds"} if len(counts) else {}
    return rounds | headings.notes(rows.assign(n=0))


def _points(axes: Axes, rows: pd.DataFrame, *, joined: bool, filled: bool = True) -> None:
    for series, part in rows[rows["kind"] == "mean"].groupby("series", sort=False):
        look = style.LOOKS[str(series)]
        ordered = part.sort_values("x", kind="stable")
        axes.errorbar(
            ordered["x"],
            ordered["y"],
            yerr=np.stack([ordered["y"] - ordered["low"], ordered["high"] - ordered["y"]]),
            color=look.color,
            ls=look.dashes if joined else "",
            marker=look.marker,
            mfc=look.color if filled else "white",
            elinewidth=0.8,
            capsize=1.5,
        )

"""Baydin et al. 2022, Fig. 6: time and memory of a step as the network grows deeper."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from figures import headings, legends, marks, style
from figures.baydin2022_facts import STUDY, published
from figures.selection import BOTH, frame, not_run, stack
from repro import measures
from repro.results import EmptySelectionError, Results

TITLE = (
    "Cost of a step of multi-layer networks of width 1,024 by depth. R_f and R_b are the times of a step with the forward gradient "
    "and with backpropagation, over that of the function alone: median and quartiles of ratios within a timing round. Peak memory "
    "is the allocator's over one step. Bottom right: the part of the forward gradient's step spent on drawing tangents."
)
LAYOUT = style.Layout(2, 2, style.DOUBLE, 4.9)
PREFIX = "run-time-depth-"
FORWARD, BACK = "forward gradient", "backpropagation"
RATIOS = (  # panel, series, numerator, denominator, published quantity
    ("step time", "R_f", FORWARD, "function alone"),
    ("step time", "R_b", BACK, "function alone"),
    ("relative cost", "R_f/R_b", FORWARD, BACK),
    ("tangents", "tangents alone", "tangents alone", FORWARD),
)
PANELS = {
    "step time": ("Step time over function alone", "$R_f$, $R_b$"),
    "relative cost": ("Forward gradient over backpropagation", "$R_f/R_b$"),
    "memory": ("Peak memory of a step", "peak memory (GB)"),
    "tangents": ("Share of drawing tangents", "share of forward-gradient step"),
}
LABELS = {
    "R_f": "$R_f$",
    "R_b": "$R_b$",
    "R_f/R_b": "$R_f/R_b$",
}


def select(results: Results) -> pd.DataFrame:
    """Return ratios of step times, peak memory, and what was published."""
    ours = _one_machine(results)
    parts = []
    for panel, series, numerator, denominator in RATIOS:
        parts.append(_ratios(ours, panel, series, numerator, denominator))
        if series.startswith("R"):
            read = published(results, panel, series, "depth")
            parts.append(read.assign(series=series))
    parts += [_memory(ours, method) for method in BOTH]
    read = published(results, "memory", "peak bytes", "depth", BACK)
    parts.append(read.assign(series="published", y=read["y"] / 1e9))
    return stack(parts)


def _one_machine(results: Results) -> Results:
    """Return the results whose depth timings are of one scale and machine: the one with most rows."""
    runs = results.runs
    depths = runs["experiment"].str.startswith(PREFIX) & (runs["role"] == "report")
    chosen = runs[depths & (runs["study"] == STUDY)]
    if chosen.empty:
        return results.beside(chosen)
    sizes = chosen.groupby(["scale", "device", "num_threads"]).size().reset_index(name="size")
    sizes["order"] = sizes["scale"].map(measures.LARGEST_FIRST.index)
    best = sizes.sort_values(["size", "order"], ascending=[False, True], kind="stable").iloc[0]
    same = np.logical_and.reduce([chosen[c] == best[c] for c in ("scale", "device", "num_threads")])
    return results.beside(chosen[same])


def _depths(results: Results) -> list[int]:
    names = results.runs["experiment"].unique()
    return sorted(int(m[1]) for name in names if (m := re.fullmatch(rf"{PREFIX}(\d+)", name)))


def _ratios(
    results: Results, panel: str, series: str, numerator: str, denominator: str
) -> pd.DataFrame:
    rows = []
    for depth in _depths(results):
        try:
            runs, ratios = measures.paired_step_times(
                results, f"{PREFIX}{depth}", numerator, denominator, study=STUDY
            )
        except EmptySelectionError:
            continue
        low, median, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        bounds = {"x": depth, "y": median, "low": low, "high": high, "n": len(ratios)}
        place = {"scale": runs["scale"].iloc[0], "device": runs["device"].iloc[0]}
        note = f"{numerator} / {denominator}, median and quartiles of rounds"
        rows.append(
            {"panel": panel, "kind": "mean", "series": series, "note": note, **bounds, **place}
        )
    return frame(rows) if rows else not_run(panel, series)


def _memory(results: Results, method: str) -> pd.DataFrame:
    rows = []
    for depth in _depths(results):
        try:
            runs = measures.report_runs(results, f"{PREFIX}{depth}", [method], study=STUDY)
        except EmptySelectionError:
            continue
        peak = runs["peak_bytes"].max() / 1e9
        if np.isnan(peak):
            continue
        place = {"scale": runs["scale"].iloc[0], "device": runs["device"].iloc[0]}
        note = "allocator's peak over one step"
        row = {"panel": "memory", "kind": "mean", "series": method, "x": depth, "y": peak, "n": 1}
        rows.append({**row, **place, "note": note})
    return frame(rows) if rows else not_run("memory", method)


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw step times, their ratio, memory, and the tangents' share."""
    titles = []
    for panel, (name, (heading, label)) in zip(axes.flat, PANELS.items(), strict=True):
        rows = table[table["panel"] == name]
        panel.set(xlabel="hidden layers", ylabel=label)
        titles.append((panel, heading, _notes(rows)))
        marks.missing(panel, rows, 0.15 if len(rows[rows["published"]]) else 0.5)
        _points(panel, rows)
        if name == "relative cost":
            panel.axhline(1.0, color=style.GREY, lw=0.6)
        if panel.get_legend_handles_labels()[1]:
            top = np.nanmax(rows[["y", "high"]].to_numpy())
            panel.set_xlim(left=0)
            panel.set_ylim(0, 1.35 * top)  # room for the legend
            panel.legend(loc="upper left", ncols=2)
    headings.titles(titles)
    ours = ("ours, median and quartiles of rounds", {"color": style.GREY, "marker": "o"})
    shape = {"marker": "o", "mfc": "white", "ls": ":", "lw": 0.9}
    legends.key(axes, [ours, ("published (read off)", {"color": style.GREY, **shape})], 2)


def _notes(rows: pd.DataFrame) -> dict[str, str]:
    counts = rows["n"][(rows["kind"] == "mean") & (rows["panel"] != "memory")]
    rounds = {"n": f"n={headings.span(counts)} rounds"} if len(counts) else {}
    return rounds | headings.notes(rows.assign(n=0))


def _points(axes: Axes, rows: pd.DataFrame) -> None:
    for series, part in rows[rows["kind"] == "mean"].groupby("series"):
        look = style.LOOKS[str(series)]
        error = (
            None
            if part["low"].isna().all()
            else np.stack([part["y"] - part["low"], part["high"] - part["y"]])
        )
        axes.errorbar(
            part["x"],
            part["y"],
            yerr=error,
            color=look.color,
            ls=look.dashes,
            marker=look.marker,
            elinewidth=0.8,
            capsize=1.5,
            label=LABELS.get(str(series), str(series)),
        )
    for series, part in rows[rows["kind"] == "published"].groupby("series"):
        look = style.LOOKS[str(series)]
        label = "published" if series == "published" else f"{LABELS[str(series)]} published"
        edge = style.GREY if series == "published" else look.color
        axes.plot(
            part["x"], part["y"], ls=":", lw=0.9, color=style.GREY, marker=look.marker,
            mfc="white", mec=edge, mew=0.9, zorder=2.8, label=label,
        )  # fmt: skip

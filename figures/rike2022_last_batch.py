"""Rike & Førland 2022, test loss: of all 10,000 images, and of the last 16, which is what the paper prints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from figures import headings, legends, marks, style
from figures.rike2022_runs import BP, CLIPPED, FG, PUBLISHED, STUDY, Setting, published_curve
from figures.selection import curves, fact, frame, stack
from repro import measures
from repro.results import EmptySelectionError, Results

TITLE = (
    "The slip in the published test losses, re-run as published. Lines: the mean loss of the whole test split after every epoch, "
    "mean over repetitions; bands: the lowest to the highest repetition, since a t interval would reach below zero, which a "
    "logarithmic axis cannot show. Dots: the loss of the last mini-batch of a shuffled pass, 16 images, which the paper reports, "
    "for every repetition. Open markers: what its notebooks print after every epoch; larger: the last epoch, whose loss Table I "
    "gives. Values below 1e-8 stand at the lower edge."
)
LAYOUT = style.Layout(1, 3, style.DOUBLE, 2.9)
NN = tuple(setting for setting in PUBLISHED if setting.network == "nn")
EPOCHS = 50  # as published
FLOOR = 1e-8  # below it a float32 loss of 16 images is rounding, or zero


def select(results: Results) -> pd.DataFrame:
    """Return both test losses by epoch, and the published ones."""
    return stack(_panel(results, setting) for setting in NN)


def _panel(results: Results, setting: Setting) -> pd.DataFrame:
    methods = {setting.method(series): series for series in setting.published}
    whole = curves(
        results,
        setting.name,
        setting.name,
        "loss",
        methods=methods,
        by_epoch=True,
        split="test",
        study=STUDY,
    )
    parts = [_between_extremes(whole.assign(series=whole["series"].replace(methods)))]
    for series in methods.values():
        printed = published_curve(results, setting.name, setting, series)
        # Table I has what was printed last, rounded
        printed = printed[printed["x"] != EPOCHS]
        parts += [_last_batches(results, setting, series), printed]
        parts.append(_printed(results, setting, series))
    return stack(parts)


def _between_extremes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without the single repetitions, whose lowest and highest values bound the mean instead."""
    single = rows[rows["kind"] == "repetition"]
    extremes = single.groupby(["series", "x"])["y"].agg(["min", "max"])
    kept = rows[rows["kind"] != "repetition"]
    bounds = extremes.reindex(pd.MultiIndex.from_frame(kept[["series", "x"]]))
    is_mean = kept["kind"] == "mean"
    return kept.assign(
        low=kept["low"].mask(is_mean, bounds["min"].to_numpy()),
        high=kept["high"].mask(is_mean, bounds["max"].to_numpy()),
        note=kept["note"].mask(is_mean, "mean, lowest and highest repetition"),
    )


def _last_batches(results: Results, setting: Setting, series: str) -> pd.DataFrame:
    try:
        method = setting.method(series)
        runs = measures.report_runs(results, setting.name, [method], study=STUDY)
        points = measures.curve_rows(results, runs, "last_batch_loss", "test")
    except EmptySelectionError:
        return frame()
    return frame(
        {
            "panel": setting.name,
            "kind": "point",
            "series": series,
            "repetition": points["repetition"],
            "x": points["epoch"],
            "y": points["value"],
            "n": len(runs),
            "diverged": int((runs["status"] == "diverged").sum()),
            "scale": runs["scale"].iloc[0],
            "note": "loss of the last 16 test images",
        }
    )


def _printed(results: Results, setting: Setting, series: str) -> pd.DataFrame:
    item = "notebook, last epoch"
    where = {"study": STUDY, "method": setting.method(series), "item": item}
    value = fact(results, "test loss", setting.name, **where)
    if math.isnan(value):
        return frame()
    row = {"panel": setting.name, "kind": "published", "series": series, "published": True}
    return frame([{**row, "x": EPOCHS, "y": value, "note": f"{item}, the last 16 test images"}])


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a panel for each optimizer."""
    titles = []
    for panel, setting in zip(axes.flat, NN, strict=True):
        rows = table[table["panel"] == setting.name]
        titles.append((panel, setting.label, headings.notes(rows)))
        panel.set(xlabel="epoch", ylabel="test loss (nats)")
        if marks.missing(panel, rows):
            panel.set(xticks=[], yticks=[])
            continue
        panel.set_yscale("log")
        # what is not above zero has no place on the axis, and none may vanish
        above = rows.assign(y=rows["y"].clip(lower=FLOOR), low=rows["low"].clip(lower=FLOOR))
        for series, part in above[above["kind"] == "point"].groupby("series"):
            look = style.LOOKS[str(series)]
            panel.plot(
                part["x"], part["y"], look.marker, color=look.color,
                ms=1.8, mew=0, alpha=0.6, clip_on=False, zorder=1.8,
            )  # fmt: skip
        printed = (above["kind"] == "published") & (above["x"] != EPOCHS)
        for series, part in above[printed].groupby("series"):
            look = style.LOOKS[str(series)]
            panel.plot(
                part["x"], part["y"], look.marker, ls="", color=look.color, mfc="none",
                ms=2.6, mew=0.5, clip_on=False, zorder=1.9,
            )  # fmt: skip
        marks.lines(panel, above[~printed])
        panel.set_ylim(bottom=FLOOR)
    headings.titles(titles)
    shown = [name for name in (BP, FG, CLIPPED) if name in set(table["series"])]
    looks = {name: style.LOOKS[name] for name in shown}
    entries: list[tuple[str, Mapping[str, Any]]] = [
        (name, {"color": look.color, "ls": look.dashes}) for name, look in looks.items()
    ]
    dot = {"color": style.GREY, "marker": "o", "ms": 2.5, "mew": 0, "ls": ""}
    open_ = {"color": style.GREY, "marker": "o", "mfc": "white", "mew": 0.9, "ls": ""}
    entries += [
        ("all test images (mean; lowest to highest)", {"color": style.GREY}),
        ("last 16 test images (every repetition)", dot),
        ("last 16 test images, published", open_),
    ]
    legends.key(axes, [*entries, *legends.diverged_entry(table)], 3)

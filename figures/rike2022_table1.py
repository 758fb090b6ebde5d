"""Rike & Førland 2022, Table I: as published, re-run as published, and tuned under one budget."""

from __future__ import annotations

import math

import pandas as pd

from figures.rike2022_runs import BP, CLIPPED, FG, PUBLISHED, STUDY, Setting
from figures.selection import fact
from repro import measures, stats
from repro.measures import Measurement
from repro.results import EmptySelectionError, Results
from repro.stats import Interval
from repro.tables import Cell, Column, Table

TITLE = (
    "Test loss (nats) of Rike & Førland's 14 rows: as printed in Table I, re-run with its settings, and with the learning rate of "
    "every method tuned under one budget"
)
COLUMNS = (
    Column("row", "Row", "left"),
    Column("network", "Network, optimizer", "left"),
    Column("method", "Method", "left"),
    Column("published", "Table I (16 images)", format=".3f"),
    Column("loss", "Re-run, test loss", format=".3f", interval=True),
    Column("accuracy", "Re-run, test accuracy", format=".3f", interval=True),
    Column("last_batch", "Re-run, last 16 images", format=".2g", interval=True),
    Column("scale", "Scale", "left"),
    Column("diverged", "Diverged", "left"),
    Column("tuned", "Tuned, test loss", format=".3f", interval=True),
    Column("tuned_clipped", "Tuned and clipped, test loss", format=".3f", interval=True),
    Column("tuned_scale", "Scale", "left"),
    Column("tuned_diverged", "Diverged", "left"),
)
NOTES = (
    "Table I gives the loss of the last 16 test images alone. Ours: mean over all test images, then over repetitions (n) with its "
    "95 % t interval. Last 16 images: mean, smallest and largest over repetitions, after the last epoch.",
    "Tuned: one constant rate for every method, from the same number of trials, with the same loss function and no decay; the "
    "forward gradient with and without the directional derivative clipped at 1. Where the scale is not full, networks may be "
    "narrower and epochs fewer than published. n/a: backpropagation is not clipped.",
    "Where one repetition diverged there is no mean, and n/a is shown.",
)


def table(results: Results) -> Table:
    """Return the table, two rows a setting; its notes say what is not at full scale."""
    rows, scales = [], set()
    for index, setting in enumerate(PUBLISHED):
        for place, series in enumerate(setting.published):
            rerun, tuned = _rerun(results, setting, series), _tuned(results, setting, series)
            scales |= {rerun[3], tuned[2]} - {None, "full"}
            label = (f"R{2 * index + place + 1}", setting.label, series)
            rows.append((*label, _printed(results, setting, series), *rerun, *tuned))
    smaller = sorted(str(scale) for scale in scales)
    remark = f"Rows at scale {' and '.join(smaller)} are not the published protocol."
    notes = (*NOTES, remark) if smaller else NOTES
    return Table("rike2022_table1", TITLE, COLUMNS, tuple(rows), notes)


def _printed(results: Results, setting: Setting, series: str) -> float:
    where = {"study": STUDY, "method": setting.method(series), "item": "Table I"}
    return fact(results, "test loss", setting.name, **where)


def _rerun(results: Results, setting: Setting, series: str) -> tuple[Cell, ...]:
    name, method = setting.name, setting.method(series)
    try:
        runs = measures.report_runs(results, name, [method], study=STUDY)
        loss, accuracy = (
            measures.final_metric(results, name, method, metric, study=STUDY).interval
            for metric in ("test_loss", "test_accuracy")
        )
    except EmptySelectionError:
        return (None,) * 5
    return loss, accuracy, _spread(runs), runs["scale"].iloc[0], _diverged(loss, runs)


def _spread(runs: pd.DataFrame) -> Interval:
    """Return mean, smallest and largest loss of the last 16 images: its spread is what is to be seen."""
    values = runs["test_last_batch_loss"]
    if values.isna().any():
        return Interval(math.nan, -math.inf, math.inf, len(values), 1.0)
    mean = stats.mean_interval(values).estimate
    return Interval(mean, float(values.min()), float(values.max()), len(values), 1.0)


def _diverged(loss: Interval, runs: pd.DataFrame) -> str:
    return f"{(runs['status'] == 'diverged').sum()} of {loss.num}"


def _tuned(results: Results, setting: Setting, series: str) -> tuple[Cell, ...]:
    if series == BP:
        plain, clipped = _tuned_loss(results, setting, BP), None
    else:
        plain, clipped = (_tuned_loss(results, setting, variant) for variant in (FG, CLIPPED))
    found = [m for m in (plain, clipped) if m is not None]
    scales = sorted({m.scale for m in found})
    counts = "; ".join(f"{m.diverged} of {m.interval.num}" for m in found)
    return (
        None if plain is None else plain.interval,
        math.nan if series == BP else None if clipped is None else clipped.interval,
        ", ".join(scales) or None,
        counts or None,
    )


def _tuned_loss(results: Results, setting: Setting, series: str) -> Measurement | None:
    try:
        return measures.final_metric(
            results, f"tuned-{setting.name}", setting.method(series), "test_loss", study=STUDY
        )
    except EmptySelectionError:
        return None

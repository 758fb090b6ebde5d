"""Rows of a figure: what `select` of every figure is made of, and nothing that draws.

A figure's table is tidy and complete: `draw` sees nothing else, and it is the CSV beside the figure.
Columns (`COLUMNS`): the panel, the kind of row, the series, the repetition (-1 for what is over all), x, y with
bounds, n and how many of those runs diverged, scale, device, a note, and whether the value was published.

Kinds: `mean` (an aggregate with its interval, as the note says), `repetition`, `diverged` (the last recorded
point of a run that diverged, or a trial that did), `point` (one value of one repetition or trial), `winner`
(the trial that a search chose), `best` (the best of the trials so far), `expected` (what as many trials are
expected to find, with its band), `settled` (which method is ahead, in words), `published`, `theory`, `guide`,
`ratio` (a number written in the panel), `not run` (what is missing, in place).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from repro import measures, stats
from repro.measures import BACKPROPAGATION as BACKPROPAGATION
from repro.measures import FORWARD_GRADIENT as FORWARD_GRADIENT
from repro.measures import Measurement
from repro.results import EmptySelectionError, Results

BOTH = (BACKPROPAGATION, FORWARD_GRADIENT)
COLUMNS: Mapping[str, str | int | float | bool] = {
    "panel": "",
    "kind": "",
    "series": "",
    "repetition": -1,
    "x": math.nan,
    "y": math.nan,
    "low": math.nan,
    "high": math.nan,
    "n": 0,
    "diverged": 0,
    "scale": "",
    "device": "",
    "note": "",
    "published": False,
}
"""Columns of every figure's table, with what stands where a row leaves one out."""
NOT_OURS = ("published", "theory", "guide", "ratio", "not run")
"""Kinds of row that show no run of ours."""


def frame(values: Mapping[str, object] | Iterable[Mapping[str, object]] = ()) -> pd.DataFrame:
    """Return rows of a figure's table.

    Args:
        values: Columns as scalars or vectors of one length, or rows one by one.

    Returns:
        All of `COLUMNS`, typed.
    """
    if isinstance(values, Mapping):
        vectors = [len(v) for v in values.values() if isinstance(v, (pd.Series, np.ndarray))]
        size, told = max(vectors, default=1), values
    else:
        rows = list(values)
        size, told = len(rows), {name: [row.get(name) for row in rows] for name in COLUMNS}
    columns = {name: _column(told.get(name), default, size) for name, default in COLUMNS.items()}
    return pd.DataFrame(columns, index=pd.RangeIndex(size))


_KINDS = {str: "object", bool: "bool", int: "int64", float: "float64"}


def _column(value: Any, default: str | bool | float, size: int) -> Any:
    """Return a typed column from a vector, a list or a scalar, with the default for what is missing."""
    kind = _KINDS[type(default)]
    if isinstance(value, (pd.Series, np.ndarray)):
        return pd.Series(np.asarray(value)).fillna(default).astype(kind).array  # type: ignore[call-overload]
    told: list[Any] = value if isinstance(value, list) else [value] * size
    known: list[Any] = [default if pd.isna(one) else one for one in told]
    return np.asarray(known, dtype=kind)


def stack(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of several parts, in that order."""
    kept = [part for part in parts if len(part)]
    return pd.concat(kept, ignore_index=True) if kept else frame()


def each(rows: pd.DataFrame) -> Iterable[Any]:
    """Return the rows as named tuples, for attribute access."""
    return rows.itertuples(index=False)


def not_run(panel: str, series: str = "", note: str = "") -> pd.DataFrame:
    """Return the row that stands for something missing; without series it is the whole panel."""
    return frame([{"panel": panel, "kind": "not run", "series": series, "note": note}])


def fact(
    results: Results, quantity: str, setting: str, *, study: str, method: str, item: str
) -> float:
    """Return one published value of a method, NaN where the paper does not give it.

    Args:
        results: The tables.
        quantity: Column `quantity` of the facts.
        setting: Column `setting` of the facts.
        study: Column `study` of the facts.
        method: Column `method` of the facts.
        item: Column `item` of the facts: where it is stated.

    Returns:
        The value.
    """
    facts = results.facts
    if facts.empty:
        return math.nan
    wanted = {"quantity": quantity, "setting": setting, "study": study}
    wanted |= {"method": method, "item": item}
    found = facts[np.logical_and.reduce([facts[c] == value for c, value in wanted.items()])]
    return float(found["value"].iloc[0]) if len(found) else math.nan


def curves(
    results: Results,
    panel: str,
    experiment: str,
    metric: str,
    *,
    study: str,
    methods: Iterable[str] = BOTH,
    run_time: str | None = None,
    logarithmic: bool = False,
    with_repetitions: bool = True,
    by_epoch: bool = False,
    split: str | None = None,
) -> pd.DataFrame:
    """Return the curves of an experiment: every repetition, their mean with its interval, who diverged.

    The mean ends where the first run diverges: beyond that it would be one of survivors.

    Args:
        results: The tables.
        panel: Where the curves are shown.
        experiment: Name of the training experiment.
        metric: Name of the metric.
        study: Name of the study.
        methods: One series each; one without runs becomes a `not run` row.
        run_time: Timing experiment whose median step makes seconds of iterations; none keeps iterations.
        logarithmic: Whether the mean is geometric, its interval that of the mean logarithm.
        with_repetitions: Whether the single runs are rows too.
        by_epoch: Whether the abscissa is in epochs rather than iterations.
        split: See `measures.curve_rows`.

    Returns:
        Rows of kinds mean, repetition, diverged and not run.
    """
    parts = []
    for method in methods:
        try:
            runs = measures.runs_at_one_setting(results, experiment, [method], study=study)
            points = measures.curve_rows(results, runs, metric, split)
            step = None
            if run_time is not None:
                step = measures.step_seconds(results, run_time, method, study=study)
        except EmptySelectionError as error:
            parts.append(not_run(panel, method, str(error)))
            continue
        common = {
            "panel": panel,
            "series": method,
            "n": len(runs),
            "diverged": int((runs["status"] == "diverged").sum()),
            "scale": min_scale(runs["scale"].iloc[0], step.scale if step else ""),
            "device": step.device if step else "",
        }
        seconds = step.interval.estimate if step else 1.0
        shown = points.assign(x=points["epoch"] if by_epoch else points["step"] * seconds)
        parts.append(_means(shown, common, logarithmic))
        if with_repetitions:
            parts.append(_repetitions(shown, common))
        ended = shown[shown["key"].isin(runs[runs["status"] == "diverged"]["key"])]
        last = ended.groupby("repetition", as_index=False).last()
        if len(last):
            where = {"repetition": last["repetition"], "x": last["x"], "y": last["value"]}
            parts.append(frame({**common, "kind": "diverged", **where}))
    found = stack(parts)
    if len(found) and (found["kind"] == "not run").all():
        return not_run(panel, note="; ".join(found["note"]))
    return found


def min_scale(*scales: str) -> str:
    """Return the smallest of some scales, which is what may be said of them together."""
    return max((s for s in scales if s), key=measures.LARGEST_FIRST.index)


def _repetitions(points: pd.DataFrame, common: Mapping[str, object]) -> pd.DataFrame:
    columns = {"repetition": points["repetition"], "x": points["x"], "y": points["value"]}
    return frame({**common, "kind": "repetition", **columns})


def _means(points: pd.DataFrame, common: Mapping[str, object], logarithmic: bool) -> pd.DataFrame:
    wide = points.pivot_table(index="step", columns="key", values="value", sort=True, dropna=False)
    x = points.groupby("step")["x"].first()
    complete = np.isfinite(wide.to_numpy()).all(axis=1) & (wide.shape[1] == common["n"])
    if logarithmic:
        complete &= (wide.to_numpy() > 0).all(axis=1)
    # up to the first gap: what follows a divergence is of survivors
    end = int(np.argmin(complete)) if not complete.all() else len(complete)
    rows = []
    for step, values in zip(wide.index[:end], wide.to_numpy()[:end], strict=True):
        interval = stats.mean_interval(np.log(values) if logarithmic else values)
        bounds = (interval.estimate, interval.low, interval.high)
        y, low, high = np.exp(bounds) if logarithmic else bounds
        rows.append({"x": x[step], "y": y, "low": low, "high": high})
    note = (
        "geometric mean, 95 % t interval of logarithms" if logarithmic else "mean, 95 % t interval"
    )
    return frame([{**common, "kind": "mean", "note": note, **row} for row in rows])


def ratio(panel: str, series: str, measured: Measurement | None, value: float) -> pd.DataFrame:
    """Return a number of ours and the published one as rows to be written in a panel.

    Args:
        panel: Where they are written.
        series: What the number is, e.g. `T_f/T_b`.
        measured: Ours; none if not run.
        value: The published one, NaN where the paper does not give it.

    Returns:
        A row of kind ratio for each that exists.
    """
    rows: list[dict[str, object]] = []
    if measured is not None:
        interval = measured.interval
        note = measured.procedure
        if measured.missed:
            note += f"; {measured.missed} of {interval.num} never got there"
        rows.append(
            {
                "y": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "n": interval.num,
                "diverged": measured.diverged,
                "note": note,
                "scale": measured.scale,
                "device": measured.device,
            }
        )
    if not math.isnan(value):
        rows.append({"y": value, "published": True, "note": "printed or read off"})
    return frame([{"panel": panel, "kind": "ratio", "series": series, **row} for row in rows])

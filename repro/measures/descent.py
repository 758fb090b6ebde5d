"""Measures of how far a method descends on a function, as shares of another's descent, usually backpropagation's.

If two aggregations of the same tangents are nearly the same vector but for its length, they may differ by rate or by
direction. `descent_differences` tells the two apart with runs at exchanged rates.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from repro import stats
from repro.measures.rows import (
    Measurement,
    Vector,
    column,
    curve_rows,
    mean,
    measurement,
    pairs,
    percent,
    report_runs,
    summary,
    unknown,
)
from repro.results import EmptySelectionError, Results

TOTAL, RATE, DIRECTION = "total", "rate", "direction"
"""The difference of two methods, the part of it that their rates explain, and the rest."""


def missed_descent(
    results: Results,
    experiment: str,
    method: str,
    base: str,
    *,
    metric: str = "best_value",
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the share of the descent of `base` that a method does not make.

    `(value of the method - value of the base) / (start - value of the base)`: 0 for the base, 1 for a method that
    never descends.

    Args:
        results: The tables.
        experiment: Name of an experiment on a function.
        method: Name of the method.
        base: Name of the method to compare with, usually backpropagation.
        metric: The result of a run: its lowest value, or `value`, the value at its end.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean and t interval over repetitions.

    Raises:
        EmptySelectionError: If nothing was run.
    """
    rows, first, second = pairs(results, experiment, metric, method, base, study)
    return measurement(
        rows,
        mean(_missed(results, rows, first, second), confidence),
        f"mean share of the descent, {percent(confidence)} t interval",
    )


def missed_descent_change(
    results: Results,
    first: str,
    last: str,
    method: str,
    base: str,
    *,
    metric: str = "best_value",
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return how much more of the descent of `base` a method misses in one experiment than in another.

    Args:
        results: The tables.
        first: Name of the experiment to subtract.
        last: Name of the experiment to subtract from.
        method: Name of the method.
        base: See `missed_descent`.
        metric: See `missed_descent`.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Difference of the means and its Welch interval.

    Raises:
        EmptySelectionError: If nothing was run.
    """
    parts, shares = [], []
    for experiment in (last, first):
        rows, ours, theirs = pairs(results, experiment, metric, method, base, study, (first, last))
        parts.append(rows)
        shares.append(_missed(results, rows, ours, theirs))
    known = all(np.isfinite(values).all() for values in shares)
    interval = (
        stats.welch_interval(shares[0], shares[1], confidence)
        if known
        else unknown(min(map(len, shares)))
    )
    return summary(parts, interval, f"difference of means, {percent(confidence)} Welch interval")


def descent_differences(
    results: Results,
    experiment: str,
    compared: Iterable[tuple[str, str]],
    base: str,
    *,
    exchanged: str = "",
    metric: str = "best_value",
    study: str | None = None,
) -> dict[tuple[str, str, str], Measurement]:
    """Return how much more of the descent of `base` one method misses than another, and how much the rate explains.

    With `m` the share of the descent that is missed (`missed_descent`), `a` and `b` at their own rates, and `b'` at the
    rate at which its steps are as long as those of `a`:

        total `m(a) - m(b)` = rate `m(b') - m(b)` + direction `m(a) - m(b')`

    Args:
        results: The tables.
        experiment: Name of an experiment on a function.
        compared: Names `(a, b)` of methods; a pair is left out if one of the two was not run.
        base: Name of the method whose descent is the unit.
        exchanged: Name of the experiment that has `b'` under the name of `b`; without it there are only totals.
        metric: See `missed_descent`.
        study: See `report_runs`.

    Returns:
        By part (`TOTAL`, `RATE`, `DIRECTION`), `a` and `b`: mean and 95 % paired-t interval over the repetitions that
        all runs have; NaN as soon as one of them diverged.

    Raises:
        EmptySelectionError: If the experiment or its base was not run, or its base descends nowhere.
    """
    runs = report_runs(results, experiment, study=study)
    of_method = {str(name): rows for name, rows in runs.groupby("method")}
    if base not in of_method:
        raise EmptySelectionError(f"Experiment {experiment!r} has no run of {base!r}.")
    unit = _ends(of_method[base], metric)
    start = _start(results, of_method[base])
    if (unit >= start).any():
        raise EmptySelectionError(f"Experiment {experiment!r}: {base!r} descends nowhere.")
    other: dict[str, pd.DataFrame] = {}
    if exchanged:
        try:
            rows = report_runs(results, exchanged, study=study)
            # a smoke run beside a full one would tell their steps apart, not their rates
            if rows["scale"].iloc[0] == runs["scale"].iloc[0]:
                other = {str(name): part for name, part in rows.groupby("method")}
        except EmptySelectionError:
            pass
    found = {}
    for a, b in compared:
        if a in of_method and b in of_method:
            parts = {TOTAL: (of_method[a], of_method[b])}
            if b in other:
                parts |= {RATE: (other[b], of_method[b]), DIRECTION: (of_method[a], other[b])}
            for part, (first, second) in parts.items():
                shares = _shares(_ends(first, metric), _ends(second, metric), start - unit)
                rows = pd.concat([first, second, of_method[base]]).drop_duplicates("key")
                procedure = f"share of the descent, {part}, 95 % paired-t interval"
                if len(shares):
                    found[part, a, b] = measurement(rows, mean(shares), procedure)
    return found


def _missed(results: Results, rows: pd.DataFrame, ours: Vector, theirs: Vector) -> Vector:
    start = _start(results, rows)
    if (theirs >= start).all():  # nothing to descend, as on a function that is zero everywhere
        return np.zeros_like(ours)
    return (ours - theirs) / (start - theirs)


def _ends(rows: pd.DataFrame, metric: str) -> pd.Series:
    """Return the results of runs, by repetition; NaN for runs that diverged."""
    return pd.Series(column(rows, metric), index=rows["repetition"])


def _shares(a: pd.Series, b: pd.Series, descent: pd.Series) -> Vector:
    """Return the differences over the descent, by the repetitions that all three have."""
    shared = sorted(set(a.index) & set(b.index) & set(descent.index))
    return ((a - b) / descent)[shared].to_numpy(np.float64)


def _start(results: Results, rows: pd.DataFrame) -> float:
    # the start is fixed, the same for every method and repetition; a long curve that was thinned may have lost it
    points = curve_rows(results, rows, "value", "none")
    starts = points.loc[points["step"] == 0, "value"]
    if starts.empty:
        raise EmptySelectionError(f"None of the {len(rows)} runs recorded its value at the start.")
    return float(starts.iloc[0])

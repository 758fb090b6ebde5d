"""Measures of cost: the time and memory of a step relative to another method's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from repro import stats
from repro.measures.families import members
from repro.measures.rows import (
    Measurement,
    Vector,
    curve_rows,
    measurement,
    pairs,
    report_runs,
    summary,
)
from repro.results import EmptySelectionError, Results
from repro.stats import Interval


def paired_step_times(
    results: Results, experiment: str, a: str, b: str, *, study: str | None = None
) -> tuple[pd.DataFrame, Vector]:
    """Return, round by round, the time of a step of `a` divided by that of `b`.

    The methods of a timing experiment take turns, so the two times of a round belong together.

    Args:
        results: The tables.
        experiment: Name of the timing experiment.
        a: Method in the numerator.
        b: Method in the denominator.
        study: See `report_runs`.

    Returns:
        The runs behind it, and the ratios in order of repetition and round.

    Raises:
        EmptySelectionError: If a method was not timed, or they share no round.
    """
    rows, (first, second) = _shared_rounds(results, experiment, (a, b), study)
    return rows, first / second


def _shared_rounds(
    results: Results, experiment: str, methods: Sequence[str], study: str | None
) -> tuple[pd.DataFrame, list[Vector]]:
    """Return timing runs and, by method, the seconds of a step in every round in which all methods were timed."""
    rows = report_runs(results, experiment, methods, study=study)
    points = curve_rows(results, rows, "step_seconds", "none").set_index(["repetition", "step"])
    columns = [points.loc[points["method"] == name, "value"] for name in methods]
    shared = pd.concat(columns, axis=1, join="inner").sort_index()
    if shared.empty:
        raise EmptySelectionError(
            f"Experiment {experiment!r}: {' and '.join(methods)} share no timed round."
        )
    return rows, list(shared.to_numpy(np.float64).T)


def step_time_ratio(
    results: Results,
    experiment: str,
    numerator: str,
    denominator: str,
    *,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return how many times longer a step of one method takes, as the median over rounds.

    With the denominator `function alone` these are Baydin's R_f and R_b. The interval is over rounds on this machine
    in this session: it says nothing about other machines, and rounds are not quite independent.

    Args:
        results: The tables.
        experiment: Name of the timing experiment.
        numerator: Name of a method.
        denominator: Name of a method.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Median of the paired per-round ratios and its distribution-free interval, `(0, inf)` below six
        rounds; `num` counts rounds.

    Raises:
        EmptySelectionError: If a method was not timed.
    """
    rows, ratios = paired_step_times(results, experiment, numerator, denominator, study=study)
    interval = stats.median_interval(ratios, confidence)
    positive = dataclasses.replace(interval, low=max(interval.low, 0.0))
    return measurement(rows, positive, "median of paired rounds, distribution-free interval")


def step_time_ratio_without(
    results: Results,
    experiment: str,
    numerator: str,
    part: str,
    denominator: str,
    *,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return `step_time_ratio` as it would be if a part of the step, timed alone, cost nothing.

    Args:
        results: The tables.
        experiment: Name of the timing experiment.
        numerator: Name of a method.
        part: Name of the part of its step that was timed alone; its seconds are subtracted.
        denominator: Name of a method.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Median of the paired per-round ratios and its distribution-free interval, as of `step_time_ratio`.

    Raises:
        EmptySelectionError: If one of the three was not timed.
    """
    names = (numerator, part, denominator)
    rows, (whole, less, base) = _shared_rounds(results, experiment, names, study)
    interval = stats.median_interval(whole / base - less / base, confidence)
    return measurement(rows, interval, "median of paired rounds, distribution-free interval")


def step_time_ratio_trend(
    results: Results,
    family: str,
    numerator: str,
    denominator: str,
    *,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return by what factor `step_time_ratio` changes along a family of timing experiments, on the line through all of them.

    Two timings of the same step differ by more than their rounds tell, since each has its own process and hour. So the
    experiments are the observations: the logarithm of a ratio is taken to be linear in the number at the end of the
    experiment's name, such as a depth, and the scatter about the line says how certain it is.

    Args:
        results: The tables.
        family: The timing experiments, each of its own number.
        numerator: Name of a method.
        denominator: Name of a method.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Factor from the smallest number to the largest, with the t interval of the slope of least squares; `num` counts
        experiments.

    Raises:
        EmptySelectionError: If a method was not timed in one of the experiments, or only one of them was run.
    """
    rows, numbers, logs = [], [], []
    for experiment in members(results, family, study):
        found, ratios = paired_step_times(results, experiment, numerator, denominator, study=study)
        rows.append(found)
        numbers.append(float(experiment.rpartition("-")[2]))
        logs.append(float(np.log(np.median(ratios))))
    if len(rows) < 2:
        raise EmptySelectionError(f"Of the family {family!r} only one experiment was run.")
    slope = stats.slope_interval(numbers, logs, confidence)
    span = max(numbers) - min(numbers)
    with np.errstate(over="ignore"):  # two experiments bound nothing
        estimate, low, high = (
            float(np.exp(span * x)) for x in (slope.estimate, slope.low, slope.high)
        )
    interval = Interval(estimate, low, high, slope.num, confidence)
    return summary(rows, interval, "line through the logarithms of the medians, t interval")


def step_seconds(
    results: Results, experiment: str, method: str, *, study: str | None = None
) -> Measurement:
    """Return the median seconds of a method's step, which turns iterations into time.

    Args:
        results: The tables.
        experiment: Name of the timing experiment.
        method: Name of the method.
        study: See `report_runs`.

    Returns:
        Median over rounds and its distribution-free 95 % interval.

    Raises:
        EmptySelectionError: If the method was not timed.
    """
    rows = report_runs(results, experiment, [method], study=study)
    seconds = curve_rows(results, rows, "step_seconds", "none")["value"].to_numpy(np.float64)
    interval = stats.median_interval(seconds)
    positive = dataclasses.replace(interval, low=max(interval.low, 0.0))
    return measurement(rows, positive, "median of rounds, distribution-free 95 % interval")


def peak_memory_ratio(
    results: Results, experiment: str, a: str, b: str, *, study: str | None = None
) -> Measurement:
    """Return the peak memory of a step of `a` over that of `b`.

    Code and sizes decide what a step allocates, not chance. So there is nothing to average, and the bounds are the
    smallest and the largest ratio of the runs.

    Args:
        results: The tables.
        experiment: Name of the timing experiment.
        a: Name of a method.
        b: Name of a method.
        study: See `report_runs`.

    Returns:
        Median, smallest and largest ratio over repetitions.

    Raises:
        EmptySelectionError: If a method was not measured.
    """
    rows, first, second = pairs(results, experiment, "peak_bytes", a, b, study)
    ratios = first / second
    if not np.isfinite(ratios).all():
        raise EmptySelectionError(f"Experiment {experiment!r}: memory was not measured.")
    interval = Interval(float(np.median(ratios)), ratios.min(), ratios.max(), ratios.size, 1.0)
    return measurement(rows, interval, "ratio of the allocator's peaks, smallest to largest")

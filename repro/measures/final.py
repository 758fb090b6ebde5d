"""Measures of where runs end: final metrics, their paired differences and ratios, who diverged."""

from __future__ import annotations

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
    runs_at_one_setting,
    shared_repetitions,
    unknown,
)
from repro.results import EmptySelectionError, Results


def final_metric(
    results: Results,
    experiment: str,
    method: str,
    metric: str,
    *,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the mean of a metric at the end of the runs, over repetitions.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        method: Name of the method.
        metric: A numeric column of the runs table, e.g. `validation_loss`, `peak_bytes`.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean and t interval; NaN as soon as one run diverged (`score` is finite even then).

    Raises:
        EmptySelectionError: If the method was not run.
    """
    rows = runs_at_one_setting(results, experiment, [method], study=study)
    return measurement(
        rows, mean(column(rows, metric), confidence), f"mean, {percent(confidence)} t interval"
    )


def final_metrics(
    results: Results, experiment: str, metric: str, *, study: str | None = None
) -> dict[str, Measurement]:
    """Return `final_metric` of every method of an experiment, sorted by name.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        metric: See `final_metric`.
        study: See `report_runs`.

    Returns:
        Measurement by method.

    Raises:
        EmptySelectionError: If the experiment was not run.
    """
    rows = runs_at_one_setting(results, experiment, study=study)
    return {
        str(method): measurement(part, mean(column(part, metric)), "mean, 95 % t interval")
        for method, part in rows.groupby("method")
    }


def paired_difference(
    results: Results,
    experiment: str,
    metric: str,
    a: str,
    b: str,
    *,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the mean of `a - b` in a final metric over the repetitions that both methods have.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        metric: A numeric column of the runs table.
        a: Name of the first method.
        b: Name of the method to subtract.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean and paired-t interval; NaN as soon as one of the runs diverged.

    Raises:
        EmptySelectionError: If a method was not run, or they share no repetition.
    """
    rows, first, second = pairs(results, experiment, metric, a, b, study)
    return measurement(
        rows,
        mean(first - second, confidence),
        f"mean difference, {percent(confidence)} paired-t interval",
    )


def paired_ratio(
    results: Results,
    experiment: str,
    metric: str,
    a: str,
    b: str,
    *,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the ratio `a / b` of a positive final metric, e.g. `peak_bytes`, over paired repetitions.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        metric: A numeric column of the runs table.
        a: Name of the first method.
        b: Name of the method to divide by.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Ratio of geometric means and its paired-t interval on logarithms; NaN within (0, inf) as
        soon as one of the runs diverged.

    Raises:
        EmptySelectionError: If a method was not run, or they share no repetition.
    """
    rows, first, second = pairs(results, experiment, metric, a, b, study)
    known = np.isfinite(first).all() and np.isfinite(second).all()
    interval = (
        stats.ratio_interval(first, second, confidence) if known else unknown(first.size, low=0.0)
    )
    return measurement(
        rows, interval, f"geometric mean of ratios, {percent(confidence)} paired-t interval"
    )


def curve_at(
    results: Results,
    experiment: str,
    method: str,
    metric: str,
    step: int,
    *,
    split: str | None = None,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the mean of a recorded metric at one step, over repetitions.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        method: Name of the method.
        metric: Name of the metric in the curves table, e.g. `loss`.
        step: A step at which the metric was recorded; nothing is interpolated.
        split: See `curve_rows`.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean and t interval; NaN as soon as one run has no finite value there (it diverged before).

    Raises:
        EmptySelectionError: If the method was not run, or no run recorded that step.
    """
    rows = runs_at_one_setting(results, experiment, [method], study=study)
    points = curve_rows(results, rows, metric, split)
    values = points[points["step"] == step].set_index("key")["value"].reindex(rows["key"])
    if values.isna().all():
        last = int(points["step"].max())
        raise EmptySelectionError(
            f"Experiment {experiment!r}, {method}: {metric!r} was not recorded at step {step} "
            f"(last recorded step: {last})."
        )
    return measurement(
        rows,
        mean(values.to_numpy(np.float64), confidence),
        f"mean, {percent(confidence)} t interval",
    )


def curve_end(
    results: Results,
    experiment: str,
    method: str,
    metric: str,
    *,
    split: str = "train",
    share: float = 0.02,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the mean of the last recorded values of a metric, over repetitions.

    For the training loss, which is recorded by mini-batch: the last one alone may hold a handful of examples.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        method: Name of the method.
        metric: Name of the metric in the curves table.
        split: See `curve_rows`.
        share: Share of the recorded points, from the last, that are averaged; of 50 epochs 0.02 is the last.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean and t interval; NaN as soon as one run diverged.

    Raises:
        EmptySelectionError: If the method was not run, or recorded no such metric.
    """
    rows = runs_at_one_setting(results, experiment, [method], study=study)
    points = curve_rows(results, rows, metric, split)
    ends = points.groupby("key")["value"].agg(
        lambda v: v.iloc[-max(1, round(share * len(v))) :].mean()
    )
    values: Vector = np.array(ends.reindex(rows["key"]), dtype=np.float64)
    values[(rows["status"] == "diverged").to_numpy()] = np.nan
    return measurement(
        rows,
        mean(values, confidence),
        f"mean of the last recorded values, {percent(confidence)} t interval",
    )


def diverged_share(
    results: Results,
    experiment: str,
    method: str,
    *,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the fraction of a method's runs that diverged.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        method: Name of the method.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Fraction and its Clopper-Pearson interval.

    Raises:
        EmptySelectionError: If the method was not run.
    """
    rows = runs_at_one_setting(results, experiment, [method], study=study)
    interval = stats.binomial_interval(
        int((rows["status"] == "diverged").sum()), len(rows), confidence
    )
    return measurement(rows, interval, f"fraction, {percent(confidence)} Clopper-Pearson interval")


def curve_spread_ratio(
    results: Results,
    experiment: str,
    metric: str,
    a: str,
    b: str,
    *,
    relative: bool = False,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return how many times more a training metric of `a` scatters at the end than that of `b`.

    Of two losses of which one is a thousandth of the other, the lower one scatters less in nats even if it is the noisier
    one for its size: the two questions have answers of their own.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        metric: Name of the metric in the curves table.
        a: Name of the first method.
        b: Name of the method to divide by.
        relative: Whether the scatter is relative to the level of the metric; if not, it is in the metric's unit.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Geometric mean over repetitions of the ratio of standard deviations of the last tenth of the points, each over the size
        of their mean if relative, and its paired-t interval on logarithms; NaN within (0, inf) as soon as one of the runs
        diverged or does not scatter.

    Raises:
        EmptySelectionError: If a method was not run, or they share no repetition.
    """
    rows = shared_repetitions(
        runs_at_one_setting(results, experiment, [a, b], study=study), experiment
    )
    points = curve_rows(results, rows, metric, "train")
    last = points.groupby("key")["value"]
    ends = last.agg(lambda v: _scatter(v.iloc[-max(2, int(0.1 * len(v))) :], relative))
    ended = (rows["status"] != "diverged").to_numpy()
    values = np.where(ended, ends.reindex(rows["key"]).to_numpy(np.float64), np.nan)
    first, second = (values[(rows["method"] == name).to_numpy()] for name in (a, b))
    known = bool(np.isfinite(values).all() and (values > 0).all())
    interval = (
        stats.ratio_interval(first, second, confidence) if known else unknown(first.size, low=0.0)
    )
    return measurement(
        rows, interval, f"geometric mean of ratios, {percent(confidence)} paired-t interval"
    )


def _scatter(values: pd.Series, relative: bool) -> float:
    return float(values.std() / (abs(values.mean()) if relative else 1.0))

"""Measures of how long it takes to reach a loss: the iterations, and the time, to a baseline's lowest one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from repro import stats
from repro.measures.cost import step_time_ratio
from repro.measures.rows import (
    BACKPROPAGATION,
    FORWARD_GRADIENT,
    LARGEST_FIRST,
    Measurement,
    curve_rows,
    measurement,
    runs_at_one_setting,
    shared_repetitions,
    unknown,
)
from repro.results import Results
from repro.stats import Interval


def steps_to_loss_ratio(
    results: Results,
    experiment: str,
    *,
    method: str = FORWARD_GRADIENT,
    baseline: str = BACKPROPAGATION,
    metric: str = "loss",
    split: str | None = None,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the iterations `method` needs for the baseline's lowest loss, over those of the baseline.

    For each repetition the level is the baseline's lowest recorded validation loss. The baseline's iterations are the
    step at which it was recorded, those of the method the first crossing of that level (straight between
    evaluations). The method may not get there in every repetition:

    * all get there: ratio of geometric means with a paired-t interval on logarithms, which is widened to hold those of
      the evaluations before and after the crossings: where a loss falls between two of them is not known;
    * some do not (`missed`): their ratio is infinite; the estimate is the median (infinite where half or more
      missed), `high` is infinite, and `low` is the smallest ratio of all repetitions, a missing one taken as
      its budget over the baseline's iterations (infinite if it diverged). `low` lies below the true median
      with probability `1 - 2**-n`, which is the stated confidence;
    * the baseline never improves on its start in some repetition: no ratio exists, NaN within (0, inf).

    Args:
        results: The tables.
        experiment: Name of the training experiment.
        method: The method that has to reach the level.
        baseline: The method that sets the level.
        metric: Name of a metric in the curves table; smaller is better.
        split: See `curve_rows`.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        The ratio; `num` counts repetitions, `missed` those that never reached the level.

    Raises:
        EmptySelectionError: If a method was not run, or they share no repetition.
    """
    rows = runs_at_one_setting(results, experiment, [method, baseline], study=study)
    rows = shared_repetitions(rows, experiment)
    points = curve_rows(results, rows, metric, split)
    reached, bounds, base = _crossings(rows, points, method, baseline)
    missed = sum(math.isinf(steps) for steps in reached)
    if min(base) <= 0:
        interval = unknown(len(base), low=0.0)
    elif missed:
        ratios = np.array(reached) / np.array(base)
        interval = Interval(
            float(np.median(ratios)),
            float((np.array(bounds)[:, 0] / np.array(base)).min()),
            math.inf,
            len(base),
            1.0 - 0.5 ** len(base),
        )
    elif min(reached) <= 0:  # the start is already as good: no logarithm
        interval = unknown(len(base), low=0.0)
    else:
        interval = _widened(stats.ratio_interval(reached, base, confidence), bounds, base)
    procedure = (
        "median, repetitions that never got there as infinite"
        if missed
        else "geometric mean of paired repetitions, t interval on logarithms, and the evaluations around the crossings"
    )
    return measurement(rows, interval, procedure, missed)


def _crossings(
    rows: pd.DataFrame, points: pd.DataFrame, method: str, baseline: str
) -> tuple[list[float], list[tuple[float, float]], list[float]]:
    """Return where a method comes down to the baseline's lowest loss, by repetition.

    Args:
        rows: Runs of both.
        points: Their losses, as of `curve_rows`.
        method: Name of the method.
        baseline: Name of the baseline.

    Returns:
        The steps of the crossings, infinite for one that never comes; their bounds, which are then the budget and
        infinity; and the steps of the lowest losses, 0 if there is none (and then no crossing either).
    """
    curves = {
        name: dict(list(part.groupby("repetition"))) for name, part in points.groupby("method")
    }
    diverged = set(rows[(rows["method"] == method) & (rows["status"] == "diverged")]["repetition"])
    reached: list[float] = []
    bounds: list[tuple[float, float]] = []
    base: list[float] = []
    for repetition in sorted(set(rows["repetition"])):
        ours = curves.get(method, {}).get(repetition)
        theirs = curves.get(baseline, {}).get(repetition)
        if ours is None or theirs is None or theirs["value"].isna().all():
            base.append(0.0)
            continue
        losses = theirs["value"].to_numpy(np.float64)
        best = int(np.nanargmin(losses))
        base.append(float(theirs["step"].iloc[best]))
        found = stats.first_crossing(ours["step"], ours["value"], float(losses[best]))
        crossing, before, after = found
        budget = math.inf if repetition in diverged else float(ours["step"].max())
        reached.append(math.inf if math.isnan(crossing) else crossing)
        bounds.append((budget, math.inf) if math.isnan(crossing) else (before, after))
    return reached, bounds, base


def _widened(
    interval: Interval, bounds: Sequence[tuple[float, float]], base: Sequence[float]
) -> Interval:
    """Return an interval that holds those at both ends of what is known of every crossing."""
    before, after = np.array(bounds).T
    # a crossing before the first evaluation may lie at step 0
    first = stats.ratio_interval(before, base, interval.confidence).low if before.all() else 0.0
    last = stats.ratio_interval(after, base, interval.confidence).high
    return dataclasses.replace(
        interval, low=min(interval.low, first), high=max(interval.high, last)
    )


def time_to_loss_ratio(
    results: Results,
    experiment: str,
    run_time_experiment: str,
    *,
    method: str = FORWARD_GRADIENT,
    baseline: str = BACKPROPAGATION,
    metric: str = "loss",
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return T_f/T_b: the time `method` takes to the baseline's lowest validation loss, over the baseline's time.

    This is the product of `steps_to_loss_ratio` and `step_time_ratio`, whose uncertainties are independent:
    each interval is taken at half the doubt (97.5 % for 95 %), so that the product of their bounds holds (Bonferroni).
    The time does not include evaluation.

    Args:
        results: The tables.
        experiment: Name of the training experiment.
        run_time_experiment: Name of the timing experiment on the same problem.
        method: The method that has to reach the level.
        baseline: The method that sets the level.
        metric: See `steps_to_loss_ratio`.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        The ratio, infinite or NaN if that of the iterations is; its keys are those of both experiments,
        its scale the smaller of the two.

    Raises:
        EmptySelectionError: If either experiment was not run.
    """
    each = (1.0 + confidence) / 2.0
    iterations = steps_to_loss_ratio(
        results,
        experiment,
        method=method,
        baseline=baseline,
        metric=metric,
        confidence=each,
        study=study,
    )
    time = step_time_ratio(
        results, run_time_experiment, method, baseline, confidence=each, study=study
    )
    factor, cost = iterations.interval, time.interval
    interval = Interval(
        factor.estimate * cost.estimate,
        factor.low * cost.low if cost.low else 0.0,
        factor.high * cost.high,
        factor.num,
        # of one repetition at least a half, and of the rounds `each`
        factor.confidence + cost.confidence - 1.0,
    )
    return Measurement(
        interval,
        tuple(sorted({*iterations.keys, *time.keys})),
        max(iterations.scale, time.scale, key=LARGEST_FIRST.index),
        f"iterations ({iterations.procedure}) times step time (median of rounds), joint interval",
        iterations.diverged,
        iterations.missed,
        time.device,
    )

"""Measures of two methods at equal cost (the same epochs, forward passes or seconds), and of gaps between problems."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from repro import stats
from repro.measures.cost import step_seconds
from repro.measures.rows import (
    LARGEST_FIRST,
    Measurement,
    Vector,
    curve_rows,
    mean,
    measurement,
    percent,
    runs_at_one_setting,
    shared_repetitions,
    summary,
    unknown,
)
from repro.protocol import problem_of
from repro.results import EmptySelectionError, Results

COSTS = ("epochs", "forward_passes", "seconds")
"""Costs at which two methods can be compared."""


def paired_difference_at_equal(
    results: Results,
    experiment: str,
    metric: str,
    a: str,
    b: str,
    *,
    equal: str = "epochs",
    run_time_experiment: str = "",
    split: str | None = None,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the mean of `a - b` in a recorded metric at equal cost of both methods.

    Both curves are cut at the cost of the cheaper method's whole budget; between evaluations a curve is
    taken as straight. Forward passes are those of the runs by step. Seconds are steps times the median step
    of a timing of the same problem, not those of the runs, which shared their machine with others: evaluation takes
    no part, and the interval holds no doubt about the step times.

    Args:
        results: The tables.
        experiment: Name of the training experiment.
        metric: Name of the metric in the curves table, e.g. `loss`.
        a: Name of the first method.
        b: Name of the method to subtract.
        equal: One of `COSTS`.
        run_time_experiment: Name of the timing experiment; needed for `seconds`. Rows of another problem
            (a wider network at a larger scale, or another data set under the same name) do not count.
        split: See `curve_rows`.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean and paired-t interval over the repetitions that both have; NaN as soon as one of the runs
        diverged, before the cut or after. For `seconds` the keys are those of both experiments, the scale
        the smaller of the two.

    Raises:
        EmptySelectionError: If a method was not run or not timed, or they share no repetition or have no
            epochs.
        ValueError: If `equal` is no such cost, or seconds are asked for without a timing experiment.
    """
    if equal not in COSTS:
        raise ValueError(f"`equal` must be one of {', '.join(COSTS)}. Found {equal!r}.")
    if equal == "seconds" and not run_time_experiment:
        raise ValueError(
            "Equal seconds need `run_time_experiment`, the timing of the same problem."
        )
    rows = shared_repetitions(
        runs_at_one_setting(results, experiment, [a, b], study=study), experiment
    )
    points = curve_rows(results, rows, metric, split)
    timed = {}
    if equal == "seconds":
        # a timing at another scale may be of another network, also under the same name: only the same problem's counts
        problems = set(map(problem_of, rows["spec"]))
        of_timing = (results.runs["experiment"] == run_time_experiment).to_numpy(bool)
        kept = ~of_timing
        kept[of_timing] = [problem_of(text) in problems for text in results.runs["spec"][of_timing]]
        of_problem = results.beside(results.runs[kept])
        timed = {m: step_seconds(of_problem, run_time_experiment, m, study=study) for m in (a, b)}
        seconds = {method: measured.interval.estimate for method, measured in timed.items()}
        spent = points["step"] * points["method"].map(seconds)
    elif equal == "forward_passes":
        by_step = (rows["forward_passes"] / rows["num_steps"]).set_axis(rows["key"])
        spent = points["step"] * points["key"].map(by_step)
    else:
        spent = points["epoch"]
    if spent.isna().any():
        raise EmptySelectionError(f"Experiment {experiment!r}: its runs have no {equal}.")
    if (rows["status"] == "diverged").any():
        interval = unknown(rows["repetition"].nunique())
    else:
        interval = mean(_cut(points.assign(spent=spent), a, b), confidence)
    found = measurement(
        rows,
        interval,
        f"mean difference at equal {equal.replace('_', ' ')}, {percent(confidence)} paired-t interval",
    )
    if not timed:
        return found
    return dataclasses.replace(
        found,
        keys=tuple(sorted({*found.keys, *(key for m in timed.values() for key in m.keys)})),
        scale=max((found.scale, *(m.scale for m in timed.values())), key=LARGEST_FIRST.index),
        device=timed[a].device,
    )


ROOM = 0.9
"""If more than this share of a descent is missed, no noticeable part is left to miss."""


def missed_shares(
    results: Results,
    experiment: str,
    metric: str,
    method: str,
    base: str,
    *,
    split: str | None = None,
    study: str | None = None,
    beside: Iterable[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the share of the descent of `base` that a method misses, after every epoch at which both were evaluated.

    The share is the gap between the two over the descent of `base` from the start: if `base` itself gets less far, there
    is less to miss.

    Args:
        results: The tables.
        experiment: Name of the training experiment.
        metric: Name of the metric in the curves table, e.g. `loss`.
        method: Name of the method.
        base: Name of the method whose descent is the measure.
        split: See `curve_rows`.
        study: See `report_runs`.
        beside: See `report_runs`.

    Returns:
        The rows of the runs table, of the repetitions that both have; and the shares, by epoch after the start and by
        repetition. All are NaN as soon as one of the runs diverged; one share is NaN if `base` itself, in that
        repetition, misses more than `ROOM` of its median descent, which leaves nothing to miss.

    Raises:
        EmptySelectionError: If a method was not run, or the curves do not begin at the start.
    """
    rows = runs_at_one_setting(results, experiment, [method, base], study=study, beside=beside)
    rows = shared_repetitions(rows, experiment)
    points = curve_rows(results, rows, metric, split)
    points = points.assign(epoch=points["epoch"].round(6))
    table = points.pivot(index="epoch", columns=["method", "repetition"], values="value")
    if table.index[0] > 0.0:  # a long curve that was thinned may have lost it
        raise EmptySelectionError(f"{experiment!r} has no evaluation at its start.")
    start, later = table.iloc[0][base], table.iloc[1:]
    descent = start - later[base]
    stuck = descent.lt((1 - ROOM) * descent.median(axis=1), axis=0)
    missed = ((later[method] - later[base]) / descent).mask(stuck)
    if (rows["status"] == "diverged").any():
        missed = missed * np.nan
    return rows, missed


def missed_change_at_equal(
    results: Results,
    first: str,
    last: str,
    metric: str,
    method: str,
    base: str,
    *,
    split: str | None = None,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return how much more of the descent of `base` a method misses on one problem than on another, after equal epochs.

    Both are taken at the largest scale at which both were run, since their rates were searched for runs of that length. The
    epoch is the last after which both were evaluated. A search for longer runs than that may find a lower rate, at which more is
    missed until then: how much less it would be at a rate of its own is open, and so is the interval on that side. For the share, see `missed_shares`.

    Args:
        results: The tables.
        first: Name of the experiment on the problem to compare with.
        last: Name of the experiment on the other problem.
        metric: Name of the metric in the curves table, e.g. `loss`.
        method: Name of the method, in both.
        base: Name of the method whose descent is the measure, in both.
        split: See `curve_rows`.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        The difference of the mean shares and its Welch interval, with infinity for a bound that is open. NaN as soon as one of the runs diverged or one of
        `base` has hardly left its start, and if more than `ROOM` is missed on the first problem already: too early to
        compare.

    Raises:
        EmptySelectionError: If a method was not run in both, or no epoch is shared.
    """
    parts, missed = [], []
    for experiment in (first, last):
        rows, table = missed_shares(
            results,
            experiment,
            metric,
            method,
            base,
            split=split,
            study=study,
            beside=(first, last),
        )
        parts.append(rows)
        missed.append(table)
    shared = missed[0].index.intersection(missed[1].index)
    if shared.empty:
        raise EmptySelectionError(
            f"{first!r} and {last!r} were evaluated after no epoch in common."
        )
    epoch = float(shared.max())
    shares = [table.loc[epoch].to_numpy(np.float64) for table in missed]
    known = all(np.isfinite(each).all() for each in shares)
    words = f"difference of the shares missed after epoch {epoch:g}, {percent(confidence)} Welch interval"
    for rows, each in zip(parts, shares, strict=True):
        stuck = int(np.isnan(each).sum())
        if stuck and not (rows["status"] == "diverged").any():
            words = f"{base} itself has hardly left its start after epoch {epoch:g} in {stuck} of {each.size} runs of {rows['experiment'].iloc[0]}"
    if known and shares[0].mean() > ROOM:
        words = f"too early to compare: after epoch {epoch:g} {shares[0].mean():.0%} are missed on the first"
        known = False
    if not known:
        return summary(parts, unknown(shares[1].size), words)
    interval = stats.welch_interval(shares[1], shares[0], confidence)
    longer = [
        table.index.max() > epoch and (rows["arm"] == "tuned").all()
        for rows, table in zip(parts, missed, strict=True)
    ]
    if any(longer):
        low, high = (
            (-math.inf if longer[1] else interval.low),
            (math.inf if longer[0] else interval.high),
        )
        interval = dataclasses.replace(interval, low=low, high=high)
        named = " and ".join(name for name, each in zip((first, last), longer, strict=True) if each)
        words += f", open where rates were searched for longer runs ({named})"
    return summary(parts, interval, words)


def _cut(points: pd.DataFrame, a: str, b: str) -> Vector:
    """Return the differences `a - b` by repetition, where the cheaper method has spent its budget."""
    end = points.groupby("method")["spent"].max().min()
    values = {
        (method, repetition): float(np.interp(end, curve["spent"], curve["value"]))
        for (method, repetition), curve in points.groupby(["method", "repetition"])
    }
    repetitions = sorted(set(points["repetition"]))
    return np.array([values[a, r] - values[b, r] for r in repetitions])

"""Measures: the numbers that claims, tables and figures quote, each computed in one place.

A measure takes the results and names (an experiment, a method, a metric) and returns a `Measurement`: an
interval, the keys of the runs behind it, and what the reader must know beside it. Rules shared by all:

* Only rows of the role `report` count, of one scale (`full` before `reduced` before `smoke`, never
  mixed), and for timing runs of one machine: the device and thread count with the most rows.
* Methods are compared repetition by repetition, step times round by round: both are paired by design.
* A diverged run has no final metric and never reaches a loss. It is counted in the measurement, and it makes
  a mean undefined (NaN within unbounded bounds) rather than a mean over the survivors.
* Nothing was run: `repro.results.EmptySelectionError`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from repro import stats
from repro.results import EmptySelectionError, Results, select
from repro.stats import Interval

SCALES = ("full", "reduced", "smoke")
"""In order of preference."""

FORWARD_GRADIENT = "forward gradient"
BACKPROPAGATION = "backpropagation"

Vector = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A number with what stands behind it.

    Attributes:
        interval: The estimate and its bounds; a NaN estimate is a number that does not exist.
        keys: Keys of the runs that gave it, sorted.
        scale: The one scale of those runs.
        procedure: What the estimate and its interval are, in words for a label.
        diverged: How many of the runs diverged.
        missed: How many repetitions never reached the level that was asked for.
        device: Of the timing runs, where there are any.
    """

    interval: Interval
    keys: tuple[str, ...]
    scale: str
    procedure: str
    diverged: int = 0
    missed: int = 0
    device: str = ""


def best_scale(runs: pd.DataFrame, experiment: str, study: str | None = None) -> str:
    """Return the scale at which an experiment is shown: the largest that has reported rows.

    Args:
        runs: A runs table.
        experiment: Name of the experiment.
        study: Name of the study; needed where two studies have an experiment of that name.

    Returns:
        `full`, `reduced` or `smoke`.

    Raises:
        EmptySelectionError: If the experiment was not run.
        ValueError: If the name is that of experiments of several studies.
    """
    scales = set(_of_experiment(runs, experiment, study)["scale"])
    return next(scale for scale in SCALES if scale in scales)


def report_runs(
    results: Results,
    experiment: str,
    methods: Iterable[str] = (),
    *,
    study: str | None = None,
) -> pd.DataFrame:
    """Return the reported runs of an experiment at its best scale, timing runs of one machine only.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        methods: Methods to keep; none means all. Each must have rows.
        study: See `best_scale`.

    Returns:
        Rows of the runs table, diverged ones among them.

    Raises:
        EmptySelectionError: If the experiment, or one of the methods, was not run.
    """
    rows = _of_experiment(results.runs, experiment, study)
    rows = rows[rows["scale"] == best_scale(rows, experiment)]
    timing = rows["task"] == "timing"
    if timing.any():
        machines = rows[timing].groupby(["device", "num_threads"]).size()
        device, threads = machines.sort_values(ascending=False, kind="stable").index[0]
        rows = rows[~timing | ((rows["device"] == device) & (rows["num_threads"] == threads))]
    wanted = tuple(methods)
    for method in wanted:
        if method not in set(rows["method"]):
            raise EmptySelectionError(
                f"Experiment {experiment!r} has no run of {method!r} at scale "
                f"{rows['scale'].iloc[0]!r}. Run what is missing."
            )
    if wanted:
        rows = rows[rows["method"].isin(wanted)]
    return rows.sort_values(["method", "repetition", "key"], ignore_index=True)


def curve_rows(
    results: Results, runs: pd.DataFrame, metric: str, split: str | None = None
) -> pd.DataFrame:
    """Return the points of one metric for some runs.

    Args:
        results: The tables.
        runs: Rows of the runs table.
        metric: Name of the metric.
        split: Name of the split; left out, the first of validation, none and train that has it.

    Returns:
        Columns key, method, repetition, step, epoch, value; sorted by all but the last two.

    Raises:
        EmptySelectionError: If none of the runs recorded the metric.
    """
    points = results.curves
    points = points[(points["metric"] == metric) & points["key"].isin(set(runs["key"]))]
    splits = set(points["split"])
    chosen = split or next((s for s in ("validation", "none", "train") if s in splits), "")
    points = points[points["split"] == chosen]
    if points.empty:
        raise EmptySelectionError(f"None of the {len(runs)} runs recorded the metric {metric!r}.")
    names = runs[["key", "method", "repetition"]]
    merged = points[["key", "step", "epoch", "value"]].merge(
        names, on="key", validate="many_to_one"
    )
    columns = ["key", "method", "repetition", "step", "epoch", "value"]
    return merged[columns].sort_values(["method", "repetition", "key", "step"], ignore_index=True)


def final_metric(
    results: Results, experiment: str, method: str, metric: str, *, study: str | None = None
) -> Measurement:
    """Return the mean of a metric at the end of the runs, over repetitions.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        method: Name of the method.
        metric: A numeric column of the runs table, e.g. `validation_loss`, `peak_bytes`.
        study: See `best_scale`.

    Returns:
        Mean and 95 % t interval; NaN as soon as one run diverged (`score` is finite even then).

    Raises:
        EmptySelectionError: If the method was not run.
    """
    rows = report_runs(results, experiment, [method], study=study)
    return _measurement(rows, _mean(_column(rows, metric)), "mean, 95 % t interval")


def paired_difference(
    results: Results, experiment: str, metric: str, a: str, b: str, *, study: str | None = None
) -> Measurement:
    """Return the mean of `a - b` in a final metric over the repetitions that both methods have.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        metric: A numeric column of the runs table.
        a: Name of the first method.
        b: Name of the method to subtract.
        study: See `best_scale`.

    Returns:
        Mean and 95 % paired-t interval; NaN as soon as one of the runs diverged.

    Raises:
        EmptySelectionError: If a method was not run, or they share no repetition.
    """
    rows, first, second = _pairs(results, experiment, metric, a, b, study)
    return _measurement(rows, _mean(first - second), "mean difference, 95 % paired-t interval")


def paired_ratio(
    results: Results, experiment: str, metric: str, a: str, b: str, *, study: str | None = None
) -> Measurement:
    """Return the ratio `a / b` of a positive final metric, e.g. `peak_bytes`, over paired repetitions.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        metric: A numeric column of the runs table.
        a: Name of the first method.
        b: Name of the method to divide by.
        study: See `best_scale`.

    Returns:
        Ratio of geometric means and its 95 % paired-t interval on logarithms; NaN within (0, inf) as
        soon as one of the runs diverged.

    Raises:
        EmptySelectionError: If a method was not run, or they share no repetition.
    """
    rows, first, second = _pairs(results, experiment, metric, a, b, study)
    known = np.isfinite(first).all() and np.isfinite(second).all()
    interval = stats.ratio_interval(first, second) if known else _unknown(first.size, low=0.0)
    return _measurement(rows, interval, "geometric mean of ratios, 95 % paired-t interval")


def curve_at(
    results: Results,
    experiment: str,
    method: str,
    metric: str,
    step: int,
    *,
    split: str | None = None,
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
        study: See `best_scale`.

    Returns:
        Mean and 95 % t interval; NaN as soon as one run has no finite value there (it diverged before).

    Raises:
        EmptySelectionError: If the method was not run, or no run recorded that step.
    """
    rows = report_runs(results, experiment, [method], study=study)
    points = curve_rows(results, rows, metric, split)
    values = points[points["step"] == step].set_index("key")["value"].reindex(rows["key"])
    if values.isna().all():
        last = int(points["step"].max())
        raise EmptySelectionError(
            f"Experiment {experiment!r}, {method}: {metric!r} was not recorded at step {step} "
            f"(last recorded step: {last})."
        )
    return _measurement(rows, _mean(values.to_numpy(np.float64)), "mean, 95 % t interval")


def diverged_share(
    results: Results, experiment: str, method: str, *, study: str | None = None
) -> Measurement:
    """Return the fraction of a method's runs that diverged.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        method: Name of the method.
        study: See `best_scale`.

    Returns:
        Fraction and its 95 % Clopper-Pearson interval.

    Raises:
        EmptySelectionError: If the method was not run.
    """
    rows = report_runs(results, experiment, [method], study=study)
    interval = stats.binomial_interval(int((rows["status"] == "diverged").sum()), len(rows))
    return _measurement(rows, interval, "fraction, 95 % Clopper-Pearson interval")


# --- Cost of a step ---------------------------------------------------------------------------------------


def paired_step_times(
    results: Results, experiment: str, a: str, b: str, *, study: str | None = None
) -> tuple[pd.DataFrame, Vector]:
    """Return, round by round, the time of a step of `a` divided by that of `b`.

    The methods of a timing experiment are timed in turn, so that a round's two times belong together.

    Args:
        results: The tables.
        experiment: Name of the timing experiment.
        a: Method in the numerator.
        b: Method in the denominator.
        study: See `best_scale`.

    Returns:
        The runs behind it, and the ratios in order of repetition and round.

    Raises:
        EmptySelectionError: If a method was not timed, or they share no round.
    """
    rows = report_runs(results, experiment, [a, b], study=study)
    points = curve_rows(results, rows, "step_seconds", "none")
    first, second = (points[points["method"] == name] for name in (a, b))
    both = first.merge(second, on=["repetition", "step"], suffixes=("_a", "_b"))
    if both.empty:
        raise EmptySelectionError(f"Experiment {experiment!r}: {a} and {b} share no timed round.")
    both = both.sort_values(["repetition", "step"])
    return rows, (both["value_a"] / both["value_b"]).to_numpy(np.float64)


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

    Baydin's R_f, R_b are this with the denominator `function alone`. The interval speaks of rounds of this
    machine in this session: it holds no doubt about other machines, and rounds are not quite independent.

    Args:
        results: The tables.
        experiment: Name of the timing experiment.
        numerator: Name of a method.
        denominator: Name of a method.
        confidence: Within (0, 1).
        study: See `best_scale`.

    Returns:
        Median of the paired per-round ratios and its distribution-free interval, `(0, inf)` below six
        rounds; `num` counts rounds.

    Raises:
        EmptySelectionError: If a method was not timed.
    """
    rows, ratios = paired_step_times(results, experiment, numerator, denominator, study=study)
    interval = stats.median_interval(ratios, confidence)
    positive = dataclasses.replace(interval, low=max(interval.low, 0.0))
    return _measurement(rows, positive, "median of paired rounds, distribution-free interval")


def step_seconds(
    results: Results, experiment: str, method: str, *, study: str | None = None
) -> Measurement:
    """Return the median seconds of a method's step, which turns iterations into time.

    Args:
        results: The tables.
        experiment: Name of the timing experiment.
        method: Name of the method.
        study: See `best_scale`.

    Returns:
        Median over rounds and its distribution-free 95 % interval.

    Raises:
        EmptySelectionError: If the method was not timed.
    """
    rows = report_runs(results, experiment, [method], study=study)
    seconds = curve_rows(results, rows, "step_seconds", "none")["value"].to_numpy(np.float64)
    interval = stats.median_interval(seconds)
    positive = dataclasses.replace(interval, low=max(interval.low, 0.0))
    return _measurement(rows, positive, "median of rounds, distribution-free 95 % interval")


# --- Time to a loss ---------------------------------------------------------------------------------------


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

    Per repetition: the level is the baseline's lowest recorded validation loss, its iterations are the step
    where it was recorded, those of the method the first crossing of that level (straight between
    evaluations). What becomes of repetitions in which the method never gets there:

    * all get there: ratio of geometric means with a paired-t interval on logarithms;
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
        metric: Name of a metric in the curves table for which less is better.
        split: See `curve_rows`.
        confidence: Within (0, 1).
        study: See `best_scale`.

    Returns:
        The ratio; `num` counts repetitions, `missed` those that never reached the level.

    Raises:
        EmptySelectionError: If a method was not run, or they share no repetition.
    """
    rows = report_runs(results, experiment, [method, baseline], study=study)
    rows = _shared_repetitions(rows, experiment)
    points = curve_rows(results, rows, metric, split)
    curves = {
        name: dict(list(part.groupby("repetition"))) for name, part in points.groupby("method")
    }
    diverged = set(rows[(rows["method"] == method) & (rows["status"] == "diverged")]["repetition"])
    reached: list[float] = []
    bounds: list[float] = []
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
        crossing = stats.first_crossing(ours["step"], ours["value"], float(losses[best]))
        budget = math.inf if repetition in diverged else float(ours["step"].max())
        reached.append(math.inf if math.isnan(crossing) else crossing)
        bounds.append(budget if math.isnan(crossing) else crossing)
    missed = sum(math.isinf(steps) for steps in reached)
    if min(base) <= 0:
        interval = _unknown(len(base), low=0.0)
    elif missed:
        ratios = np.array(reached) / np.array(base)
        interval = Interval(
            float(np.median(ratios)),
            float((np.array(bounds) / np.array(base)).min()),
            math.inf,
            len(base),
            1.0 - 0.5 ** len(base),
        )
    elif min(reached) <= 0:  # the start is already as good: no logarithm
        interval = _unknown(len(base), low=0.0)
    else:
        interval = stats.ratio_interval(reached, base, confidence)
    procedure = (
        "median, repetitions that never got there as infinite"
        if missed
        else "geometric mean of paired repetitions, t interval on logarithms"
    )
    return _measurement(rows, interval, procedure, missed)


def time_to_loss_ratio(
    results: Results,
    experiment: str,
    run_time_experiment: str,
    *,
    method: str = FORWARD_GRADIENT,
    baseline: str = BACKPROPAGATION,
    metric: str = "loss",
    split: str | None = None,
    study: str | None = None,
) -> Measurement:
    """Return T_f/T_b: the time `method` takes to the baseline's lowest validation loss, over the baseline's.

    The product of `steps_to_loss_ratio` and `step_time_ratio`, whose two sources of doubt are independent:
    each interval is taken at 97.5 %, so that the product of their bounds holds with 95 % (Bonferroni).
    Evaluation takes no part in the time.

    Args:
        results: The tables.
        experiment: Name of the training experiment.
        run_time_experiment: Name of the timing experiment on the same problem.
        method: The method that has to reach the level.
        baseline: The method that sets the level.
        metric: See `steps_to_loss_ratio`.
        split: See `curve_rows`.
        study: See `best_scale`.

    Returns:
        The ratio, infinite or NaN where that of the iterations is; its keys are those of both experiments,
        its scale the smaller of the two.

    Raises:
        EmptySelectionError: If either experiment was not run.
    """
    each = 0.975
    iterations = steps_to_loss_ratio(
        results,
        experiment,
        method=method,
        baseline=baseline,
        metric=metric,
        split=split,
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
        max(0.5, factor.confidence + cost.confidence - 1.0),
    )
    return Measurement(
        interval,
        tuple(sorted({*iterations.keys, *time.keys})),
        max(iterations.scale, time.scale, key=SCALES.index),
        f"iterations ({iterations.procedure}) times step time (median of rounds), joint interval",
        iterations.diverged,
        iterations.missed,
        time.device,
    )


# --- Shared parts -----------------------------------------------------------------------------------------


def _of_experiment(runs: pd.DataFrame, experiment: str, study: str | None) -> pd.DataFrame:
    conditions = {"experiment": experiment, "role": "report"}
    rows = select(runs, **conditions, **({} if study is None else {"study": study}))
    if len(studies := sorted(set(rows["study"]))) > 1:
        raise ValueError(
            f"Experiment {experiment!r} exists in several studies: {', '.join(studies)}. Name one."
        )
    return rows


def _shared_repetitions(rows: pd.DataFrame, experiment: str) -> pd.DataFrame:
    counts = rows.groupby("repetition")["method"].nunique()
    shared = set(counts.index[counts == rows["method"].nunique()])
    if not shared:
        raise EmptySelectionError(
            f"Experiment {experiment!r}: the methods share no repetition yet."
        )
    return rows[rows["repetition"].isin(shared)].reset_index(drop=True)


def _pairs(
    results: Results, experiment: str, metric: str, a: str, b: str, study: str | None
) -> tuple[pd.DataFrame, Vector, Vector]:
    rows = _shared_repetitions(report_runs(results, experiment, [a, b], study=study), experiment)
    first, second = (rows[rows["method"] == name].reset_index(drop=True) for name in (a, b))
    return rows, _column(first, metric), _column(second, metric)


def _column(rows: pd.DataFrame, metric: str) -> Vector:
    if metric not in rows.columns or not pd.api.types.is_numeric_dtype(rows[metric]):
        numeric = rows.select_dtypes("number").columns
        raise ValueError(f"Unknown metric {metric!r}. Choose from: {', '.join(numeric)}.")
    values: Vector = rows[metric].to_numpy(np.float64)
    if np.isnan(values).all() and not (rows["status"] == "diverged").any():
        raise EmptySelectionError(f"None of the {len(rows)} runs measured {metric!r}.")
    return values


def _mean(values: Vector) -> Interval:
    return stats.mean_interval(values) if np.isfinite(values).all() else _unknown(values.size)


def _unknown(num: int, low: float = -math.inf) -> Interval:
    return Interval(math.nan, low, math.inf, num, 1.0)


def _measurement(
    rows: pd.DataFrame, interval: Interval, procedure: str, missed: int = 0
) -> Measurement:
    timing = rows["task"] == "timing"
    return Measurement(
        interval,
        tuple(sorted(rows["key"])),
        str(rows["scale"].iloc[0]),
        procedure,
        int((rows["status"] == "diverged").sum()),
        missed,
        str(rows["device"][timing].iloc[0]) if timing.any() else "",
    )


# --- Moments of an estimator ------------------------------------------------------------------------------


def mean_square_error(
    results: Results, experiment: str, method: str, *, dimension: int, study: str | None = None
) -> Measurement:
    """Return the squared relative error of the mean of `N` forward gradients, times `N / (d + 1)`.

    For one normal tangent its expectation is 1 for every `N`: the mean is unbiased, and its error falls as
    `sqrt((d + 1) / N)`. Taken at the largest `N` drawn.

    Args:
        results: The tables.
        experiment: Name of a sampling experiment.
        method: Name of the method.
        dimension: `d`, the number of parameters.
        study: See `best_scale`.

    Returns:
        Mean over repetitions and 95 % t interval.

    Raises:
        EmptySelectionError: If nothing was drawn.
    """
    rows = report_runs(results, experiment, [method], study=study)
    points = curve_rows(results, rows, "relative_error", "none")
    last = points[points["step"] == points["step"].max()]
    scaled = last["value"].to_numpy(np.float64) ** 2 * last["step"].to_numpy() / (dimension + 1)
    return _measurement(rows, _mean(scaled), "mean over repetitions, 95 % t interval")


def estimate_ratio(
    results: Results,
    experiment: str,
    method: str,
    *,
    moment: str,
    component: int,
    study: str | None = None,
) -> Measurement:
    """Return a sample moment of a component of the forward gradient over what theory says it is.

    Args:
        results: The tables.
        experiment: Name of a sampling experiment of a two-dimensional problem.
        method: Name of the method.
        moment: `mean`, whose theory is the gradient's component, or `variance`, whose theory for normal
            tangents is `|nabla f|^2 + (d_i f)^2`.
        component: `i`, 0 or 1.
        study: See `best_scale`.

    Returns:
        Mean over repetitions and 95 % t interval, at the largest number of draws.

    Raises:
        EmptySelectionError: If nothing was drawn.
    """
    rows = report_runs(results, experiment, [method], study=study)
    points = curve_rows(results, rows, f"{moment}_{component}", "none")
    last = points[points["step"] == points["step"].max()]["value"].to_numpy(np.float64)
    exact = [
        float(curve_rows(results, rows, f"gradient_{index}", "none")["value"].iloc[0])
        for index in range(2)
    ]
    theory = exact[component]
    if moment == "variance":
        theory = exact[0] ** 2 + exact[1] ** 2 + exact[component] ** 2
    return _measurement(rows, _mean(last / theory), "mean over repetitions, 95 % t interval")

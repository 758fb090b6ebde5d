"""Which rows count for a measure, and a number that remembers the rows behind it."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from repro import stats
from repro.protocol import SCALES
from repro.results import EmptySelectionError, Results
from repro.stats import Interval

LARGEST_FIRST: tuple[str, ...] = tuple(reversed(SCALES))
"""Scales in order of preference."""
CLOCKS = ("seconds", "wall_seconds", "processor_seconds")
"""Columns that price runs, and say nothing of a method."""
SHOWN_BY = ("scale", "experiment", "method", "repetition")
"""Columns that `scale_shown` looks at."""

FORWARD_GRADIENT = "forward gradient"
BACKPROPAGATION = "backpropagation"

Vector = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A number, and the runs behind it.

    Attributes:
        interval: The estimate and its bounds; the estimate is NaN if the number does not exist.
        keys: Keys of the runs that gave it, sorted.
        scale: The one scale of those runs.
        procedure: What the estimate and its interval are, in words for a label.
        diverged: How many of the runs diverged.
        missed: How many repetitions never reached the level that was asked for.
        device: Device of the timing runs, if there are any.
    """

    interval: Interval
    keys: tuple[str, ...]
    scale: str
    procedure: str
    diverged: int = 0
    missed: int = 0
    device: str = ""


def report_runs(
    results: Results,
    experiment: str,
    methods: Iterable[str] = (),
    *,
    study: str | None = None,
    beside: Iterable[str] = (),
) -> pd.DataFrame:
    """Return the reported runs of an experiment at the scale that is shown, timing runs of one machine only.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        methods: Methods to keep; none means all. Each must have rows.
        study: Name of the study; needed if two studies have an experiment of that name.
        beside: Experiments that it is compared with, and that share its scale: a rate searched for a long run is not one
            for a short run. Those that were not run have no say.

    Returns:
        Rows of the runs table, diverged ones among them.

    Raises:
        EmptySelectionError: If the experiment, or one of the methods, was not run.
    """
    wanted, others = tuple(methods), tuple(sorted({*beside} - {experiment}))
    return results.memory.recall(
        ("report runs", experiment, wanted, study, others),
        lambda: _report_runs(results, experiment, wanted, study, others),
    )


def _report_runs(
    results: Results,
    experiment: str,
    wanted: tuple[str, ...],
    study: str | None,
    others: tuple[str, ...],
) -> pd.DataFrame:
    places = _reported(results, experiment, study)
    studies = {other: results.reported.get(other, {}) for other in others}
    run = [other for other in others if (study in studies[other] if study else studies[other])]
    together = np.concatenate([places, *(_reported(results, other, study) for other in run)])
    # looking at single columns, and taking rows once: rows have many columns, and selections are small
    scales = results.runs["scale"].to_numpy()
    scale = scale_shown(
        pd.DataFrame({name: results.runs[name].to_numpy()[together] for name in SHOWN_BY})
    )
    places = places[scales[places] == scale]
    if not places.size:
        raise EmptySelectionError(
            f"Experiment {experiment!r} is compared at one scale with {', '.join(run)}, and was not run at {scale!r}. "
            "Run what is missing."
        )
    timing = results.runs["task"].to_numpy()[places] == "timing"
    if timing.any():
        columns = (results.runs[name].to_numpy()[places] for name in ("device", "num_threads"))
        machines = list(zip(*columns, strict=True))
        sizes = Counter(m for m, timed in zip(machines, timing, strict=True) if timed)
        most = min(sizes, key=lambda machine: (-sizes[machine], machine))
        places = places[~timing | np.array([machine == most for machine in machines])]
    methods = results.runs["method"].to_numpy()
    for method in wanted:
        if method not in methods[places]:
            raise EmptySelectionError(
                f"Experiment {experiment!r} has no run of {method!r} at scale {scale!r}. Run what is missing."
            )
    order = list(zip(
        methods[places], results.runs["repetition"].to_numpy()[places],
        results.runs["key"].to_numpy()[places], places, strict=True,
    ))  # fmt: skip
    chosen = [place for method, *_, place in sorted(order) if not wanted or method in wanted]
    return results.runs.take(chosen).reset_index(drop=True)


def runs_at_one_setting(
    results: Results,
    experiment: str,
    methods: Iterable[str] = (),
    *,
    study: str | None = None,
    beside: Iterable[str] = (),
) -> pd.DataFrame:
    """Return `report_runs` that are repetitions of one another, as a mean over them takes for granted.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        methods: See `report_runs`.
        study: See `report_runs`.
        beside: See `report_runs`.

    Returns:
        Rows of the runs table.

    Raises:
        EmptySelectionError: As `report_runs`, and if the experiment gives a method several settings.
    """
    rows = report_runs(results, experiment, methods, study=study, beside=beside)
    if rows.duplicated(["method", "repetition"]).any():
        raise EmptySelectionError(
            f"Experiment {experiment!r} was run at several settings, and repetitions are taken together at one."
        )
    return rows


def scale_shown(rows: pd.DataFrame) -> str:
    """Return the largest scale at which the comparison is told, so that a smaller one stays while a larger is being run.

    It is told where all methods have two repetitions, the least that has an interval, or as many as at any scale. Smoke
    scale exercises the wiring, and is shown only where there is nothing else.

    Args:
        rows: Reported rows of one experiment, or of several that are shown together; not empty.

    Returns:
        The scale; if no scale has all of the methods, the largest.
    """
    present = set(rows["scale"])
    scales = [each for each in LARGEST_FIRST if each in present - {"smoke"}] or ["smoke"]
    if len(scales) == 1:
        return scales[0]
    runs = rows.loc[rows["scale"].isin(scales), list(SHOWN_BY)].drop_duplicates()
    counts = runs.groupby(["experiment", "method", "scale"]).size().unstack(fill_value=0)
    enough = counts.ge(counts.max(axis=1).clip(upper=2), axis=0).all()
    return next((each for each in scales if enough[each]), scales[0])


def curve_rows(
    results: Results, runs: pd.DataFrame, metric: str, split: str | None = None
) -> pd.DataFrame:
    """Return the points of one metric for some runs.

    Args:
        results: The tables.
        runs: Rows of the runs table.
        metric: Name of the metric.
        split: Name of the split; by default the first of validation, none and train that has the metric.

    Returns:
        Columns key, method, repetition, step, epoch, value; sorted by all but the last two.

    Raises:
        EmptySelectionError: If none of the runs recorded the metric.
    """
    asked = ("curve rows", tuple(runs["key"]), tuple(runs["method"]), metric, split)
    return results.memory.recall(asked, lambda: _curve_rows(results, runs, metric, split))


def _curve_rows(
    results: Results, runs: pd.DataFrame, metric: str, split: str | None
) -> pd.DataFrame:
    names = ("method", "repetition", "key")
    ranked = sorted(zip(*(runs[name].to_numpy() for name in names), strict=True))
    places = [results.places.get(key, _NOWHERE) for _, _, key in ranked]
    owner = np.repeat(np.arange(len(ranked)), [len(each) for each in places])
    where = np.concatenate([_NOWHERE, *places])
    metrics, splits = results.words["metric"], results.words["split"]
    kept = _is(metrics, metric, where)
    present = set(splits.categories[np.unique(splits.codes[where[kept]])])
    chosen = split or next((s for s in ("validation", "none", "train") if s in present), "")
    kept &= _is(splits, chosen, where)
    if not kept.any():
        raise EmptySelectionError(f"None of the {len(runs)} runs recorded the metric {metric!r}.")
    owner, where = owner[kept], where[kept]
    steps = results.curves["step"].to_numpy()[where]
    order = np.lexsort((steps, owner))
    owner, where = owner[order], where[order]
    methods, repetitions, keys = (np.array(c, object)[owner] for c in zip(*ranked, strict=True))
    return pd.DataFrame(
        {
            "key": keys,
            "method": methods,
            "repetition": repetitions.astype(np.int64),
            "step": steps[order],
            "epoch": results.curves["epoch"].to_numpy()[where],
            "value": results.curves["value"].to_numpy()[where],
        }
    )


_NOWHERE = np.empty(0, dtype=np.intp)


def _is(words: pd.Categorical, word: str, where: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    codes = {known: code for code, known in enumerate(words.categories)}
    same: npt.NDArray[np.bool_] = words.codes[where] == codes.get(word, len(codes))
    return same


def curve_table(
    results: Results, experiment: str, metric: str, study: str | None = None
) -> pd.DataFrame:
    """Return the means over repetitions of a metric recorded outside every split, one column per method.

    Args:
        results: The tables.
        experiment: Name of the experiment.
        metric: Name of the metric.
        study: See `report_runs`.

    Returns:
        Means, with the steps as index.

    Raises:
        EmptySelectionError: If the experiment was not run, or none of its runs recorded the metric.
    """

    def select() -> pd.DataFrame:
        points = curve_rows(results, report_runs(results, experiment, study=study), metric, "none")
        return points.pivot_table(index="step", columns="method", values="value")

    return results.memory.recall(("curve table", experiment, metric, study), select)


def _reported(results: Results, experiment: str, study: str | None) -> npt.NDArray[np.intp]:
    """Return the places of the reported rows of an experiment, at every scale."""
    studies = results.reported.get(experiment, {})
    if not studies or (study is not None and study not in studies):
        raise EmptySelectionError(f"Experiment {experiment!r} was not run. Run what is missing.")
    if study is None and len(studies) > 1:
        raise ValueError(
            f"Experiment {experiment!r} exists in several studies: {', '.join(sorted(studies))}. "
            "Name one."
        )
    return studies[study or next(iter(studies))]


def shared_repetitions(rows: pd.DataFrame, experiment: str) -> pd.DataFrame:
    """Return the rows of the repetitions that every method has, as comparisons are paired.

    Args:
        rows: Rows of the runs table.
        experiment: Name of the experiment, for the message.

    Returns:
        The rows kept.

    Raises:
        EmptySelectionError: If the methods share no repetition.
    """
    by_method: dict[str, set[int]] = {}
    for method, repetition in zip(rows["method"], rows["repetition"], strict=True):
        by_method.setdefault(str(method), set()).add(int(repetition))
    shared = set.intersection(*by_method.values())
    if not shared:
        raise EmptySelectionError(
            f"Experiment {experiment!r}: the methods share no repetition yet."
        )
    return rows[rows["repetition"].isin(shared)].reset_index(drop=True)


def pairs(
    results: Results,
    experiment: str,
    metric: str,
    a: str,
    b: str,
    study: str | None,
    beside: Iterable[str] = (),
) -> tuple[pd.DataFrame, Vector, Vector]:
    """Return the rows of two methods and their final metrics, repetition by repetition."""
    rows = shared_repetitions(
        runs_at_one_setting(results, experiment, [a, b], study=study, beside=beside), experiment
    )
    first, second = (rows[rows["method"] == name].reset_index(drop=True) for name in (a, b))
    return rows, column(first, metric), column(second, metric)


def column(rows: pd.DataFrame, metric: str) -> Vector:
    """Return the values of a numeric column.

    Args:
        rows: Rows of the runs table.
        metric: Name of the column.

    Returns:
        One value per row; NaN for a diverged run.

    Raises:
        ValueError: If there is no such numeric column, or if it is the time that a run took.
        EmptySelectionError: If no run measured it.
    """
    if metric in CLOCKS:
        raise ValueError(
            f"{metric!r} is no metric: runs that train together share it, and it grows with what else their machine does. Time "
            "steps in a timing experiment and compare them by `step_time_ratio`, or losses at equal seconds by "
            "`paired_difference_at_equal`."
        )
    if metric not in rows.columns or not pd.api.types.is_numeric_dtype(rows[metric]):
        numeric = rows.select_dtypes("number").columns.drop(list(CLOCKS), errors="ignore")
        raise ValueError(f"Unknown metric {metric!r}. Choose from: {', '.join(numeric)}.")
    values: Vector = rows[metric].to_numpy(np.float64)
    if np.isnan(values).all() and not (rows["status"] == "diverged").any():
        raise EmptySelectionError(f"None of the {len(rows)} runs measured {metric!r}.")
    return values


def mean(values: Vector, confidence: float = 0.95) -> Interval:
    """Return the mean with its t interval; it is undefined as soon as one value is missing."""
    if not np.isfinite(values).all():
        return unknown(values.size)
    return stats.mean_interval(values, confidence)


def percent(confidence: float) -> str:
    """Return a confidence in words, such as `95 %`, for what a measurement says of its interval."""
    return f"{100 * confidence:.4g} %"


def unknown(num: int, low: float = -math.inf) -> Interval:
    """Return the interval of a number that does not exist, from `num` runs."""
    return Interval(math.nan, low, math.inf, num, 1.0)


def measurement(
    rows: pd.DataFrame, interval: Interval, procedure: str, missed: int = 0
) -> Measurement:
    """Return a measurement with the keys, scale, divergence and device of its rows."""
    timing = rows["task"] == "timing"
    return Measurement(
        interval,
        tuple(sorted(rows["key"])),
        str(rows["scale"].iloc[0]),
        procedure,
        int((rows["status"] == "diverged").sum()),
        missed,
        _machine(rows[timing].iloc[0]) if timing.any() else "",
    )


def summary(parts: list[pd.DataFrame], interval: Interval, procedure: str) -> Measurement:
    """Return one number from several experiments as a measurement, at the smallest of their scales."""
    rows = pd.concat(parts, ignore_index=True)
    scales = set(rows["scale"])
    smallest = next(scale for scale in SCALES if scale in scales)
    return measurement(rows.assign(scale=smallest), interval, procedure)


def _machine(row: pd.Series) -> str:
    # the threads matter where they do the arithmetic
    if '"device":"cpu"' not in row["spec"]:
        return str(row["device"])
    threads = int(row["num_threads"])
    return f"{row['device']}, {threads} thread{'' if threads == 1 else 's'}"

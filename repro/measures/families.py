"""Measures over a family of experiments: one number from the same comparison on many problems.

A family is named by the first words of its experiments, as on the command line: `approximation` for
`approximation-1`, `approximation-2`, ...
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from repro import stats
from repro.measures.rows import (
    Measurement,
    Vector,
    column,
    curve_table,
    mean,
    pairs,
    percent,
    report_runs,
    summary,
)
from repro.protocol import spread
from repro.results import EmptySelectionError, Results
from repro.stats import Interval

TIE = 1e-5
"""Largest difference of two final values, relative to the larger, that counts as none: rounding in float32."""


def members(results: Results, family: str, study: str | None) -> list[str]:
    """Return the experiments of a family that were run, sorted by name.

    Args:
        results: The tables.
        family: First words of their names, or one full name.
        study: Name of the study, or `None` for any.

    Returns:
        Names of experiments.

    Raises:
        EmptySelectionError: If none was run.
    """
    known = sorted(
        name for name, studies in results.reported.items() if study is None or study in studies
    )
    found = [name for name in spread(known, family) if name in known]
    if not found:
        raise EmptySelectionError(f"No experiment of the family {family!r} was run.")
    return found


def curve_extreme(
    results: Results,
    family: str,
    method: str,
    metric: str,
    *,
    extreme: str,
    minus: str = "",
    steps: str = "all",
    largest: int | None = None,
    study: str | None = None,
) -> Measurement:
    """Return the smallest or largest value of a curve over a family, at every recorded step.

    For experiments on approximation the steps are the numbers of tangents `k` and the dimension is `d`.

    Args:
        results: The tables.
        family: The experiments.
        method: Name of the method.
        metric: Name of the metric in the curves table.
        extreme: `min`, `max`, or `max_abs` for the largest absolute value.
        minus: Another method whose curve is subtracted, or `previous` for the rise from step to step.
        steps: `all`, `few` for 1 < k <= d, or `many` for k >= d.
        largest: Largest dimension that counts, for a metric that is not recorded in larger ones; all by default.
        study: See `report_runs`.

    Returns:
        The value, without an interval: it is one of the curves as they were recorded.

    Raises:
        EmptySelectionError: If nothing was run, or no step is left.
        ValueError: If a choice is unknown.
    """
    reductions: dict[str, Callable[[Vector], float]] = {
        "min": np.min,
        "max": np.max,
        "max_abs": lambda values: float(np.abs(values).max()),
    }
    if extreme not in reductions or steps not in ("all", "few", "many"):
        raise ValueError(
            f"`extreme` is one of {', '.join(reductions)}, `steps` of all, few, many. "
            f"Found {extreme!r} and {steps!r}."
        )
    parts, found = [], []
    for experiment in members(results, family, study):
        names = [method, *([minus] if minus not in ("", "previous") else [])]
        rows = report_runs(results, experiment, names, study=study)
        dimension = int(rows["num_parameters"].iloc[0])
        if largest is not None and dimension > largest:
            continue
        table = curve_table(results, experiment, metric, study)
        if absent := set(names) - set(table.columns):
            raise EmptySelectionError(
                f"{experiment}: {', '.join(sorted(absent))} recorded no {metric!r}."
            )
        values = table[method]
        if minus == "previous":
            values = values.diff().iloc[1:]
        elif minus:
            values = values - table[minus]
        kept = {
            "all": values.index > 0,
            "few": (values.index > 1) & (values.index <= dimension),
            "many": values.index >= dimension,
        }
        values = values[kept[steps]].dropna()
        if len(values):
            parts.append(rows)
            found.append(values.to_numpy(np.float64))
    if not found:
        raise EmptySelectionError(f"The family {family!r} recorded no such {metric!r}.")
    every = np.concatenate(found)
    value = float(reductions[extreme](every))
    return summary(parts, Interval(value, value, value, every.size, 1.0), f"{extreme} over steps")


def share_lower(
    results: Results,
    family: str,
    metric: str,
    a: str,
    b: str,
    *,
    ties: str = "left out",
    above: int = 0,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the share of a family's experiments in which `a` is lower than `b`.

    If all differences are rounding, as between runs that have converged, there is a tie: neither is lower. A test over
    repetitions (see `paired_p`) says what an experiment settles, with `confidence` for all together by Holm's rule.

    Args:
        results: The tables.
        family: The experiments.
        metric: A numeric column of the runs table, the lower the better.
        a: Name of the first method.
        b: Name of the second.
        ties: `left out`, so that the share is of experiments in which they differ, or `counted` as not lower.
        above: Dimension `n` that an experiment must exceed to count.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        The share by means. Its bounds are the share in which `a` is lower beyond doubt, and one minus the share in which
        it is not, beyond doubt. A run that diverged is above any that did not; an experiment in which all runs of both
        diverged is a tie that is not beyond doubt. NaN within 0 and 1 if nothing is left.

    Raises:
        EmptySelectionError: If nothing was run, or no dimension is left.
        ValueError: If `ties` is neither.
    """
    if ties not in ("left out", "counted"):
        raise ValueError(f"`ties` is one of left out, counted. Found {ties!r}.")
    parts, p_values, signs, untold = [], [], [], 0
    for experiment in members(results, family, study):
        rows, first, second = pairs(results, experiment, metric, a, b, study)
        if above and int(rows["num_parameters"].iloc[0]) <= above:
            continue
        parts.append(rows)
        p_value, sign = paired_p(first, second)
        if sign:
            p_values.append(p_value)
            signs.append(sign)
        elif ties == "counted" and np.isnan(first).all() and np.isnan(second).all():
            untold += 1  # no row tells which of two diverged methods is lower
    if not parts:
        raise EmptySelectionError(f"The family {family!r} has no dimension above {above}.")
    tied = len(parts) - len(signs)
    num = len(signs) + (tied if ties == "counted" else 0)
    procedure = (
        f"share of experiments, {tied} ties {ties}; tests over repetitions under Holm's rule"
    )
    if not num:
        return summary(parts, Interval(math.nan, 0.0, 1.0, len(parts), 1.0), procedure)
    settled, lower = stats.holm(p_values) < 1.0 - confidence, np.array(signs) < 0
    beyond_doubt, unsettled = int((settled & lower).sum()), int((~settled).sum()) + untold
    interval = Interval(
        int(lower.sum()) / num,
        beyond_doubt / num,
        (beyond_doubt + unsettled) / num,
        num,
        confidence,
    )
    return summary(parts, interval, procedure)


def paired_p(first: Vector, second: Vector) -> tuple[float, int]:
    """Return the p-value of a paired t test and the sign of the mean difference.

    If runs diverged there is no mean: the p-value is then that of a sign test, in which they are above all others.

    Args:
        first: Final values by repetition; NaN if a run diverged.
        second: As many final values of the other method.

    Returns:
        The p-value, 1 if all differences are rounding or there is only one; and -1 if the first is lower, 1 if it is
        higher, 0 for neither.
    """
    if np.isnan(first).any() or np.isnan(second).any():
        ranks = [np.where(np.isnan(values), np.inf, values) for values in (first, second)]
        higher, lower = int((ranks[0] > ranks[1]).sum()), int((ranks[0] < ranks[1]).sum())
        return stats.sign_p_value(lower, higher), int(np.sign(higher - lower))
    difference = first - second
    scale = max(np.abs(first).max(), np.abs(second).max())
    if np.abs(difference).max() <= TIE * scale:
        return 1.0, 0
    sign = int(np.sign(difference.mean()))
    return (stats.paired_p_value(first, second) if difference.size > 1 else 1.0), sign


def published_share(
    results: Results,
    family: str,
    *,
    setting: str,
    quantity: str,
    rtol: float,
    smallest: float,
    study: str | None = None,
) -> Measurement:
    """Return the share of published final values that the first repetition meets.

    The setting of a fact is the experiment's name without the family's, its method the run's.

    Args:
        results: The tables.
        family: The experiments.
        setting: First words of the facts' settings.
        quantity: Column `quantity` of the facts.
        rtol: Largest relative difference at which a value counts as met.
        smallest: A value counts as met if both magnitudes are below this.
        study: See `report_runs`.

    Returns:
        The share, without an interval: these are all published values. A diverged run meets none.

    Raises:
        EmptySelectionError: If nothing was run.
    """
    parts, met = [], []
    for rows, found, stated in published_pairs(results, family, quantity, study, setting):
        close = np.abs(found - stated) <= rtol * np.abs(stated)
        tiny = (np.abs(found) < smallest) & (np.abs(stated) < smallest)
        met.append(close | tiny)
        parts.append(rows)
    if not met:
        raise EmptySelectionError(f"No experiment named {family}-{setting}-... was run.")
    every = np.concatenate(met)
    share = float(every.mean())
    return summary(
        parts, Interval(share, share, share, every.size, 1.0), "share of published values"
    )


def published_pairs(
    results: Results, family: str, quantity: str, study: str | None, setting: str = ""
) -> Iterator[tuple[pd.DataFrame, Vector, Vector]]:
    """Yield, by experiment, the runs of repetition 0, their final values and the published ones.

    Args:
        results: The tables.
        family: The experiments.
        quantity: Column `quantity` of the facts.
        study: See `report_runs`.
        setting: First words of the facts' settings; all of them by default.

    Yields:
        Rows of the runs table, values and published values, row by row; methods without a fact left out.

    Raises:
        EmptySelectionError: If nothing was run.
    """
    facts = results.facts[results.facts["quantity"] == quantity]
    if study is not None:
        facts = facts[facts["study"] == study]
    begin = f"{family}-{setting}-" if setting else family
    for experiment in members(results, family, study):
        if not experiment.startswith(begin):
            continue
        stated = facts[facts["setting"] == experiment.removeprefix(f"{family}-")]
        values = stated.drop_duplicates("method").set_index("method")["value"]
        rows = report_runs(results, experiment, study=study)
        rows = rows[(rows["repetition"] == 0) & rows["method"].isin(values.index)]
        if len(rows):
            rows = rows.reset_index(drop=True)
            yield (
                rows,
                column(rows, "value"),
                values.reindex(rows["method"]).to_numpy(np.float64),
            )


def rate_ratio(
    results: Results,
    family: str,
    a: str,
    b: str,
    *,
    num_tangents: int,
    smallest: int,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the chosen learning rate of `a` over that of `b` times `n / k`, over a family's experiments.

    Args:
        results: The tables.
        family: Searched experiments on functions.
        a: Name of the first method.
        b: Name of the method whose rate is multiplied and divided by.
        num_tangents: `k` of both methods.
        smallest: Smallest dimension `n` that counts.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Geometric mean and the t interval of the mean logarithm.

    Raises:
        EmptySelectionError: If nothing was run.
    """
    parts, logarithms = [], []
    for experiment in members(results, family, study):
        rows = report_runs(results, experiment, [a, b], study=study)
        dimension = int(rows["num_parameters"].iloc[0])
        if dimension >= smallest:
            rates = rows.groupby("method")["learning_rate"].first()
            logarithms.append(math.log(rates[a] / rates[b] * num_tangents / dimension))
            parts.append(rows)
    if not logarithms:
        raise EmptySelectionError(f"The family {family!r} has no dimension of {smallest} or more.")
    interval = mean(np.array(logarithms), confidence)
    estimate, low, high = (math.exp(x) for x in (interval.estimate, interval.low, interval.high))
    ratio = Interval(estimate, low, high, interval.num, interval.confidence)
    words = f"geometric mean over experiments, {percent(confidence)} t interval of the logarithm"
    return summary(parts, ratio, words)


def tuning_seed_share(
    results: Results, family: str, metric: str, *, study: str | None = None
) -> Measurement:
    """Return how often the repetition that a search saw ends below the median of the others.

    If rates were tuned on one of the reported seeds, they favour it, and the share exceeds one half.

    Args:
        results: The tables.
        family: The experiments; in theirs, repetition 0 is the one that was tuned on.
        metric: A numeric column of the runs table, the lower the better.
        study: See `report_runs`.

    Returns:
        The share over experiments and methods whose repetitions differ. All of them share the repetitions' draws, so
        they are not independent: the bounds are the lowest and highest share that there would be if another
        repetition were the one that was tuned on.

    Raises:
        EmptySelectionError: If nothing was run, or no repetitions differ.
    """
    parts, below = [], []
    for experiment in members(results, family, study):
        rows = report_runs(results, experiment, study=study)
        parts.append(rows)
        for _, group in rows.groupby("method"):
            values = group.sort_values("repetition")[metric].to_numpy(np.float64)
            known = len(values) > 2 and np.isfinite(values).all()
            if known and np.ptp(values) > TIE * np.abs(values).max():
                below.append([v < np.median(np.delete(values, i)) for i, v in enumerate(values)])
    if not below:
        raise EmptySelectionError(f"No repetitions of the family {family!r} differ.")
    num = min(map(len, below))
    shares = np.mean([each[:num] for each in below], axis=0)
    interval = Interval(float(shares[0]), float(shares.min()), float(shares.max()), len(below), 1.0)
    return summary(parts, interval, "share of comparisons, range over the repetitions")

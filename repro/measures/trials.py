"""Measures of searches: the rates that they chose, and what their other trials show."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from repro.measures.rows import Measurement, measurement, report_runs
from repro.protocol import FINAL, mean_score
from repro.results import EmptySelectionError, Results, select
from repro.stats import Interval


def trial_scores(trials: pd.DataFrame) -> pd.Series:
    """Return the score of every trial of a method, as the search took it when it chose among them.

    Args:
        trials: Runs of the trials.

    Returns:
        Scores by the numbers of the trials, see `repro.protocol.mean_score`.
    """
    return trials.groupby("trial")["score"].agg(mean_score)


def first_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return runs without those that only the best trials of a search have, which were run again before one won.

    Args:
        runs: A runs table.

    Returns:
        The rows of all trials alike, and of reported runs.
    """
    return runs[runs["stage"] != FINAL]


def diverged_trials_difference(
    results: Results, experiment: str, a: str, b: str, *, study: str | None = None
) -> Measurement:
    """Return the share of a search's trials that diverged under `a`, minus that under `b`.

    Both methods share the trials that are spread evenly over the log range, so the share says how much of the
    range is lost to divergence. Each share is known to one trial and their difference to two, so the bounds are two
    trials either side.

    Args:
        results: The tables.
        experiment: Name of a searched experiment.
        a: Name of the first method.
        b: Name of the method to subtract.
        study: Name of the study, or `None` if only one has the experiment.

    Returns:
        The difference of the shares, in [-1, 1], and its bounds.

    Raises:
        EmptySelectionError: If a method has no reported runs, which follow the end of the search, no trials, or other
            trials than the other method.
    """
    # those beside a winner are not spread over the range
    first = report_runs(results, experiment, [a, b], study=study).iloc[0]
    rows = select(
        results.runs, study=first["study"], experiment=experiment, scale=first["scale"],
        role="tune", stage="",
    )  # fmt: skip
    shares, numbers = [], []
    for method in (a, b):
        lost = (
            select(rows, method=method)
            .groupby("trial")["status"]
            .agg(lambda s: "diverged" in set(s))
        )
        shares.append(float(lost.mean()))
        numbers.append(sorted(lost.index))
    if numbers[0] != numbers[1]:
        raise EmptySelectionError(
            f"Experiment {experiment!r}: its search has not ended, {a!r} has {len(numbers[0])} trials and "
            f"{b!r} {len(numbers[1])}. Run what is missing."
        )
    num = len(numbers[0])
    difference = shares[0] - shares[1]
    interval = Interval(difference, difference - 2 / num, difference + 2 / num, num, 1.0)
    kept = select(rows, method=[a, b])
    return measurement(kept, interval, "difference of shares, two trials either side")


def chosen_rate(
    results: Results, experiment: str, method: str, *, study: str | None = None
) -> Measurement:
    """Return the learning rate that a search chose for a method.

    One search chooses one rate, however often it is then reported. It resolves no less than the distance to the next
    trials, so the bounds are the rates of the trials below and above the chosen one.

    Args:
        results: The tables.
        experiment: Name of a searched experiment.
        method: Name of the method.
        study: See `report_runs`.

    Returns:
        The rate and its bounds; `num` counts trials. Beyond the smallest or the largest rate tried, 0 and infinity.

    Raises:
        EmptySelectionError: If the method was not searched and reported.
    """
    rows, interval = _chosen(results, experiment, method, study)
    return measurement(rows, interval, "the chosen rate, from the trial below to the one above")


def chosen_rate_ratio(
    results: Results, experiment: str, a: str, b: str, *, study: str | None = None
) -> Measurement:
    """Return the learning rate that a search chose for `a` over that for `b`, see `chosen_rate`.

    Args:
        results: The tables.
        experiment: Name of a searched experiment.
        a: Name of the first method.
        b: Name of the method to divide by.
        study: See `report_runs`.

    Returns:
        The ratio and its bounds; `num` counts trials of each.

    Raises:
        EmptySelectionError: If a method was not searched and reported.
    """
    return _ratio(
        _chosen(results, experiment, a, study),
        _chosen(results, experiment, b, study),
        "the chosen rates, from the trials below to those above",
    )


def usable_rate_ratio(
    results: Results, experiment: str, a: str, b: str, *, limit: float, study: str | None = None
) -> Measurement:
    """Return the largest learning rate of a search at which `a` learns, over that of `b`.

    A rate counts if its trial ends below a limit, such as the loss of guessing; which of those rates is the best
    does not matter here, nor how the best ones did when they were run again.

    Args:
        results: The tables.
        experiment: Name of a searched experiment.
        a: Name of the first method.
        b: Name of the method to divide by.
        limit: Score below which a trial counts as having learned.
        study: See `report_runs`.

    Returns:
        The ratio. A search resolves no less than the distance to the next larger rate tried, which bounds each of the
        two rates from above. `num` counts trials of each.

    Raises:
        EmptySelectionError: If a method was not searched and reported, or learned at no rate.
    """
    return _ratio(
        _usable(results, experiment, a, limit, study),
        _usable(results, experiment, b, limit, study),
        "the largest rates that learn, to the next larger tried",
    )


def _ratio(
    a: tuple[pd.DataFrame, Interval], b: tuple[pd.DataFrame, Interval], procedure: str
) -> Measurement:
    """Return the rate of one method over that of another, each with its rows, and the bounds of both."""
    (ours, above), (theirs, below) = a, b
    interval = Interval(
        above.estimate / below.estimate,
        above.low / below.high,
        above.high / below.low if below.low else math.inf,
        min(above.num, below.num),
        1.0,
    )
    return measurement(pd.concat([ours, theirs], ignore_index=True), interval, procedure)


def _usable(
    results: Results, experiment: str, method: str, limit: float, study: str | None
) -> tuple[pd.DataFrame, Interval]:
    trials = _trials(results, report_runs(results, experiment, [method], study=study))
    # a finalist was run more often than others, so more of its runs may have been lost
    trials = first_runs(trials)
    learns = (trials["status"] != "diverged") & (trials["score"] < limit)
    # one of its runs is enough to lose a trial
    by_rate = learns.groupby(trials["learning_rate"]).all()
    if not by_rate.any():
        raise EmptySelectionError(
            f"Experiment {experiment!r}: no trial of {method!r} ended below {limit:g}."
        )
    rate = float(by_rate.index[by_rate].max())
    larger = by_rate.index[by_rate.index > rate]
    high = float(larger.min()) if len(larger) else math.inf
    return trials, Interval(rate, rate, high, trials["trial"].nunique(), 1.0)


def _trials(results: Results, reported: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of the search that chose the setting of a method's reported runs."""
    first = reported.iloc[0]
    return select(
        results.runs, study=first["study"], experiment=first["experiment"], scale=first["scale"],
        method=first["method"], role="tune",
    )  # fmt: skip


def _chosen(
    results: Results, experiment: str, method: str, study: str | None
) -> tuple[pd.DataFrame, Interval]:
    reported = report_runs(results, experiment, [method], study=study)
    trials = _trials(results, reported)
    rate = float(reported.iloc[0]["learning_rate"])
    tried = np.unique(trials["learning_rate"])
    others = tried[~np.isclose(tried, rate, rtol=1e-9, atol=0.0)]
    lower, higher = others[others < rate], others[others > rate]
    interval = Interval(
        rate,
        float(lower.max()) if lower.size else 0.0,
        float(higher.min()) if higher.size else math.inf,
        trials["trial"].nunique(),
        1.0,
    )
    return reported, interval

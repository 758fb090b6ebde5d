"""Measures of how rates and budgets change final metrics: another experiment's, and rates beyond a limit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from repro.measures.rows import (
    Measurement,
    column,
    mean,
    percent,
    report_runs,
    runs_at_one_setting,
    summary,
)
from repro.results import EmptySelectionError, Results


def difference_between(
    results: Results,
    first: str,
    last: str,
    method: str,
    metric: str,
    *,
    last_method: str = "",
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return a method's final metric in one experiment minus that in another on the same problem, paired.

    Repetitions of one problem share start, split, data order and, for one method, tangents, whatever the experiment.
    What is left is what the experiments do differently, such as the rate or the number of steps.

    Args:
        results: The tables.
        first: Name of the experiment.
        last: Name of the experiment to subtract.
        method: Name of the method, in both.
        metric: A numeric column of the runs table.
        last_method: Name of the method in the experiment to subtract, if it is another.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean and paired-t interval; NaN as soon as one of the runs diverged.

    Raises:
        EmptySelectionError: If the method was not run in both, on one problem, at one scale and in a shared
            repetition.
    """
    sides = ((first, method), (last, last_method or method))
    parts = [
        runs_at_one_setting(results, name, [one], study=study, beside=(first, last))
        for name, one in sides
    ]
    found = [str(rows["problem"].iloc[0]) for rows in parts]
    if len(set(found)) > 1:
        raise EmptySelectionError(
            f"{first!r} and {last!r} are compared on one problem. Found {' and '.join(found)}."
        )
    shared = set(parts[0]["repetition"]) & set(parts[1]["repetition"])
    if not shared:
        named = " and ".join(repr(one) for one in dict.fromkeys((method, last_method or method)))
        raise EmptySelectionError(f"{first!r} and {last!r} share no repetition of {named}.")
    kept = [rows[rows["repetition"].isin(shared)] for rows in parts]
    ours, theirs = (column(rows, metric) for rows in kept)
    return summary(
        kept,
        mean(ours - theirs, confidence),
        f"mean difference, {percent(confidence)} paired-t interval",
    )


def change_beyond(
    results: Results,
    experiment: str,
    method: str,
    metric: str,
    *,
    by: str,
    limit: float,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return a final metric at the best rate beyond a limit minus that at the best rate up to it, paired.

    The best rate on either side is the one with the lowest mean of `by`; a rate with diverged runs comes last. It is
    chosen for every repetition by the other ones alone. If a run's own luck took part in the choice, the side with more
    rates would look better than it is.

    Args:
        results: The tables.
        experiment: Name of an experiment that runs the method at several rates.
        method: Name of the method.
        metric: A numeric column of the runs table.
        by: The column by which a rate is chosen; smaller is better.
        limit: Highest learning rate of the lower side.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean and paired-t interval; NaN if a chosen run diverged.

    Raises:
        EmptySelectionError: If the method was not run on both sides, or in fewer than two repetitions that all rates
            have.
    """
    rows = report_runs(results, experiment, [method], study=study)
    higher = rows["learning_rate"] > limit
    if higher.all() or not higher.any():
        raise EmptySelectionError(
            f"Experiment {experiment!r}, {method}: no rate on one side of {limit:g} was run."
        )
    # repetitions that all rates have: any rate may be chosen for any repetition
    shared = sorted(set.intersection(*rows.groupby("learning_rate")["repetition"].agg(set)))
    if len(shared) < 2:
        raise EmptySelectionError(
            f"Experiment {experiment!r}, {method}: rates on either side of {limit:g} share {len(shared)} repetitions, "
            "and each is chosen by the others: run two or more."
        )
    whole = rows["repetition"].isin(shared)
    kept = [
        pd.concat([_best(side, by, without=each) for each in shared], ignore_index=True)
        for side in (rows[whole & higher], rows[whole & ~higher])
    ]
    beyond, within = (column(side, metric) for side in kept)
    rates = " and ".join(
        ", ".join(f"{rate:g}" for rate in sorted(set(side["learning_rate"]))) for side in kept
    )
    words = f"mean difference between the rates {rates}, {percent(confidence)} paired-t interval"
    return summary(kept, mean(beyond - within, confidence), words)


def _best(rows: pd.DataFrame, by: str, without: int) -> pd.DataFrame:
    """Return a repetition's run at the rate that has the lowest mean over the other repetitions."""
    values = rows.assign(by=column(rows, by))
    others = values[values["repetition"] != without].groupby("learning_rate")["by"]
    means = others.agg(lambda each: each.mean(skipna=False)).fillna(np.inf)
    own = values[values["repetition"] == without].drop(columns="by")
    return own[own["learning_rate"] == means.idxmin()]

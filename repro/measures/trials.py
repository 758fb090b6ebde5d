"""Measures of searches: what their trials say beside the winner."""

from __future__ import annotations

from repro.measures.rows import SCALES, Measurement, measurement
from repro.results import EmptySelectionError, Results, select
from repro.stats import Interval


def diverged_trials_difference(
    results: Results, experiment: str, a: str, b: str, *, study: str | None = None
) -> Measurement:
    """Return the share of a search's trials that diverged under `a`, less that under `b`.

    Both methods have the same trials, spread evenly over the log range, so the share says how much of the
    range is lost to divergence, and one trial is what it resolves: the bounds are one trial either side.

    Args:
        results: The tables.
        experiment: Name of a searched experiment.
        a: Name of the first method.
        b: Name of the method to subtract.
        study: Name of the study, or `None` where only one has the experiment.

    Returns:
        The difference of the shares, in [-1, 1], and its bounds.

    Raises:
        EmptySelectionError: If a method has no trials, or not those of the other.
    """
    conditions = {"experiment": experiment, "role": "tune"}
    rows = select(results.runs, **conditions, **({} if study is None else {"study": study}))
    rows = select(rows, scale=next(scale for scale in SCALES if scale in set(rows["scale"])))
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
    interval = Interval(difference, difference - 1 / num, difference + 1 / num, num, 1.0)
    kept = select(rows, method=[a, b])
    return measurement(kept, interval, "difference of shares, one trial either side")

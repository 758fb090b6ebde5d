"""What a run will cost, from what runs like it did cost."""

from __future__ import annotations

import pandas as pd

from repro.protocol import RunSpec, Sampling


def price(spec: RunSpec, runs: pd.DataFrame) -> float | None:
    """Predict the seconds of a run on one core of a machine like that of the rows.

    Args:
        spec: The run.
        runs: A runs table.

    Returns:
        Steps times the median seconds a step of the rows with the same problem and method: of those that
        did the same task, else of those that timed the step; `None` where there are neither. Evaluation
        is not included.
    """
    alike = runs[(runs["problem"] == spec.problem.name) & (runs["method"] == spec.method.name)]
    steps = spec.task.num_draws if isinstance(spec.task, Sampling) else spec.task.num_steps
    task = type(spec.task).__name__.lower()
    same = alike[(alike["task"] == task) & (alike["seconds"] > 0) & (alike["num_steps"] > 0)]
    if len(same):
        # the runs of a training group share their seconds
        shared = same["group_size"].where(same["task"] == "training", 1)
        return float((same["seconds"] / same["num_steps"] / shared).median() * steps)
    timed = alike["step_seconds"].dropna()
    return float(timed.median() * steps) if len(timed) else None

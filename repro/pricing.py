"""What a run will cost, from what runs like it did cost."""

from __future__ import annotations

import pandas as pd

from repro.protocol import RunSpec, Timing, Training


def price(spec: RunSpec, runs: pd.DataFrame) -> float | None:
    """Predict the seconds of a run on one core of a machine like that of the rows.

    Args:
        spec: The run.
        runs: A runs table.

    Returns:
        Steps times the median seconds a step of the rows with the same problem, method and task, or
        `None` where there is no such row. Evaluation is not included.
    """
    if isinstance(spec.task, Training):
        task, steps = "training", spec.task.num_steps
    elif isinstance(spec.task, Timing):
        task, steps = "timing", spec.task.num_steps
    else:
        return None
    alike = runs[
        (runs["problem"] == spec.problem.name)
        & (runs["method"] == spec.method.name)
        & (runs["task"] == task)
        & (runs["num_steps"] > 0)
    ]
    if alike.empty:
        return None
    # the runs of a training group share their seconds
    shared = alike["group_size"].where(alike["task"] == "training", 1)
    return float((alike["seconds"] / alike["num_steps"] / shared).median() * steps)

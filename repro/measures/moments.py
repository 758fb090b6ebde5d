"""Measures of an estimator at one point: its mean and variance compared with theory."""

from __future__ import annotations

import numpy as np

from repro.measures.rows import (
    Measurement,
    curve_rows,
    mean,
    measurement,
    percent,
    runs_at_one_setting,
)
from repro.results import Results


def mean_square_error(
    results: Results,
    experiment: str,
    method: str,
    *,
    dimension: int,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return the squared relative error of the mean of `N` forward gradients, times `N / (d + 1)`.

    For one normal tangent its expectation is 1 for every `N`: the mean is unbiased, and its error falls as
    `sqrt((d + 1) / N)`. Taken at the largest `N` drawn.

    Args:
        results: The tables.
        experiment: Name of a sampling experiment.
        method: Name of the method.
        dimension: `d`, the number of parameters.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean over repetitions and t interval.

    Raises:
        EmptySelectionError: If nothing was drawn.
    """
    rows = runs_at_one_setting(results, experiment, [method], study=study)
    points = curve_rows(results, rows, "relative_error", "none")
    last = points[points["step"] == points["step"].max()]
    scaled = last["value"].to_numpy(np.float64) ** 2 * last["step"].to_numpy() / (dimension + 1)
    return measurement(
        rows, mean(scaled, confidence), f"mean over repetitions, {percent(confidence)} t interval"
    )


def estimate_ratio(
    results: Results,
    experiment: str,
    method: str,
    *,
    moment: str,
    component: int,
    confidence: float = 0.95,
    study: str | None = None,
) -> Measurement:
    """Return a sample moment of a component of the forward gradient over its value by theory.

    Args:
        results: The tables.
        experiment: Name of a sampling experiment of a two-dimensional problem.
        method: Name of the method.
        moment: `mean`, whose theory is the gradient's component, or `variance`, whose theory for normal
            tangents is `|nabla f|^2 + (d_i f)^2`.
        component: `i`, 0 or 1.
        confidence: Within (0, 1).
        study: See `report_runs`.

    Returns:
        Mean over repetitions and t interval, at the largest number of draws.

    Raises:
        EmptySelectionError: If nothing was drawn.
    """
    rows = runs_at_one_setting(results, experiment, [method], study=study)
    points = curve_rows(results, rows, f"{moment}_{component}", "none")
    last = points[points["step"] == points["step"].max()]["value"].to_numpy(np.float64)
    exact = [
        float(curve_rows(results, rows, f"gradient_{index}", "none")["value"].iloc[0])
        for index in range(2)
    ]
    theory = exact[component]
    if moment == "variance":
        theory = exact[0] ** 2 + exact[1] ** 2 + exact[component] ** 2
    return measurement(
        rows,
        mean(last / theory, confidence),
        f"mean over repetitions, {percent(confidence)} t interval",
    )

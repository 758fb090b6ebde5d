"""Measures of the study `speed`: how fast our steps are, beside the work they cannot avoid and other steps.

Every number is a median with quartiles over rounds. Every ratio is taken within a round, in which all methods of an
experiment took their turn in one process: a machine that is slow for a while is slow for both sides.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from repro.measures.rows import BACKPROPAGATION, FORWARD_GRADIENT, Vector, curve_rows, report_runs
from repro.results import Results

STUDY = "speed"
STEPS, PROCESSES = "steps-", "two-processes-"
"""Beginning of experiments' names; the rest is the network."""
PLAIN = "plain "
"""Beginning of the names of the plain loop's methods; the rest is our method that it is compared with."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median over rounds.

    Attributes:
        median: The median.
        low: Lower quartile.
        high: Upper quartile.
        num: Number of rounds.
        values: One per round, in their order.
    """

    median: float
    low: float
    high: float
    num: int
    values: tuple[float, ...] = dataclasses.field(repr=False)

    @classmethod
    def of(cls, values: Vector) -> Spread:
        """Return the spread of some values, at least one."""
        low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
        rounds = tuple(values.tolist())
        return cls(float(median), float(low), float(high), values.size, rounds)


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast a method's step is; a ratio to something that was not timed is `None`.

    Attributes:
        experiment: Name of the experiment.
        method: Name of the method.
        steps_per_second: Steps per second of all replicas and processes.
        limit: Share of the step that is unavoidable work: products, random numbers, passes over memory.
        overhead: Time of the step over that of its products and random numbers alone.
        over_plain: Time of the step over that of the plain loop's step.
        over_backpropagation: Time of the step over that of backpropagation, both ours or both plain;
            `None` for backpropagation itself.
        scale: Scale of the rows.
        device: Device on which the rows were timed.
        num_threads: Threads per process.
    """

    experiment: str
    method: str
    steps_per_second: Spread
    limit: Spread | None
    overhead: Spread | None
    over_plain: Spread | None
    over_backpropagation: Spread | None
    scale: str
    device: str
    num_threads: int

    @property
    def plain(self) -> bool:
        """Whether it is a step of the plain loop."""
        return self.method.startswith(PLAIN)

    @property
    def estimator(self) -> str:
        """Name of the gradient estimator, plain or not."""
        return self.method.removeprefix(PLAIN).rpartition(", ")[0]

    @property
    def optimizer(self) -> str:
        """Name of the optimizer."""
        return self.method.rpartition(", ")[2]


def parts(method: str) -> tuple[str, ...]:
    """Return the unavoidable work of a step, by the names under which it is timed.

    Args:
        method: Name of a method of ours or of the plain loop.

    Returns:
        Products, random numbers if it draws any, and passes over memory, in this order.
    """
    step = method.removeprefix(PLAIN)
    estimator = step.rpartition(", ")[0]
    drawn = (f"random numbers of {estimator}",) if estimator.startswith(FORWARD_GRADIENT) else ()
    return (f"products of {estimator}", *drawn, f"memory passes of {step}")


def experiments(results: Results, prefix: str = "") -> tuple[str, ...]:
    """Return the names of the timed experiments with a prefix, sorted, numbers by their size."""
    runs = results.runs
    names = runs[(runs["study"] == STUDY) & runs["experiment"].str.startswith(prefix)]["experiment"]
    return tuple(sorted(names.unique(), key=_natural))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", name)]


def speeds(results: Results, experiment: str) -> tuple[Speed, ...]:
    """Return how fast the steps of an experiment are.

    Args:
        results: The tables.
        experiment: Name of an experiment of the study.

    Returns:
        One value per method, ours before the plain loop's.

    Raises:
        EmptySelectionError: If the experiment was not run.
    """
    runs = report_runs(results, experiment, study=STUDY)
    points = curve_rows(results, runs, "step_seconds", "none")
    seconds = points.pivot_table(index=["repetition", "step"], columns="method", values="value")
    steps = (name for name in seconds.columns if ", " in name and " of " not in name)
    timed = [_speed(runs.iloc[0], seconds, name) for name in steps]
    return tuple(sorted(timed, key=lambda one: (one.plain, _natural(one.estimator), one.method)))


def _speed(row: Any, seconds: pd.DataFrame, method: str) -> Speed:
    def over(names: Iterable[str], *, inverse: bool = False) -> Spread | None:
        chosen = list(names)
        if not set(chosen) <= set(seconds.columns):
            return None
        base = seconds[chosen].sum(axis=1, skipna=False).to_numpy(np.float64)
        ratios = seconds[method].to_numpy(np.float64) / base
        shared = ratios[np.isfinite(ratios)]
        return Spread.of(1.0 / shared if inverse else shared) if shared.size else None

    step = method.removeprefix(PLAIN)
    plain = method.removesuffix(step)
    optimizer = step.rpartition(", ")[2]
    unavoidable = parts(method)
    base = f"{plain}{BACKPROPAGATION}, {optimizer}"
    return Speed(
        str(row["experiment"]),
        method,
        Spread.of(1.0 / seconds[method].dropna().to_numpy(np.float64)),
        limit=over(unavoidable, inverse=True),
        overhead=over(unavoidable[:-1]),
        over_plain=None if plain else over([PLAIN + method]),
        over_backpropagation=None if method == base else over([base]),
        scale=str(row["scale"]),
        device=str(row["device"]),
        num_threads=int(row["num_threads"]),
    )


EPOCHS = "epoch-"
"""Beginning of the names of experiments that time whole epochs with their evaluation."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A training epoch with its evaluation, beside the authors' own.

    Attributes:
        method: Name of the method.
        seconds: Time of our epoch.
        theirs: Time of the authors' code, NaN if nobody timed it.
        num_threads: Threads of our epoch.
    """

    method: str
    seconds: Spread
    theirs: float
    num_threads: int

    @property
    def times_faster(self) -> float:
        """How many times as fast our epoch is, by its median."""
        return self.theirs / self.seconds.median


def epochs(results: Results) -> tuple[Epoch, ...]:
    """Return the timed epochs, in the order of the names of experiments and methods.

    Args:
        results: The tables; the authors' seconds are facts of the study.

    Returns:
        One value per method; none if nothing was timed.
    """
    facts = results.facts
    stated: dict[str, float] = {}
    if len(facts):
        facts = facts[(facts["study"] == STUDY) & (facts["quantity"] == "epoch seconds")]
        stated = dict(zip(facts["method"], facts["value"], strict=True))
    found = []
    for name in experiments(results, EPOCHS):
        runs = report_runs(results, name, study=STUDY)
        points = curve_rows(results, runs, "step_seconds", "none")
        for method in sorted(runs["method"].unique(), key=_natural):
            values = points["value"][points["method"] == method].to_numpy(np.float64)
            theirs = stated.get(str(method), math.nan)
            threads = int(runs["num_threads"].iloc[0])
            found.append(Epoch(str(method), Spread.of(values), theirs, threads))
    return tuple(found)

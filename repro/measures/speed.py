"""Measures of the study `speed`: how fast our steps are, beside what they must do and what they are compared with.

Every number is a median with quartiles over rounds, and every ratio is taken within a round, in which all methods
of an experiment took their turn in one process: a machine that is slow for a while is slow for both sides.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd

from repro import stats
from repro.measures.rows import BACKPROPAGATION, FORWARD_GRADIENT, Vector, curve_rows, report_runs
from repro.results import Results

STUDY = "speed"
STEPS, PROCESSES = "steps-", "two-processes-"
"""What the names of experiments begin with; the rest is the network."""
PLAIN = "plain "
"""What the names of the plain loop's methods begin with; the rest is ours that is compared with it."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median over rounds.

    Attributes:
        median: The median.
        low: Lower quartile.
        high: Upper quartile.
        num: Rounds.
        values: One a round, in their order.
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
    """How fast a method's step is; what was not timed beside it is `None`.

    Attributes:
        experiment: Name of the experiment.
        method: Name of the method.
        steps_per_second: Steps of all replicas and processes.
        limit: Share of the step that is work it cannot avoid: products, random numbers, passes over memory.
        overhead: Time of the step over that of its products and random numbers alone.
        over_plain: Time of the step over that of the plain loop's.
        over_backpropagation: Time of the step over that of backpropagation, both ours or both plain;
            `None` for backpropagation itself.
        scale: Scale of the rows.
        device: Where they were timed.
        num_threads: Threads of a process.
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
        """What estimates the gradient, plain or not."""
        return self.method.removeprefix(PLAIN).rpartition(", ")[0]

    @property
    def optimizer(self) -> str:
        """What updates."""
        return self.method.rpartition(", ")[2]


def parts(method: str) -> tuple[str, ...]:
    """Return what a step cannot avoid, by the names under which it is timed.

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
    """Return the names of the timed experiments that begin alike, sorted, numbers by their size."""
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
        One value a method, ours before the plain loop's.

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


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bound that our speed is held to.

    Attributes:
        text: What is bounded, in words.
        prefix: What the names of the experiments begin with.
        bound: The bound.
        at_least: Whether it bounds from below.
        estimators: The methods it holds for, with every optimizer.
        quantity: What is bounded, of a method.
    """

    text: str
    prefix: str
    bound: float
    at_least: bool
    estimators: tuple[str, ...]
    quantity: Callable[[Speed], Spread | None]


OVERHEAD = Bar(
    "a step over its own products and random numbers",
    STEPS,
    1.15,
    at_least=False,
    estimators=(BACKPROPAGATION, FORWARD_GRADIENT),
    quantity=lambda speed: speed.overhead,
)
OVER_PLAIN = Bar(
    "a backpropagation step over the plain loop's",
    STEPS,
    1.0,
    at_least=False,
    estimators=(BACKPROPAGATION,),
    quantity=lambda speed: speed.over_plain,
)
SINGLE_TANGENT = Bar(
    "a single-tangent step over a backpropagation step",
    STEPS,
    1.8,
    at_least=False,
    estimators=(FORWARD_GRADIENT,),
    quantity=lambda speed: speed.over_backpropagation,
)
BARS = (
    OVERHEAD,
    OVER_PLAIN,
    SINGLE_TANGENT,
    *(
        Bar(
            f"{what} steps a second, two processes together",
            PROCESSES,
            bound,
            at_least=True,
            estimators=(estimator,),
            quantity=lambda speed: speed.steps_per_second,
        )
        for what, estimator, bound in (
            ("backpropagation", BACKPROPAGATION, 200.0),
            ("single-tangent", FORWARD_GRADIENT, 105.0),
        )
    ),
    *(
        Bar(
            text,
            prefix,
            bound,
            at_least=False,
            estimators=(estimator,),
            quantity=lambda speed: speed.over_plain,
        )
        for text, prefix, bound, estimator in (
            (
                "a search of 32 rates over one trial and tangent at a time",
                "search-",
                1 / 20,
                "search",
            ),
            (
                "the approximation grid over one draw at a time",
                "grid-",
                1 / 4,
                "approximation grid",
            ),
        )
    ),
)
"""What the package promises of its speed, as ratios within one run wherever a ratio says it."""


Verdict = Literal["pass", "fail", "undecided", "not run"]
LEVEL = 0.05
"""Two-sided: a network all of whose methods meet a bar is said to miss it with half this probability at most."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What became of a bar on one network.

    Attributes:
        bar: The bar.
        network: The network; empty where nothing was timed.
        worst: The method furthest on the wrong side, or nearest to it; where some miss the bar surely, of these;
            `None` where nothing was timed.
        measured: Its quantity.
        num: Methods the bar holds for.
        met: How many of them meet it by their median.
        missed: How many of them miss it surely: by an exact sign test over the rounds, at `LEVEL` for all methods
            of the network together.
    """

    bar: Bar
    network: str
    worst: Speed | None
    measured: Spread | None
    num: int
    met: int
    missed: int

    @property
    def verdict(self) -> Verdict:
        """Whether every method meets the bar.

        They pass by their medians. They fail where any method misses the bar surely: of two equally fast steps
        either may come out ahead by a hair, and of many such steps one does.
        """
        if self.measured is None:
            return "not run"
        if self.met == self.num:
            return "pass"
        return "fail" if self.missed else "undecided"


def findings(results: Results) -> tuple[Finding, ...]:
    """Return what became of every bar, network by network.

    Args:
        results: The tables.

    Returns:
        One value a bar and network; one without measurement for a bar of which nothing was timed.
    """
    found: list[Finding] = []
    for bar in BARS:
        held = [
            finding
            for name in experiments(results, bar.prefix)
            if (finding := _finding(bar, name.removeprefix(bar.prefix), speeds(results, name)))
        ]
        found += held or [Finding(bar, "", None, None, 0, 0, 0)]
    return tuple(found)


def _finding(bar: Bar, network: str, timed: Iterable[Speed]) -> Finding | None:
    pairs = [
        (speed, quantity)
        for speed in timed
        if not speed.plain and speed.estimator in bar.estimators
        if (quantity := bar.quantity(speed)) is not None
    ]
    if not pairs:
        return None
    sign = -1.0 if bar.at_least else 1.0
    met = sum(sign * quantity.median <= sign * bar.bound for _, quantity in pairs)
    # the method of the largest median need not be one that misses surely: its rounds may scatter more than others'
    p_values = stats.holm([_p_value(bar, quantity) for _, quantity in pairs])
    missed = [pair for pair, p in zip(pairs, p_values, strict=True) if p <= LEVEL]
    worst, measured = max(missed or pairs, key=lambda pair: sign * pair[1].median)
    return Finding(bar, network, worst, measured, len(pairs), met, len(missed))


def _p_value(bar: Bar, measured: Spread) -> float:
    """Return the two-sided p-value of a median at the bar; 1 where half of the rounds meet it."""
    sign = -1.0 if bar.at_least else 1.0
    wrong = sum(sign * value > sign * bar.bound for value in measured.values)
    right = measured.num - wrong
    return stats.sign_p_value(right, wrong) if wrong > right else 1.0


EPOCHS = "epoch-"
"""What the names of experiments begin with that time whole epochs with their evaluation."""
TIMES_FASTER = 3.0
"""Bar: so many times as fast as the authors' code on the same machine."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """A training epoch with its evaluation, beside the authors' own.

    Attributes:
        method: Name of the method.
        seconds: What ours takes.
        theirs: What the code of its authors took, NaN where nobody timed it.
        num_threads: Threads of ours.
    """

    method: str
    seconds: Spread
    theirs: float
    num_threads: int

    @property
    def times_faster(self) -> float:
        """How many times as fast ours is, by its median."""
        return self.theirs / self.seconds.median


def epochs(results: Results) -> tuple[Epoch, ...]:
    """Return the timed epochs, in the order of the names of experiments and methods.

    Args:
        results: The tables; the authors' seconds are facts of the study.

    Returns:
        One value a method; none where nothing was timed.
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

"""The speeds that the package promises: the bars of the study `speed`, and whether each network meets them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Literal

from repro import stats
from repro.measures.rows import BACKPROPAGATION, FORWARD_GRADIENT
from repro.measures.speed import PROCESSES, STEPS, Speed, Spread, experiments, speeds
from repro.results import Results


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bound on our speed.

    Attributes:
        text: What is bounded, in words.
        prefix: Beginning of the experiments' names.
        bound: The bound.
        at_least: Whether it bounds from below.
        estimators: The methods it holds for, with every optimizer.
        quantity: Returns what is bounded from the speed of a method.
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
    Bar(
        "backpropagation steps a second, two processes together",
        PROCESSES,
        200.0,
        at_least=True,
        estimators=(BACKPROPAGATION,),
        quantity=lambda speed: speed.steps_per_second,
    ),
    Bar(
        "single-tangent steps a second, two processes together",
        PROCESSES,
        105.0,
        at_least=True,
        estimators=(FORWARD_GRADIENT,),
        quantity=lambda speed: speed.steps_per_second,
    ),
    Bar(
        "a search of 32 rates over one trial and tangent at a time",
        "search-",
        1 / 20,
        at_least=False,
        estimators=("search",),
        quantity=lambda speed: speed.over_plain,
    ),
    Bar(
        "the approximation grid over one draw at a time",
        "grid-",
        1 / 4,
        at_least=False,
        estimators=("approximation grid",),
        quantity=lambda speed: speed.over_plain,
    ),
)
"""What the package promises about its speed, as ratios within one run wherever possible."""
TIMES_FASTER = 3.0
"""What it promises about an epoch with its evaluation: so many times as fast as the authors' code on the same machine."""

Verdict = Literal["pass", "fail", "undecided", "not run"]
LEVEL = 0.05
"""Two-sided level: a network whose methods all meet a bar is said to miss it with at most half this probability."""


@dataclasses.dataclass(frozen=True)
class BarFinding:
    """Whether one network meets a bar.

    Attributes:
        bar: The bar.
        network: The network; empty if nothing was timed.
        worst: The method furthest on the wrong side, or nearest to it; if some surely miss the bar, the worst of
            these; `None` if nothing was timed.
        measured: Its quantity.
        num: Number of methods the bar holds for.
        met: How many of them meet it by their median.
        missed: How many of them surely miss it, by an exact sign test over the rounds at `LEVEL` for all methods of
            the network together.
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

        They pass by their medians, and fail if any method surely misses the bar: of two equally fast steps
        either may come out ahead by a hair, and among many such steps one does.
        """
        if self.measured is None:
            return "not run"
        if self.met == self.num:
            return "pass"
        return "fail" if self.missed else "undecided"


def findings(results: Results) -> tuple[BarFinding, ...]:
    """Return whether each bar is met, network by network.

    Args:
        results: The tables.

    Returns:
        One value per bar and network; one without measurement for a bar for which nothing was timed.
    """
    found: list[BarFinding] = []
    for bar in BARS:
        held = [
            finding
            for name in experiments(results, bar.prefix)
            if (finding := _finding(bar, name.removeprefix(bar.prefix), speeds(results, name)))
        ]
        found += held or [BarFinding(bar, "", None, None, 0, 0, 0)]
    return tuple(found)


def _finding(bar: Bar, network: str, timed: Iterable[Speed]) -> BarFinding | None:
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
    return BarFinding(bar, network, worst, measured, len(pairs), met, len(missed))


def _p_value(bar: Bar, measured: Spread) -> float:
    """Return the two-sided p-value of a median at the bar; 1 if half of the rounds meet it."""
    sign = -1.0 if bar.at_least else 1.0
    wrong = sum(sign * value > sign * bar.bound for value in measured.values)
    right = measured.num - wrong
    return stats.sign_p_value(right, wrong) if wrong > right else 1.0

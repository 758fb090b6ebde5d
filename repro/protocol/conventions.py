"""What the studies share: the searches of the fair protocol, the data of the smoke scale, common checks of claims.

A study that departs from one of these declares its own value and says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from repro.protocol.declarations import Check, Expectation
from repro.protocol.experiments import LogUniform, Search, SearchSpace
from repro.protocol.runs import Classification, Component, Scale, use

LEARNING_RATES = SearchSpace((("learning_rate", LogUniform(1e-6, 1e1)),))
"""The space that every method searches its learning rate in."""

FAIR_SEARCHES: Mapping[Scale, Search] = {
    "smoke": Search(LEARNING_RATES, 4, refinement_trials=2, finalists=2, finalist_repetitions=1),
    "reduced": Search(LEARNING_RATES, 16, refinement_trials=4, finalists=3),
    "full": Search(LEARNING_RATES, 32, refinement_trials=4, finalists=3),
}
"""The search that every method of a tuned comparison gets, by scale."""

FAIR_REPETITIONS = 6
"""Reported repetitions of a winner: below six paired ones no rank test can reach 0.05."""

STEPS_OF_A_TURN_ON_CUDA = 50
"""Steps of a turn timed on CUDA, as many as training takes without waiting: a turn of one would time its launch."""

LEARNED = 2.2
"""Loss in nats below which a network of ten classes has left chance, ln 10 = 2.303."""

BELOW_ZERO = Expectation(high=0.0, strict=True)
ABOVE_ZERO = Expectation(low=0.0, strict=True)
BELOW_ONE = Expectation(high=1.0, strict=True)
ABOVE_ONE = Expectation(low=1.0, strict=True)


def near(published: float, margin: float = 0.25) -> Expectation:
    """Return the range within a relative margin of a positive published number.

    Args:
        published: The number.
        margin: Share of it; a quarter by default, for numbers from other hardware and software, mostly read off plots.

    Returns:
        The range, its bounds included.
    """
    return Expectation(published * (1 - margin), published * (1 + margin))


def final(
    experiment: str, method: str, metric: str, expect: Expectation, published: float | None = None
) -> Check:
    """Return a check of a method's final metric, its mean over repetitions.

    Args:
        experiment: Name of an experiment of the study.
        method: Name of the method.
        metric: A numeric column of the runs table, such as `test_loss`.
        expect: What the claim says of it.
        published: The published value, if the paper has one.

    Returns:
        The check, labelled with experiment, metric and method.
    """
    measure = use("final_metric", experiment=experiment, method=method, metric=metric)
    return Check(f"{experiment} {metric.replace('_', ' ')}, {method}", measure, expect, published)


def on_digits(problem: Classification, network: Component) -> Classification:
    """Return a problem on the bundled 8 x 8 digits, for the smoke scale: it only exercises the wiring.

    Args:
        problem: The problem as published.
        network: A tiny network in place of the problem's.

    Returns:
        The problem under its own name and settings; 297 of the 1,297 training images are set aside for validation.
    """
    return dataclasses.replace(problem, dataset="digits", network=network, validation_size=297)

"""A study of two methods in which everything is fair, to be changed by tests."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from repro.audit.evidence import CURVE_COLUMNS, Evidence
from repro.audit.trials import from_rows
from repro.protocol import Fact

METHODS = ("new", "baseline")
TRIALS, SEEDS = 16, 6


def rates() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the rates of the trials, evenly over [1e-6, 10] and in no order; both methods' best comes early."""
    order = np.array([6, 9, 13, 1, 15, 4, 11, 0, 8, 2, 14, 5, 10, 3, 12, 7])
    return np.asarray(10 ** (-6 + 7 * (order + 0.5) / TRIALS), dtype=np.float64)


def loss(rate: float, best: float) -> float:
    return float(0.1 + 0.05 * (math.log10(rate) - math.log10(best)) ** 2)


def fair_rows() -> pd.DataFrame:
    """Return 16 trials and 6 reported runs of two methods, everything alike but the method."""
    rows: list[dict[str, object]] = []
    generator = np.random.default_rng(7)
    noise = generator.normal(0.0, 1e-3, SEEDS)
    for method, offset, target in (("new", 0.0, 1e-3), ("baseline", 0.02, 1e-2)):
        scores = [loss(rate, target) + offset for rate in rates()]
        winner = rates()[int(np.argmin(scores))]
        common = {"method": method, "length": 20.0, "setting loss": "nll", "setting clip": 1.0}
        rows += [
            {
                **common, "role": "tune", "number": float(i), "status": "done", "score": score,
                "seed": "tune", "seconds": 10.0, "validation": score,
                "test": score + 0.01 + 1e-4 * i, "param lr": rate,
            }
            for i, (rate, score) in enumerate(zip(rates(), scores, strict=True))
        ]  # fmt: skip
        rows += [
            {
                **common, "role": "report", "status": "done", "seconds": 10.0, "seed": f"report {i}",
                "score": min(scores) + noise[i] + generator.normal(0.0, 1e-4), "param lr": winner,
                "accuracy": float(generator.integers(9_600, 9_700)) / 10_000,
            }
            for i in range(SEEDS)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def say(quantity: str, value: float | str, method: str = "") -> Fact:
    text = value if isinstance(value, str) else ""
    return Fact("protocol", quantity, None if text else float(value), "stated", method, text=text)


FACTS: dict[str, float | str] = {
    "sampler": "random",
    "selection split": "validation",
    "selection metric": "validation loss",
    "selection examples": 10_000,
    "selection split size": 10_000,
    "selection moment": "last",
    "reported split": "test",
    "reported moment": "last",
    "reported examples": 10_000,
    "reported split size": 10_000,
    "chance loss": math.log(10),
    "final loss": 0.12,
    "published score": 0.12,
    "printed score": 0.1202,
    "published decimals": 2,
    "stated clip": 1.0,
    "interval multiplier": 2.5706,
    "claim of cost": "half the time",
    "derivative mode": "forward",
    "timed steps": 300,
    "timed engine": "one",
    "synchronised timing": 1,
    "step-time ratio": 0.5,
    "time-to-loss ratio": 0.51,
}


def fair_curves() -> pd.DataFrame:
    """Return test losses of 10,000 examples over 40 epochs: a smooth descent with 0.5 % of scatter."""
    generator = np.random.default_rng(11)
    rows = [
        (
            method,
            seed,
            "test loss",
            epoch,
            (0.1 + 2 * 0.8**epoch) * math.exp(generator.normal(0, 5e-3)),
        )
        for method in METHODS
        for seed in range(2)
        for epoch in range(40)
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


@dataclasses.dataclass
class Draft:
    """The fair study, to be changed."""

    rows: pd.DataFrame = dataclasses.field(default_factory=fair_rows)
    facts: dict[str, float | str] = dataclasses.field(default_factory=lambda: dict(FACTS))
    curves: pd.DataFrame = dataclasses.field(default_factory=fair_curves)


Change = Callable[[Draft], list[Fact] | None]


def study(change: Change | None = None) -> Evidence:
    """Return the fair study, with one change."""
    draft = Draft()
    more = change(draft) if change else None
    told = (*(say(q, v) for q, v in draft.facts.items()), *(more or ()))
    evidence = from_rows(draft.rows, {}, "synthetic", unit="epochs", facts=told)
    return dataclasses.replace(evidence, curves=draft.curves)


def rate_of_best(trials: pd.DataFrame) -> float:
    return float(trials.sort_values("score")["param lr"].iloc[0])


def of(rows: pd.DataFrame, method: str, role: str) -> pd.Series:
    return (rows["method"] == method) & (rows["role"] == role)

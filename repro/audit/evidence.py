"""Evidence: what is known of one comparison, whoever made it, in one set of words.

A rule asks for quantities (`QUANTITIES`) of a method or of the whole comparison, and for rows. Readers supply both:
`repro.audit.declared` from a paper's facts, `repro.audit.ours` from our results table, `repro.audit.trials` and
`repro.audit.optuna_files` from anybody's search. If there are rows, quantities are counted from them
(`repro.audit.counting`), so a rule never needs to know where they come from: each is a `Fact` with its source, and
what nobody says is unknown.

Runs are one table (`RUN_COLUMNS`), one row per run, with hyperparameters in columns `param NAME` and fixed settings in
columns `setting NAME`. Scores have the sign for which smaller is better, and are shown as they were given.
"""

from __future__ import annotations

import dataclasses
import decimal
import functools
import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from repro.protocol import Fact

QUANTITIES = {
    # the search, per method
    "trials": "finished trials of the search",
    "repeated trials": "trials that repeat the settings, and the seed if it is known, of another",
    "earlier trials": "trials of earlier searches whose result was not used",
    "trial epochs": "length of a trial, in epochs",
    "trial steps": "length of a trial, in steps",
    "search epochs": "length of all trials together, in epochs",
    "search steps": "length of all trials together, in steps",
    "sampler": "how trials were chosen, in words",
    "searched from *": "lower bound of the hyperparameter's range",
    "searched to *": "upper bound of the hyperparameter's range",
    "scale of *": "`log` or `linear`",
    "tried values of *": "different values of the hyperparameter in the trials",
    "best *": "value that the search found best",
    "best search score": "best score of the search, turned so that smaller is better",
    "equivalent *": "value that makes the same update as another method's best",
    "known better *": "value outside the range that was seen to be better",
    "tuned with *": "setting, or hyperparameter, that was fixed during the search",
    # selection and reporting
    "selection split": "`validation`, `test` or `train`",
    "selection metric": "what the search minimised, in words",
    "selection examples": "examples behind the score of a trial",
    "selection split size": "examples of that split",
    "selection moment": "`last` or `best`: which evaluation of a trial is its score",
    "early stopping patience": "evaluations without improvement before a trial ends",
    "searches made again after a test result": "how many",
    "reported split": "as `selection split`",
    "reported examples": "examples behind a reported score",
    "reported split size": "examples of that split",
    "reported moment": "as `selection moment`",
    "reported epochs": "length of a reported run, in epochs",
    "reported steps": "length of a reported run, in steps",
    "reported curve": "a reported score over epochs (abscissa)",
    "used *": "value of the hyperparameter in the reported runs",
    "origin of *": "`search`, or `no search` and why",
    "ran with *": "setting of the reported runs",
    "stated *": "setting as the text has it, where that differs from the code",
    "published score": "score as printed in the paper",
    "published decimals": "decimals of the published scores",
    "printed score": "the same score as the code printed it",
    # repetitions
    "tuning seed": "seeds of the search, one fact each",
    "reporting seed": "seeds of the reported runs, one fact each",
    "repetitions": "reported runs of a method",
    "independent seeds": "seeds really drawn, where that differs from the repetitions claimed",
    "equal ends": "1 if repetitions may end alike: nothing is drawn, or all descend to one place",
    "interval multiplier": "standard errors either side of the mean in the error bars",
    "final loss": "reported loss, in nats",
    "chance loss": "loss of guessing, in nats",
    # cost
    "claim of cost": "what is claimed of time, memory or parallelism, in words",
    "derivative mode": "`forward`, `reverse` or `simulated`",
    "timed engine": "what computed the derivatives that were timed",
    "timed steps": "steps timed; 0 where nothing was",
    "synchronised timing": "1 if the device was waited for, 0 if not",
    "step-time ratio": "time of a step over the baseline's",
    "time-to-loss ratio": "time to reach a loss over the baseline's",
    "hardware": "device of the runs, in words",
    "seconds": "seconds of a run",
}
"""What a rule may ask for; `*` stands for the name of a hyperparameter or setting."""

RUN_COLUMNS = {
    "method": "",
    "role": "tune",  # or `report`
    "number": math.nan,  # of the trial
    "status": "done",  # `done`, `pruned`, `diverged`, `failed`, or `running`
    "score": math.nan,  # smaller is better
    "seed": "",
    "length": math.nan,  # epochs or steps
    "seconds": math.nan,
    "validation": math.nan,  # score on the validation split, as the file has it
    "test": math.nan,  # score on the test split, as the file has it
    "accuracy": math.nan,
}
"""Columns of every table of runs, with the values of cells that a reader cannot fill."""

CURVE_COLUMNS = ("method", "repetition", "metric", "x", "value")
FINISHED = ("done", "pruned", "diverged", "failed")
BAD = ("diverged", "failed")
"""Statuses of runs that have no score, or a limit in its place."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The range of a hyperparameter in one method's search."""

    low: float
    high: float
    log: bool


Ranges: TypeAlias = Mapping[tuple[str, str], Range | None]
"""What hyperparameters are declared to be drawn from, by method and name; `None` for choices without an order."""


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of one comparison.

    Attributes:
        name: The comparison: `rike2022/nn-sgd`, or the file it was read from.
        origin: Whose comparison it is: `ours`, `paper` or `foreign`.
        methods: Names of the methods compared.
        facts: Quantities, each with its source; of a method, or of all methods if the method is empty.
        runs: Rows, `RUN_COLUMNS` and more; none if only facts are known.
        curves: Reported scores over epochs, `CURVE_COLUMNS`.
        notes: How the evidence was read, as far as a user should know, one line each.
        maximised: Whether larger scores were better, so that scores here have the opposite sign of those given.
    """

    name: str
    origin: str
    methods: tuple[str, ...]
    facts: tuple[Fact, ...]
    runs: pd.DataFrame = dataclasses.field(default_factory=lambda: runs_frame([]))
    curves: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=list(CURVE_COLUMNS))
    )
    notes: tuple[str, ...] = ()
    maximised: bool = False

    @functools.cached_property
    def _index(self) -> Mapping[tuple[str, str], tuple[Fact, ...]]:
        found: dict[tuple[str, str], tuple[Fact, ...]] = {}
        for fact in self.facts:
            key = (fact.quantity, fact.method)
            found[key] = (*found.get(key, ()), fact)
        return found

    def facts_of(self, quantity: str, method: str = "") -> tuple[Fact, ...]:
        """Return the facts of a quantity: the method's own, or those of the whole comparison."""
        return self._index.get((quantity, method)) or self._index.get((quantity, "")) or ()

    def fact(self, quantity: str, method: str = "") -> Fact | None:
        """Return the first fact of a quantity that has a value, if there is one."""
        stated = [f for f in self.facts_of(quantity, method) if f.value is not None or f.text]
        return stated[0] if stated else None

    def number(self, quantity: str, method: str = "") -> float | None:
        """Return the number of a quantity, `None` if it is not known."""
        fact = self.fact(quantity, method)
        return None if fact is None else fact.value

    def word(self, quantity: str, method: str = "") -> str:
        """Return the word of a quantity, empty if it is not known."""
        fact = self.fact(quantity, method)
        return "" if fact is None else fact.text

    def names(self, prefix: str) -> tuple[str, ...]:
        """Return the hyperparameters or settings for which a quantity such as `searched from *` is known."""
        start = f"{prefix} "
        found = [f.quantity.removeprefix(start) for f in self.facts if f.quantity.startswith(start)]
        return tuple(dict.fromkeys(found))

    def silence(self, quantity: str, method: str = "") -> str:
        """Return why a quantity is not known."""
        who = f" of {method}" if method else ""
        for fact in self.facts_of(quantity, method):
            if fact.value is None and not fact.text:
                return f"{quantity}{who}: {fact.source} ({fact.item})"
        return f"{quantity}{who}: not in the evidence"

    @functools.cached_property
    def _rows(self) -> Mapping[tuple[str, str], pd.DataFrame]:
        groups = self.runs.groupby(["role", "method"], sort=False)
        return {(str(role), str(method)): rows for (role, method), rows in groups}

    @functools.cached_property
    def _no_rows(self) -> pd.DataFrame:
        return self.runs.iloc[:0]

    def rows(self, role: str, method: str) -> pd.DataFrame:
        """Return a method's runs of a role."""
        return self._rows.get((role, method), self._no_rows)

    @functools.cached_property
    def traces(self) -> Mapping[str, tuple[tuple[str, npt.NDArray[np.float64]], ...]]:
        """The curves in order, each with the name of its metric, by method."""
        found: dict[str, tuple[tuple[str, npt.NDArray[np.float64]], ...]] = {}
        ordered = self.curves.sort_values(["method", "metric", "repetition", "x"], kind="stable")
        for (method, metric, _), curve in ordered.groupby(["method", "metric", "repetition"]):
            values = curve["value"].to_numpy(np.float64)
            found[str(method)] = (*found.get(str(method), ()), (str(metric), values))
        return found

    def as_given(self, score: float) -> float:
        """Return a score with the sign with which it was given."""
        return -score if self.maximised else score

    def seeds(self, role: str, method: str) -> frozenset[str]:
        """Return the known seeds of a method's tuning or reported runs."""
        quantity = "tuning seed" if role == "tune" else "reporting seed"
        stated = {
            written(fact.text or fact.value)
            for fact in self.facts_of(quantity, method)
            if fact.value is not None
        }
        return frozenset(stated | (set(self.rows(role, method)["seed"]) - {""}))


def written(seed: object) -> str:
    """Return a seed with all its digits, the same whether it was read as text or as a number; empty for a blank.

    Example:
        >>> written(7.0), written("1234567890123456789"), written("a7"), written(None)
        ('7', '1234567890123456789', 'a7', '')
    """
    if seed is None or (isinstance(seed, float) and math.isnan(seed)):
        return ""
    text = str(seed).strip()
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        return text
    # no seed is longer than this, and a text such as 1e999999999 would fill the memory
    whole = number.is_finite() and number.adjusted() < 100 and number == number.to_integral_value()
    return str(int(number)) if whole else text


def source_of(fact: Fact | None) -> str:
    """Return where a fact was read, in a few words."""
    if fact is None:
        return ""
    return fact.item if fact.source in ("", fact.item) else f"{fact.item}: {fact.source}"


def shown(fact: Fact | None) -> str:
    """Return a fact's value as text."""
    if fact is None:
        return "unknown"
    return fact.text if fact.value is None else f"{fact.value:.4g}"


def runs_frame(rows: Iterable[Mapping[str, object]] | pd.DataFrame) -> pd.DataFrame:
    """Return a table of runs with all of `RUN_COLUMNS`, typed; further columns stay as they are.

    Args:
        rows: Rows, each with some of the columns.

    Returns:
        The table.
    """
    frame = rows.copy() if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    for name, default in RUN_COLUMNS.items():
        column = frame[name] if name in frame else pd.Series(default, index=frame.index)
        if isinstance(default, str):
            frame[name] = column.fillna(default).astype("str")
        else:
            frame[name] = column.astype("float64")
    return frame

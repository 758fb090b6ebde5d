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
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from repro.protocol import Fact

QUANTITIES = {
    # the search, per method
    "trials": "number of finished trials in the search",
    "repeated trials": "number of trials with the same settings (and seed, if known) as another trial",
    "earlier trials": "number of trials in earlier searches whose result was not used",
    "trial epochs": "epochs per trial",
    "trial steps": "steps per trial",
    "search epochs": "epochs of all trials together",
    "search steps": "steps of all trials together",
    "search runs": "number of runs of all trials together, of which a trial has one a seed",
    "enqueued trials": "number of trials whose values were given, not chosen by the sampler",
    "sampler": "how the trials were chosen",
    "searched from *": "lower end of the range that was searched",
    "searched to *": "upper end of the range that was searched",
    "ranges of *": "number of different ranges from which trials were drawn, one after the other",
    "scale of *": "scale on which the range was sampled: `log` or `linear`",
    "tried values of *": "number of different values that the trials tried",
    "best *": "value with the best score in the search",
    "best search score": "best score of the search; with the opposite sign if larger scores are better",
    "equivalent *": "value that makes the same update as another method's best value",
    "known better *": "value outside the range that is known to score better",
    "tuned with *": "value of a setting or hyperparameter that was the same in all trials",
    # selection and reporting
    "data set": "name of the data set; `none` if there is none, as for a function in closed form",
    "selection split": "split on which trials were scored: `validation`, `test` or `train`",
    "selection metric": "what the search minimised or maximised",
    "selection examples": "number of examples that the score of a trial averages over",
    "selection split size": "number of examples in the split on which trials were scored",
    "selection moment": "which evaluation of a trial gives its score: `last` or `best`",
    "early stopping patience": "number of evaluations without improvement after which a trial stops",
    "searches made again after a test result": "number of searches that were repeated after a test result was seen",
    "reported split": "split on which reported runs were scored: `validation`, `test` or `train`",
    "reported examples": "number of examples that a reported score averages over",
    "reported split size": "number of examples in the split on which reported runs were scored",
    "reported moment": "which evaluation of a reported run gives its score: `last` or `best`",
    "reported epochs": "epochs per reported run",
    "reported steps": "steps per reported run",
    "reported curve": "reported score at an epoch, which is its abscissa",
    "used *": "value in the reported runs; every one of them, if they differ",
    "origin of *": "where the value in the reported runs comes from: `search`, or `no search` and why",
    "ran with *": "value of a setting in the reported runs",
    "stated *": "value of a setting according to the text, where the code has another",
    "published score": "score as printed in the paper",
    "published decimals": "number of decimals of the published scores",
    "printed score": "the same score as the code printed it",
    # repetitions
    "tuning seed": "seed of the search; state each seed by a fact of its own",
    "reporting seed": "seed of the reported runs; state each seed by a fact of its own",
    "repetitions": "number of reported runs per method",
    "independent seeds": "number of seeds really drawn, where more repetitions are claimed",
    "equal ends": "1 if repetitions may end with equal scores, because nothing is random or all reach one minimum; 0 if not",
    "interval multiplier": "length of an error bar on either side of the mean, in standard errors",
    "final loss": "loss of the reported runs, in nats",
    "chance loss": "loss of random guessing, in nats",
    # cost
    "claim of cost": "what is claimed about time, memory or parallelism; `none` if nothing is",
    "derivative mode": "how derivatives were computed: `forward`, `reverse` or `simulated`",
    "timed engine": "software that computed the derivatives that were timed",
    "timed steps": "number of steps that were timed; 0 if none were",
    "synchronised timing": "1 if the clock was read only after the device had finished, 0 if not",
    "step-time ratio": "time per step, divided by the baseline's",
    "time-to-loss ratio": "time to reach a given loss, divided by the baseline's",
    "hardware": "device on which the runs were made",
    "seconds": "seconds per run",
}
"""What a rule may ask for; `*` stands for the name of a hyperparameter or setting."""
NONE = "none"
"""What is said of a thing that there is not: a setting, a data set, a claim."""

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
OPTIMIZERS_OWN = re.compile(
    r"(?!.*(sched|decay|warm))(.*[\W_])?(lr\d*|learning_?rate|step_?size|eta|momentum|betas?\d*|eps|epsilon)([\W_].*)?",
    re.IGNORECASE,
)
"""What is called a number of the optimizer, which every method has of its own, unlike a schedule."""
FINISHED = ("done", "pruned", "diverged", "failed")
BAD = ("diverged", "failed")
"""Statuses of runs that have no score, or a limit in its place."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The range of a hyperparameter in one method's search.

    Attributes:
        low: Its lower end.
        high: Its upper end.
        log: Whether it was sampled on a log scale.
        parts: Number of different ranges of which trials were drawn, and which it covers.
    """

    low: float
    high: float
    log: bool
    parts: int = 1


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

    def absent(self, quantities: Iterable[str]) -> Fact | None:
        """Return a fact that says `none` of one of these quantities, if every method has such a fact."""
        for quantity in quantities:
            facts = [self.fact(quantity, method) for method in self.methods]
            if all(says_none(fact) for fact in facts):
                return facts[0]
        return None

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


def says_none(fact: Fact | None) -> bool:
    """Tell whether a fact says that there is no such thing."""
    return fact is not None and fact.text.casefold() == NONE


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

"""Quantities counted from a table of runs: trials, ranges, winners, settings, repetitions, each with its source."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from repro.audit.evidence import FINISHED, Range, Ranges
from repro.protocol import Fact


def numbered(runs: pd.DataFrame) -> pd.DataFrame:
    """Return tuning runs with the numbers of their trials, added if they are missing.

    A trial is one setting, run once or under several seeds. Named trials are numbered in the order in which the names
    first appear. Rows without names or numbers are one trial if they agree in every hyperparameter and setting and no
    seed appears twice. If seeds or hyperparameters are not known either, every row is a trial.

    Args:
        runs: Tuning runs of one method.

    Returns:
        The runs, numbered in the order in which trials first appear.
    """
    if runs["number"].notna().all():
        return runs
    if "trial" in runs and (runs["trial"] != "").all():
        return runs.assign(number=pd.factorize(runs["trial"])[0].astype(np.float64))
    tried = [str(c) for c in runs.columns if str(c).startswith("param ") and runs[c].notna().any()]
    number = np.arange(len(runs), dtype=np.float64)
    if tried and (runs["seed"] != "").all():
        alike = [*tried, *(str(c) for c in runs.columns if str(c).startswith("setting "))]
        again = runs.groupby([*alike, "seed"], dropna=False).cumcount().rename("again")
        trials = runs.groupby([*(runs[c] for c in alike), again], dropna=False, sort=False)
        number = np.asarray(trials.ngroup(), dtype=np.float64)
    return runs.assign(number=number)


def trial_scores(runs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per trial, in order: number, mean score over its repetitions, seconds, length.

    Args:
        runs: Tuning runs of one method.

    Returns:
        Columns number, score (infinite if a run of the trial ended early), seconds, length.
    """
    runs = numbered(runs)
    score, numbers, seconds, length = (
        runs[name].to_numpy(np.float64) for name in ("score", "number", "seconds", "length")
    )
    ended = np.array([status in ("done", "diverged") for status in runs["status"]], dtype=bool)
    scores = np.where(ended & ~np.isnan(score), score, np.inf)
    known, places, times = np.unique(numbers, return_inverse=True, return_counts=True)

    def total(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        weights = np.asarray(values, dtype=np.float64)
        return np.bincount(places, weights, len(known)).astype(np.float64)

    return pd.DataFrame(
        {
            "number": known,
            "score": total(scores) / times,
            "seconds": total(np.where(np.isnan(seconds), 0.0, seconds)),
            "length": total(np.where(np.isnan(length), 0.0, length)),
        }
    )


OBSERVED = "observed range"
"""Source of bounds that nobody declared: the smallest and the largest value seen."""


SEARCH, NO_SEARCH = "search", "no search"
"""Where the values of a method come from."""
VALUED = ("best ", "used ", "tuned with ", "ran with ")
"""Beginnings of quantities that are values of a hyperparameter or setting."""
FIXED = f"{NO_SEARCH}, one value in all trials"
"""Origin of a value that a search did not vary while it varied another hyperparameter."""
NONE = "none"
"""Value of a setting that rows of other methods have and no row of this method has."""


def count(runs: pd.DataFrame, ranges: Ranges, source: str, unit: str = "steps") -> tuple[Fact, ...]:
    """Return the facts about each method that a table of runs gives, in the words of `QUANTITIES`.

    Args:
        runs: A table of runs.
        ranges: What hyperparameters were declared to be drawn from; ranges of others are observed.
        source: Where the rows were read.
        unit: Unit of the lengths: `steps` or `epochs`; beside epochs, steps may have a column of their own.

    Returns:
        The facts.
    """
    facts: list[Fact] = []

    def tell(method: str, quantity: str, value: object, item: str = source) -> None:
        # an infinite clip or patience means none at all: it is a word, and has no range
        if isinstance(value, (str, bool, np.bool_)) or (
            isinstance(value, float) and math.isinf(value) and quantity.startswith(VALUED)
        ):
            facts.append(Fact(item, quantity, None, source, method, text=str(value)))
        elif value is not None and math.isfinite(float(value)):  # type: ignore[arg-type]
            facts.append(Fact(item, quantity, float(value), source, method))  # type: ignore[arg-type]

    parameters, settings = (
        [str(c).removeprefix(p) for c in runs.columns if str(c).startswith(p)]
        for p in ("param ", "setting ")
    )
    recorded = {
        (str(role), setting)
        for role, rows in runs.groupby("role")
        for setting in settings
        if _distinct(rows[f"setting {setting}"])
    }
    lengths = {unit: "length", **({"steps": "steps"} if "steps" in runs else {})}
    for method, of_method in runs.groupby("method", sort=False):
        name = str(method)
        tune = numbered(
            of_method[(of_method["role"] == "tune") & of_method["status"].isin(FINISHED)]
        )
        report = of_method[of_method["role"] == "report"]
        num = 0
        if len(tune):
            trials = trial_scores(tune)
            num = len(trials)
            tell(name, "trials", num)
            tell(name, "repeated trials", _repeated(tune))
            for each, column in lengths.items():
                if tune[column].notna().all():
                    tell(name, f"trial {each}", float(tune[column].max()))
                    tell(name, f"search {each}", float(tune[column].sum()))
            if np.isfinite(trials["score"]).any():
                winners = trials["number"][trials["score"] == trials["score"].min()]
                tell(name, "best search score", float(trials["score"].min()))
                best = _reported_of(tune[tune["number"].isin(winners)], report, parameters)
                for parameter in parameters:
                    _tell_search(tell, name, parameter, tune, best, ranges.get((name, parameter)))
        drawn = {p for p in parameters if _was_drawn(ranges, name, p)}
        _tell_values(tell, name, tune, report, num, parameters, drawn)
        _tell_settings(tell, name, tune, report, settings, recorded)
        if len(report):
            repetitions = report["seed"].nunique() if (report["seed"] != "").all() else len(report)
            tell(name, "repetitions", repetitions)
            for each, column in lengths.items():
                tell(name, f"reported {each}", float(report[column].max()))
            tell(name, "seconds", float(report["seconds"].mean()))
    return tuple(facts)


def _tell_values(
    tell: Callable[..., None], method: str, tune: pd.DataFrame, report: pd.DataFrame, num: int, parameters: Sequence[str],
    drawn: Container[str],
) -> None:  # fmt: skip
    searched = _searched(tune, num, parameters)
    for parameter in parameters:
        used = _distinct(report[f"param {parameter}"])
        tried = _distinct(tune[f"param {parameter}"])
        origin = searched
        # few trials may all draw the same one of several values
        fixed = len(tried) == 1 and parameter not in drawn
        if searched == SEARCH and fixed:
            origin = FIXED if used in ([], tried) else f"{NO_SEARCH}, {tried[0]} in all trials"
        if len(used) == 1:
            tell(method, f"used {parameter}", used[0])
            tell(method, f"origin of {parameter}", origin)
        elif tried and not len(report):
            tell(method, f"origin of {parameter}", origin)
        if fixed and num > 1:
            tell(method, f"tuned with {parameter}", tried[0])


def _was_drawn(ranges: Ranges, method: str, parameter: str) -> bool:
    """Tell whether a hyperparameter is declared to be drawn from more than one value."""
    if (method, parameter) not in ranges:
        return False
    range_ = ranges[method, parameter]
    return range_ is None or range_.low < range_.high


def _tell_settings(
    tell: Callable[..., None], method: str, tune: pd.DataFrame, report: pd.DataFrame, settings: Sequence[str],
    recorded: Container[tuple[str, str]],
) -> None:  # fmt: skip
    for setting in settings:
        for role, rows, quantity in (
            ("tune", tune, "tuned with"),
            ("report", report, "ran with"),
        ):
            values = _distinct(rows[f"setting {setting}"])
            # if the cells of one method are all blank and those of another are not, it had no such setting
            if not values and len(rows) and (role, setting) in recorded:
                values = [NONE]
            if values:
                text = " or ".join(sorted(str(v) for v in values))
                tell(method, f"{quantity} {setting}", values[0] if len(values) == 1 else text)


def _reported_of(tied: pd.DataFrame, report: pd.DataFrame, parameters: Sequence[str]) -> pd.Series:
    """Return the trial that was reported among those that share the best score; the first one if none was."""
    for parameter in (f"param {p}" for p in parameters):
        used = _distinct(report[parameter])
        if len(used) == 1 and (tied[parameter] == used[0]).any():
            tied = tied[tied[parameter] == used[0]]
    return tied.iloc[0]


def _distinct(column: pd.Series) -> list[Any]:
    """Return the different known values, in order; an empty text is a blank."""
    return list(dict.fromkeys(v for v in column.to_numpy() if not (pd.isna(v) or v == "")))


def _searched(tune: pd.DataFrame, num: int, parameters: Sequence[str]) -> str:
    """Tell whether trials are a search: more than one, and not all at the same settings."""
    if num < 2:
        return f"{NO_SEARCH}, one trial" if num else NO_SEARCH
    # if trials do not say what they tried, only their number counts
    tried = {len(_distinct(tune[f"param {parameter}"])) for parameter in parameters}
    return f"{NO_SEARCH}, {num} trials at one setting" if max(tried, default=0) == 1 else SEARCH


def _repeated(tune: pd.DataFrame) -> int:
    """Return how many trials repeat another; if all settings were tried equally often, only those with equal scores."""
    drawn = [str(c) for c in tune.columns if str(c).startswith("param ")]
    if not drawn:
        return 0
    trials = tune.drop_duplicates("number")
    times = trials.groupby([*drawn, "seed"], dropna=False).size()
    if times.nunique() > 1:
        return len(trials) - len(times)
    # tried equally often on purpose, unless the rows are copies
    scored = trials[np.isfinite(trials["score"])]
    return int(scored.duplicated([*drawn, "seed", "score"]).sum())


def _tell_search(
    tell: Callable[..., None], method: str, parameter: str, tune: pd.DataFrame, best: pd.Series, range_: Range | None
) -> None:  # fmt: skip
    values = tune[f"param {parameter}"].dropna()
    if values.empty:
        return
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        if values.nunique() > 1:
            tell(method, f"best {parameter}", str(best[f"param {parameter}"]))
        return
    finite = values[np.isfinite(values.astype("float64"))]
    if finite.empty:
        return
    low, high = float(finite.min()), float(finite.max())
    declared = range_ is not None
    if range_ is None:
        range_ = Range(low, high, low > 0 and high / low >= 10)
    if range_.low < range_.high:
        item = "declared range" if declared else OBSERVED
        tell(method, f"searched from {parameter}", range_.low, item)
        tell(method, f"searched to {parameter}", range_.high, item)
        tell(method, f"scale of {parameter}", "log" if range_.log else "linear", item)
        tell(method, f"tried values of {parameter}", values.nunique())
        tell(method, f"best {parameter}", float(best[f"param {parameter}"]))

"""Quantities counted from a table of runs: trials, ranges, winners, settings, repetitions, each with its source."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from repro.audit.evidence import FINISHED, NONE, Range, Ranges
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


def further_runs(runs: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Tell which runs only the best trials have, because a search ran these again before one of them won.

    Some trials then have more runs than the others, which have as many as each other, and scored no worse than any of
    these at first. Otherwise there are none: a trial may have another number of runs for other reasons.

    Args:
        runs: Numbered tuning runs of one method.

    Returns:
        A boolean per row.
    """
    by_trial = runs.groupby("number")["number"]
    times = by_trial.transform("size").to_numpy()
    first = (by_trial.cumcount() < times.min()).to_numpy()
    again = times > times.min()
    scores = trial_scores(runs[first]).set_index("number")["score"]
    best = scores.index.isin(runs["number"][again])
    if len(set(times)) == 2 and scores[best].max() <= scores[~best].min():
        return np.asarray(~first, dtype=bool)
    return np.zeros(len(runs), dtype=bool)


def first_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the runs that all trials of a method have alike: without those of `further_runs`, and numbered.

    Args:
        runs: Tuning runs of one method.

    Returns:
        The rows.
    """
    runs = numbered(runs)
    return runs[~further_runs(runs)] if len(runs) else runs


ENOUGH = 8
"""Trials that do not all draw one of two values by chance."""
MANY = 4
"""Different values of reported runs that are listed."""
OBSERVED = "observed range"
"""Source of bounds that nobody declared: the smallest and the largest value seen."""


SEARCH, NO_SEARCH = "search", "no search"
"""Where the values of a method come from."""
VALUED = ("best ", "used ", "tuned with ", "ran with ")
"""Beginnings of quantities that are values of a hyperparameter or setting."""
FIXED = f"{NO_SEARCH}, one value in all trials"
"""Origin of a value that a search did not vary while it varied another hyperparameter."""


class _Counted(NamedTuple):
    """A quantity of one method.

    Attributes:
        quantity: Its name, in the words of `QUANTITIES`.
        value: A number or, as cells of anybody's table may be, a word.
        item: Where it was read, if not where the rows were.
    """

    quantity: str
    value: Any
    item: str = ""


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
    # a table of final results has no trials by construction, which says nothing of where its values come from
    any_trials = bool((runs["role"] == "tune").any())
    facts: list[Fact] = []
    for name, rows in runs.groupby("method", sort=False):
        method = str(name)
        tune = numbered(rows[(rows["role"] == "tune") & rows["status"].isin(FINISHED)])
        report = rows[rows["role"] == "report"]
        bounds = {parameter: ranges.get((method, parameter)) for parameter in parameters}
        drawn = {p for p in parameters if _was_drawn(ranges, method, p) and _varied(tune, p)}
        bounds = {p: bounds[p] if p in drawn else None for p in parameters}
        counted = (
            *_of_trials(tune, report, bounds, drawn, lengths),
            *_of_values(tune, report, parameters, drawn, any_trials=any_trials),
            *_of_settings(tune, report, settings, recorded),
            *_of_reports(report, lengths),
        )
        facts += (fact for each in counted if (fact := _fact(each, method, source)) is not None)
    return tuple(facts)


def _fact(counted: _Counted, method: str, source: str) -> Fact | None:
    """Return what was counted as a fact; `None` for a number that is not finite."""
    quantity, value, item = counted
    # an infinite clip or patience means none at all: it is a word, and has no range
    endless = isinstance(value, float) and math.isinf(value) and quantity.startswith(VALUED)
    if isinstance(value, (str, bool, np.bool_)) or endless:
        return Fact(item or source, quantity, None, source, method, text=str(value))
    if not math.isfinite(float(value)):
        return None
    return Fact(item or source, quantity, float(value), source, method)


def _of_trials(
    tune: pd.DataFrame,
    report: pd.DataFrame,
    bounds: Mapping[str, Range | None],
    drawn: Container[str],
    lengths: Mapping[str, str],
) -> Iterator[_Counted]:
    """Yield how many trials there are, how long they are, and what they found: of trials run again, the best."""
    if tune.empty:
        return
    trials = trial_scores(tune)
    yield _Counted("trials", len(trials))
    yield _Counted("search runs", len(tune))
    yield _Counted("repeated trials", _repeated(tune))
    if "enqueued" in tune:
        yield _Counted("enqueued trials", float(tune["enqueued"].sum()))
    if "sampler" in tune and (samplers := _distinct(tune["sampler"])):
        # the first trials of many samplers are random, and say nothing
        yield _Counted("sampler", " and ".join(samplers))
    for unit, column in lengths.items():
        if tune[column].notna().all():
            yield _Counted(f"trial {unit}", float(tune[column].max()))
            yield _Counted(f"search {unit}", float(tune[column].sum()))
    if (further := further_runs(tune)).any():
        trials = trials[trials["number"].isin(tune["number"][further])]
    lowest = float(trials["score"].min())
    if math.isfinite(lowest):
        yield _Counted("best search score", lowest)
        winners = trials["number"][trials["score"] == lowest]
        best = _reported_of(tune[tune["number"].isin(winners)], report, list(bounds))
        for parameter, declared in bounds.items():
            item = "declared range" if parameter in drawn else OBSERVED
            yield from _of_search(parameter, tune, best, declared, item)


def _of_values(
    tune: pd.DataFrame,
    report: pd.DataFrame,
    parameters: Sequence[str],
    drawn: Container[str],
    *,
    any_trials: bool,
) -> Iterator[_Counted]:
    """Yield the value of each hyperparameter in the reported runs and, if there are trials of any method, where it comes from."""
    num = tune["number"].nunique()
    searched = _searched(tune, num, parameters)
    for parameter in parameters:
        used = _distinct(report[f"param {parameter}"])
        tried = _distinct(tune[f"param {parameter}"])
        origin = searched
        # few trials may all draw the same one of several values
        fixed = len(tried) == 1 and parameter not in drawn
        if searched == SEARCH and fixed:
            origin = FIXED if used in ([], tried) else f"{NO_SEARCH}, {tried[0]} in all trials"
        if len(used) == 1 or (used and tried):
            yield _Counted(f"used {parameter}", used[0] if len(used) == 1 else _several(used))
            if any_trials:
                yield _Counted(f"origin of {parameter}", origin)
        elif tried and not len(report):
            yield _Counted(f"origin of {parameter}", origin)
        if fixed and num > 1:
            yield _Counted(f"tuned with {parameter}", tried[0])


def _several(values: Sequence[Any]) -> str:
    """Return different values as a text, a few of them if there are many."""
    texts = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
    more = f" and {len(texts) - MANY} others" if len(texts) > MANY else ""
    return " or ".join(texts[:MANY]) + more


def _varied(tune: pd.DataFrame, parameter: str) -> bool:
    """Tell whether trials may have been free to choose a value: many that all have the same one were not."""
    return tune["number"].nunique() < ENOUGH or len(_distinct(tune[f"param {parameter}"])) != 1


def _was_drawn(ranges: Ranges, method: str, parameter: str) -> bool:
    """Tell whether a hyperparameter is declared to be drawn from more than one value."""
    if (method, parameter) not in ranges:
        return False
    range_ = ranges[method, parameter]
    return range_ is None or range_.low < range_.high


def _of_settings(
    tune: pd.DataFrame,
    report: pd.DataFrame,
    settings: Sequence[str],
    recorded: Container[tuple[str, str]],
) -> Iterator[_Counted]:
    """Yield the settings of the trials and of the reported runs; `recorded` are those that some row has, by role."""
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
                yield _Counted(f"{quantity} {setting}", values[0] if len(values) == 1 else text)


def _of_reports(report: pd.DataFrame, lengths: Mapping[str, str]) -> Iterator[_Counted]:
    """Yield how many reported runs there are, and how long they are."""
    if report.empty:
        return
    seeded = (report["seed"] != "").all()
    yield _Counted("repetitions", report["seed"].nunique() if seeded else len(report))
    for unit, column in lengths.items():
        yield _Counted(f"reported {unit}", float(report[column].max()))
    yield _Counted("seconds", float(report["seconds"].mean()))


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


def _of_search(
    parameter: str, tune: pd.DataFrame, best: pd.Series, declared: Range | None, item: str
) -> Iterator[_Counted]:
    """Yield the range of a hyperparameter, declared or else observed as `item` says, and the best value found in it."""
    values = tune[f"param {parameter}"].dropna()
    if values.empty:
        return
    found = best[f"param {parameter}"]
    # a storage has every value that a trial drew, and a table may have lost one
    unused = pd.isna(found) and item != OBSERVED
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        if values.nunique() > 1:
            yield _Counted(f"tried values of {parameter}", values.nunique(), item)
            if unused or pd.notna(found):
                yield _Counted(f"best {parameter}", NONE if unused else str(found))
        return
    finite = values[np.isfinite(values.astype("float64"))]
    if finite.empty:
        return
    low, high = float(finite.min()), float(finite.max())
    range_ = declared or Range(low, high, low > 0 and high / low >= 10)
    if range_.low < range_.high:
        yield _Counted(f"searched from {parameter}", range_.low, item)
        yield _Counted(f"searched to {parameter}", range_.high, item)
        if range_.parts > 1:
            yield _Counted(f"ranges of {parameter}", range_.parts, item)
        yield _Counted(f"scale of {parameter}", "log" if range_.log else "linear", item)
        yield _Counted(f"tried values of {parameter}", values.nunique())
        yield _Counted(f"best {parameter}", NONE if unused else float(found))

"""Evidence from anybody's table of trials, with one row per run or, in a log, one row per epoch.

`repro.audit.mapping` says what the columns mean. A row that makes no sense is refused with its number; a note says how
doubtful rows were read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from repro.audit import cells, direction, hints, logs, mapping, names
from repro.audit.counting import OBSERVED, count, numbered
from repro.audit.evidence import RUN_COLUMNS, Evidence, Ranges, runs_frame, written
from repro.audit.stated import refuse_contradictions, strange_names
from repro.protocol import Fact

NO_PARAMS = (
    "no column is taken for a hyperparameter, so nothing is known of ranges and of where values come from; name them, as by "
    "`--map params=lr:momentum`"
)


LONGER = 1.1
"""Reported runs of one method are of one length if none is so many times as long as another."""
FEW = 5
"""Times of fewer rows may grow by chance."""


def from_table(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    name: str,
    *,
    maximise: bool | None = None,
    reported: bool = False,
    facts: tuple[Fact, ...] = (),
) -> Evidence:
    """Return the evidence of a table of trials.

    Args:
        table: One row per run, or per epoch of a run.
        columns: Columns of the table by key of `mapping.KEYS`; a key left out means the column of that name, if any.
        name: What the comparison is called: the file.
        maximise: Whether larger scores are better; `None` takes smaller ones for better, unless the score's name is a
            gain's.
        reported: Whether all rows are reported runs, none a trial.
        facts: What else is known.

    Returns:
        The evidence.

    Raises:
        ValueError: If a column is missing, a row makes no sense, or nobody says whether a gain is maximised.
    """
    found = mapping.find(table, columns, name)
    mapping.refuse_several_problems(table, found, name)
    at, told = _time(table, found, columns, name)
    if at:
        table = hints.without_test_rows(table, found)
    settings: tuple[str, ...] = ()
    if reported or _is_reported(table, found):
        found, settings = mapping.fixed(table, found, columns)
    turned, assumed = direction.is_gain(found.given["score"], maximise=maximise, name=name)
    keys = {key: c for key, c in found.given.items() if key not in ("epoch", "step")}
    unit = f"{at}s" if at else "epochs" if "epochs" in keys else "steps"
    if at:
        keys |= {logs.AT: found.given[at]}
        keys.pop(unit, None)
    told_of = {"length" if k == unit else k: table[c] for k, c in keys.items()}
    if "seconds" in told_of:
        told_of["seconds"] = cells.seconds(told_of["seconds"])
    told_of |= {f"param {p}": _values(table[c], c, name) for p, c in found.params.items()}
    told_of |= {f"setting {s}": cells.flags(table[c]) for s, c in found.settings.items()}
    notes = [] if reported or found.params else [NO_PARAMS]
    if settings:
        more = " and others" if len(settings) > hints.SHOWN else ""
        notes.append(
            f"no row is a trial, and columns of which each method has one value are taken for settings: {', '.join(settings[: hints.SHOWN])}"
            f"{more}; if some were tuned for each method, name all that were, as by `--map params=lr:weight_decay`"
        )
    notes += [hints.words_among_numbers(table[c], c) for c in found.params.values()]
    evidence = from_rows(
        pd.DataFrame(told_of),
        {},
        name,
        unit=unit,
        maximise=turned,
        reported=reported,
        facts=facts,
        gathered=found.aliases,
        called={"length" if k == unit else k: column for k, column in keys.items()},
        means=bool(hints.spread_of(table, found)),
    )
    notes += hints.of_names(table, found, evidence)
    every = (*notes, assumed, told, *evidence.notes)
    return dataclasses.replace(evidence, notes=tuple(note for note in every if note))


def _is_reported(table: pd.DataFrame, found: mapping.Columns) -> bool:
    """Tell whether a column of roles says of every row that it is a reported run."""
    role = found.given.get("role")
    return role is not None and bool((cells.read_words(table[role], cells.ROLES) == "report").all())


def _time(
    table: pd.DataFrame, found: mapping.Columns, columns: Mapping[str, str], name: str
) -> tuple[str, str]:
    """Return `epoch` or `step` if rows are epochs or steps of runs, empty if not; and a note if they may be."""
    if mapped := next((key for key in ("epoch", "step") if key in columns), ""):
        return mapped, ""
    own = [found.given[key] for key in ("number", "seed") if key in found.given]
    told = [*own, *found.params.values()]
    roles = [found.given[key] for key in ("method", "role") if key in found.given]
    identity = [*roles, *told, *found.settings.values()]
    # trackers often write training losses in rows of their own, without a score
    scored = table[table[found.given["score"]].notna()]
    # where nothing tells runs apart, a method whose time only grows is one run, unless it has few rows
    alone = not told and scored.groupby(roles, dropna=False).size().min() >= FEW
    column = logs.find(scored, identity) if told or alone else ""
    for key in ("epoch", "step"):
        if column and found.given.get(key) == column:
            return key, ""
    if column:
        key = "epoch" if "epoch" in column.lower() else "step"
        raise ValueError(
            f"{name}: expected one row per run. Found runs in which {column!r} grows, or falls, from row to row: a row seems to be "
            f"an evaluation. Add `--map {key}={column}`; or, if each row is a run, name its trial by `--map number=COLUMN`."
        )
    taken = {c for key, c in found.given.items() if key not in ("epoch", "step")} | set(identity)
    for column in map(str, table.columns):
        if column.casefold() in logs.TIMES and column not in taken and table[column].nunique() > 1:
            key = "epoch" if "epoch" in column.lower() else "step"
            return "", (
                f"column {column!r} is not read, and every row is taken for a run; if a run has several rows, "
                f"use `--map {key}={column},number=COLUMN` with the column that names a run"
            )
    return "", ""


def _values(values: pd.Series, column: str, name: str) -> pd.Series:
    """Return the values of a hyperparameter, as numbers if all of them are, however large."""
    cells.refuse_numbers_as_words(values, column, name)
    values = cells.flags(values)
    if pd.api.types.is_numeric_dtype(values) or any(isinstance(v, bool) for v in values):
        return values
    numbers, bad = cells.read_numbers(values)
    return values if bad.any() or numbers.isna().all() else numbers


def from_rows(
    rows: pd.DataFrame,
    ranges: Ranges,
    name: str,
    *,
    unit: str = "steps",
    maximise: bool = False,
    reported: bool = False,
    facts: tuple[Fact, ...] = (),
    gathered: Mapping[str, Sequence[str]] | None = None,
    called: Mapping[str, str] | None = None,
    means: bool = False,
) -> Evidence:
    """Return the evidence of rows whose columns have the audit's names.

    Args:
        rows: One row per run.
        ranges: What hyperparameters were declared to be drawn from.
        name: What the comparison is called.
        unit: Unit of the column `length`; if it is `epochs`, there may be a column `steps` as well.
        maximise: Whether larger scores are better.
        reported: Whether all rows are reported runs, none a trial.
        facts: What else is known.
        gathered: The names that one hyperparameter has for different methods, by its common name.
        called: What the file calls columns, where that differs.
        means: Whether a row is a mean over repetitions, of which nobody says how many there are.

    Returns:
        The evidence.

    Raises:
        ValueError: If a row makes no sense, or a trial appears twice.
    """
    rows = _typed(rows, unit, reported, name, called or {})
    rows, ranges, notes = names.unify(rows, ranges, gathered or {}, name)
    if maximise:
        rows["score"] = -rows["score"]
    notes += hints.strange_seeds(rows, name)
    notes += _compared_by_test(rows, called or {}, maximise=maximise)
    if logs.AT in rows:
        moments = {
            (fact.method, role): fact.text
            for fact in facts
            for role, quantity in (("tune", "selection moment"), ("report", "reported moment"))
            if fact.quantity == quantity
        }
        rows, read = logs.last_rows(rows, unit, moments, name)
        notes.append(read)
    lost = (rows["status"] == "done") & ~np.isfinite(rows["score"])
    if lost.any():
        rows.loc[lost, "status"] = "diverged"
        many = "1 score is" if lost.sum() == 1 else f"{int(lost.sum())} scores are"
        notes.append(f"{many} missing, NaN or infinite: counted as diverged")
    rows.loc[~np.isfinite(rows["score"]), "score"] = np.inf
    runs = runs_frame(rows)
    _refuse_duplicates(runs, name)
    methods = tuple(dict.fromkeys(runs["method"]))
    notes += _notes(runs, methods, unit)
    every = [
        fact
        for fact in count(runs, ranges, name, unit)
        if not (means and fact.quantity == "repetitions")
    ]
    tried = {"": _tried(runs), **{m: _tried(runs[runs["method"] == m]) for m in methods}}
    refuse_contradictions(facts, every, tried, _splits(runs), name)
    notes += strange_names(facts, [str(c) for c in runs])
    # a declared range tells more than the values that were seen
    told = {(fact.method, fact.quantity) for fact in facts}
    counted = tuple(
        fact
        for fact in every
        if fact.item != OBSERVED or told.isdisjoint((m, fact.quantity) for m in ("", fact.method))
    )
    return Evidence(
        name,
        "foreign",
        methods,
        (*counted, *facts),
        runs,
        notes=tuple(notes),
        maximised=maximise,
    )


def _compared_by_test(
    rows: pd.DataFrame, called: Mapping[str, str], *, maximise: bool
) -> Iterator[str]:
    """Give reported runs beside trials their test score, which is what is compared, and say so."""
    if not {"role", "test"} <= set(rows):
        return
    report = rows["role"] == "report"
    if report.all() or not np.isfinite(rows.loc[report, "test"]).any():
        return
    score, test = (called.get(key, key) for key in ("score", "test"))
    gain = direction.by_name(test)
    turned = maximise if gain is None else gain
    rows.loc[report, "score"] = rows.loc[report, "test"] * (-1.0 if turned else 1.0)
    if score != test:
        yield f"reported runs are compared by {test!r}, trials by {score!r}"


def _notes(runs: pd.DataFrame, methods: tuple[str, ...], unit: str) -> Iterator[str]:
    """Yield notes on what the rows leave open, and how it was read."""
    if len(methods) == 1:
        told = [
            f"`--map method={str(c).removeprefix('param ')}` takes {', '.join(map(str, values[:3]))} for methods"
            for c in runs.filter(like="param ").select_dtypes(["object", "string"])
            if 1 < len(values := runs[c].dropna().unique()) < len(runs) / 2
        ]
        hint = f"; {' or '.join(told)}" if told else ""
        yield f"one method only ({methods[0]}): nothing to compare it with{hint}"
    plain: dict[str, list[str]] = {}
    for method in methods:
        plain.setdefault(method.casefold(), []).append(method)
    for alike in plain.values():
        if len(alike) > 1:
            yield f"{', '.join(alike)} differ only in case, and are taken for different methods"
    for who, lengths in runs[runs["role"] == "report"].groupby("method")["length"]:
        if lengths.max() > LONGER * lengths.min():
            yield (
                f"reported runs of {who} are {lengths.min():g} to {lengths.max():g} {unit} long; shorter ones count like the others, "
                "which is right if they stopped early by themselves"
            )
    if not (runs["role"] == "report").any():
        yield (
            "no reported runs: every row is taken for a trial of a search; `--reported` takes every row for a "
            "reported run, and a column `role` tells the two apart"
        )
    unnumbered = runs[(runs["role"] == "tune") & runs["number"].isna()]
    if "trial" not in runs and any(
        numbered(own)["number"].duplicated().any() for _, own in unnumbered.groupby("method")
    ):
        yield "trials have no numbers: one setting under several seeds is taken for one trial"
    tried = [str(c) for c in runs.filter(like="param ") if runs[c].notna().any()]
    bare = unnumbered[unnumbered["seed"] == ""]
    again = bare.duplicated(["method", *tried], keep=False)
    if tried and "trial" not in runs and again.sum() > len(runs) / 2:
        yield (
            f"{int(again.sum())} of {len(runs)} rows repeat a setting of their method, and nothing tells them apart: each "
            "counts as a trial; if they are repetitions, map `seed` to the column that differs (a seed, a fold)"
        )


def _typed(
    rows: pd.DataFrame, unit: str, reported: bool, name: str, called: Mapping[str, str]
) -> pd.DataFrame:
    """Return rows with numbers, seeds, states and roles in the audit's words."""
    rows = rows.copy()
    if rows["method"].isna().any():
        raise ValueError(
            f"{name}: row {cells.first(rows['method'].isna())} names no method. Fill in its column "
            f"{called.get('method', 'method')!r}, or leave the row out."
        )
    rows["method"] = rows["method"].astype("str").str.strip()
    if "number" in rows and cells.read_numbers(rows["number"])[1].any():
        # if trials have names, nobody can tell whether one is missing
        rows["trial"] = [written(value) for value in rows.pop("number")]
    for column, default in {**RUN_COLUMNS, "steps": math.nan, logs.AT: math.nan}.items():
        if column not in rows:
            continue
        if isinstance(default, float):
            shown = called.get(column, {"length": unit, logs.AT: unit[:-1]}.get(column, column))
            rows[column] = cells.numbers(rows[column], shown, name)
            if column in ("length", "steps", "seconds", logs.AT) and (rows[column] < 0).any():
                row = cells.first(rows[column] < 0)
                raise ValueError(
                    f"{name}: column {shown!r} needs numbers of 0 or more. Found {rows[column].iloc[row - 1]:g} in "
                    f"row {row}."
                )
        elif column == "seed":
            rows[column] = [written(value) for value in rows[column]]
    if reported:
        if "role" in rows:
            raise ValueError(
                f"{name}: `--reported` takes every row for a reported run. Found a column of roles beside it. "
                "Leave one of them out."
            )
        rows["role"] = "report"
    for column, meanings in (("status", cells.STATUSES), ("role", cells.ROLES)):
        if column in rows:
            # a blank means the same as no such column: a trial, which ended as its score says
            blank = str(RUN_COLUMNS[column])
            rows[column] = cells.words(rows[column].fillna(blank), meanings, column, name)
    if "status" not in rows:
        rows["status"] = "done"
    return rows


def _tried(runs: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return the smallest and the largest value that trials tried, by hyperparameter."""
    drawn = runs[runs["role"] == "tune"].filter(like="param ").select_dtypes("number")
    return {
        str(column).removeprefix("param "): (float(values.min()), float(values.max()))
        for column, values in drawn.items()
        if values.notna().any()
    }


def _splits(runs: pd.DataFrame) -> list[str]:
    """Return the columns with scores on the splits of a data set."""
    return [column for column in ("validation", "test", "accuracy") if runs[column].notna().any()]


def _refuse_duplicates(runs: pd.DataFrame, name: str) -> None:
    identity = ["method", "role", "number", "seed"]
    told = runs["number"].notna() | (runs["role"] == "report") & (runs["seed"] != "")
    if "trial" in runs:
        identity.append("trial")
        told |= runs["trial"] != ""
    twice = runs[told].duplicated(identity, keep=False)
    if twice.any():
        pair = runs[told][twice]
        first = pair.iloc[0]
        same = pair[(pair[identity].fillna(-1) == first[identity].fillna(-1)).all(axis=1)]
        number = first["trial"] if "trial" in runs else f"{first['number']:g}"
        what = f"trial {number}" if first["role"] == "tune" else "a reported run"
        seed = f" with seed {first['seed']}" if first["seed"] else ""
        raise ValueError(
            f"{name}: {what} of {first['method']!r}{seed} appears twice (rows "
            f"{', '.join(str(i + 1) for i in same.index[:3])}). Remove the copies, map `epoch` where a "
            f"row is one, map a column `seed` or `role` that tells them apart, or audit one problem at a time."
        )

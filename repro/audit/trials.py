"""Evidence from anybody's table of trials, one row a run.

Columns find their meaning by name, or by a map from what the audit calls them to what the file does (`KEYS`).
What a row cannot mean is refused with the row; what it may mean is read so, and said in a note.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from repro.audit.counting import OBSERVED, count, numbered
from repro.audit.evidence import RUN_COLUMNS, Evidence, Range, runs_frame, written
from repro.audit.stated import refuse_contradictions
from repro.protocol import Fact

KEYS = {
    "method": "name of the method (needed)",
    "score": "what the search minimised, or maximised (needed)",
    "role": "`tune` for a trial, `report` for a reported run (default: every row is a trial)",
    "number": "number of the trial, in the order of the search, or its name (default: order of the rows, one "
    "setting under several seeds being one trial)",
    "seed": "seed of the run",
    "status": "how it ended: done, pruned, diverged, failed, running (default: by the score)",
    "epochs": "length of the run, in epochs",
    "steps": "length of the run, in steps",
    "seconds": "time that it took",
    "validation": "score on the validation split",
    "test": "score on the test split",
    "accuracy": "accuracy, of which few examples leave traces",
    "params": "searched hyperparameters, separated by colons (default: columns `params_*` and `params.*`)",
    "settings": "fixed settings, likewise (default: `settings.*`; blank for one method alone: it has none)",
}
"""What a map may name."""
LISTS = {"params": ("params_", "params."), "settings": ("settings.",)}
"""Keys that name many columns, and how those begin where a map leaves the key out."""
STATUSES = {
    "done": ("done", "complete", "completed", "finished", "success", "ok"),
    "pruned": ("pruned", "stopped"),
    "diverged": ("diverged", "nan", "inf"),
    "failed": ("failed", "fail", "error", "crashed", "killed", "cancelled", "preempted", "timeout"),
    "running": ("running", "waiting", "pending", "queued"),
}
ROLES = {"tune": ("tune", "tuning", "search", "trial"), "report": ("report", "final", "reported")}


def parse_map(texts: Iterable[str]) -> dict[str, str]:
    """Return a map from what the audit calls columns to what a file does.

    Args:
        texts: Each `KEY=COLUMN,KEY=COLUMN,...`; what follows a comma and has no `=` belongs to the column's name.

    Returns:
        Columns by key.

    Raises:
        ValueError: If a part is no pair, a key is unknown, or one is given twice.

    Example:
        >>> parse_map(["method=opt,score=val_loss", "params=lr:momentum"])
        {'method': 'opt', 'score': 'val_loss', 'params': 'lr:momentum'}
    """
    found: dict[str, str] = {}
    for part in (part for text in texts for part in _pairs(text)):
        key, separator, column = part.partition("=")
        if not separator or not key or not column:
            raise ValueError(
                f"`--map` expects KEY=COLUMN pairs separated by commas. Found {part!r}."
            )
        if key not in KEYS:
            raise ValueError(f"`--map` knows no key {key!r}. Choose from: {', '.join(KEYS)}.")
        if key in found:
            raise ValueError(f"`--map` names {key!r} twice: {found[key]!r} and {column!r}.")
        found[key] = column
    return found


def _pairs(text: str) -> list[str]:
    """Return the pairs of a map, in which a column may be called `top1, %`."""
    pairs: list[str] = []
    for part in text.split(","):
        if "=" in part or not pairs or part.strip() in KEYS:
            pairs.append(part)
        elif part.strip():
            pairs[-1] += f",{part}"
    return [pair.strip() for pair in pairs if pair.strip()]


def from_table(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    name: str,
    *,
    maximise: bool = False,
    reported: bool = False,
    facts: tuple[Fact, ...] = (),
) -> Evidence:
    """Return the evidence of a table of trials.

    Args:
        table: One row a run.
        columns: Columns of the table by key of `KEYS`; a key left out is the column of that name, if there is one.
        name: What the comparison is called: the file.
        maximise: Whether larger scores are better.
        reported: Whether all rows are reported runs, none a trial.
        facts: What else is known.

    Returns:
        The evidence.

    Raises:
        ValueError: If a column is missing, or a row means nothing.
    """
    given = {key: key for key in KEYS if key in table.columns} | dict(columns)
    known = [str(c) for c in table.columns]
    lists = {
        key: _listed(given.pop(key, ""), known) or [c for c in known if c.startswith(prefixes)]
        for key, prefixes in LISTS.items()
    }
    for key in ("method", "score"):
        given.setdefault(key, key)
    for key, column in (*given.items(), *((k, c) for k, names in lists.items() for c in names)):
        if column not in table.columns:
            near = difflib.get_close_matches(column, [str(c) for c in table.columns], 1, 0.6)
            raise ValueError(
                f"{name}: no column {column!r} for {key!r} ({KEYS[key]}). Name it with `--map "
                f"{key}=COLUMN`{f'; did you mean {near[0]!r}?' if near else '.'} "
                f"Columns: {', '.join(map(str, table.columns[:20]))}."
            )
    notes = [note for c in lists["params"] if (note := _words_among_numbers(table[c], c))]
    unit = "epochs" if "epochs" in given else "steps"
    frame = pd.DataFrame({"length" if k == unit else k: table[c] for k, c in given.items()})
    for column in lists["params"]:
        frame[f"param {_short(column, LISTS['params'])}"] = table[column]
    for column in lists["settings"]:
        frame[f"setting {_short(column, LISTS['settings'])}"] = table[column]
    evidence = from_rows(
        frame, {}, name, unit=unit, maximise=maximise, reported=reported, facts=facts
    )
    return dataclasses.replace(evidence, notes=(*notes, *evidence.notes))


def from_rows(
    rows: pd.DataFrame,
    ranges: Mapping[tuple[str, str], Range],
    name: str,
    *,
    unit: str = "steps",
    maximise: bool = False,
    reported: bool = False,
    facts: tuple[Fact, ...] = (),
) -> Evidence:
    """Return the evidence of rows whose columns have the audit's names.

    Args:
        rows: One row a run.
        ranges: Declared ranges by method and hyperparameter.
        name: What the comparison is called.
        unit: Of the column `length`; where it is `epochs`, a column `steps` may stand beside it.
        maximise: Whether larger scores are better.
        reported: Whether all rows are reported runs, none a trial.
        facts: What else is known.

    Returns:
        The evidence.

    Raises:
        ValueError: If a row means nothing, or a trial stands twice.
    """
    rows = _typed(rows, unit, reported, name)
    notes = []
    if maximise:
        rows["score"] = -rows["score"]
    lost = (rows["status"] == "done") & ~np.isfinite(rows["score"])
    if lost.any():
        rows.loc[lost, "status"] = "diverged"
        notes.append(f"{int(lost.sum())} scores are missing, NaN or infinite: counted as diverged")
    rows.loc[~np.isfinite(rows["score"]), "score"] = np.inf
    runs = runs_frame(rows)
    _refuse_duplicates(runs, name)
    methods = tuple(dict.fromkeys(runs["method"]))
    notes += _notes(runs, methods)
    stated = {fact.quantity for fact in facts}
    every = count(runs, ranges, name, unit)
    refuse_contradictions(facts, every, _tried(runs), name)
    # a declared range is known better than the values that were seen
    counted = tuple(
        fact for fact in every if not (fact.item == OBSERVED and fact.quantity in stated)
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


def _notes(runs: pd.DataFrame, methods: tuple[str, ...]) -> Iterator[str]:
    """Say what the rows leave open, and how it was read."""
    if len(methods) == 1:
        yield f"one method only ({methods[0]}): nothing to compare it with"
    if not (runs["role"] == "report").any():
        yield (
            "no reported runs: every row is taken for a trial of a search; `--reported` takes every row for a "
            "reported run, a column `role` says which is what"
        )
    unnumbered = runs[(runs["role"] == "tune") & runs["number"].isna()]
    if "trial" not in runs and any(
        numbered(own)["number"].duplicated().any() for _, own in unnumbered.groupby("method")
    ):
        yield "trials have no numbers: one setting under several seeds is taken for one trial"


def _typed(rows: pd.DataFrame, unit: str, reported: bool, name: str) -> pd.DataFrame:
    """Return rows with numbers, seeds, states and roles in the audit's words."""
    rows = rows.copy()
    if rows["method"].isna().any():
        raise ValueError(f"{name}: row {_first(rows['method'].isna())} names no method.")
    if "number" in rows and _read_numbers(rows["number"])[1].any():
        # of trials that have names, nobody can tell whether one is missing
        rows["trial"] = [written(value) for value in rows.pop("number")]
    for column, default in {**RUN_COLUMNS, "steps": math.nan}.items():
        if column not in rows:
            continue
        if isinstance(default, float):
            shown = unit if column == "length" else column
            rows[column] = _numbers(rows[column], shown, name)
            if column in ("length", "steps", "seconds") and (rows[column] < 0).any():
                row = _first(rows[column] < 0)
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
    for column, meanings in (("status", STATUSES), ("role", ROLES)):
        if column in rows:
            # as where there is no such column: a trial, which ended as its score says
            blank = str(RUN_COLUMNS[column])
            rows[column] = _words(rows[column].fillna(blank), meanings, column, name)
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


def _words_among_numbers(values: pd.Series, column: str) -> str:
    """Return a note where a word turns numbers into categories, which have no range."""
    if pd.api.types.is_numeric_dtype(values):
        return ""
    known = values.dropna()
    numbers = pd.to_numeric(known, errors="coerce").notna()
    if not numbers.sum() > (~numbers).sum() or numbers.all():
        return ""
    word = known[~numbers].iloc[0]
    row = _first((values == word).fillna(False))
    return (
        f"{column}: {word!r} in row {row} is no number, so its values are taken for categories, and no range of it is "
        "known; leave such cells blank"
    )


def _listed(text: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that a list separated by colons names; a column may have colons, an object has many columns."""
    parts = text.split(":")
    found: list[str] = []
    while parts:
        # the longest name that is a column; a first part that is none is left to be complained of
        num = next((n for n in range(len(parts), 0, -1) if ":".join(parts[:n]) in columns), 1)
        name = ":".join(parts[:num])
        leaves = [] if name in columns else [c for c in columns if c.startswith(f"{name}.")]
        found += leaves or ([name] if name else [])
        parts = parts[num:]
    return found


def _short(column: str, prefixes: Iterable[str]) -> str:
    return column.removeprefix(next((p for p in prefixes if column.startswith(p)), ""))


def _first(flags: pd.Series) -> int:
    return int(np.flatnonzero(flags.to_numpy())[0]) + 1


def _numbers(values: pd.Series, column: str, name: str) -> pd.Series:
    numbers, bad = _read_numbers(values)
    if bad.any():
        row = _first(bad)
        raise ValueError(
            f"{name}: column {column!r} needs numbers. Found {str(values.iloc[row - 1])[:40]!r} in row {row}. Write plain "
            "numbers, and leave blank what has none."
        )
    return numbers


def _read_numbers(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return cells as numbers, and which of them are neither numbers nor blank."""
    try:
        numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    except (OverflowError, TypeError):
        numbers = values.map(_number).astype("float64")
    blank = values.isna() | values.astype("str").str.lower().isin(["nan", "none", ""])
    return numbers, numbers.isna() & ~blank


def _number(value: object) -> float:
    """Return a cell as a number, NaN where it is none, or one too large."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return math.nan


def _words(
    values: pd.Series, meanings: Mapping[str, tuple[str, ...]], column: str, name: str
) -> pd.Series:
    known = {word: meaning for meaning, words in meanings.items() for word in words}
    plain = values.astype("str").str.strip().str.lower().str.removeprefix("trialstate.")
    found = plain.map(known)
    if found.isna().any():
        row = _first(found.isna())
        raise ValueError(
            f"{name}: unknown {column} {values.iloc[row - 1]!r} in row {row}. Choose from: "
            f"{'; '.join(', '.join(words) for words in meanings.values())}."
        )
    return found


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
            f"{name}: {what} of {first['method']!r}{seed} stands twice (rows "
            f"{', '.join(str(i + 1) for i in same.index[:3])}). Remove the copies, keep the last row of each run "
            f"where a row is an epoch, or map a column `seed` or `role` that tells them apart."
        )

"""What each column of somebody's table means: by its name, by a prefix that trackers write, or by a map."""

from __future__ import annotations

import difflib
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from repro.audit import cells
from repro.audit.evidence import OPTIMIZERS_OWN

KEYS = {
    "method": "name of the method (needed)",
    "score": "what the search minimised, or maximised (needed)",
    "role": "`tune` for a trial, `report` for a reported run (default: every row is a trial)",
    "number": "number of the trial, in the order of the search, or its name (default: order of the rows, one "
    "setting under several seeds being one trial)",
    "seed": "seed of the run",
    "status": "how it ended: done, pruned, diverged, failed, running (default: `state`, or else by the score)",
    "epochs": "length of the run, in epochs",
    "steps": "length of the run, in steps",
    "epoch": "epoch of the row, where a run has a row an epoch: its last row counts, or its best one by "
    "`--fact 'selection moment=best'` for trials and `--fact 'reported moment=best'` for reported runs",
    "step": "step of the row, likewise",
    "seconds": "time that it took, in seconds or as `0 days 00:01:30`",
    "validation": "score on the validation split",
    "test": "score on the test split",
    "accuracy": "accuracy, which shows traces if it is over few examples",
    "params": "searched hyperparameters, separated by colons (default: columns `params_*`, `params.*`, `param_*`, "
    "`config.*`, `config/*`)",
    "param NAME": "names that one hyperparameter has for different methods: `param lr=lr_sgd:lr_adam`",
    "settings": "fixed settings, as `params` (default: `settings.*`; blank for one method alone: it has none; without any trial, "
    "what else a tracker's columns say is fixed for every method)",
}
"""What a map may name."""
PARAM = "param "
"""Beginning of a key that gathers the names of one hyperparameter."""
LISTS = {
    "params": ("params_", "params.", "param_", "config.", "config/", "hyperparameters.values."),
    "settings": ("settings.",),
}
"""Keys that name many columns, and the beginnings of these columns if a map leaves the key out."""
CONFIGURED = ("params.", "config.", "config/")
"""Beginnings of columns in which trackers write the whole configuration of a run, searched or not."""
LABELS = re.compile(
    r"(.*[\W_])?((run|exp|experiment|job|project|group)_?name|dir|folder|path|file|url|id|tags?|notes?|host|hostname)|"
    r"name|group|project|entity|job|exp|experiment|version|commit",
    re.IGNORECASE,
)
"""What is called a name of runs, or a place of their files."""
SCORES = ("metrics.", "summary.")
"""Beginnings of columns of scores, which a map may leave out, too."""
PREFIXED = ("method", "seed")
"""What a tracker writes among the hyperparameters though it is not one."""
LENGTH = "epochs"
"""What is none either where every method has one number of them."""

NOTED = ("user_attrs_", "tags.")
"""Beginnings of columns with what users note at runs."""
PROBLEMS = re.compile(
    r"(data_?set|data|task|problem|env|environment|benchmark)([\W_]?name)?|env[\W_]?id",
    re.IGNORECASE,
)
"""What the column with the problem of a run is called."""


class Columns(NamedTuple):
    """The columns of a table by what they mean.

    Attributes:
        given: Columns by key.
        params: Columns by hyperparameter.
        settings: Columns by setting.
        aliases: The names of one hyperparameter for different methods.
    """

    given: dict[str, str]
    params: dict[str, str]
    settings: dict[str, str]
    aliases: dict[str, tuple[str, ...]]


def parse_map(texts: Iterable[str]) -> dict[str, str]:
    """Return a map from the audit's names of columns to those of a file.

    Args:
        texts: Each `KEY=COLUMN,KEY=COLUMN,...`; text after a comma that has no `=` belongs to the column's name.

    Returns:
        Columns by key.

    Raises:
        ValueError: If a part is not a pair, or a key is unknown or given twice.

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
        if key not in KEYS and not key.startswith(PARAM):
            raise ValueError(f"`--map` knows no key {key!r}. Choose from: {', '.join(KEYS)}.")
        if key.startswith(PARAM) and not (key.removeprefix(PARAM).strip() and column.strip(": ")):
            raise ValueError(
                f"`--map` expects `param NAME=COLUMN:COLUMN`, a name and what has it. Found {part!r}."
            )
        if key in found:
            raise ValueError(f"`--map` names {key!r} twice: {found[key]!r} and {column!r}.")
        found[key] = column
    return found


def _pairs(text: str) -> list[str]:
    """Return the pairs of a map; a column may be called `top1, %`."""
    pairs: list[str] = []
    for part in text.split(","):
        if "=" in part or not pairs or part.strip() in KEYS:
            pairs.append(part)
        elif part.strip():
            pairs[-1] += f",{part}"
    return [pair.strip() for pair in pairs if pair.strip()]


def aliases(columns: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names of hyperparameters that a map gathers, by their common name."""
    return {
        key.removeprefix(PARAM).strip(): [each for each in names.split(":") if each]
        for key, names in columns.items()
        if key.startswith(PARAM)
    }


def has(key: str, table: pd.DataFrame) -> bool:
    """Tell whether a table has a column named like a key, with a tracker's prefix or without."""
    known = [str(c) for c in table.columns]
    return _whole(key, known) in known


def without_lists(columns: Mapping[str, str]) -> dict[str, str]:
    """Return the part of a map that names single columns; every file needs these, unlike hyperparameters."""
    return {k: c for k, c in columns.items() if k not in LISTS and not k.startswith(PARAM)}


def find(table: pd.DataFrame, columns: Mapping[str, str], name: str) -> Columns:
    """Return the columns of a table by what they mean.

    Args:
        table: One row per run.
        columns: The map: columns of the table by key.
        name: What to call the file.

    Returns:
        The columns.

    Raises:
        ValueError: If a column is missing.
    """
    known = [str(c) for c in table.columns]
    mapped = {key: column for key, column in columns.items() if not key.startswith(PARAM)}
    lists = {key: _listed(mapped.pop(key, ""), known) for key in LISTS}
    given = {key: key for key in KEYS if key in known and key not in LISTS}
    given |= {key: _whole(column, known) for key, column in mapped.items()}
    for key in PREFIXED:
        if key not in given and (column := _whole(key, known)) != key:
            given[key] = column
    state = next((c for c in known if c.casefold() in ("status", "state")), "")
    if "status" not in given and state and _are_states(table[state]):
        given["status"] = state
    for key in ("method", "score"):
        given.setdefault(key, key)
    gathered = {
        parameter: [_whole(each, known) for each in _listed(":".join(names), known)]
        for parameter, names in aliases(columns).items()
    }
    named = {*lists["params"], *lists["settings"], *(c for own in gathered.values() for c in own)}
    if LENGTH not in given and (length := _length(table, given["method"], named)):
        given[LENGTH] = length
    # a column that the map lists under one key is not taken for the other by its prefix
    taken = {*given.values(), *lists["params"], *lists["settings"]}
    for key, prefixes in LISTS.items():
        lists[key] = lists[key] or [c for c in known if c.startswith(prefixes) and c not in taken]
    for key, column in (
        *given.items(),
        *((k, c) for k, found in lists.items() for c in found),
        *((PARAM + parameter, c) for parameter, found in gathered.items() for c in found),
    ):
        if column not in known:
            raise ValueError(_missing(table, key, column, name))
    lists["params"] += [c for own in gathered.values() for c in own if c not in lists["params"]]
    shorts = {key: _by_short_name(lists[key], LISTS[key]) for key in LISTS}
    names = {column: short for short, column in shorts["params"].items()}
    return Columns(
        given,
        shorts["params"],
        shorts["settings"],
        {parameter: tuple(names[c] for c in own) for parameter, own in gathered.items()},
    )


def _length(table: pd.DataFrame, method: str, named: Container[str]) -> str:
    """Return the column of a tracker's configuration that has one number of epochs for all runs of a method, if nobody named it."""
    column = next((c for p in CONFIGURED if (c := f"{p}{LENGTH}") in table and c not in named), "")
    if not column or method not in table or not pd.api.types.is_numeric_dtype(table[column]):
        return ""
    alike = table[column].notna().all() and table.groupby(method)[column].nunique().max() == 1
    return column if alike else ""


def fixed(
    table: pd.DataFrame, found: Columns, columns: Mapping[str, str]
) -> tuple[Columns, tuple[str, ...]]:
    """Return the columns of a table of final results, in which a tracker's columns may be settings.

    Nobody searched in such a table, and trackers write what was searched and what was fixed alike. What each method has one
    value of is a setting, unless it is a number of the optimizer or a name.

    Args:
        table: One row a run, none a trial.
        found: Its columns.
        columns: The map: one that lists hyperparameters or settings is taken as it stands.

    Returns:
        The columns, and the settings among them that nobody named.
    """
    if any(key in columns for key in LISTS):
        return found, ()
    gathered = {each for names in found.aliases.values() for each in names}
    by_method = table.groupby(table[found.given["method"]].astype("str").str.strip())
    settings = {
        short: column
        for short, column in found.params.items()
        if column.startswith(CONFIGURED)
        and short not in gathered
        and short not in found.settings
        and not OPTIMIZERS_OWN.fullmatch(short)
        and not LABELS.fullmatch(short)
        and table[column].notna().all()
        and (by_method[column].nunique() == 1).all()
        and not all(
            str(m).casefold() in str(v).casefold() for m, v in by_method[column].first().items()
        )
    }
    params = {short: column for short, column in found.params.items() if short not in settings}
    return found._replace(params=params, settings={**found.settings, **settings}), tuple(settings)


def refuse_several_problems(table: pd.DataFrame, found: Columns, name: str) -> None:
    """Refuse a table of several problems, in which the winner would be the best score on the easiest one.

    Args:
        table: One row a run.
        found: Its columns.
        name: What to call the file.

    Raises:
        ValueError: If a column that no key names has several problems for every method.
    """
    read = {*found.given.values(), *found.params.values(), *found.settings.values()}
    for column in map(str, table.columns):
        prefixes = (*LISTS["params"], *NOTED)
        short = column.removeprefix(next((p for p in prefixes if column.startswith(p)), ""))
        if not PROBLEMS.fullmatch(short) or column in read - set(found.params.values()):
            continue
        if table.groupby(found.given["method"])[column].nunique().min() > 1:
            values = ", ".join(map(str, table[column].dropna().unique()[:3]))
            raise ValueError(
                f"{name}: expected runs of one problem. Found several in column {column!r} ({values}). Audit the rows of one "
                f"at a time, or say `--map settings={column}` if it is no problem."
            )


def _missing(table: pd.DataFrame, key: str, column: str, name: str) -> str:
    """Return the message about a column that is not there."""
    known = [str(c) for c in table.columns]
    near = difflib.get_close_matches(column, known, 1, 0.6)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    if key == "method" and not near:
        told = [
            f"{c} ({', '.join(map(str, table[c].dropna().unique()[:3]))})"
            for c in known
            if table[c].dtype.kind not in "biufcM"
            and 2 <= table[c].nunique() <= len(table) / 2
            and not _are_states(table[c])
        ]
        hint = (
            f", which may be {' or '.join(told[:3])}."
            if told
            else ", add one, or give a file a method: `--csv a.csv b.csv`."
        )
        if any(re.fullmatch(r"[-+.\d][-+.\deE]*", c) for c in known):
            hint = ", or write names above the first row, which seems to have taken their place."
    meaning = KEYS.get(key, KEYS["param NAME"])
    return (
        f"{name}: no column {column!r} for {key!r} ({meaning}). Name it with `--map {key}=COLUMN`{hint} "
        f"Columns: {', '.join(known[:20])}."
    )


def _are_states(values: pd.Series) -> bool:
    """Tell whether most cells of a column are states of runs; a word that is none is refused where states are read."""
    known = values.dropna()
    return bool(cells.read_words(known, cells.STATUSES).notna().mean() > 0.5)


def _whole(column: str, known: Sequence[str]) -> str:
    """Return the full name of a column that is named without the prefix of its tracker, or as W&B's raw export has it."""
    plain = column.removesuffix(".value")
    full = (column, plain, *(f"{p}{column}" for p in (*LISTS["params"], *SCORES)))
    return next((each for each in full if each in known), column)


def _listed(text: str, columns: Sequence[str]) -> list[str]:
    """Return the columns in a list separated by colons; the name of a column may have colons, that of an object means all its columns."""
    parts = text.split(":")
    found: list[str] = []
    while parts:
        # the longest name that is a column; the caller complains about a first part that is none
        num = next((n for n in range(len(parts), 0, -1) if ":".join(parts[:n]) in columns), 1)
        name = ":".join(parts[:num])
        leaves = [] if name in columns else [c for c in columns if c.startswith(f"{name}.")]
        found += leaves or ([_whole(name, columns)] if name else [])
        parts = parts[num:]
    return found


def _by_short_name(columns: Iterable[str], prefixes: Iterable[str]) -> dict[str, str]:
    """Return columns by their names without a prefix, unless two names would be the same."""
    found: dict[str, str] = {}
    for column in columns:
        short = column.removeprefix(next((p for p in prefixes if column.startswith(p)), ""))
        found[column if short in found else short] = column
    return found

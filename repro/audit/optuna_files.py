"""Evidence from an Optuna storage, a SQLite file or a journal: its studies are the methods, and it is never written.

Optuna need not be installed. The content of the file becomes the audit's table of runs: states, hyperparameters
with the ranges that they were drawn from, user attributes.
"""

from __future__ import annotations

import collections
import dataclasses
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from repro.audit import mapping, optuna_journal, optuna_marks, optuna_sqlite
from repro.audit.evidence import FINISHED, Evidence, Range
from repro.audit.hints import constant_apart
from repro.audit.optuna_journal import Raw
from repro.audit.several_files import names_of
from repro.audit.trials import from_rows
from repro.protocol import Fact

ATTRIBUTES = ("seed", "role", "epochs", "steps", "validation", "test", "accuracy")
"""User attributes that are read if trials have them, and that a map may rename."""
UNREAD = "attribute "
"""Beginning of columns with user attributes that nobody gave a meaning."""


def from_storages(
    urls: Iterable[str],
    columns: Mapping[str, str],
    only: Iterable[str] = (),
    facts: tuple[Fact, ...] = (),
    *,
    reported: bool = False,
) -> Evidence:
    """Return the evidence of one or several Optuna storages.

    Args:
        urls: Each `sqlite:///FILE`, or the path of a SQLite file or of a journal.
        columns: Renames user attributes (`seed=run_seed`). `method=NAME` takes the method from the hyperparameter
            or user attribute NAME rather than from the study; trials without it are left out, and a note says how
            many of these had finished. `settings=NAME:NAME` takes user attributes for settings. `param lr=lr_sgd:lr_adam`
            says that these are one hyperparameter.
        only: Names of studies to keep; none means all.
        facts: What else is known.
        reported: Whether all trials are reported runs, none of them trials of a search.

    Returns:
        The evidence, with the studies as methods in the order of the storages; where two have one name, their files name them.

    Raises:
        ValueError: If a storage cannot be read, is of another schema, or its studies cannot be compared.
    """
    frames: list[pd.DataFrame] = []
    ranges: dict[tuple[str, str], Range | None] = {}
    directions: dict[str, bool] = {}
    notes: list[str] = []
    attributes: set[str] = set()
    gathered = mapping.aliases(columns)
    columns = _without_aliases(columns)
    settings = [name for name in columns.pop("settings", "").split(":") if name]
    keys = {columns.get(a, a): a for a in ATTRIBUTES}
    paths = [_path(url) for url in urls]
    name = ", ".join(path.name for path in paths)
    for path, raw in _studies(paths, tuple(only), name):
        directions[raw.name] = _maximises(raw, path)
        rows, bounds, left_out = _assemble(raw, keys, columns.get("method"), settings)
        if broken := len(optuna_marks.infeasible(raw.marks)):
            notes.append(
                f"study {raw.name!r}: {broken} {'trial' if broken == 1 else 'trials'} broke a constraint, and cannot win"
            )
        if left_out:
            notes.append(
                f"study {raw.name!r}: {left_out} of {raw.trials['status'].isin(FINISHED).sum()} finished trials "
                f"have no {columns['method']!r}, which `--map method=` names: left out, and missing from every count"
            )
        if not len(raw.trials):
            notes.append(f"study {raw.name!r} has no trials: left out")
        attributes |= set(raw.attributes["key"])
        frames.append(rows)
        ranges |= bounds
    if not frames or not sum(map(len, frames)):
        raise ValueError(f"{name}: holds no trials.")
    _refuse_unknown([*columns.items(), *(("settings", s) for s in settings)], attributes, name)
    maximise = _shared_direction(directions, name)
    rows = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)
    rows, told = _without_unread(rows, name)
    notes += told
    unit = "epochs" if "epochs" in rows else "steps"
    evidence = from_rows(
        rows.rename(columns={unit: "length"}),
        ranges,
        name,
        unit=unit,
        maximise=maximise,
        reported=reported,
        facts=facts,
        gathered=gathered,
        called={key: attribute for key, attribute in columns.items() if key in ATTRIBUTES},
    )
    return dataclasses.replace(evidence, notes=(*notes, *evidence.notes))


def _without_aliases(columns: Mapping[str, str]) -> dict[str, str]:
    """Return the part of a map that names user attributes, and refuse keys that the storage itself fills."""
    named = {key: c for key, c in columns.items() if not key.startswith(mapping.PARAM)}
    if unread := [key for key in named if key not in ("method", "settings", *ATTRIBUTES)]:
        raise ValueError(
            f"With `--optuna`, `--map` takes the keys method, settings, {', '.join(ATTRIBUTES)}, which name user attributes, and joins "
            f"hyperparameters, as `param lr=lr_sgd:lr_adam`. Found {unread[0]!r}, but scores, states, numbers, times and "
            "hyperparameters are read from the storage itself. Leave it out, or export the trials and use `--csv`."
        )
    return named


def _maximises(raw: Raw, path: Path) -> bool:
    if len(raw.directions) != 1:
        raise ValueError(
            f"{path}: study {raw.name!r} has {len(raw.directions)} objectives, and a comparison needs exactly one. Choose other "
            "studies with `--studies`, or export its trials and audit one objective: `--csv trials.csv --map score=values_0`."
        )
    return raw.directions[0] == 2


def _shared_direction(directions: Mapping[str, bool], name: str) -> bool:
    """Return whether all studies maximise, and refuse a mixture."""
    if len(set(directions.values())) > 1:
        told = ", ".join(
            f"{study} {'maxi' if up else 'mini'}mises" for study, up in directions.items()
        )
        raise ValueError(
            f"{name}: some studies maximise and others minimise ({told}). Choose studies of one direction with `--studies`."
        )
    return next(iter(directions.values()))


def _studies(paths: Sequence[Path], wanted: Collection[str], name: str) -> list[tuple[Path, Raw]]:
    """Return the studies that are wanted, all if none is named, each with its storage; those of one name are called after their files.

    Raises:
        ValueError: If there is no such study, or a storage is given twice.
    """
    every = [
        (path, raw)
        for path in paths
        for raw in (optuna_sqlite.read if _is_sqlite(path) else optuna_journal.read)(path)
    ]
    if missing := [study for study in wanted if study not in {raw.name for _, raw in every}]:
        known = ", ".join(raw.name for _, raw in every)
        raise ValueError(f"{name}: no study {missing[0]!r}. Choose from: {known or 'none'}.")
    chosen = [(path, raw) for path, raw in every if not wanted or raw.name in wanted]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"{name}: expected storages that differ. Found one twice.")
    times = collections.Counter(raw.name for _, raw in chosen)
    files = dict(zip(paths, names_of(paths), strict=True))
    alone = len({raw.name for _, raw in chosen}) == 1
    return [
        (
            path,
            raw
            if times[raw.name] == 1
            else raw._replace(name=files[path] if alone else f"{files[path]} {raw.name}"),
        )
        for path, raw in chosen
    ]


def _without_unread(rows: pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[str]]:
    """Return rows without the user attributes that nobody reads, and a note on one in which methods differ.

    Raises:
        ValueError: If one of them, or a hyperparameter, says that there are several problems.
    """
    unread = [str(c) for c in rows if str(c).startswith(UNREAD)]
    for column in map(str, [*unread, *rows.filter(like="param ")]):
        short = column.partition(" ")[2]
        if not mapping.PROBLEMS.fullmatch(short):
            continue
        known = rows[rows[column].notna()]
        # what nearly every trial has for itself is no problem
        if 2 * known[column].nunique() > len(known):
            continue
        own = [frozenset(map(str, values)) for _, values in known.groupby("method")[column]]
        if any(len(each) > 1 for each in own) or (column in unread and len(set(own)) > 1):
            kind, mend = "hyperparameter", "Audit an export of the trials on one, by `--csv`."
            if column in unread:
                kind, mend = (
                    "user attribute",
                    (
                        "Audit the studies of one at a time, by `--studies`; or say "
                        f"`--map settings={short}` if it is no problem."
                    ),
                )
            values = ", ".join(map(str, known[column].unique()[:3]))
            raise ValueError(
                f"{name}: expected trials on one problem. Found several in the {kind} {short!r} ({values}). {mend}"
            )
    apart = constant_apart(rows, ["method"], unread)
    notes = [
        f"user attribute {column.removeprefix(UNREAD)!r} is not read, and every method has one value of it: {values}; if it is a "
        f"setting, add `--map settings={column.removeprefix(UNREAD)}`"
        for column, values in apart
    ]
    return rows.drop(columns=unread), notes[:1]


def _refuse_unknown(
    columns: Iterable[tuple[str, str]], attributes: Collection[str], name: str
) -> None:
    for key, attribute in columns:
        if key != "method" and attribute not in attributes:
            raise ValueError(
                f"{name}: no user attribute {attribute!r} for {key!r}, which `--map {key}=` names. Attributes: "
                f"{', '.join(sorted(attributes)) or 'none'}."
            )


def _path(url: str) -> Path:
    if "://" in url and not url.startswith("sqlite:///"):
        raise ValueError(
            f"Expected sqlite:///FILE or the path of a journal. Found {url!r}. Copy the study into a file with "
            "`optuna.copy_study`."
        )
    path = Path(url.removeprefix("sqlite:///"))
    if path.is_dir():
        raise ValueError(f"{path}: expected a file. Found a folder.")
    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    return path


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(16) == b"SQLite format 3\0"


def _assemble(
    raw: Raw, keys: Mapping[str, str], method: str | None, settings: Collection[str]
) -> tuple[pd.DataFrame, dict[tuple[str, str], Range | None], int]:
    """Return a study's rows in the audit's columns, what it draws from by method and hyperparameter, and the finished trials left out."""
    wide = raw.trials.set_index("trial_id")
    declared: dict[str, pd.DataFrame] = {}
    words: set[str] = set()
    distributions = {text: json.loads(text) for text in raw.params["distribution"].unique()}
    for parameter, of_parameter in raw.params.groupby("name", sort=False):
        values = of_parameter.set_index("trial_id")["value"].astype("float64")
        kinds = [distributions[text] for text in of_parameter["distribution"].unique()]
        if any("choices" in kind["attributes"] for kind in kinds):
            told = kinds[-1]["attributes"]["choices"]
            # two choices are both ends: they are categories, not a range that could be wider
            numeric = len(told) > 2 and all(type(choice) in (int, float) for choice in told)
            choices = dict(enumerate(told if numeric else map(str, told)))
            wide[f"param {parameter}"] = values.astype("int64").map(choices)
            if len(told) > 1:
                declared[str(parameter)] = of_parameter
            if not numeric:
                words.add(str(parameter))
            continue
        wide[f"param {parameter}"] = values
        declared[str(parameter)] = of_parameter
    wide["enqueued"] = wide.index.isin(
        raw.marks["trial_id"][raw.marks["key"] == optuna_marks.ENQUEUED]
    )
    wide["sampler"] = optuna_marks.samplers(raw.marks).reindex(wide.index)
    reports = wide.get("steps")
    for attribute, key in keys.items():
        of_attribute = raw.attributes[raw.attributes["key"] == attribute]
        if len(of_attribute):
            read = [json.loads(text) for text in of_attribute["value"]]
            # as objects: beside a blank, a large whole number would become a float and lose digits
            wide[key] = pd.Series(read, index=of_attribute["trial_id"], dtype=object)
            if key in ("epochs", "steps") and reports is not None:
                wide[key] = _as_far_as_run(wide[key], reports, wide["status"])
    if "epochs" in wide and not any(keys.get(key) == "steps" for key in raw.attributes["key"]):
        # if epochs are known, how often trials reported says no more
        wide = wide.drop(columns="steps", errors="ignore")
    wide = wide.join(_others(raw.attributes, {*keys, method, "diverged"}, settings))
    # what the sampler had to avoid has a score that counts for nothing, like one of a pruned trial
    broken = wide.index.isin(optuna_marks.infeasible(raw.marks)) & (wide["status"] == "done")
    wide.loc[broken, "status"] = "pruned"
    lost = raw.attributes[raw.attributes["key"] == "diverged"]
    if len(lost):  # `repro.search` marks trials that have a finite worst score so
        diverged = lost.set_index("trial_id")["value"].map(json.loads).astype(bool)
        wide.loc[diverged.index[diverged], "status"] = "diverged"
    wide["method"] = raw.name if method is None else _method(raw, wide, method)
    nameless = wide["method"].isna() & wide["status"].isin(FINISHED)
    if method is not None:
        wide = wide.drop(columns=f"param {method}", errors="ignore").dropna(subset=["method"])
        # one search spent its trials on several methods: their numbers have gaps that mean nothing
        wide["number"] = wide.groupby("method").cumcount().astype("float64")
    bounds = {
        (str(name), parameter): None
        if parameter in words
        else _range([distributions[text] for text in own["distribution"].unique()])
        for name, trials in wide.groupby("method", sort=False)
        for parameter, rows in declared.items()
        if len(own := rows[rows["trial_id"].isin(trials.index)])
    }
    bounds |= optuna_marks.ranges_of_grids(raw.marks, wide["method"], bounds)
    return wide.reset_index(drop=True), bounds, int(nameless.sum())


def _others(
    attributes: pd.DataFrame, known: Collection[str | None], settings: Collection[str]
) -> pd.DataFrame:
    """Return the user attributes that are settings, and those that nobody gave a meaning, a column each, by trial."""
    found = {}
    for attribute, rows in attributes.groupby("key", sort=False):
        if attribute not in known:
            read = [json.loads(text) for text in rows["value"]]
            plain = [v if isinstance(v, (str, int, float)) else json.dumps(v) for v in read]
            kind = "setting " if attribute in settings else UNREAD
            found[f"{kind}{attribute}"] = pd.Series(plain, rows["trial_id"], dtype=object)
    return pd.DataFrame(found)


def _as_far_as_run(lengths: pd.Series, reports: pd.Series, status: pd.Series) -> pd.Series:
    """Return the lengths that trials state, and of pruned ones no more than their reports show at the pace of those that were not.

    A trial often states the length it is meant to have, before it is pruned.
    """
    stated = pd.to_numeric(lengths, errors="coerce")
    pace = (stated / reports)[status == "done"].median()
    # without a trial that ended, nobody knows how far apart reports are
    pruned = (status == "pruned") & reports.notna() & ~(stated <= reports * pace)
    return lengths.mask(pruned, reports * pace)


def _range(kinds: Sequence[Mapping[str, Any]]) -> Range:
    """Return the range that distributions cover together."""
    attributes = [kind["attributes"] for kind in kinds]
    low = min(optuna_marks.end_of(v) for a in attributes for v in a.get("choices", (a.get("low"),)))
    high = max(
        optuna_marks.end_of(v) for a in attributes for v in a.get("choices", (a.get("high"),))
    )
    if any("choices" in a for a in attributes):
        return Range(low, high, low > 0 and high / low >= 10)
    logs = (kind["attributes"].get("log") or "LogUniform" in kind["name"] for kind in kinds)
    return Range(low, high, any(logs), len({(a["low"], a["high"]) for a in attributes}))


def _method(raw: Raw, wide: pd.DataFrame, method: str) -> pd.Series:
    """Return the method of each trial from a hyperparameter or a user attribute."""
    told = raw.attributes[raw.attributes["key"] == method].set_index("trial_id")["value"]
    named = wide.get(f"param {method}", told.map(json.loads).map(str).reindex(wide.index))
    finished = wide["status"].isin(FINISHED)
    if named.isna().all() or (finished.any() and named[finished].isna().all()):
        raise ValueError(
            f"Study {raw.name!r} has no hyperparameter or user attribute {method!r} for `--map method=` in any "
            "finished trial. Choose another, or leave the study out with `--studies`."
        )
    return named

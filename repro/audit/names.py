"""One hyperparameter under a different name for each method: `lr_sgd` and `lr_adam` of a conditional search space.

The rules compare hyperparameters by name. Names are taken for one hyperparameter only if each is used by the trials of
one method alone and joins that method's name to a common one. Everything else the user has to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from repro.audit.evidence import Range, Ranges

SEPARATORS = r"[\W_]+"


def unify(
    rows: pd.DataFrame, ranges: Ranges, gathered: Mapping[str, Sequence[str]], name: str
) -> tuple[pd.DataFrame, dict[tuple[str, str], Range | None], list[str]]:
    """Return rows and ranges in which every hyperparameter has one name.

    Args:
        rows: One row per run, with hyperparameters in columns `param NAME`.
        ranges: Ranges by method and hyperparameter.
        gathered: The names of one hyperparameter by its common name, as the user says.
        name: What the comparison is called.

    Returns:
        The rows, the ranges, and a note on each choice made.

    Raises:
        ValueError: If a name is not a hyperparameter's, is given to two or hides another; or if a row has two values of
            one hyperparameter.
    """
    _refuse_wrong_names(rows, gathered, name)
    owners = _owners(rows)
    guessed = {
        base: names
        for base, names in _guessed(owners).items()
        if not any(set(names) & set(own) for own in gathered.values()) and base not in gathered
    }
    renamed: dict[str, str] = {}
    for parameter, names in {**guessed, **gathered}.items():
        rows = _merged(rows, parameter, names, name)
        renamed |= dict.fromkeys(names, parameter)
    notes = [
        f"{', '.join(names)} are taken for one hyperparameter, {base}, named after each method"
        for base, names in guessed.items()
    ]
    left = {parameter: owner for parameter, owner in owners.items() if parameter not in renamed}
    notes += _hints(left)
    return rows, {(m, renamed.get(p, p)): range_ for (m, p), range_ in ranges.items()}, notes


def _refuse_wrong_names(
    rows: pd.DataFrame, gathered: Mapping[str, Sequence[str]], name: str
) -> None:
    """Refuse names that are not a hyperparameter's, are given to two, or hide another."""
    told: dict[str, str] = {}
    for parameter, names in gathered.items():
        if f"param {parameter}" in rows and parameter not in names:
            raise ValueError(
                f"{name}: `--map 'param {parameter}='` gives a name that another hyperparameter has. Name that one too, as by "
                f"`param {parameter}={':'.join((*names, parameter))}`, or choose another name."
            )
        for each in names:
            if told.setdefault(each, parameter) != parameter:
                raise ValueError(
                    f"{name}: `--map` takes {each!r} for two hyperparameters, {told[each]!r} and {parameter!r}. Leave one out."
                )
        for each in names:
            if f"param {each}" not in rows:
                known = [str(c).removeprefix("param ") for c in rows if str(c).startswith("param ")]
                raise ValueError(
                    f"{name}: no hyperparameter {each!r}, which `--map 'param {parameter}='` names. Hyperparameters: "
                    f"{', '.join(known) or 'none'}."
                )


def _owners(rows: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return the methods whose rows have a hyperparameter."""
    return {
        str(column).removeprefix("param "): tuple(rows["method"][rows[column].notna()].astype("str").unique())
        for column in rows
        if str(column).startswith("param ")
    }  # fmt: skip


def _guessed(owners: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Return hyperparameters that one method alone has, by what their names are without that method's."""
    found: dict[str, list[str]] = {}
    for parameter, methods in owners.items():
        if len(methods) == 1 and (base := _without(parameter, methods[0])):
            found.setdefault(base, []).append(parameter)
    several: dict[str, list[str]] = {}
    for base, names in found.items():
        # a hyperparameter that has the common name already must belong to other methods, or it is another one
        every = [*names, *([base] if base in owners else [])]
        owned = [method for each in every for method in owners[each]]
        if len(every) > 1 and len(set(owned)) == len(owned):
            several[base] = every
    return several


def _without(parameter: str, method: str) -> str:
    """Return a name without the method's at its front or back; empty if the method's is not there."""
    words = [re.escape(word) for word in re.split(SEPARATORS, method) if word]
    if not words:
        return ""
    called = r"[\W_]*".join(words)
    match = re.fullmatch(
        f"(?:(?P<front>.+?){SEPARATORS}{called}|{called}{SEPARATORS}(?P<back>.+))", parameter, re.IGNORECASE
    )  # fmt: skip
    return (match["front"] or match["back"]) if match else ""


def _merged(rows: pd.DataFrame, parameter: str, names: Sequence[str], name: str) -> pd.DataFrame:
    columns = [f"param {each}" for each in names]
    twice = rows[columns].notna().sum(axis=1) > 1
    if twice.any():
        both = [each for each in names if pd.notna(rows.loc[twice, f"param {each}"].iloc[0])]
        raise ValueError(
            f"{name}: row {int(twice.to_numpy().argmax()) + 1} has values of {' and '.join(both)}, which "
            f"`--map 'param {parameter}='` takes for one hyperparameter. Leave one of them out."
        )
    values = rows[columns[0]]
    for column in columns[1:]:
        values = values.where(values.notna(), rows[column])
    return rows.drop(columns=columns).assign(**{f"param {parameter}": values.infer_objects()})


def _hints(owners: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Say which names may mean one hyperparameter: each used by one method alone, with a word in common."""
    alone = {p: methods[0] for p, methods in owners.items() if len(methods) == 1}
    words: dict[str, list[str]] = {}
    for parameter in alone:
        for word in dict.fromkeys(re.split(SEPARATORS, parameter.lower())):
            if word and not word.isdigit():
                words.setdefault(word, []).append(parameter)
    said: set[str] = set()
    for word, names in words.items():
        methods = {alone[each] for each in names}
        if len(names) > 1 and len(methods) == len(names) and not said & set(names):
            said |= set(names)
            told = ", ".join(f"{each} of {alone[each]} alone" for each in names)
            yield (
                f"{told}: compared with nothing; if they are one hyperparameter, say so by "
                f"`--map 'param {word}={':'.join(names)}'`"
            )

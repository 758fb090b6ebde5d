"""One comparison in one file or in several: where every method was searched by itself, each has a file of its own.

Tables are read one below the other. Where none says whose rows it holds, the file does: its methods are called by what
tells their paths apart.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from repro.audit import mapping, trials
from repro.audit.evidence import Evidence
from repro.audit.table_files import read_table
from repro.protocol import Fact

METHOD = "method"
SHOWN = 3
"""Files that a title names."""


def from_files(
    paths: Sequence[Path],
    columns: Mapping[str, str],
    *,
    maximise: bool | None = None,
    reported: bool = False,
    facts: tuple[Fact, ...] = (),
) -> Evidence:
    """Return the evidence of tables of trials.

    Args:
        paths: Files as of `read_table`, at least one.
        columns: See `trials.from_table`; a file may lack hyperparameters that others have, and nothing else.
        maximise: See `trials.from_table`.
        reported: See `trials.from_table`.
        facts: What else is known.

    Returns:
        The evidence of all of them together.

    Raises:
        ValueError: If a file cannot be read, lacks a column or is given twice, or a row means nothing.
    """
    method, seed = (columns.get(key, key) for key in (METHOD, "seed"))
    _refuse_copies(paths)
    tables = [read_table(path, method, seed) for path in paths]
    evidence_of = functools.partial(
        trials.from_table, maximise=maximise, reported=reported, facts=facts
    )
    if len(paths) == 1:
        return evidence_of(tables[0], columns, paths[0].name)
    names = names_of(paths)
    own = METHOD not in columns and not any(mapping.has(METHOD, table) for table in tables)
    if own:
        tables = [t.assign(**{METHOD: name}) for t, name in zip(tables, names, strict=True)]
    everywhere = mapping.without_lists(columns)
    for path, table in zip(paths, tables, strict=True):
        mapping.find(table, everywhere, str(path))
    title = ", ".join(names[:SHOWN])
    title += f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    try:
        evidence = evidence_of(pd.concat(tables, ignore_index=True), columns, title)
    except ValueError as error:
        counted = " Rows are counted on from file to file."
        raise ValueError(
            f"{error}{counted if re.search(r' rows? ', str(error)) else ''}"
        ) from error
    told = [f"{name} is {path}" for name, path in zip(names, paths, strict=True)] if own else []
    note = f"no column names methods: every file is one ({', '.join(told)})"
    return dataclasses.replace(evidence, notes=(note, *evidence.notes)) if own else evidence


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return short names of different files.

    Args:
        paths: The files.

    Returns:
        Their names without suffixes; where these are not different, what tells the paths apart.

    Example:
        >>> names_of([Path("sweeps/sgd.csv"), Path("sweeps/adam.csv.gz")])
        ['sgd', 'adam']
        >>> names_of([Path("sweeps/sgd/trials.csv"), Path("sweeps/adam/trials.csv")])
        ['sgd', 'adam']
    """
    stems = [path.name.removesuffix(".gz").rpartition(".")[0] for path in paths]
    parts = [(*path.parent.parts, stem) for path, stem in zip(paths, stems, strict=True)]
    first = _num_shared(parts)
    inner = [each[first:] for each in parts]
    last = _num_shared([each[::-1] for each in inner])
    told = ["/".join(each[: len(each) - last]) for each in inner]
    for names in (stems, told):
        if len(set(names)) == len(names) and all(names):
            return names
    return [str(path) for path in paths]


def _num_shared(parts: Sequence[tuple[str, ...]]) -> int:
    """Return how many first parts all have in common."""
    alike = (len(set(level)) == 1 for level in zip(*parts, strict=False))
    return sum(itertools.takewhile(bool, alike))


def _refuse_copies(paths: Sequence[Path]) -> None:
    known: set[Path] = set()
    for path in paths:
        if path.resolve() in known:
            raise ValueError(f"{path}: expected files that differ. Found this one twice.")
        known.add(path.resolve())

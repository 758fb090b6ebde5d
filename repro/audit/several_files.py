"""One comparison from one or several files: methods that were searched separately may have a file each.

The tables are read as one. If they have no column of methods, each file is a method, named by the part of its path in
which it differs from the others.
"""

from __future__ import annotations

import bisect
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
        paths: Files for `read_table`, at least one.
        columns: See `trials.from_table`; a file may lack hyperparameters that others have, but nothing else.
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
    lengths = [len(table) for table in tables]
    try:
        evidence = evidence_of(pd.concat(tables, ignore_index=True), columns, title)
    except ValueError as error:
        raise ValueError(_by_file(str(error), paths, lengths)) from error
    notes = [_by_file(note, paths, lengths) for note in evidence.notes]
    if own:
        told = ", ".join(f"{name} is {path}" for name, path in zip(names, paths, strict=True))
        notes.insert(0, f"no column names methods: every file is one ({told})")
    return dataclasses.replace(evidence, notes=tuple(notes))


def names_of(paths: Sequence[Path]) -> list[str]:
    """Return short names of different files.

    Args:
        paths: The files.

    Returns:
        Their names without suffixes; if these are not distinct, the parts that tell the paths apart.

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


def _by_file(message: str, paths: Sequence[Path], lengths: Sequence[int]) -> str:
    """Return a message about rows of the joint table, counted from 1, with their places in the files."""
    ends = list(itertools.accumulate(lengths))

    def place(row: int) -> str:
        file = bisect.bisect_left(ends, row)
        return f"row {row - ends[file] + lengths[file]} of {paths[file]}"

    def places(found: re.Match[str]) -> str:
        return ", ".join(place(int(row)) for row in found[1].split(", "))

    return re.sub(r"\brows? (\d+(?:, \d+)*)", places, message)


def _num_shared(parts: Sequence[tuple[str, ...]]) -> int:
    """Return how many leading parts all have in common."""
    alike = (len(set(level)) == 1 for level in zip(*parts, strict=False))
    return sum(itertools.takewhile(bool, alike))


def _refuse_copies(paths: Sequence[Path]) -> None:
    known: set[Path] = set()
    for path in paths:
        if path.resolve() in known:
            raise ValueError(f"{path}: expected files that differ. Found this one twice.")
        known.add(path.resolve())

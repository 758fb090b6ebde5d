"""Flügel et al. 2024: the final values that their searches ended at, seed 0, beside those of our runs of that seed."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
import pandas as pd

from figures.approaches import ordered
from figures.fluegel2024_runs import FINAL, FUNCTIONS, STUDY, narrowed
from repro import measures
from repro.results import EmptySelectionError, Results
from repro.tables import Cell, Column, Table

FAMILY = "functions"
RTOL, SMALLEST = 1e-4, 1e-30
"""Relative difference that counts as met, and magnitude below which both count as zero."""
TITLE = (
    "Final values on the closed-form functions at the published learning rates, seed 0: those in the history of the authors' "
    "repository, and our run of the same seed"
)
COLUMNS = (
    Column("function", "Function", "left"),
    Column("n", "n"),
    Column("method", "Approach", "left"),
    Column("published", "Published", format=".6g"),
    Column("ours", "Ours", format=".6g"),
    Column("relative_difference", "Relative difference", format=".1e"),
    Column("met", "Met", "left"),
    Column("scale", "Scale", "left"),
)
NOTES = (
    "Our run has the authors' draws: the generator of the tangents is seeded with the repetition's number, as theirs was. The value "
    "is that of the last step, not the lowest. Their search stopped after 100 steps without improvement, their reported runs and "
    "ours after 50.",
    f"Met: within {RTOL:g} relative, or both below {SMALLEST:g} in magnitude; then there is no relative difference (n/a). A run that "
    "diverged has no final value (n/a).",
)


def table(results: Results) -> Table:
    """Return a row for every published final value; its notes count those met."""
    stated = _published(results)
    found = _found(results)
    rows = stated.join(found, on=["setting", "method"])
    cells = [_cells(row) for row in rows.itertuples(index=False)]
    names = [str(row[0]) for row in cells]
    notes = [
        _count(name, [row for row in cells if row[0] == name]) for name in dict.fromkeys(names)
    ]
    if smaller := sorted(set(found["scale"]) - {"full"}):
        notes.append(f"Rows at scale {' and '.join(smaller)} have fewer steps than published.")
    return Table("fluegel2024_seed0", TITLE, COLUMNS, tuple(cells), (*NOTES, *notes))


def _published(results: Results) -> pd.DataFrame:
    """Return the facts on functions: function, n, method, setting, value, in the order of the paper."""
    columns = ["function", "n", "method", "setting", "value"]
    facts = results.facts
    if facts.empty:
        return pd.DataFrame(columns=columns)
    facts = facts[(facts["study"] == STUDY) & (facts["quantity"] == FINAL)]
    parts = facts["setting"].str.rsplit("-", n=1).str
    facts = facts.assign(function=parts[0], n=parts[1])
    facts = facts[facts["function"] != "angles"]  # those are of no function's name
    facts = facts.assign(n=facts["n"].astype("int64"))
    names = [*FUNCTIONS, *sorted(set(facts["function"]) - set(FUNCTIONS))]
    methods = ordered(facts["method"])
    facts = facts.assign(
        place=facts["function"].map(names.index), approach=facts["method"].map(methods.index)
    )
    return facts.sort_values(["place", "n", "approach"], ignore_index=True)[columns]


def _found(results: Results) -> pd.DataFrame:
    """Return our final values, NaN of a diverged run, and their scale by setting and method."""
    parts, pairs = [], []
    if len(results.facts):
        with contextlib.suppress(EmptySelectionError):
            ours = narrowed(results, FAMILY)
            pairs = list(measures.published_pairs(ours, FAMILY, FINAL, STUDY))
    for runs, values, _ in pairs:
        setting = runs["experiment"].str.removeprefix(f"{FAMILY}-")
        parts.append(runs[["method", "scale"]].assign(setting=setting, ours=values))
    columns = ["setting", "method", "ours", "scale"]
    rows = pd.concat(parts) if parts else pd.DataFrame(columns=columns)
    return rows[columns].set_index(["setting", "method"])


def _cells(row: tuple[Any, ...]) -> tuple[Cell, ...]:
    function, n, method, _, published, ours, scale = row
    label = (str(function), int(n), str(method), float(published))
    if not isinstance(scale, str):
        return (*label, None, None, None, None)
    difference = abs(ours - published)
    tiny = abs(ours) < SMALLEST and abs(published) < SMALLEST
    met = tiny or difference <= RTOL * abs(published)
    relative = math.nan if tiny or published == 0 else difference / abs(published)
    return (*label, float(ours), relative, "yes" if met else "no", scale)


def _count(function: str, rows: list[tuple[Cell, ...]]) -> str:
    run = [row for row in rows if row[6] is not None]
    met = sum(row[6] == "yes" for row in run)
    largest = np.array([row[5] for row in run if isinstance(row[5], float)])
    known = largest[np.isfinite(largest)]
    most = f"; largest relative difference {known.max():.1e}" if len(known) else ""
    return f"{function}: {met} of {len(run)} met, {len(rows) - len(run)} not run{most}."

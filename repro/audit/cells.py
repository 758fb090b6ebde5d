"""What a cell of somebody's table means: a number, a state, a role; or one line on why it cannot be read."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

STATUSES = {
    "done": ("done", "complete", "completed", "finished", "success", "succeeded", "ok", "terminated"),
    "pruned": ("pruned", "stopped", "early_stopped"),
    "diverged": ("diverged", "nan", "inf"),
    "failed": (
        "failed", "fail", "error", "errored", "crashed", "killed", "canceled", "cancelled", "aborted", "preempting",
        "preempted", "timeout", "oom", "out_of_memory", "node_fail", "invalid",
    ),
    "running": ("running", "waiting", "pending", "queued", "scheduled", "paused"),
}  # fmt: skip
FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""Words of yes and no, in lower case."""
BITS = {"1": True, "1.0": True, "0": False, "0.0": False}
"""Numbers that stand for them beside such words."""
DURATION = r"(?:\d+ days? \+?)?\d+:\d\d:\d\d(?:\.\d+)?"
"""A time as Optuna's export and spreadsheets write it: days, hours, minutes and seconds."""
COMMAS = "Write decimal points, not commas, and nothing between thousands."
"""What to do if a number has a comma, which may be decimal or between thousands."""
ROLES = {"tune": ("tune", "tuning", "search", "trial"), "report": ("report", "final", "reported")}


def first(flags: pd.Series) -> int:
    """Return the number of the first row that is flagged, counted from 1."""
    return int(np.flatnonzero(flags.to_numpy())[0]) + 1


def numbers(values: pd.Series, column: str, name: str) -> pd.Series:
    """Return a column as numbers, with NaN for blanks.

    Args:
        values: The column.
        column: What to call it.
        name: What to call the file.

    Returns:
        The numbers.

    Raises:
        ValueError: If a cell is neither a number nor blank.
    """
    found, bad = read_numbers(values)
    if bad.any():
        row = first(bad)
        cell = str(values.iloc[row - 1])[:40]
        mend = COMMAS if "," in cell else "Write plain numbers, and leave blank what has none."
        if cell == column:
            mend = "The header stands there again: leave that row out."
        raise ValueError(
            f"{name}: column {column!r} needs numbers. Found {cell!r} in row {row}. {mend}"
        )
    return found


def flags(values: pd.Series) -> pd.Series:
    """Return a column of yes and no with one word for each, if it has several: `True`, `yes` and 1 mean the same."""
    texts = values.dropna().astype("str").str.strip().str.lower()
    meanings = texts.map(FLAGS | BITS)
    words = texts.isin(FLAGS)
    if meanings.isna().any() or not words.any():
        return values
    if words.all() and texts.nunique() == meanings.nunique():
        return values
    return meanings.astype("object").reindex(values.index)


def seconds(values: pd.Series) -> pd.Series:
    """Return a column with times such as `0 days 00:01:30` as seconds, and everything else as it is."""
    texts = values.astype("str").str.strip()
    timed = texts.str.fullmatch(DURATION)
    if not timed.any():
        return values
    return values.astype("object").mask(timed, pd.to_timedelta(texts[timed]).dt.total_seconds())


def read_numbers(values: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return cells as numbers, and which of them are neither numbers nor blank."""
    if values.dtype.kind in "mM":  # dates, which pandas would count in fractions of a second
        values = values.astype("str").where(values.notna())
    try:
        found = pd.to_numeric(values, errors="coerce").astype("float64")
    except (OverflowError, TypeError):
        found = values.map(_number).astype("float64")
    blank = values.isna() | values.astype("str").str.strip().str.lower().isin(["nan", "none", ""])
    return found, found.isna() & ~blank


def _number(value: object) -> float:
    """Return a cell as a number, NaN if it is not one or is too large."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return math.nan


def read_words(values: pd.Series, meanings: Mapping[str, tuple[str, ...]]) -> pd.Series:
    """Return the meaning of words in upper or lower case, NaN for unknown ones."""
    known = {word: meaning for meaning, words in meanings.items() for word in words}
    plain = values.astype("str").str.strip().str.lower().str.removeprefix("trialstate.")
    return plain.map(known)


def words(
    values: pd.Series, meanings: Mapping[str, tuple[str, ...]], column: str, name: str
) -> pd.Series:
    """Return the meaning of every word of a column.

    Args:
        values: The column.
        meanings: Words by what they mean.
        column: What to call the column.
        name: What to call the file.

    Returns:
        The meanings.

    Raises:
        ValueError: If a word is unknown.
    """
    found = read_words(values, meanings)
    if found.isna().any():
        row = first(found.isna())
        raise ValueError(
            f"{name}: unknown {column} {values.iloc[row - 1]!r} in row {row}. Choose from: "
            f"{'; '.join(', '.join(each) for each in meanings.values())}."
        )
    return found


def refuse_numbers_as_words(values: pd.Series, column: str, name: str) -> None:
    """Refuse a column of numbers with decimal commas or percent signs, which would be taken for categories.

    Args:
        values: The column.
        column: What to call it.
        name: What to call the file.

    Raises:
        ValueError: If the column has such numbers.
    """
    if pd.api.types.is_numeric_dtype(values):
        return
    known = values.dropna().astype("str")
    if len(known) and known.str.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)\s*%\s*").all():
        raise ValueError(
            f"{name}: column {column!r} needs numbers. Found {known.iloc[0]!r} in row {first(values.notna())}. Leave percent "
            "signs out."
        )
    if (
        len(known)
        and known.str.fullmatch(r"\s*[-+]?\d*,\d+([eE][-+]?\d+)?\s*|\s*[-+]?\d+\s*").all()
    ):
        comma = known[known.str.contains(",")]
        if len(comma):
            raise ValueError(
                f"{name}: column {column!r} needs numbers. Found {comma.iloc[0]!r} in row {first(values == comma.iloc[0])}. "
                f"{COMMAS}"
            )

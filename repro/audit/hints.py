"""Hints: what names, columns and cells suggest without saying it, which a note tells and no rule takes for known.

A column that nobody reads may be a setting or a problem; one that is called `std` makes its row a mean; a cell in the
place of a seed may hold several.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from repro.audit import cells, direction, mapping
from repro.audit.evidence import Evidence

SHOWN = 5
"""Columns that a note lists."""
SPREADS = re.compile(
    r"(.*[\W_])?(std|sd|stdev|std_?dev|stderr|sem|ci|ci95)([\W_].*)?", re.IGNORECASE
)
"""What a column is called that has the spread of repetitions."""
NUMBER = re.compile(r"-?\d+")
"""A seed, most often."""
LISTED = re.compile(r"[\[({]?\s*\d+(\s*([,;:+]|\.\.+|-|to)\s*\d+)+\s*[\])}]?")
"""Several seeds in one cell."""
SUMMARIES = (
    "mean", "avg", "average", "median", "std", "sd", "sem", "stderr", "min", "max", "all", "total",
)  # fmt: skip
"""What a row is called in the place of a seed that summarises others."""
TESTED = re.compile(r"(.*[\W_])?test([\W_].*)?", re.IGNORECASE)
"""What a score on the test split is called."""


def of_names(table: pd.DataFrame, found: mapping.Columns, evidence: Evidence) -> Iterator[str]:
    """Yield what the names of columns say of the scores, which no rule takes for known."""
    score = found.given["score"]
    tuned = (evidence.runs["role"] == "tune").any()
    by_test = TESTED.fullmatch(score) and not direction.SKLEARN.search(score.lower())
    if tuned and by_test and "test" not in found.given and not evidence.word("selection split"):
        yield (
            f"trials are scored by {score!r}, by its name a test score, but nobody says so: if it is, add "
            "`--fact 'selection split=test'`"
        )
    read = {*found.given.values(), *found.params.values(), *found.settings.values()}
    roles = [found.given[key] for key in ("method", "role") if key in found.given]
    unread = [c for c in map(str, table.columns) if c not in read and direction.by_name(c) is None]
    for column, values in list(constant_apart(table, roles, unread))[:SHOWN]:
        yield (
            f"column {column!r} is not read, and every method has one value in it: {values}; if it is a setting, add "
            f"`--map settings={column}`"
        )
    for column, values in list(_dividing(table, found.given["method"], unread))[:1]:
        yield (
            f"column {column!r} is not read, and divides the rows of every method alike ({values}): if these are several problems, "
            "models or metrics, audit the rows of one at a time"
        )
    if spread := spread_of(table, found):
        yield (
            f"column {spread!r} seems to be the spread of repetitions, and a row their mean: how many there are is unknown; give "
            "every repetition a row, or say `--fact repetitions=5`"
        )


def without_test_rows(table: pd.DataFrame, found: mapping.Columns) -> pd.DataFrame:
    """Return a log without the rows that a tracker wrote once, after training, with test scores and no others."""
    if {"role", "test"} & found.given.keys():
        return table
    score = table[found.given["score"]]
    tested = [c for c in map(str, table.columns) if TESTED.fullmatch(c) and c != score.name]
    alone = score.isna() & table[tested].notna().any(axis=1)
    if not tested or table.loc[~alone, tested].notna().any(axis=None):
        return table
    return table[~alone].reset_index(drop=True)


def spread_of(table: pd.DataFrame, found: mapping.Columns) -> str:
    """Return the column of spreads where every method has one row, which is then a mean; empty if there is none."""
    columns = (c for c in map(str, table.columns) if SPREADS.fullmatch(c) and c not in found.params)
    return next(columns, "") if table.groupby(found.given["method"]).size().max() == 1 else ""


def constant_apart(
    table: pd.DataFrame, by: Sequence[str], columns: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yield the columns in which methods differ and runs of one method do not, with the values.

    Args:
        table: One row a run.
        by: Columns that tell methods apart, and roles.
        columns: Those to look at; names of methods and of runs are left out, and so is any with a blank.

    Yields:
        A column, and the value of each method in words.
    """
    groups = table.groupby([table[c].astype("str").str.strip() for c in by], sort=False)
    alone = groups.size().min() < 2
    for column in columns:
        short = column.rpartition(" ")[2]
        # of single rows every number is constant, scores too
        number = alone and pd.api.types.is_float_dtype(table[column])
        if number or mapping.LABELS.fullmatch(short) or table[column].isna().any():
            continue
        values = groups[column].first()
        names = [k if isinstance(k, tuple) else (k,) for k in values.index]
        own = [
            str(name[0]).casefold() in str(v).casefold()
            for name, v in zip(names, values, strict=True)
        ]
        if (groups[column].nunique() == 1).all() and values.nunique() > 1 and not all(own):
            told = zip(names, values, strict=True)
            yield column, ", ".join(f"{v} for {' '.join(map(str, name))}" for name, v in told)


def _dividing(
    table: pd.DataFrame, method: str, columns: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yield the columns of words that divide the rows of every method alike, as those of several problems or metrics."""
    num = table.groupby(method).size().min()
    for column in columns:
        if mapping.LABELS.fullmatch(column) or table[column].dtype.kind in "biufcM":
            continue
        words = [
            tuple(sorted(own.value_counts().items()))
            for _, own in table[column].astype("str").groupby(table[method])
        ]
        if len(set(words)) == 1 and len(words) > 1 and 2 <= len(words[0]) <= num / 2:
            yield column, ", ".join(str(word) for word, _ in words[0][:3])


def words_among_numbers(values: pd.Series, column: str) -> str:
    """Return a note if a word turns numbers into categories, which have no range."""
    if pd.api.types.is_numeric_dtype(values):
        return ""
    known = values.dropna()
    numbers = ~cells.read_numbers(known)[1]
    if not numbers.sum() > (~numbers).sum() or numbers.all():
        return ""
    word = known[~numbers].iloc[0]
    row = cells.first((values == word).fillna(False))
    return (
        f"{column}: {str(word)[:40]!r} in row {row} is no number, so its values are taken for categories, and no range of it is "
        "known; leave such cells blank"
    )


def strange_seeds(rows: pd.DataFrame, name: str) -> Iterator[str]:
    """Take lists out of the seeds, and say so; refuse rows that summarise others.

    Yields:
        A note on the lists, if there are any.

    Raises:
        ValueError: If a cell among numbers says `mean` or the like.
    """
    if "seed" not in rows:
        return
    numbers = rows["seed"].map(lambda seed: NUMBER.fullmatch(seed) is not None)
    words = rows["seed"].str.casefold().isin(SUMMARIES)
    if words.any() and numbers.any():
        row = cells.first(words)
        raise ValueError(
            f"{name}: expected a seed in row {row}. Found {rows['seed'].iloc[row - 1]!r} among numbers, as of a row that summarises "
            "others. Leave such rows out."
        )
    several = rows["seed"].map(lambda seed: LISTED.fullmatch(seed) is not None)
    if several.any():
        yield (
            f"seeds such as {rows['seed'][several].iloc[0]!r} name several: such a row is a mean of runs, and no rule reads its seeds; "
            "give every run a row"
        )
        rows.loc[several, "seed"] = ""

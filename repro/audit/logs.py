"""Logs, in which a run has one row per epoch: they are recognised, and reduced to one row per run.

Trackers write such tables, in which every epoch would count as a trial. So a table that can only be a log is
refused, with the map that mends it, and one that may be a log gets a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

TIMES = (
    "epoch", "epochs", "step", "steps", "_step", "global_step", "trainer/global_step", "training_iteration", "iteration",
    "iter", "timestep",
)  # fmt: skip
"""What trackers call the column that counts the rows of a run."""
LOGGED = 0.5
"""A table is a log if more than this share of its rows belongs to runs of several rows."""
CUMULATIVE = 0.8
"""Times count from the start of a run if more than this share of rows has a larger time than the row before."""
WORDS = {"tune": "trial", "report": "reported run"}
"""What a run is called, by its role."""
AT = "at"
"""Column of a table of runs: when in its run a row was written."""


def find(table: pd.DataFrame, identity: Sequence[str]) -> str:
    """Return the column that counts the rows of runs, empty if the table has one row per run.

    Args:
        table: Somebody's table.
        identity: Columns that tell its runs apart.

    Returns:
        The column, which grows from row to row of every run, or falls if the latest rows come first.
    """
    times = [str(c) for c in table.columns if str(c).casefold() in TIMES and c not in identity]
    if not times or not identity:
        return ""
    run = table.groupby(list(identity), dropna=False, sort=False).ngroup()
    several = run.map(run.value_counts()) > 1
    if several.mean() <= LOGGED:
        return ""
    for column in times:
        at = pd.to_numeric(table[column], errors="coerce")
        steps = at[several].groupby(run[several]).diff().dropna()
        ordered = (steps >= 0).all() or (steps <= 0).all()
        if at.notna().all() and ordered and (steps != 0).mean() > LOGGED:
            return column
    return ""


def last_rows(
    rows: pd.DataFrame, unit: str, moments: Mapping[tuple[str, str], str], name: str
) -> tuple[pd.DataFrame, str]:
    """Return one row per run: the last one that has a score, or the best one.

    Scores may be written less often than rows. A run whose scores end earlier than that explains has no score.

    Args:
        rows: Typed rows with a column `at`, and scores for which smaller is better.
        unit: What `at` counts: epochs or steps.
        moments: `last` or `best`, by method, empty for all others, and role: which row of a run has its score, if not the last.
        name: What the comparison is called.

    Returns:
        The rows, and how they were read.

    Raises:
        ValueError: If a row does not say when it was written, or one run seems to have two rows at one time.
    """
    if rows[AT].isna().any():
        row = int(rows[AT].isna().to_numpy().argmax()) + 1
        raise ValueError(f"{name}: row {row} has no {unit[:-1]}, which the map names. Fill it in.")
    searched = [c for c in rows if str(c).startswith(("param ", "setting "))]
    named = [c for c in ("number", "trial") if c in rows and rows[c].notna().all()]
    identity = ["method", *(c for c in ("role", "seed") if c in rows), *(named or searched)]
    roles = rows["role"] if "role" in rows else pd.Series("tune", index=rows.index)
    stated = [
        moments.get((method, role), moments.get(("", role), "last"))
        for method, role in zip(rows["method"], roles, strict=True)
    ]
    best = pd.Series(stated, index=rows.index) == "best"
    rows = rows.assign(run=rows.groupby(identity, dropna=False, sort=False).ngroup())
    _refuse_two_at_once(rows, unit, name, named=bool(named))
    rows = rows.sort_values(["run", AT], kind="stable")
    known = rows[rows["score"].notna()]
    written, scored = rows.groupby("run")[AT], known.groupby("run")[AT]
    ends = written.max()
    lasts = scored.max().reindex(ends.index)
    gaps = scored.diff().groupby(known["run"]).max().reindex(ends.index)
    # the first score comes after as many epochs as lie between two of them
    gaps = gaps.fillna(scored.min().reindex(ends.index) - written.min())
    ended = (ends == lasts) | (ends - lasts < gaps)
    lowest = known[best.loc[known.index]].sort_values(["run", "score"], kind="stable")
    latest = known[~best.loc[known.index]]
    kept = pd.concat([lowest.groupby("run").head(1), latest.groupby("run").tail(1)])
    bare = rows[~rows["run"].isin(kept["run"])].groupby("run").tail(1)
    kept = pd.concat([kept, bare]).sort_index()
    kept = kept.assign(length=kept["run"].map(ends) + float(rows[AT].min() == 0))
    kept.loc[~kept["run"].map(ended), "score"] = np.nan
    last = rows.groupby("run").tail(1).set_index("run")
    for column in ("status", "seconds"):
        if column in kept:
            kept[column] = kept["run"].map(_seconds(rows) if column == "seconds" else last[column])
    told = {
        WORDS[role]: " or ".join(
            sorted({"best" if each else "last" for each in best[roles == role]}, reverse=True)
        )
        for role in WORDS
        if (roles == role).any()
    }
    if len(set(told.values())) == 1:
        told = {"run": next(iter(told.values()))}
    scores = ", ".join(
        f"the {moment} row of a {run} with a score is its score" for run, moment in told.items()
    )
    note = f"{len(rows)} rows of {len(kept)} runs: {scores}, and its largest {unit[:-1]} its length"
    return kept.drop(columns=["run", AT]), note


def _refuse_two_at_once(rows: pd.DataFrame, unit: str, name: str, *, named: bool) -> None:
    """Refuse two scores of one run at one time; `named` if runs are told apart by a name or number."""
    scored = rows[rows["score"].notna()]
    twice = scored[scored.duplicated(["run", AT], keep=False)]
    if twice.empty:
        return
    first = twice.iloc[0]
    pair = twice.index[(twice["run"] == first["run"]) & (twice[AT] == first[AT])]
    mend = "Map `number` to the column that names a run, or a column `seed`."
    if named:
        mend = "Where a run was taken up again, leave the rows out that it wrote anew; or map a column `seed`."
    raise ValueError(
        f"{name}: {unit[:-1]} {first[AT]:g} of one run of {first['method']!r} appears twice (rows "
        f"{', '.join(str(i + 1) for i in pair[:3])}). {mend}"
    )


def _seconds(rows: pd.DataFrame) -> pd.Series:
    """Return the time of each run: the last one before it starts again if times grow from row to row, else their sum."""
    known = rows[rows["seconds"].notna()]
    grows = known.groupby("run")["seconds"].diff()
    if not (grows.dropna() > 0).mean() > CUMULATIVE:
        return rows.groupby("run")["seconds"].sum(min_count=1)
    # a run that is taken up again counts from zero
    ends = known.groupby("run")["seconds"].diff(-1).fillna(1.0) > 0
    return known[ends].groupby("run")["seconds"].sum()

"""An Optuna SQLite storage, read straight from its tables with the standard library.

The file is opened read-only: nothing is upgraded or locked, and 100,000 trials take seconds. The tables carry a
version; any other than the one known here is refused.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd

from repro.audit.optuna_journal import STATES, Raw

SCHEMA = 12
"""Version of the tables that Optuna 3.2 to 5 write."""
NAMES = {"RUNNING": 0, "COMPLETE": 1, "PRUNED": 2, "FAIL": 3, "WAITING": 4}

DIRECTIONS = "SELECT direction FROM study_directions WHERE study_id = ?"
TRIALS = """
SELECT t.trial_id, t.number, t.state, v.value AS score, v.value_type, i.steps,
  (julianday(t.datetime_complete) - julianday(t.datetime_start)) * 86400 AS seconds
FROM trials t
LEFT JOIN trial_values v ON v.trial_id = t.trial_id AND v.objective = 0
LEFT JOIN (SELECT trial_id, COUNT(*) AS steps FROM trial_intermediate_values GROUP BY trial_id) i
  ON i.trial_id = t.trial_id
WHERE t.study_id = ? ORDER BY t.number
"""
PARAMS = """
SELECT p.trial_id, p.param_name AS name, p.param_value AS value, p.distribution_json AS distribution
FROM trial_params p JOIN trials t ON t.trial_id = p.trial_id WHERE t.study_id = ?
"""
ATTRIBUTES = """
SELECT a.trial_id, a.key, a.value_json AS value
FROM trial_user_attributes a JOIN trials t ON t.trial_id = a.trial_id WHERE t.study_id = ?
"""
MARKS = """
SELECT a.trial_id, a.key, a.value_json AS value
FROM trial_system_attributes a JOIN trials t ON t.trial_id = a.trial_id WHERE t.study_id = ?
"""


def read(path: Path) -> Iterator[Raw]:
    """Yield the studies of a SQLite storage, which is opened in SQLite's read-only mode.

    Args:
        path: The file.

    Yields:
        The studies, in the order in which they were made.

    Raises:
        ValueError: If the file is locked, damaged, no storage, or of another schema.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=2.0)
        ) as connection:
            yield from _studies(connection, path)
    except sqlite3.OperationalError as error:
        text = str(error)
        if "locked" in text:
            raise ValueError(
                f"{path}: another program has locked it. Wait until that has finished writing, or audit a copy."
            ) from error
        if "no such table" in text or "no such column" in text:
            raise ValueError(
                f"{path}: expected an Optuna storage. Found a SQLite file of another kind ({text})."
            ) from error
        raise ValueError(f"{path}: cannot be read ({text}).") from error
    except (sqlite3.DatabaseError, pd.errors.DatabaseError) as error:
        raise ValueError(f"{path}: cannot be read as an Optuna storage ({error}).") from error


def _studies(connection: sqlite3.Connection, path: Path) -> Iterator[Raw]:
    version, library = connection.execute(
        "SELECT schema_version, library_version FROM version_info"
    ).fetchone() or (0, "unknown")
    if version != SCHEMA:
        newer = version > SCHEMA
        mend = "Update this package" if newer else "Run `optuna storage upgrade` on a copy"
        raise ValueError(
            f"{path}: expected schema {SCHEMA} of Optuna's tables. Found {version}, which is "
            f"{'newer' if newer else 'older'}, written by Optuna {library}. {mend}, or export the trials and use `--csv`."
        )
    studies = connection.execute("SELECT study_id, study_name FROM studies ORDER BY study_id")
    for study, name in studies.fetchall():
        directions, params, attributes, marks = (
            _table(connection, query, study) for query in (DIRECTIONS, PARAMS, ATTRIBUTES, MARKS)
        )
        yield Raw(
            name,
            [2 if direction == "MAXIMIZE" else 1 for direction in directions["direction"]],
            _trials(_table(connection, TRIALS, study), f"{path}: study {name!r}"),
            params,
            attributes,
            marks,
        )


def _table(connection: sqlite3.Connection, query: str, study: int) -> pd.DataFrame:
    cursor = connection.execute(query, (study,))
    return pd.DataFrame(cursor.fetchall(), columns=[d[0] for d in cursor.description])


def _trials(found: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the trials of a study, with scores and states as `Raw` has them; `name` is for the message."""
    infinite = found["value_type"].map({"INF_POS": np.inf, "INF_NEG": -np.inf})
    found["score"] = found["score"].astype("float64").where(infinite.isna(), infinite)
    found["status"] = found["state"].map({k: STATES[v] for k, v in NAMES.items()})
    if found["status"].isna().any():
        state = found["state"][found["status"].isna()].iloc[0]
        raise ValueError(f"{name} has a trial of the unknown state {state!r}.")
    empty = [] if found["steps"].notna().any() else ["steps"]
    return found.drop(columns=["state", "value_type", *empty])

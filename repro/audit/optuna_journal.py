"""An Optuna journal, replayed from its lines with the standard library: one JSON object per operation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd


class Raw(NamedTuple):
    """A study as a storage holds it, in long tables.

    Attributes:
        name: Name of the study.
        directions: One per objective: 1 minimises, 2 maximises.
        trials: trial_id, number, status, score, seconds, and steps if trials report intermediate values.
        params: trial_id, name, value, distribution (JSON).
        attributes: trial_id, key, value (JSON) of the user's attributes.
        marks: trial_id, key, value (JSON) of Optuna's own attributes.
    """

    name: str
    directions: list[int]
    trials: pd.DataFrame
    params: pd.DataFrame
    attributes: pd.DataFrame
    marks: pd.DataFrame


STATES = {0: "running", 1: "done", 2: "pruned", 3: "failed", 4: "running"}
"""Optuna's states of a trial, by number."""


def read(path: Path) -> Iterator[Raw]:
    """Yield the studies of a journal; a last line that is still being written is left out.

    Args:
        path: The file.

    Yields:
        The studies, in the order in which they were made.

    Raises:
        ValueError: If a line is no entry of a journal, or is one of a newer Optuna.
    """
    studies: list[dict[str, Any] | None] = []
    trials: list[dict[str, Any]] = []
    for line, entry in _entries(path):
        try:
            _replay(entry, studies, trials)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path}: line {line} is not an entry of an Optuna journal as Optuna 3 to 5 write it: {_why(error)}. Export the "
                "trials and use `--csv`."
            ) from error
    for number, study in enumerate(studies):
        if study is None:
            continue
        of_study = [trial for trial in trials if trial["study"] == number]
        rows = pd.DataFrame(
            [
                {
                    "trial_id": i,
                    "number": float(i),
                    "status": STATES[trial["state"]],
                    "score": trial["score"],
                    "steps": float(len(trial["steps"])) if trial["steps"] else np.nan,
                    "seconds": _seconds(trial["start"], trial["end"]),
                }
                for i, trial in enumerate(of_study)
            ],
            columns=["trial_id", "number", "status", "score", "steps", "seconds"],
        )
        if not rows["steps"].notna().any():
            rows = rows.drop(columns="steps")
        params = [
            (i, name, value, distribution)
            for i, trial in enumerate(of_study)
            for name, (value, distribution) in trial["params"].items()
        ]
        attributes = [
            (i, key, json.dumps(value))
            for i, trial in enumerate(of_study)
            for key, value in trial["attributes"].items()
        ]
        marks = [
            (i, key, json.dumps(value))
            for i, trial in enumerate(of_study)
            for key, value in trial["marks"].items()
        ]
        yield Raw(
            study["name"],
            study["directions"],
            rows,
            pd.DataFrame(params, columns=["trial_id", "name", "value", "distribution"]),
            pd.DataFrame(attributes, columns=["trial_id", "key", "value"]),
            pd.DataFrame(marks, columns=["trial_id", "key", "value"]),
        )


def _entries(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return  # somebody is writing it
            try:
                entry = json.loads(line.decode())  # bytes would be sniffed for their encoding
            except ValueError as error:
                raise ValueError(
                    f"{path}: expected a SQLite file, or an Optuna journal with one JSON object per line. Found that line {number} is not "
                    "JSON. If it is a table of trials, use `--csv`."
                ) from error
            if not isinstance(entry, dict) or "op_code" not in entry:
                raise ValueError(
                    f"{path}: expected an Optuna journal. Found that line {number} is JSON, but not an entry of one. If it is a table of "
                    "trials, use `--csv`."
                )
            yield number, entry


def _why(error: Exception) -> str:
    """Return why an entry cannot be read, without the words of Python."""
    match error:
        case KeyError():
            return f"it has no {error}"
        case IndexError():
            return "it belongs to a study or a trial that no line above it creates"
        case TypeError():
            return "a value in it has the wrong type"
        case _:
            return str(error)


def _replay(
    entry: dict[str, Any], studies: list[dict[str, Any] | None], trials: list[dict[str, Any]]
) -> None:
    operation = entry["op_code"]
    match operation:
        case 0:
            known = {study["name"] for study in studies if study is not None}
            if entry["study_name"] not in known:
                studies.append({"name": entry["study_name"], "directions": entry["directions"]})
        case 1:
            studies[entry["study_id"]] = None
        case 4:
            values = entry.get("values") or [entry.get("value")]
            distributions = entry.get("distributions", {})
            trials.append(
                {
                    "study": entry["study_id"],
                    "state": entry.get("state", 0),
                    "score": values[0],
                    "steps": entry.get("intermediate_values", {}),
                    "params": {
                        k: (v, distributions[k]) for k, v in entry.get("params", {}).items()
                    },
                    "attributes": dict(entry.get("user_attrs", {})),
                    "marks": dict(entry.get("system_attrs", {})),
                    "start": entry.get("datetime_start"),
                    "end": entry.get("datetime_complete"),
                }
            )
        case 5:
            value = (entry["param_value_internal"], entry["distribution"])
            trials[entry["trial_id"]]["params"][entry["param_name"]] = value
        case 6:
            trial = trials[entry["trial_id"]]
            trial["state"] = entry["state"]
            trial["start"] = entry.get("datetime_start") or trial["start"]
            trial["end"] = entry.get("datetime_complete")
            if entry.get("values"):
                trial["score"] = entry["values"][0]
        case 7:
            trials[entry["trial_id"]]["steps"][str(entry["step"])] = entry["intermediate_value"]
        case 8:
            trials[entry["trial_id"]]["attributes"].update(entry["user_attr"])
        case 9:
            trials[entry["trial_id"]]["marks"].update(entry["system_attr"])
        case 2 | 3 | 10:
            pass  # attributes of studies
        case _:
            raise ValueError(
                f"operation {operation!r} is unknown, and may be one of a newer Optuna"
            )


def _seconds(start: str | None, end: str | None) -> float:
    if not start or not end:
        return np.nan
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()

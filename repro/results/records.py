"""One finished run as a value and as a file: strict JSON with a checksum of its own content, named by the run's key.

Reading never trusts a file: one that is truncated, foreign or of another schema is refused by name, with a mend, and so
is one that holds anything but a row, whatever its checksum.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from repro.protocol import RunSpec, parse_run
from repro.results.schema import RUN_COLUMNS, SCHEMA


@dataclasses.dataclass(frozen=True)
class Curve:
    """One metric of a run over its steps; equal lengths."""

    split: str
    metric: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Record:
    """What a finished run leaves behind.

    Attributes:
        spec: The run.
        status: `done` or `diverged`.
        measured: Values of the metric, cost and environment columns; a column left out is missing.
        curves: Metrics over steps.
        steps_per_epoch: Optimizer steps in an epoch, for the epoch column; `nan` without data.
    """

    spec: RunSpec
    status: str
    measured: Mapping[str, float | int | str | None]
    curves: tuple[Curve, ...]
    steps_per_epoch: float = math.nan


class RejectedFileError(ValueError):
    """A results file that cannot be used; the message names it and says why."""


def encode(record: Record) -> str:
    """Return the text of a finished run's file."""
    body = {
        "key": record.spec.key,
        "spec": record.spec.canonical_json(),
        "status": record.status,
        "measured": {k: _finite(v) for k, v in record.measured.items()},
        "steps_per_epoch": _finite(record.steps_per_epoch),
        "curves": [
            {
                "split": c.split,
                "metric": c.metric,
                "steps": c.steps,
                "values": [_finite(v) for v in c.values],
            }
            for c in record.curves
        ],
    }
    return json.dumps({"schema": SCHEMA, "sha256": digest(body), "body": body})


def digest(body: Any) -> str:
    """Return the checksum of the content of a file."""
    # the canonical JSON of `protocol`, which long curves take too long to pass through: this is plain already
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _finite(value: Any) -> Any:
    # strict JSON has no NaN; null reads back as missing
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_record(path: Path) -> Record:
    """Read a finished run.

    Args:
        path: File of a `Store`.

    Returns:
        The record.

    Raises:
        FileNotFoundError: If there is no such file.
        RejectedFileError: If the file is truncated, corrupt, foreign, of another schema, or holds no row.
    """
    try:
        text = path.read_bytes()
        content = json.loads(text)
        schema = content["schema"]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RejectedFileError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RejectedFileError(
            f"{path}: not a finished run (truncated or foreign). Move it away to run it again."
        ) from error
    if schema != SCHEMA:
        raise RejectedFileError(
            f"{path}: expected results schema {SCHEMA}, found {schema!r}. Read it with the version "
            "that wrote it, or move it away."
        )
    try:
        body = content["body"]
        # the checksum is of what the file says: in another last digit a number may be the same
        if content["sha256"] != digest(body) or json.dumps(content).encode() != text:
            raise RejectedFileError(
                f"{path}: content does not match its checksum (corrupt). Move it away to run it again."
            )
        spec = parse_run(body["spec"])
        if not body["key"] == spec.key == path.stem:
            raise RejectedFileError(
                f"{path}: holds run {spec.key[:12]} under another name. Move it away."
            )
        steps = body["steps_per_epoch"]
        record = Record(
            spec,
            body["status"],
            body["measured"],
            tuple(map(_read_curve, body["curves"])),
            math.nan if steps is None else steps,
        )
        check(record)
        return record
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise RejectedFileError(f"{path}: not a finished run ({error}). Move it away.") from error
    except RejectedFileError:
        raise
    except ValueError as error:
        raise RejectedFileError(f"{path}: {error}") from error


def _read_curve(content: Any) -> Curve:
    curve = Curve(
        content["split"],
        content["metric"],
        tuple(content["steps"]),
        tuple(math.nan if v is None else v for v in content["values"]),
    )
    array("q", curve.steps), array("d", curve.values)  # as the table has them
    _check_word("split", curve.split)
    _check_word("metric", curve.metric)
    if len(curve.steps) != len(curve.values):
        raise TypeError(
            f"the curve {curve.metric} has {len(curve.steps)} steps and {len(curve.values)} values"
        )
    return curve


def check(record: Record) -> None:
    """Raise unless every value of a record, except its curves, suits its column.

    Args:
        record: The record that was read.

    Raises:
        TypeError: If a value does not; the message names it.
    """
    if record.status not in ("done", "diverged"):
        raise TypeError(f"its status is {record.status!r}")
    if not isinstance(record.measured, Mapping):
        raise TypeError("what was measured has no names")
    epoch: object = record.steps_per_epoch
    if not isinstance(epoch, (int, float)) or epoch <= 0:
        raise TypeError(f"`steps_per_epoch` is {epoch!r}")
    for name, value in (*record.spec.hyperparameters, *record.measured.items()):
        kind = RUN_COLUMNS.get(name)
        if kind == "str":
            _check_word(name, "" if value is None else value)
        elif kind is not None and value is not None:
            # a float in a column of whole numbers has to be one of them in size
            if not isinstance(value, (int, float)) or (kind == "int64" and abs(value) >= 2**63):
                raise TypeError(f"`{name}` is {value!r:.60}")
            float(value)


def _check_word(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"`{name}` is {value!r:.60}")
    value.encode()  # JSON may spell halves of characters

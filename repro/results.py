"""Results: finished runs as files, published rows as Parquet, and one table that is the union of both.

A finished run is one JSON file named by the run's key, written whole and renamed into place, with a
checksum of its own content: the file is checkpoint and message at once. `repro.publishing` merges finished runs into
the snapshot that is committed, two Parquet files a study:

* **runs**, one row a run: identity, hyperparameters, final metrics, cost, environment (`RUN_COLUMNS`);
* **curves**, long: key, step, epoch, split, metric, value (`CURVE_COLUMNS`), at most 500 points a metric.

Reading never trusts a file: one that is truncated, foreign or of another schema is reported by name and
skipped, and nothing here overwrites or deletes it.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import os
import secrets
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from repro.protocol import (
    Approximation,
    RunSpec,
    Sampling,
    Study,
    Timing,
    Training,
    parse_run,
)

SCHEMA = 1
"""Version of the files; readers skip, and name, any other."""

IDENTITY = {
    "key": "str",
    "study": "str",
    "arm": "str",
    "scale": "str",
    "experiment": "str",
    "problem": "str",
    "method": "str",
    "role": "str",
    "repetition": "int64",
    "task": "str",
    "status": "str",
}
HYPERPARAMETERS = {"learning_rate": "float64", "decay": "float64"}
SEARCH = {
    "trial": "float64",  # number of the trial in its search; missing for reported runs
    "search": "str",  # digest of the search; empty for reported runs
}
METRICS = {
    "score": "float64",  # what a search would minimise; finite also for diverged runs
    "diverged_step": "float64",
    "value": "float64",
    "best_value": "float64",  # lowest of all steps
    "train_loss": "float64",  # nats, mean over the last mini-batch
    "validation_loss": "float64",  # nats, mean over the split
    "validation_accuracy": "float64",  # fraction
    "test_loss": "float64",
    "test_accuracy": "float64",
    "test_last_batch_loss": "float64",  # nats, mean over the last mini-batch of a shuffled pass
    "best_step": "float64",  # step of the lowest validation loss, for runs with early stopping
    "best_validation_loss": "float64",  # at that step, as the next three
    "best_validation_accuracy": "float64",
    "best_test_loss": "float64",
    "best_test_accuracy": "float64",
    "parameter_norm": "float64",
}
COST = {
    "num_parameters": "int64",
    "num_steps": "int64",
    "forward_passes": "float64",  # equivalents, over the run
    "tangents": "float64",  # drawn over the run
    "seconds": "float64",  # synchronised, of training without evaluation, shared by the runs of a group
    "wall_seconds": "float64",  # from start to end, evaluation and preparation too; a run's share of its group's
    "step_seconds": "float64",  # timing runs: median of a step
    "step_seconds_low": "float64",  # lower quartile
    "step_seconds_high": "float64",  # upper quartile
    "peak_bytes": "float64",  # allocator's peak over one step
}
ENVIRONMENT = {
    "commit": "str",
    "repro": "str",
    "torch": "str",
    "python": "str",
    "device": "str",
    "num_threads": "int64",
    "group_size": "int64",  # runs trained together, stacked
    "load": "float64",  # other work on the machine: load average before the run, in processes
    "finished": "str",  # UTC
}
RUN_COLUMNS = {
    **IDENTITY,
    **SEARCH,
    **HYPERPARAMETERS,
    **METRICS,
    **COST,
    **ENVIRONMENT,
    "spec": "str",
}
LATER_COLUMNS = (
    "trial",
    "search",
    "test_last_batch_loss",
    "wall_seconds",
    "best_value",
    "best_step",
    "best_validation_loss",
    "best_validation_accuracy",
    "best_test_loss",
    "best_test_accuracy",
)
"""Columns that older files of this schema lack; they read as missing."""
CURVE_COLUMNS = {
    "key": "str",
    "step": "int64",
    "epoch": "float64",
    "split": "str",
    "metric": "str",
    "value": "float64",
}
MAX_POINTS = 500


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


class EmptySelectionError(ValueError):
    """A selection that no row meets; a figure answers it with "not run"."""


@dataclasses.dataclass(frozen=True)
class Results:
    """The two tables, the published facts, and what was skipped while reading.

    Attributes:
        runs: One row a run, `RUN_COLUMNS`.
        curves: Long, `CURVE_COLUMNS`.
        facts: Published values as rows: study, item, quantity, method, setting, x, value, text, source.
        problems: One line a file that was skipped.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    facts: pd.DataFrame
    problems: tuple[str, ...] = ()

    @functools.cached_property
    def places(self) -> Mapping[str, npt.NDArray[np.intp]]:
        """Where each run's points stand in the curves, by key: looked up far more often than they change."""
        found = self.curves.groupby("key").indices
        return {str(key): np.asarray(places) for key, places in found.items()}


class Store:
    """A folder of finished runs, one file each; safe for any number of writers."""

    def __init__(self, directory: Path) -> None:
        """Name the folder; it is made at the first write."""
        self.directory = directory

    def path(self, key: str) -> Path:
        """Return where the run of that key is or would be kept."""
        return self.directory / key[:2] / f"{key}.json"

    def __contains__(self, key: str) -> bool:
        """Whether a usable record of that key is here."""
        try:
            read_record(self.path(key))
        except (RejectedFileError, FileNotFoundError):
            return False
        return True

    def write(self, record: Record) -> Path:
        """Write a finished run, whole or not at all.

        Args:
            record: The run and what it gave.

        Returns:
            The file.

        Raises:
            RejectedFileError: If an unusable file already has that name; it is left as it is.
        """
        path = self.path(record.spec.key)
        if path.exists():
            read_record(path)  # an unusable file must not be overwritten silently
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, _encode(record).encode())
        return path

    def files(self) -> list[Path]:
        """Return the files of finished runs, sorted by key."""
        return sorted(self.directory.glob("[0-9a-f][0-9a-f]/*.json"))


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file's content atomically: a reader sees the old bytes or the new ones.

    Args:
        path: The file; its folder must exist.
        content: The bytes.
    """
    # not `tempfile`, whose files nobody else on a shared store could read
    temporary = path.parent / f"{_temporary(path)}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(path: Path) -> str:
    return f".{path.name[:16]}-"


def remove_leftovers(path: Path) -> None:
    """Remove what writers of a file left that were killed; one that still writes has to write again."""
    for leftover in path.parent.glob(f"{_temporary(path)}*"):
        leftover.unlink(missing_ok=True)


def _encode(record: Record) -> str:
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
    return json.dumps({"schema": SCHEMA, "sha256": _digest(body), "body": body})


def _digest(body: Any) -> str:
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
        RejectedFileError: If the file is truncated, corrupt, foreign or of another schema.
    """
    try:
        content = json.loads(path.read_bytes())
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
        if content["sha256"] != _digest(body):
            raise RejectedFileError(
                f"{path}: content does not match its checksum (corrupt). Move it away to run it again."
            )
        spec = parse_run(body["spec"])
        if not body["key"] == spec.key == path.stem:
            raise RejectedFileError(
                f"{path}: holds run {spec.key[:12]} under another name. Move it away."
            )
        curves = tuple(
            Curve(
                c["split"],
                c["metric"],
                tuple(c["steps"]),
                tuple(math.nan if v is None else v for v in c["values"]),
            )
            for c in body["curves"]
        )
        steps = body["steps_per_epoch"]
        return Record(
            spec, body["status"], body["measured"], curves, math.nan if steps is None else steps
        )
    except (KeyError, TypeError) as error:
        raise RejectedFileError(f"{path}: not a finished run ({error}). Move it away.") from error
    except RejectedFileError:
        raise
    except ValueError as error:
        raise RejectedFileError(f"{path}: {error}") from error


def tabulate(records: Iterable[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of finished runs.

    Args:
        records: Finished runs.

    Returns:
        The runs table and the curves table, typed and sorted.
    """
    rows: list[dict[str, Any]] = []
    # a curve is a name and its length here: a frame a curve takes a thousand times longer than its numbers
    names: list[tuple[str, str, str]] = []
    lengths: list[int] = []
    steps, epochs, values = array("q"), array("d"), array("d")
    for record in records:
        rows.append(_row(record))
        for curve in record.curves:
            stride = max(1, math.ceil(len(curve.steps) / MAX_POINTS))
            # the last point is always kept: count the stride from the end
            kept = slice((len(curve.steps) - 1) % stride, None, stride) if curve.steps else slice(0)
            names.append((record.spec.key, curve.split, curve.metric))
            lengths.append(len(curve.steps[kept]))
            steps.extend(curve.steps[kept])
            epochs.extend(step / record.steps_per_epoch for step in curve.steps[kept])
            values.extend(curve.values[kept])
    runs = _typed(pd.DataFrame(rows, columns=list(RUN_COLUMNS)), RUN_COLUMNS)
    columns: dict[str, Any] = {
        name: _repeated([name_of[place] for name_of in names], lengths)
        for place, name in enumerate(("key", "split", "metric"))
    }
    columns |= {"step": np.array(steps), "epoch": np.array(epochs), "value": np.array(values)}
    curves = pd.DataFrame({name: columns[name] for name in CURVE_COLUMNS})
    return sort_runs(runs), sort_curves(curves)


def _repeated(words: list[str], lengths: list[int]) -> pd.Series:
    """Return words, each as often as its curve has points."""
    codes, found = pd.factorize(np.array(words, dtype=object))
    whole = pd.Categorical.from_codes(np.repeat(codes, lengths), categories=pd.Index(found))
    return pd.Series(whole).astype("str")


def _row(record: Record) -> dict[str, Any]:
    spec = record.spec
    return {
        "key": spec.key,
        "study": spec.study,
        "arm": spec.arm,
        "scale": spec.scale,
        "experiment": spec.experiment,
        "problem": spec.problem.name,
        "method": spec.method.name,
        "role": spec.role,
        "repetition": spec.repetition,
        "task": _TASKS[type(spec.task)],
        "status": record.status,
        **({} if spec.trial is None else {"trial": spec.trial.number, "search": spec.trial.search}),
        **{k: v for k, v in spec.hyperparameters if k in HYPERPARAMETERS},
        **{k: v for k, v in record.measured.items() if k in RUN_COLUMNS},
        "spec": spec.canonical_json(),
    }


_TASKS = {
    Training: "training",
    Timing: "timing",
    Sampling: "sampling",
    Approximation: "approximation",
}


def _typed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    defaults = {"str": "", "int64": 0}
    filled = frame.copy()
    for name, kind in columns.items():
        if kind in defaults:
            filled[name] = filled[name].astype(object).where(filled[name].notna(), defaults[kind])
        filled[name] = filled[name].astype("object" if kind == "str" else kind)  # type: ignore[call-overload]
        if kind == "str":
            filled[name] = filled[name].astype("str")
    return filled[list(columns)]


def sort_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a runs table in their one order."""
    order = ["study", "experiment", "role", "trial", "learning_rate", "method", "repetition", "key"]
    return runs.sort_values(order, kind="stable", ignore_index=True)


def sort_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a curves table in their one order."""
    order = ["key", "split", "metric", "step"]
    return curves.sort_values(order, kind="stable", ignore_index=True)


def read_store(directory: Path) -> tuple[list[Record], tuple[str, ...]]:
    """Return the usable records of a store, and a line for every file that is not.

    Args:
        directory: Folder of a `Store`; it need not exist.

    Returns:
        Records sorted by key, and the problems.
    """
    records: dict[str, Record] = {}
    problems = []
    for path in Store(directory).files():
        try:
            record = read_record(path)
        except RejectedFileError as error:
            problems.append(str(error))
        except FileNotFoundError:
            problems.append(f"{path}: gone while the store was read, or a link to nothing.")
        else:
            records[record.spec.key] = record  # a copy in another folder is the same run
    return list(records.values()), tuple(problems)


def _read_parquet(path: Path, columns: Mapping[str, str]) -> pd.DataFrame:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path, page_checksum_verification=True)
        frame = table.to_pandas()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise RejectedFileError(
            f"{path}: not a readable Parquet file ({reason}). Restore it from version control, "
            "or have it written again."
        ) from error
    schema = (table.schema.metadata or {}).get(b"repro-schema")
    if schema != str(SCHEMA).encode():
        found = "none" if schema is None else schema.decode(errors="replace")
        raise RejectedFileError(
            f"{path}: expected results schema {SCHEMA}, found {found}. Skipped and left as it is."
        )
    for name in set(LATER_COLUMNS) & set(columns) - set(frame.columns):
        frame[name] = None
    if absent := [name for name in columns if name not in frame.columns]:
        raise RejectedFileError(
            f"{path}: lacks the columns {', '.join(absent)} of results schema {SCHEMA}. "
            "Skipped and left as it is."
        )
    return _typed(frame, columns)


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as a Parquet file of this schema, whole or not at all; its folder is made."""
    import io

    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    table = table.replace_schema_metadata({"repro-schema": str(SCHEMA)})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, buffer.getvalue())


def read_published(directory: Path) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Return the committed snapshot.

    Args:
        directory: Folder of `<study>.runs.parquet` and `<study>.curves.parquet`.

    Returns:
        Runs, curves and a line for every file that was skipped.
    """
    tables: dict[str, list[pd.DataFrame]] = {"runs": [], "curves": []}
    problems: list[str] = []
    for kind, columns in (("runs", RUN_COLUMNS), ("curves", CURVE_COLUMNS)):
        for path in sorted(directory.glob(f"*.{kind}.parquet")):
            try:
                tables[kind].append(_read_parquet(path, columns))
            except RejectedFileError as error:
                problems.append(str(error))
    empty_runs, empty_curves = tabulate(())
    runs = pd.concat(tables["runs"], ignore_index=True) if tables["runs"] else empty_runs
    curves = pd.concat(tables["curves"], ignore_index=True) if tables["curves"] else empty_curves
    runs = runs.drop_duplicates("key", ignore_index=True)
    points = curves.drop_duplicates(["key", "split", "metric", "step"])
    # curves whose runs were skipped, or never came after them, belong to nothing here
    curves = points[points["key"].isin(runs["key"])].reset_index(drop=True)
    return runs, curves, tuple(problems)


def load(published: Path, store: Path | None = None, facts: pd.DataFrame | None = None) -> Results:
    """Return the union of the published snapshot and a store; the same key twice is the same run.

    Args:
        published: Folder of the snapshot.
        store: Folder of finished runs; its rows win nothing, since equal keys are equal runs.
        facts: Published values as rows, see `Results`.

    Returns:
        The tables and what was skipped.
    """
    runs, curves, problems = read_published(published)
    if store is not None:
        records, more = read_store(store)
        known = set(runs["key"])
        new_runs, new_curves = tabulate(r for r in records if r.spec.key not in known)
        if len(new_runs):
            runs = sort_runs(pd.concat([runs, new_runs], ignore_index=True))
            curves = sort_curves(pd.concat([curves, new_curves], ignore_index=True))
        problems += more
    return Results(runs, curves, pd.DataFrame() if facts is None else facts, problems)


def select(frame: pd.DataFrame, **conditions: object) -> pd.DataFrame:
    """Return the rows whose columns have given values.

    Args:
        frame: A runs, curves or facts table.
        **conditions: Column names with a value, or a collection of values.

    Returns:
        The rows, in order, reindexed.

    Raises:
        ValueError: If a column does not exist.
        EmptySelectionError: If no row is left.
    """
    kept = np.ones(len(frame), dtype=bool)
    for column, wanted in conditions.items():
        if column not in frame.columns:
            raise ValueError(f"Unknown column {column!r}. Choose from: {', '.join(frame.columns)}.")
        many = isinstance(wanted, (list, tuple, set, frozenset))
        # all conditions first: taking rows costs more than looking at a column
        kept &= frame[column].isin(list(wanted) if many else [wanted]).to_numpy(bool)  # type: ignore[call-overload]
        if not kept.any():
            given = ", ".join(f"{name}={value!r}" for name, value in conditions.items())
            raise EmptySelectionError(
                f"No row has {given} (none is left after {column}). Run what is missing, or select less."
            )
    return frame[kept].reset_index(drop=True)


FACT_COLUMNS = {
    "study": "str",
    "item": "str",
    "quantity": "str",
    "method": "str",
    "setting": "str",
    "x": "float64",
    "value": "float64",
    "text": "str",
    "source": "str",
}


def tabulate_facts(studies: Iterable[Study]) -> pd.DataFrame:
    """Return published values as rows, so that a figure can show them without importing a study.

    Args:
        studies: Studies with facts.

    Returns:
        Columns of `FACT_COLUMNS`; a value the paper does not state is missing.
    """
    rows = [
        {"study": study.name, **dataclasses.asdict(fact)}
        for study in studies
        for fact in study.facts
    ]
    return _typed(pd.DataFrame(rows, columns=list(FACT_COLUMNS)), FACT_COLUMNS)

"""Finished runs as two long tables, typed and sorted, and how to select rows from them."""

from __future__ import annotations

import dataclasses
import functools
import math
from array import array
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from repro.protocol import Approximation, Sampling, Study, Timing, Training, Trial
from repro.results.records import Record
from repro.results.schema import (
    CURVE_COLUMNS,
    FACT_COLUMNS,
    HYPERPARAMETERS,
    MAX_POINTS,
    RUN_COLUMNS,
)


class EmptySelectionError(ValueError):
    """Raised if no row meets a selection; a figure then shows "not run"."""


@dataclasses.dataclass
class Memory:
    """Selections, kept by what was asked for: claims, figures and tables ask for the same few rows thousands of times.

    Attributes:
        known: What was selected.
        noted: The same, with what a watcher noted meanwhile: see `repro.report.provenance`.
    """

    known: dict[Hashable, pd.DataFrame] = dataclasses.field(default_factory=dict)
    noted: dict[Hashable, tuple[pd.DataFrame, tuple[Any, ...]]] = dataclasses.field(
        default_factory=dict
    )

    def recall(self, asked: Hashable, select: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Return what was asked for, which is selected only once.

        Args:
            asked: What is asked for.
            select: Selects it.

        Returns:
            The selection, in a frame of its own whose columns may be replaced.
        """
        if asked not in self.known:
            self.known[asked] = select()
        return self.known[asked].copy(deep=False)


@dataclasses.dataclass(frozen=True)
class Results:
    """The two tables, the published facts, and what was skipped while reading.

    Attributes:
        runs: One row a run, `RUN_COLUMNS`; as `load` gives them, words are plain objects (`consolidated`).
        curves: Long, `CURVE_COLUMNS`.
        facts: Published values as rows: study, item, quantity, method, setting, x, value, text, source.
        problems: One line a file that was skipped.
        unpublished: How many of the runs a store has beside the published ones.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    facts: pd.DataFrame
    problems: tuple[str, ...] = ()
    unpublished: int = 0
    memory: Memory = dataclasses.field(
        default_factory=Memory, init=False, repr=False, compare=False
    )
    """Selections that are asked for again and again."""

    @functools.cached_property
    def places(self) -> Mapping[str, npt.NDArray[np.intp]]:
        """Numbers of the rows of the curves that are a run's, by its key."""
        found = self.curves.groupby("key").indices
        return {str(key): np.asarray(places) for key, places in found.items()}

    @functools.cached_property
    def reported(self) -> Mapping[str, Mapping[str, npt.NDArray[np.intp]]]:
        """Numbers of the rows of the reported runs, by experiment and study."""
        found: dict[str, dict[str, npt.NDArray[np.intp]]] = {}
        groups = self.runs.groupby(["role", "experiment", "study"]).indices
        for group, places in groups.items():
            role, experiment, study = str(group[0]), str(group[1]), str(group[2])  # type: ignore[index]
            if role == "report":
                found.setdefault(experiment, {})[study] = np.asarray(places)
        return found

    @functools.cached_property
    def words(self) -> Mapping[str, pd.Categorical]:
        """The columns `split` and `metric` of the curves as categories, which compare many times faster than words."""
        return {name: pd.Categorical(self.curves[name]) for name in ("split", "metric")}

    def beside(self, runs: pd.DataFrame, memory: Memory | None = None) -> Results:
        """Return other runs with the same curves and facts, and with what was already found out about the curves.

        Args:
            runs: Rows of the runs table.
            memory: Of selections from them; an empty one by default.
        """
        other = dataclasses.replace(self, runs=runs)
        other.__dict__.update(places=self.places, words=self.words)
        if memory is not None:
            other.__dict__["memory"] = memory
        return other


def contiguous(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with every column in one piece: taking rows from columns of many pieces takes three times as long."""
    whole: pd.DataFrame = (
        pa.Table.from_pandas(frame, preserve_index=False).combine_chunks().to_pandas()
    )
    return whole.astype(frame.dtypes.to_dict())


def consolidated(runs: pd.DataFrame) -> pd.DataFrame:
    """Return a runs table that lies in three blocks, with words as plain objects: taking rows is several times faster.

    A selection has few rows but all of the many columns, so its time depends on how many blocks these lie in.
    """
    words = [name for name, kind in runs.dtypes.items() if kind == "str"]
    return runs.astype(dict.fromkeys(words, object)).copy()


def tabulate(records: Iterable[Record]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of finished runs.

    Args:
        records: Finished runs.

    Returns:
        The runs table and the curves table, typed and sorted.
    """
    rows: list[dict[str, Any]] = []
    # of a curve its name and length: a frame for each would take a thousand times as long as its numbers
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
    runs = typed(pd.DataFrame(rows, columns=list(RUN_COLUMNS)), RUN_COLUMNS)
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
        **_searched(spec.trial),
        **{k: v for k, v in spec.hyperparameters if k in HYPERPARAMETERS},
        **{k: v for k, v in record.measured.items() if k in RUN_COLUMNS},
        "spec": spec.canonical_json(),
    }


def _searched(trial: Trial | None) -> dict[str, Any]:
    if trial is None:
        return {}
    return {"trial": trial.number, "search": trial.search, "stage": trial.stage}


_TASKS = {
    Training: "training",
    Timing: "timing",
    Sampling: "sampling",
    Approximation: "approximation",
}


def typed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Return columns in their order and kinds; missing words become empty, missing integers 0."""
    defaults = {"str": "", "int64": 0}
    filled = frame.copy(deep=False)
    for name, kind in columns.items():
        if str(filled[name].dtype) == kind and not (kind == "str" and filled[name].isna().any()):
            continue
        if kind in defaults:
            filled[name] = filled[name].astype(object).where(filled[name].notna(), defaults[kind])
        filled[name] = filled[name].astype("object" if kind == "str" else kind)  # type: ignore[call-overload]
        if kind == "str":
            filled[name] = filled[name].astype("str")
    return filled[list(columns)]


def sort_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a runs table in their one order."""
    order = ["study", "experiment", "role", "trial", "learning_rate", "method", "repetition", "key"]
    return _sorted(runs, order)


def sort_curves(curves: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a curves table in their one order."""
    return _sorted(curves, ["key", "split", "metric", "step"])


def _sorted(frame: pd.DataFrame, order: list[str]) -> pd.DataFrame:
    # Arrow sorts words several times faster than pandas; what is missing comes last with both
    table = pa.Table.from_pandas(frame[order], preserve_index=False)
    places = pc.sort_indices(table, [(name, "ascending") for name in order])
    return frame.take(places.to_numpy()).reset_index(drop=True)


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
    return typed(pd.DataFrame(rows, columns=list(FACT_COLUMNS)), FACT_COLUMNS)

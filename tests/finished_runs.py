"""Finished runs and trials made by hand, and places to keep them.

A test module takes a fixture from here under its own name: `from finished_runs import store as store`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from repro.protocol import ClosedForm, Method, RunSpec, Training, Trial, settings, use
from repro.results import Curve, Record, Store


def spec(repetition: int = 0, study: str = "someone2022", rate: float = 0.1) -> RunSpec:
    return RunSpec(
        study=study,
        arm="published",
        scale="smoke",
        experiment="bowl",
        role="report",
        problem=ClosedForm("bowl", "beale", (0.0, 0.5)),
        method=Method("back", use("backpropagation"), use("sgd")),
        hyperparameters=settings(learning_rate=rate),
        repetition=repetition,
        task=Training(20, 10),
    )


def record(repetition: int = 0, num_points: int = 3, study: str = "someone2022") -> Record:
    return Record(
        spec(repetition, study),
        "done",
        {"score": 0.1 + repetition, "value": 1 / 3, "num_steps": 20, "commit": "abc", "load": 0.5},
        (
            Curve(
                "none",
                "value",
                tuple(range(num_points)),
                tuple(1 / (n + 1) for n in range(num_points)),
            ),
            Curve("train", "loss", (0, 1), (2.0, 1.0)),
        ),
        steps_per_epoch=10,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return tmp_path / "published"


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name within."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def kinds(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(kind) for name, kind in frame.dtypes.items()}


def tuning(repetition: int = 0, number: int = 3, search: str = "digest") -> Record:
    """A run of a trial."""
    reported = record(repetition)
    role = dataclasses.replace(reported.spec, role="tune", trial=Trial(number, search))
    return dataclasses.replace(reported, spec=role)


def at(found: Record, rate: float, score: float = 0.0) -> Record:
    """The same run at another rate, with another score."""
    spec = dataclasses.replace(found.spec, hyperparameters=settings(learning_rate=rate))
    return dataclasses.replace(found, spec=spec, measured={**found.measured, "score": score})


def rewrite(path: Path, change: Callable[[pyarrow.Table], pyarrow.Table]) -> None:
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(path)), path)

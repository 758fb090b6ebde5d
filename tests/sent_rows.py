"""Rows that travel: a store of two studies, what was sent of it, a home to come to, and runs of plans and searches of the past.

A test module takes a fixture from here under its own name: `from sent_rows import home as home`.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from finished_runs import record, tuning

import studies
from repro.protocol import declared, expand
from repro.publishing import publish
from repro.results import Record, Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two studies: runs with a curve each, and a trial of a search."""
    store = Store(tmp_path / "store")
    for found in (record(0), record(1), tuning(), of_another_study()):
        store.write(found)
    return store


def of_another_study() -> Record:
    return record(0, study="another2022")


@pytest.fixture
def sent(store: Store, tmp_path: Path) -> Path:
    publish(store.directory, tmp_path / "sent")
    return tmp_path / "sent"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def ends(found: Record, **changes: Any) -> Record:
    """The same run with another end."""
    measured = {**found.measured, **changes.pop("measured", {})}
    return dataclasses.replace(found, measured=measured, **changes)


# Rows of a plan that has changed since


def of_plan(**changes: Any) -> Record:
    """A finished run of a study, as declared or of another plan."""
    spec = next(
        s for s in expand(studies.get("baydin2022"), "full") if s.method.name == "backpropagation"
    )
    task = dataclasses.replace(spec.task, **changes)
    return dataclasses.replace(record(), spec=dataclasses.replace(spec, task=task))


DECLARED = {"baydin2022": declared(studies.get("baydin2022"))}
PLAN, OLD = of_plan(), of_plan(num_steps=7)
CELL = (OLD.spec.study, OLD.spec.experiment)
EVERYTHING = {"someone2022": lambda spec: True}


def at_full(found: Record) -> Record:
    return dataclasses.replace(found, spec=dataclasses.replace(found.spec, scale="full"))

"""Small runs in every kind of group, what is compared of their rows, and stores that hold them, for tests of what runs them.

A test module takes a fixture from here under its own name: `from small_runs import store as store`.
"""

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import studies
from repro.execution import Event, Outcome, execute
from repro.protocol import RunSpec, Training, expand
from repro.results import ENVIRONMENT, Record, Store, read_store

STUDY = studies.get("baydin2022")


def small() -> tuple[RunSpec, ...]:
    """Ten smoke runs in five groups: sampling, closed form, digits."""
    return expand(STUDY, "smoke", only=["estimates", "beale", "logistic"])


def endless() -> tuple[RunSpec, ...]:
    """Two groups that end only when told to."""
    task = Training(10**9, evaluate_every=10**9)
    return tuple(
        dataclasses.replace(spec, task=task) for spec in expand(STUDY, "smoke", only=["beale"])
    )


def comparable(record: Record) -> tuple[Any, ...]:
    """What must not depend on where and when a run happened, to the last bit."""
    elsewhere = (*ENVIRONMENT, "seconds", "wall_seconds", "processor_seconds")
    kept = {k: v for k, v in record.measured.items() if k not in elsewhere}
    return (record.status, sorted(kept.items()), repr(record.curves), repr(record.steps_per_epoch))


def rows(store: Store) -> dict[str, tuple[Any, ...]]:
    records, problems = read_store(store.directory)
    assert problems == ()
    return {record.spec.key: comparable(record) for record in records}


def stamps(store: Store) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.files()}


def counts(outcome: Outcome) -> tuple[int, int, int, int]:
    assert outcome.seconds >= 0
    return outcome.done, outcome.diverged, outcome.cached, outcome.left


def no_event(event: Event) -> None:
    raise AssertionError(f"Nothing was to run. Found {event}.")


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> Store:
    """The small runs, one process, nothing in between."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    assert counts(execute(small(), store, on_event=events.append)) == (10, 0, 0, 0)
    return store


def deliver(number: signal.Signals, before: object) -> None:
    """Send ourselves a signal and wait until its handler has put the previous one back."""
    os.kill(os.getpid(), number)
    while signal.getsignal(number) is not before:
        time.sleep(0.001)

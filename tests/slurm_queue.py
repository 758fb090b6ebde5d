"""A queue of SLURM, imitated in this process, and what is given to a queue, an imitated or a real one.

A test module takes a fixture from here under its own name: `from slurm_queue import queue as queue`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from small_runs import STUDY, small

from repro.execution import Outcome, Slurm, SubmissionError, execute, sbatch, slurm
from repro.execution.cluster_task import run_task
from repro.execution.slurm import Cluster
from repro.protocol import RunSpec, Training, expand
from repro.results import Store

ROOT = Path(__file__).resolve().parent.parent
QUICK = Slurm(poll=0.0, patience=0.0)


def _method(function: Callable[..., None]) -> Callable[..., None]:
    """A function that a class hands itself to, as a method; a bound one would not be."""

    def method(*given: Any) -> None:
        function(*given)

    return method


class Imitation:
    """Takes arrays and runs their tasks in this process, one at every look at the queue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrays: dict[str, list[tuple[Any, ...]]] = {}  # every task ever submitted, by array
        self.at_once: list[int] = []
        self.waiting: dict[tuple[str, int], tuple[Any, ...]] = {}
        self.answers = True
        self.refuses = ""
        self.loses: Callable[[tuple[str, int]], bool] = lambda place: False
        self.runs_tasks = True
        monkeypatch.setattr(slurm, "check_slurm", lambda: None)
        monkeypatch.setattr(slurm, "largest_array", lambda: 1000)
        monkeypatch.setattr(slurm, "queue_states", self.look)
        monkeypatch.setattr(slurm, "SETTLE", 0.0)
        monkeypatch.setattr(Cluster, "_ask", _method(self.take))

    def take(self, cluster: Any, name: str, chunk: Sequence[Any], at_once: int) -> None:
        if self.refuses:
            raise SubmissionError(sbatch.in_our_words(self.refuses))
        tasks = [
            (
                str(cluster._file(task)),
                str(cluster._note(task)),
                str(cluster._store.directory),
                "cpu",
                cluster._checkpoint_every,
                name,
            )
            for task in chunk
        ]
        self.arrays[name] = tasks
        self.at_once.append(at_once)
        self.waiting |= {(name, number): task for number, task in enumerate(tasks)}

    def look(self) -> dict[tuple[str, int], str] | None:
        if not self.answers:
            self.answers = True
            return None
        if self.waiting and self.runs_tasks:
            place = next(iter(self.waiting))
            task = self.waiting.pop(place)
            if not self.loses(place):
                run_task(*task)
        return dict.fromkeys(self.waiting, "PENDING")

    @property
    def submitted(self) -> list[str]:
        return [Path(task[0]).stem for tasks in self.arrays.values() for task in tasks]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Imitation:
    return Imitation(monkeypatch)


def run(store: Store, **more: Any) -> Outcome:
    return execute(small(), store, **{"slurm": QUICK, **more})


def own_folder(store: Store) -> Path:
    return store.directory / slurm.FOLDER / str(os.getuid())


def command(*more: str) -> list[str]:
    return ["run", "baydin2022", "--scale", "smoke", "--only", "beale", *more]


def long_group(steps: int = 8_000) -> tuple[RunSpec, ...]:
    """One task: two replicas, long enough to be disturbed."""
    task = Training(steps, evaluate_every=1_000)
    runs = expand(STUDY, "smoke", only=["beale"], methods=["forward gradient"])
    return tuple(
        dataclasses.replace(spec, task=task, hyperparameters=(("learning_rate", 1e-5),))
        for spec in runs
    )

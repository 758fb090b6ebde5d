"""Searches of two methods: on made-up scores, to their end at once, or run and kept in a store.

A test module takes a fixture from here under its own name: `from searches import undisturbed as undisturbed`.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from repro.campaign import survey
from repro.execution import Outcome, work_off
from repro.protocol import (
    ClosedForm,
    Comparison,
    Experiment,
    LogUniform,
    Method,
    Plan,
    RunSpec,
    Search,
    SearchSpace,
    Settings,
    Training,
    settings,
    use,
)
from repro.results import Store, read_store, tabulate
from repro.search import Progress, Score, advance

SPACE = SearchSpace((("learning_rate", LogUniform(1e-6, 1e1)),))
METHODS = (
    Method("backpropagation", use("backpropagation"), use("sgd")),
    Method("forward gradient", use("forward_gradient"), use("sgd")),
)
PROBLEM = ClosedForm("test beale", "beale", (0.0, 0.5))


def comparison(
    search: Search, steps: int = 40, repetitions: int = 2, schedule: str = "constant"
) -> Comparison:
    methods = tuple(dataclasses.replace(method, schedule=schedule) for method in METHODS)
    plan = Plan(PROBLEM, Training(steps, evaluate_every=10), repetitions, search)
    experiment = Experiment("tuned", "tuned", methods, (settings(),), plan, plan, plan)
    return Comparison("someone2030", experiment, "full")


SMALL = comparison(Search(SPACE, 8, repetitions=2, batch=4, extension_trials=2))


def rate(values: Settings, of: str = "learning_rate") -> float:
    (value,) = (v for name, v in values if name == of)
    assert isinstance(value, float)
    return value


def searched(
    compared: Comparison, score: Callable[[RunSpec], float]
) -> tuple[Progress, list[RunSpec]]:
    """Run a whole search on made-up scores; return its end, and every run it asked for, in order."""
    known: dict[str, Score] = {}
    asked: list[RunSpec] = []
    while True:
        progress = advance(compared, known.get)
        if not progress.pending:
            return progress, asked
        assert not known.keys() & {run.key for run in progress.pending}
        asked += progress.pending
        known |= {run.key: Score(score(run)) for run in progress.pending}


def bowl(**best: float) -> Callable[[RunSpec], float]:
    """Scores with their minimum at a rate of each method's own, in decades."""
    places = {"backpropagation": -2.0, "forward gradient": -2.0, **best}
    return lambda run: abs(math.log10(rate(run.hyperparameters)) - places[run.method.name])


def rates(progress: Progress, method: str) -> list[float]:
    return [rate(trial.values) for trial in progress.trials[method]]


def lucky(run: RunSpec) -> float:
    """A bowl that one lucky first run hides: the trial farthest from the best scores lowest once, and badly ever after."""
    score = bowl()(run)
    return score if score < 3.0 else (-1.0 if run.repetition == 0 else 50.0)


# In a store


def run_search(store: Store, workers: int, **more: Any) -> Outcome:
    runs = tabulate(read_store(store.directory)[0])[0]
    return work_off(survey((), [SMALL], runs), store, runs=runs, workers=workers, **more)


def course(store: Store) -> list[tuple[Any, ...]]:
    """Every run of a store with its score, to the last bit: trials, winners and reported runs."""
    records, problems = read_store(store.directory)
    assert problems == ()
    return sorted((r.spec.canonical_json(), r.status, r.measured["score"]) for r in records)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    threads = torch.get_num_threads()
    outcome = run_search(store, workers=1)
    torch.set_num_threads(threads)
    assert outcome.left == 0
    runs = tabulate(read_store(store.directory)[0])[0]
    tuned, reported = runs[runs["role"] == "tune"], runs[runs["role"] == "report"]
    assert outcome.done == len(runs)
    trials = tuned.groupby("method")["trial"].nunique()
    assert trials.nunique() == 1
    assert trials.iloc[0] >= 8
    assert (tuned.groupby(["method", "trial"]).size() == 2).all()
    assert (reported.groupby("method").size() == 2).all()
    assert (runs["status"] == "diverged").any()  # rates of 10 do; they cost budget like any other
    assert np.isfinite(runs["score"]).all()
    return store

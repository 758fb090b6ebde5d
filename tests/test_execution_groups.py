"""Which runs happen together, in which order, and how a group of them is called."""

import dataclasses
from typing import Any

import pytest
from small_runs import STUDY, counts, endless
from small_runs import same_threads as same_threads
from small_runs import store as store

from repro.execution import (
    STACKED_FORMULAS,
    STACKED_REPLICAS,
    Group,
    describe,
    execute,
    form_groups,
    num_steps,
)
from repro.protocol import ClosedForm, Sampling, Timing, Training, Trial, expand
from repro.results import Store


@pytest.mark.parametrize("scale", ["smoke", "reduced", "full"])
def test_every_run_is_in_one_group(scale: Any) -> None:
    runs = expand(STUDY, scale)
    groups = form_groups(runs)
    assert sorted(spec.key for group in groups for spec in group) == sorted(r.key for r in runs)
    for group in groups:
        assert len({(type(s.task), s.experiment, s.problem.name) for s in group}) == 1
        if isinstance(group[0].task, Timing):
            assert len({spec.repetition for spec in group}) == 1
        else:
            assert len({spec.method for spec in group}) == 1
            formula = isinstance(group[0].problem, ClosedForm)
            assert len(group) <= (STACKED_FORMULAS if formula else STACKED_REPLICAS["cpu"])


def test_all_methods_of_a_comparison_are_timed_together() -> None:
    runs = expand(STUDY, "smoke", only=["run-time-beale", "run-time-mlp"])
    groups = form_groups(runs)
    assert [len(group) for group in groups] == [4, 4]
    for group in groups:
        declared = next(e for e in STUDY.experiments if e.name == group[0].experiment)
        assert [spec.method for spec in group] == list(declared.methods)


def test_only_small_networks_are_stacked() -> None:
    sizes = {
        name: {len(group) for group in form_groups(expand(STUDY, "full", only=[name]))}
        for name in ("beale", "estimates", "logistic", "mlp-2e-4", "cnn")
    }
    assert sizes == {
        "beale": {10},
        "estimates": {16, 8},
        "logistic": {5},
        "mlp-2e-4": {1},
        "cnn": {1},
    }


def test_a_gpu_stacks_dense_networks_too() -> None:
    sizes = {
        name: {len(group) for group in form_groups(expand(STUDY, "full", only=[name]), "cuda")}
        for name in ("logistic", "mlp-2e-4", "cnn")
    }
    assert sizes == {"logistic": {5}, "mlp-2e-4": {5}, "cnn": {1}}


@pytest.mark.parametrize("device", STACKED_REPLICAS)
@pytest.mark.parametrize("experiment", ["beale", "logistic"])
def test_more_replicas_than_fit_are_divided(device: str, experiment: str) -> None:
    (first, *_) = expand(STUDY, "smoke", only=[experiment])
    most = STACKED_FORMULAS if experiment == "beale" else STACKED_REPLICAS[device]
    runs = [dataclasses.replace(first, repetition=n) for n in range(2 * most + 1)]
    assert [len(group) for group in form_groups(runs, device)] == [most, most, 1]


def test_timing_comes_last_wherever_it_is_declared(store: Store) -> None:
    seen: list[Group] = []
    runs = expand(STUDY, "smoke")
    timing_first = sorted(runs, key=lambda spec: not isinstance(spec.task, Timing))
    outcome = execute(timing_first, store, time_limit=0.0, on_groups=seen.extend)
    kinds = [isinstance(group[0].task, Timing) for group in seen]
    assert kinds == sorted(kinds)
    assert kinds.count(True) == 17
    assert counts(outcome) == (0, 0, 0, len(runs))
    assert not store.directory.exists()


def test_a_group_in_words_names_up_to_three_methods_or_the_one_run() -> None:
    first = endless()[0]

    def of(*names: str) -> Group:
        named = (dataclasses.replace(first.method, name=name) for name in names)
        return tuple(dataclasses.replace(first, method=method) for method in named)

    assert describe(of("a", "b", "a")) == "baydin2022 beale: a, b (3 runs)"
    assert describe(of("a", "b", "c")) == "baydin2022 beale: a, b, c (3 runs)"
    assert describe(of("a", "b", "c", "d")) == "baydin2022 beale: 4 methods (4 runs)"
    again = dataclasses.replace(first, repetition=3)
    assert describe((again,)) == "baydin2022 beale: backpropagation (repetition 3)"
    tried = dataclasses.replace(again, role="tune", trial=Trial(7, "digest"))
    assert describe((tried,)) == "baydin2022 beale: backpropagation (trial 7, repetition 3)"


@pytest.mark.parametrize(
    ("task", "expected"),
    [(Training(30, 10), 30), (Timing(3, 2, "cpu", 1), 5), (Sampling(16), 32)],
)
def test_steps_of_a_group(task: Any, expected: int) -> None:
    pair = expand(STUDY, "smoke", only=["beale"], methods=["forward gradient"])
    assert num_steps(tuple(dataclasses.replace(spec, task=task) for spec in pair)) == expected

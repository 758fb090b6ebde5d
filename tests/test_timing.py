"""Timing: what a record holds, what a step's memory must at least be, and what cannot be timed together."""

import dataclasses
import math
from collections.abc import Iterator

import pytest
import torch

from repro.protocol import (
    Classification,
    ClosedForm,
    Method,
    Problem,
    RunSpec,
    Timing,
    Training,
    settings,
    use,
)
from repro.results import Record
from repro.timing import measure, timing_group
from repro.training import Interrupted

CPU = torch.device("cpu")
FIVE = Timing(5, 2, "cpu", 1)
BEALE = ClosedForm("test beale", "beale", (0.0, 0.5))
MLP = Classification(
    "digits mlp", "digits", use("mlp", width=128, depth=2), 32, "unit", validation_size=297
)
PARAMETERS = 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
METHODS = (
    Method("function alone", use("function"), use("sgd")),
    Method("tangents alone", use("tangents", num_tangents=1, tangents="normal"), use("sgd")),
    Method("backpropagation", use("backpropagation"), use("sgd")),
    Method("forward gradient", use("forward_gradient"), use("sgd")),
)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Timing sets the number of threads; what it was is restored."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def runs(problem: Problem = BEALE, task: Timing | Training = FIVE) -> list[RunSpec]:
    rate = settings(learning_rate=1e-4)
    return [
        RunSpec("test", "published", "smoke", "test", "report", problem, method, rate, 0, task)
        for method in METHODS
    ]


def value(record: Record, name: str) -> float:
    found = record.measured[name]
    assert isinstance(found, (int, float))
    return found


def test_every_method_has_its_times_and_quartiles() -> None:
    specs = runs()
    records = measure(specs, CPU)
    assert [record.spec for record in records] == specs
    for record in records:
        assert record.status == "done"
        low, median, high = (value(record, f"step_seconds{end}") for end in ("_low", "", "_high"))
        assert 0.0 < low <= median <= high < 1.0
        (curve,) = record.curves
        assert (curve.metric, curve.steps) == ("step_seconds", (0, 1, 2, 3, 4))
        assert sorted(curve.values)[2] == median
        assert min(curve.values) <= low
        assert high <= max(curve.values)
        assert value(record, "seconds") == pytest.approx(sum(curve.values))
        assert value(record, "num_steps") == 5
        assert value(record, "num_parameters") == 2
        assert value(record, "group_size") == 4
        assert value(record, "num_threads") == 1


def test_memory_of_a_step_is_at_least_what_it_must_hold() -> None:
    records = measure(runs(MLP, Timing(1, 1, "cpu", 1)), CPU)
    memory = {record.spec.method.name: value(record, "peak_bytes") for record in records}
    leaf = 4 * PARAMETERS
    assert {value(record, "num_parameters") for record in records} == {PARAMETERS}
    assert memory["function alone"] >= leaf
    assert memory["tangents alone"] >= 2 * leaf
    assert memory["backpropagation"] >= 2 * leaf  # parameters and gradient
    assert memory["forward gradient"] >= 2 * leaf  # parameters and tangent
    assert memory["function alone"] < memory["backpropagation"]
    # parameters, tangent, the copy of it that a dual tensor of a view makes, and activations
    assert max(memory.values()) < 5 * leaf


def test_memory_grows_with_the_tangents() -> None:
    peaks = []
    for k in (1, 2, 8):
        method = Method("m", use("forward_gradient", num_tangents=k), use("sgd"))
        spec = dataclasses.replace(runs(MLP, Timing(1, 0, "cpu", 1))[0], method=method)
        (record,) = measure([spec], CPU)
        peaks.append(value(record, "peak_bytes"))
        assert peaks[-1] >= (1 + k) * 4 * PARAMETERS
    assert peaks == sorted(peaks)


def test_memory_may_be_left_out() -> None:
    (record,) = measure(runs(task=Timing(1, 0, "cpu", 1, memory=False))[:1], CPU)
    assert math.isnan(value(record, "peak_bytes"))


def test_threads_are_those_of_the_specification() -> None:
    (record,) = measure(runs(task=Timing(1, 0, "cpu", 2, memory=False))[:1], CPU)
    assert torch.get_num_threads() == 2
    assert value(record, "num_threads") == 2


def test_progress_counts_rounds_with_warm_up() -> None:
    done: list[int] = []
    measure(runs(task=Timing(3, 2, "cpu", 1, memory=False)), CPU, on_steps=done.append)
    assert done == [1] * 5


def test_stopping_keeps_nothing() -> None:
    done: list[int] = []
    with pytest.raises(Interrupted):
        measure(runs(), CPU, on_steps=done.append, should_stop=lambda: len(done) == 3)
    assert len(done) == 3


def test_timing_group_is_all_but_the_method() -> None:
    specs = runs()
    assert len({timing_group(spec) for spec in specs}) == 1
    other = dataclasses.replace(specs[0], problem=MLP)
    assert timing_group(other) != timing_group(specs[0])


def test_what_cannot_be_timed_together() -> None:
    message = "must be timing runs that differ in method only"
    with pytest.raises(ValueError, match=message):
        measure([runs()[0], runs(MLP)[1]], CPU)
    with pytest.raises(ValueError, match=message):
        measure([runs()[0], runs(task=Timing(6, 2, "cpu", 1))[1]], CPU)
    with pytest.raises(ValueError, match=message):
        measure(runs(task=Training(1, 1)), CPU)


def test_other_devices_are_refused() -> None:
    with pytest.raises(ValueError, match=r"These runs time the device 'cuda'. Found 'cpu'."):
        measure(runs(task=Timing(1, 0, "cuda", 1)), CPU)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"`num_steps` must be at least 1. Found 0."):
        Timing(0, 1, "cpu", 1)
    unknown = dataclasses.replace(runs()[0], method=Method("m", use("evolution"), use("sgd")))
    with pytest.raises(ValueError, match="Unknown estimator 'evolution'"):
        measure([unknown], CPU)

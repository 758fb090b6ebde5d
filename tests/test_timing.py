"""Timing: what a record holds, what a step's memory must at least be, and what cannot be timed together."""

import dataclasses
import gc
import math
import multiprocessing
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import pytest
import torch
from torch import Tensor
from torch.profiler import profile

from repro import engine, limits
from repro.autodiff import Objective
from repro.problems.classification import ClassificationProblem
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
from repro.timing import PARTS, measure, steps, timing_group
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
SGD = use("sgd")
PLAIN = Method("plain", use("plain_backpropagation"), SGD)
ALL = (
    *METHODS,
    PLAIN,
    Method("plain forward gradient", use("plain_forward_gradient", num_tangents=2), use("adam")),
    Method("products of backpropagation", use("products"), SGD),
    Method("products of a forward gradient", use("products", num_tangents=2), SGD),
    Method("random numbers", use("random_numbers", num_tangents=2), SGD),
    Method("memory", use("memory_passes", num_tangents=2), use("adam")),
)
"""Everything that can be timed; their optimizers differ."""


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Timing sets the number of threads; what it was is restored."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def runs(
    problem: Problem = BEALE,
    task: Timing | Training = FIVE,
    methods: tuple[Method, ...] = METHODS,
) -> list[RunSpec]:
    rate = settings(learning_rate=1e-4)
    return [
        RunSpec("test", "published", "smoke", "test", "report", problem, method, rate, 0, task)
        for method in methods
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


def test_no_version_warns_of_how_memory_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Telling(profile):  # as PyTorch 2.11 does
        def __enter__(self) -> Self:
            warnings.warn("Profiler clears events at the end of each cycle", stacklevel=1)
            super().__enter__()  # type: ignore[no-untyped-call]
            return self

    monkeypatch.setattr("repro.timing.steps.profile", Telling)
    (record,) = measure(runs(MLP, Timing(1, 0, "cpu", 1))[:1], CPU)  # a warning is an error here
    assert value(record, "peak_bytes") > 0


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


FORMULAS = ("search", "approximation_grid")
STEPS = {"backpropagation", "forward_gradient"}


@pytest.mark.parametrize("kind", FORMULAS)
def test_what_is_done_on_functions_can_be_timed(kind: str) -> None:
    task = Timing(2, 1, "cpu", 1, memory=False, loop_steps=2, replicas=2)
    compared = tuple(Method(name, use(name), use("sgd")) for name in (kind, f"plain_{kind}"))
    problem = ClosedForm("a sum", "coordinate_sum", (0.0,), 2)
    records = measure(runs(problem, task, compared), CPU)
    assert all(value(record, "step_seconds") > 0 for record in records)
    with pytest.raises(ValueError, match="is timed for functions only"):
        measure(runs(MLP, task, compared[:1]), CPU)


@pytest.mark.parametrize("num_tangents", [0, 2])
def test_an_epoch_takes_every_step_and_looks_at_every_split(
    num_tangents: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[torch.Tensor] = []
    splits: list[str] = []
    objective, evaluate = ClassificationProblem.objective, ClassificationProblem.evaluate

    def noted(problem: ClassificationProblem, rows: torch.Tensor) -> Objective:
        steps.append(rows)
        return objective(problem, rows)

    def looked(problem: ClassificationProblem, *how: Any) -> dict[str, torch.Tensor]:
        splits.append(how[-1])
        found = evaluate(problem, *how)
        assert set(found) == {"loss", "accuracy"}
        return found

    monkeypatch.setattr(ClassificationProblem, "objective", noted)
    monkeypatch.setattr(ClassificationProblem, "evaluate", looked)
    options = {"perturb": "activations", "mode": "simulated"} if num_tangents else {}
    method = Method("epoch", use("epoch", num_tangents=num_tangents, **options), use("sgd"))
    (record,) = measure(runs(MLP, Timing(1, 1, "cpu", 1, memory=False), (method,)), CPU)
    whole, rest = divmod(1_297 - MLP.validation_size, MLP.batch_size)
    assert len(steps) == 2 * (whole + (0 if MLP.drop_last else rest > 0))
    assert splits == 2 * ["training", "validation", "test"]
    assert value(record, "step_seconds") > 0


def test_every_part_can_be_timed() -> None:
    of_formulas = {kind for kind in PARTS if kind.removeprefix("plain_") in FORMULAS}
    assert {method.estimator.name for method in ALL} == {*PARTS} - of_formulas - {"epoch"} | STEPS
    for loop_steps in (0, 2):
        task = Timing(2, 1, "cpu", 1, memory=False, loop_steps=loop_steps)
        records = measure(runs(MLP, task, ALL), CPU)
        assert {value(record, "num_parameters") for record in records} == {PARAMETERS}
        assert all(value(record, "step_seconds") > 0 for record in records)


@pytest.mark.parametrize("loop_steps", [0, 3])
@pytest.mark.parametrize("name", ["backpropagation", "function"])
def test_a_loop_takes_a_mini_batch_a_step(
    name: str, loop_steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[torch.Tensor] = []
    objective = ClassificationProblem.objective

    def noted(problem: ClassificationProblem, rows: torch.Tensor) -> Objective:
        taken.append(rows)
        return objective(problem, rows)

    monkeypatch.setattr(ClassificationProblem, "objective", noted)
    task = Timing(2, 1, "cpu", 1, memory=False, loop_steps=loop_steps)
    method = Method(name, use(name), SGD)
    measure(runs(MLP, task, (method,)), CPU)
    assert len(taken) == (9 if loop_steps else 1)
    assert len({tuple(rows.flatten().tolist()) for rows in taken}) == len(taken)


def test_the_plain_loop_takes_a_mini_batch_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.Tensor] = []
    monkeypatch.setattr(
        "repro.plain.backpropagation", lambda model, images, labels: taken.append(images)
    )
    for loop_steps, different in ((0, 1), (3, 9)):
        taken.clear()
        task = Timing(2, 1, "cpu", 1, memory=False, loop_steps=loop_steps)
        measure(runs(MLP, task, (PLAIN,)), CPU)
        assert len({tuple(images.flatten().tolist()) for images in taken}) == different


def test_a_step_is_its_share_of_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_000))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(clock)))
    task = Timing(4, 1, "cpu", 1, memory=False, loop_steps=3, replicas=2)
    (record,) = measure(runs(MLP, task, METHODS[2:3]), CPU)
    assert value(record, "step_seconds") == pytest.approx(1 / 6)
    assert value(record, "seconds") == 4.0
    assert value(record, "num_steps") == 4
    assert value(record, "num_parameters") == PARAMETERS


def test_replicas_are_stacked_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[engine.Step] = []

    def noted(step: engine.Step, device: torch.device) -> engine.Advance:
        del device
        steps.append(step)
        return step

    monkeypatch.setattr(engine, "prepare", noted)
    task = Timing(1, 0, "cpu", 1, memory=False, loop_steps=1, replicas=3)
    measure(runs(MLP, task, METHODS[3:]), CPU)
    (step,) = steps
    assert isinstance(step.params, dict)
    first, second, third = step.params["0.weight"]
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert len({generator.initial_seed() for generator in step.generators}) == 3
    assert step.rates(0).tolist() == pytest.approx([1e-4] * 3)


def test_products_are_prepared_for_the_batch_that_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = []

    def noted(network: object, params: object, images: torch.Tensor, **options: object) -> object:
        shapes.append((tuple(images.shape), options))
        return lambda: None

    monkeypatch.setattr(limits, "products", noted)
    task = Timing(1, 0, "cpu", 1, memory=False, replicas=2)
    measure(runs(MLP, task, ALL[6:8]), CPU)
    assert shapes == [((2, 32, 1, 8, 8), {}), ((2, 32, 1, 8, 8), {"num_tangents": 2})]


def test_data_are_loaded_once_for_all_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    start = ClassificationProblem.__init__

    def noted(problem: ClassificationProblem, *arguments: object) -> None:
        loaded.append(arguments)
        start(problem, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ClassificationProblem, "__init__", noted)
    measure(runs(MLP, Timing(1, 0, "cpu", 1, memory=False)), CPU)
    assert len(loaded) == 1


def test_processes_take_their_turns_at_the_same_time() -> None:
    task = Timing(3, 1, "cpu", 1, memory=False, loop_steps=2, processes=2)
    done: list[int] = []
    records = measure(runs(MLP, task, METHODS[2:]), CPU, on_steps=done.append)
    assert done == [1] * 4
    for record in records:
        (curve,) = record.curves
        assert curve.steps == tuple(range(6))  # both processes' rounds
        # a process's turn has two steps, and two processes take one together
        assert value(record, "seconds") == pytest.approx(sum(curve.values) * 4 / 2)
    assert multiprocessing.active_children() == []


def test_stopping_ends_the_other_processes() -> None:
    task = Timing(1_000, 0, "cpu", 1, memory=False, processes=2)
    with pytest.raises(Interrupted):
        measure(runs(task=task), CPU, should_stop=lambda: True)
    assert multiprocessing.active_children() == []


def test_a_process_that_is_lost_is_said() -> None:
    def lose(steps: int) -> None:
        del steps
        for process in multiprocessing.active_children():
            process.kill()

    task = Timing(1_000, 0, "cpu", 1, memory=False, processes=2)
    with pytest.raises(OSError, match="timed beside this one ended or does not answer"):
        measure(runs(task=task), CPU, on_steps=lose)
    assert multiprocessing.active_children() == []
    assert threading.active_count() == 1


@pytest.fixture
def cases(monkeypatch: pytest.MonkeyPatch) -> list["weakref.ref[steps._Case]"]:
    """Have what is built recorded as on CUDA; what it is made from comes here."""
    made: list[weakref.ref[steps._Case]] = []

    class OnCuda(steps._Case):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            self.device = torch.device("cuda")
            made.append(weakref.ref(self))

    monkeypatch.setattr(steps, "_Case", OnCuda)
    return made


def test_generators_are_registered_that_are_drawn_from_and_no_others(
    cases: list["weakref.ref[steps._Case]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[int] = []

    def record(
        function: Callable[[], Tensor], generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Callable[[], None]]:
        registered.append(len(generators))
        return torch.zeros(()), lambda: None

    monkeypatch.setattr(engine, "record", record)
    drawing = {"tangents alone", "forward gradient", "random numbers"}
    compared = [method for method in ALL if "plain" not in method.name]
    steps.build(runs(MLP, dataclasses.replace(FIVE, replicas=2), tuple(compared)), CPU)
    assert registered == [2 if method.name in drawing else 0 for method in compared]


def test_what_was_timed_is_freed_without_a_garbage_collection(
    cases: list["weakref.ref[steps._Case]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "record", lambda *_: (torch.zeros(()), lambda: None))
    gc.collect()
    gc.disable()
    try:
        built = steps.build(runs(MLP), CPU)
        assert all(case() is not None for case in cases)
        del built
        assert [case() for case in cases] == [None] * len(METHODS)
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["backpropagation", "forward_gradient", "epoch"])
def test_memory_of_a_loop_is_that_of_steps_before_they_were_recorded(
    kind: str, cases: list["weakref.ref[steps._Case]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed: list[int] = []
    taken: list[int] = []
    monkeypatch.setattr(
        engine, "prepare", lambda step, device: lambda rows, number: replayed.append(number)
    )
    take = engine.Step.__call__

    def count(step: engine.Step, rows: Tensor, number: Tensor | int) -> Tensor:
        taken.append(int(number))
        return take(step, rows, number)

    monkeypatch.setattr(engine.Step, "__call__", count)
    method = Method("m", use(kind), use("sgd"))
    (built,) = steps.build(runs(MLP, Timing(1, 0, "cpu", 1, loop_steps=2), (method,)), CPU)
    built.run()  # replays allocate nothing
    assert replayed
    assert not taken
    replayed.clear()
    built.unrecorded()
    assert taken
    assert not replayed


def test_memory_on_cuda_has_no_workspace_of_a_library_in_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allocated, peak = [1_000], [0]  # bytes; the parameters are 100 of them

    def step() -> None:
        if allocated == [1_000]:
            allocated[0] += 2**25  # at the first call, and kept
        peak[0] = max(peak[0], allocated[0] + 40)  # freed again

    for name, stand_in in {
        "synchronize": lambda device: None,
        "memory_allocated": lambda device: allocated[0],
        "reset_peak_memory_stats": lambda device: peak.__setitem__(0, allocated[0]),
        "max_memory_allocated": lambda device: peak[0],
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    timed = steps.Step(step, step, num_parameters=25, resident_bytes=100)
    assert timed.peak_bytes(torch.device("cuda")) == 140
    assert timed.peak_bytes(torch.device("cuda")) == 140


def test_what_a_part_needs() -> None:
    for method in (PLAIN, ALL[6]):
        with pytest.raises(ValueError, match=r"is timed for networks only. Found .* 'test beale'"):
            measure(runs(BEALE, FIVE, (method,)), CPU)
    with pytest.raises(ValueError, match=r"The plain loop trains one replica. Found 2."):
        measure(runs(MLP, dataclasses.replace(FIVE, replicas=2), (PLAIN,)), CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(("replicas", "loop_steps"), [(1, 2), (2, 2), (1, 0)])
def test_parts_on_cuda(replicas: int, loop_steps: int) -> None:
    methods = tuple(m for m in ALL if replicas == 1 or "plain" not in m.name)
    task = Timing(3, 4, "cuda", 1, loop_steps=loop_steps, replicas=replicas)
    records = measure(runs(MLP, task, methods), torch.device("cuda"))
    assert all(value(record, "step_seconds") > 0 for record in records)
    memory = {record.spec.method.name: value(record, "peak_bytes") for record in records}
    assert all(peak > 0 for peak in memory.values())
    # parameters and gradient, of a step that is recorded, too
    assert memory["backpropagation"] >= 2 * 4 * PARAMETERS * replicas


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("kind", FORMULAS)
def test_what_is_done_on_functions_can_be_timed_on_cuda(kind: str) -> None:
    task = Timing(2, 1, "cuda", 1, memory=False, loop_steps=2, replicas=2)
    compared = tuple(Method(name, use(name), use("sgd")) for name in (kind, f"plain_{kind}"))
    problem = ClosedForm("a sum", "coordinate_sum", (0.0,), 2)
    records = measure(runs(problem, task, compared), torch.device("cuda"))
    assert all(value(record, "step_seconds") > 0 for record in records)

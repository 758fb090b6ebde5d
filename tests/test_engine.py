"""The training step as a program: a recorded step does what the step does, once, and says when it cannot.

Recording needs CUDA. Elsewhere it is imitated: what is recorded is run again at every replay, from the fixed
tensors that it was recorded with and into the same result.
"""

import contextlib
import dataclasses
import gc
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import studies
from repro import datasets, engine, estimators, optimizers, problems
from repro.autodiff import Objective, Params, leaves, like, sweeps
from repro.engine import Recorded, Step, prepare
from repro.estimators import Backpropagation, Cost, Estimate, Estimator, Generators
from repro.problems.classification import ClassificationProblem
from repro.protocol import (
    Classification,
    ClosedForm,
    Method,
    Problem,
    Replica,
    RunSpec,
    Training,
    expand,
    settings,
    use,
)
from repro.training import Schedule, start

CPU = torch.device("cpu")
STEPS = 3 * 17  # three epochs of digits
DIGITS = Classification(
    # 1203 examples in batches of 75 leave a last one of 3: two shapes
    "digits mlp", "digits", use("mlp", width=6, depth=1), 75, "unit", validation_size=234,
    drop_last=False,
)  # fmt: skip
BEALE = ClosedForm("beale", "beale", (0.0, 0.5))
METHODS = {
    "backpropagation, SGD": (use("backpropagation"), use("sgd")),
    "forward gradient, Nesterov": (
        use("forward_gradient"),
        use("sgd", momentum=0.9, nesterov=True),
    ),
    "forward gradient, look-ahead": (use("forward_gradient"), use("look_ahead", momentum=0.5)),
    "projection, Adam": (
        use("forward_gradient", num_tangents=3, aggregation="orthogonal_projection"),
        use("adam"),
    ),
    "backpropagation, Adam": (use("backpropagation"), use("adam", epsilon_inside=True)),
}
MORE = {
    **METHODS,
    "backpropagation, PyTorch's Adam": (use("backpropagation"), use("adam")),
    "clipped": (use("forward_gradient", num_tangents=2, clip=1.0), use("sgd")),
    "in chunks": (use("forward_gradient", num_tangents=3, chunk_size=2), use("sgd")),
    "simulated": (use("forward_gradient", num_tangents=2, mode="simulated"), use("sgd")),
    "sphere": (use("forward_gradient", tangents="sphere", aggregation="sum"), use("sgd")),
    "angle": (use("forward_gradient", num_tangents=2, tangents="angle", angle=30.0), use("sgd")),
    "activations": (use("forward_gradient", num_tangents=2, perturb="activations"), use("sgd")),
    "activations, simulated": (
        use("forward_gradient", perturb="activations", mode="simulated"),
        use("adam"),
    ),
}
NETWORKS = (
    use("cnn", channels=4, padding=1, width=8),
    use("resnet18", channels=8),
    use("vit", width=8, layers=1, heads=2),
)


def make(
    problem: Problem, name: str, num_replicas: int = 2, device: torch.device = CPU
) -> tuple[Step, list[Replica]]:
    method = Method(name, *MORE[name], "exponential")
    specs = [
        RunSpec(
            study="test", arm="published", scale="smoke", experiment="test", role="report",
            problem=problem, method=method, task=Training(STEPS, STEPS), repetition=repetition,
            hyperparameters=settings(learning_rate=1e-3 * (1 + repetition), decay=0.01),
        )
        for repetition in range(num_replicas)
    ]  # fmt: skip
    replicas = [Replica("report", r) for r in range(num_replicas)]
    built = problems.build(problem, device, torch.float32)
    optimizer = optimizers.build(method.optimizer.name, **method.optimizer.options())
    params = built.start(replicas)
    step = Step(
        built,
        estimators.build(method.estimator.name, **method.estimator.options()),
        optimizer,
        Schedule(method.schedule, specs, device),
        params,
        optimizer.init(params),
        [torch.Generator(device).manual_seed(r) for r in range(num_replicas)],
    )
    return step, replicas


def train(
    advance: Callable[[Tensor, Tensor | int], Tensor], step: Step, replicas: list[Replica]
) -> Tensor:
    batches = step.problem.batches(replicas)
    return torch.stack([advance(next(batches), number).clone() for number in range(STEPS)])


class Imitation:
    """What stands in for CUDA: streams do nothing, a recording is undone and run again when replayed."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.recorded: list[torch.Size] = []
        self.pools: list[object] = []
        self.generators: list[torch.Generator] = []
        self.error: Exception | None = None

    def tensors(self) -> list[Tensor]:
        found = leaves(self.step.params)
        for value in self.step.state.values():
            found = found + ([value] if isinstance(value, Tensor) else value)
        return found

    def capture(
        self, function: Callable[[], Tensor], generators: Sequence[torch.Generator], pool: object
    ) -> tuple[Tensor, Callable[[], None]]:
        self.pools.append(pool)
        self.generators += generators
        if self.error is not None:
            raise self.error
        before = [tensor.clone() for tensor in self.tensors()]
        states = [generator.get_state() for generator in generators]
        value = function()
        for tensor, old in zip(self.tensors(), before, strict=True):
            tensor.copy_(old)
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        self.recorded.append(value.shape)
        value.fill_(torch.nan)  # a recording has no result yet

        def replay() -> None:
            value.copy_(function())

        return value, replay


@pytest.fixture
def imitate(monkeypatch: pytest.MonkeyPatch) -> Callable[[Step], Imitation]:
    def start(step: Step) -> Imitation:
        imitation = Imitation(step)
        monkeypatch.setattr(engine, "_capture", imitation.capture)
        monkeypatch.setattr(engine, "_failures", [])
        monkeypatch.setattr(engine, "memory_pool", object)
        monkeypatch.setattr(engine, "aside", lambda function: function())
        return imitation

    return start


@pytest.mark.parametrize("problem", [DIGITS, BEALE], ids=lambda problem: problem.name)
@pytest.mark.parametrize("name", METHODS)
def test_a_recorded_step_trains_as_the_step_does(
    problem: Problem, name: str, imitate: Callable[[Step], Imitation]
) -> None:
    (step, replicas), (again, _) = make(problem, name), make(problem, name)
    expected = train(step, step, replicas)
    imitation = imitate(again)
    losses = train(Recorded(again, CPU), again, replicas)
    assert torch.equal(losses, expected)
    for mine, theirs in zip(leaves(again.params), leaves(step.params), strict=True):
        assert torch.equal(mine, theirs)
    # one recording: the shorter mini-batch that ends an epoch comes no more often than the warm-up lasts
    assert len(imitation.recorded) == 1


def test_both_shapes_of_mini_batch_are_recorded_once(
    imitate: Callable[[Step], Imitation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WARM_UP", 1)
    name = "forward gradient, look-ahead"
    (step, replicas), (again, _) = make(DIGITS, name), make(DIGITS, name)
    imitation = imitate(again)
    assert torch.equal(train(Recorded(again, CPU), again, replicas), train(step, step, replicas))
    assert len(imitation.recorded) == 2
    assert len(imitation.pools) == 2
    assert len(set(imitation.pools)) == 1


@pytest.mark.parametrize(
    ("name", "drawn"), [("backpropagation, SGD", 0), ("forward gradient, Nesterov", 2)]
)
def test_generators_are_registered_that_a_step_draws_from_and_no_others(
    name: str, drawn: int, imitate: Callable[[Step], Imitation]
) -> None:
    step, replicas = make(BEALE, name)
    imitation = imitate(step)
    train(Recorded(step, CPU), step, replicas)
    assert imitation.generators == step.generators[:drawn]


def test_what_cannot_be_recorded_runs_as_it_is_and_says_so_once(
    imitate: Callable[[Step], Imitation],
) -> None:
    name = "projection, Adam"
    (step, replicas), (again, _) = make(DIGITS, name), make(DIGITS, name)
    expected = train(step, step, replicas)
    imitate(again).error = RuntimeError("operation not permitted when stream is capturing\nmore")
    with pytest.warns(RuntimeWarning) as caught:
        losses = train(Recorded(again, CPU), again, replicas)
    (warning,) = caught
    assert str(warning.message) == (
        "The training step could not be recorded as a CUDA graph (operation not permitted when stream is "
        "capturing); this process runs it, and all others from now on, kernel by kernel, which is slower and gives "
        "the same numbers."
    )
    assert torch.equal(losses, expected)


def test_too_little_memory_is_not_taken_for_a_step_that_cannot_be_recorded(
    imitate: Callable[[Step], Imitation],
) -> None:
    step, replicas = make(BEALE, "backpropagation, SGD")
    imitate(step).error = torch.OutOfMemoryError("out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        train(Recorded(step, CPU), step, replicas)
    imitate(step).error = RuntimeError("CUDA error: out of memory\nCompile with ...")
    with pytest.raises(RuntimeError, match="out of memory"):
        train(Recorded(step, CPU), step, replicas)


def test_what_broke_a_recording_off_is_said_and_not_what_ended_it(
    imitate: Callable[[Step], Imitation],
) -> None:
    step, replicas = make(DIGITS, "backpropagation, SGD")
    ended = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    ended.__context__ = RuntimeError("operation not permitted when stream is capturing")
    imitate(step).error = ended
    with pytest.warns(RuntimeWarning, match=r"as a CUDA graph \(operation not permitted when"):
        train(Recorded(step, CPU), step, replicas)


@pytest.mark.parametrize(
    "broke",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_too_little_memory_that_broke_a_recording_off_is_no_step_that_cannot_be_recorded(
    broke: RuntimeError, imitate: Callable[[Step], Imitation]
) -> None:
    (large, replicas), (small, _) = (make(BEALE, "backpropagation, SGD") for _ in range(2))
    ended = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    ended.__context__ = broke
    imitate(large).error = ended
    with pytest.raises(torch.OutOfMemoryError) as caught:
        train(Recorded(large, CPU), large, replicas)
    assert str(caught.value) == str(broke)
    # those that fit are recorded
    imitation = imitate(small)
    train(Recorded(small, CPU), small, replicas)
    assert len(imitation.recorded) == 1


def test_after_a_recording_that_failed_nothing_is_recorded_any_more(
    imitate: Callable[[Step], Imitation], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "backpropagation, Adam"
    (failing, replicas), (step, _), (again, _) = (make(DIGITS, name) for _ in range(3))
    imitate(failing).error = RuntimeError("operation not permitted when stream is capturing")
    with pytest.warns(RuntimeWarning, match="all others from now on"):
        train(Recorded(failing, CPU), failing, replicas)
    monkeypatch.setattr(engine, "_capture", None)
    monkeypatch.setattr(engine, "aside", None)  # its stream may be left within what failed
    assert torch.equal(train(Recorded(again, CPU), again, replicas), train(step, step, replicas))
    with pytest.raises(engine.RecordingError) as caught:
        engine.record(lambda: torch.zeros(()), [])
    assert str(caught.value) == (
        "This process records nothing any more as CUDA graphs, since something could not be (operation not "
        "permitted when stream is capturing). The same command tries again."
    )


def test_after_too_little_memory_the_next_step_is_recorded(
    imitate: Callable[[Step], Imitation],
) -> None:
    (large, replicas), (step, _) = (make(DIGITS, "backpropagation, SGD") for _ in range(2))
    imitate(large).error = torch.OutOfMemoryError("out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        train(Recorded(large, CPU), large, replicas)
    imitation = imitate(step)
    train(Recorded(step, CPU), step, replicas)
    assert len(imitation.recorded) == 1


@pytest.mark.parametrize("told", [False, True], ids=["PyTorch did not", "PyTorch did"])
def test_the_allocator_is_told_of_the_end_of_a_recording_that_failed(
    told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []
    graph = SimpleNamespace(register_generator_state=None, replay=None)

    @contextlib.contextmanager
    def capturing(graph: object, *, pool: object, stream: object) -> Iterator[None]:
        try:
            yield
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error")

    def end(device: int, pool: object) -> None:
        calls.append(("end", device, pool))
        if told:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")

    def release(device: int, pool: object) -> None:
        calls.append(("release", device, pool))

    def function() -> Tensor:
        raise RuntimeError("operation not permitted when stream is capturing")

    for name, stand_in in {
        "CUDAGraph": lambda: graph,
        "graph": capturing,
        "graph_pool_handle": lambda: (0, 7),
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda: None,
        "current_device": lambda: 3,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end, raising=False)
    monkeypatch.setattr(torch._C, "_cuda_releasePool", release, raising=False)
    monkeypatch.setattr(engine, "_side_stream", lambda device: None)
    monkeypatch.setattr(engine, "_failures", [])
    with pytest.raises(engine.RecordingError, match=r"^operation not permitted when stream is"):
        engine.record(function, [])
    # a pool that the graph lets go of itself must not be let go of twice
    assert calls == [("end", 3, (0, 7)), *([] if told else [("release", 3, (0, 7))])]


def test_what_breaks_off_on_a_stream_of_its_own_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited: list[str] = []
    current = SimpleNamespace(wait_stream=lambda other: waited.append("for it"))
    other = SimpleNamespace(wait_stream=lambda current: waited.append("before it"))
    for name, stand_in in {
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda: current,
        "current_device": lambda: 3,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(engine, "_side_stream", lambda device: other)

    def function() -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        engine.aside(function)
    assert waited == ["before it", "for it"]


@pytest.mark.parametrize("itself", [False, True], ids=["before 2.14", "from 2.14 on"])
def test_generators_are_registered_once_where_pytorch_does_not_do_it_itself(
    itself: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered: list[torch.Generator] = []
    graph = SimpleNamespace(replay=lambda: None)
    if not itself:  # which may go away
        graph.register_generator_state = registered.append
    for name, stand_in in {
        "CUDAGraph": lambda: graph,
        "graph": lambda graph, *, pool, stream: contextlib.nullcontext(),
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda: None,
        "current_device": lambda: 3,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(engine, "_side_stream", lambda device: None)
    monkeypatch.setattr(engine, "_failures", [])
    monkeypatch.setattr(engine, "REGISTERS", itself)
    one, other = torch.Generator(), torch.Generator()
    _, replay = engine.record(lambda: torch.zeros(()), [one, other, one], pool=(0, 7))
    assert replay is graph.replay
    assert registered == ([] if itself else [one, other])


def test_a_recording_that_nothing_refers_to_goes_before_the_next_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Earlier:
        """In a cycle, such as one of frames that an import during a step leaves behind."""

        def __init__(self) -> None:
            self.itself = self

    alive: list[bool] = []
    earlier = Earlier()
    kept = weakref.ref(earlier)

    @contextlib.contextmanager
    def capturing(graph: object, *, pool: object, stream: object) -> Iterator[None]:
        alive.append(kept() is not None)
        yield

    for name, stand_in in {
        "CUDAGraph": lambda: SimpleNamespace(replay=None),
        "graph": capturing,
        "stream": lambda stream: contextlib.nullcontext(),
        "current_stream": lambda: None,
        "current_device": lambda: 3,
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(engine, "_side_stream", lambda device: None)
    monkeypatch.setattr(engine, "_failures", [])
    gc.disable()
    try:
        del earlier
        assert kept() is not None
        engine.record(lambda: torch.zeros(()), [], pool=(0, 7))
    finally:
        gc.enable()
    assert alive == [False]


class Recording(TorchDispatchMode):
    """Refuses what no CUDA graph can hold: to ask for a value, or for a size that depends on one, or to bring numbers.

    Nor may numbers come from another device, which would be done again at each replay.
    """

    REFUSED = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "lift_fresh",
        "equal",
        "is_nonzero",
    )

    def __init__(self, device: torch.device = CPU) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if name in self.REFUSED or by_mask:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        # derivatives that are zero hold no numbers, wherever they are said to be
        devices = {tensor.device.type for tensor in tensors if not tensor._is_zerotensor()}
        if self.device != CPU and len(devices) > 1:
            raise RuntimeError(f"{name} takes numbers from one device to another: {devices}")
        return result


def of_shared_sources(step: Step) -> Step:
    """Return the step with four replicas, two and two of which share their tangents."""
    a, b = step.generators[:2]
    return dataclasses.replace(step, generators=[a, b, a, b])


RECORDABLE = [name for name in MORE if "projection" not in name]


@pytest.mark.parametrize("name", RECORDABLE)
@pytest.mark.parametrize(
    "problem",
    [DIGITS, BEALE, *(dataclasses.replace(DIGITS, network=network) for network in NETWORKS)],
    ids=lambda problem: str(getattr(problem, "network", problem).name),
)
def test_a_step_that_is_recorded_waits_for_nothing(
    problem: Problem, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if problem is BEALE and "activations" in name:
        pytest.skip("a function has no activations")
    monkeypatch.setattr(sweeps, "_on_cpu", lambda params: False)  # the way that CUDA takes
    step, replicas = make(problem, name, num_replicas=4)
    step = of_shared_sources(step)
    assert step.estimator.recordable
    batches, number = step.problem.batches(replicas), torch.zeros((), dtype=torch.float64)
    step(next(batches), number)
    rows = next(batches)
    with Recording():
        step(rows, number)


class Guarded(Estimator):
    """One that is added: a gradient that is left out where it is not finite."""

    cost = Cost(forward_passes=3.0, tangents=0)

    def __call__(self, objective: Objective, params: Params, generator: Generators) -> Estimate:
        found = Backpropagation()(objective, params, generator)
        if all(leaf.isfinite().all() for leaf in leaves(found.gradient)):
            return found
        return dataclasses.replace(
            found, gradient=like(params, [0.0 * leaf for leaf in leaves(params)])
        )


def test_an_estimator_that_says_nothing_of_it_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorded = object()
    monkeypatch.setattr(engine, "Recorded", lambda step, device: recorded)
    step, replicas = make(DIGITS, "backpropagation, SGD")
    objective = step.problem.objective(next(step.problem.batches(replicas)))
    cuda = torch.device("cuda")
    assert prepare(step, cuda) is recorded
    added = dataclasses.replace(step, estimator=Guarded())
    assert prepare(added, cuda) is added
    assert Guarded().cost_on(objective) == Guarded.cost


def test_a_projection_looks_at_its_factor_and_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step, replicas = make(DIGITS, "projection, Adam")
    rows = next(step.problem.batches(replicas))
    assert not step.estimator.recordable
    with (
        Recording(),
        pytest.raises(RuntimeError, match=r"capturing: (is_nonzero|_local_scalar)"),
    ):
        step(rows, 0)
    monkeypatch.setattr(engine, "Recorded", None)
    assert prepare(step, torch.device("cuda")) is step


@dataclasses.dataclass(frozen=True)
class Misshapen(Estimator):
    """One that is added: it does something to the right estimate."""

    change: Callable[[Estimate], Estimate]
    cost = Cost(forward_passes=3.0, tangents=0)

    def __call__(self, objective: Objective, params: Params, generator: Generators) -> Estimate:
        return self.change(Backpropagation()(objective, params, generator))


def with_leaves(change: Callable[[Tensor], Tensor]) -> Callable[[Estimate], Estimate]:
    def changed(found: Estimate) -> Estimate:
        gradient = like(found.gradient, [change(leaf) for leaf in leaves(found.gradient)])
        return dataclasses.replace(found, gradient=gradient)

    return changed


def reordered(found: Estimate) -> Estimate:
    assert isinstance(found.gradient, dict)
    return dataclasses.replace(found, gradient=dict(reversed(found.gradient.items())))


@pytest.mark.parametrize(
    ("problem", "change", "message"),
    [
        (
            BEALE,
            with_leaves(lambda leaf: leaf[0]),
            r"^The gradient of an estimate has the shapes of the parameters, \(2, 2\) for one tensor\. Found \(2,\) from "
            r"Misshapen: keep the leading dimension, the replicas', and all others\.$",
        ),
        (
            DIGITS,
            with_leaves(lambda leaf: leaf[:1]),
            r"\(2, 64, 6\) for `0\.weight`\. Found \(1, 64, 6\) from",
        ),
        (
            DIGITS,
            reordered,
            r"^The gradient of an estimate has the structure of the parameters, `0\.weight`, `0\.bias`, `1\.weight`, "
            r"`1\.bias`\. Found `1\.bias`, .* from Misshapen: make it by `like\(params, \[\.\.\.\]\)`\.$",
        ),
        (
            DIGITS,
            lambda found: dataclasses.replace(found, gradient={}),
            r"Found nothing from Misshapen",
        ),
        (
            BEALE,
            lambda found: dataclasses.replace(found, value=found.value.mean()),
            r"^The value of an estimate is one a replica, \(2,\)\. Found \(\) from Misshapen: keep the leading dimension",
        ),
    ],
)
def test_an_estimate_of_another_shape_is_refused(
    problem: Problem, change: Callable[[Estimate], Estimate], message: str
) -> None:
    step, replicas = make(problem, "backpropagation, SGD")
    added = dataclasses.replace(step, estimator=Misshapen(change))
    before = [leaf.clone() for leaf in leaves(step.params)]
    with pytest.raises(ValueError, match=message):
        added(next(step.problem.batches(replicas)), 0)
    assert all(map(torch.equal, before, leaves(step.params)))


def test_the_cpu_takes_the_step_as_it_is() -> None:
    step, _ = make(BEALE, "backpropagation, SGD")
    assert prepare(step, CPU) is step


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", MORE)
def test_on_cuda_recorded_and_eager_steps_agree(name: str) -> None:
    device = torch.device("cuda")
    (step, replicas), (again, _) = (
        make(DIGITS, name, device=device),
        make(DIGITS, name, device=device),
    )
    expected = train(step, step, replicas)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it must not fall back
        losses = train(prepare(again, device), again, replicas)
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-6)


META = torch.device("meta")
"""A device without numbers, to follow shapes and places through a step: it stands for one that is not at hand."""


def declared_steps() -> dict[str, RunSpec]:
    """Return a run of every network or function with every method that a paper declares."""
    runs: dict[str, RunSpec] = {}
    for study in map(studies.get, studies.names()):
        for spec in expand(study, "smoke"):
            problem = spec.trained_problem
            what = problem.network.name if isinstance(problem, Classification) else problem.function
            if isinstance(spec.task, Training):
                runs.setdefault(f"{study.name}: {what}, {spec.method.name}", spec)
    return runs


@pytest.mark.parametrize("spec", [pytest.param(s, id=n) for n, s in declared_steps().items()])
def test_a_declared_step_stays_on_its_device(
    spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = torch.Generator()
    monkeypatch.setattr(start, "_generators", lambda specs, device: [on_cpu] * len(specs))
    # these look at numbers, before any step
    monkeypatch.setattr(datasets, "_mean_and_deviation", lambda channel: (0.1, 0.3))
    monkeypatch.setattr(torch.nn.init, "trunc_normal_", lambda tensor, **options: tensor)
    with FakeTensorMode(allow_non_fake_inputs=True):
        step = start.first_step([spec, spec], META, None)
        replicas = [Replica(spec.role, spec.repetition)] * 2
        rows = torch.zeros(2, 3, device=META, dtype=torch.int64)
        number = torch.zeros((), device=META, dtype=torch.float64)
        looks = (
            contextlib.nullcontext()
            if step.estimator.recordable
            else pytest.raises(RuntimeError, match=r"capturing: (is_nonzero|_local_scalar)")
        )
        with looks, Recording(META):
            assert step(rows, number).device == META
        if isinstance(step.problem, ClassificationProblem):
            judged = step.problem.evaluate(step.judged(), replicas, "test")
            assert {values.device for values in judged.values()} == {META}


class Cleared(TorchDispatchMode):
    """Counts the tensors of zeros that forward mode makes for tangents that do not lie as their parameters do."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ == "_new_zeros_with_same_feature_meta"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["forward gradient, Nesterov", "clipped", "projection, Adam"])
@pytest.mark.parametrize("shared", [True, False], ids=["one source", "own sources"])
def test_tangents_of_stacked_replicas_lie_as_their_parameters_do(name: str, shared: bool) -> None:
    step, replicas = make(DIGITS, name, num_replicas=4)
    if shared:  # as the trials of a search do
        step = dataclasses.replace(step, generators=[step.generators[0]] * 4)
    with Cleared() as cleared:
        step(next(step.problem.batches(replicas)), 0)
    assert cleared.count == 0

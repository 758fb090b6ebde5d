"""The training step as a program: the same work every time, so on CUDA it is recorded once and replayed.

A step gathers a mini-batch, estimates the gradient and updates. Launching its hundred kernels one by one
takes a GPU longer than running them; a CUDA graph launches them as one. A recorded step reads the rows of
its mini-batch and its number from fixed tensors, and everything that changes from step to step (parameters,
optimizer state, generators) is a tensor or a registered generator that it advances in place, so a replayed
step does what the same step does eagerly. The CPU has nothing to gain and calls the step as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from repro.autodiff import Layered, Params, leaves
from repro.environment import is_out_of_memory
from repro.estimators import Estimate, Estimator
from repro.models import MOMENTUM
from repro.optimizers import Optimizer, State
from repro.problems import BuiltProblem

WARM_UP = 3
"""Steps done eagerly, on a stream of their own, before one is recorded: libraries set themselves up."""

REGISTERS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 14)
"""Whether PyTorch itself finds the generators that are drawn from in a recording: told of one, it then complains."""

_failures: list[str] = []
"""Why this process records nothing any more: the recording that failed. PyTorch may be left within it."""

Rates = Callable[[Tensor | int], Tensor]
Advance = Callable[[Tensor, Tensor | int], Tensor]


class Patience:
    """Lets replicas stand still once their loss has not fallen from step to step for some steps in a row.

    The rule of Flügel et al. (2024): a loss is compared with the one before, not with the lowest. It counts
    on the device. On a function, a replica that stands still has the same loss from then on, so it never moves again;
    on mini-batches it would.
    """

    def __init__(self, limit: int, like: Tensor) -> None:
        """Start counting.

        Args:
            limit: Steps in a row without a fall.
            like: Losses `(R,)`.
        """
        self.limit = limit
        self.taken = torch.zeros_like(like, dtype=torch.int64)
        """Updates made by each replica, `(R,)`."""
        self._previous = torch.full_like(like, torch.inf)
        self._waited = torch.zeros_like(self.taken)

    def __call__(self, losses: Tensor, rates: Tensor) -> Tensor:
        """Count a step's losses `(R,)` and return its rates, zero for replicas that stand still."""
        self._waited.add_(1).mul_(losses >= self._previous)
        self._previous.copy_(losses)
        moving = self._waited < self.limit
        self.taken.add_(moving)
        return rates * moving

    def standing(self) -> Tensor:
        """Return which replicas stand still, `(R,)`."""
        return self._waited >= self.limit

    def counters(self) -> list[Tensor]:
        """Return what a step changes."""
        return [self.taken, self._previous, self._waited]


@dataclasses.dataclass(frozen=True)
class Step:
    """One training step of `R` stacked replicas, in place.

    Attributes:
        problem: Gives the objective of a mini-batch.
        estimator: Gives the gradient.
        optimizer: Uses it.
        rates: Learning rates `(R,)` of a step.
        params: Leaves `(R, ...)`; changed by every step.
        state: Of the optimizer; changed by every step.
        generators: Sources of the tangents, one a replica.
        patience: When replicas stop, if they do before the end.
        statistics: Running statistics of the problem's network, leaves `(R, ...)`; moved once by every step,
            however often its estimator passes through the network.
    """

    problem: BuiltProblem
    estimator: Estimator
    optimizer: Optimizer
    rates: Rates
    params: Params
    state: State
    generators: Sequence[torch.Generator]
    patience: Patience | None = None
    statistics: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    _begun: list[bool] = dataclasses.field(default_factory=list, init=False, repr=False)

    def __call__(self, rows: Tensor, step: Tensor | int) -> Tensor:
        """Take the step.

        Args:
            rows: The examples of the mini-batch, `(R, n)`, as the problem's batches are.
            step: Its number, counted from 0.

        Returns:
            The losses `(R,)` before the update.

        Raises:
            ValueError: At the first step, if the estimate is not in the structure and the shapes of the parameters.
        """
        objective = self.problem.objective(rows)
        estimate = self.estimator(objective, self.params, self.generators)
        if not self._begun:  # an estimator gives the same shapes at every step
            _refuse_other_shapes(self.estimator, estimate, self.params)
            self._begun.append(True)
        rates = self.rates(step)
        if self.patience is not None:
            rates = self.patience(estimate.value, rates)
        self.optimizer.update(estimate.gradient, self.state, self.params, rates)
        if self.statistics:
            assert isinstance(objective, Layered)
            self._move(objective.noted, moving=rates != 0.0)
        return estimate.value

    def _move(self, noted: Mapping[str, Tensor], moving: Tensor) -> None:
        for name, running in self.statistics.items():
            moved = running.lerp(noted[name], MOMENTUM)
            running.copy_(torch.where(moving.view(-1, *[1] * (running.ndim - 1)), moved, running))

    def judged(self) -> Params:
        """Return the parameters that an evaluation takes, with the running statistics among them."""
        params = self.optimizer.evaluated(self.params, self.state)
        return {**params, **self.statistics} if isinstance(params, dict) else params

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Return copies of everything that a step changes, on the CPU, for `restore`."""
        return {
            "tensors": [tensor.to("cpu", copy=True) for tensor in self._changing()],
            "generators": [generator.get_state() for generator in self.generators],
        }

    def restore(self, state: Mapping[str, Sequence[Tensor]]) -> None:
        """Put everything that a step changes back, in place, before the first step is taken."""
        for tensor, value in zip(self._changing(), state["tensors"], strict=True):
            tensor.copy_(value)
        for generator, value in zip(self.generators, state["generators"], strict=True):
            generator.set_state(value)

    def _changing(self) -> list[Tensor]:
        parts = [self.state[name] for name in sorted(self.state)]
        of_optimizer = [t for part in parts for t in ([part] if isinstance(part, Tensor) else part)]
        of_patience = [] if self.patience is None else self.patience.counters()
        return [*leaves(self.params), *of_optimizer, *of_patience, *self.statistics.values()]


def _refuse_other_shapes(estimator: Estimator, estimate: Estimate, params: Params) -> None:
    """Refuse an estimate that the optimizer would spread over parameters of other shapes, or take for others.

    Raises:
        ValueError: If its value or gradient is not as the parameters are.
    """
    replicas = len(leaves(params)[0])
    if estimate.value.shape != (replicas,):
        raise ValueError(
            f"The value of an estimate is one a replica, {(replicas,)}. Found {tuple(estimate.value.shape)} from "
            f"{type(estimator).__name__}: keep the leading dimension, also of a single replica."
        )
    expected, found = _shapes(params), _shapes(estimate.gradient)
    if list(expected) != list(found):
        raise ValueError(
            f"The gradient of an estimate has the structure of the parameters, {', '.join(expected)}. Found "
            f"{', '.join(found) or 'nothing'} from {type(estimator).__name__}: make it by `like(params, [...])`."
        )
    for name, shape in expected.items():
        if found[name] != shape:
            raise ValueError(
                f"The gradient of an estimate has the shapes of the parameters, {shape} for {name}. Found {found[name]} from "
                f"{type(estimator).__name__}: keep the leading dimension, the replicas', and all others."
            )


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    names = ["one tensor"] if isinstance(params, Tensor) else [f"`{name}`" for name in params]
    return {name: tuple(leaf.shape) for name, leaf in zip(names, leaves(params), strict=True)}


def prepare(step: Step, device: torch.device) -> Advance:
    """Return the fastest way to take a step on a device, repeatedly.

    Args:
        step: The step.
        device: Where its tensors lie.

    Returns:
        A function with the step's arguments and result. The result lives until the next call.
    """
    graphs = device.type == "cuda" and step.estimator.recordable
    return Recorded(step, device) if graphs else step


class Recorded:
    """A step that is recorded at its fourth call with a shape of mini-batch, and replayed from then on."""

    def __init__(self, step: Step, device: torch.device) -> None:
        """Prepare to record.

        Args:
            step: The step.
            device: Where its tensors lie.
        """
        self._step = step
        self._begun = [source.get_state() for source in step.generators]
        self._number = torch.zeros((), device=device, dtype=torch.float64)
        self._calls: dict[torch.Size, int] = {}
        self._programs: dict[torch.Size, tuple[Tensor, Tensor, Callable[[], None]]] = {}
        self._pool: Any = None

    def __call__(self, rows: Tensor, step: Tensor | int) -> Tensor:
        """Take the step: eagerly, or by replaying it."""
        self._number.fill_(step)
        calls = self._calls[rows.shape] = self._calls.get(rows.shape, 0) + 1
        if _failures:
            return self._step(rows, self._number)
        if calls <= WARM_UP:
            return aside(lambda: self._step(rows, self._number))
        if rows.shape not in self._programs and not self._record(rows):
            return self._step(rows, self._number)
        fixed, value, replay = self._programs[rows.shape]
        fixed.copy_(rows)
        replay()
        return value

    def _record(self, rows: Tensor) -> bool:
        fixed = rows.clone()
        # one replay ends before the next begins, and their results stay: nothing of one is in the other's way
        self._pool = self._pool or memory_pool()
        drawn = drawn_from(self._step.generators, self._begun)  # by the warm-up
        try:
            value, replay = record(lambda: self._step(fixed, self._number), drawn, self._pool)
        except RecordingError as error:
            # recording runs nothing, so nothing has been done twice
            warnings.warn(
                f"The training step could not be recorded as a CUDA graph ({error}); this process runs it, and all "
                "others from now on, kernel by kernel, which is slower and gives the same numbers.",
                RuntimeWarning,
                stacklevel=2,
            )
            return False
        self._programs[rows.shape] = fixed, value, replay
        return True


@functools.cache
def _side_stream(device: int) -> torch.cuda.Stream:
    # one for all: libraries keep a workspace for every stream that they saw
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call, no-any-return, unused-ignore]


def aside(function: Callable[[], Tensor]) -> Tensor:
    """Call a function on a stream beside the current one, ordered with it."""
    current = torch.cuda.current_stream()
    other = _side_stream(torch.cuda.current_device())
    other.wait_stream(current)
    try:
        with torch.cuda.stream(other):
            value = function()
    finally:
        # also where it broke off: what it used may be freed now, and given to the current stream
        current.wait_stream(other)
    value.record_stream(current)
    return value


class RecordingError(RuntimeError):
    """Raised where work cannot be recorded: this, or other work of the same process before."""


def memory_pool() -> Any:
    """Return a pool of memory for recordings that are never replayed at once and whose results are kept."""
    return torch.cuda.graph_pool_handle()


def drawn_from(
    generators: Sequence[torch.Generator], states: Sequence[Tensor]
) -> list[torch.Generator]:
    """Return the generators that have been drawn from: of any other, a replay would send seed and offset for nothing.

    Args:
        generators: Those that may have been.
        states: Theirs before.

    Returns:
        Those whose state is another.
    """
    pairs = zip(generators, states, strict=True)
    return [source for source, state in pairs if not torch.equal(source.get_state(), state)]


def record(
    function: Callable[[], Tensor], generators: Sequence[torch.Generator], pool: Any = None
) -> tuple[Tensor, Callable[[], None]]:
    """Record the kernels that a function launches, without running them.

    Args:
        function: Launches work on the current CUDA device; never waits for it.
        generators: Those that it draws from, and no others; every replay draws on.
        pool: Of `memory_pool`, where its memory comes from; one of its own by default.

    Returns:
        The function's result, without a value yet, and a function that runs what was recorded and puts
        the value there.

    Raises:
        RecordingError: If the function does what cannot be recorded, or anything did in this process before.
        OutOfMemoryError: If memory ran out, and the recording broke off for it.
        RuntimeError: If memory runs out otherwise.
    """
    if _failures:
        raise RecordingError(
            "This process records nothing any more as CUDA graphs, since something could not be "
            f"({_failures[0]}). The same command tries again."
        )
    try:
        return _capture(function, generators, pool or memory_pool())
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        # what broke it off comes before what ended it
        cause = error.__context__ or error
        if isinstance(cause, RuntimeError) and is_out_of_memory(cause):
            raise torch.OutOfMemoryError(str(cause)) from error
        reason = str(cause).partition("\n")[0]
        _failures.append(reason)
        raise RecordingError(reason) from error


def _capture(
    function: Callable[[], Tensor], generators: Sequence[torch.Generator], pool: Any
) -> tuple[Tensor, Callable[[], None]]:
    # with a recording, some versions of PyTorch free the workspace of the matrix products on its stream, which all
    # recordings share: one that nothing refers to any more has to go before the next is made, not while that is replayed
    gc.collect()
    graph = torch.cuda.CUDAGraph()
    sources = list(dict.fromkeys(generators))
    states = [source.get_state() for source in sources]
    for source in () if REGISTERS else sources:
        graph.register_generator_state(source)
    stream = _side_stream(torch.cuda.current_device())
    try:
        # what is broken off does not leave its stream
        with (
            torch.cuda.stream(torch.cuda.current_stream()),
            torch.cuda.graph(graph, pool=pool, stream=stream),
        ):
            value = function()
    except RuntimeError:
        _leave(pool)
        for source, state in zip(sources, states, strict=True):
            # which believes that it is still being recorded
            fresh = torch.Generator(source.device)
            fresh.set_state(state)
            source.graphsafe_set_state(fresh)
        raise
    return value, graph.replay


def _leave(pool: Any) -> None:
    """Tell the allocator that a recording is over: PyTorch does not where CUDA ends it with an error.

    Until then it frees nothing that it keeps: `torch.cuda.empty_cache` raises.
    """
    end = getattr(torch._C, "_cuda_endAllocateToPool", None)
    release = getattr(torch._C, "_cuda_releasePool", None)
    if end is None or release is None:
        return
    with contextlib.suppress(RuntimeError):  # it was told, and the graph lets go of the pool itself
        end(torch.cuda.current_device(), pool)
        release(torch.cuda.current_device(), pool)

"""What is timed: a step of a method, a part of one, or the plain PyTorch loop's step, ready to run."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from repro import engine, estimators, limits, optimizers, plain, problems, protocol
from repro.autodiff import Objective, leaves
from repro.problems.classification import ClassificationProblem
from repro.problems.closed_form import ClosedFormProblem
from repro.protocol import Replica, RunSpec, Timing, derive_seed
from repro.timing import formulas
from repro.training import Schedule, tangent_generator

Program = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Step:
    """One method's step, ready to run, as it is before it was recorded, and the bytes that lie allocated between steps."""

    run: Program
    unrecorded: Program
    num_parameters: int
    resident_bytes: int

    def peak_bytes(self, device: torch.device) -> int:
        """Return the allocator's peak over one step, parameters included; a recorded one would allocate nothing."""
        if device.type == "cuda":
            # libraries take a workspace at their first call on a stream, and each thread its own: no part of any step
            self.unrecorded()
            torch.cuda.synchronize(device)
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            self.unrecorded()
            torch.cuda.synchronize(device)
            return torch.cuda.max_memory_allocated(device) - before + self.resident_bytes
        with (
            _silenced_stderr(),
            # some versions say of any profile that it keeps no events of those before it
            warnings.catch_warnings(action="ignore", category=UserWarning),
            profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded,
        ):
            self.unrecorded()
        events = recorded.profiler.kineto_results.events()
        changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
        running = np.cumsum([nbytes for _, nbytes in changes])
        return self.resident_bytes + int(max(0, running.max(initial=0)))


@contextlib.contextmanager
def _silenced_stderr() -> Iterator[None]:
    # the profiler's library announces its start and stop on the process's standard error
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def build(specs: Sequence[RunSpec], device: torch.device) -> list[Step]:
    """Return what some timing runs time.

    Args:
        specs: Timing runs of one group.
        device: Where to run.

    Returns:
        One step a run, each with parameters of its own; the data they share.
    """
    shared = functools.cache(problems.build)
    return [_build(spec, shared, device) for spec in specs]


def _build(
    spec: RunSpec, shared: Callable[..., problems.BuiltProblem], device: torch.device
) -> Step:
    assert isinstance(spec.task, Timing)
    problem = shared(spec.trained_problem, device, getattr(torch, spec.task.precision))
    case = _Case(spec, spec.task, problem, device)
    points = leaves(case.params)
    run = PARTS.get(spec.method.estimator.name, _training_step)(case)
    # the program holds its case: left there it would keep the data on the device until a garbage collection
    unrecorded, case.unrecorded = case.unrecorded or run, None
    return Step(
        run,
        unrecorded,
        sum(leaf[0].numel() for leaf in points),
        sum(leaf.numel() * leaf.element_size() for leaf in points),
    )


class _Case:
    """What a step is made from: the problem, the start, the sources of mini-batches and tangents."""

    def __init__(
        self,
        spec: RunSpec,
        task: Timing,
        problem: problems.BuiltProblem,
        device: torch.device,
    ) -> None:
        self.spec, self.task, self.problem, self.device = spec, task, problem, device
        self.unrecorded: Program | None = None
        first = task.replicas * spec.repetition
        self.replicas = [Replica(spec.role, first + index) for index in range(task.replicas)]
        self.params = problem.start(self.replicas)
        self.generators = [
            tangent_generator(dataclasses.replace(spec, repetition=replica.repetition), device)
            for replica in self.replicas
        ]
        self.batches = problem.batches(self.replicas)
        self.options = spec.method.estimator.options()
        self.optimizer = optimizers.build(
            spec.method.optimizer.name, **spec.method.optimizer.options()
        )
        self.rates = Schedule("constant", [spec] * task.replicas, device)

    def objectives(self) -> Callable[[], Objective]:
        """Return a function that gives the objective of each step."""
        if self.task.loop_steps:
            return lambda: self.problem.objective(next(self.batches))
        objective = self.problem.objective(next(self.batches))
        return lambda: objective

    def repeated(self, program: Program) -> Program:
        """Return a program that runs once a step of the turn."""
        if self.task.loop_steps <= 1:
            return program

        def run() -> None:
            for _ in range(self.task.loop_steps):
                program()

        return run

    def network(self) -> ClassificationProblem:
        """Return the problem, which has to be a network."""
        if not isinstance(self.problem, ClassificationProblem):
            raise ValueError(
                f"{self.spec.method.estimator.name!r} is timed for networks only. "
                f"Found the function of {self.spec.problem.name!r}."
            )
        return self.problem

    def formula(self) -> ClosedFormProblem:
        """Return the problem, which has to be a function."""
        if not isinstance(self.problem, ClosedFormProblem):
            raise ValueError(
                f"{self.spec.method.estimator.name!r} is timed for functions only. "
                f"Found the network of {self.spec.problem.name!r}."
            )
        return self.problem

    def start(self) -> Tensor:
        """Return the stacked start of a function."""
        self.formula()  # says so where the problem is none
        assert isinstance(self.params, Tensor)
        return self.params

    @property
    def turn(self) -> int:
        """Steps, or draws, of a turn."""
        return max(1, self.task.loop_steps)


def _training_step(case: _Case) -> Program:
    estimator = estimators.build(case.spec.method.estimator.name, **case.options)
    state = case.optimizer.init(case.params)
    if case.task.loop_steps:
        step = engine.Step(
            case.problem,
            estimator,
            case.optimizer,
            case.rates,
            case.params,
            state,
            case.generators,
            statistics=case.problem.statistics(len(case.replicas)),
        )
        advance = engine.prepare(step, case.device)
        case.unrecorded = lambda: step(next(case.batches), 0)
        return case.repeated(lambda: advance(next(case.batches), 0))
    objective, rates = case.objectives()(), case.rates(0)

    def run() -> None:
        estimate = estimator(objective, case.params, case.generators)
        case.optimizer.update(estimate.gradient, state, case.params, rates)

    # as training takes it
    return _without_launches(run, case) if estimator.recordable else run


def _epoch(case: _Case) -> Program:
    problem, options = case.network(), dict(case.options)
    name = "forward_gradient" if options.get("num_tangents") else "backpropagation"
    statistics = problem.statistics(len(case.replicas))
    step = engine.Step(
        problem,
        estimators.build(name, **(options if options.get("num_tangents") else {})),
        case.optimizer,
        case.rates,
        case.params,
        case.optimizer.init(case.params),
        case.generators,
        statistics=statistics,
    )
    advance = engine.prepare(step, case.device)

    def run(take: engine.Advance) -> None:
        for number in range(problem.steps_per_epoch):
            take(next(case.batches), number)
        for split in ("training", "validation", "test"):
            problem.evaluate(step.judged(), case.replicas, split)

    case.unrecorded = lambda: run(step)
    return case.repeated(lambda: run(advance))


def _function(case: _Case) -> Program:
    objective = case.objectives()

    def run() -> None:
        with torch.no_grad():
            objective()(case.params)

    return case.repeated(run) if case.task.loop_steps else _without_launches(run, case)


def _tangents(case: _Case) -> Program:
    estimator = estimators.ForwardGradient(**case.options)  # type: ignore[arg-type]
    program = _without_launches(lambda: estimator.draw(case.params, case.generators), case)
    return case.repeated(program)


def _products(case: _Case) -> Program:
    problem = case.network()
    images = problem.train_images[next(case.batches)]
    program = limits.products(problem.network, case.params, images, **case.options)  # type: ignore[arg-type]
    return case.repeated(_without_launches(program, case))


def _random_numbers(case: _Case) -> Program:
    program = limits.random_numbers(case.params, case.generators, **case.options)  # type: ignore[arg-type]
    return case.repeated(_without_launches(program, case))


def _memory_passes(case: _Case) -> Program:
    state = case.optimizer.init(case.params)
    program = limits.memory_passes(case.params, state, **case.options)  # type: ignore[arg-type]
    return case.repeated(_without_launches(program, case))


def _without_launches(program: Program, case: _Case) -> Program:
    # on CUDA, launching kernels one by one is none of the work that cannot be avoided
    if case.device.type != "cuda":
        return program
    case.unrecorded = program
    states = [source.get_state() for source in case.generators]
    program()  # libraries set themselves up, which cannot be recorded
    drawn = engine.drawn_from(case.generators, states)
    _, replay = engine.record(cast("Callable[[], Tensor]", program), drawn)
    # what is recorded reads and writes tensors that the program holds
    return lambda: (program, replay())


def _plain_backpropagation(case: _Case) -> Program:
    model, optimizer, batch = _plain_loop(case)

    def run() -> None:
        plain.backpropagation(model, *batch())
        optimizer.step()

    return case.repeated(run)


def _plain_forward_gradient(case: _Case) -> Program:
    model, optimizer, batch = _plain_loop(case)
    (generator,) = case.generators

    def run() -> None:
        directions = plain.directions(model, generator=generator, **case.options)  # type: ignore[arg-type]
        plain.forward_gradient(model, *batch(), directions)
        optimizer.step()

    return case.repeated(run)


def _plain_loop(
    case: _Case,
) -> tuple[torch.nn.Module, torch.optim.Optimizer, Callable[[], tuple[Tensor, Tensor]]]:
    problem, spec = case.network(), case.spec
    if len(case.replicas) != 1:
        raise ValueError(f"The plain loop trains one replica. Found {len(case.replicas)}.")
    assert isinstance(case.params, dict)
    model = plain.module(problem.network, case.params).to(case.device)
    component = spec.method.optimizer
    rate = float(case.rates(0))
    optimizer = plain.optimizer(component.name, model, rate, **component.options())
    declared: protocol.Classification = problem.declared
    seed = derive_seed("order", declared.name, spec.role, spec.repetition)
    source = plain.batches(
        problem.train_images.cpu(),
        problem.train_labels.cpu(),
        declared.batch_size,
        declared.drop_last,
        torch.Generator().manual_seed(seed),
    )

    def batch() -> tuple[Tensor, Tensor]:
        images, labels = next(source)
        return images.to(case.device), labels.to(case.device)

    if case.task.loop_steps:
        return model, optimizer, batch
    first = batch()
    return model, optimizer, lambda: first


def _search(case: _Case) -> Program:
    return formulas.search(
        case.formula(), case.start(), case.optimizer, case.rates(0), case.generators[0], case.turn
    )


def _plain_search(case: _Case) -> Program:
    function = case.formula().function
    return formulas.plain_search(
        function, case.start(), case.rates(0), case.generators[0], case.turn
    )


def _grid(case: _Case) -> Program:
    return formulas.grid(case.spec, case.start().shape[-1], max(2, case.turn), case.device)


def _plain_grid(case: _Case) -> Program:
    draws = max(2, case.turn)
    return formulas.plain_grid(case.start().shape[-1], draws, case.generators[0])


PARTS: dict[str, Callable[[_Case], Program]] = {
    "epoch": _epoch,
    "function": _function,
    "tangents": _tangents,
    "products": _products,
    "random_numbers": _random_numbers,
    "memory_passes": _memory_passes,
    "plain_backpropagation": _plain_backpropagation,
    "plain_forward_gradient": _plain_forward_gradient,
    "search": _search,
    "plain_search": _plain_search,
    "approximation_grid": _grid,
    "plain_approximation_grid": _plain_grid,
}
"""What is timed without being a step of this package: an epoch with an evaluation of all splits; the objective alone; the tangents, drawn as an estimator draws
them; the work that no step can avoid, see `repro.limits`; the steps of the plain loop, see `repro.plain`; and what is
done on functions, see `repro.timing.formulas`."""

"""What one step costs: seconds and peak memory, measured side by side.

The ratios that the papers report, R_f and R_b, divide the time of one training step by that of the function
alone (Baydin et al. 2022, Section 5). Here the methods of a comparison are timed in turn, one step each,
round after round, in one process and on one mini-batch, so that a machine whose speed drifts slows all of
them; every time is taken with the device synchronised on both sides, after warm-up.

A timed step is a whole one: draw the tangents, differentiate, update. Two methods are parts, not steps:
`function` evaluates the objective without any derivative (the base of the ratios), `tangents` only draws.

Peak memory is the allocator's, over one step, counting the parameters but not the mini-batch: on CUDA
`torch.cuda.max_memory_allocated`, on the CPU the highest running sum of the allocations and frees that
`torch.profiler` records.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from repro import estimators, optimizers, problems
from repro.autodiff import leaves
from repro.environment import describe, now, synchronize
from repro.protocol import Replica, RunSpec, Timing
from repro.results import Curve, Record
from repro.training import Interrupted, Schedule, tangent_generator

PARTS = ("function", "tangents")
"""Estimator names that are timed without being a training step."""


def timing_group(spec: RunSpec) -> RunSpec:
    """Return what runs must share to be timed in turn: all but the method."""
    blank = dataclasses.replace(spec.method, name="")
    part = dataclasses.replace(blank.estimator, name="", settings=())
    return dataclasses.replace(spec, method=dataclasses.replace(blank, estimator=part))


def measure(
    specs: Sequence[RunSpec],
    device: torch.device,
    *,
    on_steps: Callable[[int], None] = lambda steps: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Record]:
    """Time the steps of several methods in turn and return one record each.

    Args:
        specs: Timing runs of one `timing_group`.
        device: Where to run; must be of the type that the specifications name.
        on_steps: Told of every round done.
        should_stop: Asked after every round.

    Returns:
        Records in the order of `specs`; step times in seconds with quartiles, and every step as a curve.

    Raises:
        ValueError: If the runs do not belong together, or name another device.
        Interrupted: If `should_stop` answered yes.
    """
    task = specs[0].task
    if not isinstance(task, Timing) or any(
        timing_group(spec) != timing_group(specs[0]) for spec in specs
    ):
        raise ValueError("Runs timed together must be timing runs that differ in method only.")
    if task.device != device.type:
        raise ValueError(f"These runs time the device {task.device!r}. Found {device.type!r}.")
    torch.set_num_threads(task.num_threads)
    environment = describe(device)
    steps = [_step(spec, device) for spec in specs]
    seconds = np.empty((task.num_steps, len(steps)))
    for round_ in range(-task.num_warmup, task.num_steps):
        for index, step in enumerate(steps):
            synchronize(device)
            started = time.perf_counter()
            step.run()
            synchronize(device)
            if round_ >= 0:
                seconds[round_, index] = time.perf_counter() - started
        on_steps(1)
        if should_stop():
            raise Interrupted
    records = []
    for spec, step, times in zip(specs, steps, seconds.T, strict=True):
        low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
        measured = {
            "step_seconds": float(median),
            "step_seconds_low": float(low),
            "step_seconds_high": float(high),
            "peak_bytes": float(step.peak_bytes(device)) if task.memory else float("nan"),
            "num_parameters": step.num_parameters,
            "num_steps": task.num_steps,
            "seconds": float(times.sum()),
            "group_size": len(specs),
        }
        curve = Curve("none", "step_seconds", tuple(range(task.num_steps)), tuple(times.tolist()))
        records.append(
            Record(spec, "done", {**measured, **environment, "finished": now()}, (curve,))
        )
    return records


@dataclasses.dataclass(frozen=True)
class _Step:
    """One method's step, ready to run, and the bytes that lie allocated between steps."""

    run: Callable[[], None]
    num_parameters: int
    resident_bytes: int

    def peak_bytes(self, device: torch.device) -> int:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            before = torch.cuda.memory_allocated(device)
            torch.cuda.reset_peak_memory_stats(device)
            self.run()
            torch.cuda.synchronize(device)
            return torch.cuda.max_memory_allocated(device) - before + self.resident_bytes
        with (
            _silenced_stderr(),
            profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded,
        ):
            self.run()
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


def _step(spec: RunSpec, device: torch.device) -> _Step:
    task = spec.task
    problem = problems.build(spec.trained_problem, device, getattr(torch, task.precision))
    replicas = [Replica(spec.role, spec.repetition)]
    objective = problem.objective(next(problem.batches(replicas)))
    params = problem.start(replicas)
    generators = [tangent_generator(spec, device)]
    name, options = spec.method.estimator.name, spec.method.estimator.options()
    size = sum(leaf.numel() for leaf in leaves(params))
    resident = sum(leaf.numel() * leaf.element_size() for leaf in leaves(params))
    if name == "function":

        def run() -> None:
            with torch.no_grad():
                objective(params)

    elif name == "tangents":
        tangents = estimators.ForwardGradient(**options)  # type: ignore[arg-type]

        def run() -> None:
            tangents.draw(params, generators)

    else:
        estimator = estimators.build(name, **options)
        optimizer = optimizers.build(spec.method.optimizer.name, **spec.method.optimizer.options())
        state = optimizer.init(params)
        rates = Schedule("constant", [spec], device)(0)

        def run() -> None:
            estimate = estimator(objective, params, generators)
            optimizer.update(estimate.gradient, state, params, rates)

    return _Step(run, size, resident)

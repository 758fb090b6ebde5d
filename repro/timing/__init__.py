"""What one step costs: seconds and peak memory, measured side by side.

The ratios that the papers report, R_f and R_b, divide the time of one training step by that of the function
alone (Baydin et al. 2022, Section 5). Here the methods of a comparison are timed in turn, round after round,
in one process, so that a machine whose speed drifts slows all of them; every time is taken with the device
synchronised on both sides, after warm-up.

A timed step is a whole one: draw the tangents, differentiate, update. It takes the same mini-batch every time,
or, with `loop_steps`, a turn is that many steps of a training loop. What else can be timed, `PARTS`, are parts of a
step and the plain PyTorch loop's steps. Where several replicas or processes take a turn together, the time of a step is
the turn's time over all steps taken in it: its inverse is the steps a second in all.

On CUDA a step is executed as training executes it (`repro.engine`): recorded once and replayed. Projections, which look
at their factor, launch their kernels one by one, and so do the plain loop, evaluations and what is done on functions. No
column says which: the method does. So a ratio between a projection and a method that is replayed has the launches of one
side in it, which count most for small networks; a ratio among methods that are replayed has none. After a recording that
failed, of which a warning tells, steps of a loop are launched one by one, too, and the others are not timed. On the CPU all
are executed alike.

Peak memory is the allocator's, over one step that is not the first, counting the parameters but not the mini-batch: on CUDA
`torch.cuda.max_memory_allocated`, on the CPU the highest running sum of the allocations and frees that
`torch.profiler` records.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from repro.environment import describe, now
from repro.protocol import Component, Method, RunSpec, Timing
from repro.results import Curve, Record
from repro.timing.steps import PARTS as PARTS
from repro.timing.steps import build
from repro.timing.turns import Company, take_turns


def timing_group(spec: RunSpec) -> RunSpec:
    """Return what runs must share to be timed in turn: all but the method."""
    return dataclasses.replace(spec, method=Method("", Component(""), Component("")))


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
        Records in the order of `specs`; step times in seconds with quartiles, and every turn's as a curve.

    Raises:
        ValueError: If the runs do not belong together, or name another device.
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
    with Company(specs, device) as company:
        steps = build(specs, device)
        own = take_turns(
            task, steps, device, wait=company.wait, on_steps=on_steps, should_stop=should_stop
        )
        # round by round, the processes side by side: (rounds times processes, methods)
        turns = np.stack([own, *company.turns()], axis=1).reshape(-1, len(specs))
    steps_of_a_turn = max(1, task.loop_steps) * task.replicas * task.processes
    records = []
    for spec, step, seconds in zip(specs, steps, turns.T, strict=True):
        times = seconds / steps_of_a_turn
        low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
        measured = {
            "step_seconds": float(median),
            "step_seconds_low": float(low),
            "step_seconds_high": float(high),
            "peak_bytes": float(step.peak_bytes(device)) if task.memory else float("nan"),
            "num_parameters": step.num_parameters,
            "num_steps": task.num_steps,
            "seconds": float(seconds.sum()) / task.processes,
            "group_size": len(specs),
        }
        curve = Curve("none", "step_seconds", tuple(range(len(times))), tuple(times.tolist()))
        records.append(
            Record(spec, "done", {**measured, **environment, "finished": now()}, (curve,))
        )
    return records

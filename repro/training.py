"""Training: where problem, estimator and optimizer meet, and specifications become records.

Runs that differ only in repetition or in numeric hyperparameters are *replicas*: they train together,
stacked along a leading dimension, and each draws from its own generators, so a run's numbers do not depend
on what is trained beside it (up to the rounding of stacked products).
"""

from __future__ import annotations

import dataclasses
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from repro import engine, estimators, optimizers, problems
from repro.autodiff import Params, leaves
from repro.checkpoints import Checkpoint, Checkpoints, State
from repro.engine import Patience
from repro.environment import describe, now, synchronize
from repro.problems.classification import ClassificationProblem
from repro.protocol import Replica, RunSpec, Training, derive_seed
from repro.results import Curve, Record

CHECK_EVERY = 100
"""Steps between two looks at the losses; a look waits for the device."""

Progress = Callable[[int], None]


class Interrupted(Exception):
    """Raised inside training when the caller asked to stop."""


def replica_group(spec: RunSpec) -> RunSpec:
    """Return what runs must share to train together: all but repetition, hyperparameters and trial."""
    return dataclasses.replace(spec, repetition=0, hyperparameters=(), trial=None)


def train_within_memory(
    specs: Sequence[RunSpec],
    device: torch.device,
    *,
    chunk_size: int | None = None,
    on_steps: Progress = lambda steps: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
) -> list[Record]:
    """Train replicas together, or in smaller parts where the device's memory runs out, and say so.

    Args:
        specs: Runs of one `replica_group`.
        device: Where to train.
        chunk_size: Tangents carried through the network at once; `None` for all.
        on_steps: As of `train`; steps of an attempt that did not fit are told too.
        should_stop: As of `train`.
        checkpoints: As of `train`; each part has its own.

    Returns:
        Records in the order of `specs`.

    Raises:
        OSError: If one run with one tangent at a time does not fit.
        ValueError, Interrupted: As `train`.
    """
    how: dict[str, Any] = {
        "on_steps": on_steps,
        "should_stop": should_stop,
        "checkpoints": checkpoints,
    }
    try:
        return train(specs, device, chunk_size=chunk_size, **how)
    except torch.OutOfMemoryError:
        pass  # what was allocated is free once the exception is
    if device.type == "cuda":
        torch.cuda.empty_cache()
    what = f"{specs[0].experiment}: {specs[0].method.name}"
    if len(specs) > 1:
        half = (len(specs) + 1) // 2
        _say(f"{what}: {len(specs)} runs together do not fit in memory; trying {half}.")
        parts = specs[:half], specs[half:]
        return [
            r for p in parts for r in train_within_memory(p, device, chunk_size=chunk_size, **how)
        ]
    tangents = chunk_size or specs[0].method.estimator.options().get("num_tangents", 1)
    assert isinstance(tangents, int)
    if tangents == 1:
        raise OSError(
            f"{what} does not fit in the memory of {device} alone. Use another device or a smaller scale."
        )
    half = (tangents + 1) // 2
    _say(f"{what}: {tangents} tangents at once do not fit in memory; trying {half}.")
    return train_within_memory(specs, device, chunk_size=half, **how)


def _say(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def train(
    specs: Sequence[RunSpec],
    device: torch.device,
    *,
    chunk_size: int | None = None,
    on_steps: Progress = lambda steps: None,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoints: Checkpoints | None = None,
) -> list[Record]:
    """Train replicas together and return one record each.

    Args:
        specs: Runs of one `replica_group`.
        device: Where to train.
        chunk_size: Tangents carried through the network at once, which bounds memory and changes no
            number; what the method says by default.
        on_steps: Told how many steps were just done, about every `CHECK_EVERY` steps.
        should_stop: Asked as often; training stops when it answers yes.
        checkpoints: Where these runs go on from, if they were under way before, and what they leave behind
            now and then and when they are stopped.

    Returns:
        Records in the order of `specs`.

    Raises:
        ValueError: If the runs are not replicas of each other.
        Interrupted: If `should_stop` answered yes; nothing is kept but a checkpoint.
    """
    first = specs[0]
    task = first.task
    if not isinstance(task, Training) or any(
        replica_group(spec) != replica_group(first) for spec in specs
    ):
        raise ValueError(
            "Runs trained together must be training runs that differ in repetition and "
            f"hyperparameters only. Found {[spec.key[:12] for spec in specs]}."
        )
    environment = describe(device)
    replicas = [Replica(spec.role, spec.repetition) for spec in specs]
    start = _start(specs, device, chunk_size)
    problem, params = start.problem, start.params
    log = _Log(len(specs), task)

    def evaluate(step: int, *, at_end: bool) -> None:
        judged = start.judged()
        if step % task.evaluate_every == 0 or at_end:
            metrics = problem.evaluate(judged, replicas, "validation")
            log.note(step, {**metrics, "parameter_norm": _norm(start)})
        if task.test_every and (step % task.test_every == 0 or at_end):
            assert isinstance(problem, ClassificationProblem)
            seen = problem.look_at_test(judged, replicas, step)
            log.note(step, {f"test_{name}": values for name, values in seen.items()})

    checkpoint = None if checkpoints is None else checkpoints.of(specs, device, chunk_size)
    batches = problem.batches(replicas)
    step, seconds = _take_up(checkpoint, start, log, batches)
    if step:
        on_steps(step)
    else:
        evaluate(0, at_end=False)
    advance = engine.prepare(start, device)
    losses = torch.empty(CHECK_EVERY, len(specs), device=device, dtype=leaves(params)[0].dtype)
    ended = step == task.num_steps or log.all_ended()
    while not ended:
        steps = _steps_until_look(task, step)
        synchronize(device)
        started = time.perf_counter()
        for offset in range(steps):
            losses[offset] = advance(next(batches), step + offset)
        synchronize(device)
        seconds += time.perf_counter() - started
        step += steps
        log.extend(losses[:steps].to("cpu", torch.float64, copy=True))
        log.stop(start.patience)
        on_steps(steps)
        ended = step == task.num_steps or log.all_ended()
        evaluate(step, at_end=ended)
        stop = should_stop()
        _leave(checkpoint, stop, step, seconds, start, log)
        if stop:
            raise Interrupted

    log.close()
    final = _final(problem, start.judged(), replicas, log, first.role)
    cost = estimators.cost_on(start.estimator, problem.objective(next(problem.batches(replicas))))
    shared: dict[str, float | int | str] = {
        "num_parameters": sum(leaf[0].numel() for leaf in leaves(params)),
        "seconds": seconds,
        "group_size": len(specs),
        "finished": now(),
    }

    return [
        Record(
            spec=spec,
            status="diverged" if log.diverged_at(index) else "done",
            measured={
                **final[index],
                # a run that ended early is charged for what it did, not for what its stack did after it
                **_cost(cost, log.diverged_at(index) or log.stopped_at(index) or step),
                **shared,
                **environment,
            },
            curves=log.curves(index),
            steps_per_epoch=problem.steps_per_epoch,
        )
        for index, spec in enumerate(specs)
    ]


def _cost(cost: estimators.Cost, steps: int) -> dict[str, float | int]:
    return {
        "num_steps": steps,
        "forward_passes": cost.forward_passes * steps,
        "tangents": float(cost.tangents * steps),
    }


def _start(specs: Sequence[RunSpec], device: torch.device, chunk_size: int | None) -> engine.Step:
    """Return the first step of replicas: everything built, nothing trained."""
    first = specs[0]
    method, precision = first.method, getattr(torch, first.task.precision)
    problem = problems.build(first.trained_problem, device, precision)
    options = method.estimator.options()
    if chunk_size is not None:
        options = {**options, "chunk_size": chunk_size}
    optimizer = optimizers.build(method.optimizer.name, **method.optimizer.options())
    params = problem.start([Replica(spec.role, spec.repetition) for spec in specs])
    schedule = Schedule(method.schedule, specs, device)
    assert isinstance(first.task, Training)
    return engine.Step(
        problem,
        estimators.build(method.estimator.name, **options),
        optimizer,
        schedule,
        params,
        optimizer.init(params),
        _generators(specs, device),
        Patience(first.task.patience, schedule.rates) if first.task.patience else None,
        problem.statistics(len(specs)),
    )


def _generators(specs: Sequence[RunSpec], device: torch.device) -> list[torch.Generator]:
    """Return a generator a run; runs of one seed, such as the trials of a search, share it and its draws."""
    seeds = [tangent_seed(spec) for spec in specs]
    made = {seed: torch.Generator(device).manual_seed(seed) for seed in seeds}
    return [made[seed] for seed in seeds]


def _leave(
    checkpoint: Checkpoint | None,
    stop: bool,
    step: int,
    seconds: float,
    start: engine.Step,
    log: _Log,
) -> None:
    """Keep what the rest of training depends on, and what it adds to, if it is time or this is the end."""
    if checkpoint is not None and (stop or checkpoint.is_due()):
        state = {"seconds": seconds, "start": start.state_dict(), "log": log.state_dict()}
        checkpoint.save(step, state)


def _take_up(
    checkpoint: Checkpoint | None, start: engine.Step, log: _Log, batches: Iterator[Tensor]
) -> tuple[int, float]:
    """Put everything where it was at a checkpoint; return its step and seconds, 0 without one."""
    saved = None if checkpoint is None else checkpoint.load()
    if saved is None:
        return 0, 0.0
    step, kept = saved
    start.restore(kept["start"])
    log.restore(kept["log"])
    for _ in range(step):  # the order of the data follows from its seed alone
        next(batches)
    return step, kept["seconds"]


def _steps_until_look(task: Training, step: int) -> int:
    """Return how many steps may be done before the losses or the metrics are wanted."""
    until = [every - step % every for every in (task.evaluate_every, task.test_every) if every]
    return min(CHECK_EVERY, *until, task.num_steps - step)


def tangent_generator(spec: RunSpec, device: torch.device) -> torch.Generator:
    """Return the generator of a run's tangents."""
    return torch.Generator(device).manual_seed(tangent_seed(spec))


def tangent_seed(spec: RunSpec) -> int:
    """Return the seed of a run's tangents, from (problem, method, role, repetition) if not as published."""
    if spec.method.tangent_seed == "repetition":
        return spec.repetition
    if spec.method.tangent_seed != "identity":
        raise ValueError(
            "`tangent_seed` of a method must be `identity` or `repetition`. "
            f"Found {spec.method.tangent_seed!r}."
        )
    return derive_seed("tangents", spec.problem.name, spec.method.name, spec.role, spec.repetition)


class Schedule:
    """Learning rates `(R,)` by step.

    `constant`: `eta_0`. `exponential`: `eta_0 exp(-k i)`. `hyperbolic`: `eta_0 / (1 + k i)`. `k` is the
    hyperparameter `decay`, per step.
    """

    KINDS = ("constant", "exponential", "hyperbolic")

    def __init__(self, kind: str, specs: Sequence[RunSpec], device: torch.device) -> None:
        """Read rates and decays of the runs.

        Args:
            kind: One of `KINDS`.
            specs: The replicas, in stacking order.
            device: Where the rates are used.

        Raises:
            ValueError: If the kind is unknown, or a hyperparameter is missing.
        """
        if kind not in self.KINDS:
            raise ValueError(f"Unknown schedule {kind!r}. Choose from: {', '.join(self.KINDS)}.")
        self.kind = kind
        wanted = ("learning_rate",) if kind == "constant" else ("learning_rate", "decay")
        columns: dict[str, list[float]] = {name: [] for name in wanted}
        for spec in specs:
            given = dict(spec.hyperparameters)
            for name in wanted:
                value = given.get(name)
                if not isinstance(value, (int, float)):
                    raise ValueError(
                        f"The {kind} schedule needs the hyperparameter `{name}`. Found {given}."
                    )
                columns[name].append(float(value))
        self.dtype = getattr(torch, specs[0].task.precision)
        self.rates = torch.tensor(columns["learning_rate"], device=device, dtype=torch.float64)
        self.decays = torch.tensor(
            columns.get("decay", [0.0] * len(specs)), device=device, dtype=torch.float64
        )

    def __call__(self, step: Tensor | int) -> Tensor:
        """Return the rates of a step, counted from 0; a step in a tensor is not waited for."""
        if self.kind == "exponential":
            rates = self.rates * torch.exp(-self.decays * step)
        elif self.kind == "hyperbolic":
            rates = self.rates / (1.0 + self.decays * step)
        else:
            rates = self.rates
        return rates.to(self.dtype)


class _Log:
    """Losses of every step and metrics of every evaluation, and who diverged when."""

    def __init__(self, num_replicas: int, task: Training) -> None:
        self.task = task
        self.losses: list[Tensor] = []
        # by metric: the steps at which it was taken, and its values (R,)
        self.metrics: dict[str, tuple[list[int], list[Tensor]]] = {}
        # step at which a replica's loss first left the permitted range, 0 for never
        self._diverged = [0] * num_replicas
        # updates after which a replica stood still, 0 for never
        self._stopped = [0] * num_replicas
        self._steps = 0

    def extend(self, losses: Tensor) -> None:
        """Take the training losses of some steps, `(steps, R)`."""
        self.losses.append(losses)
        bad = ~(losses <= self.task.loss_limit)
        for replica in range(losses.shape[1]):
            if not self._diverged[replica] and bool(bad[:, replica].any()):
                self._diverged[replica] = self._steps + int(bad[:, replica].int().argmax()) + 1
        self._steps += losses.shape[0]

    def note(self, step: int, metrics: Mapping[str, Tensor]) -> None:
        """Take metrics `(R,)` after a step."""
        for name, values in metrics.items():
            steps, column = self.metrics.setdefault(name, ([], []))
            steps.append(step)
            # a copy: in float64 on the CPU these may be views of the parameters
            column.append(values.to("cpu", torch.float64, copy=True))

    def state_dict(self) -> State:
        """Return what `restore` takes."""
        return {
            "losses": torch.cat(self.losses) if self.losses else None,
            "metrics": {
                name: (steps, torch.stack(column)) for name, (steps, column) in self.metrics.items()
            },
            "diverged": self._diverged,
            "stopped": self._stopped,
            "steps": self._steps,
        }

    def restore(self, state: State) -> None:
        """Go on from a log that was kept."""
        self.losses = [] if state["losses"] is None else [state["losses"]]
        self.metrics = {
            name: (list(steps), list(column)) for name, (steps, column) in state["metrics"].items()
        }
        self._diverged, self._stopped = list(state["diverged"]), list(state["stopped"])
        self._steps = state["steps"]

    def close(self) -> None:
        """Take a replica whose last update left it without a finite evaluation as diverged there."""
        for _, values in self.metrics.values():
            for replica in range(len(self._diverged)):
                if not self._diverged[replica] and not math.isfinite(float(values[-1][replica])):
                    self._diverged[replica] = self._steps

    def diverged_at(self, replica: int) -> int:
        """Return the step, counted from 1, whose loss was out of range, or 0."""
        return self._diverged[replica]

    def stop(self, patience: Patience | None) -> None:
        """Take which replicas stand still."""
        if patience is not None:
            standing, taken = patience.standing().tolist(), patience.taken.tolist()
            self._stopped = [n if still else 0 for n, still in zip(taken, standing, strict=True)]

    def stopped_at(self, replica: int) -> int:
        """Return the number of updates after which a replica stood still, or 0."""
        return self._stopped[replica]

    def all_ended(self) -> bool:
        """Whether no replica is left worth training."""
        return all(map(max, self._diverged, self._stopped))

    def lowest(self, replica: int) -> float:
        """Return the lowest loss before any update."""
        end = self._stopped[replica] or self._steps
        return float(torch.cat(self.losses)[:end, replica].min())

    def curves(self, replica: int) -> tuple[Curve, ...]:
        """Return a replica's curves, up to its divergence."""
        end = self.diverged_at(replica) or self._steps + 1
        stopped = 0 if self.diverged_at(replica) else self.stopped_at(replica)
        end = min(end, stopped + 1) if stopped else end
        curves = []
        if self.losses and self.task.keep_losses:
            losses = torch.cat(self.losses)[:, replica].tolist()
            steps = tuple(range(min(len(losses), end - 1)))
            # the loss of step i is taken at the parameters before its update
            curves.append(Curve("train", "loss", steps, tuple(losses[: len(steps)])))
        for name, (taken, values) in self.metrics.items():
            points = [
                (step, float(value[replica]))
                for step, value in zip(taken, values, strict=True)
                if step < end
            ]
            if stopped and points[-1][0] < stopped:
                points.append((stopped, float(values[-1][replica])))  # it did not move since
            split, metric = _split_of(name)
            curves.append(
                Curve(split, metric, tuple(s for s, _ in points), tuple(v for _, v in points))
            )
        return tuple(curves)


def _split_of(name: str) -> tuple[str, str]:
    if name.startswith("test_"):
        return "test", name.removeprefix("test_")
    return "none" if name in ("value", "x0", "x1", "parameter_norm") else "validation", name


def _final(
    problem: problems.BuiltProblem,
    params: Params,
    replicas: Sequence[Replica],
    log: _Log,
    role: str,
) -> list[dict[str, float]]:
    # validation metrics were taken after the last step; the test split is read here, by reported runs
    # only, and where the task says that its paper looked
    columns = {name: values[-1] for name, (_, values) in log.metrics.items()}
    named = {
        "loss": "validation_loss",
        "accuracy": "validation_accuracy",
        "value": "value",
        "parameter_norm": "parameter_norm",
        "test_loss": "test_loss",
        "test_accuracy": "test_accuracy",
        "test_last_batch_loss": "test_last_batch_loss",
    }
    finals = {named[name]: values for name, values in columns.items() if name in named}
    if "validation_loss" in finals:
        if role == "report" and "test_loss" not in finals:
            test = problem.evaluate(params, replicas, "test")
            finals |= {f"test_{name}": values.double().cpu() for name, values in test.items()}
        finals["train_loss"] = log.losses[-1][-1]
    score = finals.get("validation_loss", finals.get("value"))
    assert score is not None
    limit = log.task.loss_limit
    rows = []
    for index in range(len(replicas)):
        step = log.diverged_at(index)
        if step:
            rows.append({"score": limit, "diverged_step": float(step)})
        else:
            row = {name: float(values[index]) for name, values in finals.items()}
            if "value" in row:
                row["best_value"] = min(row["value"], log.lowest(index))
            rows.append({**row, "score": min(float(score[index]), limit)})
    return rows


def _norm(start: engine.Step) -> Tensor:
    params = start.optimizer.evaluated(start.params, start.state)
    squares = [leaf.flatten(1).square().sum(1, dtype=torch.float64) for leaf in leaves(params)]
    return torch.stack(squares).sum(0).sqrt()

"""What training saw: losses and metrics while it runs, and the numbers of its record when it is over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from repro import problems
from repro.autodiff import Params, like
from repro.checkpoints import State
from repro.engine import Patience
from repro.protocol import Replica, Training
from repro.results import Curve
from repro.stopping import EarlyStopping


class Log:
    """Losses of every step and metrics of every evaluation, and who diverged when."""

    def __init__(self, num_replicas: int, task: Training) -> None:
        """Begin empty.

        Args:
            num_replicas: `R`.
            task: What they train for.
        """
        self.task = task
        self.losses: list[Tensor] = []
        # by metric: the steps at which it was taken, and its values (R,)
        self.metrics: dict[str, tuple[list[int], list[Tensor]]] = {}
        # step at which a replica's loss first left the permitted range, 0 for never
        self._diverged = [0] * num_replicas
        # updates after which a replica stood still or was stopped, 0 for never
        self._stopped = [0] * num_replicas
        # test metrics of replicas that were stopped, where they were
        self._tests: dict[int, dict[str, float]] = {}
        self._steps = 0

    def extend(self, losses: Tensor) -> None:
        """Take the training losses of some steps, `(steps, R)`."""
        self.losses.append(losses)
        bad = ~(losses <= self.task.loss_limit)
        for replica in range(losses.shape[1]):
            if self.is_running(replica) and bool(bad[:, replica].any()):
                self._diverged[replica] = self._steps + int(bad[:, replica].int().argmax()) + 1
        self._steps += losses.shape[0]

    def _every_loss(self) -> Tensor:
        """Return the losses of all steps, `(steps, R)`, joined once and not for each replica that asks."""
        if len(self.losses) > 1:
            self.losses = [torch.cat(self.losses)]
        return self.losses[0]

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
            "losses": self._every_loss() if self.losses else None,
            "metrics": {
                name: (steps, torch.stack(column)) for name, (steps, column) in self.metrics.items()
            },
            "diverged": self._diverged,
            "stopped": self._stopped,
            "tests": self._tests,
            "steps": self._steps,
        }

    def restore(self, state: State) -> None:
        """Go on from a log that was kept."""
        self.losses = [] if state["losses"] is None else [state["losses"]]
        self.metrics = {
            name: (list(steps), list(column)) for name, (steps, column) in state["metrics"].items()
        }
        self._diverged, self._stopped = list(state["diverged"]), list(state["stopped"])
        self._tests = {replica: dict(tests) for replica, tests in state["tests"].items()}
        self._steps = state["steps"]

    def close(self) -> None:
        """Take a replica whose last update left it without a finite evaluation as diverged there."""
        for _, values in self.metrics.values():
            for replica in range(len(self._diverged)):
                if self.is_running(replica) and not math.isfinite(float(values[-1][replica])):
                    self._diverged[replica] = self._steps

    def is_running(self, replica: int) -> bool:
        """Whether a replica is still worth training."""
        return not (self._diverged[replica] or self._stopped[replica])

    def running(self) -> list[bool]:
        """Return `is_running` of every replica."""
        return [self.is_running(replica) for replica in range(len(self._diverged))]

    def end(self, step: int, stopped: Sequence[int], diverged: Sequence[int]) -> None:
        """Take which replicas early stopping ends after a step."""
        for replica in stopped:
            self._stopped[replica] = step
        for replica in diverged:
            self._diverged[replica] = step

    def note_test(self, replicas: Sequence[int], metrics: Mapping[str, Tensor]) -> None:
        """Take test metrics `(R,)` of replicas that end here."""
        for replica in replicas:
            self._tests[replica] = {n: float(values[replica]) for n, values in metrics.items()}

    def test_at_stop(self, replica: int) -> dict[str, float]:
        """Return the test metrics of a replica that was stopped, or nothing."""
        return self._tests.get(replica, {})

    def value_at(self, metric: str, replica: int, step: int) -> float:
        """Return a metric of a replica after a step at which it was taken."""
        steps, values = self.metrics[metric]
        return float(values[steps.index(step)][replica])

    def last_value(self, metric: str, replica: int) -> float:
        """Return a metric of a replica where it ended; one that stands still has it ever after."""
        stopped = self._stopped[replica] if self.task.early_stopping else 0
        if stopped:
            return self.value_at(metric, replica, stopped)
        return float(self.metrics[metric][1][-1][replica])

    def last_loss(self, replica: int) -> float:
        """Return the training loss before a replica's last update."""
        end = self._stopped[replica] if self.task.early_stopping else 0
        return float(self._every_loss()[(end or self._steps) - 1, replica])

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
        return float(self._every_loss()[:end, replica].min())

    def curves(self, replica: int) -> tuple[Curve, ...]:
        """Return a replica's curves, up to its divergence."""
        end = self.diverged_at(replica) or self._steps + 1
        stopped = 0 if self.diverged_at(replica) else self.stopped_at(replica)
        end = min(end, stopped + 1) if stopped else end
        curves = []
        if self.losses and self.task.keep_losses:
            losses = self._every_loss()[:, replica].tolist()
            steps = tuple(range(min(len(losses), end - 1)))
            # the loss of step i is taken at the parameters before its update
            curves.append(Curve("train", "loss", steps, tuple(losses[: len(steps)])))
        for name, (taken, values) in self.metrics.items():
            points = [
                (step, float(value[replica]))
                for step, value in zip(taken, values, strict=True)
                if step < end
            ]
            if stopped and points[-1][0] < stopped:  # never where it was early stopping's
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


def final_rows(
    problem: problems.BuiltProblem,
    params: Params,
    replicas: Sequence[Replica],
    log: Log,
    role: str,
) -> list[dict[str, float]]:
    """Return what the record of each replica says of how it ended; the score is the last validation loss."""
    # validation metrics were taken after the last step; the test split is read here, by reported runs
    # only, and where the task says that its paper looked
    named = {
        "loss": "validation_loss",
        "accuracy": "validation_accuracy",
        "value": "value",
        "parameter_norm": "parameter_norm",
        "test_loss": "test_loss",
        "test_accuracy": "test_accuracy",
        "test_last_batch_loss": "test_last_batch_loss",
    }
    metrics = [name for name in log.metrics if name in named]
    is_network = "loss" in metrics
    untested = role == "report" and is_network and "test_loss" not in metrics
    # those that stopped early were tested there
    test = problem.evaluate(params, replicas, "test") if untested and any(log.running()) else {}
    limit = log.task.loss_limit
    rows: list[dict[str, float]] = []
    for index in range(len(replicas)):
        step = log.diverged_at(index)
        if step:
            rows.append({"score": limit, "diverged_step": float(step)})
            continue
        row = {named[name]: log.last_value(name, index) for name in metrics}
        if is_network:
            tested = {name: float(values[index]) for name, values in test.items()}
            tested |= log.test_at_stop(index)
            row |= {f"test_{name}": value for name, value in tested.items()}
            row["train_loss"] = log.last_loss(index)
        else:
            row["best_value"] = min(row["value"], log.lowest(index))
        score = row["validation_loss" if is_network else "value"]
        rows.append({**row, "score": min(score, limit)})
    return rows


def add_best(
    rows: list[dict[str, float]],
    problem: problems.BuiltProblem,
    params: Params,
    replicas: Sequence[Replica],
    log: Log,
    early: EarlyStopping,
    role: str,
) -> None:
    """Add the metrics at the lowest validation loss, which is the score of a run that may stop early."""
    best = like(params, early.best())
    test = problem.evaluate(best, replicas, "test") if role == "report" else {}
    for index, row in enumerate(rows):
        if log.diverged_at(index):
            continue
        step = early.best_step[index]
        row |= {
            "best_step": float(step),
            "best_validation_loss": log.value_at("loss", index, step),
            "best_validation_accuracy": log.value_at("accuracy", index, step),
            **{f"best_test_{name}": float(values[index]) for name, values in test.items()},
        }
        row["score"] = min(row["best_validation_loss"], log.task.loss_limit)

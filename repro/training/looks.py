"""Looks: after which steps training stops to see how it stands, and what it evaluates there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from repro import engine, problems
from repro.autodiff import leaves
from repro.problems.classification import ClassificationProblem
from repro.protocol import Replica, Training
from repro.stopping import EarlyStopping
from repro.training.log import Log

CHECK_EVERY = 100
"""Steps between two looks at the losses; a look waits for the device."""


def steps_until_look(task: Training, step: int) -> int:
    """Return how many steps may be done before the losses or the metrics are wanted."""
    until = [every - step % every for every in _periods(task)]
    return min(
        CHECK_EVERY - _since_metrics(task, step) % CHECK_EVERY, *until, task.num_steps - step
    )


def is_look(task: Training, step: int) -> bool:
    """Tell whether the losses or the metrics are wanted after a step."""
    return step == task.num_steps or _since_metrics(task, step) % CHECK_EVERY == 0


def _since_metrics(task: Training, step: int) -> int:
    return min(step % every for every in _periods(task))


def _periods(task: Training) -> list[int]:
    return [every for every in (task.evaluate_every, task.test_every) if every]


def early_stopping(
    task: Training, problem: problems.BuiltProblem, num_replicas: int
) -> EarlyStopping | None:
    """Return the rule by which replicas end early, `None` where none may.

    Args:
        task: What they train for.
        problem: What they train on.
        num_replicas: `R`.

    Returns:
        The rule at its start.

    Raises:
        ValueError: If the problem has no validation split.
    """
    if not (task.early_stopping or task.validation_limit):
        return None
    if not isinstance(problem, ClassificationProblem):
        raise ValueError("Early stopping needs a validation split, which a function has not.")
    return EarlyStopping(task.early_stopping, task.validation_limit, num_replicas)


class Looking:
    """Evaluates what is trained, where that is due, and lets early stopping end replicas."""

    def __init__(
        self,
        start: engine.Step,
        replicas: Sequence[Replica],
        log: Log,
        early: EarlyStopping | None,
    ) -> None:
        """Take what is evaluated and where it is told.

        Args:
            start: The step, whose parameters change while it is taken.
            replicas: Whose they are, in stacking order.
            log: Where metrics go.
            early: Decides who ends, if a run may end early.
        """
        self.start, self.replicas, self.log, self.early = start, replicas, log, early

    def __call__(self, step: int, *, at_end: bool) -> None:
        """Look after a step; at the end in any case."""
        task, problem, log = self.log.task, self.start.problem, self.log
        judged = self.start.judged()
        if step % task.evaluate_every == 0 or at_end:
            metrics = problem.evaluate(judged, self.replicas, "validation")
            log.note(step, {**metrics, "parameter_norm": _norm(self.start)})
            if self.early is not None:
                running = log.running()
                ended, lost = self.early.note(step, metrics["loss"], running, leaves(judged))
                log.end(step, ended, lost)
                if ended and self.replicas[0].role == "report":
                    log.note_test(ended, problem.evaluate(judged, self.replicas, "test"))
        if task.test_every and (step % task.test_every == 0 or at_end):
            assert isinstance(problem, ClassificationProblem)
            seen = problem.look_at_test(judged, self.replicas, step)
            log.note(step, {f"test_{name}": values for name, values in seen.items()})


def _norm(start: engine.Step) -> Tensor:
    params = start.optimizer.evaluated(start.params, start.state)
    squares = [leaf.flatten(1).square().sum(1, dtype=torch.float64) for leaf in leaves(params)]
    return torch.stack(squares).sum(0).sqrt()

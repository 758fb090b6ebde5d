"""Problems: an objective, its data and its start; they know no estimator and no optimizer.

`build` turns a declaration of `repro.protocol` into a problem on a device. Both kinds answer the same
questions for `R` stacked replicas: `start(replicas)`, `batches(replicas)`, `objective(rows)` of one of those, and
`evaluate(params, ...)`.
"""

from __future__ import annotations

import torch

from repro import protocol
from repro.problems.classification import ClassificationProblem
from repro.problems.closed_form import ClosedFormProblem

BuiltProblem = ClosedFormProblem | ClassificationProblem


def build(problem: protocol.Problem, device: torch.device, dtype: torch.dtype) -> BuiltProblem:
    """Return the declared problem, its data on the device.

    Args:
        problem: The declaration.
        device: Where data and parameters live.
        dtype: Floating-point type.

    Returns:
        The problem.
    """
    if isinstance(problem, protocol.ClosedForm):
        return ClosedFormProblem(problem, device, dtype)
    return ClassificationProblem(problem, device, dtype)

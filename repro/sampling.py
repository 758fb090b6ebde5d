"""Gradient estimates at one point: their mean, variance and cosine, against the gradient itself.

The theorem behind forward gradients is about this and nothing else: `E[g] = nabla f`, and for normal
tangents a component's variance is `|nabla f|^2 + (d_i f)^2`. A sampling run draws estimates at a problem's
start and keeps the running mean and variance of the first two components at powers of two, the relative
error of the mean, and the first few estimates themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from repro import estimators, problems
from repro.autodiff import Params, leaves, value_and_gradient
from repro.environment import describe, now
from repro.protocol import Replica, RunSpec, Sampling
from repro.results import Curve, Record
from repro.training import Interrupted, tangent_generator

KEPT_ESTIMATES = 500
"""Estimates kept as they are, for the illustration."""


def sample(
    specs: Sequence[RunSpec],
    device: torch.device,
    *,
    on_steps: Callable[[int], None] = lambda steps: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Record]:
    """Draw estimates at the start of a closed-form problem and return one record a run.

    Args:
        specs: Sampling runs of closed-form problems.
        device: Where to run.
        on_steps: Told of draws done.
        should_stop: Asked between runs.

    Returns:
        Records in the order of `specs`.

    Raises:
        Interrupted: If `should_stop` answered yes.
    """
    records = []
    for spec in specs:
        if should_stop():
            raise Interrupted
        records.append(_sample(spec, device))
        on_steps(spec.task.num_draws if isinstance(spec.task, Sampling) else 0)
    return records


def _sample(spec: RunSpec, device: torch.device) -> Record:
    task = spec.task
    if not isinstance(task, Sampling):
        raise ValueError(f"Expected a sampling run. Found {type(task).__name__}.")
    environment = describe(device)
    problem = problems.build(spec.trained_problem, device, getattr(torch, task.precision))
    replicas = [Replica(spec.role, spec.repetition)]
    objective = problem.objective(next(problem.batches(replicas)))
    params = problem.start(replicas)
    estimator = estimators.build(spec.method.estimator.name, **spec.method.estimator.options())
    generators = [tangent_generator(spec, device)]
    cost = estimator.cost_on(objective)
    value, exact = value_and_gradient(objective, params)
    gradient = _flat(exact)
    draws = torch.stack(
        [_flat(estimator(objective, params, generators).gradient) for _ in range(task.num_draws)]
    )
    measured: dict[str, float | int | str | None] = {
        "value": float(value[0]),
        "num_parameters": gradient.numel(),
        "num_steps": task.num_draws,
        "forward_passes": cost.forward_passes * task.num_draws,
        "tangents": float(cost.tangents * task.num_draws),
        "group_size": 1,
        "finished": now(),
    }
    return Record(spec, "done", {**environment, **measured}, tuple(_curves(draws, gradient)))


def _flat(gradient: Params) -> torch.Tensor:
    return torch.cat([leaf.flatten() for leaf in leaves(gradient)])


def _curves(draws: torch.Tensor, gradient: torch.Tensor) -> Iterator[Curve]:
    """Yield what draws `(num_draws, d)` of a gradient `(d,)` say of it at powers of two, and the first few draws."""
    shown = range(min(2, gradient.numel()))
    counts = tuple(2**power for power in range(1, len(draws).bit_length()))
    heads = [draws[:count] for count in counts]
    series = {
        "relative_error": [(head.mean(0) - gradient).norm() / gradient.norm() for head in heads]
    }
    for index in shown:
        series[f"mean_{index}"] = [head[:, index].mean() for head in heads]
        series[f"variance_{index}"] = [head[:, index].var() for head in heads]
    for name, values in series.items():
        yield Curve("none", name, counts, _floats(values))
    kept = draws[:KEPT_ESTIMATES]
    for index in shown:
        steps = tuple(range(len(kept)))
        yield Curve("none", f"estimate_{index}", steps, _floats(kept[:, index]))
        yield Curve("none", f"gradient_{index}", (0,), (float(gradient[index]),))


def _floats(values: Sequence[torch.Tensor] | torch.Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in values)

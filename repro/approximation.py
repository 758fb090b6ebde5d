"""How close estimates come to the gradient, by the number of tangents and the dimension.

The experiment of Flügel et al. (2024, Section 4.1): tangents are drawn, nothing moves. One draw of `K`
tangents serves every smaller `k` and every aggregation: the estimates of `k` are made of its first `k`
tangents, and what they share is computed once (`repro.aggregation.of_the_first`). Draws come in batches of at
most `MAX_NUMBERS` numbers, so memory does not grow with their number, and each batch leaves a few sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from repro import aggregation, problems
from repro import tangents as distributions
from repro.autodiff import leaves, value_and_gradient
from repro.environment import describe, now
from repro.protocol import Approximation, Component, Replica, RunSpec, derive_seed
from repro.results import Curve, Record
from repro.training import Interrupted

MAX_NUMBERS = 2**24
"""Numbers in a batch of tangents, 64 MiB in float32, unless a single draw has more; what is computed from
them takes at most five times as much, on a GPU eight times."""

SPAN_CHECKED = 64
"""Largest dimension in which the distance of estimates from their tangents' span is measured too. That costs as
much as all else, and the theorem (Flügel et al. 2024, Lemma 1) does not depend on the dimension."""

Kind: TypeAlias = tuple[str, float | None]
"""A distribution of tangents, with its angle."""

PLAIN: Kind = ("normal", None)
"""The kind of tangents that normals are already."""


def approximation_group(spec: RunSpec) -> tuple[object, ...]:
    """Return what runs must share to see the same draws: all but the method."""
    return (spec.study, spec.experiment, spec.role, spec.problem, spec.repetition, spec.task)


@torch.no_grad()
def approximate(
    specs: Sequence[RunSpec],
    device: torch.device,
    *,
    on_steps: Callable[[int], None] = lambda steps: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[Record]:
    """Draw tangents at the start of a closed-form problem and compare estimates with its gradient.

    Args:
        specs: Runs of one `approximation_group`, each with a `forward_gradient` estimator whose tangents are
            made of normals.
        device: Where to run.
        on_steps: Told of draws done, once a run.
        should_stop: Asked between batches.

    Returns:
        Records in the order of `specs`, each with curves over `k`: mean, standard deviation and smallest
        value over the draws of the cosine with the gradient, mean and standard deviation of the estimate's
        length and of its distance from the gradient, both relative to the gradient's length, and in few
        dimensions the largest relative distance from the span of the tangents.

    Raises:
        ValueError: If the runs do not belong together.
        Interrupted: If `should_stop` answered yes.
    """
    first, task = specs[0], specs[0].task
    alike = all(approximation_group(spec) == approximation_group(first) for spec in specs)
    if not isinstance(task, Approximation) or not alike:
        raise ValueError(
            "Expected approximation runs that differ in their method only. "
            f"Found {[spec.key[:12] for spec in specs]}."
        )
    environment = describe(device)
    problem = problems.build(first.problem, device, getattr(torch, task.precision))
    replicas = [Replica(first.role, first.repetition)]
    params = problem.start(replicas)
    value, exact = value_and_gradient(problem.objective(next(problem.batches(replicas))), params)
    (gradient,) = torch.cat([leaf.flatten(1) for leaf in leaves(exact)], dim=1)
    estimators = [_estimator(spec.method.estimator) for spec in specs]
    sums = [_Sums(task) for _ in specs]
    # not the method's: all methods see one sequence of draws
    seed = derive_seed("draws", first.problem.name, first.role, first.repetition)
    generator = torch.Generator(device).manual_seed(seed)
    largest = task.num_tangents[-1]
    at_once = draws_at_once(len(gradient), largest)
    normals = gradient.new_empty(min(at_once, task.num_draws), largest, len(gradient))
    done = 0
    while done < task.num_draws:
        if should_stop():
            raise Interrupted
        batch = normals[: min(at_once, task.num_draws - done)].normal_(generator=generator)
        for kind, tangents in _of_each_kind(batch, dict.fromkeys(kind for kind, _ in estimators)):
            slopes = _slopes(tangents, gradient)
            for (other, name), total in zip(estimators, sums, strict=True):
                if other == kind:
                    estimates = aggregation.of_the_first(name, tangents, slopes, task.num_tangents)
                    total.add(estimates, gradient, tangents)
        done += len(batch)
        on_steps(len(batch) * len(specs))
    measured: dict[str, float | int | str | None] = {
        "value": float(value[0]),
        "num_parameters": len(gradient),
        "num_steps": task.num_draws,
        "tangents": float(task.num_draws * largest),
        "group_size": len(specs),
        "finished": now(),
    }
    return [
        Record(spec, "done", {**environment, **measured}, total.curves())
        for spec, total in zip(specs, sums, strict=True)
    ]


def draws_at_once(dimension: int, num_tangents: int) -> int:
    """Return how many draws of `num_tangents` tangents of that dimension are held at once."""
    return max(1, MAX_NUMBERS // (dimension * num_tangents))


def _of_each_kind(normals: Tensor, kinds: Iterable[Kind]) -> Iterator[tuple[Kind, Tensor]]:
    """Yield the tangents of every kind that are made of the same normals, which are overwritten."""
    every = list(kinds)
    for kind in every:
        # the last kind may have the draws themselves, and so may one that leaves them as they are
        drawn = normals if kind in (PLAIN, every[-1]) else normals.clone()
        yield kind, distributions.shape_of(*kind)(drawn)


def _slopes(tangents: Tensor, gradient: Tensor) -> Tensor:
    """Return directional derivatives `(B, K)`, in float64 where a projection would magnify their rounding."""
    if not aggregation.nearly_dependent(tangents):
        return tangents @ gradient
    return tangents.double() @ gradient.double()


def _estimator(component: Component) -> tuple[Kind, str]:
    """Return the distribution, with its angle, and the aggregation of an estimator."""
    options = component.options()
    angle = options.get("angle")
    kind = (
        str(options.get("tangents", "normal")),
        None if angle is None else float(angle),
    )
    distributions.shape_of(*kind)
    name = str(options.get("aggregation", "mean"))
    if component.name != "forward_gradient" or name not in aggregation.AGGREGATIONS:
        raise ValueError(
            "An approximation run needs a `forward_gradient` with an aggregation out of "
            f"{', '.join(aggregation.AGGREGATIONS)}. Found {component}."
        )
    return kind, name


class _Sums:
    """Moments over the draws of what is measured of an estimate, by `k`."""

    def __init__(self, task: Approximation) -> None:
        self.task = task
        self._sums: dict[str, Tensor] = {}
        self._smallest = torch.full((len(task.num_tangents),), math.inf, dtype=torch.float64)
        self._outside: Tensor | None = None

    def add(self, estimates: Tensor, gradient: Tensor, tangents: Tensor) -> None:
        """Take estimates `(len(ks), B, d)` of a gradient `(d,)` from tangents `(B, K, d)`."""
        length = gradient.norm().double()
        norms = estimates.norm(dim=-1).double() / length
        # an estimate of zero has no direction: it is orthogonal to everything
        cosines = (estimates @ gradient).double() / length.square() / norms.clamp_min(1e-300)
        series = {
            "cosine": cosines,
            "norm_ratio": norms,
            "relative_error": (estimates - gradient).norm(dim=-1).double() / length,
        }
        for name, values in series.items():
            moments = torch.stack([values.sum(1), values.square().sum(1)]).cpu()
            self._sums[name] = self._sums.get(name, 0.0) + moments
        self._smallest = torch.minimum(self._smallest, cosines.amin(1).cpu())
        if len(gradient) <= SPAN_CHECKED:
            largest = torch.stack(
                [
                    _distance_from_span(estimate, tangents[:, :k])
                    for k, estimate in zip(self.task.num_tangents, estimates, strict=True)
                ]
            )
            before = torch.zeros_like(largest) if self._outside is None else self._outside
            self._outside = torch.maximum(before, largest)

    def curves(self) -> tuple[Curve, ...]:
        """Return what was measured over `k`."""
        count = self.task.num_draws
        found: dict[str, Tensor] = {"cosine_min": self._smallest}
        for name, (total, squares) in self._sums.items():
            mean = total / count
            variance = (squares / count - mean.square()).clamp_min(0.0) * count / (count - 1)
            found |= {name: mean, f"{name}_std": variance.sqrt()}
        if self._outside is not None:
            found["outside_span_max"] = self._outside
        return tuple(
            Curve("none", name, self.task.num_tangents, tuple(values.tolist()))
            for name, values in found.items()
        )


def _distance_from_span(estimates: Tensor, tangents: Tensor) -> Tensor:
    """Return the largest distance of estimates `(B, d)` from their tangents' span, relative to their length."""
    wide, targets = tangents.double(), estimates.double()
    slopes = (wide @ targets[..., None]).squeeze(-1)
    inside = aggregation.orthogonal_projection(wide, slopes)
    lengths = targets.norm(dim=-1).clamp_min(1e-300)
    largest: Tensor = ((targets - inside).norm(dim=-1) / lengths).amax()
    return largest.cpu()

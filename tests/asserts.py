"""Theorems as assertions, one each, applied to every estimator that they hold for.

Statistical ones take draws from fixed seeds, so they pass or fail for good; their tolerance is a number of
standard errors of the mean, taken from the draws themselves. Four standard errors are exceeded by chance
once in 16,000 comparisons.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from repro.autodiff import Objective, Params, leaves, like
from repro.estimators import Estimator

STANDARD_ERRORS = 4.0
Aggregate = Callable[[Tensor, Tensor], Tensor]


def flatten(params: Params) -> Tensor:
    """Return stacked leaves `(R, ...)` as one matrix `(R, d)`."""
    return torch.cat([leaf.flatten(1) for leaf in leaves(params)], dim=1)


def assert_close(found: Tensor, expected: Tensor, rtol: float, atol: float = 0.0) -> None:
    """Assert `|found - expected| <= rtol |expected| + atol` in norm, along the last dimension."""
    error = (found.double() - expected.double()).norm(dim=-1)
    bound = rtol * expected.double().norm(dim=-1) + atol
    assert bool((error <= bound).all()), f"error {error.max():.3e}, bound {bound.min():.3e}"


def assert_unbiased(draws: Tensor, expected: Tensor, atol: float = 1e-8) -> None:
    """Assert that the mean of draws `(N, d)` is within 4 standard errors of `expected` `(d,)`.

    Every component is compared. `atol` covers rounding where draws do not vary.
    """
    error = (draws.mean(0) - expected).abs()
    bound = STANDARD_ERRORS * draws.std(0) / len(draws) ** 0.5 + atol
    assert bool((error <= bound).all()), (
        f"{error.tolist()} exceeds 4 standard errors, {bound.tolist()}"
    )


def assert_variance(draws: Tensor, expected: Tensor) -> None:
    """Assert that the variance of draws `(N, d)` is within 4 of its standard errors of `expected`.

    The standard error of a sample variance is `sqrt((m_4 - s^4) / N)`.
    """
    centred = draws - draws.mean(0)
    variance = draws.var(0)
    error = (variance - expected).abs()
    bound = STANDARD_ERRORS * ((centred**4).mean(0) - variance**2).div(len(draws)).sqrt()
    assert bool((error <= bound).all()), (
        f"{error.tolist()} exceeds 4 standard errors, {bound.tolist()}"
    )


def assert_descent_direction(estimates: Tensor, gradient: Tensor) -> None:
    """Assert that every estimate `(N, d)` has a positive inner product with the gradient `(d,)`."""
    products = estimates @ gradient
    assert bool((products > 0).all()), f"smallest inner product {products.min():.3e}"


def assert_in_span(estimates: Tensor, tangents: Tensor, rtol: float = 1e-9) -> None:
    """Assert that estimates `(N, d)` are combinations of their tangents `(N, k, d)`."""
    basis = torch.linalg.svd(tangents.double(), full_matrices=False)
    kept = 1e-9 * basis.S[:, :1] < basis.S
    span = basis.Vh * kept[..., None]
    wide = estimates.double()[..., None]
    assert_close((span.mT @ (span @ wide)).squeeze(-1), estimates, rtol)


def assert_projection_idempotent(
    aggregate: Aggregate, tangents: Tensor, slopes: Tensor, rtol: float
) -> None:
    """Assert that projecting the projection, on the same tangents, changes nothing."""
    once = aggregate(tangents, slopes)
    twice = aggregate(tangents, (tangents @ once[..., None]).squeeze(-1))
    assert_close(twice, once, rtol)


def assert_projection_closest(
    aggregate: Aggregate, tangents: Tensor, gradient: Tensor, others: int = 50
) -> None:
    """Assert that no other point of the span is closer to the gradient, and that the rest is orthogonal.

    Args:
        aggregate: The projection.
        tangents: Shape `(R, k, d)`.
        gradient: Shape `(R, d)`.
        others: Points of the span tried, near and far.
    """
    estimate = aggregate(tangents, (tangents @ gradient[..., None]).squeeze(-1))
    rest = gradient - estimate
    along = (tangents @ rest[..., None]).squeeze(-1).abs() / tangents.norm(dim=-1)
    assert bool((along <= 1e-9 * gradient.norm(dim=-1, keepdim=True)).all()), f"{along.max():.3e}"
    generator = torch.Generator().manual_seed(0)
    for index in range(others):
        weights = torch.randn(tangents.shape[:-1], generator=generator, dtype=tangents.dtype)
        other = estimate + 10.0 ** (1 - index % 6) * (weights[..., None, :] @ tangents).squeeze(-2)
        assert bool(((gradient - other).norm(dim=-1) >= rest.norm(dim=-1) * (1 - 1e-12)).all())


def assert_invariant_to_tangent_scale(
    aggregate: Aggregate, tangents: Tensor, slopes: Tensor, scales: Tensor, rtol: float
) -> None:
    """Assert that lengthening tangents, each by its own factor in `scales` `(k,)`, changes nothing."""
    scaled = aggregate(tangents * scales[:, None], slopes * scales)
    assert_close(scaled, aggregate(tangents, slopes), rtol)


def assert_replicas_independent(
    estimator: Estimator,
    objective: Objective,
    params: Params,
    seeds: Sequence[int],
    rtol: float = 1e-12,
) -> None:
    """Assert that each replica's estimate is what it is alone, and that none feels another's change."""

    def estimate(params: Params, seeds: Sequence[int]) -> Tensor:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        result = estimator(objective, params, generators)
        assert result.value.shape == (len(seeds),)
        return flatten(result.gradient)

    together = estimate(params, seeds)
    for index, seed in enumerate(seeds):
        alone = like(params, [leaf[index : index + 1] for leaf in leaves(params)])
        assert_close(estimate(alone, [seed]), together[index : index + 1], rtol)
    moved = like(params, [torch.cat([leaf[:1] + 1.0, leaf[1:]]) for leaf in leaves(params)])
    disturbed = estimate(moved, [seeds[0] + 1_000, *seeds[1:]])
    assert not torch.equal(disturbed[0], together[0])
    assert_close(disturbed[1:], together[1:], rtol)


def assert_shared_draws(
    estimator: Estimator, objective: Objective, params: Params, rtol: float = 1e-12
) -> None:
    """Assert that replicas with one generator get what each gets alone, estimate after estimate.

    Args:
        estimator: The estimator.
        objective: Maps stacked parameters to one value a replica.
        params: Leaves `(3, ...)`.
        rtol: Of the estimates.
    """
    for seeds in ((5, 5, 5), (5, 6, 5)):
        made = {seed: torch.Generator().manual_seed(seed) for seed in seeds}
        shared = [made[seed] for seed in seeds]
        together = [flatten(estimator(objective, params, shared).gradient) for _ in range(2)]
        for index, seed in enumerate(seeds):
            alone = like(params, [leaf[index : index + 1] for leaf in leaves(params)])
            own = [torch.Generator().manual_seed(seed)]
            for stacked in together:
                found = flatten(estimator(objective, alone, own).gradient)
                assert_close(stacked[index : index + 1], found, rtol)

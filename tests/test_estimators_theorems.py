"""The theorems, on every estimator that they hold for."""

from collections.abc import Callable

import pytest
import torch
from asserts import (
    assert_descent_direction,
    assert_in_span,
    assert_replicas_independent,
    assert_shared_draws,
    assert_unbiased,
    assert_variance,
)
from estimator_cases import (
    CLIPPED,
    EVERY,
    GRADIENT,
    D,
    estimates,
    every_estimator,
    forward_or_clipped,
    name,
    objective,
    stacked,
)
from references import draw, generators
from torch import Tensor

from repro.autodiff import Objective, Params, leaves, like
from repro.estimators import (
    Cost,
    Estimate,
    Estimator,
    ForwardGradient,
    Generators,
    draw_stacked,
)


def expected_multiple(estimator: Estimator) -> float | None:
    """Return `c` of `E[estimate] = c nabla f`; the mean of `V^+ V` is `E[rank V] / d` by symmetry."""
    if not isinstance(estimator, ForwardGradient) or estimator.aggregation == "mean":
        return 1.0
    k = estimator.num_tangents
    if estimator.aggregation == "sum":
        return float(k)
    if estimator.tangents != "rademacher" or k == 1:
        return k / D
    # two sign vectors may coincide; the mean rank of more has no short formula
    return (2.0 - 2.0 ** (1 - D)) / D if k == 2 else None


@pytest.mark.parametrize(
    "estimator", [e for e in EVERY if expected_multiple(e) is not None], ids=name
)
def test_unbiased_up_to_the_known_multiple(estimator: Estimator) -> None:
    multiple = expected_multiple(estimator)
    assert multiple is not None
    assert_unbiased(estimates(estimator), multiple * GRADIENT)


@pytest.mark.parametrize(
    ("estimator", "multiple"),
    [
        (ForwardGradient(2, "sum"), 1.0),
        (ForwardGradient(2, "mean"), 0.8),
        (ForwardGradient(2, "orthogonal_projection"), 1.0),
        (ForwardGradient(clip=0.5), 1.0),
    ],
)
def test_bias_is_seen(estimator: Estimator, multiple: float) -> None:
    with pytest.raises(AssertionError, match="standard errors"):
        assert_unbiased(estimates(estimator), multiple * GRADIENT)


@every_estimator
def test_descent_direction(estimator: Estimator) -> None:
    assert_descent_direction(estimates(estimator, 1_000), GRADIENT)


@pytest.mark.parametrize("estimator", CLIPPED[::2], ids=name)
def test_clipping_one_directional_derivative_keeps_the_descent(estimator: Estimator) -> None:
    assert_descent_direction(estimates(estimator, 1_000), GRADIENT)


@forward_or_clipped
def test_estimate_lies_in_the_span_of_its_tangents(estimator: ForwardGradient) -> None:
    tangents = estimator.draw(stacked(200), generators(200))
    assert tangents.shape == (200, estimator.num_tangents, D)
    assert_in_span(estimates(estimator, 200), tangents)


@every_estimator
def test_replicas_are_independent_of_each_other(estimator: Estimator) -> None:
    params: Params = {"weight": draw(3, 2, 2), "bias": draw(3, 2, seed=1)}
    assert_replicas_independent(estimator, objective, params, [5, 6, 7], rtol=1e-9)


@every_estimator
def test_replicas_that_share_a_generator_get_what_they_get_alone(estimator: Estimator) -> None:
    params: Params = {"weight": draw(3, 2, 2), "bias": draw(3, 2, seed=1)}
    assert_shared_draws(estimator, objective, params, rtol=1e-9)


class DrawsForEach(Estimator):
    """One draw a replica, also where replicas share a generator."""

    @property
    def cost(self) -> Cost:
        return Cost(forward_passes=1.0, tangents=1)

    def __call__(self, objective: Objective, params: Params, generator: Generators) -> Estimate:
        assert not isinstance(generator, torch.Generator)
        drawn = [
            torch.stack([torch.randn(leaf.shape[1:], generator=g).double() for g in generator])
            for leaf in leaves(params)
        ]
        return Estimate(objective(params), like(params, drawn), None, self.cost)


def test_a_draw_for_each_of_those_that_share_a_generator_is_seen() -> None:
    params: Params = {"weight": draw(3, 2, 2), "bias": draw(3, 2, seed=1)}
    with pytest.raises(AssertionError, match="error"):
        assert_shared_draws(DrawsForEach(), objective, params)


@pytest.mark.parametrize(("seeds", "rows"), [((5, 5, 5), 1), ((5, 6, 5), 3), ((5, 6, 7), 3)])
def test_draws_are_stacked_by_generator(seeds: tuple[int, ...], rows: int) -> None:
    made = {seed: torch.Generator().manual_seed(seed) for seed in seeds}
    drawn = draw_stacked(torch.zeros(3, 2), (4, 2), [made[seed] for seed in seeds])
    assert drawn.shape == (rows, 4, 2)
    for index, seed in enumerate(seeds):
        own = torch.randn(4, 2, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(drawn.expand(3, -1, -1)[index], own)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize(
    ("tangents", "formula"),
    [
        ("normal", lambda s, g: s + g),
        ("rademacher", lambda s, g: s - g),
        ("sphere", lambda s, g: D / (D + 2) * (s + 2 * g) - g),
    ],
)
def test_variance_of_each_component(
    tangents: str, formula: Callable[[Tensor, Tensor], Tensor], k: int
) -> None:
    # normal: |nabla f|^2 + (d_i f)^2; the others from their fourth moments; a mean of k has 1 / k of it
    draws = estimates(ForwardGradient(k, tangents=tangents), 20_000)  # type: ignore[arg-type]
    assert_variance(draws, formula(GRADIENT.square().sum(), GRADIENT.square()) / k)


def test_rademacher_has_the_least_variance() -> None:
    total = {
        t: estimates(ForwardGradient(tangents=t)).var(0).sum()
        for t in ("normal", "sphere", "rademacher")
    }
    # in expectation d + 1, d - 1 and d - 1 times |nabla f|^2
    assert total["rademacher"] < 0.85 * total["normal"]
    with pytest.raises(AssertionError, match="standard errors"):
        assert_variance(
            estimates(ForwardGradient(tangents="rademacher"), 20_000),
            GRADIENT.square().sum() + GRADIENT.square(),
        )


def test_squared_cosine_of_the_projection_is_k_over_d() -> None:
    for k in (1, 2, 4):
        draws = estimates(ForwardGradient(k, "orthogonal_projection"))
        cosines = draws @ GRADIENT / (draws.norm(dim=1) * GRADIENT.norm())
        assert_unbiased(cosines.square()[:, None], torch.tensor([k / D]))

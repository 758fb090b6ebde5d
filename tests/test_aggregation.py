"""Aggregation: the projection against an explicit inverse, its theorems, and degenerate tangents."""

import pytest
import torch
from asserts import (
    assert_close,
    assert_in_span,
    assert_invariant_to_tangent_scale,
    assert_projection_closest,
    assert_projection_idempotent,
)
from references import draw, project
from torch import Tensor

from repro.aggregation import (
    AGGREGATIONS,
    mean,
    nearly_dependent,
    of_the_first,
    orthogonal_projection,
    sum_,
)
from repro.aggregation.factors import reciprocal
from repro.tangents import at_angle_

every_aggregation = pytest.mark.parametrize("name", AGGREGATIONS)
# (k, d): singular values where 4 k > d, Cholesky where not
both_paths = pytest.mark.parametrize(
    ("k", "d"), [(1, 3), (3, 5), (1, 8), (3, 40), (16, 64), (16, 65)]
)


def slopes_of(tangents: Tensor, gradient: Tensor) -> Tensor:
    return (tangents.double() @ gradient.double()[..., None]).squeeze(-1).to(tangents.dtype)


def case(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Tangents `(R, k, d)`, gradient `(R, d)`, directional derivatives `(R, k)`."""
    tangents, gradient = draw(*shape, dtype=dtype), draw(shape[0], shape[-1], seed=1, dtype=dtype)
    return tangents, gradient, slopes_of(tangents, gradient)


# Exact special cases


@pytest.mark.parametrize("d", [1, 2, 7])
def test_basis_as_tangents(d: int) -> None:
    basis, gradient = torch.eye(d, dtype=torch.float64)[None], draw(1, d)
    assert torch.equal(sum_(basis, gradient), gradient)
    torch.testing.assert_close(mean(basis, gradient), gradient / d, rtol=1e-15, atol=0.0)
    torch.testing.assert_close(
        orthogonal_projection(basis, gradient), gradient, rtol=1e-14, atol=0.0
    )


def test_sum_and_mean_by_hand() -> None:
    tangents = torch.tensor([[[1.0, 2.0], [3.0, -1.0]]])
    slopes = torch.tensor([[2.0, -1.0]])
    assert sum_(tangents, slopes).tolist() == [[-1.0, 5.0]]
    assert mean(tangents, slopes).tolist() == [[-0.5, 2.5]]


@pytest.mark.parametrize("d", [1, 2, 5, 20, 50])
@pytest.mark.parametrize("extra", [0, 1, 30])
def test_projection_on_everything_is_the_gradient(d: int, extra: int) -> None:
    tangents, gradient, slopes = case(3, d + extra, d, dtype=torch.float32)
    found = orthogonal_projection(tangents, slopes)
    assert found.dtype == torch.float32
    assert_close(found, gradient, rtol=1e-5)


@every_aggregation
@pytest.mark.parametrize(("k", "d"), [(3, 5), (3, 40)])
def test_zero_gradient(name: str, k: int, d: int) -> None:
    tangents, _, _ = case(2, k, d)
    estimate = AGGREGATIONS[name](tangents, torch.zeros(2, k, dtype=torch.float64))
    assert torch.equal(estimate, torch.zeros(2, d, dtype=torch.float64))


@every_aggregation
@pytest.mark.parametrize(("k", "d"), [(3, 5), (3, 40)])
def test_tangents_of_length_zero(name: str, k: int, d: int) -> None:
    zeros = torch.zeros(2, k, d)
    assert torch.equal(AGGREGATIONS[name](zeros, torch.zeros(2, k)), torch.zeros(2, d))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [6, 40, 1_000])
def test_dependent_tangents_project_on_what_they_span(d: int, dtype: torch.dtype) -> None:
    tangents, gradient, _ = case(2, 3, d, dtype=dtype)
    a, b, c = tangents.unbind(1)
    dependent = torch.stack([a, b, c, a, a + b, b - 2 * c, torch.zeros_like(a)], dim=1)
    found = orthogonal_projection(dependent, slopes_of(dependent, gradient))
    expected = torch.stack(
        [project(v, slopes_of(v, g)) for v, g in zip(tangents, gradient, strict=True)]
    )
    assert_close(found, expected, rtol=1e-5 if dtype == torch.float32 else 1e-12)


@every_aggregation
@pytest.mark.parametrize(("shared", "k", "d"), [(False, 3, 5), (False, 3, 40), (True, 3, 40)])
def test_slopes_in_float64_give_estimates_in_the_tangents_type(
    name: str, shared: bool, k: int, d: int
) -> None:
    tangents, _, slopes = case(1 if shared else 2, k, d, dtype=torch.float32)
    expected = AGGREGATIONS[name](tangents, slopes)
    found = AGGREGATIONS[name](tangents, slopes.double())
    assert found.dtype == torch.float32
    assert_close(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("k", "d", "expected"), [(1, 4, False), (1, 3, True), (2, 8, False), (2, 7, True), (9, 3, True)]
)
def test_tangents_are_nearly_dependent_above_a_quarter_of_the_dimensions(
    k: int, d: int, expected: bool
) -> None:
    assert nearly_dependent(torch.empty(5, k, d)) is expected


def test_lengths_are_divided_by_and_zero_is_left() -> None:
    assert reciprocal(torch.tensor([0.0, 0.5, 4.0])).tolist() == [0.0, 2.0, 0.25]


# The naive reference, and the theorems


@both_paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projection_is_that_of_the_explicit_inverse(k: int, d: int, dtype: torch.dtype) -> None:
    tangents, _, slopes = case(4, k, d, dtype=dtype)
    expected = torch.stack([project(v, s) for v, s in zip(tangents, slopes, strict=True)])
    found = orthogonal_projection(tangents, slopes)
    assert found.dtype == dtype
    assert_close(found, expected, rtol=1e-5 if dtype == torch.float32 else 1e-12)


@every_aggregation
@both_paths
def test_estimate_lies_in_the_span(name: str, k: int, d: int) -> None:
    tangents, _, slopes = case(4, k, d)
    assert_in_span(AGGREGATIONS[name](tangents, slopes), tangents)


@both_paths
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projection_is_idempotent(k: int, d: int, dtype: torch.dtype) -> None:
    tangents, _, slopes = case(4, k, d, dtype=dtype)
    rtol = 1e-5 if dtype == torch.float32 else 1e-12
    assert_projection_idempotent(orthogonal_projection, tangents, slopes, rtol)


@both_paths
def test_projection_is_closest(k: int, d: int) -> None:
    tangents, gradient, _ = case(4, k, d)
    assert_projection_closest(orthogonal_projection, tangents, gradient)


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_sum_and_mean_are_not_the_closest(name: str) -> None:
    tangents, gradient, _ = case(4, 3, 5)
    with pytest.raises(AssertionError):
        assert_projection_closest(AGGREGATIONS[name], tangents, gradient)


@both_paths
@pytest.mark.parametrize("spread", [1.0, 1e2, 1e5])
def test_projection_is_invariant_to_tangent_scale(k: int, d: int, spread: float) -> None:
    tangents, _, slopes = case(4, k, d)
    scales = torch.logspace(0.0, 1.0, k, base=spread, dtype=torch.float64) * 3.0
    assert_invariant_to_tangent_scale(orthogonal_projection, tangents, slopes, scales, rtol=1e-10)


@pytest.mark.parametrize(("d", "spread"), [(5, 1e4), (40, 1e2), (500_000, 1e2)])
def test_projection_keeps_short_tangents_in_float32(d: int, spread: float) -> None:
    tangents, _, slopes = case(1, 3, d, dtype=torch.float32)
    scales = torch.tensor([1.0, 1 / spread, spread])
    assert_invariant_to_tangent_scale(orthogonal_projection, tangents, slopes, scales, rtol=1e-4)


@both_paths
def test_projection_depends_on_the_span_alone(k: int, d: int) -> None:
    tangents, gradient, slopes = case(4, k, d)
    mixed = draw(4, k, k, seed=2) @ tangents
    assert_close(
        orthogonal_projection(mixed, slopes_of(mixed, gradient)),
        orthogonal_projection(tangents, slopes),
        rtol=1e-9,
    )


@pytest.mark.parametrize(("name", "power"), [("sum", 2), ("mean", 2), ("orthogonal_projection", 0)])
@pytest.mark.parametrize(("k", "d"), [(3, 5), (3, 40)])
def test_degree_in_the_length_of_all_tangents(name: str, power: int, k: int, d: int) -> None:
    tangents, _, slopes = case(2, k, d)
    longer = AGGREGATIONS[name](4.0 * tangents, 4.0 * slopes)
    assert_close(longer, 4.0**power * AGGREGATIONS[name](tangents, slopes), rtol=1e-12)


@every_aggregation
@pytest.mark.parametrize(("k", "d"), [(3, 5), (3, 40)])
def test_linear_in_the_gradient(name: str, k: int, d: int) -> None:
    tangents, _, slopes = case(2, k, d)
    other = draw(2, k, seed=5)
    aggregate = AGGREGATIONS[name]
    assert_close(
        aggregate(tangents, 2.0 * slopes - other),
        2.0 * aggregate(tangents, slopes) - aggregate(tangents, other),
        rtol=1e-10,
    )


@every_aggregation
@pytest.mark.parametrize(("k", "d"), [(3, 5), (3, 40)])
def test_replicas_are_aggregated_apart(name: str, k: int, d: int) -> None:
    # one replica is degenerate: the others must not feel its fall-back
    tangents, gradient, _ = case(3, k, d)
    tangents[1, 1] = tangents[1, 0]
    slopes = slopes_of(tangents, gradient)
    together = AGGREGATIONS[name](tangents, slopes)
    alone = [AGGREGATIONS[name](tangents[r : r + 1], slopes[r : r + 1])[0] for r in range(3)]
    assert_close(together, torch.stack(alone), rtol=1e-12)


@pytest.mark.parametrize(("k", "d"), [(3, 5), (3, 40)])
def test_a_diverged_replica_spoils_itself_alone(k: int, d: int) -> None:
    tangents, _, slopes = case(2, k, d)
    expected = orthogonal_projection(tangents, slopes)[1]
    slopes[0] = torch.nan
    found = orthogonal_projection(tangents, slopes)
    assert found[0].isnan().all()
    assert_close(found[1], expected, rtol=1e-12)


# The first k tangents of one draw


@every_aggregation
@pytest.mark.parametrize(
    ("num", "d"), [(1, 1), (8, 1), (8, 4), (8, 8), (16, 64), (16, 100), (300, 1_300)]
)
def test_estimates_of_the_first_k_are_those_of_k_alone(name: str, num: int, d: int) -> None:
    tangents, _, slopes = case(2, num, d)
    counts = [k for k in (1, 2, 5, 8, 130, 300) if k <= num]
    found = of_the_first(name, tangents, slopes, counts)
    assert found.shape == (len(counts), 2, d)
    for k, estimate in zip(counts, found, strict=True):
        expected = AGGREGATIONS[name](tangents[:, :k], slopes[:, :k])
        assert_close(estimate, expected, rtol=1e-9)


def test_the_first_k_where_some_replicas_are_ill_conditioned() -> None:
    tangents, gradient, _ = case(3, 6, 60, dtype=torch.float32)
    tangents[1, 3] = tangents[1, 2] * (1 + 1e-7)
    tangents[2, 0] = 0.0
    slopes = slopes_of(tangents, gradient)
    found = of_the_first("orthogonal_projection", tangents, slopes, [1, 3, 4, 6])
    for k, estimate in zip([1, 3, 4, 6], found, strict=True):
        for replica in range(3):
            expected = project_lstsq(tangents[replica, :k], gradient[replica])
            assert_close(estimate[replica], expected, rtol=1e-4)


def project_lstsq(tangents: Tensor, gradient: Tensor) -> Tensor:
    """Projection on the span, from orthonormal vectors that span it."""
    _, singular, right = torch.linalg.svd(tangents.double(), full_matrices=False)
    basis = right[singular > 1e-5 * singular[0]]
    projected: Tensor = basis.mT @ (basis @ gradient.double())
    return projected.to(tangents.dtype)


@every_aggregation
@both_paths
def test_shared_tangents_serve_every_replica(name: str, k: int, d: int) -> None:
    tangents, _, _ = case(1, k, d)
    gradient = draw(5, d, seed=3)
    slopes = gradient @ tangents[0].mT
    found = AGGREGATIONS[name](tangents, slopes)
    expected = AGGREGATIONS[name](tangents.repeat(5, 1, 1), slopes)
    assert_close(found, expected, rtol=1e-9)


@pytest.mark.parametrize("d", [1, 2, 16, 64, 256, 512])
def test_float64_slopes_give_the_gradient_for_as_many_tangents(d: int) -> None:
    tangents, gradient, _ = case(24, d, d, dtype=torch.float32)
    slopes = (tangents.double() @ gradient.double()[..., None]).squeeze(-1)
    assert_close(orthogonal_projection(tangents, slopes), gradient, rtol=1e-5)


def test_float64_slopes_tell_nearly_dependent_tangents_apart() -> None:
    tangents = draw(1, 4, 4, dtype=torch.float32)
    tangents[0, 3] = tangents[0, 2]
    tangents[0, 3, 0] += 2e-7 * tangents[0, 2].norm()
    gradient = draw(1, 4, seed=1, dtype=torch.float32)
    slopes = (tangents.double() @ gradient.double()[..., None]).squeeze(-1)
    assert_close(orthogonal_projection(tangents, slopes), gradient, rtol=1e-5)
    # in float32 the difference of the two is rounding: the projection is on what is left
    few = orthogonal_projection(tangents, slopes.float())
    assert_in_span(few.double(), tangents[:, :3].double(), rtol=1e-5)


@pytest.mark.parametrize("degrees", [1.0, 2.0, 15.0, 179.0])
@pytest.mark.parametrize("d", [16, 64, 128])
def test_nearly_dependent_tangents_lose_no_digits_where_k_are_shared(
    d: int, degrees: float
) -> None:
    counts = [1, d // 4 + 1, d // 2, d - 1]
    tangents = at_angle_(draw(20, d, d, dtype=torch.float32), degrees)
    wide, target = tangents.double(), draw(20, d, seed=5)
    slopes = (wide @ target[..., None]).squeeze(-1)
    found = of_the_first("orthogonal_projection", tangents, slopes, counts)
    for k, estimates in zip(counts, found, strict=True):
        basis, _ = torch.linalg.qr(wide[:, :k].mT)
        closest = (basis @ (basis.mT @ target[..., None])).squeeze(-1)
        # a few roundings of float32: the solution is in float64
        assert_close(estimates.double(), closest, rtol=1e-6)


@pytest.mark.parametrize(("k", "d"), [(63, 64), (64, 64), (66, 64)])
def test_what_a_factor_loses_the_residual_gives_back(k: int, d: int) -> None:
    # a Gram matrix has the square of the tangents' condition: its factor alone is off by 3e-11
    tangents = at_angle_(draw(20, k, d), 15.0)
    gradient = draw(20, d, seed=5)
    slopes = slopes_of(tangents, gradient)
    basis, _ = torch.linalg.qr(tangents.mT)
    closest = (basis @ (basis.mT @ gradient[..., None])).squeeze(-1)
    assert_close(orthogonal_projection(tangents, slopes), closest, rtol=3e-12)
    (found,) = of_the_first("orthogonal_projection", tangents, slopes, [k])
    assert_close(found, closest, rtol=3e-12)


@pytest.mark.parametrize("cached", [1, 2 * 8 * 20, 2**20])
def test_how_many_draws_the_cache_holds_moves_no_estimate(
    cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tangents, _, slopes = case(5, 8, 20)
    expected = of_the_first("orthogonal_projection", tangents, slopes, [2, 8])
    monkeypatch.setattr("repro.aggregation.several.CACHED", cached)
    found = of_the_first("orthogonal_projection", tangents, slopes, [2, 8])
    assert_close(found, expected, rtol=1e-12)


@pytest.mark.parametrize(("device", "parts"), [("cpu", [1] * 5), ("meta", [5])])
def test_draws_are_projected_on_in_parts_on_a_cpu_alone(
    device: str, parts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []

    def at_once(tangents: Tensor, slopes: Tensor, counts: list[int]) -> Tensor:
        found.append(len(tangents))
        return tangents.new_empty(len(counts), len(tangents), tangents.shape[-1])

    monkeypatch.setattr("repro.aggregation.several.CACHED", 8 * 20)
    monkeypatch.setattr("repro.aggregation.several._projections_at_once", at_once)
    tangents = torch.empty(5, 8, 20, device=device)
    estimates = of_the_first("orthogonal_projection", tangents, tangents[..., 0], [2, 8])
    assert estimates.shape == (2, 5, 20)
    assert found == parts


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("k", "d"), [(1, 8), (2, 32), (4, 6), (9, 6)])
def test_half_precision_is_projected_on_in_single(k: int, d: int, dtype: torch.dtype) -> None:
    tangents, gradient = draw(3, k, d).to(dtype), draw(3, d).to(dtype)
    slopes = (tangents.float() @ gradient.float()[..., None]).squeeze(-1)
    found = orthogonal_projection(tangents, slopes)
    assert found.dtype == dtype
    torch.testing.assert_close(found, orthogonal_projection(tangents.float(), slopes).to(dtype))


def test_half_precision_is_factorised_in_single() -> None:
    tangents, slopes = draw(2, 4, 6).bfloat16(), draw(2, 4).bfloat16()
    found = of_the_first("orthogonal_projection", tangents, slopes, [2, 4])
    assert found.dtype == torch.bfloat16
    for k, estimates in zip([2, 4], found, strict=True):
        expected = orthogonal_projection(tangents[:, :k].float(), slopes[:, :k])
        torch.testing.assert_close(estimates, expected.bfloat16())

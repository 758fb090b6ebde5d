"""The theorems, on every estimator; exact cases; a naive reference at equal seed; costs; bad input.

Monte Carlo tests draw many estimates in one call, as replicas at the same point with seeds 0, 1, ...
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import pytest
import torch
from asserts import (
    assert_close,
    assert_descent_direction,
    assert_in_span,
    assert_replicas_independent,
    assert_unbiased,
    assert_variance,
    flatten,
)
from references import draw, forward_gradient, generators, gradient
from torch import Tensor

import repro
from repro.aggregation import AGGREGATIONS
from repro.autodiff import Objective, Params, Recorded, leaves
from repro.autodiff.sweeps import EAGER_CALLS
from repro.estimators import (
    ESTIMATORS,
    Backpropagation,
    Cost,
    Estimator,
    ForwardGradient,
    build,
)
from repro.models import Network
from repro.models import build as build_network
from repro.problems.closed_form import beale, rosenbrock
from repro.tangents import DISTRIBUTIONS

DRAWS = 4_000
D = 6
FORWARD = [
    ForwardGradient(num_tangents=k, aggregation=a, tangents=t, mode=m)  # type: ignore[arg-type]
    for a, t, m, k in itertools.product(
        AGGREGATIONS, DISTRIBUTIONS, ("forward", "simulated"), (1, 2, D)
    )
]
EVERY: list[Estimator] = [Backpropagation(), *FORWARD]
CLIPPED = [
    ForwardGradient(k, a, clip=0.5) for a in ("mean", "orthogonal_projection") for k in (1, 2)
]


def name(estimator: Estimator) -> str:
    if not isinstance(estimator, ForwardGradient):
        return type(estimator).__name__
    parts = (estimator.aggregation, estimator.tangents, estimator.mode, estimator.num_tangents)
    return "-".join(map(str, parts)) + ("" if estimator.clip is None else "-clipped")


every_estimator = pytest.mark.parametrize("estimator", EVERY, ids=name)
every_forward_gradient = pytest.mark.parametrize("estimator", FORWARD, ids=name)
forward_or_clipped = pytest.mark.parametrize("estimator", [*FORWARD, *CLIPPED], ids=name)


# One objective of a dict of two leaves, d = 6; smooth, no symmetry, not quadratic.

WEIGHT, BIAS = draw(2, 2), draw(2, seed=1)
POINT = torch.cat([WEIGHT.flatten(), BIAS])


def function(point: Tensor) -> Tensor:
    a, b, c, d, e, f = point.unbind(-1)
    return (a * b).sin() + (c - d * e).square() + (f / 2.0).exp() * a + 0.5 * e * f


def objective(params: Params) -> Tensor:
    return function(flatten(params))


def stacked(count: int) -> Params:
    return {"weight": WEIGHT.repeat(count, 1, 1), "bias": BIAS.repeat(count, 1)}


def estimates(estimator: Estimator, count: int = DRAWS) -> Tensor:
    return flatten(estimator(objective, stacked(count), generators(count)).gradient)


GRADIENT = gradient(function, POINT)


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


# Theorems


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


# Exact special cases


@pytest.mark.parametrize("k", [D, D + 1, 3 * D])
@pytest.mark.parametrize("mode", ["forward", "simulated"])
@pytest.mark.parametrize("tangents", ["normal", "sphere"])
def test_projection_on_d_or_more_tangents_is_the_gradient(k: int, mode: str, tangents: str) -> None:
    estimator = ForwardGradient(k, "orthogonal_projection", tangents, mode=mode)  # type: ignore[arg-type]
    assert_close(estimates(estimator, 20), GRADIENT.expand(20, D), rtol=1e-9)


@pytest.mark.parametrize(("d", "k"), [(2, 2), (5, 5), (5, 9), (20, 20), (20, 40), (50, 60)])
def test_projection_is_the_gradient_in_float32(d: int, k: int) -> None:
    point = draw(1, d, dtype=torch.float32)
    estimate = ForwardGradient(k, "orthogonal_projection")(
        on_tensor(rosenbrock), point, generators(1)
    )
    exact = gradient(rosenbrock, point[0].double())[None]
    assert_close(flatten(estimate.gradient), exact, rtol=1e-5)


def float32_errors(estimator: Estimator, d: int, num: int) -> Tensor:
    """Return the relative errors of so many estimates on Rosenbrock's function in float32, `(num,)`."""
    point = draw(num, d, dtype=torch.float32)
    found = flatten(estimator(on_tensor(rosenbrock), point, generators(num)).gradient).double()
    wide = point.double().requires_grad_()
    (exact,) = torch.autograd.grad(rosenbrock(wide).sum(), wide)
    errors: Tensor = (found - exact).norm(dim=1) / exact.norm(dim=1)
    return errors


@pytest.mark.parametrize("d", [2, 16, 64])
@pytest.mark.parametrize("excess", ["none", "one", "all"])
def test_a_simulated_projection_is_the_gradient_in_every_draw(d: int, excess: str) -> None:
    k = d + {"none": 0, "one": 1, "all": d}[excess]
    errors = float32_errors(ForwardGradient(k, "orthogonal_projection", mode="simulated"), d, 500)
    backpropagated = float32_errors(Backpropagation(), d, 500)
    assert (errors <= backpropagated + 1e-6).all()


@pytest.mark.parametrize(("d", "most"), [(2, 0.01), (16, 0.05), (64, 0.1)])
def test_a_forward_projection_in_float32_misses_the_gradient_as_rarely_as_it_says(
    d: int, most: float
) -> None:
    square = float32_errors(ForwardGradient(d, "orthogonal_projection"), d, 1_000)
    assert (square > 1e-5).double().mean() <= most
    assert square.median() < 2e-6
    assert square.max() < 0.1
    tall = float32_errors(ForwardGradient(2 * d, "orthogonal_projection"), d, 1_000)
    assert (tall > 1e-5).double().mean() <= 0.002  # of two variables the derivative itself cancels
    assert tall.median() < 2e-7


def test_derivatives_come_back_in_the_precision_of_the_parameters() -> None:
    point = draw(2, 4, dtype=torch.float32)
    modes: tuple[Literal["forward", "simulated"], ...] = ("forward", "simulated")
    for mode in modes:
        estimator = ForwardGradient(4, "orthogonal_projection", mode=mode)
        found = estimator(on_tensor(rosenbrock), point, generators(2))
        assert found.directional_derivatives is not None
        assert found.directional_derivatives.dtype == flatten(found.gradient).dtype == torch.float32


@pytest.mark.parametrize("mode", ["forward", "simulated"])
def test_basis_as_tangents(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DISTRIBUTIONS, "normal", lambda out, _: out.copy_(torch.eye(D)))
    for aggregation, multiple in (("sum", 1.0), ("mean", 1 / D), ("orthogonal_projection", 1.0)):
        estimator = ForwardGradient(D, aggregation, mode=mode)  # type: ignore[arg-type]
        assert_close(estimates(estimator, 2), multiple * GRADIENT.expand(2, D), rtol=1e-12)


@pytest.mark.parametrize("mode", ["forward", "simulated"])
@pytest.mark.parametrize("num_tangents", [2, D, D + 1])
def test_the_projection_does_not_depend_on_the_angle(mode: str, num_tangents: int) -> None:
    # turning tangents towards the first leaves their span (Flügel et al. 2024, Section 4.3)
    normal = ForwardGradient(num_tangents, "orthogonal_projection", mode=mode)  # type: ignore[arg-type]
    expected = flatten(normal(objective, stacked(2), generators(2)).gradient)
    for angle in (15.0, 45.0, 90.0, 120.0):
        turned = dataclasses.replace(normal, tangents="angle", angle=angle)
        found = flatten(turned(objective, stacked(2), generators(2)).gradient)
        assert_close(found, expected, rtol=1e-9)


@every_estimator
def test_zero_gradient(estimator: Estimator) -> None:
    estimate = estimator(lambda p: (0.0 * flatten(p)).sum(1) + 3.0, stacked(2), generators(2))
    assert torch.equal(estimate.value, torch.full((2,), 3.0, dtype=torch.float64))
    assert torch.equal(flatten(estimate.gradient), torch.zeros(2, D, dtype=torch.float64))


# The naive reference, and agreement between ways to compute


@pytest.mark.parametrize(
    "estimator",
    # an explicit inverse of d tangents is the naive version's weakness
    [
        e
        for e in (*FORWARD, *CLIPPED)
        if (e.aggregation, e.num_tangents) != ("orthogonal_projection", D)
    ],
    ids=name,
)
def test_naive_reference_at_equal_seed(estimator: ForwardGradient) -> None:
    generator = torch.Generator().manual_seed(3)
    tangents = torch.empty(estimator.num_tangents, D, dtype=torch.float64)
    DISTRIBUTIONS[estimator.tangents](tangents, generator)
    expected = forward_gradient(function, POINT, tangents, estimator.aggregation, estimator.clip)
    found = flatten(estimator(objective, stacked(1), generators(1, seed=3)).gradient)
    assert_close(found, expected[None], rtol=1e-10)


@every_estimator
def test_one_generator_serves_one_set_of_parameters(estimator: Estimator) -> None:
    single: Params = {"weight": WEIGHT, "bias": BIAS}
    one = estimator(
        lambda p: function(torch.cat([x.flatten() for x in leaves(p)])), single, generators(1)[0]
    )
    many = estimator(objective, stacked(1), generators(1))
    assert isinstance(one.gradient, dict)
    assert {n: leaf.shape for n, leaf in one.gradient.items()} == {"weight": (2, 2), "bias": (2,)}
    assert one.value.shape == ()
    torch.testing.assert_close(one.value, many.value[0])
    assert_close(
        torch.cat([x.flatten() for x in leaves(one.gradient)]), flatten(many.gradient)[0], 1e-12
    )
    if isinstance(estimator, ForwardGradient):
        assert one.directional_derivatives is not None
        assert one.directional_derivatives.shape == (estimator.num_tangents,)


@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 0), (1, 0, 0)])
@pytest.mark.parametrize("mode", ["forward", "simulated"])
@pytest.mark.parametrize(
    ("k", "aggregation"),
    [(1, "mean"), (2, "sum"), (1, "orthogonal_projection"), (3, "orthogonal_projection")],
)
def test_replicas_that_share_a_generator_share_its_draws(
    k: int, aggregation: Any, mode: Any, seeds: tuple[int, ...]
) -> None:
    estimator = ForwardGradient(k, aggregation, mode=mode)
    params = {"weight": draw(3, 2, 2), "bias": draw(3, 2, seed=1)}
    sources = generators(2)
    found = estimator(objective, params, [sources[seed] for seed in seeds])
    assert found.directional_derivatives is not None
    for replica, seed in enumerate(seeds):
        own = {name: leaf[replica : replica + 1] for name, leaf in params.items()}
        alone = estimator(objective, own, generators(1, seed=seed))
        assert_close(flatten(found.gradient)[replica], flatten(alone.gradient)[0], rtol=1e-12)
        assert alone.directional_derivatives is not None
        slopes = found.directional_derivatives[:, replica]
        assert_close(slopes, alone.directional_derivatives[:, 0], rtol=1e-12)


@every_estimator
def test_parameters_and_value_are_left_as_they_are(estimator: Estimator) -> None:
    params = stacked(2)
    before = flatten(params).clone()
    estimate = estimator(objective, params, generators(2))
    assert torch.equal(flatten(params), before)
    torch.testing.assert_close(estimate.value, objective(params))
    assert not any(leaf.requires_grad for leaf in (estimate.value, *leaves(estimate.gradient)))


def on_tensor(stacked_function: Callable[[Tensor], Tensor]) -> Objective:
    def result(params: Params) -> Tensor:
        assert isinstance(params, Tensor)
        return stacked_function(params)

    return result


def on_images(network: Network) -> Objective:
    images, labels = draw(2, 5, 1, 6, 6), torch.tensor([0, 1, 2, 1, 0])

    def loss(params: Params) -> Tensor:
        assert isinstance(params, dict)
        return -network(params, images).log_softmax(-1)[:, range(5), labels].mean(1)

    return loss


MLP = build_network("mlp", (1, 6, 6), 3, width=7)
CNN = build_network("cnn", (1, 6, 6), 3, channels=2, padding=1)
CPU = torch.device("cpu")
OBJECTIVES: dict[str, tuple[Objective, Params]] = {
    "beale": (on_tensor(beale), draw(2, 2)),
    "rosenbrock": (on_tensor(rosenbrock), draw(2, 10)),
    "mlp": (on_images(MLP), MLP.start(generators(2), torch.float64, CPU)),
    "cnn": (on_images(CNN), CNN.start(generators(2), torch.float64, CPU)),
}


@pytest.mark.parametrize("problem", OBJECTIVES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("k", "chunk_size"), [(1, None), (2, None), (3, 2)])
def test_forward_and_simulated_agree(
    problem: str, aggregation: str, k: int, chunk_size: int | None
) -> None:
    function_, params = OBJECTIVES[problem]
    forward = ForwardGradient(k, aggregation, chunk_size=chunk_size)  # type: ignore[arg-type]
    one = forward(function_, params, generators(2))
    other = dataclasses.replace(forward, mode="simulated")(function_, params, generators(2))
    assert_close(flatten(one.gradient), flatten(other.gradient), rtol=1e-9)
    torch.testing.assert_close(one.value, other.value, rtol=1e-12, atol=0.0)
    assert one.directional_derivatives is not None
    assert other.directional_derivatives is not None
    assert one.directional_derivatives.shape == other.directional_derivatives.shape == (k, 2)
    assert_close(one.directional_derivatives.mT, other.directional_derivatives.mT, rtol=1e-9)


def test_directional_derivatives_are_reported_before_clipping() -> None:
    plain = ForwardGradient(3)(objective, stacked(50), generators(50))
    clipped = ForwardGradient(3, clip=0.5)(objective, stacked(50), generators(50))
    assert plain.directional_derivatives is not None
    assert clipped.directional_derivatives is not None
    assert torch.equal(plain.directional_derivatives, clipped.directional_derivatives)
    assert plain.directional_derivatives.abs().max() > 0.5
    loose = ForwardGradient(3, clip=1e6)(objective, stacked(50), generators(50))
    assert torch.equal(flatten(loose.gradient), flatten(plain.gradient))


def test_backpropagation_at_the_start_of_beale() -> None:
    # by hand at x = 0, y = 1/2: 2 (1.5 (y - 1) + 2.25 (y^2 - 1) + 2.625 (y^3 - 1)), and 0
    found = Backpropagation()(on_tensor(beale), torch.tensor([[0.0, 0.5]])).gradient
    assert_close(flatten(found), torch.tensor([[-9.46875, 0.0]]), rtol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (Backpropagation(), (-3.433947, -0.807885)),
        (ForwardGradient(), (-7.7891839, 1.4831781)),
        (ForwardGradient(3), (-9.4514567, -0.4379540)),
        (ForwardGradient(2, "sum", "rademacher"), (-6.867894, -1.61577)),
        (ForwardGradient(1, "orthogonal_projection", "sphere"), (-3.1653447, 0.6027294)),
        (ForwardGradient(2, tangents="sphere", clip=1.0), (-1.3788309, 0.3107716)),
    ],
)
def test_frozen_values(estimator: Estimator, expected: tuple[float, ...]) -> None:
    start = torch.tensor([[1.5, -0.1]], dtype=torch.float64)
    found = flatten(estimator(on_tensor(beale), start, generators(1)).gradient)
    torch.testing.assert_close(
        found[0], torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=0.0
    )


# What it costs, and what it is called


def test_costs() -> None:
    assert Backpropagation().cost == Cost(forward_passes=3.0, tangents=0)
    assert ForwardGradient().cost == Cost(forward_passes=3.0, tangents=1)
    assert ForwardGradient(16).cost == Cost(forward_passes=33.0, tangents=16)
    assert ForwardGradient(16, mode="simulated").cost == Cost(forward_passes=3.0, tangents=16)


@pytest.mark.parametrize("perturb", ["weights", "activations"])
def test_sixteen_tangents_share_a_value_and_cost_less_than_sixteen_steps(perturb: str) -> None:
    one, many = (ForwardGradient(k, perturb=perturb).cost for k in (1, 16))  # type: ignore[arg-type]
    assert many.tangents == 16 * one.tangents
    assert one.forward_passes < many.forward_passes < 16 * one.forward_passes


@every_estimator
def test_estimates_state_their_cost(estimator: Estimator) -> None:
    assert estimator(objective, stacked(2), generators(2)).cost == estimator.cost


def test_public_names() -> None:
    assert repro.Backpropagation is Backpropagation
    assert repro.ForwardGradient is ForwardGradient
    assert build("forward_gradient", num_tangents=4) == ForwardGradient(4)
    assert build("backpropagation") == Backpropagation()
    assert list(ESTIMATORS) == ["backpropagation", "forward_gradient"]
    assert set(repro.__all__) <= set(dir(repro))
    with pytest.raises(AttributeError, match="no attribute 'Backprop'"):
        repro.Backprop  # noqa: B018


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tangents": 0}, r"`num_tangents` must be a whole number of at least 1. Found 0."),
        ({"num_tangents": -3}, r"`num_tangents` must be a whole number of at least 1. Found -3."),
        ({"num_tangents": 2.5}, r"`num_tangents` must be a whole number of at least 1. Found 2.5."),
        ({"num_tangents": "3"}, r"`num_tangents` must be a whole number of at least 1. Found '3'."),
        ({"num_tangents": True}, r"`num_tangents` must be a whole number .* Found True."),
        ({"num_tangents": None}, r"`num_tangents` must be a whole number .* Found None."),
        (
            {"chunk_size": 0},
            r"`chunk_size` must be a whole number of at least 1, or None. Found 0.",
        ),
        ({"clip": 0.0}, r"`clip` must be a number, positive and finite, or None. Found 0.0."),
        ({"clip": -1.0}, r"`clip` must be a number, positive and finite, or None. Found -1.0."),
        (
            {"clip": float("inf")},
            r"`clip` must be a number, positive and finite, or None. Found inf.",
        ),
        (
            {"clip": float("nan")},
            r"`clip` must be a number, positive and finite, or None. Found nan.",
        ),
        ({"clip": "1"}, r"`clip` must be a number, positive and finite, or None. Found '1'."),
        ({"clip": True}, r"`clip` must be a number, positive and finite, or None. Found True."),
        ({"aggregation": ["mean"]}, r"`aggregation` must be one of: .*Found \['mean'\]."),
        ({"tangents": ["normal"]}, r"`tangents` must be one of: .*Found \['normal'\]."),
        (
            {"tangents": "angle", "angle": "15"},
            r"`angle` must be in \(0, 180\) degrees. Found '15'.",
        ),
        (
            {"aggregation": "median"},
            r"`aggregation` must be one of: sum, mean, orth.*Found 'median'.",
        ),
        (
            {"tangents": "cauchy"},
            r"`tangents` must be one of: normal, rademacher, sph.*Found 'cauchy'.",
        ),
        ({"perturb": "inputs"}, r"`perturb` must be one of: .*Found 'inputs'."),
        ({"tangents": "angle"}, r"`angle` must be in \(0, 180\) degrees. Found None."),
        ({"angle": 15.0}, r"`angle` belongs to the tangents 'angle'. Found tangents 'normal'."),
        ({"mode": "reverse"}, r"`mode` must be one of: forward, simulated. Found 'reverse'."),
    ],
)
def test_settings_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("forward_gradient", **options)


def test_unknown_estimator() -> None:
    with pytest.raises(
        ValueError,
        match=r"Unknown estimator 'adam'. Choose from: backpropagation, forward_gradient.",
    ):
        build("adam")


@pytest.mark.parametrize("estimator", [Backpropagation(), *FORWARD[:3]], ids=name)
def test_parameters_in_a_list_are_refused(estimator: Estimator) -> None:
    point: Params = [torch.ones(3)]  # type: ignore[assignment]
    with pytest.raises(
        TypeError,
        match=r"^Parameters are .* Found list: of a module give `dict\(module\.named_parameters\(\)\)`\.$",
    ):
        estimator(lambda p: leaves(p)[0].sum(), point, generators(1)[0])
    with pytest.raises(
        TypeError,
        match=r"^Parameters are .* Found list: of a module give `dict\(module\.named_parameters\(\)\)`\.$",
    ):
        estimator(lambda p: leaves(p)[0].sum(1), point, generators(1))


@pytest.mark.parametrize("mode", ["forward", "simulated"])
@pytest.mark.parametrize("k", [1, 2])
def test_generators_parameters_and_objective_must_agree(mode: str, k: int) -> None:
    estimator = ForwardGradient(k, mode=mode)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"one leading entry per generator, \(3, ...\).*\(2, 2, 2\)"
    ):
        estimator(objective, stacked(2), generators(3))
    with pytest.raises(ValueError, match=r"one value a replica, \(2,\). Found \(2, 6\): reduce"):
        estimator(flatten, stacked(2), generators(2))
    with pytest.raises(
        ValueError, match=r"must return a scalar. Found shape \(1,\): reduce it, as by"
    ):
        estimator(lambda p: leaves(p)[0].sum()[None], torch.ones(3), generators(1)[0])


@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient()], ids=name)
def test_one_generator_goes_with_one_value(estimator: Estimator) -> None:
    with pytest.raises(ValueError, match=r"must return a scalar. Found shape \(3,\)"):
        estimator(lambda p: leaves(p)[0] ** 2, torch.ones(3), generators(1)[0])


@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient()], ids=name)
def test_replicas_have_a_value_each(estimator: Estimator) -> None:
    """Of a sum over replicas the gradients are right, and the value is no replica's."""
    with pytest.raises(ValueError, match=r"one value a replica, \(2,\)\. Found \(\): reduce all"):
        estimator(lambda p: leaves(p)[0].sum(), torch.ones(2, 3), generators(2))


@pytest.mark.parametrize("generator", [None, 0, 1, "ab", (1, 2)])
def test_a_seed_is_no_generator(generator: Any) -> None:
    for estimator in (ForwardGradient(), *([Backpropagation()] if generator is not None else [])):
        with pytest.raises(TypeError, match=r"`generator` is a torch.Generator, or one a replica"):
            estimator(lambda p: leaves(p)[0].sum(), torch.ones(3), generator)


def test_an_aggregation_of_ones_own_is_asked_for_one_tangent_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(AGGREGATIONS, "signs", lambda v, d: (d[..., None] * v).sum(-2).sign())
    for num in (1, 2):
        estimator = ForwardGradient(num, "signs")  # type: ignore[arg-type]
        estimate = estimator(lambda p: p.square().sum(), torch.ones(5), generators(1)[0])
        assert set(estimate.gradient.abs().tolist()) == {1.0}
        assert not estimator.recordable  # it may look at values


def test_generators_draw_on_the_device_of_the_parameters() -> None:
    class Elsewhere(torch.Generator):
        device = torch.device("cuda")

    with pytest.raises(
        ValueError,
        match=r"^A generator draws on the device of the parameters, cpu\. Found one on cuda: ",
    ):
        ForwardGradient()(lambda p: leaves(p)[0].sum(), torch.ones(3), Elsewhere())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, r"^Expected one parameter or more\. Found none"),
        (torch.ones(0), r"^Expected one parameter or more\. Found none"),
        (
            torch.ones(3, dtype=torch.int64),
            r"of floating-point numbers\. Found torch\.int64: convert",
        ),
        (torch.ones(3, dtype=torch.complex64), r"Found torch\.complex64: convert"),
        (torch.ones(3).to_sparse(), r"^Parameters are dense .* Found torch\.sparse_coo: convert"),
        ({"a": {"b": torch.ones(3)}}, r"a dict with a value of type dict: nested"),
        ({"a": 1.0}, r"a dict with a value of type float: nested ones go into one dict"),
    ],
)
@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient(2)], ids=name)
def test_what_has_no_gradient_is_no_parameter(
    estimator: Estimator, params: Params, message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        estimator(lambda p: leaves(p)[0].sum(), params, generators(1)[0])


def test_tangents_are_of_one_type() -> None:
    params = {"a": torch.ones(2), "b": torch.ones(2, dtype=torch.float64)}
    with pytest.raises(
        ValueError, match=r"Found torch\.float32 on cpu, torch\.float64 on cpu: convert"
    ):
        ForwardGradient()(objective, params, generators(1)[0])
    assert Backpropagation()(objective_of_two, params, generators(1)[0]).value == 4.0


def objective_of_two(params: Params) -> Tensor:
    return sum((leaf.double().sum() for leaf in leaves(params)), torch.zeros(()))


SIMULATED = ForwardGradient(2, mode="simulated")
every_way = pytest.mark.parametrize(
    "estimator", [Backpropagation(), ForwardGradient(1), ForwardGradient(2), SIMULATED], ids=name
)


@every_way
@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda p: p.sum().item(), r"^The objective must return a tensor.* Found float: drop"),
        (lambda p: (p.sum(), p), r"^The objective must return a tensor.* Found tuple: drop"),
        (
            lambda p: p.detach().sum(),
            r"^The objective must depend on its parameters.* compiled objective, give the original\.$",
        ),
        (lambda p: torch.as_tensor(p.numpy()).sum(), r"^The objective must depend on its .*NumPy"),
        (lambda p: p.sum() * 1j, r"must return real numbers\. Found torch\.complex64: take such"),
        (lambda p: (p > 0).sum(), r"^The objective must depend on its parameters"),
        (
            lambda p: torch.ones(3).sum(),
            r"as `functional_call\(model, params, inputs\)` does and `model\(inputs\)` does not;",
        ),
        (  # as of a module's own parameters
            lambda p: torch.ones(3, requires_grad=True).sum(),
            r"as `functional_call\(model, params, inputs\)` does and `model\(inputs\)` does not;",
        ),
        (torch.ones(3), r"^The objective is a function .* comes before them\. Found Tensor: give"),
        (lambda p: p.mul_(2.0).sum(), r"overwrites them in place: use operations that return"),
    ],
)
def test_an_objective_that_cannot_be_differentiated_is_one_line(
    estimator: Estimator, function: Callable[[Params], Tensor], message: str
) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as raised:
        estimator(function, torch.ones(3), generators(1)[0])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient(1), ForwardGradient(2)])
def test_a_formula_that_looks_at_a_value_is_one_line(estimator: Estimator) -> None:
    """What is replayed would go on with the branch that it was recorded in."""

    def looks(params: Params) -> Tensor:
        (point,) = leaves(params)
        return point.square().sum(-1) if point.sum() > 0 else -point.sum(-1)

    objective = Recorded(looks)
    for _ in range(EAGER_CALLS):
        estimator(objective, torch.ones(2, 3), generators(2))
    with pytest.raises(ValueError, match=r"^A function with a formula must .* use `torch\.where`"):
        estimator(objective, torch.ones(2, 3), generators(2))


def test_a_derivative_in_the_objective_that_is_zero_is_one_line() -> None:
    model = torch.nn.Linear(3, 1)
    params = {name: p.detach() for name, p in model.named_parameters()}

    def penalty(params: Params) -> Tensor:
        def loss(inner: Params) -> Tensor:
            outputs: Tensor = torch.func.functional_call(model, inner, (torch.ones(8, 3),))  # type: ignore[arg-type]
            return torch.nn.functional.mse_loss(outputs, torch.zeros(8, 1))

        slopes = torch.func.grad(loss)(params)
        return sum((leaf.square().sum() for leaf in leaves(slopes)), torch.zeros(()))

    with pytest.raises(ValueError, match=r"\(`torch\.func\.grad`\) are zero .*`mode='simulated'`"):
        ForwardGradient()(penalty, params, generators(1)[0])
    simulated = ForwardGradient(mode="simulated")(penalty, params, generators(1)[0])
    assert simulated.value > 0


class Square(torch.autograd.Function):
    """A function as users write them, without a rule for forward mode."""

    @staticmethod
    def forward(ctx: Any, point: Tensor) -> Tensor:
        ctx.save_for_backward(point)
        return point * point

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (point,) = ctx.saved_tensors
        found: Tensor = 2 * point * slope
        return found


@pytest.mark.parametrize("num_tangents", [1, 2])
def test_a_function_without_a_rule_for_forward_mode_is_one_line(num_tangents: int) -> None:
    def squares(params: Params) -> Tensor:
        return Square.apply(params).sum()  # type: ignore[no-any-return, no-untyped-call]

    with pytest.raises(
        ValueError, match=r"^In forward mode a .* Found one without: write its `jvp`"
    ):
        ForwardGradient(num_tangents)(squares, torch.ones(3), generators(1)[0])
    simulated = ForwardGradient(num_tangents, mode="simulated")
    assert simulated(squares, torch.ones(3), generators(1)[0]).value == 3.0


def slope_of_a_curve(params: Params, derive: Callable[..., Tensor]) -> Tensor:
    """Return the squared slopes of a curve in its inputs, as objectives of differential equations have them."""
    return derive(lambda x: (leaves(params)[0] * x).sin().sum(), torch.arange(3.0)).square().sum()


def by_autograd(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.autograd.grad(function(x.requires_grad_()), x, create_graph=True)[0]


def by_func_jvp(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.stack([torch.func.jvp(function, (x,), (e,))[1] for e in torch.eye(3)])


@pytest.mark.parametrize("num_tangents", [1, 2])
def test_an_objective_may_take_derivatives_by_torch_func(num_tangents: int) -> None:
    def by_func_grad(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        return torch.func.grad(function)(x)  # type: ignore[no-any-return]

    point = torch.tensor([0.5, 1.0, 1.5])
    forward = ForwardGradient(num_tangents)(
        lambda p: slope_of_a_curve(p, by_func_grad), point, generators(1)[0]
    )
    simulated = ForwardGradient(num_tangents, mode="simulated")(
        lambda p: slope_of_a_curve(p, by_autograd), point, generators(1)[0]
    )
    assert_close(leaves(forward.gradient)[0], leaves(simulated.gradient)[0], rtol=1e-4)


@pytest.mark.parametrize(
    ("num_tangents", "derive"), [(1, by_autograd), (2, by_autograd), (1, by_func_jvp)]
)
def test_derivatives_inside_that_forward_mode_cannot_follow_are_one_line(
    num_tangents: int, derive: Callable[..., Tensor]
) -> None:
    with pytest.raises(
        ValueError, match=r"^In forward mode an .* must do so by `torch\.func\.grad`"
    ):
        ForwardGradient(num_tangents)(
            lambda p: slope_of_a_curve(p, derive), torch.ones(3), generators(1)[0]
        )


@every_way
def test_an_estimate_holds_no_graph(estimator: Estimator) -> None:
    """As it would of an objective that records one, for derivatives of its own."""
    params: Params = {"w": torch.nn.Parameter(torch.ones(3))}
    estimate = estimator(
        torch.enable_grad()(lambda p: p["w"].square().sum()),
        params,
        generators(1)[0],
    )
    found = [estimate.value, *leaves(estimate.gradient)]
    if estimate.directional_derivatives is not None:
        found.append(estimate.directional_derivatives)
    assert not any(tensor.requires_grad for tensor in found)


def test_under_inference_mode_no_slope_is_taken_for_zero() -> None:
    with (
        torch.inference_mode(),
        pytest.raises(
            ValueError, match=r"nor compute it under `torch\.no_grad` or `torch\.inference_mode`"
        ),
    ):
        ForwardGradient()(lambda p: leaves(p)[0].square().sum(), torch.ones(3), generators(1)[0])


@pytest.mark.parametrize("estimator", [Backpropagation(), SIMULATED], ids=name)
def test_backward_passes_need_the_graph_that_no_grad_leaves_out(estimator: Estimator) -> None:
    with pytest.raises(ValueError, match=r"nor compute it under `torch\.no_grad` or"):
        estimator(torch.no_grad()(objective_of_two), torch.ones(3), generators(1)[0])


@pytest.mark.parametrize("num_tangents", [1, 2])
def test_parameters_that_share_memory_are_copied_first(num_tangents: int) -> None:
    shared = torch.ones(3).expand(2, 3)
    with pytest.raises(ValueError, match=r"^Parameters, .* as `\.expand\(\)` makes it: use"):
        ForwardGradient(num_tangents)(stacked_squares, shared, generators(2))
    assert ForwardGradient(num_tangents)(
        stacked_squares, shared.clone(), generators(2)
    ).value.tolist() == [3.0, 3.0]


def stacked_squares(params: Params) -> Tensor:
    return leaves(params)[0].square().sum(1)


@every_way
def test_a_single_number_is_a_parameter(estimator: Estimator) -> None:
    params = {"scale": torch.tensor(2.0), "more": torch.ones(2)}
    estimate = estimator(
        lambda p: p["scale"] * p["more"].sum(),  # type: ignore[index]
        params,
        generators(1)[0],
    )
    assert [leaf.shape for leaf in leaves(estimate.gradient)] == [(), (2,)]


@every_way
def test_a_gradient_has_the_type_of_the_parameters(estimator: Estimator) -> None:
    """With the types that a user writes, whom a type checker follows into the package (`py.typed`)."""
    assert isinstance(estimator, Backpropagation | ForwardGradient)
    model = torch.nn.Linear(3, 1)
    inputs = torch.ones(8, 3)

    def loss(params: Mapping[str, Tensor]) -> Tensor:
        outputs: Tensor = torch.func.functional_call(model, dict(params), (inputs,))
        return outputs.square().mean()

    def height(point: Tensor) -> Tensor:
        return point.square().sum()

    whole = estimator(height, torch.ones(3), generators(1)[0])
    assert whole.gradient.shape == (3,)
    of_module = estimator(loss, dict(model.named_parameters()), generators(1)[0])
    read_only = estimator(loss, MappingProxyType(dict(model.named_parameters())), generators(1)[0])
    for name, leaf in model.named_parameters():
        assert of_module.gradient[name].shape == leaf.shape
        assert torch.equal(of_module.gradient[name], read_only.gradient[name])


def test_dropout_is_the_same_for_all_tangents_of_an_estimate() -> None:
    def dropped(params: Params) -> Tensor:
        return torch.nn.functional.dropout(leaves(params)[0].square(), 0.5).sum()

    point = draw(32)
    estimate = ForwardGradient(48, "orthogonal_projection")(dropped, point, generators(1)[0])
    # kept by all of them or by none
    kept = leaves(estimate.gradient)[0] / (4.0 * point)
    assert_close(kept, kept.round(), rtol=1e-9)
    assert set(kept.round().tolist()) == {0.0, 1.0}
    with pytest.raises(ValueError, match=r"Use `chunk_size=None`\.$"):
        ForwardGradient(4, chunk_size=2)(dropped, point, generators(1)[0])


def test_batch_norm_gets_copies_of_its_statistics() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).double()
    inputs, params = draw(8, 3), {n: p.detach() for n, p in model.named_parameters()}

    def capturing(params: Params) -> Tensor:
        return torch.func.functional_call(model, params, (inputs,)).pow(3).sum()  # type: ignore[arg-type, no-any-return]

    def copying(params: Params) -> Tensor:
        buffers = {n: b.clone() for n, b in model.named_buffers()}
        return torch.func.functional_call(model, (params, buffers), (inputs,)).pow(3).sum()  # type: ignore[arg-type, no-any-return]

    with pytest.raises(ValueError, match=r"Hand it copies: `functional_call\(model, \(params, "):
        ForwardGradient(3)(capturing, params, generators(1)[0])
    forward, simulated = (
        estimator(copying, params, generators(1)[0])
        for estimator in (ForwardGradient(3), ForwardGradient(3, mode="simulated"))
    )
    for one, other in zip(leaves(forward.gradient), leaves(simulated.gradient), strict=True):
        assert_close(one, other, rtol=1e-9)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="PyTorch without oneDNN")  # type: ignore[no-untyped-call]
def test_an_operation_without_forward_mode_is_named() -> None:
    model = torch.nn.LSTM(2, 2)

    def recurrent(params: Params) -> Tensor:
        return torch.func.functional_call(model, params, (torch.ones(3, 2),))[0].sum()  # type: ignore[arg-type, no-any-return]

    params = {n: p.detach() for n, p in model.named_parameters()}
    with pytest.raises(
        ValueError, match=r"no forward mode .* objective \(mkldnn_rnn_layer\)\. Use"
    ):
        ForwardGradient()(recurrent, params, generators(1)[0])


@pytest.mark.parametrize("num_tangents", [1, 2])
def test_an_operation_that_will_never_have_forward_mode_is_named_too(num_tangents: int) -> None:
    model = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(3, 2))

    def normalised(params: Params) -> Tensor:
        return torch.func.functional_call(model, params, (torch.ones(4, 3),)).square().sum()  # type: ignore[arg-type, no-any-return]

    params = {n: p.detach() for n, p in model.named_parameters()}
    with pytest.raises(ValueError, match=r"no forward mode .* objective \(div_out\)\. Use"):
        ForwardGradient(num_tangents)(normalised, params, generators(1)[0])

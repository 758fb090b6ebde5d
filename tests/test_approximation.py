"""Approximation runs: theory within standard errors, the gradient where the span is everything, bounded memory."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from repro import aggregation, approximation
from repro.approximation import approximate, draws_at_once
from repro.protocol import (
    Approximation,
    ClosedForm,
    Method,
    RunSpec,
    settings,
    use,
)
from repro.results import Record
from repro.training import Interrupted

CPU = torch.device("cpu")
KINDS = {
    "mean": ("mean", "normal"),
    "sum": ("sum", "normal"),
    "projection": ("orthogonal_projection", "normal"),
    "mean, unit": ("mean", "unit"),
}


def spec(
    name: str, dimension: int, counts: tuple[int, ...], draws: int = 200, **options: Any
) -> RunSpec:
    how, tangents = KINDS.get(name, ("mean", "normal"))
    estimator = use("forward_gradient", **{"aggregation": how, "tangents": tangents, **options})
    return RunSpec(
        "s", "published", "full", "e", "report",
        ClosedForm(f"ones {dimension}", "coordinate_sum", (0.0,), dimension),
        Method(name, estimator, use("sgd")), settings(), 0, Approximation(draws, counts),
    )  # fmt: skip


def curves(record: Record) -> dict[str, tuple[float, ...]]:
    return {curve.metric: curve.values for curve in record.curves}


def run(names: tuple[str, ...], *arguments: Any, **more: Any) -> dict[str, dict[str, Any]]:
    records = approximate([spec(name, *arguments, **more) for name in names], CPU)
    return {record.spec.method.name: curves(record) for record in records}


def expected_cosine(k: int, n: int) -> float:
    """E[cos] of the projection on k of n directions (a chi ratio)."""
    if k >= n:
        return 1.0
    g = math.lgamma
    return math.exp(g((k + 1) / 2) + g(n / 2) - g(k / 2) - g((n + 1) / 2))


@pytest.mark.parametrize("dimension", [1, 2, 8, 64, 256])
def test_moments_are_those_of_theory(dimension: int) -> None:
    counts, draws = (1, 2, 4, 16, 64), 400
    found = run(tuple(KINDS), dimension, counts, draws)
    for index, k in enumerate(counts):
        cosine = found["projection"]["cosine"][index]
        error = found["projection"]["cosine_std"][index] / math.sqrt(draws)
        assert abs(cosine - expected_cosine(k, dimension)) <= 4 * error + 1e-6, (k, dimension)
        # E|g|^2 = (n + k + 1) / k |nabla f|^2 of the mean of normal tangents
        mean = found["mean"]
        square = mean["norm_ratio"][index] ** 2 + mean["norm_ratio_std"][index] ** 2
        spread = 2 * mean["norm_ratio"][index] * mean["norm_ratio_std"][index]
        spread += mean["norm_ratio_std"][index] ** 2 * 3
        assert abs(square - (dimension + k + 1) / k) <= 4 * spread / math.sqrt(draws) + 1e-6
        # mean and sum are one direction, k times as long
        assert found["sum"]["cosine"][index] == pytest.approx(mean["cosine"][index], abs=1e-6)
        ratio = found["sum"]["norm_ratio"][index] / mean["norm_ratio"][index]
        assert ratio == pytest.approx(k, rel=1e-5)
        # of one tangent the length does not matter to the direction
        if k == 1:
            alone = found["mean, unit"]["cosine"][index]
            assert alone == pytest.approx(mean["cosine"][index], abs=1e-6)


@pytest.mark.parametrize("power", range(9))
def test_projection_on_as_many_tangents_as_dimensions_is_the_gradient(power: int) -> None:
    counts = tuple(2**p for p in range(10))
    found = run(("projection",), 2**power, counts, 30)["projection"]
    full = [
        error for k, error in zip(counts, found["relative_error"], strict=True) if k >= 2**power
    ]
    assert full
    assert max(full) <= 1e-5


def test_estimates_descend_and_lie_in_their_span() -> None:
    for name, found in run(tuple(KINDS), 16, (1, 2, 8, 32)).items():
        assert min(found["cosine_min"]) >= -1e-6, name
        assert max(found["outside_span_max"]) <= 1e-5, name
    (only,) = run(("mean",), 128, (1, 2), 4).values()
    assert "outside_span_max" not in only


def test_a_run_alone_sees_the_draws_of_its_group() -> None:
    together = run(tuple(KINDS), 16, (1, 4, 32))
    for name, found in together.items():
        (alone,) = run((name,), 16, (1, 4, 32)).values()
        for metric, values in alone.items():
            assert values == pytest.approx(found[metric], rel=1e-6, abs=1e-9), (name, metric)


def test_angles_leave_the_projection_alone_and_cost_the_mean_its_cosine() -> None:
    specs = [
        dataclasses.replace(
            spec(name, 64, (4, 16, 64), 100, tangents="angle", angle=angle),
            method=Method(
                f"{name} {angle}",
                use("forward_gradient", aggregation=KINDS[name][0], tangents="angle", angle=angle),
                use("sgd"),
            ),
        )
        for name in ("mean", "projection")
        for angle in (15.0, 60.0, 90.0)
    ]
    found = {r.spec.method.name: curves(r)["cosine"] for r in approximate(specs, CPU)}
    for index in range(3):
        first = found["projection 15.0"][index]
        assert found["projection 90.0"][index] == pytest.approx(first, abs=2e-5)
        means = [found[f"mean {angle}"][index] for angle in (15.0, 60.0, 90.0)]
        assert means == sorted(means)


class Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the most numbers that a new tensor has."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numbers = max(self.numbers, out.numel())
        return out


@pytest.mark.parametrize(("dimension", "counts"), [(4, (1, 8)), (64, (1, 16)), (512, (1, 4))])
def test_no_tensor_is_larger_than_a_batch(
    monkeypatch: pytest.MonkeyPatch, dimension: int, counts: tuple[int, ...]
) -> None:
    monkeypatch.setattr(approximation, "MAX_NUMBERS", 2_048)
    assert draws_at_once(dimension, counts[-1]) * dimension * counts[-1] <= 2_048
    whole = run(("mean", "projection"), dimension, counts, 300)
    with Largest() as largest:  # type: ignore[no-untyped-call]
        again = run(("mean", "projection"), dimension, counts, 300)
    assert largest.numbers <= 2_048
    assert again == whole
    # one draw is the least, however large
    assert draws_at_once(4_096, 16) == 1


def test_a_new_aggregation_needs_no_more_than_its_definition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first_alone(tangents: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        return tangents[:, 0] * slopes[:, :1]

    monkeypatch.setitem(aggregation.AGGREGATIONS, "first", first_alone)
    (found,) = approximate([spec("first", 8, (1, 4), aggregation="first")], CPU)
    values = curves(found)["cosine"]
    assert values[0] == values[1] == pytest.approx(run(("mean",), 8, (1, 4))["mean"]["cosine"][0])


def test_bad_runs_and_interruption() -> None:
    with pytest.raises(ValueError, match="differ in their method only"):
        approximate([spec("mean", 4, (1,)), spec("mean", 8, (1,))], CPU)
    with pytest.raises(ValueError, match=r"`tangents` must be one of.*Found 'cauchy'"):
        approximate([spec("mean", 4, (1,), tangents="cauchy")], CPU)
    with pytest.raises(ValueError, match=r"Expected tangents made of normals. Found 'rademacher'"):
        approximate([spec("mean", 4, (1,), tangents="rademacher")], CPU)
    with pytest.raises(ValueError, match="needs a `forward_gradient` with an aggregation out of"):
        approximate([spec("mean", 4, (1,), aggregation="median")], CPU)
    for counts in ((), (2, 1), (1, 1), (0, 1)):
        with pytest.raises(ValueError, match="must be increasing numbers of at least 1"):
            Approximation(10, counts)
    with pytest.raises(ValueError, match="`num_draws` must be at least 2"):
        Approximation(1, (1,))
    with pytest.raises(Interrupted):
        approximate([spec("mean", 4, (1,))], CPU, should_stop=lambda: True)

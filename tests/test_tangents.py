"""Tangents: `E[v] = 0`, `E[v v^T] = I`, and the same numbers for the same seed for good."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from asserts import assert_unbiased
from torch import Tensor

from repro.tangents import DISTRIBUTIONS, choose, shape_of

every_distribution = pytest.mark.parametrize("name", DISTRIBUTIONS)
DRAWS = 20_000


def filled(name: str, *shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    out = torch.full(shape, math.nan, dtype=dtype)
    result = DISTRIBUTIONS[name](out, torch.Generator().manual_seed(seed))
    assert result is out  # in place: the caller's buffer is the result
    return out


@every_distribution
@pytest.mark.parametrize("dimension", [1, 5])
def test_mean_is_zero(name: str, dimension: int) -> None:
    assert_unbiased(filled(name, DRAWS, dimension), torch.zeros(dimension))


@every_distribution
@pytest.mark.parametrize("dimension", [1, 5])
def test_second_moment_is_the_identity(name: str, dimension: int) -> None:
    tangents = filled(name, DRAWS, dimension, seed=1)
    products = (tangents[:, :, None] * tangents[:, None]).flatten(1)
    assert_unbiased(products, torch.eye(dimension, dtype=torch.float64).flatten())


def test_second_moment_check_can_fail() -> None:
    halves = filled("normal", DRAWS, 2) / 2
    with pytest.raises(AssertionError, match="standard errors"):
        assert_unbiased(halves.square(), torch.ones(2))


def test_rademacher_are_signs() -> None:
    assert filled("rademacher", 50, 7).abs().eq(1.0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sphere_has_radius_root_d(dtype: torch.dtype) -> None:
    lengths = filled("sphere", 50, 7, dtype=dtype).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full((50,), math.sqrt(7.0), dtype=dtype))


@every_distribution
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_seed_decides(name: str, dtype: torch.dtype) -> None:
    one, again, other = (filled(name, 3, 40, seed=seed, dtype=dtype) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.dtype == dtype


@every_distribution
def test_the_generator_moves_on(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (DISTRIBUTIONS[name](torch.empty(2, 20), generator) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("normal", [[1.5409961, -0.2934289, -2.1787894], [0.5684313, -1.0845223, -1.3985955]]),
        ("rademacher", [[-1.0, -1.0, 1.0], [-1.0, -1.0, -1.0]]),
        ("sphere", [[0.9941640, -0.1893038, -1.4056323], [0.5296527, -1.0105359, -1.3031827]]),
    ],
)
def test_frozen_values(name: str, expected: list[list[float]]) -> None:
    torch.testing.assert_close(
        filled(name, 2, 3), torch.tensor(expected, dtype=torch.float64), rtol=0.0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("normal", [-1.1258398, -1.1523602, -0.2505783]),
        ("rademacher", [-1.0, -1.0, 1.0]),
        ("sphere", [-1.0255523, -1.0497103, -0.2282576]),
    ],
)
def test_frozen_values_of_longer_float32_tangents(name: str, expected: list[float]) -> None:
    # 16 entries or more take another path through PyTorch's normal_
    found = filled(name, 1, 20, dtype=torch.float32)[0, :3]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0.0, atol=1e-5)


# Tangents at an angle


ANGLES = (1e-3, 15.0, 30.0, 90.0, 120.0, 179.0)


def at_angle(degrees: float, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    out = torch.full(shape, math.nan, dtype=dtype)
    return choose("angle", degrees)(out, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("degrees", ANGLES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 2), (4, 64), (64, 64)])
def test_tangents_at_an_angle_to_the_first(degrees: float, shape: tuple[int, int]) -> None:
    tangents = at_angle(degrees, *shape)
    torch.testing.assert_close(tangents.norm(dim=-1), torch.ones(shape[0], dtype=torch.float64))
    cosines = tangents[1:] @ tangents[0]
    expected = torch.full((shape[0] - 1,), math.cos(math.radians(degrees)), dtype=torch.float64)
    torch.testing.assert_close(cosines, expected, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("degrees", ANGLES)
def test_the_angle_holds_in_float32_where_rejections_are_short(degrees: float) -> None:
    tangents = at_angle(degrees, 4, 2, dtype=torch.float32)
    cosines = tangents[1:] @ tangents[0]
    torch.testing.assert_close(
        cosines, torch.full((3,), math.cos(math.radians(degrees))), rtol=0.0, atol=5e-7
    )


@pytest.mark.parametrize("degrees", ANGLES[1:-1])
def test_turning_the_tangents_leaves_their_span(degrees: float) -> None:
    turned = at_angle(degrees, 3, 7)
    normal = filled("normal", 3, 7)
    left = torch.linalg.lstsq(normal.mT, turned.mT).solution
    torch.testing.assert_close((left.mT @ normal), turned, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(turned[0], normal[0] / normal[0].norm())


def test_the_other_tangents_are_uniform_around_the_first() -> None:
    generator = torch.Generator().manual_seed(0)
    fill = choose("angle", 60.0)
    draws = torch.stack(
        [fill(torch.empty(2, 3, dtype=torch.float64), generator) for _ in range(DRAWS // 4)]
    )
    # E[v_2 v_1^T] = cos(60 deg) E[v_1 v_1^T] = I / 6
    products = (draws[:, 1, :, None] * draws[:, 0, None]).flatten(1)
    assert_unbiased(products, torch.eye(3, dtype=torch.float64).flatten() / 6)


def test_an_angle_may_be_a_number_of_any_library() -> None:
    angles: tuple[Any, ...] = (60.0, 60, np.float32(60.0))
    drawn = [
        choose("angle", angle)(torch.empty(2, 3), torch.Generator().manual_seed(0))
        for angle in angles
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


def test_angles_that_cannot_be() -> None:
    for angle in (None, True, 0.0, 180.0, -15.0, math.nan):
        with pytest.raises(ValueError, match=r"`angle` must be in \(0, 180\) degrees. Found"):
            choose("angle", angle)
    with pytest.raises(
        ValueError, match=r"`angle` belongs to the tangents 'angle'. Found tangents 'normal'"
    ):
        choose("normal", 30.0)
    with pytest.raises(
        ValueError, match=r"Tangents at an angle need at least 2 dimensions. Found 1"
    ):
        at_angle(30.0, 2, 1)
    with pytest.raises(ValueError, match=r"need at least 2 dimensions. Found 1"):
        shape_of("angle", 30.0)(torch.ones(3, 2, 1))  # of a batch as well


def test_whole_degrees_are_an_angle() -> None:
    whole, decimal = (choose("angle", degrees) for degrees in (60, 60.0))
    found, expected = (
        fill(torch.empty(4, 9), torch.Generator().manual_seed(0)) for fill in (whole, decimal)
    )
    assert torch.equal(found, expected)


def test_unit_tangents_are_normals_of_length_one() -> None:
    unit = choose("unit")(torch.empty(4, 9), torch.Generator().manual_seed(5))
    normal = choose("normal")(torch.empty(4, 9), torch.Generator().manual_seed(5))
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(4))
    torch.testing.assert_close(unit, normal / normal.norm(dim=-1, keepdim=True))


@pytest.mark.parametrize(
    "kind", [("normal", None), ("sphere", None), ("unit", None), ("angle", 40.0)]
)
def test_batches_of_normals_become_what_each_draw_becomes(kind: tuple[str, float | None]) -> None:
    normals = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    together = shape_of(*kind)(normals.clone())
    for draw, expected in zip(normals, together, strict=True):
        torch.testing.assert_close(shape_of(*kind)(draw.clone()), expected)


def test_what_is_not_made_of_normals() -> None:
    with pytest.raises(ValueError, match=r"made of normals. Found 'rademacher'"):
        shape_of("rademacher")
    with pytest.raises(ValueError, match=r"in \(0, 180\) degrees. Found 180.0"):
        shape_of("angle", 180.0)
    with pytest.raises(ValueError, match="`angle` belongs to the tangents 'angle'"):
        shape_of("unit", 30.0)

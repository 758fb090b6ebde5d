"""How few examples give themselves away, and that many do not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from repro.audit import detect
from studies.facts.rike2022 import CURVES


def printed(row: str) -> list[float]:
    return [float(value) for value in CURVES[row].split()]


def sizes(values: list[float], *, certain: bool) -> list[float]:
    return [t.examples for t in detect.in_losses(values) if t.certain is certain]


@pytest.mark.parametrize("size", [3, 8, 16, 32, 48, 200])
@pytest.mark.parametrize("decimals", [4, 6, 15])
def test_accuracies_over_few_examples_have_their_denominator(size: int, decimals: int) -> None:
    generator = np.random.default_rng(size)
    right = generator.integers(0, size + 1, 40)
    right[:3] = (1, size - 1, size // 2)  # coprime to the size, so that no smaller denominator does
    found = list(detect.in_accuracies(np.round(right / size, decimals)))
    if len(set(right[(right > 0) & (right < size)])) < 3:
        assert not found
    else:
        assert [trace.examples for trace in found] == [size]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("size", "decimals"), [(10_000, 4), (10_000, 15), (5_000, 4), (10_000, 2)])
def test_accuracies_over_a_whole_split_have_none(seed: int, size: int, decimals: int) -> None:
    generator = np.random.default_rng(seed)
    values = np.round(generator.binomial(size, 0.93, 20) / size, decimals)
    assert list(detect.in_accuracies(values)) == []


def test_percentages_are_accuracies() -> None:
    (trace,) = detect.in_accuracies([93.75, 87.5, 81.25, 68.75, 100.0])
    assert trace.examples == 16
    assert trace.certain


@pytest.mark.parametrize("values", [
    [91.2, 91.4, 91.0, 92.2, 90.8, 91.6, 33.2], [100 * v for v in (0.912, 0.914, 0.91, 0.922, 0.332, 0.908)],
])  # fmt: skip
def test_rounded_percentages_are_no_multiples_of_their_last_digit(values: list[float]) -> None:
    assert list(detect.in_accuracies(values)) == []
    assert list(detect.in_accuracies([round(v / 100, 3) for v in values])) == []


def test_the_cap_of_clamped_losses_is_seen_in_what_was_printed() -> None:
    assert sizes(printed("unclipped"), certain=True) == [16]  # 12.95 is 13/16 of 15.94


@pytest.mark.parametrize("row", ["R8", "R10", "R12"])
def test_tiny_losses_are_sixteenths_of_the_epsilon_in_what_was_printed(row: str) -> None:
    assert 16 in sizes(printed(row), certain=True)


@pytest.mark.parametrize("row", ["R6", "R8", "R10", "R12"])
def test_zeros_between_large_losses_are_seen(row: str) -> None:
    traces = [t for t in detect.in_losses(printed(row)) if "exactly 0" in t.text]
    assert len(traces) == 1
    assert traces[0].certain
    assert math.isnan(traces[0].examples)


def test_a_loss_that_reaches_zero_and_stays_small_is_no_trace() -> None:
    values = [*(0.5**i for i in range(40)), 0.0, 0.0, 1e-12, 0.0]
    assert not any("exactly 0" in t.text for t in detect.in_losses(values))


@pytest.mark.parametrize("seed", range(20))
def test_losses_in_general_are_multiples_of_nothing(seed: int) -> None:
    generator = np.random.default_rng(seed)
    for scale in (1.0, 14.0, 1e-6):
        drawn = (generator.uniform(0.5, 1.0, 60) * scale).astype(np.float32)
        values = [float(v) for v in drawn]
        assert sizes(values, certain=True) == []
        rounded = [float(f"{v:.4g}") for v in values]
        assert sizes(rounded, certain=True) == []


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("seed", range(5))
def test_a_mean_over_few_examples_scatters_as_few_do(size: int, seed: int) -> None:
    """Heavy-tailed losses, as of a trained network: what is said is an upper bound, and a useful one."""
    generator = np.random.default_rng(seed)
    values = [float(generator.exponential(1.0, size).__pow__(2).mean()) for _ in range(60)]
    (examples,) = sizes(values, certain=False)
    assert size <= examples <= 40 * size


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_over_ten_thousand_examples_scatters_as_many_do(seed: int) -> None:
    generator = np.random.default_rng(seed)
    values = [float((generator.exponential(1.0, 10_000) ** 2).mean()) for _ in range(60)]
    (examples,) = sizes(values, certain=False)
    assert examples > 10_000


def test_a_descent_without_scatter_does_not_scatter() -> None:
    assert detect.fluctuation([0.9**i for i in range(50)]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("values", [[], [1.0], [math.nan] * 20, [-1.0, 2.0, 3.0], [1.0] * 7])
def test_too_little_says_nothing(values: list[float]) -> None:
    assert list(detect.in_losses(values)) == []
    assert list(detect.in_accuracies(values)) == []
    assert len(values) > 7 or math.isnan(detect.fluctuation(values))

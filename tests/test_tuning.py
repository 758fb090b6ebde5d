"""`repro.stats.tuning` against naive searches, enumeration, opda itself and, for coverage, simulation."""

import math
from collections.abc import Callable
from itertools import permutations, product

import numpy as np
import numpy.typing as npt
import pytest
from opda.nonparametric import EmpiricalDistribution
from scipy.stats import qmc  # type: ignore[import-untyped, unused-ignore]

from repro.stats import (
    Settled,
    TuningCurve,
    best_so_far,
    ranking_settled,
    tuning_curve,
    winner_at,
)

Vector = npt.NDArray[np.float64]

SCORES = [0.7, 0.9, 0.4, 0.8, 0.4, 0.2, 0.6, 0.3]


def rows(curve: TuningCurve) -> list[list[float]]:
    return [values.tolist() for values in (curve.budgets, curve.low, curve.estimate, curve.high)]


def coarse_scores(seed: int, num: int = 7) -> list[float]:
    """Return scores with many ties."""
    return [float(x) for x in np.random.default_rng(seed).integers(0, 5, num)]


# What happened


@pytest.mark.parametrize("seed", range(20))
def test_shorter_searches_are_the_first_trials(seed: int) -> None:
    scores = coarse_scores(seed)
    shorter = [scores[:m] for m in range(1, len(scores) + 1)]
    assert best_so_far(scores).tolist() == [min(first) for first in shorter]
    assert winner_at(scores).tolist() == [first.index(min(first)) for first in shorter]


def test_the_winner_has_the_best_score() -> None:
    assert np.array_equal(np.array(SCORES)[winner_at(SCORES)], best_so_far(SCORES))


@pytest.mark.parametrize(
    ("scores", "best", "winners"),
    [
        ([0.5], [0.5], [0]),
        ([2.0, 2.0, 2.0], [2.0, 2.0, 2.0], [0, 0, 0]),  # of equal trials the earliest
        ([3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0, 1, 2]),
        ([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], [0, 0, 0]),
    ],
)
def test_special_searches(scores: list[float], best: list[float], winners: list[int]) -> None:
    assert best_so_far(scores).tolist() == best
    assert winner_at(scores).tolist() == winners


def test_the_order_of_earlier_trials_moves_no_later_budget() -> None:
    later = best_so_far(SCORES)[3:].tolist()
    for first in permutations(SCORES[:4]):
        assert best_so_far([*first, *SCORES[4:]])[3:].tolist() == later


# What to expect


@pytest.mark.parametrize("seed", range(8))
def test_estimate_is_the_median_over_all_searches_of_the_sample(seed: int) -> None:
    scores = coarse_scores(seed, num=5)
    expected = []
    for m in range(1, 6):
        best = sorted(min(trials) for trials in product(scores, repeat=m))
        expected.append(best[(len(best) - 1) // 2])  # the lower middle, as a quantile is defined
    assert tuning_curve(scores).estimate.tolist() == expected


@pytest.mark.parametrize("num", [2, 6, 12])  # opda takes the upper middle of 12
def test_estimate_of_one_trial_is_the_lower_median(num: int) -> None:
    curve = tuning_curve(np.arange(num, 0, -1), confidence=0.5)
    assert curve.estimate[0] == num // 2


@pytest.mark.parametrize("confidence", [0.5, 0.95])
def test_band_is_opdas(confidence: float) -> None:
    scores = np.random.default_rng(3).standard_normal(6)
    lower_cdf, _, upper_cdf = EmpiricalDistribution.confidence_bands(
        scores, confidence, a=-5.0, b=5.0, generator=np.random.default_rng(0), n_jobs=1
    )
    curve = tuning_curve(scores, confidence, lower=-5.0, upper=5.0)
    assert curve.confidence == confidence
    assert curve.budgets.tolist() == [1, 2, 3, 4, 5, 6]
    budgets = curve.budgets
    assert np.array_equal(curve.low, upper_cdf.quantile_tuning_curve(budgets, minimize=True))
    assert np.array_equal(curve.high, lower_cdf.quantile_tuning_curve(budgets, minimize=True))


@pytest.mark.parametrize("confidence", [0.01, 0.5, 0.95])
def test_one_trial_bounds_nothing(confidence: float) -> None:
    unbounded = tuning_curve([0.5], confidence)
    assert rows(unbounded) == [[1], [-math.inf], [0.5], [math.inf]]
    bounded = tuning_curve([0.5], confidence, lower=0.0, upper=1.0)
    assert rows(bounded) == [[1], [0.0], [0.5], [1.0]]


def test_curve_of_a_constant_is_that_constant_or_an_end_of_the_scores() -> None:
    curve = tuning_curve([0.4] * 8, lower=0.0, upper=1.0)
    assert curve.estimate.tolist() == [0.4] * 8
    assert curve.low.tolist() == [0.4, *[0.0] * 7]
    assert curve.high.tolist() == [0.4] * 8


def test_scores_may_lie_at_the_ends() -> None:
    # a loss may be 0, and a trial that diverged has the worst score
    curve = tuning_curve([0.0, 0.5, 1.0], confidence=0.5, lower=0.0, upper=1.0)
    assert curve.estimate.tolist() == [0.5, 0.0, 0.0]
    assert ranking_settled([0.0, 1.0], [1.0, 0.5], lower=0.0, upper=1.0).observed_from == 1


def test_curve_forgets_the_order_of_the_trials() -> None:
    assert rows(tuning_curve(SCORES)) == rows(tuning_curve(SCORES[::-1]))


def test_curve_never_rises_and_lies_within_its_band() -> None:
    for confidence in (0.5, 0.95):
        curve = tuning_curve(SCORES, confidence, lower=0.0)
        for values in (curve.low, curve.estimate, curve.high):
            assert np.all(values[1:] <= values[:-1])
        assert np.all((curve.low <= curve.estimate) & (curve.estimate <= curve.high))


def test_curve_follows_a_change_of_unit() -> None:
    curve = tuning_curve(SCORES, lower=0.0, upper=1.0)
    logs = tuning_curve(np.log(SCORES), upper=0.0)
    assert np.array_equal(logs.estimate, np.log(curve.estimate))
    assert np.array_equal(logs.high, np.log(curve.high))


def test_writing_to_a_curve_leaves_the_next_one_alone() -> None:
    curve = tuning_curve(SCORES)
    expected = rows(curve)
    for values in (curve.budgets, curve.low, curve.high):
        values[:] = 0
    assert rows(tuning_curve(SCORES)) == expected


# Coverage: 16 trials, whose score has a known distribution; N searches, and four standard errors of
# a share around the stated confidence.

NUM_SEARCHES = 1000
NUM_TRIALS = 16


def independent(rng: np.random.Generator) -> Vector:
    return rng.random(NUM_TRIALS)


def sobol(rng: np.random.Generator) -> Vector:
    points: Vector = qmc.Sobol(1, scramble=True, rng=rng).random(NUM_TRIALS)
    return points[:, 0]


def score(u: Vector, worst: float) -> Vector:
    """Return the score at `u`, uniform: a valley off the centre, capped where trials diverge."""
    return np.minimum(np.abs(u - 0.3), worst)


def true_curve(worst: float) -> Vector:
    share = 1 - 0.5 ** (1 / np.arange(1, NUM_TRIALS + 1))  # of trials at or below the median best
    # Up to 0.3 from the lowest point the valley takes in both sides, from there only one.
    return np.minimum(np.where(share <= 0.6, share / 2, share - 0.3), worst)


@pytest.mark.parametrize("worst", [1.0, 0.2])  # no trial diverges; three in five do
@pytest.mark.parametrize("confidence", [0.5, 0.95])
@pytest.mark.parametrize("draw", [independent, sobol])
def test_band_covers_the_whole_curve_at_least_as_often_as_it_says(
    draw: Callable[[np.random.Generator], Vector], confidence: float, worst: float
) -> None:
    rng = np.random.default_rng(2022)
    truth = true_curve(worst)
    covered = 0
    for _ in range(NUM_SEARCHES):
        curve = tuning_curve(score(draw(rng), worst), confidence, lower=0.0, upper=1.0)
        covered += bool(np.all((curve.low <= truth) & (truth <= curve.high)))
    standard_error = math.sqrt(confidence * (1 - confidence) / NUM_SEARCHES)
    assert covered / NUM_SEARCHES > confidence - 4 * standard_error


@pytest.mark.parametrize("level", [0.05, 0.11, 0.25, 0.5])
def test_sobol_trials_vary_less_than_independent_ones(level: float) -> None:
    rng = np.random.default_rng(2023)
    counts = [int(np.sum(score(sobol(rng), 1.0) <= level)) for _ in range(NUM_SEARCHES)]
    share = min(2 * level, level + 0.3)
    # The mean is that of independent trials, within four standard errors of it (which are not wider
    # than those of a binomial); the variance is below the binomial one.
    binomial_variance = NUM_TRIALS * share * (1 - share)
    tolerance = 4 * math.sqrt(binomial_variance / NUM_SEARCHES)
    assert abs(np.mean(counts) - NUM_TRIALS * share) < tolerance
    assert np.var(counts) < binomial_variance


# Two methods


def naive_observed_from(a: list[float], b: list[float]) -> int | None:
    signs = [(min(a[:m]) > min(b[:m])) - (min(a[:m]) < min(b[:m])) for m in range(1, len(a) + 1)]
    if signs[-1] == 0:
        return None
    return next((m for m in range(1, len(a)) if set(signs[m - 1 :]) == {signs[-1]}), None)


@pytest.mark.parametrize("seed", range(40))
def test_observed_from_is_where_the_sign_last_changed(seed: int) -> None:
    a, b = coarse_scores(seed), coarse_scores(1000 + seed)
    settled = ranking_settled(a, b)
    assert settled.observed_from == naive_observed_from(a, b)
    best = min(a) - min(b)
    assert settled.better == ("" if best == 0 else "a" if best < 0 else "b")


@pytest.mark.parametrize(
    ("a", "b", "better", "observed_from"),
    [
        ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], "a", 1),
        ([3.0, 1.5, 2.0], [2.0, 2.5, 2.5], "a", 2),
        ([3.0, 3.0, 1.0], [2.0, 2.0, 2.0], "a", None),  # comes ahead at the last budget
        ([3.0, 1.0, 1.0], [2.0, 1.0, 1.0], "", None),  # equal in the end
        ([2.0, 1.0, 0.0], [2.0, 2.0, 2.0], "a", 2),  # a tie is not ahead
        ([1.0], [2.0], "a", None),  # one budget shows no staying
    ],
)
def test_observed_ranking_by_hand(
    a: list[float], b: list[float], better: str, observed_from: int | None
) -> None:
    settled = ranking_settled(a, b)
    assert (settled.better, settled.observed_from) == (better, observed_from)


def test_methods_far_apart_are_certain_as_far_as_the_trials_reach() -> None:
    low, high = np.arange(16) / 100, 1 + np.arange(16) / 100
    assert ranking_settled(low, high) == Settled("a", 1, "a", 1, 1, reach=1)
    assert ranking_settled(high, low) == Settled("b", 1, "b", 1, 1, reach=1)
    assert ranking_settled(low, high, 0.9) == Settled("a", 1, "a", 1, 2, reach=2)


def test_certainty_at_small_budgets_may_contradict_the_search() -> None:
    a = [2.0 + i / 100 for i in range(15)] + [0.0]
    b = [1.0 + i / 100 for i in range(16)]
    assert ranking_settled(a, b) == Settled("a", None, "b", 1, 1, reach=1)


def test_overlapping_methods_are_never_certain() -> None:
    settled = ranking_settled(SCORES, [x - 0.01 for x in SCORES])
    assert settled == Settled("b", 1, "", None, None, reach=1)


@pytest.mark.parametrize("gap", [0.0, 0.4, 0.8, 1.2])
def test_certainty_is_that_of_two_curves_of_half_the_risk(gap: float) -> None:
    a = np.random.default_rng(5).random(16)
    b = a[::-1] + gap
    settled = ranking_settled(a, b, 0.9)
    curve_a, curve_b = tuning_curve(a, 0.95), tuning_curve(b, 0.95)
    apart = curve_a.budgets[curve_a.high < curve_b.low].tolist()
    assert settled.certain_better == ("a" if apart else "")
    assert settled.certain_from == (apart[0] if apart else None)
    assert settled.certain_to == (apart[-1] if apart else None)
    assert settled.reach == 2 == np.count_nonzero(np.isfinite(curve_a.low))


@pytest.mark.parametrize(("num", "reach"), [(1, 0), (2, 0), (16, 1), (32, 3)])
def test_few_trials_reach_few_budgets(num: int, reach: int) -> None:
    settled = ranking_settled(np.arange(num), 100.0 + np.arange(num))
    assert settled.reach == reach
    assert settled.certain_to == (reach or None)


# Bad input


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], r"`scores` must be a vector of at least one .* shape \(0,\); pass one number a trial"),
        ([[1.0, 2.0]], r"found shape \(1, 2\)"),
        ([0.1, math.nan], "must be finite, found nan at position 1; give a diverged trial the fin"),
        ([math.inf], "must be finite, found inf at position 0"),
    ],
)
@pytest.mark.parametrize("ask", [best_so_far, winner_at, tuning_curve])
def test_scores_are_finite_vectors(
    ask: Callable[[object], object], scores: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ask(scores)


def test_a_bad_method_is_named() -> None:
    with pytest.raises(ValueError, match="`scores_a` must be finite, found nan"):
        ranking_settled([math.nan], [1.0])
    with pytest.raises(ValueError, match=r"`scores_b` must lie within \[0.0, inf\], found -1.0"):
        ranking_settled([1.0], [-1.0], lower=0.0)


def test_methods_have_equal_budgets() -> None:
    with pytest.raises(
        ValueError, match="equal budget, found 2 trials in `scores_a` and 1 in `scores_b`; pass the"
    ):
        ranking_settled([1.0, 2.0], [1.0])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_confidence_lies_between_zero_and_one(confidence: float) -> None:
    message = f"strictly between 0 and 1, found {confidence}; "
    with pytest.raises(ValueError, match=message):
        tuning_curve(SCORES, confidence)
    with pytest.raises(ValueError, match=message):
        ranking_settled(SCORES, SCORES, confidence)


@pytest.mark.parametrize(
    ("lower", "upper", "message"),
    [
        (1.0, 0.0, "`lower` must be below `upper`, found lower=1.0 and upper=0.0; pass the ends"),
        (0.5, 0.5, "found lower=0.5 and upper=0.5"),
        (math.nan, None, "found lower=nan and upper=inf"),
        (0.3, None, r"must lie within \[0.3, inf\], found 0.2 at position 5; widen `lower` and"),
        (None, 0.8, r"must lie within \[-inf, 0.8\], found 0.9 at position 1"),
    ],
)
def test_scores_lie_between_ends_in_order(
    lower: float | None, upper: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tuning_curve(SCORES, lower=lower, upper=upper)
    with pytest.raises(ValueError, match=message):
        ranking_settled(SCORES, SCORES, lower=lower, upper=upper)

"""`repro.stats` against scipy, closed forms and, for coverage, simulation."""

import itertools
import math
from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pytest
from scipy import stats as scipy_stats  # type: ignore[import-untyped, unused-ignore]

from repro.stats import (
    Interval,
    binomial_interval,
    bootstrap_interval,
    first_crossing,
    holm,
    mean_interval,
    median_interval,
    paired_p_value,
    ratio_interval,
    sign_p_value,
    slope_interval,
    smallest_two_sided_p,
    welch_interval,
)

A = [0.91, 0.87, 0.95, 0.90, 0.88, 0.93]
B = [0.89, 0.88, 0.91, 0.86, 0.87, 0.90]


def bounds(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


# Interval


def test_interval_contains_its_bounds_and_no_nan() -> None:
    interval = Interval(0.5, 0.25, 0.75, 3, 0.95)
    assert [interval.contains(x) for x in (0.25, 0.5, 0.75)] == [True] * 3
    assert [interval.contains(x) for x in (0.2, 0.8, math.nan)] == [False] * 3


@pytest.mark.parametrize(
    ("low", "high", "num", "confidence", "message"),
    [
        (1.0, 0.0, 3, 0.95, r"`low` must be at most `high`, found low=1.0 and high=0.0"),
        (math.nan, 0.0, 3, 0.95, r"found low=nan"),
        (0.0, 1.0, 0, 0.95, r"`num` must be at least 1, found 0"),
        (0.0, 1.0, 3, 95, r"`confidence` must lie in \(0, 1\], found 95"),
        (0.0, 1.0, 3, 0.0, r"`confidence` must lie in \(0, 1\], found 0.0"),
    ],
)
def test_interval_refuses_nonsense(
    low: float, high: float, num: int, confidence: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Interval(0.5, low, high, num, confidence)


# Student t


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("num", [2, 3, 6])
def test_mean_interval_is_scipys_one_sample_t(num: int, confidence: float) -> None:
    interval = mean_interval(A[:num], confidence)
    expected = scipy_stats.ttest_1samp(A[:num], 0.0).confidence_interval(confidence)
    assert bounds(interval) == pytest.approx((expected.low, expected.high), rel=1e-12)
    assert interval.estimate == pytest.approx(np.mean(A[:num]), rel=1e-15)
    assert (interval.num, interval.confidence) == (num, confidence)


def test_mean_interval_of_two_is_the_cauchy_quantile() -> None:
    # One degree of freedom: the 97.5 % quantile is tan(0.475 pi), the standard error half the gap.
    interval = mean_interval([1.0, 3.0])
    assert interval.high - 2.0 == pytest.approx(math.tan(0.475 * math.pi), rel=1e-9)


def test_interval_of_paired_differences_is_scipys_paired_t() -> None:
    expected = scipy_stats.ttest_rel(A, B).confidence_interval(0.9)
    interval = mean_interval(np.subtract(A, B), 0.9)
    assert bounds(interval) == pytest.approx((expected.low, expected.high), rel=1e-12)
    mirrored = mean_interval(np.subtract(B, A), 0.9)
    assert bounds(mirrored) == pytest.approx((-expected.high, -expected.low), rel=1e-12)


def test_paired_ratio_is_the_paired_t_of_logarithms() -> None:
    expected = scipy_stats.ttest_rel(np.log(A), np.log(B)).confidence_interval(0.95)
    interval = ratio_interval(A, B)
    assert bounds(interval) == pytest.approx(tuple(np.exp(expected)), rel=1e-12)
    expected_ratio = scipy_stats.gmean(A) / scipy_stats.gmean(B)
    assert interval.estimate == pytest.approx(expected_ratio, rel=1e-12)


def test_unpaired_difference_is_the_welch_t() -> None:
    b = [*B, 0.5]
    expected = scipy_stats.ttest_ind(A, b, equal_var=False).confidence_interval(0.9)
    interval = welch_interval(A, b, 0.9)
    assert bounds(interval) == pytest.approx(tuple(expected), rel=1e-12)
    assert interval.num == 6


def test_slope_is_that_of_least_squares() -> None:
    # the t interval by hand: residual variance over n - 2, slope variance over the spread of x
    x = np.array([1.0, 5.0, 10.0, 20.0, 30.0])
    y = np.array([0.2, 0.5, 0.1, 0.9, 0.7])
    slope, intercept = np.polyfit(x, y, 1)
    scatter = float(np.sum((y - intercept - slope * x) ** 2)) / 3
    half = scipy_stats.t.isf(0.05, 3) * math.sqrt(scatter / float(np.sum((x - x.mean()) ** 2)))
    interval = slope_interval(x, y, 0.9)
    assert (interval.estimate, *bounds(interval)) == pytest.approx(
        (slope, slope - half, slope + half), rel=1e-9
    )
    assert interval.num == 5


def test_two_points_give_a_slope_and_say_nothing_of_its_scatter() -> None:
    interval = slope_interval([1.0, 3.0], [2.0, 8.0])
    assert (interval.estimate, *bounds(interval)) == (3.0, -math.inf, math.inf)
    with pytest.raises(
        ValueError, match=r"different values in `x`, found 2\.0 alone; a line needs two"
    ):
        slope_interval([2.0, 2.0], [1.0, 3.0])


def test_paired_p_value_is_scipys_and_knows_no_direction() -> None:
    expected = scipy_stats.ttest_rel(A, B).pvalue
    assert paired_p_value(A, B) == pytest.approx(expected, rel=1e-12)
    assert paired_p_value(B, A) == pytest.approx(expected, rel=1e-12)
    # without spread
    assert paired_p_value(A, A) == 1.0
    assert paired_p_value([1.0, 2.0], [0.5, 1.5]) == paired_p_value([0.5, 1.5], [1.0, 2.0]) == 0.0
    with pytest.raises(ValueError, match=r"A paired test needs at least 2 pairs, found 1\."):
        paired_p_value([1.0], [2.0])


def test_inverse_ratio_has_the_inverse_interval() -> None:
    forward, backward = ratio_interval(A, B), ratio_interval(B, A)
    assert bounds(forward) == pytest.approx((1 / backward.high, 1 / backward.low), rel=1e-12)


def test_constant_factor_has_a_ratio_without_spread() -> None:
    interval = ratio_interval([2.0] * 4, [1.0] * 4)
    assert (interval.estimate, *bounds(interval)) == pytest.approx((2.0, 2.0, 2.0))


def test_ratio_of_two_far_apart_seeds_is_unbounded_without_warning() -> None:
    assert bounds(ratio_interval([1e100, 1e-100], [1.0, 1.0])) == (0.0, math.inf)


def test_one_observation_leaves_everything_open() -> None:
    unbounded = (-math.inf, math.inf)
    assert mean_interval([0.5]) == Interval(0.5, *unbounded, 1, 0.95)
    assert median_interval([0.5]) == Interval(0.5, *unbounded, 1, 1.0)
    assert ratio_interval([2.0], [1.0]) == Interval(2.0, 0.0, math.inf, 1, 0.95)
    assert welch_interval([2.0], [1.0, 1.0]) == Interval(1.0, *unbounded, 1, 0.95)
    rng = np.random.default_rng(0)
    assert bootstrap_interval([0.5], np.mean, 0.95, rng) == Interval(0.5, *unbounded, 1, 0.95)


# Median


@pytest.mark.parametrize("num", [2, 5])
def test_median_interval_is_open_where_no_rank_reaches_the_confidence(num: int) -> None:
    interval = median_interval(A[:num])
    assert (*bounds(interval), interval.confidence) == (-math.inf, math.inf, 1.0)


def test_median_interval_of_six_is_their_range() -> None:
    interval = median_interval(A)
    assert interval == Interval(float(np.median(A)), min(A), max(A), 6, 1 - 2 / 64)


def test_median_interval_takes_the_narrowest_ranks() -> None:
    # n = 17: ranks 5 and 13 attain 0.951, ranks 6 and 12 only 0.857.
    interval = median_interval(np.arange(17, 0, -1))
    assert bounds(interval) == (5.0, 13.0)
    assert interval.confidence == pytest.approx(1 - 2 * scipy_stats.binom.cdf(4, 17, 0.5))


@pytest.mark.parametrize("num", [6, 9, 10, 25, 40])
def test_median_interval_agrees_with_scipys_quantile_test(num: int) -> None:
    sample = np.random.default_rng(num).standard_normal(num)
    expected = scipy_stats.quantile_test(sample, p=0.5).confidence_interval(0.95)
    assert bounds(median_interval(sample)) == (expected.low, expected.high)


# Coverage: N samples, and four standard errors of a share around its expectation.

NUM_SIMULATIONS = 2000


def normal(rng: np.random.Generator, num: int) -> Sequence[float]:
    return [float(x) for x in rng.normal(3.0, 2.0, num)]


def share_covering(interval_of: Callable[[np.random.Generator], Interval], truth: float) -> float:
    rng = np.random.default_rng(2022)
    return float(np.mean([interval_of(rng).contains(truth) for _ in range(NUM_SIMULATIONS)]))


def four_standard_errors(probability: float) -> float:
    return 4 * math.sqrt(probability * (1 - probability) / NUM_SIMULATIONS)


def test_mean_interval_covers_at_three_seeds() -> None:
    share = share_covering(lambda rng: mean_interval(normal(rng, 3), 0.9), truth=3.0)
    assert abs(share - 0.9) < four_standard_errors(0.9)


def test_paired_ratio_covers_lognormal_costs_that_share_their_seed() -> None:
    def draw(rng: np.random.Generator) -> Interval:
        seed, noise = rng.normal(0, 3, 4), rng.normal(0, 0.2, (2, 4))
        return ratio_interval(2.5 * np.exp(seed + noise[0]), np.exp(seed + noise[1]))

    assert abs(share_covering(draw, truth=2.5) - 0.95) < four_standard_errors(0.95)


def test_unpaired_difference_covers_unequal_spreads() -> None:
    def draw(rng: np.random.Generator) -> Interval:
        return welch_interval(rng.normal(2.5, 1.0, 8), rng.normal(0, 0.2, 8))

    # Welch's degrees of freedom are an approximation; it is good to a percent here.
    assert abs(share_covering(draw, truth=2.5) - 0.95) < four_standard_errors(0.95) + 0.01


def test_median_interval_covers_as_often_as_it_says() -> None:
    attained = median_interval(range(9), 0.9).confidence
    assert attained == pytest.approx(1 - 2 * (1 + 9) / 512)
    share = share_covering(
        lambda rng: median_interval(rng.exponential(1.0, 9), 0.9), truth=math.log(2)
    )
    assert abs(share - attained) < four_standard_errors(attained)


def test_binomial_interval_covers_at_least_as_often_as_it_says() -> None:
    # Exact: sum over all outcomes, no simulation.
    for probability in (0.02, 0.3, 0.5):
        covered = sum(
            scipy_stats.binom.pmf(k, 12, probability)
            for k in range(13)
            if binomial_interval(k, 12).contains(probability)
        )
        assert covered >= 0.95


# Bootstrap, binomial


def trimmed_range(sample: Sequence[float]) -> float:
    return float(np.percentile(sample, 75) - np.percentile(sample, 25))


def test_bootstrap_interval_is_scipys_bca_at_the_same_seed() -> None:
    sample = np.random.default_rng(1).exponential(1.0, 20)
    interval = bootstrap_interval(sample, np.mean, 0.9, np.random.default_rng(7), 500)
    expected = scipy_stats.bootstrap(
        (sample,), np.mean, confidence_level=0.9, n_resamples=500, rng=np.random.default_rng(7)
    ).confidence_interval
    assert bounds(interval) == (expected.low, expected.high)
    assert interval.estimate == pytest.approx(float(sample.mean()))


def test_bootstrap_interval_takes_a_statistic_without_axis_and_repeats() -> None:
    sample = np.random.default_rng(1).exponential(1.0, 20)
    first, second = (
        bootstrap_interval(sample, trimmed_range, 0.9, np.random.default_rng(7), 200)
        for _ in range(2)
    )
    assert first == second
    assert first.low < first.estimate < first.high


def test_bootstrap_interval_of_a_constant_has_no_width() -> None:
    interval = bootstrap_interval([0.5] * 10, np.mean, 0.95, np.random.default_rng(0), 100)
    assert interval == Interval(0.5, 0.5, 0.5, 10, 0.95)


def test_bootstrap_interval_refuses_a_statistic_that_is_stuck() -> None:
    sample = [0.0, *[1.0] * 9, 2.0]  # its median is 1 whichever observation is left out
    with pytest.raises(ValueError, match=r"found one stuck at 1.0 for n=11; use mean_interval or"):
        bootstrap_interval(sample, np.median, 0.95, np.random.default_rng(0), 100)


def test_bootstrap_interval_needs_resamples() -> None:
    with pytest.raises(ValueError, match="`num_resamples` must be at least 1, found 0"):
        bootstrap_interval(A, np.mean, 0.95, np.random.default_rng(0), 0)


def test_binomial_interval_without_successes_has_a_closed_form() -> None:
    interval = binomial_interval(0, 20)
    assert bounds(interval) == pytest.approx((0.0, 1 - 0.025 ** (1 / 20)))
    opposite = binomial_interval(20, 20)
    assert bounds(opposite) == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert (interval.estimate, opposite.estimate) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "num"), [(-1, 3), (4, 3), (0, 0)])
def test_binomial_interval_refuses_impossible_counts(successes: int, num: int) -> None:
    with pytest.raises(ValueError, match=f"found successes={successes} and num={num}"):
        binomial_interval(successes, num)


# Tests and their number


@pytest.mark.parametrize("num_pairs", [2, 3, 5, 6])
def test_smallest_p_is_what_exact_tests_reach(num_pairs: int) -> None:
    differences = np.arange(1.0, num_pairs + 1)  # all of one sign: the most extreme outcome
    wilcoxon = scipy_stats.wilcoxon(differences, method="exact").pvalue
    sign_flip = scipy_stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert smallest_two_sided_p(num_pairs) == pytest.approx(wilcoxon) == pytest.approx(sign_flip)


def test_five_pairs_cannot_reach_five_percent() -> None:
    assert smallest_two_sided_p(1) == 1.0
    assert smallest_two_sided_p(5) > 0.05 > smallest_two_sided_p(6)
    with pytest.raises(ValueError, match="`num_pairs` must be at least 1, found 0"):
        smallest_two_sided_p(0)


def test_sign_test_by_hand() -> None:
    assert sign_p_value(0, 6) == sign_p_value(6, 0) == smallest_two_sided_p(6)
    assert sign_p_value(1, 7) == sign_p_value(7, 1) == pytest.approx(2 * (1 + 8) / 2**8)
    assert sign_p_value(3, 3) == sign_p_value(0, 0) == 1.0


@pytest.mark.parametrize("counts", [(-1, 3), (3, -1)])
def test_sign_test_refuses_what_is_no_count(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"found {counts[0]} and {counts[1]}; count them"):
        sign_p_value(*counts)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []
    # as of pairs that do not differ, or all by the same
    assert holm([1.0, 0.0]).tolist() == [1.0, 0.0]


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    # Naive reference: a hypothesis falls with every intersection it is part of.
    p = [0.3, 0.004, 0.02, 0.02, 0.011]
    closed = [
        max(
            min(1.0, size * min(p[j] for j in subset))
            for size in range(1, len(p) + 1)
            for subset in combinations(range(len(p)), size)
            if i in subset
        )
        for i in range(len(p))
    ]
    assert holm(p) == pytest.approx(closed)


@pytest.mark.parametrize("p_values", [[0.5, 1.2], [-0.1], [math.nan], [[0.1]]])
def test_holm_refuses_what_is_no_p_value(p_values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"must be a vector within \[0, 1\], found \[.*leave out"):
        holm(p_values)


# Crossings


def test_first_crossing_is_exact_on_a_line() -> None:
    steps = np.array([0.0, 3.0, 4.0, 10.0])
    for level in (9.5, 7.0, 6.25, 0.0):
        crossing, before, after = first_crossing(steps, 10.0 - steps, level)
        assert crossing == pytest.approx(10.0 - level)
        assert before < crossing <= after
        assert (before, after) in itertools.pairwise(steps)


def test_first_crossing_takes_the_first_of_several() -> None:
    assert first_crossing([0, 1, 2, 3], [2.0, 0.0, 2.0, 0.0], 1.0) == (0.5, 0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 0.5, 0.2], (10.0, 10.0, 10.0)),  # there from the start
        ([0.5, 0.2, 0.5], (10.0, 10.0, 10.0)),  # and back there at the end
        ([3.0, 1.0, 0.2], (20.0, 10.0, 20.0)),  # touches the level at a recorded point
        ([math.inf, 0.5, 0.2], (20.0, 10.0, 20.0)),  # no line from an infinite point
        ([math.nan, 0.5, 0.2], (20.0, 10.0, 20.0)),
        ([3.0, math.nan, 2.0], (math.nan,) * 3),
        ([3.0, 2.0, math.inf], (math.nan,) * 3),
        ([3.0, 2.0, -math.inf], (30.0, 20.0, 30.0)),
    ],
)
def test_first_crossing_at_the_edges(values: list[float], expected: tuple[float, ...]) -> None:
    assert first_crossing([10, 20, 30], values, 1.0) == pytest.approx(expected, nan_ok=True)


def test_first_crossing_of_an_empty_curve_never_comes() -> None:
    assert all(map(math.isnan, first_crossing([], [], 1.0)))


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([0, 2, 2], r"strictly increasing, found 2.0 at position 2 after 2.0; sort the curve"),
        ([0, 2, 1], r"found 1.0 at position 2 after 2.0"),
        ([math.nan, 2, 3], r"found nan at position 0 after"),
        ([0, 1], r"vectors of one length, found shapes \(2,\) and \(3,\)"),
    ],
)
def test_first_crossing_refuses_disordered_steps(steps: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        first_crossing(steps, [3.0, 2.0, 1.0], 1.5)


def test_first_crossing_refuses_a_level_that_is_no_number() -> None:
    with pytest.raises(ValueError, match="`level` must be finite, found nan"):
        first_crossing([0, 1], [3.0, 2.0], math.nan)


# Bad samples


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], r"`values` must be a vector of at least one observation, found shape \(0,\)"),
        ([[1.0, 2.0]], r"found shape \(1, 2\); pass one number a repetition"),
        (1.0, r"found shape \(\)"),
        ([0.1, math.inf], r"`values` must be finite, found inf at position 1; count diverged"),
        ([math.nan], r"`values` must be finite, found nan at position 0"),
    ],
)
@pytest.mark.parametrize("interval_of", [mean_interval, median_interval])
def test_samples_are_finite_vectors(
    interval_of: Callable[[object], Interval], values: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        interval_of(values)


@pytest.mark.parametrize("compare", [paired_p_value, ratio_interval])
def test_pairs_are_of_one_length(compare: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="one length, found 6 in `a` and 5 in `b`; keep the rep"):
        compare(A, B[:5])


def test_ratios_need_positive_values() -> None:
    with pytest.raises(ValueError, match=r"`b` must be positive, found 0.0 at position 1; compare"):
        ratio_interval([1.0, 1.0], [1.0, 0.0])


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, math.nan])
def test_confidence_lies_between_zero_and_one(confidence: float) -> None:
    rng = np.random.default_rng(0)
    calls: list[Callable[[], Interval]] = [
        lambda: mean_interval(A, confidence),
        lambda: ratio_interval(A, B, confidence),
        lambda: welch_interval(A, B, confidence),
        lambda: slope_interval(A, B, confidence),
        lambda: median_interval(A, confidence),
        lambda: binomial_interval(1, 2, confidence),
        lambda: bootstrap_interval(A, np.mean, confidence, rng, 10),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"strictly between 0 and 1, found {confidence}; "):
            call()

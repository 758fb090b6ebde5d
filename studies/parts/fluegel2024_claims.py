"""What Flügel et al. 2024 claim, and what of our runs decides it.

The kinds of checks are made in `fluegel2024_function_checks` and `fluegel2024_network_checks`, which say what counts as met.
"""

from __future__ import annotations

from repro.protocol import ABOVE_ZERO, BELOW_ZERO, Check, Claim, Expectation, use
from studies.facts.fluegel2024 import ANGLE_RATES, BP, FG, STEPS, TANGENTS, at, mean, projection
from studies.parts import fluegel2024_networks as networks
from studies.parts.fluegel2024_function_checks import (
    EVERY,
    EXACT,
    FEW,
    HARDLY_ANY,
    LARGER,
    MANY,
    MOST,
    NEARLY_ALL,
    OTHERS,
    UNIT,
    angle_difference,
    cells,
    curve,
    ends,
    for_as_many_passes,
)
from studies.parts.fluegel2024_network_checks import (
    ACCURACY,
    BEYOND,
    FULLY_CONNECTED,
    HIGHER,
    LARGE,
    LOWER,
    PUBLISHED,
    TIMED,
    TUNED,
    baseline,
    close,
    cost,
    gap,
    more_tangents,
    no_worse,
    passes,
)

CLAIMS = (
    Claim(
        1, "The single-tangent forward gradient is unbiased", "README; Section 3",
        (
            Check(
                "squared relative error of the mean, times N/(d+1)",
                use("mean_square_error", study="baydin2022", experiment="estimates", method="forward gradient", dimension=2),
                Expectation(0.0, 2.0),
            ),
        ),
    ),
    Claim(
        2, "Every forward gradient is a descent direction: within 90 degrees of the gradient", "Fig. 1, caption",
        tuple(curve(f"smallest cosine, {m}", m, "cosine_min", Expectation(low=-1e-6), "min") for m in EVERY),
    ),
    Claim(
        3, "Lemma 1: what is combined of k tangents stays in their span", "Lemma 1",
        tuple(
            curve(
                f"largest distance from the span, n <= 64, {m}", m, "outside_span_max", EXACT, "max", largest=64
            )
            for m in EVERY
        ),
    ),
    Claim(
        4, "Lemma 2: the projection is the closest to the gradient", "Lemma 2",
        tuple(
            curve(
                f"distance of the projection minus that of the {m}, largest", "projection", "relative_error",
                Expectation(high=1e-6), "max", minus=m,
            )
            for m in OTHERS
        ),
    ),
    Claim(
        5, "The cosine with the gradient grows with k for all aggregations", "Fig. 3",
        tuple(
            curve(
                f"smallest rise of the cosine from k to 2k <= n, n = 64, {m}", m, "cosine", ABOVE_ZERO, "min",
                "previous", FEW, "approximation-64",
            )
            for m in EVERY
        ),
    ),
    Claim(
        6, "All conical combinations have the same cosine", "Fig. 3, caption",
        (
            curve("mean and sum, largest difference", "mean", "cosine", EXACT, "max_abs", "sum"),
            curve(
                "raw and normalised tangents, largest difference, n = 64", "mean", "cosine",
                Expectation(high=0.01), "max_abs", f"mean, {UNIT}", family="approximation-64",
            ),
        ),
    ),
    Claim(
        7, "The projection has a higher cosine than mean and sum for 1 < k <= n", "Fig. 3",
        tuple(
            curve(
                f"cosine of the projection minus that of the {m}, smallest, n = 64", "projection", "cosine", ABOVE_ZERO,
                "min", m, FEW, "approximation-64",
            )
            for m in OTHERS
        ),
    ),
    Claim(
        8, "The projection is never longer than the gradient; mean and sum are too long or too short", "Fig. 3",
        (
            curve("largest length of the projection over the gradient's", "projection", "norm_ratio",
                  Expectation(high=1.0 + 1e-5), "max"),
            curve("smallest length of the mean, k <= n", "mean", "norm_ratio", Expectation(low=1.0), "min", steps=FEW),
            curve(f"largest length of the mean, {UNIT}, 1 < k <= n", f"mean, {UNIT}", "norm_ratio",
                  Expectation(high=1.0), "max", steps=FEW),
        ),
    ),
    Claim(
        9, "For k >= n the projection is the gradient", "Section 3; Fig. 3",
        (curve("largest relative error, k >= n", "projection", "relative_error", EXACT, "max", steps=MANY),),
    ),
    Claim(
        10, "More tangents give lower values on all three functions", "Fig. 4",
        tuple(
            cells(f"functions-{arm}{f}", name(16), name(2), MOST)
            for arm in ("", "tuned-")
            for f in STEPS
            for name in (mean, projection)
        ),
    ),
    Claim(
        11, "At equal k the projection is at least as good as the mean", "Fig. 4; abstract",
        (
            # with as many tangents as dimensions the projection is the gradient, and nothing is projected
            *(
                cells(f"functions-tuned-{f}", mean(k), projection(k), HARDLY_ANY, ties="counted", above=k)
                for f in STEPS for k in TANGENTS
            ),
            # decides nothing where the mean has not left chance
            *(no_worse(network, k) for network in FULLY_CONNECTED for k in TANGENTS),
        ),
    ),
    Claim(
        12, "The gap to backpropagation grows with the dimension", "Fig. 4",
        tuple(
            Check(
                f"{f}, {m}: share of the descent missed at n = 1024 minus that at n = 16",
                use(
                    "missed_descent_change", first=f"functions-tuned-{f}-16", last=f"functions-tuned-{f}-1024",
                    method=m, base=BP, metric=ends("functions-tuned-"),
                ),
                Expectation(low=0.01),  # a hundredth of the descent
            )
            for f in STEPS for m in (FG, mean(16), projection(16))
        ),
    ),
    Claim(
        13, "The mean gets better as the angle between tangents grows to 90 degrees; the projection does not care",
        "Fig. 5",
        (
            curve("cosine of the mean, 90 minus 15 degrees, smallest", at("mean", 90), "cosine", ABOVE_ZERO, "min",
                  at("mean", 15), family="angles-quality"),
            curve("cosine of the projection, 90 minus 15 degrees, largest", at("projection", 90), "cosine", EXACT,
                  "max_abs", at("projection", 15), family="angles-quality"),
            *(
                angle_difference(f"angles-tuned-{k}", at("mean", 90), at("mean", 15), BELOW_ZERO)
                for k in ANGLE_RATES
            ),
        ),
    ),
    Claim(
        14, "On Styblinski-Tang, n = 64, small angles cost the mean its optimum", "Fig. 5",
        tuple(
            angle_difference(f"angles-{k}", at("mean", angle), at("mean", 90), ABOVE_ZERO)
            for k in ANGLE_RATES for angle in (15, 30, 45)
        ),
    ),
    Claim(
        15, "Fully connected networks get better with more tangents", "Fig. 6",
        tuple(
            more_tangents(network, arm, name(16), name(2))
            for network in FULLY_CONNECTED for arm in (PUBLISHED, TUNED) for name in (mean, projection)
        ),
    ),
    Claim(
        16, "ResNet18 and ViT get better with more tangents", "Table 1",
        tuple(
            more_tangents(network, arm, name(16), name(2))
            for network in LARGE for arm in (PUBLISHED, TUNED) for name in (mean, projection)
        ),
    ),
    Claim(
        17, "A gap to backpropagation remains for large models", "TL;DR, Table 1",
        tuple(gap(network, name(16)) for network in LARGE for name in (mean, projection)),
        as_published=True,  # at reduced scale no network is large
    ),
    Claim(
        18, "The baseline of backpropagation is properly tuned", "implied by Table 1",
        tuple(map(baseline, LARGE)),
        theirs=False,
    ),
    Claim(
        19, "Multi-tangent forward gradients train without backpropagation", "TL;DR",
        (
            Check(
                "fc256-mnist, forward mode: test accuracy, k = 16 minus k = 1",
                use("paired_difference", experiment=networks.FORWARD.name, metric=ACCURACY,
                    a=f"{projection(16)}, forward", b=f"{projection(1)}, forward"),
                HIGHER,
            ),
            Check(
                "fc256-mnist, k = 16: test loss in forward mode minus that of the simulation",
                use("paired_difference", experiment=networks.FORWARD.name, metric="best_test_loss",
                    a=f"{projection(16)}, forward", b=f"{projection(16)}, simulated"),
                Expectation(-0.01, 0.01),
            ),
        ),
    ),
    Claim(
        20, "The published learning rates give the published final values", "lrs/math.csv and its history",
        tuple(
            Check(
                f"{f}: share of 88 final values met within 1e-4 at seed 0",
                use("published_share", family="functions", setting=f, quantity="final value", rtol=1e-4, smallest=1e-30),
                NEARLY_ALL,
            )
            for f in STEPS
        ),
    ),
    Claim(
        21, "The best rate of the projection is about n/k times that of the mean", "derived",
        tuple(
            Check(
                f"{f}, k = {k}, n >= 64: ratio of the tuned rates over n/k",
                use("rate_ratio", family=f"functions-tuned-{f}", a=projection(k), b=mean(k), num_tangents=k, smallest=64),
                Expectation(0.5, 2.0),
            )
            for f in STEPS for k in TANGENTS
        ),
        theirs=False,
    ),
    Claim(
        22, "With rates above 1 allowed the projection's network results change", "follows from Table 1",
        tuple(
            Check(
                f"{network}, {projection(k)}: test loss at the best rate above 1 minus that at the best up to 1",
                use("change_beyond", experiment=f"networks-rates-{network}", method=projection(k),
                    metric="best_test_loss", by="best_validation_loss", limit=networks.LIMIT),
                LOWER,
            )
            for network in BEYOND for k in TANGENTS
        ),
        theirs=False,
    ),
    Claim(
        23, "The reported seeds are independent of tuning", "implied",
        tuple(
            Check(
                f"{f}: share in which the tuned seed ends below the median of the others",
                use("tuning_seed_share", family=f"functions-{f}", metric="value"),
                Expectation(0.35, 0.65),
            )
            for f in STEPS
        ),
        theirs=False,
    ),
    Claim(
        24, "At equal forward passes, 16 tangents a step end better than one", "not tested there",
        (
            *(for_as_many_passes(f"{f}-{n}", name(16)) for f in STEPS for n in LARGER for name in (mean, projection)),
            *(passes(name(16)) for name in (mean, projection)),
        ),
        theirs=False,
    ),
    Claim(
        25, "Trained to the end, 16 tangents come close to backpropagation on a small network", "follows from claim 17",
        tuple(close(FULLY_CONNECTED[0], name(16)) for name in (mean, projection)),
        theirs=False,
    ),
    Claim(
        26, "They do so with improved parallelism", "TL;DR",
        untested="what is parallel are the tangents of a step, on several devices, and we have one",
    ),
    Claim(
        27, "On one device, forward mode takes no more time and memory than backpropagation", "follows from claim 19",
        (
            *(
                cost(network, measure, label, f"forward, activations, k={k}", BP)
                for network in TIMED
                for measure, label in (("step_time_ratio", "time"), ("peak_memory_ratio", "peak memory"))
                for k in (1, 16)
            ),
            # on weights no activation is kept
            *(
                cost(network, "peak_memory_ratio", "peak memory", "forward, weights, k=1", BP)
                for network in TIMED
            ),
        ),
        theirs=False,
    ),
)  # fmt: skip

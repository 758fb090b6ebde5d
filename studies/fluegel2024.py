"""Flügel, Coquelin, Weiel, Streit, Götz et al. 2024, "Beyond Backpropagation: Optimization with Multi-Tangent Forward Gradients".

arXiv:2410.17764; code at github.com/Helmholtz-AI-Energy/frog, commit 7beb8cb. Claimed: several tangents a step make
forward gradients better, and projecting the gradient on their span is better than averaging. The learning rates of
every comparison are published; the plotted values are not, but the history of the repository holds the value at which
each rate's search ended, with seed 0, and our runs of the arm `published` repeat those draws. Networks, Fig. 6 and
Table 1 are in `studies.parts.fluegel2024_networks`.
"""

from __future__ import annotations

from repro.protocol import (
    Approximation,
    Check,
    Claim,
    ClosedForm,
    Expectation,
    Experiment,
    LogUniform,
    Method,
    Plan,
    Search,
    SearchSpace,
    Settings,
    Study,
    Training,
    settings,
    use,
)
from studies.facts.fluegel2024 import (
    ANGLE_PROJECTION,
    ANGLE_RATES,
    ANGLES,
    BP,
    FACTS,
    FG,
    METHODS,
    STEPS,
    TANGENTS,
    mean,
    projection,
)
from studies.facts.fluegel2024 import FUNCTIONS as RATES
from studies.parts import fluegel2024_networks as networks

# --- Problems --------------------------------------------------------------------------------------------------

STARTS = {  # every further coordinate is the last one again
    "sphere": ("sphere", (-1.0,)),
    "rosenbrock": ("rosenbrock", (-1.0, 0.0)),
    "styblinski-tang": ("styblinski_tang", (0.0,)),
}
DIMENSIONS = tuple(2**power for power in range(11))


def function(name: str, dimension: int) -> ClosedForm:
    """Return a function in a dimension, from the paper's start."""
    formula, start = STARTS[name]
    return ClosedForm(f"{name} {dimension}", formula, start[:dimension], dimension)


def ones(dimension: int) -> ClosedForm:
    """Return a problem whose gradient is one in every direction."""
    return ClosedForm(f"ones {dimension}", "coordinate_sum", (0.0,), dimension)


# --- Methods: plain gradient descent at a constant rate ----------------------------------------------------------


def method(
    name: str, num_tangents: int, aggregation: str, seed: str = "identity", **tangents: str | float
) -> Method:
    """Return a forward gradient of several tangents."""
    estimator = use(
        "forward_gradient", num_tangents=num_tangents, aggregation=aggregation,
        **{"tangents": "normal", **tangents},
    )  # fmt: skip
    return Method(name, estimator, use("sgd"), tangent_seed=seed)


def methods(seed: str = "identity") -> tuple[Method, ...]:
    """Return the eight approaches, in the order of the facts."""
    found = {
        BP: Method(BP, use("backpropagation"), use("sgd"), tangent_seed=seed),
        FG: method(FG, 1, "mean", seed),
        **{mean(k): method(mean(k), k, "mean", seed) for k in TANGENTS},
        **{
            projection(k): method(projection(k), k, "orthogonal_projection", seed) for k in TANGENTS
        },
    }
    return tuple(found[name] for name in METHODS)


AGGREGATIONS = {"mean": "mean", "sum": "sum", "projection": "orthogonal_projection"}
UNIT = "unit length"  # the paper's normalised tangents; the projection does not see lengths
ESTIMATES = (
    *(method(name, 1, aggregation) for name, aggregation in AGGREGATIONS.items()),
    *(method(f"{name}, {UNIT}", 1, name, tangents="unit") for name in ("mean", "sum")),
)


def at(name: str, angle: float) -> str:
    """Return the name of a method whose tangents stand at an angle to the first."""
    return f"{name} at {angle:g} degrees"


def turned(num_tangents: int, seed: str = "identity") -> tuple[Method, ...]:
    """Return mean and projection of tangents at every angle of Fig. 5."""
    return tuple(
        method(at(name, angle), num_tangents, AGGREGATIONS[name], seed, tangents="angle", angle=float(angle))
        for name in ("mean", "projection")
        for angle in ANGLES
    )  # fmt: skip


def rate(learning_rate: float) -> Settings:
    """Return a learning rate as settings."""
    return settings(learning_rate=learning_rate)


# --- Fig. 3: how close estimates come to the gradient ------------------------------------------------------------


def approximation(
    name: str, dimension: int, compared: tuple[Method, ...], num_tangents: tuple[int, ...]
) -> Experiment:
    """Return a comparison of estimates of one gradient, 1,000 draws."""
    full = Plan(ones(dimension), Approximation(1_000, num_tangents), 1)
    smoke = Plan(ones(2 if dimension > 1 else 1), Approximation(4, (1, 2)), 1)
    return Experiment(name, "published", compared, (settings(),), smoke, full, full)


APPROXIMATION = (
    *(
        approximation(f"approximation-{2**power}", 2**power, ESTIMATES, tuple(2**p for p in range(11)))
        for power in range(15)
    ),
    approximation("angles-quality", 64, turned(1), (4, 16, 64)),
)  # fmt: skip

# --- Figs. 4 and 5: descent on functions --------------------------------------------------------------------------
# A run stands still after 50 steps in a row without a lower value; seeds 0 to 4 are the paper's own.

SPACE = SearchSpace((("learning_rate", LogUniform(1e-6, 1e1)),))


def descent(steps: int) -> Training:
    """Return the paper's budget and stopping rule; twenty values a run are kept, and the lowest."""
    return Training(
        steps, evaluate_every=steps // 20, loss_limit=1e9, patience=50, keep_losses=False
    )


SMOKE = Training(4, evaluate_every=2, loss_limit=1e9, patience=50, keep_losses=False)


def published(
    name: str,
    problem: ClosedForm,
    steps: int,
    rates: tuple[tuple[Method, float], ...],
    arm: str = "published",
) -> Experiment:
    """Return runs at given rates, with the seeds 0 to 4."""
    full = Plan(problem, descent(steps), 5)
    return Experiment(
        name, arm, tuple(m for m, _ in rates), (settings(),), Plan(problem, SMOKE, 1), full, full,
        own=tuple((m.name, rate(found)) for m, found in rates),
    )  # fmt: skip


def tuned(name: str, problem: ClosedForm, steps: int, compared: tuple[Method, ...]) -> Experiment:
    """Return a search under one budget for every method, and six repetitions of the winners."""
    full = Plan(problem, descent(steps), 6, Search(SPACE, 32, batch=32))
    smoke = Plan(problem, SMOKE, 1, Search(SPACE, 2, extension_trials=1, max_extensions=1))
    return Experiment(name, "tuned", compared, (settings(),), smoke, full, full)


def own_rates(name: str, dimension: int) -> tuple[tuple[Method, float], ...]:
    """Return the methods with the rates of the authors' files."""
    cells = RATES[name][dimension]
    return tuple((m, found) for m, (found, _) in zip(methods("repetition"), cells, strict=True))


def other_rates(name: str, dimension: int) -> tuple[tuple[Method, float], ...]:
    """Return mean and projection, each at the other's rate: as long a step as the other's, on average.

    The mean of `k` forward gradients is `(n + k + 1) / k` times as long, squared, as the gradient, the projection
    at most as long; for `k` far below `n` the two are one vector up to that factor.
    """
    rates = {m.name: found for m, found in own_rates(name, dimension)}
    by_name = {m.name: m for m in methods("repetition")}
    return tuple(
        pair
        for k in TANGENTS
        for factor in ((dimension + k + 1) / k,)
        for pair in (
            (by_name[mean(k)], rates[projection(k)] / factor),
            (by_name[projection(k)], rates[mean(k)] * factor),
        )
    )


FUNCTIONS = (
    *(
        published(f"functions-{name}-{n}", function(name, n), steps, own_rates(name, n))
        for name, steps in STEPS.items()
        for n in DIMENSIONS
    ),
    *(
        tuned(f"functions-tuned-{name}-{n}", function(name, n), steps, methods())
        for name, steps in STEPS.items()
        for n in DIMENSIONS
    ),
    *(
        published(f"functions-exchanged-{name}-{n}", function(name, n), STEPS[name], other_rates(name, n), "exchanged")
        for name in STEPS
        for n in DIMENSIONS
    ),
)  # fmt: skip
TURNED = function("styblinski-tang", 64)
ANGLED = (
    *(
        published(
            f"angles-{k}",
            TURNED,
            1_000,
            tuple(
                zip(
                    turned(k, "repetition"),
                    (*(found for found, _ in ANGLE_RATES[k]), *[ANGLE_PROJECTION[k][0]] * len(ANGLES)),
                    strict=True,
                )
            ),
        )
        for k in ANGLE_RATES
    ),
    *(tuned(f"angles-tuned-{k}", TURNED, 1_000, turned(k)) for k in ANGLE_RATES),
)  # fmt: skip

# --- Claims -------------------------------------------------------------------------------------------------------
# "All" values met means nine in ten, "at least as good" that one in ten at most is worse; lower, that more than half of what
# differs is lower beyond doubt. Exact statements are given what float32 needs; curves that overlap on paper, 0.01.

BELOW, ABOVE = Expectation(high=0.0, strict=True), Expectation(low=0.0, strict=True)
MOST = Expectation(low=0.5, strict=True)
NEARLY_ALL, HARDLY_ANY = Expectation(low=0.9), Expectation(high=0.1)
EXACT = Expectation(high=1e-5)
EVERY = tuple(m.name for m in ESTIMATES)
FAMILIES = tuple(STEPS)


def curve(
    label: str, method_name: str, metric: str, expect: Expectation, extreme: str,
    minus: str = "", steps: str = "all", family: str = "approximation", **largest: int,
) -> Check:  # fmt: skip
    """Return a check of the extreme of a curve over the numbers of tangents, at every dimension."""
    measure = use(
        "curve_extreme", family=family, method=method_name, metric=metric,
        extreme=extreme, minus=minus, steps=steps, **largest,
    )  # fmt: skip
    return Check(label, measure, expect)


def ends(experiment: str) -> str:
    """Return what a run comes to: the lowest value, as the authors plot it, or at tuned rates the last, which was tuned."""
    return "value" if "-tuned-" in experiment else "best_value"


def cells(
    family: str, a: str, b: str, expect: Expectation, ties: str = "left out", above: int = 0
) -> Check:
    """Return a check of how many dimensions of a function have the value of `a` below that of `b`."""
    return Check(
        f"{family.replace('-', ' ')}: share with {a} below {b}",
        use("share_lower", family=family, metric=ends(family), a=a, b=b, ties=ties, above=above),
        expect,
    )


def angle_difference(experiment: str, a: str, b: str, expect: Expectation) -> Check:
    """Return a check of the value under one angle less that under another."""
    measure = use("paired_difference", experiment=experiment, metric=ends(experiment), a=a, b=b)
    words = "last" if "-tuned-" in experiment else "lowest"
    return Check(f"{experiment}: {words} value, {a} less {b}", measure, expect)


FEW, MANY = "few", "many"
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
                f"distance of the projection less that of the {m}, largest", "projection", "relative_error",
                Expectation(high=1e-6), "max", minus=m,
            )
            for m in EVERY if m != "projection"
        ),
    ),
    Claim(
        5, "The cosine with the gradient grows with k for all aggregations", "Fig. 3",
        tuple(
            curve(
                f"smallest rise of the cosine from k to 2k <= n, n = 64, {m}", m, "cosine", ABOVE, "min",
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
                f"cosine of the projection less that of the {m}, smallest, n = 64", "projection", "cosine", ABOVE,
                "min", m, FEW, "approximation-64",
            )
            for m in EVERY if m != "projection"
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
            for f in FAMILIES
            for name in (mean, projection)
        ),
    ),
    Claim(
        11, "At equal k the projection is at least as good as the mean", "Fig. 4; abstract",
        (
            # with as many tangents as dimensions the projection is the gradient, and nothing is projected
            *(
                cells(f"functions-tuned-{f}", mean(k), projection(k), HARDLY_ANY, ties="counted", above=k)
                for f in FAMILIES for k in TANGENTS
            ),
            *networks.PROJECTION_NO_WORSE,
        ),
    ),
    Claim(
        12, "The gap to backpropagation grows with the dimension", "Fig. 4",
        tuple(
            Check(
                f"{f}, {m}: share of the descent missed at n = 1024 less that at n = 16",
                use(
                    "missed_descent_change", first=f"functions-tuned-{f}-16", last=f"functions-tuned-{f}-1024",
                    method=m, base=BP, metric=ends("functions-tuned-"),
                ),
                Expectation(low=0.01),  # a hundredth of the descent
            )
            for f in FAMILIES for m in (FG, mean(16), projection(16))
        ),
    ),
    Claim(
        13, "The mean gets better as the angle between tangents grows to 90 degrees; the projection does not care",
        "Fig. 5",
        (
            curve("cosine of the mean, 90 less 15 degrees, smallest", at("mean", 90), "cosine", ABOVE, "min",
                  at("mean", 15), family="angles-quality"),
            curve("cosine of the projection, 90 less 15 degrees, largest", at("projection", 90), "cosine", EXACT,
                  "max_abs", at("projection", 15), family="angles-quality"),
            *(
                angle_difference(f"angles-tuned-{k}", at("mean", 90), at("mean", 15), BELOW)
                for k in ANGLE_RATES
            ),
        ),
    ),
    Claim(
        14, "On Styblinski-Tang, n = 64, small angles cost the mean its optimum", "Fig. 5",
        tuple(
            angle_difference(f"angles-{k}", at("mean", angle), at("mean", 90), ABOVE)
            for k in ANGLE_RATES for angle in (15, 30, 45)
        ),
    ),
    *(claim for claim in networks.CLAIMS if claim.number < 20),
    Claim(
        20, "The published learning rates give the published final values", "lrs/math.csv and its history",
        tuple(
            Check(
                f"{f}: share of 88 final values met within 1e-4 at seed 0",
                use("published_share", family="functions", setting=f, quantity="final value", rtol=1e-4, smallest=1e-30),
                NEARLY_ALL,
            )
            for f in FAMILIES
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
            for f in FAMILIES for k in TANGENTS
        ),
    ),
    *(claim for claim in networks.CLAIMS if claim.number > 20),
    Claim(
        23, "The reported seeds are independent of tuning", "implied",
        tuple(
            Check(
                f"{f}: share in which the tuned seed ends below the median of the others",
                use("tuning_seed_share", family=f"functions-{f}", metric="value"),
                Expectation(0.35, 0.65),
            )
            for f in FAMILIES
        ),
    ),
)  # fmt: skip

STUDY = Study(
    name="fluegel2024",
    citation="Flügel et al. (2024), Beyond Backpropagation: Optimization with Multi-Tangent Forward Gradients, "
    "arXiv:2410.17764",
    facts=FACTS,
    experiments=(*APPROXIMATION, *FUNCTIONS, *ANGLED, *networks.EXPERIMENTS),
    claims=CLAIMS,
)

"""Flügel, Coquelin, Weiel, Streit, Götz et al. 2024, "Beyond Backpropagation: Optimization with Multi-Tangent Forward Gradients".

arXiv:2410.17764; code at github.com/Helmholtz-AI-Energy/frog, commit 7beb8cb. Claimed: several tangents a step make
forward gradients better, and projecting the gradient on their span is better than averaging. The learning rates of
every comparison are published; the plotted values are not, but the history of the repository holds the value at which
each rate's search ended, with seed 0, and our runs of the arm `published` repeat those draws. Functions are here,
networks (Fig. 6 and Table 1) in `studies.parts.fluegel2024_networks`, what the paper claims in
`studies.parts.fluegel2024_claims`.
"""

from __future__ import annotations

from repro.protocol import (
    FAIR_REPETITIONS,
    LEARNING_RATES,
    Approximation,
    ClosedForm,
    Experiment,
    Method,
    Plan,
    Search,
    Study,
    Training,
    settings,
    use,
)
from studies.facts.fluegel2024 import (
    ANGLE_PROJECTION,
    ANGLE_RATES,
    ANGLES,
    APPROACHES,
    BP,
    FACTS,
    STEPS,
    TANGENTS,
    at,
    mean,
    projection,
)
from studies.facts.fluegel2024 import FUNCTIONS as RATES
from studies.parts import fluegel2024_networks as networks
from studies.parts.fluegel2024_claims import CLAIMS
from studies.parts.fluegel2024_function_checks import LARGER

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
    return (
        Method(BP, use("backpropagation"), use("sgd"), tangent_seed=seed),
        *(method(name, k, aggregation, seed) for name, (k, aggregation) in APPROACHES.items()),
    )


AGGREGATIONS = {"mean": "mean", "sum": "sum", "projection": "orthogonal_projection"}
ESTIMATES = (
    *(method(name, 1, aggregation) for name, aggregation in AGGREGATIONS.items()),
    # the paper's normalised tangents; the projection does not see lengths
    *(method(f"{name}, unit length", 1, name, tangents="unit") for name in ("mean", "sum")),
)


def turned(num_tangents: int, seed: str = "identity") -> tuple[Method, ...]:
    """Return mean and projection of tangents at every angle of Fig. 5."""
    return tuple(
        method(at(name, angle), num_tangents, AGGREGATIONS[name], seed, tangents="angle", angle=float(angle))
        for name in ("mean", "projection")
        for angle in ANGLES
    )  # fmt: skip


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

Rated = tuple[tuple[Method, float], ...]  # methods, each with its learning rate


def descent(steps: int, kept: int = 20) -> Training:
    """Return the paper's budget and stopping rule; so many values a run are kept, and the lowest."""
    return Training(steps, steps // kept, loss_limit=1e9, patience=50, keep_losses=False)


SMOKE = descent(4, kept=2)


def published(
    name: str, problem: ClosedForm, steps: int, rates: Rated, arm: str = "published"
) -> Experiment:
    """Return runs at given rates, with the seeds 0 to 4."""
    full = Plan(problem, descent(steps), 5)
    return Experiment(
        name, arm, tuple(m for m, _ in rates), (settings(),), Plan(problem, SMOKE, 1), full, full,
        own=tuple((m.name, settings(learning_rate=found)) for m, found in rates),
    )  # fmt: skip


def tuned(
    name: str, problem: ClosedForm, training: Training, compared: tuple[Method, ...]
) -> Experiment:
    """Return a search under one budget for every method, and six repetitions of the winners."""
    search = Search(LEARNING_RATES, 32, batch=32, refinement_trials=4, finalists=3)
    few = Search(
        LEARNING_RATES, 2, extension_trials=1, max_extensions=1, refinement_trials=1,
        finalists=2, finalist_repetitions=1,
    )  # fmt: skip
    smoke = Plan(problem, SMOKE, 1, few)
    full = Plan(problem, training, FAIR_REPETITIONS, search)
    return Experiment(name, "tuned", compared, (settings(),), smoke, full, full)


def own_rates(name: str, dimension: int) -> Rated:
    """Return the methods with the rates of the authors' files."""
    cells = RATES[name][dimension]
    return tuple((m, found) for m, (found, _) in zip(methods("repetition"), cells, strict=True))


def other_rates(name: str, dimension: int) -> Rated:
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


def angle_rates(num_tangents: int) -> Rated:
    """Return the methods of Fig. 5, the mean with a rate for every angle, the projection with one for all."""
    means = (found for found, _ in ANGLE_RATES[num_tangents])
    projections = [ANGLE_PROJECTION[num_tangents][0]] * len(ANGLES)
    return tuple(zip(turned(num_tangents, "repetition"), (*means, *projections), strict=True))


CELLS = tuple((f"{name}-{n}", name, n) for name in STEPS for n in DIMENSIONS)
FUNCTIONS = (
    *(published(f"functions-{cell}", function(f, n), STEPS[f], own_rates(f, n)) for cell, f, n in CELLS),
    *(tuned(f"functions-tuned-{cell}", function(f, n), descent(STEPS[f]), methods()) for cell, f, n in CELLS),
    *(
        published(f"functions-exchanged-{cell}", function(f, n), STEPS[f], other_rates(f, n), "exchanged")
        for cell, f, n in CELLS
    ),
)  # fmt: skip
# as many forward passes in all as one tangent has in the steps above, spent on 16 tangents a step: the value of a step
# counts one, a tangent two (`Cost`), so that a step with one tangent takes 3 and a step with 16 takes 33
MANY = max(TANGENTS)
ONE_STEP, STEP_OF_MANY = 1 + 2, 1 + 2 * MANY
PASSES = tuple(
    tuned(
        f"functions-passes-{cell}", function(f, n), descent(ONE_STEP * STEPS[f] // STEP_OF_MANY, kept=2),
        tuple(m for m in methods() if m.name in (mean(MANY), projection(MANY))),
    )
    for cell, f, n in CELLS if n in LARGER
)  # fmt: skip
TURNED = function("styblinski-tang", 64)
ANGLED = (
    *(published(f"angles-{k}", TURNED, 1_000, angle_rates(k)) for k in ANGLE_RATES),
    *(tuned(f"angles-tuned-{k}", TURNED, descent(1_000), turned(k)) for k in ANGLE_RATES),
)

STUDY = Study(
    name="fluegel2024",
    citation="Flügel et al. (2024), Beyond Backpropagation: Optimization with Multi-Tangent Forward Gradients, "
    "arXiv:2410.17764",
    facts=FACTS,
    experiments=(*APPROXIMATION, *FUNCTIONS, *PASSES, *ANGLED, *networks.EXPERIMENTS),
    claims=CLAIMS,
)

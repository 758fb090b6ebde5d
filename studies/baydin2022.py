"""Baydin, Pearlmutter, Syme, Wood & Torr 2022, "Gradients without Backpropagation", arXiv:2202.08587.

Claimed: training without backpropagation, up to twice as fast. No code was released. What the paper states,
and where it is silent, is in `studies.facts.baydin2022`; what it claims is in `studies.parts.baydin2022_claims`.
"""

from __future__ import annotations

from dataclasses import replace

from repro.protocol import (
    FAIR_REPETITIONS,
    FAIR_SEARCHES,
    STEPS_OF_A_TURN_ON_CUDA,
    Classification,
    ClosedForm,
    Experiment,
    Method,
    Plan,
    Problem,
    Sampling,
    Settings,
    Study,
    Timing,
    Training,
    on_digits,
    settings,
    use,
)
from studies.facts.baydin2022 import BP, DEPTHS, FACTS, FG
from studies.parts.baydin2022_claims import CLAIMS

# --- Methods: one rate and one decay for both, as published (claim 12) -------------------------------------

FORWARD = use(
    "forward_gradient", num_tangents=1, aggregation="mean", tangents="normal", mode="forward"
)
FORWARD_GRADIENT = Method(FG, FORWARD, use("sgd"))
BOTH = (Method(BP, use("backpropagation"), use("sgd")), FORWARD_GRADIENT)
TIMED = (
    Method("function alone", use("function"), use("sgd")),  # the base of R_f and R_b
    Method("tangents alone", use("tangents", num_tangents=1, tangents="normal"), use("sgd")),
    *BOTH,
)
DECAY = 1e-4  # per step; secondary sources only, consistent with Fig. 3


def decaying(schedule: str) -> tuple[Method, ...]:
    """Return both methods under a decay schedule."""
    return tuple(replace(method, schedule=schedule) for method in BOTH)


HYPERBOLIC = decaying("hyperbolic")  # eta_0 / (1 + k i), which `identification-*` show fits Fig. 3
EXPONENTIAL = decaying("exponential")  # eta_0 exp(-k i), which the curve of Fig. 4 follows instead

# --- Problems ----------------------------------------------------------------------------------------------

BEALE = ClosedForm("beale", "beale", (0.0, 0.5))
ROSENBROCK = ClosedForm("rosenbrock", "rosenbrock", (-1.0, 0.0))
FIG1_POINT = ClosedForm("beale at (1.5, -0.1)", "beale", (1.5, -0.1))


def mnist(name: str, network: str, **sizes: int) -> Classification:
    """Return MNIST under the settings that the paper leaves open."""
    return Classification(name, "mnist", use(network, **sizes), 64, "standardised", 10_000)


def mlp(depth: int) -> Classification:
    """Return the dense network of width 1,024 and some depth."""
    return mnist(f"mnist mlp depth {depth}", "mlp", width=1024, depth=depth)


LOGISTIC = mnist("mnist logistic regression", "logistic_regression")
MLP = replace(mlp(2), name="mnist mlp")
CNN = mnist("mnist cnn", "cnn", channels=64, padding=0)


def tiny(problem: Problem) -> Problem:
    """Return the problem at smoke scale; a function is small as it is."""
    if isinstance(problem, ClosedForm):
        return problem
    sizes = problem.network.options()
    small = {name: 16 if name == "width" else value for name, value in sizes.items()}
    if problem.network.name == "cnn":
        small = {"channels": 4, "padding": 1}  # 8 x 8 images leave nothing without padding
    return on_digits(problem, use(problem.network.name, **small))


# --- Experiments -------------------------------------------------------------------------------------------


def published(
    name: str,
    problem: Problem,
    methods: tuple[Method, ...],
    given: Settings,
    training: Training,
    reduced: Plan | None = None,
) -> Experiment:
    """Return a comparison at one rate: ten repetitions on a function, five on MNIST."""
    on_function = isinstance(problem, ClosedForm)
    smoke = Plan(tiny(problem), Training(20, 10) if on_function else Training(30, 15), 2)
    plan = Plan(problem, training, 10 if on_function else 5)
    return Experiment(name, "published", methods, (given,), smoke, reduced or plan, plan)


def run_time(name: str, problem: Problem, steps: int = 30) -> Experiment:
    """Return the cost of a step of each method, the function alone, and the tangents alone."""
    smoke = Plan(tiny(problem), Timing(3, 1, "cpu", 1), 1)
    timing = Timing(steps, 5, "cpu", 1)
    plan = Plan(problem, timing, 1, loop_steps_on_cuda=STEPS_OF_A_TURN_ON_CUDA)
    given = settings(learning_rate=2e-5)
    return Experiment(f"run-time-{name}", "published", TIMED, (given,), smoke, plan, plan)


ESTIMATES = Experiment(  # forward gradients drawn at one point: Fig. 1, claims 1 to 3
    "estimates",
    "published",
    (FORWARD_GRADIENT,),
    (settings(),),
    smoke=Plan(FIG1_POINT, Sampling(16), 2),
    reduced=Plan(FIG1_POINT, Sampling(2**14), 40),  # the spread of a squared error is wide
    full=Plan(FIG1_POINT, Sampling(2**14), 40),
)
FUNCTIONS = tuple(
    published(problem.name, problem, BOTH, settings(learning_rate=rate), training)  # Fig. 2
    for problem, rate, training in (
        (BEALE, 0.01, Training(1_000, evaluate_every=10)),
        (ROSENBROCK, 5e-4, Training(25_000, evaluate_every=100)),
    )
)
FIG3 = settings(learning_rate=1e-4, decay=DECAY)
# which scaling and decay give the published curve of Fig. 3: three schedules on two scalings
IDENTIFICATION = tuple(
    published(
        f"identification-{scaling}-{schedule}",
        replace(LOGISTIC, input_scaling=scaling),
        decaying(schedule)[:1],
        settings(learning_rate=1e-4) if schedule == "constant" else FIG3,
        Training(25_000, evaluate_every=2_500),
    )
    for scaling in ("unit", "standardised")
    for schedule in ("constant", "exponential", "hyperbolic")
)
LONG = Training(20_000, evaluate_every=500)
FIG4 = tuple(  # under both decays
    published(f"mlp-{rate}{suffix}", MLP, methods, settings(learning_rate=float(rate), decay=DECAY), LONG)
    for suffix, methods in (("", HYPERBOLIC), ("-exponential", EXPONENTIAL))
    for rate in ("2e-4", "2e-5")
)  # fmt: skip


def cnn(name: str, methods: tuple[Method, ...], given: Settings, repetitions: int) -> Experiment:
    """Return the convolutional network at one rate, for minutes at reduced scale; a full run takes half an hour."""
    minutes, hours = (
        Plan(CNN, training, repetitions) for training in (Training(2_000, evaluate_every=250), LONG)
    )
    return replace(published(name, CNN, methods, given, LONG, minutes), full=hours)


FIG5_DECAYING = settings(learning_rate=2e-4, decay=DECAY)
FIG5 = (
    cnn("cnn", HYPERBOLIC, FIG5_DECAYING, 5),
    cnn("cnn-exponential", EXPONENTIAL, FIG5_DECAYING, 5),
    # whether it diverges where nothing decays: claim 19
    cnn("cnn-constant", (FORWARD_GRADIENT,), settings(learning_rate=2e-4), FAIR_REPETITIONS),
)
# what the paper did not do: its own problem, length and decay, with the rate searched for each method
TUNED = Experiment(
    "tuned-mlp",
    "tuned",
    EXPONENTIAL,
    (settings(decay=DECAY),),
    smoke=Plan(tiny(MLP), Training(30, 15), 2, FAIR_SEARCHES["smoke"]),
    reduced=Plan(
        MLP, Training(2_000, evaluate_every=500), FAIR_REPETITIONS, FAIR_SEARCHES["reduced"]
    ),
    full=Plan(MLP, LONG, FAIR_REPETITIONS, FAIR_SEARCHES["full"]),
)
STUDY = Study(
    "baydin2022",
    __doc__.splitlines()[0],
    FACTS,
    experiments=(
        ESTIMATES,
        *FUNCTIONS,
        published("logistic", LOGISTIC, HYPERBOLIC, FIG3, Training(25_000, evaluate_every=250)),
        *IDENTIFICATION,
        *FIG4,
        *FIG5,
        TUNED,
        run_time("beale", BEALE, steps=1_000),
        run_time("rosenbrock", ROSENBROCK, steps=1_000),
        run_time("logistic", LOGISTIC, steps=300),
        run_time("mlp", MLP),
        run_time("cnn", CNN),
        *(run_time(f"depth-{depth}", mlp(depth)) for depth in DEPTHS),
    ),
    claims=CLAIMS,
)  # fmt: skip

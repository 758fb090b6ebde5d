"""What a step costs here: ours, the plain PyTorch loop's, and the work that neither can avoid, on one machine.

No paper, but the measure of this package: every network of the papers with every method and optimizer, timed in
turn in one process, step after step as training takes them. Beside them stand the matrix products, the random
numbers and the passes over memory that the step has to do; more replicas, more tangents and more layers; and two
processes at once. `repro bench` times it anew on any machine.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from repro.protocol import (
    STEPS_OF_A_TURN_ON_CUDA,
    Classification,
    ClosedForm,
    Experiment,
    Fact,
    Method,
    Plan,
    Study,
    Timing,
    on_digits,
    settings,
    use,
)

# --- Networks: those of the papers, in mini-batches of 64 -----------------------------------------------------------


def images(dataset: str, network: str, **sizes: int) -> Classification:
    """Return a network on a data set."""
    return Classification("speed", dataset, use(network, **sizes), 64, "unit", 10_000)


def mlp(depth: int) -> Classification:
    """Return the dense network of width 1,024."""
    return images("mnist", "mlp", width=1024, depth=depth)


LOGISTIC = images("mnist", "logistic_regression")
MLP = mlp(2)
CNN = images("mnist", "cnn", channels=64, padding=0)
VGG = images("cifar10", "vgg", channels=64, width=4096)
SMALL_VGG = images("cifar10", "vgg", channels=8, width=256)  # for a laptop
TINY = {  # exercises the wiring, no more
    "logistic_regression": use("logistic_regression"),
    "mlp": use("mlp", width=16, depth=2),
    "cnn": use("cnn", channels=2, padding=1, width=8),
    "vgg": use("vgg", channels=2, width=8),
}

# --- Methods ------------------------------------------------------------------------------------------------------

TANGENTS = {
    "backpropagation": 0,
    "forward gradient": 1,
    **{f"forward gradient k={k}": k for k in (2, 4, 8, 16)},
}
BOTH = ("backpropagation", "forward gradient")
OPTIMIZERS = {
    "SGD": use("sgd"),
    "Nesterov": use("sgd", momentum=0.9, nesterov=True),
    "Adam": use("adam"),
}


def method(estimator: str, optimizer: str, *, plain: bool = False) -> Method:
    """Return a method of ours, or the plain loop's."""
    k = TANGENTS[estimator]
    kind = f"{'plain_' if plain else ''}{'forward_gradient' if k else 'backpropagation'}"
    name = f"{'plain ' if plain else ''}{estimator}, {optimizer}"
    return Method(name, use(kind, **({"num_tangents": k} if k else {})), OPTIMIZERS[optimizer])


def limits(estimator: str, optimizers: Collection[str]) -> tuple[Method, ...]:
    """Return what the steps of an estimator cannot avoid, to be timed beside them."""
    k = TANGENTS[estimator]
    products = use("products", num_tangents=k)
    drawn = use("random_numbers", num_tangents=k)
    passes = use("memory_passes", num_tangents=max(1, k))
    # only an update depends on the optimizer
    return (
        Method(f"products of {estimator}", products, OPTIMIZERS["SGD"]),
        *([Method(f"random numbers of {estimator}", drawn, OPTIMIZERS["SGD"])] if k else []),
        *(Method(f"memory passes of {estimator}, {o}", passes, OPTIMIZERS[o]) for o in optimizers),
    )


def methods(
    estimators: Collection[str], optimizers: Collection[str] = ("SGD",), *, plain: bool = True
) -> tuple[Method, ...]:
    """Return methods, the plain loop's beside them if wanted, and what they cannot avoid."""
    pairs = [(estimator, optimizer) for estimator in estimators for optimizer in optimizers]
    return (
        *(method(*pair) for pair in pairs),
        *(method(*pair, plain=True) for pair in pairs if plain),
        *(part for estimator in estimators for part in limits(estimator, optimizers)),
    )


# --- Experiments ----------------------------------------------------------------------------------------------------


def turns(rounds: int, loop_steps: int) -> Timing:
    """Return so many rounds of turns of so many steps: short ones drown in the clock, long ones hide drift.

    The steps before those that count let a GPU record what it replays.
    """
    return Timing(rounds, 5, "cpu", 1, memory=False, loop_steps=loop_steps)


def timed(
    name: str,
    arm: str,
    compared: tuple[Method, ...],
    problem: Classification,
    task: Timing,
    reduced: tuple[Classification, Timing] | None = None,
) -> Experiment:
    """Return a timing experiment, the same at reduced scale as at full scale unless given."""
    tiny = on_digits(problem, TINY[problem.network.name])
    short = replace(task, num_steps=3, num_warmup=2, loop_steps=2, replicas=min(task.replicas, 2))
    many = STEPS_OF_A_TURN_ON_CUDA if task.loop_steps else 0  # an epoch is long enough
    smoke, less, full = (
        Plan(replace(of, name=f"speed {name}"), how, 1, loop_steps_on_cuda=least)
        for of, how, least in (
            (tiny, short, 0),
            (*(reduced or (problem, task)), many),
            (problem, task, many),
        )
    )
    return Experiment(
        name, arm, compared, (settings(learning_rate=1e-5),), smoke=smoke, reduced=less, full=full
    )


EVERY = methods(BOTH, OPTIMIZERS)
STEPS = (
    timed("steps-logistic", "steps", EVERY, LOGISTIC, turns(30, 50)),
    timed("steps-mlp", "steps", EVERY, MLP, turns(30, 5)),
    timed("steps-cnn", "steps", EVERY, CNN, turns(30, 1), (CNN, turns(10, 1))),
    timed("steps-vgg", "steps", EVERY, VGG, turns(10, 1), (SMALL_VGG, turns(10, 1))),
)
REPLICAS = tuple(
    timed(
        f"replicas-{num}-{name}",
        "scaling",
        methods(BOTH, plain=False),
        problem,
        replace(turns(10, loop_steps), replicas=num),
    )
    for name, problem, loop_steps in (("logistic", LOGISTIC, 50), ("mlp", MLP, 1))
    for num in (1, 2, 4, 8, 16, 32)
)
MANY_TANGENTS = timed("tangents-mlp", "scaling", methods(TANGENTS), MLP, turns(10, 1))
DEPTHS = tuple(
    timed(f"depth-{depth}-mlp", "scaling", methods(BOTH), mlp(depth), turns(10, 1))
    for depth in (1, 2, 4, 8, 16, 32)
)
TWO_PROCESSES = timed(
    "two-processes-mlp",
    "processes",
    tuple(method(e, "SGD", plain=plain) for plain in (False, True) for e in BOTH),
    MLP,
    replace(turns(30, 5), processes=2),
)

# --- Functions: a search of 32 rates for the eight approaches, and the grid of Fig. 3, of Flügel et al. 2024 ----------------


def formula(name: str, kind: str, problem: ClosedForm, task: Timing) -> Experiment:
    """Return what is done on functions, and the same work one trial, one draw and one tangent at a time."""
    words = kind.replace("_", " ")
    compared = (
        Method(f"{words}, SGD", use(kind), OPTIMIZERS["SGD"]),
        Method(f"plain {words}, SGD", use(f"plain_{kind}"), OPTIMIZERS["SGD"]),
    )
    short = replace(task, num_steps=3, num_warmup=1, loop_steps=1, replicas=min(task.replicas, 2))
    plan = Plan(problem, task, 1)
    smoke = Plan(replace(problem, dimension=2), short, 1)
    return Experiment(
        name, "formulas", compared, (settings(learning_rate=1e-5),), smoke, plan, plan
    )


SEARCHES = tuple(
    formula(
        f"search-{name}-{dimension}",
        "search",
        ClosedForm(f"speed {name} {dimension}", name.replace("-", "_"), start, dimension),
        replace(turns(10, 5), replicas=32),
    )
    for name, start in (
        ("sphere", (-1.0,)),
        ("rosenbrock", (-1.0, 0.0)),
        ("styblinski-tang", (0.0,)),
    )
    for dimension in (16, 128, 1024)
)
GRID = formula(
    "grid-approximation",
    "approximation_grid",
    ClosedForm("speed grid", "coordinate_sum", (0.0,), 2**14),
    replace(turns(5, 2), num_warmup=1),
)

# --- A whole epoch with its evaluation, beside the code of Flügel et al. (2024) --------------------------------------------

AUTHORS = "the authors' code at 7beb8cb"
EPOCH_SECONDS = {  # tangents and aggregation: what it took there, evaluation of all three splits included
    (0, "mean"): 18.0,
    (1, "mean"): 22.0,
    (4, "orthogonal_projection"): 25.0,
    (16, "orthogonal_projection"): 23.0,
}


def epoch(num_tangents: int, aggregation: str) -> Method:
    """Return an epoch of training as published: activations perturbed, simulated with backpropagation."""
    if not num_tangents:
        return Method("epoch of backpropagation", use("epoch", num_tangents=0), OPTIMIZERS["SGD"])
    part = use(
        "epoch", num_tangents=num_tangents, aggregation=aggregation, perturb="activations", mode="simulated",
    )  # fmt: skip
    noun = "projection" if num_tangents > 1 else "forward gradient"
    return Method(f"epoch of {noun}, k={num_tangents}", part, OPTIMIZERS["SGD"])


# two threads, as the authors' code had; the same work: 782 steps, then 50,000 + 10,000 + 10,000 images evaluated
EPOCH = timed(
    "epoch-mlp",
    "epochs",
    tuple(epoch(*kind) for kind in EPOCH_SECONDS),
    replace(MLP, input_scaling="standardised", drop_last=False),
    Timing(5, 1, "cpu", 2, memory=False),
)
EPOCH = replace(EPOCH, smoke=replace(EPOCH.smoke, task=Timing(2, 1, "cpu", 2, memory=False)))
FACTS = tuple(
    Fact(
        AUTHORS,
        "epoch seconds",
        seconds,
        "timed on two quiet CPU cores, torch 2.13",
        epoch(*kind).name,
        EPOCH.name,
    )
    for kind, seconds in EPOCH_SECONDS.items()
)

STUDY = Study(
    name="speed",
    citation="The speed of this package, beside a plain PyTorch loop and the work that neither can avoid",
    facts=FACTS,
    experiments=(*STEPS, *REPLICAS, MANY_TANGENTS, *DEPTHS, TWO_PROCESSES, *SEARCHES, GRID, EPOCH),
    claims=(),
)

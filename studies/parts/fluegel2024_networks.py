"""The networks of Flügel et al. 2024: Sections 4.4 and 4.5, Fig. 6, Table 1, and what a step of them costs.

As published, forward gradients perturb activations and are simulated with backpropagation (no README command does
otherwise): the arm `published` repeats that at the authors' rates, among them 0.1 for backpropagation on ResNet18
and ViT, which no search of theirs gave. The arm `tuned` gives all eight approaches one search, whose edge rule goes
beyond the limit of 1 that theirs had. Both report the last epoch and the one of the lowest validation loss: which
of them the paper reports is not in its code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from repro.protocol import (
    FAIR_REPETITIONS,
    FAIR_SEARCHES,
    LEARNING_RATES,
    STEPS_OF_A_TURN_ON_CUDA,
    Classification,
    Component,
    Experiment,
    Method,
    Plan,
    Search,
    Timing,
    Training,
    on_digits,
    settings,
    use,
)
from studies.facts.fluegel2024 import APPROACHES, BP, METHODS, NETWORKS, TANGENTS, projection

# --- Methods: plain gradient descent at a constant rate -------------------------------------------------------------


def estimator(
    num_tangents: int, aggregation: str, mode: str = "simulated", perturb: str = "activations"
) -> Component:
    """Return a forward gradient; as published its tangents live on activations and it is simulated."""
    return use(
        "forward_gradient", num_tangents=num_tangents, aggregation=aggregation, tangents="normal",
        perturb=perturb, mode=mode,
    )  # fmt: skip


SGD = use("sgd")
BACKPROPAGATION = Method(BP, use("backpropagation"), SGD)
EIGHT = (
    BACKPROPAGATION,
    *(Method(name, estimator(*approach), SGD) for name, approach in APPROACHES.items()),
)
PROJECTIONS = tuple(m for m in EIGHT if m.name in map(projection, TANGENTS))

# --- Networks and data: standardised pixels, 10,000 images for validation, no augmentation --------------------------

MNIST_EPOCH, CIFAR_EPOCH = 782, 313  # steps, of 50,000 images by 64 and 40,000 by 128
TINY = {  # exercises the wiring, no more
    "mlp": use("mlp", width=16, depth=2),
    "resnet18": use("resnet18", channels=2),
    "vit": use("vit", layers=2, width=8, heads=2),
}


@dataclass(frozen=True)
class Setting:
    """A network on a data set.

    Attributes:
        name: As in the facts.
        dataset: Name of the data set.
        network: The network.
        small: What stands for it at reduced scale.
        steps: Steps of a run at reduced scale, as many in every arm: their rates are compared.
        rounds: Rounds of the timing at reduced scale.
    """

    name: str
    dataset: str
    network: Component
    small: Component
    steps: int
    rounds: int

    @property
    def problem(self) -> Classification:
        """The problem as published."""
        batch = 128 if self.dataset == "cifar10" else 64
        return Classification(
            self.name, self.dataset, self.network, batch, "standardised", 10_000, drop_last=False
        )

    @property
    def reduced(self) -> Classification:
        """The problem at reduced scale: fewer images judge a trial, and the network may be smaller."""
        return replace(self.problem, network=self.small, validation_size=1_000)

    @property
    def smoke(self) -> Classification:
        """A tiny network on the smallest data."""
        return replace(on_digits(self.problem, TINY[self.network.name]), batch_size=32)

    @property
    def training(self) -> Training:
        """At most 200 epochs; ten in a row without a lower validation loss end a run, as does a loss of 10."""
        return training(200, CIFAR_EPOCH if self.dataset == "cifar10" else MNIST_EPOCH)


def training(num_evaluations: int, every: int) -> Training:
    """Return a budget under the paper's early stopping."""
    return Training(
        num_evaluations * every, every, keep_losses=False, early_stopping=10, validation_limit=10.0
    )


def dense(width: int, steps: int, rounds: int) -> Setting:
    """Return a fully connected network of two hidden layers on MNIST, the same at reduced scale."""
    network = use("mlp", width=width, depth=2)
    return Setting(f"fc{width}-mnist", "mnist", network, network, steps, rounds)


FULLY_CONNECTED = (
    dense(256, MNIST_EPOCH, 30),
    dense(1024, MNIST_EPOCH, 12),
    dense(4096, MNIST_EPOCH // 10, 3),  # a step takes a sixth of a second on one core
)
# what a laptop can search: as deep, an eighth or a sixteenth as wide, the ViT with larger patches
SMALL_RESNET = use("resnet18", channels=8)
SMALL_VIT = {"layers": 6, "width": 16, "heads": 2}
LARGE = tuple(
    Setting(f"{small.name}-{dataset}", dataset, use(small.name), small, steps, rounds=6)
    for dataset, small, steps in (
        ("mnist", SMALL_RESNET, MNIST_EPOCH),
        ("cifar10", SMALL_RESNET, CIFAR_EPOCH),
        ("mnist", use("vit", **SMALL_VIT, patch=7), MNIST_EPOCH),
        ("cifar10", use("vit", **SMALL_VIT, patch=8), CIFAR_EPOCH),
    )
)
SETTINGS = (*FULLY_CONNECTED, *LARGE)
SHORT = training(2, 2)

# --- Fig. 6 and Table 1 -------------------------------------------------------------------------------------------------


def published(of: Setting) -> Experiment:
    """Return the eight approaches at the authors' rates; at full scale their three seeds."""
    rates, _ = NETWORKS[of.name]
    return Experiment(
        f"networks-{of.name}",
        "published",
        EIGHT,
        (settings(),),
        smoke=Plan(of.smoke, SHORT, 2),
        reduced=Plan(of.reduced, training(2, of.steps // 2), 3),
        full=Plan(of.problem, of.training, 3),
        own=tuple(
            (name, settings(learning_rate=rate)) for name, rate in zip(METHODS, rates, strict=True)
        ),
    )


def tuned(of: Setting) -> Experiment:
    """Return one search for all eight approaches, and the repetitions of the winners."""
    few = Search(LEARNING_RATES, 2, extension_trials=1, max_extensions=1)
    less = training(2, of.steps // 2)
    return Experiment(
        f"networks-tuned-{of.name}",
        "tuned",
        EIGHT,
        (settings(),),
        smoke=Plan(of.smoke, SHORT, 2, few),
        reduced=Plan(of.reduced, less, FAIR_REPETITIONS, FAIR_SEARCHES["reduced"]),
        full=Plan(of.problem, of.training, FAIR_REPETITIONS, FAIR_SEARCHES["full"]),
    )


# --- Rates beyond the limit of the authors' search, which ended at 1 --------------------------------------------------------

LIMIT = 1.0
RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


def beyond(of: Setting) -> Experiment:
    """Return the projections at rates up to the limit and beyond, the same for all."""
    return Experiment(
        f"networks-rates-{of.name}",
        "rates",
        PROJECTIONS,
        tuple(settings(learning_rate=rate) for rate in RATES),
        smoke=Plan(of.smoke, SHORT, 2),
        reduced=Plan(of.reduced, training(2, of.steps // 2), 3),
        full=Plan(of.problem, of.training, 6),
    )


BEYOND = tuple(of for of in LARGE if of.dataset == "cifar10")

# --- One tangent with the forward passes of sixteen: more steps, evaluated as often -----------------------------------------

# what a step would take in forward mode, of activations (`Cost`): two for the value, once beside the tangents, and one for
# the weights of the layers; a tangent counts one, since weights have none
MANY = max(TANGENTS)
ONE_STEP, STEP_OF_MANY = 3 + 1, 3 + MANY


def passes(of: Setting) -> Experiment:
    """Return the search of one tangent, and of backpropagation, over the forward passes that 16 tangents take."""
    few = Search(LEARNING_RATES, 2, extension_trials=1, max_extensions=1)
    epoch, half = of.training.evaluate_every, of.steps // 2
    return Experiment(
        f"networks-passes-{of.name}",
        "tuned",
        EIGHT[:2],
        (settings(),),
        smoke=Plan(of.smoke, SHORT, 2, few),
        reduced=Plan(
            of.reduced,
            training(2, STEP_OF_MANY * half // ONE_STEP),
            FAIR_REPETITIONS,
            FAIR_SEARCHES["reduced"],
        ),
        full=Plan(
            of.problem,
            training(200, STEP_OF_MANY * epoch // ONE_STEP),
            FAIR_REPETITIONS,
            FAIR_SEARCHES["full"],
        ),
    )


PASSES = passes(FULLY_CONNECTED[0])

# --- Forward mode: the same tangents without backpropagation through the network ---------------------------------------------


def by_mode(num_tangents: int, mode: str) -> Method:
    """Return a projection in one of the modes; seeded alike, both draw the same tangents."""
    part = estimator(num_tangents, "orthogonal_projection", mode)
    return Method(f"{projection(num_tangents)}, {mode}", part, SGD, tangent_seed="repetition")


MODES = ("forward", "simulated")
FORWARD = Experiment(
    "networks-forward-fc256-mnist",
    "forward",
    tuple(by_mode(k, mode) for k in (1, *TANGENTS) for mode in MODES),
    (settings(learning_rate=0.1),),
    smoke=Plan(FULLY_CONNECTED[0].smoke, SHORT, 2),
    reduced=Plan(FULLY_CONNECTED[0].reduced, training(2, 50), 3),
    full=Plan(FULLY_CONNECTED[0].problem, training(10, MNIST_EPOCH), 3),
)

# --- What a step costs ------------------------------------------------------------------------------------------------------


def timed(mode: str, perturb: str, num_tangents: int) -> Method:
    """Return a projection on some tangents, to be timed."""
    part = estimator(num_tangents, "orthogonal_projection", mode, perturb)
    return Method(f"{mode}, {perturb}, k={num_tangents}", part, SGD)


COUNTS = (1, *TANGENTS)
TIMED = (
    BACKPROPAGATION,
    *(
        timed(mode, perturb, k)
        for mode in MODES
        for perturb in ("activations", "weights")
        for k in COUNTS
    ),
)


def run_time(of: Setting) -> Experiment:
    """Return the cost of a step of backpropagation and of the projection in every mode and space."""
    return Experiment(
        f"networks-run-time-{of.name}",
        "cost",
        TIMED,
        (settings(learning_rate=1e-5),),
        smoke=Plan(of.smoke, Timing(2, 1, "cpu", 1), 1),
        reduced=Plan(
            of.reduced,
            Timing(of.rounds, 1, "cpu", 1),
            1,
            loop_steps_on_cuda=STEPS_OF_A_TURN_ON_CUDA,
        ),
        full=Plan(
            of.problem, Timing(30, 5, "cpu", 1), 1, loop_steps_on_cuda=STEPS_OF_A_TURN_ON_CUDA
        ),
    )


TIMED_SETTINGS = tuple(of for of in SETTINGS if of.dataset == "mnist")  # every network once
EXPERIMENTS = (
    *map(published, SETTINGS),
    *map(tuned, SETTINGS),
    *map(beyond, BEYOND),
    PASSES,
    FORWARD,
    *map(run_time, TIMED_SETTINGS),
)

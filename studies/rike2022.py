"""Rike & Førland 2022, "A comparison of backpropagation and forward gradients for deep learning".

Student project report, EPFL CS-439; code at github.com/benjaminrike1/forward_gradient, commit 827a478. It
re-runs forward gradients with SGD, Nesterov's method and Adam, each method at a rate of its own, and finds
backpropagation better throughout. Its test losses are those of the last 16 test images alone. What it states
and what its notebooks print is in `studies.facts.rike2022`, where the defects D1 to D20 named below are too;
what it claims is in `studies.parts.rike2022_claims`.
"""

from __future__ import annotations

from dataclasses import replace

from repro.protocol import (
    FAIR_REPETITIONS,
    FAIR_SEARCHES,
    STEPS_OF_A_TURN_ON_CUDA,
    Classification,
    Experiment,
    Method,
    Plan,
    Settings,
    Study,
    Timing,
    Training,
    on_digits,
    settings,
    use,
)
from studies.facts.rike2022 import BP, CLIPPED, FACTS, FG, ROWS, TABLE_I, Row, name
from studies.parts.rike2022_claims import CLAIMS

# --- Problems ----------------------------------------------------------------------------------------------


def images(name: str, dataset: str, network: str, **sizes: int) -> Classification:
    """Return a data set and network of the paper: pixels in [0, 1], mini-batches of 64, none dropped."""
    return Classification(name, dataset, use(network, **sizes), 64, "unit", 10_000, drop_last=False)


NN = images("mnist mlp", "mnist", "mlp", width=1024, depth=2)
CNN = images("mnist cnn", "mnist", "cnn", channels=64, padding=0)
VGG = images("cifar10 vgg", "cifar10", "vgg", channels=64, width=4096)
NETWORKS = {"nn": NN, "cnn": CNN, "cifar": VGG}
LIGHT = {  # for a laptop: fewer channels, and as deep as backpropagation learns in a few epochs
    "nn": NN,
    "cnn": images("mnist cnn, 16 channels", "mnist", "cnn", channels=16, width=256),
    "cifar": images("cifar10 vgg, 8 channels, 1 pair", "cifar10", "vgg", channels=8, width=128, pairs=1),
}  # fmt: skip
DIGITS = on_digits(NN, use("mlp", width=16, depth=2))
EPOCH = {"mnist": 782, "cifar10": 625}  # steps, of 50,000 and 40,000 images
EPOCHS = {row.setting.partition("-")[0]: row.epochs[1] for row in ROWS}  # of a run, by network

# --- Methods -----------------------------------------------------------------------------------------------

FORWARD = use("forward_gradient", num_tangents=1, aggregation="mean", tangents="normal")
ESTIMATORS = {
    BP: use("backpropagation"),
    FG: FORWARD,
    CLIPPED: use(FORWARD.name, **FORWARD.options(), clip=1.0),
}
OPTIMIZERS = {
    "SGD": use("sgd"),
    "Nesterov": use("sgd", momentum=0.9, nesterov=True),
    "Adam": use("adam"),
}


def fair(optimizer: str) -> tuple[Method, ...]:
    """Return the methods of a fair comparison: one optimizer and loss, a constant rate, no other change."""
    return tuple(
        Method(name(estimator, optimizer), part, OPTIMIZERS[optimizer])
        for estimator, part in ESTIMATORS.items()
    )


# --- As published: the 14 rows of Table I with the settings really used ---------------------------------------
# R3 has the decay that ran, not that of Table I (D9); SGD and Nesterov are clipped, Adam is not (D7).

PYTORCH_RULES = {"SGD": use("sgd"), "Nesterov": use("sgd", nesterov=True), "Adam": use("adam")}
THEIR_RULES = {
    "SGD": use("sgd"),
    "Nesterov": use("look_ahead"),  # judged behind the look-ahead point
    "Adam": use("adam", epsilon_inside=True),  # under the root
}


def as_run(row: Row) -> tuple[Method, Settings]:
    """Return the method of a row, its rate, and its decay by exp(-decay) a step where it had one."""
    estimator, optimizer = row.method.rsplit(", ", 1)
    rule = (PYTORCH_RULES if estimator == BP else THEIR_RULES)[optimizer]
    tuned = {p: row.used[p] for p in ("momentum", "beta1", "beta2") if p in row.searched}
    decay = {"decay": row.used["decay"]} if row.used.get("decay") else {}
    method = Method(
        row.method,
        ESTIMATORS[estimator],
        use(rule.name, **rule.options(), **tuned),
        schedule="exponential" if decay else "constant",
        loss=None if estimator == BP else "clamped_cross_entropy",  # theirs clamps probabilities
    )
    return method, settings(learning_rate=row.used["learning_rate"], **decay)


def published(setting: str) -> Experiment:
    """Return two rows of Table I: three repetitions, the test split looked at after every epoch."""
    label = setting.partition("-")[0]
    problem, epochs = NETWORKS[label], EPOCHS[label]
    epoch = EPOCH[problem.dataset]
    full = Training(epochs * epoch, evaluate_every=epochs // 5 * epoch, test_every=epoch)
    runs = tuple(as_run(row) for row in ROWS if row.setting == setting)
    return Experiment(
        setting,
        "published",
        tuple(method for method, _ in runs),
        (settings(),),
        smoke=Plan(DIGITS, Training(24, evaluate_every=12, test_every=12), 2),
        reduced=Plan(LIGHT[label], full, 1 if label == "cnn" else 3),
        full=Plan(problem, full, 3),
        own=tuple((method.name, own) for method, own in runs),
    )  # fmt: skip


# --- Matched: one shared rate, the comparison that the paper calls unfair -----------------------------------------

SMOKE = Training(24, evaluate_every=12)
MATCHED = Experiment(
    "matched-nn",
    "matched",
    tuple(replace(method, schedule="exponential") for method in fair("SGD")[:2]),
    (settings(learning_rate=2e-4, decay=1e-4),),  # Baydin et al.'s
    smoke=Plan(DIGITS, SMOKE, 2),
    reduced=Plan(NN, Training(10 * 782, evaluate_every=782), 3),
    full=Plan(NN, Training(50 * 782, evaluate_every=782), 6),
)

# --- Tuned: every method at its own best rate, under one budget; and what a step costs, for equal time -----------

SEARCHED_EPOCHS = {"nn": 10, "cnn": 3, "cifar": 5}  # at reduced scale


def tuned(label: str, optimizer: str, as_long_as: str = "") -> Experiment:
    """Return the search of one network and optimizer, for runs of its own epochs or of as many as another network's."""
    small, problem = LIGHT[label], NETWORKS[label]
    epoch = EPOCH[problem.dataset]
    less, full = (
        Training(epochs[as_long_as or label] * epoch, evaluate_every=epoch)
        for epochs in (SEARCHED_EPOCHS, EPOCHS)
    )
    of = f"{label}-as-{as_long_as}" if as_long_as else label
    return Experiment(
        f"tuned-{of}-{optimizer.lower()}",
        "tuned",
        fair(optimizer),
        (settings(),),
        smoke=Plan(DIGITS, SMOKE, 2, FAIR_SEARCHES["smoke"]),
        reduced=Plan(small, less, FAIR_REPETITIONS, FAIR_SEARCHES["reduced"]),
        full=Plan(problem, full, FAIR_REPETITIONS, FAIR_SEARCHES["full"]),
    )


def run_time(label: str, optimizer: str) -> Experiment:
    """Return the cost of a step of each method of a tuned comparison."""
    timing = Timing(30, 5, "cpu", 1)
    return Experiment(
        f"run-time-{label}-{optimizer.lower()}",
        "tuned",
        fair(optimizer),
        (settings(learning_rate=1e-5),),
        smoke=Plan(DIGITS, Timing(3, 1, "cpu", 1), 1),
        reduced=Plan(LIGHT[label], timing, 1, loop_steps_on_cuda=STEPS_OF_A_TURN_ON_CUDA),
        full=Plan(NETWORKS[label], timing, 1, loop_steps_on_cuda=STEPS_OF_A_TURN_ON_CUDA),
    )


PAIRS = tuple((label, optimizer) for label in NETWORKS for optimizer in OPTIMIZERS)
STUDY = Study(
    name="rike2022",
    citation="Rike & Førland (2022), A comparison of backpropagation and forward gradients for deep "
    "learning, EPFL CS-439 project report",
    facts=FACTS,
    experiments=(
        *map(published, TABLE_I),
        MATCHED,
        *(tuned(*pair) for pair in PAIRS),
        # what the other two miss is compared with the dense one at rates for runs as long
        *(tuned("nn", o, as_long_as=label) for label in ("cnn", "cifar") for o in OPTIMIZERS),
        *(run_time(*pair) for pair in PAIRS),
    ),
    claims=CLAIMS,
)

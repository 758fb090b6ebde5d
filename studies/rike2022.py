"""Rike & Førland 2022, "A comparison of backpropagation and forward gradients for deep learning".

Student project report, EPFL CS-439; code at github.com/benjaminrike1/forward_gradient, commit 827a478. It
re-runs forward gradients with SGD, Nesterov's method and Adam, each method at a rate of its own, and finds
backpropagation better throughout. Its test losses are those of the last 16 test images alone; "printed"
below means read in an output of its notebooks, "Table I" in the report.
"""

from __future__ import annotations

from dataclasses import replace

from repro.protocol import (
    Claim,
    Classification,
    Experiment,
    Fact,
    LogUniform,
    Method,
    Plan,
    Search,
    SearchSpace,
    Settings,
    Study,
    Timing,
    Training,
    settings,
    use,
)

# --- Problems ----------------------------------------------------------------------------------------------


def images(name: str, dataset: str, **network: str | int) -> Classification:
    """Return a data set and network of the paper: pixels in [0, 1], mini-batches of 64, none dropped."""
    parts = use(str(network.pop("network")), **network)
    return Classification(name, dataset, parts, 64, "unit", validation_size=10_000, drop_last=False)


NN = images("mnist mlp", "mnist", network="mlp", width=1024, depth=2)
CNN = images("mnist cnn", "mnist", network="cnn", channels=64, padding=0)
VGG = images("cifar10 vgg", "cifar10", network="vgg", channels=64, width=4096)
# what a laptop can search: a quarter and an eighth of the channels
SMALL_CNN = images("mnist cnn, 16 channels", "mnist", network="cnn", channels=16, width=256)
SMALL_VGG = images("cifar10 vgg, 8 channels", "cifar10", network="vgg", channels=8, width=256)
DIGITS = replace(
    NN, dataset="digits", network=use("mlp", width=16, depth=2), validation_size=297
)  # exercises the wiring, no more
MNIST_EPOCH, CIFAR_EPOCH = 782, 625  # steps, of 50,000 and 40,000 images

# --- Methods -----------------------------------------------------------------------------------------------

BP, FG, CLIPPED = "backpropagation", "forward gradient", "forward gradient, clipped"
ESTIMATORS = {
    BP: use("backpropagation"),
    FG: use("forward_gradient", num_tangents=1, aggregation="mean", tangents="normal"),
    CLIPPED: use(
        "forward_gradient", num_tangents=1, aggregation="mean", tangents="normal", clip=1.0
    ),
}
OPTIMIZERS = {
    "SGD": use("sgd"),
    "Nesterov": use("sgd", momentum=0.9, nesterov=True),
    "Adam": use("adam"),
}


def name(estimator: str, optimizer: str) -> str:
    """Return the name of a method."""
    return f"{estimator}, {optimizer}"


def fair(optimizer: str) -> tuple[Method, ...]:
    """Return the methods of a fair comparison: one optimizer and loss, a constant rate, no other change."""
    return tuple(
        Method(name(estimator, optimizer), part, OPTIMIZERS[optimizer])
        for estimator, part in ESTIMATORS.items()
    )


# --- What the paper states ------------------------------------------------------------------------------------

TABLE_I = {  # experiment: optimizer, forward gradient and backpropagation: Table I, printed, last ten, first epoch
    "nn-sgd": ("SGD", (0.332, 0.332, 0.4135, 2.276), (0.0, 1.8743665e-05, 0.05408, 0.2109)),
    "nn-nesterov": ("Nesterov", (0.270, 0.26826674, 0.4373, 2.276), (0.0, 1.4020845e-05, 0.06715, 0.1315)),
    "nn-adam": ("Adam", (0.283, 0.28305081, 0.3889, 2.19), (0.0, 6.0349447e-07, 0.1438, 0.31)),
    "cnn-sgd": ("SGD", (0.548, 0.548, 0.7895, 2.296), (0.0, 0.0, 0.008663, 0.01146)),
    "cnn-nesterov": ("Nesterov", (0.559, 0.55909765, 0.606, 2.294), (0.0, 0.0, 0.002643, 0.01398)),
    "cnn-adam": ("Adam", (0.669, 0.66907001, 0.734, 2.293), (0.0, 0.0, 2.168e-05, 0.0213)),
    "cifar-sgd": ("SGD", (6.955, 6.955, 6.364, 2.302), (1.685, 1.68356407, 1.405, 2.303)),
}  # fmt: skip
READ = ("Table I", "notebook, last epoch", "notebook, mean of the last ten epochs", "notebook, first epoch")  # fmt: skip
SILENT = {
    "seconds": "not timed anywhere",
    "accuracy": "not computed anywhere",
    "repetitions": "not stated; one run a row, with one seed",
    "device": "not recorded; a GPU of Google Colab",
}
FACTS = (
    *(Fact("Section III", quantity, None, why) for quantity, why in SILENT.items()),
    *(
        # the papers' figure, and what its notebooks print: all of them the loss of 16 test images (D1)
        Fact(item, "test loss", value, "loss of the last 16 test images", method, setting)
        for setting, (optimizer, forward_values, backward_values) in TABLE_I.items()
        for method, values in (
            (name(FG if optimizer == "Adam" else CLIPPED, optimizer), forward_values),
            (name(BP, optimizer), backward_values),
        )
        for item, value in zip(READ, values, strict=True)
    ),
)

# --- As published: the 14 rows of Table I with the settings really used ---------------------------------------
# Forward gradients: their own loss (probabilities clamped), the rate decaying by exp(-decay) a step, Nesterov
# judged behind the look-ahead point, Adam with epsilon under the root. Backpropagation: PyTorch's rules.


def forward(optimizer: str, clip: float | None = 1.0, **options: float | bool) -> Method:
    """Return a forward-gradient method as the paper ran it; SGD and Nesterov clipped, Adam not (D7)."""
    estimator = ESTIMATORS[FG if clip is None else CLIPPED]
    kind = {"SGD": "sgd", "Nesterov": "look_ahead", "Adam": "adam"}[optimizer]
    method = Method(
        name(FG if clip is None else CLIPPED, optimizer), estimator, use(kind, **options)
    )
    return replace(method, schedule="exponential", loss="clamped_cross_entropy")


def backward(optimizer: str, schedule: str = "constant", **options: float | bool) -> Method:
    """Return a backpropagation method as the paper ran it."""
    kind = "adam" if optimizer == "Adam" else "sgd"
    return Method(name(BP, optimizer), use("backpropagation"), use(kind, **options), schedule)


def at(learning_rate: float, decay: float | None = None) -> Settings:
    """Return a rate, and a decay per step."""
    return settings({"learning_rate": learning_rate, **({} if decay is None else {"decay": decay})})


def published(
    experiment: str,
    problem: Classification,
    rows: tuple[tuple[Method, Settings], tuple[Method, Settings]],
    epochs: int,
    reduced: Plan | None = None,
) -> Experiment:
    """Return two rows of Table I: three repetitions, the test split looked at after every epoch."""
    steps = CIFAR_EPOCH if problem.dataset == "cifar10" else MNIST_EPOCH
    full = Plan(
        problem,
        Training(epochs * steps, evaluate_every=epochs // 5 * steps, test_every=steps),
        repetitions=3,
    )
    return Experiment(
        experiment,
        "published",
        tuple(method for method, _ in rows),
        (settings(),),
        smoke=Plan(DIGITS, Training(24, evaluate_every=12, test_every=12), 2),
        reduced=reduced or full,
        full=full,
        own=tuple((method.name, own) for method, own in rows),
    )


FIRST_EPOCH = Plan(
    CNN, Training(MNIST_EPOCH, evaluate_every=MNIST_EPOCH, test_every=MNIST_EPOCH), 1
)
PUBLISHED = (
    published(
        "nn-sgd",  # R1, R2
        NN,
        ((forward("SGD"), at(4.64e-4, 1e-5)), (backward("SGD"), at(0.1))),
        50,
    ),
    published(
        "nn-nesterov",  # R3 with the decay that ran, 1e-6, not the 1e-5 of Table I (D9); R4
        NN,
        (
            (forward("Nesterov", momentum=0.367), at(3.2e-4, 1e-6)),
            (backward("Nesterov", momentum=0.5, nesterov=True), at(0.1)),
        ),
        50,
    ),
    published(
        "nn-adam",  # R5, R6
        NN,
        (
            (forward("Adam", None, beta1=0.99, beta2=0.999, epsilon_inside=True), at(5e-4, 5e-5)),
            (backward("Adam"), at(1e-4)),
        ),
        50,
    ),
    published(
        "cnn-sgd",  # R7, R8
        CNN,
        ((forward("SGD"), at(3.98e-4, 1e-5)), (backward("SGD"), at(0.1))),
        50,
        FIRST_EPOCH,
    ),
    published(
        "cnn-nesterov",  # R9, R10
        CNN,
        (
            (forward("Nesterov", momentum=0.9), at(1e-4, 1e-4)),
            (backward("Nesterov", momentum=0.783, nesterov=True), at(0.01)),
        ),
        50,
        FIRST_EPOCH,
    ),
    published(
        "cnn-adam",  # R11, R12
        CNN,
        (
            (forward("Adam", None, beta1=0.9, beta2=0.9999, epsilon_inside=True), at(2.5e-4, 1e-4)),
            (backward("Adam"), at(2.36e-4)),
        ),
        50,
        FIRST_EPOCH,
    ),
    published(
        "cifar-sgd",  # R13, R14
        VGG,
        ((forward("SGD"), at(4.33e-4, 1e-6)), (backward("SGD", "exponential"), at(0.01, 1e-4))),
        100,
        Plan(VGG, Training(100, evaluate_every=100, test_every=100), 1),
    ),
)

# --- Matched: one shared rate, the comparison that the paper calls unfair -----------------------------------------

MATCHED = Experiment(
    "matched-nn",
    "matched",
    tuple(replace(method, schedule="exponential") for method in fair("SGD")[:2]),
    (at(2e-4, 1e-4),),  # Baydin et al.'s rate and decay
    smoke=Plan(DIGITS, Training(24, evaluate_every=12), 2),
    reduced=Plan(NN, Training(10 * MNIST_EPOCH, evaluate_every=MNIST_EPOCH), 3),
    full=Plan(NN, Training(50 * MNIST_EPOCH, evaluate_every=MNIST_EPOCH), 6),
)

# --- Tuned: every method at its own best rate, under one budget ------------------------------------------------

SPACE = SearchSpace((("learning_rate", LogUniform(1e-6, 1e1)),))


def tuned(
    label: str, optimizer: str, reduced: Classification, epochs: int, full: Classification
) -> Experiment:
    """Return the search of one network and optimizer, `epochs` of them at reduced scale."""
    epoch = CIFAR_EPOCH if full.dataset == "cifar10" else MNIST_EPOCH
    published_epochs = 100 if full.dataset == "cifar10" else 50
    return Experiment(
        f"tuned-{label}-{optimizer.lower()}",
        "tuned",
        fair(optimizer),
        (settings(),),
        smoke=Plan(DIGITS, Training(24, evaluate_every=12), 2, Search(SPACE, 4)),
        reduced=Plan(reduced, Training(epochs * epoch, evaluate_every=epoch), 3, Search(SPACE, 16)),
        full=Plan(
            full,
            Training(published_epochs * epoch, evaluate_every=epoch),
            6,
            Search(SPACE, 32),
        ),
    )


TUNED = tuple(
    tuned(label, optimizer, reduced, epochs, full)
    for label, reduced, epochs, full in (
        ("nn", NN, 10, NN),
        ("cnn", SMALL_CNN, 2, CNN),
        ("cifar", SMALL_VGG, 2, VGG),
    )
    for optimizer in OPTIMIZERS
)

# --- Cost of a step, for equal time ------------------------------------------------------------------------------


def run_time(
    label: str, optimizer: str, reduced: Classification, full: Classification
) -> Experiment:
    """Return the cost of a step of each method of a tuned comparison."""
    plan = Plan(reduced, Timing(30, 5, "cpu", 1), 1)
    return Experiment(
        f"run-time-{label}-{optimizer.lower()}",
        "tuned",
        fair(optimizer),
        (settings(learning_rate=1e-5),),
        smoke=Plan(DIGITS, Timing(3, 1, "cpu", 1), 1),
        reduced=plan,
        full=replace(plan, problem=full),
    )


RUN_TIME = tuple(
    run_time(label, optimizer, reduced, full)
    for label, reduced, full in (("nn", NN, NN), ("cnn", SMALL_CNN, CNN), ("cifar", SMALL_VGG, VGG))
    for optimizer in OPTIMIZERS
)

CLAIMS: tuple[Claim, ...] = ()
STUDY = Study(
    name="rike2022",
    citation="Rike & Førland (2022), A comparison of backpropagation and forward gradients for deep "
    "learning, EPFL CS-439 project report",
    facts=FACTS,
    experiments=(*PUBLISHED, MATCHED, *TUNED, *RUN_TIME),
    claims=CLAIMS,
)

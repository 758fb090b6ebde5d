"""Rike & Førland 2022, "A comparison of backpropagation and forward gradients for deep learning".

Student project report, EPFL CS-439; code at github.com/benjaminrike1/forward_gradient, commit 827a478. It
re-runs forward gradients with SGD, Nesterov's method and Adam, each method at a rate of its own, and finds
backpropagation better throughout. Its test losses are those of the last 16 test images alone. What it states
and what its notebooks print is in `studies.facts.rike2022`, where the defects D1 to D20 named below are too.
"""

from __future__ import annotations

from dataclasses import replace

from repro.protocol import (
    Check,
    Claim,
    Classification,
    Expectation,
    Experiment,
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
from studies.facts.rike2022 import BP, CLIPPED, FACTS, FG, TABLE_I, name

# --- Problems ----------------------------------------------------------------------------------------------


def images(name: str, dataset: str, **network: str | int) -> Classification:
    """Return a data set and network of the paper: pixels in [0, 1], mini-batches of 64, none dropped."""
    parts = use(str(network.pop("network")), **network)
    return Classification(name, dataset, parts, 64, "unit", validation_size=10_000, drop_last=False)


NN = images("mnist mlp", "mnist", network="mlp", width=1024, depth=2)
CNN = images("mnist cnn", "mnist", network="cnn", channels=64, padding=0)
VGG = images("cifar10 vgg", "cifar10", network="vgg", channels=64, width=4096)
# what a laptop can search: fewer channels, and as deep as backpropagation learns in one epoch
SMALL_CNN = images("mnist cnn, 16 channels", "mnist", network="cnn", channels=16, width=256)
SMALL_VGG = images(
    "cifar10 vgg, 8 channels, 1 pair", "cifar10", network="vgg", channels=8, width=128, pairs=1
)
DIGITS = replace(
    NN, dataset="digits", network=use("mlp", width=16, depth=2), validation_size=297
)  # exercises the wiring, no more
MNIST_EPOCH, CIFAR_EPOCH = 782, 625  # steps, of 50,000 and 40,000 images

# --- Methods -----------------------------------------------------------------------------------------------

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


def fair(optimizer: str) -> tuple[Method, ...]:
    """Return the methods of a fair comparison: one optimizer and loss, a constant rate, no other change."""
    return tuple(
        Method(name(estimator, optimizer), part, OPTIMIZERS[optimizer])
        for estimator, part in ESTIMATORS.items()
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
        smoke=Plan(
            DIGITS, Training(24, evaluate_every=12), 2, Search(SPACE, 4, refinement_trials=2)
        ),
        reduced=Plan(
            reduced,
            Training(epochs * epoch, evaluate_every=epoch),
            6,
            Search(SPACE, 16, refinement_trials=4),
        ),
        full=Plan(
            full,
            Training(published_epochs * epoch, evaluate_every=epoch),
            6,
            Search(SPACE, 32, refinement_trials=4),
        ),
    )


TUNED = tuple(
    tuned(label, optimizer, reduced, epochs, full)
    for label, reduced, epochs, full in (
        ("nn", NN, 10, NN),
        ("cnn", SMALL_CNN, 1, CNN),
        ("cifar", SMALL_VGG, 1, VGG),
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

# --- Claims ------------------------------------------------------------------------------------------------------
# Judged on the whole test split. "Much" means twice, or 0.1 nats; a published number counts as met within 25 %.

ABOVE_ZERO, BELOW_ZERO = Expectation(low=0.0, strict=True), Expectation(high=0.0, strict=True)
ROUNDS_TO_ZERO = Expectation(high=5e-4)
LEARNED = 2.2
NN_ROWS = (
    ("nn-sgd", "SGD", CLIPPED),
    ("nn-nesterov", "Nesterov", CLIPPED),
    ("nn-adam", "Adam", FG),
)


def final(
    experiment: str, method: str, metric: str, expect: Expectation, published: float | None = None
) -> Check:
    """Return a check of a method's final metric."""
    measure = use("final_metric", experiment=experiment, method=method, metric=metric)
    return Check(f"{experiment} {metric.replace('_', ' ')}, {method}", measure, expect, published)


def difference(
    experiment: str,
    metric: str,
    expect: Expectation,
    optimizer: str,
    estimator: str = CLIPPED,
    base: str = BP,
) -> Check:
    """Return a check of one method's final metric minus another's, paired."""
    a, b = name(estimator, optimizer), name(base, optimizer)
    measure = use("paired_difference", experiment=experiment, metric=metric, a=a, b=b)
    label = f"{experiment} {metric.replace('_', ' ')}, {estimator} minus {base}"
    return Check(label, measure, expect)


def learned(label: str, optimizer: str, estimator: str = BP) -> Check:
    """Return the condition that a tuned method left chance, 2.303 nats: before that it is too early to compare."""
    measure = use(
        "final_metric", experiment=f"tuned-{label}-{optimizer.lower()}", method=name(estimator, optimizer), metric="test_loss"
    )  # fmt: skip
    label = f"{label.upper()} {optimizer} test loss, {estimator}"
    return Check(label, measure, Expectation(high=LEARNED))


def tuned_ratio(
    label: str, metric: str, expect: Expectation, optimizer: str, a: str, b: str
) -> Check:
    """Return a check of the ratio of two tuned methods in a metric, once the first, which is behind, has learned."""
    measure = use(
        "paired_ratio", experiment=f"tuned-{label}-{optimizer.lower()}", metric=metric,
        a=name(a, optimizer), b=name(b, optimizer),
    )  # fmt: skip
    text = f"{label.upper()} {optimizer} {metric.replace('_', ' ')}, {a} over {b}"
    return Check(text, measure, expect, provided=learned(label, optimizer, a))


def iterations(optimizer: str, expect: Expectation) -> Check:
    """Return a check of backpropagation's iterations to the tuned forward gradient's lowest loss, over its own."""
    measure = use(
        "steps_to_loss_ratio", experiment=f"tuned-nn-{optimizer.lower()}",
        method=name(BP, optimizer), baseline=name(CLIPPED, optimizer),
    )  # fmt: skip
    return Check(
        f"NN {optimizer} iterations to the forward gradient's lowest loss, ratio", measure, expect
    )


def at_end(
    label: str, method: str, metric: str, expect: Expectation, published: float | None = None
) -> Check:
    """Return a check of a test metric after the 100 epochs on CIFAR-10."""
    measure = use(
        "curve_at", experiment="cifar-sgd", method=method, metric=metric, split="test", step=62_500
    )  # fmt: skip
    return Check(label, measure, expect, published)


def diverged(optimizer: str, estimator: str, expect: Expectation, base: str = BP) -> Check:
    """Return a check of the share of a tuned method's trials that diverged, less another's."""
    measure = use(
        "diverged_trials_difference", experiment=f"tuned-nn-{optimizer.lower()}",
        a=name(estimator, optimizer), b=name(base, optimizer),
    )  # fmt: skip
    return Check(
        f"NN {optimizer} share of diverged trials, {estimator} minus {base}", measure, expect
    )


def rates(measure: str, what: str, optimizer: str, **options: float) -> Check:
    """Return a check that a rate of tuned backpropagation is ten times the clipped forward gradient's or more."""
    measured = use(
        measure, experiment=f"tuned-nn-{optimizer.lower()}", a=name(BP, optimizer), b=name(CLIPPED, optimizer), **options
    )  # fmt: skip
    return Check(f"NN {optimizer} {what}, {BP} over {CLIPPED}", measured, Expectation(low=10.0))


def missed(label: str, optimizer: str) -> Check:
    """Return a check that forward gradients miss a tenth more of backpropagation's descent than on the dense network."""
    measure = use(
        "missed_change_at_equal", first=f"tuned-nn-{optimizer.lower()}", last=f"tuned-{label}-{optimizer.lower()}",
        metric="loss", split="validation", method=name(CLIPPED, optimizer), base=name(BP, optimizer),
    )  # fmt: skip
    text = (
        f"{label.upper()} {optimizer}: share of the descent missed less that on the dense network"
    )
    return Check(text, measure, Expectation(low=0.1), provided=learned(label, optimizer))


CODE = "a statement about their procedure, which needs no run; their code and outputs"
CLAIMS = (
    Claim(
        1, "Backpropagation beats forward gradients in every aspect", "Section IV",
        (
            *(difference(e, "test_loss", ABOVE_ZERO, o, fg) for e, o, fg in NN_ROWS),
            *(difference(e, "test_accuracy", BELOW_ZERO, o, fg) for e, o, fg in NN_ROWS),
            *(
                Check(
                    f"{label.upper()} SGD {what} of a step, forward gradient over backpropagation",
                    use(measure, experiment=f"run-time-{label}-sgd", **{a: name(CLIPPED, "SGD"), b: name(BP, "SGD")}),
                    Expectation(low=1.0, strict=True),
                )
                for label in ("nn", "cnn")
                for what, measure, a, b in (
                    ("time", "step_time_ratio", "numerator", "denominator"), ("peak memory", "peak_memory_ratio", "a", "b"),
                )
            ),
        ),
    ),
    Claim(
        2, "All backpropagation networks on MNIST reach a loss of zero, no forward-gradient network does",
        "Section IV, Table I",
        (
            *(final(e, name(BP, o), "test_loss", ROUNDS_TO_ZERO, 0.0) for e, o, _ in NN_ROWS),
            # over the last epoch: its last mini-batch, which they print, has 16 images
            *(
                Check(
                    f"{e} training loss of the last epoch, {name(BP, o)}",
                    use("curve_end", experiment=e, method=name(BP, o), metric="loss"),
                    ROUNDS_TO_ZERO,
                    0.0,
                )
                for e, o, _ in NN_ROWS
            ),
            *(
                final(e, name(fg, o), "test_loss", Expectation(low=5e-4), TABLE_I[e][1][0])
                for e, o, fg in NN_ROWS
            ),
        ),
    ),
    Claim(
        3, "The forward gradient's loss curves are much noisier", "Section IV",
        tuple(
            Check(
                f"{e} spread of the training loss over the last tenth, ratio",
                use("curve_spread_ratio", experiment=e, metric="loss", a=name(fg, o), b=name(BP, o)),
                Expectation(low=2.0),
            )
            for e, o, fg in NN_ROWS
        ),
    ),
    Claim(
        4, "On CIFAR-10 the forward gradient fails to learn and explodes after about 40,000 iterations",
        "Section IV, Fig. 1",
        (
            at_end("CIFAR-10 test loss at the end, above chance", name(CLIPPED, "SGD"), "loss", Expectation(low=2.303)),
            at_end("CIFAR-10 accuracy at the end, near chance", name(CLIPPED, "SGD"), "accuracy", Expectation(high=0.2)),
        ),
    ),
    Claim(
        5, "Backpropagation on CIFAR-10 ends at a loss of 1.685", "Table I",
        (at_end("CIFAR-10 test loss at the end", name(BP, "SGD"), "loss", Expectation(1.264, 2.106), 1.685),),
    ),
    Claim(
        6, "With rates tuned apart, backpropagation reaches a much lower loss for all optimizers and networks on MNIST",
        "Section V",
        tuple(
            tuned_ratio(label, "test_loss", Expectation(low=2.0), o, CLIPPED, BP)
            for label in ("nn", "cnn") for o in OPTIMIZERS
        ),
    ),
    Claim(
        7, "Backpropagation converges 2 to 4 times faster", "Section V",
        tuple(iterations(o, Expectation(1 / 4, 1 / 2)) for o in OPTIMIZERS),
    ),
    Claim(
        8, "Backpropagation can use a much higher learning rate than forward gradients", "Section V",
        (
            *(rates("chosen_rate_ratio", "learning rate", o) for o in OPTIMIZERS),
            *(rates("usable_rate_ratio", "largest rate that learns", o, limit=LEARNED) for o in OPTIMIZERS),
        ),
    ),
    Claim(
        9, "Backpropagation is faster in spite of the forward gradient's lower cost per iteration", "Section V",
        (
            Check(
                "NN SGD time of a step, forward gradient over backpropagation",
                use("step_time_ratio", experiment="run-time-nn-sgd",
                    numerator=name(CLIPPED, "SGD"), denominator=name(BP, "SGD")),
                Expectation(high=1.0, strict=True),
            ),
            Check(
                "NN SGD time to the forward gradient's lowest loss, backpropagation over it",
                use("time_to_loss_ratio", experiment="tuned-nn-sgd", run_time_experiment="run-time-nn-sgd",
                    method=name(BP, "SGD"), baseline=name(CLIPPED, "SGD")),
                Expectation(high=1.0, strict=True),
            ),
        ),
    ),
    Claim(
        10, "Baydin et al. gave both methods one rate, too small for backpropagation: an unfair comparison", "Abstract",
        (
            # at the shared rate the forward gradient leads; backpropagation's own best rate is far above it,
            # the forward gradient's is near it
            Check(
                f"Baydin et al.'s network at their rate: validation loss, {FG} minus {BP}",
                use("paired_difference", study="baydin2022", experiment="mlp-2e-4-exponential", metric="validation_loss",
                    a=FG, b=BP),
                BELOW_ZERO,
            ),
            Check(
                f"this paper's network at their rate, {FG} minus {BP}",
                use("paired_difference", experiment="matched-nn", metric="validation_loss", a=name(FG, "SGD"), b=name(BP, "SGD")),
                BELOW_ZERO,
            ),
            *(
                Check(
                    f"the same network, learning rate of its own, {estimator}",
                    use("chosen_rate", study="baydin2022", experiment="tuned-mlp", method=estimator),
                    expect,
                )
                for estimator, expect in ((BP, Expectation(low=2e-3)), (FG, Expectation(2e-5, 2e-3)))
            ),
        ),
    ),
    Claim(
        11, "The forward gradient is unstable and suddenly explodes", "Section V",
        (
            *(diverged(o, fg, Expectation(low=0.01)) for o in OPTIMIZERS for fg in (FG, CLIPPED)),
            # suddenly: at a rate that had worked
            *(
                Check(
                    f"{e} share of reported runs that diverged, {name(fg, o)}",
                    use("diverged_share", experiment=e, method=name(fg, o)),
                    Expectation(low=0.01),
                )
                for e, o, fg in NN_ROWS
            ),
        ),
    ),
    Claim(
        12, "Clipping the directional derivative at 1 stabilises training", "Section V",
        (
            *(diverged(o, CLIPPED, BELOW_ZERO, FG) for o in OPTIMIZERS),
            *(difference(f"tuned-nn-{o.lower()}", "test_loss", BELOW_ZERO, o, CLIPPED, FG) for o in OPTIMIZERS),
        ),
    ),
    Claim(
        13, "Fig. 1 shows an explosion that clipping then mitigated", "Section V, Fig. 1",
        untested=f"{CODE} show that the run of Fig. 1 was clipped already",
    ),
    Claim(
        14, "They reproduced the original results", "Section VI",
        untested="nothing of theirs to check: no pair of runs at one rate, no timing, no logistic regression; ours at "
        "the shared rate stand under claim 10",
    ),
    Claim(
        15, "Forward gradients do not scale with the complexity of task and network, whatever the optimizer", "Abstract",
        tuple(missed(label, o) for label in ("cnn", "cifar") for o in OPTIMIZERS),
    ),
    Claim(
        16, "The variance of the forward gradient is too high: the suspected cause", "Section V",
        untested="a conjecture without a number; Baydin et al.'s claim 2 here measures the variance of one estimate",
    ),
    Claim(
        17, "Hyperparameters were chosen on a validation set by grid search", "Section III",
        untested=f"{CODE} say otherwise for R5, R6, R9 to R12",
    ),
    Claim(
        18, "All forward-gradient runs use clipping", "Section III",
        untested=f"{CODE} show none for R5 and R11",
    ),
    Claim(19, "The batch size is 64 throughout", "Section III", untested=f"{CODE} agree"),
    Claim(
        20, "On MNIST forward gradients need more iterations than backpropagation with SGD, Nesterov and Adam",
        "Section VI",
        tuple(iterations(o, Expectation(high=1.0, strict=True)) for o in OPTIMIZERS),
    ),
)  # fmt: skip

STUDY = Study(
    name="rike2022",
    citation="Rike & Førland (2022), A comparison of backpropagation and forward gradients for deep "
    "learning, EPFL CS-439 project report",
    facts=FACTS,
    experiments=(*PUBLISHED, MATCHED, *TUNED, *RUN_TIME),
    claims=CLAIMS,
)

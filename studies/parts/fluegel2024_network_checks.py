"""What decides claims of Flügel et al. 2024 on networks, judged at the epoch of the lowest validation loss, on the test split."""

from __future__ import annotations

from repro.protocol import LEARNED, Check, Expectation, use
from studies.facts.fluegel2024 import BP, FG, mean, projection
from studies.parts import fluegel2024_networks as networks

FULLY_CONNECTED, LARGE, TIMED, BEYOND = (
    tuple(of.name for of in group)
    for group in (networks.FULLY_CONNECTED, networks.LARGE, networks.TIMED_SETTINGS, networks.BEYOND)
)  # fmt: skip
# a difference of exactly zero, as of two runs whose best epoch is their common start, is none
HIGHER, LOWER = Expectation(low=1e-6), Expectation(high=-1e-6)
ACCURACY = "best_test_accuracy"
PUBLISHED, TUNED = "networks-", "networks-tuned-"


def learned(network: str, arm: str, method: str = BP) -> Check:
    """Return what a comparison needs to decide anything: in its budget a method has learned something."""
    measure = use(
        "final_metric", experiment=f"{arm}{network}", method=method, metric="best_test_loss"
    )
    return Check(f"{network}: test loss of {method}", measure, Expectation(high=LEARNED))


def more_tangents(network: str, arm: str, a: str, b: str) -> Check:
    """Return a check of the test accuracy of `a` minus that of `b`."""
    measure = use("paired_difference", experiment=f"{arm}{network}", metric=ACCURACY, a=a, b=b)
    words = "tuned rates" if arm == TUNED else "authors' rates"
    label = f"{network}, {words}: test accuracy, {a} minus {b}"
    return Check(label, measure, HIGHER, provided=learned(network, arm))


def gap(network: str, method: str) -> Check:
    """Return a check of backpropagation's test accuracy minus a method's."""
    experiment = f"{TUNED}{network}"
    measure = use("paired_difference", experiment=experiment, metric=ACCURACY, a=BP, b=method)
    label = f"{network}: test accuracy, {BP} minus {method}"
    # a gap that remains is one after training
    return Check(label, measure, HIGHER, provided=learned(network, TUNED, method))


def close(network: str, method: str) -> Check:
    """Return a check that a method's test accuracy at the authors' rates is within a hundredth of backpropagation's."""
    experiment = f"{PUBLISHED}{network}"
    measure = use("paired_difference", experiment=experiment, metric=ACCURACY, a=BP, b=method)
    label = f"{network}, authors' rates: test accuracy, {BP} minus {method}"
    return Check(label, measure, Expectation(-0.01, 0.01), provided=learned(network, PUBLISHED))


def passes(method: str) -> Check:
    """Return a check that 16 tangents reach a higher test accuracy than one tangent with as many forward passes."""
    network = networks.FULLY_CONNECTED[0].name
    measure = use(
        "difference_between", first=networks.PASSES.name, last=f"{TUNED}{network}", method=FG,
        last_method=method, metric=ACCURACY,
    )  # fmt: skip
    label = f"{network}: test accuracy, {FG} minus {method}, at equal forward passes"
    return Check(label, measure, LOWER, provided=learned(network, TUNED))


def no_worse(network: str, num_tangents: int) -> Check:
    """Return a check that the projection's test loss is not above the mean's, each at its tuned rate."""
    experiment, ours, theirs = f"{TUNED}{network}", projection(num_tangents), mean(num_tangents)
    measure = use(
        "paired_difference", experiment=experiment, metric="best_test_loss", a=ours, b=theirs
    )
    label = f"{network}: test loss, {ours} minus {theirs}"
    return Check(label, measure, Expectation(high=0.01), provided=learned(network, TUNED, theirs))


def baseline(network: str) -> Check:
    """Return a check of what backpropagation loses at the authors' rate: within a hundredth it counts as tuned."""
    measure = use(
        "difference_between", first=f"{PUBLISHED}{network}", last=f"{TUNED}{network}", method=BP,
        metric=ACCURACY,
    )  # fmt: skip
    label = f"{network}: test accuracy of {BP} at the authors' rate minus that at its tuned rate"
    return Check(label, measure, Expectation(low=-0.01), provided=learned(network, TUNED))


def cost(network: str, measure: str, label: str, a: str, b: str) -> Check:
    """Return a check that a step of `a` costs no more than one of `b`."""
    names = ("numerator", "denominator") if measure == "step_time_ratio" else ("a", "b")
    experiment = f"networks-run-time-{network}"
    part = use(measure, experiment=experiment, **dict(zip(names, (a, b), strict=True)))
    return Check(f"{network}: {label}, {a} over {b}", part, Expectation(high=1.0))

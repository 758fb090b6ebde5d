"""What a run is told: its loss, its rate by step, its budget; and what its record states."""

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from training_cases import BACKPROPAGATION, CPU, FORWARD, LOGISTIC, MLP, curve, measured, one, run

from repro.protocol import Method, Training, use
from repro.training import Schedule, train

# A method's own loss


def test_a_method_trains_its_own_loss() -> None:
    loss = "clamped_cross_entropy"
    task = Training(20, 10, loss_limit=1e30)
    own, declared, neither = (
        one(run(problem, method, 100.0, task=task))  # a rate that leaves the range
        for problem, method in (
            (LOGISTIC, dataclasses.replace(BACKPROPAGATION, loss=loss)),
            (dataclasses.replace(LOGISTIC, loss=loss), BACKPROPAGATION),
            (LOGISTIC, BACKPROPAGATION),
        )
    )
    assert own.curves == declared.curves
    bound = -math.log(2.0**-23) * (1.0 + 1e-6)  # float32
    for split in ("train", "validation"):
        assert max(curve(own, "loss", split).values()) <= bound
        assert max(curve(neither, "loss", split).values()) > bound
        first = curve(neither, "loss", split)[0]  # the same start, on the same examples
        assert curve(own, "loss", split)[0] == pytest.approx(first, rel=1e-6)
    for name in ("train_loss", "validation_loss", "test_loss"):
        assert measured(own, name) <= bound


def test_a_formula_has_no_other_loss() -> None:
    method = dataclasses.replace(BACKPROPAGATION, loss="clamped_cross_entropy")
    assert one(run(method=method)).curves == one(run()).curves


# Schedules


@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        ("constant", lambda eta, _k, _i: eta),
        ("exponential", lambda eta, k, i: eta * math.exp(-k * i)),
        ("hyperbolic", lambda eta, k, i: eta / (1 + k * i)),
    ],
)
def test_schedules(kind: str, formula: Callable[[float, float, int], float]) -> None:
    pairs = ((0.1, 1e-4), (2e-5, 0.01), (1.0, 0.0))
    specs = [run(learning_rate=rate, decay=decay) for rate, decay in pairs]
    schedule = Schedule(kind, specs, CPU)
    for step in (0, 1, 10, 19_999):
        rates = schedule(step)
        assert rates.shape == (3,)
        assert rates.tolist() == pytest.approx([formula(*pair, step) for pair in pairs], rel=1e-6)


def test_bad_schedules() -> None:
    with pytest.raises(
        ValueError,
        match=r"Unknown schedule 'cosine'. Choose from: constant, exponential, hyperbolic.",
    ):
        Schedule("cosine", [run()], CPU)
    with pytest.raises(
        ValueError, match=r"The hyperbolic schedule needs the hyperparameter `decay`."
    ):
        Schedule("hyperbolic", [run()], CPU)
    nothing = dataclasses.replace(run(), hyperparameters=())
    with pytest.raises(ValueError, match=r"needs the hyperparameter `learning_rate`. Found {}."):
        one(nothing)


# The loop and its callers


def test_a_record_states_cost_and_environment() -> None:
    (record, _) = train([run(MLP, FORWARD), run(MLP, FORWARD, repetition=1)], CPU)
    assert {
        name: record.measured[name] for name in ("num_parameters", "num_steps", "group_size")
    } == {
        "num_parameters": 64 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10,
        "num_steps": 20,
        "group_size": 2,
    }
    assert measured(record, "forward_passes") == 60.0
    assert measured(record, "tangents") == 20.0
    assert measured(record, "seconds") > 0.0
    assert record.steps_per_epoch == 1_000 // 32
    assert record.measured["torch"] == torch.__version__
    assert math.isnan(one(run()).steps_per_epoch)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Method("m", use("evolution"), use("sgd")), "Unknown estimator 'evolution'"),
        (Method("m", use("backpropagation"), use("lion")), "Unknown optimizer 'lion'"),
        (Method("m", use("backpropagation"), use("sgd"), "cosine"), "Unknown schedule 'cosine'"),
        (
            Method("m", use("forward_gradient", num_tangents=0), use("sgd")),
            "`num_tangents` must be",
        ),
        (Method("m", use("backpropagation"), use("sgd", momentum=2.0)), "`momentum` must be in"),
    ],
)
def test_bad_methods(method: Method, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one(run(method=method))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan"), 1])
def test_bad_learning_rates(rate: float) -> None:
    with pytest.raises(ValueError, match=r"`learning_rate` must be|must be finite"):
        run(learning_rate=rate)


def test_bad_budgets() -> None:
    with pytest.raises(ValueError, match=r"`num_steps` must be at least 1. Found 0."):
        Training(0, 1)
    with pytest.raises(ValueError, match=r"`evaluate_every` must be at least 1. Found 0."):
        Training(1, 0)
    with pytest.raises(ValueError, match=r"`test_every` must be at least 0. Found -1."):
        Training(1, 1, test_every=-1)

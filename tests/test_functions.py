"""Descent on functions as Flügel et al. (2024) ran it: their draws, their stopping rule, their final values."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from repro.autodiff import (
    Objective,
    Params,
    Recorded,
    value_and_directional_derivatives,
    value_and_gradient,
)
from repro.autodiff.sweeps import CACHED, EAGER_CALLS
from repro.engine import Patience
from repro.estimators import ForwardGradient
from repro.problems.closed_form import FUNCTIONS
from repro.protocol import (
    Classification,
    ClosedForm,
    Method,
    Problem,
    RunSpec,
    Training,
    Trial,
    settings,
    use,
)
from repro.results import Record
from repro.training import tangent_seed, train
from studies import fluegel2024
from studies.facts import fluegel2024 as facts

CPU = torch.device("cpu")
LIMIT = 50


def published(experiment: str, repetitions: int = 1) -> dict[str, Record]:
    """Train an experiment of the study at its published rates."""
    (found,) = [e for e in fluegel2024.STUDY.experiments if e.name == experiment]
    plan = found.full
    records = {}
    for method in found.methods:
        specs = [
            RunSpec(
                "fluegel2024", "published", "full", experiment, "report", plan.problem, method,
                found.settings_of(method)[0], repetition, plan.task,
            )
            for repetition in range(repetitions)
        ]  # fmt: skip
        records[method.name] = train(specs, CPU)[0]
    return records


def objective_of(name: str) -> Objective:
    """Return a function as an objective, whose parameters are a tensor."""

    def objective(params: Params) -> Tensor:
        assert isinstance(params, Tensor)
        return FUNCTIONS[name](params)

    return objective


# The authors' own final values


@pytest.mark.parametrize("experiment", ["sphere-128", "styblinski-tang-64"])
def test_seed_0_ends_where_the_history_says(experiment: str) -> None:
    stated = {
        fact.method: fact.value
        for fact in fluegel2024.STUDY.facts
        if fact.setting == experiment and fact.quantity == "final value"
    }
    records = published(f"functions-{experiment}")
    assert set(records) == set(stated)
    for name, record in records.items():
        assert record.measured["value"] == pytest.approx(stated[name], rel=1e-4, abs=1e-30), name


def test_published_seeds_are_repetitions_and_no_others() -> None:
    spec = RunSpec(
        "s", "published", "full", "e", "report", ClosedForm("f", "sphere", (1.0,), 3),
        Method("m", use("forward_gradient"), use("sgd"), tangent_seed="repetition"),
        settings(learning_rate=0.1), 4, Training(5, 5),
    )  # fmt: skip
    assert tangent_seed(spec) == 4
    ours = dataclasses.replace(
        spec, method=dataclasses.replace(spec.method, tangent_seed="identity")
    )
    assert tangent_seed(ours) > 1_000
    unknown = dataclasses.replace(spec.method, tangent_seed="clock")
    with pytest.raises(ValueError, match=r"must be `identity` or `repetition`. Found 'clock'"):
        train([dataclasses.replace(spec, method=unknown)], CPU)


# The stopping rule


def descend_naively(
    function: Callable[[Tensor], Tensor], point: Tensor, rate: float, steps: int, seed: int
) -> tuple[float, float, int]:
    """Return last and lowest value and the number of updates, one tangent and one step at a time."""
    generator = torch.Generator().manual_seed(seed)
    value = float(function(point))
    lowest, waited, taken = value, 0, 0
    for _ in range(steps):
        tangent = torch.randn(1, len(point), generator=generator)[0]
        slope = torch.func.jvp(function, (point,), (tangent,))[1].to(point.dtype)
        point = point - rate * slope * tangent
        before, value = value, float(function(point))
        lowest, taken = min(lowest, value), taken + 1
        waited = waited + 1 if value >= before else 0
        if waited >= LIMIT:
            break
    return value, lowest, taken


def stopped(rate: float, repetition: int, *, trial: bool = False, steps: int = 400) -> RunSpec:
    return RunSpec(
        "s", "published", "full", "e", "tune" if trial else "report",
        ClosedForm("styblinski", "styblinski_tang", (0.0,), 2),
        Method("m", use("forward_gradient"), use("sgd"), tangent_seed="repetition"),
        settings(learning_rate=rate), repetition,
        Training(steps, 100, loss_limit=1e9, patience=LIMIT, keep_losses=False),
        Trial(int(rate * 1e6), "x") if trial else None,
    )  # fmt: skip


@pytest.mark.parametrize("rate", [0.005, 0.01, 0.02])
def test_a_run_stands_still_where_a_plain_loop_stops(rate: float) -> None:
    for seed in range(3):
        (record,) = train([stopped(rate, seed)], CPU)
        last, lowest, taken = descend_naively(
            FUNCTIONS["styblinski_tang"], torch.zeros(2), rate, 400, seed
        )
        assert record.measured["num_steps"] == taken
        assert record.measured["value"] == pytest.approx(last, rel=1e-4)
        assert record.measured["best_value"] == pytest.approx(lowest, rel=1e-5)
        assert record.measured["tangents"] == taken


def test_standing_still_does_not_depend_on_company() -> None:
    specs = [stopped(0.02, seed) for seed in range(4)]
    together = train(specs, CPU)
    assert len({record.measured["num_steps"] for record in together}) > 1
    for spec, record in zip(specs, together, strict=True):
        (alone,) = train([spec], CPU)
        assert alone.measured["num_steps"] == record.measured["num_steps"]
        assert alone.measured["value"] == pytest.approx(record.measured["value"], rel=1e-5)
        for one, other in zip(alone.curves, record.curves, strict=True):
            assert one.steps == other.steps
            assert one.values == pytest.approx(other.values, rel=1e-4)


def test_curves_end_where_the_run_stood_still() -> None:
    (record,) = train([stopped(0.02, 0)], CPU)
    taken = record.measured["num_steps"]
    (values,) = [curve for curve in record.curves if curve.metric == "value"]
    assert values.steps[-1] == taken
    assert values.values[-1] == record.measured["value"]
    assert not [curve for curve in record.curves if curve.metric == "loss"]


@pytest.mark.parametrize(
    "problem",
    [
        ClosedForm("sphere", "sphere", (1.0,), 2),
        Classification("digits", "digits", use("logistic_regression"), 64, "unit", 297),
    ],
)
def test_what_would_not_stand_still_has_no_patience(problem: Problem) -> None:
    optimizer = use("look_ahead", momentum=0.9) if isinstance(problem, ClosedForm) else use("sgd")
    method = Method("m", use("backpropagation"), optimizer)
    spec = dataclasses.replace(stopped(0.1, 0), problem=problem, method=method)
    with pytest.raises(ValueError, match=f"`patience` is for .* Found {problem.name} and"):
        train([spec], CPU)


def test_patience_counts_steps_in_a_row() -> None:
    patience = Patience(2, torch.zeros(3))
    rates = torch.full((3,), 0.5)
    # falls always; never falls; rises, falls, rises, rises
    for losses, moving in (
        ((5.0, 5.0, 5.0), (1, 1, 1)),
        ((4.0, 5.0, 6.0), (1, 1, 1)),
        ((3.0, 5.0, 5.0), (1, 0, 1)),
        ((2.0, 5.0, 6.0), (1, 0, 1)),
        ((1.0, 5.0, 6.0), (1, 0, 0)),
    ):
        found = patience(torch.tensor(losses), rates)
        assert found.tolist() == [0.5 * m for m in moving]
    assert patience.taken.tolist() == [5, 2, 4]
    assert patience.standing().tolist() == [False, True, True]


# Trials of one seed share their tangents


@pytest.mark.parametrize("num_tangents", [1, 3, 8])
@pytest.mark.parametrize("aggregation", ["mean", "sum", "orthogonal_projection"])
@pytest.mark.parametrize("mode", ["forward", "simulated"])
def test_a_shared_generator_gives_the_draws_of_equal_ones(
    num_tangents: int, aggregation: Any, mode: Any
) -> None:
    estimator = ForwardGradient(num_tangents, aggregation, mode=mode)
    points = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rosenbrock = objective_of("rosenbrock")
    one = torch.Generator().manual_seed(7)
    shared = estimator(rosenbrock, points, [one] * 4)
    equal = estimator(rosenbrock, points, [torch.Generator().manual_seed(7) for _ in range(4)])
    torch.testing.assert_close(shared.gradient, equal.gradient, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(shared.value, equal.value)
    mixed = [torch.Generator().manual_seed(7), torch.Generator().manual_seed(8)]
    part = estimator(rosenbrock, points, [mixed[0], mixed[1], mixed[0], mixed[1]])
    apart = estimator(rosenbrock, points, [torch.Generator().manual_seed(s) for s in (7, 8, 7, 8)])
    torch.testing.assert_close(part.gradient, apart.gradient, rtol=1e-9, atol=1e-9)


def test_trials_of_a_search_share_draws_and_train_as_they_do_alone() -> None:
    specs = [stopped(rate, 0, trial=True) for rate in (0.001, 0.01, 0.02)]
    for spec, record in zip(specs, train(specs, CPU), strict=True):
        (alone,) = train([spec], CPU)
        assert alone.measured["value"] == pytest.approx(record.measured["value"], rel=1e-5)


# Derivatives that are recorded and replayed


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("num_tangents", [1, 4])
def test_a_replayed_sweep_is_the_eager_one(name: str, num_tangents: int) -> None:
    recorded = Recorded(objective_of(name))
    generator = torch.Generator().manual_seed(0)
    for call in range(EAGER_CALLS + 3):
        points = torch.randn(3, 2, generator=generator)
        tangents = torch.randn(num_tangents, 3, 2, generator=generator)
        value, slopes = value_and_directional_derivatives(recorded, points, tangents)
        eager = value_and_directional_derivatives(objective_of(name), points, tangents)
        assert torch.equal(value, eager[0]), call
        assert torch.equal(slopes, eager[1]), call
        found, gradient = value_and_gradient(recorded, points)
        expected, slope = value_and_gradient(objective_of(name), points)
        assert torch.equal(found, expected)
        assert isinstance(gradient, Tensor)
        assert isinstance(slope, Tensor)
        assert torch.equal(gradient, slope)


def test_a_large_sweep_goes_in_parts_of_replicas() -> None:
    recorded = Recorded(objective_of("rosenbrock"))
    replicas, dimension = 5, CACHED // 2
    points = torch.randn(replicas, dimension, generator=torch.Generator().manual_seed(0))
    tangents = torch.randn(1, replicas, dimension, generator=torch.Generator().manual_seed(1))
    value, slopes = value_and_directional_derivatives(recorded, points, tangents)
    expected = value_and_directional_derivatives(objective_of("rosenbrock"), points, tangents)
    torch.testing.assert_close(value, expected[0])
    torch.testing.assert_close(slopes, expected[1])


# The study


def test_the_exchanged_arm_takes_steps_of_equal_length() -> None:
    rates = {m.name: found for m, found in fluegel2024.own_rates("sphere", 64)}
    exchanged = {m.name: found for m, found in fluegel2024.other_rates("sphere", 64)}
    for k in (2, 4, 16):
        factor = (64 + k + 1) / k
        mean, projection = facts.mean(k), facts.projection(k)
        assert exchanged[mean] * factor == pytest.approx(rates[projection])
        assert exchanged[projection] == pytest.approx(rates[mean] * factor)


def test_rosenbrock_of_one_variable_is_zero_everywhere() -> None:
    for name, record in published("functions-rosenbrock-1").items():
        assert record.measured["value"] == record.measured["best_value"] == 0.0, name
        assert record.measured["num_steps"] == LIMIT
        assert math.isfinite(float(record.measured["score"] or 0.0))

"""What estimators cost, what they are called, and which settings they take."""

import pytest
import torch
from estimator_cases import every_estimator, objective, stacked
from references import generators

import repro
from repro.aggregation import AGGREGATIONS
from repro.estimators import ESTIMATORS, Backpropagation, Cost, Estimator, ForwardGradient, build

# What it costs, and what it is called


def test_costs() -> None:
    assert Backpropagation().cost == Cost(forward_passes=3.0, tangents=0)
    assert ForwardGradient().cost == Cost(forward_passes=3.0, tangents=1)
    assert ForwardGradient(16).cost == Cost(forward_passes=33.0, tangents=16)
    assert ForwardGradient(16, mode="simulated").cost == Cost(forward_passes=3.0, tangents=16)


@pytest.mark.parametrize("perturb", ["weights", "activations"])
def test_sixteen_tangents_share_a_value_and_cost_less_than_sixteen_steps(perturb: str) -> None:
    one, many = (ForwardGradient(k, perturb=perturb).cost for k in (1, 16))  # type: ignore[arg-type]
    assert many.tangents == 16 * one.tangents
    assert one.forward_passes < many.forward_passes < 16 * one.forward_passes


@every_estimator
def test_estimates_state_their_cost(estimator: Estimator) -> None:
    assert estimator(objective, stacked(2), generators(2)).cost == estimator.cost


def test_public_names() -> None:
    assert repro.Backpropagation is Backpropagation
    assert repro.ForwardGradient is ForwardGradient
    assert build("forward_gradient", num_tangents=4) == ForwardGradient(4)
    assert build("backpropagation") == Backpropagation()
    assert list(ESTIMATORS) == ["backpropagation", "forward_gradient"]
    assert set(repro.__all__) <= set(dir(repro))
    with pytest.raises(AttributeError, match="no attribute 'Backprop'"):
        repro.Backprop  # noqa: B018


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_tangents": 0}, r"`num_tangents` must be a whole number of at least 1. Found 0."),
        ({"num_tangents": -3}, r"`num_tangents` must be a whole number of at least 1. Found -3."),
        ({"num_tangents": 2.5}, r"`num_tangents` must be a whole number of at least 1. Found 2.5."),
        ({"num_tangents": "3"}, r"`num_tangents` must be a whole number of at least 1. Found '3'."),
        ({"num_tangents": True}, r"`num_tangents` must be a whole number .* Found True."),
        ({"num_tangents": None}, r"`num_tangents` must be a whole number .* Found None."),
        (
            {"chunk_size": 0},
            r"`chunk_size` must be a whole number of at least 1, or None. Found 0.",
        ),
        ({"clip": 0.0}, r"`clip` must be a number, positive and finite, or None. Found 0.0."),
        ({"clip": -1.0}, r"`clip` must be a number, positive and finite, or None. Found -1.0."),
        (
            {"clip": float("inf")},
            r"`clip` must be a number, positive and finite, or None. Found inf.",
        ),
        (
            {"clip": float("nan")},
            r"`clip` must be a number, positive and finite, or None. Found nan.",
        ),
        ({"clip": "1"}, r"`clip` must be a number, positive and finite, or None. Found '1'."),
        ({"clip": True}, r"`clip` must be a number, positive and finite, or None. Found True."),
        ({"aggregation": ["mean"]}, r"`aggregation` must be one of: .*Found \['mean'\]."),
        ({"tangents": ["normal"]}, r"`tangents` must be one of: .*Found \['normal'\]."),
        (
            {"tangents": "angle", "angle": "15"},
            r"`angle` must be in \(0, 180\) degrees. Found '15'.",
        ),
        (
            {"aggregation": "median"},
            r"`aggregation` must be one of: sum, mean, orth.*Found 'median'.",
        ),
        (
            {"tangents": "cauchy"},
            r"`tangents` must be one of: normal, rademacher, sph.*Found 'cauchy'.",
        ),
        ({"perturb": "inputs"}, r"`perturb` must be one of: .*Found 'inputs'."),
        ({"tangents": "angle"}, r"`angle` must be in \(0, 180\) degrees. Found None."),
        ({"angle": 15.0}, r"`angle` belongs to the tangents 'angle'. Found tangents 'normal'."),
        ({"mode": "reverse"}, r"`mode` must be one of: forward, simulated. Found 'reverse'."),
    ],
)
def test_settings_are_checked(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("forward_gradient", **options)


def test_unknown_estimator() -> None:
    with pytest.raises(
        ValueError,
        match=r"Unknown estimator 'adam'. Choose from: backpropagation, forward_gradient.",
    ):
        build("adam")


def test_an_aggregation_of_ones_own_is_asked_for_one_tangent_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(AGGREGATIONS, "signs", lambda v, d: (d[..., None] * v).sum(-2).sign())
    for num in (1, 2):
        estimator = ForwardGradient(num, "signs")  # type: ignore[arg-type]
        estimate = estimator(lambda p: p.square().sum(), torch.ones(5), generators(1)[0])
        assert set(estimate.gradient.abs().tolist()) == {1.0}
        assert not estimator.recordable  # it may look at values

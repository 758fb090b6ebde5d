"""What activation perturbation costs in passes and memory, and runs that train by it."""

import dataclasses
from pathlib import Path

import pytest
import torch
from blocks import CLASSES, CPU, MODES, activations, case, losses
from references import draw, generators
from small_runs import comparable
from test_checkpoints import go_on, interrupt
from torch import Tensor

from repro.autodiff import Layer, Layered, Noted, Params
from repro.estimators import Backpropagation, Cost, ForwardGradient
from repro.models import build as build_network
from repro.protocol import Classification, Component, Method, RunSpec, Training, settings, use
from repro.timing.steps import Step
from repro.training import train

# What it costs


def test_costs() -> None:
    _, mlp, _ = case("mlp")
    _, vit, _ = case("vit")
    _, resnet18, _ = case("resnet18")
    forward, simulated = activations(4), activations(4, mode="simulated")
    assert simulated.cost_on(mlp) == simulated.cost == Cost(3.0, 4)
    assert forward.cost_on(mlp) == forward.cost == Cost(1.0 + 5.0 + 1.0, 4)
    assert simulated.cost_on(vit) == simulated.cost_on(resnet18) == Cost(4.0, 4)
    assert forward.cost_on(vit) == Cost(1.0 + 5.0 + 2.0, 4)
    # a mini-batch of four is normalised: four sweeps
    assert forward.cost_on(resnet18) == Cost(1.0 + 4 * 5.0 + 2.0, 4)
    assert Backpropagation().cost_on(resnet18) == Cost(3.0, 0)
    assert ForwardGradient(4).cost_on(resnet18) == ForwardGradient(4).cost


def test_simulated_mode_does_what_backpropagation_does_and_no_more() -> None:
    network, objective, params = case("mlp", replicas=1)
    calls: list[Layer] = []

    def counting(layer: Layer) -> Layer:
        def function(given: dict[str, Tensor], inputs: Tensor, noted: Noted) -> Tensor:
            calls.append(layer)
            return layer.function(given, inputs, noted)

        return dataclasses.replace(layer, function=function)

    counted = [counting(layer) for layer in objective.layers]
    once = Layered(counted, objective.inputs, objective.losses)
    activations(8, mode="simulated")(once, params, generators(1))
    assert calls == list(objective.layers)
    assert len(calls) == len(network.blocks)


def peak(estimator: ForwardGradient, objective: Layered, params: Params) -> int:
    def run() -> None:
        estimator(objective, params, generators(1))

    run()
    return Step(run, run, 0, 0).peak_bytes(CPU)


def test_chunks_bound_the_memory_of_forward_mode() -> None:
    network = build_network("mlp", (1, 4, 4), CLASSES, width=512)
    params = network.start(generators(1), torch.float32, CPU)
    objective = network.objective(
        draw(1, 64, 1, 4, 4, dtype=torch.float32),
        lambda logits: losses(torch.zeros(1, 64, dtype=torch.int64), logits),
    )
    whole, part, chunked = (
        peak(activations(k, chunk_size=chunk), objective, params)
        for k, chunk in ((32, None), (4, None), (32, 4))
    )
    layer = 64 * 512 * 4  # bytes of a layer's activities
    tangents = (32 - 4) * (2 * 512 + CLASSES) * 4
    assert whole - part > 28 * layer  # grows with the tangents
    assert chunked - part < 2 * tangents + layer  # but for the drawn ones and their derivatives


# Training


def specs(network: Component, estimator: Component, steps: int = 30) -> list[RunSpec]:
    problem = Classification(
        f"digits {network.name}", "digits", network, 16, "standardised", validation_size=297
    )
    return [
        RunSpec(
            study="test", arm="published", scale="smoke", experiment="test", role="report",
            problem=problem, method=Method("test", estimator, use("sgd")), repetition=repetition,
            hyperparameters=settings(learning_rate=0.01), task=Training(steps, steps // 2),
        )
        for repetition in range(2)
    ]  # fmt: skip


SMALL = {
    "mlp": use("mlp", width=8),
    "resnet18": use("resnet18", channels=2),
    "vit": use("vit", layers=1, width=8, heads=2),
}


@pytest.mark.parametrize("network", SMALL)
def test_stopped_it_goes_on_bit_for_bit(network: str, tmp_path: Path) -> None:
    estimator = use(
        "forward_gradient", num_tangents=2, aggregation="orthogonal_projection",
        perturb="activations", mode="simulated",
    )  # fmt: skip
    group = specs(SMALL[network], estimator)
    expected = train(group, CPU)
    interrupt(group, tmp_path, 1)
    found = go_on(group, tmp_path)
    assert [comparable(record) for record in found] == [comparable(record) for record in expected]


@pytest.mark.parametrize("network", SMALL)
@pytest.mark.parametrize("perturb", ["weights", "activations"])
def test_training_in_forward_mode_is_training_in_simulated_mode(network: str, perturb: str) -> None:
    runs = []
    for mode in MODES:
        estimator = use("forward_gradient", num_tangents=2, perturb=perturb, mode=mode)
        (spec, _) = specs(SMALL[network], estimator)
        task, rate = Training(4, 2, precision="float64"), settings(learning_rate=1e-4)
        (record,) = train([dataclasses.replace(spec, task=task, hyperparameters=rate)], CPU)
        runs.append(record)
    forward, simulated = runs
    for metric in ("validation_loss", "test_loss", "train_loss", "parameter_norm"):
        expected = simulated.measured[metric]
        assert forward.measured[metric] == pytest.approx(expected, rel=1e-9)
    passes = forward.measured["forward_passes"]
    assert isinstance(passes, float)
    if perturb == "activations":
        sweeps = 16 if network == "resnet18" else 1
        assert passes == 4 * (1 + 3 * sweeps + (1 if network == "mlp" else 2))

"""What a step must do: the products counted against the formula, draws and updates against what they stand for."""

import math

import pytest
import torch
from references import draw, generators
from torch.utils.flop_counter import FlopCounterMode

from repro import estimators, limits, models, optimizers
from repro.autodiff import leaves

CPU = torch.device("cpu")
BATCH = 3
NETWORKS = {
    "logistic_regression": ((1, 8, 8), {}),
    "mlp": ((1, 8, 8), {"width": 12, "depth": 3}),
    "cnn": ((2, 18, 16), {"channels": 4, "width": 6}),
    "vgg": ((3, 16, 16), {"channels": 2, "width": 5}),
}


def built(name: str) -> tuple[models.Network, tuple[int, ...]]:
    image, options = NETWORKS[name]
    return models.build(name, image, 10, **options), image


def layer_flops(network: models.Network, image: tuple[int, ...]) -> list[int]:
    """Twice the multiplications of each layer forward, for one mini-batch."""
    counts, sides = [], image[1:]
    for block in network.blocks:
        if isinstance(block, models.Linear):
            counts.append(2 * BATCH * block.num_inputs * block.num_outputs)
            continue
        assert isinstance(block, models.Convolution)
        sides = tuple(side + 2 * block.padding - block.kernel + 1 for side in sides)
        weights = block.num_inputs * block.num_outputs * block.kernel**2
        counts.append(2 * BATCH * weights * math.prod(sides))
        sides = tuple(side // 2 for side in sides) if block.pool else sides
    return counts


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("tangents", [0, 1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_products_of_a_step_are_those_of_the_formula(
    name: str, tangents: int, replicas: int
) -> None:
    network, image = built(name)
    params = network.start(generators(replicas), torch.float32, CPU)
    images = torch.rand(replicas, BATCH, *image, generator=generators(1)[0])
    program = limits.products(network, params, images, tangents)
    with FlopCounterMode(display=False) as counted:
        program()
    first, *others = layer_flops(network, image)
    # forward; weights' gradients or tangents; the same for the inputs of every layer but the first
    carried = max(tangents, 1)
    expected = (1 + carried) * first + (1 + 2 * carried) * sum(others)
    assert counted.get_total_flops() == replicas * expected


@pytest.mark.parametrize("name", NETWORKS)
def test_backpropagation_does_these_products_and_no_other(name: str) -> None:
    network, image = built(name)
    params = network.start(generators(1), torch.float32, CPU)
    images = torch.rand(1, BATCH, *image, generator=generators(1)[0])
    with FlopCounterMode(display=False) as counted:
        estimators.Backpropagation()(lambda p: network(p, images).sum((1, 2)), params)
    program = limits.products(network, params, images)
    with FlopCounterMode(display=False) as expected:
        program()
    assert counted.get_total_flops() == expected.get_total_flops()


def test_programs_record_no_derivative_and_leave_the_parameters() -> None:
    network, image = built("cnn")
    params = network.start(generators(2), torch.float32, CPU)
    before = [leaf.clone() for leaf in leaves(params)]
    images = torch.rand(2, BATCH, *image, generator=generators(1)[0])
    state = optimizers.Adam().init(params)
    for program in (
        limits.products(network, params, images, 2),
        limits.random_numbers(params, generators(2), 2),
        limits.memory_passes(params, state),
    ):
        program()
        program()
    assert all(torch.equal(a, b) for a, b in zip(leaves(params), before, strict=True))


def test_random_numbers_are_the_tangents_of_an_estimate() -> None:
    params = {"a": draw(2, 5), "b": draw(2, 3, 2)}
    sources = generators(2)
    program = limits.random_numbers(params, sources, 4)
    program()
    program()
    other = generators(2)
    estimator = estimators.ForwardGradient(num_tangents=4)
    estimator.draw(params, other)
    estimator.draw(params, other)
    # as many numbers drawn: the generators stand where they do after two estimates
    for ours, theirs in zip(sources, other, strict=True):
        assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize(
    ("optimizer", "moments"),
    [
        (optimizers.Sgd(), 0),
        (optimizers.Sgd(momentum=0.9, nesterov=True), 1),
        (optimizers.Adam(), 2),
    ],
)
def test_an_update_passes_over_each_tensor_once(
    optimizer: optimizers.Optimizer, moments: int
) -> None:
    params = {"a": draw(2, 5, dtype=torch.float32), "b": draw(2, 3, dtype=torch.float32)}
    program = limits.memory_passes(params, optimizer.init(params))
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True
    ) as recorded:
        program()
    whole = [e.name for e in recorded.events() if e.input_shapes and e.input_shapes[0] == [16]]
    assert sorted(whole) == ["aten::add_", *["aten::mul_"] * moments]


def test_an_update_along_many_tangents_reads_them_all() -> None:
    params = {"a": draw(1, 5)}
    program = limits.memory_passes(params, {}, num_tangents=3)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True
    ) as recorded:
        program()
    assert [[5], [5, 3], [3]] in [e.input_shapes[:3] for e in recorded.events()]

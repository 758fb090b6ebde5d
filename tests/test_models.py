"""Networks: sizes, equality with torch.nn, and the range of their initial values."""

import math

import pytest
import references
import torch
from references import draw, generators, laid_out_like, load_
from torch import Tensor, nn

from repro.autodiff import Params, leaves, value_and_gradient
from repro.models import NETWORKS, Convolution, Linear, Network, build

CPU = torch.device("cpu")
MNIST = (1, 28, 28)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("logistic_regression", {}, 7_850),
        ("mlp", {}, 1_863_690),
        ("mlp", {"width": 1024, "depth": 1}, 814_090),
        ("mlp", {"width": 1024, "depth": 100}, 814_090 + 99 * (1024 * 1024 + 1024)),
        ("cnn", {}, 1_171_274),
        ("cnn", {"padding": 1}, 3_333_962),
    ],
)
def test_number_of_parameters(name: str, options: dict[str, int], expected: int) -> None:
    assert build(name, MNIST, 10, **options).num_parameters == expected


def test_number_of_parameters_on_cifar10() -> None:
    # as Rike & Førland count them
    assert build("vgg", (3, 32, 32), 10).num_parameters == 17_967_690


# name, options, image, and the same network in torch.nn
EQUIVALENT = {
    "logistic_regression": ({}, (1, 8, 8), references.logistic_regression(64, 10)),
    "mlp": ({"width": 16, "depth": 3}, (1, 8, 8), references.mlp(64, 10, 16, 3)),
    "cnn": ({"channels": 4, "padding": 1}, (1, 8, 8), references.cnn(1, 16, 10, 4, 1)),
    "cnn without padding": ({"channels": 3}, (2, 16, 18), references.cnn(2, 3, 10, 3, 0)),
    "cnn with a narrow head": (
        {"channels": 3, "width": 7}, (2, 16, 18), references.cnn(2, 3, 10, 3, 0, width=7)
    ),
    "vgg": ({"channels": 2, "width": 5}, (3, 16, 8), references.vgg(3, 16, 10, 2, 5)),
    "vgg of two pairs": (
        {"channels": 2, "width": 5, "pairs": 2}, (3, 16, 8), references.vgg(3, 32, 10, 2, 5, 2)
    ),
}  # fmt: skip


def equivalent(case: str) -> tuple[Network, tuple[int, ...], nn.Sequential]:
    options, image, module = EQUIVALENT[case]
    return build(case.split()[0], image, 10, **options), image, module.double()


@pytest.mark.parametrize("case", EQUIVALENT)
def test_outputs_and_gradients_are_those_of_torch_nn(case: str) -> None:
    network, image, module = equivalent(case)
    params = network.start(generators(2), torch.float64, CPU)
    images, weights = draw(2, 5, *image), draw(2, 5, 10, seed=1)

    def objective(params: Params) -> Tensor:
        assert isinstance(params, dict)
        return (network(params, images) * weights).sum((1, 2))

    logits = network(params, images)
    _, gradient = value_and_gradient(objective, params)
    for replica in range(2):
        load_(module, params, replica)
        module.zero_grad()
        expected = module(images[replica])
        (expected * weights[replica]).sum().backward()
        torch.testing.assert_close(logits[replica], expected.detach(), rtol=1e-10, atol=1e-12)
        for parameter, leaf in zip(module.parameters(), leaves(gradient), strict=True):
            assert parameter.grad is not None
            found = laid_out_like(parameter, leaf[replica])
            torch.testing.assert_close(found, parameter.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", EQUIVALENT)
def test_size_is_that_of_torch_nn(case: str) -> None:
    network, _, module = equivalent(case)
    assert network.num_parameters == sum(p.numel() for p in module.parameters())


def test_fan_in() -> None:
    assert Linear(784, 10, relu=False).fan_in == 784
    assert Convolution(64, 32, 3, 0, pool=False).fan_in == 64 * 9


@pytest.mark.parametrize(
    ("name", "options", "fan_in"),
    [
        ("logistic_regression", {}, (784,)),
        ("mlp", {"width": 100}, (784, 100, 100)),
        ("cnn", {"channels": 16}, (9, 144, 144, 144, 256, 1024)),
    ],
)
def test_initial_values_are_uniform_within_one_over_root_fan_in(
    name: str, options: dict[str, int], fan_in: tuple[int, ...]
) -> None:
    network = build(name, MNIST, 10, **options)
    layers = [b for b in network.blocks if isinstance(b, (Linear, Convolution))]
    assert tuple(layer.fan_in for layer in layers) == fan_in
    start = network.start(generators(2), torch.float32, CPU)
    for block, inputs in enumerate(fan_in):
        bound = 1.0 / math.sqrt(inputs)
        for kind in ("weight", "bias"):
            values = start[f"{block}.{kind}"].double().flatten() / bound
            assert values.abs().max() <= 1.0
            # moments of the uniform distribution on [-1, 1]: 0 and 1/3, variances 1/3 and 4/45
            n = values.numel()
            assert abs(values.mean()) <= 4 * math.sqrt(1 / 3 / n)
            assert abs(values.square().mean() - 1 / 3) <= 4 * math.sqrt(4 / 45 / n)


def test_initial_ranges_are_those_of_torch_layers() -> None:
    linear, convolution = nn.Linear(2_000, 500), nn.Conv2d(20, 500, 3)
    for module, block in (
        (linear, Linear(2_000, 500, relu=False)),
        (convolution, Convolution(20, 500, 3, 0, pool=False)),
    ):
        start = Network((block,)).start(generators(1), torch.float32, CPU)
        for name, parameter in module.named_parameters():
            ours = start[f"0.{name}"].abs().max().item()
            assert ours == pytest.approx(parameter.abs().max().item(), rel=0.1)


@pytest.mark.parametrize("case", EQUIVALENT)
def test_start_depends_on_a_replicas_own_generator_alone(case: str) -> None:
    network, _, _ = equivalent(case)
    three = network.start(generators(3), torch.float32, CPU)
    alone = network.start(generators(1, seed=2), torch.float32, CPU)
    for name, shape in network.shapes.items():
        assert three[name].shape == (3, *shape)
        assert torch.equal(three[name][2], alone[name][0])
        assert not torch.equal(three[name][0], three[name][1])


def test_start_is_the_same_in_every_precision() -> None:
    network, _, _ = equivalent("mlp")
    narrow, wide = (
        network.start(generators(2), dtype, CPU) for dtype in (torch.float32, torch.float64)
    )
    for name, leaf in wide.items():
        assert leaf.dtype == torch.float64
        assert torch.equal(leaf, narrow[name].double())


def test_frozen_start() -> None:
    start = build("mlp", (1, 2, 2), 3, width=2, depth=1).start(generators(1), torch.float32, CPU)
    assert list(start) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    frozen = {
        "0.weight": [
            -0.0037434,
            0.2682218,
            -0.4115226,
            -0.3679695,
            -0.1925772,
            0.1340787,
            -0.0099066,
            0.3964447,
        ],
        "1.bias": [0.2795442, 0.4242802, -0.4793767],
    }
    for name, expected in frozen.items():
        torch.testing.assert_close(
            start[name].flatten(), torch.tensor(expected), rtol=0.0, atol=1e-6
        )


def test_bad_networks() -> None:
    names = "logistic_regression, mlp, cnn, vgg, resnet18, vit"
    assert list(NETWORKS) == names.split(", ")
    with pytest.raises(
        ValueError,
        match=rf"Unknown network 'resnet'. Choose from: {names}.",
    ):
        build("resnet", MNIST, 10)
    with pytest.raises(
        ValueError, match=r"`depth` and `width` must be at least 1. Found 0 and 1024."
    ):
        build("mlp", MNIST, 10, depth=0)
    with pytest.raises(ValueError, match=r"must be at least 1. Found 2 and 0."):
        build("mlp", MNIST, 10, width=0)
    with pytest.raises(
        ValueError, match=r"Images of 8 x 8 are too small .* with padding 0. Use `padding=1`."
    ):
        build("cnn", (1, 8, 8), 10)
    with pytest.raises(
        ValueError, match=r"Images of 8 x 6 are too small for 3 poolings. Use 8 x 8 or more."
    ):
        build("vgg", (3, 8, 6), 10)
    with pytest.raises(ValueError, match=r"Expected one pair of convolutions or more, found 0."):
        build("vgg", (3, 8, 8), 10, pairs=0)

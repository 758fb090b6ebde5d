"""ResNet18 and ViT: sizes, blocks, equality with torch.nn in training and evaluation, starts, running statistics."""

import functools
import math
from collections.abc import Sequence

import pytest
import references
import torch
from references import draw, generators, laid_out_like, load_
from torch import Tensor, nn

from repro import limits, plain
from repro.autodiff import Params, leaves, value_and_gradient
from repro.engine import Step
from repro.estimators import Backpropagation, Estimator, ForwardGradient
from repro.models import Network, Shape, build
from repro.optimizers import build as build_optimizer
from repro.problems import build as build_problem
from repro.problems.classification import ClassificationProblem
from repro.protocol import Classification, Component, Replica, use
from studies.facts import fluegel2024

CPU = torch.device("cpu")
MNIST, CIFAR = (1, 28, 28), (3, 32, 32)
FACTS = {  # parameters and activations, Flügel et al. (2024, Sections 4.4 and 4.5), as their code has them
    "fc256-mnist": (use("mlp", width=256), MNIST, 269_322, 522),
    "fc1024-mnist": (use("mlp", width=1024), MNIST, 1_863_690, 2_058),
    "fc4096-mnist": (use("mlp", width=4096), MNIST, 20_037_642, 8_202),
    "resnet18-mnist": (use("resnet18"), MNIST, 11_175_370, 9_866),
    "resnet18-cifar10": (use("resnet18"), CIFAR, 11_181_642, 11_786),
    "vit-mnist": (use("vit"), MNIST, 3_183_114, 64_010),
    "vit-cifar10": (use("vit"), CIFAR, 3_195_146, 83_210),
}


def num_activations(network: Network, image: Shape) -> int:
    """Return the outputs of all blocks for one image, `N`: what activation perturbation perturbs."""
    # two examples, since one alone may have nothing to be normalised by
    nowhere = functools.partial(torch.empty, device="meta")
    outputs = nowhere((1, 2, *image))
    num = 0
    for block in network.blocks:
        own = {name: nowhere((1, *shape)) for name, shape in block.shapes.items()}
        outputs = block(own, outputs)
        num += outputs[0, 0].numel()
    return num


@pytest.mark.parametrize("name", FACTS)
def test_sizes_are_those_of_the_paper(name: str) -> None:
    component, image, parameters, activations = FACTS[name]
    network = build(component.name, image, 10, **component.options())
    assert network.num_parameters == parameters
    assert num_activations(network, image) == activations == fluegel2024.ACTIVATIONS[name]
    assert len(network.blocks) == (3 if name.startswith("fc") else 6)


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", 10), ("vit", 14)])
@pytest.mark.parametrize("image", [MNIST, CIFAR])
def test_the_finer_grouping_has_more_blocks_and_the_same_network(
    name: str, blocks: int, image: Shape
) -> None:
    paper, fine = (build(name, image, 10, grouping=grouping) for grouping in ("paper", "fine"))
    assert len(fine.blocks) == blocks
    assert fine.num_parameters == paper.num_parameters
    assert num_activations(fine, image) > num_activations(paper, image)


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_groupings_start_alike_and_give_the_same_logits(name: str) -> None:
    options = {"channels": 2} if name == "resnet18" else {"layers": 3, "width": 8}
    networks = [build(name, MNIST, 10, grouping=g, **options) for g in ("paper", "fine")]
    starts = [network.start(generators(2), torch.float64, CPU) for network in networks]
    for one, other in zip(*(leaves(start) for start in starts), strict=True):
        assert torch.equal(one, other)
    images = draw(2, 3, *MNIST)
    logits = [n(s, images) for n, s in zip(networks, starts, strict=True)]
    torch.testing.assert_close(*logits, rtol=1e-12, atol=1e-12)


# name: options, image, and the same network in torch.nn
EQUIVALENT: dict[str, tuple[Component, Shape, nn.Sequential]] = {
    "resnet18": (use("resnet18", channels=3), (1, 28, 28), references.resnet18(1, 10, 3)),
    "resnet18, fine": (
        use("resnet18", channels=2, grouping="fine"), (3, 40, 33), references.resnet18(3, 10, 2)
    ),
    "vit": (
        use("vit", layers=3, width=12, heads=3), (1, 8, 12), references.vit(16, 6, 10, 3, 12, 3)
    ),
    "vit of a layer": (
        use("vit", layers=1, width=8), (3, 8, 8), references.vit(48, 4, 10, 1, 8, 4)
    ),
    "vit, fine": (
        use("vit", layers=2, width=8, heads=2, grouping="fine"), (3, 8, 8), references.vit(48, 4, 10, 2, 8, 2)
    ),
}  # fmt: skip
every_case = pytest.mark.parametrize("case", EQUIVALENT)


def equivalent(case: str) -> tuple[Network, Shape, nn.Sequential, dict[str, Tensor]]:
    component, image, module = EQUIVALENT[case]
    network = build(component.name, image, 10, **component.options())
    start = network.start(generators(2), torch.float64, CPU)
    scattered = {
        name: leaf + 0.1 * draw(*leaf.shape, seed=seed)
        for seed, (name, leaf) in enumerate(start.items())
    }
    return network, image, module.double(), scattered


def buffers(module: nn.Module) -> list[Tensor]:
    return [buffer for buffer in module.buffers() if buffer.ndim]


@every_case
def test_outputs_and_gradients_are_those_of_torch_nn(case: str) -> None:
    network, image, module, params = equivalent(case)
    images, weights = draw(2, 5, *image), draw(2, 5, 10, seed=1)

    def objective(params: Params) -> Tensor:
        assert isinstance(params, dict)
        return (network(params, images) * weights).sum((1, 2))

    logits = network(params, images)
    _, gradient = value_and_gradient(objective, params)
    module.train()
    for replica in range(2):
        load_(module, params, replica)
        module.zero_grad()
        expected = module(images[replica])
        (expected * weights[replica]).sum().backward()
        torch.testing.assert_close(logits[replica], expected.detach(), rtol=1e-9, atol=1e-11)
        for parameter, leaf in zip(module.parameters(), leaves(gradient), strict=True):
            assert parameter.grad is not None
            found = laid_out_like(parameter, leaf[replica])
            torch.testing.assert_close(found, parameter.grad, rtol=1e-8, atol=1e-9)


@every_case
def test_an_evaluation_normalises_by_the_running_statistics(case: str) -> None:
    network, image, module, params = equivalent(case)
    images, statistics = draw(2, 4, *image), network.statistics(2, torch.float64, CPU)
    moved = {
        name: leaf + draw(*leaf.shape, seed=seed).square()
        for seed, (name, leaf) in enumerate(statistics.items())
    }
    logits = network({**params, **moved}, images)
    module.eval()
    for replica in range(2):
        load_(module, params, replica)
        for buffer, leaf in zip(buffers(module), moved.values(), strict=True):
            buffer.copy_(leaf[replica])
        expected = module(images[replica]).detach()
        torch.testing.assert_close(logits[replica], expected, rtol=1e-9, atol=1e-11)
    alone = network({**params, **moved}, images[:, :1])
    torch.testing.assert_close(alone, logits[:, :1], rtol=1e-9, atol=1e-11)


def digits(network: Component) -> ClassificationProblem:
    declared = Classification("digits", "digits", network, 8, "unit", validation_size=297)
    problem = build_problem(declared, CPU, torch.float64)
    assert isinstance(problem, ClassificationProblem)
    return problem


MOVED_BY: list[Estimator] = [
    Backpropagation(),
    ForwardGradient(),
    ForwardGradient(3, chunk_size=2),
    ForwardGradient(mode="simulated"),
    *(
        ForwardGradient(k, "orthogonal_projection", perturb="activations", mode=mode)
        for k in (1, 3)
        for mode in ("forward", "simulated")
    ),
]


@pytest.mark.parametrize("estimator", MOVED_BY, ids=str)
def test_running_statistics_move_once_a_step_as_in_torch_nn(estimator: Estimator) -> None:
    problem = digits(use("resnet18", channels=2))
    replicas = [Replica("report", index) for index in range(2)]
    params, statistics = problem.start(replicas), problem.statistics(2)
    optimizer = build_optimizer("sgd")
    rates = torch.tensor([1e-4, 0.0], dtype=torch.float64)  # the second stands still
    step = Step(
        problem, estimator, optimizer, lambda number: rates, params, optimizer.init(params),
        generators(2), statistics=statistics,
    )  # fmt: skip
    module = references.resnet18(1, 10, 2).double().train()
    batches = problem.batches(replicas)
    for number in range(3):
        rows = next(batches)
        assert isinstance(params, dict)
        load_(module, params, 0)
        module(problem.train_images[rows[0]])
        step(rows, number)
        for buffer, leaf in zip(buffers(module), statistics.values(), strict=True):
            torch.testing.assert_close(leaf[0], buffer, rtol=1e-9, atol=1e-12)
    untouched = problem.statistics(2)
    assert all(torch.equal(leaf[1], untouched[name][1]) for name, leaf in statistics.items())


def test_evaluations_use_them_and_steps_do_not() -> None:
    problem = digits(use("resnet18", channels=2))
    replicas = [Replica("report", 0)]
    params, statistics = problem.start(replicas), problem.statistics(1)
    optimizer = build_optimizer("sgd")
    step = Step(
        problem, Backpropagation(), optimizer, lambda number: torch.full((1,), 0.05).double(),
        params, optimizer.init(params), [], statistics=statistics,
    )  # fmt: skip
    before = step.judged()
    assert isinstance(before, dict)
    first = problem.evaluate(
        {name: leaf.clone() for name, leaf in before.items()}, replicas, "validation"
    )
    batches = problem.batches(replicas)
    for number in range(60):
        step(next(batches), number)
    judged = step.judged()
    assert isinstance(judged, dict)
    assert judged.keys() == {*leaves_by_name(params), *statistics}
    trained = problem.evaluate(judged, replicas, "validation")
    assert trained["loss"] < first["loss"]
    stale = {**judged, **problem.statistics(1)}
    assert problem.evaluate(stale, replicas, "validation")["loss"] > trained["loss"]


def leaves_by_name(params: Params) -> Sequence[str]:
    assert isinstance(params, dict)
    return list(params)


def test_networks_without_batch_norm_have_no_statistics() -> None:
    for name in ("mlp", "cnn", "vit"):
        network = build(name, MNIST, 10)
        assert not network.couples_examples
        assert network.statistics(2, torch.float32, CPU) == {}
    statistics = build("resnet18", MNIST, 10).statistics(2, torch.float32, CPU)
    assert len(statistics) == 2 * 20
    for name, leaf in statistics.items():
        assert leaf.shape[0] == 2
        assert bool((leaf == name.endswith("variance")).all())


# Starts


def spread(leaf: Tensor) -> float:
    return float(leaf.double().square().mean().sqrt())


def test_a_resnet_starts_as_torchvision_starts_it() -> None:
    grey, colour = (build("resnet18", image, 10) for image in (MNIST, CIFAR))
    for network in (grey, colour):
        start = network.start(generators(1), torch.float32, CPU)
        for name, leaf in start.items():
            if name.endswith(("scale", "shift")):
                assert bool((leaf == name.endswith("scale")).all())
            elif leaf.ndim == 5 and name != "0.weight":
                fan_out = leaf.shape[1] * leaf.shape[-1] ** 2
                assert spread(leaf) == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
        assert spread(start["5.weight"]) == pytest.approx(1 / math.sqrt(3 * 512), rel=0.05)
        stem = start["0.weight"]
        if network is colour:
            assert spread(stem) == pytest.approx(math.sqrt(2 / (64 * 49)), rel=0.05)
        else:  # made anew for one channel, as PyTorch's own layers start
            assert stem.abs().max() == pytest.approx(1 / 7, rel=0.01)
            assert spread(stem) == pytest.approx(1 / (7 * math.sqrt(3)), rel=0.05)


def test_a_vit_starts_as_torchvision_starts_it() -> None:
    start = build("vit", MNIST, 10, grouping="fine").start(generators(1), torch.float32, CPU)
    assert spread(start["0.patch_weight"]) == pytest.approx(1 / 4, rel=0.05)
    assert spread(start["0.position"]) == pytest.approx(0.02, rel=0.05)
    assert spread(start["1.in_weight"]) == pytest.approx(math.sqrt(2 / (256 + 768)), rel=0.05)
    assert spread(start["1.out_weight"]) == pytest.approx(1 / math.sqrt(3 * 256), rel=0.05)
    assert spread(start["2.hidden_weight"]) == pytest.approx(math.sqrt(2 / (256 + 512)), rel=0.05)
    assert 0.0 < spread(start["2.hidden_bias"]) < 2e-6
    zeros = ("0.patch_bias", "0.token", "1.in_bias", "1.out_bias", "13.out_weight", "13.out_bias")
    assert not any(start[name].any() for name in zeros)
    assert all(bool((start[f"{block}.scale"] == 1).all()) for block in range(1, 14))


@every_case
def test_start_depends_on_a_replicas_own_generator_alone(case: str) -> None:
    network = equivalent(case)[0]
    three = network.start(generators(3), torch.float32, CPU)
    alone = network.start(generators(1, seed=2), torch.float32, CPU)
    for name, shape in network.shapes.items():
        assert three[name].shape == (3, *shape)
        assert torch.equal(three[name][2], alone[name][0])


# Bad input


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"channels": 0}, r"`channels` must be at least 1. Found 0."),
        ("resnet18", {"grouping": "wide"}, r"must be one of: paper, fine. Found 'wide'."),
        ("vit", {"grouping": "wide_1"}, r"must be one of: paper, fine. Found 'wide_1'."),
        ("vit", {"width": 10}, r"`width` a multiple of `heads`. Found 6, 10, 4 and 4."),
        ("vit", {"layers": 0}, r"must be at least 1, .* Found 0, 256, 4 and 4."),
        ("vit", {"patch": 5}, r"Images of 28 x 28 cannot be cut into patches of 5 x 5."),
    ],
)
def test_bad_settings(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, MNIST, 10, **options)


@pytest.mark.parametrize("estimator", [Backpropagation(), ForwardGradient(2)], ids=str)
def test_a_channel_of_one_value_cannot_be_normalised(estimator: Estimator) -> None:
    network = build("resnet18", (1, 8, 8), 3, channels=2)
    params = network.start(generators(1), torch.float32, CPU)
    objective = network.objective(torch.ones(1, 1, 1, 8, 8), lambda logits: logits.sum(-1))
    with pytest.raises(ValueError, match=r"needs two values a channel or more.*one pixel"):
        estimator(objective, params, generators(1))


@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_what_knows_plain_layers_only_says_so(name: str) -> None:
    network = build(name, (1, 8, 8), 3, grouping="fine")
    params = network.start(generators(1), torch.float32, CPU)
    with pytest.raises(ValueError, match=r"linear layers and convolutions only. Found \w+."):
        plain.module(network, params)
    with pytest.raises(ValueError, match=r"linear layers and convolutions only. Found \w+."):
        limits.products(network, params, torch.zeros(1, 2, 1, 8, 8))

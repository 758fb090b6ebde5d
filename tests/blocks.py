"""Networks as objectives made of blocks, and estimators that perturb the activities of those."""

import pytest
import torch
from references import draw, generators
from torch import Tensor

from repro.autodiff import Layered, Params
from repro.estimators import ForwardGradient, build
from repro.models import Network
from repro.models import build as build_network
from repro.protocol import Component, use

CPU = torch.device("cpu")
CLASSES = 3
MODES = ("forward", "simulated")


def activations(k: int = 1, aggregation: str = "mean", **options: object) -> ForwardGradient:
    found = build(
        "forward_gradient",
        num_tangents=k,
        aggregation=aggregation,
        perturb="activations",
        **options,
    )
    assert isinstance(found, ForwardGradient)
    return found


def losses(labels: Tensor, logits: Tensor) -> Tensor:
    return -logits.log_softmax(-1).gather(-1, labels[..., None]).squeeze(-1)


def on_images(
    network: Network, image: tuple[int, ...], replicas: int, examples: int, seed: int = 3
) -> Layered:
    images = draw(1, examples, *image, seed=seed).expand(replicas, -1, *[-1] * len(image))
    labels = torch.arange(examples).remainder(CLASSES).expand(replicas, -1)
    return network.objective(images.clone(), lambda logits: losses(labels, logits))


def scattered(network: Network, replicas: int, alike: bool = False) -> Params:
    """A start at which nothing is zero: the head of a ViT starts there, and stops every gradient."""
    start = network.start(generators(replicas), torch.float64, CPU)
    shapes = [leaf[0].shape if alike else leaf.shape for leaf in start.values()]
    return {
        name: (leaf[:1] if alike else leaf) + 0.1 * draw(*shape, seed=seed).expand_as(leaf)
        for seed, ((name, leaf), shape) in enumerate(zip(start.items(), shapes, strict=True))
    }


# name: component, image
NETWORKS: dict[str, tuple[Component, tuple[int, ...]]] = {
    "mlp": (use("mlp", width=7), (1, 8, 8)),
    "cnn": (use("cnn", channels=2, padding=1, width=5), (1, 8, 8)),
    "resnet18": (use("resnet18", channels=2), (1, 16, 16)),
    "resnet18, fine": (use("resnet18", channels=2, grouping="fine"), (3, 16, 16)),
    "vit": (use("vit", layers=2, width=8, heads=2), (1, 8, 8)),
    "vit, fine": (use("vit", layers=2, width=8, heads=2, grouping="fine"), (2, 8, 8)),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def case(name: str, replicas: int = 2, examples: int = 4) -> tuple[Network, Layered, Params]:
    component, image = NETWORKS[name]
    network = build_network(component.name, image, CLASSES, **component.options())
    return network, on_images(network, image, replicas, examples), scattered(network, replicas)

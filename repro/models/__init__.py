"""The papers' networks, as sequences of blocks: pure functions of stacked parameters.

The networks are in `NETWORKS`; a new one is one function there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from repro import protocol
from repro.models.layers import MOMENTUM, Block, Convolution, Linear, Network, Shape
from repro.models.networks import cnn, logistic_regression, mlp, vgg
from repro.models.residual import resnet18
from repro.models.transformer import vit

__all__ = [
    "MOMENTUM",
    "NETWORKS",
    "Block",
    "Convolution",
    "Linear",
    "Network",
    "Shape",
    "build",
]

NETWORKS: dict[str, Callable[..., Network]] = {
    "logistic_regression": logistic_regression,
    "mlp": mlp,
    "cnn": cnn,
    "vgg": vgg,
    "resnet18": resnet18,
    "vit": vit,
}


def build(name: str, image: Shape, num_classes: int, /, **options: Any) -> Network:
    """Return the network of that name for images of a shape.

    Args:
        name: A key of `NETWORKS`.
        image: Channels, height, width.
        num_classes: Logits.
        **options: Further settings of the network.

    Returns:
        The network.

    Raises:
        ValueError: If there is no such name or setting, or one that it needs is missing.
    """
    return protocol.build("network", NETWORKS, name, image, num_classes, **options)

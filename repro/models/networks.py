"""The plain networks of the papers: linear layers, and convolutions without normalisation."""

from __future__ import annotations

import itertools
import math

from repro.models.layers import Convolution, Linear, Network, Shape


def logistic_regression(image: Shape, num_classes: int) -> Network:
    """One linear layer (Baydin et al. 2022, Section 5.2)."""
    return Network((Linear(math.prod(image), num_classes, relu=False),))


def mlp(image: Shape, num_classes: int, width: int = 1024, depth: int = 2) -> Network:
    """Return `depth` hidden layers of one width with ReLU, and a linear output layer.

    The multi-layer network of Baydin et al. (2022, Section 5.2) has depth 2 and width 1024; their
    scaling experiment (Section 5.3) has depths 1 to 100.

    Args:
        image: Channels, height, width.
        num_classes: Logits.
        width: Units of a hidden layer.
        depth: Hidden layers.

    Returns:
        The network.

    Raises:
        ValueError: If width or depth is below 1.
    """
    if depth < 1 or width < 1:
        raise ValueError(f"`depth` and `width` must be at least 1. Found {depth} and {width}.")
    sizes = [math.prod(image), *[width] * depth]
    hidden = [Linear(a, b, relu=True) for a, b in itertools.pairwise(sizes)]
    return Network((*hidden, Linear(width, num_classes, relu=False)))


def cnn(
    image: Shape, num_classes: int, channels: int = 64, padding: int = 0, width: int = 1024
) -> Network:
    """Return four 3 x 3 convolutions, max-pooling after the 2nd and 4th, and two linear layers.

    The convolutional network of Baydin et al. (2022, Section 5.2); the padding is not stated there.

    Args:
        image: Channels, height, width.
        num_classes: Logits.
        channels: Channels of every convolution.
        padding: Zeros added on every side before a convolution.
        width: Units of the first linear layer.

    Returns:
        The network.

    Raises:
        ValueError: If nothing is left of the images after the poolings.
    """
    inputs, *size = image
    side = [(pixels + 4 * (padding - 1)) // 2 for pixels in size]
    side = [(pixels + 4 * (padding - 1)) // 2 for pixels in side]
    if min(side) < 1:
        raise ValueError(
            f"Images of {size[0]} x {size[1]} are too small for four 3 x 3 convolutions and two poolings "
            f"with padding {padding}. Use `padding=1`."
        )
    features = channels * math.prod(side)
    return Network(
        (
            Convolution(inputs, channels, 3, padding, pool=False),
            Convolution(channels, channels, 3, padding, pool=True),
            Convolution(channels, channels, 3, padding, pool=False),
            Convolution(channels, channels, 3, padding, pool=True),
            Linear(features, width, relu=True),
            Linear(width, num_classes, relu=False),
        )
    )


def vgg(
    image: Shape, num_classes: int, channels: int = 64, width: int = 4096, pairs: int = 3
) -> Network:
    """Return pairs of 3 x 3 convolutions, channels doubling, pooled, and two linear layers.

    The CIFAR-10 network of Rike & Førland (2022, Section III): padding 1, ReLU after every convolution,
    max-pooling after every pair.

    Args:
        image: Channels, height, width.
        num_classes: Logits.
        channels: Channels of the first pair; every next one has twice as many.
        width: Units of the first linear layer.
        pairs: Pairs of convolutions, three in the paper.

    Returns:
        The network.

    Raises:
        ValueError: If there is no pair, or nothing is left of the images after the poolings.
    """
    if pairs < 1:
        raise ValueError(f"Expected one pair of convolutions or more, found {pairs}.")
    inputs, *size = image
    smallest = 2**pairs
    side = [pixels // smallest for pixels in size]
    if min(side) < 1:
        raise ValueError(
            f"Images of {size[0]} x {size[1]} are too small for {pairs} poolings. "
            f"Use {smallest} x {smallest} or more."
        )
    sizes = [inputs, *(channels * 2**pair for pair in range(pairs) for _ in range(2))]
    convolutions = [
        Convolution(a, b, 3, 1, pool=index % 2 == 1)
        for index, (a, b) in enumerate(itertools.pairwise(sizes))
    ]
    features = sizes[-1] * math.prod(side)
    return Network(
        (
            *convolutions,
            Linear(features, width, relu=True),
            Linear(width, num_classes, relu=False),
        )
    )

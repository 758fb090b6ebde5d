"""Naive versions, written from the papers' formulas: one replica, one tangent, one step at a time.

Nothing here is stacked, batched or in place, and nothing imports the code it is compared with, except to
read the declared parameters of a network.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

Function = Callable[[Tensor], Tensor]


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    """Return generators with the seeds `seed`, `seed + 1`, ..."""
    return [torch.Generator().manual_seed(seed + index) for index in range(count)]


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return fixed standard normals."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# --- Gradients and their estimates -------------------------------------------------------------------------


def gradient(function: Function, point: Tensor) -> Tensor:
    """Return the gradient of a scalar function of one vector, by autograd."""
    variable = point.clone().requires_grad_()
    (result,) = torch.autograd.grad(function(variable), variable)
    return result


def directional_derivatives(function: Function, point: Tensor, tangents: Tensor) -> Tensor:
    """Return `nabla f . v` for each row of `tangents`, one at a time."""
    slope = gradient(function, point)
    return torch.stack([torch.dot(slope, tangent) for tangent in tangents])


def project(tangents: Tensor, slopes: Tensor) -> Tensor:
    """Return `V^T (V V^T)^-1 D` by an explicit inverse in float64; tangents must be independent."""
    wide = tangents.double()
    inverse: Tensor = torch.linalg.inv(wide @ wide.T)
    return wide.T @ inverse @ slopes.double()


def forward_gradient(
    function: Function, point: Tensor, tangents: Tensor, aggregation: str, clip: float | None = None
) -> Tensor:
    """Return the aggregated forward gradient (Baydin et al. 2022, Alg. 1; Flügel et al. 2024, Section 3)."""
    slopes = directional_derivatives(function, point, tangents)
    if clip is not None:
        slopes = torch.stack([slope.sign() * min(float(slope.abs()), clip) for slope in slopes])
    if aggregation == "orthogonal_projection":
        return project(tangents, slopes)
    total = torch.zeros_like(point)
    for slope, tangent in zip(slopes, tangents, strict=True):
        total = total + slope * tangent
    return total / len(tangents) if aggregation == "mean" else total


def beale_gradient(x: float, y: float) -> tuple[float, float]:
    """Return the gradient of Beale's function, derived by hand."""
    a, b, c = 1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3
    return (
        2 * a * (y - 1) + 2 * b * (y**2 - 1) + 2 * c * (y**3 - 1),
        2 * a * x + 4 * b * x * y + 6 * c * x * y**2,
    )


def rosenbrock_gradient(point: Sequence[float]) -> list[float]:
    """Return the gradient of Rosenbrock's function, derived by hand."""
    result = [0.0] * len(point)
    for i, (a, b) in enumerate(pairwise(point)):
        result[i] += -2 * (1 - a) - 400 * a * (b - a**2)
        result[i + 1] += 200 * (b - a**2)
    return result


# --- Networks in torch.nn ----------------------------------------------------------------------------------


def logistic_regression(features: int, num_classes: int) -> nn.Sequential:
    """Return the logistic regression of Baydin et al. (2022, Section 5.2)."""
    return nn.Sequential(nn.Flatten(), nn.Linear(features, num_classes))


def mlp(features: int, num_classes: int, width: int, depth: int) -> nn.Sequential:
    """Return the multi-layer network of Baydin et al. (2022, Section 5.2) at a width and depth."""
    sizes = [features, *[width] * depth]
    hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width, num_classes))


def cnn(
    inputs: int, features: int, num_classes: int, channels: int, padding: int, width: int = 1024
) -> nn.Sequential:
    """Return the convolutional network of Baydin et al. (2022, Section 5.2)."""

    def pair(inputs: int) -> list[nn.Module]:
        first = nn.Conv2d(inputs, channels, 3, padding=padding)
        second = nn.Conv2d(channels, channels, 3, padding=padding)
        return [first, nn.ReLU(), second, nn.ReLU(), nn.MaxPool2d(2)]

    head = [nn.Flatten(), nn.Linear(features, width), nn.ReLU(), nn.Linear(width, num_classes)]
    return nn.Sequential(*pair(inputs), *pair(channels), *head)


def vgg(
    inputs: int, features: int, num_classes: int, channels: int, width: int, pairs: int = 3
) -> nn.Sequential:
    """Return the CIFAR-10 network of Rike & Førland (2022, Section III)."""

    def pair(inputs: int, outputs: int) -> list[nn.Module]:
        first = nn.Conv2d(inputs, outputs, 3, padding=1)
        second = nn.Conv2d(outputs, outputs, 3, padding=1)
        return [first, nn.ReLU(), second, nn.ReLU(), nn.MaxPool2d(2)]

    sizes = [inputs, *(channels * 2**index for index in range(pairs))]
    convolutions = [layer for sides in pairwise(sizes) for layer in pair(*sides)]
    head = [nn.Flatten(), nn.Linear(features, width), nn.ReLU(), nn.Linear(width, num_classes)]
    return nn.Sequential(*convolutions, *head)


class Residual(nn.Module):
    """Two normalised convolutions beside a shortcut (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            convolution = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.main(maps) + self.shortcut(maps)
        return found.relu()


def resnet18(inputs: int, num_classes: int, channels: int) -> nn.Sequential:
    """Return a ResNet18 with the stem for ImageNet."""
    stem = [
        nn.Conv2d(inputs, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
    ]  # fmt: skip
    widths = [channels, channels, 2 * channels, 4 * channels, 8 * channels]
    stages = [
        block
        for stage, (before, width) in enumerate(pairwise(widths))
        for block in (Residual(before, width, 1 + (stage > 0)), Residual(width, width, 1))
    ]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * channels, num_classes)]
    return nn.Sequential(*stem, *stages, *head)


class Embedding(nn.Module):
    """Patches as tokens, after one for the class, plus positions (Dosovitskiy et al. 2021)."""

    def __init__(self, pixels: int, patches: int, width: int, patch: int) -> None:
        super().__init__()
        self.patch = nn.Unfold(patch, stride=patch)
        self.linear = nn.Linear(pixels, width)
        self.vectors = nn.ParameterList(
            [torch.zeros(1, 1, width), torch.zeros(1, patches + 1, width)]
        )

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.linear(self.patch(images).mT)
        token, position = self.vectors
        found: Tensor = torch.cat([token.expand(len(tokens), 1, -1), tokens], dim=1) + position
        return found


class Encoder(nn.Module):
    """Attention and a perceptron, each behind a layer norm and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(width, eps=1e-6)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width, eps=1e-6), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )  # fmt: skip

    def forward(self, tokens: Tensor) -> Tensor:
        normal = self.before(tokens)
        tokens = tokens + self.attention(normal, normal, normal, need_weights=False)[0]
        found: Tensor = tokens + self.perceptron(tokens)
        return found


class First(nn.Module):
    """The first token."""

    def forward(self, tokens: Tensor) -> Tensor:
        first: Tensor = tokens[:, 0]
        return first


def vit(
    pixels: int, patches: int, num_classes: int, layers: int, width: int, heads: int
) -> nn.Sequential:
    """Return a vision transformer of patches of 4 x 4."""
    encoders = [Encoder(width, heads) for _ in range(layers)]
    head = [nn.LayerNorm(width, eps=1e-6), First(), nn.Linear(width, num_classes)]
    return nn.Sequential(Embedding(pixels, patches, width, 4), *encoders, *head)


def laid_out_like(parameter: Tensor, leaf: Tensor) -> Tensor:
    """Return one replica's leaf in the layout of `torch.nn`, where linear weights are transposed."""
    return leaf.T if leaf.ndim == 2 and parameter.ndim == 2 else leaf.reshape(parameter.shape)


@torch.no_grad()
def load_(module: nn.Module, params: dict[str, Tensor], replica: int = 0) -> nn.Module:
    """Copy one replica's parameters into a module of the same architecture, in order."""
    for parameter, leaf in zip(module.parameters(), params.values(), strict=True):
        parameter.copy_(laid_out_like(parameter, leaf[replica]))
    return module


# --- Training loops in torch.optim -------------------------------------------------------------------------


def train_classifier(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[tuple[Tensor, Tensor]],
    rates: Iterable[float],
) -> list[float]:
    """Train as any tutorial does; return the loss of every batch before its step."""
    losses = []
    for (images, labels), rate in zip(batches, rates, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def descend(
    function: Function, start: Tensor, estimate: Callable[[Tensor], Tensor], rate: float
) -> Iterator[tuple[float, Tensor]]:
    """Yield the value before each step of gradient descent, and the point after it."""
    point = start
    while True:
        value = float(function(point))
        point = point - rate * estimate(point)
        yield value, point

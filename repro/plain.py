"""The plain PyTorch loop: what anyone would write, to be timed and compared with.

Layers of `torch.nn`, a `DataLoader`, an optimizer of `torch.optim`, `loss.backward()`; for forward gradients
`torch.func.jvp` once a tangent. Nothing of this package takes part in a step: only the sizes of the network come
from its declaration. Made to be obvious, not fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.utils.data import DataLoader, TensorDataset

from repro import models

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
}


def module(
    network: models.Network, params: Mapping[str, Tensor], replica: int = 0
) -> nn.Sequential:
    """Return a network as a module.

    Args:
        network: Its declaration.
        params: Stacked parameters, leaves `(R, ...)`.
        replica: Whose parameters are copied into the module.

    Returns:
        The module.

    Raises:
        ValueError: If a block is neither linear nor a plain convolution.
    """
    layers: list[nn.Module] = []
    for index, block in enumerate(network.blocks):
        if not isinstance(block, (models.Linear, models.Convolution)):
            raise ValueError(
                "The plain loop has linear layers and convolutions only. "
                f"Found {type(block).__name__}."
            )
        weight, bias = (params[f"{index}.{name}"][replica] for name in ("weight", "bias"))
        layer: nn.Linear | nn.Conv2d
        if isinstance(block, models.Linear):
            layer = nn.Linear(block.num_inputs, block.num_outputs)
            weight = weight.mT
            more = [nn.ReLU()] if block.relu else []
            layers += [nn.Flatten(), layer, *more]
        else:
            layer = nn.Conv2d(
                block.num_inputs, block.num_outputs, block.kernel, padding=block.padding
            )
            layers += [layer, nn.ReLU(), *([nn.MaxPool2d(2)] if block.pool else [])]
        layer.weight = nn.Parameter(weight.contiguous().clone())
        layer.bias = nn.Parameter(bias.flatten().clone())
    return nn.Sequential(*layers)


def optimizer(
    name: str, model: nn.Module, learning_rate: float, **options: Any
) -> torch.optim.Optimizer:
    """Return an optimizer of `torch.optim` for a module's parameters.

    Args:
        name: Name of an optimizer of this package that `torch.optim` has too.
        model: The module.
        learning_rate: The rate.
        **options: Settings by their names in this package.

    Returns:
        The optimizer, as PyTorch makes it.

    Raises:
        ValueError: If `torch.optim` has no such optimizer.
    """
    inside = options.pop("epsilon_inside", False)
    if name not in OPTIMIZERS or inside:
        raise ValueError(
            f"The plain loop has the optimizers {', '.join(OPTIMIZERS)} of torch.optim only. "
            f"Found {name!r}{', epsilon_inside' if inside else ''}."
        )
    if name == "adam":
        beta1, beta2 = options.pop("beta1", 0.9), options.pop("beta2", 0.999)
        options |= {"betas": (beta1, beta2), "eps": options.pop("epsilon", 1e-8)}
    return OPTIMIZERS[name](model.parameters(), lr=learning_rate, **options)


def batches(
    images: Tensor, labels: Tensor, batch_size: int, drop_last: bool, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled mini-batches, epoch after epoch.

    Args:
        images: All training images, in the memory of the host.
        labels: Their labels.
        batch_size: Examples in a mini-batch.
        drop_last: Whether the incomplete mini-batch that ends an epoch is left out.
        generator: Of the order.

    Yields:
        Images and labels.
    """
    loader = DataLoader(
        TensorDataset(images, labels),
        batch_size=batch_size,
        shuffle=True,
        drop_last=drop_last,
        generator=generator,
    )
    while True:
        yield from loader


def backpropagation(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Put the gradient of the mean cross-entropy into the parameters' `grad`; return the loss."""
    model.zero_grad()
    loss = F.cross_entropy(model(images), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def forward_gradient(
    model: nn.Module, images: Tensor, labels: Tensor, directions: Iterable[dict[str, Tensor]]
) -> Tensor:
    """Put the mean forward gradient along some tangents into the parameters' `grad`.

    Args:
        model: The module.
        images: A mini-batch.
        labels: Its labels.
        directions: The tangents, by the names of the module's parameters.

    Returns:
        The loss.
    """
    params = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def objective(values: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(model, values, (images,)), labels)

    sums = {name: torch.zeros_like(parameter) for name, parameter in params.items()}
    num = 0
    for direction in directions:
        loss, slope = cast("tuple[Tensor, Tensor]", jvp(objective, (params,), (direction,)))
        for name, tangent in direction.items():
            sums[name] += slope * tangent
        num += 1
    for name, parameter in model.named_parameters():
        parameter.grad = sums[name] / num
    return loss


def directions(
    model: nn.Module, num_tangents: int, generator: torch.Generator
) -> Iterator[dict[str, Tensor]]:
    """Yield standard normal tangents of a module's parameters, drawn one at a time.

    Args:
        model: The module.
        num_tangents: How many.
        generator: Their source.

    Yields:
        Tangents by the names of the parameters.
    """
    for _ in range(num_tangents):
        yield {
            name: torch.randn(p.shape, generator=generator, device=p.device, dtype=p.dtype)
            for name, p in model.named_parameters()
        }


def descend(
    function: Callable[[Tensor], Tensor],
    point: Tensor,
    learning_rate: float,
    num_tangents: int,
    aggregation: str,
    generator: torch.Generator,
) -> Tensor:
    """Take a step of gradient descent on a function, one tangent at a time.

    Args:
        function: Maps `(d,)` to a scalar.
        point: Where the step begins, `(d,)`.
        learning_rate: The rate.
        num_tangents: `k`; 0 for backpropagation.
        aggregation: As of `aggregate`.
        generator: Source of the tangents.

    Returns:
        Where it ends.
    """
    if num_tangents == 0:
        leaf = point.clone().requires_grad_()
        function(leaf).backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        return point - learning_rate * leaf.grad
    tangents = torch.randn(num_tangents, len(point), generator=generator, device=point.device)
    slopes = [jvp(function, (point,), (tangent,))[1] for tangent in tangents]
    # PyTorch takes a scalar's slope to float64 where a Python number multiplies it
    found = torch.stack(slopes).to(point.dtype)
    return point - learning_rate * aggregate(tangents, found, aggregation)


def aggregate(tangents: Tensor, slopes: Tensor, aggregation: str) -> Tensor:
    """Combine forward gradients as the formulas say, with an explicit inverse.

    Args:
        tangents: Shape `(k, d)`.
        slopes: Directional derivatives `(k,)`.
        aggregation: `sum`, `mean` or `orthogonal_projection`, on the first `d` tangents where there are more.

    Returns:
        Shape `(d,)`.
    """
    if aggregation == "orthogonal_projection":
        few = min(tangents.shape)
        basis = tangents[:few]
        projected: Tensor = basis.mT @ (torch.linalg.inv(basis @ basis.mT) @ slopes[:few])
        return projected
    gradients = tangents * slopes[:, None]
    return gradients.mean(0) if aggregation == "mean" else gradients.sum(0)


def approximate(
    dimension: int, counts: Iterable[int], num_draws: int, generator: torch.Generator
) -> Iterator[tuple[float, float, float]]:
    """Yield how close every estimate of a gradient of ones comes to it, one draw at a time.

    Args:
        dimension: `d`.
        counts: Numbers of tangents.
        num_draws: Draws for each number and each way to aggregate them, none shared.
        generator: Source of the tangents.

    Yields:
        Length and distance relative to the gradient's length, and the cosine.
    """
    gradient = torch.ones(dimension, device=generator.device)
    for k in counts:
        for aggregation, normalise in (
            ("orthogonal_projection", False), ("mean", False), ("mean", True), ("sum", False), ("sum", True),
        ):  # fmt: skip
            for _ in range(num_draws):
                tangents = torch.randn(k, dimension, generator=generator, device=generator.device)
                if normalise:
                    tangents = tangents / tangents.norm(dim=1, keepdim=True)
                estimate = aggregate(tangents, tangents @ gradient, aggregation)
                length = gradient.norm()
                ratio = float(estimate.norm() / length)
                yield (
                    ratio,
                    float((estimate - gradient).norm() / length),
                    float(estimate @ gradient / length**2) / max(ratio, 1e-30),
                )

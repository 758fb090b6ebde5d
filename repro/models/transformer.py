"""The vision transformer: patches of an image as tokens, attention among them (Dosovitskiy et al. 2021).

As Flügel et al. (2024, Section 4.5) train it: no dropout, layer norm before attention and perceptron, and a head
that starts at zero, so that all other gradients of the first step are zero too. Activities are tokens, `(R, n, T, w)`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.autodiff import Noted, affine
from repro.models.chains import grouped
from repro.models.layers import Block, Network, Shape, Start, Stateless

EPSILON = 1e-6
"""Added to the variance of a token."""


def _product(params: Mapping[str, Tensor], name: str, tokens: Tensor) -> Tensor:
    """Return tokens times a matrix, plus a bias."""
    outputs = affine(tokens.flatten(1, -2), params[f"{name}_weight"], params[f"{name}_bias"])
    return outputs.view(*tokens.shape[:-1], -1)


def _normalised(params: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """Return tokens, each normalised."""
    scale, shift = params["scale"][:, None, None], params["shift"][:, None, None]
    return F.layer_norm(tokens, tokens.shape[-1:], eps=EPSILON) * scale + shift


def _norm(width: int) -> Start:
    return {"scale": torch.ones(width), "shift": torch.zeros(width)}


def _glorot(num_inputs: int, num_outputs: int, generator: torch.Generator) -> Tensor:
    bound = math.sqrt(6.0 / (num_inputs + num_outputs))
    return torch.empty(num_inputs, num_outputs).uniform_(-bound, bound, generator=generator)


@dataclasses.dataclass(frozen=True)
class Embedding(Stateless):
    """Patches as tokens after a token for the class, plus a vector for each position."""

    num_pixels: int
    num_patches: int
    width: int
    patch: int

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        return {
            "patch_weight": (self.num_pixels, self.width),
            "patch_bias": (1, self.width),
            "token": (1, self.width),
            "position": (self.num_patches + 1, self.width),
        }

    @property
    def deep(self) -> bool:
        """No: it is one product."""
        return False

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica."""
        start = {name: torch.zeros(shape) for name, shape in self.shapes.items()}
        deviation = math.sqrt(1.0 / self.num_pixels)
        torch.nn.init.trunc_normal_(start["patch_weight"], std=deviation, generator=generator)
        start["position"].normal_(0.0, 0.02, generator=generator)
        return start

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map images `(R, n, C, H, W)` to tokens `(R, n, T, w)`."""
        del noted
        size = self.patch
        replicas, num, channels, height, width = inputs.shape
        cut = inputs.view(replicas, num, channels, height // size, size, width // size, size)
        patches = cut.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)
        tokens = _product(params, "patch", patches)
        first = params["token"][:, None].expand(-1, tokens.shape[1], -1, -1)
        return torch.cat([first, tokens], dim=2) + params["position"][:, None]


@dataclasses.dataclass(frozen=True)
class Attention(Stateless):
    """Every token plus what it takes from all tokens of its image, by several heads."""

    width: int
    heads: int

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        return {
            "scale": (self.width,),
            "shift": (self.width,),
            "in_weight": (self.width, 3 * self.width),
            "in_bias": (1, 3 * self.width),
            "out_weight": (self.width, self.width),
            "out_bias": (1, self.width),
        }

    @property
    def deep(self) -> bool:
        """Yes: one product after the other."""
        return True

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica, as `torch.nn.MultiheadAttention` does."""
        bound = 1.0 / math.sqrt(self.width)
        weight = torch.empty(self.width, self.width)
        return {
            **_norm(self.width),
            "in_weight": _glorot(self.width, 3 * self.width, generator),
            "in_bias": torch.zeros(1, 3 * self.width),
            "out_weight": weight.uniform_(-bound, bound, generator=generator),
            "out_bias": torch.zeros(1, self.width),
        }

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map tokens `(R, n, T, w)` to tokens."""
        del noted
        found = _product(params, "in", _normalised(params, inputs))
        each = found.view(*inputs.shape[:-1], 3, self.heads, -1).permute(3, 0, 1, 4, 2, 5)
        # written out: PyTorch's fused attention has no forward mode
        query, key, value = each.unbind()
        scores = query @ key.mT * math.sqrt(self.heads / self.width)
        taken = (scores.softmax(-1) @ value).transpose(2, 3).flatten(3)
        return inputs + _product(params, "out", taken)


@dataclasses.dataclass(frozen=True)
class Perceptron(Stateless):
    """Every token plus what two layers with a GELU between make of it."""

    width: int
    hidden: int

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        return {
            "scale": (self.width,),
            "shift": (self.width,),
            "hidden_weight": (self.width, self.hidden),
            "hidden_bias": (1, self.hidden),
            "out_weight": (self.hidden, self.width),
            "out_bias": (1, self.width),
        }

    @property
    def deep(self) -> bool:
        """Yes: one product after the other."""
        return True

    def start(self, generator: torch.Generator) -> Start:
        """Draw the initial parameters of one replica, as torchvision does."""

        def layer(name: str, num_inputs: int, num_outputs: int) -> Start:
            weight = _glorot(num_inputs, num_outputs, generator)
            bias = torch.empty(1, num_outputs).normal_(0.0, 1e-6, generator=generator)
            return {f"{name}_weight": weight, f"{name}_bias": bias}

        return {
            **_norm(self.width),
            **layer("hidden", self.width, self.hidden),
            **layer("out", self.hidden, self.width),
        }

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map tokens `(R, n, T, w)` to tokens."""
        del noted
        hidden = F.gelu(_product(params, "hidden", _normalised(params, inputs)))
        return inputs + _product(params, "out", hidden)


@dataclasses.dataclass(frozen=True)
class TokenHead(Stateless):
    """A linear layer on the normalised token of the class."""

    width: int
    num_outputs: int

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the parameters of one replica."""
        return {
            "scale": (self.width,),
            "shift": (self.width,),
            "out_weight": (self.width, self.num_outputs),
            "out_bias": (1, self.num_outputs),
        }

    @property
    def deep(self) -> bool:
        """Yes: the normalisation's parameters lie before the product."""
        return True

    def start(self, generator: torch.Generator) -> Start:
        """Return the initial parameters of one replica, a layer of zeros."""
        del generator
        zeros = {name: torch.zeros(shape) for name, shape in self.shapes.items()}
        return {**zeros, **_norm(self.width)}

    def __call__(
        self, params: Mapping[str, Tensor], inputs: Tensor, noted: Noted | None = None
    ) -> Tensor:
        """Map tokens `(R, n, T, w)` to outputs `(R, n, num_outputs)`."""
        del noted
        return _product(params, "out", _normalised(params, inputs[:, :, :1])).flatten(2)


def vit(
    image: Shape,
    num_classes: int,
    layers: int = 6,
    width: int = 256,
    heads: int = 4,
    patch: int = 4,
    grouping: str = "paper",
) -> Network:
    """Return an embedding of patches, layers of attention and a perceptron, and a head.

    The ViT of Flügel et al. (2024, Section 4.5); its perceptrons are twice as wide as its tokens.

    Args:
        image: Channels, height, width.
        num_classes: Logits.
        layers: Pairs of attention and perceptron.
        width: Numbers of a token.
        heads: Heads of the attention.
        patch: Side of a patch.
        grouping: `paper` for a block a pair, with the embedding in the first and the head in the last; `fine` for
            blocks of embedding, attentions, perceptrons and head, `2 layers + 2` in all.

    Returns:
        The network.

    Raises:
        ValueError: If sizes do not fit each other, or the grouping is unknown.
    """
    channels, *size = image
    if min(layers, width, heads, patch) < 1 or width % heads:
        raise ValueError(
            "`layers`, `width`, `heads` and `patch` must be at least 1, and `width` a multiple of `heads`. "
            f"Found {layers}, {width}, {heads} and {patch}."
        )
    if any(pixels % patch for pixels in size):
        raise ValueError(
            f"Images of {size[0]} x {size[1]} cannot be cut into patches of {patch} x {patch}. "
            "Use a `patch` that divides both."
        )
    num_patches = math.prod(pixels // patch for pixels in size)
    pair: tuple[Block, ...] = (Attention(width, heads), Perceptron(width, 2 * width))
    groups = [pair] * layers
    groups[0] = (Embedding(channels * patch**2, num_patches, width, patch), *groups[0])
    groups[-1] = (*groups[-1], TokenHead(width, num_classes))
    return Network(grouped(grouping, tuple(groups)))

"""How PyTorch differentiates: objectives, sweeps through them, and layers with rules of their own.

The one place that knows `torch.func` and dual numbers.
"""

from repro.autodiff.activities import BlockwisePass, activity_derivatives
from repro.autodiff.objectives import Layer, Layered, Noted, Objective, Params, leaves, like
from repro.autodiff.products import affine, batch_norm, convolution, product
from repro.autodiff.refusals import require_objective, require_parameters, require_value
from repro.autodiff.sweeps import Recorded, value_and_directional_derivatives, value_and_gradient

__all__ = [
    "BlockwisePass",
    "Layer",
    "Layered",
    "Noted",
    "Objective",
    "Params",
    "Recorded",
    "activity_derivatives",
    "affine",
    "batch_norm",
    "convolution",
    "leaves",
    "like",
    "product",
    "require_objective",
    "require_parameters",
    "require_value",
    "value_and_directional_derivatives",
    "value_and_gradient",
]

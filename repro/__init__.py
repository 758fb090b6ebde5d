"""Forward gradients and backpropagation, compared fairly: estimators, studies, results, audit.

The public names below load PyTorch when first used; the tables, figures and claims never do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repro.estimators import Backpropagation, Estimate, ForwardGradient

__version__ = "0.1.0"
__all__ = ["Backpropagation", "Estimate", "ForwardGradient", "__version__"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from repro import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

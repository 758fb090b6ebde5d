"""Functions with a formula, as stacked objectives `(R, d) -> (R,)`.

A function sums over the last dimension and does the same operations whatever the point, so its derivatives
are recorded once and replayed (`repro.autodiff.Recorded`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from repro import protocol
from repro.autodiff import Objective, Params, Recorded
from repro.protocol import Replica


def beale(params: Tensor) -> Tensor:
    """Beale's function of two variables; minimum 0 at (3, 0.5)."""
    x, y = params.unbind(-1)
    return (
        (1.5 - x + x * y).square()
        + (2.25 - x + x * y.square()).square()
        + (2.625 - x + x * y**3).square()
    )


def coordinate_sum(params: Tensor) -> Tensor:
    """Return the sum of the coordinates: its gradient is one in every direction, everywhere."""
    return params.sum(-1)


def sphere(params: Tensor) -> Tensor:
    """Return the sum of squares; minimum 0 at the origin."""
    return params.square().sum(-1)


def styblinski_tang(params: Tensor) -> Tensor:
    """Styblinski and Tang's function; minimum about -39.166166 `d` at (-2.903534, ..., -2.903534)."""
    squares = params.square()
    return 0.5 * (squares.square() - 16.0 * squares + 5.0 * params).sum(-1)


def rosenbrock(params: Tensor) -> Tensor:
    """Rosenbrock's function, a=1, b=100; minimum 0 at (1, ..., 1).

    A sum over neighbours, so of one variable it is zero everywhere; Flügel et al. (2024) descend there too.

    Args:
        params: Shape `(..., d)`.

    Returns:
        Shape `(...)`.
    """
    head, tail = params[..., :-1], params[..., 1:]
    return ((1.0 - head).square() + 100.0 * (tail - head.square()).square()).sum(-1)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "beale": beale,
    "coordinate_sum": coordinate_sum,
    "rosenbrock": rosenbrock,
    "sphere": sphere,
    "styblinski_tang": styblinski_tang,
}
OF_TWO_VARIABLES = ("beale",)
"""Functions of no other dimension."""


class ClosedFormProblem:
    """A function, started from one point by every replica."""

    steps_per_epoch = math.nan  # it has no data

    def __init__(
        self, declared: protocol.ClosedForm, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Look the function up.

        Args:
            declared: The declaration.
            device: Where the parameters live.
            dtype: Floating-point type.

        Raises:
            ValueError: If the function is unknown or of another dimension, or the start does not fit the dimension.
        """
        if declared.function not in FUNCTIONS:
            raise ValueError(
                f"Unknown function {declared.function!r}. Choose from: {', '.join(FUNCTIONS)}."
            )
        if not 1 <= len(declared.start) <= declared.num_parameters:
            raise ValueError(
                "A start needs at least one coordinate, and no more than dimensions. "
                f"Found {len(declared.start)} coordinates and dimension {declared.num_parameters}."
            )
        if declared.function in OF_TWO_VARIABLES and declared.num_parameters != 2:
            raise ValueError(
                f"The function {declared.function!r} has two variables. Found dimension {declared.num_parameters}."
            )
        self.function = FUNCTIONS[declared.function]
        self._objective = Recorded(self._evaluate)
        given = torch.tensor(declared.start, device=device, dtype=dtype)
        repeated = given[-1:].expand(declared.num_parameters - len(given))
        self._start = torch.cat([given, repeated])

    def start(self, replicas: Sequence[Replica]) -> Params:
        """Return the start, `(R, d)`."""
        return self._start.repeat(len(replicas), 1)

    @staticmethod
    def statistics(num_replicas: int) -> dict[str, Tensor]:
        """Return none: a formula has no running statistics."""
        del num_replicas
        return {}

    def batches(self, replicas: Sequence[Replica]) -> Iterator[Tensor]:
        """Yield mini-batches of nothing, `(R, 0)`, for ever: it has no data."""
        nothing = torch.empty(len(replicas), 0, device=self._start.device, dtype=torch.int64)
        while True:
            yield nothing

    def objective(self, rows: Tensor) -> Objective:
        """Return the function, from `(R, d)` to values `(R,)`, whatever the mini-batch."""
        del rows
        return self._objective

    def _evaluate(self, params: Params) -> Tensor:
        assert isinstance(params, Tensor)
        return self.function(params)

    @torch.no_grad()
    def evaluate(
        self, params: Params, replicas: Sequence[Replica], split: str
    ) -> dict[str, Tensor]:
        """Return the function's value and the coordinates, each `(R,)`.

        Args:
            params: Shape `(R, d)`.
            replicas: One a row.
            split: Ignored; a formula has no splits.

        Returns:
            `value`, and `x0`, `x1`, ... where `d` is at most 2.
        """
        del replicas, split
        assert isinstance(params, Tensor)
        path = dict(zip(("x0", "x1"), params.unbind(-1), strict=False))
        return {"value": self.function(params), **(path if params.shape[-1] <= 2 else {})}

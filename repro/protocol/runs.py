"""What a run is: frozen values from component to `RunSpec`, canonical JSON, keys and seeds."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from typing import Literal, TypeAlias

from repro.protocol.canonical import LATER, canonical_json

PROTOCOL_VERSION = 1
"""Part of every key: it is raised when the same specification comes to mean other arithmetic."""

Scalar: TypeAlias = bool | int | float | str | None
Settings: TypeAlias = tuple[tuple[str, Scalar], ...]
Scale = Literal["smoke", "reduced", "full"]
SCALES: tuple[Scale, ...] = ("smoke", "reduced", "full")
Role = Literal["tune", "report"]
REFINEMENT, FINAL = "refinement", "final"
"""Stages of a search, after the trials that all methods share."""

PRECISIONS = ("float64", "float32", "bfloat16", "float16")
"""Floating-point types by PyTorch's names."""
SCHEDULES = {
    "constant": ("learning_rate",),
    "exponential": ("learning_rate", "decay"),
    "hyperbolic": ("learning_rate", "decay"),
}
"""How the learning rate goes on, and the hyperparameters read for that; nothing else reads any."""


@dataclasses.dataclass(frozen=True)
class Component:
    """A named part (estimator, optimizer, network, function) and its settings, sorted by name."""

    name: str
    settings: Settings = ()

    def options(self) -> dict[str, Scalar]:
        """Return the settings as keyword arguments."""
        return dict(self.settings)


def settings(values: Mapping[str, Scalar] | None = None, /, **more: Scalar) -> Settings:
    """Return settings as a sorted, hashable tuple of pairs.

    Args:
        values: Settings by name.
        **more: Further settings by name.

    Returns:
        The pairs, sorted by name.

    Raises:
        ValueError: If a number is not finite.
    """
    merged = {**(values or {}), **more}
    for name, value in merged.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(
                f"Setting `{name}` must be finite. Found {value}. Leave it out instead."
            )
    return tuple(sorted(merged.items()))


def use(name: str, **options: Scalar) -> Component:
    """Name a component with its settings: `use("forward_gradient", num_tangents=4)`."""
    return Component(name, settings(options))


@dataclasses.dataclass(frozen=True)
class ClosedForm:
    """A function with a formula, minimised from a fixed start.

    Attributes:
        name: Identity of the problem; seeds derive from it, so variants that share it are paired.
        function: Name in `repro.problems.closed_form.FUNCTIONS`.
        start: Coordinates of the first iterate.
        dimension: `d`, to which the last coordinate of the start is repeated; that many by default.
    """

    name: str
    function: str
    start: tuple[float, ...]
    dimension: int | None = dataclasses.field(default=None, metadata=LATER)

    @property
    def num_parameters(self) -> int:
        """The dimension `d`."""
        return len(self.start) if self.dimension is None else self.dimension


@dataclasses.dataclass(frozen=True)
class Classification:
    """A network trained on labelled images.

    Attributes:
        name: Identity of the problem; seeds derive from it, so variants that share it are paired.
        dataset: Name in `repro.datasets.NAMES`.
        network: Name and settings of a network of `repro.models`.
        batch_size: Examples in a mini-batch.
        input_scaling: How pixels become floats: `unit` or `standardised`.
        validation_size: Training examples set aside for validation, drawn per repetition.
        drop_last: Whether the incomplete mini-batch that ends an epoch is left out.
        loss: Training loss, averaged over the mini-batch.
    """

    name: str
    dataset: str
    network: Component
    batch_size: int
    input_scaling: str
    validation_size: int
    drop_last: bool = True
    loss: str = "cross_entropy"


Problem: TypeAlias = ClosedForm | Classification


@dataclasses.dataclass(frozen=True)
class Method:
    """Estimator, optimizer and their fixed settings; what a comparison compares.

    Attributes:
        name: Identity of the method; its tangents' seeds derive from it.
        estimator: Name and settings of a gradient estimator.
        optimizer: Name and settings of an update rule.
        schedule: How the learning rate decays with the step: a key of `SCHEDULES`.
        loss: Training loss, if a published method had its own; `None` means the problem's.
        tangent_seed: `identity`, or `repetition` to seed the tangents with the repetition's number alone, as a
            published method did.
    """

    name: str
    estimator: Component
    optimizer: Component
    schedule: str = "constant"
    loss: str | None = dataclasses.field(default=None, metadata=LATER)
    tangent_seed: str = dataclasses.field(default="identity", metadata=LATER)


def _require_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ValueError(
            f"`precision` must be one of: {', '.join(PRECISIONS)}. Found {precision!r}."
        )


@dataclasses.dataclass(frozen=True)
class Training:
    """Budget and precision of a training run.

    Attributes:
        num_steps: Optimizer steps.
        evaluate_every: Steps between two evaluations on the validation split.
        loss_limit: A training loss above it counts as divergence; also the score of a diverged run.
        precision: Floating-point type of parameters and data.
        test_every: Steps between two evaluations on the test split, for papers that made them; 0 for none before
            the end.
        patience: Steps in a row without a lower loss than the step before, after which a run on a function
            stands still; 0 for none.
        keep_losses: Whether the training loss of every step becomes a curve.
        early_stopping: Evaluations in a row without a lower validation loss after which a run ends, with the lowest
            as its score; 0 for none.
        validation_limit: A validation loss at or above it ends a run as diverged; 0 for none.
    """

    num_steps: int
    evaluate_every: int
    loss_limit: float = 1e3
    precision: str = "float32"
    test_every: int = dataclasses.field(default=0, metadata=LATER)
    patience: int = dataclasses.field(default=0, metadata=LATER)
    keep_losses: bool = dataclasses.field(default=True, metadata=LATER)
    early_stopping: int = dataclasses.field(default=0, metadata=LATER)
    validation_limit: float = dataclasses.field(default=0.0, metadata=LATER)

    def __post_init__(self) -> None:
        _require_precision(self.precision)
        for name, least in (
            ("num_steps", 1), ("evaluate_every", 1), ("test_every", 0), ("patience", 0),
            ("early_stopping", 0), ("validation_limit", 0.0),
        ):  # fmt: skip
            if not getattr(self, name) >= least:
                raise ValueError(f"`{name}` must be at least {least}. Found {getattr(self, name)}.")
        if self.early_stopping and (self.patience or self.test_every):
            raise ValueError(
                "`early_stopping` goes with neither `patience` nor `test_every`: a run ends by one rule, and the "
                f"test split is read where it ends. Found {self.patience} and {self.test_every}."
            )


@dataclasses.dataclass(frozen=True)
class Timing:
    """Cost of one step, measured; the only task whose specification names the device.

    Attributes:
        num_steps: Turns timed, after `num_warmup` untimed ones; a turn is one step, or `loop_steps`.
        num_warmup: Untimed turns.
        device: `cpu` or `cuda`.
        num_threads: Threads of the CPU arithmetic.
        memory: Whether the peak memory of one further step is measured too.
        precision: Floating-point type of parameters and data.
        loop_steps: Steps of a turn, one after another and each on a mini-batch of its own, as training
            takes them; 0 for a single step that takes the first mini-batch again and again.
        replicas: Replicas that a step advances, stacked.
        processes: Processes that take their turns at the same time, each with `num_threads`.
    """

    num_steps: int
    num_warmup: int
    device: str
    num_threads: int
    memory: bool = True
    precision: str = "float32"
    loop_steps: int = dataclasses.field(default=0, metadata=LATER)
    replicas: int = dataclasses.field(default=1, metadata=LATER)
    processes: int = dataclasses.field(default=1, metadata=LATER)

    def __post_init__(self) -> None:
        _require_precision(self.precision)
        for name, least in (
            ("num_steps", 1), ("num_warmup", 0), ("num_threads", 1),
            ("loop_steps", 0), ("replicas", 1), ("processes", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` must be at least {least}. Found {getattr(self, name)}.")


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Gradient estimates at the problem's start, drawn again and again, without any step.

    Attributes:
        num_draws: Estimates drawn.
        precision: Floating-point type of the arithmetic.
    """

    num_draws: int
    precision: str = "float64"

    def __post_init__(self) -> None:
        _require_precision(self.precision)
        if self.num_draws < 2:
            raise ValueError(f"`num_draws` must be at least 2. Found {self.num_draws}.")


@dataclasses.dataclass(frozen=True)
class Approximation:
    """How close estimates come to the gradient at the problem's start, by the number of tangents.

    The first `k` tangents of every draw make the estimate for `k`, for every `k` of `num_tangents`; runs that
    differ in their method alone see the same draws.

    Attributes:
        num_draws: Draws of the largest number of tangents.
        num_tangents: Increasing numbers of tangents `k`.
        precision: Floating-point type of the arithmetic.
    """

    num_draws: int
    num_tangents: tuple[int, ...]
    precision: str = "float32"

    def __post_init__(self) -> None:
        _require_precision(self.precision)
        if self.num_draws < 2:
            raise ValueError(f"`num_draws` must be at least 2. Found {self.num_draws}.")
        increasing = all(a < b for a, b in itertools.pairwise(self.num_tangents))
        if not self.num_tangents or self.num_tangents[0] < 1 or not increasing:
            raise ValueError(
                "`num_tangents` must be increasing numbers of at least 1. "
                f"Found {self.num_tangents}."
            )


Task: TypeAlias = Training | Timing | Sampling | Approximation


@dataclasses.dataclass(frozen=True)
class Trial:
    """Which trial of which search.

    Attributes:
        number: Number of the trial, from 0, in the order in which the search proposed it.
        search: Digest of the search (space, budget, sampler); trials of different searches never mix.
        stage: `REFINEMENT` for a trial beside its method's own winner, `FINAL` where one of the best is run again;
            empty for those that all methods share.
    """

    number: int
    search: str
    stage: str = dataclasses.field(default="", metadata=LATER)


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One (problem, method, hyperparameters, repetition, task): the unit that is cached and resumed.

    Attributes:
        study: Name of the declaring study.
        arm: `published`, `tuned`, or another arm of the study.
        scale: The scale whose budget this is; `full` if a smaller scale has the full budget.
        experiment: Name of the experiment within the study.
        role: `tune` or `report`; the two never share seeds.
        problem: What is minimised.
        method: What minimises it.
        hyperparameters: Numbers such as the learning rate, as sorted pairs.
        repetition: Index of the repetition, from 0.
        task: What is done and for how long.
        trial: The trial of a search that this run belongs to; `None` for reported runs.
    """

    study: str
    arm: str
    scale: Scale
    experiment: str
    role: Role
    problem: Problem
    method: Method
    hyperparameters: Settings
    repetition: int
    task: Task
    trial: Trial | None = dataclasses.field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        rate = dict(self.hyperparameters).get("learning_rate")
        if rate is not None and not (isinstance(rate, float) and 0.0 < rate < math.inf):
            # a whole number would be another key than the same rate as a float
            mend = f": write {float(rate)}" if type(rate) is int and rate > 0 else ""
            raise ValueError(
                f"`learning_rate` must be a positive finite float. Found {rate!r}{mend}."
            )

    @property
    def trained_problem(self) -> Problem:
        """The problem, with the method's own loss if it has one."""
        if self.method.loss is None or isinstance(self.problem, ClosedForm):
            return self.problem
        return dataclasses.replace(self.problem, loss=self.method.loss)

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 (hexadecimal) of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def canonical_json(self) -> str:
        """Return the one JSON text of this value: class names, sorted keys, shortest floats."""
        return canonical_json({"protocol": PROTOCOL_VERSION, "run": self})


@dataclasses.dataclass(frozen=True)
class Replica:
    """The parts of a run that decide its draws, besides problem and method."""

    role: Role
    repetition: int


def derive_seed(purpose: str, *identity: str | int) -> int:
    """Return the seed in `[0, 2**63)` that belongs to a purpose and an identity.

    Args:
        purpose: What is drawn, e.g. `start`, `split`, `order`, `tangents`.
        *identity: Names and indices that the draw may depend on.

    Returns:
        A non-negative integer that `torch.Generator.manual_seed` accepts.
    """
    digest = hashlib.sha256(json.dumps([purpose, *identity]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1

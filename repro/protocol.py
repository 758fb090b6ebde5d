"""What is run, as values: a study declares experiments, an experiment expands to runs, a run has a key.

Everything here is a frozen value without behaviour on tensors, so that a study can be read, listed, priced
and hashed where no PyTorch is installed. Two ideas carry the rest of the package:

* **A run is its specification.** The SHA-256 of a `RunSpec`'s canonical JSON is the run's key; whatever can
  change a number stands in the specification, whatever merely describes where it ran stands in the record.
* **Seeds are hashes of identity.** `derive_seed` maps (purpose, problem, role, repetition, ...) to a seed, so
  methods of one problem share start, split and data order (they are paired), and adding a method moves no
  other draw.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

PROTOCOL_VERSION = 1
"""Part of every key: raised when the same specification begins to mean other arithmetic."""

Scalar: TypeAlias = bool | int | float | str | None
Settings: TypeAlias = tuple[tuple[str, Scalar], ...]
Scale = Literal["smoke", "reduced", "full"]
SCALES: tuple[Scale, ...] = ("smoke", "reduced", "full")
Role = Literal["tune", "report"]


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
        start: Coordinates of the first iterate; its length is the dimension `d`.
    """

    name: str
    function: str
    start: tuple[float, ...]


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
class LogUniform:
    """The log-uniform range `[low, high]` of one hyperparameter."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0.0 < self.low < self.high < math.inf):
            raise ValueError(
                "A log-uniform range needs 0 < low < high < inf. "
                f"Found low={self.low}, high={self.high}."
            )


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """Ranges by hyperparameter name, one space for every method that has the hyperparameter."""

    ranges: tuple[tuple[str, LogUniform], ...]


@dataclasses.dataclass(frozen=True)
class Method:
    """Estimator, optimizer and their fixed settings; what a comparison compares.

    Attributes:
        name: Identity of the method; its tangents' seeds derive from it.
        estimator: Name and settings of a gradient estimator.
        optimizer: Name and settings of an update rule.
        schedule: How the learning rate decays with the step: `constant`, `exponential` or `hyperbolic`.
    """

    name: str
    estimator: Component
    optimizer: Component
    schedule: str = "constant"


@dataclasses.dataclass(frozen=True)
class Training:
    """Budget and precision of a training run.

    Attributes:
        num_steps: Optimizer steps.
        evaluate_every: Steps between two evaluations on the validation split.
        loss_limit: A training loss above it counts as divergence; also the score of a diverged run.
        precision: Floating-point type of parameters and data.
    """

    num_steps: int
    evaluate_every: int
    loss_limit: float = 1e3
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name in ("num_steps", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1. Found {getattr(self, name)}.")


@dataclasses.dataclass(frozen=True)
class Timing:
    """Cost of one step, measured; the only task whose specification names the device.

    Attributes:
        num_steps: Steps timed, after `num_warmup` untimed ones.
        num_warmup: Untimed steps.
        device: `cpu` or `cuda`.
        num_threads: Threads of the CPU arithmetic.
        memory: Whether the peak memory of one further step is measured too.
        precision: Floating-point type of parameters and data.
    """

    num_steps: int
    num_warmup: int
    device: str
    num_threads: int
    memory: bool = True
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, least in (("num_steps", 1), ("num_warmup", 0), ("num_threads", 1)):
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
        if self.num_draws < 2:
            raise ValueError(f"`num_draws` must be at least 2. Found {self.num_draws}.")


Task: TypeAlias = Training | Timing | Sampling


@dataclasses.dataclass(frozen=True)
class RunSpec:
    """One (problem, method, hyperparameters, repetition, task): the unit that is cached and resumed.

    Attributes:
        study: Name of the declaring study.
        arm: `published`, `tuned`, or another arm of the study.
        scale: The scale whose budget this is; `full` where a smaller scale has the full budget.
        experiment: Name of the experiment within the study.
        role: `tune` or `report`; the two never share seeds.
        problem: What is minimised.
        method: What minimises it.
        hyperparameters: Numbers such as the learning rate, as sorted pairs.
        repetition: Index of the repetition, from 0.
        task: What is done and for how long.
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

    def __post_init__(self) -> None:
        rate = dict(self.hyperparameters).get("learning_rate")
        if rate is not None and not (isinstance(rate, float) and 0.0 < rate < math.inf):
            raise ValueError(f"`learning_rate` must be a positive finite float. Found {rate!r}.")

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 (hexadecimal) of the canonical JSON."""
        return hashlib.sha256(self.canonical_json().encode()).hexdigest()

    def canonical_json(self) -> str:
        """Return the one JSON text of this value: class names, sorted keys, shortest floats."""
        return canonical_json({"protocol": PROTOCOL_VERSION, "run": self})


@dataclasses.dataclass(frozen=True)
class Replica:
    """What of a run decides its draws besides problem and method."""

    role: Role
    repetition: int


def canonical_json(value: object) -> str:
    """Return sorted, compact JSON in which every dataclass carries its class name.

    Args:
        value: Dataclasses, mappings, sequences and scalars, nested.

    Returns:
        The text; equal values give equal text.

    Raises:
        TypeError: If a part has no canonical form.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__, **fields}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"No canonical JSON for {type(value).__name__}: {value!r}.")


_CLASSES = {
    cls.__name__: cls
    for cls in (
        Component,
        ClosedForm,
        Classification,
        Method,
        Training,
        Timing,
        Sampling,
        RunSpec,
    )
}


def parse_run(text: str) -> RunSpec:
    """Return the run that `RunSpec.canonical_json` wrote.

    Args:
        text: Canonical JSON of a run.

    Returns:
        The equal value.

    Raises:
        ValueError: If the text is no run of this protocol version.
    """
    try:
        content = json.loads(text)
        version, run = content["protocol"], _revive(content["run"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"Expected the canonical JSON of a run. Found {text[:60]!r}.") from error
    if version != PROTOCOL_VERSION or not isinstance(run, RunSpec):
        raise ValueError(
            f"Expected a run of protocol {PROTOCOL_VERSION}. Found protocol {version}."
        )
    return run


def _revive(value: Any) -> Any:
    if isinstance(value, dict):
        fields = {k: _revive(v) for k, v in value.items() if k != "class"}
        return _CLASSES[value["class"]](**fields)
    if isinstance(value, list):
        return tuple(_revive(v) for v in value)
    return value


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


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an experiment does at one scale."""

    problem: Problem
    task: Task
    repetitions: int

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise ValueError(f"`repetitions` must be at least 1. Found {self.repetitions}.")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Methods compared on one problem under one task, at each scale.

    Attributes:
        name: Identity within the study.
        arm: The arm it belongs to.
        methods: The methods compared.
        hyperparameters: One entry a setting; every method runs every setting.
        smoke: Wiring only, in seconds.
        reduced: What a laptop can do.
        full: As published.
    """

    name: str
    arm: str
    methods: tuple[Method, ...]
    hyperparameters: tuple[Settings, ...]
    smoke: Plan
    reduced: Plan
    full: Plan

    def plan(self, scale: Scale) -> Plan:
        """Return the plan of a scale."""
        plans: dict[Scale, Plan] = {"smoke": self.smoke, "reduced": self.reduced, "full": self.full}
        return plans[scale]

    def label(self, scale: Scale) -> Scale:
        """Return `full` where the scale's plan differs from it in nothing but repetitions."""
        full = dataclasses.replace(self.full, repetitions=1)
        same = dataclasses.replace(self.plan(scale), repetitions=1) == full
        return "full" if same else scale


@dataclasses.dataclass(frozen=True)
class Fact:
    """A published value.

    Attributes:
        item: The figure, table or section that states it.
        quantity: What it is the value of.
        value: The number; `None` where the paper is silent.
        source: Where it was read, or why it is missing.
        method: The method it belongs to, if any.
        setting: The experiment it belongs to, if any.
        x: Abscissa (step, depth, ...) where it is a point of a curve.
    """

    item: str
    quantity: str
    value: float | None
    source: str
    method: str = ""
    setting: str = ""
    x: float | None = None


@dataclasses.dataclass(frozen=True)
class Expectation:
    """What a claim says of a measured quantity: `low <= quantity <= high`."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(
                f"An expectation needs low < high. Found low={self.low}, high={self.high}."
            )


@dataclasses.dataclass(frozen=True)
class Check:
    """One measurable part of a claim.

    Attributes:
        label: The quantity in a few words.
        measure: Name and settings of a measure of `repro.claims`.
        expect: What the claim says of it.
        published: The published value, if the paper has one.
        unit: Unit of the quantity, empty for pure numbers.
    """

    label: str
    measure: Component
    expect: Expectation
    published: float | None = None
    unit: str = ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A published, checkable sentence.

    Attributes:
        number: Number in the study's list of claims.
        text: The claim, paraphrased.
        where: Figure, table or section.
        checks: What is measured; empty where nothing is.
        untested: Why nothing is measured, for a claim without checks.
    """

    number: int
    text: str
    where: str
    checks: tuple[Check, ...] = ()
    untested: str = ""

    def __post_init__(self) -> None:
        if bool(self.checks) == bool(self.untested):
            raise ValueError(
                f"Claim {self.number} needs either checks or a reason why it is untested. "
                f"Found {len(self.checks)} checks and untested={self.untested!r}."
            )


@dataclasses.dataclass(frozen=True)
class Study:
    """One paper re-run: its facts, our experiments, its claims.

    Attributes:
        name: `author2022`.
        citation: Authors, title, year, identifier.
        facts: Published values.
        experiments: What is run.
        claims: What is judged.
    """

    name: str
    citation: str
    facts: tuple[Fact, ...]
    experiments: tuple[Experiment, ...]
    claims: tuple[Claim, ...]


def choose(names: Iterable[str], wanted: Iterable[str], what: str) -> tuple[str, ...]:
    """Return the wanted names in declared order, or say which do not exist.

    Args:
        names: The names that exist, in order.
        wanted: The names asked for; none means all.
        what: What the names name, for the message.

    Returns:
        The chosen names.

    Raises:
        ValueError: If a wanted name does not exist.
    """
    known, asked = tuple(dict.fromkeys(names)), tuple(wanted)
    for name in asked:
        if name not in known:
            raise ValueError(f"Unknown {what} {name!r}. Choose from: {', '.join(known)}.")
    return tuple(name for name in known if not asked or name in asked)


def expand(
    study: Study,
    scale: Scale,
    *,
    arms: Iterable[str] = (),
    only: Iterable[str] = (),
    methods: Iterable[str] = (),
    device: str = "cpu",
) -> tuple[RunSpec, ...]:
    """Return every run a study declares at a scale, in declared order.

    Args:
        study: The study.
        scale: `smoke`, `reduced` or `full`.
        arms: Keep these arms only.
        only: Keep these experiments only.
        methods: Keep these methods only.
        device: The device that timing runs name.

    Returns:
        The runs; repetitions of a setting stand side by side.

    Raises:
        ValueError: If a name is unknown or nothing is left.
    """
    (scale,) = choose(SCALES, (scale,), "scale")  # type: ignore[assignment]
    kept_arms = choose((e.arm for e in study.experiments), arms, f"arm of {study.name}")
    kept = choose((e.name for e in study.experiments), only, f"experiment of {study.name}")
    every = (m.name for e in study.experiments for m in e.methods)
    kept_methods = choose(every, methods, f"method of {study.name}")
    runs = tuple(
        RunSpec(
            study=study.name,
            arm=experiment.arm,
            scale=experiment.label(scale),
            experiment=experiment.name,
            role="report",
            problem=experiment.plan(scale).problem,
            method=method,
            hyperparameters=hyperparameters,
            repetition=repetition,
            task=_on(experiment.plan(scale).task, device),
        )
        for experiment in study.experiments
        if experiment.arm in kept_arms and experiment.name in kept
        for hyperparameters in experiment.hyperparameters
        for method in experiment.methods
        if method.name in kept_methods
        for repetition in range(experiment.plan(scale).repetitions)
    )
    if not runs:
        raise ValueError(
            f"No run of {study.name} has arm in {kept_arms}, experiment in {kept} and method in "
            f"{kept_methods}. Drop one of the filters."
        )
    return runs


def _on(task: Task, device: str) -> Task:
    return dataclasses.replace(task, device=device) if isinstance(task, Timing) else task

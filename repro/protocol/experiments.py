"""What is run: methods compared at three scales, and how they find their settings."""

from __future__ import annotations

import dataclasses
import math

from repro.protocol.canonical import LATER
from repro.protocol.runs import (
    SCHEDULES,
    Method,
    Problem,
    Scale,
    Settings,
    Task,
    Timing,
    Training,
)


def require_tuple(owner: str, name: str, found: object, kind: type) -> None:
    """Refuse what is no tuple of such values, as `(x)` is none without a comma.

    Args:
        owner: What has the field.
        name: Name of the field.
        found: Its value.
        kind: What every entry is; `tuple` for settings.

    Raises:
        ValueError: If it is something else.
    """
    if isinstance(found, tuple) and all(isinstance(each, kind) for each in found):
        return
    entry = "`settings(...)`" if kind is tuple else f"a `{kind.__name__}`"
    strange = found
    mend = "put a comma after every entry, also if there is only one"
    # settings are tuples themselves, so that without a comma their own entries are found in their place
    if isinstance(found, tuple) and kind is not tuple:
        number, strange = next((n, e) for n, e in enumerate(found, 1) if not isinstance(e, kind))
        mend = f"give {entry} as entry {number}"
    raise ValueError(
        f"{owner} needs `{name}` to be a tuple, every entry {entry}. Found {type(strange).__name__} {strange!r:.60}: {mend}."
    )


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

    def __post_init__(self) -> None:
        if not self.ranges:
            raise ValueError("A search space needs at least one range. Found none.")


@dataclasses.dataclass(frozen=True)
class Search:
    """An equal-budget search: what every method of a comparison gets, no more and no less.

    Trials come from a scrambled Sobol sequence over the space, in fixed batches, so the first `m` of them
    are the search that `m` trials would have made. If the winner of any method is closer to a bound than `edge` of
    the log range, the space grows by one decade there for all methods, with `extension_trials` further trials
    each. Then every method gets `refinement_trials` between the trials on either side of its own winner: few
    trials over many decades leave gaps, in which the narrow range where a method works may lie. At last every method's
    `finalists`, its trials with the lowest scores, are run again, and the lowest mean over all runs wins: the best
    single run of many is one of luck, the more so the noisier the method.

    Attributes:
        space: Ranges of the searched hyperparameters.
        num_trials: Trials of every method.
        repetitions: Tuning repetitions of a trial; its score is their mean.
        batch: Trials proposed at once; part of the protocol, unlike the number of workers.
        edge: Share of the log range that counts as the edge.
        extension_trials: Trials of every method in a decade that is added.
        max_extensions: Decades that may be added at one bound.
        refinement_trials: Trials of every method beside its winner, once that lies well inside.
        finalists: Trials of every method that are run again before one of them wins; 0 for none.
        finalist_repetitions: Further tuning repetitions of every finalist.
        seed: Seed of the scrambling; all methods get the same sequence.
    """

    space: SearchSpace
    num_trials: int
    repetitions: int = 1
    batch: int = 16
    edge: float = 0.1
    extension_trials: int = 4
    max_extensions: int = 3
    refinement_trials: int = dataclasses.field(default=0, metadata=LATER)
    finalists: int = dataclasses.field(default=0, metadata=LATER)
    finalist_repetitions: int = dataclasses.field(default=2, metadata=LATER)
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("num_trials", 1), ("repetitions", 1), ("batch", 1), ("extension_trials", 1),
            ("refinement_trials", 0), ("finalists", 0), ("finalist_repetitions", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise ValueError(
                    f"A search needs `{name}` of at least {least}. Found {getattr(self, name)}."
                )
        if self.max_extensions < 0 or not 0.0 <= self.edge < 0.5:
            raise ValueError(
                "A search needs `max_extensions` >= 0 and `edge` in [0, 0.5). "
                f"Found {self.max_extensions} and {self.edge}."
            )

    @property
    def num_runs(self) -> int:
        """Runs of every method, without those that the edge rule may add."""
        trials = self.num_trials + self.refinement_trials
        return trials * self.repetitions + self.num_further_runs(trials)

    def num_further_runs(self, trials: int) -> int:
        """Return how many further runs the finalists among so many trials have."""
        return min(self.finalists, trials) * self.finalist_repetitions

    @property
    def first_runs(self) -> range:
        """Tuning repetitions that every trial has."""
        return range(self.repetitions)

    @property
    def further_runs(self) -> range:
        """Tuning repetitions that finalists have besides."""
        return range(self.repetitions, self.repetitions + self.finalist_repetitions)

    @property
    def shared(self) -> Search:
        """The search without what comes after the trials that all methods share."""
        return dataclasses.replace(
            self, refinement_trials=0, finalists=0, finalist_repetitions=Search.finalist_repetitions
        )


@dataclasses.dataclass(frozen=True)
class Plan:
    """What an experiment does at one scale.

    Attributes:
        problem: What is minimised.
        task: What a reported run does; a trial of a search does the same, but is evaluated only at its end unless it
            may stop early.
        repetitions: Reported repetitions.
        search: How the methods find their settings; `None` if they are given.
        loop_steps_on_cuda: Fewest steps of a turn timed on CUDA: a turn of one step takes the time of its launch.
    """

    problem: Problem
    task: Task
    repetitions: int
    search: Search | None = None
    loop_steps_on_cuda: int = dataclasses.field(default=0, metadata=LATER)

    def __post_init__(self) -> None:
        if self.repetitions < 1:
            raise ValueError(f"`repetitions` must be at least 1. Found {self.repetitions}.")
        if self.loop_steps_on_cuda < 0:
            raise ValueError(
                f"`loop_steps_on_cuda` must be at least 0. Found {self.loop_steps_on_cuda}."
            )
        if self.search is not None and not isinstance(self.task, Training):
            raise ValueError(f"Only training can be searched. Found the task {self.task}.")

    def task_on(self, device: str) -> Task:
        """Return what a reported run does on a device, `cpu` or `cuda`."""
        if not isinstance(self.task, Timing):
            return self.task
        least = self.loop_steps_on_cuda if device == "cuda" else 0
        return dataclasses.replace(
            self.task, device=device, loop_steps=max(self.task.loop_steps, least)
        )


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Methods compared on one problem under one task, at each scale.

    Attributes:
        name: Identity within the study.
        arm: The arm it belongs to.
        methods: The methods compared.
        hyperparameters: One entry per setting; every method runs every setting.
        smoke: Wiring only, in seconds.
        reduced: What a laptop can do.
        full: As published.
        own: Further settings of single methods, by name, which other methods do not share.
    """

    name: str
    arm: str
    methods: tuple[Method, ...]
    hyperparameters: tuple[Settings, ...]
    smoke: Plan
    reduced: Plan
    full: Plan
    own: tuple[tuple[str, Settings], ...] = ()

    def __post_init__(self) -> None:
        owner = f"Experiment {self.name!r}"
        require_tuple(owner, "methods", self.methods, Method)
        for each in (self.hyperparameters, *self.hyperparameters):
            require_tuple(owner, "hyperparameters", each, tuple)
        names = [method.name for method in self.methods]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"Experiment {self.name!r} has two methods of the name {twice[0]!r}: their rows could not be told "
                "apart. Rename one."
            )
        if not self.methods:
            raise ValueError(f"Experiment {self.name!r} has no methods, so no runs.")
        if not self.hyperparameters:
            raise ValueError(
                f"Experiment {self.name!r} has no settings, so no runs. Give `(settings(),)` where methods need none."
            )
        if stray := [name for name, _ in self.own if name not in names]:
            raise ValueError(
                f"Experiment {self.name!r} has settings of its own for {stray[0]!r}, which is none of "
                f"its methods. Choose from: {', '.join(names)}."
            )
        searches = [plan.search for plan in (self.smoke, self.reduced, self.full) if plan.search]
        given = {name for method in self.methods for s in self.settings_of(method) for name, _ in s}
        searched = {name for search in searches for name, _ in search.space.ranges}
        if searches and len(self.hyperparameters) != 1:
            raise ValueError(
                f"Experiment {self.name!r} is searched, so its methods start from one setting. "
                f"Found {len(self.hyperparameters)}."
            )
        if both := sorted(given & searched):
            raise ValueError(f"Experiment {self.name!r} both gives and searches {both[0]!r}.")
        own = dict(self.own)
        shared = {name for each in self.hyperparameters for name, _ in each} | searched
        for name in sorted(shared):
            self._refuse_unread(name, self.methods)
        for method in self.methods:
            for name, _ in own.get(method.name, ()):
                self._refuse_unread(name, (method,))

    def _refuse_unread(self, name: str, methods: tuple[Method, ...]) -> None:
        """Refuse a hyperparameter that none of the methods that have it reads: it would be part of a run's key for nothing."""
        # an unknown schedule is refused where it is looked up, with those that there are
        if any(name in SCHEDULES.get(method.schedule, (name,)) for method in methods):
            return
        method = methods[0]
        decaying = [kind for kind, read in SCHEDULES.items() if name in read]
        if decaying:
            raise ValueError(
                f"Experiment {self.name!r} has the hyperparameter `{name}`, which the {method.schedule} schedule of "
                f'{method.name!r} does not use. Leave it out, or give the method `schedule="{decaying[0]}"`.'
            )
        raise ValueError(
            f"Experiment {self.name!r} has the hyperparameter `{name}`, which nothing uses: the {method.schedule} schedule of "
            f"{method.name!r} reads {' and '.join(SCHEDULES[method.schedule])} alone. Give it to the part that has it, as in "
            '`use("sgd", momentum=0.9)`, or leave it out.'
        )

    def settings_of(self, method: Method) -> tuple[Settings, ...]:
        """Return the settings at which a method runs: the shared ones joined with its own."""
        own = dict(self.own).get(method.name, ())
        return tuple(tuple(sorted({**dict(s), **dict(own)}.items())) for s in self.hyperparameters)

    def plan(self, scale: Scale) -> Plan:
        """Return the plan of a scale."""
        plans: dict[Scale, Plan] = {"smoke": self.smoke, "reduced": self.reduced, "full": self.full}
        return plans[scale]

    def runs_of_a_method(self, scale: Scale) -> int:
        """Return how many runs a method has at a scale; a search's edge rule may add some."""
        plan = self.plan(scale)
        trials = plan.search.num_runs if plan.search else 0
        return trials + len(self.hyperparameters) * plan.repetitions

    def label(self, scale: Scale) -> Scale:
        """Return the scale, or `full` if its plan differs from that of `full` only in repetitions."""
        full = dataclasses.replace(self.full, repetitions=1)
        same = dataclasses.replace(self.plan(scale), repetitions=1) == full
        return "full" if same else scale

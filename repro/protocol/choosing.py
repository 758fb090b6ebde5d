"""From declarations to runs: which experiments are meant, and the runs and searches that they make."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import math
from collections.abc import Callable, Iterable

from repro.protocol.canonical import canonical_json
from repro.protocol.declarations import Claim, Study
from repro.protocol.experiments import Experiment, Plan, Search
from repro.protocol.runs import (
    FINAL,
    SCALES,
    Method,
    RunSpec,
    Scale,
    Settings,
    Task,
    Training,
    Trial,
)

EXPERIMENT_SETTINGS = ("experiment", "run_time_experiment", "first", "last", "family")
"""Settings of the measures that name an experiment, or a family of them."""

SAMPLER = "optuna 5 QMCSampler, Sobol, scrambled"
"""Part of a search's digest: another sampler proposes other trials."""

DEVICES = ("cpu", "cuda")
"""Devices that runs may use, as timing runs name them."""


def choose(
    names: Iterable[str], wanted: Iterable[str], what: str, shown_by: str = "repro list"
) -> tuple[str, ...]:
    """Return the wanted names in declared order, or say which do not exist.

    Args:
        names: The names that exist, in order.
        wanted: The names asked for; none means all.
        what: What the names stand for, for the message.
        shown_by: The command or file that shows all of them, if there are too many for the message; empty where nothing else
            does, so that the message has to.

    Returns:
        The chosen names.

    Raises:
        ValueError: If a wanted name does not exist.
    """
    known = tuple(dict.fromkeys(names))
    # a string is one name, not a collection of letters
    asked = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for name in asked:
        if name not in known:
            all_here = len(known) <= 12 or not shown_by
            few = known if all_here else difflib.get_close_matches(name, known, 4, 0.0)
            more = "" if few is known else f", ... (`{shown_by}` shows all {len(known)})"
            # a name with commas of its own is told from its neighbours by quotes
            shown = ", ".join(repr(one) if "," in one else one for one in few)
            raise ValueError(f"Unknown {what} {name!r}. Choose from: {shown}{more}.")
    return tuple(name for name in known if not asked or name in asked)


def spread(names: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """Return the wanted names, with the first words of a family of names replaced by its members.

    Args:
        names: The names that exist, such as `run-time-mlp` and `run-time-cnn`.
        wanted: Names, or first words such as `run-time`.

    Returns:
        The names; a word that neither is a name nor begins one stays, for `choose` to refuse.
    """
    known = tuple(names)
    asked = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    families = {
        word: tuple(name for name in known if name.startswith(f"{word}-")) for word in asked
    }
    return tuple(n for word in asked for n in (word not in known and families[word]) or (word,))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A searched experiment of a study at one scale: all its methods under one `Search`.

    Attributes:
        study: Name of the study.
        experiment: The experiment; its plan has a search.
        scale: The scale asked for.
    """

    study: str
    experiment: Experiment
    scale: Scale

    @property
    def plan(self) -> Plan:
        """The plan at this scale."""
        return self.experiment.plan(self.scale)

    @property
    def search(self) -> Search:
        """The search that every method gets."""
        search = self.plan.search
        assert search is not None
        return search

    @property
    def digest(self) -> str:
        """Digest that identifies the search, twelve hexadecimal digits: problem, budget, space and sampler.

        Trials of another search never mix in. It leaves out what moves no earlier trial: reported repetitions,
        trials beside the winners and further runs of finalists, which come last.
        """
        plan = dataclasses.replace(self.plan, repetitions=1, search=self.search.shared)
        text = canonical_json({"plan": plan, "sampler": SAMPLER})
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def trial_runs(self, method: Method, trial: Trial, values: Settings) -> tuple[RunSpec, ...]:
        """Return the runs of a trial, one per tuning repetition: the reported budget, evaluated at its end.

        With early stopping a trial is evaluated as often as a reported run, or it would not end at the same step.

        Args:
            method: The method.
            trial: The trial; one of stage `FINAL` is a finalist, and its runs are the further ones.
            values: The searched hyperparameters.

        Returns:
            The runs.
        """
        task = self.plan.task
        assert isinstance(task, Training)
        every = task.evaluate_every if task.early_stopping else task.num_steps
        budget = dataclasses.replace(task, evaluate_every=every, test_every=0)
        return tuple(
            self._run(method, values, repetition, budget, trial)
            for repetition in (
                self.search.further_runs if trial.stage == FINAL else self.search.first_runs
            )
        )

    def report_runs(self, method: Method, values: Settings) -> tuple[RunSpec, ...]:
        """Return the reported runs of a method at the settings its search chose."""
        return tuple(
            self._run(method, values, repetition, self.plan.task, None)
            for repetition in range(self.plan.repetitions)
        )

    def typical_runs(self, method: Method) -> tuple[RunSpec, RunSpec]:
        """Return a trial and a reported run of a method, in the middle of the space."""
        middle = tuple(
            (name, math.sqrt(bound.low * bound.high)) for name, bound in self.search.space.ranges
        )
        (trial, *_) = self.trial_runs(method, Trial(0, ""), middle)
        return trial, self.report_runs(method, middle)[0]

    def _run(
        self, method: Method, values: Settings, repetition: int, task: Task, trial: Trial | None
    ) -> RunSpec:
        (fixed,) = self.experiment.settings_of(method)
        return RunSpec(
            study=self.study,
            arm=self.experiment.arm,
            scale=self.experiment.label(self.scale),
            experiment=self.experiment.name,
            role="report" if trial is None else "tune",
            problem=self.plan.problem,
            method=method,
            hyperparameters=tuple(sorted({**dict(fixed), **dict(values)}.items())),
            repetition=repetition,
            task=task,
            trial=trial,
        )


def expand(
    study: Study,
    scale: Scale,
    *,
    arms: Iterable[str] = (),
    only: Iterable[str] = (),
    methods: Iterable[str] = (),
    device: str = "cpu",
) -> tuple[RunSpec, ...]:
    """Return every run at given settings that a study declares at a scale, in declared order.

    Runs that a search proposes are not among them: see `comparisons`.

    Args:
        study: The study.
        scale: `smoke`, `reduced` or `full`.
        arms: Keep these arms only.
        only: Keep these experiments only.
        methods: Keep these methods only.
        device: The device that timing runs name.

    Returns:
        The runs, with the repetitions of a setting side by side.

    Raises:
        ValueError: If a name is unknown or nothing is left.
    """
    methods = (methods,) if isinstance(methods, str) else tuple(methods)
    kept, searched = _kept(study, scale, arms, only)
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
            hyperparameters=experiment.settings_of(method)[index],
            repetition=repetition,
            task=experiment.plan(scale).task_on(device),
        )
        for experiment in kept
        for index in range(len(experiment.hyperparameters))
        for method in experiment.methods
        if method.name in kept_methods
        for repetition in range(experiment.plan(scale).repetitions)
    )
    if methods and not runs:
        names = [experiment.name for experiment in (*kept, *searched)]
        raise ValueError(
            f"No run of {study.name} has an experiment among {', '.join(names)} and a method among {'; '.join(kept_methods)}. "
            "Drop one of the filters; a search takes all methods of its comparison."
        )
    return runs


def comparisons(
    study: Study, scale: Scale, *, arms: Iterable[str] = (), only: Iterable[str] = ()
) -> tuple[Comparison, ...]:
    """Return the searched experiments of a study at a scale, in declared order.

    Args:
        study: The study.
        scale: `smoke`, `reduced` or `full`.
        arms: Keep these arms only.
        only: Keep these experiments only.

    Returns:
        One value per comparison.

    Raises:
        ValueError: If a name is unknown.
    """
    _, searched = _kept(study, scale, arms, only)
    return tuple(Comparison(study.name, experiment, scale) for experiment in searched)


def declared(study: Study) -> Callable[[RunSpec], bool]:
    """Return a function that tells whether a study declares a run, at any scale and on any device.

    A study declares the trials of its searches as they are now, and reported runs at any settings that a search may choose.

    Args:
        study: The study.

    Returns:
        The function of a run.
    """
    keys = {
        spec.key
        for scale in SCALES
        for device in DEVICES
        for spec in expand(study, scale, device=device)
    }
    kinds = {
        (_kind(spec), comparison.digest if spec.trial else "")
        for scale in SCALES
        for comparison in comparisons(study, scale)
        for method in comparison.experiment.methods
        for spec in comparison.typical_runs(method)
    }

    def declares(spec: RunSpec) -> bool:
        search = "" if spec.trial is None else spec.trial.search
        return spec.key in keys or (_kind(spec), search) in kinds

    return declares


def _kind(spec: RunSpec) -> RunSpec:
    return dataclasses.replace(spec, repetition=0, hyperparameters=(), trial=None)


def _kept(
    study: Study, scale: Scale, arms: Iterable[str], only: Iterable[str]
) -> tuple[list[Experiment], list[Experiment]]:
    """Return the experiments that two filters leave: those at given settings, and those searched."""
    (scale,) = choose(SCALES, (scale,), "scale")  # type: ignore[assignment]
    kept_arms = choose((e.arm for e in study.experiments), arms, f"arm of {study.name}")
    every = [experiment.name for experiment in study.experiments]
    names = choose(every, spread(every, only), f"experiment of {study.name}")
    kept = [e for e in study.experiments if e.arm in kept_arms and e.name in names]
    if not kept:
        raise ValueError(
            f"No run of {study.name} has an arm among {', '.join(kept_arms)} and an experiment among {', '.join(names)}. "
            "Drop one of the filters."
        )
    searched = [experiment for experiment in kept if experiment.plan(scale).search is not None]
    return [experiment for experiment in kept if experiment not in searched], searched


def experiments_of(
    study: Study, claim: Claim, studies: Iterable[Study]
) -> tuple[tuple[str, str], ...]:
    """Return the experiments on which a claim's checks, and the checks these presuppose, are measured.

    Args:
        study: The study that states the claim; a check may name another.
        claim: The claim.
        studies: All studies, whose experiments a family of names stands for.

    Returns:
        Pairs of study and experiment, each once, in the order of the checks.
    """
    names = {
        of.name: [experiment.name for experiment in of.experiments] for of in (*studies, study)
    }
    pairs = (
        (owner, name)
        for check in claim.checks
        for options in (part.measure.options() for part in check.parts)
        for owner in (str(options.get("study", study.name)),)
        for setting in EXPERIMENT_SETTINGS
        if setting in options
        for name in spread(names.get(owner, ()), str(options[setting]))
    )
    return tuple(dict.fromkeys(pairs))

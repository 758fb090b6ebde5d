"""Evidence from our own results table: every searched comparison of a study that is finished."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
from scipy import stats  # type: ignore[import-untyped, unused-ignore]

from repro.audit.counting import count
from repro.audit.evidence import CURVE_COLUMNS, NONE, Evidence, Range, runs_frame
from repro.protocol import (
    FINAL,
    REFINEMENT,
    SCALES,
    Classification,
    ClosedForm,
    Experiment,
    Fact,
    Method,
    Plan,
    Problem,
    RunSpec,
    Scalar,
    Scale,
    Study,
    Task,
    Training,
    parse_run,
)
from repro.results import Results, consolidated

ROWS = "published and stored rows"
CLASSES = 10
"""Classes of every data set here: MNIST, CIFAR-10, digits."""
TEST_SIZES = {"mnist": 10_000, "cifar10": 10_000}


def finished(study: Study, results: Results) -> dict[str, Callable[[], Evidence]]:
    """Return functions that read the evidence of every searched experiment, at the largest scale that is finished.

    Args:
        study: A study.
        results: The tables.

    Returns:
        Functions by the name of the comparison; none for an experiment whose search or reported runs are not finished.
    """
    found: dict[str, Callable[[], Evidence]] = {}
    runs = results.runs[results.runs["study"] == study.name]
    apart = dict(iter(runs.groupby(["experiment", "scale"])))
    for experiment in study.experiments:
        for scale in reversed(SCALES):
            plan = experiment.plan(scale)
            rows = apart.get((experiment.name, experiment.label(scale)), runs[:0])
            rows = rows[rows["method"].isin([m.name for m in experiment.methods])]
            if _complete(plan, experiment.methods, rows):
                name = f"{study.name}/{experiment.name}"
                if experiment.label(scale) != "full":
                    name += f" ({experiment.label(scale)})"
                found[name] = functools.partial(
                    _evidence, name, study, experiment, scale, rows, results
                )
                break
    return found


def _complete(plan: Plan, methods: Iterable[Method], rows: pd.DataFrame) -> bool:
    """Tell whether every method has the first trials and the repetitions of its plan; decades and stages added bring more."""
    if plan.search is None:
        return False
    planned = {
        "tune": plan.search.num_trials * plan.search.repetitions,
        "report": plan.repetitions,
    }
    runs = rows[rows["stage"] == ""].groupby(["role", "method"]).size()
    return all(
        runs.get((role, method.name), 0) >= num
        for role, num in planned.items()
        for method in methods
    )


def comparisons(study: Study, results: Results) -> Iterator[Evidence]:
    """Yield the evidence of every searched experiment of a study that is `finished`."""
    for read in finished(study, results).values():
        yield read()


def _evidence(
    name: str,
    study: Study,
    experiment: Experiment,
    scale: Scale,
    rows: pd.DataFrame,
    results: Results,
) -> Evidence:
    search = experiment.plan(scale).search
    assert search is not None
    early = _stops_early(experiment.plan(scale).task)
    frame = _runs(rows, [parameter for parameter, _ in search.space.ranges], early=early)
    ranges = {
        (method.name, parameter): _grown(bound.low, bound.high, frame[f"param {parameter}"])
        for method in experiment.methods
        for parameter, bound in search.space.ranges
    }
    facts = (
        *count(frame, ranges, ROWS),
        *_declared(study, experiment, scale, rows, results),
    )
    methods = tuple(method.name for method in experiment.methods)
    return Evidence(name, "ours", methods, facts, frame, _curves(rows, results))


def _runs(rows: pd.DataFrame, parameters: Iterable[str], *, early: bool) -> pd.DataFrame:
    """Return rows of our runs table as the audit has them; `early` if the runs may stop early."""
    specs = [parse_run(text) for text in rows["spec"]]
    # with early stopping the lowest validation loss is the score, and its epoch is reported
    best = "best_" if early else ""
    frame = runs_frame(
        pd.DataFrame(
            {
                "method": rows["method"],
                "role": rows["role"],
                "number": rows["trial"],
                "status": rows["status"],
                "score": rows["score"],
                # draws derive from the role and the repetition, among others, and from nothing else that varies
                "seed": rows["role"] + " " + rows["repetition"].astype("str"),
                "length": [_length(spec) for spec in specs],
                "seconds": rows["seconds"],
                # a run that diverged has the limit as its score, and no validation loss
                "validation": rows[f"{best}validation_loss"],
                "test": rows[f"{best}test_loss"],
                "accuracy": rows[f"{best}test_accuracy"],
            }
        ).reset_index(drop=True)
    )
    for parameter in parameters:
        frame[f"param {parameter}"] = [
            dict(spec.hyperparameters).get(parameter, math.nan) for spec in specs
        ]
    ran = [_settings(spec.problem, spec.method, spec.task) for spec in specs]
    for setting in ran[0]:
        frame[f"setting {setting}"] = [values[setting] for values in ran]
    return consolidated(frame)


def _curves(rows: pd.DataFrame, results: Results) -> pd.DataFrame:
    """Return the curves of the reported runs on held-out data."""
    reported = rows[rows["role"] == "report"]
    points = [results.places[key] for key in reported["key"] if key in results.places]
    curves = results.curves.take(np.sort(np.concatenate(points)) if points else [])
    curves = curves[
        curves["split"].isin(["validation", "test"])
        & (curves["metric"] != "last_batch_loss")  # kept to show the slip, never reported
    ].merge(reported[["key", "method", "repetition"]], on="key")
    curves = curves.assign(metric=curves["split"] + " " + curves["metric"], x=curves["step"])
    return curves[list(CURVE_COLUMNS)]


def _stops_early(task: Task) -> bool:
    return isinstance(task, Training) and task.early_stopping > 0


def _length(spec: RunSpec) -> float:
    return float(spec.task.num_steps) if isinstance(spec.task, Training) else math.nan


def _settings(problem: Problem, method: Method, task: Task) -> dict[str, Scalar]:
    """Return the settings that are fixed in a run and have to be the same for all methods of a comparison."""
    options = (f"{k}={v}" for k, v in method.optimizer.settings)
    values: dict[str, Scalar] = {
        "optimizer": " ".join([method.optimizer.name, *options]),
        "schedule": method.schedule,
        "clip": method.estimator.options().get("clip", "none"),
    }
    if isinstance(problem, Classification):
        values |= {
            "loss": method.loss or problem.loss,
            "batch size": problem.batch_size,
            "input scaling": problem.input_scaling,
        }
    if isinstance(task, Training):
        values |= {"precision": task.precision, "loss limit": task.loss_limit}
        if task.early_stopping:
            values |= {"early stopping": task.early_stopping}
    return values


def _grown(low: float, high: float, values: pd.Series) -> Range:
    """Return a declared range with the decades that the edge rule added."""
    while values.min() < low * (1 - 1e-9):
        low /= 10
    while values.max() > high * (1 + 1e-9):
        high *= 10
    return Range(low, high, log=True)


def _declared(
    study: Study,
    experiment: Experiment,
    scale: Scale,
    rows: pd.DataFrame,
    results: Results,
) -> Iterator[Fact]:
    plan = experiment.plan(scale)
    say = functools.partial(_fact, study, experiment)
    assert plan.search is not None
    stages = set(rows["stage"])  # a search may still be taken as far as its plan goes
    later = (
        (REFINEMENT, f", then {plan.search.refinement_trials} trials beside every winner"),
        (FINAL, f"; of every method the best {plan.search.finalists} run again"),
    )
    beside = "".join(text for stage, text in later if stage in stages)
    yield say("sampler", f"scrambled Sobol sequence, one for all{beside}")
    early = _stops_early(plan.task)
    yield say("selection moment", "best" if early else "last")
    yield say("reported moment", "best" if early else "last")
    if isinstance(plan.task, Training) and early:
        yield say("early stopping patience", plan.task.early_stopping)
    # descents of a function begin in one place, and many end in one
    yield say("equal ends", float(isinstance(plan.problem, ClosedForm)))
    if isinstance(plan.problem, ClosedForm):
        yield say("data set", NONE)
    else:
        yield say("data set", plan.problem.dataset)
        size = plan.problem.validation_size
        yield say("selection split", "validation")
        yield say("selection examples", size)
        yield say("selection split size", size)
        yield say("reported split", "test")
        if (tested := TEST_SIZES.get(plan.problem.dataset)) is not None:
            yield say("reported examples", tested)
            yield say("reported split size", tested)
        yield say("chance loss", math.log(CLASSES))
    report = rows[rows["role"] == "report"]
    for method in experiment.methods:
        of_method = report[report["method"] == method.name]
        say_of_method = functools.partial(say, method=method.name)
        yield from _declared_of(method, plan, of_method, say_of_method)
    label = experiment.name.removeprefix(f"{experiment.arm}-")
    timing = results.runs[
        (results.runs["study"] == study.name)
        & (results.runs["experiment"] == f"run-time-{label}")
        & (results.runs["task"] == "timing")
    ]
    if timing.empty:  # a measure in seconds takes them from a timing, so that without one nothing is claimed of time
        yield say("claim of cost", NONE)
    else:
        yield say("claim of cost", "scores at equal epochs and at equal time")
        yield say("timed steps", float(timing["num_steps"].sum()))
        # `repro.timing` waits for the device before it reads the clock
        yield say("synchronised timing", 1.0)


def _declared_of(
    method: Method, plan: Plan, report: pd.DataFrame, say: Callable[..., Fact]
) -> Iterator[Fact]:
    """Yield the facts about one method, given its reported runs."""
    losses = report["best_test_loss" if _stops_early(plan.task) else "test_loss"]
    if losses.notna().all():
        yield say("final loss", float(losses.mean()))
    elif losses.notna().any():
        why = f"{losses.isna().sum()} of {len(losses)} reported runs diverged, and a mean of the others is theirs alone"
        yield say("final loss", None, source=why)
    if len(report) > 1:
        # every interval here is Student's
        yield say("interval multiplier", float(stats.t.ppf(0.975, len(report) - 1)))
    # the settings that the study declares, to be compared with those in the rows
    for name, value in _settings(plan.problem, method, plan.task).items():
        yield say(f"stated {name}", value if isinstance(value, str) else float(value or 0))
    if method.estimator.name == "forward_gradient":
        yield say("derivative mode", str(method.estimator.options().get("mode", "forward")))
    elif method.estimator.name == "backpropagation":  # of others it is not known
        yield say("derivative mode", "reverse")
    yield say("timed engine", "torch")
    yield say("hardware", ", ".join(sorted(set(report["device"]))))


def _fact(
    study: Study,
    experiment: Experiment,
    quantity: str,
    value: float | str | None,
    *,
    method: str = "",
    source: str = "",
) -> Fact:
    where, source = f"studies/{study.name}.py", source or experiment.name
    if isinstance(value, str):
        return Fact(where, quantity, None, source, method, text=value)
    return Fact(where, quantity, value, source, method)

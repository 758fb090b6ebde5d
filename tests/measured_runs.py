"""Runs with what was measured of them, made by hand, for tests of measures."""

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd

from repro import measures, stats
from repro.protocol import Classification, Method, RunSpec, Timing, Training, settings, use
from repro.results import Curve, Record, Results, tabulate

BP, FG = measures.BACKPROPAGATION, measures.FORWARD_GRADIENT
A, B = "projection", "mean"
PROBLEM = Classification("p", "digits", use("mlp"), 8, "unit", 10)


def record(
    experiment: str,
    method: str,
    repetition: int = 0,
    *,
    curves: Mapping[tuple[str, str], Sequence[tuple[int, float]]] | None = None,
    status: str = "done",
    timing: bool = False,
    scale: str = "full",
    rate: float = 0.1,
    **measured: float | str,
) -> Record:
    task = Timing(3, 0, "cpu", 1) if timing else Training(100, 10)
    spec = RunSpec(
        study="s",
        arm="published",
        scale=scale,  # type: ignore[arg-type]
        experiment=experiment,
        role="report",
        problem=PROBLEM,
        method=Method(method, use("backpropagation"), use("sgd")),
        hyperparameters=settings(learning_rate=rate),
        repetition=repetition,
        task=task,
    )
    lines = tuple(
        Curve(split, metric, tuple(s for s, _ in points), tuple(v for _, v in points))
        for (split, metric), points in (curves or {}).items()
    )
    return Record(spec, status, {"device": "a cpu", "num_threads": 1, **measured}, lines)


def results(*records: Record) -> Results:
    return Results(*tabulate(records), pd.DataFrame())


def losses(*points: tuple[int, float]) -> dict[tuple[str, str], list[tuple[int, float]]]:
    return {("validation", "loss"): list(points)}


def paired_t(ours: Sequence[float], theirs: Sequence[float]) -> stats.Interval:
    return stats.mean_interval([a - b for a, b in zip(ours, theirs, strict=True)])


def rounds(*seconds: float) -> dict[tuple[str, str], list[tuple[int, float]]]:
    return {("none", "step_seconds"): list(enumerate(seconds))}


def timed(experiment: str, ours: Sequence[float], theirs: Sequence[float]) -> tuple[Record, Record]:
    return (
        record(experiment, FG, timing=True, curves=rounds(*ours)),
        record(experiment, BP, timing=True, curves=rounds(*theirs)),
    )


def by_epoch(
    experiment: str, method: str, repetition: int, *losses: float, scale: str = "full"
) -> Record:
    curves = {("validation", "loss"): list(enumerate(losses))}
    return dataclasses.replace(
        record(experiment, method, repetition, curves=curves, scale=scale), steps_per_epoch=1
    )

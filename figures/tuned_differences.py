"""Differences between tuned methods: forward gradient less backpropagation, at equal epochs and at equal time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from figures import baydin2022_facts as baydin2022
from figures.headings import short_device
from figures.rike2022_runs import BP, CLIPPED, FG, SETTINGS, STUDY
from repro import measures, stats
from repro.measures import Measurement
from repro.results import EmptySelectionError, Results
from repro.tables import Cell, Column, Table

TITLE = (
    "Forward gradient less backpropagation, both tuned under one budget: validation loss (nats) at equal epochs and at equal "
    "time, test loss and test accuracy at the end"
)
MEASURES = {  # column: header, format
    "epochs": ("Validation loss, equal epochs", "+.3f"),
    "seconds": ("Validation loss, equal time", "+.3f"),
    "test_loss": ("Test loss", "+.3f"),
    "test_accuracy": ("Test accuracy", "+.3f"),
}
COLUMNS = (
    Column("network", "Network, optimizer", "left"),
    Column("method", "Method", "left"),
    *(
        Column(name, header, format=format_, interval=True)
        for name, (header, format_) in MEASURES.items()
    ),
    Column("p", "p, Holm", format=".2g"),
    Column("scale", "Scale", "left"),
    Column("diverged", "Diverged", "left"),
)
NOTES = (
    "Mean over paired repetitions (n) with its 95 % paired-t interval; a loss above zero, or an accuracy below, means that the "
    "forward gradient is behind. n/a: one of the runs diverged.",
    "p: two-sided paired t test of the test losses, adjusted by Holm's rule for all rows of this table.",
    "Equal time: both validation curves are cut where the cheaper method has spent its whole budget, with straight lines between "
    "evaluations. Time is steps times the median step of a timing of the same problem, without the uncertainty of that median. In "
    "forward-pass equivalents a step with one tangent costs as much as one of backpropagation, so equal epochs are equal passes.",
)


@dataclass(frozen=True)
class Compared:
    """A tuned forward gradient and the backpropagation that was tuned with it.

    Attributes:
        label: What the row is called.
        series: What the forward gradient is called.
        study: Name of the study.
        experiment: Name of the searched experiment.
        run_time: Name of the timing of the same problem.
        ours: Name of the forward-gradient method.
        theirs: Name of the backpropagation method.
    """

    label: str
    series: str
    study: str
    experiment: str
    run_time: str
    ours: str
    theirs: str


COMPARED = (
    Compared(
        "Dense NN of Baydin et al., SGD", FG, baydin2022.STUDY, "tuned-mlp", "run-time-mlp", FG, BP
    ),
    *(
        Compared(
            setting.label,
            series,
            STUDY,
            f"tuned-{setting.name}",
            f"run-time-{setting.name}",
            setting.method(series),
            setting.method(BP),
        )
        for setting in SETTINGS
        for series in (FG, CLIPPED)
    ),
)


def table(results: Results) -> Table:
    """Return a row for each tuned forward gradient; its notes name devices and scales."""
    rows, found, p_values = [], [], []
    for pair in COMPARED:
        measured = _measured(results, pair)
        known = [m for m in measured.values() if m is not None]
        found += known
        cells = [None if m is None else m.interval for m in measured.values()]
        p_values.append(_p_value(results, pair))
        rows.append((pair.label, pair.series, *cells, *_state(known)))
    tested = {place: p for place, p in enumerate(p_values) if p is not None and not math.isnan(p)}
    adjusted = dict(enumerate(p_values))
    adjusted |= zip(tested, stats.holm(list(tested.values())).tolist(), strict=True)
    before = 2 + len(MEASURES)
    whole = tuple((*row[:before], adjusted[place], *row[before:]) for place, row in enumerate(rows))
    return Table("tuned_differences", TITLE, COLUMNS, whole, (*NOTES, *_remarks(found)))


def _p_value(results: Results, pair: Compared) -> float | None:
    """Return the p-value of no difference between the test losses; NaN where a run diverged, `None` where there is none."""
    try:
        _, ours, theirs = measures.pairs(
            results, pair.experiment, "test_loss", pair.ours, pair.theirs, pair.study
        )
    except EmptySelectionError:
        return None
    known = ours.size > 1 and bool(np.isfinite(ours - theirs).all())
    return stats.paired_p_value(ours, theirs) if known else math.nan


def _measured(results: Results, pair: Compared) -> dict[str, Measurement | None]:
    def at_equal(cost: str) -> Measurement:
        return measures.paired_difference_at_equal(
            results,
            pair.experiment,
            "loss",
            pair.ours,
            pair.theirs,
            equal=cost,
            run_time_experiment=pair.run_time,
            split="validation",
            study=pair.study,
        )

    def at_end(metric: str) -> Measurement:
        return measures.paired_difference(
            results, pair.experiment, metric, pair.ours, pair.theirs, study=pair.study
        )

    return {
        name: _or_none(at_end if name.startswith("test") else at_equal, name) for name in MEASURES
    }


def _state(known: list[Measurement]) -> tuple[Cell, Cell]:
    """Return the scales, and how many of the runs of both methods diverged."""
    if not known:
        return None, None
    scales = ", ".join(sorted({m.scale for m in known}))
    return scales, f"{max(m.diverged for m in known)} of {2 * known[0].interval.num}"


def _or_none(measure: Callable[[str], Measurement], name: str) -> Measurement | None:
    try:
        return measure(name)
    except EmptySelectionError:
        return None


def _remarks(found: list[Measurement]) -> list[str]:
    devices = sorted({short_device(m.device) for m in found if m.device})
    remarks = [f"Timed on: {', '.join(devices)}."] if devices else []
    if smaller := sorted({m.scale for m in found} - {"full"}):
        remarks.append(
            f"Rows at scale {' and '.join(smaller)} have fewer epochs and may have narrower networks than published."
        )
    return remarks

"""The table of which experiments were run, at which scale, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import pandas as pd

from repro.campaign import Work, survey
from repro.measures import scale_shown
from repro.protocol import Experiment, Scale, Study, comparisons, expand
from repro.tables import Cell, Column, Table

SHOWN: tuple[Scale, ...] = ("reduced", "full")
COLUMNS = (
    Column("study", "Study", "left"),
    Column("experiment", "Experiment", "left"),
    Column("arm", "Arm", "left"),
    Column("experiments", "Experiments", format="d"),
    Column("methods", "Methods", format="d"),
    Column("reduced_done", "Reduced: runs done", format="d"),
    Column("reduced_declared", "of", format="d"),
    Column("full_done", "Full: runs done", format="d"),
    Column("full_declared", "of", format="d"),
    Column("diverged", "Diverged", format="d"),
    Column("shown", "Shown at", "left"),
)
FAMILY = 3
"""As many experiments, or more, that differ in numbers alone share a row."""
NOTES = (
    "Runs of all methods, including trials of searches; a search takes more trials than declared if its winner lies "
    "near an edge. Shown at: the largest scale at which every method has two reported runs, or as many as at any scale; figures and claims use it.",
    "Experiments whose names differ in numbers alone share a row, in which * stands for the numbers.",
    "An experiment whose reduced plan differs from the published one only in the number of repetitions counts as full scale "
    "in both columns.",
)


def table(studies: Iterable[Study], runs: pd.DataFrame) -> Table:
    """Return the completeness table: one row per experiment or family of experiments.

    Args:
        studies: The studies, in order.
        runs: Runs table of everything finished.

    Returns:
        The table.
    """
    rows = tuple(row for study in studies for row in _rows(study, runs))
    title = "What was run: finished runs of every experiment, beside those declared at each scale"
    return Table("completeness", title, COLUMNS, rows, NOTES)


def _rows(study: Study, runs: pd.DataFrame) -> Iterable[tuple[Cell, ...]]:
    work: dict[str, list[Work]] = {}
    for scale in SHOWN:
        for found in survey(expand(study, scale), comparisons(study, scale), runs):
            work.setdefault(found.experiment, []).append(found)
    own = runs[runs["study"] == study.name]
    for name, members in _families(study.experiments):
        rows = own[own["experiment"].isin([experiment.name for experiment in members])]
        at_scales = zip(*(work[experiment.name] for experiment in members), strict=True)
        counts = [
            sum(count)
            for found in at_scales
            for count in zip(*(_counts(one) for one in found), strict=True)
        ]
        reported = rows[rows["role"] == "report"]
        yield (
            study.name,
            name,
            members[0].arm,
            len(members),
            len(members[0].methods),
            *counts,
            int((rows["status"] == "diverged").sum()),
            None if reported.empty else scale_shown(reported),
        )


def _families(experiments: Iterable[Experiment]) -> Iterator[tuple[str, list[Experiment]]]:
    alike: dict[tuple[str, str], list[Experiment]] = {}
    for experiment in experiments:
        pattern = re.sub(r"\d+", "*", experiment.name)
        alike.setdefault((pattern, experiment.arm), []).append(experiment)
    for (pattern, _), found in alike.items():
        if len(found) >= FAMILY:
            yield pattern, found
        else:
            yield from ((experiment.name, [experiment]) for experiment in found)


def _counts(work: Work) -> tuple[int, int]:
    done = sum(work.done.values())
    return done, done + len(work.left)

"""How the networks were trained: problem, size and budget of every experiment on a data set, read from its rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd

from repro.measures import scale_shown
from repro.results import Results
from repro.tables import Cell, Column, Table

TITLE = (
    "How the networks were trained: what every experiment on a data set runs, at its largest scale"
)
COLUMNS = (
    Column("study", "Paper", "left"),
    Column("experiment", "Experiment", "left"),
    Column("scale", "Scale", "left"),
    Column("data", "Data", "left"),
    Column("network", "Network", "left"),
    Column("parameters", "Parameters", format="d"),
    Column("inputs", "Inputs", "left"),
    Column("batch", "Batch", format="d"),
    Column("validation", "Images for validation", format="d"),
    Column("steps", "Steps", format="d"),
    Column("trials", "Trials a method", format="d"),
    Column("repetitions", "Repetitions", format="d"),
)
NOTES = (
    "Steps: the most that a run takes; it may stop earlier, diverged or without a lower validation loss. Trials a method: the "
    "most that one of the methods had, those of a space that grew and those beside its winner included; 0 where the rates are given.",
    "Inputs: unit, pixels from 0 to 1; standardised, of mean 0 and variance 1 over the training images.",
)


def table(results: Results) -> Table:
    """Return the table: one row per experiment that trained on a data set."""
    return Table("network_runs", TITLE, COLUMNS, tuple(_rows(results.runs)), NOTES)


def _rows(runs: pd.DataFrame) -> Iterator[tuple[Cell, ...]]:
    training = runs[runs["task"] == "training"]
    reported = training[training["role"] == "report"]
    for (study, experiment), found in reported.groupby(["study", "experiment"], sort=True):
        scale = scale_shown(found)
        rows = found[found["scale"] == scale]
        run = json.loads(rows["spec"].iloc[0])["run"]
        problem = run["problem"]
        if "dataset" not in problem:
            continue
        tuned = training[
            (training["study"] == study) & (training["experiment"] == experiment)
            & (training["scale"] == scale) & (training["role"] == "tune")
        ]  # fmt: skip
        trials = tuned.groupby("method")["trial"].nunique()
        yield (
            str(study),
            str(experiment),
            scale,
            problem["dataset"],
            _network(problem["network"]),
            int(rows["num_parameters"].iloc[0]),
            problem["input_scaling"],
            problem["batch_size"],
            problem["validation_size"],
            run["task"]["num_steps"],
            int(trials.max()) if len(trials) else 0,
            int(rows["repetition"].nunique()),
        )


def _network(network: dict[str, Any]) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in network["settings"])
    return f"{network['name']} ({settings})" if settings else str(network["name"])

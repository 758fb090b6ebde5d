"""What there is to run, and the data to run it on: the verbs `list` and `data`."""

from __future__ import annotations

import argparse

from rich.console import Console

from repro.cli.columns import make_grid
from repro.cli.shared import DONE, FAILED, all_studies, complain, tell
from repro.protocol import SCALES, choose


def show_list(options: argparse.Namespace, console: Console) -> int:
    """Print the studies with their experiments, methods and numbers of runs."""
    del options
    for study in all_studies():
        console.print(f"[bold]{study.name}[/] {study.citation}")
        runs = (f"Runs,\n{scale}" for scale in SCALES)
        grid = make_grid(console, ("Experiment", "Methods"), ("Arm",), runs, kept="Experiment")
        for e in study.experiments:
            counts = [str(len(e.methods) * e.runs_of_a_method(scale)) for scale in SCALES]
            grid.add_row(e.name, "; ".join(m.name for m in e.methods), e.arm, *counts)
        console.print(grid)
    return DONE


def verify_data(options: argparse.Namespace, console: Console) -> int:
    """Find or download data sets, verify their content and say what they hold."""
    from repro import datasets

    status = DONE
    for name in choose(datasets.NAMES, options.names, "data set"):
        try:
            dataset = datasets.load(name)
        except datasets.DataError as error:  # the others are looked for all the same
            status = complain(str(error), FAILED)
            continue
        shape = " x ".join(str(side) for side in dataset.train_images.shape[1:])
        tell(
            f"{name}: {len(dataset.train_labels)} training and {len(dataset.test_labels)} test images, "
            f"{shape}, {dataset.num_classes} classes, content verified",
            console,
        )
    return status

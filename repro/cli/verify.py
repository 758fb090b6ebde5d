"""The verb that checks us: what is committed follows from the rows, and the rows can be made again."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

import studies
from repro.cli.shared import (
    DONE,
    FAILED,
    PAPER,
    STOPPED,
    all_studies,
    complain,
    require_checkout,
    sift_by_data,
    tell,
)
from repro.results import Results, Store, load, read_store, tabulate, tabulate_facts

if TYPE_CHECKING:
    from repro import rerun
    from repro.execution import Outcome

MANIFEST = PAPER / "manifest.json"
PATIENCE = 4
"""How many times its budget a sample may take, since its cost is estimated from other, perhaps quieter, machines."""

COLOURS = {
    "bitwise": "green",
    "same within tolerance": "green",
    "statistically equal": "yellow",
    "different": "red",
}
"""Of a result, by how alike a run and its repetition are."""


def verify(options: argparse.Namespace, console: Console) -> int:
    """Run a sample of the published runs again and compare; then rebuild and compare with the manifest."""
    if options.only == "live" and options.update:
        raise ValueError(
            "`--update` writes what a rebuild gives. Found `--only live`, which rebuilds nothing: drop one of them."
        )
    if options.only != "live":
        require_checkout()
    # without the store: only what is committed is verified
    published = load(studies.RESULTS, None, tabulate_facts(all_studies()))
    for problem in published.problems:
        tell(problem, console, "[red]skipped[/]")
    status = FAILED if published.problems else DONE
    # the runs first: a rebuild prints a line for every file that differs, and the end of a log is what people read
    if options.only in ("", "live") and not options.update:
        again = _run_again(published, options, console)
        if again == STOPPED:
            return STOPPED  # whoever stopped the runs will not wait for a rebuild
        status = max(status, again)
    if options.only in ("", "rebuild"):
        status = max(status, _rebuild(published, options, console))
    return status


def _rebuild(published: Results, options: argparse.Namespace, console: Console) -> int:
    from repro.cli import building
    from repro.report import digests, manifest

    started = time.monotonic()
    expected = None if options.update else manifest.read(MANIFEST)
    with tempfile.TemporaryDirectory() as folder, console.status("reading rows") as line:
        root = Path(folder)
        rows = digests.of_rows(studies.RESULTS, None)
        built = building.build(published, rows, root, workers=options.workers, say=line.update)
        found = manifest.of_build(
            published.runs,
            published.curves,
            building.code(),
            root / building.FIGURES,
            root / building.BUILD,
        )
    for sentence in built.stale:
        tell(sentence, console, "[red]no paper[/]")
    if expected is None:
        if built.stale:
            return FAILED
        manifest.write(MANIFEST, found)
        console.print(f"{len(found['files'])} files in paper/manifest.json")
        return DONE
    differences = manifest.compare(expected, found, published.runs)
    for difference in differences:
        tell(difference.what, console, f"[red]{difference.layer}[/]:")
    took = f"{time.monotonic() - started:.0f} s"
    if not differences:
        console.print(
            f"rebuilt: {len(found['files'])} files, every one identical to the manifest; {took}"
        )
        return FAILED if built.stale else DONE
    console.print(
        f"rebuilt: not what paper/manifest.json says, by the layers above; {took}. If the rows or the code were changed on "
        "purpose, `repro verify --update` takes the new digests.",
        soft_wrap=True,
    )
    return FAILED


def _run_again(published: Results, options: argparse.Namespace, console: Console) -> int:
    if published.runs.empty:
        return complain(
            f"expected published rows in {studies.RESULTS}, found none: there is nothing to run again. Restore them from "
            "version control.",
            FAILED,
        )

    import torch

    from repro import execution, rerun
    from repro.environment import device_name
    from repro.pricing import Prices

    prices = Prices(published.runs, device_name(torch.device("cpu")))
    groups = rerun.sample(
        all_studies(),
        published.runs,
        prices,
        lambda specs: execution.form_groups(specs, "cpu"),
        options.budget,
        options.seed,
    )
    groups, absent = sift_by_data(groups, lambda group: group)
    for data in absent:
        tell(f"not run again, no data: {data.name} ({data.error})", console)
    if not groups:
        mend = "Restore its data" if absent else "Give `--budget` more"
        return complain(
            f"no published run that fits {options.budget:.0f} s can be made again here: nothing was compared. {mend}.",
            FAILED,
        )
    specs = [spec for group in groups for spec in group]
    limit = PATIENCE * options.budget
    with tempfile.TemporaryDirectory() as folder:
        with console.status(f"running {len(specs)} published runs again"):
            outcome = execution.execute(specs, Store(Path(folder)), workers=1, time_limit=limit)
        records, _ = read_store(Path(folder))
    again = Results(*tabulate(records), published.facts)
    done = set(again.runs["key"])
    compared = [rerun.compare(spec, published, again) for spec in specs if spec.key in done]
    _show(compared, outcome, console)
    return _tell_outcome(compared, outcome, limit)


def _tell_outcome(compared: Sequence[rerun.Comparison], outcome: Outcome, limit: float) -> int:
    """Name what failed, and return the exit status."""
    for failure in outcome.failures:
        complain(f"{failure.name}: {failure.reason}", FAILED)
    if outcome.left and not outcome.halted and outcome.seconds < limit:
        return complain("stopped early: the sample was not compared whole", STOPPED)
    if not (compared or outcome.failures):
        return complain(
            f"no run of the sample ended within {limit:.0f} s: nothing was compared. Give `--budget` more.",
            FAILED,
        )
    different = any(one.likeness == "different" for one in compared)
    return FAILED if different or outcome.failures else DONE


def _show(compared: Sequence[rerun.Comparison], outcome: Outcome, console: Console) -> None:
    grid = Grid(title="Published runs, made again")
    for header in ("Study", "Experiment", "Method", "Runs", "Worst metric"):
        grid.add_column(header, justify="right" if header == "Runs" else "left")
    for header in ("Published", "Again", "Result"):
        grid.add_column(header, justify="left" if header == "Result" else "right")
    cells: dict[tuple[str, str, str, str], list[rerun.Comparison]] = {}
    for one in compared:
        cell = (one.spec.study, one.spec.experiment, one.spec.method.name, one.likeness)
        cells.setdefault(cell, []).append(one)
    for (*name, likeness), members in sorted(cells.items()):
        # runs that differ have a line each, with the key to find them by
        shown = [[one] for one in members] if likeness == "different" else [members]
        for alike in shown:
            worst = max(alike, key=lambda one: one.gap)
            values = (
                (worst.metric, f"{worst.published:.6g}", f"{worst.again:.6g}")
                if worst.metric
                else ("", "", "")
            )
            count = f"run {worst.spec.key[:12]}" if likeness == "different" else str(len(alike))
            grid.add_row(*name, count, *values, f"[{COLOURS[likeness]}]{likeness}[/]")
    console.print(grid)
    counts = {kind: sum(one.likeness == kind for one in compared) for kind in COLOURS}
    counts |= {"not finished": outcome.left} if outcome.left else {}
    told = "  ".join(f"{kind}: {n}" for kind, n in counts.items())
    console.print(f"{told}  {outcome.seconds:.0f} s")

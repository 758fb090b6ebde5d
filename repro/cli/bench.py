"""The verb that times this package on this machine: rows in a folder of their own, tables, and a check of the bars."""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as Grid

import studies
from repro.cli import bookkeeping
from repro.cli.shared import DONE, FAILED, STOPPED, complain, tell
from repro.measures import bars, speed
from repro.measures.bars import BarFinding
from repro.measures.speed import Epoch, Spread
from repro.protocol import Classification, RunSpec, Timing, expand
from repro.results import (
    Record,
    Results,
    Store,
    read_record,
    read_store,
    tabulate,
    tabulate_facts,
)

if TYPE_CHECKING:
    from repro.execution import Outcome

BUSY = 0.3
"""Processes of others, on average over the last minute, above which a measurement is called disturbed."""


def bench(options: argparse.Namespace, console: Console) -> int:
    """Time the steps of the study `speed`, or bookkeeping, show the times, and hold them to the bars."""
    if options.bookkeeping is not None:
        return bookkeeping.measure(options, console)
    specs = _specs(options)
    busy = _busy()
    records, outcome = _time(specs, Store(options.store), options.device, busy, console)
    results = Results(*tabulate(records), tabulate_facts([studies.get(speed.STUDY)]))
    findings = bars.findings(results)
    _show_speeds(results, console)
    epochs = speed.epochs(results)
    _show_epochs(epochs, console)
    _show_bars(findings, console)
    _draw(results, options.store, console)
    if busy:
        console.print(f"[yellow]{busy}[/]", soft_wrap=True)
    if options.scale == "smoke":
        console.print("smoke scale exercises the wiring: none of these numbers means anything")
    for failure in outcome.failures:
        complain(f"{failure.name}: {failure.reason}", FAILED)
    if outcome.failures:
        return FAILED
    if outcome.left:
        console.print(f"stopped early: {outcome.left} of {len(specs)} were not timed")
        return STOPPED
    failed = any(finding.verdict == "fail" for finding in findings) or any(
        epoch.times_faster < bars.TIMES_FASTER for epoch in epochs
    )
    return FAILED if failed and options.strict else DONE


def _time(
    specs: Sequence[RunSpec], store: Store, device: str, busy: str, console: Console
) -> tuple[list[Record], Outcome]:
    """Time all runs, whether the store has them or not, and put them there."""
    for path in (store.path(spec.key) for spec in specs):
        if path.exists():
            read_record(path)  # what cannot be replaced is said before anything is timed

    from repro import datasets, execution
    from repro.progress import Display

    execution.check_device(device)
    for name in sorted({s.problem.dataset for s in specs if isinstance(s.problem, Classification)}):
        datasets.load(name)
    if busy:
        console.print(f"[yellow]{busy}[/]", soft_wrap=True)
    store.directory.mkdir(parents=True, exist_ok=True)
    # apart from older rows, so that all of it is timed anew
    with tempfile.TemporaryDirectory(dir=store.directory, prefix=".new-") as folder:
        with Display(console) as display:
            outcome = execution.execute(
                specs,
                Store(Path(folder)),
                device=device,
                on_groups=display.add,
                on_event=display.update,
            )
        records, _ = read_store(Path(folder))
    for record in records:
        store.write(record)
    return records, outcome


def _specs(options: argparse.Namespace) -> tuple[RunSpec, ...]:
    specs = expand(
        studies.get(speed.STUDY), options.scale, only=options.only, device=options.device
    )
    return tuple(_with_threads(spec, options.threads) for spec in specs)


def _with_threads(spec: RunSpec, num_threads: int) -> RunSpec:
    task = spec.task
    if not isinstance(task, Timing) or task.processes > 1 or task.num_threads > 1:
        return spec  # processes at once have one thread each; epochs those that others' code had
    return dataclasses.replace(spec, task=dataclasses.replace(task, num_threads=num_threads))


def _busy() -> str:
    """Return a warning where others keep the machine busy, else nothing."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load <= BUSY:
        return ""
    return (
        f"the machine was busy before this began (load average {load:.1f} on {os.cpu_count()} cores): "
        "times are too long, and ratios less certain than their quartiles say"
    )


def _show_speeds(results: Results, console: Console) -> None:
    grid = Grid(
        title="Steps timed in turn: median \\[quartiles] over n rounds",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
    )
    grid.add_column("Experiment and method")
    for header in (
        "Steps a second", "Share of\nthe limit", "Over products\nand numbers",
        "Over the\nplain loop", "Over back-\npropagation",
    ):  # fmt: skip
        grid.add_column(header, justify="right")
    measured = speed.experiments(results)
    for name in (e.name for e in studies.get(speed.STUDY).experiments if e.name in measured):
        timed = speed.speeds(results, name)
        if not timed:
            continue  # whole epochs, which have a table of their own
        grid.add_row(f"[bold]{name}[/], n={timed[0].steps_per_second.num}")
        for one in timed:
            shown = (
                one.steps_per_second, one.limit, one.overhead, one.over_plain, one.over_backpropagation
            )  # fmt: skip
            grid.add_row(f"  {one.method}", *map(_text, shown))
        grid.add_section()
    console.print(grid)


def _show_epochs(epochs: Sequence[Epoch], console: Console) -> None:
    if not epochs:
        return
    grid = Grid(
        title=f"A training epoch with the evaluation of all splits, {epochs[0].num_threads} threads: seconds, "
        "median \\[quartiles]",
        box=box.SIMPLE_HEAD,
    )
    grid.add_column("Method")
    for header in ("Ours", "Rounds", "Authors' code,\ntwo quiet cores", "Times\nas fast", "Bar"):
        grid.add_column(header, justify="right")
    for one in epochs:
        met = one.times_faster >= bars.TIMES_FASTER
        verdict = f"≥ {bars.TIMES_FASTER:g}: " + ("[green]pass[/]" if met else "[red]fail[/]")
        grid.add_row(
            one.method.removeprefix("epoch of "),
            _text(one.seconds),
            str(one.seconds.num),
            f"{one.theirs:g}",
            f"{one.times_faster:.2f}",
            verdict,
        )
    console.print(grid)


def _text(spread: Spread | None) -> str:
    if spread is None:
        return ""
    digits = ".2f" if spread.median < 10 else ".1f" if spread.median < 100 else ".0f"
    return f"{spread.median:{digits}} [{spread.low:{digits}}, {spread.high:{digits}}]"


def _show_bars(findings: Sequence[BarFinding], console: Console) -> None:
    grid = Grid(title="Bars, and the method of each network that is furthest from meeting them")
    for header in ("Bar", "Network", "Bound", "Measured", "Worst method", "Met by", "Verdict"):
        grid.add_column(header, justify="right" if header in ("Bound", "Met by") else "left")
    for finding in findings:
        bar, worst, measured = finding.bar, finding.worst, finding.measured
        bound = f"{'≥' if bar.at_least else '≤'} {bar.bound:g}"
        colour = {"pass": "green", "fail": "red"}.get(finding.verdict, "dim")
        verdict = f"[{colour}]{finding.verdict}[/]"
        if worst is None or measured is None:
            grid.add_row(bar.text, "", bound, "", "", "", verdict)
            continue
        digits = ".0f" if bar.at_least else ".3f"
        grid.add_row(
            bar.text,
            finding.network,
            bound,
            f"{measured.median:{digits}} [{measured.low:{digits}}, {measured.high:{digits}}]",
            worst.method,
            f"{finding.met} of {finding.num}",
            verdict,
        )
    console.print(grid)
    console.print(
        "undecided: a median misses the bar, by no more than what the rounds' scatter explains (sign test, 5 % for all methods of "
        "a network)",
        highlight=False,
    )


def _draw(results: Results, directory: Path, console: Console) -> None:
    import figures

    paths = figures.build(results, directory, ["speed"])
    tell(
        f"rows and the figure {', '.join(path.name for path in paths)} are in {directory}; "
        f"`repro publish --store {directory}` publishes the rows",
        console,
    )

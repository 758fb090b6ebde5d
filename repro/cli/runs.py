"""The verbs that make rows: run, say what is missing, publish, and find the data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

import studies
from repro.cli.shared import DONE, FAILED, STOPPED, all_studies, complain, judge, read_results
from repro.protocol import SCALES, Classification, Comparison, RunSpec, Study, comparisons, expand
from repro.results import RejectedFileError, Store, load, publish, tabulate_facts, write_whole

if TYPE_CHECKING:
    import pandas as pd


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _specs(options: argparse.Namespace) -> tuple[RunSpec, ...]:
    return tuple(
        spec
        for study in _chosen_studies(options)
        for spec in expand(
            study,
            options.scale,
            arms=_words(options.arm),
            only=_words(options.only),
            methods=_words(options.method),
            device=options.device,
        )
    )


def _comparisons(options: argparse.Namespace) -> tuple[Comparison, ...]:
    if _words(options.method):
        return ()  # a search takes all methods of its comparison
    return tuple(
        comparison
        for study in _chosen_studies(options)
        for comparison in comparisons(
            study, options.scale, arms=_words(options.arm), only=_words(options.only)
        )
    )


def _chosen_studies(options: argparse.Namespace) -> list[Study]:
    names = studies.names() if options.study == "all" else (options.study,)
    return [studies.get(name) for name in names]


def run(options: argparse.Namespace, console: Console) -> int:
    """Run what is missing."""
    # a wrong name is said before PyTorch is asked for
    specs, searched = _specs(options), _comparisons(options)

    from repro import datasets, execution
    from repro.progress import Display

    execution.check_device(options.device)
    store = Store(options.store)
    published = load(studies.RESULTS).runs
    known = set(published["key"])
    problems = [s.problem for s in specs if s.key not in known and s.key not in store]
    problems += [comparison.plan.problem for comparison in searched]
    for name in sorted({p.dataset for p in problems if isinstance(p, Classification)}):
        datasets.load(name)  # missing data is said once, here, before any worker starts
    with Display(console) as display:
        outcome = execution.search_and_execute(
            specs,
            searched,
            store,
            published=published,
            device=options.device,
            workers=options.workers,
            time_limit=options.time_limit,
            on_start=display.start,
            on_event=display.update,
        )
    console.print(
        f"{outcome.done} runs done ({outcome.diverged} diverged), {outcome.cached} were done before, "
        f"{outcome.left} left; {outcome.seconds:.0f} s; finished runs are in {options.store}"
    )
    if outcome.left:
        console.print("stopped early: the same command carries on")
        return STOPPED
    return DONE


def show_status(options: argparse.Namespace, console: Console) -> int:
    """Print what is done, what is missing, and what it would cost."""
    from repro.pricing import price

    specs = _specs(options)
    results = read_results(options, console)
    done = set(results.runs["key"])
    grid = Grid(title=f"{options.study} at {options.scale} scale")
    for header in ("Study", "Experiment", "Method", "Scale"):
        grid.add_column(header, no_wrap=header == "Experiment")
    for header in ("Done", "Missing", "Cost of the missing"):
        grid.add_column(header, justify="right")
    rows: dict[tuple[str, str, str, str], list[RunSpec]] = {}
    for spec in specs:
        identity = (spec.study, spec.experiment, spec.method.name, str(spec.scale))
        rows.setdefault(identity, []).append(spec)
    # by row: how many runs are done, and a run like each that is missing
    state = {
        identity: (sum(s.key in done for s in members), [s for s in members if s.key not in done])
        for identity, members in rows.items()
    }
    for comparison in _comparisons(options):
        for method, like in zip(
            comparison.experiment.methods, comparison.typical_runs(), strict=True
        ):
            identity = (like.study, like.experiment, method.name, str(like.scale))
            finished = _count(results.runs, *identity)
            state[identity] = finished, [like] * max(0, comparison.runs_of_a_method - finished)
    total, unpriced = 0.0, 0
    for identity, (finished, missing) in state.items():
        seconds = [price(spec, results.runs) for spec in missing]
        known = [value for value in seconds if value is not None]
        total, unpriced = total + sum(known), unpriced + len(seconds) - len(known)
        cost = "" if not missing else f"{sum(known):.0f} s" if known else "not measured yet"
        grid.add_row(*identity, str(finished), str(len(missing)), cost)
    console.print(grid)
    more = f", and {unpriced} runs of unknown cost" if unpriced else ""
    console.print(f"about {total:.0f} core-seconds at the speeds of the rows{more}")
    return DONE


def _count(runs: pd.DataFrame, study: str, experiment: str, method: str, scale: str) -> int:
    wanted = {"study": study, "experiment": experiment, "method": method, "scale": scale}
    return int((runs[list(wanted)] == list(wanted.values())).all(axis=1).sum())


def show_list(options: argparse.Namespace, console: Console) -> int:
    """Print the studies with their experiments, methods and numbers of runs."""
    del options
    for study in all_studies():
        console.print(f"[bold]{study.name}[/] {study.citation}")
        grid = Grid()
        for header in ("Experiment", "Arm", "Methods", *(f"Runs, {scale}" for scale in SCALES)):
            grid.add_column(header, overflow="fold")
        for e in study.experiments:
            counts = [str(len(e.methods) * e.runs_of_a_method(scale)) for scale in SCALES]
            grid.add_row(e.name, e.arm, ", ".join(m.name for m in e.methods), *counts)
        console.print(grid)
    return DONE


def publish_rows(options: argparse.Namespace, console: Console) -> int:
    """Merge finished runs into the published rows and bring the README's verdicts up to date."""
    try:
        added, skipped = publish(options.store, studies.RESULTS)
    except RejectedFileError as error:
        return complain(f"{error} Nothing was published.", FAILED)
    for problem in skipped:
        console.print(f"[yellow]skipped[/] {problem}", soft_wrap=True, highlight=False)
    for study, count in added.items():
        console.print(f"{study}: {count} new rows in {studies.RESULTS.name}")
    if not added:
        console.print("nothing new to publish")
    readme = Path("README.md")
    if readme.exists():
        from repro import claims

        published = load(studies.RESULTS, None, tabulate_facts(all_studies()))
        text = readme.read_text(encoding="utf-8")
        write_whole(readme, claims.embed(text, judge(published)).encode())
    return FAILED if skipped else DONE


def verify_data(options: argparse.Namespace, console: Console) -> int:
    """Find or download data sets, verify their content and say what they hold."""
    from repro import datasets

    for name in options.names or datasets.NAMES:
        dataset = datasets.load(name)
        shape = " x ".join(str(side) for side in dataset.train_images.shape[1:])
        console.print(
            f"{name}: {len(dataset.train_labels)} training and {len(dataset.test_labels)} test images, "
            f"{shape}, {dataset.num_classes} classes, content verified"
        )
    return DONE

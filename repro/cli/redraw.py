"""The verbs that redraw: figures, tables, verdicts, paper and page from the rows, without PyTorch."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import studies
from repro.cli.shared import (
    DONE,
    FAILED,
    beside,
    commit_verdicts,
    complain,
    judge,
    read_results,
    require_checkout,
    tell,
)
from repro.results import Results, write_whole

if TYPE_CHECKING:
    from repro.cli.building import Built

HERE = Path()
STAMP = Path("paper/build/.fingerprint")
"""What the last successful build depended on, as a digest, and the files that it left."""


def reproduce(options: argparse.Namespace, console: Console) -> int:
    """Check the rows and build every figure, table, verdict, the paper and the page, unless nothing has changed."""
    from repro.cli import building
    from repro.cli.drawing import read_json
    from repro.report import digests

    require_checkout()
    started = time.monotonic()
    rows = digests.of_rows(studies.RESULTS, options.store)
    fingerprint = building.fingerprint(rows, HERE)
    kept = [building.BUILD / name for name in ("verdicts.txt", "summary.txt")]
    before = read_json(STAMP)
    # files that another verb has since written from another store, or that somebody removed, are built again
    whole = before.get("outputs", {}).items() <= building.outputs(HERE).items()
    current = before.get("inputs") == fingerprint and whole
    if current and not options.force:
        for path in kept:
            console.out(path.read_text(encoding="utf-8").rstrip("\n"), highlight=False)
        console.print("nothing changed since the last build (--force builds anew)")
        status = DONE
    else:
        if options.force:
            building.forget(HERE)
        results = read_results(options.store, console)
        with console.status("reading rows") as line:
            built = building.build(results, rows, HERE, workers=options.workers, say=line.update)
        summary = _summary(results, built)
        write_whole(kept[1], summary.encode())
        console.out(kept[0].read_text(encoding="utf-8").rstrip("\n"), highlight=False)
        console.out(summary.rstrip("\n"), highlight=False)
        # without the stamp, skipped files and stale sentences are named again at every build until they are mended
        STAMP.unlink(missing_ok=True)
        status = FAILED
        if not (results.problems or built.stale):
            left = {"inputs": fingerprint, "outputs": building.outputs(HERE)}
            write_whole(STAMP, json.dumps(left).encode())
            status = DONE
    console.print(f"{time.monotonic() - started:.1f} s")
    return status


def _summary(results: Results, built: Built) -> str:
    runs = results.runs
    lines = [f"{len(runs)} runs, {int((runs['status'] == 'diverged').sum())} of them diverged"]
    if results.unpublished:
        lines.append(beside(results))
    lines += [f"not run: {line}" for line in built.not_run]
    lines.append(f"figures: figures/build ({len(built.drawn)} of {len(built.figures)} drawn anew)")
    lines.append("tables: paper/build/tables  verdicts: paper/build/claims.json")
    lines += [f"no paper: {sentence}" for sentence in built.stale]
    if not built.stale:
        lines.append(f"paper: {built.pdf}")
    lines.append(f"page: {built.page}")
    return "\n".join(lines) + "\n"


def draw_figures(options: argparse.Namespace, console: Console) -> int:
    """Draw the figures that were asked for."""
    import figures

    results = read_results(options.store, console)
    with console.status("drawing figures"):
        paths = figures.build(results, Path("figures/build"), options.names)
    console.print(f"{len(paths)} figure files in figures/build")
    return DONE


def write_tables(options: argparse.Namespace, console: Console) -> int:
    """Write the tables that were asked for."""
    import figures

    results = read_results(options.store, console)
    paths = figures.build_tables(results, Path("paper/build/tables"), options.names)
    console.print(f"{len(paths)} table files in paper/build/tables")
    return DONE


def judge_claims(options: argparse.Namespace, console: Console) -> int:
    """Judge every claim, print the verdicts, and hold them to the committed ones."""
    from repro import claims
    from repro.cli.grid import show_verdicts
    from repro.cli.shared import VERDICTS
    from repro.report import verdicts

    require_checkout()
    # committed verdicts have to follow from committed rows
    results = read_results(None if options.accept else options.store, console)
    if options.accept and results.problems:
        return complain(
            f"expected published rows that can all be read, found {len(results.problems)} files that cannot. Restore them "
            "from version control; nothing was accepted.",
            FAILED,
        )
    judgements = judge(results)
    target = Path("paper/build")
    target.mkdir(parents=True, exist_ok=True)
    write_whole(target / "claims.json", claims.to_json(judgements).encode())
    show_verdicts(judgements, console)
    if options.accept:
        commit_verdicts(judgements, results)
        console.print(
            "accepted: README.md, paper/claims.md and paper/verdicts.json hold these verdicts"
        )
        return DONE
    changes = verdicts.compare(judgements, verdicts.read_committed(VERDICTS))
    return FAILED if _report(changes, console) or results.problems else DONE


def _report(changes: Sequence[object], console: Console) -> bool:
    """Print the verdicts that are not the committed ones, and return whether there are any."""
    if not changes:
        console.print("every committed verdict holds")
        return False
    for change in changes:
        tell(str(change), console, "[red]verdict changed[/]")
    many = (
        "1 verdict is not the committed one"
        if len(changes) == 1
        else f"{len(changes)} verdicts are not the committed ones"
    )
    console.print(
        f"{many}. If the rows are right, `repro claims --accept` takes the "
        "new ones; then rewrite what the paper says of them.",
        soft_wrap=True,
    )
    return True

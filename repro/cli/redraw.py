"""The verbs that redraw: figures, tables, audit and verdicts from the rows, without PyTorch."""

from __future__ import annotations

import argparse
import hashlib
import io
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table as Grid

import repro
import studies
from repro.cli import audit
from repro.cli.shared import DONE, FAILED, judge, read_results
from repro.results import Results, Store, write_whole

if TYPE_CHECKING:
    from repro.claims import Judgement


def reproduce(options: argparse.Namespace, console: Console) -> int:
    """Check the rows, redraw every figure and table, audit, judge the claims; nothing where nothing changed."""
    started = time.monotonic()
    fingerprint = _fingerprint(options.store)
    stamp, verdicts = Path("figures/build/.fingerprint"), Path("paper/build/verdicts.txt")
    made = (
        stamp,
        verdicts,
        *(Path("paper/build") / f"{name}.json" for name in ("claims", "audit")),
    )
    if not options.force and all(map(Path.exists, made)) and stamp.read_text() == fingerprint:
        console.out(verdicts.read_text(), highlight=False)
        console.print("nothing changed since the last redraw (--force redraws)")
        status = DONE
    else:
        results = read_results(options, console)
        _draw(results, console)
        _write_tables(results, console)
        audited = audit.everything(results)
        audit.write(audited, Path("paper/build"))
        console.print(f"{len(audited)} comparisons audited (`repro audit` shows what is not fair)")
        judgements = judge(results)
        _write_claims(judgements)
        with io.StringIO() as text:
            _show(judgements, Console(file=text, width=140))
            write_whole(verdicts, text.getvalue().encode())
        _show(judgements, console)
        console.print(f"{len(results.runs)} runs")
        if results.problems:
            stamp.unlink(missing_ok=True)  # a skipped file is said again until it is mended
            status = FAILED
        else:
            write_whole(stamp, fingerprint.encode())
            status = DONE
    console.print(
        "figures: figures/build  tables: paper/build/tables  verdicts: paper/build/claims.json  "
        "audit: paper/build/audit.json\n"
        f"{time.monotonic() - started:.1f} s",
        soft_wrap=True,
    )
    return status


def _fingerprint(store: Path) -> str:
    # everything a figure can depend on: rows, the code that draws, and the libraries it draws with
    root = Path(repro.__file__).resolve().parent.parent
    digest = hashlib.sha256()
    sources = sorted(p for d in ("repro", "studies", "figures") for p in (root / d).rglob("*.py"))
    for path in [*sources, *sorted(studies.RESULTS.glob("*.parquet"))]:
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    for path in Store(store).files():
        facts = path.stat()
        digest.update(f"{path.stem} {facts.st_size} {facts.st_mtime_ns}".encode())
    for library in ("matplotlib", "seaborn", "numpy", "pandas", "scipy"):
        digest.update(f"{library} {metadata.version(library)}".encode())
    return digest.hexdigest()


def _draw(results: Results, console: Console, names: Sequence[str] = ()) -> None:
    import figures

    with console.status("drawing figures"):
        paths = figures.build(results, Path("figures/build"), names)
    console.print(f"{len(paths)} figure files in figures/build")


def _write_tables(results: Results, console: Console, names: Sequence[str] = ()) -> None:
    import figures

    paths = figures.build_tables(results, Path("paper/build/tables"), names)
    console.print(f"{len(paths)} table files in paper/build/tables")


def _write_claims(judgements: Sequence[Judgement]) -> None:
    from repro import claims, tables

    target = Path("paper/build")
    target.mkdir(parents=True, exist_ok=True)
    write_whole(target / "claims.json", claims.to_json(judgements).encode())
    (target / "tables").mkdir(exist_ok=True)
    tables.write(claims.table(judgements), target / "tables")


def _show(judgements: Sequence[Judgement], console: Console) -> None:
    from repro import claims

    grid = Grid(title="Published claims and what became of them", show_lines=True)
    for header in ("No.", "Claim", "Measured [95 % interval]", "Verdict"):
        grid.add_column(header, justify="right" if header == "No." else "left", overflow="fold")
    colours = {"reproduced": "green", "not reproduced": "red", "partly": "yellow"}
    for judgement in judgements:
        measured = "\n".join(claims.describe(finding) for finding in judgement.findings)
        colour = colours.get(judgement.verdict, "dim")
        scale = ", ".join(scale for scale in judgement.scales if scale != "full")
        verdict = f"[{colour}]{judgement.verdict}[/]" + (f"\nat {scale} scale" if scale else "")
        grid.add_row(
            f"{judgement.study}\n{judgement.claim.number}",
            f"{judgement.claim.text} ({judgement.claim.where})",
            measured or judgement.reason,
            verdict + (f"\n{judgement.reason}" if measured and judgement.reason else ""),
        )
    console.print(grid)
    counts = {v: sum(j.verdict == v for j in judgements) for v in (*colours, "not tested")}
    console.print("  ".join(f"{verdict}: {count}" for verdict, count in counts.items()))


def draw_figures(options: argparse.Namespace, console: Console) -> int:
    """Draw the figures that were asked for."""
    _draw(read_results(options, console), console, options.names)
    return DONE


def write_tables(options: argparse.Namespace, console: Console) -> int:
    """Write the tables that were asked for."""
    _write_tables(read_results(options, console), console, options.names)
    return DONE


def judge_claims(options: argparse.Namespace, console: Console) -> int:
    """Judge every claim, write the verdicts and print them."""
    judgements = judge(read_results(options, console))
    _write_claims(judgements)
    _show(judgements, console)
    return DONE

"""What it costs to keep very many runs: the verbs that read all of them, timed on a store that is made for it.

Its runs are copies of the published ones, with as many points of curves, each under a repetition of its own. They are no
results, and are deleted afterwards.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rich.console import Console

import studies
from repro import tables
from repro.cli.shared import DONE, FAILED, tell
from repro.protocol import parse_run
from repro.report import digests
from repro.results import (
    COST,
    ENVIRONMENT,
    METRICS,
    Curve,
    Record,
    Store,
    published_curves,
    read_published_runs,
)
from repro.results.index import FOLDER
from repro.results.records import encode

NUM_RUNS = 100_000
"""Runs for which there are bounds."""
SECONDS = {"status": 5.0, "publish": 60.0}
"""Within which a verb answers, with that many runs that are in the index."""
MEMORY = 2**30
"""Bytes that publishing them may take."""
APART = 10**6
"""What repetitions are moved by: no study declares so many."""


@dataclasses.dataclass(frozen=True)
class Taken:
    """What a command took.

    Attributes:
        seconds: From start to end.
        cpu: Seconds of the processor, which other work on the machine does not lengthen.
        peak: Bytes of memory at most.
    """

    seconds: float
    cpu: float
    peak: int


def measure(options: argparse.Namespace, console: Console) -> int:
    """Time `status`, `publish` and a look at what `reproduce` depends on, over so many runs."""
    num_runs: int = options.bookkeeping
    if num_runs < 1:
        raise ValueError(
            f"`--bookkeeping` expects a number of runs of at least 1. Found {num_runs}."
        )
    if not (hasattr(os, "wait4") and hasattr(os, "getloadavg")):
        raise ValueError(
            f"`--bookkeeping` asks the system what a process took (os.wait4), which {platform.system()} does not tell. "
            "Run it on Linux or macOS."
        )
    options.store.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.store, prefix=".bookkeeping-") as folder:
        store, elsewhere = Store(Path(folder) / "store"), Path(folder) / "published"
        with console.status("making runs") as line:
            fill(store, num_runs, line.update)
            size = _size(store.directory)
            rows: list[tuple[tables.Cell, ...]] = []

            def time_verb(what: str, *words: str, bound: bool = False) -> None:
                line.update(what)
                taken = _run(*words, "--store", str(store.directory))
                rows.append(_row(what, words[0], taken, num_runs if bound else 0))

            everything = ("status", "all")
            time_verb("status, which makes the index", *everything)
            time_verb("status", *everything, bound=True)
            publish = ("publish", "--to", str(elsewhere))
            time_verb("publish", *publish, bound=True)
            time_verb("publish, when nothing is new", *publish)
            index = _size(store.directory / FOLDER)
            shutil.rmtree(store.directory / FOLDER)
            shutil.rmtree(elsewhere)
            time_verb("publish without the index, which makes it", *publish)
            began = time.perf_counter(), time.process_time()
            digests.of_rows(studies.RESULTS, store.directory)
            looked = Taken(time.perf_counter() - began[0], time.process_time() - began[1], 0)
            rows.append(_row("what reproduce looks at before it builds", "reproduce", looked, 0))
            published = _size(elsewhere)
    table = _table(rows, num_runs, (size, index, published), load)
    paths = tables.write(table, options.store)
    console.print(tables.to_markdown(table), markup=False, highlight=False, soft_wrap=True)
    tell(f"{', '.join(path.name for path in paths)} are in {options.store}", console)
    return FAILED if options.strict and any(row[-1] == "fail" for row in rows) else DONE


def fill(store: Store, num_runs: int, say: Callable[[str], None] = lambda line: None) -> None:
    """Write runs that are like the published ones into a store.

    Args:
        store: An empty store.
        num_runs: How many.
        say: Told, in a line, how far it is.
    """
    for number, record in enumerate(itertools.islice(_copies(), num_runs)):
        if number % 1_000 == 0:
            say(f"making runs: {number} of {num_runs}")
        path = store.path(record.spec.key)
        path.parent.mkdir(parents=True, exist_ok=True)
        # not by `Store.write`, which waits for the disk: this one may be lost
        path.write_text(encode(record))


def _copies() -> Iterator[Record]:
    """Yield the published runs under other repetitions, again and again."""
    runs, _ = read_published_runs(studies.RESULTS)
    points = published_curves(studies.RESULTS, list(runs["key"]))
    places = points.groupby("key").indices
    columns = [points[name].to_numpy() for name in ("split", "metric", "step", "value")]
    for again in itertools.count(1):
        for row in runs.to_dict("records"):
            spec = parse_run(row["spec"])
            own = places.get(row["key"], [])
            yield Record(
                dataclasses.replace(spec, repetition=again * APART + spec.repetition),
                row["status"],
                {name: row[name] for name in (*METRICS, *COST, *ENVIRONMENT)},
                tuple(_curves(zip(*(column[own].tolist() for column in columns), strict=True))),
            )


def _curves(points: Iterable[tuple[str, str, int, float]]) -> Iterator[Curve]:
    for (split, metric), found in itertools.groupby(points, key=lambda point: point[:2]):
        steps, values = zip(*(point[2:] for point in found), strict=True)
        yield Curve(split, metric, steps, values)


def _run(*words: str) -> Taken:
    """Run a command in a process of its own."""
    root = str(Path(studies.__file__).resolve().parents[1])
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [sys.executable, "-m", "repro", *words],
            stdout=said,
            stderr=said,
            env={**os.environ, "PYTHONPATH": root},
        ) as process,
    ):
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise ValueError(f"`repro {words[0]}` ended with status {process.returncode}: {last}")
    # kilobytes, but on a Mac
    peak = usage.ru_maxrss * (1 if platform.system() == "Darwin" else 1024)
    return Taken(seconds, usage.ru_utime + usage.ru_stime, peak)


def _row(what: str, verb: str, taken: Taken, num_runs: int) -> tuple[tables.Cell, ...]:
    """Return a row of the table, held to its bounds where there are any for so many runs."""
    mebibytes = taken.peak / 2**20 if taken.peak else None
    if num_runs != NUM_RUNS:
        return what, taken.seconds, taken.cpu, mebibytes, "", ""
    within = taken.seconds <= SECONDS[verb] and (verb != "publish" or taken.peak <= MEMORY)
    bound = f"{SECONDS[verb]:g} s" + (f", {MEMORY / 2**20:g} MiB" if verb == "publish" else "")
    return what, taken.seconds, taken.cpu, mebibytes, bound, "pass" if within else "fail"


def _table(
    rows: list[tuple[tables.Cell, ...]], num_runs: int, sizes: tuple[int, int, int], load: float
) -> tables.Table:
    columns = (
        tables.Column("what", "What", "left"),
        tables.Column("seconds", "Seconds", format=".1f"),
        tables.Column("cpu", "Of a core", format=".1f"),
        tables.Column("peak", "Peak memory (MiB)", format=".0f"),
        tables.Column("bound", "Bound", "left"),
        tables.Column("verdict", "Verdict", "left"),
    )
    stored, index, published = (f"{size / 2**20:.0f} MiB" for size in sizes)
    notes = (
        f"Files of finished runs {stored}, index {index}, published {published}.",
        f"{os.cpu_count()} cores; load average before this began: {load:.1f}.",
    )
    return tables.Table(
        "bookkeeping", f"Bookkeeping of {num_runs} finished runs", columns, tuple(rows), notes
    )


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

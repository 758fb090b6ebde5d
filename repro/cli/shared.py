"""What every verb rests on: exit statuses, complaints, the studies and their results."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import pandas as pd
from rich.console import Console
from rich.markup import escape

import studies
from repro.protocol import Classification, RunSpec, Study
from repro.results import Results, load, load_runs, tabulate_facts, write_whole

if TYPE_CHECKING:
    from repro.claims import Judgement

T = TypeVar("T")

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 3
UNREAD = 141
"""Status that a shell gives a program whose reader has gone, as in `| head`: 128 and the number of SIGPIPE."""

PAPER = Path(studies.__file__).resolve().parent.parent / "paper"
"""The paper's sources, and the committed verdicts and manifest beside them."""
VERDICTS = PAPER / "verdicts.json"
STANDING = PAPER / "audit.toml"
"""Why findings against our own comparisons stand."""
README = PAPER.parent / "README.md"
WRITTEN = ("studies", "figures")
"""Folders of modules that users write."""


def complain(message: str, status: int) -> int:
    """Write one line to standard error and return the status."""
    sys.stderr.write(f"repro: {' '.join(message.split())}\n")
    return status


def place_of(error: BaseException) -> str:
    """Return the line of a study or a figure, files that users write, from which an error comes; nothing if from none.

    Args:
        error: The error, as raised.

    Returns:
        Such as `studies/someone2030.py, line 5: `.
    """
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    for name, line in frames:
        path = Path(name)
        if (
            path.parent.name in WRITTEN
            and path.parent.parent == PAPER.parent
            and path.name != "__init__.py"
        ):
            return f"{path.parent.name}/{path.name}, line {line}: "
    return ""


def fault_of(error: BaseException) -> str:
    """Say where in a study or a figure an error is to be mended; nothing if it comes from none."""
    place = place_of(error)
    found = f"{type(error).__name__}: {error}"
    return f"{place}{found}. Mend that line; REPRO_DEBUG=1 shows the traceback." if place else ""


def require_checkout() -> None:
    """Raise if the package was installed without the sources of the paper, as from a wheel.

    Raises:
        ValueError: If they are not beside the packages.
    """
    if not PAPER.is_dir():
        raise ValueError(
            f"expected the sources of the paper in {PAPER}, found none: this command needs a checkout of the repository. "
            "Clone it and run the command there, or install it with `python -m pip install -e .`."
        )


def num_cores() -> int:
    """Return how many cores this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def words(text: str) -> list[str]:
    """Return the words of a list separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def all_studies() -> tuple[Study, ...]:
    """Return every study, sorted by name."""
    return tuple(get_study(name) for name in studies.names())


def get_study(name: str) -> Study:
    """Return a study by name.

    Args:
        name: Its name.

    Returns:
        The study.

    Raises:
        ValueError: If there is no such study, or its module declares none.
        AttributeError: If the module itself raises it.
        AssertionError: Likewise.
    """
    try:
        return studies.get(name)
    except (AttributeError, AssertionError) as error:
        if place_of(error):
            raise
        raise ValueError(
            f"Expected a value `STUDY`, a `repro.protocol.Study`, in studies/{name}.py. Found none: write it, or move what "
            "studies share to studies/parts."
        ) from error


def read_results(store: Path | None, console: Console) -> Results:
    """Return the published rows, and those of a store; a file that is skipped is named."""
    with console.status("reading rows") as line:
        results = load(studies.RESULTS, store, tabulate_facts(all_studies()), line.update)
    name_skipped(results.problems, console)
    if results.unpublished:
        tell(beside(results), console)
    return results


def beside(results: Results) -> str:
    """Return in a line that runs of a store count, which nobody else has."""
    return (
        f"{results.unpublished} of {len(results.runs)} runs are from the store, not published: an empty folder as `--store` leaves "
        "them out"
    )


def read_runs(options: argparse.Namespace, console: Console) -> pd.DataFrame:
    """Return the runs table alone, where no curves are needed; a file that is skipped is named."""
    with console.status("reading rows") as line:
        runs, problems = load_runs(studies.RESULTS, options.store, line.update)
    name_skipped(problems, console)
    return runs


def tell(text: str, console: Console, label: str = "") -> None:
    """Print a line as it is, even if a path or a message in it looks like markup.

    Args:
        text: The line.
        console: Where.
        label: What goes before it, in markup.
    """
    line = " ".join(filter(None, (label, escape(text))))
    console.print(line, soft_wrap=True, highlight=False)


def name_skipped(problems: Iterable[str], console: Console) -> None:
    """Print a line for every file that was skipped."""
    for problem in problems:
        tell(problem, console, "[yellow]skipped[/]")


@dataclasses.dataclass(frozen=True)
class Absent(Generic[T]):
    """A data set that is not available.

    Attributes:
        name: Its name.
        error: Why it is not.
        items: The items that need it.
    """

    name: str
    error: ValueError
    items: tuple[T, ...]


def _load(name: str, declared: str) -> None:
    """Load a data set, or say where a wrong name was declared.

    Raises:
        DataError: If it is not available.
    """
    from repro import datasets

    if name not in datasets.NAMES:
        raise datasets.DataError(
            f"{declared}: `dataset` must be one of: {', '.join(datasets.NAMES)}. Found {name!r}."
        )
    datasets.load(name)


def sift_by_data(
    items: Sequence[T], specs_of: Callable[[T], Iterable[RunSpec]]
) -> tuple[list[T], list[Absent[T]]]:
    """Return the items that can be run with the data sets available, and the data sets that are not.

    Args:
        items: Groups of runs, in whatever form.
        specs_of: The runs of an item.

    Returns:
        The items whose data sets are all available, and the others by data set.
    """
    from repro import datasets

    needed: dict[str, list[int]] = {}
    declared: dict[str, str] = {}
    for index, item in enumerate(items):
        found = {
            spec.problem.dataset: f"study {spec.study!r}, experiment {spec.experiment!r}"
            for spec in specs_of(item)
            if isinstance(spec.problem, Classification)
        }
        for name, place in found.items():
            needed.setdefault(name, []).append(index)
            declared.setdefault(name, place)
    kept, absent = set(range(len(items))), []
    for name, places in sorted(needed.items()):
        try:
            _load(name, declared[name])
        except datasets.DataError as error:
            absent.append(Absent(name, error, tuple(items[place] for place in places)))
            kept.difference_update(places)
    return [items[place] for place in sorted(kept)], absent


def judge(results: Results) -> tuple[Judgement, ...]:
    """Return the judgements of all studies' claims."""
    from repro import claims

    every = all_studies()
    return tuple(j for study in every for j in claims.judge(study, results, every))


def commit_verdicts(judgements: Sequence[Judgement], results: Results) -> None:
    """Write the committed files that carry verdicts: the README with its answers and audit, `claims.md`, `verdicts.json`."""
    from repro.audit import report, standing
    from repro.cli import audit
    from repro.report import answers, verdicts
    from repro.tables import to_markdown

    headlines = verdicts.read_headlines(PAPER / "headlines.toml")
    text = verdicts.embed(README.read_text(encoding="utf-8"), judgements, headlines)
    text = answers.embed(text, answers.spell(answers.read(PAPER / "answers.toml"), judgements))
    audited = audit.everything(results)
    reasons, _ = standing.explained(audited, standing.read_standing(STANDING))
    text = report.embed(text, audited, reasons)
    listing = to_markdown(verdicts.claims_table(judgements, all_studies()))
    write_whole(README, text.encode())
    write_whole(PAPER / "claims.md", listing.encode())
    verdicts.write_committed(VERDICTS, judgements)

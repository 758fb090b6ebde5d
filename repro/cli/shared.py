"""What every verb rests on: exit statuses, complaints, the studies and their results."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from rich.console import Console

import studies
from repro.protocol import Study
from repro.results import Results, load, tabulate_facts

if TYPE_CHECKING:
    from repro.claims import Judgement

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 3


def complain(message: str, status: int) -> int:
    """Write one line to standard error and return the status."""
    sys.stderr.write(f"repro: {' '.join(message.split())}\n")
    return status


def words(text: str) -> list[str]:
    """Return the words of a list separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def all_studies() -> tuple[Study, ...]:
    """Return every study, sorted by name."""
    return tuple(studies.get(name) for name in studies.names())


def read_results(options: argparse.Namespace, console: Console) -> Results:
    """Return the published rows and those of the store; a file that is skipped is named."""
    results = load(studies.RESULTS, options.store, tabulate_facts(all_studies()))
    for problem in results.problems:
        console.print(f"[yellow]skipped[/] {problem}", soft_wrap=True, highlight=False)
    return results


def judge(results: Results) -> tuple[Judgement, ...]:
    """Return the judgements of all studies' claims."""
    from repro import claims

    return tuple(j for study in all_studies() for j in claims.judge(study, results))

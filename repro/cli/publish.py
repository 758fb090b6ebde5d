"""The verb that publishes: finished runs become published rows, and the README says what they say."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

import studies
from repro.cli.shared import (
    DONE,
    FAILED,
    README,
    VERDICTS,
    all_studies,
    commit_verdicts,
    complain,
    judge,
    name_skipped,
    read_results,
    require_checkout,
    tell,
)
from repro.protocol import declared
from repro.publishing import ContradictionError, Count, Planned, merge, publish, retirable
from repro.results import RejectedFileError

OLD_PLAN = "rows of a plan that the study no longer declares"
SUPERSEDED = "reported rows, superseded by those of a better trial"


def name_rows(count: Count, what: str, console: Console) -> None:
    """Print a line for every experiment with rows that are not, or no longer, published."""
    for (study, experiment), number in count.items():
        tell(f"{study} {experiment}: {number} {what}", console)


def publish_rows(options: argparse.Namespace, console: Console) -> int:
    """Merge finished runs into the published rows and bring the README's verdicts and audit up to date."""
    if not options.to:
        require_checkout()
    target: Path = options.to or studies.RESULTS
    declares = {} if options.to else {study.name: declared(study) for study in all_studies()}
    planned = Planned(declares, retire=options.retire)
    skipped: tuple[str, ...] = ()
    if target.exists() and not target.is_dir():
        raise ValueError(f"`--to` expects a folder. Found the file {target}.")
    try:
        if options.folders:
            added = merge(options.folders, target, planned)
        else:
            with console.status("reading finished runs") as line:
                added, skipped = publish(options.store, target, line.update, planned)
    except (RejectedFileError, ContradictionError) as error:
        return complain(f"{error} Nothing was published.", FAILED)
    name_rows(planned.retired, "rows of old plans, or superseded, taken out", console)
    name_skipped(skipped, console)
    name_rows(planned.left_out, f"{OLD_PLAN}, left out", console)
    name_rows(planned.superseded, f"{SUPERSEDED}, left out", console)
    if planned.smoke:
        console.print(f"{planned.smoke} rows of smoke scale, which are no results, left out")
    for study, count in added.items():
        tell(f"{study}: {count} new rows in {options.to or target.name}", console)
    if not added:
        console.print("nothing new to publish")
    if declares:
        old, superseded = retirable(target, declares)
        name_rows(old, f"{OLD_PLAN}, averaged with the others: `--retire` takes them out", console)
        name_rows(superseded, f"{SUPERSEDED}, not used: `--retire` takes them out", console)
    if not options.to and README.exists():
        _bring_up_to_date(console)
        if added or planned.retired:
            console.print("now `repro verify --update` takes the new rows into paper/manifest.json")
    return FAILED if skipped else DONE


def _bring_up_to_date(console: Console) -> None:
    """Commit the verdicts of the published rows, and name those that changed."""
    from repro.report import verdicts

    published = read_results(None, console)
    judgements = judge(published)
    before = verdicts.read_committed(VERDICTS) if VERDICTS.exists() else {}
    changes = verdicts.compare(judgements, before)
    for change in changes:
        tell(f"verdict changed {change}", console)
    commit_verdicts(judgements, published)
    if changes:
        console.print("README.md, paper/claims.md and paper/verdicts.json hold these verdicts now")

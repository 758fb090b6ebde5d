"""The verbs for other schedulers: write groups of runs as files, and work such files off in one process."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from repro.campaign import survey
from repro.cli.choice import read_choice
from repro.cli.runs import with_data
from repro.cli.shared import DONE, FAILED, STOPPED, complain, read_runs, tell
from repro.results import Store

if TYPE_CHECKING:
    from repro.execution import Group, Stop


def write_tasks(options: argparse.Namespace, console: Console) -> int:
    """Write what can be run now as files, one group each."""
    choice = read_choice(options, console)

    from repro import execution
    from repro.checkpoints import name_of

    execution.check_device(options.device, here=False)
    if options.to.exists() and not options.to.is_dir():
        raise ValueError(f"`--to` expects a folder. Found the file {options.to}.")
    runs = read_runs(options, console)
    work, without_data = with_data(survey(choice.specs, choice.comparisons, runs))
    groups, failures = execution.pending_groups(
        work, Store(options.store), runs=runs, device=options.device
    )
    for name, reason in [*without_data, *((f.name, f.reason) for f in failures)]:
        complain(f"{name}: {reason}", FAILED)
    if groups:
        options.to.mkdir(parents=True, exist_ok=True)
    for group in groups:
        # the same group has the same name, so writing again adds no second file
        execution.write_task(options.to / f"{name_of(group)[:16]}.json", group)
    num_runs = sum(map(len, groups))
    tell(
        f"{len(groups)} files in {options.to}, of {num_runs} runs"
        if groups
        else "nothing is missing",
        console,
    )
    return FAILED if without_data or failures else DONE


def work(options: argparse.Namespace, console: Console) -> int:
    """Run what is missing of files that `write_tasks` wrote."""
    from repro import execution

    execution.check_device(options.device)
    groups = [execution.read_task(path) for path in options.files]
    store = Store(options.store)
    if any(spec.key not in store for group in groups for spec in group):
        execution.refuse_read_only(options.store)
    stop = execution.Stop(options.time_limit)
    with stop.at(signal.SIGINT, signal.SIGTERM, *_OF_SCHEDULERS):
        return _work_off(groups, options, console, stop)


def _work_off(
    groups: Sequence[Group], options: argparse.Namespace, console: Console, stop: Stop
) -> int:
    from repro import execution

    status = DONE
    store = Store(options.store)
    for group in groups:
        name = execution.describe(group)
        if stop():
            status = STOPPED
            break
        ended = execution.work_on(
            group,
            store,
            options.device,
            should_stop=stop,
            checkpoint_every=options.checkpoint_every,
        )
        if ended.error:
            status = complain(f"{name}: {ended.error}", FAILED)
            if ended.fatal:
                return FAILED
        elif ended.statuses:
            tell(f"{name}: {execution.tally(ended.statuses)}", console)
        elif not execution.is_finished(group, store):
            done = execution.steps_kept(group, store)
            tell(f"stopped, goes on from step {done}: {name}", console)
            return STOPPED
        else:
            tell(f"{name}: done before", console)
    return status


_OF_SCHEDULERS = tuple(
    getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)
)

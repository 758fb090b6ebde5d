"""The verb that makes rows: run what is missing, here or on a cluster."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from rich.console import Console

from repro import execution
from repro.campaign import Work, plan, survey
from repro.cli.choice import read_choice
from repro.cli.shared import (
    DONE,
    FAILED,
    STOPPED,
    USAGE,
    complain,
    num_cores,
    read_runs,
    sift_by_data,
    tell,
)
from repro.execution import Outcome, Slurm
from repro.pricing import Prices
from repro.results import Store


def run(options: argparse.Namespace, console: Console) -> int:
    """Run what is missing, cheapest verdict first."""
    # a wrong name is reported before PyTorch is imported, which takes long
    choice = read_choice(options, console)
    slurm = read_executor(options)

    import torch

    from repro.environment import device_name
    from repro.progress import Display

    execution.check_device(options.device, here=slurm is None)
    runs = read_runs(options, console)
    # the nodes of a cluster are taken for the device that made the latest row
    here = "" if slurm is not None else device_name(torch.device(options.device))
    prices = Prices(runs, here)
    stages = plan(survey(choice.specs, choice.comparisons, runs), choice.studies, prices.of)
    if prices.borrowed and options.time_limit is not None and not runs.empty:
        tell(
            f"{prices.device} has no rows: runs are ordered by the speeds of other devices, and `--time-limit` keeps "
            "none from starting",
            console,
        )
    work, without_data = with_data([w for stage in stages for w in stage.work])
    with Display(console) as display:
        outcome = execution.work_off(
            work,
            Store(options.store),
            runs=runs,
            device=options.device,
            workers=num_workers(options),
            time_limit=options.time_limit,
            checkpoint_every=options.checkpoint_every,
            slurm=slurm,
            # the speeds of other devices are no reason to leave this one idle; training leaves checkpoints
            expected=(lambda spec: None) if prices.borrowed else prices,
            on_groups=display.add,
            on_event=display.update,
            on_stop=display.note_stop,
            on_note=lambda line: tell(line, console),
        )
    return _tell_outcome(outcome, without_data, options, console)


def _tell_outcome(
    outcome: Outcome,
    without_data: Sequence[tuple[str, str]],
    options: argparse.Namespace,
    console: Console,
) -> int:
    """Print what became of the runs, and return the exit status."""
    for group in outcome.lost:
        done = execution.steps_kept(group, Store(options.store))
        kept = f", goes on from step {done}" if done else ""
        tell(f"not finished{kept}: {execution.describe(group)}", console)
    meanwhile = f"{outcome.elsewhere} by another process meanwhile, " if outcome.elsewhere else ""
    tell(
        f"{outcome.done} {'run' if outcome.done == 1 else 'runs'} done ({outcome.diverged} diverged), {outcome.cached} were done before, {meanwhile}"
        f"{outcome.left} left; {outcome.seconds:.0f} s; finished runs are in {options.store}",
        console,
    )
    failed = [*without_data, *((f.name, f.reason) for f in outcome.failures)]
    for name, reason in failed:
        complain(f"{name}: {reason}", FAILED)
    if outcome.halted:
        return FAILED
    if outcome.not_begun is not None:
        needed = f"the shortest run left takes about {format_time(outcome.not_begun)}"
        if not (outcome.done or outcome.lost):  # nor would it be another time
            return complain(f"{needed}. Give `--time-limit` more than that.", USAGE)
        console.print(f"{needed}, more than was left of the time limit")
    if outcome.left:
        console.print("stopped early: the same command carries on")
        return STOPPED
    return FAILED if failed else DONE


def read_executor(options: argparse.Namespace) -> Slurm | None:
    """Return how to ask a cluster for tasks; `None` if runs happen here.

    Raises:
        ValueError: If the executor is unknown, cannot be used, or gets options that are not its own.
    """
    given = {
        "--partition": options.partition,
        "--account": options.account,
        "--wall-time": options.wall_time,
        "--sbatch": options.sbatch,
    }
    if options.executor == "local":
        if wrong := [name for name, value in given.items() if value is not None]:
            raise ValueError(f"{wrong[0]} goes with `--executor slurm`. Found `--executor local`.")
        return None
    if options.executor != "slurm":
        raise ValueError(f"Unknown executor {options.executor!r}. Choose from: local, slurm.")
    pairs = [text.partition("=") for text in options.sbatch or ()]
    if wrong := [name for name, sign, value in pairs if not (name.strip("-") and sign and value)]:
        raise ValueError(f"`--sbatch` expects OPTION=VALUE, such as mem=8G. Found {wrong[0]!r}.")
    return Slurm(
        wall_time=3600.0 if options.wall_time is None else options.wall_time,
        partition=options.partition or "",
        account=options.account or "",
        max_running=100 if options.workers is None else options.workers,
        options=tuple((name.lstrip("-"), value) for name, _, value in pairs),
    )


def num_workers(options: argparse.Namespace) -> int:
    """Return how many processes there may be: by default one per core, but a single one on a GPU, where runs are stacked."""
    if options.workers is not None:
        workers: int = options.workers
        return workers
    return 1 if options.device == "cuda" else num_cores()


def with_data(work: Sequence[Work]) -> tuple[list[Work], list[tuple[str, str]]]:
    """Return the work whose data sets are there, and, for each data set that is not, its experiments and the reason.

    Raises:
        DataError: If no work is left.
    """
    # missing data is reported once, here, before any worker starts
    kept, absent = sift_by_data(work, lambda w: w.left)
    if absent and not any(w.left for w in kept):
        raise absent[-1].error
    return kept, [
        (", ".join(dict.fromkeys(w.experiment for w in a.items)), str(a.error)) for a in absent
    ]


def format_time(seconds: float) -> str:
    """Return a time as `--time-limit` takes it: `42s`, `9m`, `1h05m`."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}h{minutes % 60:02d}m" if minutes >= 60 else f"{minutes}m"

"""The verb that looks ahead: what is done, what is missing, what it would cost, and in which order it would run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from repro.campaign import Stage, Work, plan, survey
from repro.cli.choice import read_choice
from repro.cli.columns import make_grid
from repro.cli.outputs import require_writable, write_out
from repro.cli.runs import format_time, num_workers
from repro.cli.shared import DONE, read_runs
from repro.pricing import Cost, Prices

FEW = 30
"""Experiments of which `status` shows every method."""


def show_status(options: argparse.Namespace, console: Console) -> int:
    """Print what is done, what is missing, what it would cost, and in which order it would run."""
    choice = read_choice(options, console)
    workers = num_workers(options)
    if workers < 1:
        raise ValueError(f"`workers` must be at least 1. Found {workers}.")
    if options.json is not None:
        require_writable("--json", options.json)
    runs = read_runs(options, console)
    work = survey(choice.specs, choice.comparisons, runs)
    prices = Prices(runs, options.device_name)
    stages = [s for s in plan(work, choice.studies, prices.of) if s.cost != Cost()]
    total = sum((stage.cost for stage in stages), Cost())
    _show_work(work, prices, f"{options.study} at {options.scale} scale", console)
    if stages:
        _show_queue(stages, console)
        speeds = f"at the speeds of {prices.device}" if prices.device else "without any row"
        if prices.borrowed and not runs.empty:
            speeds = f"at the speeds of other devices, since {prices.device} has no rows"
        more = f", and {total.unknown} runs of unknown cost" if total.unknown else ""
        console.print(
            f"about {total.seconds:.0f} core-seconds {speeds}{more}; "
            f"{format_time(total.wall_clock(workers))} with {workers} workers",
            soft_wrap=True,
        )
    else:
        console.print("nothing is missing")
    if options.json is not None:
        content = {
            "scale": options.scale,
            "missing": sum(len(w.left) for w in work),
            **_as_data(total),
            "workers": workers,
            "wall_seconds": round(total.wall_clock(workers), 1),
            "speeds_of": prices.device,
            "experiments": [_work_as_data(w, prices) for w in work],
            "queue": [
                {
                    "claim": stage.purpose,
                    "experiments": [w.experiment for w in stage.work],
                    "missing": sum(len(w.left) for w in stage.work),
                    **_as_data(stage.cost),
                }
                for stage in stages
            ],
        }
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_out(options.json, text.encode(), console)
    return DONE


def _show_work(work: Sequence[Work], prices: Prices, title: str, console: Console) -> None:
    columns = ("Study", "Experiment", "Method")
    grid = make_grid(
        console, columns, ("Scale",), ("Done", "Missing"), title=title, kept="Experiment"
    )
    grid.add_column("Cost of the missing", justify="right", overflow="fold", min_width=8)
    apart = len(work) <= FEW
    for w in work:
        for method, missing in (w.missing if apart else {"": w.left}).items():
            done = w.done[method] if apart else sum(w.done.values())
            cost = _spell_cost(prices.of(missing)) if missing else ""
            named = method or f"all {len(w.missing)}"
            grid.add_row(w.study, w.experiment, named, w.scale, str(done), str(len(missing)), cost)
    console.print(grid)
    if not apart:
        console.print(f"with `--only`, up to {FEW} experiments are shown method by method")


def _show_queue(stages: Sequence[Stage], console: Console) -> None:
    title = "The queue: cheapest verdict first"
    queue = make_grid(console, ("For claim", "Experiments"), (), ("Missing",), title=title)
    queue.add_column("Cost", justify="right", overflow="fold", min_width=8)
    for stage in stages:
        names = ", ".join(w.experiment for w in stage.work)
        missing = str(sum(len(w.left) for w in stage.work))
        queue.add_row(stage.purpose or "none", names, missing, _spell_cost(stage.cost))
    console.print(queue)


def _spell_cost(cost: Cost) -> str:
    plural = "" if cost.unknown == 1 else "s"
    unknown = f"{cost.unknown} run{plural} of unknown cost" if cost.unknown else ""
    known = format_time(cost.seconds) if cost.seconds or not unknown else ""
    return " and ".join(part for part in (known, unknown) if part)


def _work_as_data(work: Work, prices: Prices) -> dict[str, Any]:
    methods = [
        {
            "method": method,
            "done": work.done[method],
            "missing": len(missing),
            **_as_data(prices.of(missing)),
        }
        for method, missing in work.missing.items()
    ]
    return {
        "study": work.study,
        "experiment": work.experiment,
        "scale": work.scale,
        "methods": methods,
    }


def _as_data(cost: Cost) -> dict[str, float | int]:
    return {"core_seconds": round(cost.seconds, 1), "unknown_cost": cost.unknown}

"""The words of the command line: every verb, its options and its help."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from repro import __version__
from repro.cli.shared import USAGE, words

EPILOG = """\
where things are
  store/                  finished runs, one file each; safe to interrupt, safe to copy, never committed
  store/index/            the finished runs gathered into a few files, to be read fast; rebuilt whenever it is missing
  store/checkpoints/      states of runs under way, removed once they are done
  store/slurm/            what the coordinator and the tasks of a cluster tell each other
  bench/                  what `repro bench` timed on this machine: rows as in store/, and a figure of them
  studies/results/        the published rows, which `repro publish` grows and version control keeps
  figures/build/          every figure as PDF, SVG, PNG, and CSV of the values drawn
  paper/build/            paper.pdf, index.html, claims.json, audit.json, and every table as CSV, Markdown, LaTeX, Typst and HTML
  paper/                  the paper's sources, and what is checked against: verdicts.json, manifest.json

environment
  REPRO_DATA_DIR          folder with MNIST and CIFAR-10; without it they are downloaded into a cache folder
  REPRO_DEBUG             any value: show the traceback behind an error
"""


def named(name: str) -> Callable[..., Any]:
    """Return a function of one of the modules here; importing takes long, so only the module of the verb in use is.

    Args:
        name: Module and function, with a dot between them.

    Returns:
        The function.
    """
    module, _, function = name.partition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(f"repro.cli.{module}"), function)
    return found


_Add: TypeAlias = Callable[..., "_Parser"]
"""Adds a verb: its name, its function, its help, and what else `_add_verb` takes."""


class _Parser(argparse.ArgumentParser):
    configure = ""
    """Function that adds the options when they are asked for."""

    def parse_known_args(self, *arguments: Any, **more: Any) -> Any:
        """Parse, with all options of this verb."""
        if self.configure:
            configure, self.configure = self.configure, ""
            named(configure)(self)
        found, unknown = super().parse_known_args(*arguments, **more)
        if unknown:  # said here, by the parser whose help lists what there is
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> None:  # type: ignore[override]
        """Exit with one line instead of the whole usage."""
        self.exit(USAGE, f"repro: {message}. See `{self.prog} --help`.\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; a verb's options are added when it is asked for."""
    parser = _Parser(
        prog="repro",
        description="Forward gradients against backpropagation: re-run the papers, redraw, judge.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"repro {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add = functools.partial(_add_verb, verbs)
    for add_verbs in (
        _add_redrawing,
        _add_verify,
        _add_run,
        _add_tasks,
        _add_status,
        _add_bench,
        _add_keeping,
    ):
        add_verbs(add)
    return parser


def _add_verb(
    verbs: Any,
    name: str,
    function: str,
    text: str,
    *,
    store: str = "store",
    only_reads: bool = True,
    **more: Any,
) -> _Parser:
    verb: _Parser = verbs.add_parser(
        name,
        help=text,
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **more,
    )
    verb.set_defaults(verb=function)
    if store:
        made = "" if only_reads else ", created if missing"
        verb.set_defaults(default_store=Path(store), only_reads=only_reads)
        verb.add_argument("--store", type=_path, metavar="DIR",
                          help=f"folder of finished runs{made} (default: {store})")  # fmt: skip
    return verb


def _add_redrawing(add: _Add) -> None:
    everything = add(
        "reproduce",
        "redraw.reproduce",
        "Check the published rows, draw every figure and table, judge the claims, audit, build the paper and the page. "
        "If a verdict has changed, the sentences of the paper that rest on it are named, and the paper is not built.",
        aliases=["paper"],
    )
    everything.add_argument(
        "--force", action="store_true", help="build anew even if nothing changed"
    )
    _choose_drawers(everything)
    for name, function, text in (
        ("figures", "redraw.draw_figures", "Draw figures from the rows."),
        ("tables", "redraw.write_tables", "Write tables from the rows."),
    ):
        stage = add(name, function, text)
        stage.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    judged = add(
        "claims",
        "redraw.judge_claims",
        "Judge every claim from the rows, print the verdicts, and end with status 1 if one differs from the committed one or rows "
        "cannot be read.",
    )
    judged.add_argument("--accept", action="store_true",
                        help="write the verdicts of the published rows, leaving the store out, where they are committed: into "
                        "README.md, paper/claims.md and paper/verdicts.json")  # fmt: skip
    add(
        "audit",
        "audit.audit",
        "Say whether a comparison is fair, rule by rule, with the evidence and how to mend it: ours, a paper's, or "
        "anybody's finished search.",
    ).configure = "audit.configure"


def _add_verify(add: _Add) -> None:
    verify = add(
        "verify",
        "verify.verify",
        "Build everything anew from the published rows, compare it byte by byte with paper/manifest.json and name the layer "
        "in which they differ; then run a sample of the published runs again and compare their numbers.",
        store="",
        epilog="example: repro verify --only live --budget 10m --seed 3",
    )
    verify.add_argument("--only", choices=("rebuild", "live"), default="",
                        help="rebuild and compare, which needs no PyTorch, or run a sample again (default: both)")  # fmt: skip
    verify.add_argument("--budget", type=duration, default=45.0, metavar="TIME",
                        help="time the sample may take, estimated from the published rows (default: 45s)")  # fmt: skip
    verify.add_argument("--seed", type=int, default=0, metavar="N",
                        help="which sample (default: 0)")  # fmt: skip
    verify.add_argument("--update", action="store_true",
                        help="write the manifest of this build, to be committed, instead of comparing with it")  # fmt: skip
    _choose_drawers(verify)


def _add_run(add: _Add) -> None:
    run = add(
        "run",
        "runs.run",
        "Run what a study declares and neither the store nor the published rows have, cheapest verdict "
        "first; running it again resumes. Searches go on from their finished trials; store/optuna.journal shows them in "
        "optuna-dashboard.",
        only_reads=False,
        epilog="example: repro run baydin2022 --scale reduced --only mlp-2e-4 --time-limit 30m",
    )
    _choose_runs(run)
    run.add_argument("--workers", type=int, metavar="N",
                     help="training processes, one thread each (default: one per core that this process may use; on cuda one, "
                     "since runs are stacked there); with --executor slurm, how many tasks may run at once (default: 100)")  # fmt: skip
    run.add_argument("--time-limit", type=_time_limit, metavar="TIME",
                     help="stop cleanly after this time, e.g. 90s, 9m, 2h (exit status 3), and start no "
                     "run that would not end in time, as estimated from the rows of this device; if there are none, "
                     "any run is started")  # fmt: skip
    _choose_checkpoints(run)
    cluster = run.add_argument_group(
        "on a cluster",
        "SLURM array jobs, one group of runs per task. The store has to be on a file system that all nodes "
        "share. The coordinator only submits and watches: stop it or lose it, and the same command finds what it "
        "submitted. A task that nears its wall time saves a checkpoint and queues again.",
    )
    cluster.add_argument("--executor", default="local", metavar="WHERE",
                         help="local (this machine) or slurm (default: local)")  # fmt: skip
    cluster.add_argument("--partition", metavar="NAME", help="where tasks run")
    cluster.add_argument("--account", metavar="NAME", help="account that they are charged to")
    cluster.add_argument("--wall-time", type=duration, metavar="TIME",
                         help="time limit of a task (default: 1h); a longer run takes several tasks")  # fmt: skip
    cluster.add_argument("--sbatch", action="append", metavar="OPTION=VALUE",
                         help="any other long option of sbatch, e.g. mem=8G or qos=long; repeatable")  # fmt: skip


def _add_tasks(add: _Add) -> None:
    written = add(
        "tasks",
        "tasks.write_tasks",
        "Write the runs that can start now as files, one group each, for `repro worker` to run under GNU parallel "
        "or any scheduler. Of a search that is its next batch: once it has run, write again, until nothing is "
        "missing.",
        only_reads=False,  # a new store is one in which everything is missing
        epilog="example: repro tasks baydin2022 --to tasks && parallel repro worker ::: tasks/*.json",
    )
    _choose_runs(written)
    written.add_argument("--to", type=_path, required=True, metavar="DIR",
                         help="folder for the files, created if missing")  # fmt: skip
    worker = add(
        "worker",
        "tasks.work",
        "Run what is missing from files that `repro tasks` wrote, in this process. If it is stopped (SIGINT, SIGTERM, "
        "SIGUSR1, SIGUSR2 or --time-limit) or killed, the same command carries on from the last checkpoint; "
        "running it twice gives the same rows.",
        only_reads=False,
        epilog="example: srun repro worker tasks/0007.json --store /shared/store",
    )
    worker.add_argument(
        "files", nargs="+", type=_path, metavar="SPECS.json", help="files of groups"
    )
    _choose_device(worker)
    worker.add_argument("--time-limit", type=_time_limit, metavar="TIME",
                        help="save a checkpoint and stop after this time (exit status 3)")  # fmt: skip
    _choose_checkpoints(worker)


def _add_status(add: _Add) -> None:
    status = add(
        "status",
        "status.show_status",
        "Say what is done, what is missing, what it would cost, and in which order it would run.",
    )
    _choose_runs(status)
    status.add_argument("--workers", type=int, metavar="N",
                        help="training processes for which to estimate the time (default: as `run`)")  # fmt: skip
    status.add_argument("--device-name", default="", metavar="NAME",
                        help="estimate from the rows of this device (default: that of the latest row)")  # fmt: skip
    status.add_argument("--json", type=_path, metavar="FILE",
                        help="write all of it for scripts, method by method; `missing` is 0 when everything is done; - for standard "
                        "output, which then holds nothing else: the tables go to standard error")  # fmt: skip


def _add_bench(add: _Add) -> None:
    bench = add(
        "bench",
        "bench.bench",
        "Time every step on this machine, next to the work it cannot avoid and to a plain PyTorch loop, and check "
        "the package's bars: the speeds it promises. Leave the machine alone meanwhile.",
        store="bench",
        only_reads=False,
        epilog="example: repro bench --only steps-mlp,two-processes-mlp --strict",
    )
    bench.add_argument("--scale", default="reduced", metavar="SCALE",
                       help="smoke (seconds), reduced (minutes), full (the largest network at its size); "
                       "default: reduced")  # fmt: skip
    bench.add_argument("--only", type=_names, default=(), metavar="A,B",
                       help="only these experiments of the study `speed`, separated by commas")  # fmt: skip
    _choose_device(bench)
    bench.add_argument("--threads", type=int, default=1, metavar="N",
                       help="threads of a step; where several processes are timed at once, each keeps to one "
                       "(default: 1)")  # fmt: skip
    bench.add_argument("--bookkeeping", type=int, metavar="N",
                       help="instead of steps, time `status`, `publish` and what `reproduce` checks first, with N finished "
                       "runs made up for it; the bounds are for 100000")  # fmt: skip
    bench.add_argument("--strict", action="store_true", help="exit status 1 if a bar is missed")


def _add_keeping(add: _Add) -> None:
    add("list", "inventory.show_list", "List studies, experiments, methods and scales.", store="")
    publish = add(
        "publish",
        "publish.publish_rows",
        "Merge finished runs into the published rows (studies/results) and write their verdicts to README.md, "
        "paper/claims.md and paper/verdicts.json, or write the runs as a few small files for another checkout to merge.",
        epilog="example: repro publish --to rows there, and repro publish --from rows here",
    )
    ways = publish.add_mutually_exclusive_group()
    ways.add_argument("--to", type=_path, metavar="DIR",
                      help="write the store's finished rows into this folder instead, two files a study")  # fmt: skip
    ways.add_argument("--from", type=_path, nargs="+", metavar="DIR", dest="folders",
                      help="merge folders that --to wrote, instead of the store")  # fmt: skip
    ways.add_argument("--retire", action="store_true",
                      help="also take out published rows of plans that their study has since changed or dropped, and "
                      "reported runs that are superseded by those of a better trial")  # fmt: skip
    data = add(
        "data",
        "inventory.verify_data",
        "Find or download data sets and verify their content.",
        store="",
    )
    data.add_argument(
        "names", nargs="*", metavar="NAME", help="mnist, cifar10, digits (default: all)"
    )


def _choose_drawers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_num_workers, default=None, metavar="N",
                        help="processes that draw (default: one per core)")  # fmt: skip


def _choose_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")


def _choose_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="a study's name, or `all`; see `repro list`")
    parser.add_argument("--scale", default="reduced", metavar="SCALE",
                        help="smoke (seconds), reduced (hours on a laptop), full (as published); "
                        "default: reduced")  # fmt: skip
    for name, what, more in (
        ("arm", "arms", ""), ("only", "experiments", ""),
        ("method", "methods", "; no searches, which take all methods of a comparison"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=_names, default=(), metavar="A,B",
                            help=f"only these {what}, separated by commas{more}")  # fmt: skip
    _choose_device(parser)


def _choose_checkpoints(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint-every", type=duration, default=120.0, metavar="TIME",
                        help="save runs under way this often, to carry on from there; 0 for never "
                        "(default: 2m)")  # fmt: skip


def _num_workers(text: str) -> int:
    with contextlib.suppress(ValueError):
        if (number := int(text)) > 0:
            return number
    raise argparse.ArgumentTypeError(f"expected a number of processes from 1, found {text!r}")


def _names(text: str) -> tuple[str, ...]:
    if found := tuple(words(text)):
        return found
    # a variable of the shell that is not set would be all there is
    raise argparse.ArgumentTypeError(f"expected names, separated by commas, found {text!r}")


def _path(text: str) -> Path:
    if not text:  # a variable of the shell that is not set would be the folder one is in
        raise argparse.ArgumentTypeError("expected a name, found nothing")
    return Path(text)


def duration(text: str) -> float:
    """Return the seconds of a time such as `1h30m`, as an option has it.

    Args:
        text: Hours, minutes and seconds, each with its letter; seconds alone may go without.

    Returns:
        Seconds.

    Raises:
        argparse.ArgumentTypeError: If it is no such time.
    """
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not text or match is None:
        raise argparse.ArgumentTypeError(
            f"expected a time such as 90s, 9m or 1h30m, found {text!r}"
        )
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds)


def _time_limit(text: str) -> float:
    seconds = duration(text)
    if not seconds:  # which the same command would not carry on from
        raise argparse.ArgumentTypeError(f"expected a time of at least 1s, found {text!r}")
    return seconds

"""The command line: one verb a stage, teaching help, one clear line for anything a user can cause.

Exit status: 0 done, 1 a check failed, 2 bad usage, 3 stopped early with everything finished so far kept.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table as Grid

import studies
from repro import __version__
from repro.protocol import SCALES, Classification, Comparison, RunSpec, Study, comparisons, expand
from repro.results import (
    RejectedFileError,
    Results,
    Store,
    load,
    publish,
    tabulate_facts,
    write_whole,
)

if TYPE_CHECKING:
    import pandas as pd

    from repro.claims import Judgement

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 3

EPILOG = """\
where things are
  store/                  finished runs, one file each; safe to interrupt, safe to copy, never committed
  studies/results/        the published rows, which `repro publish` grows and version control keeps
  figures/build/          every figure as PDF, SVG, PNG, and CSV of the values drawn
  paper/build/            claims.json and every table as CSV, Markdown, LaTeX and Typst

environment
  REPRO_DATA_DIR          folder with MNIST and CIFAR-10; without it they are downloaded into a cache folder
  REPRO_DEBUG             any value: show the traceback behind an error
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Words of the command line; those of the process by default.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    # into a file or a pipe, tables get room; a terminal has its own width
    console = Console(width=None if sys.stdout.isatty() else 140)
    verb: Callable[[argparse.Namespace, Console], int] = options.verb
    try:
        return verb(options, console)
    except KeyboardInterrupt:
        return _complain("stopped; finished runs are kept", STOPPED)
    except ModuleNotFoundError as error:
        _reraise_for_debugging()
        missing = error.name or "a module"
        return _complain(
            f"this needs {missing}, which is not installed. Install the training extra: "
            "python -m pip install -e '.[train]' -c constraints.txt",
            USAGE,
        )
    except (ValueError, OSError) as error:
        _reraise_for_debugging()
        return _complain(str(error), USAGE)


def _reraise_for_debugging() -> None:
    if os.environ.get("REPRO_DEBUG"):
        raise  # noqa: PLE0704 - called from an except clause


def _complain(message: str, status: int) -> int:
    sys.stderr.write(f"repro: {' '.join(message.split())}\n")
    return status


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """Exit with one line instead of the whole usage."""
        self.exit(USAGE, f"repro: {message}. See `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="repro",
        description="Forward gradients against backpropagation: re-run the papers, redraw, judge.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"repro {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(
        name: str, function: Callable[[argparse.Namespace, Console], int], text: str, **more: Any
    ) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name, help=text, description=text, formatter_class=parser.formatter_class, **more
        )
        sub.set_defaults(verb=function)
        sub.add_argument("--store", type=Path, default=Path("store"), metavar="DIR",
                         help="folder of finished runs (default: store)")  # fmt: skip
        return sub

    everything = verb(
        "reproduce",
        _reproduce,
        "Check the published rows, redraw every figure and table, judge the claims.",
    )
    everything.add_argument("--force", action="store_true", help="redraw even if nothing changed")
    for name, function, text in (
        ("figures", _figures, "Draw figures from the rows."),
        ("tables", _tables, "Write tables from the rows."),
    ):
        stage = verb(name, function, text)
        stage.add_argument("names", nargs="*", metavar="NAME", help="only these (default: all)")
    verb("claims", _claims, "Judge every claim from the rows and print the verdicts.")

    run = verb(
        "run",
        _run,
        "Run what a study declares and neither the store nor the published rows have; running it "
        "again resumes. Searches go on from their finished trials; store/optuna.journal shows them in "
        "optuna-dashboard.",
        epilog="example: repro run baydin2022 --scale reduced --only mlp-2e-4 --time-limit 30m",
    )
    _choose_runs(run)
    run.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N",
                     help="training processes, one thread each (default: one a core)")  # fmt: skip
    run.add_argument("--time-limit", type=_duration, metavar="TIME",
                     help="stop cleanly after this time, e.g. 90s, 9m, 2h (exit status 3)")  # fmt: skip
    status = verb("status", _status, "Say what is done, what is missing, and what it would cost.")
    _choose_runs(status)
    verb("list", _list, "List studies, experiments, methods and scales.")
    verb("publish", _publish, "Merge finished runs into the published rows (studies/results).")
    data = verb("data", _data, "Find or download data sets and verify their content.")
    data.add_argument(
        "names", nargs="*", metavar="NAME", help="mnist, cifar10, digits (default: all)"
    )
    return parser


def _choose_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", help="a study's name, or `all`; see `repro list`")
    parser.add_argument("--scale", default="reduced", metavar="SCALE",
                        help="smoke (seconds), reduced (hours on a laptop), full (as published); "
                        "default: reduced")  # fmt: skip
    for name, what in (
        ("arm", "arms"), ("only", "experiments"), ("method", "methods"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", default="", metavar="A,B",
                            help=f"only these {what}, separated by commas")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")


def _duration(text: str) -> float:
    match = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not text or match is None:
        raise argparse.ArgumentTypeError(
            f"expected a time such as 90s, 9m or 1h30m, found {text!r}"
        )
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(3600 * hours + 60 * minutes + seconds)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _specs(options: argparse.Namespace) -> tuple[RunSpec, ...]:
    return tuple(
        spec
        for study in _chosen_studies(options)
        for spec in expand(
            study,
            options.scale,
            arms=_words(options.arm),
            only=_words(options.only),
            methods=_words(options.method),
            device=options.device,
        )
    )


def _comparisons(options: argparse.Namespace) -> tuple[Comparison, ...]:
    if _words(options.method):
        return ()  # a search takes all methods of its comparison
    return tuple(
        comparison
        for study in _chosen_studies(options)
        for comparison in comparisons(
            study, options.scale, arms=_words(options.arm), only=_words(options.only)
        )
    )


def _chosen_studies(options: argparse.Namespace) -> list[Study]:
    names = studies.names() if options.study == "all" else (options.study,)
    return [studies.get(name) for name in names]


def _all_studies() -> tuple[Study, ...]:
    return tuple(studies.get(name) for name in studies.names())


def _results(options: argparse.Namespace, console: Console) -> Results:
    results = load(studies.RESULTS, options.store, tabulate_facts(_all_studies()))
    for problem in results.problems:
        console.print(f"[yellow]skipped[/] {problem}", soft_wrap=True, highlight=False)
    return results


# --- redraw -------------------------------------------------------------------------------------------------


def _reproduce(options: argparse.Namespace, console: Console) -> int:
    started = time.monotonic()
    fingerprint = _fingerprint(options.store)
    stamp, verdicts = Path("figures/build/.fingerprint"), Path("paper/build/verdicts.txt")
    made = (stamp, verdicts, Path("paper/build/claims.json"))
    if not options.force and all(map(Path.exists, made)) and stamp.read_text() == fingerprint:
        console.out(verdicts.read_text(), highlight=False)
        console.print("nothing changed since the last redraw (--force redraws)")
        status = DONE
    else:
        results = _results(options, console)
        _draw(results, console)
        _write_tables(results, console)
        judgements = _judge(results)
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
        "figures: figures/build  tables: paper/build/tables  verdicts: paper/build/claims.json\n"
        f"{time.monotonic() - started:.1f} s",
        soft_wrap=True,
    )
    return status


def _fingerprint(store: Path) -> str:
    # everything a figure can depend on: rows, the code that draws, and the libraries it draws with
    root = Path(__file__).resolve().parent.parent
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


def _judge(results: Results) -> tuple[Judgement, ...]:
    from repro import claims

    return tuple(j for study in _all_studies() for j in claims.judge(study, results))


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


def _figures(options: argparse.Namespace, console: Console) -> int:
    _draw(_results(options, console), console, options.names)
    return DONE


def _tables(options: argparse.Namespace, console: Console) -> int:
    _write_tables(_results(options, console), console, options.names)
    return DONE


def _claims(options: argparse.Namespace, console: Console) -> int:
    judgements = _judge(_results(options, console))
    _write_claims(judgements)
    _show(judgements, console)
    return DONE


# --- runs ---------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace, console: Console) -> int:
    # a wrong name is said before PyTorch is asked for
    specs, searched = _specs(options), _comparisons(options)

    from repro import datasets, execution
    from repro.progress import Display

    execution.check_device(options.device)
    store = Store(options.store)
    published = load(studies.RESULTS).runs
    known = set(published["key"])
    problems = [s.problem for s in specs if s.key not in known and s.key not in store]
    problems += [comparison.plan.problem for comparison in searched]
    for name in sorted({p.dataset for p in problems if isinstance(p, Classification)}):
        datasets.load(name)  # missing data is said once, here, before any worker starts
    with Display(console) as display:
        outcome = execution.search_and_execute(
            specs,
            searched,
            store,
            published=published,
            device=options.device,
            workers=options.workers,
            time_limit=options.time_limit,
            on_start=display.start,
            on_event=display.update,
        )
    console.print(
        f"{outcome.done} runs done ({outcome.diverged} diverged), {outcome.cached} were done before, "
        f"{outcome.left} left; {outcome.seconds:.0f} s; finished runs are in {options.store}"
    )
    if outcome.left:
        console.print("stopped early: the same command carries on")
        return STOPPED
    return DONE


def _status(options: argparse.Namespace, console: Console) -> int:
    from repro.pricing import price

    specs = _specs(options)
    results = _results(options, console)
    done = set(results.runs["key"])
    grid = Grid(title=f"{options.study} at {options.scale} scale")
    for header in ("Study", "Experiment", "Method", "Scale"):
        grid.add_column(header, no_wrap=header == "Experiment")
    for header in ("Done", "Missing", "Cost of the missing"):
        grid.add_column(header, justify="right")
    rows: dict[tuple[str, str, str, str], list[RunSpec]] = {}
    for spec in specs:
        identity = (spec.study, spec.experiment, spec.method.name, str(spec.scale))
        rows.setdefault(identity, []).append(spec)
    # by row: how many runs are done, and a run like each that is missing
    state = {
        identity: (sum(s.key in done for s in members), [s for s in members if s.key not in done])
        for identity, members in rows.items()
    }
    for comparison in _comparisons(options):
        for method, like in zip(
            comparison.experiment.methods, comparison.typical_runs(), strict=True
        ):
            identity = (like.study, like.experiment, method.name, str(like.scale))
            finished = _count(results.runs, *identity)
            state[identity] = finished, [like] * max(0, comparison.runs_of_a_method - finished)
    total, unpriced = 0.0, 0
    for identity, (finished, missing) in state.items():
        seconds = [price(spec, results.runs) for spec in missing]
        known = [value for value in seconds if value is not None]
        total, unpriced = total + sum(known), unpriced + len(seconds) - len(known)
        cost = "" if not missing else f"{sum(known):.0f} s" if known else "not measured yet"
        grid.add_row(*identity, str(finished), str(len(missing)), cost)
    console.print(grid)
    more = f", and {unpriced} runs of unknown cost" if unpriced else ""
    console.print(f"about {total:.0f} core-seconds at the speeds of the rows{more}")
    return DONE


def _count(runs: pd.DataFrame, study: str, experiment: str, method: str, scale: str) -> int:
    wanted = {"study": study, "experiment": experiment, "method": method, "scale": scale}
    return int((runs[list(wanted)] == list(wanted.values())).all(axis=1).sum())


def _list(options: argparse.Namespace, console: Console) -> int:
    del options
    for study in _all_studies():
        console.print(f"[bold]{study.name}[/] {study.citation}")
        grid = Grid()
        for header in ("Experiment", "Arm", "Methods", *(f"Runs, {scale}" for scale in SCALES)):
            grid.add_column(header, overflow="fold")
        for e in study.experiments:
            counts = [str(len(e.methods) * e.runs_of_a_method(scale)) for scale in SCALES]
            grid.add_row(e.name, e.arm, ", ".join(m.name for m in e.methods), *counts)
        console.print(grid)
    return DONE


def _publish(options: argparse.Namespace, console: Console) -> int:
    try:
        added, skipped = publish(options.store, studies.RESULTS)
    except RejectedFileError as error:
        return _complain(f"{error} Nothing was published.", FAILED)
    for problem in skipped:
        console.print(f"[yellow]skipped[/] {problem}", soft_wrap=True, highlight=False)
    for study, count in added.items():
        console.print(f"{study}: {count} new rows in {studies.RESULTS.name}")
    if not added:
        console.print("nothing new to publish")
    readme = Path("README.md")
    if readme.exists():
        from repro import claims

        published = load(studies.RESULTS, None, tabulate_facts(_all_studies()))
        text = readme.read_text(encoding="utf-8")
        write_whole(readme, claims.embed(text, _judge(published)).encode())
    return FAILED if skipped else DONE


def _data(options: argparse.Namespace, console: Console) -> int:
    from repro import datasets

    for name in options.names or datasets.NAMES:
        dataset = datasets.load(name)
        shape = " x ".join(str(side) for side in dataset.train_images.shape[1:])
        console.print(
            f"{name}: {len(dataset.train_labels)} training and {len(dataset.test_labels)} test images, "
            f"{shape}, {dataset.num_classes} classes, content verified"
        )
    return DONE

"""The verb `audit`: is a comparison fair? Ours, the papers', or anybody's finished search."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from repro import tables
from repro.audit import (
    declared,
    mapping,
    optuna_files,
    ours,
    report,
    several_files,
    standing,
    stated,
)
from repro.audit.checklists import fill
from repro.audit.evidence import NONE, Evidence
from repro.audit.findings import FAULTS
from repro.audit.report import Audited
from repro.audit.rules import RULES
from repro.cli.outputs import require_writable, write_out
from repro.cli.shared import DONE, FAILED, STANDING, all_studies, read_results, tell, words
from repro.protocol import choose
from repro.results import Results, write_whole

COLOURS = {
    "pass": "green",
    "warn": "yellow",
    "fail": "red",
    "unknown": "dim",
    "not applicable": "dim",
}
SHOWN = 3
"""Different answers of one rule that are shown for a paper of many comparisons."""
LONGEST = 400
"""Characters of a text that are shown; `--json` has all of them."""

EPILOG = """\
what can be audited
  repro audit                       our tuned comparisons, and the papers' as they were published; the exit
                                    status is that of ours: the papers' faults are what there is to see
  repro audit rike2022              a paper, from what it states; or one comparison of it: rike2022/nn-sgd
  repro audit ours                  our own tuned comparisons, from their rows
  repro audit --optuna sqlite:///x.db          somebody's Optuna studies, as the methods; or a journal file
  repro audit --optuna x.db --map method=opt   one study, its methods told apart by the hyperparameter `opt`
  repro audit --csv trials.csv --map method=opt,score=val_loss,params=lr:momentum,seed=seed
                                    a table of trials: .csv, .tsv, .parquet, .jsonl, also .csv.gz; files are only read
  repro audit --csv sgd.csv adam.csv --map score=val_loss
                                    a file a method, where each was searched by itself
  repro audit --csv log.csv --map method=opt,score=val_loss,step=_step,number=Name
                                    a log, in which a run has many rows: its last one counts
  repro audit --csv final.csv --reported       a table of final results: all rows are reported runs
  repro audit rike2022 --json - | jq .comparisons[].counts
                                    with - standard output holds the JSON alone; what is for people goes to standard error

keys of --map
  {keys}

rules
  {rules}
  each answers pass, warn, fail, unknown where the evidence does not say, or not applicable where the question does not
  arise; --explain RULE tells why it asks

exit status: 0 nothing fails, 1 something does (or warns, with --fail-on warn), 2 bad usage; a finding against one of our
comparisons for which paper/audit.toml says why it stands is shown and does not count
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.epilog = EPILOG.format(
        keys="\n  ".join(f"{key:<12}{text}" for key, text in mapping.KEYS.items()),
        rules=", ".join(RULES),
    ).replace("%", "%%")
    parser.add_argument("targets", nargs="*", metavar="TARGET",
                        help="a paper, PAPER/COMPARISON, or `ours` (default: all)")  # fmt: skip
    parser.add_argument("--optuna", nargs="+", default=[], metavar="URL",
                        help="Optuna storages: sqlite:///FILE, or a journal; read only")  # fmt: skip
    parser.add_argument("--studies", default="", metavar="A,B",
                        help="only these studies of the storages, separated by commas")  # fmt: skip
    parser.add_argument("--csv", nargs="+", type=Path, default=[], metavar="FILE",
                        help="tables of trials, one row a run; without a column of methods, a file a method; read only")  # fmt: skip
    parser.add_argument("--map", action="append", default=[], metavar="KEY=COLUMN,...",
                        help="what the columns or attributes are called in the file; repeatable")  # fmt: skip
    better = parser.add_mutually_exclusive_group()
    for option, which in (("--maximise", "larger"), ("--minimise", "smaller")):
        better.add_argument(option, dest="maximise", action="store_const", const=option == "--maximise",
                            help=f"{which} scores are better (with --csv)")  # fmt: skip
    parser.add_argument(
        "--reported",
        action="store_true",
        help="all rows are reported runs, none a trial of a search",
    )
    parser.add_argument("--fact", action="append", default=[], metavar="[METHOD:]QUANTITY=VALUE",
                        help="what else is known of a foreign search, or of one of its methods, e.g. 'selection split=validation', "
                        "'adam: origin of lr=no search'")  # fmt: skip
    parser.add_argument(
        "--facts", action="store_true", help="list what --fact may state, and in which words"
    )
    parser.add_argument(
        "--explain", metavar="RULE", help="say what a rule asks, why, and after whom"
    )
    parser.add_argument("--fail-on", choices=("fail", "warn"), default="fail",
                        help="what makes the exit status 1 (default: fail)")  # fmt: skip
    parser.add_argument(
        "--checklists", action="store_true", help="print the filled checklists, too"
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="write all findings with their numbers; - for standard output, as below",
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write the findings for a review, likewise"
    )


def audit(options: argparse.Namespace, console: Console) -> int:
    """Audit what was asked for, print and write the findings."""
    if options.facts:
        return _list_facts(console)
    if options.explain:
        return _explain(options.explain, console)
    _check_outputs(options)
    foreign, stands = _foreign(options), standing.NOTHING_STANDS
    if foreign is not None:
        audited = [report.audit(foreign)]
        judged = audited
    else:
        chosen = _chosen(read_results(options.store, console), options.targets)
        audited = [report.audit(each) for each in chosen]
        judged = [a for a in audited if options.targets or a.evidence.origin == "ours"]
        stands = standing.read_standing(STANDING)
    for group in dict.fromkeys(each.group for each in audited):
        _show([each for each in audited if each.group == group], group, console)
    if options.checklists:
        for each in audited:
            _show_checklists(each, console)
    for path, text in (
        (options.json, report.to_json),
        (options.markdown, report.markdown),
    ):
        if path is not None:
            write_out(path, text(audited).encode(), console)
    told, gone = standing.explained(judged, stands)
    for line in (*told, *gone):
        tell(line, console)
    return FAILED if gone or standing.has_findings(judged, options.fail_on, stands) else DONE


def _check_outputs(options: argparse.Namespace) -> None:
    """Refuse before the report what cannot be written after it, or would replace what is read."""
    outputs = [(f"--{name}", getattr(options, name)) for name in ("json", "markdown")]
    outputs = [(option, path) for option, path in outputs if path is not None]
    for option, path in outputs:
        if path.exists() and any(path.samefile(read) for read in _read(options)):
            raise ValueError(f"{path} is what is audited, and is only read. Write to another file.")
        require_writable(option, path)
    if len(outputs) == 2 and (outputs[0][1].resolve() == outputs[1][1].resolve()):
        raise ValueError(
            f"`--json` and `--markdown` expect a file each. Found {outputs[1][1]} for both."
        )


def _read(options: argparse.Namespace) -> list[Path]:
    """Return the files of others that are read."""
    given = [*options.optuna, *options.csv]
    paths = [Path(str(name).removeprefix("sqlite:///")) for name in given]
    return [path for path in paths if path.exists()]


def everything(results: Results) -> list[Audited]:
    """Return the audit of our finished tuned comparisons, then of every comparison of the papers."""
    mine = (each for study in all_studies() for each in ours.comparisons(study, results))
    return [report.audit(each) for each in (*mine, *_published())]


def _published() -> Iterator[Evidence]:
    for study in all_studies():
        yield from declared.comparisons(study.name, study.facts)


def write(audited: Sequence[Audited], folder: Path) -> None:
    """Write `audit.json`, and the tables of the audit in `tables`.

    Args:
        audited: The comparisons.
        folder: Where; made if missing.
    """
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    write_whole(folder / "audit.json", report.to_json(audited).encode())
    tables.write(report.overview(audited), folder / "tables")


def _foreign(options: argparse.Namespace) -> Evidence | None:
    if options.optuna and options.csv:
        raise ValueError("Give either `--optuna` or `--csv`. Found both.")
    if not options.optuna and not options.csv:
        for name in ("map", "fact", "studies", "maximise", "reported"):
            if getattr(options, name) not in (None, False, "", []):
                given = _direction(options) if name == "maximise" else f"--{name}"
                raise ValueError(f"`{given}` belongs to `--optuna` or `--csv`. Found neither.")
        for target in options.targets:
            if Path(target).suffix and Path(target).is_file():
                raise ValueError(
                    f"A file needs an option that says what it is: `--csv {target}` for a table of trials, `--optuna {target}` for a "
                    "storage. Found neither."
                )
        return None
    if options.map and (pairs := [target for target in options.targets if "=" in target]):
        raise ValueError(
            f"`--map` expects KEY=COLUMN pairs separated by commas, or each after a `--map` of its own, and in quotes where one "
            f"has a blank. Found {pairs[0]!r} after a blank."
        )
    if options.targets:
        raise ValueError(
            f"A file is audited by itself. Found the target {options.targets[0]!r} beside it."
        )
    columns, facts = mapping.parse_map(options.map), stated.parse_facts(options.fact)
    if options.optuna:
        if options.maximise is not None:
            raise ValueError(
                f"An Optuna study says itself whether it maximises. Leave `{_direction(options)}` out."
            )
        return optuna_files.from_storages(
            options.optuna, columns, words(options.studies), facts, reported=options.reported
        )
    if options.studies:
        raise ValueError("`--studies` belongs to `--optuna`. A table has methods: leave it out.")
    if beside := [path for path in options.csv if not path.suffix and not path.exists()]:
        raise ValueError(
            f"A file is audited by itself. Found the target {str(beside[0])!r} beside it."
        )
    return several_files.from_files(
        options.csv, columns, maximise=options.maximise, reported=options.reported, facts=facts
    )


def _direction(options: argparse.Namespace) -> str:
    return "--maximise" if options.maximise else "--minimise"


def _chosen(results: Results, targets: Sequence[str]) -> list[Evidence]:
    """Return the evidence of `targets`, and read no other of our own, which takes most of the time."""
    known: list[tuple[set[str], Callable[[], Evidence]]] = [
        ({"ours", *_names(name)}, read)
        for study in all_studies()
        for name, read in ours.finished(study, results).items()
    ]
    for each in _published():
        paper = each.name.split("/", maxsplit=1)[0]
        known.append(({paper, *_names(each.name)}, functools.partial(_same, each)))
    every = sorted(set().union(*(names for names, _ in known)))
    wanted = set(choose(every, targets, "comparison", "repro audit"))
    return [read() for names, read in known if wanted & names]


def _names(name: str) -> tuple[str, str]:
    """Return what a comparison is called: with its scale, and without."""
    return name, name.split(" (", maxsplit=1)[0]


def _same(each: Evidence) -> Evidence:
    return each


def _show(audited: Sequence[Audited], title: str, console: Console) -> None:
    single = len(audited) == 1
    name = audited[0].evidence.name if single else f"{title}: {len(audited)} comparisons"
    grid = Grid(title=f"Is it fair? {escape(name)}", show_lines=True)
    for header in ("Rule", "Status", "Found", "Mend"):
        grid.add_column(header, overflow="fold", max_width=40 if header == "Mend" else None)
    lines = report.lines(audited)
    for rule in RULES.values():
        of_rule = [line for line in lines if line.rule.name == rule.name]
        worst = of_rule[0].status
        told = [line for line in of_rule if line.status == worst]
        texts = [
            line.text
            if single
            else f"[bold]{escape(_few(line.comparisons))}[/] {_plain(line.text)}"
            for line in told[: SHOWN if worst in FAULTS else 1]
        ]
        if worst in FAULTS and len(told) > SHOWN:
            texts.append(f"... and {len(told) - SHOWN} more, see --json")
        count = sum(len(line.comparisons) for line in told)
        spared = sum(len(line.comparisons) for line in of_rule if line.status == "not applicable")
        label = worst if single else f"{worst}\n{count} of {len(audited)}"
        if spared and worst != "not applicable":
            label += f"\nnot applicable\n{spared} of {len(audited)}"
        mend = rule.mend if worst in FAULTS else ""
        shown = _plain(texts[0]) if single else "\n".join(texts)
        grid.add_row(rule.name, f"[{COLOURS[worst]}]{label}[/]", shown, mend)
    console.print(grid)
    for each in audited:
        for note in each.evidence.notes:
            tell(f"note: {note}", console)
    counts = {s: sum(f.status == s for each in audited for f in each.findings) for s in COLOURS}
    console.print("  ".join(f"{status}: {count}" for status, count in counts.items()))


def _plain(text: str) -> str:
    return escape(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more:" if len(names) > SHOWN else ":"
    )


def _show_checklists(each: Audited, console: Console) -> None:
    grid = Grid(title=f"Checklists, filled from {escape(each.evidence.name)}")
    for header in ("Checklist", "Item", "Answer", "Source"):
        grid.add_column(header, overflow="fold")
    for answer in fill(each.evidence):
        text = _plain(answer.text) if answer.text else "[red]blank[/]"
        grid.add_row(answer.checklist, answer.item, text, _plain(", ".join(answer.sources[:2])))
    console.print(grid)


def _list_facts(console: Console) -> int:
    grid = Grid(title="What --fact may state; * is the name of a hyperparameter or setting")
    for header in ("Quantity", "Value", "Meaning"):
        grid.add_column(header, overflow="fold")
    for quantity, (expected, meaning) in stated.quantities().items():
        grid.add_row(quantity, expected, meaning.replace("`", ""))
    console.print(grid, highlight=False)
    return DONE


def _explain(name: str, console: Console) -> int:
    (chosen,) = choose(RULES, [name], "rule", "repro audit --help")
    rule = RULES[chosen]
    for label, text in (
        ("rule", rule.name),
        ("asks", rule.question),
        ("answers", rule.threshold),
        ("why", rule.why),
        ("after", rule.source),
        ("mend", rule.mend),
        ("unknown", f"if this is not in the evidence: {rule.needs}"),
        *(("not applicable", f"if the evidence says `{q}`: {NONE}") for q in rule.presumes),
    ):
        console.print(f"{label + ':':<16}{text}", highlight=False, markup=False)
    return DONE

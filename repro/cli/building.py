"""The build: from rows to figures, tables, verdicts, the paper and the page.

A figure is selected again only if rows, its code or a library changed, and drawn again only if its values, its
code or a library did; the paper and the page likewise. Figures are drawn in processes of their own, one a core.
"""

from __future__ import annotations

import dataclasses
import io
import json
import multiprocessing
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from repro import claims, tables
from repro.audit import report
from repro.claims import Judgement
from repro.cli import audit
from repro.cli.grid import show_verdicts
from repro.cli.shared import all_studies, judge
from repro.protocol import experiments_of
from repro.report import completeness, digests, page, paper, provenance, verdicts
from repro.report.paper import Figure, Listed
from repro.results import Results, write_whole

FIGURES, BUILD = Path("figures/build"), Path("paper/build")
"""Where figures, and everything else, is built: relative to the folder of the build."""
SOURCES = digests.ROOT / "paper"
"""The paper's own sources."""
SUFFIXES = ("csv", "pdf", "svg", "png")


@dataclasses.dataclass(frozen=True)
class Built:
    """What a build gave.

    Attributes:
        judgements: The verdicts.
        figures: The figures, by name.
        drawn: Names of those that were drawn anew.
        not_run: One line for everything that shows "not run" somewhere.
        stale: One line for every sentence of the paper that its claims no longer bear; the paper was not built then.
        pdf: The paper.
        page: The page.
    """

    judgements: tuple[Judgement, ...]
    figures: Mapping[str, Figure]
    drawn: tuple[str, ...]
    not_run: tuple[str, ...]
    stale: tuple[str, ...]
    pdf: Path
    page: Path


def build(
    results: Results,
    rows: str,
    root: Path,
    *,
    workers: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Built:
    """Build everything that is not up to date.

    Args:
        results: The tables.
        rows: Digest of their rows.
        root: Folder that gets `figures/build` and `paper/build`.
        workers: Processes that draw; one a core by default, 1 for this one.
        say: Told what is going on.

    Returns:
        What was built.

    Raises:
        ValueError: If the paper does not compile.
    """
    (root / BUILD / "tables").mkdir(parents=True, exist_ok=True)
    cores = workers or os.cpu_count() or 1
    drawing = _Drawing(results, rows, root / FIGURES, cores)
    with drawing:
        say("judging claims")
        judgements = judge(results)
        listed = _write_tables(results, rows, root / BUILD / "tables")
        say("auditing")
        audited = audit.everything(results)
        audit.write(audited, root / BUILD)
        ran = completeness.table(all_studies(), results.runs)
        for done, total in drawing.wait():
            say(f"drawing figures: {done} of {total}")
    shown = {
        (study.name, claim.number): drawing.showing(experiments_of(study, claim))
        for study in all_studies()
        for claim in study.claims
    }
    headlines = verdicts.read_headlines(SOURCES / "headlines.toml")
    written = (
        verdicts.counts_table(judgements),
        verdicts.headlines_table(judgements, headlines),
        verdicts.claims_table(judgements, all_studies(), shown),
        ran,
        report.overview(audited),
        report.found("audit_findings", "What fails or warns, and the mend", audited),
    )
    for table in written:
        tables.write(table, root / BUILD / "tables")
        listed[table.name] = Listed(table.name, table.title, _cells(table))
    _write(root / BUILD / "claims.json", claims.to_json(judgements))
    _write(root / BUILD / "verdicts.txt", _verdicts_text(judgements))
    figures = dict(sorted(drawing.figures.items()))
    facts = paper.facts(results, all_studies(), judgements, shown, figures, listed, headlines)
    _write(root / BUILD / "paper.json", facts)
    say("writing the page")
    target = root / BUILD / "index.html"
    page.write(target, json.loads(facts), root / FIGURES, root / BUILD / "tables")
    say("compiling the paper")
    stale = _compile(root)
    return Built(
        judgements,
        figures,
        tuple(drawing.drawn),
        tuple(paper.not_run(figures, listed)),
        stale,
        root / BUILD / "paper.pdf",
        target,
    )


def fingerprint(rows: str, root: Path) -> str:
    """Return the digest of everything that a build depends on.

    Args:
        rows: Digest of the rows.
        root: Folder of the build.

    Returns:
        A digest; where it is that of the last build, there is nothing to do.
    """
    packages = sorted(
        p for d in ("repro", "studies", "figures") for p in (digests.ROOT / d).rglob("*.*")
    )
    code = [p for p in packages if p.suffix in (".py", ".css", ".js")]
    paths = [*code, *_paper_sources()]
    parts = (f"{path.name} {digests.of_file(path)}" for path in paths)
    return digests.of(rows, json.dumps(dict(digests.libraries())), *parts)


def code() -> dict[str, str]:
    """Return the digest of the code behind every file that a build writes, by the file's name."""
    import figures

    sources = digests.of(*(f"{path.name} {digests.of_file(path)}" for path in _paper_sources()))
    facts, verdicts_code = (
        digests.of_module("repro.report.paper"),
        digests.of_module("repro.report.verdicts"),
    )
    return {
        **{
            name: digests.of_module(f"figures.{name}")
            for name in (*figures.names(), *figures.table_names())
        },
        **dict.fromkeys(("claims", "verdicts", "verdict_counts"), verdicts_code),
        "completeness": digests.of_module("repro.report.completeness"),
        **dict.fromkeys(("audit", "audit_findings"), digests.of_module("repro.cli.audit")),
        "paper": digests.of(facts, sources),
        "index": digests.of(facts, *(digests.of_file(p) for p in sorted(page.HERE.glob("page.*")))),
    }


def forget(root: Path) -> None:
    """Forget what was built before, so that everything is built anew."""
    for path in (FIGURES / ".digests.json", BUILD / "tables/.digests.json", BUILD / ".paper.json"):
        (root / path).unlink(missing_ok=True)


def _paper_sources() -> list[Path]:
    found = sorted([*SOURCES.glob("*.typ"), *SOURCES.glob("*.toml")])
    if not found:
        raise ValueError(f"{SOURCES}: expected the sources of the paper, found none. Restore them.")
    return found


def _write(path: Path, text: str) -> None:
    write_whole(path, text.encode())


def _verdicts_text(judgements: Sequence[Judgement]) -> str:
    with io.StringIO() as text:
        show_verdicts(judgements, Console(file=text, width=140))
        return text.getvalue()


def _compile(root: Path) -> tuple[str, ...]:
    if (root / "paper").resolve() != SOURCES.resolve():
        for path in SOURCES.glob("*.typ"):
            shutil.copyfile(path, root / "paper" / path.name)
    inputs = [
        *sorted(SOURCES.glob("*.typ")),
        *sorted((root / BUILD / "tables").glob("*.typ")),
        *sorted((root / FIGURES).glob("*.svg")),
        root / BUILD / "paper.json",
    ]
    libraries = json.dumps(dict(digests.libraries(["typst"])))
    digest = digests.of(libraries, *(f"{p.name} {digests.of_file(p)}" for p in inputs))
    target, stamp = root / BUILD / "paper.pdf", root / BUILD / ".paper.json"
    before = _read_json(stamp)
    if before == {"inputs": digest, "output": digests.of_file(target) if target.exists() else ""}:
        return ()
    stamp.unlink(missing_ok=True)
    target.unlink(
        missing_ok=True
    )  # a paper that no longer follows from the rows must not lie about
    content, stale = paper.compile_pdf(root)
    if content is not None:
        write_whole(target, content)
        _write(stamp, json.dumps({"inputs": digest, "output": digests.of_file(target)}))
    return stale


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # a cache that cannot be read is one that knows nothing
    return content if isinstance(content, dict) else {}


# Tables


def _write_tables(results: Results, rows: str, directory: Path) -> dict[str, Listed]:
    """Write the tables of `figures` that are not up to date."""
    import figures

    stamp = directory / ".digests.json"
    before, after, listed = _read_json(stamp), {}, {}
    for name in figures.table_names():
        inputs = digests.of(rows, _code(name))
        files = {suffix: directory / f"{name}.{suffix}" for suffix in tables.SUFFIXES}
        known = before.get(name, {})
        if known.get("inputs") != inputs or known.get("files") != _digests(files):
            table, sources = provenance.watch(figures.module_of(name).table, results)
            tables.write(table, directory)
            known = {
                "inputs": inputs,
                "files": _digests(files),
                "listed": dataclasses.asdict(Listed(name, table.title, _cells(table), sources)),
            }
        after[name] = known
        listed[name] = Listed.parse(known["listed"])
    _write(stamp, json.dumps(after))
    return listed


def _cells(table: tables.Table) -> str:
    empty = sum(cell is None for row in table.rows for cell in row)
    return f"{empty} of {len(table.rows) * len(table.columns)} cells" if empty else ""


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    return {suffix: digests.of_file(path) for suffix, path in files.items() if path.exists()}


def _code(name: str) -> str:
    """Return the digest of the code and the libraries that a figure or table is made with."""
    libraries = json.dumps(dict(digests.libraries()))
    # `figures` finds its modules by name, so the closure starts at the figure's own
    return digests.of(digests.of_module(f"figures.{name}"), libraries)


# Figures


class _Drawing:
    """Figures being drawn: those out of date go to the pool, the others are taken as they lie."""

    def __init__(self, results: Results, rows: str, directory: Path, workers: int) -> None:
        import figures

        self.figures: dict[str, Figure] = {}
        self.drawn: list[str] = []
        self._results, self._directory = results, directory
        self._stamp = directory / ".digests.json"
        self._known = _read_json(self._stamp)
        self._code = {name: _code(name) for name in figures.names()}
        self._inputs = {name: digests.of(rows, code) for name, code in self._code.items()}
        self._titles = figures.captions()
        waiting = [name for name in figures.names() if not self._is_current(name)]
        # those whose rows decide how many panels they have take longest: none of them is begun last
        self._waiting = sorted(waiting, key=lambda n: not hasattr(figures.module_of(n), "layout"))
        for name in set(figures.names()) - set(self._waiting):
            self.figures[name] = Figure.parse(self._known[name]["figure"])
        self._workers = min(workers, len(self._waiting))
        self._pool: ProcessPoolExecutor | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="repro-")
        self._futures: dict[str, Future[_Outcome]] = {}

    def __enter__(self) -> _Drawing:
        if self._workers > 1:
            # by a file: what is sent to a process that starts is waited for until it has started
            sent = Path(self._scratch.name) / "results"
            sent.write_bytes(pickle.dumps(self._results, pickle.HIGHEST_PROTOCOL))
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_receive,
                initargs=(sent,),
            )
            for name in self._waiting:
                self._futures[name] = self._pool.submit(
                    _draw, name, self._directory, self._values(name)
                )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._scratch.cleanup()

    def wait(self) -> Iterator[tuple[int, int]]:
        """Collect the figures; yield how many are done, and of how many."""
        _received[:] = [self._results]
        total = len(self._waiting)
        yield 0, total
        for done, name in enumerate(self._waiting, 1):
            if name in self._futures:
                outcome = self._futures[name].result()
            else:
                outcome = _draw(name, self._directory, self._values(name))
            self._keep(name, outcome)
            yield done, total
        if self._waiting:
            _write(self._stamp, json.dumps(self._known))

    def showing(self, experiments: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Return the figures that show rows of any of these experiments."""
        wanted = set(experiments)
        return tuple(
            name
            for name, figure in sorted(self.figures.items())
            if wanted & {(source.study, source.experiment) for source in figure.sources}
        )

    def _files(self, name: str) -> dict[str, Path]:
        return {suffix: self._directory / f"{name}.{suffix}" for suffix in SUFFIXES}

    def _is_current(self, name: str) -> bool:
        known = self._known.get(name, {})
        same = known.get("inputs") == self._inputs[name]
        return bool(same and known.get("files") == _digests(self._files(name)))

    def _values(self, name: str) -> str:
        """Return the digest of the values that the files of a figure show, if its code drew them."""
        known = self._known.get(name, {})
        same = known.get("code") == self._code[name]
        return known["values"] if same and known.get("files") == _digests(self._files(name)) else ""

    def _keep(self, name: str, outcome: _Outcome) -> None:
        figure = Figure(name, self._titles[name], outcome.missing, outcome.sources)
        self.figures[name] = figure
        if outcome.drawn:
            self.drawn.append(name)
        self._known[name] = {
            "inputs": self._inputs[name],
            "code": self._code[name],
            "values": outcome.values,
            "files": _digests(self._files(name)),
            "figure": dataclasses.asdict(figure),
        }


@dataclasses.dataclass(frozen=True)
class _Outcome:
    values: str
    drawn: bool
    missing: str
    sources: tuple[provenance.Source, ...]


_received: list[Results] = []


def _receive(sent: Path) -> None:
    _received[:] = [pickle.loads(sent.read_bytes())]  # of our own making, just now


def _draw(name: str, directory: Path, known_values: str) -> _Outcome:
    import figures

    (results,) = _received
    module = figures.module_of(name)
    rows, sources = provenance.watch(module.select, results)
    csv = figures.to_csv(rows)
    values = digests.of(csv)
    if values != known_values:
        figures.write(name, directory, {"csv": csv, **figures.render(module, rows)})
    return _Outcome(values, values != known_values, _missing(rows), sources)


def _missing(rows: pd.DataFrame) -> str:
    """Say what of a figure shows "not run"."""
    from figures.style import NOT_OURS

    if "kind" not in rows:
        return "" if len(rows) else "all of it"
    absent = rows[rows["kind"] == "not run"]
    if absent.empty:
        return ""
    if rows["kind"].isin(NOT_OURS).all():
        return "all of it"
    places = (
        ": ".join(p for p in pair if p)
        for pair in zip(absent["panel"], absent["series"], strict=True)
    )
    return "; ".join(dict.fromkeys(places))

"""The build: from rows to figures, tables, verdicts, the paper and the page.

A figure is selected again only if rows, published values, its code or a library changed, and drawn again only if its values, its
code or a library did; the paper and the page likewise.
"""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from repro import claims, tables
from repro.audit import report
from repro.claims import Judgement
from repro.cli import audit
from repro.cli.drawing import Drawing, code_behind, digests_of, read_json
from repro.cli.grid import show_verdicts
from repro.cli.shared import all_studies, judge, num_cores
from repro.protocol import experiments_of
from repro.report import answers, completeness, digests, page, paper, provenance, verdicts
from repro.report.paper import Listed
from repro.results import Results, write_whole

FIGURES, BUILD = Path("figures/build"), Path("paper/build")
"""Where figures, and everything else, is built: relative to the folder of the build."""
SOURCES = digests.ROOT / "paper"
"""The paper's own sources."""


@dataclasses.dataclass(frozen=True)
class Built:
    """What came of a build.

    Attributes:
        judgements: The verdicts.
        figures: The figures, by name.
        drawn: Names of those that were drawn anew.
        not_run: One line for everything that shows "not run" somewhere.
        stale: One line for every sentence of the paper that its claims no longer support; if there are any, the
            paper was not built.
        pdf: Path of the paper.
        page: Path of the page.
    """

    judgements: tuple[Judgement, ...]
    figures: Mapping[str, Listed]
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
        workers: Processes that draw; one a core that this process may use by default, 1 for this one.
        say: Told what is going on.

    Returns:
        What was built.

    Raises:
        ValueError: If the paper does not compile.
    """
    (root / BUILD / "tables").mkdir(parents=True, exist_ok=True)
    known = all_studies()
    cores = workers or num_cores()
    data = digests.of(rows, digests.of_facts(results.facts))
    drawing = Drawing(results, data, root / FIGURES, cores)
    with drawing:
        say("judging claims")
        judgements = judge(results)
        listed = _write_tables(results, data, root / BUILD / "tables")
        say("auditing")
        audited = audit.everything(results)
        audit.write(audited, root / BUILD)
        ran = completeness.table(known, results.runs)
        for done, total in drawing.wait():
            say(f"drawing figures: {done} of {total}")
    shown = {
        (study.name, claim.number): drawing.showing(experiments_of(study, claim, known))
        for study in known
        for claim in study.claims
    }
    headlines = verdicts.read_headlines(SOURCES / "headlines.toml")
    written = (
        verdicts.counts_table(judgements),
        verdicts.headlines_table(judgements, headlines),
        verdicts.claims_table(judgements, known, shown),
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
    told = answers.spell(answers.read(SOURCES / "answers.toml"), judgements)
    facts = paper.facts(results, known, judgements, shown, figures, listed, headlines, told)
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


def outputs(root: Path) -> dict[str, str]:
    """Return size and time of every file where a build writes, by path: they change when anybody writes one.

    Args:
        root: Folder of the build.

    Returns:
        The files, but for those whose names begin with a dot.
    """
    paths = sorted(p for folder in (FIGURES, BUILD) for p in (root / folder).rglob("[!.]*"))
    facts = ((path, path.stat()) for path in paths if path.is_file())
    return {str(p.relative_to(root)): f"{fact.st_size} {fact.st_mtime_ns}" for p, fact in facts}


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
    found = sorted([*_printed(), *SOURCES.glob("*.toml")])
    if not found:
        raise ValueError(f"{SOURCES}: expected the sources of the paper, found none. Restore them.")
    return found


def _printed() -> list[Path]:
    """Return what the paper is compiled from, besides what is built: its text and its references."""
    return sorted([*SOURCES.glob("*.typ"), *SOURCES.glob("*.bib")])


def _write(path: Path, text: str) -> None:
    write_whole(path, text.encode())


def _verdicts_text(judgements: Sequence[Judgement]) -> str:
    with io.StringIO() as text:
        show_verdicts(judgements, Console(file=text, width=140))
        return text.getvalue()


def _compile(root: Path) -> tuple[str, ...]:
    if (root / "paper").resolve() != SOURCES.resolve():
        for path in _printed():
            shutil.copyfile(path, root / "paper" / path.name)
    inputs = [
        *_printed(),
        *sorted((root / BUILD / "tables").glob("*.typ")),
        *sorted((root / FIGURES).glob("*.svg")),
        root / BUILD / "paper.json",
    ]
    libraries = json.dumps(dict(digests.libraries(["typst"])))
    digest = digests.of(libraries, *(f"{p.name} {digests.of_file(p)}" for p in inputs))
    target, stamp = root / BUILD / "paper.pdf", root / BUILD / ".paper.json"
    before = read_json(stamp)
    if before == {"inputs": digest, "output": digests.of_file(target) if target.exists() else ""}:
        return ()
    stamp.unlink(missing_ok=True)
    # no paper is better than one that no longer follows from the rows
    target.unlink(missing_ok=True)
    content, stale = paper.compile_pdf(root)
    if content is not None:
        write_whole(target, content)
        _write(stamp, json.dumps({"inputs": digest, "output": digests.of_file(target)}))
    return stale


# Tables


def _write_tables(results: Results, data: str, directory: Path) -> dict[str, Listed]:
    """Write the tables of `figures` that are not up to date."""
    import figures

    stamp = directory / ".digests.json"
    before, after, listed = read_json(stamp), {}, {}
    for name in figures.table_names():
        inputs = digests.of(data, code_behind(name))
        files = {suffix: directory / f"{name}.{suffix}" for suffix in tables.SUFFIXES}
        known = before.get(name, {})
        if known.get("inputs") != inputs or known.get("files") != digests_of(files):
            table, sources = provenance.watch(figures.module_of(name).table, results)
            tables.write(table, directory)
            known = {
                "inputs": inputs,
                "files": digests_of(files),
                "listed": dataclasses.asdict(Listed(name, table.title, _cells(table), sources)),
            }
        after[name] = known
        listed[name] = Listed.parse(known["listed"])
    _write(stamp, json.dumps(after))
    return listed


def _cells(table: tables.Table) -> str:
    empty = sum(cell is None for row in table.rows for cell in row)
    return f"{empty} of {len(table.rows) * len(table.columns)} cells" if empty else ""

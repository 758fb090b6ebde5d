"""The build does again what changed and nothing else, goes on where rows are missing, and says what it lacks."""

import functools
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import figures
import studies
from repro import cli
from repro.audit.report import Audited
from repro.claims import Judgement
from repro.cli import building, drawing
from repro.cli.audit import everything
from repro.cli.shared import all_studies, judge
from repro.report import digests
from repro.results import Results, load, tabulate, tabulate_facts

CHOSEN = ("rike2022_fig1", "rike2022_last_batch")

Build = Callable[..., building.Built]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two figures and one table, which is enough to see."""
    monkeypatch.setattr(figures, "names", lambda: CHOSEN)
    monkeypatch.setattr(figures, "table_names", lambda: ("rike2022_table1",))
    # these take seconds, and the same rows give the same
    monkeypatch.setattr(building, "judge", lambda results: _judged(not results.runs.empty))
    monkeypatch.setattr(
        "repro.cli.audit.everything", lambda results: _audited(not results.runs.empty)
    )


@functools.cache
def _judged(published: bool) -> tuple[Judgement, ...]:
    return judge(_results(published))


@functools.cache
def _audited(published: bool) -> list[Audited]:
    return everything(_results(published))


@functools.cache
def _results(published: bool) -> Results:
    facts = tabulate_facts(all_studies())
    return load(studies.RESULTS, None, facts) if published else Results(*tabulate(()), facts)


@pytest.fixture(scope="module")
def published() -> Results:
    return _results(True)


@pytest.fixture
def build(few: None, published: Results, tmp_path: Path) -> Build:
    del few

    def run(results: Results = published, rows: str = "rows", folder: str = "a") -> building.Built:
        return building.build(results, rows, tmp_path / folder, workers=1)

    return run


def files(folder: Path) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_two_builds_are_the_same_bytes_and_a_second_draws_nothing(
    build: Build, tmp_path: Path
) -> None:
    first = build()
    assert first.drawn == CHOSEN
    before = files(tmp_path / "a")
    assert {"figures/build/rike2022_fig1.svg", "paper/build/index.html"} <= set(before)
    assert build().drawn == ()
    assert files(tmp_path / "a") == before
    build(folder="b")
    assert files(tmp_path / "b") == before


def test_rows_that_give_the_same_values_draw_nothing(build: Build) -> None:
    build()
    assert build(rows="other rows, of which these figures show none").drawn == ()


def test_a_file_that_was_changed_or_deleted_is_built_again(build: Build, tmp_path: Path) -> None:
    build()
    before = files(tmp_path / "a")
    (tmp_path / "a/figures/build/rike2022_fig1.svg").write_text("something else")
    (tmp_path / "a/paper/build/tables/rike2022_table1.tex").unlink()
    assert build().drawn == ("rike2022_fig1",)
    assert files(tmp_path / "a") == before


def test_changed_values_are_drawn_anew(build: Build, published: Results, tmp_path: Path) -> None:
    build()
    facts = published.facts.copy()
    facts.loc[facts["study"] == "rike2022", "value"] *= 2
    changed = Results(published.runs, published.curves, facts)
    table = tmp_path / "a/paper/build/tables/rike2022_table1.csv"
    before = table.read_bytes()
    # the rows are the same: what a paper states lies elsewhere
    assert "rike2022_last_batch" in build(changed).drawn
    assert table.read_bytes() != before


def test_without_rows_everything_says_not_run_and_no_sentence_is_printed(
    build: Build, tmp_path: Path
) -> None:
    facts = tabulate_facts(all_studies())
    built = build(Results(*tabulate(()), facts), rows="none")
    assert "figure rike2022_fig1: all of it" in built.not_run
    assert any(line.startswith("table rike2022_table1: ") for line in built.not_run)
    assert built.page.exists()
    assert not built.pdf.exists()
    assert any("baydin2022 claim 1 is not tested now" in line for line in built.stale)
    assert "Not run: all of it" in (tmp_path / "a/paper/build/index.html").read_text()


def test_a_paper_that_no_longer_follows_does_not_lie_about(build: Build) -> None:
    build().pdf.write_bytes(b"%PDF of older rows")
    built = build(Results(*tabulate(()), tabulate_facts(all_studies())), rows="none")
    assert built.stale
    assert not built.pdf.exists()


def test_claims_name_the_figures_that_show_their_rows(build: Build, tmp_path: Path) -> None:
    build()
    table = pd.read_csv(tmp_path / "a/paper/build/tables/claims.csv")
    row = table[(table["study"] == "rike2022") & (table["number"] == 1)].iloc[0]
    assert "nn-sgd" in row["rows"]
    assert row["figures"] == "rike2022_last_batch"


def test_the_audit_is_on_the_page(build: Build, tmp_path: Path) -> None:
    build()
    assert (tmp_path / "a/paper/build/audit.json").exists()
    text = (tmp_path / "a/paper/build/index.html").read_text()
    assert 'id="tbl-audit"' in text
    assert 'id="tbl-audit_findings"' in text


def test_digests_follow_imports_and_nothing_else(tmp_path: Path) -> None:
    for name, text in {
        "pkg/__init__.py": "",
        "pkg/a.py": "from pkg import b\n",
        "pkg/b.py": "def f():\n    from . import c\n",
        "pkg/c.py": "x = 1\n",
        "pkg/d.py": "y = 1\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = digests.of_module("pkg.a", tmp_path)
    (tmp_path / "pkg/d.py").write_text("y = 2\n")
    assert digests.of_module("pkg.a", tmp_path) == before
    digests._imports.cache_clear()
    (tmp_path / "pkg/c.py").write_text("x = 2\n")
    assert digests.of_module("pkg.a", tmp_path) != before


def test_the_digest_of_rows_takes_a_link_to_nothing_for_a_file_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "store" / "ab"
    folder.mkdir(parents=True)
    before = digests.of_rows(tmp_path, tmp_path / "store")
    link = folder / f"ab{'0' * 62}.json"
    link.symlink_to(tmp_path / "nothing")
    dangling = digests.of_rows(tmp_path, tmp_path / "store")
    (tmp_path / "nothing").write_text("{}")
    found = digests.of_rows(tmp_path, tmp_path / "store")
    assert len({before, dangling, found}) == 3


def test_parts_of_a_digest_do_not_run_into_each_other() -> None:
    assert digests.of("ab", "c") != digests.of("a", "bc")
    assert digests.of("ab") == digests.of(b"ab")


@pytest.mark.usefixtures("few")
def test_a_process_that_is_killed_while_it_draws_is_one_line(
    tmp_path: Path, published: Results
) -> None:
    with drawing.Drawing(published, "rows", tmp_path, workers=2) as figures_under_way:
        pool = figures_under_way._pool
        assert pool is not None
        for process in list(pool._processes.values()):
            process.kill()
        message = "expected the figure .* from one of 2 processes.*`--workers 1`"
        with pytest.raises(OSError, match=message):
            list(figures_under_way.wait())


@pytest.mark.usefixtures("few")
def test_reproduce_ends_with_counts_paths_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["reproduce", "--workers", "1"]) == 0
    first = capsys.readouterr().out
    for words in (
        "not reproduced: ",
        "not run: ",
        "paper: paper/build/paper.pdf",
        "page: paper/build/index.html",
    ):
        assert words in first
    assert cli.main(["reproduce"]) == 0
    again = capsys.readouterr().out
    assert "nothing changed since the last build" in again
    assert "page: paper/build/index.html" in again

    # neither what was taken away nor what other rows gave is what these rows give
    built = files(tmp_path)
    (tmp_path / "figures/build/rike2022_fig1.png").unlink()
    (tmp_path / "paper/build/tables/rike2022_table1.csv").write_text("of another store")
    (tmp_path / "paper/build/claims.json").write_text("of another store")
    assert cli.main(["reproduce", "--workers", "1"]) == 0
    assert "nothing changed" not in capsys.readouterr().out
    again_built = files(tmp_path)
    for found in (built, again_built):
        del found["paper/build/summary.txt"]  # it says how many figures were drawn anew
    assert again_built == built

"""`claims` and `verify` hold what is committed to the rows, and name what does not follow from them."""

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import studies
from repro import cli
from repro.cli import publish as publishing
from repro.cli import redraw, shared
from repro.cli import verify as verifying
from repro.cli.bookkeeping import APART, fill
from repro.results import Results, Store, load, read_published, write_parquet


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with rows and committed files of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(studies.RESULTS, tmp_path / "results")
    shutil.copytree(shared.PAPER, tmp_path / "kept", ignore=shutil.ignore_patterns("build"))
    shutil.copy(shared.README, tmp_path / "README.md")
    monkeypatch.setattr(studies, "RESULTS", tmp_path / "results")
    for module in (shared, redraw):
        for name in ("VERDICTS",):
            monkeypatch.setattr(module, name, tmp_path / "kept" / "verdicts.json", raising=False)
    monkeypatch.setattr(shared, "PAPER", tmp_path / "kept")
    monkeypatch.setattr(shared, "README", tmp_path / "README.md")
    monkeypatch.setattr(verifying, "MANIFEST", tmp_path / "kept" / "manifest.json")
    return tmp_path


def change(folder: Path, experiment: str, column: str, factor: float, method: str) -> None:
    runs, _, _ = read_published(folder)
    study = runs[runs["experiment"] == experiment]["study"].iloc[0]
    own = runs[runs["study"] == study].copy()
    chosen = (own["experiment"] == experiment) & own["method"].str.startswith(method)
    own.loc[chosen, column] *= factor
    write_parquet(folder / f"{study}.runs.parquet", own)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_committed_verdicts_hold(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["claims"]) == 0
    assert "every committed verdict holds" in printed(capsys)
    assert json.loads((elsewhere / "paper/build/claims.json").read_text())


def test_a_changed_value_that_turns_a_verdict_is_named(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(
        elsewhere / "results", "mlp-2e-4-exponential", "validation_loss", 3.0, "forward gradient"
    )
    assert cli.main(["claims"]) == 1
    said = printed(capsys)
    assert "verdict changed rike2022 claim 10: reproduced → partly" in said
    assert "1 verdict is not the committed one. If" in said
    assert "`repro claims --accept`" in said


def test_runs_of_the_store_beside_the_published_ones_are_told(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del elsewhere
    monkeypatch.setattr(
        shared, "load", lambda *given: dataclasses.replace(load(*given), unpublished=3)
    )
    assert cli.main(["claims"]) == 0
    total = len(read_published(studies.RESULTS)[0])
    told = f"3 of {total} runs are from the store, not published: an empty folder as `--store` leaves them out"
    assert told in printed(capsys)


def test_a_publication_says_that_it_writes_new_verdicts(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where no row is new: a study's claims may be."""
    file = elsewhere / "kept/verdicts.json"
    monkeypatch.setattr(publishing, "README", elsewhere / "README.md")
    monkeypatch.setattr(publishing, "VERDICTS", file)
    said = "README.md, paper/claims.md and paper/verdicts.json hold these verdicts now"
    committed = json.loads(file.read_text())
    file.write_text(json.dumps({**committed, "rike2022 10": "partly"}))
    for expected in (True, False):
        assert cli.main(["publish"]) == 0
        found = printed(capsys)
        assert "nothing new to publish" in found
        assert (said in found) == expected
        assert json.loads(file.read_text()) == committed


def test_accepted_verdicts_are_committed_everywhere(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(
        elsewhere / "results", "mlp-2e-4-exponential", "validation_loss", 3.0, "forward gradient"
    )
    assert cli.main(["claims", "--accept"]) == 0
    assert cli.main(["claims"]) == 0
    assert "every committed verdict holds" in printed(capsys)
    assert json.loads((elsewhere / "kept/verdicts.json").read_text())["rike2022 10"] == "partly"
    for path in ("README.md", "kept/claims.md"):
        line = next(
            x for x in (elsewhere / path).read_text().splitlines() if "one rate, too small" in x
        )
        assert "partly" in line


def test_verdicts_of_rows_that_cannot_be_read_are_not_accepted(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = elsewhere / "results" / "rike2022.curves.parquet"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    before = {path: path.read_bytes() for path in elsewhere.rglob("*") if path.is_file()}
    assert cli.main(["claims", "--accept"]) == 1
    assert "nothing was accepted" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in elsewhere.rglob("*") if p.is_file()} == before


def test_verdicts_are_accepted_from_published_rows_alone(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(Store(elsewhere / "store"), 3)
    seen: list[Results] = []
    monkeypatch.setattr(redraw, "judge", lambda results: ())
    monkeypatch.setattr(redraw, "commit_verdicts", lambda judgements, results: seen.append(results))
    assert cli.main(["claims", "--accept"]) == 0
    assert len(seen[0].runs)
    assert seen[0].runs["repetition"].max() < APART


def test_missing_committed_verdicts_are_one_line(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "kept/verdicts.json").unlink()
    assert cli.main(["claims"]) == 2
    assert "`repro claims --accept` writes it." in capsys.readouterr().err


@pytest.mark.slow
def test_verify_finds_the_committed_build_identical_and_names_a_changed_cell(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["verify", "--only", "rebuild", "--update"]) == 0
    assert cli.main(["verify", "--only", "rebuild"]) == 0
    assert "every one identical to the manifest" in printed(capsys)
    change(elsewhere / "results", "nn-sgd", "test_accuracy", 1 + 1e-9, "backpropagation")
    assert cli.main(["verify", "--only", "rebuild"]) == 1
    said = printed(capsys)
    assert "rows: rike2022 nn-sgd · backpropagation, SGD · report, repetition 0 (run" in said
    assert "differs in test_accuracy" in said


def test_a_missing_manifest_is_one_line(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "kept/manifest.json").unlink()
    assert cli.main(["verify", "--only", "rebuild"]) == 2
    assert "`repro verify --update` writes it." in capsys.readouterr().err


def test_a_manifest_is_not_updated_without_a_rebuild(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (elsewhere / "kept/manifest.json").read_bytes()
    assert cli.main(["verify", "--only", "live", "--update"]) == 2
    assert "Found `--only live`, which rebuilds nothing: drop one" in capsys.readouterr().err
    assert (elsewhere / "kept/manifest.json").read_bytes() == before


def test_the_committed_manifest_is_that_of_the_published_rows() -> None:
    from repro.report import manifest

    runs, curves, _ = read_published(studies.RESULTS)
    expected = manifest.read(verifying.MANIFEST)["rows"]
    found = {
        str(study): manifest._rows(own, curves[curves["key"].isin(set(own["key"]))])
        for study, own in runs.groupby("study")
    }
    assert list(manifest._row_differences(expected, found, pd.DataFrame(runs))) == [], (
        "run `python -m repro verify --update`"
    )

"""`publish` sends rows, brings them home and takes them out, and says what it leaves and what it refuses."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
from finished_runs import at, contents, record, tuning
from sent_rows import DECLARED, EVERYTHING, OLD, PLAN, at_full, ends
from sent_rows import store as store

import studies
from repro import cli
from repro.publishing import publish, retirable
from repro.results import Store


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "RESULTS", tmp_path / "results")
    # or the README of this checkout would tell of the rows here
    monkeypatch.setattr("repro.cli.publish.README", tmp_path / "README.md")
    return tmp_path


def test_the_command_sends_and_brings_home(
    store: Store, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["publish", "--store", str(store.directory), "--to", "sent"]) == 0
    assert "someone2022: 3 new rows in sent" in capsys.readouterr().out
    assert not studies.RESULTS.exists()
    assert cli.main(["publish", "--from", "sent"]) == 0
    assert "someone2022: 3 new rows in results" in capsys.readouterr().out
    publish(store.directory, checkout / "direct")
    assert contents(studies.RESULTS) == contents(checkout / "direct")
    assert cli.main(["publish", "--from", "sent"]) == 0
    assert "nothing new to publish" in capsys.readouterr().out


def test_the_command_says_in_one_line_what_it_refuses(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["publish", "--from", "nowhere"]) == 2
    errors = capsys.readouterr().err
    assert errors == (
        "repro: nowhere: expected a folder that `repro publish --to` wrote. Found nothing. "
        "Nothing was published.\n"
    )
    sent = checkout / "sent"
    sent.mkdir()
    for kind in ("runs", "curves"):
        (sent / f"someone2022.{kind}.parquet").write_text("")
    assert cli.main(["publish", "--from", "sent"]) == 1
    assert "not a readable Parquet file" in capsys.readouterr().err
    (checkout / "file").write_text("")
    assert cli.main(["publish", "--to", "file"]) == 2
    assert "`--to` expects a folder" in capsys.readouterr().err


def test_the_command_takes_nothing_out_where_it_refuses(
    store: Store, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write(OLD)
    publish(store.directory, studies.RESULTS)
    before = contents(studies.RESULTS)
    other = Store(checkout / "other")
    other.write(ends(record(0), status="diverged"))
    assert cli.main(["publish", "--store", "other", "--retire"]) == 1
    shown = capsys.readouterr()
    assert "taken out" not in shown.out
    assert shown.err.endswith("Nothing was published.\n")
    assert contents(studies.RESULTS) == before


def test_the_command_takes_them_out_and_says_so(
    store: Store, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del checkout
    store.write(OLD)
    publish(store.directory, studies.RESULTS)
    store.write(PLAN)
    told = f"baydin2022 {OLD.spec.experiment}: 1 rows of"
    old = "a plan that the study no longer declares"
    assert cli.main(["publish", "--store", str(store.directory)]) == 0
    output = capsys.readouterr().out
    assert f"{told} {old}, averaged with the others: `--retire` takes them out" in output
    assert "baydin2022: 1 new rows in results" in output
    assert cli.main(["publish", "--store", str(store.directory), "--retire"]) == 0
    output = capsys.readouterr().out
    assert f"{told} old plans, or superseded, taken out" in output
    assert f"{told} {old}, left out" in output  # the store still has it
    assert retirable(studies.RESULTS, DECLARED) == ({}, {})


def test_the_command_tells_of_what_it_leaves_out(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "repro.cli.publish.all_studies", lambda: [SimpleNamespace(name="someone2022")]
    )
    monkeypatch.setattr("repro.cli.publish.declared", lambda study: EVERYTHING[study.name])
    store = Store(checkout / "searched")
    trials = [at(tuning(number=n), rate, 1.0 - n) for n, rate in enumerate((0.3, 0.2))]
    for found in map(at_full, (*trials, at(record(), 0.2), at(record(), 0.3))):
        store.write(found)
    tried = dataclasses.replace(record(), spec=dataclasses.replace(record().spec, scale="smoke"))
    store.write(tried)
    damaged = store.path("ab" * 32)
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_bytes(b"")
    assert cli.main(["publish", "--store", "searched"]) == 1
    shown = capsys.readouterr()
    outdone = (
        f"someone2022 {tried.spec.experiment}: 1 reported rows, superseded by those of a better"
    )
    assert f"{outdone} trial, left out\n" in shown.out
    assert "1 rows of smoke scale, which are no results, left out\n" in shown.out
    assert "someone2022: 3 new rows in results\n" in shown.out
    assert f"{damaged.relative_to(checkout)}: not a finished run" in shown.err + shown.out
    damaged.unlink()
    publish(store.directory, studies.RESULTS)  # as without a plan
    assert cli.main(["publish", "--store", "searched"]) == 0
    expected = f"{outdone} trial, not used: `--retire` takes them out\n"
    assert expected in capsys.readouterr().out

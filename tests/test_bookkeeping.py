"""The bookkeeping of very many runs, timed over a store that is made for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

import studies
from repro import cli
from repro.cli import bookkeeping
from repro.cli.bookkeeping import Taken, fill
from repro.protocol import parse_run
from repro.publishing import publish
from repro.results import Store, read_published_runs, read_store


def test_the_runs_are_like_published_ones_and_none_of_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    fill(store, 40)
    records, problems = read_store(store.directory)
    assert (len(records), problems) == (40, ())
    assert all(record.spec.repetition >= bookkeeping.APART for record in records)
    assert any(record.curves for record in records)
    added, _ = publish(store.directory, tmp_path / "published")
    runs, _ = read_published_runs(tmp_path / "published")
    assert sum(added.values()) == len(runs) == 40


def test_runs_come_again_under_other_repetitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, _ = read_published_runs(studies.RESULTS)
    monkeypatch.setattr(bookkeeping, "read_published_runs", lambda folder: (runs[:3], ()))
    fill(Store(tmp_path), 7)
    copies = [record.spec for record in read_store(tmp_path)[0]]
    assert len(copies) == 7
    originals = {dataclasses.replace(parse_run(text), repetition=0) for text in runs["spec"][:3]}
    assert {dataclasses.replace(spec, repetition=0) for spec in copies} == originals


def test_a_command_is_timed_in_a_process_of_its_own() -> None:
    taken = bookkeeping._run("--version")
    assert taken.seconds >= 0.0
    assert taken.cpu > 0.0
    assert taken.peak > 2**20
    with pytest.raises(ValueError, match="`repro nothing` ended with status 2: repro: argument"):
        bookkeeping._run("nothing")


def time_as(monkeypatch: pytest.MonkeyPatch, taken: Taken) -> list[tuple[str, ...]]:
    asked: list[tuple[str, ...]] = []

    def run(*words: str) -> Taken:
        asked.append(words)
        store = Path(words[-1])
        (store / "index").mkdir(exist_ok=True)
        if words[0] == "publish":
            Path(words[2]).mkdir(exist_ok=True)
        return taken

    monkeypatch.setattr(bookkeeping, "_run", run)
    return asked


@pytest.mark.parametrize(
    ("taken", "status"),
    [(Taken(4.0, 1.0, 2**29), 0), (Taken(4.0, 1.0, 2**31), 1), (Taken(6.0, 1.0, 2**29), 1)],
)
def test_bounds_are_held_at_their_number_of_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: Taken, status: int
) -> None:
    asked = time_as(monkeypatch, taken)
    monkeypatch.setattr(bookkeeping, "NUM_RUNS", 10)
    command = ["bench", "--bookkeeping", "10", "--store", str(tmp_path)]
    assert cli.main(command) == 0
    assert cli.main([*command, "--strict"]) == status
    assert [words[0] for words in asked[:5]] == [
        "status",
        "status",
        "publish",
        "publish",
        "publish",
    ]
    rows = pd.read_csv(tmp_path / "bookkeeping.csv")
    assert ("fail" in set(rows["verdict"])) == (status == 1)
    assert rows["seconds"].tolist()[:5] == [taken.seconds] * 5
    assert not list(tmp_path.glob(".*"))  # the store that was made is gone


def test_fewer_runs_are_held_to_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    time_as(monkeypatch, Taken(1e6, 1.0, 2**40))
    command = ["bench", "--bookkeeping", "10", "--strict", "--store", str(tmp_path)]
    assert cli.main(command) == 0


@pytest.mark.parametrize("missing", ["os.wait4", "os.getloadavg"])
def test_a_system_that_does_not_tell_what_a_process_took_is_one_line(
    missing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delattr(missing)
    assert cli.main(["bench", "--bookkeeping", "10", "--store", str(tmp_path / "bench")]) == 2
    assert "Run it on Linux or macOS." in capsys.readouterr().err
    assert not (tmp_path / "bench").exists()


def test_a_number_of_runs_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "--bookkeeping", "0", "--store", str(tmp_path / "bench")]) == 2
    said = capsys.readouterr().err
    assert said == "repro: `--bookkeeping` expects a number of runs of at least 1. Found 0.\n"
    assert not (tmp_path / "bench").exists()

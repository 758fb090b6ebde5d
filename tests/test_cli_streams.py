"""Where output goes: closed and full streams, pipes, narrow terminals, and names that look like markup."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from elsewhere import elsewhere as elsewhere
from rich.console import Console

import studies
from repro import cli
from repro.cli.shared import README


def test_what_looks_like_markup_in_files_and_paths_is_printed_as_it_is(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = elsewhere / "runs [old]" / "ab" / f"ab{'0' * 62}.json"
    foreign.parent.mkdir(parents=True)
    foreign.write_text('{"schema": "[/x]"}')
    chosen = ["baydin2022", "--scale", "smoke", "--only", "beale", "--store", "runs [old]"]
    assert cli.main(["status", *chosen]) == 0
    shown = capsys.readouterr()
    assert f"skipped runs [old]/ab/{foreign.name}: expected results schema" in shown.out
    assert "found '[/x]'" in shown.out


@pytest.mark.skipif(os.name == "nt", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize(
    ("closed", "words", "status"), [(">&-", "list", 0), ("2>&-", "status x", 2)]
)
def test_without_output_it_does_its_work(closed: str, words: str, status: int) -> None:
    command = f"'{sys.executable}' -m repro {words} {closed}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=README.parent, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


@pytest.mark.skipif(os.name == "nt", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize("words", [["list"], ["--help"], ["run", "--help"]])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_who_has_read_enough_is_no_error(words: list[str], buffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "repro", *words],
            cwd=README.parent,
            env={**os.environ, "PYTHONUNBUFFERED": buffered},
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    # help that goes nowhere at once is given up by the parser itself
    assert done.returncode in ((141, 0) if "--help" in words else (141,))
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="streams have no names")
@pytest.mark.parametrize("name", ["/dev/stdout", "-"])
def test_a_reader_who_has_gone_before_what_was_named_to_be_written_is_no_error(name: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as nobody:
        done = subprocess.run(
            [sys.executable, "-m", "repro", "audit", "rike2022/nn-sgd", "--json", name],
            cwd=README.parent,
            stdout=nobody,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 141
    assert ("Is it fair?" in done.stderr) == (name == "-")
    assert "Broken" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is full")
def test_output_that_a_full_disk_does_not_take_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "repro", "list"],
            cwd=README.parent,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == (
        "repro: No space left on device. Make room and run the same command again.\n"
    )


def test_a_pipe_without_the_characters_gets_others(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    monkeypatch.setattr("sys.stdout", pipe)
    assert cli.main(["list"]) == 0
    pipe.flush()
    assert b"nn-sgd" in pipe.buffer.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_shows_names_and_costs_whole(
    width: int,
    elsewhere: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "_Console", lambda **given: Console(width=width))
    study = studies.get("rike2022")
    told, status = tmp_path / "status.json", ["status", study.name, "--scale", "full"]
    assert cli.main([*status, "--json", str(told)]) == 0
    missing = [work["missing"] for work in json.loads(told.read_text())["queue"]]
    capsys.readouterr()
    for words, numbers in ((["list"], [144]), (status, missing)):
        assert cli.main(words) == 0
        printed = capsys.readouterr().out
        assert "…" not in printed
        tables = [line for line in printed.splitlines() if not line.startswith("about")]
        assert max(map(len, tables)) <= width
        # names come in pieces, one below the other; numbers in one
        if width >= 100:
            assert all(experiment.name in printed for experiment in study.experiments)
        # of a search there are trials, finalists and reports
        assert all(re.search(rf"\b{number}\b", printed) for number in numbers)
    assert re.search(r"\b\d+h\d\dm\b", printed)
    assert elsewhere.exists()

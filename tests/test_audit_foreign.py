"""Anybody's finished search as a command: what it prints and writes, and one clear line where it means nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from outsiders import EXAMPLES, MAP, digest, table

from repro.audit import stated, table_files, trials
from repro.cli import DONE, FAILED, USAGE, main

# --- the examples that ship ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--optuna", "examples/search.journal"],
        ["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state"],
    ],
)
def test_the_shipped_examples_are_audited(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *arguments, "--checklists"]) == FAILED
    out = " ".join(capsys.readouterr().out.split())
    assert "24 trials for momentum, 8 trials for plain" in out
    assert "at the upper" in out
    assert "blank" in out


def test_the_readme_s_commands_are_those_tested() -> None:
    text = Path("README.md").read_text(encoding="utf-8")
    assert "audit --optuna examples/search.journal" in text
    assert "--csv examples/trials.csv --map method=opt,score=value,status=state" in text


# --- commands, and what they write --------------------------------------------------------------------------


def test_every_quantity_is_listed_with_what_it_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--facts"]) == DONE
    out = " ".join(capsys.readouterr().out.split())
    assert "selection split" in out
    assert "one of validation, test, train" in out
    for quantity, (expected, _) in stated.quantities().items():
        name = quantity.replace("*", "lr")
        if expected.startswith("one of"):
            good = expected.removeprefix("one of ").split(", ")[0]
        else:
            good = "search" if expected.startswith("`search`") else "3"
        assert stated.parse_facts([f"{name}={good}"])[0].quantity == name


def test_a_table_of_final_results_is_audited_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "final.csv"
    rows = [f"{m},{s},0.{5 + s}{ord(m)}\n" for m in "ab" for s in range(3)]
    path.write_text("method,seed,score\n" + "".join(rows))
    assert main(["audit", "--csv", str(path)]) in (DONE, FAILED)
    assert "`--reported` takes every row for a reported run" in " ".join(
        capsys.readouterr().out.split()
    )
    evidence = trials.from_table(table_files.read_table(path), {}, path.name, reported=True)
    assert evidence.number("repetitions", "a") == 3
    assert evidence.number("trials", "a") is None
    assert not any("no reported runs" in note for note in evidence.notes)
    assert main(["audit", "--csv", str(path), "--reported"]) in (DONE, FAILED)
    assert "no reported runs" not in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--json", "--markdown"])
def test_what_is_audited_is_never_written_over(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.csv"
    shutil.copy(EXAMPLES / "trials.csv", path)
    before = digest(path)
    command = ["audit", "--csv", str(path), "--map", "method=opt,score=value,status=state"]
    assert main([*command, option, str(path)]) == USAGE
    assert "is what is audited, and is only read" in capsys.readouterr().err
    assert digest(path) == before


OWN = ["audit", "--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state"]


def test_outputs_are_written_through_links_and_into_pipes(tmp_path: Path) -> None:
    target, link, pipe = (tmp_path / name for name in ("kept.json", "link.json", "pipe"))
    target.write_text("old")
    link.symlink_to(target)
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    assert main([*OWN, "--json", str(link), "--markdown", str(pipe)]) == FAILED
    reader.join(timeout=10)
    assert received[0].startswith("# ")
    assert link.is_symlink()
    assert "comparisons" in json.loads(target.read_text())
    assert pipe.is_fifo()


def test_an_output_that_is_where_the_report_goes_keeps_both(tmp_path: Path) -> None:
    path = tmp_path / "both.txt"
    with path.open("wb") as stream:
        command = [sys.executable, "-m", "repro", *OWN, "--json", str(path)]
        assert subprocess.run(command, stdout=stream, check=False).returncode == FAILED
    text = path.read_text(encoding="utf-8")
    assert "Is it fair?" in text
    assert '"comparisons"' in text
    assert "written: " in text


@pytest.mark.parametrize(("option", "begin"), [("--json", "{"), ("--markdown", "# ")])
def test_standard_output_holds_one_output_and_nothing_else(
    option: str,
    begin: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "file"
    assert main([*OWN, option, str(path)]) == FAILED
    shown = capsys.readouterr().out.replace(f"written: {path}\n", "")
    monkeypatch.setattr(
        os, "access", lambda *_: False
    )  # nothing is written where the command is run
    assert main([*OWN, option, "-"]) == FAILED
    captured = capsys.readouterr()
    assert captured.out == path.read_text(encoding="utf-8")
    assert captured.out.startswith(begin)
    assert captured.err == shown


def test_two_outputs_are_not_mixed_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*OWN, "--json", "-", "--markdown", "-"]) == USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "expect a file each. Found - for both" in captured.err


def test_outputs_that_cannot_be_written_are_refused_before_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "x.out")
    for outputs, message in (
        (["--json", str(tmp_path)], "`--json` expects a file. Found the folder"),
        (["--markdown", str(tmp_path / "file" / "x.md")], "file is no folder to write in"),
        (["--json", str(tmp_path / "x.out"), "--markdown", str(tmp_path / "link")], "expect a file each"),
    ):  # fmt: skip
        assert main([*OWN, *outputs]) == USAGE
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert (tmp_path / "file").read_text() == "kept"


def test_names_in_brackets_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "res[red].csv"
    path.write_text("method,score,seed\nours[/v2],0.5,1\nours[/v2],0.5,2\n")
    assert main(["audit", "--csv", str(path), "--checklists"]) in (DONE, FAILED)
    out = " ".join(capsys.readouterr().out.split())
    assert "Is it fair? res[red].csv" in out
    assert "Checklists, filled from res[red].csv" in out
    assert "one method only (ours[/v2])" in out


# --- bad input: one line, and exit status 2 -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        (lambda t: t, {**MAP, "score": "loss"}, "no column 'loss' for 'score'"),
        (lambda t: t, {**MAP, "score": "val_los"}, "did you mean 'val_loss'?"),
        (lambda t: t.drop(columns="opt"), {"score": "val_loss"}, "no column 'method' for 'method'"),
        (lambda t: t, {**MAP, "params": "lr:beta"}, "no column 'beta' for 'params'"),
        (lambda t: t.assign(state="exploded"), {**MAP, "status": "state"}, "unknown status 'exploded' in row 1"),
        (lambda t: t.assign(part="dev"), {**MAP, "role": "part"}, "unknown role 'dev' in row 1"),
        (lambda t: t.assign(val_loss=list("123x56")), MAP, "column 'val_loss' needs numbers. Found 'x' in row 4"),
        (lambda t: t.assign(trial=0), MAP, "trial 0 of 'a' appears twice (rows 1, 2, 3)"),
        (lambda t: t.assign(opt=[None, *"aabbb"]), MAP, "row 1 names no method. Fill in its column 'opt', or leave the row out."),
        (lambda t: t[:0], MAP, "holds no trials"),
    ],
)  # fmt: skip
def test_a_table_that_means_nothing_is_refused_in_one_line(
    change: object,
    columns: dict[str, str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert callable(change)
    path = tmp_path / "trials.csv"
    change(table()).to_csv(path, index=False)
    pairs = ",".join(f"{key}={column}" for key, column in columns.items())
    before = digest(path)
    assert main(["audit", "--csv", str(path), "--map", pairs]) == USAGE
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "trials.csv" in captured.err
    assert digest(path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--csv", "README.md"], "expected a file that ends in .csv, .tsv, .parquet or .jsonl. Found '.md'"),
        (["--optuna", "nowhere.db"], "nowhere.db: no such file"),
        (["--optuna", "examples"], "examples: expected a file. Found a folder"),
        (["--optuna", "examples/search.journal", "--map", "seed=nope"], "no user attribute 'nope' for 'seed'"),
        (["--csv", "examples/trials.csv", "--studies", "x"], "`--studies` belongs to `--optuna`"),
        (["--reported"], "`--reported` belongs to `--optuna` or `--csv`"),
        (["--csv", "examples/trials.csv", "--map", "method=opt", "score=value"],
         "in quotes where one has a blank. Found 'score=value' after a blank"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score"], "KEY=COLUMN pairs separated by commas"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=zz"], "`--map score=COLUMN`. Columns: number"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=opt"],
         "diverged, nan, inf; failed, fail, error, errored, crashed, killed"),
        (["--csv", "examples/trials.csv", "--reported", "--map", "method=opt,score=value,role=state"],
         "takes every row for a reported run. Found a column of roles"),
        (["--optuna", "mysql://host/db"], "Expected sqlite:///FILE or the path of a journal"),
        (["--optuna", "README.md"], "Found that line 1 is not JSON. If it is a table of trials, use `--csv`."),
        (["--optuna", "x.db", "--csv", "y.csv"], "either `--optuna` or `--csv`"),
        (["--map", "method=opt"], "`--map` belongs to `--optuna` or `--csv`"),
        (["--csv", "examples/trials.csv", "--map", "method"], "KEY=COLUMN pairs"),
        (["--csv", "examples/trials.csv", "--map", "mehtod=opt"], "knows no key 'mehtod'"),
        (["--csv", "examples/trials.csv", "--map", "method=a,method=b"], "names 'method' twice"),
        (["--csv", "examples/trials.csv", "--fact", "selection splitt=test"], "Closest: selection split"),
        (["--csv", "examples/trials.csv", "--fact", "selection split=Test"], "expects one of validation, test, train"),
        (["--csv", "examples/trials.csv", "--fact", "chance loss=0"], "expects a number above 0. Found '0'"),
        (["--csv", "examples/trials.csv", "--fact", "published score=high"], "expects a number. Found 'high'"),
        (["--csv", "examples/trials.csv", "--fact", "repetitions=inf"], "expects a finite number"),
        (["--csv", "examples/trials.csv", "--fact", "published score=inf"], "expects a finite number"),
        (["--csv", "examples/trials.csv", "--fact", "repetitions=-3"], "expects a whole number, 1 or more"),
        (["--csv", "examples/trials.csv", "--fact", "published decimals=-1.5"], "expects a whole number from 0 to 17. Found '-1.5'"),
        (["--csv", "examples/trials.csv", "--fact", "time-to-loss ratio=-1"], "expects a number above 0"),
        (["--csv", "examples/trials.csv", "--fact", "interval multiplier=-1.96"], "expects a number above 0"),
        (["--csv", "examples/trials.csv", "--fact", "synchronised timing=7"], "expects one of 0, 1. Found '7'"),
        (["--csv", "examples/trials.csv", "--fact", "timed steps=-4"], "expects a whole number, 0 or more"),
        (["--csv", "examples/trials.csv", "--fact", "tuning seed=1.5"], "expects a whole number. Found '1.5'"),
        (["--csv", "examples/trials.csv", "--fact", "best *=1"], "does not know the quantity 'best *'"),
        (["--csv", "examples/trials.csv", "--fact", "reported curve=1"], "`repro audit --facts` lists all"),
        (["--csv", "examples/trials.csv", "--fact", "repetitions=3", "--fact", "repetitions=4"],
         "states 'repetitions' twice: 3 and 4"),
        (["--csv", "examples/trials.csv", "--fact", "selection examples=500", "--fact", "selection split size=100"],
         "expects 'selection examples' no larger than 'selection split size'. Found 500 and 100"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state", "--fact", "trials=99"],
         "`--fact 'trials=99'` contradicts what was read: 8 for 'plain'"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state", "--fact", "best lr=0.5"],
         "`--fact 'best lr=0.5'` contradicts what was read"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state",
          "--fact", "searched to lr=0.0001185341858101039"], "leaves out lr = "),
        (["--optuna", "examples/search.journal", "--fact", "searched to lr=7"], "contradicts what was read"),
        (["--csv", "examples/trials.csv", "--fact", "searched from lr=1", "--fact", "searched to lr=1"],
         "expects 'searched from lr' below 'searched to lr'. Found 1 and 1"),
        (["--optuna", "examples/search.journal", "--map", "score=val_loss"], "`--map` takes the keys method, settings, seed, "),
        (["--csv", "examples/trials.csv", "rike2022"], "audited by itself"),
        (["--optuna", "examples/search.journal", "--studies", "x"], "no study 'x'. Choose from: plain, momentum"),
        (["--optuna", "examples/search.journal", "--map", "method=x"], "no hyperparameter or user attribute 'x'"),
        (["--optuna", "examples/search.journal", "examples/search.journal"], "expected storages that differ. Found one twice"),
        (["--optuna", "examples/search.journal", "--maximise"], "says itself whether it maximises"),
        (["rike2023"], "Unknown comparison 'rike2023'"),
        (["examples/trials.csv"], "`--csv examples/trials.csv` for a table of trials"),
        (["--explain", "budgte"], "Unknown rule 'budgte'. Choose from: "),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *arguments]) == USAGE
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1

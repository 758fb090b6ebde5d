"""Anybody's table of trials, as a file and as a command: read as it stands, never changed, or refused in one clear line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
from outsiders import EXAMPLES, MAP, digest, table

from repro.audit import stated, table_files, trials
from repro.audit.evidence import Evidence
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


# --- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_every_format_reads_the_same(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"trials.{suffix}"
    match suffix:
        case "csv" | "tsv":
            table().to_csv(path, index=False, sep="," if suffix == "csv" else "\t")
        case "parquet":
            table().to_parquet(path)
        case _:
            table().to_json(path, orient="records", lines=True)
    before = digest(path)
    evidence = trials.from_table(table_files.read_table(path), MAP, path.name)
    assert digest(path) == before
    assert evidence.methods == ("a", "b")
    assert evidence.number("best lr", "b") == 0.1
    assert evidence.number("trials", "a") == 3


def read(path: Path, text: str, **columns: str) -> Evidence:
    """Return the evidence of a file with this text."""
    path.write_text(text, encoding="utf-8")
    return trials.from_table(table_files.read_table(path), columns, path.name)


def test_a_comma_at_the_end_of_rows_shifts_no_column(tmp_path: Path) -> None:
    evidence = read(tmp_path / "x.csv", "method,score,seed\na,0.5,1,\nb,0.4,2,\n")
    assert evidence.runs["score"].tolist() == [0.5, 0.4]
    assert evidence.methods == ("a", "b")


def test_a_method_may_be_called_as_a_missing_value_is(tmp_path: Path) -> None:
    text = "method,score,lr\nNone,0.5,NA\nNA,0.4,0.1\nnull,NaN,0.2\n"
    evidence = read(tmp_path / "x.csv", text, params="lr")
    assert evidence.methods == ("None", "NA", "null")
    assert evidence.runs["param lr"].isna().tolist() == [True, False, False]
    assert evidence.runs["status"].tolist() == ["done", "done", "diverged"]


def test_seeds_beside_a_blank_keep_all_their_digits(tmp_path: Path) -> None:
    seeds = (1234567890123456780, 1234567890123456781, None)
    frame = pd.DataFrame(
        {"method": ["a"] * 3, "score": [0.1, 0.2, 0.3], "role": ["report", "report", "tune"]}
    )
    frame["seed"] = pd.array(seeds, dtype="Int64")
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    for name in ("x.csv", "x.parquet", "x.jsonl"):
        evidence = trials.from_table(table_files.read_table(tmp_path / name), {}, name)
        assert evidence.runs["seed"].tolist() == ["1234567890123456780", "1234567890123456781", ""]


def test_objects_in_json_are_columns_and_lists_are_words(tmp_path: Path) -> None:
    records = [
        {"method": "a", "score": 0.5, "params": {"lr": 0.1, "betas": [0.9, 0.99]}},
        {"method": "a", "score": 0.4, "params": {"lr": 0.2, "betas": [0.9, 0.999]}},
        {"method": "b", "score": 0.3, "params": {"lr": 0.4}, "settings": {"batch": 32}},
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    evidence = read(tmp_path / "x.jsonl", lines)
    assert evidence.number("searched to lr", "a") == 0.2
    assert evidence.word("best betas", "a") == "[0.9, 0.999]"
    assert evidence.number("tuned with batch", "b") == 32
    whole = read(tmp_path / "x.json", json.dumps(records, indent=1))
    pd.testing.assert_frame_equal(whole.runs, evidence.runs)
    one = read(tmp_path / "x.jsonl", lines, params="params.lr")
    assert [c for c in one.runs if str(c).startswith("param ")] == ["param lr"]
    pd.DataFrame(records).to_parquet(tmp_path / "x.parquet")
    nested = table_files.read_table(tmp_path / "x.parquet")
    assert nested["params.lr"].tolist() == [0.1, 0.2, 0.4]


def test_a_list_as_a_setting_is_a_word(tmp_path: Path) -> None:
    lines = "".join(
        json.dumps({"method": m, "score": 0.5, "betas": [0.9, b]}) + "\n"
        for m, b in (("a", 0.99), ("b", 0.999))
    )
    evidence = read(tmp_path / "x.jsonl", lines, settings="betas")
    assert evidence.word("tuned with betas", "b") == "[0.9, 0.999]"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "method,score\na,0.5\nr1,b,0.4\n", "line 3 has 3 fields under a header of 2"),
        ("x.csv", "run,method,score\nr0,a,0.5,7\nr1,b,0.4,8\n", "line 2 has 4 fields under a header of 3"),
        ("x.csv", "method,score,score\na,0.5,0.1\n", "two columns are called 'score'; rename one"),
        ("x.csv", "method;score\na;0.5\n", "expected commas between columns, found semicolons"),
        ("x.csv", "method;score\na;0,5\n", "expected commas between columns, found semicolons"),
        ("x.csv", "method,score\na,50%\n", "Found '50%' in row 1. Write plain numbers, and leave blank"),
        ("x.tsv", "method,score\na,0.5\n", "expected tabs between columns, found commas"),
        ("x.csv", "method,score,epochs\na,0.5,1" + 400 * "0" + "\n", "'epochs' needs numbers. Found '1000"),
        ("x.jsonl", "[1, 2]", "expected objects, one a row; found '1'"),
        ("x.jsonl", '{"method": "a"\n', "line 1 is no JSON"),
        ("x.jsonl", '{"a.b": 1, "a": {"b": 2}}', "two columns are called 'a.b'"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_is_refused(
    name: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["audit", "--csv", str(tmp_path / name)]) == USAGE
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_another_encoding_and_a_folder_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_bytes("method,score\nFørland,0.5\n".encode("latin-1"))
    (tmp_path / "y.csv").mkdir()
    assert main(["audit", "--csv", str(tmp_path / "x.csv")]) == USAGE
    assert "expected UTF-8. Found the byte 0xf8" in capsys.readouterr().err
    assert main(["audit", "--csv", str(tmp_path / "y.csv")]) == USAGE
    assert "expected a file. Found a folder" in capsys.readouterr().err


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
            good = "3"
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
        (lambda t: t.assign(val_loss=list("123x56")), MAP, "needs numbers. Found 'x' in row 4"),
        (lambda t: t.assign(trial=0), MAP, "trial 0 of 'a' stands twice (rows 1, 2, 3)"),
        (lambda t: t.assign(opt=[None, *"aabbb"]), MAP, "row 1 names no method"),
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
        (["--csv", "README.md"], "expected a file .csv, .tsv, .parquet or .jsonl. Found '.md'"),
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
        (["--optuna", "README.md"], "line 1 is no JSON"),
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
        (["--csv", "examples/trials.csv", "--fact", "repetitions=-3"], "expects a whole number, at least 1"),
        (["--csv", "examples/trials.csv", "--fact", "published decimals=-1.5"], "at least 0, at most 17. Found '-1.5'"),
        (["--csv", "examples/trials.csv", "--fact", "time-to-loss ratio=-1"], "expects a number above 0"),
        (["--csv", "examples/trials.csv", "--fact", "interval multiplier=-1.96"], "expects a number above 0"),
        (["--csv", "examples/trials.csv", "--fact", "synchronised timing=7"], "expects one of 0, 1. Found '7'"),
        (["--csv", "examples/trials.csv", "--fact", "timed steps=-4"], "expects a whole number, at least 0"),
        (["--csv", "examples/trials.csv", "--fact", "tuning seed=1.5"], "expects a whole number. Found '1.5'"),
        (["--csv", "examples/trials.csv", "--fact", "best *=1"], "knows no quantity 'best *'"),
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
        (["--optuna", "examples/search.journal", "--map", "score=val_loss"], "names user attributes: method, seed"),
        (["--csv", "examples/trials.csv", "rike2022"], "audited by itself"),
        (["--optuna", "examples/search.journal", "--studies", "x"], "no study 'x'. Choose from: plain, momentum"),
        (["--optuna", "examples/search.journal", "--map", "method=x"], "no hyperparameter or user attribute 'x'"),
        (["--optuna", "examples/search.journal", "examples/search.journal"], "is in two storages"),
        (["--optuna", "examples/search.journal", "--maximise"], "says itself whether it maximises"),
        (["rike2023"], "Unknown comparison 'rike2023'"),
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

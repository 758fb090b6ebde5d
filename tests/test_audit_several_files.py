"""Methods that were searched apart have a file each: read together, they are audited as one comparison."""

from pathlib import Path

import pandas as pd
import pytest

from repro.audit import report
from repro.audit.several_files import from_files, names_of
from repro.audit.table_files import read_table
from repro.audit.trials import from_table
from repro.cli import main
from repro.cli.shared import DONE, USAGE

ROOT = Path(__file__).resolve().parent.parent
NAMES = {"method": "opt", "score": "value", "status": "state"}


def apart(folder: Path, suffix: str = ".csv") -> tuple[Path, list[Path]]:
    """Return the shipped table whose rows stand method by method, and the file of each method, without its name."""
    table = read_table(ROOT / "examples/trials.csv", "opt")
    whole = pd.concat([own for _, own in table.groupby("opt", sort=False)])
    together, paths = folder / "whole.csv", []
    whole.to_csv(together, index=False)
    for name, own in whole.groupby("opt", sort=False):
        paths.append(folder / f"{name}{suffix}")
        own.drop(columns="opt").dropna(axis=1, how="all").to_csv(paths[-1], index=False)
    return together, paths


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_file_a_method_is_audited_as_one_table_is(suffix: str, tmp_path: Path) -> None:
    together, paths = apart(tmp_path, suffix)
    one = report.audit(from_files([together], NAMES))
    columns = {key: column for key, column in NAMES.items() if key != "method"}
    several = report.audit(from_files(paths, columns))
    assert len(paths) > 1
    assert several.evidence.methods == one.evidence.methods
    found = [[(f.rule, f.status, f.text) for f in each.findings] for each in (one, several)]
    assert found[0] == found[1]
    assert several.evidence.name == ", ".join(one.evidence.methods)
    assert "every file is one" in several.evidence.notes[0]
    assert several.evidence.notes[1:] == one.evidence.notes


def test_files_that_name_methods_keep_their_names(tmp_path: Path) -> None:
    together, _ = apart(tmp_path)
    table = read_table(together, "opt")
    parts = [tmp_path / "first.csv", tmp_path / "second.csv"]
    for path, part in zip(parts, (table[::2], table[1::2]), strict=True):
        part.to_csv(path, index=False)
    several = from_files(parts, NAMES)
    rows = pd.concat([table[::2], table[1::2]], ignore_index=True)
    assert several.methods == from_table(rows, NAMES, "x").methods
    assert not any("every file is one" in note for note in several.notes)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a/sgd.csv", "b/adam.jsonl"], ["sgd", "adam"]),
        (["r/sgd/t.csv", "r/adam/t.csv"], ["sgd", "adam"]),
        (["r/sgd/lr/t.csv.gz", "r/adam/lr/t.csv"], ["sgd", "adam"]),
        (["sgd/1/t.csv", "adam/t.csv"], ["sgd/1", "adam"]),
        (["t.csv", "r/t.csv"], ["t.csv", "r/t.csv"]),
        (["a.b.csv", "a.c.csv"], ["a.b", "a.c"]),
        (["t.csv", "t.parquet"], ["t.csv", "t.parquet"]),
    ],
)
def test_a_method_is_called_by_what_tells_its_file_apart(
    paths: list[str], names: list[str]
) -> None:
    assert names_of([Path(path) for path in paths]) == names


def test_what_a_file_lacks_is_said_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    a.write_text("value,params_lr\n1.0,0.1\n0.5,0.2\n")
    b.write_text("loss,params_lr,params_momentum\n1.0,0.1,0.9\n0.4,0.2,0.8\n")
    command = ["audit", "--csv", str(a), str(b), "--map"]
    assert main([*command, "score=value"]) == USAGE
    assert f"{b}: no column 'value' for 'score'" in capsys.readouterr().err
    b.write_text(b.read_text().replace("loss", "value"))
    # hyperparameters alone may be a method's own
    assert main([*command, "score=value,params=params_lr:params_momentum"]) == DONE
    assert "every file is one (a is" in " ".join(capsys.readouterr().out.split())
    b.write_text(b.read_text().replace("0.4", "low"))
    assert main([*command, "score=value"]) == USAGE
    assert f"Found 'low' in row 2 of {b}." in capsys.readouterr().err
    a.write_text("method,value,number\nm,1.0,0\nm,2.0,1\n")
    b.write_text("method,value,number\nm,1.5,2\nm,2.5,0\n")
    assert main([*command, "score=value"]) == USAGE
    assert f"appears twice (row 1 of {a}, row 2 of {b})" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["{a}"], "expected files that differ. Found this one twice"),
        (["ours"], "A file is audited by itself. Found the target 'ours'"),
        (["{a}.csv"], "no such file"),
        ([], "give a file a method: `--csv a.csv b.csv`"),
    ],
)
def test_files_that_mean_nothing_are_refused_in_one_line(
    more: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = tmp_path / "a.csv"
    a.write_text("score,params_lr\n1.0,0.1\n0.5,0.2\n")
    assert main(["audit", "--csv", str(a), *(each.format(a=a) for each in more)]) == USAGE
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_no_file_that_is_read_is_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, paths = apart(tmp_path)
    before = paths[-1].read_bytes()
    command = ["audit", "--csv", *map(str, paths), "--map", "score=value,status=state"]
    assert main([*command, "--json", str(paths[-1])]) == USAGE
    assert "is what is audited, and is only read" in capsys.readouterr().err
    assert paths[-1].read_bytes() == before

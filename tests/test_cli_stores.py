"""The folder of finished runs that a verb reads or makes, named or not."""

from pathlib import Path

import pytest
from elsewhere import elsewhere as elsewhere

from repro import cli

READING = [
    ["status", "baydin2022"],
    ["publish"],
    ["publish", "--to", "rows"],
    ["claims"],
    ["figures"],
    ["tables"],
    ["audit"],
    ["reproduce"],
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_store_that_was_named_and_is_not_there_is_one_line_and_status_2(
    words: list[str], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--store", "stroe"]) == 2
    assert capsys.readouterr() == (
        "",
        "repro: `--store` expects a folder of finished runs. Found nothing at stroe. Correct the name, or let "
        "`repro run` make it.\n",
    )
    assert list(elsewhere.iterdir()) == []


MAKING = [["run", "baydin2022"], ["tasks", "baydin2022", "--to", "x"], ["worker", "x"], ["bench"]]


@pytest.mark.parametrize("words", [*READING, *MAKING], ids=" ".join)
def test_a_store_that_is_a_file_is_one_line_and_status_2(
    words: list[str], elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "notes").write_text("")
    assert cli.main([*words, "--store", "notes"]) == 2
    assert capsys.readouterr().err == (
        "repro: `--store` expects a folder of finished runs. Found the file notes.\n"
    )
    (elsewhere / "notes").rename("bench" if words == ["bench"] else "store")
    assert cli.main(words) == 2  # the one that nobody named, too
    assert "Found the file" in capsys.readouterr().err


def test_without_a_store_there_is_one_to_come(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", "baydin2022", "--scale", "smoke", "--only", "beale"]) == 0
    assert "beale" in capsys.readouterr().out
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("verb", ["list", "data", "verify"])
def test_what_looks_at_no_store_takes_none(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--store", "store"])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith("repro: unrecognized arguments: --store")
    assert errors.endswith(f". See `repro {verb} --help`.\n")


def test_a_name_of_nothing_is_not_the_folder_one_is_in(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["run", "baydin2022", "--store", ""])
    assert stop.value.code == 2
    assert "argument --store: expected a name, found nothing." in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


def test_rows_of_folders_come_without_a_store(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (elsewhere / "runs").mkdir()
    assert cli.main(["publish", "--from", "rows", "--store", "runs"]) == 2
    told = "repro: `--from` takes its rows from folders instead of `--store`. Found both.\n"
    assert capsys.readouterr().err == told

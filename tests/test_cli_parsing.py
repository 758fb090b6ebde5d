"""The words of a command line: lists, durations, numbers and options; a wrong one is a line that points to help."""

from pathlib import Path

import pytest
from elsewhere import elsewhere as elsewhere

from repro import cli
from repro.cli import parsing


@pytest.mark.parametrize("words", [[], ["dance"], ["run"], ["run", "x", "--time-limit", "soon"]])
def test_bad_usage_exits_with_2_and_points_to_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert "--help" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["reproduce", "paper", "verify"])
@pytest.mark.parametrize("workers", ["0", "-1", "two"])
def test_what_draws_needs_a_process(
    verb: str, workers: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([verb, "--workers", workers])
    assert stop.value.code == 2
    told = f"argument --workers: expected a number of processes from 1, found {workers!r}. See"
    assert told in capsys.readouterr().err
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("option", ["--only", "--method", "--arm"])
@pytest.mark.parametrize("text", ["", ",", " , "])
def test_a_list_of_no_names_is_not_all_of_them(
    option: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["status", "all", option, text])
    assert stop.value.code == 2
    assert capsys.readouterr().err == (
        f"repro: argument {option}: expected names, separated by commas, found {text!r}. See "
        "`repro status --help`.\n"
    )


def test_a_method_with_commas_in_its_name_can_be_chosen(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["status", "fluegel2024", "--scale", "full", "--only", "functions-sphere-1"]
    assert cli.main([*command, "--method", "projection, k=2,forward gradient,mean,k=4"]) == 0
    printed = capsys.readouterr().out
    for chosen in ("projection, k=2", "forward gradient", "mean, k=4"):
        assert f"│ {chosen} " in printed
    assert "mean, k=2" not in printed
    assert elsewhere.exists()


def test_searches_that_a_method_leaves_out_are_named(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["status", "rike2022", "--scale", "smoke"]
    assert cli.main([*command, "--method", "backpropagation, SGD"]) == 0
    told = "`--method` leaves out 5 of the searches, which take all methods of a comparison: tuned-nn-sgd, tuned-cnn-sgd,"
    assert told in " ".join(capsys.readouterr().out.split())
    assert cli.main(command) == 0
    assert "leaves out" not in capsys.readouterr().out
    assert elsewhere.exists()


def test_names_with_commas_are_told_apart(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["run", "fluegel2024", "--method", "projection, k=3"]) == 2
    assert "'mean, k=4', " in capsys.readouterr().err
    assert elsewhere.exists()


def test_an_option_that_is_none_points_to_the_help_that_lists_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["status", "all", "--sacle", "full"])
    assert stop.value.code == 2
    errors = capsys.readouterr().err
    assert errors == "repro: unrecognized arguments: --sacle full. See `repro status --help`.\n"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90.0), ("90s", 90.0), ("9m", 540.0), ("1h30m", 5400.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parsing.duration(text) == seconds


@pytest.mark.parametrize("words", [["run", "baydin2022"], ["worker", "tasks.json"]])
@pytest.mark.parametrize("limit", ["0", "0s", "0h00m"])
def test_a_time_limit_of_nothing_is_bad_usage(
    words: list[str], limit: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "--time-limit", limit])
    assert stop.value.code == 2
    told = f"repro: argument --time-limit: expected a time of at least 1s, found {limit!r}."
    assert capsys.readouterr().err == f"{told} See `repro {words[0]} --help`.\n"
    assert list(elsewhere.iterdir()) == []


def test_only_what_has_workers_takes_their_number(capsys: pytest.CaptureFixture[str]) -> None:
    for verb, has_workers in (("run", True), ("status", True), ("tasks", False)):
        with pytest.raises(SystemExit):
            cli.main([verb, "--help"])
        assert ("--workers" in capsys.readouterr().out) == has_workers

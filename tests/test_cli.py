"""The command line: exit statuses, one clear line for bad input, and the way from rows to verdicts."""

import errno
import io
import os
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from rich.console import Console

import studies
from repro import cli
from repro.cli import parsing, redraw, shared
from repro.cli.runs import num_workers
from repro.cli.shared import PAPER, README, VERDICTS, all_studies, judge
from repro.execution import Stop
from repro.report import answers, verdicts
from repro.results import load, tabulate_facts
from repro.tables import to_markdown


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["run", "nobody1999"],
            "Unknown study 'nobody1999'. Choose from: baydin2022, fluegel2024, rike2022, speed.",
        ),
        (["run", "baydin2022", "--scale", "huge"], "Choose from: smoke, reduced, full."),
        (["run", "baydin2022", "--only", "fig9"], "Unknown experiment of baydin2022 'fig9'."),
        (["run", "baydin2022", "--method", "magic"], "Unknown method of baydin2022 'magic'."),
        (["run", "baydin2022", "--arm", "leg"], "Unknown arm of baydin2022 'leg'."),
        (["status", "baydin2022", "--device", "tpu"], "'tpu'. Choose from: cpu, cuda."),
        (["tasks", "baydin2022", "--device", "", "--to", "x"], "''. Choose from: cpu, cuda."),
        (["figures", "fig99"], "fig99"),
        (["tables", "tab99"], "tab99"),
    ],
)
def test_unknown_names_are_one_line_and_status_2(
    words: list[str], message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not list(elsewhere.glob("store/*"))


@pytest.mark.parametrize(
    ("package", "content", "message"),
    [
        ("studies", "STUDY = 1 +\n", "studies/wrong2030.py, line 1: SyntaxError: invalid syntax"),
        ("studies", "\nint('a')\n", "studies/wrong2030.py, line 2: invalid literal for int()"),
        ("studies", "x = 1\nx.y\n", "line 2: AttributeError: 'int' object has no attribute 'y'"),
        (
            "studies",
            "import repro.protocool\n",
            "line 1: ModuleNotFoundError: No module named 'repro.p",
        ),
        ("studies", "from repro.protocol import Clam\n", "line 1: ImportError: cannot import name"),
        (
            "studies",
            "STUDIES = 1\n",
            "Expected a value `STUDY`, a `repro.protocol.Study`, in studies/w",
        ),
        (
            "studies",
            "STUDY = 1\n",
            "Expected a value `STUDY`, a `repro.protocol.Study`, in studies/w",
        ),
        ("figures", "def draw(:\n", "figures/wrong2030.py, line 1: SyntaxError: invalid syntax"),
        (
            "figures",
            "draw = None\ndef select(results):\n    return results.run\n",
            "figures/wrong2030.py, line 3: AttributeError: 'Results' object has no attribute 'run'",
        ),
    ],
)
def test_a_mistake_in_a_module_of_ones_own_is_one_line_with_its_place(
    package: str,
    content: str,
    message: str,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder := elsewhere / package).mkdir()
    (folder / "wrong2030.py").write_text(content)
    monkeypatch.setattr(shared, "PAPER", elsewhere / "paper")
    monkeypatch.setattr(sys.modules[package], "__path__", [str(folder)])
    monkeypatch.setattr(shared, "all_studies", tuple)
    words = ["status", "wrong2030"] if package == "studies" else ["figures", "wrong2030"]
    try:
        assert cli.main(words) == 2
    finally:
        sys.modules.pop(f"{package}.wrong2030", None)
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1


def test_a_mistake_of_ones_own_can_be_followed(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := elsewhere / "studies").mkdir()
    (folder / "wrong2030.py").write_text("{}['a']\n")
    monkeypatch.setattr(studies, "__path__", [str(folder)])
    monkeypatch.setenv("REPRO_DEBUG", "1")
    with pytest.raises(KeyError):
        cli.main(["status", "wrong2030"])


def test_a_fault_of_the_package_keeps_its_traceback(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object, **named: object) -> None:
        raise KeyError(given, named)

    assert elsewhere.exists()
    monkeypatch.setattr("repro.cli.choice.expand", fails)
    with pytest.raises(KeyError):
        cli.main(["status", "baydin2022"])


@pytest.mark.torch
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "tpu"], "Unknown device 'tpu'. Choose from: cpu, cuda."),
        (["--workers", "0"], "`workers` must be at least 1. Found 0."),
    ],
)
def test_devices_and_workers_that_cannot_be(
    words: list[str], message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    command = ["run", "baydin2022", "--scale", "smoke", "--only", "beale", *words]
    assert cli.main(command) == 2
    assert message in capsys.readouterr().err
    assert elsewhere.exists()


@pytest.mark.parametrize(
    "words",
    [
        ["reproduce"],
        ["paper"],
        ["claims"],
        ["claims", "--accept"],
        ["verify"],
        ["verify", "--update"],
        ["publish"],
        ["publish", "--retire"],
        ["publish", "--from", "rows"],
    ],
)
def test_what_an_installed_package_cannot_do_asks_for_a_checkout(
    words: list[str],
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shared, "PAPER", elsewhere / "site-packages" / "paper")
    assert cli.main(words) == 2
    shown = capsys.readouterr()
    assert "needs a checkout of the repository. Clone it" in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert list(elsewhere.iterdir()) == []


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


@pytest.mark.torch
def test_data_sets_are_known_before_any_is_read(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pooch")
    assert cli.main(["data", "digits", "mnst"]) == 2
    told = "repro: Unknown data set 'mnst'. Choose from: mnist, cifar10, digits.\n"
    assert capsys.readouterr() == ("", told)
    assert cli.main(["data", "digits", "digits"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert list(elsewhere.iterdir()) == []


@pytest.mark.torch
def test_every_data_set_that_is_missing_is_named(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pooch")

    def offline(*arguments: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("repro.datasets.files.pooch.Pooch.fetch", offline)
    monkeypatch.setenv("REPRO_DATA_DIR", str(elsewhere))
    assert cli.main(["data"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("digits: 1297 training and 500 test images")
    told = printed.err.splitlines()
    assert [line[:14] for line in told] == ["repro: mnist: ", "repro: cifar10"]


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
    told = "`--method` leaves out 3 of the searches, which take all methods of a comparison: tuned-nn-sgd, tuned-cnn-sgd,"
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


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the limit, it is over at once."""
    pytest.importorskip("torch")
    monkeypatch.setattr("repro.execution.coordinator.Stop", lambda limit: Stop(0.0))


@pytest.mark.torch
def test_smoke_run_resumes_and_is_seen_by_status(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    chosen = ["baydin2022", "--scale", "smoke", "--only", "beale"]
    assert cli.main(["run", *chosen, "--workers", "1"]) == 0
    assert "4 runs done" in capsys.readouterr().out
    assert cli.main(["run", *chosen, "--workers", "1"]) == 0
    assert "4 were done before, 0 left" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["status", *chosen]) == 0
    assert "beale" in capsys.readouterr().out
    assert len(list((elsewhere / "store").glob("*/*.json"))) == 4


@pytest.mark.torch
def test_a_search_runs_resumes_and_is_counted(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    chosen = ["rike2022", "--scale", "smoke", "--only", "tuned-nn-sgd"]
    with monkeypatch.context() as patch:
        patch.setattr("repro.execution.coordinator.Stop", lambda limit: Stop(0.0))
        assert cli.main(["run", *chosen, "--workers", "1", "--time-limit", "1s"]) == 3
    assert cli.main(["run", *chosen, "--workers", "1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    done = len(list((elsewhere / "store").glob("*/*.json")))
    assert f"{done} runs done" in printed
    assert done >= 3 * (4 + 2)  # three methods, four trials, two repetitions; the edge rule adds
    assert (elsewhere / "store" / "optuna.journal").exists()
    assert cli.main(["run", *chosen, "--workers", "1"]) == 0
    assert "0 runs done" in capsys.readouterr().out
    assert cli.main(["status", *chosen]) == 0
    for line in capsys.readouterr().out.splitlines():
        if "tuned-nn-sgd" in line:
            assert line.split("│")[-3].strip() == "0"  # nothing is missing


@pytest.mark.torch
@pytest.mark.usefixtures("no_time")
def test_when_the_time_is_over_it_stops_with_3(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "baydin2022", "--scale", "smoke", "--only", "beale", "--time-limit", "1s"]
    assert cli.main(command) == 3
    assert "the same command carries on" in capsys.readouterr().out
    assert elsewhere.exists()


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


def test_claims_skip_and_name_a_damaged_file(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = elsewhere / "store" / "ab" / f"ab{'0' * 62}.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"schema": 1, "bo')
    assert cli.main(["claims"]) == 1  # the verdicts are those of the other rows alone
    printed = "".join(capsys.readouterr().out.split())
    assert "truncated" in printed
    assert damaged.stem in printed
    assert damaged.read_text() == '{"schema": 1, "bo'


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


@pytest.mark.torch
@pytest.mark.usefixtures("no_time")
def test_a_folder_that_looks_like_markup_is_named_as_it_is(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["baydin2022", "--scale", "smoke", "--only", "beale", "--time-limit", "1s"]
    assert cli.main(["run", *chosen, "--store", "runs [old]"]) == 3
    assert "finished runs are in runs [old]\n" in capsys.readouterr().out
    assert elsewhere.exists()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "paper"),
            2,
            "paper: Permission denied. Change its permissions, or name another place.",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Not a directory", "notes/rows"),
            2,
            "notes/rows: Not a directory. A part of that path is a file: name another.",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "No space left on device. Make room and run the same command again.",
        ),
        (
            FileExistsError(errno.EEXIST, "File exists", "paper/build"),
            2,
            "paper/build: File exists. A file is where a folder is to be: move it away.",
        ),
        (
            OSError(errno.EFBIG, "File too large"),
            2,
            "File too large. A limit on the size of files stops it: raise it (`ulimit -f`) and run the same command again.",
        ),
        (OSError(errno.EIO, "Input/output error", "x"), 2, "x: Input/output error."),
        (OSError("rows takes no files."), 2, "rows takes no files."),
    ],
    ids=lambda value: "" if isinstance(value, int | str) else type(value).__name__,
)
def test_what_the_system_refuses_is_said_in_words(
    error: OSError,
    status: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(options: Namespace, console: object) -> int:
        raise error

    monkeypatch.setattr("repro.cli.inventory.show_list", refuse)
    assert cli.main(["list"]) == status
    assert capsys.readouterr() == ("", f"repro: {line}\n")


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


def test_the_paper_is_built_by_the_verb_that_builds_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[bool, int]] = []

    def build(options: Namespace, console: object) -> int:
        asked.append((options.force, options.workers))
        return 0

    monkeypatch.setattr(redraw, "reproduce", build)
    for verb in ("reproduce", "paper"):
        assert cli.main([verb, "--force", "--workers", "3"]) == 0
    assert asked == [(True, 3)] * 2
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "reproduce (paper)" in capsys.readouterr().out


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_narrow_terminal_shows_names_and_costs_whole(
    width: int, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_Console", lambda **given: Console(width=width))
    study = studies.get("rike2022")
    for words in (["list"], ["status", study.name, "--scale", "full"]):
        assert cli.main(words) == 0
        printed = capsys.readouterr().out
        assert "…" not in printed
        tables = [line for line in printed.splitlines() if not line.startswith("about")]
        assert max(map(len, tables)) <= width
        # names come in pieces, one below the other; numbers in one
        if width >= 100:
            assert all(experiment.name in printed for experiment in study.experiments)
        assert re.search(r"\b144\b", printed)  # trials, finalists and reports of a search
    assert re.search(r"\b\d+h\d\dm\b", printed)
    assert elsewhere.exists()


def test_list_names_every_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    for name in studies.names():
        for experiment in studies.get(name).experiments:
            assert experiment.name in printed


def test_what_is_committed_shows_the_verdicts_of_the_published_rows() -> None:
    judgements = judge(load(studies.RESULTS, None, tabulate_facts(all_studies())))
    mend = "run `python -m repro claims --accept`"
    text = README.read_text(encoding="utf-8")
    headlines = verdicts.read_headlines(PAPER / "headlines.toml")
    assert verdicts.embed(text, judgements, headlines) == text, mend
    told = answers.spell(answers.read(PAPER / "answers.toml"), judgements)
    assert answers.embed(text, told) == text, mend
    listing = to_markdown(verdicts.claims_table(judgements, all_studies()))
    assert (PAPER / "claims.md").read_text(encoding="utf-8") == listing, mend
    assert verdicts.compare(judgements, verdicts.read_committed(VERDICTS)) == (), mend


@pytest.mark.parametrize(
    ("given", "device", "workers"),
    [(None, "cpu", 3), (None, "cuda", 1), (5, "cpu", 5), (5, "cuda", 5)],
)
def test_workers_are_one_a_usable_core_and_one_on_a_gpu(
    given: int | None, device: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 4, 5}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 128)
    assert num_workers(Namespace(workers=given, device=device)) == workers


def test_without_affinity_all_cores_are_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert shared.num_cores() == 8


def test_only_what_has_workers_takes_their_number(capsys: pytest.CaptureFixture[str]) -> None:
    for verb, has_workers in (("run", True), ("status", True), ("tasks", False)):
        with pytest.raises(SystemExit):
            cli.main([verb, "--help"])
        assert ("--workers" in capsys.readouterr().out) == has_workers

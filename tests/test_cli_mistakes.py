"""What is not ours to mend: a name, a module of one's own, an installed package, the system; a line each, and a traceback for ours."""

import errno
import importlib
import sys
from argparse import Namespace
from pathlib import Path

import pytest
from elsewhere import elsewhere as elsewhere

import studies
from repro import cli
from repro.cli import shared


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
    monkeypatch.setattr(importlib.import_module(package), "__path__", [str(folder)])
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

"""`status` for scripts: the same counts and prices as on the terminal, in one file."""

import json
from pathlib import Path
from typing import Any

import pytest

from repro import cli


def status(folder: Path, *more: str) -> dict[str, Any]:
    path = folder / "made" / "status.json"
    words = ["status", "baydin2022", "--store", str(folder), "--workers", "2", *more]
    assert cli.main([*words, "--json", str(path)]) == 0
    content = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_what_is_missing_adds_up_over_experiments_methods_and_the_queue(tmp_path: Path) -> None:
    content = status(tmp_path, "--scale", "smoke", "--only", "beale,rosenbrock")
    methods = [method for each in content["experiments"] for method in each["methods"]]
    assert [each["experiment"] for each in content["experiments"]] == ["beale", "rosenbrock"]
    assert content["missing"] > 0
    for key in ("missing", "unknown_cost", "core_seconds"):
        whole = pytest.approx(content[key], abs=0.1 * len(methods))  # of numbers to one decimal
        assert sum(method[key] for method in methods) == whole
        assert sum(stage[key] for stage in content["queue"]) == whole
    assert content["wall_seconds"] == pytest.approx(content["core_seconds"] / 2, abs=0.1)


def test_nothing_is_missing_of_what_is_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = status(tmp_path, "--scale", "full", "--only", "beale")
    assert content["missing"] == 0
    assert content["queue"] == []
    assert all(m["done"] > 0 for each in content["experiments"] for m in each["methods"])
    assert "nothing is missing" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_refused_before_rows_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["status", "baydin2022", "--store", str(tmp_path), "--json", str(tmp_path)]
    assert cli.main(words) == 2
    assert "`--json` expects a file. Found the folder" in " ".join(capsys.readouterr().err.split())


def test_status_goes_alone_to_standard_output_where_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["status", "baydin2022", "--store", str(tmp_path), "--scale", "full", "--only", "beale"]
    assert cli.main([*words, "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["missing"] == 0
    assert "nothing is missing" in captured.err
    assert "written" not in captured.err

"""The manifest names the layer that differs, down to the cell of a row."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import studies
from repro.report import manifest
from repro.results import load


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, pd.DataFrame]:
    published = load(studies.RESULTS)
    runs = published.runs[published.runs["experiment"].isin(["beale", "nn-sgd"])]
    runs = runs.reset_index(drop=True)
    curves = published.curves[published.curves["key"].isin(set(runs["key"]))]
    return runs, curves.reset_index(drop=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in {
        "figures/build/fig.csv": "x,y\n1,2\n",
        "figures/build/fig.svg": "<svg>2026-01-01T00:00:00 line</svg>",
        "paper/build/tables/tab.csv": "a\n1\n",
        "paper/build/index.html": "<p>1</p>",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path


def take(folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame], **code: str) -> dict[str, Any]:
    made = manifest.of_build(*rows, code, folder / "figures/build", folder / "paper/build")
    read: dict[str, Any] = json.loads(json.dumps(made))  # as it is committed
    return read


def told(before: dict[str, Any], after: dict[str, Any], runs: pd.DataFrame) -> list[str]:
    return [str(difference) for difference in manifest.compare(before, after, runs)]


def test_the_same_build_differs_in_nothing(
    folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    assert told(take(folder, rows), take(folder, rows), rows[0]) == []


def test_a_changed_cell_is_named(folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    runs, curves = rows
    index = runs.index[runs["experiment"] == "nn-sgd"][0]
    changed = runs.copy()
    changed.loc[index, "test_loss"] *= 1 + 1e-15
    row = runs.loc[index]
    assert told(take(folder, rows), take(folder, (changed, curves)), changed) == [
        f"rows: rike2022 nn-sgd · {row['method']} · report, repetition {row['repetition']} "
        f"(run {row['key'][:12]}): differs in test_loss"
    ]


def test_a_changed_point_of_a_curve_is_named(
    folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    runs, curves = rows
    changed = curves.copy()
    changed["value"] = np.where(changed.index == 7, changed["value"] + 1e-12, changed["value"])
    (line,) = told(take(folder, rows), take(folder, (runs, changed)), runs)
    assert str(curves["key"].iloc[7])[:12] in line
    assert line.endswith("differs in curves.value")


def test_rows_that_came_or_went_are_counted(
    folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    runs, curves = rows
    fewer = runs.drop(index=runs.index[runs["experiment"] == "beale"][0])
    (line,) = told(take(folder, rows), take(folder, (fewer, curves)), fewer)
    assert "10 runs in the manifest, 9 here" in line
    without = runs[runs["study"] != "rike2022"]
    lines = told(take(folder, rows), take(folder, (without, curves)), without)
    assert "rows: rike2022: the study is only in the manifest" in lines


@pytest.mark.parametrize(
    ("file", "content", "layer"),
    [
        ("figures/build/fig.svg", "<svg>2027-02-02T11:11:11 line</svg>", "time stamp"),
        ("figures/build/fig.svg", "<svg>2026-01-01T00:00:00 curve</svg>", "unknown"),
        ("figures/build/fig.csv", "x,y\n1,3\n", "values"),
        ("paper/build/tables/tab.csv", "a\n2\n", "values"),
    ],
)
def test_a_file_that_differs_alone_is_told_by_its_kind(
    file: str, content: str, layer: str, folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    before = take(folder, rows)
    (folder / file).write_text(content)
    name = "/".join(Path(file).parts[-2:])
    assert told(before, take(folder, rows), rows[0]) == [f"{layer}: {name} differs"]


@pytest.mark.parametrize(
    ("part", "name", "layer"),
    [("environment", "matplotlib", "library version"), ("fonts", "DejaVuSans.ttf", "font")],
)
def test_a_library_or_font_that_drew_otherwise_is_named(
    part: str, name: str, layer: str, folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    before = take(folder, rows)
    was = before[part][name]
    before[part][name] = "older"
    assert told(before, take(folder, rows), rows[0]) == []  # nothing came of it
    (folder / "figures/build/fig.svg").write_text("<svg>curve</svg>")
    assert told(before, take(folder, rows), rows[0]) == [
        f"{layer}: {name} older in the manifest, {was} here",
        f"{layer}: build/fig.svg differs",
    ]


def test_code_that_changed_is_the_cause_of_its_own_files_only(
    folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    before = take(folder, rows, fig="old", index="same")
    (folder / "figures/build/fig.svg").write_text("<svg>curve</svg>")
    (folder / "paper/build/index.html").write_text("<p>2</p>")
    lines = told(before, take(folder, rows, fig="new", index="same"), rows[0])
    assert lines == ["code: build/fig.svg differs", "unknown: build/index.html differs"]


def test_files_that_came_or_went_are_named(
    folder: Path, rows: tuple[pd.DataFrame, pd.DataFrame]
) -> None:
    before = take(folder, rows)
    (folder / "figures/build/fig.svg").rename(folder / "figures/build/other.svg")
    lines = told(before, take(folder, rows), rows[0])
    assert "unknown: build/fig.svg was not built" in lines
    assert "unknown: build/other.svg is not in the manifest" in lines


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "the manifest is missing"), ("[", "found no JSON"), ('{"schema": 0}', "schema 1")],
)
def test_an_unusable_manifest_says_the_mend(
    content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "manifest.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        manifest.read(path)
    assert "`repro verify --update` writes it." in str(error.value)

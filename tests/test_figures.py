"""`figures`: complete tables, drawings that show them, and the same bytes from the same rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_rows import drawn, text
from figure_rows import empty as empty
from figure_rows import full as full

import figures
from figures import baydin2022_fig3, selection
from repro.results import Results

FIGURES = figures.names()
TABLES = (
    "baydin2022_run_time",
    "fluegel2024_fig6_values",
    "fluegel2024_losses",
    "fluegel2024_paired",
    "fluegel2024_passes",
    "fluegel2024_seed0",
    "fluegel2024_table1",
    "network_runs",
    "rike2022_table1",
    "tuned_differences",
)


def test_names_are_of_two_kinds() -> None:
    rike = ("rike2022_fig1", "rike2022_fig2", "rike2022_last_batch", "rike2022_scaling")
    baydin = (*(f"baydin2022_fig{i}" for i in range(1, 7)), "baydin2022_identification")
    fluegel = (
        "fluegel2024_cost",
        *(f"fluegel2024_fig{i}" for i in (3, 4, 5, 6)),
        "fluegel2024_projection",
        "fluegel2024_size_gap",
    )
    assert (
        *baydin,
        *fluegel,
        "learning_rate_sensitivity",
        "learning_rate_sensitivity_many",
        *rike,
        "speed",
        "tuning_budget",
        "tuning_budget_many",
    ) == FIGURES
    assert figures.table_names() == TABLES


def test_unknown_names_list_the_choices(empty: Results, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown figure 'fig9'. Choose from: baydin2022_fig1, "):
        figures.build(empty, tmp_path, ["fig9"])
    with pytest.raises(ValueError, match=rf"Unknown table 'x'. Choose from: {', '.join(TABLES)}\."):
        figures.build_tables(empty, tmp_path, ["x"])


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_caption_in_plain_words(
    name: str, full: Results, empty: Results
) -> None:
    module = figures.module_of(name)
    for given in (full, empty):
        caption = figures.caption_of(module, module.select(given))
        assert caption.endswith(".")
        # an SVG's alternative text and the page show it as it is: no markup
        assert "`" not in caption
        assert "\n" not in caption


@pytest.mark.parametrize("name", FIGURES)
def test_without_rows_every_panel_says_not_run(name: str, empty: Results) -> None:
    module = figures.module_of(name)
    table = module.select(empty)
    layout = figures.layout_of(module, table)
    assert text(drawn(module, table)).count("not run") == layout.rows * layout.cols


def test_empty_results_build(empty: Results, tmp_path: Path) -> None:
    written = figures.build(empty, tmp_path / "new", ["baydin2022_fig5"])
    assert [p.suffix for p in written] == [".csv", ".pdf", ".svg", ".png"]
    (csv, *_) = figures.build_tables(empty, tmp_path)
    assert pd.read_csv(csv)["R_f"].isna().all()


@pytest.mark.parametrize("name", FIGURES)
def test_select_is_tidy_and_nothing_is_mutated(name: str, full: Results) -> None:
    copies = [frame.copy(deep=True) for frame in (full.runs, full.curves, full.facts)]
    module = figures.module_of(name)
    table = module.select(full)
    assert tuple(table.columns) == tuple(selection.COLUMNS)
    assert not table["published"].isna().any()
    kept = table.copy(deep=True)
    assert "not run" not in text(drawn(module, table))
    pd.testing.assert_frame_equal(table, kept)
    for frame, copy in zip((full.runs, full.curves, full.facts), copies, strict=True):
        pd.testing.assert_frame_equal(frame, copy)


def test_two_builds_are_byte_identical(full: Results, tmp_path: Path) -> None:
    only = ["baydin2022_fig3", "learning_rate_sensitivity", "rike2022_last_batch", "tuning_budget"]
    first, second = (figures.build(full, tmp_path / name, only) for name in ("a", "b"))
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes(), a.suffix
    shown = pd.read_csv(first[0], keep_default_na=False, na_values={"x": "", "y": ""})
    table = baydin2022_fig3.select(full)
    np.testing.assert_array_equal(shown["y"], table["y"])
    svg = next(p for p in first if p.suffix == ".svg").read_text()
    assert "<dc:date>" not in svg


def test_no_torch() -> None:
    code = "import sys, figures; figures.names(); figures.table_names(); sys.exit('torch' in sys.modules)"
    root = Path(figures.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0

"""A run made again is bitwise the same here, and what it is elsewhere has a name."""

import dataclasses
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import studies
from repro import cli, rerun
from repro.cli.shared import all_studies
from repro.protocol import RunSpec, Timing, parse_run
from repro.results import Results, load


@pytest.fixture(scope="module")
def published() -> Results:
    return load(studies.RESULTS)


@pytest.fixture
def spec(published: Results) -> RunSpec:
    rows = published.runs
    chosen = rows[(rows["experiment"] == "mlp-2e-4") & (rows["repetition"] == 2)]
    return parse_run(chosen.iloc[0]["spec"])


def again(published: Results, spec: RunSpec, **changes: float | str) -> Results:
    runs = published.runs[published.runs["key"] == spec.key].assign(**changes)
    curves = published.curves[published.curves["key"] == spec.key]
    return Results(runs, curves, pd.DataFrame())


def test_equal_rows_and_curves_are_bitwise_the_same(published: Results, spec: RunSpec) -> None:
    compared = rerun.compare(spec, published, again(published, spec))
    assert (compared.likeness, compared.metric) == ("bitwise", "")


def test_a_point_of_a_curve_that_moved_is_within_tolerance(
    published: Results, spec: RunSpec
) -> None:
    made = again(published, spec)
    curves = made.curves.copy()
    curves.loc[curves.index[3], "value"] += 1e-7
    compared = rerun.compare(spec, published, dataclasses.replace(made, curves=curves))
    assert compared.likeness == "same within tolerance"


@pytest.mark.parametrize(
    ("factor", "likeness"),
    [(1 + 1e-6, "same within tolerance"), (1.02, "statistically equal"), (3.0, "different")],
)
def test_a_metric_that_moved_is_judged_by_how_far(
    factor: float, likeness: str, published: Results, spec: RunSpec
) -> None:
    row = published.runs[published.runs["key"] == spec.key].iloc[0]
    value = float(row["validation_loss"]) * factor
    compared = rerun.compare(spec, published, again(published, spec, validation_loss=value))
    assert (compared.likeness, compared.metric) == (likeness, "validation_loss")
    assert compared.again == value


def test_another_end_is_different(published: Results, spec: RunSpec) -> None:
    made = again(published, spec, status="diverged")
    assert rerun.compare(spec, published, made).likeness == "different"


def test_what_an_older_row_did_not_record_is_no_difference(
    published: Results, spec: RunSpec
) -> None:
    old = published.runs.copy()
    old.loc[old["key"] == spec.key, "test_last_batch_loss"] = math.nan
    before = dataclasses.replace(published, runs=old)
    made = again(published, spec, test_last_batch_loss=0.5)
    assert rerun.compare(spec, before, made).likeness == "bitwise"


def alone(specs: Sequence[RunSpec]) -> list[tuple[RunSpec, ...]]:
    return [(spec,) for spec in specs]


def test_a_sample_keeps_to_its_budget_and_takes_several_cells(published: Results) -> None:
    groups = rerun.sample(all_studies(), published.runs, lambda spec: 3.0, alone, 10.0)
    cells = [(g[0].study, g[0].experiment, g[0].method.name) for g in groups]
    assert len(cells) == len(set(cells)) == 3
    keys = {spec.key for group in groups for spec in group}
    assert keys <= set(published.runs["key"])
    assert not any(isinstance(spec.task, Timing) for group in groups for spec in group)


def test_a_seed_gives_the_same_sample_and_another_one_another(published: Results) -> None:
    first, same, other = (
        rerun.sample(all_studies(), published.runs, lambda spec: 3.0, alone, 10.0, seed)
        for seed in (0, 0, 1)
    )
    assert first == same
    assert first != other


def test_runs_at_tuned_rates_are_in_samples_and_trials_are_not(published: Results) -> None:
    groups = rerun.sample(all_studies(), published.runs, lambda spec: 0.0, alone, 10.0)
    rows = published.runs.set_index("key").loc[[spec.key for group in groups for spec in group]]
    assert {"published", "tuned"} <= set(rows["arm"])
    assert set(rows["role"]) == {"report"}
    searched = published.runs[published.runs["role"] == "tune"]
    cells = set(zip(searched["experiment"], searched["method"], strict=True))
    assert cells <= set(zip(rows["experiment"], rows["method"], strict=True))


def test_what_costs_too_much_or_nobody_knows_what_is_left_out(published: Results) -> None:
    for price in (lambda spec: 4.0, lambda spec: None):
        assert rerun.sample(all_studies(), published.runs, price, alone, 10.0) == []


@pytest.fixture
def one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of runs that take no time."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        rerun,
        "sample",
        lambda found, runs, price, form_groups, *more: _one_group(form_groups, runs),
    )


@pytest.mark.torch
@pytest.mark.usefixtures("one_group")
def test_published_runs_come_out_bitwise_or_nearly(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify", "--only", "live"]) == 0
    assert "different: 0" in " ".join(capsys.readouterr().out.split())


@pytest.mark.torch
@pytest.mark.usefixtures("one_group")
def test_runs_that_fail_are_named_and_fail_the_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*words: object, **more: object) -> None:
        raise RuntimeError("the estimator is broken")

    monkeypatch.setattr("repro.training.train_within_memory", fail)
    assert cli.main(["verify", "--only", "live"]) == 1
    shown = capsys.readouterr()
    assert "RuntimeError: the estimator is broken" in shown.err
    assert "baydin2022 beale" in shown.err


@pytest.mark.torch
@pytest.mark.usefixtures("one_group")
def test_a_sample_of_which_nothing_ended_in_time_fails_the_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["verify", "--only", "live", "--budget", "0s"]) == 1
    assert "nothing was compared. Give `--budget` more." in capsys.readouterr().err


@pytest.mark.torch
@pytest.mark.usefixtures("one_group")
def test_runs_without_their_data_are_named_and_the_others_compared(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from repro import datasets

    def load(name: str) -> None:
        raise datasets.DataError(f"{name} is nowhere.")

    def sample(found: object, runs: pd.DataFrame, price: object, form: Any, *more: object) -> Any:
        return [*_one_group(form, runs), *_one_group(form, runs, "mlp-2e-4")]

    monkeypatch.setattr(datasets, "load", load)
    monkeypatch.setattr(rerun, "sample", sample)
    assert cli.main(["verify", "--only", "live"]) == 0
    shown = capsys.readouterr().out
    assert "not run again, no data: mnist (mnist is nowhere.)\n" in shown
    assert "different: 0" in shown


def test_without_published_rows_there_is_nothing_to_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(studies, "RESULTS", tmp_path)
    assert cli.main(["verify", "--only", "live"]) == 1
    assert capsys.readouterr().err == (
        f"repro: expected published rows in {tmp_path}, found none: there is nothing to run again. Restore them from "
        "version control.\n"
    )


@pytest.mark.torch
def test_an_empty_sample_fails_the_check(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert cli.main(["verify", "--only", "live", "--budget", "0s"]) == 1
    assert "nothing was compared. Give `--budget` more." in capsys.readouterr().err


@pytest.mark.torch
@pytest.mark.usefixtures("one_group")
def test_a_sample_that_is_interrupted_ends_stopped_and_builds_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from repro.execution import groups

    run_group = groups.run_group

    def interrupt(*words: Any, **more: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return run_group(*words, **more)

    def build(*words: object, **more: object) -> None:
        raise AssertionError("a rebuild after a stop")

    monkeypatch.setattr("repro.execution.workers.run_group", interrupt)
    monkeypatch.setattr("repro.cli.building.build", build)
    assert cli.main(["verify"]) == 3
    assert "stopped early: the sample was not compared whole" in capsys.readouterr().err


def _one_group(
    form_groups: object, runs: pd.DataFrame, experiment: str = "beale"
) -> list[tuple[RunSpec, ...]]:
    from repro.protocol import expand

    specs = expand(studies.get("baydin2022"), "full", only=[experiment])
    return form_groups(specs)[:1]  # type: ignore[operator, no-any-return]

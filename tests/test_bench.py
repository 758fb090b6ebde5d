"""The verb `bench`: what it times anew, what it keeps, and what it says of the bars."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from repro import cli, execution
from repro.protocol import RunSpec
from repro.publishing import publish
from repro.results import (
    RUN_COLUMNS,
    Curve,
    Record,
    Store,
    read_published,
    read_store,
    tabulate,
)

ONE = ["bench", "--scale", "smoke", "--only", "steps-logistic"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "steps-gpt"], "Unknown experiment of speed 'steps-gpt'."),
        (["--scale", "huge"], "Unknown scale 'huge'. Choose from: smoke, reduced, full."),
        (["--threads", "0"], "`num_threads` must be at least 1. Found 0."),
        (["--device", "tpu"], "Unknown device 'tpu'. Choose from: cpu, cuda."),
    ],
)
@pytest.mark.torch
def test_bad_input_is_one_line_and_status_2(
    words: list[str], message: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *words]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert list(elsewhere.iterdir()) == []


@pytest.mark.torch
def test_rows_land_with_a_table_and_a_figure(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(ONE) == 0
    text = printed(capsys)
    assert "steps-logistic, n=3" in text
    assert "plain forward gradient, Nesterov" in text
    assert "smoke scale exercises the wiring" in text
    assert "busy" not in text
    records, problems = read_store(elsewhere / "bench")
    assert (len(records), problems) == (21, ())
    runs, curves = tabulate(records)
    assert list(runs.columns) == list(RUN_COLUMNS)
    assert set(runs["study"]) == {"speed"}
    assert set(runs["experiment"]) == {"steps-logistic"}
    assert set(runs["num_threads"]) == {1}
    assert (runs["step_seconds_low"] <= runs["step_seconds"]).all()
    assert set(curves["metric"]) == {"step_seconds"}
    others = {path.name for path in (elsewhere / "bench").iterdir() if len(path.name) > 2}
    assert others == {f"speed.{suffix}" for suffix in ("csv", "pdf", "png", "svg")}
    # what was timed is published as any other rows are
    assert publish(elsewhere / "bench", elsewhere / "published") == ({"speed": 21}, ())
    assert len(read_published(elsewhere / "published")[0]) == 21


@pytest.mark.torch
def test_everything_is_timed_anew(elsewhere: Path) -> None:
    assert cli.main(ONE) == 0
    first, _ = read_store(elsewhere / "bench")
    assert cli.main(ONE) == 0
    second, _ = read_store(elsewhere / "bench")
    assert [r.spec.key for r in first] == [r.spec.key for r in second]
    assert all(a.curves != b.curves for a, b in zip(first, second, strict=True))


@pytest.mark.torch
def test_a_bar_that_is_not_met_fails_only_if_strict(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(specs: Sequence[RunSpec], store: Store, **options: object) -> execution.Outcome:
        for spec in specs:
            seconds = (2.0 if spec.method.name.startswith("plain") else 3.0,) * 10
            curve = Curve("none", "step_seconds", tuple(range(10)), seconds)
            machine: dict[str, str | int] = {"device": "a cpu", "num_threads": 1}
            store.write(Record(spec, "done", machine, (curve,)))
        return execution.Outcome(len(specs), 0, 0, 0, 1.0)

    monkeypatch.setattr(execution, "execute", timed)
    assert cli.main(ONE) == 0
    text = printed(capsys)
    assert "1.500 [1.500, 1.500]" in text
    assert "fail" in text
    assert "not run" in text  # of two processes nothing was timed, which is no failure
    assert cli.main([*ONE, "--strict"]) == 1


@pytest.mark.torch
def test_three_rounds_fail_no_bar(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*ONE, "--strict"]) == 0
    assert "undecided" in printed(capsys)


@pytest.mark.torch
def test_a_busy_machine_is_said(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (2.5, 0.0, 0.0))
    assert cli.main(ONE) == 0
    warning = f"the machine was busy before this began (load average 2.5 on {os.cpu_count()} cores)"
    assert printed(capsys).count(warning) == 2  # before the wait, and below the table


@pytest.mark.torch
def test_threads_are_those_asked_for_but_one_each_of_two_processes(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RunSpec] = []

    def noted(specs: Sequence[RunSpec], *arguments: object, **options: object) -> execution.Outcome:
        asked.extend(specs)
        return execution.Outcome(0, 0, 0, 0, math.nan)

    monkeypatch.setattr(execution, "execute", noted)
    both = ["--only", "steps-logistic,two-processes-mlp", "--threads", "2"]
    assert cli.main(["bench", "--scale", "smoke", *both]) == 0
    threads = {(s.experiment, s.task.num_threads) for s in asked}  # type: ignore[union-attr]
    assert threads == {("steps-logistic", 2), ("two-processes-mlp", 1)}


@pytest.mark.torch
def test_what_was_timed_before_a_stop_is_kept(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    execute = execution.execute

    def stopped(specs: Sequence[RunSpec], store: Store, **options: Any) -> execution.Outcome:
        (first, *_) = execution.form_groups(specs)
        outcome = execute(first, store, **options)
        return dataclasses.replace(outcome, left=len(specs) - len(first))

    monkeypatch.setattr(execution, "execute", stopped)
    both = ["--only", "steps-logistic,steps-mlp"]
    assert cli.main(["bench", "--scale", "smoke", *both]) == 3
    assert "stopped early: 21 of 42 were not timed" in printed(capsys)
    assert len(read_store(elsewhere / "bench")[0]) == 21


@pytest.mark.torch
def test_a_damaged_row_is_said_before_anything_is_timed(
    elsewhere: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(ONE) == 0
    damaged = Store(elsewhere / "bench").files()[0]
    damaged.write_text("{")
    monkeypatch.setattr(execution, "execute", None)
    assert cli.main(ONE) == 2
    assert damaged.name in capsys.readouterr().err
    assert damaged.read_text() == "{"


@pytest.mark.torch
def test_an_epoch_stands_beside_the_authors_own(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", "--scale", "smoke", "--only", "epoch-mlp", "--threads", "1"]) == 0
    text = printed(capsys)
    assert "A training epoch with the evaluation of all splits, 2 threads" in text
    for theirs in ("18", "22", "23", "25"):
        assert f" 2 {theirs} " in text  # rounds, then the authors' seconds
    records, problems = read_store(elsewhere / "bench")
    assert problems == ()
    assert {r.spec.method.name for r in records} == {
        "epoch of backpropagation",
        "epoch of forward gradient, k=1",
        "epoch of projection, k=4",
        "epoch of projection, k=16",
    }

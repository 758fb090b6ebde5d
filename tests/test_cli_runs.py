"""`run` resumes, searches, stops in time, and takes as many workers as there are cores."""

import dataclasses
import re
from argparse import Namespace
from pathlib import Path

import pytest
from elsewhere import elsewhere as elsewhere
from small_study import NETWORK, run

from repro import cli, execution
from repro.campaign import Work
from repro.cli import shared
from repro.cli.runs import num_workers, with_data
from repro.execution import Stop


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


@pytest.mark.torch
def test_an_unknown_data_set_is_said_with_the_experiment_that_names_it() -> None:
    pytest.importorskip("torch")
    wrong = run(problem=dataclasses.replace(NETWORK, dataset="mnits"))
    work = [
        Work("someone2022", spec.experiment, "full", (spec,), None, {}, {"forward": (spec,)})
        for spec in (wrong, dataclasses.replace(run(), experiment="right"))
    ]
    said = (
        "study 'someone2022', experiment 'images': `dataset` must be one of: mnist, cifar10, digits. "
        "Found 'mnits'."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        with_data(work[:1])
    kept, absent = with_data(work)
    assert (kept, absent) == (work[1:], [("images", said)])


@pytest.mark.torch
def test_a_single_run_is_counted_as_one(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    assert elsewhere.exists()
    chosen = ["baydin2022", "--scale", "smoke", "--only", "beale", "--workers", "1"]
    real = execution.work_off
    monkeypatch.setattr(
        execution, "work_off", lambda *a, **k: dataclasses.replace(real(*a, **k), done=1)
    )
    assert cli.main(["run", *chosen]) == 0
    assert "1 run done (0 diverged)" in capsys.readouterr().out

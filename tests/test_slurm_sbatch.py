"""What SLURM is asked for, and its refusals in our words: options, quotas, and a machine without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from slurm_queue import QUICK, Imitation, _method, command, own_folder, run
from slurm_queue import queue as queue
from small_runs import STUDY, counts, rows, small
from small_runs import events as events
from small_runs import store as store
from small_runs import undisturbed as undisturbed

from repro import cli
from repro.execution import Slurm, SubmissionError, form_groups, sbatch, slurm
from repro.execution.slurm import Cluster
from repro.protocol import expand
from repro.results import Store

pytest.importorskip("submitit")


def test_timings_get_a_node_to_themselves_and_the_threads_they_name() -> None:
    timing = form_groups(expand(STUDY, "smoke", only=["run-time-beale"]))[0]
    training = form_groups(small())[0]
    asked = sbatch.parameters_of(QUICK, "cpu", [timing], "name", 1)
    assert asked["exclusive"] is True
    assert asked["cpus_per_task"] == 1
    shared = sbatch.parameters_of(QUICK, "cuda", [training], "name", 1)
    assert "exclusive" not in shared
    assert shared["gpus_per_node"] == 1


def test_options_reach_sbatch() -> None:
    asked = sbatch.parameters_of(
        Slurm(7200.0, "p", "a", options=(("mem", "8G"),)), "cpu", [], "name", 9
    )
    assert (asked["partition"], asked["account"], asked["time"]) == ("p", "a", 120)
    assert asked["array_parallelism"] == 9
    assert asked["additional_parameters"] == {"requeue": True, "mem": "8G"}


QUOTA = (
    "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, ...)"
)


def test_a_quota_that_is_used_up_is_said_with_the_mend(store: Store, queue: Imitation) -> None:
    queue.refuses = QUOTA
    with pytest.raises(SubmissionError) as caught:
        run(store)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(
        "SLURM took no task: QOSMaxSubmitJobPerUserLimit; Batch job submission failed: "
    )
    assert "`--workers`" in said
    assert list((own_folder(store) / "arrays").iterdir()) == []


def test_a_quota_with_tasks_under_way_is_waited_for(
    undisturbed: Store, store: Store, queue: Imitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "largest_array", lambda: 2)
    whole = queue.take

    def take(*given: Any) -> None:
        queue.refuses = QUOTA if queue.waiting else ""
        whole(*given)

    monkeypatch.setattr(Cluster, "_ask", _method(take))
    said: list[str] = []
    assert counts(run(store, on_note=said.append)) == (10, 0, 0, 0)
    assert len(queue.submitted) == 5
    assert all(
        line.endswith("What is under way goes on, and the rest waits for it.") for line in said
    )
    assert rows(store) == rows(undisturbed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--partition", "p"], "--partition goes with `--executor slurm`. Found `--executor local`."),
        (["--wall-time", "2h"], "--wall-time goes with `--executor slurm`. Found `--executor local`."),
        (["--executor", "pbs"], "Unknown executor 'pbs'. Choose from: local, slurm."),
        (["--executor", "slurm", "--sbatch", "mem"], "`--sbatch` expects OPTION=VALUE, such as mem=8G. Found 'mem'."),
        (["--executor", "slurm", "--wall-time", "59s"], "SLURM counts minutes: `--wall-time` is at least 1m. Found 59s."),
        (["--executor", "slurm", "--workers", "0"], "`workers` must be at least 1. Found 0."),
    ],
)  # fmt: skip
def test_bad_options_are_said_in_a_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command(*options), "--store", str(tmp_path / "store")]) == 2
    assert capsys.readouterr().err == f"repro: {message}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_slurm_is_told_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cli.main([*command("--executor", "slurm"), "--store", str(tmp_path / "store")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "repro: `--executor slurm` needs SLURM's commands sbatch, srun, squeue, scontrol. "
    )
    assert "Found no sbatch" in said
    assert "`repro worker`" in said
    assert said.count("\n") == 1

"""Through a SLURM of one host: the rows of one process, whatever happens to tasks, nodes and the coordinator.

Marked `slurm`, which starts one.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm_host
from slurm_host import Host
from slurm_queue import ROOT, command, long_group
from small_runs import counts, rows
from small_runs import store as store

from repro import cli
from repro.execution import Event, Outcome, Slurm, execute
from repro.results import Store, read_record

pytest.importorskip("submitit")


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    if reason := slurm_host.missing():
        pytest.skip(reason)
    with slurm_host.running(tmp_path_factory.mktemp("slurm")) as host:
        yield host


@pytest.fixture
def cluster(host: Host, monkeypatch: pytest.MonkeyPatch) -> Host:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, host.environment[name])
    # how the nodes find this package, and share the machine
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return host


REAL = Slurm(wall_time=600.0, max_running=3, poll=0.2, patience=3.0)


@pytest.fixture(scope="module")
def long_rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    store = Store(tmp_path_factory.mktemp("long"))
    assert counts(execute(long_group(), store)) == (2, 0, 0, 0)
    return rows(store)


def submissions(host: Host) -> int:
    return (host.folder / "slurmctld.log").read_text().count("_slurm_rpc_submit_batch_job")


@pytest.mark.slurm
def test_a_study_gives_the_same_rows_through_slurm(cluster: Host, tmp_path: Path) -> None:
    chosen = ["all", "--scale", "smoke", "--only", "beale,tuned-nn-sgd"]
    here, there = tmp_path / "here", tmp_path / "there"
    assert cli.main(["run", *chosen, "--workers", "1", "--store", str(here)]) == 0
    through = ["--executor", "slurm", "--workers", "4", "--partition", "all", "--store", str(there)]
    assert cli.main(["run", *chosen, *through]) == 0
    assert rows(Store(there)) == rows(Store(here))


def disturbed(
    store: Store, disturb: Callable[[], object], **more: Any
) -> tuple[Outcome, list[Event]]:
    """Run the long group; once it has come some way, something happens to it."""
    seen: list[Event] = []

    def watch(event: Event) -> None:
        if event.steps and not any(before.steps for before in seen):
            disturb()
        seen.append(event)

    outcome = execute(long_group(), store, on_event=watch, checkpoint_every=0.2, slurm=REAL, **more)
    return outcome, seen


@pytest.mark.slurm
def test_a_cancelled_task_goes_on_in_another(
    cluster: Host, store: Store, long_rows: dict[str, Any]
) -> None:
    before = submissions(cluster)
    outcome, seen = disturbed(store, lambda: cluster.run("scancel", "-u", str(os.getuid())))
    assert any(event.steps for event in seen)
    assert counts(outcome) == (2, 0, 0, 0)
    assert rows(store) == long_rows
    assert submissions(cluster) - before == 2


@pytest.mark.slurm
@pytest.mark.parametrize("how", ["requeue", "SIGUSR2"])
def test_a_requeued_task_goes_on(
    cluster: Host, store: Store, long_rows: dict[str, Any], how: str
) -> None:
    def requeue() -> None:
        (job,) = cluster.run("squeue", "-h", "-r", "-o", "%i").split()
        if how == "requeue":
            cluster.run("scontrol", "requeue", job)
        else:  # what SLURM sends before the wall time is up
            cluster.run("scancel", "--signal=USR2", job)

    before = submissions(cluster)
    outcome, seen = disturbed(store, requeue)
    assert any(event.steps for event in seen)
    assert counts(outcome) == (2, 0, 0, 0)
    assert rows(store) == long_rows
    assert submissions(cluster) - before == 1


@pytest.mark.slurm
def test_a_lost_node_loses_nothing(cluster: Host, store: Store, long_rows: dict[str, Any]) -> None:
    def lose() -> None:
        cluster.kill_slurmd()
        cluster.start_slurmd()

    outcome, seen = disturbed(store, lose)
    assert any(event.steps for event in seen)
    assert counts(outcome) == (2, 0, 0, 0)
    assert rows(store) == long_rows


COORDINATOR = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from test_slurm_host import REAL, Store, execute, long_group

    execute(
        long_group(), Store(Path(sys.argv[1])), slurm=REAL, checkpoint_every=0.2,
        on_event=lambda event: print(event, flush=True), on_note=lambda line: print(line, flush=True),
    )
    """
)


@pytest.mark.slurm
def test_a_killed_coordinator_is_started_again_and_finds_its_tasks(
    cluster: Host, store: Store, long_rows: dict[str, Any]
) -> None:
    before = submissions(cluster)
    with subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, str(store.directory)], stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        try:
            assert "steps=" in first.stdout.readline()
        finally:
            first.kill()
    said: list[str] = []
    outcome = execute(long_group(), store, slurm=REAL, checkpoint_every=0.2, on_note=said.append)
    assert counts(outcome) == (2, 0, 0, 0)
    assert said == ["1 tasks of an earlier coordinator are in the queue and go on"]
    assert rows(store) == long_rows
    assert submissions(cluster) - before == 1


def requeues(host: Host) -> int:
    return (host.folder / "slurmctld.log").read_text().count("Requeuing JobId")


@pytest.mark.slurm
@pytest.mark.slow
def test_a_wall_time_that_is_too_short_loses_nothing(cluster: Host, store: Store) -> None:
    # as many steps as take this machine a minute and a half, now
    trial = Store(store.directory.with_name("trial"))
    execute(long_group(2_000), trial)
    seconds = read_record(trial.files()[0]).measured["seconds"]
    assert isinstance(seconds, float)
    group = long_group(int(90.0 / seconds) * 2_000)
    before = submissions(cluster), requeues(cluster)
    outcome = execute(
        group,
        store,
        slurm=dataclasses.replace(REAL, wall_time=60.0),
        checkpoint_every=5.0,
        time_limit=1200.0,
    )
    assert counts(outcome) == (2, 0, 0, 0)
    # it queues again by itself, unless it came no further: then it is submitted again
    assert submissions(cluster) - before[0] + requeues(cluster) - before[1] > 1
    other = Store(store.directory.with_name("undisturbed"))
    execute(group, other)
    assert rows(store) == rows(other)


@pytest.mark.slurm
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--partition", "nowhere"],
            "SLURM took no task: invalid partition specified: nowhere; Batch job submission failed: Invalid "
            "partition name specified. `sinfo` lists the partitions; name one by `--partition`.",
        ),
        (
            ["--sbatch", "bogus=1"],
            "SLURM took no task: unrecognized option '--bogus=1' Try \"sbatch --help\" for more information. See "
            "what `--sbatch` was given.",
        ),
    ],
)
def test_what_slurm_refuses_is_said_in_a_line(
    cluster: Host,
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = [*command("--executor", "slurm", *options), "--store", str(tmp_path / "store")]
    assert cli.main(given) == 2
    assert capsys.readouterr().err == f"repro: {message}\n"
    assert cluster.run("squeue", "-h") == ""


@pytest.mark.slurm
def test_a_folder_that_the_nodes_cannot_see_is_said(
    cluster: Host, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as where the nodes have neither the folder nor what is in it: a task cannot even leave a note
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    monkeypatch.chdir(store.directory.parent)
    outcome = execute(long_group(100), store, slurm=REAL)
    (failure,) = outcome.failures
    assert "most likely the nodes do not see that folder, or not this Python" in failure.reason

"""On a cluster: the rows of one process, whatever happens to tasks, nodes and the coordinator; nothing is done twice.

The first half imitates the queue, and runs anywhere. The second, marked `slurm`, starts a SLURM of one host.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import slurm_host
from slurm_host import Host
from small_runs import counts, deliver, rows, small, stamps

import studies
from repro import cli
from repro.checkpoints import FOLDER as CHECKPOINTS
from repro.checkpoints import name_of, steps_done
from repro.execution import (
    Event,
    Outcome,
    Slurm,
    SubmissionError,
    execute,
    form_groups,
    sbatch,
    slurm,
)
from repro.execution.cluster_task import Note, read_note, run_task
from repro.execution.slurm import Cluster
from repro.protocol import RunSpec, Training, expand
from repro.results import HeldError, Store, read_record

pytest.importorskip("submitit")

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300.0  # seconds; the machine may be busy
STUDY = studies.get("baydin2022")
QUICK = Slurm(poll=0.0, patience=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The small runs, one process, nothing in between."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    assert counts(execute(small(), store)) == (10, 0, 0, 0)
    return store


# An imitated queue


def _method(function: Callable[..., None]) -> Callable[..., None]:
    """A function that a class hands itself to, as a method; a bound one would not be."""

    def method(*given: Any) -> None:
        function(*given)

    return method


class Imitation:
    """Takes arrays and runs their tasks in this process, one at every look at the queue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.arrays: dict[str, list[tuple[Any, ...]]] = {}  # every task ever submitted, by array
        self.at_once: list[int] = []
        self.waiting: dict[tuple[str, int], tuple[Any, ...]] = {}
        self.answers = True
        self.refuses = ""
        self.loses: Callable[[tuple[str, int]], bool] = lambda place: False
        self.runs_tasks = True
        monkeypatch.setattr(slurm, "check_slurm", lambda: None)
        monkeypatch.setattr(slurm, "largest_array", lambda: 1000)
        monkeypatch.setattr(slurm, "queue_states", self.look)
        monkeypatch.setattr(slurm, "SETTLE", 0.0)
        monkeypatch.setattr(Cluster, "_ask", _method(self.take))

    def take(self, cluster: Any, name: str, chunk: Sequence[Any], at_once: int) -> None:
        if self.refuses:
            raise SubmissionError(sbatch.in_our_words(self.refuses))
        tasks = [
            (
                str(cluster._file(task)),
                str(cluster._note(task)),
                str(cluster._store.directory),
                "cpu",
                cluster._checkpoint_every,
                name,
            )
            for task in chunk
        ]
        self.arrays[name] = tasks
        self.at_once.append(at_once)
        self.waiting |= {(name, number): task for number, task in enumerate(tasks)}

    def look(self) -> dict[tuple[str, int], str] | None:
        if not self.answers:
            self.answers = True
            return None
        if self.waiting and self.runs_tasks:
            place = next(iter(self.waiting))
            task = self.waiting.pop(place)
            if not self.loses(place):
                run_task(*task)
        return dict.fromkeys(self.waiting, "PENDING")

    @property
    def submitted(self) -> list[str]:
        return [Path(task[0]).stem for tasks in self.arrays.values() for task in tasks]


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Imitation:
    return Imitation(monkeypatch)


def run(store: Store, **more: Any) -> Outcome:
    return execute(small(), store, **{"slurm": QUICK, **more})


def test_a_cluster_gives_the_rows_of_one_process(
    undisturbed: Store, store: Store, queue: Imitation
) -> None:
    seen: list[Event] = []
    assert counts(run(store, on_event=seen.append)) == (10, 0, 0, 0)
    assert rows(store) == rows(undisturbed)
    assert [len(tasks) for tasks in queue.arrays.values()] == [5]  # one array, a group a task
    assert sorted(event.group for event in seen if event.statuses) == list(range(5))
    before = stamps(store)
    assert counts(run(store)) == (0, 0, 10, 0)
    assert stamps(store) == before
    assert len(queue.arrays) == 1


def leave_tasks_in_the_queue(store: Store, queue: Imitation, **more: Any) -> Outcome:
    """Interrupt a coordinator once it has submitted."""
    queue.runs_tasks = False
    before = signal.getsignal(signal.SIGINT)
    look = queue.look

    def interrupt() -> Any:
        if signal.getsignal(signal.SIGINT) is not before:
            deliver(signal.SIGINT, before)
        return look()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slurm, "queue_states", interrupt)
        return run(store, **more)


def own_folder(store: Store) -> Path:
    return store.directory / slurm.FOLDER / str(os.getuid())


def test_accounts_that_share_a_store_share_no_file_of_their_tasks(
    undisturbed: Store, store: Store, queue: Imitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_tasks_in_the_queue(store, queue)
    (folder,) = (store.directory / slurm.FOLDER).glob("[0-9]*")
    assert folder == own_folder(store)
    before = {path for path in folder.rglob("*") if path.is_file()}
    assert len([path for path in before if path.parent.name == "tasks"]) == 5
    folder.chmod(0o000)  # as it is to others
    monkeypatch.setattr("os.getuid", lambda: 70_000)
    theirs, queue.waiting, queue.runs_tasks = dict(queue.waiting), {}, True
    assert counts(run(store)) == (10, 0, 0, 0)
    assert rows(store) == rows(undisturbed)
    folder.chmod(0o700)
    assert {path for path in folder.rglob("*") if path.is_file()} == before
    for task in theirs.values():
        run_task(*task)  # which finds its group, and nothing to do
        assert read_note(Path(task[1])).state == "done"


def test_what_tasks_needed_is_gone_when_they_are_done(store: Store, queue: Imitation) -> None:
    run(store)
    folder = own_folder(store)
    assert [path for part in ("tasks", "notes") for path in (folder / part).iterdir()] == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not any((store.directory / CHECKPOINTS).glob("*"))


def test_no_more_run_at_once_than_allowed(store: Store, queue: Imitation) -> None:
    run(store, slurm=dataclasses.replace(QUICK, max_running=2))
    assert [len(tasks) for tasks in queue.arrays.values()] == [5]
    assert queue.at_once == [2]


def test_arrays_are_no_larger_than_the_site_takes_and_together_within_the_cap(
    store: Store, queue: Imitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "largest_array", lambda: 2)
    run(store, slurm=dataclasses.replace(QUICK, max_running=3))
    sizes = [len(tasks) for tasks in queue.arrays.values()]
    assert sizes == [2, 1, 1, 1]
    assert queue.at_once == sizes


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


def test_a_coordinator_that_is_started_again_submits_nothing_twice(
    undisturbed: Store, store: Store, queue: Imitation
) -> None:
    said: list[str] = []
    outcome = leave_tasks_in_the_queue(store, queue, on_note=said.append)
    assert counts(outcome) == (0, 0, 0, 10)
    assert len(queue.waiting) == 5
    (line,) = said
    assert line.startswith(
        "5 tasks stay in the queue and go on; the same command finds them, and `scancel "
    )
    assert next(iter(queue.arrays)) in line
    queue.runs_tasks = True
    outcome = run(store, on_note=said.append)
    assert (outcome.left, outcome.failures) == (0, ())
    assert said[1] == "4 tasks of an earlier coordinator are in the queue and go on"
    assert len(queue.submitted) == len(set(queue.submitted)) == 5
    assert rows(store) == rows(undisturbed)


def test_a_group_that_was_finished_meanwhile_does_not_end_after_a_stop(
    undisturbed: Store, queue: Imitation
) -> None:
    del queue
    cluster = Cluster(QUICK, undisturbed, "cpu", 60.0, print)
    cluster.start(0, form_groups(small())[0])
    assert not cluster.stop()
    assert not cluster.running
    assert cluster.poll(lambda event: None) == []


def test_a_coordinator_that_died_while_it_submitted_submits_nothing_twice(
    undisturbed: Store, store: Store, queue: Imitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    whole = Cluster._ask

    def die(*given: Any) -> None:
        whole(*given)
        raise Killed  # SLURM has it, and nobody was told

    queue.runs_tasks = False
    with monkeypatch.context() as patch:
        patch.setattr(Cluster, "_ask", die)
        with pytest.raises(Killed):
            run(store)
    queue.runs_tasks = True
    outcome = run(store)
    assert (outcome.left, outcome.failures) == (0, ())
    assert len(queue.arrays) == 1
    assert rows(store) == rows(undisturbed)


def test_tasks_that_vanish_are_submitted_again(
    undisturbed: Store, store: Store, queue: Imitation
) -> None:
    lost: list[tuple[str, int]] = []

    def lose_two(place: tuple[str, int]) -> bool:
        lost.append(place)
        return len(lost) <= 2

    queue.loses = lose_two
    assert counts(run(store)) == (10, 0, 0, 0)
    assert len(queue.submitted) == 7
    assert rows(store) == rows(undisturbed)


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        (Note(), r"left nothing in .*most likely the nodes do not see that folder"),
        (
            Note("stopped", "", "a", "7", "node1"),
            r"the wall time is too short.*Give `--wall-time` more\.",
        ),
        (Note("begun", "", "a", "7", "node1"), r"last as job 7 on node1; .*Lack of memory"),
    ],
)
def test_tasks_that_vanish_again_and_again_are_named(
    store: Store, queue: Imitation, note: Note, reason: str
) -> None:
    def lose(place: tuple[str, int]) -> bool:
        path = queue.arrays[place[0]][place[1]][1]
        if note.state:
            Path(path).write_text(json.dumps(dataclasses.asdict(note)))
        return True

    queue.loses = lose
    outcome = run(store)
    assert counts(outcome) == (0, 0, 0, 0)
    assert len(outcome.failures) == 5
    for failure in outcome.failures:
        assert failure.reason.startswith("its task ended 3 times without having come any further")
        assert re.search(reason, failure.reason)
    assert len(queue.submitted) == 15


def test_a_run_that_fails_on_its_node_is_named_and_the_others_go_on(
    undisturbed: Store, store: Store, queue: Imitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from repro import training

    whole = training.train

    def fail(specs: Sequence[RunSpec], *given: Any, **more: Any) -> Any:
        if specs[0].experiment == "beale":
            raise ZeroDivisionError("by\nzero")
        return whole(specs, *given, **more)

    monkeypatch.setattr("repro.training.train", fail)
    outcome = run(store)
    assert {f.reason for f in outcome.failures} == {"ZeroDivisionError: by zero"}
    assert len(queue.submitted) == 5  # an error is not tried again
    assert rows(store).items() < rows(undisturbed).items()


def test_a_silent_scheduler_is_asked_again_and_nothing_is_concluded(
    undisturbed: Store, store: Store, queue: Imitation
) -> None:
    queue.answers = False
    said: list[str] = []
    assert counts(run(store, on_note=said.append)) == (10, 0, 0, 0)
    assert said == ["SLURM does not answer; tasks go on without, and this asks again"]
    assert len(queue.submitted) == 5
    assert rows(store) == rows(undisturbed)


def test_a_silent_scheduler_that_may_have_tasks_gets_no_more(
    store: Store, queue: Imitation
) -> None:
    folder = own_folder(store) / "arrays"
    folder.mkdir(parents=True)
    (folder / "repro-0.json").write_text('{"groups": []}')
    queue.answers = False
    with pytest.raises(
        SubmissionError, match=r"an earlier coordinator may have tasks.*nothing was submitted"
    ):
        run(store)
    assert queue.arrays == {}


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


def test_a_second_coordinator_is_refused_with_who_is_the_first(
    store: Store, queue: Imitation
) -> None:
    def second(event: Event) -> None:
        if refused:
            return  # when nothing is left to do there is nothing to refuse
        with pytest.raises(
            HeldError, match=rf"already, by process {os.getpid()} of .* on .* since "
        ):
            run(store)
        refused.append(event)

    refused: list[Event] = []
    run(store, on_event=second)
    assert refused
    assert len(queue.submitted) == 5


def test_files_of_the_folder_are_not_trusted(
    undisturbed: Store, store: Store, queue: Imitation
) -> None:
    folder = own_folder(store)
    (folder / "arrays").mkdir(parents=True)
    (folder / "notes").mkdir()
    for index, text in enumerate(
        ['{"groups": 7}', "[]", "half", '{"groups": [{"a": 1}, "../../x"]}']
    ):
        (folder / "arrays" / f"repro-{index}.json").write_text(text)
    (folder / "notes" / f"{name_of(form_groups(small())[0])}.json").write_text('{"job": "../../x"}')
    assert counts(run(store)) == (10, 0, 0, 0)
    assert rows(store) == rows(undisturbed)


# A task


SIGNALLED = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from repro.execution.cluster_task import run_task
    from repro import training
    training.ASK_EVERY = float("inf")  # however busy the machine is
    whole = training._leave
    looks = int(sys.argv[3])
    def leave(checkpoint, stop, *given):
        global looks
        looks -= 1
        if looks == 0:
            os.kill(os.getpid(), signal.SIGUSR2)
        whole(checkpoint, stop, *given)
    training._leave = leave
    run_task(sys.argv[1], sys.argv[2], sys.argv[4], "cpu", 3600.0, "array")
    """
)


@pytest.mark.parametrize("looks", [1, 0])
def test_a_task_whose_time_is_up_queues_again(store: Store, tmp_path: Path, looks: int) -> None:
    group = long_group(200)
    expected = "requeue 12_3" if looks else ""
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n')
    scontrol.chmod(0o755)
    from repro.execution import write_task

    write_task(tmp_path / "task.json", group)
    arguments = [tmp_path / "task.json", tmp_path / "note.json", looks, store.directory]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_ARRAY_JOB_ID": "12",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    subprocess.run(
        [sys.executable, "-c", SIGNALLED, *map(str, arguments)], env=environment, check=True
    )
    note = read_note(tmp_path / "note.json")
    asked = tmp_path / "asked"
    if expected:
        assert asked.read_text().strip() == expected
        assert (note.state, note.job, note.array) == ("stopped", "12_3", "array")
        assert steps_done(store.directory, group) == 200  # at the second look
    else:
        assert note.state == "done"
        assert not asked.exists()
        assert len(store.files()) == len(group)


def test_a_signal_before_a_task_has_begun_does_not_end_it(tmp_path: Path) -> None:
    # as in a batch script, with an interpreter of which the path has to be quoted
    python = tmp_path / "a folder" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", str(python))
        line = sbatch.python_command()
    program = (
        "import os, signal, sys; os.kill(os.getpid(), signal.SIGUSR2); print(sys.argv[1:]); "
        "from repro.execution import Stop; late = Stop()\n"
        "with late.at(signal.SIGUSR2): os.kill(os.getpid(), signal.SIGUSR2); print(late())"
    )
    script = f"{line} -u -c '{program}' 'a b' c"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "['a b', 'c']\nTrue\n"


# Bad input


def command(*more: str) -> list[str]:
    return ["run", "baydin2022", "--scale", "smoke", "--only", "beale", *more]


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


# A SLURM of one host


def long_group(steps: int = 8_000) -> tuple[RunSpec, ...]:
    """One task: two replicas, long enough to be disturbed."""
    task = Training(steps, evaluate_every=1_000)
    runs = expand(STUDY, "smoke", only=["beale"], methods=["forward gradient"])
    return tuple(
        dataclasses.replace(spec, task=task, hyperparameters=(("learning_rate", 1e-5),))
        for spec in runs
    )


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
    from test_slurm import REAL, Store, execute, long_group

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

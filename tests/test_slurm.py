"""On a cluster: the rows of one process, whatever happens to tasks, the scheduler and the coordinator; nothing is done twice.

The queue is imitated, so this runs anywhere.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from slurm_queue import QUICK, Imitation, own_folder, run
from slurm_queue import queue as queue
from small_runs import counts, deliver, rows, small, stamps
from small_runs import events as events
from small_runs import store as store
from small_runs import undisturbed as undisturbed

from repro.checkpoints import FOLDER as CHECKPOINTS
from repro.checkpoints import name_of
from repro.execution import Event, Outcome, SubmissionError, form_groups, slurm
from repro.execution.cluster_task import Note, read_note, run_task
from repro.execution.slurm import Cluster
from repro.protocol import RunSpec
from repro.results import HeldError, Store

pytest.importorskip("submitit")


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
    (reason,) = {f.reason for f in outcome.failures}
    assert re.match(
        r"ZeroDivisionError: by zero \(.*test_slurm\.py, line \d+; REPRO_DEBUG=1", reason
    )
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

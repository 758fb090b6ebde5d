"""Groups as tasks in a cluster's queue: array jobs of SLURM, with the shared folder as the only truth.

A task is `repro worker` under another name. The coordinator asks only two things of SLURM: to take an array, and
to say which tasks are in the queue (`squeue`; no accounting). Whether a group has finished or failed, and how far it
is, stands in files: finished runs, notes that tasks leave, and checkpoints. An array's name and the order of its
groups are written down before it is submitted, so that a coordinator that is started again finds what an earlier one
submitted, and submits nothing twice.

A task that nears its wall time saves a checkpoint and, if it has made any progress, puts itself back into the queue.
One that vanished without ending (cancelled, preempted for good, a lost node) is submitted again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from repro.execution.cluster_task import read_note, run_task
from repro.execution.groups import Group, is_timing
from repro.execution.sbatch import (
    Places,
    Slurm,
    SubmissionError,
    check_slurm,
    in_our_words,
    largest_array,
    parameters_of,
    python_command,
    queue_states,
)
from repro.execution.tasks import is_finished, write_task
from repro.execution.workers import Ended, Event
from repro.results import RejectedFileError, Store, read_record, write_whole

FOLDER = "slurm"
"""Where coordinators and tasks keep their files in a store, a folder an account; no finished run has such a name."""
ATTEMPTS = 3
"""How often in a row a task may vanish without having come any further."""
SETTLE = 5.0
"""Seconds that a submission may take to show in the queue."""


@dataclasses.dataclass
class _Task:
    """A group that was handed over."""

    index: int
    group: Group
    name: str
    missing: tuple[str, ...]
    steps: int = 0
    told: int = 0
    attempts: int = 0
    vanished: float | None = None
    place: tuple[str, int] | None = None  # its array and its number there, once submitted


class Cluster:
    """Hands groups to SLURM as a `Pool` hands them to processes; they stay in the queue when the coordinator ends."""

    shares_machine = False
    """Whether its groups run on this machine, so that a timing has to wait for them."""

    def __init__(
        self,
        slurm: Slurm,
        store: Store,
        device: str,
        checkpoint_every: float,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Find what an earlier coordinator has in the queue.

        Args:
            slurm: How to ask for tasks.
            store: Where finished runs go; every node has to see it.
            device: `cpu` or `cuda`.
            checkpoint_every: Seconds between two checkpoints.
            say: Told, in a line, what a user wants to know meanwhile.

        Raises:
            SubmissionError: If there is no SLURM here, or it does not answer.
        """
        check_slurm()
        self._slurm, self._store, self._device = slurm, store, device
        self._checkpoint_every, self._say = checkpoint_every, say
        # of each account its own: an account's queue says nothing of the tasks of another
        self._folder = store.directory.resolve() / FOLDER / str(os.getuid())
        for part in ("arrays", "tasks", "notes", "submitit"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        # what submitit pickles for the nodes is read back by them: nobody else may write it
        self._folder.chmod(0o700)
        self._tasks: dict[int, _Task] = {}
        self._waiting: list[_Task] = []
        self._finished: list[_Task] = []
        self._looked = 0.0
        self._largest = largest_array()
        self._deaf = self._full = False
        self._adopted = self._adopt()

    @property
    def running(self) -> tuple[int, ...]:
        """Numbers of the groups handed over."""
        return tuple(self._tasks)

    @property
    def has_room(self) -> bool:
        """Whether a group is taken: always, the queue is the cluster's."""
        return True

    def start(self, index: int, group: Group) -> None:
        """Take a group; it is submitted with others at the next `poll`, unless it is in the queue already."""
        from repro.checkpoints import name_of, steps_done

        missing = tuple(s.key for s in group if s.key not in self._store)
        task = _Task(index, group, name_of(group), missing)
        if not missing:  # a task of an earlier coordinator has ended just now
            self._tasks[index] = task
            self._finished.append(task)
            return
        task.steps = steps_done(self._store.directory, group)
        task.place = self._adopted.pop(task.name, None)
        self._tasks[index] = task
        if task.place is None:
            self._waiting.append(task)

    def poll(self, on_event: Callable[[Event], None]) -> list[Ended]:
        """Submit what waits, wait a moment, and see which groups have ended.

        Args:
            on_event: Told of steps done, as far as checkpoints tell.

        Returns:
            The groups that ended.

        Raises:
            SubmissionError: If SLURM takes nothing and nothing is under way.
        """
        if self._finished:
            ended = [self._end(task) for task in self._finished]
            self._finished.clear()
            return ended
        self._submit()
        time.sleep(min(0.2, self._slurm.poll))
        if time.monotonic() - self._looked < self._slurm.poll:
            return []
        queue = queue_states()
        self._looked = time.monotonic()
        if queue is None:
            if not self._deaf:
                self._say("SLURM does not answer; tasks go on without, and this asks again")
            self._deaf = True
            return []
        self._deaf = False
        submitted = [task for task in self._tasks.values() if task.place is not None]
        looks = [self._look_at(task, queue, on_event) for task in submitted]
        return [ended for ended in looks if ended is not None]

    def stop(self) -> bool:
        """Let go of the tasks, which stay in the queue; return whether there were any."""
        submitted = sum(task.place is not None for task in self._tasks.values())
        if submitted:
            arrays = sorted({task.place[0] for task in self._tasks.values() if task.place})
            named = f"scancel --name={','.join(arrays)}"
            self._say(
                f"{submitted} tasks stay in the queue and go on; the same command finds them, and `{named}` ends "
                "them"
            )
        self._tasks.clear()
        self._waiting.clear()
        self._finished.clear()
        return submitted > 0

    def _look_at(
        self, task: _Task, queue: Places, on_event: Callable[[Event], None]
    ) -> Ended | None:
        from repro.checkpoints import steps_done

        assert task.place is not None
        state = queue.get(task.place)
        if state is not None:
            task.vanished = None
            if state == "RUNNING":
                done = steps_done(self._store.directory, task.group)
                if done > task.told:
                    on_event(Event(task.index, done - task.told))
                    task.told = done
            return None
        if (how := self._what_ended(task)) is not None:
            return self._end(task, **how)
        now = time.monotonic()
        task.vanished = task.vanished or now
        if now - task.vanished < self._slurm.patience:
            return None
        done = steps_done(self._store.directory, task.group)
        task.attempts = 1 if done > task.steps else task.attempts + 1
        task.steps, task.vanished = max(done, task.steps), None
        if task.attempts >= ATTEMPTS:
            return self._end(task, error=self._why_lost(task))
        task.place = None
        self._waiting.append(task)
        return None

    def _what_ended(self, task: _Task) -> dict[str, Any] | None:
        """Return how a task ended that left the queue; `None` if no file says."""
        assert task.place is not None
        try:
            if is_finished(task.group, self._store):
                return {"statuses": tuple(self._statuses(task))}
        except RejectedFileError as error:
            return {"error": str(error)}
        note = read_note(self._note(task))
        failed = note.state == "failed" and note.array == task.place[0]
        return {"error": note.error} if failed else None

    def _end(self, task: _Task, **how: Any) -> Ended:
        del self._tasks[task.index]
        note = read_note(self._note(task))
        for path in (self._note(task), self._file(task)):
            path.unlink(missing_ok=True)
        if "error" not in how and re.fullmatch(r"\d+(_\d+)?", note.job):
            from submitit.core.utils import JobPaths

            paths = JobPaths(self._folder / "submitit", job_id=note.job, task_id=0)
            for path in (paths.submitted_pickle, paths.result_pickle, paths.stdout):
                path.unlink(missing_ok=True)
        return Ended(task.index, **how)

    def _statuses(self, task: _Task) -> Iterator[str]:
        for key in task.missing:
            yield read_record(self._store.path(key)).status

    def _why_lost(self, task: _Task) -> str:
        assert task.place is not None
        note = read_note(self._note(task))
        times = f"its task ended {ATTEMPTS} times without having come any further"
        if note.state == "stopped":
            return f"{times}: the wall time is too short for it to start and take a few steps. Give `--wall-time` more."
        if note.state:
            return (
                f"{times}, last as job {note.job} on {note.host}; what it said is in {self._folder / 'submitit'}. "
                "Lack of memory is the most likely: `--sbatch mem=8G` asks for more."
            )
        return (
            f"{times}, and left nothing in {self._folder}: most likely the nodes do not see that folder, or not "
            "this Python. Give `--store` a folder that all nodes share. Or `--wall-time` ends before a task has "
            "begun: give it more."
        )

    def _note(self, task: _Task) -> Path:
        return self._folder / "notes" / f"{task.name}.json"

    def _file(self, task: _Task) -> Path:
        return self._folder / "tasks" / f"{task.name}.json"

    def _submit(self) -> None:
        """Submit as much of what waits as the cap allows: one array, or more next to few others."""
        for kind in (False, True):
            waiting = [task for task in self._waiting if is_timing(task.group) == kind]
            while waiting:
                under_way = sum(task.place is not None for task in self._tasks.values())
                # an array holds the cap by itself; others beside it get what it cannot use any more
                room = self._slurm.max_running - under_way
                size = min(self._largest, len(waiting) if under_way == 0 else room)
                if size < 1:
                    return
                chunk, waiting = waiting[:size], waiting[size:]
                try:
                    self._submit_array(chunk, min(size, self._slurm.max_running))
                except SubmissionError as error:
                    if under_way == 0:
                        raise
                    if not self._full:
                        self._say(f"{error} What is under way goes on, and the rest waits for it.")
                    self._full = True
                    return
                self._full = False

    def _submit_array(self, chunk: Sequence[_Task], at_once: int) -> None:
        name = f"repro-{secrets.token_hex(6)}"
        record = self._folder / "arrays" / f"{name}.json"
        for task in chunk:
            write_task(self._file(task), task.group)
            self._note(task).unlink(missing_ok=True)
        # before SLURM knows of it: whoever comes after a crash finds it by this name
        write_whole(record, json.dumps({"groups": [task.name for task in chunk]}).encode())
        try:
            self._ask(name, chunk, at_once)
        except SubmissionError:
            record.unlink(missing_ok=True)
            raise
        for number, task in enumerate(chunk):
            task.place = (name, number)
            self._waiting.remove(task)

    def _ask(self, name: str, chunk: Sequence[_Task], at_once: int) -> None:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        logging.getLogger("submitit").setLevel(logging.CRITICAL)  # what it says is said here
        executor = submitit.SlurmExecutor(folder=self._folder / "submitit", python=python_command())
        groups = [task.group for task in chunk]
        executor.update_parameters(
            **parameters_of(self._slurm, self._device, groups, name, at_once)
        )
        try:
            # what SLURM says is said once, by the error
            with contextlib.redirect_stderr(io.StringIO()), executor.batch():
                for task in chunk:
                    executor.submit(
                        run_task,
                        str(self._file(task)),
                        str(self._note(task)),
                        str(self._store.directory.resolve()),
                        self._device,
                        self._checkpoint_every,
                        name,
                    )
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            raise SubmissionError(in_our_words(str(error))) from error

    def _adopt(self) -> dict[str, tuple[str, int]]:
        """Return which groups earlier coordinators have in the queue, and forget arrays that are not."""
        records = sorted((self._folder / "arrays").glob("*.json"))
        queue = queue_states() if records else {}
        if queue is not None and {path.stem for path in records} - {name for name, _ in queue}:
            time.sleep(min(SETTLE, self._slurm.patience))  # one may have been submitted just now
            queue = queue_states()
        if queue is None:
            raise SubmissionError(
                "SLURM does not answer, and an earlier coordinator may have tasks in its queue. Try again when "
                "`squeue` works: nothing was submitted."
            )
        found = {}
        for path in records:
            numbers = [number for name, number in queue if name == path.stem]
            groups = _groups_of(path)
            for number in numbers:
                if number < len(groups):
                    found[groups[number]] = (path.stem, number)
            if not numbers:
                path.unlink(missing_ok=True)
        if not found:
            self._tidy()
        else:
            self._say(f"{len(found)} tasks of an earlier coordinator are in the queue and go on")
        return found

    def _tidy(self) -> None:
        """Remove the files of tasks and their notes, as no task is left."""
        for part in ("tasks", "notes", "submitit"):
            for path in (self._folder / part).iterdir():
                path.unlink(missing_ok=True)


def _groups_of(record: Path) -> list[str]:
    try:
        groups = json.loads(record.read_bytes())["groups"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return groups if isinstance(groups, list) else []

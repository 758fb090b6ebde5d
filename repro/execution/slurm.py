"""Groups as tasks of a cluster's queue: array jobs of SLURM, and the shared folder as the only truth.

A task is `repro worker` under another name. The coordinator asks SLURM two things only: to take an array, and
which tasks are in the queue (`squeue`; no accounting). Whether a group is finished, failed, or how far it is,
stands in files: of finished runs, of notes that tasks leave, of checkpoints. An array's name and the order of
its groups are written down before it is submitted, so a coordinator that is started again finds what an earlier
one submitted by its name, and submits nothing twice.

A task that nears its wall time leaves a checkpoint and puts itself back into the queue, if it has come any
further. One that vanished without an end (cancelled, preempted for good, a lost node) is submitted again.
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
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from repro.execution.cluster_task import read_note, run_task
from repro.execution.groups import Group, is_timing
from repro.execution.tasks import is_finished, write_task
from repro.execution.workers import Ended, Event
from repro.protocol import Timing
from repro.results import Store, read_record, write_whole

FOLDER = "slurm"
"""Where the coordinator and the tasks keep their files in a store; no finished run has such a name."""
COMMANDS = ("sbatch", "srun", "squeue", "scontrol")
ATTEMPTS = 3
"""How often in a row a task may vanish without having come any further."""
LARGEST_ARRAY = 1000
"""SLURM's own default, less one, where the site does not say."""
SETTLE = 5.0
"""Seconds that a submission may take to show in the queue."""


class SubmissionError(ValueError):
    """SLURM takes no task; the message is its own, with a way to mend it."""


@dataclasses.dataclass(frozen=True)
class Slurm:
    """How tasks are asked for.

    Attributes:
        wall_time: Seconds that a task may take before it has to go on in another.
        partition: Name of the partition; the site's default where empty.
        account: Whom the time is charged to; the user's default where empty.
        max_running: Most tasks that run at once.
        options: Further options of `sbatch` by their long names, without dashes.
        poll: Seconds between two looks at the queue.
        patience: Seconds after which a task counts as lost that is neither in the queue nor finished: shared
            file systems show a new file late.
    """

    wall_time: float = 3600.0
    partition: str = ""
    account: str = ""
    max_running: int = 100
    options: tuple[tuple[str, str], ...] = ()
    poll: float = 5.0
    patience: float = 60.0

    def __post_init__(self) -> None:
        if not self.wall_time >= 60.0:
            raise ValueError(
                f"SLURM counts minutes: `--wall-time` is at least 1m. Found {self.wall_time:g}s."
            )
        if self.max_running < 1:
            raise ValueError(f"`workers` must be at least 1. Found {self.max_running}.")


def check_slurm() -> None:
    """Raise unless tasks can be submitted from here.

    Raises:
        SubmissionError: If a command or a package is missing.
    """
    absent = [name for name in COMMANDS if shutil.which(name) is None]
    if absent:
        raise SubmissionError(
            f"`--executor slurm` needs SLURM's commands {', '.join(COMMANDS)}. Found no {absent[0]}: run this on "
            "a node of the cluster that can submit, or write the tasks with `repro tasks` and hand them to "
            "`repro worker` by whatever scheduler there is."
        )
    try:
        import submitit  # noqa: F401
    except ModuleNotFoundError as error:
        raise SubmissionError(
            f"`--executor slurm` needs {error.name}, which is not installed. Install the extra `slurm`: "
            "python -m pip install -e '.[train,slurm]' -c constraints.txt"
        ) from error


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
    """Hands groups to SLURM as a `Pool` hands them to processes; on leaving, tasks stay in the queue."""

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
        self._folder = store.directory.resolve() / FOLDER
        for part in ("arrays", "tasks", "notes", "submitit"):
            (self._folder / part).mkdir(parents=True, exist_ok=True)
        # what submitit pickles for the nodes is read back by them: nobody else may write it
        (self._folder / "submitit").chmod(0o700)
        self._tasks: dict[int, _Task] = {}
        self._waiting: list[_Task] = []
        self._finished: list[_Task] = []
        self._looked = 0.0
        self._largest = _largest_array()
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

        missing = tuple(s.key for s in group if not self._store.path(s.key).exists())
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
        """Submit what waits, wait a moment, and look who has ended.

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
        queue = _queue()
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
        """Leave the tasks to the queue; return whether they had not been left before."""
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
        return submitted > 0

    def _look_at(
        self, task: _Task, queue: _Places, on_event: Callable[[Event], None]
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
        if is_finished(task.group, self._store):
            return self._end(task, statuses=tuple(self._statuses(task)))
        note = read_note(self._note(task))
        if note.state == "failed" and note.array == task.place[0]:
            return self._end(task, error=note.error)
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
        executor = submitit.SlurmExecutor(folder=self._folder / "submitit", python=_python())
        executor.update_parameters(**_parameters(self._slurm, self._device, chunk, name, at_once))
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
            raise SubmissionError(_mend(str(error))) from error

    def _adopt(self) -> dict[str, tuple[str, int]]:
        """Return which groups earlier coordinators have in the queue, and forget arrays that are not."""
        records = sorted((self._folder / "arrays").glob("*.json"))
        queue = _queue() if records else {}
        if queue is not None and {path.stem for path in records} - {name for name, _ in queue}:
            time.sleep(min(SETTLE, self._slurm.patience))  # one may have been submitted just now
            queue = _queue()
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
        """Remove what tasks needed and said, of which none is left."""
        for part in ("tasks", "notes", "submitit"):
            for path in (self._folder / part).iterdir():
                path.unlink(missing_ok=True)

    def __enter__(self) -> Cluster:
        """Return the cluster."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Leave the tasks to the queue."""


_Places = dict[tuple[str, int], str]


def _queue() -> _Places | None:
    """Return the state of this user's tasks by array and number; `None` if SLURM does not answer."""
    command = ["squeue", "-u", str(os.getuid()), "-h", "-r", "-o", "%j|%K|%T"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return None
    places = {}
    for line in said.stdout.splitlines():
        name, number, state = line.strip().rsplit("|", 2)
        places[name, int(number) if number.isdigit() else 0] = state  # "N/A": an array of one
    return places


def _groups_of(record: Path) -> list[str]:
    try:
        groups = json.loads(record.read_bytes())["groups"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return groups if isinstance(groups, list) else []


def _largest_array() -> int:
    """Return how many tasks an array of this site may have."""
    command = ["scontrol", "show", "config"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return LARGEST_ARRAY
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said.stdout, re.MULTILINE)
    return max(1, int(found[1]) - 1) if found else LARGEST_ARRAY


def _python() -> str:
    """Return the command of a task's Python, which a signal does not end before there is somebody to take it.

    The signal that announces the end of the wall time may come up to a minute early, and importing PyTorch over
    a shared file system takes long.
    """
    return f'sh -c \'trap "" USR2; exec "$0" "$@"\' {shlex.quote(sys.executable)}'


def _parameters(
    slurm: Slurm, device: str, chunk: Iterable[_Task], name: str, at_once: int
) -> dict[str, Any]:
    """Return what submitit asks `sbatch` for."""
    tasks = [task.group[0].task for task in chunk]
    timings = [task for task in tasks if isinstance(task, Timing)]
    parameters: dict[str, Any] = {
        "job_name": name,
        "time": max(1, int(slurm.wall_time // 60)),
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": max((t.num_threads * t.processes for t in timings), default=1),
        "array_parallelism": at_once,
        # a step of a large network and the writing of a checkpoint have to fit in
        "signal_delay_s": int(min(90.0, slurm.wall_time / 4)),
        "stderr_to_stdout": True,
        "additional_parameters": {"requeue": True, **dict(slurm.options)},
    }
    if timings:
        parameters["exclusive"] = True  # a neighbour would be in the numbers
    if device == "cuda":
        parameters["gpus_per_node"] = 1
    for key in ("partition", "account"):
        if value := getattr(slurm, key):
            parameters[key] = value
    return parameters


MENDS = {
    "(gres)": "No such GPUs there: name their partition by `--partition`.",
    "partition": "`sinfo` lists the partitions; name one by `--partition`.",
    "limit": "Lower `--workers` or `--wall-time`, or wait until your other jobs have ended.",
    "qos": "Name another by `--sbatch qos=`, or wait until your other jobs have ended.",
    "account": "Name an account that may submit there by `--account`.",
    "option": "See what `--sbatch` was given.",
    "controller": "Try again when `squeue` works.",
    "space": "Make room there.",
}
"""What to do about it, by a word of what SLURM says."""


def _mend(said: str) -> str:
    """Return SLURM's message in one line, and what to do about it."""
    lines = [line.strip() for line in said.splitlines() if "error" in line.lower()] or [said]
    text = "; ".join(dict.fromkeys(re.sub(r"^sbatch: (error: )?", "", line) for line in lines))
    lowered = text.lower()
    mend = next((mend for word, mend in MENDS.items() if word in lowered), "")
    return " ".join(f"SLURM took no task: {text.rstrip('.')}. {mend}".split())

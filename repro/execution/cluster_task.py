"""A task on a node of a cluster: one group, a note for the coordinator, and a signal when the time is up.

The note says in a file that the task began and how it ended, since nothing else on a node is sure to be seen:
accounting is missing on many sites, and output may be anywhere.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from repro.execution.stops import Stop
from repro.execution.tasks import read_task, work_on
from repro.results import Store, write_whole


@dataclasses.dataclass(frozen=True)
class Note:
    """What a task last said.

    Attributes:
        state: `begun`, `stopped`, `failed` or `done`; empty where it said nothing.
        error: What went wrong, in one line.
        array: The array that it was submitted with.
        job: SLURM's number of the job.
        host: Name of the node.
    """

    state: str = ""
    error: str = ""
    array: str = ""
    job: str = ""
    host: str = ""


def read_note(path: Path) -> Note:
    """Return a task's note; an empty one if there is none, or it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
        return Note(**{f.name: str(content[f.name]) for f in dataclasses.fields(Note)})
    except (OSError, ValueError, KeyError, TypeError):
        return Note()


def run_task(
    file: str, note: str, store: str, device: str, checkpoint_every: float, array: str
) -> None:
    """Work a group off on a node, and leave a note.

    Near the end of the wall time the task leaves a checkpoint and, if it has come further than the one
    before, puts itself back into the queue: that needs no coordinator.

    Args:
        file: The group, as `repro tasks` writes it.
        note: Where to leave the note.
        store: Folder of finished runs.
        device: `cpu` or `cuda`.
        checkpoint_every: Seconds between two checkpoints.
        array: Name of the array that this is a task of.
    """
    from repro.checkpoints import steps_done

    job = _job()

    def leave(state: str, error: str = "") -> None:
        content = Note(state, error, array, job, socket.gethostname())
        write_whole(Path(note), json.dumps(dataclasses.asdict(content)).encode())

    leave("begun")
    late, ended = Stop(), Stop()
    with late.at(signal.SIGUSR2), ended.at(signal.SIGTERM):
        try:
            group = read_task(Path(file))
            before = steps_done(Path(store), group)
            result = work_on(
                group,
                Store(Path(store)),
                device,
                should_stop=lambda: late() or ended(),
                checkpoint_every=checkpoint_every,
            )
        except ValueError as error:
            leave("failed", " ".join(str(error).split()))
            return
        if result.error:
            leave("failed", result.error)
        elif not (late() or ended()):
            leave("done")
        else:
            leave("stopped")
            if late() and not ended() and steps_done(Path(store), group) > before:
                # some sites forbid it: then the coordinator submits the group again
                subprocess.run(["scontrol", "requeue", job], check=False, timeout=60)


def _job() -> str:
    number = os.environ.get("SLURM_ARRAY_JOB_ID")
    if number is None:
        return os.environ.get("SLURM_JOB_ID", "")
    return f"{number}_{os.environ.get('SLURM_ARRAY_TASK_ID', '0')}"

"""What SLURM is asked, through its own commands, and its answers in our words."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from repro.execution.groups import Group
from repro.protocol import Timing

COMMANDS = ("sbatch", "srun", "squeue", "scontrol")
LARGEST_ARRAY = 1000
"""SLURM's own default, less one, where the site does not say."""


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


Places = dict[tuple[str, int], str]


def queue_states() -> Places | None:
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


def largest_array() -> int:
    """Return how many tasks an array of this site may have."""
    command = ["scontrol", "show", "config"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError):
        return LARGEST_ARRAY
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", said.stdout, re.MULTILINE)
    return max(1, int(found[1]) - 1) if found else LARGEST_ARRAY


def python_command() -> str:
    """Return the command of a task's Python, which a signal does not end before there is somebody to take it.

    The signal that announces the end of the wall time may come up to a minute early, and importing PyTorch over
    a shared file system takes long.
    """
    return f'sh -c \'trap "" USR2; exec "$0" "$@"\' {shlex.quote(sys.executable)}'


def parameters_of(
    slurm: Slurm, device: str, groups: Iterable[Group], name: str, at_once: int
) -> dict[str, Any]:
    """Return what submitit asks `sbatch` for."""
    tasks = [group[0].task for group in groups]
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


def in_our_words(said: str) -> str:
    """Return SLURM's message in one line, and what to do about it."""
    lines = [line.strip() for line in said.splitlines() if "error" in line.lower()] or [said]
    text = "; ".join(dict.fromkeys(re.sub(r"^sbatch: (error: )?", "", line) for line in lines))
    lowered = text.lower()
    mend = next((mend for word, mend in MENDS.items() if word in lowered), "")
    return " ".join(f"SLURM took no task: {text.rstrip('.')}. {mend}".split())

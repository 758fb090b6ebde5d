"""A task on a node: it leaves a note, and queues again when its time is up."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from slurm_queue import ROOT, long_group
from small_runs import store as store

from repro.checkpoints import steps_done
from repro.execution import sbatch
from repro.execution.cluster_task import read_note
from repro.results import Store

pytest.importorskip("submitit")

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

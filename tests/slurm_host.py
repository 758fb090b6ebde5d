"""A SLURM of one host, for tests: its daemons with a configuration of their own, on ports of their own.

`python tests/slurm_host.py FOLDER` starts one and prints the variable that its commands need, until Ctrl-C.
It takes Debian's packages `slurm-wlm` and `munge`, root (or a user who runs nothing else by it), and touches no
file outside FOLDER.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
SYSTEM = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
STARTED = 60.0  # seconds; it takes two or three on a quiet machine

CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=5
MinJobAge=2
SlurmdTimeout=10
SlurmctldTimeout=10
SchedulerParameters=sched_interval=1,batch_sched_delay=0,requeue_delay=1
SlurmdParameters=config_overrides
MaxArraySize=1001
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=4000 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
PartitionName=second Nodes={host} MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be none here; empty if there can."""
    absent = [name for name in DAEMONS if shutil.which(name, path=SYSTEM) is None]
    if absent:
        return f"{absent[0]} is not installed (Debian: apt-get install slurm-wlm munge)"
    return "" if os.getuid() == 0 else "slurmd starts tasks as root only"


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


class Host:
    """The daemons; `slurmd` may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": SYSTEM,
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.touch(mode=0o400)
        key.chmod(0o600)
        key.write_bytes(secrets.token_bytes(128))
        with socket.socket() as one, socket.socket() as other:
            for each in (one, other):
                each.bind(("127.0.0.1", 0))
            ports = one.getsockname()[1], other.getsockname()[1]
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition(".")[0],
                user=getpass.getuser(),
                folder=self.folder,
                ports=ports,
            )
        )
        files = [
            f"--{kind}-file={self.folder}/munge.{kind}" for kind in ("key", "pid", "log", "seed")
        ]
        self._start(
            "munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *files
        )
        self._until((self.folder / "munge.socket").exists)
        self._start("slurmctld", "-D")
        self.start_slurmd()
        self._until(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T"))

    def start_slurmd(self) -> None:
        self._start("slurmd", "-D")

    def kill_slurmd(self) -> None:
        """As when a node is lost: nothing is said to anybody."""
        daemon = self._daemons.pop("slurmd")
        daemon.kill()
        daemon.wait()

    def _start(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                [str(shutil.which(name, path=SYSTEM)), *arguments],
                env=self.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=_unblock,  # noqa: PLW1509 - nothing else runs in this process
            )

    def _until(self, condition: object) -> None:
        assert callable(condition)
        deadline = time.monotonic() + STARTED
        while not condition():
            ended = [name for name, daemon in self._daemons.items() if daemon.poll() is not None]
            if ended or time.monotonic() > deadline:
                logs = [p for p in self.folder.iterdir() if p.suffix in (".log", ".out")]
                told = "\n".join(f"{p.name}: {p.read_text()[-2000:]}" for p in logs)
                raise RuntimeError(f"SLURM did not start ({ended}):\n{told}")
            time.sleep(0.1)

    def run(self, *command: str) -> str:
        """What a command prints; nothing if it fails."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False, timeout=60
        ).stdout

    def stop(self) -> None:
        self.run("scancel", "-u", str(os.getuid()))
        deadline = time.monotonic() + 15.0
        while self.run("squeue", "-h").strip() and time.monotonic() < deadline:
            time.sleep(0.2)
        for name in ("slurmd", "slurmctld", "munged"):
            daemon = self._daemons.pop(name, None)
            if daemon is not None:
                daemon.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    daemon.wait(10.0)
                daemon.kill()
                daemon.wait()


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Host]:
    host = Host(folder)
    try:
        host.start()
        yield host
    finally:
        host.stop()


if __name__ == "__main__":
    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # they are waited for below
    place = Path(sys.argv[1]).resolve()
    place.mkdir(parents=True)
    with running(place) as started:
        sys.stdout.write(f"export SLURM_CONF={started.folder}/slurm.conf\n")
        sys.stdout.flush()
        signal.sigwait(ending)

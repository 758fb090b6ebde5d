"""Whoever is killed, signalled or broken: no process stays behind, no row is wrong, and the next group goes on."""

import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from small_runs import STUDY, counts, rows, small
from small_runs import events as events
from small_runs import same_threads as same_threads
from small_runs import store as store
from small_runs import undisturbed as undisturbed

from repro.engine import RecordingError
from repro.execution import Event, execute, form_groups, workers
from repro.protocol import expand
from repro.results import Store

PATIENCE = 300.0  # seconds; a busy machine may take a minute to start two workers
TESTS = Path(__file__).parent
ROOT = TESTS.parent


# Coordinators

CHILD = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from small_runs import Store, endless, execute, small

    def tell(text):
        print(text, flush=True)

    if __name__ == "__main__":
        store, which, workers = Store(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
        runs = {"small": small, "endless": endless}[which]()
        outcome = execute(
            runs,
            store,
            workers=workers,
            on_groups=lambda groups: tell("started"),
            on_event=lambda event: tell("event"),
        )
        tell(f"{outcome.done} done, {outcome.left} left")
    """
)


@contextlib.contextmanager
def child(
    tmp_path: Path, store: Store, which: str, workers: int
) -> Iterator[subprocess.Popen[str]]:
    """A coordinator of its own, in a process group of its own, that tells what it does."""
    script = tmp_path / "coordinator.py"  # a file: spawned workers import it
    script.write_text(CHILD)
    environment = {**os.environ, "PYTHONPATH": f"{TESTS}:{ROOT}", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(script), str(store.directory), which, str(workers)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def read_lines(process: subprocess.Popen[str], count: int) -> None:
    assert process.stdout is not None
    for _ in range(count):
        if not process.stdout.readline():
            return


def test_killed_at_random_and_resumed_gives_the_undisturbed_rows(
    undisturbed: Store, events: list[Event], store: Store, tmp_path: Path
) -> None:
    generator = random.Random(2022)
    for _ in range(3):
        with child(tmp_path, store, "small", workers=1) as process:
            read_lines(process, 1 + generator.randrange(len(events)))
            time.sleep(generator.uniform(0.0, 0.01))
            process.kill()
            process.wait(PATIENCE)
        found = rows(store)  # whatever is there is whole
        assert found.items() <= rows(undisturbed).items()
    already = len(rows(store))
    assert counts(execute(small(), store)) == (10 - already, 0, already, 0)
    assert rows(store) == rows(undisturbed)


def descendants(pid: int) -> set[int]:
    """Processes of the session that `pid` leads, itself left out."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == pid and int(path.parent.name) != pid and fields[0] != "Z":
                found.add(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_no_worker_outlives_a_killed_coordinator(store: Store, tmp_path: Path) -> None:
    with child(tmp_path, store, "endless", workers=2) as process:
        read_lines(process, 2)  # started, and the first steps of a worker
        workers = descendants(process.pid)
        assert len(workers) >= 2
        process.kill()
        process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while descendants(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert descendants(process.pid) == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_process_group_stops_cleanly(
    store: Store, tmp_path: Path, number: signal.Signals
) -> None:
    # what Ctrl-C in a terminal and a cluster's end of time do: workers get it too, even as they start
    with child(tmp_path, store, "endless", workers=2) as process:
        read_lines(process, 1)
        time.sleep(0.3)
        os.killpg(process.pid, number)
        shown, errors = process.communicate(timeout=PATIENCE)
    assert shown.splitlines()[-1] == "0 done, 4 left"
    assert process.returncode == 0
    assert "Traceback" not in errors


# Workers


def stubborn(messages: Any, asked_to_stop: Any) -> None:
    """A worker whose step takes for ever."""
    workers.GRACE = 0.1
    workers._initialise(messages, asked_to_stop)
    messages.put("ready")
    time.sleep(10 * PATIENCE)


def test_a_worker_that_does_not_come_to_a_look_is_not_waited_for() -> None:
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    asked, ask = context.Pipe(duplex=False)
    process = context.Process(target=stubborn, args=(messages, asked))
    process.start()
    try:
        assert messages.get(timeout=PATIENCE) == "ready"
        ask.close()
        process.join(PATIENCE)
        assert process.exitcode == 1
    finally:
        process.kill()


def test_a_worker_that_is_killed_while_idle_is_replaced(store: Store) -> None:
    first, second, *_ = form_groups(small())
    with workers.Pool(1, store, "cpu", 0.0) as pool:

        def ends() -> Iterator[tuple[int, str]]:
            while pool.running:
                yield from ((e.group, e.error) for e in pool.poll(lambda event: None))

        pool.start(0, first)
        assert list(ends()) == [(0, "")]
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGKILL)
        worker.join(PATIENCE)
        time.sleep(0.5)  # a pool takes a moment to know
        pool.start(1, second)
        assert list(ends()) == [(1, "")]


def test_what_a_broken_pool_had_under_way_is_lost_and_the_next_group_is_not(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Executor:
        """Breaks when it is given its second group."""

        made = 0

        def __init__(self, *_: object, **__: object) -> None:
            Executor.made += 1
            self.given = 0

        def submit(self, _: object, index: int, *__: object) -> Future[workers.Ended]:
            self.given += 1
            if (self.made, self.given) == (1, 2):
                raise BrokenProcessPool
            future: Future[workers.Ended] = Future()
            if self.made == 2:
                future.set_result(workers.Ended(index, ("done",)))
            return future

        def shutdown(self) -> None:
            pass

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Executor)
    with workers.Pool(2, store, "cpu", 0.0) as pool:
        pool.start(0, small()[:1])
        pool.start(1, small()[1:2])
        assert sorted(pool.running) == [0, 1]
        found = [*pool.poll(lambda event: None), *pool.poll(lambda event: None)]
        assert pool.running == ()
    assert [(ended.group, ended.lost, ended.statuses) for ended in found] == [
        (0, True, ()),
        (1, False, ("done",)),
    ]


def test_a_step_that_cannot_be_recorded_is_no_device_that_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    (group,) = form_groups(expand(STUDY, "smoke", only=["run-time-beale"]))
    reason = "CUDA error: operation not permitted when stream is capturing"

    def refuse(*_: object, **__: object) -> None:
        raise RecordingError(reason)

    monkeypatch.setattr("repro.timing.measure", refuse)
    ended = workers.run_here(0, group, store, "cpu", lambda steps: None, lambda: False, 0.0)
    assert ended.error == f"RecordingError: {reason}"
    assert not ended.fatal  # the others go on

"""Interrupted, killed, resumed or spread over processes, a run gives the same rows."""

import contextlib
import dataclasses
import math
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import torch

import studies
from repro import cli, execution
from repro.checkpoints import steps_done
from repro.engine import RecordingError
from repro.execution import (
    STACKED_FORMULAS,
    STACKED_REPLICAS,
    Event,
    Group,
    Outcome,
    Stop,
    check_device,
    describe,
    execute,
    form_groups,
    num_steps,
    run_group,
    workers,
)
from repro.protocol import ClosedForm, RunSpec, Sampling, Timing, Training, Trial, expand
from repro.results import ENVIRONMENT, Record, RejectedFileError, Store, read_record, read_store

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PATIENCE = 300.0  # seconds; a busy machine may take a minute to start two workers
STUDY = studies.get("baydin2022")


def small() -> tuple[RunSpec, ...]:
    """Ten smoke runs in five groups: sampling, closed form, digits."""
    return expand(STUDY, "smoke", only=["estimates", "beale", "logistic"])


def endless() -> tuple[RunSpec, ...]:
    """Two groups that end only when told to."""
    task = Training(10**9, evaluate_every=10**9)
    return tuple(
        dataclasses.replace(spec, task=task) for spec in expand(STUDY, "smoke", only=["beale"])
    )


def comparable(record: Record) -> tuple[Any, ...]:
    """What must not depend on where and when a run happened, to the last bit."""
    elsewhere = (*ENVIRONMENT, "seconds", "wall_seconds", "processor_seconds")
    kept = {k: v for k, v in record.measured.items() if k not in elsewhere}
    return (record.status, sorted(kept.items()), repr(record.curves), repr(record.steps_per_epoch))


def rows(store: Store) -> dict[str, tuple[Any, ...]]:
    records, problems = read_store(store.directory)
    assert problems == ()
    return {record.spec.key: comparable(record) for record in records}


def stamps(store: Store) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in store.files()}


def counts(outcome: Outcome) -> tuple[int, int, int, int]:
    assert outcome.seconds >= 0
    return outcome.done, outcome.diverged, outcome.cached, outcome.left


def no_event(event: Event) -> None:
    raise AssertionError(f"Nothing was to run. Found {event}.")


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, events: list[Event]) -> Store:
    """The small runs, one process, nothing in between."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    assert counts(execute(small(), store, on_event=events.append)) == (10, 0, 0, 0)
    return store


# Groups


@pytest.mark.parametrize("scale", ["smoke", "reduced", "full"])
def test_every_run_is_in_one_group(scale: Any) -> None:
    runs = expand(STUDY, scale)
    groups = form_groups(runs)
    assert sorted(spec.key for group in groups for spec in group) == sorted(r.key for r in runs)
    for group in groups:
        assert len({(type(s.task), s.experiment, s.problem.name) for s in group}) == 1
        if isinstance(group[0].task, Timing):
            assert len({spec.repetition for spec in group}) == 1
        else:
            assert len({spec.method for spec in group}) == 1
            formula = isinstance(group[0].problem, ClosedForm)
            assert len(group) <= (STACKED_FORMULAS if formula else STACKED_REPLICAS["cpu"])


def test_all_methods_of_a_comparison_are_timed_together() -> None:
    runs = expand(STUDY, "smoke", only=["run-time-beale", "run-time-mlp"])
    groups = form_groups(runs)
    assert [len(group) for group in groups] == [4, 4]
    for group in groups:
        declared = next(e for e in STUDY.experiments if e.name == group[0].experiment)
        assert [spec.method for spec in group] == list(declared.methods)


def test_only_small_networks_are_stacked() -> None:
    sizes = {
        name: {len(group) for group in form_groups(expand(STUDY, "full", only=[name]))}
        for name in ("beale", "estimates", "logistic", "mlp-2e-4", "cnn")
    }
    assert sizes == {
        "beale": {10},
        "estimates": {16, 8},
        "logistic": {5},
        "mlp-2e-4": {1},
        "cnn": {1},
    }


def test_a_gpu_stacks_dense_networks_too() -> None:
    sizes = {
        name: {len(group) for group in form_groups(expand(STUDY, "full", only=[name]), "cuda")}
        for name in ("logistic", "mlp-2e-4", "cnn")
    }
    assert sizes == {"logistic": {5}, "mlp-2e-4": {5}, "cnn": {1}}


@pytest.mark.parametrize("device", STACKED_REPLICAS)
@pytest.mark.parametrize("experiment", ["beale", "logistic"])
def test_more_replicas_than_fit_are_divided(device: str, experiment: str) -> None:
    (first, *_) = expand(STUDY, "smoke", only=[experiment])
    most = STACKED_FORMULAS if experiment == "beale" else STACKED_REPLICAS[device]
    runs = [dataclasses.replace(first, repetition=n) for n in range(2 * most + 1)]
    assert [len(group) for group in form_groups(runs, device)] == [most, most, 1]


def test_a_device_that_fails_is_named_and_what_finished_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = form_groups(expand(STUDY, "smoke", only=["beale"]))

    def vanish(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure\nCompile with ...")

    run_group(first, store, "cpu", lambda steps: None, lambda: False)
    monkeypatch.setattr("repro.training.train", vanish)
    with pytest.raises(OSError, match="failed") as caught:
        run_group(second, store, "cpu", lambda steps: None, lambda: False)
    assert str(caught.value) == (
        "The device cpu failed (CUDA error: unspecified launch failure). Finished runs are kept: the same "
        "command carries on from them once the device answers again."
    )
    assert {path.stem for path in store.files()} == {spec.key for spec in first}


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


def test_timing_comes_last_wherever_it_is_declared(store: Store) -> None:
    seen: list[Group] = []
    runs = expand(STUDY, "smoke")
    timing_first = sorted(runs, key=lambda spec: not isinstance(spec.task, Timing))
    outcome = execute(timing_first, store, time_limit=0.0, on_groups=seen.extend)
    kinds = [isinstance(group[0].task, Timing) for group in seen]
    assert kinds == sorted(kinds)
    assert kinds.count(True) == 17
    assert counts(outcome) == (0, 0, 0, len(runs))
    assert not store.directory.exists()


def test_a_group_in_words_names_up_to_three_methods_or_the_one_run() -> None:
    first = endless()[0]

    def of(*names: str) -> Group:
        named = (dataclasses.replace(first.method, name=name) for name in names)
        return tuple(dataclasses.replace(first, method=method) for method in named)

    assert describe(of("a", "b", "a")) == "baydin2022 beale: a, b (3 runs)"
    assert describe(of("a", "b", "c")) == "baydin2022 beale: a, b, c (3 runs)"
    assert describe(of("a", "b", "c", "d")) == "baydin2022 beale: 4 methods (4 runs)"
    again = dataclasses.replace(first, repetition=3)
    assert describe((again,)) == "baydin2022 beale: backpropagation (repetition 3)"
    tried = dataclasses.replace(again, role="tune", trial=Trial(7, "digest"))
    assert describe((tried,)) == "baydin2022 beale: backpropagation (trial 7, repetition 3)"


@pytest.mark.parametrize(
    ("task", "expected"),
    [(Training(30, 10), 30), (Timing(3, 2, "cpu", 1), 5), (Sampling(16), 32)],
)
def test_steps_of_a_group(task: Any, expected: int) -> None:
    pair = expand(STUDY, "smoke", only=["beale"], methods=["forward gradient"])
    assert num_steps(tuple(dataclasses.replace(spec, task=task) for spec in pair)) == expected


# The same rows wherever


def test_progress_adds_up(undisturbed: Store, events: list[Event]) -> None:
    del undisturbed
    for index, group in enumerate(form_groups(small())):
        mine = [event for event in events if event.group == index]
        assert sum(event.steps for event in mine) == num_steps(group)
        assert [event.statuses for event in mine if event.statuses] == [("done",) * len(group)]
        assert mine[-1].statuses


def test_two_workers_give_the_rows_of_one_process(undisturbed: Store, store: Store) -> None:
    seen: list[Event] = []
    outcome = execute(small(), store, workers=2, on_event=seen.append)
    assert counts(outcome) == (10, 0, 0, 0)
    assert rows(store) == rows(undisturbed)
    assert sorted(event.group for event in seen if event.statuses) == list(range(5))
    before = stamps(store)
    assert counts(execute(small(), store, workers=2, on_event=no_event)) == (0, 0, 10, 0)
    assert stamps(store) == before


def test_order_and_company_do_not_change_a_run(undisturbed: Store, store: Store) -> None:
    execute(small()[::-1], store)
    # replicas change places in their stack: equal up to the rounding of stacked products
    for spec in small():
        here, there = (read_record(s.path(spec.key)) for s in (store, undisturbed))
        assert here.status == there.status
        for one, two in zip(here.curves, there.curves, strict=True):
            assert (one.split, one.metric, one.steps) == (two.split, two.metric, two.steps)
            assert one.values == pytest.approx(two.values, rel=1e-4, abs=1e-6, nan_ok=True)


def test_only_what_is_missing_of_a_group_is_written(undisturbed: Store, store: Store) -> None:
    shutil.copytree(undisturbed.directory, store.directory)
    lost = [small()[-1], small()[0]]  # one of two replicas, in each of two groups
    for spec in lost:
        store.path(spec.key).unlink()
    before = stamps(store)
    seen: list[Group] = []
    assert counts(execute(small(), store, on_groups=seen.extend)) == (2, 0, 8, 0)
    assert [len(group) for group in seen] == [
        2,
        2,
    ]  # the whole group runs: the arithmetic is the same
    assert before.items() < stamps(store).items()
    assert rows(store) == rows(undisturbed)


def test_run_group_returns_only_what_it_wrote(undisturbed: Store, store: Store) -> None:
    shutil.copytree(undisturbed.directory, store.directory)
    group = next(g for g in form_groups(small()) if len(g) == 2)
    store.path(group[0].key).unlink()
    arguments = (group, store, "cpu", lambda steps: None)
    assert run_group(*arguments, lambda: True) == ()
    assert run_group(*arguments, lambda: False) == ("done",)
    assert run_group(*arguments, lambda: False) == ()


def test_diverged_runs_are_counted_and_kept(store: Store) -> None:
    runs = tuple(
        dataclasses.replace(spec, hyperparameters=(("learning_rate", 1e6),))
        for spec in expand(STUDY, "smoke", only=["beale"])
    )
    assert counts(execute(runs, store)) == (4, 4, 0, 0)
    assert {record.status for record in read_store(store.directory)[0]} == {"diverged"}
    assert counts(execute(runs, store)) == (0, 0, 4, 0)


def test_runs_that_another_machine_finished_are_not_left(undisturbed: Store, store: Store) -> None:
    def meanwhile(groups: Sequence[Group]) -> None:
        assert len(groups) == 5
        shutil.copytree(undisturbed.directory, store.directory)

    before = stamps(undisturbed)
    assert counts(execute(small(), store, on_groups=meanwhile)) == (0, 0, 0, 0)
    assert {k: v[0] for k, v in stamps(store).items()} == {k: v[0] for k, v in before.items()}


def test_timing_runs_are_measured(store: Store) -> None:
    runs = expand(STUDY, "smoke", only=["run-time-beale"])
    assert counts(execute(runs, store)) == (4, 0, 0, 0)
    for record in read_store(store.directory)[0]:
        low, median, high = (
            record.measured[f"step_seconds{suffix}"] for suffix in ("_low", "", "_high")
        )
        assert isinstance(low, float)
        assert isinstance(median, float)
        assert isinstance(high, float)
        assert 0 < low <= median <= high
        assert record.measured["group_size"] == 4
        assert "processor_seconds" not in record.measured


def test_the_runs_of_a_timing_are_of_one_session(store: Store) -> None:
    runs = expand(STUDY, "smoke", only=["run-time-beale"])
    execute(runs, store)
    earlier = stamps(store)
    store.path(runs[0].key).unlink()  # as if it had been killed between two of them
    assert counts(execute(runs, store)) == (1, 0, 3, 0)
    assert stamps(store).keys() == earlier.keys()
    assert all(stamp != earlier[key] for key, stamp in stamps(store).items())


# Killed and resumed


CHILD = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from test_execution import Store, endless, execute, small

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


# Stopped


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


def damaged(store: Store, key: str) -> Path:
    path = store.path(key)
    path.write_bytes(path.read_bytes()[:50])
    return path


def test_a_worker_refuses_a_store_that_takes_no_files_before_any_work(
    undisturbed: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, store = tmp_path / "0.json", tmp_path / "new"
    execution.write_task(file, form_groups(small())[0])
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(execution, "work_on", lambda *given, **more: pytest.fail("work was done"))
    assert cli.main(["worker", str(file), "--store", str(store)]) == 2
    assert capsys.readouterr().err == (
        f"repro: {store} takes no files: it is read-only. Give `--store` a folder that you can write to; "
        "nothing was run.\n"
    )
    monkeypatch.undo()
    # where nothing is missing, nothing has to be kept
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert cli.main(["worker", str(file), "--store", str(undisturbed.directory)]) == 0
    assert "done before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"schema": 1, "runs": []}', "Found no runs. Write it again."),
        ('{"schema": 1, "runs": [3]}', "Found no runs. Write it again."),
        ('{"schema": 2, "runs": ["{}"]}', "Found schema 2. Write it again."),
    ],
)
def test_a_task_without_runs_or_of_another_schema_says_which(
    content: str, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "task.json"
    path.write_text(content)
    with pytest.raises(RejectedFileError, match=re.escape(f"with schema 1. {found}")):
        execution.read_task(path)


def test_a_worker_names_a_damaged_record_and_goes_on(
    undisturbed: Store, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(undisturbed.directory, store.directory)
    first, second, *_ = (group for group in form_groups(small()) if len(group) == 2)
    path = damaged(store, first[1].key)
    store.path(first[0].key).unlink()
    files = []
    for number, group in enumerate((first, second)):
        files.append(str(tmp_path / f"{number}.json"))
        execution.write_task(Path(files[-1]), group)
    before = stamps(store)
    assert cli.main(["worker", *files, "--store", str(store.directory)]) == 1
    shown = capsys.readouterr()
    assert f"repro: {describe(first)}: {path}: not a finished run" in shown.err
    assert shown.out == f"{describe(second)}: done before\n"
    assert stamps(store) == before  # nor was anything run that could not be kept


def test_a_damaged_record_keeps_the_checkpoint_of_its_runs(store: Store) -> None:
    group = form_groups(endless())[0]
    asked = iter([False])
    run_group(group, store, "cpu", lambda steps: None, lambda: next(asked, True))
    assert (step := steps_done(store.directory, group))
    for spec in group:
        store.write(Record(spec, "done", {"score": 1.0}, ()))
    damaged(store, group[0].key)
    execute(small(), store, time_limit=0.0)
    assert steps_done(store.directory, group) == step


class Clock:
    """Stands for the module `time` where the coordinator asks for it; moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for asking in (execution.coordinator, execution.stops):
        monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_a_time_limit_keeps_what_is_finished(
    undisturbed: Store, store: Store, clock: Clock
) -> None:
    def pass_time(event: Event) -> None:
        clock.now += 10.0 * bool(event.statuses)

    outcome = execute(small(), store, time_limit=15.0, on_event=pass_time)
    assert counts(outcome) == (4, 0, 0, 6)  # two groups of two
    assert outcome.seconds == 20.0
    assert outcome.not_begun is None  # it was stopped, not too long
    assert rows(store).items() < rows(undisturbed).items()
    assert counts(execute(small(), store)) == (6, 0, 4, 0)
    assert rows(store) == rows(undisturbed)


def test_a_time_limit_stops_within_a_run(store: Store, clock: Clock) -> None:
    def pass_time(event: Event) -> None:
        clock.now += event.steps

    outcome = execute(endless(), store, time_limit=500, on_event=pass_time)
    assert counts(outcome) == (0, 0, 0, 4)
    assert [describe(group) for group in outcome.lost] == [
        "baydin2022 beale: backpropagation (2 runs)"
    ]
    assert clock.now == 500
    assert not store.files()
    assert steps_done(store.directory, outcome.lost[0]) == 500


@pytest.mark.parametrize("num_finished", [0, 1, 2])
def test_what_another_machine_finishes_meanwhile_is_not_lost(
    store: Store, clock: Clock, num_finished: int
) -> None:
    group = endless()[:2]

    def pass_time(event: Event) -> None:
        clock.now += event.steps
        for spec in group[:num_finished]:
            store.write(Record(spec, "done", {"score": 1.0}, ()))

    outcome = execute(group, store, time_limit=1.0, on_event=pass_time)
    assert outcome.left == 2 - num_finished
    assert outcome.lost == ((group,) if outcome.left else ())


def test_of_what_cannot_end_in_time_the_shortest_is_named(store: Store, clock: Clock) -> None:
    prices = {"estimates": 70.0, "beale": 60.0, "logistic": 80.0}
    outcome = execute(
        small(),
        store,
        time_limit=50.0,
        expected=lambda spec: prices[spec.experiment],
        on_event=no_event,
    )
    assert clock.now == 0.0
    assert counts(outcome) == (0, 0, 0, 10)
    assert outcome.not_begun == 2 * 60.0


def test_a_time_limit_stops_the_workers(store: Store, clock: Clock) -> None:
    def pass_time(event: Event) -> None:
        clock.now += event.steps

    asked: list[Group] = []
    outcome = execute(
        endless(), store, workers=2, time_limit=1.0, on_event=pass_time, on_stop=asked.extend
    )
    assert counts(outcome) == (0, 0, 0, 4)
    assert sorted(map(describe, outcome.lost)) == [
        "baydin2022 beale: backpropagation (2 runs)",
        "baydin2022 beale: forward gradient (2 runs)",
    ]
    assert sorted(map(describe, asked)) == sorted(map(describe, outcome.lost))
    assert not store.files()
    # both, but for a slow start
    assert any(steps_done(store.directory, group) for group in outcome.lost)


def test_what_goes_on_from_a_checkpoint_is_priced_by_what_is_left_of_it(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.training.ASK_EVERY", math.inf)
    task = Training(1_000, evaluate_every=100)
    group = [dataclasses.replace(spec, task=task) for spec in endless()[:2]]
    asked = iter([False] * 8)
    run_group(tuple(group), store, "cpu", lambda steps: None, lambda: next(asked, True))
    assert steps_done(store.directory, group) == 900

    def pass_time(event: Event) -> None:
        clock.now += event.steps * bool(event.steps < 900)

    def runs(time_limit: float) -> Outcome:
        return execute(
            group, store, time_limit=time_limit, expected=lambda spec: 500.0, on_event=pass_time
        )

    outcome = runs(99.0)
    assert counts(outcome) == (0, 0, 0, 2)
    assert outcome.not_begun == pytest.approx(100.0)
    assert counts(runs(101.0)) == (2, 0, 0, 0)


def test_a_latch_says_when_it_is_time(clock: Clock) -> None:
    stop = Stop(10.0)
    assert not stop()
    clock.now = 9.0
    assert (stop(), stop.left()) == (False, 1.0)
    clock.now = 10.0
    assert stop()
    assert Stop().left() == math.inf


@pytest.mark.parametrize("once", [False, True])
def test_a_latch_takes_a_signal_as_often_as_it_is_told_to(once: bool) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        stop = Stop()
        with stop.at(signal.SIGTERM, once=once):
            assert not stop()
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                assert stop()
        assert came == [signal.SIGTERM] * once
        os.kill(os.getpid(), signal.SIGTERM)
        assert came == [signal.SIGTERM] * (once + 1)
    finally:
        signal.signal(signal.SIGTERM, before)


def deliver(number: signal.Signals, before: object) -> None:
    """Send ourselves a signal and wait until its handler has put the previous one back."""
    os.kill(os.getpid(), number)
    while signal.getsignal(number) is not before:
        time.sleep(0.001)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_finished(
    undisturbed: Store, store: Store, number: signal.Signals
) -> None:
    def interrupt(event: Event) -> None:
        if event.statuses and signal.getsignal(number) is not before:
            deliver(number, before)

    before = signal.getsignal(number)
    assert counts(execute(small(), store, on_event=interrupt)) == (2, 0, 0, 8)
    assert signal.getsignal(number) is before
    assert rows(store).items() < rows(undisturbed).items()
    execute(small(), store)
    assert rows(store) == rows(undisturbed)


def test_a_second_interrupt_is_not_caught(store: Store) -> None:
    def interrupt(event: Event) -> None:
        del event
        deliver(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)  # ended by the second signal

    # a process started in the background ignores SIGINT from the start
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            execute(endless(), store, on_event=interrupt)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


# Errors


@pytest.fixture
def mnist() -> tuple[RunSpec, ...]:
    return expand(STUDY, "full", only=["logistic"])


def test_missing_data_is_one_error(
    mnist: tuple[RunSpec, ...], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str, **_: object) -> requests.Response:
        raise requests.ConnectionError(f"no route to {url}")

    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("REPRO_DATA_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr("requests.get", refuse)
    monkeypatch.setattr("time.sleep", lambda _: None)
    outcome = execute(mnist, store)
    assert counts(outcome) == (0, 0, 0, 0)
    names = [failure.name for failure in outcome.failures]
    assert names == [
        "baydin2022 logistic: backpropagation (5 runs)",
        "baydin2022 logistic: forward gradient (5 runs)",
    ]
    for failure in outcome.failures:
        assert "mnist" in failure.reason
        assert "\n" not in failure.reason
    assert not store.directory.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_group_that_fails_is_named_and_the_others_go_on(
    mnist: tuple[RunSpec, ...],
    undisturbed: Store,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{part}-ubyte").write_bytes(b"not MNIST")
    monkeypatch.setenv("REPRO_DATA_DIR", str(tmp_path))
    before = signal.getsignal(signal.SIGINT)
    outcome = execute((*mnist, *small()), store, workers=workers)
    assert counts(outcome) == (10, 0, 0, 0)
    assert rows(store) == rows(undisturbed)
    assert sorted(failure.name for failure in outcome.failures) == [
        "baydin2022 logistic: backpropagation (5 runs)",
        "baydin2022 logistic: forward gradient (5 runs)",
    ]
    for failure in outcome.failures:
        assert re.search(r"mnist: .*Not used, and left as found", failure.reason)
    assert (outcome.lost, outcome.halted) == ((), False)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_of_the_code_names_its_kind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("repro.training.train", fail)
    outcome = execute(small()[-2:], store)
    assert [failure.reason for failure in outcome.failures] == ["ZeroDivisionError: by zero"]


def test_an_unusable_file_is_named_before_any_work(undisturbed: Store, store: Store) -> None:
    shutil.copytree(undisturbed.directory, store.directory)
    path = store.path(small()[3].key)
    path.write_bytes(path.read_bytes()[:50])
    store.path(small()[7].key).unlink()
    before = stamps(store)
    outcome = execute(small(), store, on_event=no_event)
    (failure,) = outcome.failures
    assert re.search(r"truncated or foreign.*Move it away to run it again", failure.reason)
    assert str(path) in failure.reason
    assert counts(outcome) == (0, 0, 0, 0)
    assert stamps(store) == before


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_at_least_one_worker(store: Store, workers: int) -> None:
    with pytest.raises(ValueError, match=rf"^`workers` must be at least 1\. Found {workers}\.$"):
        execute(small(), store, workers=workers)


def test_unknown_devices_name_the_choices(store: Store) -> None:
    with pytest.raises(ValueError, match=r"^Unknown device 'tpu'\. Choose from: cpu, cuda\.$"):
        execute(small(), store, device="tpu")
    assert not store.directory.exists()


def test_an_absent_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^Device 'cuda' was asked for.* Use `--device cpu`\.$"):
        check_device("cuda")
    check_device("cpu")


def test_timing_for_another_device_says_so(store: Store) -> None:
    runs = expand(STUDY, "smoke", only=["run-time-beale"], device="cuda")
    (failure,) = execute(runs, store).failures
    assert failure.reason == "These runs time the device 'cuda'. Found 'cpu'."

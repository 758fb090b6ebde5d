"""Whatever is killed, full, read-only, damaged or late: no row is lost, none is wrong, every refusal is named.

Marked `chaos` where time is spent by the number of kills: REPRO_CHAOS_KILLS of them, 4 by default, 200 in
`nox -s chaos`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import logging
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import counts, rows, small

import studies
from repro import cli
from repro.campaign import survey
from repro.checkpoints import FOLDER as CHECKPOINTS
from repro.execution import execute, work_off
from repro.protocol import RunSpec, Training, comparisons, expand
from repro.publishing import publish
from repro.results import (
    HeldError,
    RejectedFileError,
    Store,
    hold,
    read_published,
    read_record,
    tabulate,
)

pytest.importorskip("optuna")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

KILLS = int(os.environ.get("REPRO_CHAOS_KILLS", "4"))
OFTEN = 0.02  # seconds between two checkpoints
PATIENCE = 300.0
SEARCH = "tuned-nn-sgd"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def long() -> tuple[RunSpec, ...]:
    """Two stacked replicas, a second or two."""
    runs = expand(studies.get("baydin2022"), "smoke", only=["beale"], methods=["forward gradient"])
    task = Training(2_000, evaluate_every=500)
    return tuple(
        dataclasses.replace(spec, task=task, hyperparameters=(("learning_rate", 1e-5),))
        for spec in runs
    )


def train(store: Store) -> None:
    execute((*long(), *small()), store, checkpoint_every=OFTEN)


def search(store: Store) -> None:
    chosen = comparisons(studies.get("rike2022"), "smoke", only=[SEARCH])
    runs, _ = tabulate(())
    work_off(survey((), chosen, runs), store, runs=runs, checkpoint_every=OFTEN)


def to_snapshot(store: Store) -> None:
    publish(store.directory, store.directory.with_name("published"))


Job = Callable[[Store], None]
JOBS: tuple[Job, ...] = (train, search, to_snapshot)


def child(function: Callable[[Store], None], store: Store) -> multiprocessing.process.BaseProcess:
    """A process that is under way at once: it need not import anything."""
    process = multiprocessing.get_context("fork").Process(target=_alone, args=(function, store))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        process.start()
    return process


def _alone(function: Callable[[Store], None], store: Store) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        function(store)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("chaos") / "store")
    for function in JOBS:  # here, so that children need not import anything
        function(store)
    return store


@pytest.fixture
def seconds(undisturbed: Store, tmp_path: Path) -> dict[Job, float]:
    """Of each job in a child, from start to end: over as long its kills are spread."""
    store, found = Store(tmp_path / "timed" / "store"), {}
    for function in JOBS:
        began = time.monotonic()
        process = child(function, store)
        process.join(PATIENCE)
        assert process.exitcode == 0
        found[function] = time.monotonic() - began
    assert rows(store) == rows(undisturbed)
    return found


def published(store: Store) -> Path:
    return store.directory.with_name("published")


def forget(function: Job, store: Store, all_keys: Iterable[str]) -> None:
    """Take away what a job gave, so that it has something to do."""
    trained = {spec.key for spec in (*long(), *small())}
    if function is to_snapshot:
        shutil.rmtree(published(store), ignore_errors=True)
    for key in all_keys:
        if function is not to_snapshot and (key in trained) == (function is train):
            store.path(key).unlink(missing_ok=True)


@pytest.mark.chaos
def test_kills_at_random_lose_nothing_and_make_nothing_wrong(
    undisturbed: Store,
    seconds: dict[Job, float],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("repro.results.index.FEWEST", 1)  # the index of a store as small as this
    expected = rows(undisturbed)
    generator = random.Random(2022)
    killed: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    while killed.total() < KILLS:
        function = JOBS[killed.total() % len(JOBS)]
        process = child(function, store)
        process.join(generator.uniform(0.0, seconds[function]))
        process.kill()
        process.join(PATIENCE)
        if process.exitcode == 0:  # before it could be killed, which counts for nothing
            ended[function.__name__] += 1
            forget(function, store, expected)
            continue
        assert process.exitcode == -signal.SIGKILL
        killed[function.__name__] += 1
        assert rows(store).items() <= expected.items()
        runs, _, problems = read_published(published(store))
        assert problems == ()
        assert set(runs["key"]) <= set(expected)
    logging.getLogger(__name__).info("killed %s; ended before %s", dict(killed), dict(ended))
    for function in JOBS:
        function(store)
    assert rows(store) == expected
    assert not list((store.directory / CHECKPOINTS).glob("*.checkpoint"))
    here, there = (read_published(published(s)) for s in (store, undisturbed))
    assert here[2] == there[2] == ()
    assert list(here[0]["key"]) == list(there[0]["key"])
    assert here[0]["score"].equals(there[0]["score"])  # sampling runs have none
    assert here[1].equals(there[1])


@pytest.mark.chaos
def test_eight_writers_on_one_store(undisturbed: Store, store: Store) -> None:
    writers = [child(train, store) for _ in range(8)]
    for writer in writers:
        writer.join(PATIENCE)
    assert [writer.exitcode for writer in writers] == [0] * 8
    expected = rows(undisturbed)
    search_keys = {key for key in expected if key not in rows(store)}
    assert rows(store) == {key: row for key, row in expected.items() if key not in search_keys}
    assert len(rows(store)) == len((*long(), *small()))


# Damaged files


@pytest.fixture(scope="module")
def small_file(undisturbed: Store) -> bytes:
    return min((path.read_bytes() for path in undisturbed.files()), key=len)


def placed(content: bytes, folder: Path, whole: bytes) -> Path:
    key = whole.partition(b'"key": "')[2][:64].decode()
    path = Store(folder).path(key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_result_cut_at_any_length_is_no_row(small_file: bytes, tmp_path: Path) -> None:
    path = placed(small_file, tmp_path, small_file)
    read_record(path)
    for length in range(len(small_file)):
        path.write_bytes(small_file[:length])
        with pytest.raises(RejectedFileError, match="Move it away"):
            read_record(path)


def test_a_result_flipped_anywhere_in_its_header_is_no_row(
    small_file: bytes, tmp_path: Path
) -> None:
    path = placed(small_file, tmp_path, small_file)
    generator = random.Random(2022)
    header = small_file.index(b'"spec"')
    body = (generator.randrange(header, len(small_file)) for _ in range(200))
    for place in [*range(header), *body]:
        flipped = bytearray(small_file)
        flipped[place] ^= 1 << generator.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(RejectedFileError):
            read_record(path)


def test_a_number_in_other_digits_is_no_row(small_file: bytes, tmp_path: Path) -> None:
    seconds = json.dumps(json.loads(small_file)["body"]["measured"]["seconds"]).encode()
    path = placed(small_file.replace(seconds, seconds + b"0"), tmp_path, small_file)
    with pytest.raises(RejectedFileError, match="corrupt"):
        read_record(path)


# Folders that take nothing


def limited(store: Store) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
    outcome = execute(small(), store, checkpoint_every=OFTEN)
    os._exit(7 if outcome.halted and "takes no more files" in outcome.failures[0].reason else 1)


def test_a_limit_of_file_sizes_stops_everything_and_loses_nothing(store: Store) -> None:
    process = child(limited, store)
    process.join(PATIENCE)
    assert process.exitcode == 7
    before = set(rows(store))
    done, _, cached, left = counts(execute(small(), store))
    assert (done + cached, left) == (len(small()), 0)
    assert cached == len(before)


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """A file system of its own, where that may be had."""
    folder.mkdir()
    if shutil.which("mount") is None or os.getuid() != 0:
        pytest.skip("only root mounts a file system")
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.filterwarnings("ignore:The checkpoint .* cannot be written:RuntimeWarning")
def test_a_full_disk_stops_everything_and_loses_nothing(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=32k"):
        store = Store(tmp_path / "disk" / "store")
        outcome = execute(small(), store, checkpoint_every=OFTEN)
        assert outcome.halted
        assert "takes no more files (No space left on device)" in outcome.failures[0].reason
        found = rows(store)  # whatever is there is whole
        subprocess.run(["mount", "-o", "remount,size=16m", str(tmp_path / "disk")], check=True)
        execute(small(), store)
        assert len(rows(store)) == len(small())
        assert found.items() <= rows(store).items()


def test_a_read_only_store_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with mounted(tmp_path / "disk", "ro"):
        store = tmp_path / "disk" / "store"
        for more in (["beale"], [SEARCH]):
            arguments = ["run", "all", "--scale", "smoke", "--only", *more, "--store", str(store)]
            assert cli.main(arguments) == 2
            said = capsys.readouterr().err
            assert said.startswith(f"repro: {store} takes no files")
            assert said.count("\n") == 1
            assert "Give `--store` a folder that you can write to" in said


# Others


def test_a_second_coordinator_of_a_search_is_refused_with_who_is_the_first(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["run", "rike2022", "--scale", "smoke", "--only", SEARCH, "--store"]
    (comparison,) = comparisons(studies.get("rike2022"), "smoke", only=[SEARCH])
    scale = comparison.experiment.label(comparison.scale)
    with hold(store.directory, f"holds/rike2022-{SEARCH}-{scale}", "x"):
        assert cli.main([*command, str(store.directory)]) == 2
        said = capsys.readouterr().err
        assert said.startswith(
            f"repro: rike2022 {SEARCH} is searched already, by process {os.getpid()} of "
        )
        assert said.endswith("Wait for it or stop it; nothing was done.\n")
    assert not store.files()


def test_who_holds_may_be_unknown(tmp_path: Path) -> None:
    with hold(tmp_path, "a/b", "It is done"):
        (tmp_path / "a" / "b.json").write_text("half")
        with (
            pytest.raises(HeldError, match="It is done already, by a process that has not said"),
            hold(tmp_path, "a/b", "It is done"),
        ):
            pass
    with hold(tmp_path, "a/b", "It is done"):
        pass


HOLDER = "import sys, time; from pathlib import Path; from repro.results import hold\nwith hold(Path(sys.argv[1]), 'holds/search', 'x'):\n    print('held', flush=True); time.sleep(600)"


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with (
            pytest.raises(HeldError, match=f"by process {process.pid} "),
            hold(tmp_path, "holds/search", "x"),
        ):
            pass
        process.kill()
        process.wait()
        with hold(tmp_path, "holds/search", "x"):
            pass


@pytest.mark.parametrize("traceless", [False, True])
def test_where_there_are_no_locks_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traceless: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", refuse)
    said = f"The file system of {tmp_path} has no locks: see to it yourself that x only once"
    taken = contextlib.ExitStack()
    for _ in range(2):  # the first may have been killed: its file keeps nobody out
        with pytest.warns(RuntimeWarning, match=said):
            taken.enter_context(hold(tmp_path, "a", "x", traceless=traceless))
    taken.close()
    assert bool(list(tmp_path.iterdir())) != traceless


def test_clocks_that_go_backwards_change_no_row(
    undisturbed: Store, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter(range(10**9, 0, -3600))
    monkeypatch.setattr("repro.training.now", lambda: f"{next(seconds)}")
    monkeypatch.setattr("time.time", lambda: float(next(seconds)))
    monkeypatch.setattr("repro.checkpoints.time.monotonic", lambda: float(next(seconds)))
    execute(small(), store, checkpoint_every=OFTEN)
    expected: dict[str, Any] = rows(undisturbed)
    assert rows(store) == {spec.key: expected[spec.key] for spec in small()}

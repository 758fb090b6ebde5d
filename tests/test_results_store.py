"""A store survives writers, crashes, full disks and what else lies in its folder: a run is there whole or not at all."""

import dataclasses
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from finished_runs import contents, record, spec
from finished_runs import published as published
from finished_runs import store as store

from repro.publishing import publish
from repro.results import Store, read_store, write_whole


def test_a_run_is_there_once_written(store: Store) -> None:
    assert spec().key not in store
    assert store.files() == []
    path = store.write(record())
    assert spec().key in store
    assert spec(1).key not in store
    assert store.files() == [path]
    assert path == store.path(spec().key)
    assert path.stem == spec().key


def test_a_copy_in_another_folder_is_the_same_run(store: Store) -> None:
    path = store.write(record())
    folder = "00" if path.parent.name != "00" else "01"
    copy = store.directory / folder / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    read, problems = read_store(store.directory)
    assert read == [record()]
    assert problems == ()


def test_a_folder_or_a_dead_link_is_named_and_skipped(store: Store) -> None:
    store.write(record(1))
    folder, link = store.path("ab" * 32), store.path("cd" * 32)
    folder.mkdir(parents=True)
    link.parent.mkdir()
    link.symlink_to(store.directory / "nowhere")
    read, problems = read_store(store.directory)
    assert read == [record(1)]
    first, second = problems
    assert first.startswith(f"{folder}: cannot be read (")
    assert second.startswith(f"{link}: gone while the store was read")
    assert folder.stem not in store
    assert link.stem not in store


def test_what_a_killed_writer_left_is_ignored(store: Store) -> None:
    path = store.write(record())
    left = path.with_name(f".{path.name[:16]}-abcd1234")
    left.write_bytes(path.read_bytes()[:100])
    (store.directory / "README.json").write_text("{}")
    other = "00" if path.parent.name != "00" else "01"
    (store.directory / other).write_text("a file of the name of a folder")
    assert store.files() == [path]
    assert read_store(store.directory) == ([record()], ())
    store.write(record())
    assert left.exists()


def test_a_store_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert read_store(tmp_path / "nothing") == ([], ())
    assert not (tmp_path / "nothing").exists()


# Writing whole or not at all


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


FULL_DISK: list[Callable[[pytest.MonkeyPatch], None]] = [
    lambda patch: patch.setattr(os, "fsync", no_space),
    lambda patch: patch.setattr(Path, "replace", no_space),
    lambda patch: patch.setattr(Path, "open", failing_open),
]


class FailingStream:
    """Takes half of what it is given, as a disk that fills up does."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __enter__(self) -> "FailingStream":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.handle)

    def write(self, content: bytes) -> int:
        os.write(self.handle, content[: len(content) // 2])
        return no_space()


def failing_open(path: Path, mode: str = "r") -> object:
    if mode == "xb":
        return FailingStream(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    return open(path, mode)


@pytest.mark.parametrize("fill", FULL_DISK, ids=["fsync", "rename", "write"])
def test_a_full_disk_leaves_what_was_there(
    store: Store, fill: Callable[[pytest.MonkeyPatch], None]
) -> None:
    store.write(record())
    before = contents(store.directory)
    for attempt in (dataclasses.replace(record(), status="diverged"), record(1)):
        with pytest.MonkeyPatch.context() as patch:
            fill(patch)
            with pytest.raises(OSError, match="No space left"):
                store.write(attempt)
        assert contents(store.directory) == before
    assert spec(1).key not in store
    store.write(record(1))
    assert len(read_store(store.directory)[0]) == 2


@pytest.mark.parametrize("fill", FULL_DISK, ids=["fsync", "rename", "write"])
def test_a_full_disk_leaves_the_snapshot(
    store: Store, published: Path, fill: Callable[[pytest.MonkeyPatch], None]
) -> None:
    store.write(record())
    publish(store.directory, published)
    before = contents(published)
    store.write(record(1))
    with pytest.MonkeyPatch.context() as patch:
        fill(patch)
        with pytest.raises(OSError, match="No space left"):
            publish(store.directory, published)
    assert contents(published) == before


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "file", b"new")
    assert contents(tmp_path) == {}


def test_eight_writers_share_a_store(store: Store) -> None:
    def work(writer: int) -> None:
        for repetition in range(6):
            store.write(record(repetition, 300))  # everybody's
            store.write(record(100 + 10 * writer + repetition, 300))  # its own

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    read, problems = read_store(store.directory)
    assert problems == ()
    assert len(read) == 6 + 8 * 6
    for found in read:
        assert found == record(found.spec.repetition, 300)
    assert [name for name in contents(store.directory) if not name.endswith(".json")] == []


def test_two_processes_share_a_store(store: Store) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[3:]\n"
        "from pathlib import Path; from finished_runs import Store, record\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for round in range(20):\n"
        "    for n in (0, 1, int(sys.argv[2]) + round): store.write(record(n, 500))\n"
    )
    here = [str(Path(__file__).parent), *sys.path]
    writers = [
        subprocess.Popen([sys.executable, "-c", code, str(store.directory), str(first), *here])
        for first in (100, 200)
    ]
    while any(writer.poll() is None for writer in writers):
        assert read_store(store.directory)[1] == ()  # a reader never sees half a file
    assert [writer.returncode for writer in writers] == [0, 0]
    read, problems = read_store(store.directory)
    assert problems == ()
    assert len(read) == 2 + 2 * 20
    assert all(found == record(found.spec.repetition, 500) for found in read)

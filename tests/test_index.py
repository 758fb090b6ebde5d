"""The index says what the files say, at every moment, whatever becomes of it, of them, and of others at work."""

import contextlib
import dataclasses
import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from finished_runs import contents, record, spec

from repro.publishing import publish
from repro.results import Store, consolidated, load, load_runs, read_record, read_store, tabulate
from repro.results import index as indexing
from repro.results import segments as segments_of
from repro.results.index import FOLDER, read_indexed
from repro.results.table import sort_curves, sort_runs


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dozen runs are many."""
    monkeypatch.setattr(indexing, "FEWEST", 1)
    monkeypatch.setattr(indexing, "CHUNK", 4)
    for name, value in (("CHUNK", 4), ("LARGEST", 8), ("MANY", 3)):
        monkeypatch.setattr(segments_of, name, value)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Twelve runs."""
    return fill(Store(tmp_path / "store"), range(12))


def fill(store: Store, repetitions: range) -> Store:
    for number in repetitions:
        store.write(record(number, 3 + number % 3))
    return store


def assert_truth(store: Store, problems: int = 0) -> None:
    """Through the index as without."""
    records, skipped = read_store(store.directory)
    runs, curves = tabulate(records)
    indexed = read_indexed(store.directory)
    pd.testing.assert_frame_equal(sort_runs(indexed.runs), runs)
    pd.testing.assert_frame_equal(sort_curves(indexed.curves(indexed.runs["key"])), curves)
    assert sorted(indexed.problems) == sorted(skipped)
    assert len(skipped) == problems


@contextlib.contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files of runs that are opened meanwhile."""
    opened: list[Path] = []
    whole = read_record

    def read(path: Path) -> Any:
        opened.append(path)
        return whole(path)

    with monkeypatch.context() as patch:
        patch.setattr(indexing, "read_record", read)
        yield opened


def segments(store: Store) -> list[Path]:
    return sorted((store.directory / FOLDER).glob("*.runs.parquet"))


def test_files_are_opened_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for expected in (12, 0):
        with counted(monkeypatch) as opened:
            assert_truth(store)
        assert len(opened) == expected
    assert len(segments(store)) == 2
    fill(store, range(12, 15))
    with counted(monkeypatch) as opened:
        assert_truth(store)
    assert len(opened) == 3


def test_some_curves_are_read_without_the_others(store: Store) -> None:
    indexed = read_indexed(store.directory)
    keys = [spec(3).key, spec(7).key, "0" * 64]
    _, expected = tabulate([record(3, 3), record(7, 4)])
    pd.testing.assert_frame_equal(sort_curves(indexed.curves(keys)), expected)
    assert indexed.curves([]).empty


@pytest.mark.parametrize("how", ["removed", "cut"])
def test_a_file_that_goes_before_its_curves_are_read_has_none(
    store: Store, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "FEWEST", 64)
    indexed = read_indexed(store.directory)
    change, _ = CHANGES[how]
    change(store.path(spec(3).key))
    _, expected = tabulate([record(7, 4)])
    found = indexed.curves([spec(3).key, spec(7).key])
    pd.testing.assert_frame_equal(sort_curves(found), expected)


def test_few_files_make_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "FEWEST", 64)
    store = fill(Store(tmp_path / "store"), range(12))
    assert_truth(store)
    assert not (store.directory / FOLDER).exists()


def test_a_store_that_does_not_exist_has_no_rows(tmp_path: Path) -> None:
    assert_truth(Store(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()


# Files that change


def test_an_index_that_outlived_all_runs_has_no_rows(store: Store) -> None:
    assert_truth(store)
    for folder in {path.parent for path in store.files()}:
        shutil.rmtree(folder)
    assert segments(store)
    assert_truth(store)
    assert read_indexed(store.directory).runs.empty


def replaced(path: Path) -> None:
    elsewhere = Store(path.parents[2] / "elsewhere")
    new = record(0, 7)
    elsewhere.write(new).replace(path)


def changed_in_place(path: Path) -> None:
    """As many bytes, and the time set back: what only the time of change tells."""
    times = path.stat()
    content = path.read_bytes().replace(b'"status": "done"', b'"status": "dona"')
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_dead_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


CHANGES: dict[str, tuple[Callable[[Path], object], int]] = {
    "removed": (Path.unlink, 0),
    "replaced": (replaced, 0),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-9]), 1),
    "changed in place": (changed_in_place, 1),
    "a folder": (into_folder, 1),
    "a link to nothing": (into_dead_link, 1),
}


@pytest.mark.parametrize("how", CHANGES)
def test_what_became_of_a_file_is_noticed(store: Store, how: str) -> None:
    assert_truth(store)
    change, problems = CHANGES[how]
    change(store.path(spec(0).key))
    assert_truth(store, problems)
    assert_truth(store, problems)


def test_a_store_that_was_copied_is_read_anew(store: Store, tmp_path: Path) -> None:
    assert_truth(store)
    shutil.copytree(store.directory, tmp_path / "copy")
    assert_truth(Store(tmp_path / "copy"))


def test_runs_in_the_folder_of_others_are_read_every_time(store: Store) -> None:
    assert_truth(store)
    path = store.path(spec(0).key)
    other = store.directory / ("00" if path.parent.name != "00" else "01") / path.name
    other.parent.mkdir(exist_ok=True)
    other.write_bytes(path.read_bytes())
    assert_truth(store)
    path.unlink()
    assert_truth(store)


@pytest.mark.parametrize("unusable", ["its own", "the copy"])
def test_of_two_files_of_a_run_the_usable_one_has_its_curves(store: Store, unusable: str) -> None:
    path = store.path(spec(0).key)
    copy = store.directory / ("00" if path.parent.name != "00" else "01") / path.name
    copy.parent.mkdir(exist_ok=True)
    shutil.copy(path, copy)
    (path if unusable == "its own" else copy).write_bytes(b"{")
    for _ in range(2):
        assert_truth(store, problems=1)


# An index that is not what it was


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "flipped": flip,
    "foreign": lambda path: path.write_text("key,study\n"),
    "removed": Path.unlink,
    "a folder": into_folder,
}


@pytest.mark.parametrize("kind", ["runs", "curves"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_index_is_noticed_and_made_anew(
    store: Store, how: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_truth(store)
    for path in (store.directory / FOLDER).glob(f"*.{kind}.parquet"):
        DAMAGES[how](path)
    assert_truth(store)
    assert_truth(store)
    if how != "a folder":
        with counted(monkeypatch) as opened:
            assert_truth(store)
        assert opened == []


def test_an_index_of_another_kind_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_truth(store)
    before = contents(store.directory / FOLDER)
    monkeypatch.setattr(segments_of, "KIND", b"another")
    assert_truth(store)
    assert contents(store.directory / FOLDER).items() > before.items()


def test_an_index_from_before_a_column_was_there_is_left_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fewer = tuple(name for name in segments_of.COLUMNS if name != "load")
        patch.setattr(segments_of, "COLUMNS", fewer)
        with contextlib.suppress(KeyError):  # what was written cannot be read again here
            read_indexed(store.directory)
    before = contents(store.directory / FOLDER)
    assert before
    assert_truth(store)
    assert contents(store.directory / FOLDER).items() > before.items()


def test_what_else_lies_there_is_left_alone(store: Store) -> None:
    assert_truth(store)
    folder = store.directory / FOLDER
    names = ("notes.txt", "x.runs.parquet", ".hidden")
    for name in names:
        (folder / name).write_text("mine")
    assert_truth(store)
    assert all((folder / name).read_text() == "mine" for name in names)


def test_an_index_of_another_store_says_nothing(store: Store, tmp_path: Path) -> None:
    assert_truth(store)
    other = fill(Store(tmp_path / "other"), range(6, 9))
    shutil.copytree(store.directory / FOLDER, other.directory / FOLDER)
    assert_truth(other)


def test_a_segment_names_no_file_elsewhere(store: Store) -> None:
    assert_truth(store)
    mine = store.directory / "mine.curves.parquet"
    mine.write_text("mine")
    for path in segments(store):
        about = {"repro-index": segments_of.KIND, "curves": "../mine"}
        content = io.BytesIO()
        pq.write_table(pq.read_table(path).replace_schema_metadata(about), content)
        path.unlink()
        name = hashlib.sha256(content.getvalue()).hexdigest()
        path.with_name(f"{name}.runs.parquet").write_bytes(content.getvalue())
    assert_truth(store)
    assert mine.read_text() == "mine"


# Where it cannot be written


@pytest.mark.parametrize("when", ["mkdir", "writing", "renaming"])
def test_without_room_for_an_index_there_is_none_and_nothing_else_is_missing(
    store: Store, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if when == "mkdir":
            (store.directory / FOLDER).write_text("in the way")
        elif when == "writing":
            patch.setattr(segments_of, "write_whole", refuse)
        else:
            patch.setattr(Path, "replace", refuse)
        assert_truth(store)
        assert segments(store) == []
        assert when == "mkdir" or not list((store.directory / FOLDER).iterdir())
    if when == "mkdir":
        (store.directory / FOLDER).unlink()
    assert_truth(store)
    assert segments(store)


def test_what_was_read_until_an_interruption_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def interrupt(path: Path) -> Any:
        if len(read) == 10:
            raise KeyboardInterrupt
        read.append(path)
        return read_record(path)

    with monkeypatch.context() as patch:
        patch.setattr(indexing, "read_record", interrupt)
        with pytest.raises(KeyboardInterrupt):
            read_indexed(store.directory)
    with counted(monkeypatch) as opened:
        assert_truth(store)
    assert len(opened) == 4  # the chunk that was cut off


def test_an_interruption_while_the_first_runs_are_written_is_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pyarrow.parquet.ParquetWriter.write_table", interrupt)
        with pytest.raises(KeyboardInterrupt):
            read_indexed(store.directory)
    assert list((store.directory / FOLDER).iterdir()) == []
    assert_truth(store)


# Many segments


def test_many_small_segments_become_few(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read_indexed(store.directory)
    (store.directory / FOLDER / ".new-0123").write_bytes(b"of a killed writer")
    for number in range(12, 20):
        fill(store, range(number, number + 1))
        assert_truth(store)
        assert len(segments(store)) <= 7  # not 10
    kept = {path.name for path in (store.directory / FOLDER).iterdir()}
    assert len(kept) == 2 * len(segments(store))  # no curves without their rows
    with counted(monkeypatch) as opened:
        assert_truth(store)
    assert opened == []


def test_runs_without_curves_are_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    for number in range(5):  # four are merged before the fifth is added
        store.write(dataclasses.replace(record(number), curves=()))
        assert_truth(store)
    assert len(segments(store)) == 2
    with counted(monkeypatch) as opened:
        assert_truth(store)
    assert opened == []


@pytest.mark.parametrize("at", ["the first chunk", "the end"])
def test_without_room_to_merge_small_segments_they_stay(
    store: Store, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(segments_of, "MANY", 100)
        for number in range(12, 17):
            read_indexed(fill(store, range(number, number + 1)).directory)
    before = contents(store.directory / FOLDER)
    assert len(segments(store)) == 6  # of 8 runs, of 5, and of 1 each
    with monkeypatch.context() as patch:
        if at == "the end":
            patch.setattr(segments_of, "write_whole", refuse)
        else:
            patch.setattr("pyarrow.parquet.ParquetWriter", refuse)
        with counted(patch) as opened:
            assert_truth(store)
        assert opened == []
    assert contents(store.directory / FOLDER) == before


@pytest.mark.parametrize("damaged", [slice(1), slice(None)], ids=["one", "all"])
def test_small_segments_whose_curves_are_damaged_are_not_merged(
    store: Store, damaged: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(segments_of, "MANY", 100)
        for number in range(12, 17):
            read_indexed(fill(store, range(number, number + 1)).directory)
    found = (store.directory / FOLDER).glob("*.curves.parquet")
    for path in sorted(found, key=lambda path: path.stat().st_size)[damaged]:
        DAMAGES["cut"](path)
    for _ in range(2):
        assert_truth(store)


def test_a_reader_is_not_disturbed_by_the_merging_of_another(store: Store) -> None:
    reader = read_indexed(store.directory)
    for number in range(12, 20):
        fill(store, range(number, number + 1))
        read_indexed(store.directory)
    for path in (store.directory / FOLDER).glob("*.curves.parquet"):
        path.unlink()
    _, expected = tabulate(record(number, 3 + number % 3) for number in range(12))
    pd.testing.assert_frame_equal(sort_curves(reader.curves(reader.runs["key"])), expected)


INDEXER = """
import sys
from pathlib import Path
from repro.results import index as indexing, segments
from repro.results import Store
from finished_runs import record
indexing.FEWEST, indexing.CHUNK = 1, 4
segments.CHUNK, segments.LARGEST, segments.MANY = 4, 8, 3
store, first = Store(Path(sys.argv[1])), int(sys.argv[2])
for number in range(first, first + 8):
    store.write(record(number))
    indexed = indexing.read_indexed(store.directory)
    assert not indexed.problems
    curves = indexed.curves(indexed.runs["key"])
    assert len(curves) == 5 * len(indexed.runs), (len(curves), len(indexed.runs))
"""


def test_several_processes_keep_one_index(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    here = f"{Path(__file__).parent}:{Path(__file__).parents[1]}"
    command = [sys.executable, "-c", INDEXER, str(store.directory)]
    writers = [
        subprocess.Popen([*command, str(first)], env={**os.environ, "PYTHONPATH": here})
        for first in (100, 200, 300)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert_truth(store)
    assert len(read_indexed(store.directory).runs) == 24


# What rests on it


def test_loading_and_publishing_through_the_index(store: Store, tmp_path: Path) -> None:
    published, again = tmp_path / "published", tmp_path / "again"
    publish(store.directory, published)
    fill(store, range(12, 20))
    loaded = load(published, store.directory)
    runs, curves = tabulate(read_store(store.directory)[0])
    pd.testing.assert_frame_equal(loaded.runs, consolidated(runs))
    pd.testing.assert_frame_equal(loaded.curves, curves)
    pd.testing.assert_frame_equal(sort_runs(load_runs(published, store.directory)[0]), runs)
    publish(store.directory, published)
    shutil.rmtree(store.directory / FOLDER)
    publish(store.directory, again)
    assert contents(published) == contents(again)

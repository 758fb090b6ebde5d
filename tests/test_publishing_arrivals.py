"""What is none of ours, or was damaged on its way, is refused by name and leaves nothing."""

import contextlib
import errno
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from finished_runs import contents, record, rewrite
from sent_rows import home as home
from sent_rows import sent as sent
from sent_rows import store as store

from repro.publishing import merge, merging, publish
from repro.results import RejectedFileError, Store


def test_a_folder_that_is_none_is_one_clear_line(tmp_path: Path, home: Path, store: Store) -> None:
    expected = "expected a folder that `repro publish --to` wrote"
    for folder, found in (
        (tmp_path / "nowhere", r"Found nothing\."),
        (next(iter(store.files())), r"Found a file\."),
        (tmp_path, r"Found no STUDY.runs.parquet there\."),
        (store.directory, r"Found no .* there, but finished runs: give it as `--store`\."),
    ):
        with pytest.raises(ValueError, match=f"^{folder}: {expected}. {found} Nothing was") as told:
            merge([folder], home)
        assert not isinstance(told.value, RejectedFileError)  # a wrong name is no failed check
    assert not home.exists()


def test_a_folder_that_may_not_be_read_is_not_called_empty(
    sent: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("os.listdir", refuse)  # which is all that root is not told
    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        merge([sent], home)
    assert not home.exists()


@pytest.mark.parametrize("kind", ["runs", "curves"])
def test_half_a_pair_is_refused(sent: Path, home: Path, kind: str) -> None:
    (sent / f"someone2022.{kind}.parquet").unlink()
    with pytest.raises(RejectedFileError, match=r"Found only one of someone2022.* Copy both\."):
        merge([sent], home)
    assert not home.exists()


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"step,loss\n1,2\n"])
def test_a_damaged_file_is_named(sent: Path, home: Path, content: bytes) -> None:
    path = sent / "someone2022.curves.parquet"
    path.write_bytes(content)
    with pytest.raises(RejectedFileError, match=r"someone2022.curves.parquet: not a readable"):
        merge([sent], home)
    assert not home.exists()


@pytest.mark.parametrize("kind", ["runs", "curves"])
def test_flipped_bits_on_the_way_are_never_taken_for_data(
    sent: Path, home: Path, tmp_path: Path, kind: str
) -> None:
    path = sent / f"someone2022.{kind}.parquet"
    whole = path.read_bytes()
    merge([sent], home)
    arrived = contents(home)
    for position in range(0, len(whole), len(whole) // 10):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        there = tmp_path / str(position)
        with contextlib.suppress(RejectedFileError):
            merge([sent], there)
            assert contents(there) == arrived


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("method", "better"),
        ("learning_rate", 0.2),
        ("learning_rate", None),
        ("key", "0" * 64),
        ("spec", "{}"),
        ("spec", "[" * 100_000),
        ("status", "fine"),
        ("trial", 5.0),
    ],
)
def test_a_row_that_is_not_its_run_is_refused(
    sent: Path, home: Path, column: str, value: Any
) -> None:
    def change(table: pyarrow.Table) -> pyarrow.Table:
        values = table[column].to_pylist()
        index = table.column_names.index(column)
        kind = table.schema.field(column)
        return table.set_column(index, kind, pyarrow.array([value, *values[1:]], kind.type))

    rewrite(sent / "someone2022.runs.parquet", change)
    with pytest.raises(RejectedFileError, match="is not that of its specification"):
        merge([sent], home)
    assert not home.exists()


@pytest.mark.parametrize("row", [0, 1, 2])
def test_of_rows_checked_in_parts_the_one_that_is_not_its_run_is_named(
    sent: Path, home: Path, row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str] = []

    def change(table: pyarrow.Table) -> pyarrow.Table:
        keys.extend(table["key"].to_pylist())
        methods, kind = table["method"].to_pylist(), table.schema.field("method")
        methods[row] = "better"
        index = table.column_names.index("method")
        return table.set_column(index, kind, pyarrow.array(methods, kind.type))

    rewrite(sent / "someone2022.runs.parquet", change)
    monkeypatch.setattr(merging, "CHUNK", 2)
    with pytest.raises(RejectedFileError, match=f"the row {keys[row][:12]} is not that of"):
        merge([sent], home)


@pytest.mark.parametrize("name", ["../elsewhere", "/elsewhere", "a/b", "", ".hidden"])
def test_a_study_whose_name_is_a_path_is_refused(tmp_path: Path, home: Path, name: str) -> None:
    foreign = Store(tmp_path / "foreign")
    for found in (record(0), record(0, study=name)):
        foreign.write(found)
    with pytest.raises(RejectedFileError, match=r"of which no file can be made"):
        publish(foreign.directory, home)
    assert not home.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign"]

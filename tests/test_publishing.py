"""Rows travel as few small files and come home the same."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from finished_runs import contents, record
from sent_rows import home as home
from sent_rows import sent as sent
from sent_rows import store as store

from repro.publishing import Planned, arrivals, merge, merging, publish
from repro.results import HeldError, Store, read_published, write_curves


def test_from_store_to_folder_to_snapshot_is_from_store_to_snapshot(
    store: Store, sent: Path, home: Path, tmp_path: Path
) -> None:
    publish(store.directory, tmp_path / "direct")
    assert merge([sent], home) == {"another2022": 1, "someone2022": 3}
    assert contents(home) == contents(tmp_path / "direct")
    assert len(contents(sent)) == 4  # two files a study
    assert merge([sent], home) == {}
    assert contents(home) == contents(tmp_path / "direct")


def test_a_snapshot_that_holds_other_rows_grows_in_the_same_way(
    store: Store, sent: Path, home: Path, tmp_path: Path
) -> None:
    others = Store(tmp_path / "others")
    for n in (1, 5):  # one of them is known to both
        others.write(record(n))
    for folder in (home, tmp_path / "direct"):
        publish(others.directory, folder)
    publish(store.directory, tmp_path / "direct")
    assert merge([sent], home) == {"another2022": 1, "someone2022": 2}
    assert contents(home) == contents(tmp_path / "direct")


def test_several_folders_come_home_at_once_in_any_order(
    store: Store, sent: Path, home: Path, tmp_path: Path
) -> None:
    other, others = Store(tmp_path / "others"), tmp_path / "sent too"
    for n in (1, 5):
        other.write(record(n))
    publish(other.directory, others)
    assert merge([sent, others], home) == {"another2022": 1, "someone2022": 4}
    merge([others, sent], tmp_path / "otherwise")
    assert contents(home) == contents(tmp_path / "otherwise")


def test_two_that_publish_at_once_lose_nothing(
    sent: Path, home: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Store(tmp_path / "others")
    other.write(record(5))

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(merging, "write_curves", write_curves)
        for second in (
            lambda: publish(other.directory, home),
            lambda: merge([sent], home),
            lambda: merge([sent], home, Planned({}, retire=True)),
        ):
            with pytest.raises(HeldError, match=rf"^{home} is written already, by process \d+ of "):
                second()
        write_curves(*arguments)

    monkeypatch.setattr(merging, "write_curves", meanwhile)
    publish(store.directory, home)
    publish(other.directory, home)
    runs, curves, problems = read_published(home)
    assert (len(runs), problems) == (5, ())
    assert set(curves["key"]) == set(runs["key"])
    assert len(contents(home)) == 4  # nothing else stays


def test_many_runs_travel_in_parts_and_lose_no_point(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Store(tmp_path / "first"), Store(tmp_path / "second")
    for n in range(7):
        (first if n % 2 else second).write(record(n, n))
    told: list[str] = []
    for module in (arrivals, merging):
        monkeypatch.setattr(module, "CHUNK", 3)
    publish(first.directory, home)
    publish(second.directory, home, told.append)
    merge([home], tmp_path / "merged")
    monkeypatch.undo()
    for n in range(7):
        first.write(record(n, n))
    publish(first.directory, tmp_path / "whole")
    runs, curves, _ = read_published(tmp_path / "whole")
    for folder in (home, tmp_path / "merged"):
        found = read_published(folder)
        pd.testing.assert_frame_equal(found[0], runs)
        pd.testing.assert_frame_equal(found[1], curves)
    assert told[-3:] == [f"someone2022: curves of {n} of 7 runs" for n in (0, 3, 6)]


def test_a_folder_is_small(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for n in range(20):
        store.write(record(n, 2_000))
    publish(store.directory, tmp_path / "sent")
    sizes = [path.stat().st_size for path in (tmp_path / "sent").iterdir()]
    assert sum(sizes) < sum(path.stat().st_size for path in store.files()) / 4

"""Published rows: every run once, the same bytes again, and one table with the store; what is unreadable stays as it is."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from finished_runs import contents, kinds, record, rewrite, spec, tuning
from finished_runs import published as published
from finished_runs import store as store

from repro.publishing import publish
from repro.results import (
    CURVE_COLUMNS,
    RUN_COLUMNS,
    RejectedFileError,
    Store,
    consolidated,
    load,
    read_published,
    sort_curves,
    tabulate,
)
from repro.results.snapshot import read_parquet

# Publishing


def test_publishing_keeps_every_row(store: Store, published: Path) -> None:
    for n in range(3):
        store.write(record(n, 1_200))
    store.write(record(0, study="another2022"))
    assert publish(store.directory, published) == ({"another2022": 1, "someone2022": 3}, ())
    assert sorted(contents(published)) == [
        f"{study}.{kind}.parquet"
        for study in ("another2022", "someone2022")
        for kind in ("curves", "runs")
    ]
    runs, curves, problems = read_published(published)
    assert problems == ()
    in_store = load(published / "nothing", store.directory)
    pd.testing.assert_frame_equal(consolidated(runs), in_store.runs)
    pd.testing.assert_frame_equal(sort_curves(curves), in_store.curves)
    assert (kinds(runs), kinds(curves)) == (RUN_COLUMNS, CURVE_COLUMNS)


def test_publishing_again_changes_no_byte(store: Store, published: Path) -> None:
    store.write(record())
    publish(store.directory, published)
    before = contents(published)
    assert publish(store.directory, published) == ({}, ())
    assert contents(published) == before


def test_publishing_in_parts_gives_the_same_bytes(
    store: Store, published: Path, tmp_path: Path
) -> None:
    for n in (3, 0, 2, 1):
        store.write(record(n, 700))
        publish(store.directory, published)
    publish(store.directory, tmp_path / "at once")
    assert contents(published) == contents(tmp_path / "at once")


def test_publishing_touches_only_studies_that_grow(store: Store, published: Path) -> None:
    store.write(record(study="another2022"))
    publish(store.directory, published)
    before = contents(published)
    store.write(record())
    assert publish(store.directory, published)[0] == {"someone2022": 1}
    assert contents(published).items() > before.items()


def test_published_rows_stay_as_they_are(store: Store, published: Path) -> None:
    store.write(record())
    publish(store.directory, published)
    # the same run, made elsewhere
    store.write(dataclasses.replace(record(), measured={**record().measured, "commit": "def"}))
    store.write(record(1))
    assert publish(store.directory, published)[0] == {"someone2022": 1}
    runs, _, _ = read_published(published)
    assert runs["commit"].tolist() == ["abc", "abc"]


def test_publishing_skips_unusable_runs(store: Store, published: Path) -> None:
    store.write(record(1))
    store.write(record()).write_bytes(b"{")
    added, skipped = publish(store.directory, published)
    assert added == {"someone2022": 1}
    assert [line.partition(":")[0] for line in skipped] == [str(store.path(spec().key))]


def test_publishing_nothing_writes_nothing(tmp_path: Path, published: Path) -> None:
    assert publish(tmp_path / "nothing", published) == ({}, ())
    assert not published.exists()


SPOILERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-20]), "not a readable Parquet file"),
    "empty": (lambda p: p.write_bytes(b""), "not a readable Parquet file"),
    "foreign": (lambda p: p.write_text("key,study\n"), "not a readable Parquet file"),
    "git-lfs pointer": (
        lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "not a readable Parquet file .* Restore it from version control",
    ),
    "no schema": (
        lambda p: rewrite(p, lambda t: t.replace_schema_metadata({})),
        "expected results schema 1, found none. Skipped and left as it is",
    ),
    "other schema": (
        lambda p: rewrite(p, lambda t: t.replace_schema_metadata({"repro-schema": "0"})),
        "expected results schema 1, found 0. Skipped and left as it is",
    ),
    "column missing": (
        lambda p: rewrite(p, lambda t: t.drop_columns(["key"])),
        "lacks the columns key of results schema 1",
    ),
}


@pytest.mark.parametrize("kind", ["runs", "curves"])
@pytest.mark.parametrize("how", SPOILERS)
def test_an_unreadable_snapshot_is_named_and_never_overwritten(
    store: Store, published: Path, how: str, kind: str
) -> None:
    spoil, message = SPOILERS[how]
    store.write(record(0, study="another2022"))
    store.write(record())
    publish(store.directory, published)
    path = published / f"someone2022.{kind}.parquet"
    spoil(path)
    before = contents(published)
    _, _, problems = read_published(published)
    assert [line.partition(":")[0] for line in problems] == [str(path)]
    assert load(published).problems == problems
    store.write(record(1))
    store.write(record(1, study="another2022"))
    with pytest.raises(RejectedFileError, match=message) as caught:
        publish(store.directory, published)
    assert str(caught.value) == problems[0]
    assert contents(published) == before


def test_flipped_bits_of_a_snapshot_are_never_read_as_data(store: Store, published: Path) -> None:
    for n in range(3):
        store.write(record(n, 100))
    publish(store.directory, published)
    path = published / "someone2022.curves.parquet"
    whole = path.read_bytes()
    curves = read_parquet(path, CURVE_COLUMNS)
    for position in range(0, len(whole), 23):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            read = read_parquet(path, CURVE_COLUMNS)
        except RejectedFileError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017 - either answer is right
            assert "\n" not in str(error)  # noqa: PT017
        else:
            pd.testing.assert_frame_equal(read, curves)


def test_a_column_that_is_none_of_ours_is_not_read(store: Store, published: Path) -> None:
    store.write(record())
    publish(store.directory, published)
    whole = read_published(published)
    for path in published.iterdir():
        rewrite(path, lambda t: t.append_column("mine", pyarrow.array([0] * len(t))))
    for one, two in zip(read_published(published)[:2], whole[:2], strict=True):
        pd.testing.assert_frame_equal(one, two)


# Snapshots from before a column was there


# by name, not from the code: files without them are published, and must stay readable
LATER = ("trial", "search", "test_last_batch_loss", "wall_seconds", "processor_seconds")


@pytest.mark.parametrize("lacking", [LATER, *((name,) for name in LATER)])
def test_columns_that_older_snapshots_lack_read_as_missing(
    store: Store, published: Path, lacking: tuple[str, ...]
) -> None:
    for n in range(2):
        store.write(record(n))
    publish(store.directory, published)
    whole = read_published(published)
    path = published / "someone2022.runs.parquet"
    rewrite(path, lambda table: table.drop_columns(list(lacking)))
    assert not set(lacking) & set(pyarrow.parquet.read_schema(path).names)
    before = contents(published)
    runs, curves, problems = read_published(published)
    assert problems == ()
    assert kinds(runs) == RUN_COLUMNS
    assert runs["trial"].isna().all()
    assert runs["test_last_batch_loss"].isna().all()
    assert runs["search"].tolist() == ["", ""]
    pd.testing.assert_frame_equal(runs, whole[0])
    pd.testing.assert_frame_equal(curves, whole[1])
    assert contents(published) == before  # reading writes nothing


def test_an_older_snapshot_grows_by_runs_that_have_the_later_columns(
    store: Store, published: Path
) -> None:
    store.write(record())
    publish(store.directory, published)
    path = published / "someone2022.runs.parquet"
    rewrite(path, lambda table: table.drop_columns(list(LATER)))
    looked = dataclasses.replace(tuning(), measured={"score": 0.5, "test_last_batch_loss": 0.25})
    store.write(looked)
    assert publish(store.directory, published) == ({"someone2022": 1}, ())
    runs, _, problems = read_published(published)
    assert problems == ()
    pd.testing.assert_frame_equal(runs, tabulate([record(), looked])[0])
    assert runs["test_last_batch_loss"].isna().tolist() == [True, False]
    assert runs["test_last_batch_loss"].tolist()[1] == 0.25


# Loading


def test_loading_is_the_union(store: Store, published: Path) -> None:
    for n in (0, 2):
        store.write(record(n))
    publish(store.directory, published)
    for n in (1, 3):
        store.write(record(n))
    loaded = load(published, store.directory)
    runs, curves = tabulate([record(n) for n in range(4)])
    pd.testing.assert_frame_equal(loaded.runs, consolidated(runs))
    pd.testing.assert_frame_equal(loaded.curves, curves)
    assert loaded.problems == ()
    assert loaded.facts.empty
    assert load(published).runs["repetition"].tolist() == [0, 2]
    # what nobody else has is told
    assert (loaded.unpublished, load(published).unpublished) == (2, 0)


def test_loading_nothing_gives_typed_tables(tmp_path: Path) -> None:
    facts = pd.DataFrame({"study": ["someone2022"]})
    loaded = load(tmp_path / "a", tmp_path / "b", facts)
    # words of runs are plain objects, of which rows are taken several times faster
    plain = {name: "object" if kind == "str" else kind for name, kind in RUN_COLUMNS.items()}
    assert (kinds(loaded.runs), kinds(loaded.curves)) == (plain, CURVE_COLUMNS)
    assert loaded.facts is facts


def test_a_second_copy_of_the_snapshot_adds_nothing(store: Store, published: Path) -> None:
    store.write(record())
    publish(store.directory, published)
    once = load(published)
    for kind in ("runs", "curves"):
        whole = (published / f"someone2022.{kind}.parquet").read_bytes()
        (published / f"someone2022 (copy).{kind}.parquet").write_bytes(whole)
    twice = load(published, store.directory)
    pd.testing.assert_frame_equal(once.runs, twice.runs)
    pd.testing.assert_frame_equal(once.curves, twice.curves)
    # nor does it double a point of what grows beside it
    store.write(record(1))
    assert publish(store.directory, published) == ({"someone2022": 1}, ())
    grown = read_parquet(published / "someone2022.curves.parquet", CURVE_COLUMNS)
    pd.testing.assert_frame_equal(grown, tabulate([record(), record(1)])[1])


@pytest.mark.parametrize("how", ["never written", "unreadable"])
def test_curves_without_their_runs_are_not_counted_twice(
    store: Store, published: Path, how: str
) -> None:
    store.write(record())
    publish(store.directory, published)
    path = published / "someone2022.runs.parquet"
    path.unlink() if how == "never written" else path.write_bytes(b"PAR1")
    loaded = load(published, store.directory)
    runs, curves = tabulate([record()])
    pd.testing.assert_frame_equal(loaded.runs, consolidated(runs))
    pd.testing.assert_frame_equal(loaded.curves, curves)
    if how == "never written":  # a publication that was cut short is finished by the next one
        assert publish(store.directory, published)[0] == {"someone2022": 1}
        assert len(read_published(published)[1]) == len(curves)

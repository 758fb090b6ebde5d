"""Rows that contradict others stay out, and with them all that came along; what was cut short is made whole."""

import contextlib
import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from finished_runs import contents, record, tuning
from sent_rows import ends
from sent_rows import home as home
from sent_rows import sent as sent
from sent_rows import store as store

import studies
from repro.protocol import Trial
from repro.publishing import ContradictionError, arrivals, merge, merging, publish
from repro.results import Record, Store, read_published, sort_runs

CONTRADICTIONS: dict[str, tuple[Callable[[Record], Record], str]] = {
    "status": (
        lambda r: ends(r, status="diverged"),
        r"someone2022 bowl, back, repetition 1 \(run [0-9a-f]{12}\) is diverged with score 1.1 here, and "
        r"done with score 1.1 in what is published or was merged before\. Find out which is right",
    ),
    "score": (lambda r: ends(r, measured={"score": 2.0}), r"done with score 2 here, and done with"),
}


@pytest.mark.parametrize("way", ["store", "folder"])
@pytest.mark.parametrize("kind", CONTRADICTIONS)
def test_another_end_of_a_published_run_is_refused(
    sent: Path, home: Path, tmp_path: Path, kind: str, way: str
) -> None:
    merge([sent], home)
    before = contents(home)
    change, message = CONTRADICTIONS[kind]
    other = Store(tmp_path / "other")
    other.write(change(record(1)))
    other.write(record(7))
    publish(other.directory, tmp_path / "foreign")
    come_home: dict[str, Callable[[], object]] = {
        "store": lambda: publish(other.directory, home),
        "folder": lambda: merge([tmp_path / "foreign"], home),
    }
    with pytest.raises(ContradictionError, match=message):
        come_home[way]()
    assert contents(home) == before  # not even the row that contradicts nothing


def test_two_folders_may_not_contradict_each_other(sent: Path, home: Path, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    other.write(ends(record(1), status="diverged"))
    publish(other.directory, tmp_path / "foreign")
    with pytest.raises(ContradictionError, match=r"foreign: .* or was merged before"):
        merge([sent, tmp_path / "foreign"], home)
    assert not home.exists()


def test_trials_of_another_search_are_refused(sent: Path, home: Path, tmp_path: Path) -> None:
    merge([sent], home)
    found = tuning()
    assert found.spec.trial is not None
    strange = dataclasses.replace(found.spec, trial=Trial(1, "another"))
    other = Store(tmp_path / "other")
    other.write(dataclasses.replace(found, spec=strange))
    with pytest.raises(ContradictionError, match=r"would have trials of the searches .* and "):
        publish(other.directory, home)


def test_the_rounding_of_another_machine_is_no_contradiction(
    sent: Path, home: Path, tmp_path: Path
) -> None:
    merge([sent], home)
    other = Store(tmp_path / "other")
    other.write(ends(record(1), measured={"score": 1.1001, "seconds": 9e9, "device": "another"}))
    before = contents(home)
    assert publish(other.directory, home) == ({}, ())
    assert contents(home) == before


@pytest.mark.parametrize(
    ("score", "differs"),
    [
        # of the larger of both, a tenth
        (1.2, False),
        (1.25, True),
        (1.0, False),
        (0.95, True),
        (-1.1, True),
        # what is not finite is compared with nothing
        (math.inf, False),
        (math.nan, False),
    ],
)
def test_scores_of_one_run_contradict_each_other_if_a_tenth_apart(
    tmp_path: Path, home: Path, score: float, differs: bool
) -> None:
    for sign, folder in ((1.0, home), (-1.0, tmp_path / "below zero")):
        first, other = Store(tmp_path / f"first {sign}"), Store(tmp_path / f"other {sign}")
        first.write(ends(record(0), measured={"score": sign * 1.1}))
        other.write(ends(record(0), measured={"score": sign * score}))
        publish(first.directory, folder)
        before = contents(folder)
        with pytest.raises(ContradictionError) if differs else contextlib.nullcontext():
            publish(other.directory, folder)
        assert contents(folder) == before


def test_what_is_published_contradicts_nothing_in_itself() -> None:
    runs, _, problems = read_published(studies.RESULTS)
    assert problems == ()
    assert list(merging._contradictions(runs, runs)) == []
    assert arrivals._not_themselves(runs) == []
    # in another order a publication would write every row anew
    pd.testing.assert_frame_equal(sort_runs(runs[::-1]), runs)


def test_what_was_cut_short_between_two_files_is_made_whole_by_the_next(
    store: Store, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def cut_short(write: Callable[..., None]) -> Callable[..., None]:
        def write_the_first(path: Path, content: object) -> None:
            if written:
                raise KeyboardInterrupt
            write(path, content)
            written.append(path)

        return write_the_first

    publish(store.directory, tmp_path / "whole")
    with monkeypatch.context() as patch:
        for name in ("write_curves", "write_parquet"):
            patch.setattr(merging, name, cut_short(getattr(merging, name)))
        with pytest.raises(KeyboardInterrupt):
            publish(store.directory, home)
    assert list(home.iterdir()) == written
    publish(store.directory, home)
    assert contents(home) == contents(tmp_path / "whole")

"""Rows that their study no longer declares, or that a better trial has superseded, stay out or are taken out."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from finished_runs import at, contents, record, tuning
from sent_rows import CELL, DECLARED, EVERYTHING, OLD, PLAN, at_full, ends
from sent_rows import home as home
from sent_rows import sent as sent
from sent_rows import store as store

import studies
from repro.protocol import RunSpec, declared, expand
from repro.publishing import ContradictionError, Planned, merge, merging, publish, retirable
from repro.results import RejectedFileError, Store


def test_a_study_declares_every_published_row() -> None:
    every = {n: declared(studies.get(n)) for n in studies.names()}
    assert retirable(studies.RESULTS, every) == ({}, {})


def test_rows_of_an_old_plan_stay_out(store: Store, home: Path, tmp_path: Path) -> None:
    for found in (PLAN, OLD):
        store.write(found)
    planned = Planned(DECLARED)
    added = {"another2022": 1, "someone2022": 3, "baydin2022": 1}
    assert publish(store.directory, home, planned=planned) == (added, ())
    assert planned.left_out == {CELL: 1}
    assert retirable(home, DECLARED) == ({}, {})
    # what is none of the studies here travels whole, and comes home the same
    publish(store.directory, tmp_path / "sent")
    assert merge([tmp_path / "sent"], tmp_path / "there", planned) == added
    assert planned.left_out == {CELL: 1}  # the same row, whatever brings it
    assert contents(tmp_path / "there") == contents(home)


def test_rows_of_smoke_scale_are_no_results(store: Store, home: Path, tmp_path: Path) -> None:
    spec = expand(studies.get("baydin2022"), "smoke", only=["beale"])[0]
    store.write(dataclasses.replace(record(), spec=spec))
    planned = Planned(DECLARED)
    assert "baydin2022" not in publish(store.directory, home, planned=planned)[0]
    assert (planned.smoke, planned.left_out) == (1, {})
    # of a study that is none of those here they may be
    assert publish(store.directory, tmp_path / "sent")[0]["baydin2022"] == 1
    assert "baydin2022" not in merge([tmp_path / "sent"], tmp_path / "there", planned)
    assert (planned.smoke, planned.left_out) == (1, {})  # the same row


def test_rows_of_an_old_plan_are_taken_out_and_leave_nothing(
    store: Store, home: Path, tmp_path: Path
) -> None:
    store.write(PLAN)
    publish(store.directory, tmp_path / "without")
    store.write(OLD)
    publish(store.directory, home)
    assert contents(home) != contents(tmp_path / "without")
    assert retirable(home, DECLARED) == ({CELL: 1}, {})
    for taken_out in ({CELL: 1}, {}):
        planned = Planned(DECLARED, retire=True)
        assert merge([], home, planned) == {}
        assert planned.retired == taken_out
        assert contents(home) == contents(tmp_path / "without")


def test_reports_that_a_search_has_gone_beyond_are_taken_out(tmp_path: Path, home: Path) -> None:
    store = Store(tmp_path / "searched")
    trials = [at(tuning(number=n), rate, 1.0 - n) for n, rate in enumerate((0.3, 0.2))]
    *found, outdone = map(at_full, (*trials, at(record(), 0.2), at(record(), 0.3)))
    for each in found:
        store.write(each)
    publish(store.directory, home)
    kept = contents(home)
    store.write(outdone)
    publish(store.directory, home)
    cell = ("someone2022", record().spec.experiment)
    assert retirable(home, EVERYTHING) == ({}, {cell: 1})
    # of an old plan, too, it is counted once
    but_one = {"someone2022": lambda spec: spec != outdone.spec}
    assert retirable(home, but_one) == ({cell: 1}, {})
    # published rows stay until they are to be taken out
    published, planned = contents(home), Planned(EVERYTHING)
    assert publish(store.directory, home, planned=planned) == ({}, ())
    assert (planned.retired, planned.superseded) == ({}, {})
    assert contents(home) == published
    # the store still has it: it does not come in again, then or later
    for retired, left_out in (({cell: 1}, {}), ({}, {cell: 1})):
        planned = Planned(EVERYTHING, retire=bool(retired))
        assert publish(store.directory, home, planned=planned) == ({}, ())
        assert (planned.retired, planned.superseded) == (retired, left_out)
        assert contents(home) == kept


def test_reports_that_go_beyond_published_ones_take_their_place_at_once(
    tmp_path: Path, home: Path
) -> None:
    store, more = Store(tmp_path / "searched"), Store(tmp_path / "refined")
    trials = [at(tuning(number=n), rate, 1.0 - n) for n, rate in enumerate((0.3, 0.2))]
    first, better, outdone, report = map(at_full, (*trials, at(record(), 0.3), at(record(), 0.2)))
    for each in (first, outdone):
        store.write(each)
    publish(store.directory, home)
    for each in (better, report):
        more.write(each)
    cell = ("someone2022", record().spec.experiment)
    planned = Planned(EVERYTHING, retire=True)
    assert publish(more.directory, home, planned=planned) == ({"someone2022": 2}, ())
    assert planned.retired == {cell: 1}
    assert retirable(home, EVERYTHING) == ({}, {})


def test_trials_of_a_search_of_the_past_are_left_out_and_contradict_nothing(
    tmp_path: Path, home: Path
) -> None:
    def of_now(spec: RunSpec) -> bool:
        return spec.trial is not None and spec.trial.search == "digest"

    for name, found in (("now", tuning()), ("past", tuning(search="another"))):
        Store(tmp_path / name).write(at_full(found))
    publish(tmp_path / "now", home)
    planned = Planned({"someone2022": of_now})
    assert publish(tmp_path / "past", home, planned=planned) == ({}, ())
    assert planned.left_out == {("someone2022", record().spec.experiment): 1}
    with pytest.raises(ContradictionError, match="trials of the searches another and digest"):
        publish(tmp_path / "past", home)


def test_what_is_refused_takes_nothing_out(
    store: Store, home: Path, sent: Path, tmp_path: Path
) -> None:
    for found in (PLAN, OLD):
        store.write(found)
    publish(store.directory, home)
    before = contents(home)
    other = Store(tmp_path / "other")
    other.write(ends(record(0), status="diverged"))
    with pytest.raises(ContradictionError):
        publish(other.directory, home, planned=Planned(DECLARED, retire=True))
    assert contents(home) == before
    (sent / "someone2022.runs.parquet").write_bytes(b"")
    with pytest.raises(RejectedFileError):
        merge([sent], home, Planned(DECLARED, retire=True))
    assert contents(home) == before


def test_what_goes_and_what_comes_is_written_at_once(
    store: Store, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    write = merging._write

    def count(folder: Path, study: str, *more: Any) -> None:
        written.append(study)
        write(folder, study, *more)

    store.write(OLD)
    publish(store.directory, home)
    other = Store(tmp_path / "other")
    for found in (PLAN, record(7)):
        other.write(found)
    monkeypatch.setattr(merging, "_write", count)
    planned = Planned(DECLARED, retire=True)
    publish(other.directory, home, planned=planned)
    assert planned.retired == {CELL: 1}
    assert written == ["baydin2022", "someone2022"]

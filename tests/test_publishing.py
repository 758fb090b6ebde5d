"""Rows travel as few small files and come home the same; what contradicts them, or is none of ours, stays out."""

import contextlib
import dataclasses
import errno
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet
import pytest
from finished_runs import at, contents, record, rewrite, tuning

import studies
from repro import cli
from repro.protocol import RunSpec, Trial, declared, expand
from repro.publishing import (
    ContradictionError,
    Planned,
    arrivals,
    merge,
    merging,
    publish,
    retirable,
)
from repro.results import (
    HeldError,
    Record,
    RejectedFileError,
    Store,
    read_published,
    sort_runs,
    write_curves,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two studies: runs with a curve each, and a trial of a search."""
    store = Store(tmp_path / "store")
    for found in (record(0), record(1), tuning(), of_another_study()):
        store.write(found)
    return store


def of_another_study() -> Record:
    return record(0, study="another2022")


@pytest.fixture
def sent(store: Store, tmp_path: Path) -> Path:
    publish(store.directory, tmp_path / "sent")
    return tmp_path / "sent"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def ends(found: Record, **changes: Any) -> Record:
    """The same run with another end."""
    measured = {**found.measured, **changes.pop("measured", {})}
    return dataclasses.replace(found, measured=measured, **changes)


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


# What contradicts


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


def test_what_is_published_contradicts_nothing_in_itself() -> None:
    runs, _, problems = read_published(studies.RESULTS)
    assert problems == ()
    assert list(merging._contradictions(runs, runs)) == []
    assert arrivals._not_themselves(runs) == []
    # in another order a publication would write every row anew
    pd.testing.assert_frame_equal(sort_runs(runs[::-1]), runs)


# Rows of a plan that has changed since


def of_plan(**changes: Any) -> Record:
    """A finished run of a study, as declared or of another plan."""
    spec = next(
        s for s in expand(studies.get("baydin2022"), "full") if s.method.name == "backpropagation"
    )
    task = dataclasses.replace(spec.task, **changes)
    return dataclasses.replace(record(), spec=dataclasses.replace(spec, task=task))


DECLARED = {"baydin2022": declared(studies.get("baydin2022"))}
PLAN, OLD = of_plan(), of_plan(num_steps=7)
CELL = (OLD.spec.study, OLD.spec.experiment)
EVERYTHING = {"someone2022": lambda spec: True}


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


def at_full(found: Record) -> Record:
    return dataclasses.replace(found, spec=dataclasses.replace(found.spec, scale="full"))


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


def test_the_command_takes_nothing_out_where_it_refuses(
    store: Store, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write(OLD)
    publish(store.directory, studies.RESULTS)
    before = contents(studies.RESULTS)
    other = Store(checkout / "other")
    other.write(ends(record(0), status="diverged"))
    assert cli.main(["publish", "--store", "other", "--retire"]) == 1
    shown = capsys.readouterr()
    assert "taken out" not in shown.out
    assert shown.err.endswith("Nothing was published.\n")
    assert contents(studies.RESULTS) == before


def test_the_command_takes_them_out_and_says_so(
    store: Store, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del checkout
    store.write(OLD)
    publish(store.directory, studies.RESULTS)
    store.write(PLAN)
    told = f"baydin2022 {OLD.spec.experiment}: 1 rows of"
    old = "a plan that the study no longer declares"
    assert cli.main(["publish", "--store", str(store.directory)]) == 0
    output = capsys.readouterr().out
    assert f"{told} {old}, averaged with the others: `--retire` takes them out" in output
    assert "baydin2022: 1 new rows in results" in output
    assert cli.main(["publish", "--store", str(store.directory), "--retire"]) == 0
    output = capsys.readouterr().out
    assert f"{told} old plans, or superseded, taken out" in output
    assert f"{told} {old}, left out" in output  # the store still has it
    assert retirable(studies.RESULTS, DECLARED) == ({}, {})


def test_the_command_tells_of_what_it_leaves_out(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "repro.cli.publish.all_studies", lambda: [SimpleNamespace(name="someone2022")]
    )
    monkeypatch.setattr("repro.cli.publish.declared", lambda study: EVERYTHING[study.name])
    store = Store(checkout / "searched")
    trials = [at(tuning(number=n), rate, 1.0 - n) for n, rate in enumerate((0.3, 0.2))]
    for found in map(at_full, (*trials, at(record(), 0.2), at(record(), 0.3))):
        store.write(found)
    tried = dataclasses.replace(record(), spec=dataclasses.replace(record().spec, scale="smoke"))
    store.write(tried)
    damaged = store.path("ab" * 32)
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_bytes(b"")
    assert cli.main(["publish", "--store", "searched"]) == 1
    shown = capsys.readouterr()
    outdone = (
        f"someone2022 {tried.spec.experiment}: 1 reported rows, superseded by those of a better"
    )
    assert f"{outdone} trial, left out\n" in shown.out
    assert "1 rows of smoke scale, which are no results, left out\n" in shown.out
    assert "someone2022: 3 new rows in results\n" in shown.out
    assert f"{damaged.relative_to(checkout)}: not a finished run" in shown.err + shown.out
    damaged.unlink()
    publish(store.directory, studies.RESULTS)  # as without a plan
    assert cli.main(["publish", "--store", "searched"]) == 0
    expected = f"{outdone} trial, not used: `--retire` takes them out\n"
    assert expected in capsys.readouterr().out


# What is none of ours


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


# The command


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies, "RESULTS", tmp_path / "results")
    # or the README of this checkout would tell of the rows here
    monkeypatch.setattr("repro.cli.publish.README", tmp_path / "README.md")
    return tmp_path


def test_the_command_sends_and_brings_home(
    store: Store, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["publish", "--store", str(store.directory), "--to", "sent"]) == 0
    assert "someone2022: 3 new rows in sent" in capsys.readouterr().out
    assert not studies.RESULTS.exists()
    assert cli.main(["publish", "--from", "sent"]) == 0
    assert "someone2022: 3 new rows in results" in capsys.readouterr().out
    publish(store.directory, checkout / "direct")
    assert contents(studies.RESULTS) == contents(checkout / "direct")
    assert cli.main(["publish", "--from", "sent"]) == 0
    assert "nothing new to publish" in capsys.readouterr().out


def test_the_command_says_in_one_line_what_it_refuses(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["publish", "--from", "nowhere"]) == 2
    errors = capsys.readouterr().err
    assert errors == (
        "repro: nowhere: expected a folder that `repro publish --to` wrote. Found nothing. "
        "Nothing was published.\n"
    )
    sent = checkout / "sent"
    sent.mkdir()
    for kind in ("runs", "curves"):
        (sent / f"someone2022.{kind}.parquet").write_text("")
    assert cli.main(["publish", "--from", "sent"]) == 1
    assert "not a readable Parquet file" in capsys.readouterr().err
    (checkout / "file").write_text("")
    assert cli.main(["publish", "--to", "file"]) == 2
    assert "`--to` expects a folder" in capsys.readouterr().err


def test_a_folder_is_small(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    for n in range(20):
        store.write(record(n, 2_000))
    publish(store.directory, tmp_path / "sent")
    sizes = [path.stat().st_size for path in (tmp_path / "sent").iterdir()]
    assert sum(sizes) < sum(path.stat().st_size for path in store.files()) / 4


@pytest.mark.parametrize("name", ["../elsewhere", "/tmp/elsewhere", "a/b", "", ".hidden"])
def test_a_study_whose_name_is_a_path_is_refused(tmp_path: Path, home: Path, name: str) -> None:
    foreign = Store(tmp_path / "foreign")
    for found in (record(0), record(0, study=name)):
        foreign.write(found)
    with pytest.raises(RejectedFileError, match=r"of which no file can be made"):
        publish(foreign.directory, home)
    assert not home.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign"]

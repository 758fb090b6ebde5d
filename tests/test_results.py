"""Finished runs survive writers, crashes, full disks and foreign files; nothing unusable is read."""

import dataclasses
import errno
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from repro.protocol import (
    ClosedForm,
    Method,
    RunSpec,
    Sampling,
    Task,
    Timing,
    Training,
    Trial,
    settings,
    use,
)
from repro.publishing import publish
from repro.results import (
    CURVE_COLUMNS,
    ENVIRONMENT,
    MAX_POINTS,
    RUN_COLUMNS,
    Curve,
    EmptySelectionError,
    Memory,
    Record,
    RejectedFileError,
    Store,
    consolidated,
    load,
    load_runs,
    read_published,
    read_record,
    read_store,
    select,
    sort_curves,
    superseded,
    tabulate,
    winning_trial,
    write_curves,
    write_parquet,
    write_whole,
)
from repro.results.records import digest, encode
from repro.results.snapshot import read_parquet


def spec(repetition: int = 0, study: str = "someone2022", rate: float = 0.1) -> RunSpec:
    return RunSpec(
        study=study,
        arm="published",
        scale="smoke",
        experiment="bowl",
        role="report",
        problem=ClosedForm("bowl", "beale", (0.0, 0.5)),
        method=Method("back", use("backpropagation"), use("sgd")),
        hyperparameters=settings(learning_rate=rate),
        repetition=repetition,
        task=Training(20, 10),
    )


def record(repetition: int = 0, num_points: int = 3, study: str = "someone2022") -> Record:
    return Record(
        spec(repetition, study),
        "done",
        {"score": 0.1 + repetition, "value": 1 / 3, "num_steps": 20, "commit": "abc", "load": 0.5},
        (
            Curve(
                "none",
                "value",
                tuple(range(num_points)),
                tuple(1 / (n + 1) for n in range(num_points)),
            ),
            Curve("train", "loss", (0, 1), (2.0, 1.0)),
        ),
        steps_per_epoch=10,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    return tmp_path / "published"


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a folder, by its name within."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


# One run, one file


def test_a_record_reads_as_written(store: Store) -> None:
    for written in (record(), record(1, 0), record(2, 2_000)):
        assert read_record(store.write(written)) == written


def test_a_run_is_there_once_written(store: Store) -> None:
    assert spec().key not in store
    assert store.files() == []
    path = store.write(record())
    assert spec().key in store
    assert spec(1).key not in store
    assert store.files() == [path]
    assert path == store.path(spec().key)
    assert path.stem == spec().key


def test_numbers_survive_to_the_last_bit(store: Store) -> None:
    values = (0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -0.0, 2.0**53 + 2, 1e-7)
    written = dataclasses.replace(
        record(), measured={"score": 0.1 + 0.2}, curves=(Curve("a", "b", tuple(range(7)), values),)
    )
    read = read_record(store.write(written))
    assert [value.hex() for value in read.curves[0].values] == [value.hex() for value in values]
    assert read.measured["score"] == 0.30000000000000004


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_missing(store: Store, value: float) -> None:
    written = Record(
        spec(),
        "diverged",
        {"value": value, "score": 1e3},
        (Curve("a", "b", (0, 1), (1.0, value)),),
        value,
    )
    path = store.write(written)
    json.loads(path.read_bytes(), parse_constant=pytest.fail)  # strict JSON
    read = read_record(path)
    assert read.status == "diverged"
    assert read.measured == {"value": None, "score": 1e3}
    assert read.curves[0].values[0] == 1.0
    assert math.isnan(read.curves[0].values[1])
    assert math.isnan(read.steps_per_epoch)
    runs, curves = tabulate([read])
    assert runs["value"].isna().all()
    assert runs["score"].tolist() == [1e3]
    assert curves["value"].isna().tolist() == [False, True]
    assert curves["epoch"].isna().all()


def test_missing_file_is_no_rejected_file(store: Store) -> None:
    with pytest.raises(FileNotFoundError):
        read_record(store.path(spec().key))


# Files that are not finished runs


def good() -> bytes:
    return encode(record()).encode()


def changed(**parts: object) -> bytes:
    content = json.loads(good())
    body = {**content["body"], **{k: v for k, v in parts.items() if k in content["body"]}}
    head = {k: v for k, v in parts.items() if k not in content["body"]}
    return json.dumps({**content, "body": body, "sha256": digest(body), **head}).encode()


def with_curve(**parts: object) -> bytes:
    (first, *others) = json.loads(good())["body"]["curves"]
    return changed(curves=[{**first, **parts}, *others])


def with_spec(**parts: object) -> bytes:
    content = json.loads(spec().canonical_json())
    text = json.dumps(
        {**content, "run": {**content["run"], **parts}}, sort_keys=True, separators=(",", ":")
    )
    return changed(spec=text)


UNUSABLE = {
    "empty": (b"", "truncated or foreign"),
    "not JSON": (b"step,loss\n1,2\n", "truncated or foreign"),
    "binary": (bytes(range(256)), "truncated or foreign"),
    "a list": (b"[1, 2]", "truncated or foreign"),
    "a number": (b"7", "truncated or foreign"),
    "a text": (b'"schema"', "truncated or foreign"),
    "nested deeply": (b"[" * 100_000, "truncated or foreign"),
    "foreign": (b'{"name": "package", "version": 1}', "truncated or foreign"),
    "schema only": (b'{"schema": 1}', "not a finished run"),
    "foreign body": (b'{"schema": 1, "sha256": "", "body": []}', "does not match its checksum"),
    "NaN": (good().replace(b'"load": 0.5', b'"load": NaN'), "not JSON compliant"),
    "newer schema": (changed(schema=2), "expected results schema 1, found 2"),
    "older schema": (changed(schema=0), "expected results schema 1, found 0"),
    "schema of text": (changed(schema="1"), "expected results schema 1, found '1'"),
    "wrong checksum": (changed(sha256="0" * 64), r"does not match its checksum \(corrupt\)"),
    "other protocol": (
        changed(spec=spec().canonical_json().replace('"protocol":1', '"protocol":0')),
        "Expected a run of protocol 1. Found protocol 0",
    ),
    "foreign run": (changed(spec="{}"), "Expected the canonical JSON of a run"),
    "another key": (changed(key="0" * 64), f"holds run {spec().key[:12]} under another name"),
    "no curves": (changed(curves=None), "not a finished run"),
    **{
        f"{what} measured": (changed(measured=measured), f"not a finished run \\({found}")
        for what, measured, found in (
            ("a list", [1, 2], "what was measured has no names"),
            ("a text as score", {"score": "low"}, "`score` is 'low'"),
            ("a list as count", {"num_steps": [20]}, r"`num_steps` is \[20\]"),
            ("a number too large", {"num_steps": 2**70}, "`num_steps` is 1180591620717411303424"),
            ("a number far too large", {"score": 10**400}, "int too large to convert to float"),
            ("a number as commit", {"commit": 7}, "`commit` is 7"),
        )
    },
    "half a character": (changed(measured={"commit": "\ud800"}), "surrogates not allowed"),
    "unequal curves": (with_curve(steps=[0, 1]), "the curve value has 2 steps and 3 values"),
    "a float as step": (with_curve(steps=[0, 1, 1.5]), "not a finished run"),
    "a text as step": (with_curve(steps=[0, 1, "2"]), "not a finished run"),
    "a step too large": (with_curve(steps=[0, 1, 2**63]), "not a finished run"),
    "a text as value": (with_curve(values=[0.0, 1.0, "2"]), "not a finished run"),
    "a curve without a name": (with_curve(metric=None), "`metric` is None"),
    "an epoch of no steps": (changed(steps_per_epoch=0), "`steps_per_epoch` is 0"),
    "another status": (changed(status="fine"), "its status is 'fine'"),
    "a number as spec": (changed(spec=7), "Expected the canonical JSON of a run. Found '7'"),
    "a spec nested deeply": (changed(spec="[" * 100_000), "Expected the canonical JSON of a run"),
    **{
        f"{value!r} as {name}": (with_spec(**{name: value}), f"`{name}` of RunSpec cannot be")
        for name, value in (
            ("problem", None),
            ("method", "back"),
            ("study", 7),
            ("study", "\ud800"),
            ("scale", "huge"),
            ("repetition", 0.5),
            ("repetition", 2**63),
            ("hyperparameters", [["decay"]]),
            ("hyperparameters", [["learning_rate", [0.1]]]),
            ("task", {"class": "Component", "name": "sgd"}),
        )
    },
    "a text within a problem": (
        with_spec(problem={**json.loads(spec().canonical_json())["run"]["problem"], "start": "0"}),
        "`start` of ClosedForm cannot be '0'",
    ),
    "foreign curves": (changed(curves=[{"x": 1}]), r"not a finished run \('split'\)"),
}


def assert_rejected(store: Store, path: Path, message: str) -> None:
    """The file is named, skipped by every reader, and neither read, run over nor touched."""
    before = contents(store.directory)
    with pytest.raises(RejectedFileError, match=message) as caught:
        read_record(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.stem not in store
    read, problems = read_store(store.directory)
    assert [r.spec for r in read] == [spec(1)]
    assert problems == (str(caught.value),)
    loaded = load(store.directory / "nothing", store.directory)
    assert loaded.problems == load_runs(store.directory / "nothing", store.directory)[1] == problems
    assert loaded.runs["key"].tolist() == [spec(1).key]
    if path.stem == spec().key:
        with pytest.raises(RejectedFileError, match=message):
            store.write(record())
    assert contents(store.directory) == before


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_files_are_named_and_left_alone(store: Store, name: str) -> None:
    content, message = UNUSABLE[name]
    store.write(record(1))
    path = store.path(spec().key)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    assert_rejected(store, path, message)


def test_a_word_where_a_column_has_numbers_is_rejected(store: Store) -> None:
    strange = dataclasses.replace(spec(), hyperparameters=settings(decay="fast", learning_rate=0.1))
    store.write(record(1))
    path = store.write(dataclasses.replace(record(), spec=strange))
    assert_rejected(store, path, "`decay` is 'fast'")


def test_truncated_files_are_rejected_at_every_length(store: Store) -> None:
    path = store.write(record())
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 17), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(RejectedFileError, match="truncated or foreign"):
            read_record(path)
    store.write(record(1))
    assert_rejected(store, path, "truncated or foreign")


def test_flipped_bits_are_never_read_as_data(store: Store) -> None:
    path = store.write(record())
    whole = path.read_bytes()
    for position in range(0, len(whole), 5):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 7
        path.write_bytes(flipped)
        try:
            read = read_record(path)
        except RejectedFileError as error:
            assert str(path) in str(error)  # noqa: PT017 - either answer is right
        else:
            assert read == record()  # white space, or the case of an escape


def test_a_run_under_another_name_is_rejected(store: Store) -> None:
    store.write(record(1))
    path = store.write(record())
    renamed = path.rename(path.with_name("ab" * 32 + ".json"))
    assert_rejected(store, renamed, "under another name. Move it away")


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
        "from pathlib import Path; from test_results import Store, record\n"
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


# Tables


def kinds(frame: pd.DataFrame) -> dict[str, str]:
    return {str(name): str(kind) for name, kind in frame.dtypes.items()}


@pytest.mark.parametrize("records", [(), (record(),), (record(0, 0), record(1))])
def test_tables_have_their_columns_and_types(records: tuple[Record, ...]) -> None:
    runs, curves = tabulate(records)
    assert kinds(runs) == RUN_COLUMNS
    assert kinds(curves) == CURVE_COLUMNS
    assert len(runs) == len(records)


def test_a_record_is_a_row() -> None:
    runs, curves = tabulate([record(1)])
    row = {str(name): value for name, value in runs.iloc[0].dropna().items()}
    expected = {
        "key": spec(1).key,
        "study": "someone2022",
        "arm": "published",
        "scale": "smoke",
        "experiment": "bowl",
        "problem": "bowl",
        "method": "back",
        "role": "report",
        "repetition": 1,
        "task": "training",
        "status": "done",
        "learning_rate": 0.1,
        "score": 1.1,
        "value": 1 / 3,
        "num_steps": 20,
        "commit": "abc",
        "load": 0.5,
        "spec": spec(1).canonical_json(),
    }
    blank = {name: 0 if RUN_COLUMNS[name] == "int64" else "" for name in set(row) - set(expected)}
    assert row == {**blank, **expected}
    assert set(blank) <= {*ENVIRONMENT, "search", "stage", "num_parameters"}
    assert curves[["step", "epoch", "split", "metric", "value"]].values.tolist() == [
        [0, 0.0, "none", "value", 1.0],
        [1, 0.1, "none", "value", 0.5],
        [2, 0.2, "none", "value", 1 / 3],
        [0, 0.0, "train", "loss", 2.0],
        [1, 0.1, "train", "loss", 1.0],
    ]


def test_tasks_are_named() -> None:
    tasks: dict[str, Task] = {
        "training": Training(2, 1),
        "timing": Timing(2, 1, "cpu", 1),
        "sampling": Sampling(2),
    }
    for name, task in tasks.items():
        runs, _ = tabulate([Record(dataclasses.replace(spec(), task=task), "done", {}, ())])
        assert runs["task"].tolist() == [name]


def tuning(repetition: int = 0, number: int = 3, search: str = "digest") -> Record:
    """A run of a trial."""
    reported = record(repetition)
    role = dataclasses.replace(reported.spec, role="tune", trial=Trial(number, search))
    return dataclasses.replace(reported, spec=role)


def test_a_trial_stands_in_its_columns(store: Store) -> None:
    read = read_record(store.write(tuning()))
    assert read == tuning()
    runs, _ = tabulate([record(), read])
    assert runs["role"].tolist() == ["report", "tune"]
    assert runs["trial"].isna().tolist() == [True, False]
    assert runs["trial"].tolist()[1] == 3.0
    assert runs["search"].tolist() == ["", "digest"]
    assert select(runs, search="digest", trial=3)["key"].tolist() == [tuning().spec.key]


def at(found: Record, rate: float, score: float = 0.0) -> Record:
    """The same run at another rate, with another score."""
    spec = dataclasses.replace(found.spec, hyperparameters=settings(learning_rate=rate))
    return dataclasses.replace(found, spec=spec, measured={**found.measured, "score": score})


def test_of_reported_runs_those_at_the_best_trial_count(published: Path) -> None:
    trials = [at(tuning(r, n), rate, 1.0 - n) for n, rate in enumerate((0.1, 0.2)) for r in (0, 1)]
    old, new = ([at(record(r), rate) for r in (0, 1)] for rate in (0.1, 0.2))
    runs = [tabulate(found)[0] for found in (trials + old, trials + old + new, old + new)]
    # before the new best trial is reported the old one stands; without a search any rate does
    assert [int(superseded(table).sum()) for table in runs] == [0, 2, 0]
    gone = runs[1][superseded(runs[1])]
    assert set(gone["key"]) == {found.spec.key for found in old}
    # the mean over repetitions decides, and of equal ones the first trial
    tied = [
        at(tuning(r, n), rate, s) for n, rate, s in ((0, 0.1, 1.0), (1, 0.2, 1.0)) for r in (0, 1)
    ]
    table = tabulate(tied + old + new)[0]
    assert set(table["learning_rate"][superseded(table)]) == {0.2}
    write_parquet(published / "someone2022.runs.parquet", runs[1])
    write_curves(published / "someone2022.curves.parquet", [tabulate(trials + old + new)[1]])
    assert set(select(load(published).runs, role="report")["learning_rate"]) == {0.2}
    assert len(load_runs(published, published / "none")[0]) == len(runs[1]) - 2


@pytest.mark.parametrize("part", ["study", "experiment", "scale", "method"])
def test_a_better_trial_supersedes_no_report_of_another_search(part: str) -> None:
    names: dict[str, Any] = {
        "study": "another2022",
        "experiment": "valley",
        "scale": "full",
        "method": Method("forward", use("backpropagation"), use("sgd")),
    }
    other = names[part]

    def of_another(found: Record) -> Record:
        return dataclasses.replace(found, spec=dataclasses.replace(found.spec, **{part: other}))

    reports = [at(record(), rate) for rate in (0.1, 0.2)]
    trials = [at(tuning(number=n), rate, 1.0 - n) for n, rate in enumerate((0.1, 0.2))]
    # of the other the first trial is the best
    ours, others = [*reports, *trials], [*reports, at(tuning(number=0), 0.1, -1.0)]
    runs, _ = tabulate([*ours, *map(of_another, others)])
    gone = {reports[0].spec.key, of_another(reports[1]).spec.key}
    assert set(runs["key"][superseded(runs)]) == gone
    # without a search, or a report at its best trial, all of its reports stand
    for others in (reports, [*reports, at(tuning(number=0), 0.7, -1.0)]):
        runs, _ = tabulate([*ours, *map(of_another, others)])
        assert set(runs["key"][superseded(runs)]) == {reports[0].spec.key}


def test_a_report_is_superseded_by_one_that_differs_in_any_hyperparameter() -> None:
    def decaying(found: Record, decay: float) -> Record:
        values = settings(learning_rate=0.1, decay=decay)
        return dataclasses.replace(
            found, spec=dataclasses.replace(found.spec, hyperparameters=values)
        )

    old, new = (decaying(record(), decay) for decay in (0.5, 0.9))
    trials = [
        decaying(at(tuning(number=n), 0.1, 1.0 - n), decay) for n, decay in enumerate((0.5, 0.9))
    ]
    runs, _ = tabulate([old, new, *trials])
    assert set(runs["key"][superseded(runs)]) == {old.spec.key}


def test_a_finalist_wins_only_once_all_its_further_runs_are_there() -> None:
    def final(repetition: int, number: int, score: float) -> Record:
        found = at(tuning(repetition, number), 0.1 + number, score)
        again = dataclasses.replace(found.spec, trial=Trial(number, "digest", "final"))
        return dataclasses.replace(found, spec=again)

    first = [at(tuning(0, n), 0.1 + n, float(score)) for n, score in enumerate((2, 3, 1))]
    others = [final(repetition, n, 2.0 + n) for n in (0, 1) for repetition in (1, 2)]
    interrupted, last = (final(repetition, 2, 0.0) for repetition in (1, 2))
    for rows, winner in (
        (first, 2.0),
        ([*first, *others], 0.0),
        ([*first, *others, interrupted], 0.0),
        ([*first, *others, interrupted, last], 2.0),
    ):
        assert winning_trial(tabulate(rows)[0]) == winner


def test_trials_stand_in_the_order_of_their_search() -> None:
    records = [tuning(repetition, number) for number in (10, 2, 0) for repetition in (1, 0)]
    runs, _ = tabulate(records)
    assert list(zip(runs["trial"], runs["repetition"], strict=True)) == [
        (number, repetition) for number in (0.0, 2.0, 10.0) for repetition in (0, 1)
    ]


def test_order_of_records_does_not_matter() -> None:
    records = [record(n) for n in range(5)] + [record(n, study="another2022") for n in range(3)]
    for one, two in zip(tabulate(records), tabulate(records[::-1]), strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_points_stand_in_order_whatever_order_they_come_in() -> None:
    _, curves = tabulate([record(n, 20) for n in range(3)])
    pd.testing.assert_frame_equal(sort_curves(curves.sample(frac=1.0, random_state=0)), curves)


def test_a_selection_is_made_once_and_is_everybodys_own() -> None:
    memory, made = Memory(), [pd.DataFrame({"x": [1.0]})]
    for _ in range(2):
        mine = memory.recall("x", made.pop if made else pytest.fail)
        assert mine.columns.tolist() == ["x"]
        mine["y"] = 2.0


@pytest.mark.parametrize(
    "num_points", [1, 2, MAX_POINTS - 1, MAX_POINTS, MAX_POINTS + 1, 999, 1_000, 1_001, 25_000]
)
def test_curves_are_thinned_evenly_and_keep_their_end(num_points: int) -> None:
    _, curves = tabulate([record(0, num_points)])
    thinned = select(curves, metric="value")
    steps = thinned["step"].tolist()
    assert len(steps) <= MAX_POINTS
    assert steps[-1] == num_points - 1
    assert len(set(pd.Series(steps).diff().dropna())) <= 1  # even
    assert thinned["value"].tolist() == [1 / (step + 1) for step in steps]
    if num_points <= MAX_POINTS:
        assert steps == list(range(num_points))
    else:
        assert len(steps) > MAX_POINTS / 2 - 1


def test_thinning_is_for_the_table_only(store: Store) -> None:
    assert len(read_record(store.write(record(0, 2_000))).curves[0].steps) == 2_000


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


def rewrite(path: Path, change: Callable[[pyarrow.Table], pyarrow.Table]) -> None:
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(path)), path)


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


# Selecting


def test_selecting_by_value_and_by_values() -> None:
    runs, _ = tabulate([record(n) for n in range(4)])
    assert select(runs, repetition=2)["repetition"].tolist() == [2]
    kept = select(runs, repetition=(3, 1), method="back")
    assert kept["repetition"].tolist() == [1, 3]
    assert select(runs, repetition=frozenset({1, 3})).equals(kept)
    assert kept.index.tolist() == [0, 1]
    assert len(select(runs)) == 4
    assert len(runs) == 4


def test_selecting_from_an_unknown_column_names_the_columns() -> None:
    _, curves = tabulate([record()])
    with pytest.raises(
        ValueError,
        match=r"^Unknown column 'loss'\. Choose from: key, step, epoch, split, metric, value\.$",
    ):
        select(curves, loss=1.0)


def test_selecting_nothing_says_what_left_nothing() -> None:
    runs, _ = tabulate([record()])
    with pytest.raises(
        EmptySelectionError,
        match=r"^No row has method='back', repetition=7 \(none is left after repetition\)\. Run what is",
    ):
        select(runs, method="back", repetition=7)
    with pytest.raises(EmptySelectionError, match="none is left after study"):
        select(tabulate(())[0], study="someone2022", method="back")

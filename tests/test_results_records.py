"""One run, one file: it reads as written, and what is no finished run is named, left alone and never read as data."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from finished_runs import contents, record, spec
from finished_runs import store as store

from repro.protocol import settings
from repro.results import (
    Curve,
    Record,
    RejectedFileError,
    Store,
    load,
    load_runs,
    read_record,
    read_store,
    tabulate,
)
from repro.results.records import digest, encode

# One run, one file


def test_a_record_reads_as_written(store: Store) -> None:
    for written in (record(), record(1, 0), record(2, 2_000)):
        assert read_record(store.write(written)) == written


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

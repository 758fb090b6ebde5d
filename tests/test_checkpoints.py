"""A run that goes on from a checkpoint, any number of times, is the undisturbed one to the last bit."""

import dataclasses
import itertools
import json
import math
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_runs import comparable, rows

import studies
from repro import checkpoints, training
from repro.checkpoints import FOLDER, Checkpoints, name_of, steps_done, sweep
from repro.execution import form_groups, run_group
from repro.protocol import Method, RunSpec, Training, expand, settings, use
from repro.results import Record, Store, read_record
from repro.training import Interrupted, train

CPU = torch.device("cpu")
STUDY = studies.get("baydin2022")
NESTEROV = use("sgd", momentum=0.9, nesterov=True)
FORWARD = use("forward_gradient", num_tangents=2)
METHODS = {
    "sgd": Method("sgd", FORWARD, use("sgd"), "exponential"),
    "nesterov": Method("nesterov", FORWARD, NESTEROV, "exponential"),
    "look-ahead": Method("look-ahead", FORWARD, use("look_ahead", momentum=0.9), "exponential"),
    "adam": Method("adam", use("backpropagation"), use("adam"), "hyperbolic"),
    "rademacher": Method(
        "rademacher", use("forward_gradient", tangents="rademacher"), use("adam"), "hyperbolic"
    ),
}


def group(method: Method, replicas: int = 3, experiment: str = "logistic") -> list[RunSpec]:
    """Runs of digits, at rates that differ; 230 steps are more than three looks at the losses."""
    (first, *_) = expand(STUDY, "smoke", only=[experiment])
    task = Training(230, evaluate_every=70)
    return [
        dataclasses.replace(
            first,
            method=method,
            task=task,
            repetition=index,
            hyperparameters=(("decay", 1e-3), ("learning_rate", 0.01 * (1 + index))),
        )
        for index in range(replicas)
    ]


def stopping_after(looks: int) -> Callable[[], bool]:
    left = iter([False] * (looks - 1))
    return lambda: next(left, True)


def interrupt(specs: Sequence[RunSpec], store: Path, looks: int, every: float = 3600.0) -> None:
    with pytest.raises(Interrupted):
        train(specs, CPU, should_stop=stopping_after(looks), checkpoints=Checkpoints(store, every))


def go_on(specs: Sequence[RunSpec], store: Path) -> list[Record]:
    return train(specs, CPU, checkpoints=Checkpoints(store, 3600.0))


@pytest.fixture(autouse=True)
def steps_are_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is: they are broken off where a test says so."""
    monkeypatch.setattr("repro.training.ASK_EVERY", math.inf)


@pytest.fixture
def slow_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step takes so long that it is asked after whether to go on."""
    monkeypatch.setattr("repro.training.ASK_EVERY", 0.0)


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The checkpoint of `group(sgd)` after one look."""
    interrupt(group(METHODS["sgd"]), tmp_path, 1)
    (path,) = (tmp_path / FOLDER).iterdir()
    return path


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("name", METHODS)
def test_stopped_at_every_look_it_ends_as_if_undisturbed(
    name: str, replicas: int, tmp_path: Path
) -> None:
    experiment = "mlp-2e-4" if name == "rademacher" else "logistic"
    specs = group(METHODS[name], replicas, experiment)
    undisturbed = [comparable(record) for record in train(specs, CPU)]
    told: list[int] = []
    for step in (70, 140, 210):  # every look
        interrupt(specs, tmp_path, 1)
        assert steps_done(tmp_path, specs) == step
    records = train(specs, CPU, on_steps=told.append, checkpoints=Checkpoints(tmp_path, 3600.0))
    assert [comparable(record) for record in records] == undisturbed
    assert told == [210, 20]  # progress adds up


@pytest.mark.usefixtures("slow_steps")
@pytest.mark.parametrize("name", METHODS)
def test_stopped_between_looks_it_ends_as_if_undisturbed(name: str, tmp_path: Path) -> None:
    experiment = "mlp-2e-4" if name == "rademacher" else "logistic"
    specs = group(METHODS[name], 2, experiment)
    undisturbed = [comparable(record) for record in train(specs, CPU)]
    for asked, step in ((1, 1), (36, 37), (100, 136)):  # a look on the way asks, too
        interrupt(specs, tmp_path, asked)
        assert steps_done(tmp_path, specs) == step
    told: list[int] = []
    records = train(specs, CPU, on_steps=told.append, checkpoints=Checkpoints(tmp_path, 3600.0))
    assert [comparable(record) for record in records] == undisturbed
    assert told == [136, 4, 70, 20]


@pytest.mark.usefixtures("slow_steps")
@pytest.mark.parametrize("asked", [1, 3, 51, 101])
def test_who_ends_between_looks_ends_where_it_would_have(asked: int, tmp_path: Path) -> None:
    # one diverges and the others stand still, long before the first look at the losses
    (first, *_) = expand(STUDY, "smoke", only=["beale"], methods=["forward gradient"])
    task = Training(250, evaluate_every=230, patience=1)
    specs = [
        dataclasses.replace(first, task=task, hyperparameters=settings(learning_rate=rate))
        for rate in (1e-2, 3e-2, 1e4)
    ]
    undisturbed = train(specs, CPU)
    taken = {record.measured["num_steps"] for record in undisturbed}
    assert taken < set(range(100))
    assert {record.status for record in undisturbed} == {"done", "diverged"}
    try:
        interrupt(specs, tmp_path, asked)
    except pytest.fail.Exception:
        assert asked > 100  # it had ended
    assert list(map(comparable, go_on(specs, tmp_path))) == list(map(comparable, undisturbed))


@pytest.mark.usefixtures("slow_steps")
def test_one_that_is_due_is_made_between_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = group(METHODS["nesterov"], 1)
    undisturbed = train(specs, CPU)
    saved: list[int] = []
    keep = checkpoints.Checkpoint.save

    def save(self: checkpoints.Checkpoint, step: int, state: checkpoints.State) -> None:
        saved.append(step)
        keep(self, step, state)

    monkeypatch.setattr(checkpoints.Checkpoint, "save", save)
    records = train(specs, CPU, checkpoints=Checkpoints(tmp_path, 1e-9))
    assert saved == list(range(1, 231))
    assert list(map(comparable, records)) == list(map(comparable, undisturbed))


def test_replicas_that_diverge_do_so_at_the_same_step(tmp_path: Path) -> None:
    specs = group(METHODS["sgd"])
    specs[1] = dataclasses.replace(
        specs[1], hyperparameters=(("decay", 0.0), ("learning_rate", 1e4))
    )
    undisturbed = train(specs, CPU)
    assert [record.status for record in undisturbed] == ["done", "diverged", "done"]
    interrupt(specs, tmp_path, 2)
    assert list(map(comparable, go_on(specs, tmp_path))) == list(map(comparable, undisturbed))


@pytest.mark.parametrize("looks", [1, 2, 5])
def test_a_formula_goes_on_with_its_patience_and_with_draws_that_trials_share(
    looks: int, tmp_path: Path
) -> None:
    (first, *_) = expand(STUDY, "smoke", only=["beale"], methods=["forward gradient"])
    task = Training(450, evaluate_every=200, patience=3)
    rates = (1e-3, 3e-2, 5e-2, 1e2)
    specs = [
        dataclasses.replace(first, task=task, hyperparameters=(("learning_rate", rate),))
        for rate in rates
    ]  # one seed: they share a generator
    undisturbed = train(specs, CPU)
    assert {record.status for record in undisturbed} == {"done", "diverged"}
    assert len({record.measured["num_steps"] for record in undisturbed}) > 2
    interrupt(specs, tmp_path, looks)
    assert list(map(comparable, go_on(specs, tmp_path))) == list(map(comparable, undisturbed))


def test_looks_at_the_test_split_go_on(tmp_path: Path) -> None:
    task = Training(230, evaluate_every=70, test_every=50)
    specs = [dataclasses.replace(spec, task=task) for spec in group(METHODS["adam"])]
    undisturbed = train(specs, CPU)
    interrupt(specs, tmp_path, 3)
    assert list(map(comparable, go_on(specs, tmp_path))) == list(map(comparable, undisturbed))


def test_seconds_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks, minutes, busy = itertools.count(), itertools.count(), itertools.count()
    monkeypatch.setattr("repro.training.time.perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr("repro.checkpoints.time.monotonic", lambda: 60.0 * next(minutes))
    monkeypatch.setattr("repro.checkpoints.time.process_time", lambda: 40.0 * next(busy))
    specs = group(METHODS["sgd"])
    (whole, *_) = train(specs, CPU)
    for _ in range(2):
        interrupt(specs, tmp_path, 1)
    kept = Checkpoints(tmp_path, 1e9)
    (resumed, *_) = train(specs, CPU, checkpoints=kept)
    assert resumed.measured["seconds"] == whole.measured["seconds"] == 4.0  # a look takes one
    assert kept.earlier_seconds == 2 * 60.0  # from a beginning to its save
    assert kept.earlier_processor_seconds == 2 * 40.0


def test_a_group_goes_on_and_its_checkpoint_is_gone_when_it_is_done(tmp_path: Path) -> None:
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    (first, *_) = form_groups(group(METHODS["nesterov"]))
    assert run_group(first, there, "cpu", lambda steps: None, lambda: False) == ("done",) * 3
    for _ in range(2):
        assert run_group(first, here, "cpu", lambda steps: None, stopping_after(1)) == ()
    assert steps_done(here.directory, first) == 140
    assert not here.files()
    assert run_group(first, here, "cpu", lambda steps: None, lambda: False) == ("done",) * 3
    assert rows(here) == rows(there)
    assert list((here.directory / FOLDER).iterdir()) == []
    for store in (here, there):
        measured = read_record(store.path(first[0].key)).measured
        for name in ("wall_seconds", "processor_seconds"):
            seconds = measured[name]
            assert isinstance(seconds, float)
            assert seconds > 0.0


def test_the_parts_of_a_group_that_does_not_fit_tell_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    (first, *_) = form_groups(group(METHODS["nesterov"]))
    assert len(first) == 3
    whole = training.train

    def fits_two(specs: Sequence[RunSpec], *given: Any, **named: Any) -> list[Record]:
        if len(specs) > 2:
            raise torch.OutOfMemoryError("three do not fit")
        return whole(specs, *given, **named)

    monkeypatch.setattr(training, "train", fits_two)
    seen = []
    for _ in range(4):
        with pytest.warns(RuntimeWarning, match="3 runs together do not fit in memory; trying 2"):
            assert run_group(first, store, "cpu", lambda steps: None, stopping_after(2)) == ()
        seen.append(steps_done(tmp_path, first))
    assert 0 < seen[0] < seen[1] < seen[2] < seen[3], seen
    assert seen[3] > 230  # in the second part
    with pytest.warns(RuntimeWarning, match="trying 2"):
        assert run_group(first, store, "cpu", lambda steps: None, lambda: False) == ("done",) * 3
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_a_run_has_its_share_of_all_seconds_of_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    (first, *_) = form_groups(group(METHODS["nesterov"]))
    assert run_group(first, store, "cpu", lambda steps: None, stopping_after(1)) == ()
    kept = Checkpoints(tmp_path, 1e9)
    checkpoint = kept.of(first, CPU, None)
    assert checkpoint is not None
    checkpoint.load()
    assert kept.earlier_seconds > 0.0
    wall, processor = itertools.count(), itertools.count()
    clock = SimpleNamespace(
        perf_counter=lambda: 2.0 * next(wall), process_time=lambda: 1.0 * next(processor)
    )
    monkeypatch.setattr("repro.execution.groups.time", clock)
    assert len(run_group(first, store, "cpu", lambda steps: None, lambda: False)) == 3
    for spec in first:
        measured = read_record(store.path(spec.key)).measured
        assert measured["wall_seconds"] == pytest.approx((kept.earlier_seconds + 2.0) / 3)
        expected = pytest.approx((kept.earlier_processor_seconds + 1.0) / 3)
        assert measured["processor_seconds"] == expected


def test_none_is_made_where_none_is_wanted(tmp_path: Path) -> None:
    (first, *_) = form_groups(group(METHODS["sgd"]))
    assert run_group(first, Store(tmp_path), "cpu", lambda steps: None, lambda: True, 0.0) == ()
    assert list(tmp_path.iterdir()) == []


def test_they_are_made_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 230 steps in looks of 70, 70, 70 and 20; every look takes a minute
    now = iter(60.0 * minute for minute in range(100))
    monkeypatch.setattr("repro.checkpoints.time.monotonic", lambda: next(now))
    saved: list[int] = []
    monkeypatch.setattr(
        checkpoints.Checkpoint, "save", lambda self, step, state: saved.append(step)
    )
    specs = group(METHODS["sgd"])
    train(specs, CPU, checkpoints=Checkpoints(tmp_path, 120.0))
    assert saved == [140, 210, 230]  # `save` does not set the clock back here


def test_parts_that_do_not_fit_together_have_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = group(METHODS["sgd"], 4)
    whole = train

    def small_memory(part: Sequence[RunSpec], *arguments: Any, **more: Any) -> list[Record]:
        if len(part) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return whole(part, *arguments, **more)

    monkeypatch.setattr("repro.training.train", small_memory)
    here, there = Store(tmp_path / "here"), Store(tmp_path / "there")
    arguments = ("cpu", lambda steps: None)
    with pytest.warns(RuntimeWarning, match="4 runs together do not fit"):
        run_group(tuple(specs), there, *arguments, lambda: False)
    with pytest.warns(RuntimeWarning, match="4 runs together do not fit"):
        assert run_group(tuple(specs), here, *arguments, stopping_after(6)) == ()  # in the second
    assert {path.name for path in (here.directory / FOLDER).iterdir()} == {
        f"{name_of(specs)}-{name_of(part)}.checkpoint" for part in (specs[:2], specs[2:])
    }
    assert 230 < steps_done(here.directory, specs) < 460
    told: list[int] = []
    with pytest.warns(RuntimeWarning, match="4 runs together do not fit"):
        assert len(run_group(tuple(specs), here, "cpu", told.append, lambda: False)) == 4
    assert told[0] == 230  # the first part is not trained again
    assert rows(here) == rows(there)
    assert list((here.directory / FOLDER).iterdir()) == []


# What is not used


def refused(specs: Sequence[RunSpec], path: Path, reason: str) -> None:
    """It is named, with the reason, and the runs start anew."""
    told: list[int] = []
    with pytest.warns(RuntimeWarning) as caught:
        records = train(
            specs, CPU, on_steps=told.append, checkpoints=Checkpoints(path.parent.parent, 3600.0)
        )
    (warning,) = caught
    said = str(warning.message)
    assert str(path) in said
    assert re.search(reason, said)
    assert "It is not used: its runs start anew" in said
    assert told == [70, 70, 70, 20]
    assert list(map(comparable, records)) == list(map(comparable, train(specs, CPU)))


def test_a_checkpoint_of_other_runs_is_refused(made: Path) -> None:
    specs = group(METHODS["sgd"])[::-1]
    path = made.rename(made.with_name(f"{name_of(specs)}.checkpoint"))
    refused(specs, path, r"was made for other runs\.")


def test_a_checkpoint_of_other_code_is_refused(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "code_version", lambda: "another")
    refused(group(METHODS["sgd"]), made, r"was made for other code\.")


def test_the_code_version_covers_what_training_imports() -> None:
    root = Path(checkpoints.__file__).parent
    covered = {
        ".".join(path.relative_to(root).with_suffix("").parts[:1])
        for pattern in checkpoints.ARITHMETIC
        for path in root.glob(pattern)
    }
    paths = [*root.glob("training/*.py"), root / "problems/__init__.py"]
    source = "".join(path.read_text() for path in paths)
    named = set(re.findall(r"^from repro\.(\w+)", source, re.MULTILINE))
    named |= {n for line in re.findall(r"^from repro import (.*)$", source, re.MULTILINE)
              for n in line.split(", ")}  # fmt: skip
    assert named - {"results", "environment"} <= covered


def test_a_checkpoint_of_another_pytorch_is_refused(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.__version__", "1.0")
    refused(group(METHODS["sgd"]), made, r"was made for other PyTorch\.")


def test_a_checkpoint_of_another_schema_is_refused(made: Path) -> None:
    line, _, body = made.read_bytes().partition(b"\n")
    about = {**json.loads(line)["about"], "schema": 1}
    head = {"sha256": checkpoints._digest(about, body), "about": about}
    made.write_bytes(checkpoints._encode(head) + b"\n" + body)
    refused(group(METHODS["sgd"]), made, r"was made for other readers\.")


def test_a_damaged_checkpoint_is_refused_wherever_it_is(made: Path) -> None:
    content = made.read_bytes()
    head = content.index(b"\n")
    generator = random.Random(2022)
    checkpoint = Checkpoints(made.parent.parent, 3600.0).of(group(METHODS["sgd"]), CPU, None)
    assert checkpoint is not None
    assert checkpoint.load() is not None
    for place in [*range(head + 1), *(generator.randrange(head, len(content)) for _ in range(50))]:
        flipped = bytearray(content)
        flipped[place] ^= 1 << generator.randrange(8)
        made.write_bytes(flipped)
        with pytest.warns(RuntimeWarning, match="is not used"):
            assert checkpoint.load() is None
    for length in [0, 1, head, head + 1, *(generator.randrange(len(content)) for _ in range(20))]:
        made.write_bytes(content[:length])
        with pytest.warns(RuntimeWarning, match="is truncated or damaged"):
            assert checkpoint.load() is None


def test_a_number_in_other_digits_is_damage_too(made: Path) -> None:
    line, _, body = made.read_bytes().partition(b"\n")
    seconds = json.dumps(json.loads(line)["about"]["seconds"])
    made.write_bytes(line.replace(seconds.encode(), f"{seconds}0".encode()) + b"\n" + body)
    refused(group(METHODS["sgd"]), made, r"is truncated or damaged\.")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path("/nonexistent/evil").touch, ()


def test_a_foreign_pickle_is_not_called(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[object] = []
    monkeypatch.setattr(Path, "touch", called.append)
    specs = group(METHODS["sgd"])
    checkpoint = Checkpoints(made.parent.parent, 3600.0).of(specs, CPU, None)
    assert checkpoint is not None
    checkpoint.save(70, {"step": Evil()})
    refused(specs, made, r"holds no tensors \(UnpicklingError\)")
    assert called == []


def test_a_checkpoint_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    specs = group(METHODS["sgd"])
    undisturbed = train(specs, CPU)
    with pytest.warns(RuntimeWarning) as caught:
        records = train(specs, CPU, checkpoints=Checkpoints(tmp_path, 1e-9))
    said = [str(warning.message) for warning in caught]
    assert len([text for text in said if "cannot be written" in text]) == 1  # said once
    assert list(map(comparable, records)) == list(map(comparable, undisturbed))


def test_what_a_killed_writer_left_is_removed(made: Path) -> None:
    leftover = made.with_name(f".{made.name[:16]}-0123456789abcdef")
    leftover.write_bytes(b"half a checkpoint")
    specs = group(METHODS["sgd"])
    assert list(map(comparable, go_on(specs, made.parent.parent))) == list(
        map(comparable, train(specs, CPU))
    )
    assert not leftover.exists()


def test_checkpoints_of_finished_runs_are_swept(made: Path) -> None:
    store, specs = made.parent.parent, group(METHODS["sgd"])
    keys = {spec.key for spec in specs}
    sweep(store, (keys - {specs[0].key}).__contains__)
    assert made.exists()
    sweep(store, keys.__contains__)
    assert not made.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not JSON\n",
        b"[1]\n",
        b"[" * 100_000,
        b"{}\n",
        b'{"about": {"schema": 2, "step": 1, "seconds": 1.0, "belongs": {"runs": []}}}\n',
        b'{"about": {"schema": 2, "step": 1, "seconds": 1.0, "belongs": {"runs": [7]}}}\n',
    ],
)
def test_what_is_no_checkpoint_of_any_run_is_neither_swept_nor_counted(
    made: Path, content: bytes
) -> None:
    store, specs = made.parent.parent, group(METHODS["sgd"])
    assert steps_done(store, specs) == 70
    made.write_bytes(content)
    (made.parent / "a folder.checkpoint").mkdir()
    sweep(store, lambda key: True)
    assert made.read_bytes() == content
    assert steps_done(store, specs) == 0

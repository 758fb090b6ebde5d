"""Looks at the problem while and after training: at the steps that were asked for, at no split too many, changing nothing."""

import dataclasses
from typing import Any

import pytest
from training_cases import BACKPROPAGATION, CPU, FORWARD, MLP, curve, measured, one, run

from repro import problems
from repro.problems.classification import ClassificationProblem
from repro.protocol import Method, Training, Trial, use
from repro.training import Interrupted, train

# The test split


@pytest.mark.parametrize(
    ("every", "steps"), [(7, [0, 7, 14, 20]), (10, [0, 10, 20]), (30, [0, 20])]
)
def test_a_paper_that_looks_at_the_test_split_has_its_curves(every: int, steps: list[int]) -> None:
    looking = one(run(MLP, FORWARD, task=Training(20, 10, test_every=every)))
    assert {c.metric for c in looking.curves if c.split == "test"} == {
        "loss",
        "accuracy",
        "last_batch_loss",
    }
    for metric in ("loss", "accuracy", "last_batch_loss"):
        values = curve(looking, metric, "test")
        assert list(values) == steps
        assert measured(looking, f"test_{metric}") == values[20]
    assert measured(looking, "test_last_batch_loss") != measured(looking, "test_loss")
    assert list(curve(looking, "loss", "validation")) == [0, 10, 20]
    # looking changes nothing else
    blind = one(run(MLP, FORWARD))
    assert tuple(c for c in looking.curves if c.split != "test") == blind.curves
    assert "test_last_batch_loss" not in blind.measured
    for name in ("test_loss", "test_accuracy", "score"):
        assert measured(blind, name) == pytest.approx(measured(looking, name), rel=1e-12)


def test_a_formula_has_no_test_split() -> None:
    assert not any(name.startswith("test_") for name in one(run()).measured)


def test_the_last_test_batch_is_the_same_for_every_method_and_in_any_company() -> None:
    task = Training(10, 10, test_every=5)
    look_ahead = Method("look-ahead", use("backpropagation"), use("look_ahead", momentum=0.9))
    losses = [
        curve(one(run(MLP, method, task=task)), "last_batch_loss", "test")
        for method in (BACKPROPAGATION, FORWARD, look_ahead)
    ]
    assert losses[0][0] == losses[1][0] == losses[2][0]  # one start, one order of the images
    assert losses[0][5] != losses[1][5]
    _, mate = train([run(MLP, task=task, repetition=3), run(MLP, task=task)], CPU)
    assert curve(mate, "last_batch_loss", "test") == pytest.approx(losses[0], rel=1e-5)


@pytest.fixture
def no_test_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the test examples away from every problem that is built."""
    build = problems.build

    def without_test(*declared: Any) -> problems.BuiltProblem:
        built = build(*declared)
        assert isinstance(built, ClassificationProblem)
        del built.test_images, built.test_labels
        return built

    monkeypatch.setattr(problems, "build", without_test)


@pytest.mark.usefixtures("no_test_split")
def test_a_tuning_run_never_reads_the_test_split() -> None:
    reported = run(MLP)
    tuning = dataclasses.replace(reported, role="tune", trial=Trial(0, "search"))
    record = one(tuning)
    assert record.status == "done"
    assert not any(name.startswith("test_") for name in record.measured)
    assert {c.split for c in record.curves} == {"train", "validation", "none"}
    assert measured(record, "score") == record.measured["validation_loss"]
    with pytest.raises(AttributeError, match="test_labels"):  # what is reported needs it
        one(reported)


# While it trains


@pytest.mark.parametrize("every", [1, 7, 100, 1_000])
def test_evaluations_and_progress(every: int) -> None:
    done: list[int] = []
    (record,) = train([run(task=Training(230, every))], CPU, on_steps=done.append)
    assert sum(done) == 230
    assert max(done) <= 100
    assert list(curve(record, "value")) == sorted({*range(0, 230, every), 230})
    assert list(curve(record, "loss")) == list(range(230))
    assert curve(record, "value")[0] == curve(record, "loss")[0]


def test_how_often_it_is_evaluated_changes_nothing_else() -> None:
    often, rarely = (one(run(MLP, FORWARD, task=Training(20, every))) for every in (1, 20))
    assert curve(often, "loss", "train") == curve(rarely, "loss", "train")
    assert measured(often, "test_loss") == measured(rarely, "test_loss")


def test_stopping_keeps_nothing() -> None:
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) == 2

    done: list[int] = []
    with pytest.raises(Interrupted):
        train([run(task=Training(1_000, 10))], CPU, on_steps=done.append, should_stop=should_stop)
    assert sum(done) == 20

"""Problems: formulas, splits, batches and evaluation, and what repetitions and methods share."""

import dataclasses
import itertools
import math

import pytest
import references
import torch
from references import beale_gradient, gradient, load_, rosenbrock_gradient
from torch import Tensor, nn

from repro import problems
from repro.autodiff import Params
from repro.problems import classification
from repro.problems.classification import ClassificationProblem
from repro.problems.closed_form import FUNCTIONS, ClosedFormProblem, beale, rosenbrock
from repro.protocol import Classification, ClosedForm, Problem, Replica, derive_seed, use

CPU = torch.device("cpu")
FIRST, SECOND, TUNING = Replica("report", 0), Replica("report", 1), Replica("tune", 0)
DIGITS = Classification(
    "digits test", "digits", use("mlp", width=8, depth=1), 64, "unit", validation_size=297
)


def build(problem: Problem, dtype: torch.dtype = torch.float64) -> problems.BuiltProblem:
    return problems.build(problem, CPU, dtype)


# Closed forms


def point(*coordinates: float) -> Tensor:
    return torch.tensor(coordinates, dtype=torch.float64)


def test_minima() -> None:
    assert beale(point(3.0, 0.5)) == 0.0
    assert rosenbrock(torch.ones(5)) == 0.0
    assert beale(point(0.0, 0.5)) == 1.5**2 + 2.25**2 + 2.625**2
    assert rosenbrock(point(-1.0, 0.0)) == 2.0**2 + 100.0
    # d = 3, term by term: (1 - 2)^2 + 100 (3 - 4)^2 + (1 - 3)^2 + 100 (-1 - 9)^2
    assert rosenbrock(point(2.0, 3.0, -1.0)) == 1.0 + 100.0 + 4.0 + 10_000.0


def test_gradients_are_the_derived_ones() -> None:
    for x, y in itertools.product((-1.5, 0.0, 2.0), (-0.5, 0.5, 1.0)):
        found = gradient(beale, point(x, y))
        torch.testing.assert_close(found, point(*beale_gradient(x, y)))
    for coordinates in ((-1.0, 0.0), (0.3, -2.0, 1.5, 0.0)):
        found = gradient(rosenbrock, point(*coordinates))
        torch.testing.assert_close(found, point(*rosenbrock_gradient(coordinates)))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_closed_form_problem(function: str) -> None:
    problem = build(ClosedForm("test", function, (1.5, -0.1)))
    assert isinstance(problem, ClosedFormProblem)
    assert math.isnan(problem.steps_per_epoch)
    start = problem.start([FIRST, SECOND, TUNING])
    assert isinstance(start, Tensor)
    assert start.tolist() == [[1.5, -0.1]] * 3
    start[0] += 1.0  # a replica's start is its own, and another call's too
    assert start[1].tolist() == [1.5, -0.1]
    assert problem.start([FIRST]).tolist() == [[1.5, -0.1]]  # type: ignore[union-attr]
    objective = next(problem.batches([FIRST, SECOND]))
    torch.testing.assert_close(objective(start), FUNCTIONS[function](start))
    metrics = problem.evaluate(start, [FIRST, SECOND, TUNING], "validation")
    assert list(metrics) == ["value", "x0", "x1"]
    torch.testing.assert_close(metrics["value"], FUNCTIONS[function](start))
    assert metrics["x0"].tolist() == [2.5, 1.5, 1.5]


def test_coordinates_are_metrics_in_two_dimensions_only() -> None:
    problem = build(ClosedForm("test", "rosenbrock", (0.0, 0.0, 0.0)))
    assert list(problem.evaluate(torch.zeros(1, 3), [FIRST], "test")) == ["value"]


def test_unknown_function() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown function 'ackley'. Choose from: beale, rosenbrock."
    ):
        build(ClosedForm("test", "ackley", (0.0, 0.0)))


# Classification


def digits(problem: Classification = DIGITS) -> ClassificationProblem:
    built = build(problem)
    assert isinstance(built, ClassificationProblem)
    return built


def batches(
    problem: ClassificationProblem,
    replicas: list[Replica],
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> list[tuple[Tensor, Tensor]]:
    """Images `(R, n, ...)` and labels of the first batches."""
    seen: list[tuple[Tensor, Tensor]] = []

    def record(images: Tensor, labels: Tensor) -> None:
        seen.append((images, labels))

    with monkeypatch.context() as patch:
        patch.setattr(problem, "objective", record)
        for _ in itertools.islice(problem.batches(replicas), count):
            pass
    return seen


def rows_of(problem: ClassificationProblem, images: Tensor) -> list[int]:
    """Indices of images among the training images; every image of digits is unique."""
    index = {image.numpy().tobytes(): row for row, image in enumerate(problem.train_images)}
    assert len(index) == len(problem.train_images)
    return [index[image.numpy().tobytes()] for image in images.contiguous()]


@pytest.mark.parametrize(
    ("drop_last", "batch_size", "steps"),
    [
        (True, 64, 15),
        (False, 64, 16),
        (True, 1_000, 1),
        (False, 1_000, 1),
        (True, 501, 1),
        (False, 501, 2),
    ],
)
def test_steps_per_epoch(drop_last: bool, batch_size: int, steps: int) -> None:
    problem = digits(dataclasses.replace(DIGITS, drop_last=drop_last, batch_size=batch_size))
    assert problem.steps_per_epoch == steps


def test_an_epoch_visits_every_training_example_once(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = digits(dataclasses.replace(DIGITS, drop_last=False))
    two_epochs = batches(problem, [FIRST, SECOND], 32, monkeypatch)
    assert [len(labels[0]) for _, labels in two_epochs] == ([64] * 15 + [40]) * 2
    for replica in range(2):
        rows = [rows_of(problem, images[replica]) for images, _ in two_epochs]
        one, other = ([row for batch in epoch for row in batch] for epoch in (rows[:16], rows[16:]))
        assert len(one) == len(set(one)) == 1_000
        assert set(one) == set(other)
        assert one != other  # each epoch has its own order
        labels = torch.cat([labels[replica] for _, labels in two_epochs[:16]])
        assert torch.equal(labels, problem.train_labels[one])


def test_incomplete_batches_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = digits()
    two_epochs = batches(problem, [FIRST], 30, monkeypatch)
    assert [labels.shape for _, labels in two_epochs] == [(1, 64)] * 30
    one = [row for images, _ in two_epochs[:15] for row in rows_of(problem, images[0])]
    assert len(set(one)) == 960


def test_repetitions_and_roles_share_neither_order_nor_split_nor_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem = digits()
    start = problem.start([FIRST, SECOND, TUNING])
    assert isinstance(start, dict)
    ((images, _),) = batches(problem, [FIRST, SECOND, TUNING], 1, monkeypatch)
    metrics = problem.evaluate({n: leaf[:1].expand(3, *leaf.shape[1:]) for n, leaf in start.items()},
                               [FIRST, SECOND, TUNING], "validation")  # fmt: skip
    for one, other in itertools.combinations(range(3), 2):
        assert not torch.equal(images[one], images[other])
        assert not torch.equal(start["0.weight"][one], start["0.weight"][other])
        assert (
            metrics["loss"][one] != metrics["loss"][other]
        )  # the same parameters on other examples


def test_a_replica_sees_the_same_alone_and_in_any_company(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = batches(digits(), [SECOND], 20, monkeypatch)
    company = batches(digits(), [TUNING, SECOND, FIRST, SECOND], 20, monkeypatch)
    for (images, labels), (others, other_labels) in zip(alone, company, strict=True):
        for place in (1, 3):
            assert torch.equal(images[0], others[place])
            assert torch.equal(labels[0], other_labels[place])
    ours, theirs = digits().start([SECOND]), digits().start([TUNING, SECOND])
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert all(torch.equal(ours[n][0], theirs[n][1]) for n in ours)


def test_problems_of_one_name_are_paired_and_of_two_are_not() -> None:
    decayed = digits(dataclasses.replace(DIGITS, input_scaling="standardised", batch_size=10))
    renamed = digits(dataclasses.replace(DIGITS, name="digits other"))
    start, same, other = (p.start([FIRST])["0.weight"] for p in (digits(), decayed, renamed))  # type: ignore[index]
    assert torch.equal(start, same)
    assert not torch.equal(start, other)


def test_frozen_seeds() -> None:
    assert derive_seed("start", "mnist mlp", "report", 0) == 7125679623654420508
    assert derive_seed("tangents", "beale", "forward gradient", "tune", 3) == 1461283018649149831


def reference_of(problem: ClassificationProblem, params: Params, replica: int = 0) -> nn.Module:
    assert isinstance(params, dict)
    return load_(references.mlp(64, 10, 8, 1).double(), params, replica)


def test_objective_is_the_mean_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = digits()
    params = problem.start([FIRST, SECOND])
    objective = next(problem.batches([FIRST, SECOND]))
    ((images, labels),) = batches(problem, [FIRST, SECOND], 1, monkeypatch)
    for replica in range(2):
        module = reference_of(problem, params, replica)
        expected = nn.functional.cross_entropy(module(images[replica]), labels[replica])
        assert objective(params)[replica].item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_is_over_the_whole_split(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = digits(dataclasses.replace(DIGITS, drop_last=False))
    params = problem.start([FIRST, SECOND])
    found = problem.evaluate(params, [FIRST, SECOND], split)
    epoch = batches(problem, [FIRST, SECOND], 16, monkeypatch)
    for replica in range(2):
        if split == "test":
            images, labels = problem.test_images, problem.test_labels
        else:  # what training never shows
            shown = {row for batch, _ in epoch for row in rows_of(problem, batch[replica])}
            held_out = sorted(set(range(1_297)) - shown)
            images, labels = problem.train_images[held_out], problem.train_labels[held_out]
        assert len(labels) == {"test": 500, "validation": 297}[split]
        logits = reference_of(problem, params, replica)(images)
        loss = nn.functional.cross_entropy(logits, labels).item()
        accuracy = (logits.argmax(1) == labels).double().mean().item()
        assert found["loss"][replica].item() == pytest.approx(loss, rel=1e-12)
        assert found["accuracy"][replica].item() == pytest.approx(accuracy, rel=1e-12)


def test_evaluation_does_not_depend_on_its_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = digits()
    params = problem.start([FIRST])
    whole = problem.evaluate(params, [FIRST], "test")
    monkeypatch.setattr(classification, "EVALUATION_BATCH", 7)
    pieces = problem.evaluate(params, [FIRST], "test")
    for name in ("loss", "accuracy"):
        torch.testing.assert_close(whole[name], pieces[name], rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss": "hinge"}, r"Unknown loss 'hinge'. Choose from: cross_entropy."),
        ({"batch_size": 0}, r"`batch_size` must be in \[1, 1000\], .* of digits. Found 0."),
        ({"batch_size": 1_001}, r"`batch_size` must be in \[1, 1000\], .* of digits. Found 1001."),
        ({"network": use("resnet")}, r"Unknown network 'resnet'."),
        ({"input_scaling": "bytes"}, r"one of unit, standardised; found 'bytes'."),
        ({"network": use("cnn")}, r"Images of 8 x 8 are too small"),
    ],
)
def test_bad_declarations(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        digits(dataclasses.replace(DIGITS, **changes))  # type: ignore[arg-type]

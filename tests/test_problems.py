"""Problems: formulas, splits, batches and evaluation, and what repetitions and methods share."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import references
import torch
from references import beale_gradient, draw, gradient, load_, rosenbrock_gradient
from torch import Tensor, nn

from repro import problems
from repro.autodiff import Params, value_and_directional_derivatives, value_and_gradient
from repro.problems import classification
from repro.problems.classification import (
    ClassificationProblem,
    clamped_cross_entropy,
    cross_entropy,
)
from repro.problems.closed_form import (
    FUNCTIONS,
    ClosedFormProblem,
    beale,
    rosenbrock,
    sphere,
    styblinski_tang,
)
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
    assert sphere(point(0.0, 0.0, 0.0)) == 0.0
    assert sphere(point(1.0, -2.0)) == 5.0
    # of one variable: (16 - 64 - 10) / 2 at -2; the minimum is at the least root of 2 x^3 - 16 x + 2.5
    assert styblinski_tang(point(-2.0)) == -29.0
    least = float(min(np.roots([2.0, 0.0, -16.0, 2.5])))
    assert least == pytest.approx(-2.903534, abs=1e-6)
    assert styblinski_tang(point(*[least] * 4)) == pytest.approx(4 * -39.166166, abs=1e-5)


def test_rosenbrock_of_one_variable_is_zero_everywhere() -> None:
    assert rosenbrock(point(3.0)) == 0.0
    value, slope = value_and_gradient(rosenbrock, torch.ones(2, 1))  # type: ignore[arg-type]
    assert value.tolist() == [0.0, 0.0]
    assert isinstance(slope, Tensor)
    assert slope.tolist() == [[0.0], [0.0]]


def test_gradients_are_the_derived_ones() -> None:
    for x, y in itertools.product((-1.5, 0.0, 2.0), (-0.5, 0.5, 1.0)):
        found = gradient(beale, point(x, y))
        torch.testing.assert_close(found, point(*beale_gradient(x, y)))
    for coordinates in ((-1.0, 0.0), (0.3, -2.0, 1.5, 0.0)):
        found = gradient(rosenbrock, point(*coordinates))
        torch.testing.assert_close(found, point(*rosenbrock_gradient(coordinates)))
        torch.testing.assert_close(
            gradient(sphere, point(*coordinates)), point(*[2 * x for x in coordinates])
        )
        torch.testing.assert_close(
            gradient(styblinski_tang, point(*coordinates)),
            point(*[2 * x**3 - 16 * x + 2.5 for x in coordinates]),
        )


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
    objective = problem.objective(next(problem.batches([FIRST, SECOND])))
    torch.testing.assert_close(objective(start), FUNCTIONS[function](start))
    metrics = problem.evaluate(start, [FIRST, SECOND, TUNING], "validation")
    assert list(metrics) == ["value", "x0", "x1"]
    torch.testing.assert_close(metrics["value"], FUNCTIONS[function](start))
    assert metrics["x0"].tolist() == [2.5, 1.5, 1.5]


def test_coordinates_are_metrics_in_two_dimensions_only() -> None:
    problem = build(ClosedForm("test", "rosenbrock", (0.0, 0.0, 0.0)))
    assert list(problem.evaluate(torch.zeros(1, 3), [FIRST], "test")) == ["value"]


def test_a_start_is_repeated_to_the_dimension() -> None:
    problem = build(ClosedForm("test", "rosenbrock", (-1.0, 0.0), 5))
    assert leaf(problem.start([FIRST])).tolist() == [[-1.0, 0.0, 0.0, 0.0, 0.0]]
    assert ClosedForm("test", "rosenbrock", (-1.0, 0.0)).num_parameters == 2
    for start, dimension, found in (((), 3, "0"), ((), None, "0"), ((1.0, 2.0), 1, "2")):
        with pytest.raises(ValueError, match=rf"no more than dimensions. Found {found} coord"):
            build(ClosedForm("test", "rosenbrock", start, dimension))


def leaf(params: object) -> torch.Tensor:
    assert isinstance(params, torch.Tensor)
    return params


def test_unknown_function() -> None:
    with pytest.raises(
        ValueError,
        match=r"Unknown function 'ackley'. Choose from: beale, coordinate_sum, rosenbrock, sphere, sty",
    ):
        build(ClosedForm("test", "ackley", (0.0, 0.0)))


def test_a_function_of_two_variables_has_no_third() -> None:
    for start, dimension, found in (((1.0,), None, 1), ((1.0, 1.0), 3, 3)):
        with pytest.raises(
            ValueError, match=rf"'beale' has two variables. Found dimension {found}"
        ):
            build(ClosedForm("test", "beale", start, dimension))


# Classification


def digits(problem: Classification = DIGITS) -> ClassificationProblem:
    built = build(problem)
    assert isinstance(built, ClassificationProblem)
    return built


def batches(
    problem: ClassificationProblem, replicas: list[Replica], count: int
) -> list[tuple[Tensor, Tensor]]:
    """Images `(R, n, ...)` and labels of the first batches."""
    return [
        (problem.train_images[rows], problem.train_labels[rows])
        for rows in itertools.islice(problem.batches(replicas), count)
    ]


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


def test_an_epoch_visits_every_training_example_once() -> None:
    problem = digits(dataclasses.replace(DIGITS, drop_last=False))
    two_epochs = batches(problem, [FIRST, SECOND], 32)
    assert [len(labels[0]) for _, labels in two_epochs] == ([64] * 15 + [40]) * 2
    for replica in range(2):
        rows = [rows_of(problem, images[replica]) for images, _ in two_epochs]
        one, other = ([row for batch in epoch for row in batch] for epoch in (rows[:16], rows[16:]))
        assert len(one) == len(set(one)) == 1_000
        assert set(one) == set(other)
        assert one != other  # each epoch has its own order
        labels = torch.cat([labels[replica] for _, labels in two_epochs[:16]])
        assert torch.equal(labels, problem.train_labels[one])


def test_incomplete_batches_are_dropped() -> None:
    problem = digits()
    two_epochs = batches(problem, [FIRST], 30)
    assert [labels.shape for _, labels in two_epochs] == [(1, 64)] * 30
    one = [row for images, _ in two_epochs[:15] for row in rows_of(problem, images[0])]
    assert len(set(one)) == 960


def test_repetitions_and_roles_share_neither_order_nor_split_nor_start() -> None:
    problem = digits()
    start = problem.start([FIRST, SECOND, TUNING])
    assert isinstance(start, dict)
    ((images, _),) = batches(problem, [FIRST, SECOND, TUNING], 1)
    metrics = problem.evaluate({n: leaf[:1].expand(3, *leaf.shape[1:]) for n, leaf in start.items()},
                               [FIRST, SECOND, TUNING], "validation")  # fmt: skip
    for one, other in itertools.combinations(range(3), 2):
        assert not torch.equal(images[one], images[other])
        assert not torch.equal(start["0.weight"][one], start["0.weight"][other])
        # the same parameters on other examples
        assert metrics["loss"][one] != metrics["loss"][other]


def test_a_replica_sees_the_same_alone_and_in_any_company() -> None:
    alone = batches(digits(), [SECOND], 20)
    company = batches(digits(), [TUNING, SECOND, FIRST, SECOND], 20)
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


def test_objective_is_the_mean_cross_entropy() -> None:
    problem = digits()
    params = problem.start([FIRST, SECOND])
    objective = problem.objective(next(problem.batches([FIRST, SECOND])))
    ((images, labels),) = batches(problem, [FIRST, SECOND], 1)
    for replica in range(2):
        module = reference_of(problem, params, replica)
        expected = nn.functional.cross_entropy(module(images[replica]), labels[replica])
        assert objective(params)[replica].item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_is_over_the_whole_split(split: str) -> None:
    problem = digits(dataclasses.replace(DIGITS, drop_last=False))
    params = problem.start([FIRST, SECOND])
    found = problem.evaluate(params, [FIRST, SECOND], split)
    epoch = batches(problem, [FIRST, SECOND], 16)
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


# Looking at the test split while training


def look(problem: ClassificationProblem, replicas: list[Replica], step: int) -> dict[str, Tensor]:
    """Every replica at the same parameters, so that only examples can differ."""
    start = problem.network.start([torch.Generator().manual_seed(0)], problem.dtype, CPU)
    params = {name: leaf.expand(len(replicas), *leaf.shape[1:]) for name, leaf in start.items()}
    return problem.look_at_test(params, replicas, step)


def test_a_look_is_an_evaluation_of_the_test_split() -> None:
    problem = digits()
    params = problem.start([FIRST, SECOND])
    seen = problem.look_at_test(params, [FIRST, SECOND], 3)
    whole = problem.evaluate(params, [FIRST, SECOND], "test")
    assert list(seen) == ["loss", "accuracy", "last_batch_loss"]
    for name, values in whole.items():
        torch.testing.assert_close(seen[name], values, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize(
    ("batch_size", "last"), [(64, 52), (16, 4), (499, 1), (100, 100), (500, 500), (501, 500)]
)
def test_the_last_batch_is_what_the_others_leave(
    batch_size: int, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = digits(dataclasses.replace(DIGITS, batch_size=batch_size))
    num = len(problem.test_labels)
    assert num == 500
    # the loss of replica r is one on example r alone: the mean over a batch tells whether r is in it
    monkeypatch.setattr(problem, "network", lambda _, images: images.flatten(2))
    monkeypatch.setattr(problem, "loss", lambda *_: torch.eye(num, dtype=torch.float64))
    found = problem.look_at_test({}, [FIRST] * num, 5)["last_batch_loss"]
    assert int((found > 0.0).sum()) == last
    assert found[found > 0.0].tolist() == pytest.approx([1.0 / last] * last, rel=1e-12)


def test_the_last_batch_is_that_of_a_shuffled_pass() -> None:
    problem = digits()
    params = problem.start([SECOND])
    module = reference_of(problem, params)
    seed = derive_seed("test order 7", DIGITS.name, "report", 1)
    rows = torch.randperm(500, generator=torch.Generator().manual_seed(seed))[:52]
    expected = nn.functional.cross_entropy(
        module(problem.test_images[rows]), problem.test_labels[rows]
    )
    found = problem.look_at_test(params, [SECOND], 7)["last_batch_loss"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_last_batch_belongs_to_problem_repetition_and_step() -> None:
    alone = look(digits(), [SECOND], 7)["last_batch_loss"]
    company = look(digits(), [TUNING, SECOND, FIRST, SECOND], 7)["last_batch_loss"]
    assert company[1] == company[3] == pytest.approx(alone.item(), rel=1e-12)
    renamed = digits(dataclasses.replace(DIGITS, name="digits other"))
    others = [
        look(digits(), [FIRST], 7),
        look(digits(), [TUNING], 7),
        look(digits(), [SECOND], 8),
        look(renamed, [SECOND], 7),
    ]
    losses = {round(seen["last_batch_loss"].item(), 9) for seen in others}
    assert len(losses | {round(alone.item(), 9)}) == 5
    for seen in others:  # the same parameters on the same whole split
        assert seen["loss"].item() == pytest.approx(look(digits(), [SECOND], 7)["loss"].item())


# Losses

PROBABILITIES = (0.0, 1e-9, 0.25, 0.9, 1.0)
"""Of the true one of two classes; the first two and the last are out of range in float32."""


def logits_of(probabilities: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    """Logits `(n, 2)` whose softmax gives the first class these probabilities."""
    gaps = [
        math.copysign(200.0, p - 0.5) if p in (0.0, 1.0) else math.log(p / (1.0 - p))
        for p in probabilities
    ]
    return torch.tensor([[gap, 0.0] for gap in gaps], dtype=dtype)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_clamping_changes_nothing_within_the_range(dtype: torch.dtype, rtol: float) -> None:
    logits = draw(3, 7, 10, dtype=dtype)
    labels = torch.randint(10, (3, 7), generator=torch.Generator().manual_seed(1))
    found = clamped_cross_entropy(logits, labels)
    assert found.shape == (3, 7)
    torch.testing.assert_close(found, cross_entropy(logits, labels), rtol=rtol, atol=0.0)
    expected = nn.functional.cross_entropy(logits[1], labels[1], reduction="none")
    torch.testing.assert_close(found[1], expected, rtol=rtol, atol=0.0)


def test_a_clamped_loss_is_bounded() -> None:
    labels = torch.zeros(5, dtype=torch.int64)
    single = clamped_cross_entropy(logits_of(PROBABILITIES, torch.float32), labels).tolist()
    eps = 2.0**-23
    expected = [-math.log(p) for p in (eps, eps, 0.25, 0.9, 1.0 - eps)]
    assert single == pytest.approx(expected, rel=1e-6)
    assert single[0] == pytest.approx(15.942385, rel=1e-7)
    assert single[-1] == pytest.approx(1.1920930e-7, rel=1e-6)
    # in double precision the range is wider: 1e-9 is within
    double = clamped_cross_entropy(logits_of(PROBABILITIES, torch.float64), labels).tolist()
    assert double[:2] == pytest.approx([52.0 * math.log(2.0), 9.0 * math.log(10.0)], rel=1e-9)
    assert cross_entropy(logits_of((0.0,), torch.float32), labels[:1]).item() == 200.0


@pytest.mark.parametrize("mode", ["backward", "forward", "forward, two tangents"])
def test_a_clamped_loss_is_flat_out_of_range(mode: str) -> None:
    logits, labels = logits_of(PROBABILITIES, torch.float32), torch.zeros(5, dtype=torch.int64)

    def loss(params: Params) -> Tensor:
        assert isinstance(params, Tensor)
        return clamped_cross_entropy(params, labels)

    # d loss / d logits is softmax minus one-hot: (p - 1, 1 - p) for the first of two classes
    tangents = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    if mode == "backward":
        value, gradient_ = value_and_gradient(loss, logits)
        assert isinstance(gradient_, Tensor)
        slopes = gradient_ @ tangents.T
    else:
        count = 1 if mode == "forward" else 2
        directions = tangents[:count, None, :].expand(count, 5, 2)
        value, derivatives = value_and_directional_derivatives(loss, logits, directions)
        slopes = derivatives.T
    torch.testing.assert_close(value, loss(logits))
    assert slopes[[0, 1, 4]].tolist() == [[0.0] * slopes.shape[1]] * 3  # not NaN either
    expected = torch.tensor([[-0.75, 1.5], [-0.1, 0.2]])[:, : slopes.shape[1]]
    torch.testing.assert_close(slopes[[2, 3]], expected, rtol=1e-5, atol=0.0)


def test_a_clamped_objective_is_the_mean_over_the_batch() -> None:
    problem = digits(dataclasses.replace(DIGITS, loss="clamped_cross_entropy"))
    params = problem.start([FIRST, SECOND])
    assert isinstance(params, dict)
    for leaf in params.values():
        leaf.mul_(25.0)  # sure enough of itself to leave the range
    objective = problem.objective(next(problem.batches([FIRST, SECOND])))
    ((images, labels),) = batches(problem, [FIRST, SECOND], 1)
    eps, clamped = 2.0**-52, 0
    for replica in range(2):
        probabilities = reference_of(problem, params, replica)(images[replica]).softmax(1)
        losses = []
        for row, label in zip(probabilities.tolist(), labels[replica].tolist(), strict=True):
            losses.append(-math.log(min(max(row[label], eps), 1.0 - eps)))
            clamped += not eps <= row[label] <= 1.0 - eps
        assert len(losses) == 64
        expected = math.fsum(losses) / 64
        assert objective(params)[replica].item() == pytest.approx(expected, rel=1e-9)
    assert clamped > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss": "hinge"},
            r"^Unknown loss 'hinge'\. Choose from: cross_entropy, clamped_cross_entropy\.$",
        ),
        ({"batch_size": 0}, r"`batch_size` must be in \[1, 1000\], .* of digits. Found 0."),
        ({"batch_size": 1_001}, r"`batch_size` must be in \[1, 1000\], .* of digits. Found 1001."),
        (
            {"validation_size": 0},
            r"^`validation_size` must be in \[1, 1296\], of the training images of digits: losses are judged on that split, and the "
            r"rest is trained on\. Found 0\.$",
        ),
        (
            {"validation_size": 1_297},
            r"`validation_size` must be in \[1, 1296\], .*\. Found 1297\.$",
        ),
        (
            {"validation_size": 5_000, "batch_size": 32},
            r"`validation_size` must be in \[1, 1296\], .*\. Found 5000\.$",
        ),
        ({"network": use("resnet")}, r"Unknown network 'resnet'."),
        ({"input_scaling": "bytes"}, r"one of unit, standardised; found 'bytes'."),
        ({"network": use("cnn")}, r"Images of 8 x 8 are too small"),
    ],
)
def test_bad_declarations(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        digits(dataclasses.replace(DIGITS, **changes))  # type: ignore[arg-type]


def test_unknown_splits_are_refused() -> None:
    problem = build(DIGITS)
    with pytest.raises(
        ValueError, match=r"^Unknown split 'train'\. Choose from: training, validation, test\.$"
    ):
        problem.evaluate(problem.start([FIRST]), [FIRST], "train")

"""Training: published end points, lockstep with plain loops, pairing, replicas, divergence, schedules."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import references
import torch
from references import descend, gradient, load_, train_classifier
from torch import Tensor, nn

from repro import problems, training
from repro.problems.classification import ClassificationProblem
from repro.problems.closed_form import FUNCTIONS
from repro.protocol import (
    Classification,
    ClosedForm,
    Component,
    Method,
    Problem,
    Replica,
    RunSpec,
    Sampling,
    Training,
    Trial,
    expand,
    settings,
    use,
)
from repro.results import Record
from repro.training import (
    Interrupted,
    Schedule,
    replica_group,
    tangent_generator,
    train,
    train_within_memory,
)
from studies import baydin2022

CPU = torch.device("cpu")
SHORT = Training(20, 10)
BEALE = ClosedForm("test beale", "beale", (0.0, 0.5))
ROSENBROCK = ClosedForm("test rosenbrock", "rosenbrock", (-1.0, 0.0))
BACKPROPAGATION = Method("backpropagation", use("backpropagation"), use("sgd"))
FORWARD = Method("forward gradient", use("forward_gradient"), use("sgd"))
PROJECTED = Method(
    "projected",
    use("forward_gradient", num_tangents=3, aggregation="orthogonal_projection"),
    use("sgd"),
)


def digits(network: str, **options: int) -> Classification:
    return Classification(
        f"digits {network}", "digits", use(network, **options), 32, "unit", validation_size=297
    )


LOGISTIC = digits("logistic_regression")
MLP = digits("mlp", width=16, depth=2)
CNN = digits("cnn", channels=4, padding=1)


def run(
    problem: Problem = BEALE,
    method: Method = BACKPROPAGATION,
    learning_rate: float = 0.01,
    repetition: int = 0,
    task: Training | Sampling = SHORT,
    **more: float,
) -> RunSpec:
    return RunSpec(
        study="test",
        arm="published",
        scale="smoke",
        experiment="test",
        role="report",
        problem=problem,
        method=method,
        hyperparameters=settings(learning_rate=learning_rate, **more),
        repetition=repetition,
        task=task,
    )


def one(spec: RunSpec) -> Record:
    (record,) = train([spec], CPU)
    return record


def curve(record: Record, metric: str, split: str | None = None) -> dict[int, float]:
    (found,) = (c for c in record.curves if c.metric == metric and split in (None, c.split))
    return dict(zip(found.steps, found.values, strict=True))


def measured(record: Record, name: str) -> float:
    value = record.measured[name]
    assert isinstance(value, (int, float))
    return value


# Where the published runs end


@pytest.mark.parametrize(
    ("problem", "learning_rate", "steps", "published"),
    [(BEALE, 0.01, 1_000, 5.6e-5), (ROSENBROCK, 5e-4, 25_000, 5.3e-6)],
)
def test_exact_gradients_end_where_published(
    problem: ClosedForm, learning_rate: float, steps: int, published: float
) -> None:
    record = one(run(problem, learning_rate=learning_rate, task=Training(steps, steps)))
    assert record.status == "done"
    assert measured(record, "value") == pytest.approx(published, rel=0.01)
    assert measured(record, "score") == record.measured["value"]
    assert measured(record, "num_steps") == steps
    assert measured(record, "forward_passes") == 3.0 * steps


# Lockstep with loops that anyone would write


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("method", [BACKPROPAGATION, FORWARD, PROJECTED], ids=lambda m: m.name)
def test_lockstep_with_a_plain_loop_on_a_function(method: Method, precision: str) -> None:
    # 250 steps: more than the losses are looked at together
    spec = run(method=method, learning_rate=2.0**-8, task=Training(250, 50, precision=precision))
    record, generator = one(spec), tangent_generator(spec, CPU)

    def estimate(point: Tensor) -> Tensor:
        options = method.estimator.options()
        if method is BACKPROPAGATION:
            return gradient(FUNCTIONS["beale"], point)
        # drawn as the run draws, in its precision
        k = int(options.get("num_tangents") or 1)
        tangents = torch.randn(k, 2, generator=generator, dtype=getattr(torch, precision)).double()
        if method is PROJECTED:  # three tangents span the plane
            return gradient(FUNCTIONS["beale"], point)
        return references.forward_gradient(FUNCTIONS["beale"], point, tangents, "mean")

    start = torch.tensor(BEALE.start, dtype=torch.float64)
    steps = list(itertools.islice(descend(FUNCTIONS["beale"], start, estimate, 2.0**-8), 250))
    rel = 1e-9 if precision == "float64" else 2e-3
    assert list(curve(record, "loss").values()) == pytest.approx([v for v, _ in steps], rel=rel)
    for name, axis in (("x0", 0), ("x1", 1)):
        path = {0: start, **{i: p for i, (_, p) in enumerate(steps, 1) if i % 50 == 0}}
        assert curve(record, name) == pytest.approx(
            {i: float(p[axis]) for i, p in path.items()}, rel=rel
        )
    last = steps[-1][1]
    assert measured(record, "value") == pytest.approx(float(FUNCTIONS["beale"](last)), rel=rel)
    assert measured(record, "parameter_norm") == pytest.approx(float(last.norm()), rel=rel)


MODULES: dict[str, tuple[Classification, Callable[[], nn.Sequential]]] = {
    "logistic": (LOGISTIC, lambda: references.logistic_regression(64, 10)),
    "mlp": (MLP, lambda: references.mlp(64, 10, 16, 2)),
    "cnn": (CNN, lambda: references.cnn(1, 16, 10, 4, 1)),
}
OPTIMIZERS: dict[str, tuple[Component, Callable[[nn.Module], torch.optim.Optimizer]]] = {
    "sgd": (use("sgd"), lambda m: torch.optim.SGD(m.parameters(), 1.0)),
    "nesterov": (
        use("sgd", momentum=0.9, nesterov=True),
        lambda m: torch.optim.SGD(m.parameters(), 1.0, momentum=0.9, nesterov=True),
    ),
    "adam": (use("adam"), lambda m: torch.optim.Adam(m.parameters(), 1.0)),
}


@pytest.mark.parametrize("network", MODULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_lockstep_with_torch_nn_and_torch_optim(network: str, optimizer: str) -> None:
    problem, make_module = MODULES[network]
    settings_, make_optimizer = OPTIMIZERS[optimizer]
    method = Method("test", use("backpropagation"), settings_, "hyperbolic")
    task = Training(30, 10, precision="float64")
    spec = run(problem, method, 0.01, task=task, decay=0.1)
    replicas = [Replica("report", 0)]
    built = problems.build(problem, CPU, torch.float64)
    assert isinstance(built, ClassificationProblem)
    module, start = make_module().double(), built.start(replicas)
    assert isinstance(start, dict)
    load_(module, start)
    examples = (
        (built.train_images[r[0]], built.train_labels[r[0]]) for r in built.batches(replicas)
    )
    rates = [0.01 / (1.0 + 0.1 * step) for step in range(30)]
    losses = train_classifier(module, make_optimizer(module), examples, rates)
    record = one(spec)
    # rates are float32: 6e-8 of each step
    assert list(curve(record, "loss", "train").values()) == pytest.approx(losses, rel=1e-5)
    logits = module(built.test_images)
    expected = nn.functional.cross_entropy(logits, built.test_labels).item()
    assert measured(record, "test_loss") == pytest.approx(expected, rel=1e-5)
    accuracy = (logits.argmax(1) == built.test_labels).double().mean().item()
    assert measured(record, "test_accuracy") == pytest.approx(accuracy, abs=0.003)
    assert measured(record, "train_loss") == pytest.approx(losses[-1], rel=1e-5)
    norm = torch.cat([p.detach().flatten() for p in module.parameters()]).norm().item()
    assert measured(record, "parameter_norm") == pytest.approx(norm, rel=1e-5)
    assert measured(record, "validation_loss") == curve(record, "loss", "validation")[30]
    assert measured(record, "score") == record.measured["validation_loss"]


def test_look_ahead_methods_are_judged_behind_the_point_they_look_at() -> None:
    mu, rate, decay = 0.9, 2.0**-10, 0.01
    method = Method(
        "look-ahead", use("backpropagation"), use("look_ahead", momentum=mu), "exponential"
    )
    task = Training(60, 20, precision="float64")
    record = one(run(method=method, learning_rate=rate, task=task, decay=decay))
    beale = FUNCTIONS["beale"]
    theta = torch.tensor(BEALE.start, dtype=torch.float64)
    velocity = torch.zeros_like(theta)
    path, losses = {0: theta}, []
    for step in range(60):
        ahead = theta + mu * velocity
        losses.append(float(beale(ahead)))
        velocity = mu * velocity - rate * math.exp(-decay * step) * gradient(beale, ahead)
        theta = theta + velocity
        path[step + 1] = theta
    assert list(curve(record, "loss").values()) == pytest.approx(losses, rel=1e-9)
    judged = {step: path[step] for step in (0, 20, 40, 60)}
    for name, quantity in (
        ("x0", lambda p: p[0]),
        ("x1", lambda p: p[1]),
        ("value", beale),
        ("parameter_norm", torch.linalg.vector_norm),
    ):
        expected = {step: float(quantity(point)) for step, point in judged.items()}
        assert curve(record, name) == pytest.approx(expected, rel=1e-9)
    assert measured(record, "value") == pytest.approx(float(beale(theta)), rel=1e-9)
    assert measured(record, "value") != pytest.approx(float(beale(theta + mu * velocity)), rel=1e-3)


def test_every_split_judges_a_look_ahead_method_at_one_point() -> None:
    # at a constant rate the look-ahead points are the iterates of Nesterov's method
    task = Training(20, 10, precision="float64", test_every=10)
    ahead, nesterov = (
        one(run(MLP, Method("test", use("backpropagation"), optimizer), 0.05, task=task))
        for optimizer in (
            use("look_ahead", momentum=0.9),
            use("sgd", momentum=0.9, nesterov=True),
        )
    )
    losses = [curve(record, "loss", "train") for record in (ahead, nesterov)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for split in ("validation", "test"):
        behind, at = (curve(record, "loss", split) for record in (ahead, nesterov))
        assert behind[0] == at[0]
        assert abs(behind[20] / at[20] - 1.0) > 1e-3
    assert measured(ahead, "test_loss") == curve(ahead, "loss", "test")[20]
    # without looks the test split is read once, after training
    blind = one(dataclasses.replace(ahead.spec, task=dataclasses.replace(task, test_every=0)))
    assert measured(blind, "test_loss") == pytest.approx(measured(ahead, "test_loss"), rel=1e-12)


# A method's own loss


def test_a_method_trains_its_own_loss() -> None:
    loss = "clamped_cross_entropy"
    task = Training(20, 10, loss_limit=1e30)
    own, declared, neither = (
        one(run(problem, method, 100.0, task=task))  # a rate that leaves the range
        for problem, method in (
            (LOGISTIC, dataclasses.replace(BACKPROPAGATION, loss=loss)),
            (dataclasses.replace(LOGISTIC, loss=loss), BACKPROPAGATION),
            (LOGISTIC, BACKPROPAGATION),
        )
    )
    assert own.curves == declared.curves
    bound = -math.log(2.0**-23) * (1.0 + 1e-6)  # float32
    for split in ("train", "validation"):
        assert max(curve(own, "loss", split).values()) <= bound
        assert max(curve(neither, "loss", split).values()) > bound
        first = curve(neither, "loss", split)[0]  # the same start, on the same examples
        assert curve(own, "loss", split)[0] == pytest.approx(first, rel=1e-6)
    for name in ("train_loss", "validation_loss", "test_loss"):
        assert measured(own, name) <= bound


def test_a_formula_has_no_other_loss() -> None:
    method = dataclasses.replace(BACKPROPAGATION, loss="clamped_cross_entropy")
    assert one(run(method=method)).curves == one(run()).curves


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


def test_trials_train_together_as_they_do_alone() -> None:
    specs = [
        dataclasses.replace(run(MLP, FORWARD, rate), role="tune", trial=Trial(number, "search"))
        for number, rate in enumerate((1e-2, 1e-4))
    ]
    assert len({replica_group(spec) for spec in specs}) == 1
    for spec, record in zip(specs, train(specs, CPU), strict=True):
        assert record.spec == spec
        assert measured(record, "score") == pytest.approx(measured(one(spec), "score"), rel=1e-5)
        # which trial a rate was proposed in decides nothing
        renumbered = dataclasses.replace(spec, trial=Trial(7, "other"))
        assert one(renumbered).curves == one(spec).curves


# Replicas and pairing


@pytest.mark.parametrize("method", [BACKPROPAGATION, FORWARD, PROJECTED], ids=lambda m: m.name)
@pytest.mark.parametrize("problem", [BEALE, LOGISTIC, MLP, CNN], ids=lambda p: p.name)
def test_replicas_train_together_as_they_do_alone(problem: Problem, method: Method) -> None:
    specs = [
        run(problem, method, learning_rate, repetition)
        for repetition, learning_rate in ((0, 0.01), (0, 0.002), (1, 0.01), (7, 1e-4))
    ]
    together = train(specs, CPU)
    assert [record.spec for record in together] == specs
    for spec, record in zip(specs, together, strict=True):
        alone = one(spec)
        assert record.status == alone.status == "done"
        assert record.measured["group_size"] == 4
        for ours, theirs in zip(record.curves, alone.curves, strict=True):
            assert (ours.split, ours.metric, ours.steps) == (
                theirs.split,
                theirs.metric,
                theirs.steps,
            )
            assert ours.values == pytest.approx(theirs.values, rel=1e-4, abs=1e-6)
        for name in ("score", "num_steps", "forward_passes", "tangents", "num_parameters"):
            assert measured(record, name) == pytest.approx(measured(alone, name), rel=1e-4)
    finals = {measured(record, "score") for record in together}
    # a function's start and gradient are the same in every repetition
    assert (
        len(finals) == (3 if (problem, method) == (BEALE, BACKPROPAGATION) else 4)
        or problem == BEALE
    )


@pytest.mark.parametrize("problem", [LOGISTIC, MLP, CNN], ids=lambda p: p.name)
def test_methods_are_paired(problem: Problem) -> None:
    # the same parameters on the same examples: the first losses are equal, the second are not
    first, second = (one(run(problem, method)) for method in (BACKPROPAGATION, FORWARD))
    assert curve(first, "loss", "validation")[0] == curve(second, "loss", "validation")[0]
    losses = [curve(record, "loss", "train") for record in (first, second)]
    assert losses[0][0] == pytest.approx(losses[1][0], rel=1e-6)
    assert losses[0][1] != losses[1][1]


def test_tangents_belong_to_problem_method_role_and_repetition() -> None:
    spec = run(method=FORWARD)
    seed = tangent_generator(spec, CPU).initial_seed()
    for same in (
        dataclasses.replace(spec, hyperparameters=settings(learning_rate=0.5)),
        dataclasses.replace(spec, task=Training(7, 7), arm="tuned", scale="full", study="other"),
        dataclasses.replace(spec, method=dataclasses.replace(FORWARD, schedule="hyperbolic")),
    ):
        assert tangent_generator(same, CPU).initial_seed() == seed
    for other in (
        dataclasses.replace(spec, problem=ROSENBROCK),
        dataclasses.replace(spec, method=PROJECTED),
        dataclasses.replace(spec, role="tune"),
        dataclasses.replace(spec, repetition=1),
    ):
        assert tangent_generator(other, CPU).initial_seed() != seed


def test_roles_train_on_other_draws() -> None:
    reported = run(MLP, FORWARD)
    tuning = dataclasses.replace(reported, role="tune")
    records = [one(reported), one(tuning)]
    assert measured(records[0], "score") != measured(records[1], "score")


def test_a_run_repeats_itself() -> None:
    first, again = (one(run(MLP, FORWARD)) for _ in range(2))
    assert first.curves == again.curves


def test_keys_of_committed_rows() -> None:
    # published rows carry these keys: a change here orphans them
    found = {
        spec.method.name: spec.key
        for spec in expand(baydin2022.STUDY, "full", only=["mlp-2e-4"])
        if spec.repetition == 0
    }
    assert found == {
        "backpropagation": "cdf005783a91c8bb9b577905f3aa9d61cc9ac024735d8564e5c1301edb92a359",
        "forward gradient": "0c2e6dc5b1d87b1bff724e03c7aa3929b34fc6c9cfc6e9fd08a5bdf5c898af83",
    }


def test_frozen_run() -> None:
    losses = curve(one(run(method=FORWARD)), "loss")
    assert [losses[step] for step in (0, 1, 10, 19)] == pytest.approx(
        [14.203125, 14.200016, 5.2609453, 1.3014665], rel=1e-4
    )


# Divergence


def steps_within_limit(learning_rate: float, limit: float) -> int:
    start = torch.tensor(BEALE.start)
    path = descend(
        FUNCTIONS["beale"], start, lambda p: gradient(FUNCTIONS["beale"], p), learning_rate
    )
    return len(
        list(itertools.takewhile(lambda step: step[0] <= limit, itertools.islice(path, 150)))
    )


@pytest.mark.parametrize("huge", [0.2, 0.3, 1e30])
@pytest.mark.parametrize("limit", [1e3, 15.0])
def test_a_diverging_run_ends_as_a_row_and_leaves_its_mates_alone(
    huge: float, limit: float
) -> None:
    task = Training(150, 10, loss_limit=limit)
    rates = (0.01, huge, 0.002)
    records = train([run(learning_rate=rate, task=task) for rate in rates], CPU)
    within = steps_within_limit(huge, limit)
    assert [record.status for record in records] == ["done", "diverged", "done"]
    spoilt = records[1]
    assert measured(spoilt, "score") == limit
    assert measured(spoilt, "diverged_step") == within + 1
    assert "value" not in spoilt.measured
    assert list(curve(spoilt, "loss")) == list(range(within))
    assert all(value <= limit for value in curve(spoilt, "loss").values())
    assert max(curve(spoilt, "value")) <= within
    for index in (0, 2):
        alone = one(records[index].spec)
        assert "diverged_step" not in records[index].measured
        assert records[index].curves == alone.curves
        assert measured(records[index], "score") == measured(alone, "score")


def test_a_group_that_diverged_altogether_stops_early() -> None:
    task = Training(100_000, 1_000)
    records = train([run(learning_rate=rate, task=task) for rate in (0.5, 1.0)], CPU)
    assert [record.status for record in records] == ["diverged"] * 2
    assert all(measured(record, "score") == task.loss_limit for record in records)
    assert measured(records[0], "num_steps") <= 1_000


@pytest.mark.parametrize("method", [BACKPROPAGATION, FORWARD], ids=lambda m: m.name)
def test_a_diverging_network_leaves_its_mates_alone(method: Method) -> None:
    task = Training(40, 20, loss_limit=20.0)
    specs = [run(MLP, method, rate, task=task) for rate in (1e6, 1e-3)]
    spoilt, well = train(specs, CPU)
    assert (spoilt.status, well.status) == ("diverged", "done")
    assert measured(spoilt, "score") == 20.0
    assert 2 <= measured(spoilt, "diverged_step") <= 3
    alone = one(specs[1])
    assert measured(well, "score") == pytest.approx(measured(alone, "score"), rel=1e-5)


# Schedules


@pytest.mark.parametrize(
    ("kind", "formula"),
    [
        ("constant", lambda eta, _k, _i: eta),
        ("exponential", lambda eta, k, i: eta * math.exp(-k * i)),
        ("hyperbolic", lambda eta, k, i: eta / (1 + k * i)),
    ],
)
def test_schedules(kind: str, formula: Callable[[float, float, int], float]) -> None:
    pairs = ((0.1, 1e-4), (2e-5, 0.01), (1.0, 0.0))
    specs = [run(learning_rate=rate, decay=decay) for rate, decay in pairs]
    schedule = Schedule(kind, specs, CPU)
    for step in (0, 1, 10, 19_999):
        rates = schedule(step)
        assert rates.shape == (3,)
        assert rates.tolist() == pytest.approx([formula(*pair, step) for pair in pairs], rel=1e-6)


def test_bad_schedules() -> None:
    with pytest.raises(
        ValueError,
        match=r"Unknown schedule 'cosine'. Choose from: constant, exponential, hyperbolic.",
    ):
        Schedule("cosine", [run()], CPU)
    with pytest.raises(
        ValueError, match=r"The hyperbolic schedule needs the hyperparameter `decay`."
    ):
        Schedule("hyperbolic", [run()], CPU)
    nothing = dataclasses.replace(run(), hyperparameters=())
    with pytest.raises(ValueError, match=r"needs the hyperparameter `learning_rate`. Found {}."):
        one(nothing)


# The loop and its callers


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


def test_a_record_states_cost_and_environment() -> None:
    (record, _) = train([run(MLP, FORWARD), run(MLP, FORWARD, repetition=1)], CPU)
    assert {
        name: record.measured[name] for name in ("num_parameters", "num_steps", "group_size")
    } == {
        "num_parameters": 64 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10,
        "num_steps": 20,
        "group_size": 2,
    }
    assert measured(record, "forward_passes") == 60.0
    assert measured(record, "tangents") == 20.0
    assert measured(record, "seconds") > 0.0
    assert record.steps_per_epoch == 1_000 // 32
    assert record.measured["torch"] == torch.__version__
    assert math.isnan(one(run()).steps_per_epoch)


def test_replica_group() -> None:
    spec = run()
    trial = dataclasses.replace(spec, trial=Trial(3, "search"))
    for same in (run(repetition=4), run(learning_rate=0.5), run(decay=1.0), trial):
        assert replica_group(same) == replica_group(spec)
    for other in (run(method=FORWARD), run(ROSENBROCK), run(task=Training(21, 10))):
        assert replica_group(other) != replica_group(spec)


@pytest.mark.parametrize(
    "specs",
    [
        [run(), run(method=FORWARD)],
        [run(), run(ROSENBROCK)],
        [run(), dataclasses.replace(run(), role="tune")],
        [run(task=Sampling(2))],
    ],
)
def test_only_replicas_train_together(specs: list[RunSpec]) -> None:
    with pytest.raises(ValueError, match="differ in repetition and hyperparameters only"):
        train(specs, CPU)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Method("m", use("evolution"), use("sgd")), "Unknown estimator 'evolution'"),
        (Method("m", use("backpropagation"), use("lion")), "Unknown optimizer 'lion'"),
        (Method("m", use("backpropagation"), use("sgd"), "cosine"), "Unknown schedule 'cosine'"),
        (
            Method("m", use("forward_gradient", num_tangents=0), use("sgd")),
            "`num_tangents` must be",
        ),
        (Method("m", use("backpropagation"), use("sgd", momentum=2.0)), "`momentum` must be in"),
    ],
)
def test_bad_methods(method: Method, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        one(run(method=method))


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan"), 1])
def test_bad_learning_rates(rate: float) -> None:
    with pytest.raises(ValueError, match=r"`learning_rate` must be|must be finite"):
        run(learning_rate=rate)


def test_bad_budgets() -> None:
    with pytest.raises(ValueError, match=r"`num_steps` must be at least 1. Found 0."):
        Training(0, 1)
    with pytest.raises(ValueError, match=r"`evaluate_every` must be at least 1. Found 0."):
        Training(1, 0)
    with pytest.raises(ValueError, match=r"`test_every` must be at least 0. Found -1."):
        Training(1, 1, test_every=-1)


# Memory


class Memory:
    """A device that holds so many runs, and tangents of a run, at once."""

    def __init__(self, runs: int, tangents: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs, self.tangents = runs, tangents
        self.attempts: list[tuple[int, int]] = []
        self._train = train
        monkeypatch.setattr(training, "train", self)

    def __call__(
        self, specs: list[RunSpec], device: torch.device, *, chunk_size: int | None, **how: Any
    ) -> list[Record]:
        tangents = chunk_size or int(
            str(specs[0].method.estimator.options().get("num_tangents", 1))
        )
        self.attempts.append((len(specs), tangents))
        if len(specs) > self.runs or tangents > self.tangents:
            # CUDA's allocator, its driver, and that of this machine
            raise (
                torch.OutOfMemoryError("CUDA out of memory"),
                RuntimeError("CUDA error: out of memory"),
                RuntimeError("alloc_cpu.cpp: DefaultCPUAllocator: can't allocate memory"),
            )[len(self.attempts) % 3]
        return self._train(specs, device, chunk_size=chunk_size, **how)


def test_runs_that_do_not_fit_together_train_in_smaller_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specs = [run(MLP, FORWARD, repetition=r) for r in range(5)]
    expected = train(specs, CPU)
    memory = Memory(2, 1, monkeypatch)
    with pytest.warns(RuntimeWarning) as caught:
        records = train_within_memory(specs, CPU)
    assert memory.attempts == [(5, 1), (3, 1), (2, 1), (1, 1), (2, 1)]
    assert [str(warning.message) for warning in caught] == [
        "test: forward gradient: 5 runs together do not fit in memory; trying 3.",
        "test: forward gradient: 3 runs together do not fit in memory; trying 2.",
    ]
    assert [record.spec for record in records] == specs
    for mine, theirs in zip(records, expected, strict=True):
        assert measured(mine, "score") == pytest.approx(measured(theirs, "score"), rel=1e-5)


def test_tangents_that_do_not_fit_are_carried_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    (expected,) = train([run(MLP, PROJECTED)], CPU)
    memory = Memory(1, 1, monkeypatch)
    with pytest.warns(RuntimeWarning) as caught:
        (record,) = train_within_memory([run(MLP, PROJECTED)], CPU)
    assert [str(warning.message) for warning in caught] == [
        "test: projected: 3 tangents at once do not fit in memory; trying 2.",
        "test: projected: 2 tangents at once do not fit in memory; trying 1.",
    ]
    assert memory.attempts == [(1, 3), (1, 2), (1, 1)]
    assert record.spec == expected.spec  # how it was computed is no part of what was computed
    assert measured(record, "score") == pytest.approx(measured(expected, "score"), rel=1e-5)


def test_a_run_that_does_not_fit_at_all_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Memory(0, 1, monkeypatch)
    with pytest.raises(OSError, match="does not fit") as caught:
        train_within_memory([run(MLP, FORWARD)], CPU)
    assert str(caught.value) == (
        "test: forward gradient does not fit in the memory of cpu alone. "
        "Use another device or a smaller scale."
    )

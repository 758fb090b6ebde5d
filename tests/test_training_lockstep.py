"""Training ends where published, and keeps step with loops that anyone would write."""

import dataclasses
import itertools
import math
from collections.abc import Callable

import pytest
import references
import torch
from references import descend, gradient, load_, train_classifier
from torch import Tensor, nn
from training_cases import (
    BACKPROPAGATION,
    BEALE,
    CNN,
    CPU,
    FORWARD,
    LOGISTIC,
    MLP,
    PROJECTED,
    ROSENBROCK,
    curve,
    measured,
    one,
    run,
)

from repro import problems
from repro.problems.classification import ClassificationProblem
from repro.problems.closed_form import FUNCTIONS
from repro.protocol import Classification, ClosedForm, Component, Method, Replica, Training, use
from repro.training import tangent_generator

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

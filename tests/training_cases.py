"""Short runs of small problems, trained here and now, and what their records say, for tests of training."""

import torch

from repro.protocol import (
    Classification,
    ClosedForm,
    Method,
    Problem,
    RunSpec,
    Sampling,
    Training,
    settings,
    use,
)
from repro.results import Record
from repro.training import train

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

"""A small study, with runs of every kind and a searched experiment, to be changed by tests."""

import dataclasses
from typing import Any

from repro import protocol
from repro.protocol import (
    Classification,
    ClosedForm,
    Experiment,
    LogUniform,
    Method,
    Plan,
    RunSpec,
    Sampling,
    Search,
    SearchSpace,
    Study,
    Timing,
    Training,
    Trial,
    settings,
    use,
)

NETWORK = Classification("images", "digits", use("mlp", width=8, depth=1), 16, "unit", 100)
QUADRATIC = ClosedForm("bowl", "beale", (0.0, 0.5))
FORWARD = Method("forward", use("forward_gradient", num_tangents=1, tangents="normal"), use("sgd"))
BACK = Method("back", use("backpropagation"), use("adam", beta1=0.9))


def run(task: protocol.Task = Training(10, 5), problem: protocol.Problem = NETWORK) -> RunSpec:  # noqa: B008
    return RunSpec(
        study="someone2022",
        arm="published",
        scale="full",
        experiment="images",
        role="report",
        problem=problem,
        method=FORWARD,
        hyperparameters=settings(learning_rate=0.1, decay=1e-4),
        repetition=0,
        task=task,
    )


RUNS = (run(), run(Timing(3, 1, "cpu", 1)), run(Sampling(4), QUADRATIC))
TRIAL_RUN = dataclasses.replace(run(), role="tune", trial=Trial(3, "digest"))


def experiment(name: str, arm: str = "published", **plans: Plan) -> Experiment:
    full = Plan(NETWORK, Training(100, 10), 5)
    smoke = Plan(NETWORK, Training(2, 1), 1)
    declared: dict[str, Any] = {"smoke": smoke, "reduced": full, "full": full, **plans}
    return Experiment(name, arm, (BACK, FORWARD), (settings(learning_rate=0.1),), **declared)


TIMED = Plan(NETWORK, Timing(3, 1, "cpu", 1), 1)


STUDY = Study(
    "someone2022",
    "Someone 2022",
    (),
    (
        experiment("first"),
        experiment("second", "tuned"),
        Experiment(
            "cost",
            "published",
            (BACK,),
            (settings(learning_rate=0.1),),
            TIMED,
            TIMED,
            TIMED,
        ),
    ),
    (),
)


SPACE = SearchSpace((("learning_rate", LogUniform(1e-6, 10.0)),))


def searched(name: str, arm: str = "tuned", **options: Any) -> Experiment:
    """An experiment whose methods find their rates; searched at every scale."""
    task = Training(100, 10, precision="float64", test_every=20)
    search = Search(SPACE, 4, repetitions=2)
    plans = {
        "smoke": Plan(NETWORK, Training(2, 1), 1, Search(SPACE, 2)),
        "reduced": Plan(NETWORK, task, 2, search),
        "full": Plan(NETWORK, task, 3, search),
    }
    given = {"hyperparameters": (settings(),), **plans, **options}
    return Experiment(name, arm, (BACK, FORWARD), **given)

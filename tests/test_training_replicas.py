"""Runs that train together are the runs that train alone, paired across methods, and one that diverges spoils no other."""

import dataclasses
import itertools

import pytest
import torch
from references import descend, gradient
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

from repro.problems.closed_form import FUNCTIONS
from repro.protocol import Method, Problem, RunSpec, Sampling, Training, Trial, expand, settings
from repro.training import replica_group, tangent_generator, train
from studies import baydin2022

# Replicas and pairing


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

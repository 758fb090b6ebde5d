"""Early stopping: the rule of Flügel et al. (2024), replica by replica, and both epochs that could be reported."""

import dataclasses
import itertools
import math
from pathlib import Path

import pytest
import torch
from small_runs import comparable
from test_checkpoints import stopping_after

from repro import results
from repro.checkpoints import Checkpoints
from repro.protocol import (
    Classification,
    ClosedForm,
    Comparison,
    Experiment,
    LogUniform,
    Method,
    Plan,
    RunSpec,
    Search,
    SearchSpace,
    Training,
    Trial,
    parse_run,
    settings,
    use,
)
from repro.results import Record
from repro.stopping import EarlyStopping
from repro.training import Interrupted, train

CPU = torch.device("cpu")
EPOCH = 5
MLP = Classification(
    "digits early", "digits", use("mlp", width=16, depth=1), 32, "unit", validation_size=297
)
FORWARD = Method("forward gradient", use("forward_gradient"), use("sgd"))
BACKPROPAGATION = Method("backpropagation", use("backpropagation"), use("sgd"))
LONG = Training(200, evaluate_every=EPOCH, keep_losses=False)
EARLY = dataclasses.replace(LONG, early_stopping=2, validation_limit=10.0)


def run(
    rate: float = 0.05, task: Training = EARLY, method: Method = FORWARD, repetition: int = 0
) -> RunSpec:
    return RunSpec(
        "s", "published", "full", "e", "report", MLP, method,
        settings(learning_rate=rate), repetition, task,
    )  # fmt: skip


def validation(record: Record) -> dict[int, float]:
    (curve,) = (c for c in record.curves if (c.split, c.metric) == ("validation", "loss"))
    return dict(zip(curve.steps, curve.values, strict=True))


def stop_naively(losses: dict[int, float], patience: int) -> tuple[int, int]:
    """Return the steps of the last and of the best evaluation, as the authors' code finds them."""
    lowest, best, waited = math.inf, 0, 0
    for step, loss in losses.items():
        if loss < lowest:
            lowest, best, waited = loss, step, 0
        else:
            waited += 1
            if waited >= patience:
                return step, best
    return max(losses), best


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
def test_a_run_ends_where_a_plain_loop_ends(rate: float) -> None:
    (undisturbed,) = train([run(rate, LONG)], CPU)
    losses = validation(undisturbed)
    last, best = stop_naively(losses, 2)
    assert last < LONG.num_steps, "this run has to stop early to test anything"
    (record,) = train([run(rate)], CPU)
    found = record.measured
    assert record.status == "done"
    assert (found["num_steps"], found["best_step"]) == (last, best)
    assert validation(record) == {step: loss for step, loss in losses.items() if step <= last}
    assert found["validation_loss"] == losses[last]
    assert found["score"] == found["best_validation_loss"] == losses[best]


@pytest.mark.parametrize("which", ["last", "best"])
def test_both_epochs_are_those_of_a_run_that_ends_there(which: str) -> None:
    (record,) = train([run()], CPU)
    step = {"last": record.measured["num_steps"], "best": record.measured["best_step"]}[which]
    assert isinstance(step, (int, float))
    assert step > 0
    (there,) = train([run(task=dataclasses.replace(LONG, num_steps=int(step)))], CPU)
    prefix = {"last": "", "best": "best_"}[which]
    for metric in ("validation_loss", "validation_accuracy", "test_loss", "test_accuracy"):
        assert record.measured[prefix + metric] == there.measured[metric], metric
    if which == "last":
        assert record.measured["train_loss"] == there.measured["train_loss"]
        assert record.measured["parameter_norm"] == there.measured["parameter_norm"]


def test_the_best_epoch_has_the_running_statistics_that_it_had() -> None:
    network = dataclasses.replace(MLP, network=use("resnet18", channels=2))
    spec = dataclasses.replace(run(0.1, method=BACKPROPAGATION), problem=network)
    (record,) = train([spec], CPU)
    best = record.measured["best_step"]
    assert isinstance(best, float)
    assert 0 < best < record.measured["num_steps"]  # type: ignore[operator]
    there = dataclasses.replace(spec, task=dataclasses.replace(LONG, num_steps=int(best)))
    (ended,) = train([there], CPU)
    assert record.measured["best_test_loss"] == ended.measured["test_loss"]


def test_replicas_end_one_by_one_as_they_would_alone() -> None:
    specs = [run(rate, repetition=r) for rate, r in itertools.product((0.02, 0.05, 0.08), (0, 1))]
    together = train(specs, CPU)
    assert len({record.measured["num_steps"] for record in together}) > 2
    for spec, record in zip(specs, together, strict=True):
        (alone,) = train([spec], CPU)
        assert alone.measured["num_steps"] == record.measured["num_steps"]
        for metric in ("best_step", "best_test_loss", "test_loss", "train_loss", "score"):
            assert record.measured[metric] == pytest.approx(alone.measured[metric], rel=1e-4)


def test_what_becomes_of_an_ended_replica_is_not_looked_at() -> None:
    early = EarlyStopping(1, 10.0, 2)
    point = torch.tensor([[1.0], [1.0]])
    assert early.note(0, torch.tensor([2.0, 2.0]), [True, True], [point]) == ([], [])
    assert early.note(5, torch.tensor([3.0, 1.0]), [True, True], [2 * point]) == ([0], [])
    assert early.note(10, torch.tensor([0.1, 0.5]), [False, True], [3 * point]) == ([], [])
    assert early.best_step == [0, 10]
    assert early.best()[0].flatten().tolist() == [1.0, 3.0]
    assert early.lowest.tolist() == [2.0, 0.5]


def test_equal_losses_are_no_improvement() -> None:
    early = EarlyStopping(2, 0.0, 1)
    point = [torch.zeros(1, 1)]
    ended = [early.note(step, torch.tensor([1.0]), [True], point)[0] for step in range(3)]
    assert ended == [[], [], [0]]
    assert early.best_step == [0]


def test_without_patience_nothing_ends() -> None:
    early = EarlyStopping(0, 0.0, 1)
    point = [torch.zeros(1, 1)]
    ended = [early.note(step, torch.tensor([1.0]), [True], point) for step in range(5)]
    assert ended == [([], [])] * 5


def test_what_was_kept_stays_as_it_was_while_both_go_on() -> None:
    def see(early: EarlyStopping, step: int, *losses: float) -> tuple[list[int], list[int]]:
        point = torch.full((2, 1), float(step))
        return early.note(step, torch.tensor(losses), [True, True], [point])

    early, other = EarlyStopping(2, 0.0, 2), EarlyStopping(2, 0.0, 2)
    see(early, 0, 2.0, 1.0)
    see(early, 5, 1.0, 1.5)
    kept = early.state_dict()
    for turn in range(2):
        other.restore(kept, torch.zeros(()))
        assert see(other, 10, 0.5, 0.75 + turn) == ([1] * turn, [])
        assert see(early, 10, 0.25, 0.25) == ([], [])
        assert other.best_step == [10, 0 if turn else 10]
        assert other.lowest.tolist() == [0.5, 1.0 if turn else 0.75]
        assert other.best()[0].flatten().tolist() == other.best_step


@pytest.mark.parametrize("loss", [10.0, math.inf, math.nan])
def test_a_loss_at_the_limit_diverges(loss: float) -> None:
    early = EarlyStopping(3, 10.0, 1)
    assert early.note(0, torch.tensor([loss]), [True], [torch.zeros(1, 1)]) == ([], [0])
    assert early.best_step == [0]


def test_a_run_above_the_limit_is_a_diverged_row() -> None:
    (record,) = train([run(1e3, method=BACKPROPAGATION)], CPU)
    assert record.status == "diverged"
    assert record.measured["score"] == EARLY.loss_limit
    assert record.measured["diverged_step"] <= EPOCH  # type: ignore[operator]
    assert not {"test_loss", "best_test_loss", "validation_loss"} & set(record.measured)


def test_a_limit_alone_stops_nothing_else() -> None:
    (record,) = train([run(0.01, dataclasses.replace(EARLY, early_stopping=0))], CPU)
    (undisturbed,) = train([run(0.01, LONG)], CPU)
    assert record.curves == undisturbed.curves
    assert "best_step" not in record.measured


def test_a_run_that_is_never_stopped_has_both_epochs_too() -> None:
    (record,) = train([run(0.05, dataclasses.replace(EARLY, num_steps=10))], CPU)
    (plain,) = train([run(0.05, dataclasses.replace(LONG, num_steps=10))], CPU)
    assert record.measured["num_steps"] == 10
    assert record.measured["test_loss"] == plain.measured["test_loss"]
    assert record.measured["best_step"] in (0.0, 5.0, 10.0)
    assert not {"best_step", "best_test_loss"} & set(plain.measured)


def test_trials_read_no_test_split() -> None:
    trial = dataclasses.replace(run(), role="tune", trial=Trial(0, "x"))
    (record,) = train([trial], CPU)
    assert not [name for name in record.measured if "test" in name]
    assert record.measured["score"] == record.measured["best_validation_loss"]


def test_stopped_at_every_look_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    specs = [run(rate) for rate in (0.02, 0.05, 0.08, 0.5)]  # the last one diverges
    undisturbed = train(specs, CPU)
    interruptions = 0
    while True:
        try:
            records = train(
                specs,
                CPU,
                should_stop=stopping_after(3),
                checkpoints=Checkpoints(tmp_path, 3600.0),
            )
        except Interrupted:
            interruptions += 1
        else:
            break
    assert interruptions > 3
    assert list(map(comparable, records)) == list(map(comparable, undisturbed))


# Declarations


def test_a_trial_ends_where_its_reported_run_would() -> None:
    search = Search(SearchSpace((("learning_rate", LogUniform(1e-2, 1.0)),)), 2)
    plan = Plan(MLP, EARLY, 1, search)
    experiment = Experiment("e", "tuned", (FORWARD,), (settings(),), plan, plan, plan)
    comparison = Comparison("s", experiment, "full")
    values = settings(learning_rate=0.1)
    (trial,) = comparison.trial_runs(FORWARD, Trial(0, "x"), values)
    (reported,) = comparison.report_runs(FORWARD, values)
    assert trial.task == reported.task == EARLY


def test_older_runs_keep_their_keys() -> None:
    text = run(task=LONG).canonical_json()
    assert "early_stopping" not in text
    assert "validation_limit" not in text
    assert parse_run(run().canonical_json()).task == EARLY


def test_older_files_lack_the_columns_and_read_as_missing() -> None:
    columns = {name for name in results.METRICS if name.startswith("best_")}
    assert columns <= set(results.LATER_COLUMNS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"early_stopping": -1}, r"`early_stopping` must be at least 0\. Found -1\."),
        ({"validation_limit": math.nan}, r"`validation_limit` must be at least 0"),
        (
            {"early_stopping": 2, "patience": 3},
            r"neither `patience` nor `test_every`.*Found 3 and 0",
        ),
        ({"early_stopping": 2, "test_every": 5}, r"ends by one rule.*Found 0 and 5\."),
    ],
)
def test_bad_rules(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Training(10, 5, **values)  # type: ignore[arg-type]


def test_a_function_has_no_validation_split() -> None:
    sphere = ClosedForm("f", "sphere", (1.0,))
    with pytest.raises(ValueError, match="needs a validation split"):
        train([dataclasses.replace(run(), problem=sphere)], CPU)

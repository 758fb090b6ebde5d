"""Exports as people hand them in, each with a fault that was planted: the fault is found, or what hides it is said."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from outsiders import of_rule

from repro.audit import several_files, stated, table_files, trials
from repro.audit.evidence import Evidence


def tensorboard(path: Path, num: int) -> Path:
    """Write one scalar of one run as TensorBoard's page saves it."""
    steps = range(num)
    pd.DataFrame(
        {
            "Wall time": [1.7e9 + 60 * i for i in steps],
            "Step": [100 * i for i in steps],
            "Value": [2.3 * 0.8**i for i in steps],
        }
    ).to_csv(path, index=False)
    return path


def test_a_scalar_of_tensorboard_is_a_log_and_its_rows_are_no_trials(tmp_path: Path) -> None:
    paths = [tensorboard(tmp_path / "sgd.csv", 10), tensorboard(tmp_path / "adam.csv", 20)]
    message = r"expected one row per run. Found runs in which 'Step' grows.*Add `--map step=Step`"
    with pytest.raises(ValueError, match=message):
        several_files.from_files(paths, {"score": "Value"})
    evidence = several_files.from_files(paths, {"score": "Value", "step": "Step"}, reported=True)
    assert of_rule(evidence, "repetitions")[0] == "fail"
    assert evidence.number("reported steps", "adam") == 1901


def test_few_rows_whose_time_grows_may_be_runs() -> None:
    rows = pd.DataFrame({"method": list("aabb"), "epoch": [3, 5, 2, 9], "score": [4.0, 3.0, 2.0, 1.0]})  # fmt: skip
    evidence = trials.from_table(rows, {}, "x")
    assert evidence.number("trials", "a") == 2
    assert any("every row is taken for a run" in note for note in evidence.notes)


def searched(score: str) -> pd.DataFrame:
    rows = [{"method": m, score: 0.5 + 0.1 * i, "lr": 10.0**-i} for m in "ab" for i in range(4)]
    return pd.DataFrame(rows)


def notes(evidence: Evidence) -> str:
    return " ".join(evidence.notes)


@pytest.mark.parametrize("score", ["test_loss", "test/loss", "loss_test", "Test loss"])
def test_a_search_on_what_is_called_a_test_score_is_pointed_out(score: str) -> None:
    columns = {"score": score, "params": "lr"}
    found = trials.from_table(searched(score), columns, "x")
    assert f"trials are scored by {score!r}, by its name a test score" in notes(found)
    assert of_rule(found, "selection")[0] == "unknown"  # a name is no proof
    facts = stated.parse_facts(["selection split=test"])
    told = trials.from_table(searched(score), columns, "x", facts=facts)
    assert "by its name" not in notes(told)
    assert of_rule(told, "selection")[0] == "fail"


@pytest.mark.parametrize("score", ["val_loss", "latest_loss", "greatest_error"])
def test_other_scores_are_not_called_test_scores(score: str) -> None:
    found = trials.from_table(searched(score), {"score": score, "params": "lr"}, "x")
    assert "by its name" not in notes(found)


def test_folds_of_scikit_learn_and_reported_runs_are_not_pointed_out() -> None:
    folds = searched("mean_test_score")
    columns = {"score": "mean_test_score", "params": "lr"}
    assert "by its name" not in notes(trials.from_table(folds, columns, "x", maximise=True))
    final = trials.from_table(searched("test_loss"), {"score": "test_loss"}, "x", reported=True)
    assert "by its name" not in notes(final)


@pytest.mark.parametrize("spread", ["std", "acc_std", "Std. dev", "stderr", "95% CI", "sem"])
def test_a_table_of_means_is_pointed_out(spread: str) -> None:
    means = pd.DataFrame({"Method": ["ours", "SGD"], "mean": [91.2, 90.3], spread: [0.1, 0.2]})
    columns = {"method": "Method", "score": "mean"}
    found = trials.from_table(means, columns, "x", maximise=True, reported=True)
    assert f"column {spread!r} seems to be the spread of repetitions" in notes(found)
    assert of_rule(found, "repetitions")[0] == "unknown"
    told = stated.parse_facts(["repetitions=5", "interval multiplier=1"])
    found = trials.from_table(means, columns, "x", maximise=True, reported=True, facts=told)
    assert of_rule(found, "repetitions")[0] == "warn"
    assert of_rule(found, "interval")[0] == "fail"
    runs = pd.concat([means] * 3)
    found = trials.from_table(runs, columns, "x", maximise=True, reported=True)
    assert "spread" not in notes(found)


def test_numbers_of_numpy_in_a_tracker_s_export_have_a_range(tmp_path: Path) -> None:
    lines = ["Name,State,config.lr,config.opt,loss"]
    for opt, rates in (("adam", [1e-5, 1e-4, 1e-3, 1e-2, 1e-1]), ("sgd", [1e-3, 1e-2])):
        lines += [
            f"{opt}-{lr},finished,np.float64({lr}),{opt},np.float32({0.5 - lr})" for lr in rates
        ]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(lines))
    table = table_files.read_table(path, "opt")
    evidence = trials.from_table(table, {"method": "opt", "score": "loss"}, "x")
    assert of_rule(evidence, "budget")[1].startswith("5 trials for adam, 2 trials for sgd")
    assert of_rule(evidence, "space")[1] == (
        "lr searched over observed [1e-05, 0.1] for adam, observed [0.001, 0.01] for sgd"
    )

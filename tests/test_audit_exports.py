"""Searches as trackers and libraries export them: understood, or one line that says how to mend it; verdicts by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from outsiders import UNSAMPLED, of_rule

from repro.audit import mapping, optuna_files, stated, table_files, trials
from repro.audit.evidence import Range
from repro.cli import DONE, FAILED, USAGE, main

RATES = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]


def searches(**numbers: int) -> list[dict[str, Any]]:
    """Return trials of each optimizer, best at 0.01, which lies in the middle of the rates."""
    return [
        {"opt": opt, "lr": RATES[n % 5], "loss": 0.1 + 0.01 * n + (math.log10(RATES[n % 5]) + 2) ** 2}
        for opt, num in numbers.items()
        for n in range(num)
    ]  # fmt: skip


# --- exports --------------------------------------------------------------------------------------------------


def wandb(k: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": f"run-{k}", "State": "finished" if row["lr"] < 1 else "crashed", "Created": "2026-01-01T00:00:00.000Z",
        "Runtime": 100, "config.lr": row["lr"], "config.seed": 1, "optimizer": row["opt"], "val_loss": row["loss"],
        "_step": 999,
    }  # fmt: skip


def wandb_raw(k: int, row: dict[str, Any]) -> dict[str, Any]:
    """Return a run as W&B itself keeps it: a value and a description of everything, beside state of its own."""
    config = {"lr": row["lr"], "optimizer": row["opt"], "seed": 1}
    return {
        "name": f"run-{k}", "state": "finished" if row["lr"] < 1 else "crashed", "summary.val_loss": row["loss"],
        **{f"config.{key}.{part}": value if part == "value" else None for key, value in config.items() for part in ("value", "desc")},
        "config._wandb.value": "{'cli_version': '0.16.0'}", "config._wandb.desc": None, "config.wandb_version": 1,
    }  # fmt: skip


def mlflow(k: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "run_id": f"{k:032x}", "status": "FINISHED" if row["lr"] < 1 else "FAILED", "params.lr": str(row["lr"]),
        "params.optimizer": row["opt"], "params.seed": "1", "metrics.val_loss": row["loss"] if row["lr"] < 1 else None,
        "start_time": "2026-01-01 00:00:00+00:00", "end_time": "2026-01-01 00:01:00+00:00",
    }  # fmt: skip


def ray(k: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "trial_id": f"t{k}", "training_iteration": 5, "time_total_s": 7.5, "val_loss": row["loss"], "config/lr": row["lr"],
        "config/optimizer": row["opt"], "config/seed": 1, "status": "TERMINATED" if row["lr"] < 1 else "ERROR",
    }  # fmt: skip


def keras(k: int, row: dict[str, Any]) -> dict[str, Any]:
    values = {"lr": row["lr"], "optimizer": row["opt"], "seed": 1}
    status = "COMPLETED" if row["lr"] < 1 else "INVALID"
    return {"trial_id": f"{k:02d}", "hyperparameters": {"values": values}, "score": row["loss"], "status": status}  # fmt: skip


@pytest.mark.parametrize(
    ("export", "suffix", "columns"),
    [
        (wandb, "csv", {"method": "optimizer", "score": "val_loss"}),
        (wandb_raw, "csv", {"method": "optimizer", "score": "val_loss"}),
        (wandb_raw, "csv", {"method": "config.optimizer.value", "score": "summary.val_loss", "params": "config.lr.value"}),
        (mlflow, "csv", {"method": "optimizer", "score": "metrics.val_loss"}),
        (mlflow, "csv", {"method": "optimizer", "score": "val_loss"}),
        (ray, "csv", {"method": "optimizer", "score": "val_loss"}),
        (ray, "jsonl", {"method": "config/optimizer", "score": "val_loss"}),
        (keras, "json", {"method": "optimizer"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("adam", "verdict"), [(10, "unknown"), (20, "fail")])
def test_exports_of_trackers_are_understood(
    export: Callable[[int, dict[str, Any]], dict[str, Any]],
    suffix: str,
    columns: dict[str, str],
    adam: int,
    verdict: str,
    tmp_path: Path,
) -> None:
    rows = [export(k, row) for k, row in enumerate(searches(adam=adam, sgd=10))]
    path = tmp_path / f"x.{suffix}"
    if suffix == "csv":
        pd.DataFrame(rows).to_csv(path, index=False, encoding="utf-8-sig")
    else:
        pd.DataFrame(rows).to_json(path, orient="records", lines=suffix == "jsonl")
    evidence = trials.from_table(table_files.read_table(path), columns, path.name)
    assert evidence.methods == ("adam", "sgd")
    assert (evidence.number("trials", "adam"), evidence.number("trials", "sgd")) == (adam, 10)
    assert evidence.number("best lr", "sgd") == 0.01
    assert [c for c in evidence.runs if str(c).startswith("param ")] == ["param lr"]
    assert set(evidence.runs["seed"]) <= {"1", ""}
    lost = evidence.runs[evidence.runs["param lr"] == 1]
    assert set(lost["status"]) == {"failed"}
    assert of_rule(evidence, "budget")[0] == verdict
    assert of_rule(evidence, "edge")[0] == "pass"
    assert "2 of 10 trials of sgd diverged or failed" in of_rule(evidence, "divergence")[1]


def test_a_grid_of_scikit_learn_is_maximised_and_needs_a_method(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cv.csv"
    pd.DataFrame(
        [
            {
                "mean_fit_time": 0.1, "param_estimator": name, "param_alpha": alpha, "params": str({"alpha": alpha}),
                "split0_test_score": score, "mean_test_score": score, "rank_test_score": 1,
            }
            for name in ("Ridge", "Lasso")
            for alpha, score in zip((0.01, 0.1, 1.0, 10.0, 100.0), (0.5, 0.6, 0.8, 0.6, 0.5), strict=True)
        ]
    ).to_csv(path, index=False)  # fmt: skip
    command = ["audit", "--csv", str(path)]
    assert main(command) == USAGE
    assert "which may be param_estimator (Ridge, Lasso)" in capsys.readouterr().err
    command += ["--map", "method=estimator,score=mean_test_score"]
    assert main(command) == USAGE
    assert "'mean_test_score' is larger where it is better" in capsys.readouterr().err
    assert main([*command, "--maximise"]) == DONE
    evidence = trials.from_table(
        table_files.read_table(path), mapping.parse_map(command[-1:]), "x", maximise=True
    )
    assert evidence.number("best alpha", "Lasso") == 1
    assert [c for c in evidence.runs if str(c).startswith("param ")] == ["param alpha"]


def test_a_pruned_trial_of_an_export_is_no_winner() -> None:
    frame = pd.DataFrame(searches(adam=5)).rename(columns={"lr": "params_lr"})
    frame["state"] = ["COMPLETE" if lr != 0.01 else "PRUNED" for lr in frame["params_lr"]]
    columns = {"method": "opt", "score": "loss"}
    assert trials.from_table(frame, columns, "x").number("best lr", "adam") == 0.001
    # a column of the same name that says something else is not read
    other = trials.from_table(frame.assign(state="Bavaria"), columns, "x")
    assert set(other.runs["status"]) == {"done"}


def test_decimal_commas_are_refused_and_whole_numbers_of_any_size_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('method,loss,params_lr\na,0.1,"0,01"\na,0.2,1\n')
    with pytest.raises(
        ValueError, match=r"Found '0,01' in row 1\. Write decimal points, not commas"
    ):
        trials.from_table(table_files.read_table(path), {"score": "loss"}, "x")
    digits = "1" + 30 * "0"
    path.write_text(f"method,loss,params_n\na,0.1,{digits}\na,0.2,1\na,0.3,1{400 * '0'}\n")
    evidence = trials.from_table(table_files.read_table(path), {"score": "loss"}, "x")
    assert of_rule(evidence, "edge")[0] == "unknown"
    path.write_text(f"method,loss,params_n\na,0.1,{digits}\na,0.2,1\n")
    evidence = trials.from_table(table_files.read_table(path), {"score": "loss"}, "x")
    assert evidence.number("searched to n", "a") == 1e30


# --- which way scores are better -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "score", ["acc", "val_acc", "Accuracy", "valAccuracy", "test/f1", "AUC", "metrics.top1", "neg_log_loss"]
)  # fmt: skip
def test_a_gain_is_not_minimised_unless_the_user_says_so(
    score: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.csv"
    frame = pd.DataFrame({"method": list("aabb"), score: [0.1, 0.9, 0.2, 0.3]})
    frame.assign(params_lr=[1, 2, 1, 2]).to_csv(path, index=False)
    command = ["audit", "--csv", str(path), "--map", f"score={score}"]
    assert main(command) == USAGE
    error = capsys.readouterr().err
    assert error == (
        f"repro: x.csv: the score {score!r} is larger where it is better, by its name. Say `--maximise`, or `--minimise` "
        "if that is not so.\n"
    )
    for option, best in (("--maximise", 0.9), ("--minimise", 0.1)):
        assert main([*command, option]) in (DONE, FAILED)
        table = table_files.read_table(path)
        evidence = trials.from_table(table, {"score": score}, "x", maximise=option == "--maximise")
        found = evidence.number("best search score", "a")
        assert found is not None
        assert evidence.as_given(found) == best


@pytest.mark.parametrize("score", ["val_loss", "accuracy_error", "rmse", "1-acc err", "Regret"])
def test_a_loss_is_minimised_without_a_word(score: str) -> None:
    frame = pd.DataFrame({"method": list("aabb"), score: [0.1, 0.9, 0.2, 0.3]})
    notes = trials.from_table(frame, {"score": score}, "x").notes
    assert not any("taken for better" in note for note in notes)
    named = trials.from_table(frame.rename(columns={score: "value"}), {"score": "value"}, "x")
    assert "smaller values of 'value' are taken for better ones; `--maximise` turns that" in (
        named.notes
    )


# --- one hyperparameter under the names of methods ------------------------------------------------------------


def conditional(names: dict[str, str]) -> pd.DataFrame:
    """Return trials whose rate is called otherwise for each method."""
    rows = searches(**{method.replace("-", "_"): 5 for method in names})
    called = dict(zip((m.replace("-", "_") for m in names), names.items(), strict=True))
    return pd.DataFrame(
        [
            {"opt": called[r["opt"]][0], "loss": r["loss"], f"params_{called[r['opt']][1]}": r["lr"]}
            for r in rows
        ]
    )  # fmt: skip


COLUMNS = {"method": "opt", "score": "loss"}


@pytest.mark.parametrize(
    "names",
    [
        {"sgd": "lr_sgd", "adam": "lr_adam"},
        {"SGD": "sgd_lr", "Adam": "adam.lr"},
        {"sgd": "lr", "adam": "lr_adam"},
        {"sgd": "lr_sgd", "sgd-momentum": "lr_sgd_momentum", "adam": "adam-lr"},
    ],
)
def test_names_of_methods_in_those_of_hyperparameters_are_understood(names: dict[str, str]) -> None:
    evidence = trials.from_table(conditional(names), COLUMNS, "x")
    assert evidence.names("searched from") == ("lr",)
    assert of_rule(evidence, "space") == (
        "pass",
        "lr over observed [0.0001, 1] for all" + UNSAMPLED,
    )
    assert any(" are taken for one hyperparameter, lr, named after" in n for n in evidence.notes)


def test_ranges_of_hyperparameters_go_by_the_name_that_they_share() -> None:
    frame = conditional({"sgd": "lr_sgd", "adam": "lr_adam"})
    rows = frame.rename(columns={"opt": "method", "loss": "score", "params_lr_sgd": "param lr_sgd", "params_lr_adam": "param lr_adam"})  # fmt: skip
    ranges = {("sgd", "lr_sgd"): Range(1e-2, 1, True), ("adam", "lr_adam"): Range(1e-5, 1, True)}
    evidence = trials.from_rows(rows, ranges, "x")
    assert of_rule(evidence, "space") == (
        "warn",
        "lr searched over [0.01, 1] for sgd, [1e-05, 1] for adam",
    )
    assert of_rule(evidence, "edge") == ("fail", "sgd: lr = 0.01 in [0.01, 1], at the lower bound")


def test_names_that_may_be_one_are_said_and_mapped(tmp_path: Path) -> None:
    frame = conditional({"NesterovSGD": "lr_nag", "AdamW": "lr_aw"})
    apart = trials.from_table(frame, COLUMNS, "x")
    assert of_rule(apart, "space")[0] == "unknown"
    assert apart.notes[0] == (
        "lr_nag of NesterovSGD alone, lr_aw of AdamW alone: compared with nothing; if they are one hyperparameter, say so "
        "by `--map 'param lr=lr_nag:lr_aw'`"
    )
    one = mapping.parse_map(["method=opt,score=loss", "param lr=lr_nag:lr_aw"])
    assert of_rule(trials.from_table(frame, one, "x"), "space")[0] == "pass"
    # what both methods have, or one method has twice, is not one by its name
    both = conditional({"sgd": "lr_sgd", "adam": "lr_adam"}).assign(params_lr=0.1)
    assert set(trials.from_table(both, COLUMNS, "x").names("searched from")) == {"lr_sgd", "lr_adam"}  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ("param lr=lr_sgd:lr_x", "no column 'lr_x' for 'param lr'"),
        ("param lr=lr_sgd:lr_adam,param rate=lr_sgd", "takes 'lr_sgd' for two hyperparameters, 'lr' and 'rate'"),
        ("param wd=lr_sgd:lr_adam", "a name that another hyperparameter has.* by `param wd=lr_sgd:lr_adam:wd`"),
        ("param =lr_sgd", "expects `param NAME=COLUMN:COLUMN`.* Found 'param =lr_sgd'"),
        ("param lr=:", "expects `param NAME=COLUMN:COLUMN`.* Found 'param lr=:'"),
        ("param lr=lr_sgd:wd", "row 1 has values of lr_sgd and wd, which `--map 'param lr='` takes for one"),
    ],
)  # fmt: skip
def test_names_that_are_not_one_hyperparameter_are_refused(pairs: str, message: str) -> None:
    frame = conditional({"sgd": "lr_sgd", "adam": "lr_adam"}).assign(params_wd=0.1)
    with pytest.raises(ValueError, match=message):
        trials.from_table(frame, COLUMNS | mapping.parse_map([pairs]), "x")


def test_a_map_with_a_blank_needs_quotes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.csv"
    conditional({"sgd": "rate_s", "adam": "rate_a"}).to_csv(path, index=False)
    command = ["audit", "--csv", str(path), "--map", "param", "lr=rate_s:rate_a"]
    assert main(command) == USAGE
    assert "in quotes where one has a blank. Found 'lr=rate_s:rate_a'" in capsys.readouterr().err


def write_conditional(path: Path, names: dict[str, str]) -> Path:
    """Write a journal of one study whose rate is called otherwise for each optimizer."""

    def of(kind: str, **attributes: object) -> str:
        return json.dumps({"name": kind, "attributes": attributes})

    opt = of("CategoricalDistribution", choices=list(names))
    rate = of("FloatDistribution", step=None, low=1e-4, high=1.0, log=True)
    lines: list[dict[str, object]] = [{"op_code": 0, "study_name": "s", "directions": [1]}]
    for n, row in enumerate(searches(**dict.fromkeys(names, 5))):
        own = {"trial_id": n, "op_code": 5}
        lines += [
            {"op_code": 4, "study_id": 0},
            {**own, "param_name": "optimizer", "param_value_internal": list(names).index(row["opt"]), "distribution": opt},
            {**own, "param_name": names[row["opt"]], "param_value_internal": row["lr"], "distribution": rate},
            {"op_code": 6, "trial_id": n, "state": 1, "values": [row["loss"]]},
        ]  # fmt: skip
    path.write_text("".join(json.dumps({"worker_id": "w", **line}) + "\n" for line in lines))
    return path


def test_a_conditional_study_is_said_how_to_read_and_then_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(write_conditional(tmp_path / "x.journal", {"sgd": "lr_sgd", "adam": "lr_adam"}))
    alone = optuna_files.from_storages([path], {})
    assert alone.notes[0] == (
        "one method only (s): nothing to compare it with; `--map method=optimizer` takes sgd, adam for methods"
    )
    assert of_rule(alone, "budget")[0] == "unknown"
    evidence = optuna_files.from_storages([path], {"method": "optimizer"})
    assert of_rule(evidence, "space") == ("pass", "lr over [0.0001, 1] for all" + UNSAMPLED)
    assert evidence.number("best lr", "adam") == 0.01
    path = str(write_conditional(tmp_path / "y.journal", {"sgd": "rate_s", "adam": "rate_a"}))
    columns = {"method": "optimizer", "param lr": "rate_s:rate_a"}
    evidence = optuna_files.from_storages([path], columns)
    assert of_rule(evidence, "space") == ("pass", "lr over [0.0001, 1] for all" + UNSAMPLED)
    assert main(["audit", "--optuna", path, "--map", "param lr=rate_s:rate_x"]) == USAGE
    assert "no hyperparameter 'rate_x', which `--map 'param lr='` names" in capsys.readouterr().err


# --- logs, in which a run has a row an epoch --------------------------------------------------------------------


def log(time: str, *, first: int = 0, **numbers: int) -> pd.DataFrame:
    """Return 4 rows of every run, whose score falls to the run's own."""
    return pd.DataFrame(
        [
            {
                "Name": f"run-{k}", "opt": row["opt"], "params_lr": row["lr"], time: first + e, "loss": row["loss"] + 3 - e,
                "seconds": 2.0 * (e + 1),
            }
            for k, row in enumerate(searches(**numbers))
            for e in range(4)
        ]
    )  # fmt: skip


@pytest.mark.parametrize(
    "time", ["_step", "training_iteration", "steps", "epochs", "trainer/global_step"]
)
def test_a_log_that_is_not_mapped_is_refused_with_the_map(time: str) -> None:
    key = "epoch" if "epoch" in time else "step"
    message = f"Found runs in which '{time}' grows, or falls, from row .* Add `--map {key}={time}`"
    rows = log(time, adam=5, sgd=5)
    for ordered in (rows, rows[::-1]):  # some export the latest rows first
        with pytest.raises(ValueError, match=message):
            trials.from_table(ordered.reset_index(drop=True), COLUMNS, "x")


@pytest.mark.parametrize(
    ("time", "columns"),
    [("epoch", {}), ("epoch", {"number": "Name"}), ("_step", {"step": "_step"}), ("_step", {"step": "_step", "number": "Name"})],
)  # fmt: skip
def test_the_last_row_of_a_run_is_its_score_and_its_length(
    time: str, columns: dict[str, str]
) -> None:
    unit = "epochs" if time == "epoch" else "steps"
    evidence = trials.from_table(log(time, adam=5, sgd=5), COLUMNS | columns, "x")
    assert len(evidence.runs) == 10
    assert evidence.number("best search score", "adam") == pytest.approx(0.12)
    assert evidence.number(f"trial {unit}", "adam") == 4
    assert evidence.number(f"search {unit}", "sgd") == 20
    assert set(evidence.runs["seconds"]) == {8.0}  # since a run began
    assert of_rule(evidence, "budget") == (
        "pass",
        f"5 trials for every method; 20 {unit} of search for every method",
    )
    uneven = trials.from_table(log(time, adam=5, sgd=3), COLUMNS | columns, "x")
    assert of_rule(uneven, "budget")[0] == "fail"
    counted = trials.from_table(log(time, first=1, adam=5, sgd=5), COLUMNS | columns, "x")
    assert counted.number(f"trial {unit}", "adam") == 4


def test_seconds_of_epochs_are_summed() -> None:
    frame = log("epoch", adam=5, sgd=5).assign(seconds=2.0)
    assert set(trials.from_table(frame, COLUMNS, "x").runs["seconds"]) == {8.0}


def test_seconds_of_a_run_that_was_taken_up_again_count_from_each_start() -> None:
    frame = log("epoch", adam=5, sgd=5)
    again = (frame["Name"] == "run-0") & (frame["epoch"] >= 2)
    frame.loc[again, "seconds"] -= 4.0
    found = trials.from_table(
        frame.sample(frac=1.0, random_state=0), COLUMNS | {"epoch": "epoch"}, "x"
    )
    assert set(found.runs["seconds"]) == {8.0}


def test_epochs_that_a_run_wrote_anew_are_to_be_left_out() -> None:
    frame = log("epoch", adam=5, sgd=5)
    frame.loc[2, "epoch"] = 1
    message = r"epoch 1 of one run of 'adam' appears twice \(rows 2, 3\)\. Where a run was taken up again, leave"
    with pytest.raises(ValueError, match=message):
        trials.from_table(frame, COLUMNS | {"epoch": "epoch", "number": "Name"}, "x")


def test_the_best_row_counts_where_it_selects() -> None:
    frame = log("epoch", adam=5, sgd=5)
    frame.loc[frame["epoch"] == 1, "loss"] -= 2.5
    best = stated.parse_facts(["selection moment=best"])
    for facts, score in (((), 0.12), (best, -0.38)):
        evidence = trials.from_table(frame, COLUMNS, "x", facts=facts)
        assert evidence.number("best search score", "adam") == pytest.approx(score)
        assert evidence.number("trial epochs", "adam") == 4


@pytest.mark.parametrize(
    ("facts", "scores", "told"),
    [
        ((), (0.12, 0.12), "the last row of a run with a score is its score"),
        (
            ("selection moment=best",),
            (-0.38, 0.12),
            "the best row of a trial with a score is its score, the last row of a reported run with a score is its score",
        ),
        (
            ("reported moment=best",),
            (0.12, -0.38),
            "the last row of a trial with a score is its score, the best row of a reported run with a score is its score",
        ),
        (
            ("selection moment=best", "reported moment=best"),
            (-0.38, -0.38),
            "the best row of a run with a score is its score",
        ),
    ],
)
def test_trials_and_reported_runs_of_a_log_have_moments_of_their_own(
    facts: tuple[str, ...], scores: tuple[float, float], told: str
) -> None:
    frame = log("epoch", adam=5, sgd=5)
    frame.loc[frame["epoch"] == 1, "loss"] -= 2.5
    both = pd.concat([frame.assign(role="tune"), frame.assign(role="report")], ignore_index=True)
    evidence = trials.from_table(both, COLUMNS, "x", facts=stated.parse_facts(facts))
    for role, score in zip(("tune", "report"), scores, strict=True):
        assert evidence.rows(role, "adam")["score"].min() == pytest.approx(score)
    assert any(f": {told}, and its largest epoch its length" in note for note in evidence.notes)


def test_rows_without_a_score_hide_no_run_and_a_run_that_diverges_has_none() -> None:
    frame = log("epoch", adam=5, sgd=5)
    trained = frame.assign(loss=np.nan)
    # a tracker writes what was trained on in rows of its own
    both = pd.concat([trained, frame]).sort_index(kind="stable").reset_index(drop=True)
    evidence = trials.from_table(both, COLUMNS, "x")
    assert len(evidence.runs) == 10
    assert set(evidence.runs["status"]) == {"done"}
    lost = frame.copy()
    lost.loc[(lost["params_lr"] == 0.01) & (lost["epoch"] == 3), "loss"] = np.nan
    lost.loc[lost["params_lr"] == 1, "loss"] = np.nan
    evidence = trials.from_table(lost, COLUMNS, "x")
    gone = evidence.runs[evidence.runs["status"] == "diverged"]
    assert sorted(gone["param lr"]) == [0.01, 0.01, 1, 1]
    assert evidence.number("best lr", "adam") == 0.001
    # a score every second step
    sparse = frame.assign(loss=frame["loss"].where(frame["epoch"] % 2 == 0))
    evidence = trials.from_table(sparse, COLUMNS | {"epoch": "epoch"}, "x")
    assert set(evidence.runs["status"]) == {"done"}


def test_runs_of_a_log_that_cannot_be_told_apart_are_refused() -> None:
    frame = pd.concat([log("epoch", adam=5, sgd=5)] * 2, ignore_index=True)
    columns = COLUMNS | {"epoch": "epoch"}
    message = r"epoch 0 of one run of 'adam' appears twice \(rows 1, 41\)\. Map `number` to the column that names a run"
    with pytest.raises(ValueError, match=message):
        trials.from_table(frame, columns, "x")
    frame.loc[3, "epoch"] = np.nan
    with pytest.raises(ValueError, match="row 4 has no epoch"):
        trials.from_table(frame, columns, "x")


def test_a_column_that_may_count_rows_of_runs_is_said() -> None:
    frame = log("epoch", adam=5, sgd=5).drop(columns="params_lr")
    evidence = trials.from_table(frame, COLUMNS, "x")
    assert any("`--map epoch=epoch,number=COLUMN` with the column that names" in n for n in evidence.notes)  # fmt: skip
    # one row a run, which ended where it ended
    summary = pd.DataFrame(searches(adam=5, sgd=5)).rename(columns={"lr": "params_lr"})
    told = trials.from_table(summary.assign(_step=100), COLUMNS, "x")
    assert not any("_step" in note for note in told.notes)
    # the same settings anew with more steps, each a trial that has a number
    halved = pd.concat([summary.assign(steps=s) for s in (1, 3, 9)], ignore_index=True)
    halved["number"] = halved.groupby("opt").cumcount()
    assert trials.from_table(halved, COLUMNS, "x").number("search steps", "adam") == 5 * 13


# --- what passes for something else -----------------------------------------------------------------------------


def test_rows_of_several_problems_are_no_search_of_one() -> None:
    frame = pd.concat([pd.DataFrame(searches(adam=5, sgd=5)).assign(dataset=d) for d in "xy"])
    message = (
        r"expected runs of one problem\. Found several in column 'dataset' \(x, y\)\. Audit the rows of one at a time, or "
        r"say `--map settings=dataset`"
    )
    columns = COLUMNS | {"params": "lr"}
    with pytest.raises(ValueError, match=message):
        trials.from_table(frame, columns, "x")
    told = trials.from_table(frame, columns | {"settings": "dataset"}, "x")
    assert told.number("trials", "adam") == 10
    assert trials.from_table(frame[:10], columns, "x").number("trials", "adam") == 5
    # as a tracker writes it among the hyperparameters
    prefixed = frame.rename(columns={"dataset": "config.dataset", "lr": "config.lr"})
    with pytest.raises(ValueError, match=r"say `--map settings=config\.dataset`"):
        trials.from_table(prefixed, COLUMNS, "x")
    told = trials.from_table(prefixed, COLUMNS | {"settings": "config.dataset"}, "x")
    assert [c for c in told.runs if str(c).startswith("param ")] == ["param lr"]


def test_rows_that_repeat_settings_for_no_reason_are_said_and_copies_counted() -> None:
    columns = COLUMNS | {"params": "lr"}
    frame = pd.DataFrame(searches(adam=5, sgd=5)).assign(epochs=2)
    pasted = pd.concat([frame, frame[frame["opt"] == "adam"]], ignore_index=True)
    pasted = pd.concat(
        [pasted, frame[frame["opt"] == "sgd"].assign(loss=lambda t: t["loss"] + 0.01)]
    )
    evidence = trials.from_table(pasted.reset_index(drop=True), columns, "x")
    assert of_rule(evidence, "budget") == (
        "warn",
        "adam: 5 of 10 trials repeat the settings of another",
    )
    assert any(
        note.startswith("20 of 20 rows repeat a setting of their method") for note in evidence.notes
    )
    folds = pasted.reset_index(drop=True).assign(fold=[0] * 10 + [1] * 10)
    told = trials.from_table(folds, columns | {"seed": "fold"}, "x")
    assert told.number("trials", "adam") == 5
    assert not any("repeat a setting" in note for note in told.notes)


def test_blanks_around_the_name_of_a_method_are_none_of_it() -> None:
    frame = pd.DataFrame(searches(adam=5, sgd=5)).replace({"opt": {"sgd": "sgd "}})
    assert trials.from_table(frame, COLUMNS, "x").methods == ("adam", "sgd")


def test_a_blank_behind_a_comma_is_no_part_of_a_cell(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('method, loss, params_lr\na, 0.1, 1\n"b", 0.2, 2\n')
    table = table_files.read_table(tmp_path / "x.csv")
    assert list(table.columns) == ["method", "loss", "params_lr"]
    assert table["loss"].tolist() == [0.1, 0.2]

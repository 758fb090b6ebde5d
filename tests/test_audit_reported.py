"""Tables of final results, which have no trials: what they leave open, and what they show all the same."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import pytest
from outsiders import of_rule, statuses

from repro.audit import stated, trials
from repro.audit.evidence import Evidence


def final(**columns: Sequence[object]) -> pd.DataFrame:
    """Return six final results of two methods; `columns` have a value for each of them."""
    rows = {"method": ["bp"] * 6 + ["ours"] * 6, "seed": [*range(6)] * 2}
    told = {name: [a] * 6 + [b] * 6 for name, (a, b) in columns.items()}
    return pd.DataFrame({**rows, "score": [0.5 + i / 100 for i in range(12)], **told})


def read(table: pd.DataFrame, *facts: str, **columns: str) -> Evidence:
    told = stated.parse_facts(facts)
    return trials.from_table(table, columns, "x", reported=True, facts=told)


def test_a_table_without_trials_leaves_open_where_rates_come_from() -> None:
    evidence = read(final(lr=[0.1, 0.001]), params="lr")
    assert evidence.number("used lr", "ours") == 0.001
    assert of_rule(evidence, "baseline") == (
        "unknown",
        "not in the evidence: where the reported values come from",
    )
    # two values are not one, wherever they come from
    assert of_rule(evidence, "shared") == ("pass", "lr is not one unsearched value")


@pytest.mark.parametrize(
    ("origin", "found"),
    [
        ("search", ("pass", "lr comes from a search")),
        ("no search, our habit", ("fail", "lr of bp (0.1), ours (0.001): no search, our habit")),
    ],
)
def test_where_rates_come_from_may_be_stated(origin: str, found: tuple[str, str]) -> None:
    evidence = read(final(lr=[0.1, 0.001]), f"origin of lr={origin}", params="lr")
    assert of_rule(evidence, "baseline") == found


def test_methods_whose_value_has_another_origin_are_told_apart() -> None:
    rows = final(lr=[0.1, 0.001])
    tuned = rows.groupby("method").head(1).assign(role="tune", seed=7)
    again = tuned[tuned["method"] == "ours"].assign(seed=8)
    # the one has a trial, the other two at one setting: neither is a search
    both = pd.concat([rows.assign(role="report"), tuned, again], ignore_index=True)
    both["number"] = [float("nan")] * 12 + [0, 0, 1]
    evidence = trials.from_table(both, {"params": "lr"}, "x")
    assert of_rule(evidence, "baseline") == (
        "fail",
        "lr of bp (0.1): no search, one trial; lr of ours (0.001): no search, 2 trials at one setting",
    )


def test_a_method_without_trials_beside_one_that_has_them_was_not_searched() -> None:
    rows = final(lr=[0.1, 0.001]).assign(role="report")
    tuned = pd.DataFrame({"method": "ours", "role": "tune", "lr": [0.1, 0.01, 0.001], "score": [0.6, 0.5, 0.4]})  # fmt: skip
    evidence = trials.from_table(pd.concat([rows, tuned], ignore_index=True), {"params": "lr"}, "x")
    assert of_rule(evidence, "baseline") == ("fail", "lr of bp (0.1): no search")
    assert statuses(evidence)["shared"] == "pass"


def tracked(**columns: Sequence[object]) -> pd.DataFrame:
    """Return `final` with the names of columns that W&B writes."""
    return final(**columns).rename(columns={name: f"config.{name}" for name in columns})


def test_what_a_tracker_writes_beside_the_rate_is_compared() -> None:
    evidence = read(tracked(lr=[0.1, 0.001], precision=["32", "16-mixed"], width=[512, 512]))
    assert of_rule(evidence, "settings") == ("fail", "precision: 32 for bp, 16-mixed for ours")
    assert evidence.number("used lr", "bp") == 0.1
    assert evidence.number("ran with width", "bp") == 512
    assert evidence.fact("used width", "bp") is None
    assert of_rule(evidence, "shared") == ("pass", "lr is not one unsearched value")
    assert evidence.notes[0] == (
        "no row is a trial, and columns of which each method has one value are taken for settings: precision, width; if some "
        "were tuned for each method, name all that were, as by `--map params=lr:weight_decay`"
    )


@pytest.mark.parametrize("name", ["lr", "optimizer.lr", "learning_rate", "lr_sgd", "momentum", "beta1", "optimizer.betas", "eps"])  # fmt: skip
def test_numbers_of_the_optimizer_may_differ(name: str) -> None:
    evidence = read(tracked(**{name: [0.1, 0.001]}))
    assert evidence.number(f"used {name}", "bp") == 0.1
    assert statuses(evidence)["settings"] == "unknown"
    assert not any("taken for settings" in note for note in evidence.notes)


@pytest.mark.parametrize(
    "name", ["color", "width", "epochs_max", "weight_decay", "theta", "lr_scheduler", "warmup_lr"]
)
def test_other_numbers_are_settings(name: str) -> None:
    assert of_rule(read(tracked(**{name: [1, 2]})), "settings") == (
        "fail",
        f"{name}: 1 for bp, 2 for ours",
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [("run_name", ["a", "b"]), ("out_dir", ["x/1", "x/2"]), ("optimizer", ["BP-sgd", "Ours"])],
)
def test_names_of_runs_and_methods_are_no_settings(name: str, values: list[object]) -> None:
    assert statuses(read(tracked(**{name: values})))["settings"] == "unknown"


def test_what_a_method_lacks_or_varies_is_no_setting_of_it() -> None:
    table = tracked(nesterov=[True, None]).assign(**{"config.fold": [*range(6)] * 2})
    evidence = read(table)
    assert statuses(evidence)["settings"] == "unknown"
    assert evidence.word("used nesterov", "bp") == "True"


def test_a_map_of_hyperparameters_or_settings_is_taken_as_it_stands() -> None:
    table = tracked(lr=[0.1, 0.001], weight_decay=[0.1, 0.2], width=[1, 1])
    assert of_rule(read(table), "settings")[0] == "fail"
    assert statuses(read(table, params="lr:weight_decay"))["settings"] == "unknown"
    assert of_rule(read(table, settings="width"), "settings") == (
        "pass",
        "config.width: 1 for all",
    )


def read_roles(table: pd.DataFrame) -> Evidence:
    return trials.from_table(table, {"role": "job"}, "x")


def test_trials_make_a_tracker_s_columns_hyperparameters_again() -> None:
    table = tracked(lr=[0.1, 0.001], precision=["32", "16-mixed"]).assign(job="report")
    assert of_rule(read_roles(table), "settings")[0] == "fail"
    searched = read_roles(table.assign(job=["tune"] * 3 + ["report"] * 9))
    assert statuses(searched)["settings"] == "unknown"


@pytest.mark.parametrize(("unit", "other"), [("epochs", "steps"), ("steps", "epochs")])
def test_reported_runs_of_other_lengths_are_seen(unit: str, other: str) -> None:
    warned = ("warn", f"{unit} of a reported run: 12 for bp, 30 for ours")
    table = final(**{unit: [12, 30]})
    assert of_rule(read(table), "settings") == warned
    # equal settings do not hide it
    assert of_rule(read(table.assign(clip=1), settings="clip"), "settings") == warned
    # an epoch has more steps with smaller batches
    if unit == "epochs":
        assert of_rule(read(table.assign(**{other: 7})), "settings") == warned
    else:
        assert statuses(read(table.assign(**{other: 7})))["settings"] == "unknown"


@pytest.mark.parametrize("epochs", [[10, 11], [10, 10]])
def test_reported_runs_of_nearly_one_length_are_no_equal_settings(epochs: list[object]) -> None:
    assert of_rule(read(final(epochs=epochs)), "settings") == (
        "unknown",
        "not in the evidence: the settings of the runs",
    )


def test_runs_that_stop_early_may_differ_in_length() -> None:
    table = final(epochs=[12, 30])
    assert statuses(read(table, "early stopping patience=3"))["settings"] == "unknown"


def test_lengths_that_only_one_method_has_are_compared_with_nothing() -> None:
    table = final(epochs=[12, None], steps=[100, 200])
    assert of_rule(read(table), "settings") == (
        "warn",
        "steps of a reported run: 100 for bp, 200 for ours",
    )
    assert statuses(read(table.drop(columns="steps")))["settings"] == "unknown"


def test_reported_runs_of_a_search_differ_in_length_too() -> None:
    tuned = final(epochs=[10, 10], lr=[0.1, 0.2]).assign(role="tune")
    rows = final(epochs=[10, 40], lr=[0.1, 0.2]).assign(role="report", seed=range(20, 32))
    both = pd.concat([tuned, rows], ignore_index=True)
    evidence = trials.from_table(both, {"params": "lr"}, "x")
    assert of_rule(evidence, "settings") == (
        "warn",
        "epochs of a reported run: 10 for bp, 40 for ours",
    )

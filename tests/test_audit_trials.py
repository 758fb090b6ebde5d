"""Anybody's rows: what they are taken for, and what the rules say of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from outsiders import MAP, statuses, table, trials_of

from repro.audit import mapping, report, stated, trials


def test_larger_may_be_better() -> None:
    accuracy = table().assign(val_loss=lambda t: 1 - t["val_loss"])
    evidence = trials.from_table(accuracy, MAP, "x", maximise=True)
    assert evidence.number("best lr", "a") == 0.1
    assert evidence.number("best search score", "a") == pytest.approx(-0.7)


def test_scores_of_a_maximised_search_are_shown_as_they_were_given() -> None:
    rows = pd.DataFrame(
        {
            "method": ["a"] * 4 + ["b"] * 4, "score": [0.6, 0.9, 0.7, 0.8, 0.5, 0.55, 0.52, 0.6],
            "seconds": [1.0] * 8,
        }
    )  # fmt: skip
    facts = stated.parse_facts(["chance loss=2.3"])
    found = {
        f.rule.name: f
        for f in report.audit(trials.from_table(rows, {}, "x", maximise=True, facts=facts)).findings
    }
    assert "a 0.9, b 0.6 after 4 s of trials each" in [p.text for p in found["rank"].parts]
    # an accuracy is no loss: that it lies below that of guessing says nothing
    assert found["learned"].status == "unknown"
    assert found["learned"].text == (
        "a: was selected at 0.9, which is no loss in nats to compare with that of guessing; "
        "b: was selected at 0.6, which is no loss in nats to compare with that of guessing"
    )
    losses = rows.assign(score=-4 * rows["score"])
    turned = trials.from_table(losses, {}, "x", maximise=True, facts=facts)
    (learned,) = (f for f in report.audit(turned).findings if f.rule.name == "learned")
    assert (learned.status, learned.text) == (
        "warn",
        "a was selected at -2.4; guessing gives 2.3",
    )


def test_columns_of_optuna_s_own_export_need_a_map_of_two() -> None:
    frame = table().rename(columns={"lr": "params_lr", "trial": "number", "val_loss": "value"})
    evidence = trials.from_table(frame, {"method": "opt", "score": "value"}, "x")
    assert evidence.number("best lr", "a") == 0.1


def test_scores_that_are_missing_nan_or_infinite_are_divergence_and_said() -> None:
    frame = table()
    frame["val_loss"] = [np.nan, 0.3, np.inf, 0.6, -np.inf, None]
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.runs["status"].tolist() == [
        "diverged", "done", "diverged", "done", "diverged", "diverged",
    ]  # fmt: skip
    assert any("4 scores are missing, NaN or infinite" in note for note in evidence.notes)
    assert evidence.number("trials", "a") == 3  # they were budget
    assert evidence.number("best lr", "b") == 0.01


def test_one_method_and_no_reports_are_said() -> None:
    evidence = trials.from_table(table()[:3], MAP, "x")
    assert any("one method only (a)" in note for note in evidence.notes)
    assert any("no reported runs" in note for note in evidence.notes)


def test_a_stated_fact_counts() -> None:
    facts = stated.parse_facts(["selection split=test", "chance loss=2.3"])
    evidence = trials.from_table(table(), MAP, "x", facts=facts)
    assert statuses(evidence)["selection"] == "fail"
    assert evidence.number("chance loss", "a") == 2.3


def test_a_fact_that_says_what_the_rows_say_is_taken() -> None:
    facts = stated.parse_facts(
        ["trials=3", "trial epochs=5", "best lr=0.1", "searched from lr=0.01"]
    )
    assert statuses(trials.from_table(table(), MAP, "x", facts=facts))["budget"] == "pass"


def test_a_stated_seed_keeps_all_its_digits() -> None:
    columns: dict[str, Any] = {"method": ["a"] * 2, "score": [0.1, 0.2], "role": ["report"] * 2}
    rows = pd.DataFrame({**columns, "seed": [1234567, 1234567890123456781]})

    def separate(*seeds: str) -> str:
        facts = stated.parse_facts([f"tuning seed={seed}" for seed in seeds])
        return statuses(trials.from_table(rows, {}, "x", facts=facts))["seeds"]

    assert separate("1234567") == "fail"
    assert separate("1", "1234567890123456781") == "fail"
    assert separate("1", "1234567890123456780", "1234568") == "pass"


def test_a_word_among_numbers_is_said() -> None:
    frame = table().assign(lr=["0.01", "0.1", "1", "0.01", "default", "1"])
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.notes[0].startswith("lr: 'default' in row 5 is no number, so its values are")
    words = table().assign(lr=["low", "mid", "high", "low", "1", "high"])
    assert not any("is no number" in note for note in trials.from_table(words, MAP, "x").notes)


def test_columns_with_commas_and_colons_can_be_mapped() -> None:
    frame = table().rename(columns={"val_loss": "val/top1, %", "lr": "optim:lr"})
    frame = frame.assign(depth=[1, 2, 3] * 2)
    columns = mapping.parse_map(
        ["method=opt,score=val/top1, %,number=trial", "params=depth:optim:lr"]
    )
    assert columns["score"] == "val/top1, %"
    evidence = trials.from_table(frame, columns, "x", maximise=False)
    assert evidence.number("best optim:lr", "b") == 0.1
    assert evidence.number("best depth", "b") == 2


def test_states_of_wandb_are_understood() -> None:
    states = ["finished", "crashed", "killed", "failed", "running", "finished"]
    evidence = trials.from_table(table().assign(state=states), {**MAP, "status": "state"}, "x")
    assert evidence.runs["status"].tolist() == [
        "done", "failed", "failed", "failed", "running", "done",
    ]  # fmt: skip


def test_a_column_of_states_is_not_left_unread_for_one_strange_word() -> None:
    """Else the score of a run that crashed half-way would count."""
    states = ["finished", "crashed", "zombie", "finished", "finished", "finished"]
    with pytest.raises(
        ValueError, match=r"x: unknown status 'zombie' in row 3\. Choose from: done"
    ):
        trials.from_table(table().assign(State=states), MAP, "x")
    regions = ["NY", "OK", "TX", "CA", "WA", "OR"]
    evidence = trials.from_table(table().assign(State=regions), MAP, "x")
    assert set(evidence.runs["status"]) == {"done"}


@pytest.mark.parametrize(
    "times",
    [
        ["0 days 00:01:30", "0 days 00:01:30.500000", "1 days 00:00:00", "", "90", "00:01:30"],
        [pd.Timedelta(s, "s") for s in (90, 90.5, 86400)] + [pd.NaT, pd.Timedelta("90s"), pd.Timedelta("90s")],
    ],
    ids=["text", "parquet"],
)  # fmt: skip
def test_times_with_a_unit_are_seconds(times: list[Any]) -> None:
    evidence = trials.from_table(
        table().assign(duration=times), {**MAP, "seconds": "duration"}, "x"
    )
    expected = [90.0, 90.5, 86400.0, math.nan, 90.0, 90.0]
    np.testing.assert_allclose(evidence.runs["seconds"], expected, rtol=1e-12)


def test_what_a_table_leaves_out_or_writes_in_two_ways_is_said() -> None:
    frame = table().assign(
        opt=["SGD", "sgd", "SGD", "adam", "adam", "adam"],
        val_loss=[0.5, math.nan, 0.4, 0.6, 0.2, 0.7],
    )
    notes = trials.from_table(frame, {"method": "opt", "score": "val_loss"}, "x").notes
    assert "SGD, sgd differ only in case, and are taken for different methods" in notes
    assert "1 score is missing, NaN or infinite: counted as diverged" in notes
    assert trials.NO_PARAMS in notes
    final = trials.from_table(frame, {"method": "opt", "score": "val_loss"}, "x", reported=True)
    assert trials.NO_PARAMS not in final.notes
    assert trials.NO_PARAMS not in trials.from_table(frame, MAP, "x").notes


def test_dates_are_no_numbers() -> None:
    started = pd.date_range("2026-01-01", periods=6)
    frame = table().assign(started=started)
    evidence = trials.from_table(frame, {**MAP, "params": "lr:started"}, "x")
    assert evidence.fact("searched from started", "a") is None
    with pytest.raises(ValueError, match=r"needs numbers\. Found '2026-01-01"):
        trials.from_table(frame, {**MAP, "seconds": "started"}, "x")


def test_large_seeds_keep_all_their_digits() -> None:
    seeds = [20260001.0, 20260002.0, np.nan, np.nan]
    evidence = trials_of(
        method=["a", "a", "a", "a"], score=[0.1, 0.2, 0.3, 0.4],
        role=["report", "report", None, "tune"], seed=seeds, status=[None, "done", "done", None],
    )  # fmt: skip
    assert evidence.runs["seed"].tolist() == ["20260001", "20260002", "", ""]
    # a blank is what a missing column is: a trial, which ended as its score says
    assert evidence.runs["role"].tolist() == ["report", "report", "tune", "tune"]
    assert set(evidence.runs["status"]) == {"done"}


def test_numbers_of_one_search_for_several_methods_have_no_gaps() -> None:
    columns: dict[str, Any] = {"method": ["a", "b"] * 3, "score": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    assert statuses(trials_of(**columns, number=[0, 1, 2, 3, 4, 5]))["survivors"] == "pass"
    assert statuses(trials_of(**columns, number=[0, 1, 2, 3, 4, 6]))["survivors"] == "fail"


def test_trials_may_have_names() -> None:
    frame = table().assign(trial=["x_01", "x_00", "7"] * 2)
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.number("trials", "a") == 3
    assert statuses(evidence)["rank"] == statuses(trials.from_table(table(), MAP, "x"))["rank"]
    # no number tells whether a name is missing
    assert statuses(evidence)["survivors"] == "unknown"
    repeated = pd.concat([frame.assign(seed=0), frame.assign(seed=1)])
    twice = trials.from_table(repeated, MAP, "x")
    assert twice.number("trials", "a") == 3
    assert not any("no numbers" in note for note in twice.notes)
    epochs = pd.concat([frame, frame], ignore_index=True)
    message = (
        r"trial x_01 of 'a' appears twice \(rows 1, 7\)\. Remove the copies, map `epoch` where a row is one, map a column "
        "`seed` or `role` that tells them apart, or audit one problem at a time"
    )
    with pytest.raises(ValueError, match=message):
        trials.from_table(epochs, MAP, "x")

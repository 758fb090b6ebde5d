"""Anybody's rows: what they are taken for, and what the rules say of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from outsiders import MAP, UNSAMPLED, of_rule, statuses, table

from repro.audit import counting, mapping, report, stated, trials
from repro.audit.evidence import Evidence, Range, runs_frame


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


@pytest.mark.parametrize(
    ("epochs", "steps", "status", "text"),
    [
        (10, 100, "pass", ""),
        (10, 2000, "warn", "6000 steps of search for b, 300 steps of search for a"),
        (40, 100, "fail", "120 epochs of search for b, 30 epochs of search for a"),
    ],
)
def test_lengths_are_compared_in_epochs_and_in_steps(
    epochs: int, steps: int, status: str, text: str
) -> None:
    frame = table().assign(epochs=[10] * 3 + [epochs] * 3, steps=[100] * 3 + [steps] * 3)
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.number("search epochs", "b") == 3 * epochs
    assert evidence.number("trial steps", "b") == steps
    assert not any("steps" in note for note in evidence.notes)
    (finding,) = [f for f in report.audit(evidence).findings if f.rule.name == "budget"]
    assert finding.status == status
    assert text in finding.text


def test_stated_epochs_hide_no_steps() -> None:
    frame = table().assign(steps=[100] * 3 + [400] * 3)
    facts = stated.parse_facts(["trial epochs=10"])
    assert statuses(trials.from_table(frame, MAP, "x", facts=facts))["budget"] == "warn"
    assert statuses(trials.from_table(frame, MAP, "x"))["budget"] == "fail"


def test_trials_whose_length_is_known_of_some_methods_are_no_equal_budget() -> None:
    frame = table().assign(epochs=[10.0] * 3 + [np.nan] * 3)
    (finding,) = [
        f
        for f in report.audit(trials.from_table(frame, MAP, "x")).findings
        if f.rule.name == "budget"
    ]
    assert (finding.status, finding.text) == ("unknown", "trial epochs of b: not in the evidence")


def test_equal_counts_of_trials_of_unknown_length_are_no_equal_budget() -> None:
    told = (
        "unknown",
        "3 trials for every method, but their length is not in the evidence: `trial epochs` or `trial steps`",
    )
    assert of_rule(trials.from_table(table(), MAP, "x"), "budget") == told
    uneven = trials.from_table(table()[:5], MAP, "x")
    assert of_rule(uneven, "budget") == ("fail", "3 trials for a, 2 trials for b")
    facts = stated.parse_facts(["trial steps=100"])
    long = of_rule(trials.from_table(table(), MAP, "x", facts=facts), "budget")
    assert long == ("pass", "3 trials for every method; 300 steps of search for every method")


def test_one_method_has_no_budget_to_be_compared() -> None:
    evidence = trials.from_table(table()[:3].assign(epochs=10), MAP, "x")
    assert of_rule(evidence, "budget") == (
        "unknown",
        "3 trials for a, with no other method to compare; 30 epochs of search for a, with no other method to compare",
    )


@pytest.mark.parametrize(
    ("low", "high", "log", "inside", "outer"),
    [
        (1e-300, 1e300, True, 1.0, 1e290),
        (5e-324, 1.7e308, True, 1e-10, 1e-320),
        (-1.7e308, 1.7e308, False, 0.0, 1.6e308),
    ],
)
def test_ranges_wider_than_a_double_have_an_inside_and_an_edge(
    low: float, high: float, log: bool, inside: float, outer: float
) -> None:
    def found(best: float) -> dict[str, str]:
        rows = pd.DataFrame(
            {"method": ["a"] * 2 + ["b"] * 2, "score": [0.1, 0.2] * 2, "param lr": [best, inside] * 2}
        )  # fmt: skip
        ranges = {("a", "lr"): Range(low, high, log), ("b", "lr"): Range(low, high / 2, log)}
        return statuses(trials.from_rows(rows, ranges, "x"))

    assert found(inside)["edge"] == "pass"
    assert found(outer)["edge"] == ("fail" if log else "warn")
    assert found(inside)["space"] == "warn"


@pytest.mark.parametrize("column", ["epochs", "steps", "seconds"])
@pytest.mark.parametrize("beside", ["epochs", "seconds"])
def test_a_length_below_zero_is_refused(column: str, beside: str) -> None:
    frame = table().assign(**{beside: 5} | {column: [5, 5, -40, 5, 5, 5]})
    message = f"column '{column}' needs numbers of 0 or more. Found -40 in row 3"
    with pytest.raises(ValueError, match=message):
        trials.from_table(frame, MAP, "x")


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


def test_nothing_that_ended_in_time_is_said_of_a_slow_search() -> None:
    rows = [
        {"method": m, "number": n, "score": 1.0 / (1 + n) + (m == "b"), "seconds": 100.0 if m == "a" else 1.0}
        for m in "ab"
        for n in range(4)
    ]  # fmt: skip
    evidence = trials.from_rows(pd.DataFrame(rows), {}, "x")
    (finding,) = (f for f in report.audit(evidence).findings if f.rule.name == "rank")
    assert (finding.status, finding.text) == ("warn", "a none, b 1.25 after 4 s of trials each")


def trials_of(**columns: Any) -> Evidence:
    rows = pd.DataFrame(columns)
    return trials.from_table(rows, {name: name for name in columns if name in mapping.KEYS}, "x")


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


def test_of_trials_that_share_the_best_score_the_reported_one_is_the_winner() -> None:
    evidence = trials.from_table(
        pd.DataFrame(
            {
                "method": ["a"] * 5, "score": [0.95, 0.95, 0.9, 0.94, 0.95], "lr": [0.001, 0.01, 0.1, 0.01, 0.01],
                "role": ["tune"] * 3 + ["report"] * 2, "nesterov": [False, True, True, True, True],
            }
        ),
        {"params": "lr:nesterov"},
        "x",
        maximise=True,
    )  # fmt: skip
    assert evidence.number("best lr", "a") == 0.01
    assert statuses(evidence)["winner"] == "pass"
    assert evidence.fact("searched from nesterov", "a") is None  # no range of a yes and a no


def test_scores_of_few_digits_agree_by_chance_and_lost_ones_are_no_copies() -> None:
    def repetitions(scores: list[float]) -> str:
        runs: dict[str, Any] = {
            "method": ["a"] * 6,
            "score": scores,
            "role": ["report"] * 6,
            "seed": [*range(6)],
        }
        return statuses(trials_of(**runs))["repetitions"]

    assert repetitions([0.043, 0.043, 0.05, 0.069, 0.069, 0.041]) == "pass"
    assert repetitions([0.0431234, 0.0431234, 0.05, 0.069, 0.0692, 0.041]) == "fail"
    assert repetitions([0.043] * 6) == "warn"
    assert repetitions([np.inf, np.inf, 0.0512345, 0.069, 0.06912345, 0.041]) == "pass"


def test_copies_are_found_whichever_way_scores_are_better() -> None:
    def repetitions(
        scores: list[float], status: str = "done", *, maximise: bool
    ) -> tuple[str, str]:
        rows = pd.DataFrame(
            {
                "method": ["a"] * 6, "score": scores, "role": ["report"] * 6, "seed": [*range(6)],
                "status": [status] * 6,
            }
        )  # fmt: skip
        evidence = trials.from_table(rows, {}, "x", maximise=maximise)
        (found,) = (f for f in report.audit(evidence).findings if f.rule.name == "repetitions")
        return found.status, found.text

    copied = ("fail", "a: 5 repetitions equal another to the last digit")
    assert repetitions([0.93217] * 6, maximise=True) == copied
    assert repetitions([1 - 0.93217] * 6, maximise=False) == copied
    # what was given as negative is a value of a function, in which descents from one start may end
    for maximise in (True, False):
        assert repetitions([-39.16617] * 6, maximise=maximise)[0] == "pass"
    # the limit that stands for what diverged is no result
    assert repetitions([1000.00001] * 6, "diverged", maximise=False)[0] == "pass"
    for maximise in (True, False):
        assert repetitions([0.02] * 6, maximise=maximise) == (
            "warn",
            "a: all 6 repetitions score 0.02: copies, or too few digits to tell them apart",
        )


def sampled(b: list[float], *, log: bool = True) -> tuple[str, str]:
    """Return what `space` says of 20 rates of `a` over a declared range on a log scale, and of some of `b`."""
    a = list(np.logspace(-6, 1, 20))
    rows = pd.DataFrame(
        {
            "method": ["a"] * 20 + ["b"] * len(b), "param lr": [*a, *b],
            "score": np.linspace(0.5, 0.9, 20 + len(b)), "number": [*range(20), *range(len(b))],
        }
    )  # fmt: skip
    ranges = {("a", "lr"): Range(1e-6, 10, log=True), ("b", "lr"): Range(1e-6, 10, log=log)}
    found = report.audit(trials.from_rows(rows, ranges, "x")).findings
    return next((f.status, f.text) for f in found if f.rule.name == "space")


def test_a_range_is_the_same_on_the_same_scale_only() -> None:
    rates = list(np.logspace(-6, 1, 20))
    assert sampled(rates) == ("pass", "lr over [1e-06, 10] for all" + UNSAMPLED)
    told = ("warn", "lr sampled on a log scale for a, on a linear scale for b")
    assert sampled(list(np.linspace(1e-6, 10, 20)), log=False) == told


def test_ranges_that_differ_have_their_trials_a_decade_on_a_log_scale_alone() -> None:
    rows = pd.DataFrame(
        {"method": ["a"] * 8 + ["b"] * 8, "score": np.linspace(0.5, 0.9, 16), "lr": [*np.logspace(-4, 0, 8), *np.logspace(-2, 0, 8)],
         "momentum": [*np.linspace(0.1, 0.9, 8), *np.linspace(0.5, 0.9, 8)]}
    )  # fmt: skip
    evidence = trials.from_table(rows, {"params": "lr:momentum"}, "x")
    (space,) = (f for f in report.audit(evidence).findings if f.rule.name == "space")
    (rate, momentum) = (p.values for p in space.parts if p.status == "warn")
    assert rate == pytest.approx({"lr, trials a decade, a": 2, "lr, trials a decade, b": 4})
    assert momentum == {}


def test_the_scale_of_a_range_that_was_only_observed_is_a_guess() -> None:
    rows = pd.DataFrame(
        {
            "method": ["a"] * 5 + ["b"] * 5, "score": np.linspace(0.5, 0.9, 10),
            "lr": [0.1, 0.3, 0.5, 0.8, 1.0, 0.12, 0.3, 0.5, 0.8, 1.0],
        }
    )  # fmt: skip
    evidence = trials.from_table(rows, {"params": "lr"}, "x")
    assert (evidence.word("scale of lr", "a"), evidence.word("scale of lr", "b")) == (
        "log",
        "linear",
    )
    assert statuses(evidence)["space"] == "pass"


def test_a_grid_of_few_values_is_no_search_as_dense_as_one_of_many() -> None:
    few = list(np.logspace(-6, 1, 5))
    told = ("warn", "lr tried at 20 values in 20 trials for a, 5 values in 20 trials for b")
    assert sampled(few * 4) == told
    # fewer trials are the budget's, and no other way to sample
    assert sampled(few)[0] == "pass"
    assert sampled([*few, *np.logspace(-5, 0, 6)] * 2)[0] == "pass"


def grid(rates: list[float], seeds: int, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Return one row for every rate and seed, without numbers, seed by seed; the best rate is 0.01 but for noise."""
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {
                "method": "a", "role": "tune", "params_lr": rate, "seed": s, "steps": 10,
                "score": 1 + (np.log10(rate) + 2) ** 2 + noise * generator.normal(), "seconds": 1.0,
            }
            for s in range(seeds)
            for rate in rates
        ]
    )  # fmt: skip


def test_one_setting_under_several_seeds_is_one_trial() -> None:
    three = grid(list(np.logspace(-4, -1, 10)), 3)
    many = grid(list(np.logspace(-4, -1, 30)), 1).assign(method="b")
    evidence = trials.from_table(pd.concat([three, many], ignore_index=True), {}, "x")
    assert (evidence.number("trials", "a"), evidence.number("trials", "b")) == (10, 30)
    assert evidence.number("search steps", "a") == evidence.number("search steps", "b") == 300
    assert statuses(evidence)["budget"] == "fail"
    assert any(
        "one setting under several seeds is taken for one trial" in n for n in evidence.notes
    )
    assert not any("several seeds" in n for n in trials.from_table(many, {}, "x").notes)
    # with a seed that appears twice, or without seeds, a setting was tried again
    again = trials.from_table(pd.concat([three, three], ignore_index=True), {}, "x")
    assert again.number("trials", "a") == 20
    apart = trials.from_table(three.drop(columns="seed"), {}, "x")
    assert apart.number("trials", "a") == 30
    # whoever numbers trials says what one is
    told = trials.from_table(three.assign(number=range(30)), {}, "x")
    assert told.number("trials", "a") == 30


def test_a_trial_that_repeats_another_under_all_its_seeds_is_one_repeated_trial() -> None:
    rates = list(np.logspace(-4, -1, 10))
    rows = pd.concat([grid(rates, 3), grid(rates[:4], 3)], ignore_index=True)
    assert trials.from_table(rows, {}, "x").number("repeated trials", "a") == 4


@pytest.mark.parametrize("seed", range(5))
def test_the_winner_is_the_best_mean_over_seeds_and_no_lucky_one(seed: int) -> None:
    rows = grid(list(np.logspace(-4, 0, 9)), 3, noise=1.0, seed=seed)
    means = rows.groupby("params_lr")["score"].mean()
    best = float(means.index[int(means.argmin())])
    reported = pd.DataFrame(
        {"method": "a", "role": "report", "params_lr": best, "seed": range(100, 106), "score": 1.0}
    )
    evidence = trials.from_table(pd.concat([rows, reported]), {}, "x")
    assert evidence.number("best lr", "a") == best
    assert evidence.number("best search score", "a") == pytest.approx(means.min())
    assert statuses(evidence)["winner"] == "pass"


def test_a_stated_range_takes_the_place_of_what_was_seen() -> None:
    rows = pd.DataFrame(
        {"method": ["a"] * 4, "score": [0.4, 0.3, 0.2, 0.1], "lr": [0.1, 0.2, 0.3, 0.4]}
    )
    seen = trials.from_table(rows, {"params": "lr"}, "x")
    assert (seen.number("searched from lr", "a"), statuses(seen)["edge"]) == (0.1, "warn")
    facts = stated.parse_facts(["searched from lr=0.001", "searched to lr=10", "scale of lr=log"])
    told = trials.from_table(rows, {"params": "lr"}, "x", facts=facts)
    assert told.number("searched from lr", "a") == 0.001
    assert statuses(told)["edge"] == "pass"


def test_the_edge_of_a_range_that_was_only_observed_warns_and_a_declared_one_fails() -> None:
    rows = pd.DataFrame(
        {
            "method": ["a"] * 4 + ["b"] * 4, "score": [0.4, 0.3, 0.2, 0.1] * 2,
            "lr": [0.001, 0.01, 0.1, 1.0, 0.1, 0.2, 0.5, 1.0],
        }
    )  # fmt: skip

    def found(*facts: str) -> dict[str, tuple[str, str]]:
        told = stated.parse_facts(["equivalent lr=40", *facts])
        evidence = trials.from_table(rows, {"params": "lr"}, "x", facts=told)
        return {f.rule.name: (f.status, f.text) for f in report.audit(evidence).findings}

    seen = found()
    assert seen["edge"][0] == "warn"
    assert "a: lr = 1 in observed [0.001, 1], at the upper bound" in seen["edge"][1]
    assert "lr in observed [0.001, 1]; the bound binds" in seen["edge"][1]
    assert seen["space"][1] == "lr searched over observed [0.001, 1] for a, observed [0.1, 1] for b"
    told = found("searched from lr=0.001", "searched to lr=1", "scale of lr=log")
    assert told["edge"][0] == "fail"
    assert "lr = 1 in [0.001, 1], at the upper bound" in told["edge"][1]
    assert "lr in [0.001, 1]; the bound binds" in told["edge"][1]
    assert told["space"] == ("pass", "lr over [0.001, 1] for all" + UNSAMPLED)


def test_numbers_of_one_search_for_several_methods_have_no_gaps() -> None:
    columns: dict[str, Any] = {"method": ["a", "b"] * 3, "score": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    assert statuses(trials_of(**columns, number=[0, 1, 2, 3, 4, 5]))["survivors"] == "pass"
    assert statuses(trials_of(**columns, number=[0, 1, 2, 3, 4, 6]))["survivors"] == "fail"


def test_an_infinite_hyperparameter_bounds_no_range() -> None:
    frame = table().assign(lr=[0.01, 0.1, np.inf, 0.01, 0.1, 1.0])
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.number("searched to lr", "a") == 0.1
    assert statuses(evidence)["space"] == "warn"  # other ranges, and none of them fixed
    report_of_a = {"opt": "a", "val_loss": 0.3, "role": "report", "lr": np.inf, "seed": 9}
    tried = table().assign(lr=[0.1, np.inf, 1.0, 0.1, 1.0, 2.0], role="tune")
    told = trials.from_table(pd.concat([tried, pd.DataFrame([report_of_a])]), MAP, "x")
    assert told.word("best lr", "a") == told.word("used lr", "a") == "inf"
    (finding,) = [f for f in report.audit(told).findings if f.rule.name == "winner"]
    assert [part.text for part in finding.parts if part.method == "a"] == [
        "lr: found inf, used inf"
    ]
    never = table().assign(lr=np.inf)
    assert statuses(trials.from_table(never, MAP, "x"))["space"] == "unknown"


def test_trials_that_wait_are_no_trials_of_a_ranking() -> None:
    scores = {"a": [0.5, 0.4, 0.3, 0.2, 0.05, 0.1], "b": [0.4, 0.3, 0.25, 0.15, 0.1, 0.2]}
    rows = [
        {"method": m, "score": s, "number": i, "status": "done"}
        for m, own in scores.items()
        for i, s in enumerate(own)
    ]
    rows += [
        {"method": m, "score": None, "number": 6 + i, "status": "waiting"}
        for m in scores
        for i in range(20)
    ]
    for num in (len(rows), 12):
        (finding,) = [
            f
            for f in report.audit(trials.from_table(pd.DataFrame(rows[:num]), {}, "x")).findings
            if f.rule.name == "rank"
        ]
        assert finding.status == "warn"
        assert "a is ahead of b from trial 5 of 6 on" in finding.text


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


# What a table comes to, counted by hand


def of_two_methods() -> pd.DataFrame:
    """A search of three trials under two seeds, one trial beside it, and what was reported of both."""
    tune = {"role": "tune", "length": 10.0, "steps": 100.0, "seconds": 2.0}
    tried = ((0.01, (0.5, 0.75)), (0.1, (0.5, 0.25)), (1.0, (0.25, math.inf)))
    a: list[dict[str, Any]] = [
        {"method": "a", **tune, "number": n, "seed": seed, "score": score, "param lr": lr}
        for n, (lr, scores) in enumerate(tried)
        for seed, score in zip("pq", scores, strict=True)
    ]
    a[-1] |= {"status": "diverged", "length": 4.0}
    a.append(
        {"method": "a", **tune, "number": 3, "seed": "p", "status": "running", "param lr": 9.0}
    )
    report = {"role": "report", "param lr": 0.1, "length": 20.0, "steps": 200.0}
    a += [
        {"method": "a", **report, "seed": seed, "seconds": seconds}
        for seed, seconds in (("r", 3.0), ("s", 5.0), ("s", 4.0))
    ]
    for row in a:
        row |= {"param beta": 0.9, "setting batch": "32" if row["role"] == "tune" else "64"}
    b = {"method": "b", "score": 0.5, "param lr": 0.3, "param clip": math.inf}
    lengths = (("tune", 10.0), ("report", 30.0), ("report", 40.0))
    return runs_frame([*a, *({**b, "role": role, "length": length} for role, length in lengths)])


OF_TWO_METHODS = {
    "a": {
        "trials": 3.0,
        "repeated trials": 0.0,
        "trial epochs": 10.0,
        "search epochs": 54.0,
        "trial steps": 100.0,
        "search steps": 600.0,
        "best search score": 0.375,
        "searched from lr": 0.01,
        "searched to lr": 1.0,
        "scale of lr": "log",
        "tried values of lr": 3.0,
        "best lr": 0.1,
        "used lr": 0.1,
        "origin of lr": "search",
        "used beta": 0.9,
        "origin of beta": "no search, one value in all trials",
        "tuned with beta": 0.9,
        "tuned with batch": "32",
        "ran with batch": "64",
        "repetitions": 2.0,
        "reported epochs": 20.0,
        "reported steps": 200.0,
        "seconds": 4.0,
    },
    "b": {
        "trials": 1.0,
        "repeated trials": 0.0,
        "trial epochs": 10.0,
        "search epochs": 10.0,
        "best search score": 0.5,
        "used lr": 0.3,
        "origin of lr": "no search, one trial",
        "used clip": "inf",
        "origin of clip": "no search, one trial",
        "tuned with batch": "none",
        "ran with batch": "none",
        "repetitions": 2.0,
        "reported epochs": 40.0,
    },
}


def test_a_table_says_this_and_no_more() -> None:
    facts = counting.count(of_two_methods(), {}, "file", "epochs")
    for method, expected in OF_TWO_METHODS.items():
        found = {
            f.quantity: f.value if f.value is not None else f.text
            for f in facts
            if f.method == method
        }
        assert found == expected
    assert len(facts) == sum(map(len, OF_TWO_METHODS.values()))
    observed = {f.quantity for f in facts if f.item == counting.OBSERVED}
    assert observed == {"searched from lr", "searched to lr", "scale of lr"}
    assert {f.item for f in facts} == {"file", counting.OBSERVED}
    assert {f.source for f in facts} == {"file"}


@pytest.mark.parametrize(("log", "scale"), [(True, "log"), (False, "linear")])
def test_a_declared_range_stands_for_the_values_seen(log: bool, scale: str) -> None:
    declared = {("a", "lr"): Range(1e-3, 10.0, log)}
    facts = counting.count(of_two_methods(), declared, "file", "epochs")
    found = {f.quantity: f.value or f.text for f in facts if f.item == "declared range"}
    assert found == {"searched from lr": 1e-3, "searched to lr": 10.0, "scale of lr": scale}


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((1.0, 10.0), "log"),
        ((1.0, 9.9), "linear"),
        ((0.0, 10.0), "linear"),
        ((-1.0, 10.0), "linear"),
    ],
)
def test_a_range_of_positive_values_over_a_decade_is_taken_for_logarithmic(
    values: tuple[float, float], scale: str
) -> None:
    rows = runs_frame([{"method": "a", "score": v, "param lr": v} for v in values])
    facts = counting.count(rows, {}, "file")
    assert [f.text for f in facts if f.quantity == "scale of lr"] == [scale]


def test_a_trial_has_the_mean_score_and_all_the_time_of_its_runs() -> None:
    found = counting.trial_scores(
        of_two_methods().iloc[:6].assign(seconds=[1.0, 2.0, math.nan, 4.0, 5.0, 6.0])
    )
    expected = {
        "number": [0.0, 1.0, 2.0],
        "score": [0.625, 0.375, math.inf],
        "seconds": [3.0, 4.0, 11.0],
        "length": [20.0, 20.0, 14.0],
    }
    assert found.to_dict("list") == expected
    # a run that was pruned has no score of its own, whatever is written there
    pruned = of_two_methods().iloc[:2].assign(status=["done", "pruned"])
    assert counting.trial_scores(pruned)["score"].tolist() == [math.inf]


def searched_again(*runs: tuple[int, float]) -> pd.DataFrame:
    """Trials of one method, by number and score, in the order in which they were run."""
    rows = [
        {"method": "a", "number": number, "score": score, "param lr": 10.0**-number, "length": 5.0}
        for number, score in runs
    ]
    return runs_frame(rows)


FIRST = ((0, 3.0), (1, 1.0), (2, 2.0), (3, 2.5))


@pytest.mark.parametrize(
    ("more", "further"),
    [
        ([], 0),
        ([(1, 4.0), (2, 1.0)], 2),
        ([(1, 4.0)], 1),
        ([(2, 1.0)], 0),  # not the best at first: run again for another reason
        ([(1, 4.0), (1, 4.0), (2, 1.0)], 0),  # not the same number of times
        ([(1, 4.0), (2, 1.0), (3, 1.0), (0, 2.0)], 0),  # all of them
    ],
)
def test_the_best_trials_may_have_been_run_again(
    more: list[tuple[int, float]], further: int
) -> None:
    rows = searched_again(*FIRST, *more)
    assert (
        counting.further_runs(rows).tolist() == [False] * (len(rows) - further) + [True] * further
    )


def test_of_trials_that_were_run_again_the_best_is_the_winner() -> None:
    def facts(*more: tuple[int, float]) -> dict[str, Any]:
        found = counting.count(searched_again(*FIRST, *more), {}, "file")
        return {fact.quantity: fact.value for fact in found}

    once, again = facts(), facts((1, 4.0), (2, 2.2))
    assert (once["best search score"], once["best lr"]) == (1.0, pytest.approx(0.1))
    # the lucky one falls back to 2.5, and no other is asked
    assert (again["best search score"], again["best lr"]) == (
        pytest.approx(2.1),
        pytest.approx(0.01),
    )
    assert (again["trials"], again["search steps"]) == (4, 30.0)


@pytest.mark.parametrize(
    ("columns", "numbers"),
    [
        # numbers that are there stay
        ({"number": [4, 2, 4, 0]}, [4, 2, 4, 0]),
        # one that is missing says that none is to be trusted
        ({"number": [4, 2, 4, None]}, [0, 1, 2, 3]),
        ({"trial": ["b", "a", "b", "c"]}, [0, 1, 0, 2]),
        ({"trial": ["b", "a", "b", ""], "param lr": [1, 1, 1, 1]}, [0, 1, 2, 3]),
        # settings under several seeds, the third of them twice
        ({"param lr": [3, 1, 3, 3], "seed": ["p", "p", "q", "q"]}, [0, 1, 0, 2]),
        ({"param lr": [3, 1, 3, 3], "seed": ["p", "p", "q", ""]}, [0, 1, 2, 3]),
        ({"param lr": [3, 3, 3, 3], "setting n": [1, 2, 1, 2], "seed": [*"ppqq"]}, [0, 1, 0, 1]),
        # without a hyperparameter nobody knows what a trial is
        ({"setting n": [1, 2, 1, 2], "seed": [*"ppqq"]}, [0, 1, 2, 3]),
        ({"param lr": [None] * 4, "seed": [*"pqpq"]}, [0, 1, 2, 3]),
    ],
)
def test_rows_are_numbered_by_what_tells_trials_apart(
    columns: dict[str, list[Any]], numbers: list[int]
) -> None:
    rows = runs_frame(pd.DataFrame({"method": ["a"] * 4, "score": [0.5] * 4, **columns}))
    assert counting.numbered(rows)["number"].tolist() == numbers

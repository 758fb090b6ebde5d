"""Which rows are one trial, which trial wins, and which method is ahead: ties, seeds, copies, and what never ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from outsiders import statuses, trials_of

from repro.audit import report, trials


def test_nothing_that_ended_in_time_is_said_of_a_slow_search() -> None:
    rows = [
        {"method": m, "number": n, "score": 1.0 / (1 + n) + (m == "b"), "seconds": 100.0 if m == "a" else 1.0}
        for m in "ab"
        for n in range(4)
    ]  # fmt: skip
    evidence = trials.from_rows(pd.DataFrame(rows), {}, "x")
    (finding,) = (f for f in report.audit(evidence).findings if f.rule.name == "rank")
    assert (finding.status, finding.text) == ("warn", "a none, b 1.25 after 4 s of trials each")


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

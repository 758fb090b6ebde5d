"""What a table comes to, counted by hand."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest

from repro.audit import counting
from repro.audit.evidence import Range, runs_frame


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
        "search runs": 6.0,
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
        "search runs": 1.0,
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

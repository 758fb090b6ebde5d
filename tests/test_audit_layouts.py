"""Everyday layouts of somebody's results: what they say is read, and the unfairness that they hide is found."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from outsiders import of_rule

from repro.audit import direction, stated, table_files, trials
from repro.audit.evidence import Evidence, Range
from repro.audit.trials import from_rows

GRID = ((0.001, 0.9), (0.01, 0.4), (0.1, 0.8))
"""Rates and their scores: the best lies in the middle."""
SEEDS = range(1, 7)


def read(
    header: str, rows: Iterable[Sequence[object]], facts: Sequence[str] = (), **columns: str
) -> Evidence:
    """Return the evidence of rows under a header; further arguments are the map."""
    text = "\n".join([header, *(",".join(map(str, row)) for row in rows)])
    table = pd.read_csv(io.StringIO(text))
    return trials.from_table(table, columns, "x", facts=stated.parse_facts(facts))


# --- what is called what --------------------------------------------------------------------------------------


def test_an_objective_may_be_minimised_or_maximised() -> None:
    assert direction.by_name("objective") is None
    rows = [(m, *pair) for m, pair in product("ab", GRID)]
    notes = read("method,params_lr,objective", rows, score="objective").notes
    assert any("smaller values of 'objective' are taken for better ones" in note for note in notes)


@pytest.mark.parametrize("column", ["dataset_name", "config.dataset_name", "task-name", "data_set", "EnvName", "user_attrs_dataset"])  # fmt: skip
def test_several_problems_are_seen_under_common_names(column: str) -> None:
    rows = [(m, p, *pair) for m, p, pair in product("ab", ("mnist", "cifar"), GRID)]
    with pytest.raises(
        ValueError, match=f"one problem. Found several in column '{column}' \\(mnist, cifar\\)"
    ):
        read(f"method,{column},params_lr,score", rows)


def test_epochs_among_what_a_tracker_configured_are_the_length_of_runs() -> None:
    rows = [(m, e, *pair) for (m, e), pair in product((("a", 10), ("b", 30)), GRID)]
    evidence = read("method,config.epochs,config.lr,score", rows)
    told = "90 epochs of search for b, 30 epochs of search for a"
    assert of_rule(evidence, "budget") == ("fail", told)
    assert evidence.names("searched from") == ("lr",)
    # epochs that a search varied are a hyperparameter
    varied = [(m, 10 * (1 + i), *pair) for m in "ab" for i, pair in enumerate(GRID)]
    evidence = read("method,config.epochs,config.lr,score", varied)
    assert "epochs" in evidence.names("searched from")
    assert evidence.number("trial epochs", "a") is None
    # and so are those that a map calls one
    evidence = read("method,config.epochs,config.lr,score", rows, params="epochs:lr")
    assert evidence.number("tuned with epochs", "b") == 30


def test_a_column_that_nobody_reads_and_methods_differ_in_is_said() -> None:
    rows = [(m, size, *pair) for (m, size), pair in product((("a", 64), ("b", 256)), GRID)]
    header = "method,batch_size,lr,score"
    told = (
        "column 'batch_size' is not read, and every method has one value in it: 64 for a, 256 for b; if it is a setting, add "
        "`--map settings=batch_size`"
    )
    assert told in read(header, rows, params="lr").notes
    evidence = read(header, rows, params="lr", settings="batch_size")
    assert of_rule(evidence, "settings") == ("fail", "batch_size: 64 for a, 256 for b")
    assert not any("is not read" in note for note in evidence.notes)
    # a second name of the method is no setting
    named = [(m, f"{m}-v2", *pair) for m, pair in product("ab", GRID)]
    assert not any("is not read" in n for n in read("method,algo,lr,score", named, params="lr").notes)  # fmt: skip


def test_lists_of_one_number_are_numbers(tmp_path: Path) -> None:
    rows = [
        {"method": m, "vals": {"lr": [lr], "wd": [0.1] if m == "a" else []}, "score": score}
        for m, (lr, score) in product("ab", GRID)
    ]
    path = tmp_path / "trials.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    evidence = trials.from_table(table_files.read_table(path), {"params": "vals.lr:vals.wd"}, "x")
    assert evidence.number("best vals.lr", "a") == 0.01
    assert evidence.number("tuned with vals.wd", "a") == 0.1
    assert evidence.fact("tuned with vals.wd", "b") is None


# --- where values come from -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["PyTorch default", "none", "not searched", "searched", "3"])
def test_an_origin_is_a_search_or_none(value: str) -> None:
    with pytest.raises(ValueError, match=r"expects `search`, or `no search` and why. Found "):
        stated.parse_facts([f"origin of lr={value}"])


def test_no_search_may_be_written_large() -> None:
    facts = ["origin of lr=No search, PyTorch default"]
    rows = [(m, 0.001, seed, 0.5 + 0.01 * seed) for m in "ab" for seed in SEEDS]
    header = "method,role,params_lr,seed,score"
    evidence = read(header, [(m, "report", *more) for m, *more in rows], facts)
    told = "lr of a, b (0.001): no search, PyTorch default"
    assert of_rule(evidence, "baseline") == ("fail", told)


def test_a_fact_may_be_about_one_method() -> None:
    header = "method,role,params_lr,seed,score"
    rows = [
        (m, "report", lr, s, 0.5 + 0.01 * s)
        for (m, lr), s in product((("a", 0.1), ("b", 0.2)), SEEDS)
    ]
    own = ["a: origin of lr=no search, its paper's", "origin of lr=search", "b: trials=40"]
    evidence = read(header, rows, own)
    assert of_rule(evidence, "baseline") == ("fail", "lr of a (0.1): no search, its paper's")
    assert evidence.number("trials", "a") is None
    assert evidence.number("trials", "b") == 40
    with pytest.raises(ValueError, match=r"x: `--fact 'c: trials=...'` expects one of the methods a, b. Found 'c'"):  # fmt: skip
        read(header, rows, ["c: trials=40"])
    with pytest.raises(ValueError, match=r"as in `--fact 'a: origin of lr=search'`. Found 'origin of lr of a'"):  # fmt: skip
        read(header, rows, ["origin of lr of a=search"])
    with pytest.raises(ValueError, match="`--fact` states 'trials' of 'b' twice: 40 and 41"):
        stated.parse_facts(["b: trials=40", "a: trials=41", "b: trials=41"])
    with pytest.raises(ValueError, match=r"`--fact 'used lr=0.1'` contradicts what was read: 0.2 for 'b'"):  # fmt: skip
        read(header, rows, ["used lr=0.1"])
    assert read(header, rows, ["a: used lr=0.1"]).number("used lr", "b") == 0.2


def test_what_only_a_whole_comparison_has_is_not_stated_of_one_method() -> None:
    with pytest.raises(ValueError, match=r"is about the whole comparison. Found the method 'a'"):
        stated.parse_facts(["a: timed steps=100"])


def test_methods_of_a_log_may_have_moments_of_their_own() -> None:
    rows = [
        (m, lr, e, e, s + 0.1 * (e - 2) ** 2) for m, (lr, s), e in product("ab", GRID, (1, 2, 3))
    ]
    facts = ["a: selection moment=best", "b: selection moment=last"]
    table = pd.DataFrame(rows, columns=["method", "params_lr", "number", "epoch", "score"])
    more = {"epoch": "epoch", "number": "params_lr"}
    evidence = trials.from_table(table, more, "x", facts=stated.parse_facts(facts))
    assert [evidence.number("best search score", m) for m in "ab"] == [0.4, 0.5]
    assert any(
        "the last or best row of a run with a score is its score" in n for n in evidence.notes
    )


def test_a_range_of_one_method_is_held_against_its_own_trials() -> None:
    rows = [(m, f * lr, score) for (m, f), (lr, score) in product((("a", 1), ("b", 100)), GRID)]
    header = "method,params_lr,score"
    facts = ["a: searched from lr=0.0001", "a: searched to lr=1"]
    evidence = read(header, rows, facts)
    assert [evidence.number("searched to lr", m) for m in "ab"] == [1.0, 10.0]
    with pytest.raises(ValueError, match="leaves out lr = 10, which a trial tried"):
        read(header, rows, [f.removeprefix("a: ") for f in facts])
    with pytest.raises(ValueError, match=r"'searched from lr' below 'searched to lr'. Found 2 and 1"):  # fmt: skip
        stated.parse_facts(["a: searched from lr=2", "a: searched to lr=1"])


def test_a_hyperparameter_of_a_fact_that_no_column_has_is_said() -> None:
    rows = [(m, *pair) for m, pair in product("ab", GRID)]
    notes = read("method,params_lr,score", rows, ["origin of learning_rate=search"]).notes
    told = (
        "no column is 'learning_rate', of which `--fact 'origin of learning_rate=...'` speaks; hyperparameters and settings with "
        "a column: lr"
    )
    assert told in notes
    notes = read("method,params_lr,score", rows, ["scale of lr=log"]).notes
    assert not any("no column is" in note for note in notes)


# --- reported runs beside their search ------------------------------------------------------------------------


def reports(**tests: Sequence[object]) -> list[tuple[object, ...]]:
    """Return trials and reported runs, these with test scores alone."""
    tuned = [(m, "tune", lr, 0, score, "") for m, (lr, score) in product(tests, GRID)]
    every = [
        (m, "report", 0.01, s, "", test)
        for m, own in tests.items()
        for s, test in zip(SEEDS, own, strict=True)
    ]
    return [*tuned, *every]


HEADER = "method,role,params_lr,seed,val_loss,test_loss"
MAP = {"score": "val_loss", "test": "test_loss"}


def test_reported_runs_are_compared_by_their_test_scores() -> None:
    low, high = ([base + 0.001 * s**2 for s in SEEDS] for base in (0.5, 0.7))
    rows = reports(a=low, b=[score + 0.001 * (s % 2) for s, score in zip(SEEDS, high, strict=True)])
    evidence = read(HEADER, rows, **MAP)
    assert "reported runs are compared by 'test_loss', trials by 'val_loss'" in evidence.notes
    assert of_rule(evidence, "divergence")[0] == "pass"
    told = "1 of 1 differences significant, with and without correction"
    assert of_rule(evidence, "multiplicity") == ("pass", told)
    # validation scores beside them change nothing
    both = [(*row[:4], row[4] or 0.4, row[5]) for row in rows]
    assert of_rule(read(HEADER, both, **MAP), "multiplicity") == ("pass", told)


def test_a_reported_run_without_its_test_score_diverged() -> None:
    rows = reports(a=[0.5, 0.51, 0.52, 0.53, 0.54, ""], b=[0.6, 0.61, 0.62, 0.63, 0.64, 0.65])
    evidence = read(HEADER, rows, **MAP)
    assert of_rule(evidence, "divergence") == ("warn", "a: 1 of 6 reported runs diverged or failed")


def test_a_test_accuracy_beside_a_loss_is_larger_where_it_is_better() -> None:
    rows = reports(a=[0.9] * 6, b=[0.8] * 6)
    evidence = read(
        HEADER.replace("test_loss", "test_acc"), rows, score="val_loss", test="test_acc"
    )
    scores = {m: set(evidence.rows("report", m)["score"]) for m in "ab"}
    assert scores == {"a": {-0.9}, "b": {-0.8}}


def test_reported_runs_at_several_rates_are_neither_the_winner_nor_repetitions() -> None:
    tuned = [(m, "tune", lr, 0, score) for m, (lr, score) in product("ab", GRID)]
    ran = [(m, "report", 0.001 if m == "b" and s > 3 else 0.01, s, 0.4 + 0.01 * s) for m in "ab" for s in SEEDS]  # fmt: skip
    evidence = read("method,role,params_lr,seed,score", [*tuned, *ran])
    assert of_rule(evidence, "winner") == ("fail", "b: lr: found 0.01, used 0.01 or 0.001")
    told = "b: 6 reported runs at 2 values of lr: no repetitions of one setting"
    assert of_rule(evidence, "repetitions") == ("warn", told)
    assert evidence.word("origin of lr", "b") == "search"


# --- what is compared -----------------------------------------------------------------------------------------


def final(facts: Sequence[str] = (), **columns: Any) -> Evidence:
    """Return the evidence of reported runs, in order of methods and seeds, with further columns."""
    rows = [(m, "report", s, 0.5 + 0.01 * s) for m, s in product("ab", SEEDS)]
    table = pd.DataFrame(rows, columns=["method", "role", "seed", "score"]).assign(**columns)
    return trials.from_table(table, {}, "x", facts=stated.parse_facts(facts))


@pytest.mark.parametrize(
    ("facts", "rule", "told"),
    [
        (("reported split=train",), "selection", ("warn", "every method: only training scores are reported")),
        (("a: reported split=test", "b: reported split=train"), "selection", ("fail", "reported on test for a, train for b")),
        (
            ("a: selection moment=last", "a: reported moment=last", "b: selection moment=best", "b: reported moment=best"),
            "objective",
            ("fail", "selected by the evaluation: last for a, best for b; reported is the evaluation: last for a, best for b"),
        ),
        (("claim of cost=fast", "timed steps=9", "synchronised timing=1", "a: hardware=H200", "b: hardware=laptop"),
         "cost", ("warn", "timed on H200 for a, laptop for b")),
        (("tried values of lr=3",), "space", ("unknown", "not in the evidence: which ranges were searched")),
        (("trials=0",), "budget", ("unknown", "0 trials for every method, but their length is not in the evidence: `trial epochs` or `trial steps`")),
    ],
)  # fmt: skip
def test_facts_of_methods_are_held_against_each_other(
    facts: Sequence[str], rule: str, told: tuple[str, str]
) -> None:
    assert of_rule(final(facts), rule) == told


def test_rows_that_summarise_others_are_no_runs() -> None:
    seeds = [*range(1, 6), "mean"] * 2
    with pytest.raises(
        ValueError, match=r"x: expected a seed in row 6. Found 'mean' among numbers"
    ):
        final(seed=seeds)
    assert final(seed=[*"abcde", "mean"] * 2).number("repetitions", "a") == 6


@pytest.mark.parametrize("seed", ["[0, 1, 2]", "0-2", "1,2", "0..9"])
def test_several_seeds_in_a_cell_are_no_seed(seed: str) -> None:
    evidence = final(seed=[seed, 1, 2, 3, 4, 5] * 2)
    assert evidence.seeds("report", "a") == {"1", "2", "3", "4", "5"}
    assert any(f"seeds such as {seed!r} name several" in note for note in evidence.notes)


def test_a_column_that_divides_the_rows_of_every_method_is_said() -> None:
    evidence = final(model=["cnn", "mlp"] * 6, seed=[""] * 12)
    told = "column 'model' is not read, and divides the rows of every method alike (cnn, mlp)"
    assert any(told in note for note in evidence.notes)
    # a column may hold words and numbers
    notes = final(model=["cnn", 3] * 6, seed=[""] * 12).notes
    assert any("divides the rows of every method alike (3, cnn)" in note for note in notes)


def test_a_setting_that_differs_in_reported_runs_alone_is_said() -> None:
    tuned = [(m, "tune", lr, 0, score, False) for m, (lr, score) in product("ab", GRID)]
    ran = [(m, "report", 0.01, s, 0.4 + 0.01 * s, m == "b") for m in "ab" for s in SEEDS]
    notes = read("method,role,params_lr,seed,score,pretrained", [*tuned, *ran]).notes
    values = "False for a tune, False for b tune, False for a report, True for b report"
    assert any(f"column 'pretrained' is not read, and every method has one value in it: {values}" in n for n in notes)  # fmt: skip


def test_the_last_row_of_a_log_may_be_of_a_test_alone() -> None:
    rows: list[tuple[object, ...]] = [(m, e, 1.0 / e, "") for m in "ab" for e in range(1, 7)]
    rows += [(m, 7, "", 0.2) for m in "ab"]
    evidence = read("method,epoch,val_loss,test_loss", rows, score="val_loss", epoch="epoch")
    assert set(evidence.runs["status"]) == {"done"}
    assert evidence.runs["length"].unique().tolist() == [6.0]


def test_a_seed_that_was_run_again_is_one_run() -> None:
    rows = [(m, "report", f"{m}-{s}", s, 0.1 * s) for m in "ab" for s in SEEDS]
    rows += [("b", "report", "b-1-again", 1, 0.7)]
    evidence = read("method,role,number,seed,score", rows)
    told = ("pass", "no method has fewer reported runs than another: 6")
    assert of_rule(evidence, "survivors") == told


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (("a: searched from lr=2", "searched to lr=1"), "'searched from lr' below 'searched to lr'. Found 2 and 1"),
        (("a: reported examples=64", "reported split size=10"), "no larger than 'reported split size'. Found 64 and 10"),
        (("searched to lr=1", "b: best lr=5"), "'best lr' no larger than 'searched to lr'. Found 5 and 1"),
        (("searched from lr=1", "best lr=0.5"), "'searched from lr' no larger than 'best lr'. Found 1 and 0.5"),
    ],
)  # fmt: skip
def test_facts_of_a_method_and_of_all_may_not_exclude_each_other(
    facts: Sequence[str], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        stated.parse_facts(facts)
    assert stated.parse_facts(["searched from lr=0.1", "searched to lr=1", "best lr=1"])


def test_patience_that_differs_is_a_setting_that_differs() -> None:
    evidence = final(["a: early stopping patience=5", "b: early stopping patience=50"])
    told = ("fail", "early stopping patience: 5 for a, 50 for b")
    assert of_rule(evidence, "settings") == told


def test_a_reported_run_that_was_cut_short_is_said() -> None:
    notes = final(epochs=[10] * 11 + [3]).notes
    assert any("reported runs of b are 3 to 10 epochs long" in note for note in notes)
    assert not any("reported runs of a" in note for note in notes)


# --- searches that look alike ---------------------------------------------------------------------------------


def test_more_seeds_a_trial_are_more_runs() -> None:
    rows = [("a", lr, 0, score) for lr, score in GRID]
    rows += [("b", lr, s, score + 0.01 * s) for (lr, score), s in product(GRID, range(5))]
    evidence = read("method,params_lr,seed,score", rows)
    assert of_rule(evidence, "budget") == ("fail", "15 runs of trials for b, 3 runs of trials for a")  # fmt: skip
    # where lengths are known, they say it
    longer = [(*row, 5 if row[0] == "a" else 1) for row in rows]
    evidence = read("method,params_lr,seed,score,epochs", longer)
    assert of_rule(evidence, "budget") == ("pass", "3 trials for every method; 15 epochs of search for every method")  # fmt: skip


def test_a_hyperparameter_that_one_method_alone_has_is_said_unless_it_is_its_optimizer_s() -> None:
    rows: list[tuple[object, ...]] = [("a", lr, "", score) for lr, score in GRID]
    rows += [("b", lr, i / 10, score) for i, (lr, score) in enumerate(GRID)]
    evidence = read("method,params_lr,params_dropout,score", rows)
    assert of_rule(evidence, "space") == ("warn", "dropout searched for b, and a without any")
    evidence = read("method,params_lr,params_momentum,score", rows)
    assert of_rule(evidence, "space")[0] == "pass"
    words = [(m, lr, "" if m == "a" else "on" if s else "off", score + s)
             for m, (lr, score), s in product("ab", GRID, (0, 1))]  # fmt: skip
    evidence = read("method,params_lr,params_augment,score", words)
    assert of_rule(evidence, "space") == ("warn", "augment searched for b, and a without any")


def test_a_hyperparameter_that_many_trials_left_alone_was_not_searched() -> None:
    columns = ["method", "param lr", "param wd", "score"]
    rows = pd.DataFrame(
        [
            (m, 0.01 if m == "a" else 10.0**-i, 2.0**-i, 0.3 + 0.1 * i)
            for m in "ab"
            for i in range(8)
        ],
        columns=columns,
    )
    ranges = {(m, p): Range(1e-8, 1.0, log=True) for m in "ab" for p in ("lr", "wd")}
    evidence = from_rows(rows, ranges, "x")
    assert of_rule(evidence, "space") == ("fail", "lr searched for b and fixed for a")
    # few trials may be alike by chance
    evidence = from_rows(rows[rows["param wd"] > 2.0**-7], ranges, "x")
    assert of_rule(evidence, "space")[0] == "warn"


def test_trials_that_were_all_pruned_have_no_score() -> None:
    rows = [(m, *pair, "pruned" if m == "b" else "done") for m, pair in product("ab", GRID)]
    evidence = read("method,params_lr,score,status", [(m, lr, "" if m == "b" else s, e) for m, lr, s, e in rows])  # fmt: skip
    assert of_rule(evidence, "divergence") == ("warn", "no trial of b has a score")


def test_the_order_of_a_grid_is_no_course_of_a_search() -> None:
    scores = {"a": (2.0, 1.5, 0.9, 0.4), "b": (0.8, 0.5, 0.9, 2.0)}
    rates = (1e-4, 1e-3, 1e-2, 1e-1)
    rows = [(m, *pair) for m, own in scores.items() for pair in zip(rates, own, strict=True)]
    told = ("unknown", "the trials are a grid: their order is no course of a search")
    header = "method,params_lr,score"
    assert of_rule(read(header, rows), "rank") == told
    assert of_rule(read(header, rows[::-1]), "rank") == told
    # tried in another order, they are a search that chose one
    mixed = [rows[i] for i in (1, 0, 2, 3, 5, 4, 6, 7)]
    assert of_rule(read(header, mixed), "rank") == ("warn", "a is ahead of b from trial 4 of 4 on")
    assert of_rule(read(header, mixed, ["sampler=grid"]), "rank") == told
    pairs = [(m, lr, wd, lr + wd) for m, lr, wd in product("ab", (0.1, 0.01), (1, 3, 2))]
    assert of_rule(read("method,params_lr,params_wd,score", pairs), "rank") == told


def test_trial_numbers_of_two_searches_that_a_tracker_counts_on_have_no_gaps() -> None:
    rows = [(m, first + i, 10.0**-i, i) for m, first in (("a", 0), ("b", 20)) for i in range(6)]
    header = "method,number,params_lr,score"
    assert of_rule(read(header, rows), "survivors") == ("pass", "every method: all 6 trials are there")  # fmt: skip
    del rows[2]
    told = ("fail", "a: 1 of 6 trial numbers are missing")
    assert of_rule(read(header, rows), "survivors") == told


def test_seeds_that_are_missing_are_told_in_order() -> None:
    rows = [("a", "report", s, 0.1 * s) for s in (1, 2, 3)]
    rows += [("b", "report", s, 0.1 * s) for s in range(1, 12)]
    evidence = read("method,role,seed,score", rows)
    told = "a: no reported run with seed 4, 5, 6, 7, 8 and 3 more, which others have"
    assert of_rule(evidence, "survivors") == ("fail", told)


def test_one_method_has_no_other_to_compare() -> None:
    evidence = read("method,params_lr,score", [("a", *pair) for pair in GRID])
    for rule in ("space", "shared", "settings", "divergence", "rank", "multiplicity"):
        assert of_rule(evidence, rule) == ("unknown", "one method, with no other to compare")


def test_a_search_taken_up_again_in_a_narrow_range_is_told_from_one_in_one_range() -> None:
    rows = pd.DataFrame([(m, *pair) for m, pair in product("ab", GRID)], columns=["method", "param lr", "score"])  # fmt: skip
    whole = Range(1e-5, 1.0, log=True)
    told = "lr drawn from different ranges in the course of one search: 1 for a, 2 for b"
    for b, found in ((whole, "pass"), (Range(1e-5, 1.0, True, 2), "warn")):
        evidence = from_rows(rows, {("a", "lr"): whole, ("b", "lr"): b}, "x")
        status, text = of_rule(evidence, "space")
        assert status == found
        assert (text == told) == (found == "warn")

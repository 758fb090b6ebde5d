"""Hyperparameters of yes and no, and of other words, in tables: the same verdicts however they are written."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest
from outsiders import UNSAMPLED, of_rule

from repro.audit import cells, several_files, stated, table_files, trials
from repro.audit.evidence import Evidence

COLUMNS = {"method": "opt", "score": "loss", "params": "lr:nesterov"}
LR = [1e-3, 1e-2, 1e-1, 1.0, 1e-2, 1e-1, 1e-3, 1.0]
YES_NO = [("True", "False"), ("true", "false"), ("TRUE", "FALSE"), ("yes", "no"), ("on", "off")]
"""How people write yes and no; and 1 and 0, which are numbers too."""


def write(path: Path, a: list[str], b: list[str], used: tuple[str, str] | None = None) -> Path:
    """Write eight trials of two methods with these values of `nesterov`, and two reported runs with those used."""
    lines = ["opt,role,lr,nesterov,loss,seed"]
    for m, values in (("a", a), ("b", b)):
        lines += [
            f"{m},tune,{lr},{value},{0.5 + 0.01 * abs(i - 1) + (lr - 0.01) ** 2},t"
            for i, (lr, value) in enumerate(zip(LR, itertools.cycle(values), strict=False))
        ]
    for m, value in zip("ab", used or (), strict=False):
        lines += [f"{m},report,0.01,{value},{0.5 + 0.01 * i},{i}" for i in range(2)]
    path.write_text("\n".join(lines))
    return path


def read(path: Path, columns: dict[str, str] = COLUMNS) -> Evidence:
    return trials.from_table(table_files.read_table(path, "opt"), columns, "x")


@pytest.mark.parametrize("yes", [*(yes for yes, _ in YES_NO), "1"])
def test_a_yes_that_all_methods_share_and_no_search_varied_is_seen_however_it_is_written(
    yes: str, tmp_path: Path
) -> None:
    status, text = of_rule(read(write(tmp_path / "t.csv", [yes], [yes], (yes, yes))), "shared")
    assert status == "warn"
    assert text.lower() == f"nesterov = {yes.lower()} for every method, one value in all trials"


def test_a_yes_that_no_search_found_fails_like_a_number(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "opt,nesterov,loss,seed\n" + "".join(f"{m},True,0.{i},{i}\n" for m in "ab" for i in (5, 6))
    )
    table = table_files.read_table(path, "opt")
    columns = {**COLUMNS, "params": "nesterov"}

    def shared(value: bool | str, *facts: str) -> tuple[str, str]:
        told = stated.parse_facts(facts)
        rows = table.assign(nesterov=value)
        return of_rule(trials.from_table(rows, columns, "x", reported=True, facts=told), "shared")

    assert shared(True, "origin of nesterov=no search") == (
        "fail",
        "nesterov = True for every method, from no search",
    )
    # a table without trials does not say where a value comes from
    assert shared(True) == (
        "unknown",
        "nesterov = True for every method; whether a search found it is not in the evidence: `origin of nesterov`",
    )
    # a word names a thing, such as the network, which methods have to share
    assert shared("resnet18", "origin of nesterov=no search")[0] == "unknown"


@pytest.mark.parametrize(
    ("a", "b"), [("True", "1"), ("True", "yes"), ("no", "False"), ("off", "0"), ("True", "1.0")]
)
def test_one_meaning_in_two_spellings_is_no_difference(a: str, b: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [a], [b], (a, b))
    for columns in (COLUMNS, {**COLUMNS, "params": "lr", "settings": "nesterov"}):
        assert of_rule(read(path, columns), "settings")[0] == "pass"
    assert of_rule(read(path), "shared")[0] == "warn"
    assert of_rule(read(path), "baseline")[0] == "pass"


@pytest.mark.parametrize(("a", "b"), [("True", "0"), ("yes", "False"), ("True", "False")])
def test_two_meanings_are_a_difference(a: str, b: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [a], [b], (a, b))
    assert of_rule(read(path), "settings")[0] == "fail"
    assert (
        of_rule(read(path), "shared")[1]
        == "lr is not one unsearched value; nesterov is not one unsearched value"
    )


def test_files_that_write_it_differently_agree(tmp_path: Path) -> None:
    paths = []
    for name, yes in (("sgd", "True"), ("adam", "1")):
        paths.append(tmp_path / f"{name}.csv")
        paths[-1].write_text("lr,nesterov,loss\n" + "".join(f"{lr},{yes},{lr}\n" for lr in LR[:4]))
    evidence = several_files.from_files(paths, {"score": "loss", "params": "lr:nesterov"})
    assert of_rule(evidence, "settings")[0] == "pass"


def test_words_of_one_kind_stay_as_they_were_written() -> None:
    for values in (["yes", "no", None], ["on", "off", "on"], [1, 0, 1], ["yes", "maybe", "1"]):
        column = pd.Series(values)
        assert cells.flags(column) is column
    mixed = cells.flags(pd.Series(["yes", True, 1, None, "no"], dtype=object))
    assert mixed.dropna().tolist() == [True, True, True, False]
    assert mixed.isna().tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(("yes", "no"), [*YES_NO, ("1", "0")])
def test_one_searched_and_one_fixed_is_seen_however_it_is_written(
    yes: str, no: str, tmp_path: Path
) -> None:
    apart = read(write(tmp_path / "t.csv", [yes, no], [yes]))
    assert of_rule(apart, "space") == ("fail", "nesterov searched for a and fixed for b")
    alike = read(write(tmp_path / "t.csv", [yes, no], [no, yes]))
    assert of_rule(alike, "space")[0] == "pass"


def test_few_trials_may_have_drawn_one_choice_by_chance(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ["True", "False"], ["True"])
    few = table_files.read_table(path, "opt").groupby("opt").head(4)
    # of four trials of either, six of eight are yes: all four of one are in 15 of 70 cases
    status, text = of_rule(trials.from_table(few, COLUMNS, "x"), "space")
    assert status == "unknown"
    assert text == (
        "nesterov tried at False, True for a; True for b, which random trials of the same choices may be by chance"
    )


def test_a_search_that_declares_its_choices_leaves_nothing_to_chance() -> None:
    rows = pd.DataFrame({"method": list("aaabbb"), "score": [3.0, 2, 1, 3, 2, 1], "param nesterov": ["True", "False"] + ["True"] * 4})  # fmt: skip
    # the one chose from two words, and the other from none
    evidence = trials.from_rows(rows, {("a", "nesterov"): None}, "x")
    assert of_rule(evidence, "space") == ("fail", "nesterov searched for a and fixed for b")
    assert of_rule(trials.from_rows(rows, {}, "x"), "space")[0] == "unknown"


def test_choices_that_one_method_lacks_are_a_narrower_space(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ["relu", "tanh", "gelu", "relu"], ["relu", "tanh"])
    table = pd.concat([table_files.read_table(path, "opt")] * 4)
    assert of_rule(trials.from_table(table, COLUMNS, "x"), "space") == (
        "warn",
        "nesterov tried at gelu, relu, tanh for a; relu, tanh for b",
    )


def test_names_of_trials_are_no_choices(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.csv", [f"out/a{i}" for i in range(8)], [f"out/b{i}" for i in range(8)]
    )
    assert of_rule(read(path), "space")[1] == "lr over observed [0.001, 1] for all" + UNSAMPLED


def test_yes_and_no_have_no_edge(tmp_path: Path) -> None:
    # the best trial has nesterov, written 1
    evidence = read(write(tmp_path / "t.csv", ["0", "1"], ["0", "1"]))
    assert evidence.number("best nesterov", "a") == 1
    assert of_rule(evidence, "edge")[0] == "pass"
    # with a third value it is a number, whose range may be too small
    third = read(write(tmp_path / "t.csv", ["0", "1", "0.5", "1"], ["0", "1"]))
    assert third.number("best nesterov", "a") == 1
    assert of_rule(third, "edge")[0] == "warn"


@pytest.mark.parametrize(("used", "status"), [("True", "pass"), ("1", "pass"), ("no", "fail")])
def test_the_winner_of_a_search_over_yes_and_no_is_compared(
    used: str, status: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "t.csv", ["False", "True"], ["False", "True"], (used, used))
    assert of_rule(read(path), "winner")[0] == status


def test_a_choice_may_be_stated(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", ["True", "False"], ["True", "False"])
    facts = stated.parse_facts(["used nesterov=True", "origin of nesterov=no search, our habit"])
    rows = table_files.read_table(path, "opt").drop(columns="nesterov")
    evidence = trials.from_table(rows, {**COLUMNS, "params": "lr"}, "x", facts=facts)
    assert of_rule(evidence, "shared") == (
        "fail",
        "nesterov = True for every method, from no search",
    )

"""The completeness table counts what is there beside what is declared, and hides no experiment."""

import dataclasses
from typing import Any

import pandas as pd
from test_campaign import experiment, finished, study

from repro.protocol import Experiment, Study, Training, expand
from repro.report import completeness
from repro.results import Record, tabulate

NO_ROWS = tabulate(())[0]


def smaller(name: str, arm: str = "published") -> Experiment:
    """Two runs at full scale, and one of fewer steps at the reduced one."""
    whole = experiment(name, 10)
    less = dataclasses.replace(whole.full, task=Training(5, evaluate_every=5), repetitions=1)
    return dataclasses.replace(whole, arm=arm, reduced=less)


def shown(of: Study, runs: pd.DataFrame) -> list[dict[str, Any]]:
    table = completeness.table([of], runs)
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows]


def rows(*records: Record) -> pd.DataFrame:
    return tabulate(records)[0]


def test_runs_done_stand_beside_those_declared_at_each_scale() -> None:
    of = study([smaller("a"), smaller("b")], [])
    first, _ = expand(of, "full", only=["a"])
    (less,) = expand(of, "reduced", only=["a"])
    elsewhere = study([smaller("a")], [], name="t")
    diverged = [
        dataclasses.replace(finished(spec, 1.0), status="diverged")
        for spec in (first, *expand(elsewhere, "full"))
    ]
    done = rows(*diverged, finished(less, 1.0))
    a, b = shown(of, done)
    same = {"study": "s", "arm": "published", "experiments": 1, "methods": 1}
    declared = {"reduced_declared": 1, "full_declared": 2}
    found = {"reduced_done": 1, "full_done": 1, "diverged": 1, "shown": "full"}
    nothing = {"reduced_done": 0, "full_done": 0, "diverged": 0, "shown": None}
    assert a == {"experiment": "a", **same, **declared, **found}
    assert b == {"experiment": "b", **same, **declared, **nothing}


def test_shown_is_the_largest_scale_that_has_reported_runs() -> None:
    of = study([smaller("a")], [])
    (less,) = expand(of, "reduced")
    whole = expand(of, "full")[0]
    tried = dataclasses.replace(whole, role="tune")
    assert [row["shown"] for row in shown(of, rows(finished(less, 1.0)))] == ["reduced"]
    both = rows(finished(less, 1.0), finished(tried, 1.0))
    assert [row["shown"] for row in shown(of, both)] == ["reduced"]
    both = rows(finished(less, 1.0), finished(whole, 1.0))
    assert [row["shown"] for row in shown(of, both)] == ["full"]


def test_three_whose_names_differ_in_numbers_alone_share_a_row() -> None:
    alike = [smaller(f"n-{number}") for number in (8, 16, 1024)]
    of = study([*alike, smaller("m-1"), smaller("m-2")], [])
    done = rows(*(finished(spec, 1.0) for spec in expand(of, "full", only=["n-8", "n-1024"])))
    family, *alone = shown(of, done)
    assert [row["experiment"] for row in (family, *alone)] == ["n-*", "m-1", "m-2"]
    assert (family["experiments"], family["methods"]) == (3, 1)
    assert (family["full_done"], family["full_declared"]) == (4, 6)
    assert (family["reduced_done"], family["reduced_declared"]) == (0, 3)


def test_families_of_one_name_and_two_arms_have_a_row_each() -> None:
    every = [
        smaller(f"n-{number}", arm) for number, arm in enumerate(["published"] * 3 + ["tuned"] * 4)
    ]
    found = shown(study(every, []), NO_ROWS)
    assert [(row["experiment"], row["arm"], row["experiments"]) for row in found] == [
        ("n-*", "published", 3),
        ("n-*", "tuned", 4),
    ]

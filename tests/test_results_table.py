"""Finished runs as two tables of fixed columns, types and order, and selections that say what left nothing."""

import dataclasses

import pandas as pd
import pytest
from finished_runs import kinds, record, spec, tuning
from finished_runs import store as store

from repro.protocol import Sampling, Task, Timing, Training
from repro.results import (
    CURVE_COLUMNS,
    ENVIRONMENT,
    MAX_POINTS,
    RUN_COLUMNS,
    EmptySelectionError,
    Memory,
    Record,
    Store,
    read_record,
    select,
    sort_curves,
    tabulate,
)

# Tables


@pytest.mark.parametrize("records", [(), (record(),), (record(0, 0), record(1))])
def test_tables_have_their_columns_and_types(records: tuple[Record, ...]) -> None:
    runs, curves = tabulate(records)
    assert kinds(runs) == RUN_COLUMNS
    assert kinds(curves) == CURVE_COLUMNS
    assert len(runs) == len(records)


def test_a_record_is_a_row() -> None:
    runs, curves = tabulate([record(1)])
    row = {str(name): value for name, value in runs.iloc[0].dropna().items()}
    expected = {
        "key": spec(1).key,
        "study": "someone2022",
        "arm": "published",
        "scale": "smoke",
        "experiment": "bowl",
        "problem": "bowl",
        "method": "back",
        "role": "report",
        "repetition": 1,
        "task": "training",
        "status": "done",
        "learning_rate": 0.1,
        "score": 1.1,
        "value": 1 / 3,
        "num_steps": 20,
        "commit": "abc",
        "load": 0.5,
        "spec": spec(1).canonical_json(),
    }
    blank = {name: 0 if RUN_COLUMNS[name] == "int64" else "" for name in set(row) - set(expected)}
    assert row == {**blank, **expected}
    assert set(blank) <= {*ENVIRONMENT, "search", "stage", "num_parameters"}
    assert curves[["step", "epoch", "split", "metric", "value"]].values.tolist() == [
        [0, 0.0, "none", "value", 1.0],
        [1, 0.1, "none", "value", 0.5],
        [2, 0.2, "none", "value", 1 / 3],
        [0, 0.0, "train", "loss", 2.0],
        [1, 0.1, "train", "loss", 1.0],
    ]


def test_tasks_are_named() -> None:
    tasks: dict[str, Task] = {
        "training": Training(2, 1),
        "timing": Timing(2, 1, "cpu", 1),
        "sampling": Sampling(2),
    }
    for name, task in tasks.items():
        runs, _ = tabulate([Record(dataclasses.replace(spec(), task=task), "done", {}, ())])
        assert runs["task"].tolist() == [name]


def test_a_trial_stands_in_its_columns(store: Store) -> None:
    read = read_record(store.write(tuning()))
    assert read == tuning()
    runs, _ = tabulate([record(), read])
    assert runs["role"].tolist() == ["report", "tune"]
    assert runs["trial"].isna().tolist() == [True, False]
    assert runs["trial"].tolist()[1] == 3.0
    assert runs["search"].tolist() == ["", "digest"]
    assert select(runs, search="digest", trial=3)["key"].tolist() == [tuning().spec.key]


def test_trials_stand_in_the_order_of_their_search() -> None:
    records = [tuning(repetition, number) for number in (10, 2, 0) for repetition in (1, 0)]
    runs, _ = tabulate(records)
    assert list(zip(runs["trial"], runs["repetition"], strict=True)) == [
        (number, repetition) for number in (0.0, 2.0, 10.0) for repetition in (0, 1)
    ]


def test_order_of_records_does_not_matter() -> None:
    records = [record(n) for n in range(5)] + [record(n, study="another2022") for n in range(3)]
    for one, two in zip(tabulate(records), tabulate(records[::-1]), strict=True):
        pd.testing.assert_frame_equal(one, two)


def test_points_stand_in_order_whatever_order_they_come_in() -> None:
    _, curves = tabulate([record(n, 20) for n in range(3)])
    pd.testing.assert_frame_equal(sort_curves(curves.sample(frac=1.0, random_state=0)), curves)


@pytest.mark.parametrize(
    "num_points", [1, 2, MAX_POINTS - 1, MAX_POINTS, MAX_POINTS + 1, 999, 1_000, 1_001, 25_000]
)
def test_curves_are_thinned_evenly_and_keep_their_end(num_points: int) -> None:
    _, curves = tabulate([record(0, num_points)])
    thinned = select(curves, metric="value")
    steps = thinned["step"].tolist()
    assert len(steps) <= MAX_POINTS
    assert steps[-1] == num_points - 1
    assert len(set(pd.Series(steps).diff().dropna())) <= 1  # even
    assert thinned["value"].tolist() == [1 / (step + 1) for step in steps]
    if num_points <= MAX_POINTS:
        assert steps == list(range(num_points))
    else:
        assert len(steps) > MAX_POINTS / 2 - 1


def test_thinning_is_for_the_table_only(store: Store) -> None:
    assert len(read_record(store.write(record(0, 2_000))).curves[0].steps) == 2_000


# Selecting


def test_a_selection_is_made_once_and_is_everybodys_own() -> None:
    memory, made = Memory(), [pd.DataFrame({"x": [1.0]})]
    for _ in range(2):
        mine = memory.recall("x", made.pop if made else pytest.fail)
        assert mine.columns.tolist() == ["x"]
        mine["y"] = 2.0


def test_selecting_by_value_and_by_values() -> None:
    runs, _ = tabulate([record(n) for n in range(4)])
    assert select(runs, repetition=2)["repetition"].tolist() == [2]
    kept = select(runs, repetition=(3, 1), method="back")
    assert kept["repetition"].tolist() == [1, 3]
    assert select(runs, repetition=frozenset({1, 3})).equals(kept)
    assert kept.index.tolist() == [0, 1]
    assert len(select(runs)) == 4
    assert len(runs) == 4


def test_selecting_from_an_unknown_column_names_the_columns() -> None:
    _, curves = tabulate([record()])
    with pytest.raises(
        ValueError,
        match=r"^Unknown column 'loss'\. Choose from: key, step, epoch, split, metric, value\.$",
    ):
        select(curves, loss=1.0)


def test_selecting_nothing_says_what_left_nothing() -> None:
    runs, _ = tabulate([record()])
    with pytest.raises(
        EmptySelectionError,
        match=r"^No row has method='back', repetition=7 \(none is left after repetition\)\. Run what is",
    ):
        select(runs, method="back", repetition=7)
    with pytest.raises(EmptySelectionError, match="none is left after study"):
        select(tabulate(())[0], study="someone2022", method="back")

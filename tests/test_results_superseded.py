"""Of reported runs those at the best trial of their own search count, once that trial is decided and reported."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from finished_runs import at, record, tuning
from finished_runs import published as published

from repro.protocol import Method, Trial, settings, use
from repro.results import (
    Record,
    load,
    load_runs,
    select,
    superseded,
    tabulate,
    winning_trial,
    write_curves,
    write_parquet,
)


def test_of_reported_runs_those_at_the_best_trial_count(published: Path) -> None:
    trials = [at(tuning(r, n), rate, 1.0 - n) for n, rate in enumerate((0.1, 0.2)) for r in (0, 1)]
    old, new = ([at(record(r), rate) for r in (0, 1)] for rate in (0.1, 0.2))
    runs = [tabulate(found)[0] for found in (trials + old, trials + old + new, old + new)]
    # before the new best trial is reported the old one stands; without a search any rate does
    assert [int(superseded(table).sum()) for table in runs] == [0, 2, 0]
    gone = runs[1][superseded(runs[1])]
    assert set(gone["key"]) == {found.spec.key for found in old}
    # the mean over repetitions decides, and of equal ones the first trial
    tied = [
        at(tuning(r, n), rate, s) for n, rate, s in ((0, 0.1, 1.0), (1, 0.2, 1.0)) for r in (0, 1)
    ]
    table = tabulate(tied + old + new)[0]
    assert set(table["learning_rate"][superseded(table)]) == {0.2}
    write_parquet(published / "someone2022.runs.parquet", runs[1])
    write_curves(published / "someone2022.curves.parquet", [tabulate(trials + old + new)[1]])
    assert set(select(load(published).runs, role="report")["learning_rate"]) == {0.2}
    assert len(load_runs(published, published / "none")[0]) == len(runs[1]) - 2


@pytest.mark.parametrize("part", ["study", "experiment", "scale", "method"])
def test_a_better_trial_supersedes_no_report_of_another_search(part: str) -> None:
    names: dict[str, Any] = {
        "study": "another2022",
        "experiment": "valley",
        "scale": "full",
        "method": Method("forward", use("backpropagation"), use("sgd")),
    }
    other = names[part]

    def of_another(found: Record) -> Record:
        return dataclasses.replace(found, spec=dataclasses.replace(found.spec, **{part: other}))

    reports = [at(record(), rate) for rate in (0.1, 0.2)]
    trials = [at(tuning(number=n), rate, 1.0 - n) for n, rate in enumerate((0.1, 0.2))]
    # of the other the first trial is the best
    ours, others = [*reports, *trials], [*reports, at(tuning(number=0), 0.1, -1.0)]
    runs, _ = tabulate([*ours, *map(of_another, others)])
    gone = {reports[0].spec.key, of_another(reports[1]).spec.key}
    assert set(runs["key"][superseded(runs)]) == gone
    # without a search, or a report at its best trial, all of its reports stand
    for others in (reports, [*reports, at(tuning(number=0), 0.7, -1.0)]):
        runs, _ = tabulate([*ours, *map(of_another, others)])
        assert set(runs["key"][superseded(runs)]) == {reports[0].spec.key}


def test_a_report_is_superseded_by_one_that_differs_in_any_hyperparameter() -> None:
    def decaying(found: Record, decay: float) -> Record:
        values = settings(learning_rate=0.1, decay=decay)
        return dataclasses.replace(
            found, spec=dataclasses.replace(found.spec, hyperparameters=values)
        )

    old, new = (decaying(record(), decay) for decay in (0.5, 0.9))
    trials = [
        decaying(at(tuning(number=n), 0.1, 1.0 - n), decay) for n, decay in enumerate((0.5, 0.9))
    ]
    runs, _ = tabulate([old, new, *trials])
    assert set(runs["key"][superseded(runs)]) == {old.spec.key}


def test_a_finalist_wins_only_once_all_its_further_runs_are_there() -> None:
    def final(repetition: int, number: int, score: float) -> Record:
        found = at(tuning(repetition, number), 0.1 + number, score)
        again = dataclasses.replace(found.spec, trial=Trial(number, "digest", "final"))
        return dataclasses.replace(found, spec=again)

    first = [at(tuning(0, n), 0.1 + n, float(score)) for n, score in enumerate((2, 3, 1))]
    others = [final(repetition, n, 2.0 + n) for n in (0, 1) for repetition in (1, 2)]
    interrupted, last = (final(repetition, 2, 0.0) for repetition in (1, 2))
    for rows, winner in (
        (first, 2.0),
        ([*first, *others], 0.0),
        ([*first, *others, interrupted], 0.0),
        ([*first, *others, interrupted, last], 2.0),
    ):
        assert winning_trial(tabulate(rows)[0]) == winner

"""The rows behind a figure are those that it selects, whatever else it looks at."""

import pandas as pd
import pytest

from repro.measures.rows import report_runs
from repro.report.provenance import watch
from repro.results import RUN_COLUMNS, Results, tabulate


@pytest.fixture
def results() -> Results:
    empty, curves = tabulate(())
    rows = [
        {
            **dict.fromkeys(RUN_COLUMNS, ""),
            "key": f"{experiment}-{method}-{repetition}",
            "study": "author2000",
            "experiment": experiment,
            "method": method,
            "scale": "full",
            "commit": "c0ffee",
            "device": "a machine",
            "repetition": repetition,
        }
        for experiment in ("a", "b", "c")
        for method in ("x", "y")
        for repetition in range(3)
    ]
    runs = pd.DataFrame(rows, columns=list(empty.columns))
    return Results(runs, curves, pd.DataFrame())


def names(results: Results, make: object) -> list[tuple[str, int]]:
    _, sources = watch(make, results)  # type: ignore[arg-type]
    return [(source.experiment, source.num_runs) for source in sources]


def test_a_selection_of_one_experiment_is_named_with_what_made_it(results: Results) -> None:
    made, (source,) = watch(lambda r: len(r.runs[r.runs["experiment"] == "b"]), results)
    assert made == 6
    assert (source.study, source.experiment, source.scale) == ("author2000", "b", "full")
    assert (source.num_runs, source.commits, source.devices) == (6, ("c0ffee",), ("a machine",))


def test_narrowing_step_by_step_names_what_is_left(results: Results) -> None:
    def make(r: Results) -> object:
        rows = r.runs[r.runs["method"] == "x"].sort_values("repetition")
        rows = rows[rows["experiment"] == "a"].reset_index(drop=True)
        return rows.assign(score=1.0)["score"].mean()

    assert names(results, make) == [("a", 3)]


def test_groups_are_selections(results: Results) -> None:
    def make(r: Results) -> object:
        wanted = r.runs[r.runs["experiment"].isin(["a", "c"])]
        return [len(part) for _, part in wanted.groupby("experiment")]

    assert names(results, make) == [("a", 6), ("c", 6)]


def test_what_is_never_narrowed_is_meant_as_a_whole(results: Results) -> None:
    assert names(results, lambda r: r.runs[r.runs["repetition"] > 0].shape) == [
        ("a", 4),
        ("b", 4),
        ("c", 4),
    ]


def test_what_another_remembered_is_named_again(results: Results) -> None:
    reported = results.beside(results.runs.assign(role="report", task="training"))

    def make(r: Results) -> int:
        return len(report_runs(r, "a", ["x"]))

    first, again = watch(make, reported), watch(make, reported)
    assert first == again
    made, (source,) = again
    assert (made, source.experiment, source.num_runs) == (3, "a", 3)
    assert reported.memory.noted  # the second did not select


def test_who_selects_nothing_has_no_source(results: Results) -> None:
    assert names(results, lambda r: r.runs[r.runs["experiment"] == "z"].shape) == []


def test_the_tables_are_not_changed(results: Results) -> None:
    before = results.runs.copy()
    watch(lambda r: r.runs[r.runs["method"] == "x"], results)
    pd.testing.assert_frame_equal(results.runs, before)
    assert type(results.runs) is pd.DataFrame

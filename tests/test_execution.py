"""Spread over processes, in other company or again, a run gives the same rows."""

import dataclasses
import shutil
from collections.abc import Sequence

import pytest
from small_runs import STUDY, counts, no_event, rows, small, stamps
from small_runs import events as events
from small_runs import same_threads as same_threads
from small_runs import store as store
from small_runs import undisturbed as undisturbed

from repro.execution import Event, Group, execute, form_groups, num_steps, run_group
from repro.protocol import expand
from repro.results import Store, read_record, read_store


def test_progress_adds_up(undisturbed: Store, events: list[Event]) -> None:
    del undisturbed
    for index, group in enumerate(form_groups(small())):
        mine = [event for event in events if event.group == index]
        assert sum(event.steps for event in mine) == num_steps(group)
        assert [event.statuses for event in mine if event.statuses] == [("done",) * len(group)]
        assert mine[-1].statuses


def test_two_workers_give_the_rows_of_one_process(undisturbed: Store, store: Store) -> None:
    seen: list[Event] = []
    outcome = execute(small(), store, workers=2, on_event=seen.append)
    assert counts(outcome) == (10, 0, 0, 0)
    assert rows(store) == rows(undisturbed)
    assert sorted(event.group for event in seen if event.statuses) == list(range(5))
    before = stamps(store)
    assert counts(execute(small(), store, workers=2, on_event=no_event)) == (0, 0, 10, 0)
    assert stamps(store) == before


def test_order_and_company_do_not_change_a_run(undisturbed: Store, store: Store) -> None:
    execute(small()[::-1], store)
    # replicas change places in their stack: equal up to the rounding of stacked products
    for spec in small():
        here, there = (read_record(s.path(spec.key)) for s in (store, undisturbed))
        assert here.status == there.status
        for one, two in zip(here.curves, there.curves, strict=True):
            assert (one.split, one.metric, one.steps) == (two.split, two.metric, two.steps)
            assert one.values == pytest.approx(two.values, rel=1e-4, abs=1e-6, nan_ok=True)


def test_only_what_is_missing_of_a_group_is_written(undisturbed: Store, store: Store) -> None:
    shutil.copytree(undisturbed.directory, store.directory)
    lost = [small()[-1], small()[0]]  # one of two replicas, in each of two groups
    for spec in lost:
        store.path(spec.key).unlink()
    before = stamps(store)
    seen: list[Group] = []
    assert counts(execute(small(), store, on_groups=seen.extend)) == (2, 0, 8, 0)
    assert [len(group) for group in seen] == [
        2,
        2,
    ]  # the whole group runs: the arithmetic is the same
    assert before.items() < stamps(store).items()
    assert rows(store) == rows(undisturbed)


def test_run_group_returns_only_what_it_wrote(undisturbed: Store, store: Store) -> None:
    shutil.copytree(undisturbed.directory, store.directory)
    group = next(g for g in form_groups(small()) if len(g) == 2)
    store.path(group[0].key).unlink()
    arguments = (group, store, "cpu", lambda steps: None)
    assert run_group(*arguments, lambda: True) == ()
    assert run_group(*arguments, lambda: False) == ("done",)
    assert run_group(*arguments, lambda: False) == ()


def test_diverged_runs_are_counted_and_kept(store: Store) -> None:
    runs = tuple(
        dataclasses.replace(spec, hyperparameters=(("learning_rate", 1e6),))
        for spec in expand(STUDY, "smoke", only=["beale"])
    )
    assert counts(execute(runs, store)) == (4, 4, 0, 0)
    assert {record.status for record in read_store(store.directory)[0]} == {"diverged"}
    assert counts(execute(runs, store)) == (0, 0, 4, 0)


def test_runs_that_another_machine_finished_are_not_left(undisturbed: Store, store: Store) -> None:
    def meanwhile(groups: Sequence[Group]) -> None:
        assert len(groups) == 5
        shutil.copytree(undisturbed.directory, store.directory)

    before = stamps(undisturbed)
    assert counts(execute(small(), store, on_groups=meanwhile)) == (0, 0, 0, 0)
    assert {k: v[0] for k, v in stamps(store).items()} == {k: v[0] for k, v in before.items()}


def test_timing_runs_are_measured(store: Store) -> None:
    runs = expand(STUDY, "smoke", only=["run-time-beale"])
    assert counts(execute(runs, store)) == (4, 0, 0, 0)
    for record in read_store(store.directory)[0]:
        low, median, high = (
            record.measured[f"step_seconds{suffix}"] for suffix in ("_low", "", "_high")
        )
        assert isinstance(low, float)
        assert isinstance(median, float)
        assert isinstance(high, float)
        assert 0 < low <= median <= high
        assert record.measured["group_size"] == 4
        assert "processor_seconds" not in record.measured


def test_the_runs_of_a_timing_are_of_one_session(store: Store) -> None:
    runs = expand(STUDY, "smoke", only=["run-time-beale"])
    execute(runs, store)
    earlier = stamps(store)
    store.path(runs[0].key).unlink()  # as if it had been killed between two of them
    assert counts(execute(runs, store)) == (1, 0, 3, 0)
    assert stamps(store).keys() == earlier.keys()
    assert all(stamp != earlier[key] for key, stamp in stamps(store).items())

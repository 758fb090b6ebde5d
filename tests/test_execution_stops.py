"""Stopped by a time limit or a signal, runs keep what is finished and go on from there."""

import dataclasses
import math
import os
import signal
import time
from types import SimpleNamespace

import pytest
from small_runs import counts, deliver, endless, no_event, rows, small
from small_runs import events as events
from small_runs import same_threads as same_threads
from small_runs import store as store
from small_runs import undisturbed as undisturbed

from repro import execution
from repro.checkpoints import steps_done
from repro.execution import Event, Group, Outcome, Stop, describe, execute, run_group
from repro.protocol import Training
from repro.results import Record, Store

# By a time limit


class Clock:
    """Stands for the module `time` where the coordinator asks for it; moves when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for asking in (execution.coordinator, execution.stops):
        monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_a_time_limit_keeps_what_is_finished(
    undisturbed: Store, store: Store, clock: Clock
) -> None:
    def pass_time(event: Event) -> None:
        clock.now += 10.0 * bool(event.statuses)

    outcome = execute(small(), store, time_limit=15.0, on_event=pass_time)
    assert counts(outcome) == (4, 0, 0, 6)  # two groups of two
    assert outcome.seconds == 20.0
    assert outcome.not_begun is None  # it was stopped, not too long
    assert rows(store).items() < rows(undisturbed).items()
    assert counts(execute(small(), store)) == (6, 0, 4, 0)
    assert rows(store) == rows(undisturbed)


def test_a_time_limit_stops_within_a_run(store: Store, clock: Clock) -> None:
    def pass_time(event: Event) -> None:
        clock.now += event.steps

    outcome = execute(endless(), store, time_limit=500, on_event=pass_time)
    assert counts(outcome) == (0, 0, 0, 4)
    assert [describe(group) for group in outcome.lost] == [
        "baydin2022 beale: backpropagation (2 runs)"
    ]
    assert clock.now == 500
    assert not store.files()
    assert steps_done(store.directory, outcome.lost[0]) == 500


@pytest.mark.parametrize("num_finished", [0, 1, 2])
def test_what_another_machine_finishes_meanwhile_is_not_lost(
    store: Store, clock: Clock, num_finished: int
) -> None:
    group = endless()[:2]

    def pass_time(event: Event) -> None:
        clock.now += event.steps
        for spec in group[:num_finished]:
            store.write(Record(spec, "done", {"score": 1.0}, ()))

    outcome = execute(group, store, time_limit=1.0, on_event=pass_time)
    assert outcome.left == 2 - num_finished
    assert outcome.lost == ((group,) if outcome.left else ())


def test_of_what_cannot_end_in_time_the_shortest_is_named(store: Store, clock: Clock) -> None:
    prices = {"estimates": 70.0, "beale": 60.0, "logistic": 80.0}
    outcome = execute(
        small(),
        store,
        time_limit=50.0,
        expected=lambda spec: prices[spec.experiment],
        on_event=no_event,
    )
    assert clock.now == 0.0
    assert counts(outcome) == (0, 0, 0, 10)
    assert outcome.not_begun == 2 * 60.0


def test_a_time_limit_stops_the_workers(store: Store, clock: Clock) -> None:
    def pass_time(event: Event) -> None:
        clock.now += event.steps

    asked: list[Group] = []
    outcome = execute(
        endless(), store, workers=2, time_limit=1.0, on_event=pass_time, on_stop=asked.extend
    )
    assert counts(outcome) == (0, 0, 0, 4)
    assert sorted(map(describe, outcome.lost)) == [
        "baydin2022 beale: backpropagation (2 runs)",
        "baydin2022 beale: forward gradient (2 runs)",
    ]
    assert sorted(map(describe, asked)) == sorted(map(describe, outcome.lost))
    assert not store.files()
    # both, but for a slow start
    assert any(steps_done(store.directory, group) for group in outcome.lost)


def test_what_goes_on_from_a_checkpoint_is_priced_by_what_is_left_of_it(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.training.ASK_EVERY", math.inf)
    task = Training(1_000, evaluate_every=100)
    group = [dataclasses.replace(spec, task=task) for spec in endless()[:2]]
    asked = iter([False] * 8)
    run_group(tuple(group), store, "cpu", lambda steps: None, lambda: next(asked, True))
    assert steps_done(store.directory, group) == 900

    def pass_time(event: Event) -> None:
        clock.now += event.steps * bool(event.steps < 900)

    def runs(time_limit: float) -> Outcome:
        return execute(
            group, store, time_limit=time_limit, expected=lambda spec: 500.0, on_event=pass_time
        )

    outcome = runs(99.0)
    assert counts(outcome) == (0, 0, 0, 2)
    assert outcome.not_begun == pytest.approx(100.0)
    assert counts(runs(101.0)) == (2, 0, 0, 0)


def test_a_latch_says_when_it_is_time(clock: Clock) -> None:
    stop = Stop(10.0)
    assert not stop()
    clock.now = 9.0
    assert (stop(), stop.left()) == (False, 1.0)
    clock.now = 10.0
    assert stop()
    assert Stop().left() == math.inf


# By a signal


@pytest.mark.parametrize("once", [False, True])
def test_a_latch_takes_a_signal_as_often_as_it_is_told_to(once: bool) -> None:
    came: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    try:
        stop = Stop()
        with stop.at(signal.SIGTERM, once=once):
            assert not stop()
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                assert stop()
        assert came == [signal.SIGTERM] * once
        os.kill(os.getpid(), signal.SIGTERM)
        assert came == [signal.SIGTERM] * (once + 1)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_is_finished(
    undisturbed: Store, store: Store, number: signal.Signals
) -> None:
    def interrupt(event: Event) -> None:
        if event.statuses and signal.getsignal(number) is not before:
            deliver(number, before)

    before = signal.getsignal(number)
    assert counts(execute(small(), store, on_event=interrupt)) == (2, 0, 0, 8)
    assert signal.getsignal(number) is before
    assert rows(store).items() < rows(undisturbed).items()
    execute(small(), store)
    assert rows(store) == rows(undisturbed)


def test_a_second_interrupt_is_not_caught(store: Store) -> None:
    def interrupt(event: Event) -> None:
        del event
        deliver(signal.SIGINT, signal.default_int_handler)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)  # ended by the second signal

    # a process started in the background ignores SIGINT from the start
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            execute(endless(), store, on_event=interrupt)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)

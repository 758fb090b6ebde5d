"""A price is a measured speed times a number of steps, and nothing where nothing was measured."""

import dataclasses

import pytest
from test_measures import BP, FG, record, results

from repro.pricing import price
from repro.protocol import Training


def test_price_is_steps_times_the_seconds_of_a_step_of_runs_alike() -> None:
    done = record("e", BP, num_steps=100, seconds=50.0, group_size=5)
    rows = results(done).runs
    longer = dataclasses.replace(done.spec, task=Training(1_000, 10))
    assert price(longer, rows) == pytest.approx(1_000 * 50.0 / 100 / 5)
    assert price(record("e", FG).spec, rows) is None


def test_a_timed_step_prices_training_that_nobody_ran_yet() -> None:
    rows = results(record("t", BP, timing=True, num_steps=3, seconds=1.0, step_seconds=0.2)).runs
    assert price(record("e", BP).spec, rows) == pytest.approx(100 * 0.2)

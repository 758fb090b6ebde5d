"""Rows of another search are refused, those of another experiment are not, and a search is one process's at a time."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import pytest
from searches import METHODS, SMALL, SPACE, comparison, course
from searches import undisturbed as undisturbed

from repro.campaign import survey
from repro.execution import work_off
from repro.protocol import LogUniform, Search, SearchSpace, Trial, settings
from repro.results import HeldError, Record, Store, hold, read_store, tabulate
from repro.search import refuse_other_searches


@pytest.mark.parametrize(
    "other",
    [
        Search(SearchSpace((("learning_rate", LogUniform(1e-5, 1e1)),)), 8, 2, 4),
        Search(SPACE, 9, repetitions=2, batch=4, extension_trials=2),
        Search(SPACE, 8, repetitions=2, batch=4, extension_trials=2, seed=1),
    ],
    ids=["space", "budget", "seed"],
)
def test_rows_of_another_search_are_refused(
    undisturbed: Store, tmp_path: Path, other: Search
) -> None:
    changed = comparison(other)
    assert changed.digest != SMALL.digest
    before = course(undisturbed)
    message = r"hold \d+ runs of search .* do not mix: rename the experiment, or start anew"
    runs, _ = tabulate(read_store(undisturbed.directory)[0])
    with pytest.raises(ValueError, match=message):
        work_off(survey((), [changed], runs), Store(tmp_path), runs=runs)
    assert course(undisturbed) == before


def test_another_sampler_is_another_search(
    undisturbed: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    published, _ = tabulate(read_store(undisturbed.directory)[0])
    refuse_other_searches([SMALL], published)  # its own rows are welcome
    monkeypatch.setattr("repro.protocol.choosing.SAMPLER", "optuna 6 QMCSampler, Sobol, scrambled")
    with pytest.raises(ValueError, match="do not mix"):
        refuse_other_searches([SMALL], published)


def test_runs_of_another_search_are_counted_without_its_own() -> None:
    of_others, own = (comparison(Search(SPACE, 8, repetitions=2, seed=seed)) for seed in (1, 0))
    rows = [
        Record(run, "done", {}, ())
        for compared, num in ((of_others, 1), (own, 3))
        for number in range(num)
        for run in compared.trial_runs(
            METHODS[0], Trial(number, compared.digest), settings(learning_rate=0.1)
        )
    ]
    with pytest.raises(ValueError, match=f"hold 2 runs of search {of_others.digest}"):
        refuse_other_searches([own], tabulate(rows)[0])


@pytest.mark.parametrize("part", ["study", "experiment", "scale"])
def test_rows_of_the_search_of_another_experiment_are_welcome(part: str) -> None:
    of_others, own = (comparison(Search(SPACE, 8, seed=seed)) for seed in (1, 0))
    trial = Trial(0, of_others.digest)
    (run,) = of_others.trial_runs(METHODS[0], trial, settings(learning_rate=0.1))
    names: dict[str, Any] = {"study": "else2030", "experiment": "else", "scale": "reduced"}
    run = dataclasses.replace(run, **{part: names[part]})
    refuse_other_searches([own], tabulate([Record(run, "done", {}, ())])[0])


def test_a_search_is_held_although_nothing_seems_to_be_left(
    undisturbed: Store, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    shutil.copytree(undisturbed.directory, store.directory)
    runs, _ = tabulate(read_store(store.directory)[0])
    work = survey((), [SMALL], runs)
    assert work[0].left == ()
    with (
        hold(store.directory, "holds/someone2030-tuned-full", "x"),
        pytest.raises(HeldError, match=r"^someone2030 tuned is searched already"),
    ):
        work_off(work, store, runs=runs)
    assert work_off(work, store, runs=runs).left == 0


def test_a_trial_that_was_damaged_costs_no_report(undisturbed: Store, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    shutil.copytree(undisturbed.directory, store.directory)
    trial = next(r for r in read_store(store.directory)[0] if r.spec.trial is not None)
    path = store.path(trial.spec.key)
    path.write_bytes(path.read_bytes()[:100])
    runs, _ = tabulate(read_store(store.directory)[0])
    outcome = work_off(survey((), [SMALL], runs), store, runs=runs)
    assert [failure.name for failure in outcome.failures] == [
        "someone2030 tuned",
        "optuna.journal",
    ]
    for failure in outcome.failures:
        assert f"{path}: not a finished run" in failure.reason
        assert "Move it away to run it again" in failure.reason


def test_more_reported_repetitions_are_the_same_search() -> None:
    assert comparison(SMALL.search, repetitions=7).digest == SMALL.digest

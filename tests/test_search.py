"""A search takes one course whatever happens to it, and goes on from where it ended with what is new alone."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from searches import METHODS, SMALL, SPACE, comparison, course, rate, run_search
from searches import undisturbed as undisturbed

import repro
from repro import execution
from repro.campaign import survey
from repro.execution import work_off
from repro.protocol import Search
from repro.results import Record, Store, read_store, superseded, tabulate, winning_trial
from repro.search import Score, advance, refuse_other_searches

PATIENCE = 300.0  # seconds; a busy machine may take a minute to start four workers


# Whatever happens


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_do_not_change_the_course(undisturbed: Store, tmp_path: Path, workers: int) -> None:
    store = Store(tmp_path / "store")
    run_search(store, workers)
    assert course(store) == course(undisturbed)
    assert run_search(store, workers).done == 0  # repeated: not one trial more


def test_a_search_killed_three_times_at_random_takes_the_undisturbed_course(
    undisturbed: Store, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    generator = random.Random(2022)
    total = len(undisturbed.files())
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parent), str(Path(repro.__file__).parent.parent)]
        ),
    }
    for _ in range(3):
        code = (
            f"import test_search as t; t.run_search(t.Store(t.Path({str(store.directory)!r})), 1)"
        )
        with subprocess.Popen([sys.executable, "-c", code], env=environment) as process:
            already, deadline = len(store.files()), time.monotonic() + PATIENCE
            wanted = already + generator.randrange(1, max(2, (total - already) // 2))
            while len(store.files()) < wanted and time.monotonic() < deadline:
                if process.poll() is not None:
                    break
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        assert set(course(store)) <= set(course(undisturbed))
    run_search(store, workers=1)
    assert course(store) == course(undisturbed)


def test_stopped_by_its_time_limit_it_says_so_and_goes_on(
    undisturbed: Store, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    outcome = run_search(store, workers=1, time_limit=0.0)
    assert outcome.left > 0
    assert outcome.done == 0
    assert run_search(store, workers=1).left == 0
    assert course(store) == course(undisturbed)


def test_published_rows_are_finished_runs(undisturbed: Store, tmp_path: Path) -> None:
    published, _ = tabulate(read_store(undisturbed.directory)[0])
    outcome = work_off(survey((), [SMALL], published), Store(tmp_path / "store"), runs=published)
    assert (outcome.done, outcome.left) == (0, 0)


# Taken further


def test_search_status_and_rows_agree_on_the_winner_after_a_search_is_taken_further() -> None:
    search = Search(SPACE, 8, max_extensions=0, refinement_trials=2, finalists=2)
    rng = random.Random(0)
    for _ in range(4):
        known: dict[str, Score] = {}
        rows: list[Record] = []
        # refined after its best trials were run again, which are then not all among the best of first runs
        for taken in (search, dataclasses.replace(search, refinement_trials=6)):
            compared = comparison(taken)
            while (progress := advance(compared, known.get)).pending:
                for run in progress.pending:
                    if run.key not in known:
                        known[run.key] = Score(rng.random())
                        rows.append(Record(run, "done", {"score": known[run.key].value}, ()))
            reported = [
                Record(run, "done", {"score": 1.0}, ())
                for method in METHODS
                for run in compared.report_runs(method, progress.winners[method.name])
            ]
            rows += [r for r in reported if r.spec.key not in known]
            known |= {r.spec.key: Score(1.0) for r in reported}
            runs, _ = tabulate(rows)
            (work,) = survey((), [compared], runs)
            assert work.left == ()
            for method in METHODS:
                own = runs[(runs["method"] == method.name) & (runs["role"] == "tune")]
                won = own["learning_rate"][own["trial"] == winning_trial(own)].iloc[0]
                assert won == rate(progress.winners[method.name])
            left = runs[(runs["role"] == "report") & ~superseded(runs)]
            assert set(left["key"]) == {r.spec.key for r in reported}


def test_a_finished_search_goes_on_with_its_finalists_alone(undisturbed: Store) -> None:
    more = comparison(dataclasses.replace(SMALL.search, finalists=3))
    runs, _ = tabulate(read_store(undisturbed.directory)[0])
    pending = advance(more, execution.finished_scores(undisturbed, runs)).pending
    assert len(pending) == 3 * 2 * len(METHODS)
    assert {run.trial.stage for run in pending if run.trial} == {"final"}
    # draws of their own: of neither another tuning repetition nor a reported run
    assert {run.repetition for run in pending} == {2, 3}
    refuse_other_searches([more], runs)


def test_a_finished_search_goes_on_with_its_refinement_alone(undisturbed: Store) -> None:
    more = comparison(dataclasses.replace(SMALL.search, refinement_trials=3))
    runs, _ = tabulate(read_store(undisturbed.directory)[0])
    pending = advance(more, execution.finished_scores(undisturbed, runs)).pending
    assert len(pending) == 3 * 2 * len(METHODS)  # twice each
    assert {run.trial.stage for run in pending if run.trial} == {"refinement"}
    refuse_other_searches([more], runs)

"""A search proposes the same trials whatever happens to it, and no method ever gets one more."""

import dataclasses
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import FloatDistribution
from optuna.storages.journal import JournalFileBackend
from scipy.stats import qmc  # type: ignore[import-untyped, unused-ignore]

import repro
from repro import execution
from repro.campaign import survey
from repro.execution import Outcome, work_off
from repro.protocol import (
    ClosedForm,
    Comparison,
    Experiment,
    LogUniform,
    Method,
    Plan,
    RunSpec,
    Search,
    SearchSpace,
    Settings,
    Training,
    Trial,
    settings,
    use,
)
from repro.results import (
    HeldError,
    Record,
    Store,
    hold,
    read_store,
    superseded,
    tabulate,
    winning_trial,
)
from repro.search import (
    Progress,
    Score,
    Scores,
    advance,
    is_near,
    refuse_other_searches,
    to_optuna,
    write_journal,
)

SPACE = SearchSpace((("learning_rate", LogUniform(1e-6, 1e1)),))
METHODS = (
    Method("backpropagation", use("backpropagation"), use("sgd")),
    Method("forward gradient", use("forward_gradient"), use("sgd")),
)
PROBLEM = ClosedForm("test beale", "beale", (0.0, 0.5))
PATIENCE = 300.0  # seconds; a busy machine may take a minute to start four workers


def comparison(search: Search, steps: int = 40, repetitions: int = 2) -> Comparison:
    plan = Plan(PROBLEM, Training(steps, evaluate_every=10), repetitions, search)
    experiment = Experiment("tuned", "tuned", METHODS, (settings(),), plan, plan, plan)
    return Comparison("someone2030", experiment, "full")


SMALL = comparison(Search(SPACE, 8, repetitions=2, batch=4, extension_trials=2))


def rate(values: Settings, of: str = "learning_rate") -> float:
    (value,) = (v for name, v in values if name == of)
    assert isinstance(value, float)
    return value


def searched(
    compared: Comparison, score: Callable[[RunSpec], float]
) -> tuple[Progress, list[RunSpec]]:
    """Run a whole search on made-up scores; return its end, and every run it asked for, in order."""
    known: dict[str, Score] = {}
    asked: list[RunSpec] = []
    while True:
        progress = advance(compared, known.get)
        if not progress.pending:
            return progress, asked
        assert not known.keys() & {run.key for run in progress.pending}
        asked += progress.pending
        known |= {run.key: Score(score(run)) for run in progress.pending}


def bowl(**best: float) -> Callable[[RunSpec], float]:
    """Scores with their minimum at a rate of each method's own, in decades."""
    places = {"backpropagation": -2.0, "forward gradient": -2.0, **best}
    return lambda run: abs(math.log10(rate(run.hyperparameters)) - places[run.method.name])


def rates(progress: Progress, method: str) -> list[float]:
    return [rate(trial.values) for trial in progress.trials[method]]


# What is proposed


def test_trials_are_the_scrambled_sobol_sequence_on_a_log_scale() -> None:
    progress, _ = searched(comparison(Search(SPACE, 16, seed=3)), bowl())
    unit = qmc.Sobol(1, scramble=True, seed=3).random(16).ravel()
    expected = 10.0 ** (-6.0 + 7.0 * unit)
    np.testing.assert_allclose(rates(progress, "forward gradient"), expected, rtol=1e-12)
    # balanced: one trial in every sixteenth of the range
    assert sorted((unit * 16).astype(int)) == list(range(16))


@pytest.mark.parametrize("batch", [1, 3, 4, 16])
def test_every_method_gets_the_same_trials_and_a_smaller_budget_is_a_prefix(batch: int) -> None:
    long, _ = searched(comparison(Search(SPACE, 16, batch=16)), bowl())
    short, asked = searched(comparison(Search(SPACE, 8, batch=batch)), bowl())
    for method in METHODS:
        assert rates(short, method.name) == rates(long, "backpropagation")[:8]
    assert len({run.key for run in asked}) == len(asked) == 8 * len(METHODS)


def budget(run: RunSpec) -> tuple[Any, ...]:
    assert run.trial is not None
    return run.trial, run.repetition, run.problem, run.task, run.hyperparameters


@pytest.mark.parametrize("place", [-9.0, -5.9, -3.0, 0.8, 0.99, 3.5, 9.0])
def test_budgets_are_equal_to_the_trial(place: float) -> None:
    compared = comparison(Search(SPACE, 8, repetitions=2, extension_trials=2))
    _, asked = searched(compared, bowl(backpropagation=place))
    first, second = ([budget(r) for r in asked if r.method == method] for method in METHODS)
    assert first == second
    one_more = [*asked, dataclasses.replace(asked[0], repetition=2)]
    more = [budget(r) for r in one_more if r.method == METHODS[0]]
    assert more != second  # what this test would see


def test_a_trial_scores_the_mean_over_its_repetitions_and_diverges_if_one_does() -> None:
    compared = comparison(Search(SPACE, 2, repetitions=2))
    pending = advance(compared, lambda key: None).pending
    scores = {
        run.key: Score(float(run.repetition), diverged=run.repetition == 1) for run in pending
    }
    (first, _) = advance(compared, scores.get).trials["backpropagation"]
    assert (first.score, first.diverged) == (0.5, True)


@pytest.mark.parametrize("repetitions", [1, 2])
def test_a_batch_waits_for_all_of_its_runs(repetitions: int) -> None:
    compared = comparison(Search(SPACE, 4, repetitions, batch=4))
    pending = advance(compared, lambda key: None).pending
    scores = {run.key: Score(1.0) for run in pending[:-1]}
    again = advance(compared, scores.get)
    assert set(again.pending) <= set(pending)
    assert pending[-1] in again.pending
    assert len(again.trials["backpropagation"]) == 4
    assert again.trials["forward gradient"] == ()


def test_ties_go_to_the_earliest_trial() -> None:
    compared = comparison(Search(SPACE, 8, max_extensions=0))
    progress, _ = searched(compared, lambda run: 1.0)
    for method in METHODS:
        assert progress.winners[method.name] == progress.trials[method.name][0].values


# The edge rule


@pytest.mark.parametrize("place", [-9.0, -6.1, -5.9, -5.0, -2.0, 0.2, 0.9, 1.9, 2.5, 9.0])
def test_the_space_grows_for_all_methods_until_no_winner_is_near_an_edge(place: float) -> None:
    compared = comparison(Search(SPACE, 16, extension_trials=4))
    progress, _ = searched(compared, bowl(backpropagation=place))
    (bound,) = dict(progress.space.ranges).values()
    decades = round(math.log10(bound.high / bound.low)) - 7
    assert (decades > 0) == (place not in (-5.0, -2.0))
    for method in METHODS:
        assert len(progress.trials[method.name]) == 16 + 4 * decades
        on_edge = any(
            is_near(
                progress.winners[method.name], "learning_rate", side, {"learning_rate": bound}, 0.1
            )
            for side in ("low", "high")
        )
        assert on_edge == (method.name in progress.on_edge)
        later = rates(progress, method.name)[16:]
        for number, value in enumerate(later):
            decade = number // 4  # four trials in each that was added, nearest first
            low = 10.0 ** (1 + decade) if place > 0 else 10.0 ** (-7 - decade)
            assert low * (1 - 1e-12) <= value <= 10 * low * (1 + 1e-12)
    # three decades are the most; a winner beyond them stays on the edge, and is said to
    assert progress.on_edge == (("backpropagation",) if abs(place) == 9.0 else ())
    assert decades <= 3
    assert abs(place) != 9.0 or decades == 3


@pytest.mark.parametrize("decades", [0, 1, 2])
def test_the_space_grows_by_as_many_decades_as_the_search_allows(decades: int) -> None:
    search = Search(SPACE, 8, extension_trials=2, max_extensions=decades)
    progress, _ = searched(comparison(search), bowl(backpropagation=9.0))
    (bound,) = dict(progress.space.ranges).values()
    assert (bound.low, bound.high) == pytest.approx((1e-6, 10.0 ** (1 + decades)))
    assert len(progress.trials["forward gradient"]) == 8 + 2 * decades
    assert progress.on_edge == ("backpropagation",)


TWO = SearchSpace((("learning_rate", LogUniform(1e-4, 1.0)), ("decay", LogUniform(1e-6, 1e-2))))


def test_of_two_hyperparameters_each_grows_where_its_own_winner_is() -> None:
    # inside of one range, beyond the other
    places = {"learning_rate": -2.0, "decay": -1.5}
    compared = comparison(Search(TWO, 32, extension_trials=8, refinement_trials=8))
    progress, _ = searched(
        compared,
        lambda run: sum(
            abs(math.log10(rate(run.hyperparameters, name)) - place)
            for name, place in places.items()
        ),
    )
    bounds = dict(progress.space.ranges)
    assert bounds["learning_rate"] == LogUniform(1e-4, 1.0)
    assert (bounds["decay"].low, bounds["decay"].high) == pytest.approx((1e-6, 0.1))
    assert progress.on_edge == ()
    for trials in progress.trials.values():
        shared, beside = trials[:40], trials[40:]
        assert len(beside) == 8
        assert {t.space for t in shared[:32]} == {TWO}
        assert {t.space.ranges[0] for t in shared[32:]} == {TWO.ranges[0]}  # the other stays whole
        assert all(0.01 <= rate(t.values, "decay") <= 0.1 + 1e-12 for t in shared[32:])
        best = min(shared, key=lambda t: t.score).values
        for name in places:
            tried, own = [rate(t.values, name) for t in shared], rate(best, name)
            low, high = max(v for v in tried if v < own), min(v for v in tried if v > own)
            assert all(low <= rate(t.values, name) <= high for t in beside)


# Beside the winners


def cliff(run: RunSpec) -> float:
    """Better the larger the rate, up to a rate of each method's own beyond which nothing works."""
    decades, limit = math.log10(rate(run.hyperparameters)), CLIFFS[run.method.name]
    return -decades if decades <= limit else 1e3


CLIFFS = {"backpropagation": -1.3, "forward gradient": -3.52}


@pytest.mark.parametrize("score", [cliff, bowl(), bowl(backpropagation=0.8)])
def test_refining_moves_no_trial_and_searches_beside_every_winner(
    score: Callable[[RunSpec], float],
) -> None:
    plain = comparison(Search(SPACE, 16, extension_trials=4))
    refined = comparison(Search(SPACE, 16, extension_trials=4, refinement_trials=4))
    assert plain.digest == refined.digest
    (before, asked), (after, more) = searched(plain, score), searched(refined, score)
    assert more[: len(asked)] == asked
    assert {run.trial.stage for run in more[len(asked) :] if run.trial} == {"refinement"}
    for method in METHODS:
        shared, beside = rates(before, method.name), rates(after, method.name)[-4:]
        assert rates(after, method.name)[:-4] == shared
        best = rate(before.winners[method.name])
        (bound,) = dict(before.space.ranges).values()
        low = max(v for v in (bound.low, *shared) if v < best)
        high = min(v for v in (bound.high, *shared) if v > best)
        # one in every quarter of what lies between the trials on either side
        quarters = sorted(int(4 * math.log(v / low) / math.log(high / low)) for v in beside)
        assert quarters == [0, 1, 2, 3]
        tried = after.trials[method.name]
        assert after.winners[method.name] == min(tried, key=lambda t: t.score).values
        assert [t.space for t in tried[:-4]] == [t.space for t in before.trials[method.name]]


@pytest.mark.parametrize("place", [-9.0, 9.0])
@pytest.mark.parametrize("decades", [0, 1])
def test_beside_the_outermost_trial_the_search_reaches_to_the_bound(
    place: float, decades: int
) -> None:
    search = Search(SPACE, 16, extension_trials=4, max_extensions=decades, refinement_trials=4)
    progress, _ = searched(comparison(search), bowl(backpropagation=place))
    (bound,) = dict(progress.space.ranges).values()
    found = rates(progress, "backpropagation")
    shared, beside = sorted(found[:-4]), found[-4:]
    low, high = (bound.low, shared[1]) if place < 0 else (shared[-2], bound.high)
    quarters = sorted(int(4 * math.log(v / low) / math.log(high / low)) for v in beside)
    assert quarters == [0, 1, 2, 3]


def test_a_narrow_range_between_two_trials_is_found() -> None:
    progress, _ = searched(comparison(Search(SPACE, 16, refinement_trials=4)), cliff)
    for name, limit in CLIFFS.items():
        found = math.log10(rate(progress.winners[name]))
        unrefined = max(math.log10(r) for r in rates(progress, name)[:16] if math.log10(r) < limit)
        assert unrefined < found <= limit


# Finalists


def lucky(run: RunSpec) -> float:
    """A bowl that one lucky first run hides: the trial farthest from the best scores lowest once, and badly ever after."""
    score = bowl()(run)
    return score if score < 3.0 else (-1.0 if run.repetition == 0 else 50.0)


def test_the_best_trials_are_run_again_and_none_wins_by_one_lucky_run() -> None:
    plain = comparison(Search(SPACE, 16, max_extensions=0, refinement_trials=4))
    again = comparison(dataclasses.replace(plain.search, finalists=3, finalist_repetitions=2))
    assert plain.digest == again.digest
    (before, asked), (after, more) = searched(plain, lucky), searched(again, lucky)
    assert more[: len(asked)] == asked
    further = more[len(asked) :]
    assert {run.trial.stage for run in further if run.trial} == {"final"}
    for method in METHODS:
        first = sorted(before.trials[method.name], key=lambda t: (t.score, t.number))[:3]
        own = [run for run in further if run.method == method]
        assert [(r.trial.number, r.repetition, r.hyperparameters) for r in own if r.trial] == [
            (trial.number, repetition, trial.values) for trial in first for repetition in (1, 2)
        ]
        assert before.winners[method.name] == first[0].values
        means = {t.number: t.score for t in after.trials[method.name]}
        for trial in first:
            runs = [r for r in more if r.method == method and r.hyperparameters == trial.values]
            assert means[trial.number] == pytest.approx(np.mean([lucky(run) for run in runs]))
            assert len(runs) == 3
        others = [t for t in after.trials[method.name] if t.number not in {f.number for f in first}]
        assert others == [t for t in before.trials[method.name] if t in others]
        # a trial that was run once is no match for a finalist, even if it scored lower
        winner = min(first, key=lambda t: means[t.number])
        assert after.winners[method.name] == winner.values
        assert min(means, key=means.__getitem__) != winner.number


def test_finalists_have_equal_budgets_and_a_search_without_them_is_what_it_was() -> None:
    search = Search(SPACE, 8, repetitions=2, finalists=2, finalist_repetitions=3)
    _, asked = searched(comparison(search), bowl(backpropagation=-4.0))
    numbers = [sum(run.method == method for run in asked) for method in METHODS]
    assert numbers == [8 * 2 + 2 * 3] * 2 == [search.num_runs] * 2
    finals = [run for run in asked if run.trial and run.trial.stage == "final"]
    assert sorted({run.repetition for run in finals}) == [2, 3, 4]
    # more finalists than trials are all of them
    few = comparison(dataclasses.replace(search, num_trials=1, max_extensions=0))
    assert few.search.num_runs == 2 + 3
    assert len(searched(few, bowl())[1]) == (2 + 3) * len(METHODS)


@pytest.mark.parametrize("stage", ["", "final"])
def test_a_finalist_diverged_if_any_of_its_runs_did(stage: str) -> None:
    again = comparison(Search(SPACE, 4, max_extensions=0, finalists=4))
    known: dict[str, Score] = {}
    while (progress := advance(again, known.get)).pending:
        known |= {
            run.key: Score(
                1.0, run.trial is not None and (run.trial.number, run.trial.stage) == (2, stage)
            )
            for run in progress.pending
        }
    for trials in progress.trials.values():
        assert [trial.diverged for trial in trials] == [False, False, True, False]


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


# Whatever happens


def run_search(store: Store, workers: int, **more: Any) -> Outcome:
    runs = tabulate(read_store(store.directory)[0])[0]
    return work_off(survey((), [SMALL], runs), store, runs=runs, workers=workers, **more)


def course(store: Store) -> list[tuple[Any, ...]]:
    """Every run of a store with its score, to the last bit: trials, winners and reported runs."""
    records, problems = read_store(store.directory)
    assert problems == ()
    return sorted((r.spec.canonical_json(), r.status, r.measured["score"]) for r in records)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    threads = torch.get_num_threads()
    outcome = run_search(store, workers=1)
    torch.set_num_threads(threads)
    assert outcome.left == 0
    runs = tabulate(read_store(store.directory)[0])[0]
    tuned, reported = runs[runs["role"] == "tune"], runs[runs["role"] == "report"]
    assert outcome.done == len(runs)
    trials = tuned.groupby("method")["trial"].nunique()
    assert trials.nunique() == 1
    assert trials.iloc[0] >= 8
    assert (tuned.groupby(["method", "trial"]).size() == 2).all()
    assert (reported.groupby("method").size() == 2).all()
    assert (runs["status"] == "diverged").any()  # rates of 10 do; they cost budget like any other
    assert np.isfinite(runs["score"]).all()
    return store


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


# Other searches


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


# Optuna


@pytest.fixture
def scores(undisturbed: Store) -> Scores:
    return execution.finished_scores(undisturbed, tabulate(())[0])


def test_optuna_studies_hold_the_trials_and_the_winner(scores: Scores) -> None:
    progress = advance(SMALL, scores)
    for method, study in to_optuna(SMALL, scores).items():
        assert [t.params["learning_rate"] for t in study.trials] == rates(progress, method)
        assert settings(study.best_params) == progress.winners[method]
        diverged = [t.user_attrs["diverged"] for t in study.trials]
        assert diverged == [trial.diverged for trial in progress.trials[method]]
        assert {t.state for t in study.trials} == {optuna.trial.TrialState.COMPLETE}


def test_optuna_studies_tell_of_every_trial_the_space_it_was_drawn_from() -> None:
    plan = comparison(Search(SPACE, 8, extension_trials=2, refinement_trials=2))
    known: dict[str, Score] = {}
    score = bowl(backpropagation=0.99)
    # at a smaller scale of the same budget: the rows are those of the full one
    grown = dataclasses.replace(plan, scale="reduced")
    while (progress := advance(grown, known.get)).pending:
        known |= {run.key: Score(score(run)) for run in progress.pending}
    assert len({trial.space for trial in progress.trials["backpropagation"]}) > 2
    for method, study in to_optuna(grown, known.get).items():
        assert study.study_name == f"someone2030/tuned/full/{method}"
        for found, trial in zip(study.trials, progress.trials[method], strict=True):
            (given,) = found.distributions.values()
            assert isinstance(given, FloatDistribution)
            (bound,) = dict(trial.space.ranges).values()
            assert (given.low, given.high, given.log) == (bound.low, bound.high, True)


def test_a_journal_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(key: str) -> Score:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_journal([SMALL], interrupt, tmp_path / "optuna.journal")
    assert list(tmp_path.iterdir()) == []


def test_optuna_studies_tell_finalists_of_which_one_won() -> None:
    again = comparison(Search(SPACE, 16, max_extensions=0, finalists=3))
    known: dict[str, Score] = {}
    while (progress := advance(again, known.get)).pending:
        known |= {run.key: Score(lucky(run)) for run in progress.pending}
    for method, study in to_optuna(again, known.get).items():
        final = [t for t in study.trials if t.user_attrs["final"]]
        assert len(final) == 3
        winner = min(final, key=lambda t: float(t.value or 0.0))
        assert settings(winner.params) == progress.winners[method]


def test_the_journal_opens_and_is_written_whole(scores: Scores, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "optuna.journal"
    for _ in range(2):
        write_journal([SMALL], scores, path)
        assert [p.name for p in path.parent.iterdir()] == ["optuna.journal"]
        backend = JournalFileBackend(str(path))
        storage = optuna.storages.JournalStorage(backend)
        names = optuna.get_all_study_names(storage)
        assert names == [f"someone2030/tuned/full/{method.name}" for method in METHODS]
        study = optuna.load_study(study_name=names[0], storage=storage)
        winner = advance(SMALL, scores).winners["backpropagation"]
        assert settings(study.best_params) == winner

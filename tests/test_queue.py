"""Workers get the first group in line; only a timing makes them wait, and a failure stops nobody else."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from test_campaign import SEARCH, experiment, study

import studies
from repro.execution import Group
from repro.execution.queue import Failure, Given, Queue, Searched
from repro.execution.workers import Ended
from repro.protocol import RunSpec, comparisons, expand
from repro.results import Record, Store
from repro.search import Score

pytestmark = pytest.mark.torch

STUDY = studies.get("baydin2022")


def runs(*experiments: str) -> tuple[RunSpec, ...]:
    return expand(STUDY, "smoke", only=experiments)


class Batches:
    """A source of batches, as a search is."""

    def __init__(self, *batches: Sequence[RunSpec], fails: Exception | None = None) -> None:
        self.name = "batches"
        self._batches, self._fails = list(batches), fails

    def next_batch(self) -> tuple[int, Sequence[RunSpec]]:
        if self._batches:
            return 0, self._batches.pop(0)
        if self._fails:
            raise self._fails
        return 0, ()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def told() -> list[Group]:
    return []


@pytest.fixture
def queue(store: Store, told: list[Group]) -> Callable[..., Queue]:
    def build(*sources: Batches | Given, published: Sequence[str] = ()) -> Queue:
        return Queue(sources, store, published, "cpu", told.extend)

    return build


def take(queue: Queue, idle: bool = False) -> str | None:
    """The experiment and method of the group handed out, if any."""
    index = queue.take(idle, lambda group: True)
    return None if index is None else name(queue.groups[index])


def name(group: Group) -> str:
    methods = {spec.method.name for spec in group}
    return f"{group[0].experiment} {methods.pop()}" if len(methods) == 1 else group[0].experiment


def finish(queue: Queue, store: Store, index: int, error: str = "") -> None:
    statuses = []
    if not error:
        for spec in queue.groups[index]:
            store.write(Record(spec, "done", {"score": 1.0}, ()))
            statuses.append("done")
    queue.end(Ended(index, tuple(statuses), error))


def test_groups_are_handed_out_in_the_order_of_their_experiments(
    queue: Callable[..., Queue], told: list[Group]
) -> None:
    line = queue(Given("b", runs("rosenbrock")), Given("a", runs("beale")))
    assert told == line.groups
    assert line.left() == 8
    expected = [
        "rosenbrock backpropagation", "rosenbrock forward gradient",
        "beale backpropagation", "beale forward gradient",
    ]  # fmt: skip
    assert [take(line) for _ in range(4)] == expected
    assert take(line, idle=True) is None


def test_while_a_search_waits_for_its_batch_later_experiments_go_on(
    queue: Callable[..., Queue], store: Store, told: list[Group]
) -> None:
    first, second = runs("beale")[:2], runs("beale")[2:]
    line = queue(Batches(first, second), Given("later", runs("rosenbrock")))
    assert take(line) == "beale backpropagation"
    assert take(line) == "rosenbrock backpropagation"
    finish(line, store, 0)
    # its next batch goes before what is later in line
    assert take(line) == "beale forward gradient"
    assert take(line) == "rosenbrock forward gradient"
    assert told == line.groups  # also those that became known on the way


def test_a_timing_waits_for_silence_and_nothing_overtakes_it(
    queue: Callable[..., Queue], store: Store
) -> None:
    line = queue(
        Given("a", runs("beale")[:2]),
        Given("timing", runs("run-time-beale")),
        Given("b", runs("rosenbrock")),
    )
    assert take(line) == "beale backpropagation"
    assert take(line) is None
    finish(line, store, 0)
    assert take(line, idle=True) == "run-time-beale"
    finish(line, store, 1)
    assert take(line) == "rosenbrock backpropagation"


def test_what_cannot_end_in_time_lets_others_pass(queue: Callable[..., Queue]) -> None:
    line = queue(Given("a", runs("beale")), Given("b", runs("rosenbrock")))
    index = line.take(False, lambda group: group[0].experiment == "rosenbrock")
    assert index is not None
    assert name(line.groups[index]) == "rosenbrock backpropagation"
    index = line.take(False, lambda group: name(group) == "beale forward gradient")
    assert index is not None
    assert name(line.groups[index]) == "beale forward gradient"
    assert line.take(False, lambda group: False) is None
    assert [name(group) for group in line.waiting()] == [
        "beale backpropagation", "rosenbrock forward gradient"
    ]  # fmt: skip


def test_finished_runs_are_passed_over(queue: Callable[..., Queue], store: Store) -> None:
    here, elsewhere, *missing = runs("beale")
    store.write(Record(here, "done", {"score": 1.0}, ()))
    line = queue(Given("a", runs("beale")), published=[elsewhere.key])
    assert (line.cached, line.left()) == (2, 2)
    assert line.groups == [tuple(missing)]


def test_a_search_of_which_a_run_failed_gets_no_further_batch(
    queue: Callable[..., Queue], store: Store
) -> None:
    runs_of_search = runs("beale")
    line = queue(Batches(runs_of_search, runs("logistic")), Given("b", runs("rosenbrock")))
    assert take(line) == "beale backpropagation"
    assert take(line) == "beale forward gradient"
    finish(line, store, 0, error="no\nreason")
    finish(line, store, 1)
    assert take(line) == "rosenbrock backpropagation"
    assert line.failures == [Failure("baydin2022 beale: backpropagation (2 runs)", "no reason")]
    assert line.left() == 4  # of rosenbrock; what failed is said apart


@pytest.mark.parametrize("kind", [ValueError, OSError])
def test_a_source_that_fails_is_named_and_the_others_go_on(
    queue: Callable[..., Queue], kind: type[Exception]
) -> None:
    line = queue(Batches(fails=kind("the rows are\nodd")), Given("b", runs("rosenbrock")))
    assert line.failures == [Failure("batches", "the rows are odd")]
    assert take(line) == "rosenbrock backpropagation"


def test_the_next_batch_of_a_stopped_search_is_left(
    queue: Callable[..., Queue], store: Store
) -> None:
    line = queue(Batches(runs("beale"), runs("logistic")))
    for index in range(2):
        assert line.take(False, lambda group: True) == index
        finish(line, store, index)
    assert line.left() == 4


@pytest.mark.parametrize(
    ("experiments", "shared"),
    [(["beale"], True), (["run-time-beale", "run-time-mlp"], False), ([], False)],
)
def test_one_process_is_enough_for_timing(
    queue: Callable[..., Queue], experiments: list[str], shared: bool
) -> None:
    assert queue(*(Given(e, runs(e)) for e in experiments)).is_shared() == shared


def test_a_search_taken_up_again_passes_over_what_it_has() -> None:
    tuned = experiment("tuned", 10, dataclasses.replace(SEARCH, repetitions=2))
    (comparison,) = comparisons(study([tuned], []), "full")
    scores: dict[str, Score] = {}
    batches: list[Sequence[RunSpec]] = []

    def again() -> Searched:
        return Searched("tuned", comparison, scores.get)

    source = again()
    while batch := source.next_batch()[1]:
        batches.append(batch)
        scores.update({spec.key: Score(1.0) for spec in batch})
    *trials, reports = batches
    num_trials = sum(map(len, trials))
    assert {spec.role for spec in reports} == {"report"}
    whole = again()
    assert [whole.next_batch() for _ in range(2)] == [(num_trials + len(reports), ()), (0, ())]
    # a report that is there is handed out with the others of its batch, and found finished then
    del scores[reports[-1].key]
    assert again().next_batch() == (num_trials, reports)
    for spec in reports[:-1]:
        del scores[spec.key]
    assert again().next_batch() == (num_trials, reports)


def test_what_another_process_finished_is_counted(
    queue: Callable[..., Queue], store: Store
) -> None:
    """Two processes work on one store: of the groups that one takes, the other may have done some."""
    specs = runs("beale")
    own = queue(Given("baydin2022", specs))
    for spec in specs:
        store.write(Record(spec, "done", {"score": 1.0}, ()))
    while (index := own.take(True, lambda group: True)) is not None:
        own.end(Ended(index, (), ""))  # as a worker says that finds nothing to do
    assert (own.cached, own.left(), own.elsewhere()) == (0, 0, len(specs))


def test_what_this_process_finished_was_done_by_no_other(
    queue: Callable[..., Queue], store: Store
) -> None:
    own = queue(Given("baydin2022", runs("beale")))
    while (index := own.take(True, lambda group: True)) is not None:
        finish(own, store, index)
    assert (own.left(), own.elsewhere()) == (0, 0)

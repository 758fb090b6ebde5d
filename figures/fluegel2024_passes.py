"""Flügel et al. 2024: 16 tangents a step against one, at equal steps and at equal forward passes, every rate tuned."""

from __future__ import annotations

from collections.abc import Iterator

from figures.fluegel2024_runs import PASSES, STUDY
from repro import measures
from repro.measures import FORWARD_GRADIENT, Measurement
from repro.results import EmptySelectionError, Results
from repro.stats import Interval
from repro.tables import Cell, Column, Table

TITLE = (
    "Do more tangents pay? One tangent a step against 16, averaged and projected, at equal forward passes and at equal steps, with a "
    "learning rate searched for each"
)
AVERAGED, PROJECTED = "mean, k=16", "projection, k=16"
NETWORKS, TUNED = "networks-passes-", "networks-tuned-"
COLUMNS = (
    Column("problem", "Problem", "left"),
    Column("quantity", "Quantity", "left"),
    Column("one", "One tangent", format=".4g", interval=True),
    Column("averaged_passes", "16 averaged, equal passes", format=".4g", interval=True),
    Column("projected_passes", "16 projected, equal passes", format=".4g", interval=True),
    Column("averaged_steps", "16 averaged, equal steps", format=".4g", interval=True),
    Column("projected_steps", "16 projected, equal steps", format=".4g", interval=True),
    Column("one_steps", "Steps of one", format="d"),
    Column("scale", "Scale", "left"),
)
NOTES = (
    "Mean over repetitions (n) with its 95 % t interval. Of a function the last value, the lower the better; of a network the test "
    "accuracy at the epoch of the lowest validation loss. n/a: one of the runs diverged.",
    "Forward passes are counted in matrix products, as the cost of a run in forward mode is. The tangents of a step share its value: on a "
    "function, a step with 16 takes 11 times the passes of a step with one, on a network, whose activations are perturbed, 4.75 times. "
    "Networks have no entry at equal steps of that length: 16 tangents were not trained so long.",
)


def table(results: Results) -> Table:
    """Return the table: a row a problem on which both budgets were run."""
    rows = (*_on_functions(results), *_on_networks(results))
    return Table("fluegel2024_passes", TITLE, COLUMNS, rows, NOTES)


def _on_functions(results: Results) -> Iterator[tuple[Cell, ...]]:
    for passes in _names(results, PASSES):
        steps = passes.replace("-passes-", "-tuned-")
        yield _row(
            results, passes.removeprefix(PASSES), "last value", "value", one=steps, many=passes, alike=steps
        )  # fmt: skip


def _on_networks(results: Results) -> Iterator[tuple[Cell, ...]]:
    for passes in _names(results, NETWORKS):
        short = passes.replace(NETWORKS, TUNED)
        yield _row(
            results, passes.removeprefix(NETWORKS), "test accuracy", "best_test_accuracy", one=passes, many=short
        )  # fmt: skip


def _names(results: Results, prefix: str) -> list[str]:
    runs = results.runs
    found = runs[(runs["study"] == STUDY) & runs["experiment"].str.startswith(prefix)]
    order = found.sort_values(["num_parameters", "experiment"])["experiment"].astype(str)
    names = list(dict.fromkeys(order))
    # the functions of one name together, by dimension
    return sorted(names, key=lambda name: name.rstrip("0123456789"))


def _row(
    results: Results, problem: str, quantity: str, metric: str, *, one: str, many: str, alike: str = ""
) -> tuple[Cell, ...]:  # fmt: skip
    found = [
        _final(results, experiment, method, metric)
        for experiment, method in (
            (one, FORWARD_GRADIENT),
            (many, AVERAGED),
            (many, PROJECTED),
            (alike, AVERAGED),
            (alike, PROJECTED),
        )
    ]
    single = results.runs[
        (results.runs["study"] == STUDY) & (results.runs["experiment"] == one) & (results.runs["method"] == FORWARD_GRADIENT)
    ]  # fmt: skip
    scales = sorted({measured.scale for measured in found if measured is not None})
    intervals: list[Interval | None] = [m.interval if m is not None else None for m in found]
    return (
        problem,
        quantity,
        *intervals,
        int(single["num_steps"].max()) if len(single) else None,
        ", ".join(scales) or None,
    )


def _final(results: Results, experiment: str, method: str, metric: str) -> Measurement | None:
    try:
        return measures.final_metric(results, experiment, method, metric, study=STUDY)
    except EmptySelectionError:
        return None

"""Running published runs again: a sample that fits a budget, and how each of its numbers compares.

A run is repeated in the group that its study declares, as when its row was made, so with the same machine and versions
it comes out bitwise the same. Elsewhere arithmetic rounds differently, and training amplifies that; the question then
is whether the new value could be another repetition of the published ones.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats as distributions  # type: ignore[import-untyped, unused-ignore]

from repro.protocol import RunSpec, Scale, Study, Timing, comparisons, expand, parse_run
from repro.results import LATER_COLUMNS, METRICS, Results

ROUNDING = 1e-3
"""Largest relative difference of a final metric that counts as rounding, amplified by training."""
CONFIDENCE = 0.99
"""Of the prediction interval in which a value counts as another repetition."""
SHARE = 1 / 3
"""Of the budget that one cell of a study may take, so that a sample has several."""
FEWEST = 3
"""Repetitions below which nothing can be said of their spread."""

Likeness = Literal["bitwise", "same within tolerance", "statistically equal", "different"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A committed run and the same run made again.

    Attributes:
        spec: The run.
        likeness: How alike they are.
        metric: The metric that differs most, relatively; empty if none differs.
        published: Its published value.
        again: Its value now.
    """

    spec: RunSpec
    likeness: Likeness
    metric: str
    published: float
    again: float

    @property
    def gap(self) -> float:
        """Their relative difference in that metric; 0 if none differs."""
        return _gap(self.published, self.again)


def sample(
    studies: Sequence[Study],
    runs: pd.DataFrame,
    price: Callable[[RunSpec], float | None],
    form_groups: Callable[[Sequence[RunSpec]], list[tuple[RunSpec, ...]]],
    budget: float,
    seed: int = 0,
) -> list[tuple[RunSpec, ...]]:
    """Return groups of reported runs that together cost no more than a budget.

    Timings are left out: they speak of a machine, and of how quiet it was. So are the trials of searches; what a
    search chose is made again where it was reported. Cells of the studies come in an order
    that the seed decides; each gives the first of its groups that still fits, and takes no more than a share of the budget.

    Args:
        studies: The studies.
        runs: The published runs.
        price: Seconds of a run, `None` where unknown.
        form_groups: Forms the groups in which runs are made.
        budget: Seconds.
        seed: Of the order.

    Returns:
        Groups, in that order; none if nothing fits.
    """
    published = set(runs["key"])
    cells: dict[tuple[str, str, str], list[tuple[RunSpec, ...]]] = {}
    for study in studies:
        specs: dict[str, RunSpec] = {}
        for scale in ("reduced", "full"):
            specs |= {
                spec.key: spec
                for spec in (*expand(study, scale), *_winners(study, scale, runs))
                if not isinstance(spec.task, Timing)
            }
        for group in form_groups(list(specs.values())):
            if published.issuperset(spec.key for spec in group):
                cell = (study.name, group[0].experiment, group[0].method.name)
                cells.setdefault(cell, []).append(group)
    chosen, left = [], budget
    for cell in sorted(cells, key=lambda cell: _order(seed, *cell)):
        for group in sorted(cells[cell], key=lambda group: _order(seed, group[0].key)):
            cost = _total(price, group)
            if cost is not None and cost <= min(left, SHARE * budget):
                chosen.append(group)
                left -= cost
                break
    return chosen


def _winners(study: Study, scale: Scale, runs: pd.DataFrame) -> Iterator[RunSpec]:
    """Yield the reported runs of searches in the order in which they ran; only their rows know their settings."""
    reported = runs[(runs["study"] == study.name) & (runs["role"] == "report")]
    apart = dict(iter(reported.groupby(["experiment", "scale", "method"])))
    for comparison in comparisons(study, scale):
        experiment = comparison.experiment
        for method in experiment.methods:
            place = (experiment.name, experiment.label(scale), method.name)
            if place in apart:
                yield from map(parse_run, apart[place].sort_values("repetition")["spec"])


def _order(seed: int, *parts: str) -> str:
    return hashlib.sha256("/".join([str(seed), *parts]).encode()).hexdigest()


def _total(price: Callable[[RunSpec], float | None], group: Sequence[RunSpec]) -> float | None:
    known = [seconds for spec in group if (seconds := price(spec)) is not None]
    return sum(known) if len(known) == len(group) else None


def compare(spec: RunSpec, published: Results, again: Results) -> Comparison:
    """Return how alike a published run and its repetition are.

    Args:
        spec: The run; both have it.
        published: The published rows.
        again: The rows made now.

    Returns:
        The comparison.
    """
    old, new = (
        results.runs[results.runs["key"] == spec.key].iloc[0] for results in (published, again)
    )
    worst, gap = "", 0.0
    recorded = [m for m in METRICS if not (m in LATER_COLUMNS and math.isnan(float(old[m])))]
    for metric in recorded:
        found = _gap(float(old[metric]), float(new[metric]))
        if found > gap:
            worst, gap = metric, found
    values = (float(old[worst]), float(new[worst])) if worst else (math.nan, math.nan)
    likeness: Likeness = "different"
    if old["status"] == new["status"]:
        if gap == 0.0 and _same_curves(spec.key, published.curves, again.curves):
            likeness = "bitwise"
        elif gap <= ROUNDING:
            likeness = "same within tolerance"
        elif all(_could_be_another(metric, old, new, published.runs) for metric in recorded):
            likeness = "statistically equal"
    return Comparison(spec, likeness, worst, *values)


def _gap(old: float, new: float) -> float:
    if old == new or (math.isnan(old) and math.isnan(new)):
        return 0.0
    if not (math.isfinite(old) and math.isfinite(new)):
        return math.inf
    return abs(new - old) / max(abs(old), abs(new))


def _same_curves(key: str, old: pd.DataFrame, new: pd.DataFrame) -> bool:
    order = ["split", "metric", "step"]
    first, second = (
        frame[frame["key"] == key].sort_values(order).reset_index(drop=True) for frame in (old, new)
    )
    return first.equals(second)


def _could_be_another(metric: str, old: pd.Series, new: pd.Series, runs: pd.DataFrame) -> bool:
    """Tell whether a value lies where another repetition of the published runs would."""
    cell = ["study", "experiment", "method", "scale", "role"]
    alike = runs[(runs[cell] == old[cell]).all(axis=1) & (runs["key"] != old["key"])]
    alike = alike[(alike["learning_rate"] == old["learning_rate"]) | pd.isna(old["learning_rate"])]
    values = alike[metric].to_numpy(np.float64)
    value = float(new[metric])
    if math.isnan(value) and math.isnan(float(old[metric])):
        return True
    if len(values) < FEWEST or not np.isfinite(values).all():
        return _gap(float(old[metric]), value) <= ROUNDING
    quantile = float(distributions.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    spread = quantile * values.std(ddof=1) * math.sqrt(1 + 1 / len(values))
    return bool(abs(value - values.mean()) <= spread)

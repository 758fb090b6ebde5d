"""Flügel et al. 2024, Fig. 4: the value that each approach comes to on closed-form functions, by dimension."""

from __future__ import annotations

import pandas as pd

from figures import headings, legends, marks, style
from figures.approaches import looks
from figures.fluegel2024_runs import (
    ENDS,
    FINAL,
    LOWEST,
    STUDY,
    bars,
    column_a_function,
    doubling,
    entries,
    function_title,
    functions,
    logarithmic_above,
    lowest_of,
    mean_row,
    narrowed,
    notes,
    per_dimension,
    published_row,
    words,
    write_words,
)
from figures.selection import frame, not_run, stack
from repro import measures
from repro.results import Results

FAMILY = "functions"
ARMS = {"published": "authors' rates", "tuned": "tuned rates"}
TITLE = (
    "Value that each approach ends at, over the dimension n. Top: the lowest of a run at the authors' learning rates, as they plot "
    "it. Bottom: the last, with every rate tuned for it under one budget. Mean over repetitions with its 95 % t interval; points "
    "stand side by side for legibility. Functions that get below zero are shown per dimension, the others on a logarithmic scale; "
    "what lies below its lowest power of ten, zeros too, stands beneath it, with no order among them. Grey: the final value at which the authors' search ended, seed 0. Crosses at the upper edge: a "
    "run diverged, so there is no mean."
)
HEIGHT = 2.3


def layout(table: pd.DataFrame) -> style.Layout:
    """Return a column of panels a function, a row an arm."""
    return column_a_function(table, len(ARMS), HEIGHT, 0.9)


def select(results: Results) -> pd.DataFrame:
    """Return the values of every function, dimension and approach, and what was published."""
    results = narrowed(results, FAMILY)
    runs = functions(results)
    runs = runs[runs["arm"].isin(list(ARMS))]
    if runs.empty:
        return not_run(FAMILY, note="no function was run")
    return stack(
        _panel(results, runs[(runs["arm"] == arm) & (runs["function"] == name)], f"{arm} {name}",
               per_dimension(runs["best_value"][runs["function"] == name]))
        for arm in ARMS
        for name in dict.fromkeys(runs["function"])
    )  # fmt: skip


def _panel(results: Results, runs: pd.DataFrame, panel: str, divided: bool) -> pd.DataFrame:
    parts = []
    for experiment in dict.fromkeys(runs["experiment"]):
        rows = measures.report_runs(results, experiment, study=STUDY)
        dimension = int(rows["num_parameters"].iloc[0])
        divisor = dimension if divided else 1
        if _nothing_to_descend(results, rows):
            parts.append(words(panel, dimension, "f = 0 from the start"))
            continue
        stated = _published(results, experiment.removeprefix(f"{FAMILY}-"))
        found = []
        metric, _ = ENDS.get(rows["arm"].iloc[0], LOWEST)
        values = measures.final_metrics(results, experiment, metric, study=STUDY)
        for method, measured in values.items():
            common = {"panel": panel, "series": method, "x": dimension}
            found.append({**common, **mean_row(measured, 1 / divisor)})
            if method in stated.index:
                found.append({**common, **published_row(stated[method], divisor)})
        parts.append(frame(found))
    return stack(parts) if parts else not_run(panel)


def _nothing_to_descend(results: Results, runs: pd.DataFrame) -> bool:
    """Whether the function is zero at the start and wherever the runs went: what is logarithmic has nothing to show."""
    points = measures.curve_rows(results, runs, "value", "none")
    start = points["value"][points["step"] == 0]
    return bool((start == 0).all() and (runs["best_value"] == 0).all())


def _published(results: Results, setting: str) -> pd.Series:
    """Return the final values of the authors' searches by approach; none for what they did not run."""
    facts = results.facts
    if facts.empty:
        return pd.Series(dtype="float64")
    wanted = (facts["study"] == STUDY) & (facts["quantity"] == FINAL)
    stated = facts[wanted & (facts["setting"] == setting)]
    return stated.set_index("method")["value"]


def draw(table: pd.DataFrame, axes: style.AxesGrid) -> None:
    """Draw a column for each function."""
    found = looks(table["series"])
    titles = []
    for panel, name in zip(axes.flat, dict.fromkeys(table["panel"]), strict=True):
        rows = table[table["panel"] == name]
        arm, _, function = name.partition(" ")
        # both arms of a function have one ordinate
        both = table[table["panel"].isin([f"{other} {function}" for other in ARMS])]
        divided = per_dimension(both["y"])
        label = f"{function_title(function)}, {ARMS.get(arm, '')}".rstrip(", ")
        titles.append((panel, label, notes(rows)))
        _, which = ENDS.get(arm, LOWEST)
        panel.set(xlabel="dimension n", ylabel=f"{which} value f{'/n' if divided else ''}")
        if marks.missing(panel, rows):
            continue
        doubling(panel, both["x"].dropna())
        highest = max(both["y"].max(), both["high"].max())
        if divided:
            low, high = both["y"].min(), both["y"].max()
            panel.set_ylim(low - 0.06 * (high - low), high + 0.12 * (high - low))
            bars(panel, rows, found)
        else:
            lowest = lowest_of(both["y"])
            bars(panel, rows, found, lowest, logarithmic_above(panel, lowest, highest))
        write_words(panel, rows)
    headings.titles(titles)
    if found:
        legends.key(axes, entries(table, found), 5)

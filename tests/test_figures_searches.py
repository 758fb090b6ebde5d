"""Figures of tuning: every trial where it ended, the winner by the rule, and what a smaller budget would have found."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from figure_rows import CLIPPED, drawn, text
from figure_rows import full as full

import figures
from figures import (
    approaches,
    fluegel2024_networks,
    learning_rate_sensitivity,
    learning_rate_sensitivity_many,
    rike2022_runs,
    searches,
    selection,
    tuning_budget,
    tuning_budget_many,
)
from repro.measures import BACKPROPAGATION, FORWARD_GRADIENT
from repro.results import Results


def test_trials_winners_and_divergences(full: Results) -> None:
    table = learning_rate_sensitivity.select(full)
    rows = table[table["panel"] == "rike2022 tuned-nn-sgd: mnist nn, SGD"]
    ours = rows[rows["series"] == FORWARD_GRADIENT]
    counts = ours["kind"].value_counts()
    assert (counts["point"], counts["diverged"], counts["winner"]) == (5, 4, 1)
    assert set(ours["diverged"]) == {4}
    assert set(ours["n"]) == {9}
    assert ours[ours["kind"] == "diverged"]["y"].isna().all()
    (winner,) = selection.each(ours[ours["kind"] == "winner"])
    assert winner.x == pytest.approx(10.0 ** (-6 + 7 * 2 / 8))
    assert winner.note == "trial 6"
    ranges = rows[rows["kind"] == "guide"][["low", "high"]].to_numpy().tolist()
    assert ranges == [[1e-6, 10.0], [10.0, 100.0]]  # the edge rule added a decade
    assert text(drawn(learning_rate_sensitivity, table)).count("4 of 9") == 9


def test_losses_beyond_the_axis_are_arrows_at_its_edge(full: Results) -> None:
    ceiling = learning_rate_sensitivity.CEILING
    tuned = full.runs["role"] == "tune"
    high = tuned & (full.runs["trial"] == 3) & (full.runs["method"] == f"{BACKPROPAGATION}, SGD")
    runs = full.runs.assign(score=full.runs["score"].mask(high, 7_000.0))
    table = learning_rate_sensitivity.select(dataclasses.replace(full, runs=runs))
    beyond = table[table["y"] > ceiling]
    assert len(beyond) == 3  # the table has what they ended at
    figure = drawn(learning_rate_sensitivity, table)
    arrows = [
        each
        for axes in figure.axes
        for each in axes.lines
        if each.get_marker() == learning_rate_sensitivity.ARROW and np.size(each.get_xdata())
    ]
    assert [np.asarray(each.get_ydata()).tolist() for each in arrows] == [[ceiling]] * 3
    assert all(max(axes.get_yticks()) <= 1.1 * ceiling for axes in figure.axes)
    (legend,) = figure.legends
    assert "above 10 nats" in [entry.get_text() for entry in legend.get_texts()]


def test_a_panel_for_every_searched_comparison(full: Results) -> None:
    table = learning_rate_sensitivity.select(full)
    layout = figures.layout_of(learning_rate_sensitivity, table)
    assert (layout.rows, layout.cols) == (3, 3)
    kept = full.runs["experiment"].isin([f"tuned-nn-{name}" for name in rike2022_runs.OPTIMIZERS])
    tuned = full.runs["role"] == "tune"
    few = dataclasses.replace(full, runs=full.runs[kept | ~tuned])
    four = full.runs[tuned & kept].iloc[:9].assign(study="another2030", method="mine", search="e")
    more = dataclasses.replace(few, runs=pd.concat([few.runs, four], ignore_index=True))
    figure = drawn(tuning_budget, tuning_budget.select(more))
    assert [axes.axison for axes in figure.axes] == [True] * 4 + [False] * 2
    assert sum("another2030" in axes.get_title() for axes in figure.axes) == 1
    assert "rike2022" in figure.get_suptitle()


def test_comparisons_of_many_methods_have_panels_with_room(full: Results) -> None:
    for module, few in (
        (learning_rate_sensitivity_many, learning_rate_sensitivity),
        (tuning_budget_many, tuning_budget),
    ):
        table, others = module.select(full), few.select(full)
        assert not set(table["panel"]) & set(others["panel"])
        assert set(table["series"]) >= set(fluegel2024_networks.APPROACHES)
        assert set(others["series"]) & set(fluegel2024_networks.APPROACHES) <= set(selection.BOTH)
        tall, low = (figures.layout_of(m, t) for m, t in ((module, table), (few, others)))
        assert tall.height / tall.rows > low.height / low.rows
    table = learning_rate_sensitivity_many.select(full)
    shown = text(drawn(learning_rate_sensitivity_many, table))
    assert shown.count("1 of 4") == len(fluegel2024_networks.APPROACHES)
    shown = text(drawn(tuning_budget_many, tuning_budget_many.select(full)))
    behind = [
        line.partition(": ")[0] for line in shown.splitlines() if "never" in line or ": " in line
    ]
    ordered = [name for name in behind if name in fluegel2024_networks.APPROACHES]
    assert ordered == approaches.ordered(ordered)


def test_smaller_budgets_are_read_off_the_search(full: Results) -> None:
    table = tuning_budget.select(full)
    rows = table[table["panel"].str.startswith("rike2022 tuned-nn-sgd")]
    best = rows[(rows["kind"] == "best") & (rows["series"] == BACKPROPAGATION)]
    trials = next(s for s in searches.searched(full) if "tuned-nn-sgd" in s.panel).trials
    scores = trials[BACKPROPAGATION]["score"].to_numpy()
    np.testing.assert_array_equal(best["y"], np.minimum.accumulate(scores[:8]))
    assert best["n"].tolist() == [8] * 8  # without the trial of the edge rule
    words = rows[rows["kind"] == "settled"].set_index("series")["note"]
    assert words[CLIPPED].startswith(f"{CLIPPED}: behind from m=2, ")
    assert words[CLIPPED].endswith(tuning_budget.NEVER)
    # what is said of nearly all pairs stands in the caption, once
    shown = text(drawn(tuning_budget, table))
    assert words[CLIPPED] not in shown.replace(":\n", ": ")
    reach = int(rows["y"][rows["kind"] == "settled"].max())
    assert f" up to m = {reach} of 8 trials, " in tuning_budget.caption(table)
    assert "8 trials each" in shown


def test_what_is_certain_stands_in_its_panel(full: Results) -> None:
    table = tuning_budget.select(full)
    note = f"{CLIPPED}: behind from m=2, certain at 1"
    settled = table["panel"].str.startswith("rike2022 tuned-nn-sgd") & (table["kind"] == "settled")
    one = settled & (table["series"] == CLIPPED)
    sure = table.assign(low=table["low"].mask(one, 1.0), note=table["note"].mask(one, note))
    panels = drawn(tuning_budget, sure).axes
    told = [t.get_text() for axes in panels for t in axes.texts if t.get_text()]
    assert told == [note.replace(": ", ":\n")]


def test_no_band_is_drawn_over_the_words(full: Results) -> None:
    table = tuning_budget.select(full)
    assert np.isinf(table["low"][table["kind"] == "expected"]).any()
    table.loc[table["kind"] == "settled", "low"] = 1.0  # everything is certain, and said
    for axes in drawn(tuning_budget, table).axes:
        assert not axes.collections
        words = min(t.get_window_extent().y0 for t in axes.texts)
        for each in axes.lines:
            heights = axes.transData.transform(each.get_xydata())[:, 1]
            assert np.nanmax(heights, initial=0) < words


def test_no_loss_while_every_trial_has_diverged(full: Results) -> None:
    first = (full.runs["role"] == "tune") & (full.runs["trial"] == 0)
    runs = full.runs.assign(
        status=full.runs["status"].mask(first, "diverged"),
        score=full.runs["score"].mask(first, 1_000.0),
    )
    table = tuning_budget.select(dataclasses.replace(full, runs=runs))
    best = table[table["kind"] == "best"]
    assert best["y"][best["x"] == 1].isna().all()
    assert best["y"][best["x"] > 1].max() < 3
    assert "not run" not in text(drawn(tuning_budget, table))


def test_trials_come_at_the_scale_of_what_is_reported(full: Results) -> None:
    tuned = full.runs[full.runs["role"] == "tune"]
    larger = tuned.assign(scale="full", key="f" + tuned["key"], score=9.0)
    reduced = full.runs.assign(scale="reduced")
    both = dataclasses.replace(full, runs=pd.concat([reduced, larger], ignore_index=True))
    assert {found.scale for found in searches.searched(both)} == {"reduced"}
    alone = dataclasses.replace(both, runs=both.runs[both.runs["role"] == "tune"])
    assert {found.scale for found in searches.searched(alone)} == {"full"}
    figure = drawn(learning_rate_sensitivity, learning_rate_sensitivity.select(both))
    assert figure.get_suptitle() == "All panels: rike2022, 9 trials each, reduced scale"


def test_an_unfinished_search_counts_up_to_its_first_gap() -> None:
    trials = pd.DataFrame(
        {"number": [0, 1, 3], "rate": [1e-3, 1e-2, 1e-1], "refines": False, "score": 1.0}
    )
    assert searches.declared(trials)["number"].tolist() == [0, 1]
    added = trials.assign(number=[0, 1, 2], rate=[1e-3, 1e-2, 20.0])
    assert searches.declared(added)["number"].tolist() == [0, 1]
    beside = added.assign(rate=[1e-3, 1e-2, 2e-2], refines=[False, False, True])
    assert searches.declared(beside)["number"].tolist() == [0, 1]
    unscored = added.assign(rate=1e-3, score=[1.0, 1.0, math.inf])
    assert searches.declared(unscored)["number"].tolist() == [0, 1]


def test_a_trial_of_which_a_run_has_no_score_never_wins(full: Results) -> None:
    ours = full.runs[full.runs["experiment"] == "tuned-nn-sgd"]
    first = ours["trial"] == 0
    # the score of its other run would be the best of all
    good = ours.assign(score=ours["score"].mask(first, 0.01))
    none = ours[first].assign(key="b" + ours["key"][first], repetition=1, score=math.nan)
    twice = dataclasses.replace(full, runs=pd.concat([good, none], ignore_index=True))
    table = learning_rate_sensitivity.select(twice)
    assert "trial 0" not in set(table["note"][table["kind"] == "winner"])
    shown = table[(table["kind"] == "point") & (table["note"] == "trial 0")]
    assert len(shown)
    assert shown["y"].isna().all()
    drawn(learning_rate_sensitivity, table)
    # it ends the part of the search that tells what a smaller budget would have found
    assert tuning_budget.select(twice)["kind"].tolist() == ["not run"]


def test_of_trials_that_were_run_again_one_wins_by_its_mean(full: Results) -> None:
    ours = full.runs[full.runs["experiment"] == "tuned-nn-sgd"]
    scores = dict.fromkeys(ours["trial"].dropna().unique(), 9.0) | {0: 1.0, 1: 2.0, 2: 3.0}
    once = ours.assign(score=ours["trial"].map(scores), status="done")
    again = once[once["trial"] < 2]
    again = again.assign(key="b" + again["key"], repetition=1, stage="final")
    again["score"] = again["trial"].map({0: 8.0, 1: 2.5})
    twice = dataclasses.replace(full, runs=pd.concat([once, again], ignore_index=True))
    table = learning_rate_sensitivity.select(twice)
    assert set(table["note"][table["kind"] == "winner"]) == {"trial 1"}
    shown = {
        n: set(table["y"][(table["kind"] == "point") & (table["note"] == f"trial {n}")])
        for n in range(3)
    }
    assert shown == {0: {4.5}, 1: {2.25}, 2: {3.0}}
    # a first run whose file is damaged, and was skipped, costs no figure
    lost = once["key"][once["trial"] == 0].iloc[0]
    left = dataclasses.replace(full, runs=twice.runs[twice.runs["key"] != lost])
    assert len(learning_rate_sensitivity.select(left)) == len(table)
    # a smaller budget would have had the first runs alone
    without = dataclasses.replace(full, runs=once)
    pd.testing.assert_frame_equal(tuning_budget.select(twice), tuning_budget.select(without))


def test_searches_on_functions_have_figures_of_their_own(full: Results) -> None:
    searched = full.runs[full.runs["experiment"] == "tuned-nn-sgd"]
    searched = searched[searched["role"] == "tune"]
    functions = searched.assign(
        study="fluegel2024",
        experiment="functions-tuned-sphere-2",
        key="f" + searched["key"],
        value=1.0,
    )
    functions["value"] = functions["value"].mask(functions["status"] == "diverged")
    both = dataclasses.replace(full, runs=pd.concat([full.runs, functions], ignore_index=True))
    for module in (learning_rate_sensitivity, tuning_budget):
        pd.testing.assert_frame_equal(module.select(both), module.select(full))


def test_two_budgets_of_one_problem_are_told_apart_by_their_steps(
    full: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = full.runs
    short = rows[rows["experiment"] == "networks-tuned-fc256-mnist"]
    short = short.assign(problem="fc256-mnist", num_steps=782)
    longer = short.assign(experiment="networks-passes-fc256-mnist", num_steps=3_714)

    def headings(*tables: pd.DataFrame) -> list[str]:
        runs = full.beside(pd.concat(tables, ignore_index=True))
        return [searches.heading_of(found.panel) for found in searches.searched(runs, many=True)]

    assert headings(short) == ["FC 256, MNIST"]
    assert headings(short, longer) == ["FC 256, MNIST\n(3,714 steps)", "FC 256, MNIST\n(782 steps)"]
    # where there is no room for all, the longer one stays
    monkeypatch.setattr(searches, "MOST", 1)
    assert headings(short) == ["FC 256, MNIST"]
    assert headings(short, longer) == ["FC 256, MNIST\n(3,714 steps)"]

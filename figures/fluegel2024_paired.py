"""Flügel et al. 2024: projection less mean at equal k on networks, paired, beside the history of their searches."""

from __future__ import annotations

from figures.fluegel2024_networks import (
    ARMS,
    SETTINGS,
    TANGENTS,
    Setting,
    difference,
    interval,
    state,
    state_columns,
    stated,
)
from repro.results import Results
from repro.tables import Cell, Column, Table

TITLE = (
    "Projection less mean at equal k on networks: where the authors' searches ended (validation loss, nats), and our runs at their rates "
    "and at tuned ones (validation loss and test accuracy at the epoch of the lowest validation loss)"
)
COLUMNS = (
    Column("network", "Network, data", "left"),
    Column("k", "k"),
    Column("history", "Loss, history", format="+.4f"),
    *(
        column
        for arm, title in (("rerun", "re-run"), ("tuned", "tuned"))
        for column in (
            Column(f"{arm}_loss", f"Loss, {title}", format="+.3f", interval=True),
            Column(f"{arm}_accuracy", f"Test accuracy, {title}", format="+.3f", interval=True),
            *state_columns(arm),
        )
    ),
)
NOTES = (
    "A loss below zero, or an accuracy above, means that the projection is ahead. Ours: mean over paired repetitions (n) with its "
    "95 % paired-t interval. n/a: one of the runs diverged.",
    "History: one search each, seed 0, the last epoch. Its rule treats rates within 5 % of the lowest loss as equally good, and the "
    "searches could not go beyond a rate of 1, which binds against the projection.",
)


def table(results: Results) -> Table:
    """Return a row for every network, data set and number of tangents."""
    rows = tuple(_row(results, of, k) for of in SETTINGS for k in TANGENTS)
    return Table("fluegel2024_paired", TITLE, COLUMNS, rows, NOTES)


def _row(results: Results, of: Setting, k: int) -> tuple[Cell, ...]:
    pair = (f"projection, k={k}", f"mean, k={k}")
    ours, theirs = (stated(results, of, method, "best search score") for method in pair)
    cells: list[Cell] = [of.label, k, ours - theirs]
    for arm in ARMS:
        found = [
            difference(results, of, arm, *pair, metric)
            for metric in ("best_validation_loss", "best_test_accuracy")
        ]
        cells += [*map(interval, found), *state(found)]
    return tuple(cells)

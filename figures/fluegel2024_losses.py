"""Flügel et al. 2024: the validation losses at which their searches on networks ended, beside those of our runs."""

from __future__ import annotations

from figures.fluegel2024_networks import (
    APPROACHES,
    SETTINGS,
    Setting,
    final,
    interval,
    rate,
    state,
    state_columns,
    stated,
)
from repro.results import Results
from repro.tables import Cell, Column, Table

TITLE = (
    "Validation losses (nats) on networks: where the authors' searches ended, according to the history of their repository, and our "
    "runs at their rates and at tuned ones"
)
COLUMNS = (
    Column("network", "Network, data", "left"),
    Column("method", "Approach", "left"),
    Column("searched_rate", "Rate, searched", format=".3g"),
    Column("history", "Loss, history", format=".4f"),
    Column("used_rate", "Rate, re-run", format=".3g"),
    Column("rerun_last", "Last epoch, re-run", format=".3f", interval=True),
    Column("rerun_best", "Best epoch, re-run", format=".3f", interval=True),
    *state_columns("rerun"),
    Column("tuned_rate", "Rate, tuned", format=".3g"),
    Column("tuned_best", "Best epoch, tuned", format=".3f", interval=True),
    *state_columns("tuned"),
)
NOTES = (
    "History: seed 0, the last epoch, after early stopping; ResNet18 and ViT were searched for 50 epochs. For these two the authors "
    "later replaced backpropagation's rate by 0.1: the loss belongs to the searched rate, the re-run to 0.1.",
    "Re-run and tuned: mean over repetitions (n) with its 95 % t interval. Only at full scale are budgets those of the history. "
    "n/a: one of the runs diverged.",
)


def table(results: Results) -> Table:
    """Return a row for every approach on every network and data set."""
    rows = tuple(_row(results, of, method) for of in SETTINGS for method in APPROACHES)
    return Table("fluegel2024_losses", TITLE, COLUMNS, rows, NOTES)


def _row(results: Results, of: Setting, method: str) -> tuple[Cell, ...]:
    last, best = (
        final(results, of, "published", method, f"{prefix}validation_loss")
        for prefix in ("", "best_")
    )
    tuned = final(results, of, "tuned", method, "best_validation_loss")
    return (
        of.label,
        method,
        stated(results, of, method, "best learning_rate"),
        stated(results, of, method, "best search score"),
        rate(results, of, "published", method),
        interval(last),
        interval(best),
        *state([last]),
        rate(results, of, "tuned", method),
        interval(tuned),
        *state([tuned]),
    )

"""Flügel et al. 2024, Table 1: test accuracy of the eight approaches on ResNet18 and ViT."""

from __future__ import annotations

from figures.fluegel2024_networks import ACCURACY_COLUMNS, ACCURACY_NOTES, LARGE, accuracy_rows
from repro.results import Results
from repro.tables import Table

TITLE = (
    "Test accuracy on ResNet18 and ViT, the cells of Table 1: what was published, our runs at the authors' rates, and with every rate "
    "tuned under one budget"
)


def table(results: Results) -> Table:
    """Return a row for every approach on every network and data set."""
    rows = accuracy_rows(results, LARGE, "Table 1")
    return Table("fluegel2024_table1", TITLE, ACCURACY_COLUMNS, rows, ACCURACY_NOTES)

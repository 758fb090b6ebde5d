"""Flügel et al. 2024, Fig. 6, as numbers: test accuracy of the eight approaches on fully connected networks."""

from __future__ import annotations

from figures.fluegel2024_networks import (
    ACCURACY_COLUMNS,
    ACCURACY_NOTES,
    FULLY_CONNECTED,
    accuracy_rows,
)
from repro.results import Results
from repro.tables import Table

TITLE = (
    "Test accuracy on fully connected networks of three widths, the points of Fig. 6: what was published, our runs at the authors' "
    "rates, and with every rate tuned under one budget"
)


def table(results: Results) -> Table:
    """Return a row for every approach at every width."""
    rows = accuracy_rows(results, FULLY_CONNECTED, "Fig. 6")
    return Table("fluegel2024_fig6_values", TITLE, ACCURACY_COLUMNS, rows, ACCURACY_NOTES)

"""Publishing: finished runs become rows of a snapshot, from a store, or from folders that others have sent.

A snapshot is a pair of Parquet files a study, wherever it lies: that of the repository grows by `publish`, and a
campaign elsewhere travels as one of its own, which `publish` writes too and `merge` brings home.

Rows of a plan that a study has changed since would be averaged with those of the new plan, so they stay out, as do
reported runs that are superseded. `Planned` also takes out such rows that are published already, if it is asked to.
"""

from repro.publishing.merging import ContradictionError, merge, publish
from repro.publishing.planned import Count, Planned, retirable

__all__ = [
    "ContradictionError",
    "Count",
    "Planned",
    "merge",
    "publish",
    "retirable",
]

"""Results: finished runs as files, published rows as Parquet, and one table that is the union of both.

A finished run is one JSON file named by the run's key, written whole and renamed into place, with a
checksum of its own content: the file is checkpoint and message at once. `repro.publishing` merges finished runs into
the snapshot that is committed, two Parquet files per study:

* **runs**, one row per run: identity, hyperparameters, final metrics, cost, environment (`RUN_COLUMNS`);
* **curves**, long: key, step, epoch, split, metric, value (`CURVE_COLUMNS`), at most 500 points per metric.

Reading never trusts a file: one that is truncated, foreign or of another schema is reported by name and
skipped, and nothing here overwrites or deletes it. An index beside the files spares reading all of them again.
"""

from repro.results.holds import HeldError, hold
from repro.results.index import Indexed, read_indexed
from repro.results.records import Curve, Record, RejectedFileError, check, read_record
from repro.results.schema import (
    COST,
    CURVE_COLUMNS,
    ENVIRONMENT,
    FACT_COLUMNS,
    HYPERPARAMETERS,
    IDENTITY,
    LATER_COLUMNS,
    MAX_POINTS,
    METRICS,
    RUN_COLUMNS,
    SCHEMA,
    SEARCH,
)
from repro.results.snapshot import (
    check_curves,
    load,
    load_runs,
    published_curves,
    read_published,
    read_published_runs,
    write_curves,
    write_parquet,
)
from repro.results.store import Store, read_store, remove_leftovers, write_whole
from repro.results.superseded import superseded, winning_trial
from repro.results.table import (
    EmptySelectionError,
    Memory,
    Results,
    consolidated,
    select,
    sort_curves,
    sort_runs,
    tabulate,
    tabulate_facts,
)

__all__ = [
    "COST",
    "CURVE_COLUMNS",
    "ENVIRONMENT",
    "FACT_COLUMNS",
    "HYPERPARAMETERS",
    "IDENTITY",
    "LATER_COLUMNS",
    "MAX_POINTS",
    "METRICS",
    "RUN_COLUMNS",
    "SCHEMA",
    "SEARCH",
    "Curve",
    "EmptySelectionError",
    "HeldError",
    "Indexed",
    "Memory",
    "Record",
    "RejectedFileError",
    "Results",
    "Store",
    "check",
    "check_curves",
    "consolidated",
    "hold",
    "load",
    "load_runs",
    "published_curves",
    "read_indexed",
    "read_published",
    "read_published_runs",
    "read_record",
    "read_store",
    "remove_leftovers",
    "select",
    "sort_curves",
    "sort_runs",
    "superseded",
    "tabulate",
    "tabulate_facts",
    "winning_trial",
    "write_curves",
    "write_parquet",
    "write_whole",
]

"""The columns of the tables, by kind, and the version of the files that hold them."""

from __future__ import annotations

SCHEMA = 1
"""Version of the files; readers skip, and name, any other."""

IDENTITY = {
    "key": "str",
    "study": "str",
    "arm": "str",
    "scale": "str",
    "experiment": "str",
    "problem": "str",
    "method": "str",
    "role": "str",
    "repetition": "int64",
    "task": "str",
    "status": "str",
}
HYPERPARAMETERS = {"learning_rate": "float64", "decay": "float64"}
SEARCH = {
    "trial": "float64",  # number of the trial in its search; missing for reported runs
    "search": "str",  # digest of the search; empty for reported runs
    "stage": "str",  # of a search: `refinement` beside a method's own winner, `final` for further runs of its best, or empty
}
METRICS = {
    "score": "float64",  # what a search minimises; finite for diverged runs, too
    "diverged_step": "float64",
    "value": "float64",
    "best_value": "float64",  # lowest of all steps
    "train_loss": "float64",  # nats, mean over the last mini-batch
    "validation_loss": "float64",  # nats, mean over the split
    "validation_accuracy": "float64",  # fraction
    "test_loss": "float64",
    "test_accuracy": "float64",
    "test_last_batch_loss": "float64",  # nats, mean over the last mini-batch of a shuffled pass
    "best_step": "float64",  # step of the lowest validation loss, for runs with early stopping
    "best_validation_loss": "float64",  # at that step, like the next three
    "best_validation_accuracy": "float64",
    "best_test_loss": "float64",
    "best_test_accuracy": "float64",
    "parameter_norm": "float64",
}
COST = {
    "num_parameters": "int64",
    "num_steps": "int64",
    "forward_passes": "float64",  # equivalents, over the run
    "tangents": "float64",  # drawn over the run
    "seconds": "float64",  # synchronised, of training without evaluation, shared by the runs of a group
    "wall_seconds": "float64",  # from start to end, with preparation and evaluation; a run's share of its group's
    "processor_seconds": "float64",  # those of `wall_seconds` in which a processor worked on it; missing for timings and on CUDA
    "step_seconds": "float64",  # timing runs: median of a step
    "step_seconds_low": "float64",  # lower quartile
    "step_seconds_high": "float64",  # upper quartile
    "peak_bytes": "float64",  # allocator's peak over one step
}
ENVIRONMENT = {
    "commit": "str",
    "repro": "str",
    "torch": "str",
    "python": "str",
    "device": "str",
    "num_threads": "int64",
    "group_size": "int64",  # runs trained together, stacked
    "load": "float64",  # other work on the machine: load average before the run, in processes
    "finished": "str",  # UTC
}
RUN_COLUMNS = {
    **IDENTITY,
    **SEARCH,
    **HYPERPARAMETERS,
    **METRICS,
    **COST,
    **ENVIRONMENT,
    "spec": "str",
}
LATER_COLUMNS = (
    "trial",
    "search",
    "stage",
    "test_last_batch_loss",
    "wall_seconds",
    "processor_seconds",
    "best_value",
    "best_step",
    "best_validation_loss",
    "best_validation_accuracy",
    "best_test_loss",
    "best_test_accuracy",
)
"""Columns that older files of this schema lack; they read as missing."""
CURVE_COLUMNS = {
    "key": "str",
    "step": "int64",
    "epoch": "float64",
    "split": "str",
    "metric": "str",
    "value": "float64",
}
MAX_POINTS = 500
"""The most points of a metric that the curves table keeps of a run."""

FACT_COLUMNS = {
    "study": "str",
    "item": "str",
    "quantity": "str",
    "method": "str",
    "setting": "str",
    "x": "float64",
    "value": "float64",
    "text": "str",
    "source": "str",
}

"""Superseded runs: reported at what was once the best trial of a search, which has found and reported a better one.

A search that gets further trials, or runs of its best trials, keeps those it has. If the winner is another then, the
method is run and reported again at its setting; averaged with the older reported runs it would be a mean over two settings.
"""

from __future__ import annotations

import pandas as pd

from repro.protocol import FINAL, best_trial
from repro.results.schema import HYPERPARAMETERS

METHOD = ["study", "experiment", "scale", "method"]


def winning_trial(trials: pd.DataFrame) -> float:
    """Return which trial of a method a search chose, or would if it ended with these rows.

    Args:
        trials: Rows of the trials.

    Returns:
        Its number, see `repro.protocol.best_trial`.
    """
    scores = trials.groupby("trial")["score"].agg(list).to_dict()
    again = trials["trial"][trials["stage"] == FINAL].value_counts()
    # one of fewer runs was interrupted
    return float(best_trial(scores, again.index[again == again.max()].tolist()))


def superseded(runs: pd.DataFrame) -> pd.Series:
    """Tell which rows report a searched method elsewhere than at its best trial, although it is reported there, too.

    `best_trial` says which trial is the best.

    Args:
        runs: A runs table.

    Returns:
        A boolean per row.
    """
    values = list(HYPERPARAMETERS)
    nothing = pd.Series(False, index=runs.index)
    reported = runs.loc[runs["role"] == "report", [*METHOD, *values]]
    several = reported.drop_duplicates()
    several = several.loc[several.duplicated(METHOD), METHOD].drop_duplicates()
    trials = runs.loc[runs["role"] == "tune", [*METHOD, *values, "trial", "stage", "score"]]
    trials = trials.merge(several, on=METHOD)
    if not len(trials):
        return nothing
    best = pd.concat([_best_run(own) for _, own in trials.groupby(METHOD)])[[*METHOD, *values]]
    # equal keys side by side, missing values too: one was not searched
    at_best = reported.reset_index().merge(best, on=[*METHOD, *values]).set_index("index")
    told = reported.reset_index().merge(at_best[METHOD].drop_duplicates(), on=METHOD)
    return nothing | nothing.index.isin(set(told["index"]) - set(at_best.index))


def _best_run(trials: pd.DataFrame) -> pd.DataFrame:
    """Return a row of the best trial of a method."""
    return trials[trials["trial"].eq(winning_trial(trials))].head(1)

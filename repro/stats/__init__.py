"""Statistics: how far a result can be trusted, given the few runs that training allows.

`intervals` says how certain a number is, `multiplicity` what a p-value is worth among many, `curves` when
a recorded curve reaches a level, and `tuning` what a hyperparameter search would have found with fewer
trials. Everything is arithmetic on plain vectors: no function here knows a run, a method or a table.
"""

from repro.stats.curves import first_crossing
from repro.stats.intervals import (
    Interval,
    binomial_interval,
    bootstrap_interval,
    mean_interval,
    median_interval,
    paired_p_value,
    ratio_interval,
    slope_interval,
    welch_interval,
)
from repro.stats.multiplicity import holm, sign_p_value, smallest_two_sided_p
from repro.stats.tuning import (
    Settled,
    TuningCurve,
    best_so_far,
    ranking_settled,
    tuning_curve,
    winner_at,
)

__all__ = [
    "Interval",
    "Settled",
    "TuningCurve",
    "best_so_far",
    "binomial_interval",
    "bootstrap_interval",
    "first_crossing",
    "holm",
    "mean_interval",
    "median_interval",
    "paired_p_value",
    "ranking_settled",
    "ratio_interval",
    "sign_p_value",
    "slope_interval",
    "smallest_two_sided_p",
    "tuning_curve",
    "welch_interval",
    "winner_at",
]

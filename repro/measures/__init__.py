"""Measures: the numbers that claims, tables and figures quote, each computed in one place.

A measure takes the results and names (an experiment, a method, a metric) and returns a `Measurement`: an
interval, the keys of the runs behind it, and what a reader must know beside it. Rules shared by all:

* Only rows of the role `report` count, of one scale (the largest at which all methods have two runs, never
  mixed), and for timing runs of one machine: the device and thread count with the most rows.
* Methods are compared repetition by repetition, and step times round by round: both are paired by design.
* A diverged run has no final metric and never reaches a loss. The measurement counts it, and a mean is then
  undefined (NaN within unbounded bounds) rather than taken over the survivors.
* The bounds of a measure that samples are at its keyword `confidence`. One without the keyword has bounds that no
  confidence moves: an exact quantity, the range of what was seen, or the next trials of a search; its interval says 1.
* If nothing was run, a measure raises `repro.results.EmptySelectionError`.
"""

from repro.measures.cost import (
    paired_step_times,
    peak_memory_ratio,
    step_seconds,
    step_time_ratio,
    step_time_ratio_trend,
    step_time_ratio_without,
)
from repro.measures.crossings import steps_to_loss_ratio, time_to_loss_ratio
from repro.measures.descent import (
    DIRECTION,
    RATE,
    TOTAL,
    descent_differences,
    missed_descent,
    missed_descent_change,
)
from repro.measures.equal import (
    ROOM,
    missed_change_at_equal,
    missed_shares,
    paired_difference_at_equal,
)
from repro.measures.families import (
    curve_extreme,
    members,
    paired_p,
    published_pairs,
    published_share,
    rate_ratio,
    share_lower,
    tuning_seed_share,
)
from repro.measures.final import (
    curve_at,
    curve_end,
    curve_spread_ratio,
    diverged_share,
    final_metric,
    final_metrics,
    paired_difference,
    paired_ratio,
)
from repro.measures.moments import estimate_ratio, mean_square_error
from repro.measures.rates import change_beyond, difference_between
from repro.measures.rows import (
    BACKPROPAGATION,
    FORWARD_GRADIENT,
    LARGEST_FIRST,
    Measurement,
    curve_rows,
    pairs,
    report_runs,
    runs_at_one_setting,
    scale_shown,
)
from repro.measures.trials import (
    chosen_rate,
    chosen_rate_ratio,
    diverged_trials_difference,
    first_runs,
    trial_scores,
    usable_rate_ratio,
)

__all__ = [
    "BACKPROPAGATION",
    "DIRECTION",
    "FORWARD_GRADIENT",
    "LARGEST_FIRST",
    "RATE",
    "ROOM",
    "TOTAL",
    "Measurement",
    "change_beyond",
    "chosen_rate",
    "chosen_rate_ratio",
    "curve_at",
    "curve_end",
    "curve_extreme",
    "curve_rows",
    "curve_spread_ratio",
    "descent_differences",
    "difference_between",
    "diverged_share",
    "diverged_trials_difference",
    "estimate_ratio",
    "final_metric",
    "final_metrics",
    "first_runs",
    "mean_square_error",
    "members",
    "missed_change_at_equal",
    "missed_descent",
    "missed_descent_change",
    "missed_shares",
    "paired_difference",
    "paired_difference_at_equal",
    "paired_p",
    "paired_ratio",
    "paired_step_times",
    "pairs",
    "peak_memory_ratio",
    "published_pairs",
    "published_share",
    "rate_ratio",
    "report_runs",
    "runs_at_one_setting",
    "scale_shown",
    "share_lower",
    "step_seconds",
    "step_time_ratio",
    "step_time_ratio_trend",
    "step_time_ratio_without",
    "steps_to_loss_ratio",
    "time_to_loss_ratio",
    "trial_scores",
    "tuning_seed_share",
    "usable_rate_ratio",
]

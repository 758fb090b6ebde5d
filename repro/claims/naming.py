"""What a check may name: a measure with its settings, and what a study declares."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping

from repro import measures
from repro.measures import Measurement
from repro.protocol import (
    EXPERIMENT_SETTINGS,
    Check,
    Study,
    choose,
    refuse_other_settings,
    spread,
)

MEASURES: dict[str, Callable[..., Measurement]] = {
    measure.__name__: measure
    for measure in (
        measures.final_metric,
        measures.paired_difference,
        measures.paired_difference_at_equal,
        measures.paired_ratio,
        measures.peak_memory_ratio,
        measures.curve_at,
        measures.curve_end,
        measures.missed_change_at_equal,
        measures.curve_spread_ratio,
        measures.diverged_share,
        measures.chosen_rate,
        measures.chosen_rate_ratio,
        measures.diverged_trials_difference,
        measures.step_time_ratio,
        measures.step_time_ratio_trend,
        measures.step_time_ratio_without,
        measures.steps_to_loss_ratio,
        measures.time_to_loss_ratio,
        measures.mean_square_error,
        measures.estimate_ratio,
        measures.curve_extreme,
        measures.change_beyond,
        measures.difference_between,
        measures.missed_descent,
        measures.missed_descent_change,
        measures.published_share,
        measures.rate_ratio,
        measures.share_lower,
        measures.tuning_seed_share,
        measures.usable_rate_ratio,
    )
}
"""What a check may name."""
CONFIDENCE = "confidence"
"""Setting of the measures that sample, which is the verdict's to choose and not the check's."""
METHODS = (
    "method", "last_method", "baseline", "base", "numerator", "denominator", "part", "a", "b", "minus",
)  # fmt: skip
"""Settings of measures that are names of methods, in all experiments that the others name, or in one of two."""


def samples(measure: str) -> bool:
    """Tell whether a measure estimates from a sample, so that its bounds depend on the confidence asked for."""
    return CONFIDENCE in inspect.signature(MEASURES[measure]).parameters


def refuse_unknown(study: Study, others: Iterable[Study] | None = None) -> None:
    """Refuse a check whose measure, setting, experiment or method there is not.

    Args:
        study: The study.
        others: Studies on whose rows its checks may rest, too; left out, names in them are not looked up.

    Raises:
        ValueError: Of the first such check, with its claim.
    """
    known = {each.name: each for each in (*(others or ()), study)}
    for claim in study.claims:
        for check in claim.checks:
            for part in check.parts:
                try:
                    _refuse_unknown(part, study, known, closed=others is not None)
                except ValueError as error:
                    raise ValueError(
                        f"Study {study.name!r}, claim {claim.number}, check {part.label!r}: {error}"
                    ) from error


def _refuse_unknown(check: Check, study: Study, known: Mapping[str, Study], closed: bool) -> None:
    name, options = check.measure.name, check.measure.options()
    choose(MEASURES, [name], "measure", "repro/claims/naming.py")
    _, *parameters = inspect.signature(MEASURES[name]).parameters.values()  # first: results
    parameters = [p for p in parameters if p.name != CONFIDENCE]
    refuse_other_settings("measure", name, parameters, options, filled=("study",))
    whose = str(options.get("study", study.name))
    if closed:
        choose(known, [whose], "study")
    if whose not in known:
        return
    declared = {e.name: {m.name for m in e.methods} for e in known[whose].experiments}
    values = {p.name: str(options.get(p.name, p.default) or "") for p in parameters}
    experiments: list[str] = []
    for part in (values[each] for each in EXPERIMENT_SETTINGS if values.get(each)):
        family = spread(declared, [part]) if part == values.get("family") else (part,)
        experiments += choose(declared, family, "experiment")
    apart = {"method": "first", "last_method": "last"} if values.get("last_method") else {}
    for setting in METHODS:
        method = values.get(setting)
        if not method or method == "previous":
            continue
        for experiment in [values[apart[setting]]] if setting in apart else experiments:
            choose(sorted(declared[experiment]), [method], f"method of {experiment!r}")

"""The rules, in the order in which a comparison is made: search, scores, settings, repetitions, cost."""

from repro.audit.findings import Rule
from repro.audit.rules import cost, ranges, repetitions, scores, search, settings

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        search.budget,
        ranges.space,
        ranges.edge,
        search.baseline,
        search.shared,
        search.winner,
        search.horizon,
        scores.selection,
        scores.objective,
        scores.metric,
        scores.learned,
        settings.settings,
        settings.transfer,
        settings.stated,
        repetitions.seeds,
        repetitions.repetitions,
        repetitions.interval,
        repetitions.divergence,
        repetitions.survivors,
        repetitions.rank,
        repetitions.multiplicity,
        cost.cost,
    )
}
"""Every rule by name."""

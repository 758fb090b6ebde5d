"""Is a comparison fair? Rules over what is known of it, ours, a paper's, or anybody's finished search."""

from repro.audit.evidence import Evidence
from repro.audit.findings import Finding, Part, Rule, Status, judge
from repro.audit.rules import RULES

__all__ = ["RULES", "Evidence", "Finding", "Part", "Rule", "Status", "audit", "judge"]


def audit(evidence: Evidence) -> tuple[Finding, ...]:
    """Return what every rule says of a comparison, in the rules' order.

    Args:
        evidence: What is known of it.

    Returns:
        One finding a rule.
    """
    return tuple(judge(rule, evidence) for rule in RULES.values())

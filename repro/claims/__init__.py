"""Claims become verdicts: every check of a claim is measured on the results table, and only there.

A check holds if the whole interval of what was measured lies within what the claim says, fails if the
interval lies outside it, and is undecided if it reaches across. That is at 95 %, each check by itself.
A claim all of whose checks hold is `reproduced`. Of many checks some hold or fail by chance, so what some of them
say counts if at least one says it beyond chance: by Holm's rule, over all checks of the claim. If one holds beyond
chance the claim is `partly`; else, if one fails beyond chance, it is `not reproduced`. Where there is nothing by
chance, as of an exact count or a memory peak, bounds are the same at any confidence. Without rows, or with nothing that
decides beyond chance, a claim is `not tested`, with the reason. A check that holds only
provided that another does, such as that a baseline has learned anything, is undecided where that one does
not hold, and so is one below full scale of a claim that speaks of what was published alone. There is no verdict
without rows behind it, and each verdict names them.

A check that names what no study declares would never be run: it is refused, and not taken for one that is missing.
"""

from repro.claims.findings import CheckFinding, Judgement, Outcome, Verdict
from repro.claims.judging import compare, judge
from repro.claims.naming import MEASURES, refuse_unknown
from repro.claims.wording import bounds, describe, number, to_json

__all__ = [
    "MEASURES",
    "CheckFinding",
    "Judgement",
    "Outcome",
    "Verdict",
    "bounds",
    "compare",
    "describe",
    "judge",
    "number",
    "refuse_unknown",
    "to_json",
]

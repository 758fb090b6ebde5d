"""Is a comparison fair? Rules judge what is known of it: ours, a paper's, or anybody's finished search.

`ours`, `declared`, `trials` and `optuna_files` read evidence, `rules` judge it, and `report` writes the findings; its
docstring has the schema of the JSON.

Example:
    >>> import pandas as pd
    >>> from repro.audit import report, trials
    >>> rows = pd.DataFrame({"method": ["a"] * 8 + ["b"] * 2, "score": range(10)})
    >>> audited = report.audit(trials.from_table(rows, {}, "example"))
    >>> next(f.text for f in audited.findings if f.rule.name == "budget")
    '8 trials for a, 2 trials for b'
"""

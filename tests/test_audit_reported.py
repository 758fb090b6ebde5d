"""Tables of final results, which have no trials: what they leave open, and what they show all the same."""

from __future__ import annotations

import pandas as pd
import pytest
from outsiders import of_rule, statuses

from repro.audit import stated, trials
from repro.audit.evidence import Evidence


def final(**columns: list[object]) -> pd.DataFrame:
    """Return six final results of two methods; `columns` have a value for each of them."""
    rows = {"method": ["bp"] * 6 + ["ours"] * 6, "seed": [*range(6)] * 2}
    told = {name: [a] * 6 + [b] * 6 for name, (a, b) in columns.items()}
    return pd.DataFrame({**rows, "score": [0.5 + i / 100 for i in range(12)], **told})


def read(table: pd.DataFrame, *facts: str, **columns: str) -> Evidence:
    told = stated.parse_facts(facts)
    return trials.from_table(table, columns, "x", reported=True, facts=told)


def test_a_table_without_trials_leaves_open_where_rates_come_from() -> None:
    evidence = read(final(lr=[0.1, 0.001]), params="lr")
    assert evidence.number("used lr", "ours") == 0.001
    assert of_rule(evidence, "baseline") == (
        "unknown",
        "not in the evidence: where the reported values come from",
    )
    # two values are not one, wherever they come from
    assert of_rule(evidence, "shared") == ("pass", "lr is not one unsearched value")


@pytest.mark.parametrize(
    ("origin", "found"),
    [
        ("search", ("pass", "lr comes from a search")),
        ("no search, our habit", ("fail", "lr of bp (0.1), ours (0.001): no search, our habit")),
    ],
)
def test_where_rates_come_from_may_be_stated(origin: str, found: tuple[str, str]) -> None:
    evidence = read(final(lr=[0.1, 0.001]), f"origin of lr={origin}", params="lr")
    assert of_rule(evidence, "baseline") == found


def test_methods_whose_value_has_another_origin_are_told_apart() -> None:
    rows = final(lr=[0.1, 0.001])
    tuned = rows.groupby("method").head(1).assign(role="tune", seed=7)
    again = tuned[tuned["method"] == "ours"].assign(seed=8)
    # the one has a trial, the other two at one setting: neither is a search
    both = pd.concat([rows.assign(role="report"), tuned, again], ignore_index=True)
    both["number"] = [float("nan")] * 12 + [0, 0, 1]
    evidence = trials.from_table(both, {"params": "lr"}, "x")
    assert of_rule(evidence, "baseline") == (
        "fail",
        "lr of bp (0.1): no search, one trial; lr of ours (0.001): no search, 2 trials at one setting",
    )


def test_a_method_without_trials_beside_one_that_has_them_was_not_searched() -> None:
    rows = final(lr=[0.1, 0.001]).assign(role="report")
    tuned = pd.DataFrame({"method": "ours", "role": "tune", "lr": [0.1, 0.01, 0.001], "score": [0.6, 0.5, 0.4]})  # fmt: skip
    evidence = trials.from_table(pd.concat([rows, tuned], ignore_index=True), {"params": "lr"}, "x")
    assert of_rule(evidence, "baseline") == ("fail", "lr of bp (0.1): no search")
    assert statuses(evidence)["shared"] == "pass"

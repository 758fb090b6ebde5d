"""A question that does not arise is told apart from one that nobody answered, wherever statuses are shown or counted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fair import say
from outsiders import MAP, statuses, table

import studies.facts
from repro.audit import checklists, declared, findings, report, stated, trials
from repro.audit.evidence import Evidence
from repro.audit.rules import RULES
from repro.cli import DONE, FAILED, USAGE, main
from repro.protocol import Fact

ON_DATA = {"selection", "metric", "learned"}
"""Rules about splits, examples and guessing."""
NO_DATA = say("data set", "none")


def of_facts(*facts: Fact, methods: tuple[str, ...] = ("a", "b")) -> Evidence:
    return Evidence("x", "foreign", methods, facts)


def spared(evidence: Evidence) -> set[str]:
    return {name for name, status in statuses(evidence).items() if status == "not applicable"}


@pytest.mark.parametrize(
    ("facts", "names"),
    [
        ([], set()),
        (["data set=none"], ON_DATA),
        (["data set=None"], ON_DATA),
        (["data set=mnist"], set()),
        (["claim of cost=none"], {"cost"}),
        (["claim of cost=half the time"], set()),
        (["data set=none", "claim of cost=none", "timed steps=0"], {*ON_DATA, "cost"}),
    ],
)
def test_rules_do_not_apply_where_there_is_nothing_that_they_ask_about(
    facts: list[str], names: set[str]
) -> None:
    assert spared(trials.from_table(table(), MAP, "x", facts=stated.parse_facts(facts))) == names


def test_only_a_statement_about_every_method_spares_a_rule() -> None:
    of_one, of_other = say("data set", "none", "a"), say("data set", "none", "b")
    assert spared(of_facts(of_one)) == set()
    assert spared(of_facts(of_one, of_other)) == ON_DATA
    assert spared(of_facts(of_one, say("data set", "digits", "b"))) == set()


def test_a_fault_that_is_seen_outweighs_that_a_rule_does_not_apply() -> None:
    by_two_metrics = [say("selection metric", f"value {m}", m) for m in "ab"]
    finding = findings.judge(RULES["selection"], of_facts(NO_DATA, *by_two_metrics))
    assert (finding.status, finding.text) == ("fail", "selected by value a for a, value b for b")


def test_a_rule_that_does_not_apply_says_why_and_who_says_so() -> None:
    evidence = trials.from_table(table(), MAP, "x", facts=stated.parse_facts(["data set=none"]))
    finding = findings.judge(RULES["selection"], evidence)
    (part,) = finding.parts
    assert (finding.text, part.sources) == ("no data set", ("command line: stated by the user",))


def test_a_pass_beside_what_does_not_apply_is_a_pass() -> None:
    least, *_ = findings.SEVERITY
    assert least == "not applicable"
    assert set(report.WANTING) == set(findings.SEVERITY) - {"pass", "not applicable"}


@pytest.mark.parametrize(
    "facts",
    ["selection split=test", "reported examples=16", "reported split size=10", "chance loss=2.3"],
)
def test_a_data_set_that_is_not_there_has_no_splits(facts: str) -> None:
    quantity = facts.partition("=")[0]
    message = re.escape(
        f"states 'data set=none' and '{quantity}', which only a data set has. Leave one"
    )
    with pytest.raises(ValueError, match=message):
        stated.parse_facts(["data set=none", facts])


@pytest.mark.parametrize("column", ["validation", "test", "accuracy"])
def test_scores_on_a_split_contradict_that_there_is_no_data_set(column: str) -> None:
    rows = table().assign(**{column: 0.5})
    message = re.escape(
        "x: `--fact 'data set=none'` contradicts the rows, which have scores of the column "
        f"{column!r}, and only a data set has such scores. Leave the fact out, or rename the column."
    )
    with pytest.raises(ValueError, match=message):
        trials.from_table(rows, MAP, "x", facts=stated.parse_facts(["data set=none"]))


def test_a_paper_may_state_it_of_a_setting_and_so_of_all_within_it() -> None:
    facts = studies.facts.get("fluegel2024")
    found = {e.name: spared(e) for e in declared.comparisons("fluegel2024", facts)}
    on_data = {name for name in found if name.endswith(("-mnist", "-cifar10"))}
    assert len(found) > len(on_data) > 1
    assert {name for name, names in found.items() if names == ON_DATA} == set(found) - on_data
    assert not any(found[name] for name in on_data)


def test_tables_count_it_apart_and_ask_for_no_mend() -> None:
    audited = [report.audit(of_facts(NO_DATA)), report.audit(of_facts())]
    overview = report.overview(audited)
    cells = {row[0]: row[2] for row in overview.rows}
    assert cells["metric"] == "1 unknown, 1 not applicable"
    assert cells["cost"] == "2 unknown"
    assert "not applicable: the question does not arise" in overview.notes[0]
    for made in (report.found, report.outline):
        rows = [row for row in made("t", "T", audited[:1]).rows if row[0] in ON_DATA]
        assert rows == []


def test_json_and_markdown_tell_it_from_unknown() -> None:
    audited = [report.audit(of_facts(NO_DATA))]
    (comparison,) = json.loads(report.to_json(audited))["comparisons"]
    assert comparison["counts"]["not applicable"] == len(ON_DATA)
    told = {f["rule"]: f for f in comparison["findings"] if f["status"] == "not applicable"}
    assert told.keys() == ON_DATA
    assert all(f["mend"] is None and f["text"] == "no data set" for f in told.values())
    text = report.markdown(audited)
    for name in ON_DATA:
        assert f"Not applicable: {name} (no data set) to x." in text
        assert f"| {name}" not in text


def test_a_checklist_names_the_data_set() -> None:
    def splits(*facts: Fact) -> str:
        (answer,) = (a for a in checklists.fill(of_facts(*facts)) if a.item == "Data splits")
        return answer.text

    assert splits(NO_DATA) == "data set none for every method"
    assert splits(say("data set", "mnist")) == "data set mnist for every method"


def test_the_command_shows_it_and_counts_nothing_against_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "t.csv", tmp_path / "a.json"
    fair = table().assign(epochs=5)
    fair.to_csv(path, index=False)
    columns = ",".join(f"{key}={column}" for key, column in MAP.items())
    arguments = ["audit", "--csv", str(path), "--map", columns, "--json", str(out)]
    assert main([*arguments, "--fact", "data set=none", "--fail-on", "fail"]) == DONE
    shown = " ".join(re.sub("[│┃]", " ", capsys.readouterr().out).split())
    assert "not applicable: 3" in shown
    assert "no data set" in shown
    # a statement that there is no data set does not hide what fails otherwise
    fair.assign(val_loss=[0.5, 0.3, 0.4, 0.6, 0.7, 0.2]).to_csv(path, index=False)
    assert main([*arguments, "--fact", "data set=none", "--fail-on", "warn"]) == FAILED
    assert main([*arguments, "--fact", "data set=none", "--fact", "chance loss=2"]) == USAGE


def test_comparisons_shown_together_say_to_how_many_a_rule_does_not_apply(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["audit", "--store", str(tmp_path), "fluegel2024/functions-tuned-sphere-1",
                 "rike2022/tuned-nn-adam"]) == DONE  # fmt: skip
    shown = " ".join(re.sub("[│┃]", " ", capsys.readouterr().out).split())
    assert "not applicable 1 of 2" in shown


@pytest.mark.parametrize("name", RULES)
def test_a_rule_explains_when_it_does_not_apply(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "--explain", name]) == DONE
    out = capsys.readouterr().out
    assert ("not applicable:" in out) == (name in {*ON_DATA, "cost"})
    for quantity in RULES[name].presumes:
        assert f"if the evidence says `{quantity}`: none" in out

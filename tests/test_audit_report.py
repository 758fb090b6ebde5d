"""What an audit hands out: the terminal, JSON of a documented schema, Markdown, checklists, exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import studies.facts
from repro.audit import checklists, declared, report, standing
from repro.audit.rules import RULES
from repro.cli import DONE, FAILED, main

RIKE = [report.audit(e) for e in declared.comparisons("rike2022", studies.facts.get("rike2022"))]


def test_json_is_of_the_documented_schema() -> None:
    content = json.loads(report.to_json(RIKE), parse_constant=pytest.fail)
    assert content["schema"] == report.SCHEMA == 1
    assert set(content) == {"schema", "rules", "comparisons"}
    assert list(content["rules"]) == list(RULES)
    documented = (report.__doc__ or "").split("comparisons   a list")[1]
    for audited in content["comparisons"]:
        assert set(audited) == {
            "name", "origin", "methods", "status", "notes", "counts", "findings", "checklists",
        }  # fmt: skip
        assert all(key in documented for key in audited)
        assert sum(audited["counts"].values()) == len(audited["findings"]) == len(RULES)
        for finding in audited["findings"]:
            assert set(finding) == {"rule", "status", "text", "mend", "parts"}
            assert all(key in documented for key in finding)
            assert finding["status"] in {"pass", "warn", "fail", "unknown", "not applicable"}
            assert (finding["mend"] is None) == (finding["status"] in {"pass", "not applicable"})
            assert finding["parts"]
            for part in finding["parts"]:
                assert set(part) == {"status", "text", "method", "sources", "values"}
                assert all(key in documented for key in part)
        for answer in audited["checklists"]:
            assert set(answer) == {"checklist", "item", "answer", "sources"}


def test_the_same_evidence_gives_the_same_bytes() -> None:
    again = [
        report.audit(e) for e in declared.comparisons("rike2022", studies.facts.get("rike2022"))
    ]
    assert report.to_json(again) == report.to_json(RIKE)
    assert report.markdown(again) == report.markdown(RIKE)


def test_equal_findings_are_said_once() -> None:
    (line,) = (line for line in report.lines(RIKE, ("fail",)) if line.rule.name == "repetitions")
    assert len(line.comparisons) == 7
    assert line.text == "every method: 1 repetition, smallest two-sided p 1"


def test_the_outline_counts_every_comparison_and_fits_on_a_page() -> None:
    table = report.outline("outline", "Outline", RIKE)
    counted = {(row[0], row[1]): int(str(row[2])) for row in table.rows}
    for line in report.lines(RIKE, ("fail", "warn", "unknown")):
        counted[line.rule.name, line.status] -= len(line.comparisons)
    assert set(counted.values()) == {0}
    assert all(len(str(row[3])) <= report.EXAMPLE_WIDTH for row in table.rows)


def test_the_overview_counts_every_comparison() -> None:
    table = report.overview(RIKE)
    assert [row[0] for row in table.rows] == list(RULES)
    counts = {row[0]: str(row[2]) for row in table.rows}
    assert counts["seeds"] == "7 fail"
    assert counts["cost"] == "7 unknown"


def test_markdown_is_for_a_review() -> None:
    text = report.markdown(RIKE[:1])
    assert "## rike2022" in text
    assert "| Rule" in text
    assert RULES["edge"].mend in text
    assert "BLANK: not in the evidence" in text


def test_checklists_are_answered_from_the_evidence_and_blanks_are_flagged() -> None:
    answers = {(a.checklist, a.item): a for a in checklists.fill(RIKE[0].evidence)}
    assert {name for name, _ in answers} == {
        checklists.NEURIPS, checklists.AUTORL, checklists.REPRODUCIBILITY,
    }  # fmt: skip
    budget = answers[checklists.AUTORL, "The budget, the same for every method?"]
    assert "trials 12 for every method" in budget.text
    assert "epochs a trial 10 for every method" in budget.text
    assert budget.sources == ("code of the search: R1",)
    space = answers[checklists.AUTORL, "The search space"].text
    assert "learning_rate from 0.0001 for forward gradient, clipped, SGD, 0.001 for" in space
    blank = {a.item for a in answers.values() if not a.text}
    assert "Time of a run" in blank
    assert "Licences of data and code" in blank
    rows = checklists.table("x", answers.values()).rows
    assert sum("BLANK" in str(row[2]) for row in rows) == len(blank)
    # an answer always says where it was read
    assert all(a.sources for a in answers.values() if a.text)


def test_the_audit_of_everything_exits_by_our_own_comparisons(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(tmp_path / "new" / "a.json"), "--markdown", str(tmp_path / "a.md")]
    assert main(["audit", "--store", str(tmp_path), *files]) == DONE
    out = capsys.readouterr().out
    for name in ("Ours, tuned", *studies.facts.names()):
        assert name in out
    names = {
        c["name"] for c in json.loads((tmp_path / "new" / "a.json").read_text())["comparisons"]
    }
    assert {"rike2022/nn-sgd", "fluegel2024/vit-cifar10"} <= names
    assert any(name.startswith("rike2022/tuned-nn-sgd") for name in names)
    assert "# Audit" in (tmp_path / "a.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "shown"),
    [
        (["rike2022"], FAILED, "7 of 7"),
        (["rike2022/nn-sgd"], FAILED, "Is it fair? rike2022/nn-sgd"),
        (["ours"], DONE, "Is it fair? Ours, tuned:"),
        (["ours", "--fail-on", "warn"], FAILED, "repetitions"),
        (["rike2022/tuned-nn-adam"], DONE, "20 trials for every method"),
        (["baydin2022/mlp-2e-5", "baydin2022/mlp-2e-4"], FAILED, "2 comparisons"),
        (["rike2022/nn-sgd", "--checklists"], FAILED, "how-to-autorl"),
    ],
)
def test_targets_choose_and_count(
    arguments: list[str],
    status: int,
    shown: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["audit", "--store", str(tmp_path), *arguments]) == status
    assert shown in " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.mark.parametrize("name", RULES)
def test_a_rule_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--explain", name]) == DONE
    out = " ".join(capsys.readouterr().out.split())
    rule = RULES[name]
    for text in (rule.question, rule.threshold, rule.why, rule.source, rule.mend):
        assert " ".join(text.split()) in out


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["audit", "--help"])
    assert stopped.value.code == DONE
    out = capsys.readouterr().out
    for word in ("--optuna sqlite:///x.db", "--map method=opt", "validation", *RULES):
        assert word in out


def test_what_stands_is_said_and_does_not_count() -> None:
    failing = {
        (each.evidence.name, f.rule.name)
        for each in RIKE
        for f in each.findings
        if f.status == "fail"
    }
    passing = next(
        (each.evidence.name, f.rule.name)
        for each in RIKE
        for f in each.findings
        if f.status == "pass"
    )
    assert standing.has_findings(RIKE, "fail")
    assert standing.has_findings(RIKE, "fail", sorted(failing)[1:])
    assert not standing.has_findings(RIKE, "fail", failing)
    assert standing.has_findings(RIKE, "warn", failing)
    told, gone = standing.explained(
        RIKE, {min(failing): "it is small", passing: "no", ("x", "y"): "no"}
    )
    assert told == [
        f"`{min(failing)[1]}` does not pass, and that stands: it is small. {min(failing)[0]}."
    ]
    assert gone == [
        f"{passing[0]}, `{passing[1]}`: expected to fail, since a reason is kept for it, and it does not. "
        "Take the reason away."
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{at}\nrule = "edge"{why}', "expects rule, why and a list of comparisons, none empty")
        for at, why in (
            ('comparisons = ["a"]', ""),
            ('comparisons = ["a"]', '\nwhy = ""'),
            ("comparisons = []", '\nwhy = "c"'),
            ('comparisons = "a"', '\nwhy = "c"'),
        )
    ]
    + [
        (
            'comparisons = ["a"]\nrule = "b"\nwhy = "c"',
            "expected one of the rules budget, .* Found 'b'",
        ),
    ],
)
def test_a_reason_names_a_comparison_and_a_rule(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "audit.toml").write_text(f"[[stands]]\n{text}\n")
    with pytest.raises(ValueError, match=message):
        standing.read_standing(tmp_path / "audit.toml")


def test_reasons_may_be_absent_but_not_broken(tmp_path: Path) -> None:
    assert standing.read_standing(tmp_path / "audit.toml") == {}
    (tmp_path / "audit.toml").write_text("[[stands")
    with pytest.raises(ValueError, match=r"audit.toml: expected TOML. Found: "):
        standing.read_standing(tmp_path / "audit.toml")


def test_the_readme_needs_its_markers() -> None:
    with pytest.raises(ValueError, match="needs one line"):
        report.embed("nothing here", RIKE)
    begin, end = report.MARKERS
    once = report.embed(f"before\n{begin}\nSTALE\n{end}\nafter\n", RIKE)
    assert "STALE" not in once
    assert once.startswith("before\n")
    assert once.endswith("after\n")
    assert report.embed(once, RIKE) == once

"""The audit's findings become a table, whatever else its file says."""

import json
from pathlib import Path

import pytest

from repro.report import findings

FINDINGS = {
    "comparisons": [
        {
            "name": "theirs",
            "findings": [
                {
                    "rule": "budget",
                    "status": "fail",
                    "text": "16 trials\nagainst 8",
                    "mend": "give both 16",
                },
                {
                    "rule": {"name": "seeds", "mend": "use others"},
                    "status": "warn",
                    "parts": [
                        {"status": "warn", "text": "n=3"},
                        {"status": "pass", "text": "disjoint"},
                    ],
                },
            ],
        },
        {
            "comparison": "ours",
            "rule": "edge",
            "status": "pass",
            "text": "inside",
            "mend": "not needed",
        },
    ]
}


def test_every_finding_is_a_row_with_its_mend(tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(FINDINGS))
    table = findings.read(path)
    assert table is not None
    assert table.rows == (
        ("theirs", "budget", "fail", "16 trials against 8", "give both 16"),
        ("theirs", "seeds", "warn", "n=3", "use others"),
        ("ours", "edge", "pass", "inside", ""),
    )


def test_no_audit_is_no_table(tmp_path: Path) -> None:
    assert findings.read(tmp_path / "audit.json") is None


@pytest.mark.parametrize(("content", "found"), [("{", "no JSON"), ('{"a": [1]}', "Found none")])
def test_a_file_without_findings_is_refused(content: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=found) as error:
        findings.read(path)
    assert "Run the audit again." in str(error.value)

"""The verbs on the way from data and rows to verdicts and the paper."""

from argparse import Namespace
from pathlib import Path

import pytest
from elsewhere import elsewhere as elsewhere

import studies
from repro import cli
from repro.cli import redraw
from repro.cli.shared import PAPER, README, VERDICTS, all_studies, judge
from repro.report import answers, verdicts
from repro.results import load, tabulate_facts
from repro.tables import to_markdown


@pytest.mark.torch
def test_data_sets_are_known_before_any_is_read(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pooch")
    assert cli.main(["data", "digits", "mnst"]) == 2
    told = "repro: Unknown data set 'mnst'. Choose from: mnist, cifar10, digits.\n"
    assert capsys.readouterr() == ("", told)
    assert cli.main(["data", "digits", "digits"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert list(elsewhere.iterdir()) == []


@pytest.mark.torch
def test_every_data_set_that_is_missing_is_named(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pooch")

    def offline(*arguments: object, **more: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("repro.datasets.files.pooch.Pooch.fetch", offline)
    monkeypatch.setenv("REPRO_DATA_DIR", str(elsewhere))
    assert cli.main(["data"]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("digits: 1297 training and 500 test images")
    told = printed.err.splitlines()
    assert [line[:14] for line in told] == ["repro: mnist: ", "repro: cifar10"]


def test_claims_skip_and_name_a_damaged_file(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = elsewhere / "store" / "ab" / f"ab{'0' * 62}.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text('{"schema": 1, "bo')
    assert cli.main(["claims"]) == 1  # the verdicts are those of the other rows alone
    printed = "".join(capsys.readouterr().out.split())
    assert "truncated" in printed
    assert damaged.stem in printed
    assert damaged.read_text() == '{"schema": 1, "bo'


def test_the_paper_is_built_by_the_verb_that_builds_everything(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[bool, int]] = []

    def build(options: Namespace, console: object) -> int:
        asked.append((options.force, options.workers))
        return 0

    monkeypatch.setattr(redraw, "reproduce", build)
    for verb in ("reproduce", "paper"):
        assert cli.main([verb, "--force", "--workers", "3"]) == 0
    assert asked == [(True, 3)] * 2
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert "reproduce (paper)" in capsys.readouterr().out


def test_list_names_every_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    printed = capsys.readouterr().out
    for name in studies.names():
        for experiment in studies.get(name).experiments:
            assert experiment.name in printed


def test_what_is_committed_shows_the_verdicts_of_the_published_rows() -> None:
    judgements = judge(load(studies.RESULTS, None, tabulate_facts(all_studies())))
    mend = "run `python -m repro claims --accept`"
    text = README.read_text(encoding="utf-8")
    headlines = verdicts.read_headlines(PAPER / "headlines.toml")
    assert verdicts.embed(text, judgements, headlines) == text, mend
    told = answers.spell(answers.read(PAPER / "answers.toml"), judgements)
    assert answers.embed(text, told) == text, mend
    listing = to_markdown(verdicts.claims_table(judgements, all_studies()))
    assert (PAPER / "claims.md").read_text(encoding="utf-8") == listing, mend
    assert verdicts.compare(judgements, verdicts.read_committed(VERDICTS)) == (), mend

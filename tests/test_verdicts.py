"""Verdicts for readers: tables that show them, and committed ones that they are held to."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from repro import claims
from repro.claims import Judgement
from repro.measures import Measurement
from repro.protocol import Check, Claim, Expectation, Study, use
from repro.report import verdicts
from repro.results import Results, tabulate
from repro.stats import Interval

NO_ROWS = Results(*tabulate(()), pd.DataFrame())
CHECK = Check("a ratio", use("fixed", experiment="fig-1"), Expectation(high=1.0), 0.5)
STUDY = Study(
    "author2000",
    "citation",
    (),
    (),
    (
        Claim(1, "it is below one", "Fig. 1", (CHECK,)),
        Claim(2, "nobody can tell", "Fig. 2", (), "no number"),
    ),
)


def fixed(results: Results, **settings: str) -> Measurement:
    return Measurement(Interval(0.5, 0.4, 0.6, 3, 1.0), ("k",), "reduced", "a mean")


@pytest.fixture
def judgements(monkeypatch: pytest.MonkeyPatch) -> tuple[Judgement, ...]:
    monkeypatch.setitem(claims.MEASURES, "fixed", fixed)
    return claims.judge(STUDY, NO_ROWS)


def test_counts_add_up_and_say_what_rests_on_less_than_full_scale(
    judgements: tuple[Judgement, ...],
) -> None:
    table = verdicts.counts_table(judgements)
    assert table.rows == (("author2000", 1, 0, 0, 1, 2, 1), ("all", 1, 0, 0, 1, 2, 1))


def test_headlines_are_those_that_were_chosen(judgements: tuple[Judgement, ...]) -> None:
    chosen = {"author2000": {1: ""}, "nobody1999": {7: ""}}
    (row,) = verdicts.headlines_table(judgements, chosen).rows
    assert row[2:] == (
        "it is below one (Fig. 1)",
        "a ratio: 0.5 [0.4, 0.6] n=3 published 0.5",
        "reproduced, reduced scale",
    )


def test_a_headline_may_choose_its_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(claims.MEASURES, "fixed", fixed)
    two = Claim(1, "it is below one", "Fig. 1", (CHECK, replace(CHECK, label="another ratio")))
    judged = claims.judge(replace(STUDY, claims=(two,)), NO_ROWS)
    (row,) = verdicts.headlines_table(judged, {"author2000": {1: "another ratio"}}).rows
    assert row[3] == "another ratio: 0.5 [0.4, 0.6] n=3 published 0.5"
    message = "author2000 claim 1 has no measurement 'a'. It has: a ratio; another ratio."
    with pytest.raises(ValueError, match=re.escape(message)):
        verdicts.headlines_table(judged, {"author2000": {1: "a"}})


def test_part_of_a_claim_says_how_many_of_its_measurements_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(claims.MEASURES, "fixed", fixed)
    above = replace(CHECK, label="above", expect=Expectation(low=1.0))
    study = replace(STUDY, claims=(Claim(1, "both", "Fig. 1", (CHECK, above, above)),))
    (judgement,) = claims.judge(study, NO_ROWS)
    assert verdicts.label(judgement) == "partly (1 of 3 hold), reduced scale"


def test_the_list_of_claims_names_rows_and_figures(judgements: tuple[Judgement, ...]) -> None:
    table = verdicts.claims_table(judgements, [STUDY], {("author2000", 1): ["fig1", "fig2"]})
    assert [row[4:6] for row in table.rows] == [("fig-1", "fig1, fig2"), ("", "")]
    assert table.rows[1][-1] == "not tested (no number)"
    assert len(verdicts.claims_table(judgements, [STUDY]).columns) == len(table.columns) - 1


def test_committed_verdicts_come_back_and_hold(
    judgements: tuple[Judgement, ...], tmp_path: Path
) -> None:
    path = tmp_path / "verdicts.json"
    verdicts.write_committed(path, judgements)
    committed = verdicts.read_committed(path)
    assert committed == {"author2000 1": "reproduced", "author2000 2": "not tested"}
    assert verdicts.compare(judgements, committed) == ()


def test_a_verdict_that_changed_came_or_went_is_named(judgements: tuple[Judgement, ...]) -> None:
    committed = {"author2000 1": "not reproduced", "author2000 3": "partly"}
    changes = [str(change) for change in verdicts.compare(judgements, committed)]
    assert changes == [
        "author2000 claim 1: not reproduced → reproduced (a ratio: 0.5 [0.4, 0.6] n=3 published 0.5)",
        "author2000 claim 2: no verdict committed → not tested (no number)",
        "author2000 claim 3: partly → no such claim",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the committed verdicts are missing"),
        ("{", "found no JSON"),
        (
            '{"author2000 1": "maybe"}',
            "expected one of reproduced, partly, not reproduced, not tested",
        ),
    ],
)
def test_unusable_committed_verdicts_say_the_mend(
    content: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "verdicts.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        verdicts.read_committed(path)
    assert "`repro claims --accept` writes it." in str(error.value)


@pytest.mark.parametrize(
    "content", ["author2000 = 1", 'author2000 = ["one"]', "a1 = [[1]]", "a1 = [true]", "= ["]
)
def test_unusable_headlines_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "headlines.toml"
    path.write_text(content)
    with pytest.raises(ValueError, match="expected a list of claim numbers a study"):
        verdicts.read_headlines(path)


def test_headlines_are_numbers_alone_or_with_a_label(tmp_path: Path) -> None:
    path = tmp_path / "headlines.toml"
    path.write_text('author2000 = [1, [6, "a ratio"]]')
    assert verdicts.read_headlines(path) == {"author2000": {1: "", 6: "a ratio"}}


def test_readme_block_is_replaced_and_nothing_else(judgements: tuple[Judgement, ...]) -> None:
    begin, end = verdicts.MARKERS
    once = verdicts.embed(
        f"before\n{begin}\nold\n{end}\nafter\n", judgements, {"author2000": {1: ""}}
    )
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "old" not in once
    assert "reproduced, reduced scale" in once
    assert verdicts.embed(once, judgements, {"author2000": {1: ""}}) == once
    with pytest.raises(ValueError, match="The README needs one line"):
        verdicts.embed("nothing here", judgements, {})

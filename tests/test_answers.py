"""The answers in short: numbers from the claims, grounds that are looked at, and one text wherever they stand."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from repro import claims
from repro.claims import Judgement
from repro.measures import Measurement
from repro.protocol import Check, Claim, Expectation, Study, use
from repro.report import answers
from repro.report.answers import Answer
from repro.results import Results, tabulate
from repro.stats import Interval

NO_ROWS = Results(*tabulate(()), pd.DataFrame())
CHECKS = tuple(
    Check(label, use("fixed", at=scale), Expectation(high=1.0), published)
    for label, scale, published in (("a ratio", "full", 0.5188), ("a loss", "reduced", None))
)
STUDY = Study("author2000", "citation", (), (), (Claim(1, "it is below one", "Fig. 1", CHECKS),))
HOLDS = (("author2000", 1, "", "reproduced"),)


@pytest.fixture
def judgements(monkeypatch: pytest.MonkeyPatch) -> tuple[Judgement, ...]:
    monkeypatch.setitem(
        claims.MEASURES,
        "fixed",
        lambda results, study, at: Measurement(
            Interval(0.4567, 0.4, 0.6, 3, 0.95), ("k",), at, "a mean"
        ),
    )
    return claims.judge(STUDY, NO_ROWS)


def told(judgements: tuple[Judgement, ...], text: str, *rests: Any) -> dict[str, Any]:
    (one,) = answers.spell([Answer("Is it so?", text, rests or HOLDS)], judgements)
    return one


def test_numbers_have_two_digits_and_a_sentence_says_its_scale(
    judgements: tuple[Judgement, ...],
) -> None:
    text = "It is {author2000 1: a ratio}, and was {published author2000 1: a ratio}. It ends at {author2000 1: a loss}. So."
    assert (
        told(judgements, text)["text"]
        == "It is 0.46, and was 0.52. It ends at 0.46 (reduced scale). So."
    )
    mixed = (
        "{author2000 1: a ratio}, {author2000 1: a loss} and not {published author2000 1: a ratio}."
    )
    assert told(judgements, mixed)["text"] == "0.46, 0.46 (reduced scale) and not 0.52."
    assert told(judgements, "{published author2000 1: a loss}")["text"] == "n/a"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.3955, "0.40"), (2.013, "2.0"), (9.96, "10"), (298.8, "300"), (-0.0504, "\N{MINUS SIGN}0.050"), (0.0, "0"),
        (2.3e-7, "2.3·10⁻⁷"), (float("inf"), "∞"),
    ],
)  # fmt: skip
def test_a_last_zero_is_a_digit(value: float, told: str) -> None:
    assert answers._brief(value) == told


def test_an_answer_names_its_claims_once_and_stands_while_its_grounds_do(
    judgements: tuple[Judgement, ...],
) -> None:
    one = told(judgements, "Yes.", *HOLDS, ("author2000", 1, "a ratio", "holds"))
    assert one["claims"] == [["author2000", 1]]
    assert one["stale"] == []
    assert answers.says(one) == "Yes."


def test_an_answer_whose_ground_turned_is_not_said(judgements: tuple[Judgement, ...]) -> None:
    one = told(
        judgements,
        "No.",
        ("author2000", 1, "", "partly"),
        ("author2000", 1, "a ratio", "fails"),
        ("author2000", 7, "", "reproduced"),
    )
    assert [ground["written"] for ground in one["stale"]] == ["partly", "fails", "reproduced"]
    assert answers.says(one) == (
        "To be rewritten: author2000 claim 1 is reproduced now; author2000 claim 1 (a ratio): holds now; "
        "author2000 claim 7 is not tested now."
    )


def test_a_study_without_rows_yet_has_no_number(judgements: tuple[Judgement, ...]) -> None:
    assert told(judgements, "It is {nobody1999 1: x}.")["text"] == "It is not run."
    ground = ("nobody1999", 1, "x", "not run")
    assert told(judgements, "It is open.", ground)["stale"] == []


def test_a_measurement_that_is_not_there_is_named_with_those_that_are(
    judgements: tuple[Judgement, ...],
) -> None:
    with pytest.raises(
        ValueError, match=r"claim 1, found 'ratio'\. It has: a ratio; a loss\."
    ) as error:
        told(judgements, "{author2000 1: ratio}")
    assert str(error.value).startswith("paper/answers.toml: expected a measurement of author2000")


@pytest.mark.parametrize("number", ["{author2000: a ratio}", "{publishd author2000 1: a ratio}"])
def test_a_brace_that_names_no_number_is_not_printed(
    judgements: tuple[Judgement, ...], number: str
) -> None:
    with pytest.raises(ValueError, match=r"as \{study 1: label\} .* Found '\{.*a ratio\}\.'\.$"):
        told(judgements, f"It is {number}.")


def test_answers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "answers.toml"
    path.write_text(
        '[[answer]]\nquestion = "Is it so?"\ntext = "Yes."\nrests = [["author2000", 1, "reproduced"], '
        '["author2000", 1, "a ratio", "holds"]]\n'
    )
    (one,) = answers.read(path)
    assert one == Answer("Is it so?", "Yes.", (*HOLDS, ("author2000", 1, "a ratio", "holds")))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("= ", "Found no TOML"),
        ('[[answer]]\nquestion = "So?"\ntext = "Yes."', "Found {'question': 'So[?]'"),
        ('[[answer]]\nquestion = "So?"\ntext = "Yes."\nrests = []', "'rests': ..}"),
        ('[[answer]]\nquestion = "So?"\ntext = 1\nrests = [["a", 1, "b"]]', "'text': 1"),
        ('[[answer]]\nquestion = "So?"\ntext = "Yes."\nrests = 1', "'rests': 1"),
        (
            '[[answer]]\nquestion = "So?"\ntext = "Yes."\nrests = [["a", "1", "b"]]',
            "Found .'a', '1'",
        ),
    ],
)
def test_unusable_answers_are_refused(content: str, found: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.toml"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"expected tables `answer` .*{found}"):
        answers.read(path)


def test_readme_block_is_replaced_and_nothing_else(judgements: tuple[Judgement, ...]) -> None:
    begin, end = answers.MARKERS
    one = told(judgements, "Yes.")
    once = answers.embed(f"before\n{begin}\nold\n{end}\nafter\n", [one])
    assert once == f"before\n{begin}\n\n- **Is it so?** Yes. (author2000 1)\n\n{end}\nafter\n"
    assert answers.embed(once, [one]) == once
    with pytest.raises(ValueError, match="The README needs one line"):
        answers.embed("nothing here", [one])

"""From the text of a run back to the run, or to a part of it, and one clear line where it is none."""

import dataclasses
import re
from typing import Any

import pytest
from small_study import BACK, RUNS, TRIAL_RUN, run

import studies
from repro.protocol import (
    SCALES,
    Scale,
    Training,
    Trial,
    canonical_json,
    expand,
    kind_of,
    parse_run,
    problem_of,
    settings,
    use,
)


def test_the_kind_of_a_run_leaves_out_repetition_hyperparameters_and_trial_alone() -> None:
    for spec in (*RUNS, TRIAL_RUN):
        kind = kind_of(spec.canonical_json())
        trial = None if spec.role == "report" else Trial(7, "other", "refinement")
        alike: tuple[dict[str, Any], ...] = (
            {"repetition": 12},
            {"hyperparameters": ()},
            {"hyperparameters": settings(learning_rate=3e-5)},
            {"trial": trial},
        )
        for change in alike:
            assert kind_of(dataclasses.replace(spec, **change).canonical_json()) == kind
        others: tuple[dict[str, Any], ...] = (
            {"study": "other"}, {"arm": "other"}, {"scale": "smoke"}, {"experiment": "other"},
            {"role": "tune" if spec.role == "report" else "report"}, {"method": BACK}, {"task": Training(9, 9)},
            {"problem": dataclasses.replace(spec.problem, name="other")},
        )  # fmt: skip
        for change in others:
            assert kind_of(dataclasses.replace(spec, **change).canonical_json()) != kind


def test_the_problem_of_a_run_is_its_canonical_json() -> None:
    for spec in (*RUNS, TRIAL_RUN):
        assert problem_of(spec.canonical_json()) == canonical_json(spec.problem)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", studies.names())
def test_every_declared_run_survives_the_text(name: str, scale: Scale) -> None:
    for spec in expand(studies.get(name), scale):
        revived = parse_run(spec.canonical_json())
        assert revived == spec
        assert revived.key == spec.key
        assert revived.canonical_json() == spec.canonical_json()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "null",
        "7",
        "{}",
        '{"protocol":1}',
        '{"protocol":1,"run":{"name":"x"}}',
        '{"protocol":1,"run":{"class":"Popen","args":"ls"}}',
        '{"protocol":1,"run":{"class":"RunSpec","study":"x"}}',
        f'{{"protocol":1,"run":"{"x" * 99}"}}',
        None,  # what a table has where a cell is empty
    ],
)
def test_foreign_text_is_no_run(text: Any) -> None:
    shown = re.escape(repr(str(text)[:60]))
    with pytest.raises(
        ValueError, match=rf"^Expected the canonical JSON of a run\. Found {shown}\.$"
    ):
        parse_run(text)


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ("0.1]", "1e999]", r"`hyperparameters` of RunSpec cannot be .*inf"),
        ("0.1]", "0.1,0.2]", r"`hyperparameters` of RunSpec cannot be "),
        ('"name":"images"', '"name":"\\ud800"', r"`name` of Classification cannot be "),
        (
            '"evaluate_every":5',
            '"evaluate_every":null',
            r"`evaluate_every` of Training cannot be 'None'",
        ),
    ],
)
def test_a_value_that_no_field_can_have_is_named(ours: str, theirs: str, message: str) -> None:
    text = run().canonical_json()
    assert text.count(ours) == 1
    with pytest.raises(ValueError, match=rf"^Expected the canonical JSON of a run\..* \({message}"):
        parse_run(text.replace(ours, theirs))


def test_names_may_have_letters_of_any_language() -> None:
    named = dataclasses.replace(
        run(), experiment="größer", method=dataclasses.replace(BACK, name="逆")
    )
    assert parse_run(named.canonical_json()) == named


def test_other_protocols_are_no_runs() -> None:
    other = canonical_json({"protocol": 0, "run": run()})
    with pytest.raises(ValueError, match=r"Expected a run of protocol 1\. Found protocol 0\."):
        parse_run(other)
    part = canonical_json({"protocol": 1, "run": use("sgd")})
    with pytest.raises(ValueError, match="Expected a run of protocol 1"):
        parse_run(part)

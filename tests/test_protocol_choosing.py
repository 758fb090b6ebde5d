"""From declarations to runs: in declared order, by filters that name their choices, and no run that was not declared."""

import dataclasses
import subprocess
import sys
from typing import Any, cast

import pytest
from small_study import NETWORK, STUDY, searched

import studies
from repro.protocol import (
    SCALES,
    Comparison,
    Scale,
    Timing,
    Training,
    Trial,
    choose,
    comparisons,
    declared,
    expand,
    settings,
    spread,
)

# What a study declares


@pytest.mark.parametrize("name", studies.names())
def test_a_study_declares_the_runs_of_its_plans(name: str) -> None:
    study = studies.get(name)
    declares = declared(study)
    for scale in SCALES:
        assert all(map(declares, expand(study, scale)))
        assert all(map(declares, expand(study, scale, device="cuda")))


def test_it_declares_no_run_of_another_plan() -> None:
    study = studies.get("baydin2022")
    declares = declared(study)
    spec = next(s for s in expand(study, "full") if isinstance(s.task, Training))
    assert isinstance(spec.task, Training)
    longer = dataclasses.replace(spec.task, num_steps=2 * spec.task.num_steps)
    for change in (
        {"task": longer},
        {"study": "someone2022"},
        {"experiment": "another"},
        {"repetition": 1_000},
        {"hyperparameters": settings(learning_rate=0.123)},
    ):
        assert not declares(dataclasses.replace(spec, **change)), change


def test_of_a_search_it_declares_the_trials_of_that_search_alone() -> None:
    (comparison, *_) = comparisons(studies.get("rike2022"), "reduced", only=["tuned-nn-sgd"])
    declares = declared(studies.get("rike2022"))
    *_, method = comparison.experiment.methods
    chosen = settings(learning_rate=0.0123)
    (trial, *_) = comparison.trial_runs(method, Trial(7, comparison.digest), chosen)
    (report, *others) = comparison.report_runs(method, chosen)
    assert declares(trial)
    assert len(others) > 1
    assert all(map(declares, (report, *others)))
    assert not declares(dataclasses.replace(trial, trial=Trial(7, "another")))
    for spec in (trial, report):
        assert isinstance(spec.task, Training)
        shorter = dataclasses.replace(spec.task, num_steps=spec.task.num_steps // 2)
        assert not declares(dataclasses.replace(spec, task=shorter))


# Expansion


SEARCHED = dataclasses.replace(STUDY, experiments=(*STUDY.experiments, searched("search")))


def test_searched_experiments_are_compared_and_the_others_expanded() -> None:
    for scale in SCALES:
        assert expand(SEARCHED, scale) == expand(STUDY, scale)
        (found,) = comparisons(SEARCHED, scale)
        assert found == Comparison("someone2022", SEARCHED.experiments[-1], scale)
        assert comparisons(STUDY, scale) == ()
    assert expand(SEARCHED, "full", arms=["tuned"]) == expand(STUDY, "full", arms=["tuned"])
    assert expand(SEARCHED, "full", only=["search"]) == ()


def test_filters_keep_the_comparisons_that_they_name() -> None:
    other_arm = searched("other", arm="published")
    study = dataclasses.replace(SEARCHED, experiments=(*SEARCHED.experiments, other_arm))

    def names(**filters: Any) -> list[str]:
        return [c.experiment.name for c in comparisons(study, "full", **filters)]

    assert names() == ["search", "other"]
    assert names(arms=["published"]) == ["other"]
    assert names(only=["search", "first"]) == ["search"]
    assert names(only=["cost"]) == []
    with pytest.raises(ValueError, match=r"^Unknown experiment of someone2022 'third'\."):
        names(only=["third"])
    with pytest.raises(ValueError, match=r"^Unknown arm of someone2022 'best'\."):
        names(arms=["best"])
    with pytest.raises(
        ValueError, match=r"^No run of someone2022 has an arm among published .* Drop one"
    ):
        names(arms=["published"], only=["search"])


def test_a_search_takes_all_methods_of_its_comparison() -> None:
    with pytest.raises(ValueError, match=r"a search takes all methods of its comparison\.$"):
        expand(SEARCHED, "full", only=["search"], methods=["back"])


def test_runs_come_in_declared_order() -> None:
    runs = expand(STUDY, "full", only=["first"])
    assert [(r.method.name, r.repetition) for r in runs] == [
        (name, repetition) for name in ("back", "forward") for repetition in range(5)
    ]
    assert {(r.study, r.arm, r.scale, r.experiment, r.role) for r in runs} == {
        ("someone2022", "published", "full", "first", "report")
    }
    assert all(r.problem == NETWORK and r.task == Training(100, 10) for r in runs)


def test_filters_keep_what_they_name() -> None:
    every = expand(STUDY, "full")
    assert expand(STUDY, "full", arms=["tuned"]) == tuple(r for r in every if r.arm == "tuned")
    assert expand(STUDY, "full", only=["cost", "first"]) == tuple(
        r for r in every if r.experiment != "second"
    )
    assert expand(STUDY, "full", methods=["forward"]) == tuple(
        r for r in every if r.method.name == "forward"
    )
    both = expand(STUDY, "full", arms=["tuned"], methods=["back"])
    assert both == tuple(r for r in every if r.arm == "tuned" and r.method.name == "back")


def test_only_timing_runs_name_the_device() -> None:
    cpu, cuda = expand(STUDY, "full"), expand(STUDY, "full", device="cuda")
    for here, there in zip(cpu, cuda, strict=True):
        assert (here == there) == (not isinstance(here.task, Timing))
        if isinstance(there.task, Timing):
            assert there.task.device == "cuda"
            assert here.key != there.key


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (
            {"arms": ["best"]},
            r"^Unknown arm of someone2022 'best'\. Choose from: published, tuned\.$",
        ),
        (
            {"only": ["first", "third"]},
            r"^Unknown experiment of someone2022 'third'\. Choose from: first, second, cost\.$",
        ),
        (
            {"methods": ["sgd"]},
            r"^Unknown method of someone2022 'sgd'\. Choose from: back, forward\.$",
        ),
        ({"scale": "huge"}, r"^Unknown scale 'huge'\. Choose from: smoke, reduced, full\.$"),
        ({"only": ["cost"], "methods": ["forward"]}, r"^No run of someone2022 has .* Drop one"),
        ({"only": ["cost"], "arms": ["tuned"]}, r"^No run of someone2022 has .* Drop one"),
    ],
)
def test_unknown_filters_name_the_choices(filters: dict[str, Any], message: str) -> None:
    given = {"scale": "full", **filters}
    with pytest.raises(ValueError, match=message) as caught:
        expand(STUDY, cast("Scale", given.pop("scale")), **given)
    assert "\n" not in str(caught.value)


def test_choose_keeps_the_declared_order() -> None:
    assert choose(["a", "b", "c", "a"], ["c", "a"], "letter") == ("a", "c")
    assert choose(["a", "b"], [], "letter") == ("a", "b")
    assert choose(iter("abca"), iter("ca"), "letter") == ("a", "c")


def test_a_study_is_listed_without_pytorch() -> None:
    code = (
        "import sys, studies, repro.results; from repro.protocol import expand\n"
        "[expand(studies.get(n), s) for n in studies.names() for s in ('smoke', 'full')]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True)


def test_a_single_name_need_not_be_in_a_list() -> None:
    assert expand(STUDY, "full", only="first") == expand(STUDY, "full", only=["first"])
    assert expand(STUDY, "full", methods="back") == expand(STUDY, "full", methods=["back"])


def test_a_wrong_name_among_many_is_answered_with_the_closest() -> None:
    names = [f"tuned-{n}" for n in range(40)] + ["nn-sgd"]
    with pytest.raises(ValueError, match=r"^Unknown experiment 'nn-sdg'\. Choose from: ") as caught:
        choose(names, ["nn-sdg"], "experiment")
    said = str(caught.value)
    assert "Choose from: nn-sgd, " in said
    assert said.endswith(", ... (`repro list` shows all 41).")
    assert said.count(", ") == 4  # four of them, and that there are more


def test_a_dozen_names_are_all_shown() -> None:
    dozen = [*"abcdefghijk", "l, m"]
    with pytest.raises(ValueError, match=r"Choose from: a, b, c, .*, j, k, 'l, m'\.$"):
        choose(dozen, ["x"], "letter")
    with pytest.raises(ValueError, match=r", \.\.\. \(`repro status` shows all 13\)\.$"):
        choose([*dozen, "n"], ["x"], "letter", "repro status")
    with pytest.raises(ValueError, match=r"Choose from: a, b, c, .*, j, k, 'l, m', n\.$"):
        choose([*dozen, "n"], ["x"], "letter", shown_by="")


def test_families_are_chosen_by_their_first_words() -> None:
    names = ["run", "run-time-a", "run-time-b", "running", "x-1", "x-2"]
    assert spread(names, "run-time") == ("run-time-a", "run-time-b")
    assert spread(names, ["x", "run"]) == ("x-1", "x-2", "run")
    assert spread(iter(names), iter(["x", "run-time"])) == (
        *("x-1", "x-2"),
        *("run-time-a", "run-time-b"),
    )
    # a word that begins nothing is left for `choose` to refuse
    assert spread(names, ["y", "run-time-a"]) == ("y", "run-time-a")
    assert expand(studies.get("baydin2022"), "full", only="run-time-depth")

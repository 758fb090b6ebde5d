"""One contract for every study."""

import dataclasses
import itertools
import math
import re
from pathlib import Path

import pandas as pd
import pytest

import studies
from repro import claims, datasets, estimators, models, optimizers, timing
from repro.problems.classification import LOSSES
from repro.problems.closed_form import FUNCTIONS
from repro.protocol import (
    FINAL,
    SCALES,
    SCHEDULES,
    Classification,
    ClosedForm,
    Fact,
    Method,
    Problem,
    Scale,
    Study,
    Timing,
    Training,
    comparisons,
    expand,
)
from repro.results import read_published

NAMES = studies.names()
every_study = pytest.mark.parametrize("study", [studies.get(name) for name in NAMES], ids=NAMES)
PAPERS = tuple(name for name in NAMES if name != "speed")
"""All but the one that times this package and claims nothing."""
every_paper = pytest.mark.parametrize("study", [studies.get(name) for name in PAPERS], ids=PAPERS)


def methods(study: Study) -> set[Method]:
    return {method for experiment in study.experiments for method in experiment.methods}


def problems(study: Study) -> set[Problem]:
    return {e.plan(scale).problem for e in study.experiments for scale in SCALES}


def test_studies_are_found() -> None:
    assert "baydin2022" in NAMES
    assert sorted(NAMES) == list(NAMES)
    files = {path.stem for path in Path(studies.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(NAMES) == files


def test_unknown_studies_name_the_choices() -> None:
    with pytest.raises(
        ValueError, match=rf"^Unknown study 'x'\. Choose from: {', '.join(NAMES)}\.$"
    ):
        studies.get("x")


@every_study
def test_a_study_is_named_as_its_module_and_cited(study: Study) -> None:
    assert studies.get(study.name) is study
    assert study.citation
    assert "\n" not in study.citation


@every_paper
def test_a_paper_is_named_by_its_year(study: Study) -> None:
    assert study.name[-4:].isdigit()
    assert study.name[-4:] in study.citation


@every_study
def test_a_study_is_a_value(study: Study) -> None:
    assert hash(study) == hash(dataclasses.replace(study))


@pytest.mark.parametrize("scale", SCALES)
@every_study
def test_keys_are_unique(study: Study, scale: str) -> None:
    runs = expand(study, scale)  # type: ignore[arg-type]
    keys = {spec.key for spec in runs}
    assert len(keys) == len(runs)
    assert keys == {spec.key for spec in expand(study, scale)}  # type: ignore[arg-type]
    assert {spec.study for spec in runs} == {study.name}


@every_study
def test_a_smaller_scale_is_part_of_the_full_one_or_apart_from_it(study: Study) -> None:
    full = {spec.key for spec in expand(study, "full")}
    for scale in ("smoke", "reduced"):
        for spec in expand(study, scale):
            assert (spec.key in full) == (spec.scale == "full")
            assert spec.scale in (scale, "full")


@every_study
def test_experiments_are_named_once(study: Study) -> None:
    names = [experiment.name for experiment in study.experiments]
    assert len(set(names)) == len(names)
    for experiment in study.experiments:
        assert len({method.name for method in experiment.methods}) == len(experiment.methods)
        assert len(set(experiment.hyperparameters)) == len(experiment.hyperparameters) >= 1


@every_study
def test_scales_grow(study: Study) -> None:
    for experiment in study.experiments:
        smoke, reduced, full = (experiment.plan(scale) for scale in SCALES)
        # smoke needs two, to wire stacks and intervals
        assert reduced.repetitions <= full.repetitions
        assert type(smoke.task) is type(reduced.task) is type(full.task)


@every_paper
def test_a_turn_on_cuda_is_longer_than_its_launch_and_on_the_cpu_one_step(study: Study) -> None:
    for experiment in study.experiments:
        if isinstance(experiment.full.task, Timing):
            for plan in (experiment.reduced, experiment.full):
                tasks = [plan.task_on(device) for device in ("cpu", "cuda")]
                assert [getattr(task, "loop_steps", None) for task in tasks] == [0, 50]


@every_study
def test_smoke_needs_no_download(study: Study) -> None:
    for experiment in study.experiments:
        problem = experiment.smoke.problem
        assert isinstance(problem, ClosedForm) or problem.dataset == "digits"


@every_study
def test_components_exist(study: Study) -> None:
    timed = {
        method
        for experiment in study.experiments
        if isinstance(experiment.full.task, Timing)
        for method in experiment.methods
    }
    for method in methods(study):
        parts = timing.PARTS if method in timed else ()
        assert method.estimator.name in (*estimators.ESTIMATORS, *parts)
        if method.estimator.name in estimators.ESTIMATORS:
            estimators.build(method.estimator.name, **method.estimator.options())
        assert method.optimizer.name in optimizers.OPTIMIZERS
        optimizers.build(method.optimizer.name, **method.optimizer.options())
        assert method.schedule in SCHEDULES
        assert method.loss is None or method.loss in LOSSES


@every_study
def test_problems_exist(study: Study) -> None:
    images = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "digits": (1, 8, 8)}
    assert set(images) == set(datasets.NAMES)
    for problem in problems(study):
        if isinstance(problem, ClosedForm):
            assert problem.function in FUNCTIONS
            assert all(math.isfinite(x) for x in problem.start)
            continue
        assert isinstance(problem, Classification)
        assert problem.network.name in models.NETWORKS
        models.build(problem.network.name, images[problem.dataset], 10, **problem.network.options())
        assert problem.input_scaling in ("unit", "standardised")
        assert problem.loss == "cross_entropy"
        assert problem.validation_size > 0


@every_study
def test_problems_that_share_a_name_share_their_data(study: Study) -> None:
    # seeds derive from the name: two problems of one name and scale are paired
    for scale in SCALES:
        by_name: dict[str, set[str]] = {}
        for experiment in study.experiments:
            problem = experiment.plan(scale).problem
            kind = problem.function if isinstance(problem, ClosedForm) else problem.dataset
            by_name.setdefault(problem.name, set()).add(kind)
        assert all(len(kinds) == 1 for kinds in by_name.values()), by_name


@every_study
def test_schedules_have_their_hyperparameters(study: Study) -> None:
    for experiment in study.experiments:
        if type(experiment.full.task).__name__ in ("Sampling", "Approximation"):
            continue
        for method, scale in itertools.product(experiment.methods, SCALES):
            search = experiment.plan(scale).search
            searched = {} if search is None else dict(search.space.ranges)
            needed = set(SCHEDULES[method.schedule])
            for given in experiment.settings_of(method):
                assert needed <= {*dict(given), *searched}, experiment.name
                assert not set(dict(given)) & set(searched), experiment.name


@pytest.mark.parametrize("scale", SCALES)
@every_study
def test_a_search_starts_from_one_setting(study: Study, scale: Scale) -> None:
    for comparison in comparisons(study, scale):
        for method in comparison.experiment.methods:
            assert len(comparison.experiment.settings_of(method)) == 1
        assert len(comparison.search.space.ranges) >= 1


@every_paper
def test_facts_say_where_they_were_read(study: Study) -> None:
    assert study.facts
    for fact in study.facts:
        assert fact.item, fact
        assert fact.quantity, fact
        # of a missing value, the source is the reason why it is missing
        assert fact.source.strip(), fact
        if fact.value is not None:
            assert math.isfinite(fact.value), fact
            assert not fact.text, fact
        elif not fact.text:
            assert "not" in fact.source, fact


@every_study
def test_facts_are_stated_once(study: Study) -> None:
    def identity(fact: Fact) -> tuple[object, ...]:
        return (fact.item, fact.quantity, fact.method, fact.setting, fact.x)

    identities = [identity(fact) for fact in study.facts]
    assert len(set(identities)) == len(identities)


@every_study
def test_facts_belong_to_methods_and_experiments(study: Study) -> None:
    known = {method.name for method in methods(study)}
    for fact in study.facts:
        # a fact of several angles names the method without them
        alike = f"{fact.method.partition(',')[0]} at {fact.x or 15:g} degrees"
        assert fact.method in ("", *known) or alike in known, fact


@every_study
def test_claims_are_numbered(study: Study) -> None:
    assert [claim.number for claim in study.claims] == list(range(1, len(study.claims) + 1))
    for claim in study.claims:
        assert claim.text.strip()
        assert claim.where.strip()
        assert claim.checks or claim.untested.strip()
        if not claim.theirs:  # then who makes it stands in place of where it is made
            assert not re.match("Section|Fig|Table|Abstract|Theorem|Lemma", claim.where)


@every_study
def test_checks_name_measures_experiments_and_methods_that_exist(study: Study) -> None:
    claims.refuse_unknown(study, [studies.get(name) for name in NAMES])


def unequal_budgets(runs: pd.DataFrame) -> list[str]:
    """Name the searches that ended with one method having another budget than the next."""
    found = []
    for identity, rows in runs.groupby(["study", "experiment", "scale"]):
        tuned, reported = rows[rows["role"] == "tune"], rows[rows["role"] == "report"]
        # trials beside the winners are as many for all, at rates of each method's own
        tuned = tuned.assign(rate=tuned["learning_rate"].where(tuned["stage"] == "", 0.0))
        # and the best of a method are as many, whichever trials of its own they are
        final = tuned[tuned["stage"] == FINAL]
        tuned.loc[final.index, "trial"] = final.groupby("method")["trial"].rank("dense")
        if tuned.empty or reported.empty:
            continue  # at given settings, or not ended
        budgets = {
            method: (
                sorted(
                    zip(own["trial"], own["stage"], own["rate"], own["repetition"], strict=True)
                ),
                sorted(set(own["search"])),
                sorted(reported.loc[reported["method"] == method, "repetition"]),
            )
            for method, own in tuned.groupby("method")
        }
        first, *others = budgets.values()
        if any(other != first for other in others):
            found.append(" ".join(map(str, identity)))
    return found


def test_published_searches_gave_every_method_the_same_budget() -> None:
    runs, _, _ = read_published(studies.RESULTS)
    assert unequal_budgets(runs) == []


def test_one_trial_more_is_an_unequal_budget() -> None:
    def row(
        method: str, role: str, trial: float = math.nan, stage: str = "", rate: float = 0.1
    ) -> dict[str, object]:
        identity = {"study": "s", "experiment": "e", "scale": "full", "search": "abc"}
        return {
            **identity, "method": method, "role": role, "trial": trial, "learning_rate": rate,
            "repetition": 0, "stage": stage,
        }  # fmt: skip

    equal = [row(m, "tune", float(n)) for m in "ab" for n in range(3)]
    reported = [row(m, "report") for m in "ab"]
    assert unequal_budgets(pd.DataFrame([*equal, *reported])) == []
    more = [*equal, *reported, row("a", "tune", 3.0)]
    assert unequal_budgets(pd.DataFrame(more)) == ["s e full"]
    assert unequal_budgets(pd.DataFrame([*equal, *reported, row("a", "report")])) == ["s e full"]
    elsewhere = [row("a", "tune", 3.0, rate=0.2), row("b", "tune", 3.0, rate=0.3)]
    assert unequal_budgets(pd.DataFrame([*equal, *reported, *elsewhere])) == ["s e full"]
    beside = [{**each, "stage": "refinement"} for each in elsewhere]
    assert unequal_budgets(pd.DataFrame([*equal, *reported, *beside])) == []
    assert unequal_budgets(pd.DataFrame([*equal, *reported, beside[0]])) == ["s e full"]
    finals = [row("a", "tune", 0.0, stage=FINAL), row("b", "tune", 2.0, stage=FINAL)]
    assert unequal_budgets(pd.DataFrame([*equal, *reported, *finals])) == []
    fewer = [*equal, *reported, *finals, row("b", "tune", 1.0, stage=FINAL)]
    assert unequal_budgets(pd.DataFrame(fewer)) == ["s e full"]


@pytest.mark.parametrize("scale", ["reduced", "full"])
def test_one_tangent_and_sixteen_have_the_same_forward_passes(scale: Scale) -> None:
    """Of the experiments at equal passes, but for the rounding to whole steps; networks count as in forward mode."""
    named = {experiment.name: experiment for experiment in studies.get("fluegel2024").experiments}

    def passes(experiment: str, method_name: str) -> float:
        task = named[experiment].plan(scale).task
        assert isinstance(task, Training)
        (method,) = (m for m in named[experiment].methods if m.name == method_name)
        options = {**method.estimator.options(), "mode": "forward"}
        step = estimators.build(method.estimator.name, **options).cost
        return step.forward_passes * task.num_steps

    compared = [name for name in named if "-passes-" in name]
    assert len(compared) == 10
    for longer_or_shorter in compared:
        usual = longer_or_shorter.replace("-passes-", "-tuned-")
        # a function's steps with 16 are fewer than usual, a network's with one are more
        networks = usual.startswith("networks")
        one, many = (longer_or_shorter, usual) if networks else (usual, longer_or_shorter)
        for name in ("mean, k=16", "projection, k=16"):
            assert passes(many, name) == pytest.approx(passes(one, "forward gradient"), rel=0.02)

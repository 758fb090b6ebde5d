"""What an experiment says of its runs at every scale: how many, their label, each method's settings, turns on CUDA."""

import dataclasses

import pytest
from small_study import BACK, FORWARD, NETWORK, SPACE, STUDY, TIMED, experiment, searched

import studies
from repro.protocol import (
    SCALES,
    Plan,
    Search,
    Timing,
    Training,
    comparisons,
    expand,
    settings,
)

# Scales


def test_a_scale_with_the_full_budget_is_labelled_full() -> None:
    declared = experiment("x")
    assert [declared.label(scale) for scale in SCALES] == ["smoke", "full", "full"]


def test_fewer_repetitions_are_still_the_full_budget() -> None:
    declared = experiment("x", reduced=Plan(NETWORK, Training(100, 10), 2))
    assert declared.label("reduced") == "full"
    study = dataclasses.replace(STUDY, experiments=(declared,))
    reduced, full = (expand(study, scale) for scale in ("reduced", "full"))
    assert set(reduced) < set(full)
    assert (len(reduced), len(full)) == (4, 10)


@pytest.mark.parametrize(
    "plan",
    [
        Plan(NETWORK, Training(99, 10), 5),
        Plan(NETWORK, Training(100, 20), 5),
        Plan(dataclasses.replace(NETWORK, dataset="mnist"), Training(100, 10), 5),
    ],
)
def test_any_other_difference_keeps_its_label(plan: Plan) -> None:
    declared = experiment("x", reduced=plan)
    assert declared.label("reduced") == "reduced"
    study = dataclasses.replace(STUDY, experiments=(declared,))
    assert not set(expand(study, "reduced")) & set(expand(study, "full"))


def test_an_experiment_is_searched_at_the_scales_that_say_so() -> None:
    given = Plan(NETWORK, Training(2, 1), 1)
    study = dataclasses.replace(STUDY, experiments=(searched("search", smoke=given),))
    assert comparisons(study, "smoke") == ()
    assert {r.experiment for r in expand(study, "smoke")} == {"search"}
    assert [c.scale for c in comparisons(study, "full")] == ["full"]
    assert expand(study, "full") == ()


def test_the_runs_of_a_method_are_its_trials_and_its_repetitions_at_every_setting() -> None:
    refined = Plan(NETWORK, Training(2, 1), 5, Search(SPACE, 4, repetitions=3, refinement_trials=2))
    assert searched("x", full=refined).runs_of_a_method("full") == (4 + 2) * 3 + 5
    assert searched("x").runs_of_a_method("smoke") == 2 + 1
    again = Search(SPACE, 4, repetitions=3, finalists=2, finalist_repetitions=4)
    finals = Plan(NETWORK, Training(2, 1), 5, again)
    assert searched("x", full=finals).runs_of_a_method("full") == 4 * 3 + 2 * 4 + 5
    two = dataclasses.replace(
        experiment("x"), hyperparameters=(settings(learning_rate=0.1), settings())
    )
    assert two.runs_of_a_method("full") == 2 * 5


# Settings of single methods


def test_own_settings_join_and_override_the_shared_ones() -> None:
    shared = (settings(learning_rate=0.1), settings(learning_rate=0.2, decay=1e-4))
    decaying = dataclasses.replace(FORWARD, schedule="exponential")
    declared = dataclasses.replace(
        experiment("x"),
        methods=(BACK, decaying),
        hyperparameters=shared,
        own=(("forward", settings(learning_rate=0.5)),),
    )
    assert declared.settings_of(BACK) == shared
    assert declared.settings_of(decaying) == (
        settings(learning_rate=0.5),
        settings(learning_rate=0.5, decay=1e-4),
    )
    runs = expand(dataclasses.replace(STUDY, experiments=(declared,)), "smoke")
    assert [(r.method.name, r.hyperparameters) for r in runs] == [
        (method.name, declared.settings_of(method)[index])
        for index in range(2)
        for method in (BACK, decaying)
    ]


def test_settings_of_its_own_are_a_run_as_shared_ones_are() -> None:
    # the key is of the run, not of where its settings were declared
    given = settings(learning_rate=0.1)
    own = dataclasses.replace(
        experiment("first"), hyperparameters=((),), own=(("back", given), ("forward", given))
    )
    alone = dataclasses.replace(STUDY, experiments=(own,))
    assert expand(alone, "full") == expand(STUDY, "full", only=["first"])


# Devices


def test_turns_are_longer_on_cuda_where_a_plan_says_so() -> None:
    short = Timing(3, 1, "cpu", 1, loop_steps=5)
    plan = Plan(NETWORK, short, 1, loop_steps_on_cuda=50)
    assert plan.task_on("cpu") == short
    assert plan.task_on("cuda") == dataclasses.replace(short, device="cuda", loop_steps=50)
    longer = dataclasses.replace(plan, task=dataclasses.replace(short, loop_steps=60))
    assert longer.task_on("cuda") == dataclasses.replace(short, device="cuda", loop_steps=60)
    assert TIMED.task_on("cuda") == Timing(3, 1, "cuda", 1)


def test_the_stacked_replicas_of_our_own_study_do_not_time_a_launch() -> None:
    runs = expand(studies.get("speed"), "full", only=["replicas-32-mlp"], device="cuda")
    tasks = [run.task for run in runs]
    assert tasks
    assert all(isinstance(task, Timing) and task.loop_steps == 50 for task in tasks)

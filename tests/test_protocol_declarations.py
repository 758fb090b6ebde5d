"""What a study declares, by hand or by what studies share: what cannot be is refused in words that say the mend."""

import dataclasses
import importlib
import math
from typing import Any

import pytest
from small_study import BACK, FORWARD, NETWORK, SPACE, STUDY, experiment, run, searched

import studies
from repro.protocol import (
    BELOW_ZERO,
    Approximation,
    Check,
    Claim,
    Classification,
    Expectation,
    LogUniform,
    Plan,
    Sampling,
    Search,
    SearchSpace,
    Timing,
    Training,
    final,
    near,
    on_digits,
    settings,
    use,
)


def test_methods_of_one_name_and_no_settings_are_refused() -> None:
    (experiment, *_) = (e for e in studies.get("baydin2022").experiments if not e.own)
    twice = (*experiment.methods, experiment.methods[0])
    with pytest.raises(ValueError, match=r"two methods of the name .* Rename one"):
        dataclasses.replace(experiment, methods=twice)
    with pytest.raises(ValueError, match=r"has no settings, so no runs\. Give `\(settings\(\),\)`"):
        dataclasses.replace(experiment, hyperparameters=())


@pytest.mark.parametrize("field", ["facts", "experiments", "claims"])
def test_what_a_study_has_one_of_needs_its_comma(field: str) -> None:
    study = studies.get("rike2022")
    (single, *_) = getattr(study, field)
    message = (
        rf"^Study 'rike2022' needs `{field}` to be a tuple, .*\. Found {type(single).__name__} "
    )
    with pytest.raises(ValueError, match=message) as caught:
        dataclasses.replace(study, **{field: single})
    assert str(caught.value).endswith("put a comma after every entry, also if there is only one.")


def test_what_experiments_and_claims_have_one_of_needs_its_comma() -> None:
    study = studies.get("rike2022")
    experiment, claim = study.experiments[0], next(c for c in study.claims if c.checks)
    single: Any = experiment.methods[0]
    with pytest.raises(ValueError, match=r"^Experiment .* `methods` .* every entry a `Method`\."):
        dataclasses.replace(experiment, methods=single)
    without_comma: Any = settings(learning_rate=0.1)
    with pytest.raises(ValueError, match=r"`hyperparameters` .* every entry `settings\(\.\.\.\)`"):
        dataclasses.replace(experiment, hyperparameters=without_comma)
    check: Any = claim.checks[0]
    with pytest.raises(ValueError, match=rf"^Claim {claim.number} needs `checks` .* `Check`\."):
        dataclasses.replace(claim, checks=check)


def test_an_entry_of_another_kind_is_named() -> None:
    mixed: Any = ("BP", FORWARD)
    with pytest.raises(
        ValueError,
        match=r"^Experiment 'x' needs `methods` .* every entry a `Method`\. Found str 'BP': give a "
        r"`Method` as entry 1\.$",
    ):
        dataclasses.replace(experiment("x"), methods=mixed)


def test_experiments_and_claims_are_told_apart() -> None:
    study = studies.get("rike2022")
    with pytest.raises(ValueError, match=r"two experiments of the name .* Rename one\.$"):
        dataclasses.replace(study, experiments=(*study.experiments, study.experiments[0]))
    with pytest.raises(ValueError, match=r"two claims of the number 1: .* Renumber one\.$"):
        dataclasses.replace(study, claims=(*study.claims, study.claims[0]))


def test_a_study_goes_by_the_name_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("studies.baydin2022")
    monkeypatch.setattr(module, "STUDY", dataclasses.replace(module.STUDY, name="somebody"))
    with pytest.raises(ValueError, match=r"declares the study 'somebody'\. .* make them equal"):
        studies.get("baydin2022")


# Values that cannot be


CHECK = Check("ratio", use("ratio"), Expectation(0.5, 1.0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogUniform(0.0, 1.0), r"0 < low < high < inf\. Found low=0\.0, high=1\.0\."),
        (lambda: LogUniform(1.0, 1.0), r"Found low=1\.0, high=1\.0"),
        (lambda: LogUniform(1.0, math.inf), r"Found low=1\.0, high=inf"),
        (lambda: LogUniform(math.nan, 1.0), r"Found low=nan"),
        (lambda: LogUniform(-1.0, 1.0), r"Found low=-1\.0, high=1\.0"),
        (lambda: LogUniform(2.0, 1.0), r"Found low=2\.0, high=1\.0"),
        (lambda: SearchSpace(()), r"A search space needs at least one range\. Found none\."),
        (
            lambda: searched("x", hyperparameters=((), settings(decay=1.0))),
            r"Experiment 'x' is searched, so its methods start from one setting\. Found 2\.",
        ),
        (
            lambda: searched("x", hyperparameters=(settings(learning_rate=1.0),)),
            r"Experiment 'x' both gives and searches 'learning_rate'\.",
        ),
        (lambda: Search(SPACE, 0), r"A search needs `num_trials` of at least 1\. Found 0\."),
        (
            lambda: Search(SPACE, 4, repetitions=0),
            r"A search needs `repetitions` of at least 1\. Found 0\.",
        ),
        (lambda: Search(SPACE, 4, batch=-1), r"needs `batch` of at least 1\. Found -1\."),
        (
            lambda: Search(SPACE, 4, extension_trials=0),
            r"needs `extension_trials` of at least 1\. Found 0\.",
        ),
        (
            lambda: Search(SPACE, 4, refinement_trials=-1),
            r"needs `refinement_trials` of at least 0\. Found -1\.",
        ),
        (
            lambda: Search(SPACE, 4, finalists=-1),
            r"needs `finalists` of at least 0\. Found -1\.",
        ),
        (
            lambda: Search(SPACE, 4, finalists=2, finalist_repetitions=0),
            r"needs `finalist_repetitions` of at least 1\. Found 0\.",
        ),
        (
            lambda: Search(SPACE, 4, max_extensions=-1),
            r"needs `max_extensions` >= 0 and `edge` in \[0, 0\.5\)\. Found -1 and 0\.1\.",
        ),
        (lambda: Search(SPACE, 4, edge=0.5), r"`edge` in \[0, 0\.5\)\. Found 3 and 0\.5\."),
        (lambda: Search(SPACE, 4, edge=math.nan), r"Found 3 and nan\."),
        (
            lambda: Plan(NETWORK, Timing(3, 1, "cpu", 1), 1, loop_steps_on_cuda=-1),
            r"`loop_steps_on_cuda` must be at least 0\. Found -1\.",
        ),
        (
            lambda: Plan(NETWORK, Timing(3, 1, "cpu", 1), 1, Search(SPACE, 4)),
            r"Only training can be searched\. Found the task Timing\(num_steps=3",
        ),
        (
            lambda: Plan(NETWORK, Sampling(2), 1, Search(SPACE, 4)),
            r"Only training can be searched\. Found the task Sampling\(num_draws=2",
        ),
        (
            lambda: dataclasses.replace(experiment("x"), methods=()),
            r"Experiment 'x' has no methods, so no runs\.$",
        ),
        (
            lambda: dataclasses.replace(experiment("x"), own=(("bakc", settings(decay=1.0)),)),
            r"Experiment 'x' has settings of its own for 'bakc', which is none of its methods\. "
            r"Choose from: back, forward\.",
        ),
        (
            lambda: dataclasses.replace(
                experiment("x"), hyperparameters=(settings(learning_rate=0.1, momentum=0.9),)
            ),
            r"^Experiment 'x' has the hyperparameter `momentum`, which nothing uses: the constant schedule of 'back' reads "
            r"learning_rate alone\. Give it to the part that has it, as in `use\(\"sgd\", momentum=0\.9\)`, or leave it out\.$",
        ),
        (
            lambda: dataclasses.replace(experiment("x"), own=(("forward", settings(decay=0.5)),)),
            r"^Experiment 'x' has the hyperparameter `decay`, which the constant schedule of 'forward' does not use\. Leave it "
            r"out, or give the method `schedule=\"exponential\"`\.$",
        ),
        (
            lambda: dataclasses.replace(
                experiment("x"),
                methods=(dataclasses.replace(BACK, schedule="hyperbolic"), FORWARD),
                own=(("forward", settings(decay=0.5)),),
            ),
            r"`decay`, which the constant schedule of 'forward' does not use",
        ),
        (
            lambda: searched(
                "x",
                full=Plan(
                    NETWORK,
                    Training(2, 1),
                    1,
                    Search(SearchSpace((("momentum", LogUniform(0.1, 0.9)),)), 4),
                ),
            ),
            r"Experiment 'x' has the hyperparameter `momentum`, which nothing uses",
        ),
        *(
            (
                make,
                r"^`precision` must be one of: float64, float32, bfloat16, float16\. Found 'floaty'\.$",
            )
            for make in (
                lambda: Training(1, 1, precision="floaty"),
                lambda: Timing(3, 1, "cpu", 1, precision="floaty"),
                lambda: Sampling(2, "floaty"),
                lambda: Approximation(2, (1,), "floaty"),
            )
        ),
        (lambda: Training(1, 1, test_every=-1), r"`test_every` must be at least 0\. Found -1\."),
        (lambda: Training(0, 1), r"`num_steps` must be at least 1\. Found 0\."),
        (lambda: Training(1, 0), r"`evaluate_every` must be at least 1\. Found 0\."),
        (lambda: Timing(0, 1, "cpu", 1), r"`num_steps` must be at least 1\. Found 0\."),
        (
            lambda: Timing(1, 1, "cpu", 1, loop_steps=-1),
            r"`loop_steps` must be at least 0\. Found -1",
        ),
        (lambda: Timing(1, 1, "cpu", 1, replicas=0), r"`replicas` must be at least 1\. Found 0\."),
        (
            lambda: Timing(1, 1, "cpu", 1, processes=0),
            r"`processes` must be at least 1\. Found 0\.",
        ),
        (lambda: Sampling(1), r"`num_draws` must be at least 2\. Found 1\."),
        (lambda: Plan(NETWORK, Sampling(2), 0), r"`repetitions` must be at least 1\. Found 0\."),
        (lambda: Expectation(1.0, 1.0), r"needs low < high\. Found low=1\.0, high=1\.0\."),
        (lambda: Expectation(2.0, 1.0), r"Found low=2\.0, high=1\.0"),
        (lambda: Expectation(math.nan), r"Found low=nan"),
        (
            lambda: Claim(3, "text", "Fig. 1"),
            r"Claim 3 needs either checks or a reason.*Found 0 checks and untested=''",
        ),
        (
            lambda: Claim(4, "text", "Fig. 1", (CHECK,), "no time"),
            r"Claim 4 needs either.*Found 1 checks and untested='no time'",
        ),
    ],
)
def test_what_cannot_be_says_so(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_what_can_be() -> None:
    assert LogUniform(1e-6, 10.0).low == 1e-6
    assert Search(SPACE, 1, edge=0.0, max_extensions=0).num_trials == 1
    assert Expectation() == Expectation(-math.inf, math.inf)
    assert Expectation(high=1.0).low == -math.inf
    assert Claim(1, "text", "Fig. 1", (CHECK,)).checks == (CHECK,)
    assert Claim(2, "text", "Fig. 1", untested="no data").checks == ()


@pytest.mark.parametrize("value", [run(), STUDY, STUDY.experiments[0], CHECK, use("x")])
def test_values_are_frozen(value: Any) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, "other")


# What studies share


def test_near_is_a_share_of_the_number_on_either_side() -> None:
    assert near(2.0) == Expectation(1.5, 2.5)
    assert near(4.0, 0.5) == Expectation(2.0, 6.0)


def test_a_check_of_a_final_metric_is_labelled_with_all_that_it_names() -> None:
    assert final("tuned-mlp", "back", "test_loss", BELOW_ZERO, 0.5) == Check(
        "tuned-mlp test loss, back",
        use("final_metric", experiment="tuned-mlp", method="back", metric="test_loss"),
        Expectation(high=0.0, strict=True),
        0.5,
    )


def test_on_digits_a_problem_keeps_all_but_its_data_and_network() -> None:
    problem = Classification("images", "mnist", use("vgg"), 16, "unit", 9_000)
    tiny = use("mlp", width=8, depth=1)
    assert on_digits(problem, tiny) == dataclasses.replace(NETWORK, validation_size=297)

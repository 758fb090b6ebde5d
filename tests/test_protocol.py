"""Runs are values: one text, one key, seeds from identity, and filters that name their choices."""

import dataclasses
import hashlib
import importlib
import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest

import studies
from repro import protocol
from repro.protocol import (
    BELOW_ZERO,
    SCALES,
    Check,
    Claim,
    Classification,
    ClosedForm,
    Comparison,
    Expectation,
    Experiment,
    LogUniform,
    Method,
    Plan,
    RunSpec,
    Sampling,
    Scale,
    Search,
    SearchSpace,
    Settings,
    Study,
    Timing,
    Training,
    Trial,
    best_trial,
    best_trials,
    canonical_json,
    choose,
    comparisons,
    declared,
    derive_seed,
    expand,
    final,
    finalists,
    kind_of,
    mean_score,
    near,
    on_digits,
    parse_run,
    problem_of,
    settings,
    spread,
    use,
)

NETWORK = Classification("images", "digits", use("mlp", width=8, depth=1), 16, "unit", 100)
QUADRATIC = ClosedForm("bowl", "beale", (0.0, 0.5))
FORWARD = Method("forward", use("forward_gradient", num_tangents=1, tangents="normal"), use("sgd"))
BACK = Method("back", use("backpropagation"), use("adam", beta1=0.9))


def run(task: protocol.Task = Training(10, 5), problem: protocol.Problem = NETWORK) -> RunSpec:  # noqa: B008
    return RunSpec(
        study="someone2022",
        arm="published",
        scale="full",
        experiment="images",
        role="report",
        problem=problem,
        method=FORWARD,
        hyperparameters=settings(learning_rate=0.1, decay=1e-4),
        repetition=0,
        task=task,
    )


RUNS = (run(), run(Timing(3, 1, "cpu", 1)), run(Sampling(4), QUADRATIC))
TRIAL_RUN = dataclasses.replace(run(), role="tune", trial=Trial(3, "digest"))


def experiment(name: str, arm: str = "published", **plans: Plan) -> Experiment:
    full = Plan(NETWORK, Training(100, 10), 5)
    smoke = Plan(NETWORK, Training(2, 1), 1)
    declared: dict[str, Any] = {"smoke": smoke, "reduced": full, "full": full, **plans}
    return Experiment(name, arm, (BACK, FORWARD), (settings(learning_rate=0.1),), **declared)


TIMED = Plan(NETWORK, Timing(3, 1, "cpu", 1), 1)


STUDY = Study(
    "someone2022",
    "Someone 2022",
    (),
    (
        experiment("first"),
        experiment("second", "tuned"),
        Experiment(
            "cost",
            "published",
            (BACK,),
            (settings(learning_rate=0.1),),
            TIMED,
            TIMED,
            TIMED,
        ),
    ),
    (),
)


# One text for one value


def test_canonical_json_is_fixed() -> None:
    assert canonical_json(use("sgd", rate=0.5, nesterov=True)) == (
        '{"class":"Component","name":"sgd","settings":[["nesterov",true],["rate",0.5]]}'
    )


def test_key_is_the_hash_of_the_text_and_fixed() -> None:
    first = run()
    assert first.key == hashlib.sha256(first.canonical_json().encode()).hexdigest()
    # a changed key disowns every published row: raise PROTOCOL_VERSION on purpose, or not at all
    assert first.key == "6c25a25185798b2637293ba1fe52f41b2769a50b6ead8d75589ac7c5a697e4d9"


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


def test_order_of_settings_does_not_matter() -> None:
    assert use("x", a=1, b=2.0) == use("x", b=2.0, a=1)
    assert settings({"b": 1, "a": 2}) == settings({"a": 2}, b=1) == (("a", 2), ("b", 1))
    assert canonical_json({"b": 1, "a": [1, 2]}) == canonical_json({"a": (1, 2), "b": 1})


def test_text_does_not_depend_on_the_process() -> None:
    code = "import sys, repro.protocol as p; print(p.parse_run(sys.argv[1]).key)"
    for seed in ("1", "2"):
        shown = subprocess.run(
            [sys.executable, "-c", code, run().canonical_json()],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.strip() == run().key


def test_options_are_the_settings() -> None:
    assert use("sgd", rate=0.5, steps=None).options() == {"rate": 0.5, "steps": None}


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_settings_are_finite(value: float) -> None:
    with pytest.raises(ValueError, match=r"Setting `clip` must be finite\. Found -?(inf|nan)\."):
        settings(clip=value)


def test_only_plain_values_have_a_text() -> None:
    with pytest.raises(TypeError, match=r"No canonical JSON for set: \{1\}\."):
        canonical_json({"a": {1}})
    with pytest.raises(TypeError, match="No canonical JSON for type"):
        canonical_json(RunSpec)
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(math.nan)


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


# Keys


def other(value: object) -> Any:
    """A different value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case str():
            return value + "'"
        case None:
            return 1
        case tuple():
            return (*value, value[-1] if value else ("momentum", 0.5))
    raise AssertionError(f"No other {value!r}.")


def variants(value: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a dataclass that differ in one field, however deep."""
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        if dataclasses.is_dataclass(held):
            for path, changed in variants(held):
                yield f"{field.name}.{path}", dataclasses.replace(value, **{field.name: changed})
        else:
            yield field.name, dataclasses.replace(value, **{field.name: other(held)})


@pytest.mark.parametrize(
    "original", [*RUNS, TRIAL_RUN], ids=["training", "timing", "sampling", "trial"]
)
def test_every_field_is_in_the_key(original: RunSpec) -> None:
    changed = dict(variants(original))
    trial = {"trial"} if original.trial is None else {"trial.number", "trial.search"}
    method = {"method.name", "method.schedule", "method.loss"}
    assert {"repetition", "role", "task.precision", *method, *trial} <= set(changed)
    keys = {original.key, *(variant.key for variant in changed.values())}
    assert len(keys) == len(changed) + 1


OWN_LOSS = dataclasses.replace(run(), method=dataclasses.replace(FORWARD, loss="clamped"))
LATER: dict[tuple[str, str], RunSpec] = {
    ("Method", "loss"): OWN_LOSS,
    ("Training", "test_every"): run(Training(10, 5, test_every=5)),
    ("Training", "early_stopping"): run(Training(10, 5, early_stopping=2)),
    ("Training", "validation_limit"): run(Training(10, 5, validation_limit=10.0)),
    ("Timing", "loop_steps"): run(Timing(3, 1, "cpu", 1, loop_steps=1)),
    ("Timing", "replicas"): run(Timing(3, 1, "cpu", 1, replicas=2)),
    ("Timing", "processes"): run(Timing(3, 1, "cpu", 1, processes=2)),
    ("RunSpec", "trial"): TRIAL_RUN,
}
"""What a specification could not say at first: runs that say it, by class and field."""


def names_in(value: Any) -> Iterator[tuple[str, str]]:
    """Class and name of every field in parsed canonical JSON."""
    if isinstance(value, dict):
        for name, held in value.items():
            yield str(value.get("class", "")), name
            yield from names_in(held)
    elif isinstance(value, list):
        for held in value:
            yield from names_in(held)


@pytest.mark.parametrize("field", LATER, ids=".".join)
def test_later_fields_are_in_the_text_only_where_they_say_something(
    field: tuple[str, str],
) -> None:
    spec = LATER[field]
    assert field in set(names_in(json.loads(spec.canonical_json())))
    for older in RUNS:
        assert field not in set(names_in(json.loads(older.canonical_json())))
        assert parse_run(older.canonical_json()) == older
        assert older.key != spec.key
    revived = parse_run(spec.canonical_json())
    assert revived == spec
    assert revived.key == spec.key
    assert revived.trial == spec.trial


def test_a_text_that_states_a_later_default_is_the_same_run() -> None:
    content = json.loads(run().canonical_json())
    content["run"]["method"]["loss"] = content["run"]["trial"] = None
    content["run"]["task"]["test_every"] = 0
    assert parse_run(json.dumps(content)).key == run().key


def test_a_method_with_its_own_loss_trains_it() -> None:
    assert run().trained_problem is run().problem
    assert OWN_LOSS.problem == run().problem
    assert OWN_LOSS.trained_problem == dataclasses.replace(NETWORK, loss="clamped")
    on_a_formula = dataclasses.replace(OWN_LOSS, problem=QUADRATIC)
    assert on_a_formula.trained_problem == QUADRATIC


def test_values_and_types_of_settings_are_in_the_key() -> None:
    rates = [
        settings(learning_rate=0.1),
        settings(learning_rate=math.nextafter(0.1, 1.0)),
        settings(learning_rate=0.1, decay=0.0),
        (),
    ]
    keys = {dataclasses.replace(run(), hyperparameters=rate).key for rate in rates}
    assert len(keys) == len(rates)


def test_kinds_of_task_differ_in_key() -> None:
    assert len({spec.key for spec in RUNS}) == len(RUNS)


@pytest.mark.parametrize("rate", [math.inf, math.nan, 0.0, -0.1, 1, "0.1", True])
def test_rates_are_positive_finite_floats(rate: Any) -> None:
    with pytest.raises(
        ValueError, match=r"`learning_rate` must be a positive finite float\. Found"
    ):
        dataclasses.replace(run(), hyperparameters=(("learning_rate", rate),))


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


# Seeds


def test_seeds_are_fixed() -> None:
    assert [
        derive_seed("start", "mnist mlp", "report", 0),
        derive_seed("tangents", "beale", "forward gradient", "report", 7),
        derive_seed("order"),
    ] == [7_125_679_623_654_420_508, 2_673_388_005_173_794_796, 2_096_580_544_946_553_822]


def test_seeds_follow_their_definition() -> None:
    digest = hashlib.sha256(b'["split", "images", 3]').digest()
    assert derive_seed("split", "images", 3) == int.from_bytes(digest[:8], "big") // 2


def test_seeds_are_in_range_and_differ() -> None:
    identities = [
        (purpose, problem, role, repetition)
        for purpose in ("start", "split", "order")
        for problem in ("a", "b")
        for role in ("tune", "report")
        for repetition in range(100)
    ]
    seeds = [derive_seed(*identity) for identity in identities]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len(set(seeds)) == len(seeds)
    assert max(seeds) > 2**62  # the whole range is used


def test_parts_of_an_identity_do_not_run_together() -> None:
    assert derive_seed("a", "bc") != derive_seed("ab", "c")
    assert derive_seed("a", 1) != derive_seed("a", "1")
    assert derive_seed("a", 'b","c') != derive_seed("a", "b", "c")


# Values that cannot be

CHECK = Check("ratio", use("ratio"), Expectation(0.5, 1.0))
SPACE = SearchSpace((("learning_rate", LogUniform(1e-6, 10.0)),))


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


# Settings of single methods


def test_own_settings_join_and_override_the_shared_ones() -> None:
    shared = (settings(learning_rate=0.1), settings(learning_rate=0.2, clip=1.0))
    declared = dataclasses.replace(
        experiment("x"),
        hyperparameters=shared,
        own=(("forward", settings(learning_rate=0.5, decay=1e-4)),),
    )
    assert declared.settings_of(BACK) == shared
    assert declared.settings_of(FORWARD) == (
        settings(learning_rate=0.5, decay=1e-4),
        settings(learning_rate=0.5, decay=1e-4, clip=1.0),
    )
    runs = expand(dataclasses.replace(STUDY, experiments=(declared,)), "smoke")
    assert [(r.method.name, r.hyperparameters) for r in runs] == [
        (method.name, declared.settings_of(method)[index])
        for index in range(2)
        for method in (BACK, FORWARD)
    ]


def test_settings_of_its_own_are_a_run_as_shared_ones_are() -> None:
    # the key is of the run, not of where its settings were declared
    given = settings(learning_rate=0.1)
    own = dataclasses.replace(
        experiment("first"), hyperparameters=((),), own=(("back", given), ("forward", given))
    )
    alone = dataclasses.replace(STUDY, experiments=(own,))
    assert expand(alone, "full") == expand(STUDY, "full", only=["first"])


# Searches


def searched(name: str, arm: str = "tuned", **options: Any) -> Experiment:
    """An experiment whose methods find their rates; searched at every scale."""
    task = Training(100, 10, precision="float64", test_every=20)
    search = Search(SPACE, 4, repetitions=2)
    plans = {
        "smoke": Plan(NETWORK, Training(2, 1), 1, Search(SPACE, 2)),
        "reduced": Plan(NETWORK, task, 2, search),
        "full": Plan(NETWORK, task, 3, search),
    }
    given = {"hyperparameters": (settings(decay=1e-4),), **plans, **options}
    return Experiment(name, arm, (BACK, FORWARD), **given)


def comparison(scale: Scale = "full", **options: Any) -> Comparison:
    return Comparison("someone2022", searched("search", **options), scale)


SEARCHED = dataclasses.replace(STUDY, experiments=(*STUDY.experiments, searched("search")))
RATE = settings(learning_rate=0.25)


def test_searched_experiments_are_compared_and_the_others_expanded() -> None:
    for scale in SCALES:
        assert expand(SEARCHED, scale) == expand(STUDY, scale)
        (found,) = comparisons(SEARCHED, scale)
        assert found == Comparison("someone2022", SEARCHED.experiments[-1], scale)
        assert comparisons(STUDY, scale) == ()
    assert expand(SEARCHED, "full", arms=["tuned"]) == expand(STUDY, "full", arms=["tuned"])
    assert expand(SEARCHED, "full", only=["search"]) == ()


def test_an_experiment_is_searched_at_the_scales_that_say_so() -> None:
    given = Plan(NETWORK, Training(2, 1), 1)
    study = dataclasses.replace(STUDY, experiments=(searched("search", smoke=given),))
    assert comparisons(study, "smoke") == ()
    assert {r.experiment for r in expand(study, "smoke")} == {"search"}
    assert [c.scale for c in comparisons(study, "full")] == ["full"]
    assert expand(study, "full") == ()


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


@pytest.mark.parametrize("scale", SCALES)
def test_every_method_gets_the_same_budget(scale: Scale) -> None:
    declared = comparison(scale)
    trials = {m: declared.trial_runs(m, Trial(0, "digest"), RATE) for m in (BACK, FORWARD)}
    reported = {m: declared.report_runs(m, RATE) for m in (BACK, FORWARD)}
    for runs in (trials, reported):
        assert {method: {r.method for r in runs[method]} for method in runs} == {
            BACK: {BACK},
            FORWARD: {FORWARD},
        }
        assert [dataclasses.replace(r, method=FORWARD) for r in runs[BACK]] == [*runs[FORWARD]]
    assert len(trials[BACK]) == declared.search.repetitions
    assert len(reported[BACK]) == declared.plan.repetitions


@pytest.mark.parametrize("scale", SCALES)
def test_a_trial_is_a_reported_run_evaluated_at_its_end_only(scale: Scale) -> None:
    declared = comparison(scale)
    for r in declared.report_runs(BACK, RATE):
        assert r.task == declared.plan.task
        assert (r.role, r.trial) == ("report", None)
    task = declared.plan.task
    assert isinstance(task, Training)
    for r in declared.trial_runs(BACK, Trial(1, "digest"), RATE):
        assert (r.role, r.trial) == ("tune", Trial(1, "digest"))
        assert isinstance(r.task, Training)
        assert r.task.evaluate_every == r.task.num_steps == task.num_steps
        assert r.task.test_every == 0  # no look at the test split before the choice is made
        assert (
            dataclasses.replace(
                r.task, evaluate_every=task.evaluate_every, test_every=task.test_every
            )
            == task
        )
    both = (
        declared.trial_runs(BACK, Trial(1, "digest"), RATE)[0],
        declared.report_runs(BACK, RATE)[0],
    )
    for part in ("study", "arm", "scale", "experiment", "problem", "method", "hyperparameters"):
        assert getattr(both[0], part) == getattr(both[1], part)
    assert both[0].scale == ("smoke" if scale == "smoke" else "full")


def test_a_trial_that_may_stop_early_looks_as_often_as_a_reported_run() -> None:
    task = Training(100, 10, early_stopping=3)
    declared = comparison(full=Plan(NETWORK, task, 2, Search(SPACE, 4)))
    (trial,) = declared.trial_runs(BACK, Trial(0, "digest"), RATE)
    assert trial.task == task == declared.report_runs(BACK, RATE)[0].task


def test_the_runs_of_a_method_are_its_trials_and_its_repetitions_at_every_setting() -> None:
    refined = Plan(NETWORK, Training(2, 1), 5, Search(SPACE, 4, repetitions=3, refinement_trials=2))
    assert searched("x", full=refined).runs_of_a_method("full") == (4 + 2) * 3 + 5
    assert searched("x").runs_of_a_method("smoke") == 2 + 1
    again = Search(SPACE, 4, repetitions=3, finalists=2, finalist_repetitions=4)
    finals = Plan(NETWORK, Training(2, 1), 5, again)
    assert searched("x", full=finals).runs_of_a_method("full") == 4 * 3 + 2 * 4 + 5
    two = dataclasses.replace(experiment("x"), hyperparameters=(settings(decay=0.1), settings()))
    assert two.runs_of_a_method("full") == 2 * 5


def test_tuning_and_reported_runs_share_no_seed() -> None:
    declared = comparison()
    tuning = [r for m in (BACK, FORWARD) for r in declared.trial_runs(m, Trial(0, "d"), RATE)]
    reported = [r for m in (BACK, FORWARD) for r in declared.report_runs(m, RATE)]
    assert {r.repetition for r in tuning} <= {r.repetition for r in reported}  # not by the number

    def seeds(runs: list[RunSpec]) -> set[int]:
        return {
            derive_seed(purpose, r.problem.name, *method, r.role, r.repetition)
            for r in runs
            for purpose, method in (
                ("start", ()),
                ("split", ()),
                ("order", ()),
                ("tangents", (r.method.name,)),
            )
        }

    # three that methods share and one of each method's own, by repetition
    assert (len(seeds(tuning)), len(seeds(reported))) == (2 * 5, 3 * 5)
    assert not seeds(tuning) & seeds(reported)


def test_values_that_a_search_proposes_join_the_settings() -> None:
    # one that stands before what is proposed, and one behind it: a run has one text
    own = (("forward", settings(clip=1.0, scale=2.0)),)
    declared = comparison(own=own)
    expected: dict[Method, Settings] = {
        BACK: settings(learning_rate=0.25, decay=1e-4),
        FORWARD: settings(learning_rate=0.25, decay=1e-4, clip=1.0, scale=2.0),
    }
    for method, hyperparameters in expected.items():
        for r in (
            *declared.trial_runs(method, Trial(0, "digest"), RATE),
            *declared.report_runs(method, RATE),
        ):
            assert r.hyperparameters == hyperparameters
            assert parse_run(r.canonical_json()) == r


def test_every_trial_is_a_run_of_its_own() -> None:
    declared = comparison()
    runs = [
        r
        for method in (BACK, FORWARD)
        for trial in (Trial(0, "a"), Trial(1, "a"), Trial(0, "b"))
        for r in declared.trial_runs(method, trial, RATE)
    ] + [r for method in (BACK, FORWARD) for r in declared.report_runs(method, RATE)]
    assert len({r.key for r in runs}) == len(runs) == 2 * 3 * 2 + 2 * 3


def test_typical_runs_are_the_first_ones_in_the_middle_of_the_space() -> None:
    declared = comparison()
    middle = settings(learning_rate=math.sqrt(1e-6 * 10.0))
    assert declared.typical_runs(FORWARD) == (
        declared.trial_runs(FORWARD, Trial(0, ""), middle)[0],
        declared.report_runs(FORWARD, middle)[0],
    )


def test_the_digest_of_a_search_is_fixed() -> None:
    # published trials carry it: another text for the same search would cut them off from it
    declared = comparison()
    assert declared.digest == "038cfaee1c76"
    search = dataclasses.replace(
        declared.search, refinement_trials=4, finalists=3, finalist_repetitions=5
    )
    more = dataclasses.replace(declared.plan, repetitions=9, search=search)
    assert comparison(full=more).digest == declared.digest


# Expansion


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


def test_text_is_strict_json() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for spec in RUNS:
        json.loads(spec.canonical_json(), parse_constant=refuse)


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


# Which trial wins


def test_the_best_trial_has_the_lowest_mean_and_is_the_earliest_of_equals() -> None:
    assert best_trial({0: [1.0, 3.0], 1: [1.5, 1.5], 2: [0.5, 9.0]}) == 1
    assert best_trial({7: [2.0], 3: [2.0], 5: [4.0, 0.0]}) == 3
    # the order of the runs does not matter, as it would to a sum that is rounded
    assert best_trial({0: [0.1, 0.2, 0.3], 1: [0.3, 0.2, 0.1]}) == 0


def test_of_finalists_one_wins() -> None:
    assert best_trial({0: [1.0], 1: [2.0, 4.0], 2: [2.5, 2.5]}, [1, 2]) == 2
    assert best_trial({0: [1.0], 1: [2.0, 4.0], 2: [2.5, 2.5]}) == 0
    assert best_trials({4: [3.0], 0: [1.0, 2.0], 2: [1.5], 1: [math.nan]}, 3) == (0, 2, 4)
    assert best_trials({0: [1.0]}, 3) == (0,)
    assert best_trials({0: [1.0]}, 0) == ()


def test_a_trial_that_was_run_again_stays_a_finalist() -> None:
    scores = {0: [3.0], 1: [1.0], 2: [2.0], 3: [2.5]}
    assert finalists(scores, 2, []) == (1, 2)
    assert finalists(scores, 2, [2, 3]) == (1, 2, 3)
    assert finalists(scores, 0, [2, 3]) == ()


def test_a_run_without_a_score_is_the_worst() -> None:
    assert mean_score([1.0, 2.0]) == 1.5
    assert best_trial({0: [2.0, 2.0, 2.0], 1: [3.0]}) == 0  # a trial may lack a repetition
    assert mean_score([1.0, math.nan]) == math.inf
    assert best_trial({0.0: [0.0, math.nan], 1.0: [9.0, 9.0]}) == 1.0
    assert best_trial({4: [math.nan], 2: [math.nan]}) == 2

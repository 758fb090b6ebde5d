"""Runs are values: one text, one key, seeds from identity, and filters that name their choices."""

import dataclasses
import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest

import studies
from repro import protocol
from repro.protocol import (
    SCALES,
    Check,
    Claim,
    Classification,
    ClosedForm,
    Expectation,
    Experiment,
    LogUniform,
    Method,
    Plan,
    RunSpec,
    Sampling,
    Scale,
    Study,
    Timing,
    Training,
    canonical_json,
    choose,
    derive_seed,
    expand,
    parse_run,
    settings,
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


def experiment(name: str, arm: str = "published", **plans: Plan) -> Experiment:
    full = Plan(NETWORK, Training(100, 10), 5)
    declared = {"smoke": Plan(NETWORK, Training(2, 1), 1), "reduced": full, "full": full, **plans}
    return Experiment(name, arm, (BACK, FORWARD), (settings(learning_rate=0.1),), **declared)


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
            *[Plan(NETWORK, Timing(3, 1, "cpu", 1), 1)] * 3,
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
    for declared in expand(studies.get(name), scale):
        revived = parse_run(declared.canonical_json())
        assert revived == declared
        assert revived.key == declared.key
        assert revived.canonical_json() == declared.canonical_json()


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
    ],
)
def test_foreign_text_is_no_run(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expected the canonical JSON of a run\. Found"):
        parse_run(text)


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


@pytest.mark.parametrize("original", RUNS, ids=lambda spec: type(spec.task).__name__)
def test_every_field_is_in_the_key(original: RunSpec) -> None:
    changed = dict(variants(original))
    assert {"repetition", "role", "method.name", "method.schedule", "task.precision"} <= set(
        changed
    )
    keys = {original.key, *(variant.key for variant in changed.values())}
    assert len(keys) == len(changed) + 1


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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogUniform(0.0, 1.0), r"0 < low < high < inf\. Found low=0\.0, high=1\.0\."),
        (lambda: LogUniform(1.0, 1.0), r"Found low=1\.0, high=1\.0"),
        (lambda: LogUniform(1.0, math.inf), r"Found low=1\.0, high=inf"),
        (lambda: LogUniform(math.nan, 1.0), r"Found low=nan"),
        (lambda: Training(0, 1), r"`num_steps` must be at least 1\. Found 0\."),
        (lambda: Training(1, 0), r"`evaluate_every` must be at least 1\. Found 0\."),
        (lambda: Timing(0, 1, "cpu", 1), r"`num_steps` must be at least 1\. Found 0\."),
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

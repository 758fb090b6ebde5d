"""Runs are values: every field is in the key, later ones only where they say something, and seeds come from identity."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from small_study import FORWARD, NETWORK, QUADRATIC, RUNS, TRIAL_RUN, run

from repro.protocol import RunSpec, Timing, Training, derive_seed, parse_run, settings

# Keys


def other(value: object) -> Any:
    """A different value of the same kind."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case "float32" | "float64":
            return "bfloat16"
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


def test_a_whole_rate_is_told_how_to_be_written() -> None:
    with pytest.raises(ValueError, match=r"positive finite float\. Found 1: write 1\.0\.$"):
        dataclasses.replace(run(), hyperparameters=settings(learning_rate=1))


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

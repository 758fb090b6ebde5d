"""One text for one value, whoever writes it, and one key, which is the hash of that text."""

import hashlib
import json
import math
import subprocess
import sys

import pytest
from small_study import RUNS, run

from repro.protocol import RunSpec, canonical_json, settings, use


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


def test_text_is_strict_json() -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    for spec in RUNS:
        json.loads(spec.canonical_json(), parse_constant=refuse)

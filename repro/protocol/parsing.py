"""From canonical JSON back to the run that wrote it."""

from __future__ import annotations

import functools
import json
from typing import Any

from repro.protocol.runs import (
    PROTOCOL_VERSION,
    Approximation,
    Classification,
    ClosedForm,
    Component,
    Method,
    RunSpec,
    Sampling,
    Timing,
    Training,
    Trial,
)

_CLASSES = {
    cls.__name__: cls
    for cls in (
        Component,
        ClosedForm,
        Classification,
        Method,
        Training,
        Timing,
        Sampling,
        Approximation,
        Trial,
        RunSpec,
    )
}


def parse_run(text: str) -> RunSpec:
    """Return the run that `RunSpec.canonical_json` wrote.

    Args:
        text: Canonical JSON of a run.

    Returns:
        The equal value.

    Raises:
        ValueError: If the text is no run of this protocol version.
    """
    try:
        content = json.loads(text)
        version, run = content["protocol"], _revive_run(content["run"])
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"Expected the canonical JSON of a run. Found {text[:60]!r}.") from error
    if version != PROTOCOL_VERSION or not isinstance(run, RunSpec):
        raise ValueError(
            f"Expected a run of protocol {PROTOCOL_VERSION}. Found protocol {version}."
        )
    return run


def _revive_run(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    # the runs of an experiment share problem, method and task, which are most of each
    whole = {k: _revive_text(json.dumps(v)) for k, v in fields.items() if k != "class"}
    return _CLASSES[fields["class"]](**whole)


@functools.lru_cache(maxsize=4096)
def _revive_text(text: str) -> Any:
    return _revive(json.loads(text))


def _revive(value: Any) -> Any:
    if isinstance(value, dict):
        fields = {k: _revive(v) for k, v in value.items() if k != "class"}
        return _CLASSES[value["class"]](**fields)
    if isinstance(value, list):
        return tuple(_revive(v) for v in value)
    return value

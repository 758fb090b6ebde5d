"""From canonical JSON back to the run that wrote it, or to a part of it.

The text that `parse_run` takes may come from anybody, so every value has to be of its field's type, and anything but a
run is refused.
"""

from __future__ import annotations

import functools
import json
import math
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

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
    except (KeyError, TypeError, OverflowError, RecursionError, json.JSONDecodeError) as error:
        reason = f" ({error})" if isinstance(error, _WrongTypeError) else ""
        raise ValueError(
            f"Expected the canonical JSON of a run. Found {str(text)[:60]!r}{reason}."
        ) from error
    if version != PROTOCOL_VERSION or run is None:
        raise ValueError(
            f"Expected a run of protocol {PROTOCOL_VERSION}. Found protocol {version}."
        )
    return run


def kind_of(text: str) -> tuple[str, str, str]:
    """Return what is left of the canonical JSON of a run without hyperparameters, repetition and trial.

    It is cut out, not parsed, which is a hundred times faster: a key is followed by the next of its class, and no
    string holds a bare quote.

    Args:
        text: Canonical JSON of a run.

    Returns:
        Three pieces of it, equal for runs that differ in nothing else.
    """
    head, _, rest = text.partition('"hyperparameters":[')
    body, _, rest = rest.partition('],"method":')[2].partition('"repetition":')
    return head, body, rest.partition(',"role":')[2].partition(',"trial":')[0].rstrip("}")


def problem_of(text: str) -> str:
    """Return the problem in the canonical JSON of a run, cut out as by `kind_of`."""
    return text.partition('"problem":')[2].partition(',"repetition":')[0]


class _WrongTypeError(TypeError):
    """Raised for a value that is not of its field's type; the message names the field."""


def _revive_run(fields: Any) -> RunSpec | None:
    if _CLASSES[fields["class"]] is not RunSpec:
        return None
    # the runs of an experiment share problem, method and task, which are most of each
    whole = {k: _revive_field(k, json.dumps(v)) for k, v in fields.items() if k != "class"}
    return RunSpec(**whole)


@functools.lru_cache(maxsize=4096)
def _revive_field(name: str, text: str) -> Any:
    return _checked(RunSpec, name, _revive(json.loads(text)))


def _revive(value: Any) -> Any:
    if isinstance(value, dict):
        cls = _CLASSES[value["class"]]
        fields = {k: _checked(cls, k, _revive(v)) for k, v in value.items() if k != "class"}
        return cls(**fields)
    if isinstance(value, list):
        return tuple(_revive(v) for v in value)
    return value


def _checked(cls: type[Any], name: str, value: Any) -> Any:
    """Return the value of a field, if it is of the field's type."""
    wanted = _TYPES[cls.__name__].get(name)
    if wanted is not None and not _fits(value, wanted):
        raise _WrongTypeError(f"`{name}` of {cls.__name__} cannot be {str(value)[:60]!r}")
    return value


_TYPES: Mapping[str, Mapping[str, Any]] = {
    name: get_type_hints(cls) for name, cls in _CLASSES.items()
}


def _fits(value: Any, wanted: Any) -> bool:
    origin, parts = get_origin(wanted), get_args(wanted)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        return isinstance(value, tuple) and _fit_each(value, parts)
    return _PLAIN[wanted](value) if wanted in _PLAIN else isinstance(value, wanted)


def _fit_each(values: tuple[Any, ...], parts: tuple[Any, ...]) -> bool:
    each = parts[:1] * len(values) if parts[-1] is Ellipsis else parts
    return len(values) == len(each) and all(map(_fits, values, each))


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and (value.isascii() or bool(value.encode()))
    except UnicodeEncodeError:  # JSON may spell half a character
        return False


_PLAIN: Mapping[Any, Callable[[Any], bool]] = {
    str: _is_text,
    int: lambda value: isinstance(value, int) and abs(value) < 2**63,
    # a whole number may be written without its point
    float: lambda value: isinstance(value, (int, float)) and math.isfinite(value),
}

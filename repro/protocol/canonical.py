"""Canonical JSON: the one text of a value, whose digest is its key."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

LATER = {"later": True}
"""Marks a field that older specifications lack: with its default value it is left out of the canonical JSON."""


def canonical_json(value: object) -> str:
    """Return sorted, compact JSON in which every dataclass carries its class name.

    Args:
        value: Dataclasses, mappings, sequences and scalars, nested.

    Returns:
        The text; equal values give equal text.

    Raises:
        TypeError: If a part has no canonical form.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _plain(value: object) -> Any:
    # most values are scalars; a bool is an int
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        content: dict[str, Any] = {"class": type(value).__name__}
        for name, later, default in _fields(type(value)):
            own = getattr(value, name)
            if not (later and own == default):
                content[name] = _plain(own)
        return content
    raise TypeError(f"No canonical JSON for {type(value).__name__}: {value!r}.")


@functools.cache
def _fields(cls: type[Any]) -> tuple[tuple[str, bool, object], ...]:
    """Return name, whether it is left out at its default, and default of a dataclass' fields."""
    return tuple((f.name, f.metadata == LATER, f.default) for f in dataclasses.fields(cls))

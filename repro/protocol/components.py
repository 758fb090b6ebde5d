"""What a name and its settings stand for: looked up, held against the signature, called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from repro.protocol.choosing import choose

Built = TypeVar("Built")


def build(
    what: str,
    factories: Mapping[str, Callable[..., Built]],
    name: str,
    /,
    *arguments: object,
    **options: Any,
) -> Built:
    """Return what a component stands for.

    Args:
        what: What the names stand for, for the message, such as `estimator`.
        factories: Makes it, by name.
        name: The component's name.
        *arguments: What a factory takes before the settings.
        **options: The component's settings.

    Returns:
        The thing itself.

    Raises:
        ValueError: If there is no such name or setting, or a setting without default is missing.
    """
    choose(factories, [name], what, shown_by="")
    parameters = inspect.signature(factories[name]).parameters.values()
    refuse_other_settings(what, name, list(parameters)[len(arguments) :], options)
    return factories[name](*arguments, **options)


def refuse_other_settings(
    what: str,
    name: str,
    parameters: Iterable[inspect.Parameter],
    options: Collection[str],
    filled: Collection[str] = (),
) -> None:
    """Refuse settings that a signature does not have, or the lack of one that it needs.

    Args:
        what: What the name stands for, for the message.
        name: Whose settings they are.
        parameters: The part of the signature that settings fill.
        options: Names of the settings.
        filled: Parameters that are filled where no setting does.

    Raises:
        ValueError: Of the first such setting.
    """
    parameters = list(parameters)
    named = [p for p in parameters if p.kind is not p.VAR_KEYWORD]
    if len(named) == len(parameters):
        choose((p.name for p in named), options, f"setting of {name!r}", shown_by="")
    needed = [p.name for p in named if p.default is p.empty and p.name not in filled]
    if missing := [each for each in needed if each not in options]:
        raise ValueError(
            f"The {what} {name!r} needs {', '.join(needed)}. Found no {' and no '.join(missing)}: add it."
        )

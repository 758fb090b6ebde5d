"""A mistyped setting of a study ends in one line that names what there is, whatever kind of part it belongs to."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest

from repro.protocol import build, refuse_other_settings


def scaled(base: int, factor: int, offset: int = 0) -> int:
    return base * factor + offset


def free(**options: int) -> dict[str, int]:
    return options


FACTORIES: dict[str, Callable[..., object]] = {"scaled": scaled, "free": free}


def test_arguments_and_settings_reach_the_factory() -> None:
    assert build("part", FACTORIES, "scaled", 3, factor=2, offset=1) == 7
    assert build("part", FACTORIES, "scaled", 3, factor=2) == 6
    assert build("part", FACTORIES, "free", anything=1) == {"anything": 1}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("scale", {}, "Unknown part 'scale'. Choose from: scaled, free."),
        (
            "scaled",
            {"factr": 2},
            "Unknown setting of 'scaled' 'factr'. Choose from: factor, offset.",
        ),
        # what the caller gives is no setting
        (
            "scaled",
            {"base": 2},
            "Unknown setting of 'scaled' 'base'. Choose from: factor, offset.",
        ),
        (
            "scaled",
            {"offset": 2},
            "The part 'scaled' needs factor. Found no factor: add it.",
        ),
    ],
)
def test_other_settings_are_refused(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build("part", FACTORIES, name, 3, **options)


def test_all_of_many_names_are_shown_since_no_command_lists_them() -> None:
    many = {f"part {number}": free for number in range(20)}
    with pytest.raises(ValueError, match=rf"Choose from: {', '.join(many)}\.$"):
        build("part", many, "part")


def test_what_is_filled_need_not_be_set() -> None:
    parameters = inspect.signature(scaled).parameters.values()
    refuse_other_settings("part", "scaled", parameters, ["factor"], filled=["base"])


@pytest.mark.torch
def test_every_kind_of_part_refuses_them() -> None:
    from repro import estimators, models, optimizers

    with pytest.raises(ValueError, match=r"Unknown setting of 'forward_gradient' 'num_tangent'"):
        estimators.build("forward_gradient", num_tangent=2)
    with pytest.raises(
        ValueError, match=r"Unknown setting of 'adam' 'lr'. Choose from: .*epsilon.*"
    ):
        optimizers.build("adam", lr=0.1)
    with pytest.raises(ValueError, match=r"Unknown setting of 'mlp' 'image'. Choose from: .*width"):
        models.build("mlp", (1, 28, 28), 10, image=2)

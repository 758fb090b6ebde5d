"""From the words of a command line to the runs that they choose."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

import studies
from repro.cli.shared import get_study, tell
from repro.protocol import (
    DEVICES,
    Comparison,
    RunSpec,
    Study,
    choose,
    comparisons,
    expand,
    spread,
)

KINDS = ("arm", "experiment", "method")
"""What a study has names for."""
SHOWN = 6
"""Searches that are named where some are left out."""


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes:
        studies: The studies, sorted by name.
        specs: Their runs at given settings.
        comparisons: Their searches.
    """

    studies: tuple[Study, ...]
    specs: tuple[RunSpec, ...]
    comparisons: tuple[Comparison, ...]


def read_choice(options: argparse.Namespace, console: Console) -> Choice:
    """Return what the options choose; of all studies, those that have what the filters name.

    Searches that `--method` leaves out are named.

    Args:
        options: `study`, `scale`, `arm`, `only`, `method` and `device`.
        console: Where to say so.

    Returns:
        The choice.

    Raises:
        ValueError: If a name is unknown or nothing is left.
    """
    choose(DEVICES, options.device, "device")
    names = studies.names() if options.study == "all" else (options.study,)
    chosen = tuple(get_study(name) for name in names)
    known = {what: [n for s in chosen for n in _names(s)[what]] for what in KINDS}
    filters = {
        "arm": options.arm,
        "experiment": spread(known["experiment"], options.only),
        "method": _joined(options.method, known["method"]),
    }
    whose = "any study" if options.study == "all" else options.study
    for what, wanted in filters.items():
        choose(known[what], wanted, f"{what} of {whose}")
    specs: list[RunSpec] = []
    searched: list[Comparison] = []
    left_out: list[str] = []
    nothing: ValueError | None = None
    for study in chosen:
        own = {w: [n for n in wanted if n in _names(study)[w]] for w, wanted in filters.items()}
        if any(wanted and not own[what] for what, wanted in filters.items()):
            continue  # it has none of what a filter names
        arms, only, methods = own.values()
        try:
            specs += expand(
                study, options.scale, arms=arms, only=only, methods=methods, device=options.device
            )
            found = comparisons(study, options.scale, arms=arms, only=only)
            if not methods:
                searched += found
            left_out += [
                c.experiment.name
                for c in found
                if {m.name for m in c.experiment.methods} & {*methods}
            ]
        except ValueError as error:
            nothing = error
    if not specs and not searched:
        raise nothing or ValueError("No study has all of what the filters name. Drop one of them.")
    if left_out:
        named = ", ".join(left_out[:SHOWN]) + (", ..." if len(left_out) > SHOWN else "")
        tell(
            f"`--method` leaves out {len(left_out)} of the searches, which take all methods of a comparison: {named}",
            console,
        )
    return Choice(chosen, tuple(specs), tuple(searched))


def _joined(words: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return names from the words between commas, since some of them have commas themselves."""
    found, rest = [], list(words)
    while rest:
        lengths = range(len(rest), 0, -1)
        length = next((n for n in lengths if ", ".join(rest[:n]) in known), 1)
        found.append(", ".join(rest[:length]))
        del rest[:length]
    return found


def _names(study: Study) -> dict[str, tuple[str, ...]]:
    # in declared order, which a message shows
    return {
        "arm": tuple(dict.fromkeys(e.arm for e in study.experiments)),
        "experiment": tuple(e.name for e in study.experiments),
        "method": tuple(dict.fromkeys(m.name for e in study.experiments for m in e.methods)),
    }

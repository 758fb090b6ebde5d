"""What decides claims of Flügel et al. 2024 on functions: estimates of gradients, and descents.

"All" values met means nine in ten, "at least as good" that one in ten at most is worse; lower, that more than half of
what differs is lower beyond doubt. Exact statements are given what float32 needs; curves that overlap on paper, 0.01.
"""

from __future__ import annotations

from repro.protocol import ABOVE_ZERO, Check, Expectation, use
from studies.facts.fluegel2024 import FG

MOST = Expectation(low=0.5, strict=True)
NEARLY_ALL, HARDLY_ANY = Expectation(low=0.9), Expectation(high=0.1)
EXACT = Expectation(high=1e-5)
UNIT = "unit length"
OTHERS = ("mean", "sum", f"mean, {UNIT}", f"sum, {UNIT}")  # than the projection
EVERY = ("mean", "sum", "projection", *OTHERS[2:])
FEW, MANY = "few", "many"


def curve(
    label: str, method_name: str, metric: str, expect: Expectation, extreme: str,
    minus: str = "", steps: str = "all", family: str = "approximation", **largest: int,
) -> Check:  # fmt: skip
    """Return a check of the extreme of a curve over the numbers of tangents, at every dimension."""
    measure = use(
        "curve_extreme", family=family, method=method_name, metric=metric,
        extreme=extreme, minus=minus, steps=steps, **largest,
    )  # fmt: skip
    return Check(label, measure, expect)


def ends(experiment: str) -> str:
    """Return what a run comes to: the lowest value, as the authors plot it, or at tuned rates the last, which was tuned."""
    return "value" if "-tuned-" in experiment else "best_value"


def cells(
    family: str, a: str, b: str, expect: Expectation, ties: str = "left out", above: int = 0
) -> Check:
    """Return a check of how many dimensions of a function have the value of `a` below that of `b`."""
    return Check(
        f"{family.replace('-', ' ')}: share with {a} below {b}",
        use("share_lower", family=family, metric=ends(family), a=a, b=b, ties=ties, above=above),
        expect,
    )


def angle_difference(experiment: str, a: str, b: str, expect: Expectation) -> Check:
    """Return a check of the value under one angle minus that under another."""
    measure = use("paired_difference", experiment=experiment, metric=ends(experiment), a=a, b=b)
    words = "last" if "-tuned-" in experiment else "lowest"
    return Check(f"{experiment}: {words} value, {a} minus {b}", measure, expect)


LARGER = (64, 256, 1024)  # dimensions in which 16 tangents are few


def for_as_many_passes(cell: str, method: str) -> Check:
    """Return a check that 16 tangents end lower than one tangent that takes as many forward passes in more steps."""
    measure = use(
        "difference_between", first=f"functions-tuned-{cell}", last=f"functions-passes-{cell}", method=FG,
        last_method=method, metric="value",
    )  # fmt: skip
    label = f"{cell}: last value, {FG} minus {method}, at equal forward passes"
    return Check(label, measure, ABOVE_ZERO)

"""Facts that the user states at the command line: which values each quantity may have, and what contradicts them."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from repro.audit.counting import OBSERVED
from repro.audit.declared import is_quantity
from repro.audit.evidence import QUANTITIES, says_none, written
from repro.protocol import Fact

LOWEST, HIGHEST = "searched from ", "searched to "
SPLITS, MOMENTS = ("validation", "test", "train"), ("last", "best")
WORDS = {
    "selection split": SPLITS,
    "reported split": SPLITS,
    "selection moment": MOMENTS,
    "reported moment": MOMENTS,
    "scale of *": ("log", "linear"),
    "derivative mode": ("forward", "reverse", "simulated"),
    "equal ends": ("0", "1"),
    "synchronised timing": ("0", "1"),
}
"""The only words that a quantity may have."""
FREE = (
    "data set", "sampler", "selection metric", "claim of cost", "timed engine", "hardware",
    "best *", "used *", "tuned with *", "ran with *", "stated *",
)  # fmt: skip
"""Quantities that may have any words."""
ORIGIN, ORIGINS = "origin of *", re.compile(r"((?:no )?search)\b(.*)", re.IGNORECASE)
"""Where values come from, which rules have to tell apart: anything else would count as a search."""
COUNTS = {
    "trials": 0,
    "search runs": 0,
    "repeated trials": 0,
    "earlier trials": 0,
    "enqueued trials": 0,
    "selection examples": 1,
    "selection split size": 1,
    "early stopping patience": 0,
    "searches made again after a test result": 0,
    "reported examples": 1,
    "reported split size": 1,
    "published decimals": 0,
    "repetitions": 1,
    "independent seeds": 1,
    "timed steps": 0,
}
"""Quantities that are whole numbers, with the smallest allowed."""
MOST_DECIMALS = 17
"""Decimals that a double has."""
POSITIVE = (
    "trial epochs", "trial steps", "search epochs", "search steps", "reported epochs", "reported steps",
    "interval multiplier", "chance loss", "step-time ratio", "time-to-loss ratio", "seconds",
)  # fmt: skip
"""Quantities that must be above 0."""
SEEDS = ("tuning seed", "reporting seed")
"""Whole numbers of any sign and length, and the only quantities that may be stated more than once."""
NO_FACT = ("reported curve",)
"""Quantities that one value cannot state."""
OF_DATA = (
    "selection split", "selection examples", "selection split size", "reported split", "reported examples",
    "reported split size", "chance loss",
)  # fmt: skip
"""Quantities that only a comparison on a data set has."""
OF_ALL = ("data set", "claim of cost", "timed steps", "time-to-loss ratio", "step-time ratio")
"""Quantities that only a whole comparison has."""
PARTS = (("selection examples", "selection split size"), ("reported examples", "reported split size"))  # fmt: skip


def quantities() -> dict[str, tuple[str, str]]:
    """Return the quantities that a user may state, each with what is expected of its value and what it means."""
    return {
        name: (_expected(name), text) for name, text in QUANTITIES.items() if name not in NO_FACT
    }


def parse_facts(texts: Iterable[str]) -> tuple[Fact, ...]:
    """Return the facts that the user states about the whole comparison, or about one method.

    Args:
        texts: Each `QUANTITY=VALUE` or `METHOD: QUANTITY=VALUE`, in the audit's words.

    Returns:
        The facts.

    Raises:
        ValueError: If a text is not a pair, the quantity is unknown, the quantity cannot have the value, or two facts
            exclude each other.
    """
    facts: list[Fact] = []
    for text in texts:
        told_of, separator, value = (part.strip() for part in text.partition("="))
        method, quantity = _split(told_of)
        if not separator or not value:
            raise ValueError(
                f"`--fact` expects QUANTITY=VALUE, e.g. 'selection split=validation'. Found {text!r}."
            )
        whole_family = quantity in QUANTITIES and quantity.endswith("*")
        if not is_quantity(quantity) or quantity in NO_FACT or whole_family:
            near = difflib.get_close_matches(quantity, quantities(), 4, 0.0)
            raise ValueError(
                f"`--fact` does not know the quantity {quantity!r}. Closest: {', '.join(near)}. `repro audit --facts` lists all."
            )
        if method and quantity in OF_ALL:
            raise ValueError(
                f"`--fact '{quantity}=...'` is about the whole comparison. Found the method {method!r} before it: leave it out."
            )
        facts.append(dataclasses.replace(_stated(quantity, value), method=method))
    by_method: dict[str, dict[str, Fact]] = {}
    for fact in facts:
        first = by_method.setdefault(fact.method, {}).setdefault(fact.quantity, fact)
        if first is not fact and fact.quantity not in SEEDS:
            of = f" of {fact.method!r}" if fact.method else ""
            raise ValueError(
                f"`--fact` states {fact.quantity!r}{of} twice: {_shown(first)} and {_shown(fact)}. Leave one out."
            )
    for told in by_method.values():
        _refuse_pairs({**by_method.get("", {}), **told})
    return tuple(facts)


def _split(text: str) -> tuple[str, str]:
    """Return the method and the quantity of `METHOD: QUANTITY`; no method where the text before a colon belongs to the quantity."""
    method, _, quantity = (part.strip() for part in text.rpartition(":"))
    return (method, quantity) if is_quantity(quantity) else ("", text)


def _refuse_pairs(told: Mapping[str, Fact]) -> None:
    """Refuse facts about the same methods, by quantity, of which one excludes another."""
    if says_none(told.get("data set")) and (of_data := next((q for q in OF_DATA if q in told), "")):
        raise ValueError(
            f"`--fact` states 'data set=none' and {of_data!r}, which only a data set has. Leave one of them out."
        )
    lows = {q.removeprefix(LOWEST): f for q, f in told.items() if q.startswith(LOWEST)}
    pairs = [(low.quantity, f"{HIGHEST}{name}", True) for name, low in lows.items()]
    pairs += [(f"{LOWEST}{name}", f"best {name}", False) for name in lows]
    pairs += [
        (f"best {name}", quantity, False)
        for quantity in told
        if (name := quantity.removeprefix(HIGHEST)) != quantity
    ]
    for less, more, strictly in (*pairs, *((*pair, False) for pair in PARTS)):
        low, high = (told[q].value if q in told else None for q in (less, more))
        if low is not None and high is not None and (low > high or (strictly and low == high)):
            relation = "below" if strictly else "no larger than"
            raise ValueError(
                f"`--fact` expects '{less}' {relation} '{more}'. Found {low:g} and {high:g}."
            )


def _family(quantity: str) -> str:
    return next((q for q in QUANTITIES if q[-1] == "*" and quantity.startswith(q[:-1])), quantity)


def _expected(family: str) -> str:
    """Return what is expected of a value, in words."""
    if family in WORDS:
        return f"one of {', '.join(WORDS[family])}"
    if family in COUNTS:
        if family == "published decimals":
            return f"a whole number from {COUNTS[family]} to {MOST_DECIMALS}"
        return f"a whole number, {COUNTS[family]} or more"
    phrases = {
        ORIGIN: "`search`, or `no search` and why",
        **dict.fromkeys(SEEDS, "a whole number"),
        **dict.fromkeys(POSITIVE, "a number above 0"),
        **dict.fromkeys(FREE, "a number or text"),
    }
    return phrases.get(family, "a number")


def _stated(quantity: str, value: str) -> Fact:
    """Return a fact that the user states, if the quantity can have the value."""
    family = _family(quantity)
    number: float | None
    try:
        number = float(value)
    except ValueError:
        number = None
    finite = number is not None and math.isfinite(number)
    if family == ORIGIN:
        good = bool(origin := ORIGINS.fullmatch(value))
        value = origin[1].lower() + origin[2] if origin else value
    elif family in WORDS:
        good = value in WORDS[family]
    elif number is None:
        good = family in FREE
    elif family in COUNTS:
        most = MOST_DECIMALS if family == "published decimals" else math.inf
        good = finite and number.is_integer() and COUNTS[family] <= number <= most
    elif family in SEEDS:
        good = finite and number.is_integer()
    else:
        good = finite and (family not in POSITIVE or number > 0.0)
    if not good:
        endless = number is not None and not finite and family not in WORDS
        expected = "a finite number" if endless else _expected(family)
        raise ValueError(f"`--fact '{quantity}=...'` expects {expected}. Found {value!r}.")
    worded = number is None or (family in WORDS and not value.isdigit())
    # the digits of a seed, which a double may lose
    text = value if worded else written(value) if family in SEEDS else ""
    source = "stated by the user"
    return Fact("command line", quantity, None if worded else number, source, text=text)


def refuse_contradictions(
    stated: Iterable[Fact],
    counted: Iterable[Fact],
    tried: Mapping[str, Mapping[str, tuple[float, float]]],
    splits: Sequence[str],
    name: str,
) -> None:
    """Refuse facts that contradict what was counted, as nobody would notice.

    Args:
        stated: Facts that the user states.
        counted: Facts that the rows or the storage give for each method.
        tried: The smallest and the largest value tried, by method, empty for all of them, and hyperparameter.
        splits: Columns of scores on the splits of a data set.
        name: What the comparison is called.

    Raises:
        ValueError: If a fact is about no method of the comparison, a stated value differs from that of the rows, a stated range leaves out a value tried, or rows have
            scores on splits of a data set that is stated not to be.
    """
    known: dict[str, list[Fact]] = {}
    for fact in counted:
        if fact.item != OBSERVED:
            known.setdefault(fact.quantity, []).append(fact)
    methods = [m for m in tried if m]
    for fact in stated:
        if fact.method and fact.method not in methods:
            raise ValueError(
                f"{name}: `--fact '{fact.method}: {fact.quantity}=...'` expects one of the methods {', '.join(methods)}. Found "
                f"{fact.method!r}."
            )
        if whose := [m for m in methods if fact.quantity.endswith(f" of {m}")]:
            quantity = fact.quantity.removesuffix(f" of {whose[0]}")
            raise ValueError(
                f"{name}: expected the method before the quantity, as in `--fact '{whose[0]}: {quantity}={_shown(fact)}'`. Found "
                f"{fact.quantity!r}."
            )
        if fact.quantity == "data set" and says_none(fact) and splits:
            raise ValueError(
                f"{name}: `--fact 'data set=none'` contradicts the rows, which have scores of the column {splits[0]!r}, and only a "
                "data set has such scores. Leave the fact out, or rename the column."
            )
        for other in known.get(fact.quantity, ()):
            if fact.method in ("", other.method) and not _same(fact, other):
                raise ValueError(
                    f"{name}: `--fact '{fact.quantity}={_shown(fact)}'` contradicts what was read: "
                    f"{_shown(other)} for {other.method!r}. Leave the fact out."
                )
        for prefix, end, sign in ((LOWEST, 0, 1), (HIGHEST, 1, -1)):
            parameter = fact.quantity.removeprefix(prefix)
            own = tried[fact.method]
            if parameter == fact.quantity or parameter not in own or fact.value is None:
                continue
            value = own[parameter][end]
            if sign * (fact.value - value) > 1e-9 * abs(value):
                raise ValueError(
                    f"{name}: `--fact '{fact.quantity}={_shown(fact)}'` leaves out {parameter} = {value:g}, which a "
                    "trial tried. State the whole range."
                )


def strange_names(stated: Iterable[Fact], columns: Sequence[str]) -> Iterator[str]:
    """Yield a note for each hyperparameter or setting of a stated fact that no column has, where there are such columns.

    Args:
        stated: Facts that the user states.
        columns: Columns of the runs: `param NAME` and `setting NAME`.

    Yields:
        What it is called, and what the columns are.
    """
    kinds = ("param ", "setting ")
    known = [c.removeprefix(kind) for kind in kinds for c in columns if c.startswith(kind)]
    for fact in stated:
        family = _family(fact.quantity)
        parameter = fact.quantity.removeprefix(family[:-1])
        if known and family.endswith("*") and parameter not in known:
            yield (
                f"no column is {parameter!r}, of which `--fact '{fact.quantity}=...'` speaks; hyperparameters and settings with a "
                f"column: {', '.join(known)}"
            )


def _same(one: Fact, other: Fact) -> bool:
    if one.value is None or other.value is None:
        return _shown(one) == _shown(other)
    return math.isclose(one.value, other.value, rel_tol=1e-9)


def _shown(fact: Fact) -> str:
    return fact.text or f"{fact.value:.10g}"

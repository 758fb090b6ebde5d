"""Rules about ranges: did every method search the same ones, and does its winner lie well inside?"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np
import pandas as pd

from repro.audit.counting import OBSERVED
from repro.audit.evidence import FINISHED, OPTIMIZERS_OWN, Evidence, says_none, source_of
from repro.audit.findings import Part, Status, rule, unsaid

EDGE = 0.1
"""Share of a range that counts as its edge, on the scale on which it was searched."""
CHANCE = 0.05
"""Ends of observed ranges that differ as much more often than this by chance tell nothing."""
SHOWN = 5
"""Choices of a hyperparameter that are listed."""
SPARSE = 2.0
"""A search is denser than another if it tries more than so many times as many values, in all and per trial."""


@rule(
    question="Did every method search the same hyperparameters over the same ranges, sampled alike?",
    threshold="fail if a hyperparameter is searched for one method and fixed for another; warn if another method has none, unless it is "
    "a number of the optimizer (a rate, momentum, betas, epsilon), which may have no such number; warn if ranges, choices, "
    "scales or samplers differ, or how many ranges were tried one after the other, or the numbers of enqueued trials, or one method "
    f"tried more than {SPARSE:g} times as many values in as many trials; "
    "unknown if ranges were only observed, and differ no more than random trials of one range may",
    why="a range tells where the optimum lies: a narrow one around it is worth a larger budget",
    source="Sivaprasad et al. 2020 (the prior is part of the method); tuning playbook, search spaces; Choi et al. 2020",
    mend="search one range, wide enough for all, with one sampler",
    needs="which ranges were searched",
    compares=True,
)
def space(evidence: Evidence) -> Iterator[Part]:
    """Compare ranges, dimensions, scales, the number of values tried, and samplers."""
    compared = list(_spaces(evidence))
    yield from compared
    words = ((m, evidence.word("sampler", m)) for m in evidence.methods)
    samplers = {m: word for m, word in words if word}
    yield from unsaid(evidence, "sampler", samplers)
    if compared and not samplers:
        yield Part("pass", "by which sampler is not in the evidence: `sampler`")
    yield from _enqueued(evidence)
    if len(set(samplers.values())) > 1:
        listed = ", ".join(f"{word} for {m}" for m, word in samplers.items())
        yield Part(
            "warn",
            f"sampler: {listed}",
            (source_of(evidence.fact("sampler", next(iter(samplers)))),),
        )


def _enqueued(evidence: Evidence) -> Iterator[Part]:
    """Yield one part if methods were given values to try, which may come from an earlier search, in other numbers."""
    given = {m: evidence.number("enqueued trials", m) for m in evidence.methods}
    known = {m: num for m, num in given.items() if num is not None}
    if len(set(known.values())) > 1:
        told = ", ".join(f"{num:g} for {m}" for m, num in known.items())
        source = source_of(evidence.fact("enqueued trials", next(iter(known))))
        values = {f"enqueued trials, {m}": num for m, num in known.items()}
        yield Part(
            "warn", f"trials whose values were given, not sampled: {told}", (source,), values
        )


def _spaces(evidence: Evidence) -> Iterator[Part]:
    """Compare what was searched, whoever chose the trials."""
    searched = evidence.names("searched from")
    for parameter in searched:
        ranges, fixed = {}, []
        for method in evidence.methods:
            low = evidence.number(f"searched from {parameter}", method)
            high = evidence.number(f"searched to {parameter}", method)
            if low is not None and high is not None:
                ranges[method] = (low, high)
            # the rule `baseline` covers a method without any trials
            elif evidence.fact(f"tuned with {parameter}", method) or (
                any(evidence.fact(f"searched from {p}", method) for p in searched)
                and any(evidence.fact(f"{q} {parameter}", method) for q in ("ran with", "used"))
            ):
                fixed.append(method)
        if not ranges:
            continue
        source = source_of(evidence.fact(f"searched from {parameter}", next(iter(ranges))))
        known = {
            m for p in searched for m in evidence.methods if evidence.fact(f"searched from {p}", m)
        }
        yield from unsaid(evidence, f"searched from {parameter}", known.union(fixed))
        if fixed:
            yield Part(
                "fail",
                f"{parameter} searched for {', '.join(ranges)} and fixed for {', '.join(fixed)}",
                (source,),
            )
        yield from _alone(parameter, list(ranges), known.difference(fixed), source)
        yield from _ranges(evidence, parameter, ranges)
    yield from _choices(evidence, searched)


def _alone(
    parameter: str, searched: Collection[str], others: Iterable[str], source: str
) -> Iterator[Part]:
    """Yield one part about a hyperparameter that other methods, which were searched too, do not have."""
    without = [m for m in others if m not in searched]
    if without and not OPTIMIZERS_OWN.fullmatch(parameter):
        text = (
            f"{parameter} searched for {', '.join(searched)}, and {', '.join(without)} without any"
        )
        yield Part("warn", text, (source,))


def _ranges(
    evidence: Evidence, parameter: str, ranges: dict[str, tuple[float, float]]
) -> Iterator[Part]:
    """Compare the ranges of a hyperparameter, and how they were sampled."""
    source = source_of(evidence.fact(f"searched from {parameter}", next(iter(ranges))))
    texts = {m: _range(evidence, parameter, m, *ends) for m, ends in ranges.items()}
    sampled = [
        *_sampling(evidence, parameter, ranges),
        *_redrawn(evidence, parameter, ranges),
    ]
    for text in sampled:
        yield Part("warn", text, (source,))
    # observed ranges of one random search differ by chance: only their ends have to agree roughly
    observed = any(_observed(evidence, parameter, m) for m in ranges)
    alike = len(set(texts.values())) == 1
    if not alike and not (observed and _overlap(list(ranges.values())) > 0.8):
        listed = ", ".join(f"{text} for {m}" for m, text in texts.items())
        values = {
            f"{parameter}, trials a decade, {m}": n
            for m, n in _density(evidence, parameter, ranges)
        }
        if _may_be_chance(evidence, parameter, list(ranges)):
            text = (
                f"{parameter} tried over {listed}; random trials of one range may differ as much by chance; state the range by "
                f"`--fact 'searched from {parameter}=...'` and `searched to`"
            )
            yield Part("unknown", text, (source,), values)
            return
        yield Part("warn", f"{parameter} searched over {listed}", (source,), values)
    elif not sampled and not alike:
        yield Part("pass", f"{parameter}: nearly one range, as observed", (source,))
    elif not sampled and len(ranges) > 1:
        who = "all" if len(ranges) == len(evidence.methods) else ", ".join(ranges)
        yield Part("pass", f"{parameter} over {next(iter(texts.values()))} for {who}", (source,))


def _choices(evidence: Evidence, ordered: Collection[str]) -> Iterator[Part]:
    """Compare the words that trials tried, such as yes and no; `ordered` are hyperparameters with ranges instead."""
    for parameter in evidence.names("tried values of"):
        tried, fixed = (
            [m for m in evidence.methods if evidence.fact(f"{quantity} {parameter}", m)]
            for quantity in ("tried values of", "tuned with")
        )
        if parameter in ordered or not tried or f"param {parameter}" not in evidence.runs:
            continue
        others = [m for m in evidence.methods if m not in fixed and evidence.number("trials", m)]
        source = source_of(evidence.fact(f"tried values of {parameter}", tried[0]))
        words = {m: _words(evidence, parameter, m) for m in (*tried, *fixed)}
        pooled = pd.concat(list(words.values()))
        # a name or a path, which every trial has for itself, is no choice
        if pooled.empty or 2 * pooled.nunique() > len(pooled):
            continue
        yield from _alone(parameter, tried, others, source)
        if len(words) < 2:
            continue
        found = {m: ", ".join(sorted(own.unique())[:SHOWN]) for m, own in words.items()}
        chances = {m: _chance_missing(own, pooled) for m, own in words.items()}
        by_chance = min(chances.values()) >= CHANCE / (len(words) - 1)
        if fixed and not (by_chance and _observed_choices(evidence, parameter, tried)):
            text = f"{parameter} searched for {', '.join(tried)} and fixed for {', '.join(fixed)}"
            yield Part("fail", text, (source,))
        elif min(chances.values()) == 1.0:
            who = "all" if len(tried) == len(evidence.methods) else ", ".join(tried)
            yield Part("pass", f"{parameter} over {found[tried[0]]} for {who}", (source,))
        else:
            listed = "; ".join(f"{own} for {m}" for m, own in found.items())
            text = f"{parameter} tried at {listed}"
            if by_chance:
                text += ", which random trials of the same choices may be by chance"
            yield Part("unknown" if by_chance else "warn", text, (source,))


def _words(evidence: Evidence, parameter: str, method: str) -> pd.Series:
    rows = evidence.rows("tune", method)
    values = rows[f"param {parameter}"][rows["status"].isin(FINISHED)].dropna().astype("str")
    return values[values != ""]


def _observed_choices(evidence: Evidence, parameter: str, methods: list[str]) -> bool:
    """Tell whether nobody declared what a method chose from."""
    facts = (evidence.fact(f"tried values of {parameter}", m) for m in methods)
    return any(fact is not None and fact.item == OBSERVED for fact in facts)


def _chance_missing(own: pd.Series, pooled: pd.Series) -> float:
    """Return how often trials lack all the choices that these lack, if all are drawn from the same ones."""
    return math.comb(int(pooled.isin(own).sum()), len(own)) / math.comb(len(pooled), len(own))


def _sampling(
    evidence: Evidence, parameter: str, ranges: dict[str, tuple[float, float]]
) -> list[str]:
    """Return how the same range was sampled differently: on other scales, or at far fewer values in as many trials."""
    scales, tried = {}, {}
    for method in ranges:
        # the scale of an observed range is a guess
        scale = evidence.word(f"scale of {parameter}", method)
        if scale and not _observed(evidence, parameter, method):
            scales[method] = scale
        values, trials = (
            evidence.number(q, method) for q in (f"tried values of {parameter}", "trials")
        )
        if values and trials:
            tried[method] = (values, trials)
    found = []
    if len(set(scales.values())) > 1:
        listed = ", ".join(f"on a {scale} scale for {m}" for m, scale in scales.items())
        found.append(f"{parameter} sampled {listed}")
    if len(tried) > 1:
        # a list of few choices has few values however many trials there are: it is no sparser for that
        counts = [values for values, _ in tried.values()]
        shares = [values / trials for values, trials in tried.values()]
        if all(max(each) > SPARSE * min(each) for each in (counts, shares)):
            listed = ", ".join(
                f"{v:g} values in {n:g} trials for {m}" for m, (v, n) in tried.items()
            )
            found.append(f"{parameter} tried at {listed}")
    return found


def _redrawn(evidence: Evidence, parameter: str, methods: Iterable[str]) -> Iterator[str]:
    """Yield in how many ranges a method was searched one after the other, if methods differ in it."""
    parts = {m: evidence.number(f"ranges of {parameter}", m) or 1 for m in methods}
    if len(set(parts.values())) > 1:
        listed = ", ".join(f"{num:g} for {m}" for m, num in parts.items())
        yield f"{parameter} drawn from different ranges in the course of one search: {listed}"


def _density(
    evidence: Evidence, parameter: str, ranges: dict[str, tuple[float, float]]
) -> Iterator[tuple[str, float]]:
    """Yield the trials per decade of each method, if they are known and its range is on a log scale."""
    for method, (low, high) in ranges.items():
        trials = evidence.number("trials", method)
        if trials and _is_log(evidence, parameter, method, low, high):
            yield method, trials / _log_ratio(high, low, math.log10)


def _is_log(evidence: Evidence, parameter: str, method: str, low: float, high: float) -> bool:
    """Tell whether a range is on a log scale or, if nobody says, whether it spans a decade."""
    scale = evidence.word(f"scale of {parameter}", method)
    return low > 0 and (scale == "log" or (not scale and high / low >= 10))


def _observed(evidence: Evidence, parameter: str, method: str) -> bool:
    """Tell whether nobody declared a range: its ends are the smallest and the largest value seen."""
    facts = (evidence.fact(f"searched {end} {parameter}", method) for end in ("from", "to"))
    return any(fact is not None and fact.item == OBSERVED for fact in facts)


def _range(evidence: Evidence, parameter: str, method: str, low: float, high: float) -> str:
    said = "observed " if _observed(evidence, parameter, method) else ""
    return f"{said}[{low:g}, {high:g}]"


def _may_be_chance(evidence: Evidence, parameter: str, methods: list[str]) -> bool:
    """Tell whether random trials of one range would often have ends that differ as much as those observed."""
    if not all(_observed(evidence, parameter, m) for m in methods):
        return False
    trials = [evidence.rows("tune", method) for method in methods]
    columns = [
        rows[f"param {parameter}"][rows["status"].isin(FINISHED)].to_numpy(np.float64)
        for rows in trials
    ]
    tried = [np.unique(values[np.isfinite(values)]) for values in columns]
    pooled = np.concatenate(tried)
    # values that two methods have in common come from a list, whose ends do not differ by chance
    if len(np.unique(pooled)) < len(pooled):
        return False
    outside = [int(((pooled < own[0]) | (pooled > own[-1])).sum()) for own in tried]
    return all(
        chance_outside(len(own), len(pooled), num) >= CHANCE / (len(methods) - 1)
        for own, num in zip(tried, outside, strict=True)
    )


def chance_outside(own: int, total: int, outside: int) -> float:
    """Return how often at least so many of the other values lie outside the range of one's own, if all are drawn alike.

    Args:
        own: Number of one's own values, at least two.
        total: Number of all values.
        outside: Number of values below the smallest or above the largest of one's own.

    Returns:
        The probability, which holds whatever the distribution is.

    Example:
        >>> chance_outside(2, 3, 1)  # the other one of three values is not the middle one in two cases of three
        0.6666666666666666
    """
    # the outer ones may be on either side, and the ends of the others are one's own
    ways = sum((k + 1) * math.comb(total - k - 2, own - 2) for k in range(outside, total - own + 1))
    return ways / math.comb(total, own)


def _overlap(ranges: list[tuple[float, float]]) -> float:
    log = all(low > 0 for low, _ in ranges)
    # halves, since the width of a range may overflow a double
    ends = [tuple(math.log(x) if log else x / 2 for x in pair) for pair in ranges]
    shared = min(high for _, high in ends) - max(low for low, _ in ends)
    whole = max(high for _, high in ends) - min(low for low, _ in ends)
    return shared / whole if whole > 0 else 1.0


@rule(
    question="Does every winner lie well inside its range?",
    threshold=f"closer to a bound than {EDGE:.0%} of the range: fail for hyperparameters on a log scale, warn for "
    "others, pass for 0 where nothing lies below it; fail if a better value is known outside; never more than warn if the range is only "
    "observed",
    why="a winner at a bound shows that the range was too small, so the method is not tuned",
    source="tuning playbook, identifying bad search space boundaries",
    mend="extend the range by a decade beyond the bound, for all methods alike, and search on",
    needs="ranges and winners",
)
def edge(evidence: Evidence) -> Iterator[Part]:
    """Locate every winner in its range, and compare better values that are known with the bounds."""
    for method in evidence.methods:
        for parameter in evidence.names("searched from"):
            low, high, best = (
                evidence.number(f"{q} {parameter}", method)
                for q in ("searched from", "searched to", "best")
            )
            if low is None or high is None:
                continue
            if best is None:
                if says_none(evidence.fact(f"best {parameter}", method)):
                    yield Part("pass", f"the winner uses no {parameter}", method=method)
                else:
                    yield Part("unknown", evidence.silence(f"best {parameter}", method))
                continue
            log = _is_log(evidence, parameter, method, low, high)
            position = _position(best, low, high, log)
            sources = tuple(
                source_of(evidence.fact(f"{q} {parameter}", method))
                for q in ("best", "searched to")
            )
            # the smallest and the largest value seen lie within what was searched: the bounds may be further out
            observed = _observed(evidence, parameter, method)
            name = f"{parameter} = {best:g} in {_range(evidence, parameter, method, low, high)}"
            # 0 is the bound of what cannot be negative: nothing lies beyond it, and if it was tried, it was worse
            natural = low == 0 and (
                best == 0 or (position < EDGE and _tried(evidence, parameter, method, low))
            )
            # yes and no, written 1 and 0, are both ends, and nothing lies beyond either
            num = evidence.number(f"tried values of {parameter}", method)
            flag = (low, high, num) == (0, 1, 2) and best in (low, high)
            if EDGE <= position <= 1 - EDGE or natural or flag:
                yield Part("pass", name, sources, method=method)
            else:
                where = "lower" if position < EDGE else "upper"
                values = {f"{parameter}, {method}, place in range": position}
                text = f"{name}, at the {where} bound"
                yield Part(
                    "fail" if log and not observed else "warn", text, sources, values, method
                )
            for quantity, meaning in (
                ("equivalent", "the bound binds: another method's best corresponds to"),
                ("known better", "a better value was seen outside the range:"),
            ):
                fact = evidence.fact(f"{quantity} {parameter}", method)
                if fact and fact.value is not None and not low <= fact.value <= high:
                    range_ = _range(evidence, parameter, method, low, high)
                    text = f"{parameter} in {range_}; {meaning} {fact.value:.4g}"
                    known = {f"{quantity} {parameter}, {method}": fact.value}
                    status: Status = "warn" if observed else "fail"
                    yield Part(status, text, (source_of(fact),), known, method)


def _tried(evidence: Evidence, parameter: str, method: str, value: float) -> bool:
    """Tell whether a trial with a score tried a value of a hyperparameter."""
    rows = evidence.rows("tune", method)
    return f"param {parameter}" in rows and bool(
        (np.isfinite(rows["score"]) & (rows[f"param {parameter}"] == value)).any()
    )


def _position(value: float, low: float, high: float, log: bool) -> float:
    if log and value > 0:
        return _log_ratio(value, low) / _log_ratio(high, low)
    if math.isinf(high - low):
        value, low, high = value / 2, low / 2, high / 2
    return (value - low) / (high - low)


def _log_ratio(value: float, low: float, log: Callable[[float], float] = math.log) -> float:
    """Return the logarithm of a quotient, which may be more or less than a double holds."""
    ratio = value / low
    return log(ratio) if 0 < ratio < math.inf else log(value) - log(low)

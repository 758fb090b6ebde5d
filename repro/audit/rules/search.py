"""Rules of the search: did every method get the same chance to find its settings?"""

from __future__ import annotations

import math
from collections.abc import Iterator

from repro.audit.cells import FLAGS
from repro.audit.counting import FIXED
from repro.audit.evidence import Evidence, shown, source_of
from repro.audit.findings import Part, Status, rule, unsaid
from repro.protocol import Fact


@rule(
    question="Did every method get the same number of trials, of the same length?",
    threshold="fail above 1.25 times as many trials (or runs of them, where no length is known), or twice the epochs; warn for any "
    "difference in trials, above 1.25 times the epochs, or if more than a tenth of the trials repeat another",
    why="the best of many trials is better than the best of few, whatever the method",
    source="Sivaprasad et al. 2020; Dodge et al. 2019; AlgoPerf rules, tuning rulesets",
    mend="run the missing trials, or judge all methods by equally many of their first trials",
    needs="how many trials each method had",
)
def budget(evidence: Evidence) -> Iterator[Part]:
    """Compare the number of trials, without and with earlier searches, and the length of all trials together."""
    trials = {m: evidence.number("trials", m) for m in evidence.methods}
    if missing := [m for m, n in trials.items() if n is None]:
        if len(missing) < len(trials):
            yield Part("unknown", "; ".join(evidence.silence("trials", m) for m in missing))
        return
    counts = {m: n for m, n in trials.items() if n is not None}
    yield _ratio(evidence, "trials", counts, "trials", warn=1.0, fail=1.25)
    earlier = {m: n + (evidence.number("earlier trials", m) or 0) for m, n in counts.items()}
    if earlier != counts:
        yield _ratio(
            evidence, "earlier trials", earlier, "trials with earlier searches", warn=1.0, fail=1.25
        )
    for method, num in counts.items():
        fact = evidence.fact("repeated trials", method)
        if fact is not None and fact.value and fact.value > 0.1 * num:
            text = f"{fact.value:g} of {num:g} trials repeat the settings of another"
            yield Part(
                "warn", text, (source_of(fact),), {f"{method}, repeated": fact.value}, method
            )
    yield from _lengths(evidence, counts)


def _lengths(evidence: Evidence, trials: dict[str, float]) -> Iterator[Part]:
    """Compare the length of all trials together, in every unit in which it is known of all methods."""
    known: dict[str, dict[str, float]] = {}
    for unit in ("epochs", "steps"):
        lengths = {
            m: evidence.number(f"search {unit}", m)
            or num * (evidence.number(f"trial {unit}", m) or math.nan)
            for m, num in trials.items()
        }
        known[unit] = {m: length for m, length in lengths.items() if math.isfinite(length)}
    shared = [unit for unit, lengths in known.items() if len(lengths) == len(trials)]
    for unit in shared:
        # with mini-batches of another size, as many epochs have another number of steps
        fail = 2.0 if unit == shared[0] else math.inf
        yield _ratio(evidence, f"trial {unit}", known[unit], f"{unit} of search", 1.25, fail)
    told = {m: evidence.number("search runs", m) for m in trials}
    runs = {m: num for m, num in told.items() if num is not None}
    if not shared and len(runs) == len(trials) and runs != trials:
        yield _ratio(evidence, "search runs", runs, "runs of trials", warn=1.0, fail=1.25)
    alike = set(trials.values())
    if not any(known.values()) and len(trials) > 1 and len(alike) == 1:
        # equal counts are no equal budget if a trial may be of any length
        text = (
            f"{next(iter(alike)):g} trials for every method, but their length is not in the evidence: `trial epochs` "
            "or `trial steps`"
        )
        yield Part("unknown", text, (), {f"trials, {m}": num for m, num in trials.items()})
    elif not shared:
        unit = max(known, key=lambda unit: len(known[unit]))
        yield from unsaid(evidence, f"trial {unit}", known[unit])


def _ratio(
    evidence: Evidence, quantity: str, numbers: dict[str, float], what: str, warn: float, fail: float
) -> Part:  # fmt: skip
    most, least = (pick(numbers, key=lambda m: numbers[m]) for pick in (max, min))
    ratio = numbers[most] / numbers[least] if numbers[least] else math.inf if numbers[most] else 1.0
    text = f"{numbers[most]:g} {what} for {most}, {numbers[least]:g} {what} for {least}"
    if ratio == 1:
        text = f"{numbers[most]:g} {what} for {'every method' if len(numbers) > 1 else most}"
    sources = tuple(dict.fromkeys(source_of(evidence.fact(quantity, m)) for m in (most, least)))
    status: Status = "fail" if ratio > fail else "warn" if ratio > warn else "pass"
    if len(numbers) < 2:
        status, text = "unknown", f"{text}, with no other method to compare"
    return Part(status, text, sources, {f"{what}, {m}": n for m, n in numbers.items()})


@rule(
    question="Do the settings of every method, the baseline's too, come from a search?",
    threshold="fail for a method whose value comes from no search; one trial, or trials all at one setting, are no search; "
    "warn if searches did not vary a hyperparameter whose value differs between methods",
    why="an untuned baseline loses to anything that is tuned",
    source="Lucic et al. 2018; Melis et al. 2018; Choi et al. 2020; how-to-autorl checklist, same effort for all",
    mend="search the baseline with the budget of the others",
    needs="where the reported values come from",
)
def baseline(evidence: Evidence) -> Iterator[Part]:
    """Ask of every method where its reported values come from."""
    told = evidence.names("origin of")
    known = {m for p in told for m in evidence.methods if evidence.fact(f"origin of {p}", m)}
    for parameter in told:
        origins = {m: evidence.fact(f"origin of {parameter}", m) for m in evidence.methods}
        fixed = [m for m, fact in origins.items() if fact and fact.text == FIXED]
        lacking = [
            m for m, fact in origins.items()
            if fact and fact.text.startswith("no search") and m not in fixed
        ]  # fmt: skip
        if fixed:
            yield _left_alone(evidence, parameter, fixed)
        if lacking:
            yield from _unsearched(evidence, parameter, lacking)
        elif any(fact for m, fact in origins.items() if m not in fixed):
            yield Part("pass", f"{parameter} comes from a search")
        for method, fact in origins.items():
            if fact is None and evidence.fact(f"used {parameter}", method) is not None:
                known.add(method)
                yield Part("unknown", evidence.silence(f"origin of {parameter}", method))
    # a method may lack one hyperparameter, but not all of them
    yield from unsaid(evidence, "origin of any hyperparameter", known)


def _unsearched(evidence: Evidence, parameter: str, methods: list[str]) -> Iterator[Part]:
    """Yield one part for all methods whose value of a hyperparameter has the same origin, no search, with the value of each."""
    groups: dict[str, dict[str, list[str]]] = {}
    for method in methods:
        origin = shown(evidence.fact(f"origin of {parameter}", method))
        used = evidence.fact(f"used {parameter}", method)
        value = f" ({shown(used)})" if used else ""
        groups.setdefault(origin, {}).setdefault(value, []).append(method)
    for origin, values in groups.items():
        told = ", ".join(f"{', '.join(own)}{value}" for value, own in values.items())
        first = next(iter(values.values()))[0]
        source = source_of(evidence.fact(f"origin of {parameter}", first))
        yield Part("fail", f"{parameter} of {told}: {origin}", (source,))


def _left_alone(evidence: Evidence, parameter: str, methods: list[str]) -> Part:
    """Return the part about a hyperparameter that some searches did not vary: a setting, if they agree on its value."""
    known = {m: evidence.fact(f"tuned with {parameter}", m) for m in methods}
    source = source_of(evidence.fact(f"origin of {parameter}", methods[0]))
    texts = {m: shown(fact) for m, fact in known.items()}
    if len(set(texts.values())) > 1:
        listed = ", ".join(f"{text} for {m}" for m, text in texts.items())
        return Part(
            "warn", f"{parameter} was not searched and differs: {listed} in all trials", (source,)
        )
    value = texts[methods[0]]
    return Part(
        "pass",
        f"{parameter} is a setting: {value} in all trials of {', '.join(methods)}",
        (source,),
    )


@rule(
    question="Are hyperparameters chosen for each method, not once for all?",
    threshold="fail if all methods share a value that no search found; warn if they share one that their "
    "searches did not vary",
    why="estimators of different variance need different rates: a shared one favours the methods that it happens to suit",
    source="Choi et al. 2020; tuning playbook, nuisance hyperparameters must be tuned for each method",
    mend="search the value for each method, with equal budgets",
    needs="the values that were used, and where they come from",
    compares=True,
)
def shared(evidence: Evidence) -> Iterator[Part]:
    """Look for a number, or a yes or no, that all methods share and no search found; other words name things."""
    for parameter in evidence.names("used"):
        used = {m: _value(evidence.fact(f"used {parameter}", m)) for m in evidence.methods}
        origins = {evidence.word(f"origin of {parameter}", m) for m in evidence.methods}
        if None in used.values() or len(used) < 2:
            continue
        source = source_of(evidence.fact(f"used {parameter}", evidence.methods[0]))
        value, *others = set(used.values())
        text = f"{parameter} = {value if isinstance(value, str) else f'{value:g}'} for every method"
        if not others and "" in origins:
            text += f"; whether a search found it is not in the evidence: `origin of {parameter}`"
            yield Part("unknown", text, (source,))
        elif not others and all(o.startswith("no search") for o in origins):
            left = FIXED in origins
            text += ", one value in all trials" if left else ", from no search"
            yield Part("warn" if left else "fail", text, (source,))
        else:
            yield Part("pass", f"{parameter} is not one unsearched value", (source,))


def _value(fact: Fact | None) -> float | str | None:
    """Return a number, or a word of yes or no; `None` for any other word."""
    if fact is None or fact.value is not None:
        return None if fact is None else fact.value
    return fact.text if fact.text.lower() in FLAGS else None


@rule(
    question="Do the reported runs use the value that the search found best?",
    threshold="fail if they differ by more than 2 %, which rounding may explain",
    why="a value that the search did not choose was chosen by something else, often by the reported score",
    source="NeurIPS checklist, how settings were chosen; how-to-autorl checklist, incumbents",
    mend="report the winner; if it cannot be used, say why, and what chose the other value",
    needs="both the winner and the value used",
)
def winner(evidence: Evidence) -> Iterator[Part]:
    """Compare the value found best with the value used."""
    for method in evidence.methods:
        for parameter in evidence.names("best"):
            best, used = (evidence.fact(f"{q} {parameter}", method) for q in ("best", "used"))
            if parameter == "search score" or best is None or used is None:
                continue
            sources = (source_of(best), source_of(used))
            text = f"{parameter}: found {shown(best)}, used {shown(used)}"
            same = (
                best.text == used.text
                if best.value is None or used.value is None
                else math.isclose(best.value, used.value, rel_tol=0.02)
            )
            yield Part("pass" if same else "fail", text, sources, method=method)


@rule(
    question="Are trials as long as the reported runs?",
    threshold="warn if a trial is shorter by more than a tenth",
    why="the best rate of a short run is rarely the best of a long one, and divergence comes late",
    source="tuning playbook, how long to train; Rike & Førland's searches end before the plateau does",
    mend="let trials run as long as reported runs, or show that the ranking of rates is settled by then",
    needs="the length of trials and of reported runs",
)
def horizon(evidence: Evidence) -> Iterator[Part]:
    """Compare the length of a trial with that of a reported run."""
    for method in evidence.methods:
        for unit in ("epochs", "steps"):
            trial, report = (evidence.fact(f"{q} {unit}", method) for q in ("trial", "reported"))
            if trial is None or report is None or not trial.value or not report.value:
                continue
            text = f"trials of {trial.value:g} {unit}, reported runs of {report.value:g}"
            status: Status = "warn" if trial.value < 0.9 * report.value else "pass"
            sources = (source_of(trial), source_of(report))
            yield Part(status, text, sources, method=method)

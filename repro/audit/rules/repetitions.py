"""Rules about repetitions: are they independent, enough and complete, and does the order of methods hold?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats as scipy_stats  # type: ignore[import-untyped, unused-ignore]

from repro import stats
from repro.audit import differences
from repro.audit.counting import first_runs, numbered, trial_scores
from repro.audit.evidence import BAD, FINISHED, OPTIMIZERS_OWN, Evidence, source_of
from repro.audit.findings import Part, Status, rule, unsaid

Vector = npt.NDArray[np.float64]
LEVEL = 0.05
"""Two-sided level of the tests."""
DIGITS = 4
"""Equal scores with at most so many decimals may be chance."""


@rule(
    question="Do the reported runs use seeds that no trial used?",
    threshold="fail for any seed that both used",
    why="the winner is chosen for its luck with the tuning seeds; reporting on them counts that luck as merit",
    source="Eimer et al. 2023, how-to-autorl checklist, tuning and test seeds; DeepOBS averages its tuning seed in",
    mend="report on seeds that no trial used",
    needs="the seeds of tuning and of reporting",
)
def seeds(evidence: Evidence) -> Iterator[Part]:
    """Intersect the seeds of tuning and reporting."""
    for method in evidence.methods:
        tuned, reported = (evidence.seeds(role, method) for role in ("tune", "report"))
        if not tuned or not reported:
            continue
        both = sorted(tuned & reported, key=_by_size)
        source = source_of(evidence.fact("tuning seed", method)) or "rows"
        if both:
            names = ", ".join(both[:5]) + (", ..." if len(both) > 5 else "")
            text = f"seed {names} in trials and reported runs ({len(both)} of {len(reported)} reported)"
            yield Part("fail", text, (source,), {f"{method}, shared seeds": len(both)}, method)
        else:
            text = f"{len(reported)} reported seeds, none of them in trials"
            yield Part("pass", text, (source,), method=method)


def _by_size(seed: str) -> tuple[float, str]:
    """Return what a seed is sorted by: its size, if it is a number."""
    try:
        return float(seed), seed
    except ValueError:
        return math.inf, seed


@rule(
    question="Are there enough repetitions, and is each one an independent draw?",
    threshold="fail for one, or for equal results under different seeds; warn below 6, as no paired rank test then "
    "reaches 0.05, if fewer seeds were drawn than repetitions are claimed, if repetitions have different learning rates, or if all "
    f"results are equal, have {DIGITS} decimals or fewer, and no other method reaches the same",
    why="with few repetitions the order of two methods may be luck, and no test can rule that out",
    source="Agarwal et al. 2021; Bouthillier et al. 2021; NeurIPS checklist, statistical significance",
    mend="repeat with at least 6 seeds, preferably 10, the same for every method",
    needs="the number of repetitions",
)
def repetitions(evidence: Evidence) -> Iterator[Part]:
    """Count repetitions, say the smallest p that they allow, and look for copies."""
    for method in evidence.methods:
        fact = evidence.fact("repetitions", method)
        if fact is None or fact.value is None:
            yield Part("unknown", evidence.silence("repetitions", method))
            continue
        num = int(fact.value)
        smallest = stats.smallest_two_sided_p(num) if num else 1.0
        status: Status = "fail" if num < 2 else "warn" if smallest > LEVEL else "pass"
        text = f"{num} repetition{'' if num == 1 else 's'}, smallest two-sided p {smallest:.2g}"
        yield Part(status, text, (source_of(fact),), {f"{method}, repetitions": num}, method)
        yield from _at_several(evidence, method)
        drawn = evidence.fact("independent seeds", method)
        if drawn is not None and drawn.value is not None and drawn.value < num:
            text = f"{num} repetitions claimed, {drawn.value:g} seed(s) drawn"
            yield Part("warn", text, (source_of(drawn),), method=method)
        yield from _copies(evidence, method)


def _at_several(evidence: Evidence, method: str) -> Iterator[Part]:
    """Look for repetitions that are none, as their optimizers had different numbers."""
    rows = evidence.rows("report", method)
    for column in map(str, rows.filter(like="param ")):
        values = rows[column].dropna()
        parameter = column.removeprefix("param ")
        if values.nunique() > 1 and OPTIMIZERS_OWN.fullmatch(parameter):
            text = f"{len(rows)} reported runs at {values.nunique()} values of {parameter}: no repetitions of one setting"
            yield Part("warn", text, ("rows",), method=method)


def _copies(evidence: Evidence, method: str) -> Iterator[Part]:
    """Look for repetitions under different seeds with one result."""
    rows = evidence.rows("report", method)
    if rows["seed"].nunique() < 2 or evidence.number("equal ends", method):
        return
    scores = rows["score"][np.isfinite(rows["score"]) & ~rows["status"].isin(BAD)]
    copies = scores[scores.duplicated()].to_numpy(np.float64)
    # what another method reaches too is a minimum, not a copy
    reached = np.concatenate(
        [
            evidence.rows("report", other)["score"].to_numpy(np.float64)
            for other in evidence.methods
            if other != method
        ]
        or [np.empty(0)]
    )
    minima = np.isclose(copies[:, None], reached, rtol=1e-6, atol=1e-12).any(axis=1)
    # nor is a negative score, which is the value of a function, no loss or accuracy: descents from one start may end in
    # one place
    given = np.array([evidence.as_given(score) for score in copies])
    num_copies = int((~minima & (given >= 1e-12)).sum())
    if not num_copies:
        return
    if not _coarse(scores):
        text = f"{num_copies} repetitions equal another to the last digit"
        yield Part("fail", text, ("rows",), method=method)
    elif scores.nunique() == 1:
        # errors on a few thousand examples may be equal by chance, even all of them
        text = f"all {len(scores)} repetitions score {given[0]:g}: copies, or too few digits to tell them apart"
        yield Part("warn", text, ("rows",), method=method)


@rule(
    question="Do the error bars cover as often as they say?",
    threshold="fail if a 95 % interval by Student's t is more than 1.25 times as wide, warn above 1.1 times",
    why="1.96 standard errors of three repetitions cover far less than 95 %",
    source="Student 1908; NeurIPS checklist, error bars",
    mend="use the t quantile for the number of repetitions: 12.7, 4.3, 3.2, 2.8 for 2 to 5",
    needs="how the error bars were made",
)
def interval(evidence: Evidence) -> Iterator[Part]:
    """Compare the multiplier of the standard error with the quantile of Student's t."""
    for method in evidence.methods:
        fact = evidence.fact("interval multiplier", method)
        num = evidence.number("repetitions", method)
        if fact is None or not fact.value or num is None or num < 2:
            continue
        right = float(scipy_stats.t.ppf(0.975, num - 1))
        ratio = right / fact.value
        status: Status = "fail" if ratio > 1.25 else "warn" if ratio > 1.1 else "pass"
        text = f"{fact.value:.3g} standard errors for n={num:g}, Student's t has {right:.3g}"
        yield Part(status, text, (source_of(fact),), {f"{method}, too narrow by": ratio}, method)


@rule(
    question="Did enough trials of every method end without diverging or failing?",
    threshold="warn if a method has less than half another's share of trials that ended well, or none, or none with a score, or if a "
    "reported run diverged or failed",
    why="diverged trials use up budget: a method with few others has searched less than its number of trials says",
    source="tuning playbook, infeasible trials; Sivaprasad et al. 2020",
    mend="state the shares beside the result; give all methods more trials, or a range with fewer unstable rates",
    needs="how the trials ended",
    compares=True,
)
def divergence(evidence: Evidence) -> Iterator[Part]:
    """Compare how many trials ended well."""
    ended: dict[str, tuple[int, int]] = {}
    for method in evidence.methods:
        # the best have further runs, which would dilute the share
        tune = first_runs(evidence.rows("tune", method))
        trials = [(s, known) for s, known in _endings(tune) if s != "running"]
        if trials:
            well = sum(s not in BAD and (s != "done" or known) for s, known in trials)
            ended[method] = (well, len(trials))
        report = _endings(evidence.rows("report", method))
        if report:
            bad = sum(s in BAD or not known for s, known in report)
            status: Status = "warn" if bad else "pass"
            text = f"{bad} of {len(report)} reported runs diverged or failed"
            yield Part(status, text, ("rows",), method=method)
    yield from unsaid(evidence, "how trials ended", ended)
    if len(ended) < 2:
        return
    most = max(well / total for well, total in ended.values())
    values = {f"{m}, diverged or failed": 1 - well / total for m, (well, total) in ended.items()}
    few = [m for m, (well, total) in ended.items() if not well or well / total < most / 2]
    # as where all were pruned
    unscored = [
        m
        for m in ended
        if m not in few and not np.isfinite(evidence.rows("tune", m)["score"]).any()
    ]
    listed = few or ([] if unscored else list(ended))
    text = ", ".join(
        [
            *(
                f"{ended[m][1] - ended[m][0]} of {ended[m][1]} trials of {m} diverged or failed"
                for m in listed
            ),
            *(f"no trial of {m} has a score" for m in unscored),
        ]
    )
    few += unscored
    yield Part("warn" if few else "pass", text, ("rows",), values)


def _endings(rows: pd.DataFrame) -> list[tuple[str, bool]]:
    """Return the status of each run, and whether it has a score."""
    return list(zip(rows["status"], np.isfinite(rows["score"].to_numpy()), strict=True))


@rule(
    question="Does the table hold every run that was begun, of every method?",
    threshold="fail for missing trial numbers, or repetitions that a method lacks; warn for trials that never ended, "
    "and for a method that shares no seed with another, which costs only the pairing",
    why="a table of survivors shows a method at its best: runs that crashed are left out",
    source="Optuna drops NaN trials as failed; how-to-autorl checklist, all runs reported",
    mend="keep a row for every run, with the worst score if it diverged, and make the missing runs",
    needs="the numbers of the trials, or the reported runs",
)
def survivors(evidence: Evidence) -> Iterator[Part]:
    """Look for gaps in trial numbers, for missing repetitions and for trials left running."""
    lacking = list(_lacking(evidence))
    yield from lacking
    counts = {_num_reported(evidence, m) for m in evidence.methods}
    searched = any(len(evidence.rows("tune", m)) for m in evidence.methods)
    # beside trials, the runs that were reported are not all that were begun
    if not lacking and not searched and len(evidence.methods) > 1 and counts != {0}:
        text = f"no method has fewer reported runs than another: {max(counts)}"
        yield Part("pass", text, ("rows",))
    tuned = [evidence.rows("tune", m)["number"].dropna().unique() for m in evidence.methods]
    shared = np.concatenate(tuned)
    # one search that spent its trials on several methods: a number that one lacks another has
    apart = len(tuned) > 1 and len(set(shared)) == len(shared)
    for method in evidence.methods:
        tune = evidence.rows("tune", method)
        if tune.empty:
            continue
        if running := int((tune["status"] == "running").sum()):
            yield Part("warn", f"{running} trials never ended", ("rows",), method=method)
        numbers = tune["number"].dropna().unique()
        if len(numbers):
            first, last = numbers.min(), numbers.max()
            # numbers between those of one method may be another's
            there = shared[(shared >= first) & (shared <= last)] if apart else numbers
            missing = int(last - first + 1 - len(there))
            if missing > 0:
                text = f"{missing} of {missing + len(numbers)} trial numbers are missing"
                yield Part("fail", text, ("rows",), {f"{method}, missing": missing}, method)
            else:
                yield Part("pass", f"all {len(numbers)} trials are there", ("rows",), method=method)


def _num_reported(evidence: Evidence, method: str) -> int:
    """Return the number of reported runs: of seeds, where these are known."""
    rows = evidence.rows("report", method)
    return len(set(rows["seed"]) - {""}) or len(rows)


def _lacking(evidence: Evidence) -> Iterator[Part]:
    """Look for repetitions that a method lacks: seeds of methods it shares seeds with, or fewer runs than another has."""
    reported = {m: set(evidence.rows("report", m)["seed"]) - {""} for m in evidence.methods}
    runs = {m: _num_reported(evidence, m) for m in evidence.methods}
    seeded = any(reported.values())
    most = max(runs, key=lambda m: runs[m])
    for method, own in reported.items():
        # methods that share half of the seeds of either were meant to have the same ones
        paired = [
            seeds
            for other, seeds in reported.items()
            if other != method and 2 * len(own & seeds) >= max(1, min(len(own), len(seeds)))
        ]
        if lacking := sorted(set().union(*paired) - own, key=_by_size):
            more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
            text = f"no reported run with seed {', '.join(lacking[:5])}{more}, which others have"
            yield Part("fail", text, ("rows",), method=method)
        elif runs[method] < runs[most]:
            text = f"{runs[method]} reported runs, but {runs[most]} of {most}"
            yield Part("fail", text, ("rows",), method=method)
        elif seeded and not paired and any(runs[m] for m in evidence.methods if m != method):
            text = "no seed in common with another method: its repetitions are paired with none"
            yield Part("warn", text, ("rows",), method=method)


@rule(
    question="Does the order of the methods hold for smaller budgets and for equal time?",
    threshold="warn if the two best methods change places in the second half of the trials, or if the one ahead at "
    "equal trials is behind at equal time; unknown for a grid, which has no order",
    why="an order that changes with the last trials shows which search was lucky, not which method is better",
    source="Dodge et al. 2019; Sivaprasad et al. 2020; Lourie et al. 2024",
    mend="show the best score over the number of trials, and over time; claim no order where the curves cross",
    needs="the scores of the trials in order",
    compares=True,
)
def rank(evidence: Evidence) -> Iterator[Part]:
    """Follow the best score so far, over trials and over time."""
    # a trial that waits or still runs does not count yet
    every = {m: evidence.rows("tune", m) for m in evidence.methods}
    rows = {m: of_method[of_method["status"].isin(FINISHED)] for m, of_method in every.items()}
    # as a smaller budget would have had them, before the best were run again
    trials = {m: trial_scores(first_runs(own)) for m, own in rows.items() if len(own)}
    yield from unsaid(evidence, "scores of trials", trials)
    trials = {m: t for m, t in trials.items() if np.isfinite(t["score"]).any()}
    if len(trials) < 2:
        return
    num = min(len(t) for t in trials.values())
    if num < 4:
        yield Part("unknown", f"{num} trials are too few to see an order change")
        return
    if all(_is_grid(evidence, m) for m in trials):
        yield Part("unknown", "the trials are a grid: their order is no course of a search")
        return
    best = {m: np.minimum.accumulate(t["score"].to_numpy()[:num]) for m, t in trials.items()}
    first, second = sorted(best, key=lambda m: best[m][-1])[:2]
    behind = np.flatnonzero(best[first] > best[second]) + 1
    settled = int(behind[-1]) + 1 if behind.size else 1
    tied = best[first][-1] == best[second][-1]
    late = settled > num / 2 and not tied
    text = f"{first} is ahead of {second} from trial {settled} of {num} on"
    if tied:
        text = f"{first} and {second} are tied after {num} trials"
    yield Part("warn" if late else "pass", text, ("rows",), {"settled from trial": settled})
    times = {m: t["seconds"].to_numpy() for m, t in trials.items()}
    if all(np.isfinite(t).all() and (t > 0).all() for t in times.values()):
        limit = min(float(t.sum()) for t in times.values())
        at = {
            m: best_within(trials[m]["score"].to_numpy(), times[m], limit) for m in (first, second)
        }
        scores = ", ".join(
            f"{m} {evidence.as_given(score):.4g}" if math.isfinite(score) else f"{m} none"
            for m, score in at.items()
        )
        text = f"{scores} after {limit:.4g} s of trials each"
        turned = at[first] > at[second] and not tied
        yield Part("warn" if turned else "pass", text, ("rows",))


def _is_grid(evidence: Evidence, method: str) -> bool:
    """Tell whether a method's trials stand in the order of their values, or try each value of one with each of another."""
    if evidence.word("sampler", method).casefold() == "grid":
        return True
    trials = numbered(evidence.rows("tune", method)).drop_duplicates("number")
    tried = trials.sort_values("number").filter(like="param ")
    varied = tried.loc[:, tried.nunique() > 1]
    if varied.shape[1] == 1:
        values = varied.iloc[:, 0]
        return bool(values.is_monotonic_increasing or values.is_monotonic_decreasing)
    sizes = [int(size) for size in varied.nunique()]
    return len(sizes) > 1 and min(sizes) < len(trials) == math.prod(sizes)


def _coarse(scores: pd.Series) -> bool:
    """Tell whether scores have so few digits that different runs may well have the same score."""
    return bool((scores.round(DIGITS) == scores).all())


def best_within(scores: Vector, seconds: Vector, limit: float) -> float:
    """Return the best score of the trials that end within a time, infinite if none does.

    Args:
        scores: One a trial, in order.
        seconds: Time of each trial.
        limit: The time, in seconds.

    Returns:
        The smallest score.
    """
    ended = np.cumsum(seconds) <= limit * (1 + 1e-9)
    return float(scores[ended].min()) if ended.any() else math.inf


@rule(
    question="Do the differences stay significant when corrected for all comparisons?",
    threshold=f"warn if a difference is significant at {LEVEL} by itself, but not after Holm's correction",
    why="of twenty comparisons without any difference, one is on average significant at 0.05",
    source="Holm 1979; Demsar 2006; NeurIPS checklist, statistical significance",
    mend="correct for all comparisons made, and claim only what stays significant",
    needs="two or more reported runs of each method",
    compares=True,
)
def multiplicity(evidence: Evidence) -> Iterator[Part]:
    """Test every pair of methods, with and without correction; a diverged run counts as worse than any other."""
    tests = {}
    reported = {
        m: differences.one_a_seed(rows)
        for m in evidence.methods
        if len(rows := evidence.rows("report", m)) > 1
    }
    for a, b in combinations(reported, 2):
        p = differences.p_value(reported[a], reported[b])
        if p is not None:
            tests[a, b] = p
    if not tests:
        return
    yield from unsaid(evidence, "scores of two reported runs", reported)
    adjusted = dict(zip(tests, stats.holm(list(tests.values())), strict=True))
    lost = [pair for pair, p in tests.items() if p < LEVEL <= adjusted[pair]]
    values = {f"{a} against {b}, Holm": float(p) for (a, b), p in adjusted.items()}
    bad = any(np.isinf(rows["score"]).any() for rows in reported.values())
    sources = (
        "t tests, paired where seeds are the same",
        *(["rank tests where a run diverged"] if bad else []),
    )
    if lost:
        text = ", ".join(
            f"{a} against {b} (p {tests[a, b]:.2g}, Holm {adjusted[a, b]:.2g})" for a, b in lost
        )
        yield Part("warn", f"of {len(tests)} comparisons: {text}", sources, values)
    else:
        kept = sum(p < LEVEL for p in adjusted.values())
        text = f"{kept} of {len(tests)} differences significant, with and without correction"
        yield Part("pass", text, sources, values)

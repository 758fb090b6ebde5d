"""A fair study passes every rule; of one change each, exactly the rule meant for it speaks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_ind, wilcoxon  # type: ignore[import-untyped, unused-ignore]

from repro.audit import differences, report
from repro.audit.counting import count
from repro.audit.evidence import CURVE_COLUMNS, QUANTITIES, Evidence, runs_frame
from repro.audit.findings import judge
from repro.audit.rules import RULES
from repro.audit.trials import from_rows
from repro.protocol import Fact

METHODS = ("new", "baseline")
TRIALS, SEEDS = 16, 6


def rates() -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the rates of the trials, evenly over [1e-6, 10] and in no order; both methods' best comes early."""
    order = np.array([6, 9, 13, 1, 15, 4, 11, 0, 8, 2, 14, 5, 10, 3, 12, 7])
    return np.asarray(10 ** (-6 + 7 * (order + 0.5) / TRIALS), dtype=np.float64)


def loss(rate: float, best: float) -> float:
    return float(0.1 + 0.05 * (math.log10(rate) - math.log10(best)) ** 2)


def fair_rows() -> pd.DataFrame:
    """Return 16 trials and 6 reported runs of two methods, everything alike but the method."""
    rows: list[dict[str, object]] = []
    generator = np.random.default_rng(7)
    noise = generator.normal(0.0, 1e-3, SEEDS)
    for method, offset, target in (("new", 0.0, 1e-3), ("baseline", 0.02, 1e-2)):
        scores = [loss(rate, target) + offset for rate in rates()]
        winner = rates()[int(np.argmin(scores))]
        common = {"method": method, "length": 20.0, "setting loss": "nll", "setting clip": 1.0}
        rows += [
            {
                **common, "role": "tune", "number": float(i), "status": "done", "score": score,
                "seed": "tune", "seconds": 10.0, "validation": score,
                "test": score + 0.01 + 1e-4 * i, "param lr": rate,
            }
            for i, (rate, score) in enumerate(zip(rates(), scores, strict=True))
        ]  # fmt: skip
        rows += [
            {
                **common, "role": "report", "status": "done", "seconds": 10.0, "seed": f"report {i}",
                "score": min(scores) + noise[i] + generator.normal(0.0, 1e-4), "param lr": winner,
                "accuracy": float(generator.integers(9_600, 9_700)) / 10_000,
            }
            for i in range(SEEDS)
        ]  # fmt: skip
    return pd.DataFrame(rows)


def say(quantity: str, value: float | str, method: str = "") -> Fact:
    text = value if isinstance(value, str) else ""
    return Fact("protocol", quantity, None if text else float(value), "stated", method, text=text)


FACTS: dict[str, float | str] = {
    "sampler": "random",
    "selection split": "validation",
    "selection metric": "validation loss",
    "selection examples": 10_000,
    "selection split size": 10_000,
    "selection moment": "last",
    "reported split": "test",
    "reported moment": "last",
    "reported examples": 10_000,
    "reported split size": 10_000,
    "chance loss": math.log(10),
    "final loss": 0.12,
    "published score": 0.12,
    "printed score": 0.1202,
    "published decimals": 2,
    "stated clip": 1.0,
    "interval multiplier": 2.5706,
    "claim of cost": "half the time",
    "derivative mode": "forward",
    "timed steps": 300,
    "timed engine": "one",
    "synchronised timing": 1,
    "step-time ratio": 0.5,
    "time-to-loss ratio": 0.51,
}


def fair_curves() -> pd.DataFrame:
    """Return test losses of 10,000 examples over 40 epochs: a smooth descent with 0.5 % of scatter."""
    generator = np.random.default_rng(11)
    rows = [
        (
            method,
            seed,
            "test loss",
            epoch,
            (0.1 + 2 * 0.8**epoch) * math.exp(generator.normal(0, 5e-3)),
        )
        for method in METHODS
        for seed in range(2)
        for epoch in range(40)
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


@dataclasses.dataclass
class Draft:
    """The fair study, to be changed."""

    rows: pd.DataFrame = dataclasses.field(default_factory=fair_rows)
    facts: dict[str, float | str] = dataclasses.field(default_factory=lambda: dict(FACTS))
    curves: pd.DataFrame = dataclasses.field(default_factory=fair_curves)


Change = Callable[[Draft], list[Fact] | None]


def study(change: Change | None = None) -> Evidence:
    """Return the fair study, with one change."""
    draft = Draft()
    more = change(draft) if change else None
    told = (*(say(q, v) for q, v in draft.facts.items()), *(more or ()))
    evidence = from_rows(draft.rows, {}, "synthetic", unit="epochs", facts=told)
    return dataclasses.replace(evidence, curves=draft.curves)


def test_a_fair_study_passes_every_rule() -> None:
    findings = report.audit(study()).findings
    assert {f.rule.name: (f.status, f.text) for f in findings if f.status != "pass"} == {}
    assert len(findings) == len(RULES) >= 20


def rate_of_best(trials: pd.DataFrame) -> float:
    return float(trials.sort_values("score")["param lr"].iloc[0])


def of(rows: pd.DataFrame, method: str, role: str) -> pd.Series:
    return (rows["method"] == method) & (rows["role"] == role)


def fewer_trials(draft: Draft) -> None:
    """Give the baseline every second rate, the ends and its best among them."""
    rows = draft.rows
    by_rate = rows[of(rows, "baseline", "tune")].sort_values("param lr").index
    draft.rows = rows.drop(index=by_rate[[1, 3, 5, 7, 8, 10, 12, 14]])
    kept = of(draft.rows, "baseline", "tune")
    draft.rows.loc[kept, "number"] = np.arange(float(kept.sum()))


def longer_trials(draft: Draft) -> None:
    rows = draft.rows
    rows.loc[rows["method"] == "new", "length"] = 60.0


def restarted_with_its_seed(draft: Draft) -> None:
    """Let the last trials of the new method be its first ones again, as after a restart with the same seed."""
    rows = draft.rows
    tuned = rows[of(rows, "new", "tune")].index
    for column in ("score", "validation", "test", "param lr"):
        rows.loc[tuned[10:13], column] = rows.loc[tuned[:3], column].to_numpy()


def narrower_range(draft: Draft) -> None:
    rows = draft.rows
    tuned = of(rows, "new", "tune")
    rows.loc[tuned, "param lr"] = 10 ** (np.log10(rows.loc[tuned, "param lr"]) / 2 - 1.5)
    best = rate_of_best(rows[tuned])
    rows.loc[of(rows, "new", "report"), "param lr"] = best


def other_sampler(draft: Draft) -> list[Fact]:
    facts = draft.facts
    del facts["sampler"]
    return [say("sampler", "grid", "new"), say("sampler", "random", "baseline")]


def a_dimension_more(draft: Draft) -> None:
    rows = draft.rows
    tuned = of(rows, "new", "tune")
    rows["param momentum"] = 0.0
    rows.loc[tuned, "param momentum"] = np.random.default_rng(5).permutation(TRIALS) / TRIALS
    best = rows[tuned]["score"].idxmin()
    rows.loc[best, "param momentum"] = 0.5
    rows.loc[of(rows, "new", "report"), "param momentum"] = 0.5
    rows.loc[rows["method"] == "baseline", "param momentum"] = 0.0


def winner_at_the_edge(draft: Draft) -> None:
    rows = draft.rows
    tuned = of(rows, "baseline", "tune")
    scores = [loss(rate, 10.0) for rate in rows.loc[tuned, "param lr"]]
    rows.loc[tuned, "score"] = rows.loc[tuned, "validation"] = scores
    best = rate_of_best(rows[tuned])
    rows.loc[of(rows, "baseline", "report"), "param lr"] = best


def binding_bound(draft: Draft) -> list[Fact]:
    return [say("equivalent lr", 40.0, "new")]


def untuned_baseline(draft: Draft) -> list[Fact]:
    rows = draft.rows
    tuned = of(rows, "baseline", "tune")
    draft.rows = rows.drop(index=rows[tuned].index)
    # its owner says what the search would have shown, so that nothing else is unknown
    return [say("trials", TRIALS, "baseline"), say("trial epochs", 20, "baseline")]


def one_trial_of_the_baseline(draft: Draft) -> None:
    rows = draft.rows
    best = rows[of(rows, "baseline", "tune")]["score"].idxmin()
    others = rows[of(rows, "baseline", "tune")].index.difference([best])
    draft.rows = rows.drop(index=others)
    draft.rows.loc[best, "number"] = 0.0


def one_rate_for_all(draft: Draft) -> list[Fact]:
    return [
        fact
        for method in METHODS
        for fact in (
            say("used momentum", 0.9, method),
            say("origin of momentum", "no search", method),
        )
    ]


def another_value(draft: Draft) -> None:
    rows = draft.rows
    rows.loc[of(rows, "new", "report"), "param lr"] *= 3


def short_trials(draft: Draft) -> None:
    rows = draft.rows
    rows.loc[rows["role"] == "report", "length"] = 100.0


def declared_test(draft: Draft) -> None:
    facts = draft.facts
    facts["selection split"] = "test"


def score_is_test(draft: Draft) -> None:
    rows = draft.rows
    tuned = rows["role"] == "tune"
    rows.loc[tuned, "test"] = rows.loc[tuned, "score"]
    rows.loc[tuned, "validation"] = rows.loc[tuned, "score"] + 0.01


def two_metrics(draft: Draft) -> list[Fact]:
    facts = draft.facts
    del facts["selection metric"]
    return [say("selection metric", m, n) for m, n in zip(("loss", "error"), METHODS, strict=True)]


def best_reported(draft: Draft) -> None:
    facts = draft.facts
    facts["reported moment"] = "best"


def past_the_optimum(draft: Draft) -> None:
    facts = draft.facts
    facts["early stopping patience"] = 10


def sixteen_examples(draft: Draft) -> None:
    facts = draft.facts
    facts["reported examples"] = 16


def last_batch_curve(draft: Draft) -> None:
    """Average the loss of each epoch over 16 examples, most learned, some not: nobody says so."""
    curves = draft.curves
    generator = np.random.default_rng(2)
    kept = curves["method"] == "new"
    examples = generator.exponential(1.0, (int(kept.sum()), 16)) ** 4 / 24
    curves.loc[kept, "value"] = curves.loc[kept, "value"] * examples.mean(axis=1)


def last_batch_accuracy(draft: Draft) -> None:
    rows = draft.rows
    reported = rows["role"] == "report"
    sixteenths = np.random.default_rng(4).integers(8, 16, int(reported.sum())) / 16
    rows.loc[reported, "accuracy"] = sixteenths


def nothing_learned(draft: Draft) -> None:
    facts = draft.facts
    facts["final loss"] = 2.25


def other_loss(draft: Draft) -> None:
    rows = draft.rows
    rows.loc[rows["method"] == "new", "setting loss"] = "clamped"


def clip_of_one(draft: Draft) -> None:
    """Leave the clip of the new method blank, as a table does for a setting that a method has not."""
    del draft.facts["stated clip"]
    rows = draft.rows
    rows.loc[rows["method"] == "new", "setting clip"] = np.nan


def clip_of_one_in_the_search(draft: Draft) -> None:
    rows = draft.rows
    rows.loc[of(rows, "new", "tune"), "setting clip"] = np.nan


def clipped_later(draft: Draft) -> None:
    rows = draft.rows
    rows.loc[rows["role"] == "tune", "setting clip"] = 5.0


def typed_number(draft: Draft) -> None:
    facts = draft.facts
    facts["published score"] = 0.11


def other_text(draft: Draft) -> None:
    facts = draft.facts
    facts["stated clip"] = "none"


def tuning_seed_reported(draft: Draft) -> None:
    rows = draft.rows
    rows.loc[rows["role"] == "tune", "seed"] = "report 0"


def three_seeds(draft: Draft) -> None:
    rows, facts = draft.rows, draft.facts
    draft.rows = rows.drop(index=rows[rows["seed"].isin([f"report {i}" for i in (3, 4, 5)])].index)
    facts["interval multiplier"] = 4.3027


def equal_repetitions(draft: Draft) -> None:
    rows = draft.rows
    reported = rows[of(rows, "new", "report")].index
    rows.loc[reported[1], "score"] = rows.loc[reported[0], "score"]


def simulated_seeds(draft: Draft) -> None:
    facts = draft.facts
    facts["independent seeds"] = 1


def normal_interval(draft: Draft) -> None:
    facts = draft.facts
    facts["interval multiplier"] = 1.96


def most_diverge(draft: Draft) -> None:
    rows = draft.rows
    worst = rows[of(rows, "new", "tune")].nlargest(10, "score").index
    rows.loc[worst, ["score", "validation", "test"]] = np.nan


def reported_divergence(draft: Draft) -> None:
    rows = draft.rows
    rows.loc[rows[of(rows, "new", "report")].index[2], "status"] = "diverged"


def survivors_only(draft: Draft) -> None:
    """Leave two trials of either method out, as if they had crashed."""
    rows = draft.rows
    draft.rows = rows.drop(index=rows[rows["number"].isin([3.0, 9.0])].index)


def missing_repetition(draft: Draft) -> None:
    """Give the baseline seven repetitions, and leave one of the new method's out."""
    rows = draft.rows
    extra = rows[of(rows, "baseline", "report")].iloc[-1].copy()
    extra["seed"] = "report 6"
    extra["score"] = float(extra["score"]) + 3e-4
    rows.loc[len(rows)] = extra


def late_lead(draft: Draft) -> None:
    """Put the best trial of the better method last."""
    rows = draft.rows
    tuned = rows[of(rows, "new", "tune")]
    best, last = tuned["score"].idxmin(), tuned.index[-1]
    for column in ("score", "validation", "test", "param lr"):
        rows.loc[[best, last], column] = rows.loc[[last, best], column].to_numpy()
    # the baseline leads until then
    held = rows.loc[tuned.index[:-1], "score"].clip(lower=0.2)
    rows.loc[tuned.index[:-1], "score"] = rows.loc[tuned.index[:-1], "validation"] = held


def slower_winner(draft: Draft) -> None:
    """Let each trial of the better method take ten times as long, with its best trial in the middle."""
    rows = draft.rows
    late_lead(draft)
    tuned = rows[of(rows, "new", "tune")].index
    middle, last = tuned[6], tuned[-1]
    for column in ("score", "validation", "test", "param lr"):
        rows.loc[[middle, last], column] = rows.loc[[last, middle], column].to_numpy()
    rows.loc[tuned, "seconds"] = 100.0


def many_comparisons(draft: Draft) -> None:
    """Add methods like the baseline, one of which differs from it by luck, at 0.05 and no more."""
    rows = draft.rows
    base = rows[rows["method"] == "baseline"]
    generator = np.random.default_rng(1)
    for i in range(4):
        copy = base.assign(method=f"variant {i}")
        reported = copy["role"] == "report"
        shift = 2e-4 if i == 0 else 0.0
        pattern = np.array([1.0, -1.0, 0.5, -0.5, 0.2, -0.2]) * 2e-4
        copy.loc[reported, "score"] += shift + generator.permutation(pattern)
        if i:
            copy["score"] += 1e-9 * i
            copy["validation"] = copy["score"].where(~reported)
        copy.loc[reported, "accuracy"] = np.nan
        for _, row in copy.iterrows():
            rows.loc[len(rows)] = row


def nothing_timed(draft: Draft) -> None:
    facts = draft.facts
    facts["timed steps"] = 0


def simulated(draft: Draft) -> None:
    facts = draft.facts
    facts["derivative mode"] = "simulated"


def not_waited_for(draft: Draft) -> None:
    facts = draft.facts
    facts["synchronised timing"] = 0


def progress_as_speed(draft: Draft) -> None:
    facts = draft.facts
    facts["time-to-loss ratio"] = 0.2


PLANTED: tuple[tuple[str, Change, str], ...] = (
    ("budget", fewer_trials, "16 trials for new, 8 trials for baseline"),
    ("budget", longer_trials, "epochs of search"),
    ("budget", restarted_with_its_seed, "new: 3 of 16 trials repeat the settings of another"),
    ("space", narrower_range, "lr searched over"),
    ("space", other_sampler, "sampler: grid for new"),
    ("space", a_dimension_more, "momentum searched for new and fixed for baseline"),
    ("edge", winner_at_the_edge, "at the upper bound"),
    ("edge", binding_bound, "the bound binds"),
    ("baseline", untuned_baseline, "lr of baseline"),
    ("winner", another_value, "used"),
    ("horizon", short_trials, "trials of 20 epochs, reported runs of 100"),
    ("selection", declared_test, "scored on the test split"),
    ("selection", score_is_test, "equal the test column"),
    ("selection", two_metrics, "loss for new, error for baseline"),
    ("objective", best_reported, "the last evaluation selects, the best is reported"),
    ("objective", past_the_optimum, "10 evaluations past the optimum"),
    ("metric", sixteen_examples, "16 of 10000 examples"),
    ("metric", last_batch_curve, "of itself from one evaluation to the next"),
    ("metric", last_batch_accuracy, "multiples of 1/16"),
    ("learned", nothing_learned, "guessing gives 2.303"),
    ("settings", other_loss, "clamped for new, nll for baseline"),
    ("settings", clip_of_one, "clip: none for new, 1 for baseline"),
    ("transfer", clip_of_one_in_the_search, "new: clip: none in the search, 1 in the runs"),
    ("transfer", clipped_later, "clip: 5 in the search, 1 in the runs"),
    ("stated", typed_number, "published 0.11, printed 0.1202"),
    ("stated", other_text, "clip: none in the text, 1 in the code"),
    ("seeds", tuning_seed_reported, "seed report 0 in trials and reported runs"),
    ("repetitions", three_seeds, "3 repetitions, smallest two-sided p 0.25"),
    ("repetitions", equal_repetitions, "equal another to the last digit"),
    ("repetitions", simulated_seeds, "1 seed(s) drawn"),
    ("interval", normal_interval, "1.96 standard errors for n=6, Student's t has 2.57"),
    ("divergence", most_diverge, "10 of 16 trials of new"),
    ("divergence", reported_divergence, "1 of 6 reported runs"),
    ("survivors", survivors_only, "2 of 16 trial numbers are missing"),
    ("survivors", missing_repetition, "no reported run with seed report 6"),
    ("rank", late_lead, "from trial 16 of 16"),
    ("rank", slower_winner, "s of trials each"),
    ("multiplicity", many_comparisons, "Holm"),
    ("cost", nothing_timed, "nothing was timed"),
    ("cost", simulated, "simulated"),
    ("cost", not_waited_for, "without waiting"),
    ("cost", progress_as_speed, "0.4 in the number of steps"),
)


@pytest.mark.parametrize(
    ("to_loss", "step", "status", "text"),
    [
        (1e-308, 1e308, "fail", "times less than 5e-324 in the number of steps"),
        (1e308, 1e-308, "fail", "times more than 1.8e308 in the number of steps"),
        (5e-324, 5e-324, "pass", "rests on synchronised timings; time-to-loss ratio 4.94e-324 is"),
        (1e308, 1e308, "pass", "per step times 1 in"),
    ],
)
def test_ratios_of_any_size_are_compared(
    to_loss: float, step: float, status: str, text: str
) -> None:
    def extreme(draft: Draft) -> None:
        draft.facts |= {"time-to-loss ratio": to_loss, "step-time ratio": step}

    finding = judge(RULES["cost"], study(extreme))
    assert finding.status == status
    assert text in finding.text
    report.to_json([report.audit(study(extreme))])  # whose numbers are finite


def test_repetitions_that_may_end_alike_are_no_copies() -> None:
    rows = fair_rows()
    same = (rows["method"] == "new") & (rows["role"] == "report")
    rows.loc[same, "score"] = rows.loc[same, "score"].iloc[0]
    evidence = Evidence("x", "foreign", METHODS, (), runs_frame(rows))
    told = (Fact("x", "repetitions", float(SEEDS), "rows"),)
    drawn, exact = (
        next(
            f.status
            for f in report.audit(dataclasses.replace(evidence, facts=facts)).findings
            if f.rule.name == "repetitions"
        )
        for facts in (told, (*told, Fact("x", "equal ends", 1.0, "rows", "new")))
    )
    assert (drawn, exact) == ("fail", "pass")


def test_differences_of_runs_without_seeds_are_tested_too() -> None:
    rows = runs_frame(fair_rows())
    with_seeds = Evidence("x", "foreign", METHODS, (), rows)
    without = dataclasses.replace(with_seeds, runs=runs_frame(rows.assign(seed="")))
    paired, apart = (
        next(f for f in report.audit(e).findings if f.rule.name == "multiplicity")
        for e in (with_seeds, without)
    )
    assert (paired.status, apart.status) == ("pass", "pass")
    reported = [without.rows("report", m)["score"] for m in METHODS]
    p = ttest_ind(*reported, equal_var=False).pvalue
    assert apart.parts[0].values["new against baseline, Holm"] == pytest.approx(p, abs=0)
    assert paired.parts[0].values["new against baseline, Holm"] != pytest.approx(p, abs=0)


OF_ALL_BUT_ONE: tuple[tuple[str, dict[str, float | str]], ...] = (
    ("space", {"searched from lr": 1e-6, "searched to lr": 10, "scale of lr": "log"}),
    ("space", {"sampler": "random"}),
    ("edge", {"searched from lr": 1e-6, "searched to lr": 10, "scale of lr": "log", "best lr": 1e-3}),
    ("baseline", {"origin of lr": "search"}),
    ("winner", {"best lr": 0.1, "used lr": 0.1}),
    ("horizon", {"trial steps": 10, "reported steps": 10}),
    ("selection", {"selection split": "validation"}),
    ("objective", {"selection moment": "last", "reported moment": "last"}),
    ("metric", {"reported examples": 10_000, "reported split size": 10_000}),
    ("learned", {"final loss": 0.1, "chance loss": 2.3}),
    ("learned", {"best search score": 0.1, "chance loss": 2.3}),
    ("settings", {"ran with loss": "nll"}),
    ("transfer", {"ran with loss": "nll", "tuned with loss": "nll"}),
    ("stated", {"ran with loss": "nll", "stated loss": "nll"}),
    ("interval", {"interval multiplier": 2.5706, "repetitions": 6}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "told"), OF_ALL_BUT_ONE, ids=[f"{n}-{next(iter(t))}" for n, t in OF_ALL_BUT_ONE]
)
def test_a_method_of_which_nothing_is_known_keeps_a_rule_from_passing(
    name: str, told: dict[str, float | str]
) -> None:
    def found(*methods: str) -> tuple[str, str]:
        facts = tuple(say(q, v, m) for m in methods for q, v in told.items())
        evidence = Evidence("x", "paper", ("a", "b", "c"), facts)
        (finding,) = (f for f in report.audit(evidence).findings if f.rule.name == name)
        assert not any(
            "for all" in p.text or "every method" in p.text
            for p in finding.parts
            if "c" not in methods
        )
        return finding.status, finding.text

    status, text = found("a", "b")
    assert status == "unknown"
    assert "c: " in text
    if name != "space" or "sampler" not in told:  # of a sampler alone there is nothing to pass
        assert found("a", "b", "c")[0] == "pass"


def test_a_setting_that_one_method_has_from_a_search_is_not_unknown_of_it() -> None:
    facts = (
        say("ran with beta1", 0.9, "b"),
        say("ran with beta1", 0.9, "c"),
        say("used beta1", 0.8, "a"),
    )
    finding = judge(RULES["settings"], Evidence("x", "paper", ("a", "b", "c"), facts))
    assert (finding.status, finding.text) == ("pass", "beta1: 0.9 for b, c")


def test_a_method_without_rows_keeps_rules_from_passing() -> None:
    rows = runs_frame(fair_rows())
    without = Evidence("x", "foreign", (*METHODS, "absent"), (), rows)
    found = {f.rule.name: f for f in report.audit(without).findings}
    complete = report.audit(dataclasses.replace(without, methods=METHODS)).findings
    for name in ("seeds", "divergence", "rank", "multiplicity"):
        assert {f.status for f in complete if f.rule.name == name} == {"pass"}
        assert found[name].status == "unknown"
        assert "absent: " in found[name].text
    assert found["survivors"].status == "fail"  # its repetitions are missing


@pytest.mark.parametrize(
    ("seeds", "spoken"),
    [
        ({"a": range(6), "b": range(6)}, {}),
        # no test is paired, and no run is missing
        ({"a": range(6), "b": range(100, 106)}, {"a": "warn: no seed in common", "b": "warn: no seed in common"}),
        ({"a": range(6), "b": range(6), "c": range(100, 106)}, {"c": "warn: no seed in common"}),
        ({"a": range(6), "b": range(5)}, {"b": "fail: no reported run with seed 5, which"}),
        ({"a": range(6), "b": range(100, 103)}, {"a": "warn: no seed in common", "b": "fail: 3 reported runs, but 6 of a"}),
        ({"a": range(6), "b": ()}, {"b": "fail: 0 reported runs, but 6 of a"}),
        ({"a": range(6), "b": (0, 1, 2, 3, 4, 7)}, {"a": "fail: with seed 7, which", "b": "fail: with seed 5, which"}),
    ],
)  # fmt: skip
def test_a_repetition_is_missing_where_seeds_are_shared_and_unpaired_where_they_are_not(
    seeds: dict[str, Iterable[int]], spoken: dict[str, str]
) -> None:
    rows = [
        {"method": method, "role": "report", "seed": f"{seed}", "score": 0.1 + 0.01 * seed}
        for method, own in seeds.items()
        for seed in own
    ]
    evidence = Evidence("x", "foreign", tuple(seeds), (), runs_frame(rows))
    found = {p.method: p for p in RULES["survivors"].look(evidence)}
    assert found.keys() == spoken.keys()
    for method, part in found.items():
        status, _, text = spoken[method].partition(": ")
        assert part.status == status
        assert text in part.text


@pytest.mark.parametrize("limit", [math.nan, 1e9])
@pytest.mark.parametrize("paired", [True, False])
def test_what_diverged_is_worse_than_anything_in_a_test(paired: bool, limit: float) -> None:
    """Four of the six runs of `a` diverged, and the two that are left are better than all of `b`."""
    scores = {"a": [0.50, 0.51, *[limit] * 4], "b": [0.60, 0.61, 0.605, 0.604, 0.612, 0.6]}
    rows = runs_frame(
        [
            {
                "method": method, "role": "report", "score": score, "seed": f"{i}" if paired else f"{method}{i}",
                "status": "diverged" if method == "a" and i >= 2 else "done",
            }
            for method, own in scores.items()
            for i, score in enumerate(own)
        ]
    )  # fmt: skip
    (part,) = RULES["multiplicity"].look(Evidence("x", "foreign", ("a", "b"), (), rows))
    assert part.text == "0 of 1 differences significant, with and without correction"
    p = part.values["a against b, Holm"]
    if paired:
        assert part.sources == (
            "t tests, paired where seeds are the same",
            "rank tests where a run diverged",
        )
        # with ranks 1 and 2 for `a` and four for `b`: of the 64 choices of signs, 4 are as extreme on one side
        assert p == 2 * 4 / 64
    else:
        assert float(p) > 0.05


@pytest.mark.parametrize("num", [2, 5, 6, 10])
def test_signed_ranks_are_those_of_any_score_that_is_worse_than_all(num: int) -> None:
    x, y = np.random.default_rng(num).normal(size=(2, num))
    worst = x.copy()
    x[0], worst[0] = math.inf, 100.0
    expected = wilcoxon(worst - y, method="exact").pvalue
    assert differences.paired(x, y) == pytest.approx(expected, rel=1e-12)
    assert differences.paired(y, x) == pytest.approx(expected, rel=1e-12)
    assert differences.paired(x, x) == 1.0


def test_a_method_that_always_diverges_differs_from_one_that_never_does() -> None:
    def spoken(b: float) -> str:
        rows = runs_frame(
            [
                {"method": m, "role": "report", "score": score + i / 100, "seed": f"{m}{i}"}
                for m, score in (("a", math.inf), ("b", b))
                for i in range(6)
            ]
        )
        (part,) = RULES["multiplicity"].look(Evidence("x", "foreign", ("a", "b"), (), rows))
        return part.text

    assert spoken(0.1).startswith("1 of 1 differences significant")
    assert spoken(math.inf).startswith("0 of 1 differences significant")


@pytest.mark.parametrize(
    ("name", "change", "text"), PLANTED, ids=[c.__name__ for _, c, _ in PLANTED]
)
def test_a_planted_fault_is_found_by_its_rule_alone(name: str, change: Change, text: str) -> None:
    findings = report.audit(study(change)).findings
    spoken = {f.rule.name: f.text for f in findings if f.status in ("warn", "fail")}
    assert list(spoken) == [name], spoken
    assert text in spoken[name]


def test_a_setting_that_nobody_wrote_down_is_unknown_and_no_difference() -> None:
    def unrecorded(draft: Draft) -> None:
        draft.rows.loc[draft.rows["role"] == "tune", "setting clip"] = np.nan

    def blank_texts(draft: Draft) -> None:
        draft.rows["setting schedule"] = np.where(draft.rows["method"] == "new", "", "cosine")

    findings = {f.rule.name: f for f in report.audit(study(unrecorded)).findings}
    assert findings["settings"].status == "pass"
    assert findings["transfer"].status == "unknown"
    assert "tuned with clip of new: not in the evidence" in findings["transfer"].text
    findings = {f.rule.name: f for f in report.audit(study(blank_texts)).findings}
    assert findings["settings"].text == "schedule: none for new, cosine for baseline"


def spoken_of_trials(rates_of_b: list[float]) -> dict[str, str]:
    """Return what warns or fails of four trials of `a`, and of trials of `b` at some rates; nothing was reported."""
    rows = pd.DataFrame(
        {
            "method": ["a"] * 4 + ["b"] * len(rates_of_b),
            "score": [0.4, 0.1, 0.2, 0.3, *(0.3 + 0.01 * i for i in range(len(rates_of_b)))],
            "param lr": [0.001, 0.01, 0.1, 1.0, *rates_of_b],
        }
    )
    findings = report.audit(from_rows(rows, {}, "x")).findings
    return {f.rule.name: f.text for f in findings if f.status in ("warn", "fail")}


def test_a_rate_searched_for_one_method_and_fixed_for_another_is_seen_in_trials_alone() -> None:
    spoken = spoken_of_trials([0.1] * 4)
    assert spoken["space"] == "lr searched for a and fixed for b"
    assert spoken["baseline"] == "lr of b: no search, 4 trials at one setting"
    assert not {"space", "baseline"} & set(spoken_of_trials([0.001, 0.01, 0.1, 1.0]))


def test_one_trial_is_no_search() -> None:
    spoken = spoken_of_trials([0.1])
    assert spoken["baseline"] == "lr of b: no search, one trial"
    assert "space" not in spoken
    findings = {f.rule.name: f for f in report.audit(study(one_trial_of_the_baseline)).findings}
    assert findings["baseline"].status == "fail"
    assert findings["baseline"].text == "lr of baseline (0.01433): no search, one trial"


def test_one_given_rate_is_shared_and_untuned() -> None:
    findings = report.audit(study(one_rate_for_all)).findings
    spoken = {f.rule.name for f in findings if f.status in ("warn", "fail")}
    assert spoken == {"baseline", "shared"}  # the one value for all is found apart from its origin


def test_methods_that_end_at_one_score_are_tied() -> None:
    def spoken(b: list[float], seconds: float) -> tuple[str, str]:
        scores = {"a": [9.0, 5.0, 3.0, 2.0], "b": b}
        rows = runs_frame(
            [
                {"method": m, "number": i, "score": score, "seconds": 1.0 if m == "a" else seconds}
                for m, own in scores.items()
                for i, score in enumerate(own)
            ]
        )
        finding = judge(RULES["rank"], Evidence("x", "foreign", ("a", "b"), (), rows))
        return finding.status, finding.parts[0].text

    assert spoken([9.0, 5.0, 3.0, 2.0], math.nan) == ("pass", "a and b are tied after 4 trials")
    # no order that could turn, neither late nor at equal time
    assert spoken([8.0, 6.0, 3.0, 2.0], 9.0) == ("pass", "a and b are tied after 4 trials")
    for b, trial, status in (([9.5, 5.5, 2.5, 1.0], 3, "warn"), ([9.5, 4.0, 2.5, 1.0], 2, "pass")):
        text = f"b is ahead of a from trial {trial} of 4 on"
        assert spoken(b, math.nan) == (status, text)


@pytest.mark.parametrize(("size", "status"), [(30.0, "pass"), (10_000.0, "fail"), (None, "fail")])
def test_accuracies_of_a_small_split_have_its_denominator(size: float | None, status: str) -> None:
    """Thirtieths are all that a split of 30 can give, and a slip where it is larger, or nobody knows."""
    right = np.array([20, 23, 29, 21, 27, 25, 28, 22, 26, 24])
    rows = runs_frame(
        [
            {"method": m, "role": "report", "seed": f"{i}", "accuracy": n / 30}
            for m in METHODS
            for i, n in enumerate(right)
        ]
    )
    told = (
        () if size is None else (say("reported examples", size), say("reported split size", size))
    )
    (traces,) = {
        p.status
        for p in RULES["metric"].look(Evidence("x", "foreign", METHODS, told, rows))
        if "accuracy" in p.text
    }
    assert traces == status


@pytest.mark.parametrize(
    ("momentum", "used", "reported", "spoken"),
    [
        # an ordinary setting, of which nobody says that it was searched
        ((0.9, 0.9), (0.9, 0.9), True, {"shared": "warn: momentum = 0.9 for every method, one value in all trials"}),
        ((0.9, 0.0), (0.9, 0.0), True, {"baseline": "warn: momentum was not searched and differs: 0.9 for new, 0 for baseline"}),
        ((0.9, 0.9), (0.9, 0.5), True, {"baseline": "fail: momentum of baseline (0.5): no search, 0.9 in all trials"}),
        ((0.9, 0.9), (0.9, 0.9), False, {}),
        ((0.9, 0.0), (0.9, 0.0), False, {"baseline": "warn: momentum was not searched and differs: 0.9 for new, 0 for baseline"}),
    ],
)  # fmt: skip
def test_a_hyperparameter_that_a_search_left_alone_is_a_setting_and_no_result(
    momentum: tuple[float, float],
    used: tuple[float, float],
    reported: bool,
    spoken: dict[str, str],
) -> None:
    rows = fair_rows()
    for values, role in ((momentum, "tune"), (used, "report")):
        for method, value in zip(METHODS, values, strict=True):
            rows.loc[of(rows, method, role), "param momentum"] = value
    if not reported:
        rows = rows[rows["role"] == "tune"]
    evidence = from_rows(rows, {}, "x", unit="epochs")
    asked = {n: judge(RULES[n], evidence) for n in ("baseline", "shared", "space", "winner")}
    told = {n: f"{f.status}: {f.text}" for n, f in asked.items() if f.status in ("warn", "fail")}
    assert told.keys() == spoken.keys()
    assert all(told[name].startswith(text) for name, text in spoken.items())
    # the rate was searched, the momentum was not, and nothing says so
    every = [p.text for f in asked.values() for p in f.parts]
    assert "lr comes from a search" in every
    assert "momentum comes from a search" not in every
    if momentum == (0.9, 0.9) == used:
        assert "momentum is a setting: 0.9 in all trials of new, baseline" in every


def test_every_rule_is_planted() -> None:
    assert {name for name, _, _ in PLANTED} | {"shared"} == set(RULES)


def test_a_better_baseline_is_no_fault() -> None:
    rows = fair_rows()
    rows["method"] = rows["method"].map({"new": "baseline", "baseline": "new"})
    told = tuple(say(q, v) for q, v in FACTS.items())
    evidence = dataclasses.replace(
        from_rows(rows, {}, "synthetic", unit="epochs", facts=told), curves=fair_curves()
    )
    assert {f.status for f in report.audit(evidence).findings} == {"pass"}


@pytest.mark.parametrize("name", RULES)
def test_no_evidence_is_unknown_and_never_a_fault(name: str) -> None:
    empty = Evidence("nothing", "foreign", METHODS, ())
    (finding,) = (f for f in report.audit(empty).findings if f.rule.name == name)
    assert finding.status == "unknown"
    assert "evidence" in finding.text


@pytest.mark.parametrize("rule", RULES.values(), ids=list(RULES))
def test_a_rule_says_what_it_asks_why_after_whom_and_how_to_mend(rule: Any) -> None:
    assert rule.question.endswith("?")
    for text in (rule.threshold, rule.why, rule.source, rule.mend, rule.needs):
        assert len(text) > 5
    assert "warn" in rule.threshold or "fail" in rule.threshold
    assert rule.look.__doc__


def test_quantities_are_explained() -> None:
    assert all(text for text in QUANTITIES.values())


@pytest.mark.parametrize("num", [2, 6])
def test_a_difference_without_scatter_is_worth_its_signs(num: int) -> None:
    x = np.linspace(0.91, 0.96, num, dtype=np.float64)
    assert differences.paired(x, x + 0.02) == 2.0 ** (1 - num)
    assert differences.paired(x, x + 1e-16) == 1.0


def test_a_search_of_which_every_trial_diverged_left_nothing() -> None:
    rows = runs_frame(
        [
            {"method": m, "role": "tune", "number": n, "status": "diverged", "score": math.nan}
            for m in ("a", "b")
            for n in range(6)
        ]
    )
    (part,) = RULES["divergence"].look(Evidence("x", "foreign", ("a", "b"), (), rows))
    assert part.status == "warn"
    assert "6 of 6 trials of a diverged or failed, 6 of 6 trials of b" in part.text


def test_settings_of_a_search_without_reported_runs_are_those_of_its_trials() -> None:
    rows = runs_frame(
        [
            {"method": m, "role": "tune", "number": n, "score": 0.1 * n, "setting batch": batch}
            for m, batch in (("a", 32.0), ("b", 1024.0))
            for n in range(6)
        ]
    )
    facts = count(rows, {}, "rows")
    parts = RULES["settings"].look(Evidence("x", "foreign", ("a", "b"), facts, rows))
    assert [(p.status, p.text) for p in parts] == [("fail", "batch: 32 for a, 1024 for b")]


Told = float | str | tuple[float | str, float | str]
LR: dict[str, Told] = {"searched from lr": 1e-5, "searched to lr": 1e5, "scale of lr": "log"}
RATE: dict[str, Told] = {"searched from p": 0.0, "searched to p": 1.0, "scale of p": "linear"}
EPOCHS: dict[str, Told] = {"trials": 16, "search epochs": 320}
COST: dict[str, Told] = {"claim of cost": "half", "synchronised timing": 1, "step-time ratio": 0.5}
AT_THE_THRESHOLD: tuple[tuple[str, dict[str, Told], str], ...] = (
    ("budget", {**EPOCHS, "trials": (20, 16)}, "warn"),
    ("budget", {**EPOCHS, "trials": (21, 16)}, "fail"),
    ("budget", {**EPOCHS, "earlier trials": (4, 0)}, "warn"),
    ("budget", {**EPOCHS, "earlier trials": (5, 0)}, "fail"),
    ("budget", {**EPOCHS, "search epochs": (400, 320)}, "pass"),
    ("budget", {**EPOCHS, "search epochs": (401, 320)}, "warn"),
    ("budget", {**EPOCHS, "search epochs": (641, 320)}, "fail"),
    ("budget", {**EPOCHS, "search steps": (9000, 320)}, "warn"),  # of smaller mini-batches
    ("budget", {"trials": 16, "search steps": (641, 320)}, "fail"),
    ("budget", {**EPOCHS, "trials": 20, "repeated trials": (2, 0)}, "pass"),
    ("budget", {**EPOCHS, "trials": 20, "repeated trials": (3, 0)}, "warn"),
    ("space", {**LR, "trials": 20, "tried values of lr": (20, 10)}, "pass"),
    ("space", {**LR, "trials": 21, "tried values of lr": (21, 10)}, "warn"),
    ("space", {**LR, "trials": (50, 5), "tried values of lr": 5}, "pass"),
    ("space", {**LR, "trials": (50, 5), "tried values of lr": (50, 5)}, "pass"),
    ("edge", {**LR, "best lr": (1.03e-4, 0.97e4)}, "pass"),
    ("edge", {**LR, "best lr": (0.97e-4, 1.0)}, "fail"),
    ("edge", {**LR, "best lr": (1.0, 1.03e4)}, "fail"),
    ("edge", {**RATE, "best p": (0.1, 0.9)}, "pass"),
    ("edge", {**RATE, "best p": (0.5, 0.91)}, "warn"),
    ("edge", {**RATE, "best p": (0.09, 0.5)}, "warn"),
    ("edge", {**RATE, "best p": 0.0}, "pass"),  # nothing lies beyond it
    ("edge", {**LR, "best lr": 1.0, "known better lr": 1e5}, "pass"),
    ("edge", {**LR, "best lr": 1.0, "known better lr": 1.1e5}, "fail"),
    ("winner", {"best lr": 1.0, "used lr": 1.02}, "pass"),
    ("winner", {"best lr": 1.0, "used lr": 1.021}, "fail"),
    ("horizon", {"trial epochs": 90, "reported epochs": 100}, "pass"),
    ("horizon", {"trial epochs": 89, "reported epochs": 100}, "warn"),
    ("shared", {"used lr": 0.1, "origin of lr": "no search"}, "fail"),
    ("shared", {"used lr": (0.1, 0.2), "origin of lr": "no search"}, "pass"),
    ("shared", {"used lr": 0.1, "origin of lr": ("search", "no search")}, "pass"),
    ("selection", {"selection split": "train"}, "warn"),
    ("selection", {"selection split": "validation", "reported split": "validation"}, "warn"),
    ("selection", {"selection split": "validation", "searches made again after a test result": (0, 1)}, "fail"),
    ("metric", {"selection examples": 100, "selection split size": 100}, "pass"),
    ("metric", {"selection examples": (100, 99), "selection split size": 100}, "warn"),
    ("metric", {"selection examples": (100, 50), "selection split size": 100}, "warn"),
    ("metric", {"selection examples": (100, 49), "selection split size": 100}, "fail"),
    ("learned", {"final loss": (1.79, 1.0), "chance loss": 2.0}, "pass"),
    ("learned", {"final loss": (1.81, 1.0), "chance loss": 2.0}, "warn"),
    ("settings", {"ran with clip": (1.0, 1.0 + 1e-7)}, "pass"),
    ("settings", {"ran with clip": (1.0, 1.0 + 1e-5)}, "fail"),
    ("settings", {"ran with data order": ("one", "another")}, "warn"),
    ("stated", {"published score": 0.12, "published decimals": 2, "printed score": 0.125}, "pass"),
    ("stated", {"published score": 0.12, "published decimals": 2, "printed score": 0.1251}, "fail"),
    ("repetitions", {"repetitions": (6, 1)}, "fail"),
    ("repetitions", {"repetitions": (2, 5)}, "warn"),
    ("repetitions", {"repetitions": 6, "independent seeds": 6}, "pass"),
    ("repetitions", {"repetitions": 6, "independent seeds": (6, 5)}, "warn"),
    ("interval", {"repetitions": 6, "interval multiplier": 2.35}, "pass"),  # t has 2.571
    ("interval", {"repetitions": 6, "interval multiplier": 2.32}, "warn"),
    ("interval", {"repetitions": 6, "interval multiplier": 2.06}, "warn"),
    ("interval", {"repetitions": 6, "interval multiplier": 2.05}, "fail"),
    ("cost", {**COST, "time-to-loss ratio": 0.549}, "pass"),
    ("cost", {**COST, "time-to-loss ratio": 0.551}, "fail"),
    ("cost", {**COST, "time-to-loss ratio": 0.456}, "pass"),
    ("cost", {**COST, "time-to-loss ratio": 0.454}, "fail"),
    ("cost", {**COST, "timed engine": ("one", "another")}, "warn"),
    ("cost", {"claim of cost": "half", "timed steps": 300}, "warn"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "told", "status"), AT_THE_THRESHOLD)
def test_a_rule_turns_at_the_threshold_that_it_states(
    name: str, told: dict[str, Told], status: str
) -> None:
    facts = [
        say(quantity, value, method)
        for quantity, values in told.items()
        for method, value in (
            zip("ab", values, strict=True) if isinstance(values, tuple) else [("", values)]
        )
    ]
    assert judge(RULES[name], Evidence("x", "paper", ("a", "b"), tuple(facts))).status == status


@pytest.mark.parametrize(("left", "status"), [(5, "pass"), (4, "warn")])
def test_a_search_that_lost_more_than_half_of_its_trials_is_told(left: int, status: str) -> None:
    rows = runs_frame(
        [
            {"method": m, "role": "tune", "score": 0.1, "status": "done" if n < well else "failed"}
            for m, well in (("a", 10), ("b", left))
            for n in range(10)
        ]
    )
    finding = judge(RULES["divergence"], Evidence("x", "foreign", ("a", "b"), (), rows))
    assert finding.status == status

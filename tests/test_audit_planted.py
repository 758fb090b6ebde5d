"""A fair study passes every rule; of one change each, exactly the rule meant for it speaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from fair import (
    FACTS,
    METHODS,
    TRIALS,
    Change,
    Draft,
    fair_curves,
    fair_rows,
    loss,
    of,
    rate_of_best,
    say,
    study,
)

from repro.audit import report
from repro.audit.rules import RULES
from repro.audit.trials import from_rows
from repro.protocol import Fact


def test_a_fair_study_passes_every_rule() -> None:
    findings = report.audit(study()).findings
    assert {f.rule.name: (f.status, f.text) for f in findings if f.status != "pass"} == {}
    assert len(findings) == len(RULES) >= 20


def fewer_trials(draft: Draft) -> None:
    """Give the baseline every second rate, the ends and its best among them."""
    rows = draft.rows
    by_rate = rows[of(rows, "baseline", "tune")].sort_values("param lr").index
    draft.rows = rows.drop(index=by_rate[[1, 3, 5, 7, 8, 10, 12, 14]])
    kept = of(draft.rows, "baseline", "tune")
    draft.rows.loc[kept, "number"] = np.arange(float(kept.sum()))


def longer_trials(draft: Draft) -> None:
    rows = draft.rows
    # reported runs as long as that would be a second fault
    rows.loc[of(rows, "new", "tune"), "length"] = 60.0


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
    ("name", "change", "text"), PLANTED, ids=[c.__name__ for _, c, _ in PLANTED]
)
def test_a_planted_fault_is_found_by_its_rule_alone(name: str, change: Change, text: str) -> None:
    findings = report.audit(study(change)).findings
    spoken = {f.rule.name: f.text for f in findings if f.status in ("warn", "fail")}
    assert list(spoken) == [name], spoken
    assert text in spoken[name]


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

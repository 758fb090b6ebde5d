"""The study `speed` and its measures: shares, ratios and bars against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import pandas as pd
import pytest

import studies
from repro.measures import bars, speed
from repro.protocol import SCALES, Classification, Method, RunSpec, Timing, settings, use
from repro.results import Curve, EmptySelectionError, Record, Results, tabulate, tabulate_facts

BP, FG = "backpropagation", "forward gradient"
UNAVOIDABLE = {
    f"products of {BP}": 5.0,
    f"memory passes of {BP}, SGD": 1.0,
    f"products of {FG}": 4.0,
    f"random numbers of {FG}": 4.0,
    f"memory passes of {FG}, SGD": 1.0,
}
TIMES = {f"{BP}, SGD": 8.0, f"{FG}, SGD": 10.0, f"plain {BP}, SGD": 10.0, f"plain {FG}, SGD": 40.0}


def rows(experiment: str, seconds: Mapping[str, Sequence[float]]) -> list[Record]:
    """Timing runs of an experiment, with the seconds of their rounds."""
    problem = Classification("p", "digits", use("mlp"), 8, "unit", 10)
    task = Timing(3, 0, "cpu", 1, memory=False)
    return [
        Record(
            RunSpec(
                "speed", "steps", "full", experiment, "report", problem,
                Method(name, use("backpropagation"), use("sgd")), settings(learning_rate=0.1), 0, task,
            ),
            "done",
            {"device": "a cpu", "num_threads": 1},
            (Curve("none", "step_seconds", tuple(range(len(values))), tuple(values)),),
        )
        for name, values in seconds.items()
    ]  # fmt: skip


def results(*records: Record) -> Results:
    return Results(*tabulate(records), pd.DataFrame())


DRIFT = (1.0, 1.05, 1.06, 1.08, 1.1, 1.2, 1.3, 1.4, 1.5)


def steady(times: Mapping[str, float]) -> dict[str, list[float]]:
    """Rounds on a machine that slows down: ratios within a round stay what they are."""
    return {name: [value * 1e-3 * drift for drift in DRIFT] for name, value in times.items()}


def by_method(found: Sequence[speed.Speed]) -> dict[str, speed.Speed]:
    return {one.method: one for one in found}


def test_speeds_are_ratios_within_a_round() -> None:
    everything = results(*rows("steps-mlp", steady({**TIMES, **UNAVOIDABLE})))
    found = by_method(speed.speeds(everything, "steps-mlp"))
    assert list(found) == [f"{BP}, SGD", f"{FG}, SGD", f"plain {BP}, SGD", f"plain {FG}, SGD"]
    back, forward, plain = (
        found[name] for name in (f"{BP}, SGD", f"{FG}, SGD", f"plain {FG}, SGD")
    )
    rate = back.steps_per_second
    assert rate.median == pytest.approx(1 / (8e-3 * 1.1))
    assert rate.low < rate.median < rate.high
    expected = {
        (back, "limit"): 6 / 8, (back, "overhead"): 8 / 5, (back, "over_plain"): 0.8,
        (forward, "limit"): 0.9, (forward, "overhead"): 1.25,
        (forward, "over_plain"): 0.25, (forward, "over_backpropagation"): 1.25,
        (plain, "limit"): 9 / 40, (plain, "over_backpropagation"): 4.0,
    }  # fmt: skip
    for (of, quantity), value in expected.items():
        spread = getattr(of, quantity)
        assert (spread.median, spread.low, spread.high) == pytest.approx((value, value, value))
        assert spread.num == len(DRIFT)
    assert plain.over_plain is None
    assert back.over_backpropagation is None
    assert (forward.estimator, forward.optimizer, plain.estimator) == (FG, "SGD", FG)
    assert (back.device, back.scale, back.num_threads) == ("a cpu", "full", 1)


def test_quartiles_are_over_rounds() -> None:
    seconds = {f"{BP}, SGD": [1.0, 2.0, 3.0, 4.0, 5.0], f"plain {BP}, SGD": [1.0] * 5}
    (back, _) = speed.speeds(results(*rows("steps-mlp", seconds)), "steps-mlp")
    assert back.over_plain == speed.Spread(3.0, 2.0, 4.0, 5, (1.0, 2.0, 3.0, 4.0, 5.0))


def test_what_was_not_timed_beside_a_step_is_missing() -> None:
    (alone,) = speed.speeds(results(*rows("steps-mlp", {f"{FG}, SGD": [1.0]})), "steps-mlp")
    assert alone.limit is alone.overhead is alone.over_plain is alone.over_backpropagation is None
    with pytest.raises(EmptySelectionError):
        speed.speeds(results(), "steps-mlp")


@pytest.mark.parametrize("scale", SCALES)
def test_every_step_of_the_study_is_timed_beside_what_it_cannot_avoid(scale: str) -> None:
    for experiment in studies.get("speed").experiments:
        if experiment.arm == "epochs":
            continue  # beside the seconds of others' code
        if experiment.arm == "formulas":
            assert [method.name.startswith("plain ") for method in experiment.methods] == [
                False,
                True,
            ]
            continue
        timed = {method.name: method for method in experiment.methods}
        task = experiment.plan(scale).task  # type: ignore[arg-type]
        assert isinstance(task, Timing)
        assert task.loop_steps
        steps = [name for name in timed if " of " not in name]
        assert steps
        for name in steps:
            parts = speed.parts(name)
            kinds = [timed[part].estimator.name for part in parts if part in timed]
            if task.processes > 1:
                assert kinds == []  # their turns would be shared, too
                continue
            assert kinds in (
                ["products", "memory_passes"],
                ["products", "random_numbers", "memory_passes"],
            )
            assert timed[parts[-1]].optimizer == timed[name].optimizer
            tangents = timed[name].estimator.options().get("num_tangents", 0)
            assert timed[parts[0]].estimator.options()["num_tangents"] == tangents


def test_the_bars_are_those_of_the_package() -> None:
    assert [(bar.bound, bar.at_least) for bar in bars.BARS] == [
        (1.15, False), (1.0, False), (1.8, False), (200.0, True), (105.0, True), (0.05, False), (0.25, False),
    ]  # fmt: skip


def test_bars_are_met_by_the_worst_method() -> None:
    adam = {
        f"{BP}, Adam": 5.5, f"{FG}, Adam": 11.0, f"plain {BP}, Adam": 5.0,
        f"memory passes of {BP}, Adam": 1.0, f"memory passes of {FG}, Adam": 1.0,
    }  # fmt: skip
    together = {f"{BP}, SGD": 4.0, f"{FG}, SGD": 10.0, f"plain {BP}, SGD": 100.0}
    everything = results(
        *rows("steps-mlp", steady({**TIMES, **UNAVOIDABLE, **adam})),
        *rows("two-processes-mlp", steady(together)),
    )
    found = bars.findings(everything)
    assert [finding.network for finding in found] == [*["mlp"] * 5, "", ""]
    overhead, plain, single, back, forward, *formulas = found
    assert [finding.verdict for finding in formulas] == ["not run", "not run"]
    assert overhead.worst is not None
    assert overhead.worst.method == f"{BP}, SGD"
    assert (overhead.num, overhead.met, overhead.verdict) == (4, 1, "fail")
    assert plain.worst is not None
    assert plain.worst.method == f"{BP}, Adam"
    assert plain.measured is not None
    assert plain.measured.median == pytest.approx(1.1)
    assert (plain.num, plain.met) == (2, 1)
    assert single.measured is not None
    assert single.measured.median == pytest.approx(2.0)
    assert single.verdict == "fail"
    assert back.measured is not None
    assert back.measured.median == pytest.approx(1 / 4.4e-3)
    assert back.verdict == "pass"
    assert forward.measured is not None
    assert forward.measured.median == pytest.approx(1 / 11e-3)
    # 91 steps a second, and in no round more than 100
    assert forward.verdict == "fail"


def test_a_bar_is_met_at_its_bound() -> None:
    times = {f"{BP}, SGD": 2.0, f"plain {BP}, SGD": 2.0}
    found = bars.findings(results(*rows("steps-cnn", steady(times))))
    (plain,) = [finding for finding in found if finding.bar is bars.BARS[1]]
    assert plain.verdict == "pass"
    # without products there is nothing to hold the first bar against
    assert [finding.worst for finding in found].count(None) == len(found) - 1


def test_nothing_timed_meets_no_bar() -> None:
    found = bars.findings(results())
    assert len(found) == len(bars.BARS)
    assert {finding.verdict for finding in found} == {"not run"}


def test_a_hair_on_the_wrong_side_decides_nothing() -> None:
    plain = [1.0] * 7
    for ours, verdict in (
        ([0.97, 0.98, 0.99, 1.01, 1.02, 1.03, 1.04], "undecided"),
        ([1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07], "fail"),
        ([0.97, 0.98, 0.99, 1.0, 1.02, 1.03, 1.04], "pass"),
    ):
        timed = rows("steps-mlp", {f"{BP}, SGD": ours, f"plain {BP}, SGD": plain})
        (finding,) = [f for f in bars.findings(results(*timed)) if f.bar is bars.OVER_PLAIN]
        assert finding.verdict == verdict
    few = rows("steps-mlp", {f"{BP}, SGD": [2.0] * 5, f"plain {BP}, SGD": [1.0] * 5})
    assert bars.findings(results(*few))[1].verdict == "undecided"  # five rounds show nothing


def test_methods_come_by_size() -> None:
    seconds = {
        f"{plain}{FG}{k}, SGD": [1.0] for plain in (speed.PLAIN, "") for k in (" k=16", " k=2", "")
    }
    found = speed.speeds(results(*rows("tangents-mlp", seconds)), "tangents-mlp")
    ours = [f"{FG}, SGD", f"{FG} k=2, SGD", f"{FG} k=16, SGD"]
    assert [one.method for one in found] == [*ours, *(f"plain {name}" for name in ours)]


def test_experiments_come_by_size() -> None:
    runs = [
        record
        for name in ("depth-16-mlp", "depth-2-mlp", "depth-1-mlp", "steps-mlp")
        for record in rows(name, {f"{BP}, SGD": [math.pi]})
    ]
    assert speed.experiments(results(*runs), "depth-") == (
        "depth-1-mlp", "depth-2-mlp", "depth-16-mlp",
    )  # fmt: skip


def test_epochs_stand_beside_the_authors_seconds() -> None:
    study = studies.get("speed")
    seconds = {"epoch of backpropagation": [4.0, 5.0, 6.0], "epoch of projection, k=4": [10.0] * 3}
    found = results(*rows("epoch-mlp", seconds))
    facts = tabulate_facts([study])
    # neither another study's seconds nor another quantity of the same method are theirs
    others = [facts.assign(study="else", value=1.0), facts.assign(quantity="steps", value=2.0)]
    stated = dataclasses.replace(found, facts=pd.concat([facts, *others], ignore_index=True))
    back, projection = speed.epochs(stated)
    assert (back.seconds.median, back.theirs, back.times_faster) == (5.0, 18.0, 3.6)
    assert projection.times_faster == 2.5 < bars.TIMES_FASTER
    assert math.isnan(speed.epochs(found)[0].theirs)
    assert speed.speeds(stated, "epoch-mlp") == ()
    assert speed.epochs(results()) == ()


def test_a_bar_is_missed_by_any_method_and_not_by_the_slowest_alone() -> None:
    plain = {f"plain {BP}, {optimizer}": [1.0] * 8 for optimizer in ("SGD", "Adam")}
    scattered = [0.6, 0.7, 0.8, 1.5, 1.6, 1.7, 1.8, 1.9]
    steady_miss = [1.01, 1.02, 1.03, 1.04, 1.05, 1.06, 1.07, 1.08]
    timed = rows("steps-mlp", {f"{BP}, SGD": scattered, f"{BP}, Adam": steady_miss, **plain})
    (finding,) = [f for f in bars.findings(results(*timed)) if f.bar is bars.OVER_PLAIN]
    assert (finding.num, finding.met, finding.missed, finding.verdict) == (2, 0, 1, "fail")
    assert finding.worst is not None
    assert finding.worst.method == f"{BP}, Adam"  # what the verdict rests on


def test_of_many_equally_fast_methods_one_that_comes_out_behind_misses_no_bar() -> None:
    # seven rounds behind: one in 64 for a single method, but one in 16 for one of four
    behind, ahead = [1.01 + 0.01 * i for i in range(7)], [0.9 + 0.01 * i for i in range(7)]
    names = ("SGD", "Nesterov", "Adam", "RMSprop")
    plain = {f"plain {BP}, {name}": [1.0] * 7 for name in names}
    for num, verdict in ((1, "fail"), (3, "fail"), (4, "undecided")):
        ours = {f"{BP}, {name}": ahead for name in names[:num]} | {f"{BP}, SGD": behind}
        timed = rows("steps-mlp", {**ours, **plain})
        (finding,) = [f for f in bars.findings(results(*timed)) if f.bar is bars.OVER_PLAIN]
        assert (finding.num, finding.met, finding.verdict) == (num, num - 1, verdict)

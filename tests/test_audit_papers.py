"""What the papers state is enough for the rules to find what is unfair in them, and our own rows are held to the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import studies
import studies.facts
from repro.audit import declared, ours, report, standing
from repro.audit.evidence import Evidence
from repro.audit.report import Audited
from repro.audit.rules import RULES
from repro.cli import audit
from repro.measures import report_runs
from repro.protocol import Fact, use
from repro.results import Results, load, tabulate_facts

PAPERS = {
    paper: {
        e.name.split("/")[1]: report.audit(e)
        for e in declared.comparisons(paper, studies.facts.get(paper))
    }
    for paper in studies.facts.names()
}
RIKE = ("nn-sgd", "nn-nesterov", "nn-adam", "cnn-sgd", "cnn-nesterov", "cnn-adam", "cifar-sgd")
NETWORKS = (
    "fc256-mnist", "fc1024-mnist", "fc4096-mnist", "resnet18-mnist", "resnet18-cifar10", "vit-mnist",
    "vit-cifar10",
)  # fmt: skip
ANY = ("warn", "fail")


def texts(audited: Audited, rule: str, statuses: tuple[str, ...] = ANY) -> list[str]:
    """Return what a rule found, each part with its method and where it was read."""
    (finding,) = (f for f in audited.findings if f.rule.name == rule)
    found = [p for p in finding.parts if p.status in statuses]
    assert all(source for p in found for source in p.sources), found
    assert all(p.sources for p in found), found
    return [f"{p.method}: {p.text}" for p in found]


@pytest.mark.parametrize(
    ("paper", "comparison", "rule", "text"),
    [
        *(
            ("baydin2022", setting, rule, text)
            for setting in ("logistic", "mlp-2e-5", "mlp-2e-4")
            for rule, text in (
                ("shared", "learning_rate = "),
                ("shared", "decay = 0.0001 for every method"),
                ("baseline", "learning_rate of backpropagation, forward gradient"),
            )
        ),
        ("baydin2022", "mlp-2e-4", "cost", "0.229 is 0.598 per step times 0.383 in the number"),
        ("baydin2022", "mlp-2e-4", "cost", "operator overloading"),
        ("baydin2022", "mlp-2e-4", "repetitions", "5 repetitions"),
        ("baydin2022", "mlp-2e-5", "learned", "backpropagation ends at 2.21, forward gradient"),
        *(("rike2022", row, "metric", "a reported score is a mean over 16 of 10000") for row in RIKE),
        *(
            ("rike2022", row, "metric", "a trial's score is a mean over 16 of 10000")
            for row in ("nn-adam", "cnn-adam")
        ),
        ("rike2022", "nn-sgd", "edge", "backpropagation, SGD: learning_rate = 0.1 in"),  # R2
        ("rike2022", "nn-nesterov", "edge", "backpropagation, Nesterov: learning_rate = 0.1 in"),  # R4
        ("rike2022", "cnn-sgd", "edge", "backpropagation, SGD: learning_rate = 0.1 in"),  # R8
        ("rike2022", "cnn-nesterov", "edge", "backpropagation, Nesterov: learning_rate = 0.1 in"),  # R10
        ("rike2022", "cifar-sgd", "edge", "backpropagation, SGD: learning_rate = 0.01 in"),  # R14
        ("rike2022", "cifar-sgd", "edge", "a better value was seen outside the range: 0.398"),
        *(
            ("rike2022", row, "transfer", "clipped, SGD: clip: none in the search, 1 in the runs")
            for row in ("nn-sgd", "cnn-sgd", "cifar-sgd")
        ),
        ("rike2022", "nn-adam", "transfer", "decay: 0 in the search, 5e-05 in the runs"),
        ("rike2022", "cifar-sgd", "transfer", "decay: 1e-06 in the search, 0.0001 in the runs"),
        ("rike2022", "nn-adam", "winner", "backpropagation, Adam: learning_rate: found 0.001, used 0.0001"),
        ("rike2022", "cnn-nesterov", "winner", "clipped, Nesterov: learning_rate: found 0.001, used 0.0001"),
        ("rike2022", "cnn-nesterov", "winner", "backpropagation, Nesterov: learning_rate: found 0.1, used 0.01"),
        ("rike2022", "nn-adam", "budget", "36 trials for forward gradient, Adam, 4 trials"),
        ("rike2022", "cnn-adam", "budget", "36 trials"),
        ("rike2022", "cnn-sgd", "budget", "12 trials for forward gradient, clipped, SGD, 6 trials"),
        ("rike2022", "cifar-sgd", "budget", "12 trials for forward gradient, clipped, SGD, 4 trials"),
        ("rike2022", "nn-nesterov", "budget", "trials with earlier searches"),
        *(("rike2022", row, "repetitions", "1 repetition, smallest two-sided p 1") for row in RIKE),
        *(("rike2022", row, "seeds", "seed 42 in trials and reported runs") for row in RIKE),
        *(("rike2022", row, "settings", "loss: clamped cross-entropy for") for row in RIKE),
        *(
            ("rike2022", row, "settings", "decay: ")
            for row in ("nn-nesterov", "nn-adam", "cnn-nesterov", "cnn-adam", "cifar-sgd")
        ),
        ("rike2022", "nn-adam", "settings", "epsilon: inside the root"),
        ("rike2022", "nn-adam", "space", "beta1 searched for forward gradient, Adam and fixed for"),
        ("rike2022", "cnn-adam", "space", "random, unseeded for backpropagation, Adam"),
        ("rike2022", "nn-nesterov", "stated", "published 0.270, printed 0.26827"),
        ("rike2022", "nn-nesterov", "stated", "decay: 1e-05 in the text, 1e-06 in the code"),
        ("rike2022", "cifar-sgd", "stated", "published 1.685, printed 1.6836"),
        ("rike2022", "cnn-adam", "stated", "clip: 1 in the text, none in the code"),
        ("rike2022", "cifar-sgd", "learned", "clipped, SGD was selected at 2.302"),
        ("rike2022", "cnn-sgd", "horizon", "trials of 10 epochs, reported runs of 50"),
        ("rike2022", "nn-sgd", "selection", "searched again 1 time(s) after a test result"),
        *(
            ("fluegel2024", setting, rule, text)
            for setting in NETWORKS[3:]
            for rule, text in (
                ("baseline", "learning_rate of backpropagation (0.1): no search"),
                ("winner", "backpropagation: learning_rate: found"),
                ("edge", "projection, k=2: learning_rate in [1e-06, 1]; the bound binds"),
            )
        ),
        ("fluegel2024", "vit-cifar10", "edge", "projection, k=4: learning_rate = 1 in [1e-06, 1]"),
        *(("fluegel2024", net, "seeds", "seed 0 in trials and reported runs (1 of 3") for net in NETWORKS),
        ("fluegel2024", "sphere-64", "seeds", "seed 0 in trials and reported runs (1 of 5"),
        *(("fluegel2024", net, "objective", "the last evaluation, 10 evaluations past") for net in NETWORKS),
        ("fluegel2024", "sphere-64", "objective", "the last evaluation selects, the best is reported"),
        *(("fluegel2024", net, "cost", "whose derivatives were simulated") for net in NETWORKS),
        *(("fluegel2024", net, "cost", "nothing was timed") for net in NETWORKS),
        ("fluegel2024", "approximation", "repetitions", "1000 repetitions claimed, 1 seed(s) drawn"),
        ("fluegel2024", "resnet18-mnist", "settings", "batch-norm updates a step: 1 for backprop"),
        ("fluegel2024", "resnet18-mnist", "horizon", "trials of 50 epochs, reported runs of 200"),
        ("fluegel2024", "rosenbrock-8", "transfer", "patience: 100 in the search, 50 in the runs"),
        ("fluegel2024", "angles-16", "budget", "600 trials for mean, k=16, 100 trials for projection"),
        ("fluegel2024", "angles-64", "transfer", "tangents: normal in the search, at the angle"),
        ("fluegel2024", "fc256-mnist", "interval", "1.96 standard errors for n=3, Student's t has 4.3"),
    ],
)  # fmt: skip
def test_a_problem_of_a_paper_is_found_from_its_facts(
    paper: str, comparison: str, rule: str, text: str
) -> None:
    found = texts(PAPERS[paper][comparison], rule)
    assert any(text in line for line in found), found


@pytest.mark.parametrize(
    ("paper", "comparison", "rule"),
    [
        ("baydin2022", "mlp-2e-4", "learned"),
        ("baydin2022", "logistic", "learned"),
        ("rike2022", "nn-sgd", "budget"),
        ("rike2022", "nn-sgd", "winner"),
        ("rike2022", "nn-nesterov", "transfer"),
        ("rike2022", "cnn-sgd", "stated"),
        ("fluegel2024", "fc256-mnist", "edge"),
        ("fluegel2024", "fc256-mnist", "budget"),
        ("fluegel2024", "fc1024-mnist", "baseline"),
        ("fluegel2024", "vit-mnist", "selection"),
    ],
)
def test_what_a_paper_did_right_passes(paper: str, comparison: str, rule: str) -> None:
    (finding,) = (f for f in PAPERS[paper][comparison].findings if f.rule.name == rule)
    assert finding.status == "pass", finding.text


@pytest.mark.parametrize("comparison", ["nn-sgd", "nn-adam", "cnn-sgd", "cnn-nesterov", "cnn-adam"])
def test_the_last_batch_is_caught_from_the_printed_losses_alone(comparison: str) -> None:
    evidence = PAPERS["rike2022"][comparison].evidence
    silent = dataclasses.replace(evidence, facts=())
    (finding,) = (f for f in report.audit(silent).findings if f.rule.name == "metric")
    assert finding.status == "fail"
    assert "evaluations" in finding.text


def test_the_last_batch_is_caught_in_our_own_replication_and_the_whole_split_passes() -> None:
    results = load(studies.RESULTS)
    runs = results.runs[
        (results.runs["study"] == "rike2022") & (results.runs["experiment"] == "nn-sgd")
    ]
    curves = results.curves.merge(runs[["key", "method", "repetition"]], on="key")
    curves = curves[curves["split"] == "test"].rename(columns={"step": "x"})
    methods = tuple(dict.fromkeys(runs["method"]))
    assert len(methods) == 2
    size = Fact("here", "reported split size", 10_000, "MNIST")
    statuses = {}
    for metric in ("last_batch_loss", "loss", "accuracy"):
        kept = curves[curves["metric"] == metric]
        evidence = Evidence("nn-sgd", "foreign", methods, (size,), curves=kept)
        (finding,) = (f for f in report.audit(evidence).findings if f.rule.name == "metric")
        statuses[metric] = finding.status
    assert statuses["last_batch_loss"] == "fail"
    assert statuses["loss"] == "pass"
    assert statuses["accuracy"] != "fail"


def test_facts_speak_the_audit_s_words() -> None:
    for paper in studies.facts.names():
        told = {f.quantity for f in studies.facts.get(paper) if declared.is_quantity(f.quantity)}
        assert len(told) >= 8
        # a slip in a word that is nearly one of the audit's would make a rule blind
        for fact in studies.facts.get(paper):
            first = fact.quantity.split(" ")[0]
            if first in (
                "tuned",
                "ran",
                "searched",
                "origin",
                "selection",
                "stated",
                "used",
                "best",
            ):
                known = declared.is_quantity(fact.quantity)
                assert known or fact.quantity == "best value", fact


def test_a_fact_of_a_wider_setting_is_inherited_and_of_a_sibling_is_not() -> None:
    facts = (
        Fact("a", "trials", 10, "s", "x", "net-mnist"),
        Fact("a", "trials", 20, "s", "y", "net-mnist"),
        Fact("a", "chance loss", 2.3, "s", setting="net"),
        Fact("a", "repetitions", 3, "s", setting="net-cifar"),
        Fact("a", "something else", 3, "s", "z", "net-mnist"),
    )
    (evidence,) = declared.comparisons("paper", facts)
    assert evidence.name == "paper/net-mnist"
    assert evidence.methods == ("x", "y")
    assert evidence.number("chance loss", "x") == 2.3
    assert evidence.number("repetitions", "x") is None
    assert evidence.number("trials", "y") == 20


@pytest.fixture(scope="module")
def results() -> Results:
    every = [studies.get(name) for name in studies.names()]
    return load(studies.RESULTS, None, tabulate_facts(every))


@pytest.fixture(scope="module")
def own(results: Results) -> list[Audited]:
    return [
        report.audit(evidence)
        for name in studies.names()
        for evidence in ours.comparisons(studies.get(name), results)
    ]


def test_our_own_tuned_comparisons_fail_no_rule_without_a_reason(own: list[Audited]) -> None:
    assert len(own) >= 5
    stands = standing.read_standing(Path("paper/audit.toml"))
    failing = {
        (a.evidence.name, f.rule.name) for a in own for f in a.findings if f.status == "fail"
    }
    assert failing == stands.keys()


def test_our_own_comparisons_answer_every_rule(own: list[Audited]) -> None:
    # a function has no examples, no splits and no guessing, and of a comparison not timed nothing is claimed of time
    of_data = {"selection", "metric", "learned"}
    for audited in own:
        unknown = {f.rule.name for f in audited.findings if f.status == "unknown"}
        # but there is no final loss of a method of which a reported run diverged, which is said in its place
        unknown -= {
            f.rule.name
            for f in audited.findings
            if f.rule.name == "learned"
            and all("reported runs diverged" in p.text for p in f.parts if p.status == "unknown")
        }
        assert not unknown, audited.evidence.name
        spared = {f.rule.name for f in audited.findings if f.status == "not applicable"}
        on_function = "/functions-" in audited.evidence.name or "/angles-" in audited.evidence.name
        assert spared - {"cost"} == (of_data if on_function else set()), audited.evidence.name
        timed = audited.evidence.fact("timed steps") is not None
        assert ("cost" in spared) == (not timed), audited.evidence.name


def test_every_claim_of_time_is_of_a_comparison_whose_cost_is_judged(own: list[Audited]) -> None:
    claimed = set()
    for name in studies.names():
        checks = (
            part for c in studies.get(name).claims for check in c.checks for part in check.parts
        )
        for options in (part.measure.options() for part in checks):
            if "run_time_experiment" in options:  # which every measure in seconds takes
                claimed |= {
                    f"{options.get('study', name)}/{options[key]}"
                    for key in ("experiment", "first", "last")
                    if str(options.get(key, "")).startswith("tuned")
                }
    judged = {
        audited.evidence.name.removesuffix(" (reduced)")
        for audited in own
        for finding in audited.findings
        if finding.rule.name == "cost" and finding.status != "not applicable"
    }
    assert claimed
    assert claimed <= judged


def test_the_readme_says_which_rules_ours_do_not_pass_and_why(own: list[Audited]) -> None:
    text = Path("README.md").read_text(encoding="utf-8")
    block = text.split(report.MARKERS[0])[1].split(report.MARKERS[1])[0]
    every = [*own, *(a for paper in PAPERS.values() for a in paper.values())]
    stands = standing.read_standing(Path("paper/audit.toml"))
    reasons, _ = standing.explained(own, stands)
    assert report.embed(text, every, reasons) == text, "run `python -m repro publish`"
    for audited in own:
        for finding in audited.findings:
            if finding.status != "pass":
                assert f"| {finding.rule.name}" in block
    assert all(comparison in block for comparison, _ in stands)
    assert all(why in block for why in stands.values())


def test_an_unfinished_comparison_is_not_audited(results: Results) -> None:
    study = studies.get("rike2022")
    runs = results.runs
    without = runs[~((runs["experiment"] == "tuned-nn-sgd") & (runs["role"] == "report"))]
    names = [e.name for e in ours.comparisons(study, dataclasses.replace(results, runs=without))]
    assert not any("tuned-nn-sgd" in name for name in names)
    assert names


@pytest.mark.parametrize(
    ("role", "column", "kept"), [("tune", "trial", 15), ("report", "repetition", 2)]
)
def test_a_comparison_whose_search_or_report_has_only_begun_is_not_audited(
    results: Results, role: str, column: str, kept: int
) -> None:
    study = studies.get("rike2022")
    runs = results.runs
    of_one = (runs["experiment"] == "tuned-nn-sgd") & (runs["method"] == "backpropagation, SGD")
    first = runs["stage"] == ""  # which no later stage stands in for
    begun = runs[~(of_one & first & (runs["role"] == role) & (runs[column] >= kept))]
    assert 0 < len(runs) - len(begun) < len(runs[of_one])
    every = ours.finished(study, results).keys()
    (name,) = (each for each in every if "tuned-nn-sgd" in each)
    assert ours.finished(study, dataclasses.replace(results, runs=begun)).keys() == every - {name}


def test_the_sampler_names_the_stages_that_were_run(results: Results) -> None:
    study = studies.get("rike2022")
    runs = results.runs[results.runs["experiment"] == "tuned-nn-sgd"]
    (search,) = (e.reduced.search for e in study.experiments if e.name == "tuned-nn-sgd")
    assert search is not None
    shared, beside = "scrambled Sobol sequence, one for all", ", then 4 trials beside every winner"
    again = f"; of every method the best {search.finalists} run again"
    stages = runs["stage"].where(runs["stage"] == "refinement", "")
    first = (runs["role"] == "tune") & (stages == "")
    for found, text in (
        (stages.mask(stages != "", ""), shared),
        (stages, shared + beside),
        (stages.mask(first & (runs["trial"] == 0), "final"), shared + beside + again),
    ):
        there = dataclasses.replace(results, runs=runs.assign(stage=found))
        (evidence,) = ours.comparisons(study, there)
        assert evidence.word("sampler", evidence.methods[0]) == text


def test_how_an_estimator_of_ones_own_takes_derivatives_is_not_known(results: Results) -> None:
    study = studies.get("baydin2022")
    experiments = tuple(e for e in study.experiments if e.name == "tuned-mlp")
    (evidence,) = ours.comparisons(dataclasses.replace(study, experiments=experiments), results)
    first, *others = evidence.methods
    assert {evidence.word("derivative mode", m) for m in evidence.methods} == {"forward", "reverse"}
    (tuned,) = experiments
    own = tuple(
        dataclasses.replace(m, estimator=use("central_difference")) if m.name == first else m
        for m in tuned.methods
    )
    changed = dataclasses.replace(tuned, methods=own)
    (evidence,) = ours.comparisons(dataclasses.replace(study, experiments=(changed,)), results)
    assert not evidence.word("derivative mode", first)
    assert all(evidence.word("derivative mode", other) for other in others)


def test_a_paper_that_was_added_is_audited_by_what_it_states(
    monkeypatch: pytest.MonkeyPatch, results: Results
) -> None:
    stated = studies.get("rike2022")
    added = dataclasses.replace(stated, name="someone2030", experiments=(), claims=())
    monkeypatch.setattr(audit, "all_studies", lambda: (added,))
    names = [one.evidence.name for one in audit.everything(results)]
    assert names
    assert all(name.startswith("someone2030") for name in names)


def test_a_row_that_ran_otherwise_than_declared_is_found(results: Results) -> None:
    study = studies.get("rike2022")
    runs = results.runs.copy()
    chosen = (runs["experiment"] == "tuned-nn-sgd") & (runs["method"] == "forward gradient, SGD")
    runs.loc[chosen, "spec"] = runs.loc[chosen, "spec"].str.replace(
        '"schedule":"constant"', '"schedule":"exponential"'
    )
    evidence = next(
        e
        for e in ours.comparisons(study, dataclasses.replace(results, runs=runs))
        if "tuned-nn-sgd" in e.name
    )
    spoken = {f.rule.name for f in report.audit(evidence).findings if f.status == "fail"}
    assert spoken == {"settings", "stated"}


def test_a_method_of_which_a_run_diverged_is_not_dropped_from_those_that_learned(
    results: Results,
) -> None:
    study = studies.get("rike2022")
    runs = results.runs.copy()
    method = "backpropagation, SGD"
    shown = report_runs(results, "tuned-nn-sgd", [method], study="rike2022")
    reported = runs.index[runs["key"].isin(shown["key"])]
    one = runs.index == reported[0]
    runs.loc[one, "test_loss"] = float("nan")
    runs.loc[one, "status"] = "diverged"
    evidence = next(
        e
        for e in ours.comparisons(study, dataclasses.replace(results, runs=runs))
        if "tuned-nn-sgd" in e.name
    )
    told = [p.text for p in RULES["learned"].look(evidence) if p.status == "unknown"]
    assert told == [
        f"final loss of {method}: 1 of {len(reported)} reported runs diverged, and a mean of the others is theirs alone "
        "(studies/rike2022.py)"
    ]


@pytest.mark.parametrize("paper", PAPERS)
def test_every_finding_of_a_paper_names_its_source(paper: str) -> None:
    for audited in PAPERS[paper].values():
        assert len(audited.findings) == len(RULES)
        for finding in audited.findings:
            if finding.status in ANY:
                texts(audited, finding.rule.name)

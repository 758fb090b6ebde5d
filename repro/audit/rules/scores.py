"""Rules about scores: was the right quantity measured, on the whole split, and did anything learn?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from repro.audit import detect
from repro.audit.evidence import Evidence, shown, source_of
from repro.audit.findings import Part, Status, rule, unsaid

FEW = 64
"""Scatter as of fewer examples than this is more than unstable training explains."""
LEARNED = 0.1
"""A network has learned if its loss is at least by this share below that of guessing."""


@rule(
    question="Did the search select on validation data, by one metric for all methods?",
    threshold="fail if trials were scored on the test split or by different metrics, runs were reported on different splits, or a method "
    "was searched again after a test result; warn if trials were scored on the training split, or only training or validation scores are "
    "reported",
    why="a score used for selection is the best of many, not an estimate on new data",
    source="how-to-autorl checklist, tuning and test settings; AlgoPerf, validation targets; Cawley & Talbot 2010",
    mend="select on validation data, and read the test split once, for the reported runs",
    needs="what the search selected on",
    presumes=("data set",),
)
def selection(evidence: Evidence) -> Iterator[Part]:
    """Look at the declared split, and check whether scores equal a column of test scores."""
    for method in evidence.methods:
        split = evidence.fact("selection split", method)
        if split is not None:
            status: Status = {"test": "fail", "train": "warn"}.get(split.text, "pass")  # type: ignore[assignment]
            text = f"trials scored on the {split.text} split"
            yield Part(status, text, (source_of(split),), method=method)
        again = evidence.fact("searches made again after a test result", method)
        if again is not None and again.value:
            text = f"searched again {again.value:g} time(s) after a test result"
            yield Part("fail", text, (source_of(again),), method=method)
        reported = evidence.fact("reported split", method)
        if reported is not None and reported.text != "test":
            kind = {"train": "training"}.get(reported.text, reported.text)
            text = f"only {kind} scores are reported"
            yield Part("warn", text, (source_of(reported),), method=method)
        yield from _match(evidence, method)
    for quantity, noun in (("selection metric", "selected by"), ("reported split", "reported on")):
        yield from _apart(evidence, quantity, noun)


def _apart(evidence: Evidence, quantity: str, noun: str) -> Iterator[Part]:
    """Yield one part if methods differ in a word that has to be the same for all."""
    words = ((m, evidence.word(quantity, m)) for m in evidence.methods)
    known = {m: word for m, word in words if word}
    yield from unsaid(evidence, quantity, known)
    if len(set(known.values())) > 1:
        text = ", ".join(f"{word} for {m}" for m, word in known.items())
        fact = evidence.fact(quantity, next(iter(known)))
        yield Part("fail", f"{noun} {text}", (source_of(fact),))


def _match(evidence: Evidence, method: str) -> Iterator[Part]:
    rows = evidence.rows("tune", method)
    if rows.empty:
        return
    meanings: tuple[tuple[str, Status], ...] = (("test", "fail"), ("validation", "pass"))
    for column, status in meanings:
        pair = rows[["score", column]].to_numpy(np.float64)
        pair = pair[np.isfinite(pair).all(axis=1)]
        # scores were turned so that smaller is better: compare sizes
        if len(pair) >= 3 and np.ptp(pair[:, 0]) > 0:
            scores, others = np.abs(pair).T
            same = np.isclose(scores, others, rtol=1e-9, atol=0.0).mean()
            if same > 0.9:
                text = f"{same:.0%} of {len(pair)} trial scores equal the {column} column"
                yield Part(status, text, ("rows",), {f"{method}, equal share": float(same)}, method)


@rule(
    question="Does the search minimise what is reported: the same evaluation of a run, last or best?",
    threshold="fail if one takes the last evaluation and the other the best, or one method the last and another the best; warn if the last one counts after early "
    "stopping with patience",
    why="a last score, taken after the optimum was passed, penalises rates that learn fast",
    source="keras-tuner and tuning-playbook guidance on the best checkpoint; how-to-autorl checklist, objective",
    mend="let the search minimise the reported quantity, with one rule for which evaluation counts",
    needs="which evaluation of a trial and of a reported run counts",
)
def objective(evidence: Evidence) -> Iterator[Part]:
    """Compare the evaluation that selects with the one that is reported."""
    for method in evidence.methods:
        select, report = (evidence.fact(f"{q} moment", method) for q in ("selection", "reported"))
        if select is None:
            continue
        patience = evidence.fact("early stopping patience", method)
        if patience is not None and patience.value and select.text == "last":
            text = f"scored by the {select.text} evaluation, {patience.value:g} evaluations past the optimum"
            sources = (source_of(select), source_of(patience))
            yield Part("warn", text, sources, method=method)
        if report is None:
            yield Part("unknown", evidence.silence("reported moment", method))
            continue
        text = f"the {select.text} evaluation selects, the {report.text} is reported"
        status: Status = "pass" if select.text == report.text else "fail"
        yield Part(status, text, (source_of(select), source_of(report)), method=method)
    yield from _apart(evidence, "selection moment", "selected by the evaluation:")
    yield from _apart(evidence, "reported moment", "reported is the evaluation:")


@rule(
    question="Is every score a mean over the whole split?",
    threshold="fail below half of the split's examples, or for traces that only few examples leave (multiples "
    f"of a coarse fraction, exact zeros between large values, scatter as of fewer than {FEW} examples, or half of a smaller split); "
    "warn below the whole split, or for scatter as of less than a tenth of it",
    why="a mean over the last mini-batch looks like a test loss but is mostly luck",
    source="Rike & Førland's notebooks (a list made anew in every batch); AlgoPerf, scores as documented",
    mend="average over all examples of the split, with equal weights",
    needs="how many examples a score averages over, or scores over epochs",
    presumes=("data set",),
)
def metric(evidence: Evidence) -> Iterator[Part]:
    """Compare declared numbers of examples, and look for traces of few examples in the scores themselves."""
    for method in evidence.methods:
        for what, noun in (("selection", "a trial's score"), ("reported", "a reported score")):
            examples, size = (
                evidence.fact(f"{what} {q}", method) for q in ("examples", "split size")
            )
            if examples is None or size is None or not examples.value or not size.value:
                continue
            share = examples.value / size.value
            text = f"{noun} is a mean over {examples.value:g} of {size.value:g} examples"
            status: Status = "fail" if share < 0.5 else "warn" if share < 1 else "pass"
            values = {f"{method}, {what} share": share}
            yield Part(status, text, (source_of(examples),), values, method)
        yield from _traces(evidence, method)


def _traces(evidence: Evidence, method: str) -> Iterator[Part]:
    size = evidence.number("reported split size", method)
    if evidence.curves.empty and evidence.runs.empty:
        return
    for name, values in evidence.traces.get(method, ()):
        fraction = "accuracy" in name
        traces = list(detect.in_accuracies(values) if fraction else detect.in_losses(values))
        yield from _weigh(f"{method}, {name} over {len(values)} evaluations", traces, size)
    accuracies = evidence.runs[evidence.runs["method"] == method]["accuracy"].dropna()
    if len(accuracies):
        traces = list(detect.in_accuracies(accuracies.to_numpy()))
        yield from _weigh(f"{method}, accuracy of {len(accuracies)} runs", traces, size)


def _weigh(label: str, traces: list[detect.Trace], size: float | None) -> Iterator[Part]:
    for trace in traces:
        # if its size is not known, a split of a few hundred examples is as likely as a slip
        enough = trace.examples >= (FEW if size is None else size / 2)
        few = trace.examples < FEW if size is None else trace.examples < size / 10
        status: Status = "pass"
        # no score has more examples than a small split that was read whole
        if (trace.certain and not enough) or trace.examples < (
            FEW if size is None else min(FEW, size / 2)
        ):
            status = "fail"
        elif few and not trace.certain:
            status = "warn"
        values = {} if math.isnan(trace.examples) else {f"{label}, examples": trace.examples}
        yield Part(status, f"{label}: {trace.text}", ("computed from the scores",), values)


@rule(
    question="Did the methods learn anything, in the search and in the runs that are compared?",
    threshold=f"fail if no method's loss is {LEARNED:.0%} below that of guessing; warn if one method's is not",
    why="if networks learned nothing, neither their speed nor their order means anything",
    source="Baydin et al. 2022, Fig. 4, top: a time-to-loss ratio at 28 % accuracy; tuning playbook, unstable workloads",
    mend="train at a rate at which the baseline learns, until it has",
    needs="the losses and the loss of guessing",
    presumes=("data set",),
)
def learned(evidence: Evidence) -> Iterator[Part]:
    """Compare losses with the loss of guessing."""
    for quantity, noun in (("final loss", "ends at"), ("best search score", "was selected at")):
        given: Callable[[float], float] = (
            evidence.as_given if quantity == "best search score" else float
        )
        gone, silent = {}, []
        for method in evidence.methods:
            loss = evidence.number(quantity, method)
            chance = evidence.number("chance loss", method)
            if loss is None or chance is None:
                lacking = quantity if loss is None else "chance loss"
                silent.append(Part("unknown", evidence.silence(lacking, method)))
                continue
            if loss < 0:  # such as an accuracy, turned
                text = f"{noun} {given(loss):.4g}, which is no loss in nats to compare with that of guessing"
                yield Part(
                    "unknown", text, (source_of(evidence.fact(quantity, method)),), method=method
                )
                continue
            gone[method] = (loss, 1 - loss / chance)
        if not gone:
            continue
        yield from silent
        fact = evidence.fact(quantity, next(iter(gone)))
        lost = [m for m, (_, share) in gone.items() if share < LEARNED]
        text = ", ".join(
            f"{m} {noun} {given(loss):.4g}" for m, (loss, _) in gone.items() if m in lost
        )
        chance_fact = evidence.fact("chance loss", next(iter(gone)))
        values = {f"{m}, share of chance": share for m, (_, share) in gone.items()}
        sources = (source_of(fact),)
        if len(lost) == len(gone):
            yield Part("fail", f"{text}; guessing gives {shown(chance_fact)}", sources, values)
        elif lost:
            yield Part("warn", f"{text}; guessing gives {shown(chance_fact)}", sources, values)
        else:
            who = "every method" if len(gone) == len(evidence.methods) else ", ".join(gone)
            yield Part("pass", f"{who} {noun} well below guessing", sources, values)

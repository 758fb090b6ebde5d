"""The rule of cost: does a claim about speed rest on measurements?"""

from __future__ import annotations

import math
from collections.abc import Iterator

from repro.audit.evidence import Evidence, source_of
from repro.audit.findings import Part, rule


@rule(
    question="Do claims about time and memory rest on synchronised timings of the derivatives that were used?",
    threshold="fail if nothing was timed, timings were not synchronised, derivatives were simulated, or a time-to-loss "
    "ratio differs by more than a tenth from the step-time ratio; warn if engines differ or nobody says how time was taken",
    why="time to a loss is time per step times number of steps, and the learning rate decides the number",
    source="AlgoPerf, time to result with tuned settings; PyTorch, CUDA is asynchronous; NeurIPS checklist, compute",
    mend="time a step of each method in one engine, wait for the device, and tune both before comparing progress",
    needs="anything about cost",
    presumes=("claim of cost",),
)
def cost(evidence: Evidence) -> Iterator[Part]:
    """Ask for timings, true derivatives, one engine, and a ratio that measures cost alone."""
    claim = evidence.fact("claim of cost")
    if claim is None or evidence.absent(["claim of cost"]):
        return
    sources = (source_of(claim),)
    simulated = [m for m in evidence.methods if evidence.word("derivative mode", m) == "simulated"]
    if simulated:
        fact = evidence.fact("derivative mode", simulated[0])
        text = (
            f"{claim.text!r} is claimed of {', '.join(simulated)}, whose derivatives were simulated"
        )
        yield Part("fail", text, (*sources, source_of(fact)))
    timed = evidence.fact("timed steps")
    if timed is not None and not timed.value:
        yield Part("fail", f"{claim.text!r} is claimed, but nothing was timed", (source_of(timed),))
        return
    for quantity in ("timed engine", "hardware"):
        used = {m: evidence.word(quantity, m) for m in evidence.methods}
        if all(used.values()) and len(set(used.values())) > 1:
            text = ", ".join(f"{word} for {m}" for m, word in used.items())
            fact = evidence.fact(quantity, evidence.methods[0])
            yield Part(
                "warn", f"timed {'on ' if quantity == 'hardware' else ''}{text}", (source_of(fact),)
            )
    waited = {m: evidence.number("synchronised timing", m) for m in evidence.methods}
    if any(value == 0 for value in waited.values()):
        text = "the clock was read without waiting for the device"
        yield Part("fail", text, (source_of(evidence.fact("synchronised timing")),))
    elif None in waited.values():
        silent = next(m for m, value in waited.items() if value is None)
        yield Part("warn", evidence.silence("synchronised timing", silent), sources)
    else:
        yield Part("pass", f"{claim.text!r} rests on synchronised timings", sources)
    to_loss, step = evidence.fact("time-to-loss ratio"), evidence.fact("step-time ratio")
    if to_loss is None or not to_loss.value:
        return
    if step is None or not step.value:
        yield Part("unknown", evidence.silence("step-time ratio"))
        return
    progress = to_loss.value / step.value
    # the quotient of two doubles need not be one
    mixed = abs(math.log(to_loss.value) - math.log(step.value)) > math.log(1.1)
    times = {0.0: "less than 5e-324", math.inf: "more than 1.8e308"}.get(progress)
    text = (
        f"time-to-loss ratio {to_loss.value:.3g} is {step.value:.3g} per step times {times or f'{progress:.3g}'} in the "
        f"number of steps"
    )
    values = {
        "time-to-loss ratio": to_loss.value,
        "step-time ratio": step.value,
        "progress": progress,
    }
    yield Part("fail" if mixed else "pass", text, (source_of(to_loss), source_of(step)), values)

"""What is run, as values: a study declares experiments, an experiment expands to runs, a run has a key.

Everything here is a frozen value without behaviour on tensors, so that a study can be read, listed, priced
and hashed where no PyTorch is installed. Two ideas carry the rest of the package:

* **A run is its specification.** The SHA-256 of a `RunSpec`'s canonical JSON is the run's key; whatever can
  change a number is in the specification, whatever merely describes where it ran is in the record.
* **Seeds are hashes of identity.** `derive_seed` maps (purpose, problem, role, repetition, ...) to a seed, so
  methods of one problem share start, split and data order (they are paired), adding a method moves no other
  draw, and tuning and reported repetitions, which differ in their role, never share a seed.
"""

from repro.protocol.canonical import canonical_json
from repro.protocol.choosing import (
    DEVICES,
    EXPERIMENT_SETTINGS,
    SAMPLER,
    Comparison,
    choose,
    comparisons,
    declared,
    expand,
    experiments_of,
    spread,
)
from repro.protocol.components import build, refuse_other_settings
from repro.protocol.conventions import (
    ABOVE_ONE,
    ABOVE_ZERO,
    BELOW_ONE,
    BELOW_ZERO,
    FAIR_REPETITIONS,
    FAIR_SEARCHES,
    LEARNED,
    LEARNING_RATES,
    STEPS_OF_A_TURN_ON_CUDA,
    final,
    near,
    on_digits,
)
from repro.protocol.declarations import Check, Claim, Expectation, Fact, Study
from repro.protocol.experiments import Experiment, LogUniform, Plan, Search, SearchSpace
from repro.protocol.parsing import kind_of, parse_run, problem_of
from repro.protocol.runs import (
    FINAL,
    PROTOCOL_VERSION,
    REFINEMENT,
    SCALES,
    Approximation,
    Classification,
    ClosedForm,
    Component,
    Method,
    Problem,
    Replica,
    Role,
    RunSpec,
    Sampling,
    Scalar,
    Scale,
    Settings,
    Task,
    Timing,
    Training,
    Trial,
    derive_seed,
    settings,
    use,
)
from repro.protocol.winning import best_trial, best_trials, finalists, mean_score

__all__ = [
    "ABOVE_ONE",
    "ABOVE_ZERO",
    "BELOW_ONE",
    "BELOW_ZERO",
    "DEVICES",
    "EXPERIMENT_SETTINGS",
    "FAIR_REPETITIONS",
    "FAIR_SEARCHES",
    "FINAL",
    "LEARNED",
    "LEARNING_RATES",
    "PROTOCOL_VERSION",
    "REFINEMENT",
    "SAMPLER",
    "SCALES",
    "STEPS_OF_A_TURN_ON_CUDA",
    "Approximation",
    "Check",
    "Claim",
    "Classification",
    "ClosedForm",
    "Comparison",
    "Component",
    "Expectation",
    "Experiment",
    "Fact",
    "LogUniform",
    "Method",
    "Plan",
    "Problem",
    "Replica",
    "Role",
    "RunSpec",
    "Sampling",
    "Scalar",
    "Scale",
    "Search",
    "SearchSpace",
    "Settings",
    "Study",
    "Task",
    "Timing",
    "Training",
    "Trial",
    "best_trial",
    "best_trials",
    "build",
    "canonical_json",
    "choose",
    "comparisons",
    "declared",
    "derive_seed",
    "expand",
    "experiments_of",
    "final",
    "finalists",
    "kind_of",
    "mean_score",
    "near",
    "on_digits",
    "parse_run",
    "problem_of",
    "refuse_other_settings",
    "settings",
    "spread",
    "use",
]

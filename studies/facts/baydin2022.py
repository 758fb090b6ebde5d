"""What Baydin et al. 2022 state, and what they do not.

Facts marked "read" were read off the paper's plots by pixel position (loss within 0.02, time within 1 %); facts
that the paper does not state are `None`, with the reason and what we chose instead. Facts of a method are in
the audit's words (`repro.audit.evidence`), so that its rules judge each comparison of the paper by them.
"""

from __future__ import annotations

import math

from repro.protocol import Fact

BP, FG = "backpropagation", "forward gradient"
READ, NOT_FOUND = "read off the plot", "not found in the paper"
DEPTHS = (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
SILENT = {
    "batch size": "not stated; 64 in every re-implementation, and here",
    "learning-rate decay": "not stated; identified from Figs. 3 and 4 (experiments `identification-*`, `mlp-2e-4*`)",
    "input scaling": "not stated; identified from Fig. 3 (experiments `identification-*`)",
    "validation split": "not stated; 10,000 of the 60,000 training images here, drawn per repetition",
    "initial parameters": "not stated; PyTorch's default ranges here",
    "CNN padding": "not stated; none here, as in the independent replication of Rike & Førland",
    "CNN learning rate": "not stated; 2e-4 here, as the re-implementations take it to be",
    "CNN iterations": "not stated; 20,000 at full scale here, as for the multi-layer network",
    "hardware": "not stated",
    "timing method": "not stated; ours is synchronised, warmed up, median of at least 30 steps",
    "memory method": "not stated; ours is the allocator's peak over one step",
}
FIG3 = {0: 2.58, 2_500: 1.17, 5_000: 0.87, 10_000: 0.68, 15_000: 0.61, 20_000: 0.57, 25_000: 0.54}
FIG4_BACKPROPAGATION = {5_000: 1.69, 10_000: 1.21, 15_000: 0.99, 20_000: 0.89}
FIG4_FORWARD = {5_000: 1.20, 10_000: 0.73, 15_000: 0.58, 20_000: 0.52}
FIG6_R_F = (2.53, 2.67, 2.92, 3.13, 3.33, 3.33, 3.44, 3.49, 3.87, 3.94, 4.18, 4.17)
FIG6_R_B = (4.58, 4.63, 4.81, 4.75, 4.70, 4.71, 4.58, 4.50, 4.86, 4.87, 5.02, 4.93)
FIG6_RATIO = (0.555, 0.58, 0.61, 0.66, 0.71, 0.71, 0.755, 0.775, 0.795, 0.81, 0.835, 0.845)
RUN_TIME = {  # Fig. 3 (logistic regression) and Fig. 4 (multi-layer network at its two rates)
    "logistic": {"T_f": 197.326, "T_b": 356.756, "T_f/T_b": 0.553},
    "mlp-2e-5": {
        "T_f": 165.842, "T_b": 292.359, "T_f/T_b": 0.567,
        "R_f": 2.329, "R_b": 3.971, "R_f/R_b": 0.586,
    },
    "mlp-2e-4": {
        "T_f": 68.014, "T_b": 296.957, "T_f/T_b": 0.229,
        "R_f": 2.607, "R_b": 4.359, "R_f/R_b": 0.598,
    },
}  # fmt: skip
STATED = (
    *(Fact("Section 5", quantity, None, why) for quantity, why in SILENT.items()),
    *(Fact("Fig. 3", "validation loss", y, READ, setting="logistic", x=x) for x, y in FIG3.items()),
    *(
        Fact("Fig. 4", "validation loss", y, READ, method, "mlp-2e-4", x)
        for method, curve in ((BP, FIG4_BACKPROPAGATION), (FG, FIG4_FORWARD))
        for x, y in curve.items()
    ),
    *(
        Fact("Figs. 3-4", quantity, value, "printed in the figure", setting=setting)
        for setting, values in RUN_TIME.items()
        for quantity, value in values.items()
    ),
    *(
        Fact("Fig. 5", quantity, None, NOT_FOUND, setting="cnn")
        for quantity in ("T_f", "T_b", "T_f/T_b", "R_f", "R_b", "R_f/R_b")
    ),
    *(
        Fact("Fig. 6", quantity, y, READ, setting="depth", x=x)
        for quantity, curve in (("R_f", FIG6_R_F), ("R_b", FIG6_R_B), ("R_f/R_b", FIG6_RATIO))
        for x, y in zip(DEPTHS, curve, strict=True)
    ),
    Fact("Fig. 6", "peak bytes", 1.25e9, READ, BP, "depth", 100),
    Fact("Fig. 6", "peak bytes", 1.25e9, READ, FG, "depth", 100),
    Fact("Fig. 2", "final value", 5e-5, READ, setting="beale"),
    Fact("Fig. 2", "final value", 5e-6, READ, setting="rosenbrock"),
    *(
        Fact("Fig. 2", "data set", None, "a function in closed form", setting=setting, text="none")
        for setting in ("beale", "rosenbrock")
    ),
    Fact("Fig. 2", "time ratio", 0.87, READ, setting="beale"),
    Fact("Fig. 2", "time ratio", 0.75, READ, setting="rosenbrock"),
)

BOTH = (BP, FG)
CAPTIONS = {  # setting: learning rate, independent runs, where
    "beale": (0.01, 10, "Fig. 2"),
    "rosenbrock": (5e-4, 10, "Fig. 2"),
    "logistic": (1e-4, None, "Fig. 3"),
    "mlp-2e-5": (2e-5, 5, "Fig. 4"),
    "mlp-2e-4": (2e-4, 5, "Fig. 4"),
    "cnn": (None, None, "Fig. 5"),
}
FINAL_LOSS = {  # setting: backpropagation, forward gradient; validation loss at the end, nats
    "logistic": (0.54, 0.54),
    "mlp-2e-5": (2.21, 2.21),
    "mlp-2e-4": (0.89, 0.52),
}
SHARED = "one value for both methods; no search is described"
AUDITED = (
    *(
        Fact(item, quantity, value, source, method, setting, text=text)
        for setting, (rate, repetitions, item) in CAPTIONS.items()
        for method in BOTH
        for quantity, value, text, source in (
            ("used learning_rate", rate, "", NOT_FOUND if rate is None else "caption"),
            ("origin of learning_rate", None, "no search", SHARED),
            (
                "repetitions",
                repetitions,
                "",
                "not stated for this figure" if repetitions is None else "caption",
            ),
        )
    ),
    *(
        Fact("Section 5", quantity, value, source, method, setting, text=text)
        for setting in ("logistic", "mlp-2e-5", "mlp-2e-4")
        for method in BOTH
        for quantity, value, text, source in (
            ("used decay", 1e-4, "", "secondary sources; consistent with Fig. 3"),
            ("origin of decay", None, "no search", SHARED),
            (
                "reported split",
                None,
                "validation",
                "axes of the figures; no test split is mentioned",
            ),
        )
    ),
    *(
        Fact("Figs. 3-4", "final loss", value, READ, method, setting)
        for setting, values in FINAL_LOSS.items()
        for method, value in zip(BOTH, values, strict=True)
    ),
    *(
        Fact("MNIST", "chance loss", math.log(10), "ten classes", setting=setting)
        for setting in FINAL_LOSS
    ),
    *(
        # the published speed is T_f/T_b, time until a loss is reached; R_f/R_b is that of one iteration
        Fact("Figs. 3-4", quantity, values.get(name), source, setting=setting)
        for setting, values in RUN_TIME.items()
        for quantity, name in (
            ("time-to-loss ratio", "T_f/T_b"),
            ("step-time ratio", "R_f/R_b"),
        )
        for source in ("printed in the figure" if name in values else "not found for this figure",)
    ),
    *(
        Fact(
            "Abstract",
            "claim of cost",
            None,
            "Abstract",
            setting=setting,
            text="up to twice as fast",
        )
        for setting in (*RUN_TIME, "beale", "rosenbrock", "cnn")
    ),
    *(
        Fact("Section 5", quantity, None, source, method, setting, text=text)
        for setting in (*RUN_TIME, "beale", "rosenbrock", "cnn")
        for method, engine, mode in (
            (BP, "PyTorch's reverse mode", "reverse"),
            (FG, "the authors' own operator overloading", "forward"),
        )
        for quantity, text, source in (
            ("derivative mode", mode, "Section 5"),
            ("timed engine", engine, "a review of the paper"),
            ("synchronised timing", "", SILENT["timing method"]),
        )
    ),
)
FACTS = (*STATED, *AUDITED)

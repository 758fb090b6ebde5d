"""What Rike & Førland 2022 state, and what their code did and their notebooks print.

"Table I" is read in the report, "printed" in an output of the notebooks at commit 827a478, "code" in their cells,
"history" in earlier commits of the same repository. Rows R1 to R14 are those of Table I. Facts of a method are
in the audit's words (`repro.audit.evidence`), so that its rules judge each comparison of the paper by them.

Defects that the facts below show, by the numbers that the study refers to: D1 every published loss is that of
the last 16 test images; D2 the Adam searches select on 16 validation images; D5 one seed; D6 SGD tuned without
clipping and run with it; D7 Adam never clipped, though the text says so; D8 a decay that the Adam searches
lacked; D9 R3's decay and value, D10 R14's, differ from what ran; D11 backpropagation's rates at the upper end of
their grids; D12 winners not used; D13 unequal budgets; D17 unequal losses; D18 selection at chance level;
D19 searches made again after a bad test result; D20 unequal schedules.
"""

from __future__ import annotations

import dataclasses
import math

from repro.protocol import Fact

BP, FG, CLIPPED = "backpropagation", "forward gradient", "forward gradient, clipped"


def name(estimator: str, optimizer: str) -> str:
    """Return the name of a method."""
    return f"{estimator}, {optimizer}"


TABLE_I = {  # experiment: optimizer, forward gradient and backpropagation: Table I, printed, last ten, first epoch
    "nn-sgd": ("SGD", (0.332, 0.332, 0.4135, 2.276), (0.0, 1.8743665e-05, 0.05408, 0.2109)),
    "nn-nesterov": ("Nesterov", (0.270, 0.26826674, 0.4373, 2.276), (0.0, 1.4020845e-05, 0.06715, 0.1315)),
    "nn-adam": ("Adam", (0.283, 0.28305081, 0.3889, 2.19), (0.0, 6.0349447e-07, 0.1438, 0.31)),
    "cnn-sgd": ("SGD", (0.548, 0.548, 0.7895, 2.296), (0.0, 0.0, 0.008663, 0.01146)),
    "cnn-nesterov": ("Nesterov", (0.559, 0.55909765, 0.606, 2.294), (0.0, 0.0, 0.002643, 0.01398)),
    "cnn-adam": ("Adam", (0.669, 0.66907001, 0.734, 2.293), (0.0, 0.0, 2.168e-05, 0.0213)),
    "cifar-sgd": ("SGD", (6.955, 6.955, 6.364, 2.302), (1.685, 1.68356407, 1.405, 2.303)),
}  # fmt: skip
READ = ("Table I", "notebook, last epoch", "notebook, mean of the last ten epochs", "notebook, first epoch")  # fmt: skip
SILENT = {
    "seconds": "not timed anywhere",
    "accuracy": "not computed anywhere",
    "repetitions": "not stated; one run a row, with one seed",
    "device": "not recorded; a GPU of Google Colab",
}

CURVES = {  # printed after every epoch: "test loss", of the last 16 images of a shuffled pass
    "R1": "2.276 2.231 2.251 2.168 2.067 2.077 1.972 1.864 1.827 1.727 1.633 1.595 1.352 1.484 1.221 1.196 1.058 1.439 0.909 0.928 0.734 0.572 1.564 0.655 0.538 0.617 0.857 0.624 0.566 0.486 0.551 0.589 0.572 0.400 0.249 0.641 0.365 0.552 0.810 0.512 0.556 0.392 0.152 0.259 0.261 0.785 0.257 0.730 0.411 0.332",
    "R2": "0.2109 0.01833 0.04327 0.0945 0.05397 0.001343 0.001742 0.1286 0.003445 0.04852 0.003855 0.01755 0.005904 0.1461 0.006432 0.126 0.005304 0.3844 0.01203 0.003207 0.2729 0.001772 0.6106 0.03679 1.007e-05 0.003371 0.01011 0.0001362 0.0003773 0.000132 0.186 0.0001178 0.03026 0.02449 0.0003983 0.008729 0.0005693 0.000954 0.0004199 0.1304 1.627e-05 0.0007899 2.368e-05 5.469e-06 1.557e-06 0.002159 6.255e-05 0.004563 0.5332 1.874e-05",
    "R3": "2.276 2.222 2.22 2.125 2.03 1.992 1.849 1.707 1.694 1.546 1.471 1.464 1.079 1.402 0.871 1.005 0.8807 1.218 0.7201 0.8236 0.5875 0.3624 1.302 0.548 0.4135 0.5334 0.8163 0.5027 0.5902 0.3502 0.67 0.8532 0.514 0.4293 0.203 0.622 0.4775 0.4784 0.6826 0.7086 0.6544 0.4864 0.2275 0.2568 0.1731 0.7795 0.2167 0.9806 0.3296 0.2683",
    "R4": "0.1315 0.02786 0.01542 0.07659 0.07655 0.001847 0.0005272 0.1853 0.0003528 0.03044 0.001421 0.002641 0.0003972 0.1844 0.02047 0.1377 0.002801 0.4754 0.000685 0.003185 0.3169 0.0002011 0.5706 0.06032 5.662e-07 0.003843 0.02526 3.386e-05 7.624e-05 2.62e-05 0.1766 4.262e-06 0.02664 0.005022 8.067e-05 0.01171 3.96e-05 0.0001049 0.0002987 0.01652 4.262e-06 0.0001557 2.524e-05 4.247e-07 4.47e-07 0.0001495 1.558e-05 0.003909 0.6672 1.402e-05",
    "R5": "2.19 2.057 2.029 1.732 1.586 1.324 1.141 1.036 1.231 1.001 0.9938 0.8878 0.693 1.128 0.6584 0.887 0.6958 1.167 0.6502 0.5636 0.4535 0.4721 1.299 0.4339 0.4221 0.6067 0.6837 0.5899 0.4825 0.4227 0.4065 0.668 0.6198 0.3186 0.2885 0.496 0.4217 0.4546 0.5934 0.4466 0.5227 0.3783 0.2244 0.2657 0.2817 0.6517 0.308 0.6777 0.2955 0.2831",
    "R6": "0.31 0.01405 0.1456 0.1534 0.1583 0.002723 0.001025 0.03243 0.009752 0.0452 0.01562 0.003692 0.00193 0.2034 0.001067 0.2685 0.01295 0.4661 0.01189 0.0004868 0.1042 2.251e-05 0.2852 0.009837 2.424e-05 0.000564 0.2161 5.022e-06 2.542e-05 0.000883 0.4505 3.961e-05 0.04748 0.02858 0.000241 0.01332 1.013e-06 0.0004301 0.0001475 0.006359 1.937e-07 3.098e-05 0.0002288 0.0 2.235e-08 0.0004884 3.822e-06 0.5505 0.8867 6.035e-07",
    "R7": "2.296 2.298 2.298 2.298 2.299 2.296 2.294 2.290 2.297 2.299 2.291 2.289 2.273 2.262 2.251 2.196 2.184 2.132 2.043 1.838 1.700 1.619 1.237 1.109 1.153 0.922 0.729 0.846 0.675 0.783 0.747 0.655 0.787 0.661 0.334 0.579 0.681 0.597 0.375 0.532 0.582 0.609 0.336 0.852 0.983 1.103 0.594 1.437 0.851 0.548",
    "R8": "0.01146 0.0008984 0.08411 0.07169 0.00184 0.0003165 0.001865 3.078e-05 0.002635 1.744e-05 0.05799 1.366e-05 1.49e-08 9.102e-05 9.395e-06 3.949e-07 4.65e-05 0.0002346 0.009192 9.239e-07 6.858e-05 2.786e-06 0.02317 1.714e-07 7.346e-05 1.207e-06 1.138e-05 1.534e-05 5.96e-08 0.0 4.038e-06 0.0 0.00117 0.0 2.742e-06 8.606e-05 0.2973 0.0 0.0 1.587e-06 0.0848 1.118e-07 7.674e-07 2.235e-08 7.451e-09 0.0001592 0.0 0.001634 3.024e-05 0.0",
    "R9": "2.294 2.295 2.304 2.291 2.287 2.262 2.237 2.221 2.133 1.924 1.75 1.435 1.151 1.173 0.9244 0.4465 0.9455 0.8503 0.7682 0.4545 0.611 1.009 0.5103 0.372 0.5369 0.6598 0.3862 0.6499 0.3906 0.5908 0.4251 0.6575 0.5766 0.4713 0.3051 0.4203 0.3969 0.6615 0.3411 0.498 0.3616 0.5822 0.2918 0.5731 0.799 0.9015 0.257 1.019 0.7156 0.5591",
    "R10": "0.01398 0.002277 0.009719 0.005772 0.01001 0.0003538 0.02035 0.001687 0.001693 0.001076 0.02456 4.917e-06 7.525e-07 0.0002829 0.0002842 2.094e-06 0.0001285 5.341e-05 0.2287 7.078e-07 9.074e-06 6.474e-06 0.0004013 8.866e-07 1.211e-05 0.0001391 1.489e-05 1.118e-07 2.235e-07 0.0 0.0002932 2.98e-08 0.03261 5.96e-08 8.419e-07 0.02078 0.01992 1.207e-06 0.0 6.601e-06 0.01874 0.0 1.028e-06 0.0 0.0005549 0.0001873 6.333e-07 0.006938 3.174e-06 0.0",
    "R11": "2.293 2.293 2.287 2.261 2.253 2.127 2.055 2.011 1.669 1.56 1.497 1.172 1.011 1.148 0.9628 0.4286 0.8724 0.9658 0.8007 0.5276 0.7835 1.079 0.6083 0.5362 0.6737 0.7397 0.5375 0.6935 0.5212 0.6798 0.5657 0.7299 0.6827 0.5488 0.4791 0.5357 0.564 0.937 0.4888 0.5786 0.7198 0.7313 0.437 0.5687 0.7256 1.015 0.4755 1.11 0.8873 0.6691",
    "R12": "0.0213 0.001155 0.05137 0.002868 0.0008842 0.0557 0.002025 0.0001085 0.01788 0.001286 0.003826 7.078e-07 1.095e-06 0.0001818 0.000496 6.706e-08 6.02e-06 5.228e-05 0.001297 8.426e-06 0.02471 1.571e-05 0.0003752 8.941e-08 1.167e-05 1.524e-05 3.181e-06 0.0001442 0.0 0.0 3.792e-06 0.0 0.06039 0.0 0.0 6.705e-06 0.5197 0.0 0.0 5.29e-07 2.734e-06 0.0 0.0 0.0 0.0 0.0 0.0 0.0002141 1.49e-08 0.0",
    "R13": "2.302 2.299 2.299 2.300 2.301 2.300 2.304 2.307 2.300 2.303 2.307 2.304 2.308 2.302 2.303 2.302 2.304 2.304 2.308 2.301 2.301 2.304 2.302 2.305 2.302 2.300 2.305 2.303 2.300 2.299 2.304 2.301 2.302 2.298 2.302 2.306 2.308 2.305 2.299 2.304 2.299 2.308 2.294 2.294 2.300 2.294 2.286 2.296 2.272 2.270 2.229 2.287 2.280 2.285 2.286 2.277 2.127 2.007 2.091 2.277 2.160 2.100 2.399 1.967 2.084 2.169 1.879 2.184 2.047 2.099 2.630 2.196 2.435 3.036 2.997 2.557 3.287 3.860 4.666 2.939 3.749 4.387 3.486 4.033 2.643 3.389 5.617 5.641 4.880 7.600 5.253 5.894 7.579 6.567 10.088 5.613 6.127 5.219 4.346 6.955",
    "R14": "2.303 2.301 2.302 2.3 2.3 2.297 2.299 2.274 2.127 1.846 1.82 1.59 1.57 1.254 1.461 1.533 1.421 1.858 1.358 1.769 1.679 1.785 1.186 1.41 1.037 1.902 1.436 2.107 0.9883 1.177 1.23 1.443 1.56 1.531 1.52 1.085 1.277 1.691 1.057 1.139 1.151 1.476 1.288 1.08 1.423 0.9121 0.9865 2.125 1.162 1.271 1.307 1.294 0.996 1.042 1.05 1.374 1.603 1.496 1.068 1.126 1.613 1.211 2.084 1.42 1.766 0.7158 1.402 1.366 0.8731 0.8354 1.201 1.067 1.424 2.084 1.227 0.7904 1.909 1.369 1.334 0.854 1.774 1.98 0.9729 1.357 0.7924 1.114 1.199 0.9008 1.316 1.675 0.5846 1.024 2.007 1.318 1.694 1.548 1.244 0.9831 1.963 1.684",
    "unclipped": "2.277 2.23 2.245 2.151 2.008 1.971 1.805 1.485 1.513 0.7408 1.937 12.95 13.77 14.95 10.56 12.95 12.95 15.94 12.95 14.95 10.96 10.96 14.95 13.95 14.95",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of Table I: how it was searched, and how it was run.

    Attributes:
        number: `R1` to `R14`; also the key of its printed curve.
        setting: The comparison that it is half of.
        method: Name of the method.
        epochs: Of a trial of the search, and of the reported run.
        trials: Trials of the search whose winner was meant.
        searched: Lowest, highest, winning and finally used value of each searched hyperparameter.
        best: Lowest loss of the search, nats.
        examples: Images behind the loss of a trial.
        tuned_with: Further settings during the search.
        ran_with: The same settings during the reported run.
        stated: The same settings where the report says otherwise.
        earlier: Trials of searches that the history holds besides.
        more: Further statements of the audit's words.
    """

    number: str
    setting: str
    method: str
    epochs: tuple[int, int]
    trials: int
    searched: dict[str, tuple[float, float, float, float]]
    best: float
    examples: int
    tuned_with: dict[str, float | str]
    ran_with: dict[str, float | str]
    stated: dict[str, float | str] = dataclasses.field(default_factory=dict)
    earlier: int = 0
    more: dict[str, float | str] = dataclasses.field(default_factory=dict)

    @property
    def used(self) -> dict[str, float]:
        """The numbers that the reported run was given, searched or not."""
        given = {k: v for k, v in self.ran_with.items() if not isinstance(v, str)}
        return {**given, **{parameter: values[-1] for parameter, values in self.searched.items()}}


ALL, LAST = 10_000, 16
OFF: dict[str, float | str] = {"clip": "none"}
ON: dict[str, float | str] = {"clip": 1.0}
ADAM = {"beta1": (0.9, 0.99), "beta2": (0.999, 0.9999)}
ROWS = (
    Row("R1", "nn-sgd", name(CLIPPED, "SGD"), (10, 50), 12,
        {"learning_rate": (1e-4, 1e-3, 4.6416e-4, 4.64e-4), "decay": (0.0, 1e-5, 1e-5, 1e-5)},
        1.126, ALL, OFF, ON, earlier=18, more={"searches made again after a test result": 1}),
    Row("R2", "nn-sgd", name(BP, "SGD"), (10, 50), 12,
        {"learning_rate": (1e-3, 0.1, 0.1, 0.1), "decay": (0.0, 1e-5, 0.0, 0.0)},
        0.070, ALL, OFF, OFF, earlier=18),
    Row("R3", "nn-nesterov", name(CLIPPED, "Nesterov"), (20, 50), 12,
        {"learning_rate": (1e-4, 1e-3, 3.1623e-4, 3.2e-4), "momentum": (0.1, 0.9, 0.367, 0.367)},
        0.771, ALL, ON | {"decay": 1e-6}, ON | {"decay": 1e-6}, {"decay": 1e-5}, 16,
        {"searches made again after a test result": 1}),
    Row("R4", "nn-nesterov", name(BP, "Nesterov"), (10, 50), 16,
        {"learning_rate": (1e-3, 0.1, 0.1, 0.1), "momentum": (0.5, 0.9, 0.5, 0.5)},
        0.068, ALL, OFF | {"decay": 0.0}, OFF | {"decay": 0.0}),
    Row("R5", "nn-adam", name(FG, "Adam"), (10, 50), 36,
        {"learning_rate": (1e-4, 7.5e-4, 5e-4, 5e-4), "beta1": (*ADAM["beta1"], 0.99, 0.99),
         "beta2": (*ADAM["beta2"], 0.999, 0.999)},
        0.528, LAST, OFF | {"decay": 0.0}, OFF | {"decay": 5e-5, "epsilon": "inside the root"},
        {"clip": 1.0}),
    Row("R6", "nn-adam", name(BP, "Adam"), (30, 50), 4,
        {"learning_rate": (1e-4, 0.1, 1e-3, 1e-4)},
        4.32e-7, LAST, OFF | {"decay": 0.0},
        OFF | {"decay": 0.0, "epsilon": "outside the root", "weight_decay": "none",
               "beta1": 0.9, "beta2": 0.999},
        {"weight_decay": "used"}),
    Row("R7", "cnn-sgd", name(CLIPPED, "SGD"), (10, 50), 12,
        {"learning_rate": (1e-5, 1e-3, 3.9811e-4, 3.98e-4), "decay": (1e-6, 1e-5, 1e-5, 1e-5)},
        2.275, ALL, OFF, ON),
    Row("R8", "cnn-sgd", name(BP, "SGD"), (10, 50), 6,
        {"learning_rate": (1e-3, 0.1, 0.1, 0.1)},
        0.041, ALL, OFF | {"decay": 0.0}, OFF | {"decay": 0.0}),
    Row("R9", "cnn-nesterov", name(CLIPPED, "Nesterov"), (20, 50), 9,
        {"learning_rate": (1e-5, 1e-3, 1e-3, 1e-4), "momentum": (0.3, 0.9, 0.3, 0.9)},
        0.647, ALL, ON | {"decay": 1e-4}, ON | {"decay": 1e-4}, earlier=16),
    Row("R10", "cnn-nesterov", name(BP, "Nesterov"), (10, 50), 12,
        {"learning_rate": (0.01, 0.1, 0.1, 0.01), "momentum": (0.7, 0.95, 0.783, 0.783)},
        0.033, ALL, OFF | {"decay": 0.0}, OFF | {"decay": 0.0}),
    Row("R11", "cnn-adam", name(FG, "Adam"), (10, 50), 36,
        {"learning_rate": (1e-4, 7.5e-4, 2.5e-4, 2.5e-4), "beta1": (*ADAM["beta1"], 0.9, 0.9),
         "beta2": (*ADAM["beta2"], 0.9999, 0.9999)},
        0.609, LAST, OFF | {"decay": 0.0}, OFF | {"decay": 1e-4, "epsilon": "inside the root"},
        {"clip": 1.0}),
    Row("R12", "cnn-adam", name(BP, "Adam"), (20, 50), 7,
        {"learning_rate": (1e-5, 1e-2, 2.36e-4, 2.36e-4)},
        1.71e-7, LAST, OFF | {"decay": 0.0},
        OFF | {"decay": 0.0, "epsilon": "outside the root", "beta1": 0.9, "beta2": 0.999},
        more={"sampler": "random, unseeded"}),
    Row("R13", "cifar-sgd", name(CLIPPED, "SGD"), (20, 100), 12,
        {"learning_rate": (1e-7, 1e-2, 4.3288e-4, 4.33e-4)},
        2.302, ALL, OFF | {"decay": 1e-6}, ON | {"decay": 1e-6}),
    Row("R14", "cifar-sgd", name(BP, "SGD"), (20, 100), 4,
        {"learning_rate": (1e-4, 1e-2, 0.01, 0.01)},
        1.260, ALL, OFF | {"decay": 1e-6}, OFF | {"decay": 1e-4}, earlier=6,
        more={"known better learning_rate": 0.398}),
)  # fmt: skip


def facts_of(row: Row) -> tuple[Fact, ...]:
    """Return a row in the words of the audit, each with where it was read."""
    forward = not row.method.startswith(BP)
    _, of_forward, of_backward = TABLE_I[row.setting]
    published, printed, *_ = of_forward if forward else of_backward
    statements: tuple[tuple[str, str, float | str], ...] = (
        ("code of the search", "trials", row.trials),
        ("history", "earlier trials", row.earlier),
        ("code of the search", "trial epochs", row.epochs[0]),
        ("code of the run", "reported epochs", row.epochs[1]),
        *(
            (item, f"{quantity} {parameter}", value)
            for parameter, values in row.searched.items()
            for item, quantity, value in zip(
                (
                    "code of the search",
                    "code of the search",
                    "printed by the search",
                    "code of the run",
                ),
                ("searched from", "searched to", "best", "used"),
                values,
                strict=True,
            )
        ),
        *(("code of the run", f"origin of {p}", "search") for p in row.searched),
        *(("code of the search", f"tuned with {k}", v) for k, v in row.tuned_with.items()),
        *(("code of the run", f"ran with {k}", v) for k, v in row.ran_with.items()),
        (
            "code of the run",
            "ran with loss",
            "clamped cross-entropy" if forward else "cross-entropy",
        ),
        *(("Table I, Section III or a text cell", f"stated {k}", v) for k, v in row.stated.items()),
        ("printed by the search", "best search score", row.best),
        ("code of the search", "sampler", row.more.get("sampler", "grid")),
        ("code of the search", "selection split", "validation"),
        ("code of the search", "selection examples", row.examples),
        ("code of the search", "selection split size", 10_000),
        ("code of the search", "selection moment", "last"),
        ("code of the run", "reported split", "test"),
        ("code of the run", "reported examples", LAST),
        ("code of the run", "reported split size", 10_000),
        ("code of the run", "reported moment", "last"),
        ("code of the search", "tuning seed", 42),
        ("code of the run", "reporting seed", 42),
        ("code of the run", "repetitions", 1),
        ("Table I", "published score", published),
        ("notebook, last epoch", "printed score", printed),
        *(("history", k, v) for k, v in row.more.items() if k != "sampler"),
    )
    return (
        *(
            Fact(item, quantity, None, row.number, row.method, row.setting, text=value)
            if isinstance(value, str)
            else Fact(item, quantity, float(value), row.number, row.method, row.setting)
            for item, quantity, value in statements
        ),
        *(
            Fact(
                "notebook, every epoch",
                "reported curve",
                float(value),
                row.number,
                row.method,
                row.setting,
                x,
            )
            for x, value in enumerate(CURVES[row.number].split(), 1)
        ),
    )


COMPARISONS = (
    *(
        Fact("ten classes", "chance loss", math.log(10), "ln 10", setting=setting)
        for setting in TABLE_I
    ),
    *(Fact("Table I", "published decimals", 3, "Table I", setting=setting) for setting in TABLE_I),
)
UNCLIPPED = tuple(
    # R1 without clipping, in no table: after it diverged, sixteenths of the largest loss there is
    Fact(
        "notebook, every epoch",
        "unpublished curve",
        float(value),
        "cell M18",
        name(FG, "SGD"),
        "nn-sgd",
        x,
    )
    for x, value in enumerate(CURVES["unclipped"].split(), 1)
)
FACTS = (
    *(Fact("Section III", quantity, None, why) for quantity, why in SILENT.items()),
    *(
        # the papers' figure, and what its notebooks print: all of them the loss of 16 test images (D1)
        Fact(item, "test loss", value, "loss of the last 16 test images", method, setting)
        for setting, (optimizer, forward_values, backward_values) in TABLE_I.items()
        for method, values in (
            (name(FG if optimizer == "Adam" else CLIPPED, optimizer), forward_values),
            (name(BP, optimizer), backward_values),
        )
        for item, value in zip(READ, values, strict=True)
    ),
    *(fact for row in ROWS for fact in facts_of(row)),
    *COMPARISONS,
    *UNCLIPPED,
)

"""What Flügel et al. 2024 state, and what their code at commit 7beb8cb and its history hold.

The paper's plots and Table 1 give no number that was at hand. What is published as numbers are the learning rates
of every comparison and, in the history of the repository, the loss of the search that found each: of seed 0, at
the last epoch or step. Facts of a method are in the audit's words (`repro.audit.evidence`), so that its rules judge
each comparison of the paper by them; a fact of the setting `resnet18` holds for `resnet18-mnist` too.
"""

from __future__ import annotations

import math

from repro.protocol import Fact

BP, FG = "backpropagation", "forward gradient"
TANGENTS = (2, 4, 16)


def mean(num_tangents: int) -> str:
    """Return the name of the method that averages `num_tangents` forward gradients."""
    return f"mean, k={num_tangents}"


def projection(num_tangents: int) -> str:
    """Return the name of the method that projects the gradient on `num_tangents` tangents."""
    return f"projection, k={num_tangents}"


METHODS = (BP, FG, *map(mean, TANGENTS), *map(projection, TANGENTS))
"""In the order of the tables below."""

HISTORY = "history: column `loss` before 7beb8cb"
ACTIVATIONS = {  # perturbed activations, the dimension n of the projected gradient
    "fc256-mnist": 522,
    "fc1024-mnist": 2_058,
    "fc4096-mnist": 8_202,
    "resnet18-mnist": 9_866,
    "resnet18-cifar10": 11_786,
    "vit-mnist": 64_010,
    "vit-cifar10": 83_210,
}
NETWORKS = {  # rate in `lrs/`, and validation loss of the search, nats, by METHODS
    "fc256-mnist": (
        (0.02605, 5.590e-4, 8.478e-4, 8.195e-4, 1.4287e-3, 0.2114, 0.1208, 0.04232),
        (0.0783, 0.1733, 0.1327, 0.1100, 0.0812, 0.1295, 0.1084, 0.0838),
    ),
    "fc1024-mnist": (
        (0.03337, 1.572e-4, 2.176e-4, 7.909e-4, 2.6898e-3, 0.2311, 0.2002, 0.1270),
        (0.0763, 0.2679, 0.2220, 0.1457, 0.0941, 0.2224, 0.1791, 0.0964),
    ),
    "fc4096-mnist": (
        (0.03867, 7.060e-5, 1.290e-4, 1.768e-4, 4.977e-4, 0.4633, 0.3536, 0.2517),
        (0.0767, 0.2967, 0.2558, 0.2150, 0.1329, 0.2562, 0.2159, 0.1331),
    ),
    "resnet18-mnist": (
        (0.1, 7.060e-5, 2.835e-4, 2.096e-4, 4.328e-4, 0.5083, 0.5083, 0.1215),
        (0.0291, 0.2253, 0.1768, 0.1306, 0.0807, 0.1789, 0.1314, 0.0856),
    ),
    "resnet18-cifar10": (
        (0.1, 3.376e-4, 7.161e-4, 1.2916e-3, 2.5174e-3, 0.4864, 0.4864, 0.4864),
        (1.4870, 1.8869, 1.7648, 1.6809, 1.4849, 1.8080, 1.7290, 1.5172),
    ),
    "vit-mnist": (
        (0.1, 2.067e-5, 3.392e-5, 3.577e-5, 7.060e-5, 0.4864, 0.4864, 0.4864),
        (0.1010, 2.0211, 1.7928, 1.5765, 1.3099, 1.9095, 1.5994, 1.2586),
    ),
    "vit-cifar10": (
        (0.1, 4.993e-5, 6.605e-5, 7.560e-5, 1.9345e-4, 1.0, 1.0, 0.4864),
        (1.3085, 2.0470, 1.9959, 1.9249, 1.7991, 2.0496, 1.9621, 1.8419),
    ),
}
OVERWRITTEN = {  # backpropagation's rate as the search found it, before 0.1 was put in its place
    "resnet18-mnist": 0.10883,
    "resnet18-cifar10": 9.912e-4,
    "vit-mnist": 0.19519,
    "vit-cifar10": 2.302e-3,
}
_FUNCTIONS = {  # dimension, then rate:final value by METHODS
    "sphere": """
        1 0.184:0 0.293:0 0.423:0 0.332:0 0.371:0 0.332:0 0.332:0 0.332:0
        2 0.332:0 0.122:0 0.188:0 0.285:0 0.292:0 0.332:0 0.332:0 0.332:0
        4 0.286:0 0.0874:0 0.139:0 0.194:0 0.278:0 0.385:0 0.332:0 0.332:0
        8 0.332:0 0.0539:0 0.101:0 0.146:0 0.252:0 0.48:0 0.411:0 0.332:0
        16 0.292:0 0.033:1.205e-25 0.0478:0 0.0915:0 0.192:0 0.486:0 0.486:0 0.332:0
        32 0.286:0 0.017:4.714e-12 0.0299:1.554e-25 0.0467:0 0.146:0 0.48:7.684e-28 0.508:0 0.413:0
        64 0.292:0 0.00853:2.957e-05 0.017:1.915e-11 0.0353:1.283e-23 0.0829:0 0.508:2.098e-12 0.508:1.415e-26 0.508:0
        128 0.332:0 0.00379:0.03106 0.00688:2.028e-05 0.017:2.8e-12 0.0484:0 0.48:1.715e-05 0.423:1.126e-12 0.486:0
        256 0.286:0 0.00198:3.909 0.0042:0.08037 0.00811:3.043e-05 0.0299:1.161e-24 0.508:0.07304 0.508:2.016e-05 0.48:1.318e-26
        512 0.332:0 0.00102:76.34 0.00207:9.979 0.0042:0.2132 0.017:3.498e-11 0.508:9.986 0.534:0.2009 0.486:1.059e-11
        1024 0.332:0 0.000498:433.3 0.000941:156.8 0.00193:22.79 0.0075:0.0002299 0.486:155.2 0.486:22.73 0.486:0.0001997
    """,
    "rosenbrock": """
        1 0.0836:0 0.0836:0 0.0984:0 0.0706:0 0.0836:0 0.0855:0 0.0836:0 0.101:0
        2 0.00199:3.756e-10 0.000758:8.077e-09 0.00118:2.331e-11 0.00193:4.864e-12 0.00197:2.217e-11 0.00193:3.849e-10 0.00193:3.849e-10 0.00198:3.779e-10
        4 0.00122:1.171e-09 0.000469:2.248e-06 0.000757:9.38e-09 0.000991:1.91e-11 0.00132:2.693e-11 0.00193:9.175e-11 0.00127:5.781e-10 0.00122:1.171e-09
        8 0.00112:1.288e-09 0.000229:0.002379 0.000418:3.986 0.0006:3.986 0.00131:0.372 0.00193:3.986 0.0018:0.0001064 0.00105:1.367e-09
        16 0.00108:1.342e-09 0.000122:4.263 0.000214:3.994 0.000329:3.987 0.000312:0.003138 0.00193:3.993 0.00186:3.987 0.00107:1.327e-09
        32 0.00103:1.508e-09 0.000108:17.41 0.000157:10.69 0.000229:0.9113 0.000575:2.207e-05 0.00264:10.67 0.00193:0.4927 0.00153:2.36e-07
        64 0.00108:1.896e-08 8.56e-05:51.84 0.000142:44.5 0.000203:35.07 0.000391:8.648 0.00455:43.94 0.00312:36.54 0.00184:0.5055
        128 0.00105:0.002321 6.01e-05:121.1 0.0001:117.4 0.000177:108.2 0.000382:76.33 0.00675:116.3 0.00529:110.4 0.00298:77.47
        256 0.0011:95.71 3.58e-05:252 6.19e-05:250.6 0.000122:242.9 0.00031:213.1 0.00819:250 0.00813:241.9 0.00543:208.7
        512 0.00104:359 1.89e-05:504.7 3.69e-05:502.4 7.16e-05:498.1 0.000229:475.6 0.00913:502.8 0.0093:497.9 0.00769:474.2
        1024 0.00104:865.9 5.13e-06:1013 1.82e-05:1013 2.53e-05:1013 0.000144:996.5 0.0095:1013 0.00984:1013 0.0082:1000
    """,
    "styblinski-tang": """
        1 0.054:-39.17 0.0123:-39.17 0.0206:-39.17 0.0205:-39.17 0.0239:-39.17 0.0211:-39.17 0.0211:-39.17 0.0204:-39.17
        2 0.054:-78.33 0.0052:-78.33 0.0143:-78.33 0.0156:-78.33 0.0252:-78.33 0.017:-78.33 0.0307:-78.33 0.00839:-78.33
        4 0.0523:-156.7 0.00389:-156.7 0.0057:-156.7 0.0057:-156.7 0.0167:-156.7 0.0181:-156.7 0.0154:-156.7 0.0206:-156.7
        8 0.054:-313.3 0.00268:-313.3 0.000795:-313.3 0.00105:-313.3 0.0042:-313.3 0.00525:-313.3 0.0206:-313.3 0.01:-313.3
        16 0.0514:-626.7 0.000784:-626.7 0.00184:-626.7 0.00206:-626.7 0.0057:-626.7 0.01:-626.7 0.0103:-626.7 0.01:-626.7
        32 0.054:-1253 0.000613:-1239 0.000707:-1253 0.00174:-1253 0.00389:-1253 0.0126:-1239 0.0154:-1253 0.0118:-1253
        64 0.0514:-2507 0.000535:-2364 0.000391:-2433 0.000498:-2492 0.000959:-2507 0.0211:-2408 0.0089:-2492 0.0042:-2507
        128 0.054:-5013 0.000391:-4376 0.000465:-4677 0.000465:-4856 0.000498:-5012 0.0353:-4687 0.023:-4829 0.0042:-5013
        256 0.0536:-1.003e+04 0.000259:-7631 0.000364:-8807 0.000509:-9212 0.000391:-9952 0.0574:-8700 0.0353:-9156 0.00682:-9948
        512 0.054:-2.005e+04 0.000196:-1.211e+04 0.000259:-1.482e+04 0.000382:-1.749e+04 0.000391:-1.923e+04 0.0727:-1.475e+04 0.05:-1.748e+04 0.014:-1.921e+04
        1024 0.054:-4.011e+04 0.000136:-1.999e+04 0.000195:-2.378e+04 0.000281:-2.916e+04 0.000399:-3.7e+04 0.106:-2.319e+04 0.0751:-2.895e+04 0.0293:-3.707e+04
    """,
}
FUNCTIONS = {  # function: dimension: rate and final value at seed 0, by METHODS
    function: {
        int(row.split()[0]): tuple(
            (float(rate), float(value))
            for rate, _, value in (cell.partition(":") for cell in row.split()[1:])
        )
        for row in text.strip().splitlines()
    }
    for function, text in _FUNCTIONS.items()
}
STEPS = {"sphere": 1_000, "rosenbrock": 25_000, "styblinski-tang": 1_000}
ANGLES = (15, 30, 45, 60, 75, 90)
ANGLE_RATES = {  # tangents: rate and final value at seed 0, by ANGLES; of the mean
    16: (
        (0.02605, -2305.32), (0.03637, -2336.76), (0.02605, -2467.29),
        (0.0353, -2506.63), (0.0353, -2506.63), (0.0353, -2506.63),
    ),
    64: (
        (0.02605, -2389.94), (0.0353, -2421.78), (0.0353, -2478.36),
        (0.0353, -2506.63), (0.0353, -2506.63), (0.0353, -2506.63),
    ),
}  # fmt: skip
ANGLE_PROJECTION = {16: (0.001842, -2506.63), 64: (0.0353, -2506.63)}
"""Rate and final value of the projection, whose search had normal tangents; used for every angle."""


def word(
    item: str, quantity: str, text: str, source: str, method: str = "", setting: str = ""
) -> Fact:
    """Return a fact whose value is a word."""
    return Fact(item, quantity, None, source, method, setting, text=text)


def protocol(setting: str, budget: tuple[tuple[str, str, float], ...]) -> tuple[Fact, ...]:
    """Return what the learning-rate search did alike for every method of some comparisons."""
    search = "lr_search/propulate_search.py"
    return (
        *(Fact(item, quantity, value, item, setting=setting) for item, quantity, value in budget),
        Fact(search, "trials", 100, "README, --num_evaluations", setting=setting),
        Fact(search, "searched from learning_rate", 1e-6, ":252", setting=setting),
        Fact(search, "searched to learning_rate", 1.0, ":252", setting=setting),
        word(search, "sampler", "evolutionary", "propulate", setting=setting),
        word(search, "selection moment", "last", ":434,446", setting=setting),
        Fact(search, "tuning seed", 0, ":327-347", setting=setting),
        Fact("utils/data_processing.py", "interval multiplier", 1.96, ":25", setting=setting),
    )


NETWORK_FACTS = (
    *(
        fact
        for family, epochs in (("fc256", 200), ("fc1024", 200), ("fc4096", 200), ("resnet18", 50), ("vit", 50))
        for fact in (
            *protocol(
                family,
                (
                    ("README of lr_search", "trial epochs", epochs),
                    ("defaults.ini", "reported epochs", 200),
                    ("datasets.py", "selection examples", 10_000),
                    ("datasets.py", "selection split size", 10_000),
                    ("datasets.py", "reported examples", 10_000),
                    ("datasets.py", "reported split size", 10_000),
                    ("lr_search/propulate_search.py", "early stopping patience", 10),
                    ("README", "repetitions", 3),
                ),
            ),
            *(
                Fact("README", "reporting seed", seed, "seeds 0-2", setting=family, x=seed)
                for seed in range(3)
            ),
            word("datasets.py", "selection split", "validation", ":12-41", setting=family),
            word("nn_training/train.py", "reported split", "test", ":253-264", setting=family),
            Fact("nn_training", "reported moment", None, "not in the code, not found in the text", setting=family),
            word("TL;DR", "claim of cost", "improved parallelism, without backpropagation",
                 "README", setting=family),
            Fact("repository", "timed steps", 0, "no timer in any file", setting=family),
            Fact("ten classes", "chance loss", math.log(10), "ln 10", setting=family),
        )
    ),
    *(
        fact
        for setting, (rates, losses) in NETWORKS.items()
        for method, rate, loss in zip(METHODS, rates, losses, strict=True)
        for found in (OVERWRITTEN.get(setting, rate) if method == BP else rate,)
        for fact in (
            Fact("lrs/", "used learning_rate", rate, "current CSV", method, setting),
            Fact("lrs/", "best learning_rate", found, HISTORY, method, setting),
            Fact("lrs/", "best search score", loss, HISTORY, method, setting),
            word("lrs/", "origin of learning_rate",
                 "search" if found == rate else "no search: overwritten in 7beb8cb",
                 "7beb8cb", method, setting),
            word("nn_training/parse_config.py", "derivative mode",
                 "reverse" if method == BP else "simulated", "defaults.ini:34,42; train.py:171",
                 method, setting),
        )
    ),
    *(
        # the update that the mean's searched rate makes, in the units of the projection: P ~ (k/n) mean
        Fact("derived", "equivalent learning_rate", rates[METHODS.index(mean(k))] * ACTIVATIONS[setting] / k,
             "searched rate of the mean times n/k", projection(k), setting)
        for setting, (rates, _) in NETWORKS.items()
        for k in TANGENTS
    ),
    *(
        Fact("measured", "ran with batch-norm updates a step", 1 if method == BP else 2,
             "nn_training/simfg_models.py:217", method, setting)
        for setting in NETWORKS
        if setting.startswith("resnet18")
        for method in METHODS
    ),
    *(
        word("nn_training/train.py", "ran with data order",
             "the seed's" if method == BP else "one loader pass further", ":238-241", method, setting)
        for setting in NETWORKS
        for method in METHODS
    ),
)  # fmt: skip
FUNCTION_FACTS = (
    *(
        fact
        for function, steps in STEPS.items()
        for fact in (
            *protocol(
                function,
                (
                    ("optimization_functions.py", "trial steps", steps),
                    ("optimization_functions.py", "reported steps", steps),
                    ("lr_search/propulate_search.py", "tuned with patience", 100),
                    ("math_experiments.py", "ran with patience", 50),
                    ("math_experiments.py", "repetitions", 5),
                ),
            ),
            *(
                Fact("math_experiments.py", "reporting seed", seed, "seeds 0-4", setting=function, x=seed)
                for seed in range(5)
            ),
            word("Fig. 4", "reported moment", "best", "caption; math_experiments.py:24", setting=function),
        )
    ),
    *(
        fact
        for function, by_dimension in FUNCTIONS.items()
        for dimension, cells in by_dimension.items()
        for method, (rate, value) in zip(METHODS, cells, strict=True)
        for setting in (f"{function}-{dimension}",)
        for fact in (
            Fact("lrs/math.csv", "used learning_rate", rate, "current CSV", method, setting),
            Fact("lrs/math.csv", "best learning_rate", rate, HISTORY, method, setting),
            word("lrs/math.csv", "origin of learning_rate", "search", "lr_search", method, setting),
            Fact("lrs/math.csv", "final value", value, HISTORY, method, setting),
            word("function_optimization/gradient.py", "derivative mode",
                 "reverse" if method == BP else "forward", ":36-92", method, setting),
        )
    ),
)  # fmt: skip
ANGLE_FACTS = (
    *(
        fact
        for k, cells in ANGLE_RATES.items()
        for setting in (f"angles-{k}",)
        for fact in (
            *(
                fact
                for angle, (rate, value) in zip(ANGLES, cells, strict=True)
                for fact in (
                    Fact("lrs/math__custom_tangents.csv", "rate by angle", rate, "current CSV",
                         mean(k), setting, angle),
                    Fact("lrs/math__custom_tangents.csv", "final value", value, HISTORY,
                         mean(k), setting, angle),
                )
            ),
            # one search an angle for the mean, one search for all angles together for the projection
            Fact("lrs/get_best_lr.py", "trials", 100 * len(ANGLES), ":30-36", mean(k), setting),
            Fact("lrs/get_best_lr.py", "trials", 100, ":30-36", projection(k), setting),
            Fact("lrs/math__custom_tangents.csv", "used learning_rate", ANGLE_PROJECTION[k][0],
                 "current CSV", projection(k), setting),
            Fact("lrs/math__custom_tangents.csv", "final value", ANGLE_PROJECTION[k][1],
                 HISTORY, projection(k), setting),
            word("lrs/get_best_lr.py", "tuned with tangents", "at the angle", ":30-36", mean(k), setting),
            word("lrs/get_best_lr.py", "tuned with tangents", "normal", ":30-36", projection(k), setting),
            *(
                word("math_experiments.py", "ran with tangents", "at the angle", ":106-116", method, setting)
                for method in (mean(k), projection(k))
            ),
        )
    ),
    Fact("lr_search/propulate_search.py", "tuning seed", 0, ":327-347", setting="angles"),
    *(
        Fact("math_experiments.py", "reporting seed", seed, "seeds 0-4", setting="angles", x=seed)
        for seed in range(5)
    ),
    Fact("math_experiments.py", "repetitions", 5, "seeds 0-4", setting="angles"),
    word("lr_search/propulate_search.py", "selection moment", "last", ":301", setting="angles"),
    word("Fig. 5", "reported moment", "best", "math_experiments.py:24", setting="angles"),
)  # fmt: skip
APPROXIMATION_FACTS = tuple(
    fact
    for method in (FG, *map(mean, TANGENTS), *map(projection, TANGENTS))
    for fact in (
        Fact("Fig. 3, caption", "repetitions", 1_000, "1,000 seeds", method, "approximation"),
        Fact("approximation_quality.py", "independent seeds", 1, "seed 0, one generator; :40-54",
             method, "approximation"),
    )
)  # fmt: skip
SILENT = {
    "Table 1": "test accuracy",
    "Fig. 6": "test accuracy",
    "Fig. 3": "cosine",
    "Fig. 4": "best value",
    "Fig. 5": "best value",
}
FACTS = (
    *(
        Fact(item, quantity, None, "not found: neither the values nor the raw runs are at hand")
        for item, quantity in SILENT.items()
    ),
    Fact("Section 4", "hardware", None, "not stated"),
    Fact("Section 4", "seconds", None, "not measured"),
    *NETWORK_FACTS,
    *FUNCTION_FACTS,
    *ANGLE_FACTS,
    *APPROXIMATION_FACTS,
)

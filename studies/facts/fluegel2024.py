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


def at(name: str, angle: float) -> str:
    """Return the name of a method whose tangents stand at an angle to the first."""
    return f"{name} at {angle:g} degrees"


APPROACHES = {  # number of tangents and aggregation
    FG: (1, "mean"),
    **{mean(k): (k, "mean") for k in TANGENTS},
    **{projection(k): (k, "orthogonal_projection") for k in TANGENTS},
}
METHODS = (BP, *APPROACHES)
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
        1 0.183557364:0 0.293293297:0 0.422991833:0 0.331631479:0 0.371253813:0 0.331631479:0 0.331631479:0 0.331631479:0
        2 0.331631479:0 0.121507314:0 0.187949722:0 0.284511642:0 0.291802368:0 0.331631479:0 0.331631479:0 0.331631479:0
        4 0.286045698:0 0.0874352653:0 0.139484873:0 0.194210049:0 0.27758589:0 0.385488496:0 0.331631479:0 0.331631479:0
        8 0.331631479:0 0.0539422228:0 0.100624068:0 0.145909881:0 0.251725684:0 0.47961141:0 0.410975571:0 0.331631479:0
        16 0.291802368:0 0.0329574106:1.20517855e-25 0.0478458651:0 0.0914777125:0 0.192019113:0 0.486367921:0 0.486367921:0 0.331631479:0
        32 0.28565797:0 0.0170404307:4.71370859e-12 0.0299050563:1.55352769e-25 0.0467190048:0 0.145909881:0 0.47961141:7.68398044e-28 0.508263122:0 0.413225373:0
        64 0.291802368:0 0.00852784782:2.95749396e-05 0.0170404307:1.9150629e-11 0.0352960753:1.28307855e-23 0.0828501401:0 0.508263122:2.09760443e-12 0.508263122:1.41495161e-26 0.508263122:0
        128 0.331631479:0 0.00378888885:0.0310611986 0.00688231816:2.02767733e-05 0.0170404307:2.80043328e-12 0.048413764:0 0.47961141:1.71468328e-05 0.422991833:1.12639357e-12 0.486367921:0
        256 0.28565797:0 0.00197736129:3.90851784 0.00420262105:0.0803717002 0.00811256459:3.042758e-05 0.0299050563:1.16059218e-24 0.508263122:0.0730445758 0.508263122:2.01609346e-05 0.47961141:1.31828272e-26
        512 0.331631479:0 0.0010163293:76.3401566 0.00207089571:9.97919846 0.00420262105:0.21317786 0.0170404307:3.49817363e-11 0.508263122:9.98569107 0.534148495:0.200944975 0.486367921:1.05892335e-11
        1024 0.331631479:0 0.000497675646:433.270905 0.000941262818:156.829407 0.00192530274:22.793417 0.00749642018:0.000229906029 0.486367921:155.213135 0.486367921:22.7316322 0.486367921:0.000199693735
    """,
    "rosenbrock": """
        1 0.083637293:0 0.083637293:0 0.0983710335:0 0.070638494:0 0.083637293:0 0.0854940846:0 0.083637293:0 0.100992463:0
        2 0.00198912528:3.75610654e-10 0.000757793617:8.07726863e-09 0.00118305794:2.33093544e-11 0.00192530274:4.86366503e-12 0.00196931074:2.21724861e-11 0.00192530274:3.84904553e-10 0.00192530274:3.84904553e-10 0.00197932589:3.7792347e-10
        4 0.0012243429:1.1710668e-09 0.000469027148:2.24817222e-06 0.00075656213:9.38033651e-09 0.000991177185:1.90993887e-11 0.00132220241:2.69331224e-11 0.00192530274:9.17488308e-11 0.00126782218:5.78111781e-10 0.0012243429:1.1710668e-09
        8 0.00112493948:1.28759226e-09 0.000229312928:0.00237910612 0.00041752225:3.98589516 0.000600229568:3.98588753 0.00131027614:0.371981651 0.00192530274:3.98589468 0.00179870857:0.000106359141 0.00105143034:1.3673116e-09
        16 0.00107636917:1.34185996e-09 0.000121907936:4.26331472 0.00021383439:3.99360228 0.000329398684:3.98702455 0.000311536011:0.00313838036 0.00192514285:3.99287105 0.00186028598:3.98665953 0.00106821911:1.32675027e-09
        32 0.00103477214:1.50808077e-09 0.000107728124:17.4111977 0.000157239032:10.6900616 0.000229312928:0.911276996 0.00057453608:2.20704351e-05 0.00264142697:10.6663675 0.00193173061:0.492710739 0.00153428975:2.3598146e-07
        64 0.00107723541:1.89577527e-08 8.56003038e-05:51.8371506 0.000142145025:44.4961815 0.000202867247:35.0670357 0.000391273557:8.64761257 0.0045475621:43.9432564 0.00311811984:36.5359077 0.00184236363:0.50551182
        128 0.00104770054:0.00232053525 6.00719424e-05:121.121758 0.000100124655:117.356125 0.000176780446:108.176186 0.000382203172:76.3290939 0.00674808428:116.324959 0.0052888289:110.365799 0.00298086135:77.4748306
        256 0.00110309211:95.7104721 3.57684814e-05:251.996002 6.18953942e-05:250.554337 0.000121907936:242.850677 0.000309928891:213.099457 0.00819212928:250.037186 0.00813314581:241.937729 0.00543359045:208.709396
        512 0.00103579778:359.035461 1.8911398e-05:504.694397 3.68533149e-05:502.449066 7.16160308e-05:498.134979 0.000229312928:475.552032 0.00913150264:502.796448 0.00929506383:497.948181 0.00769089123:474.21344
        1024 0.00103579778:865.862732 5.12676263e-06:1013.35138 1.82187151e-05:1013.32117 2.53409972e-05:1013.17871 0.000144027089:996.467224 0.00949954928:1013.27429 0.00984090099:1012.64099 0.00820326035:1000.09052
    """,
    "styblinski-tang": """
        1 0.0539933292:-39.166172 0.0123376793:-39.1661682 0.0206113574:-39.1661682 0.0204999742:-39.1661682 0.0238675131:-39.1661682 0.0211495118:-39.1661682 0.0210966818:-39.1661682 0.0204480802:-39.1661682
        2 0.0539933292:-78.3323441 0.00519986708:-78.3323364 0.0142923878:-78.3323364 0.0156332685:-78.3323364 0.0251501698:-78.3323364 0.0170404307:-78.3323364 0.0306968264:-78.3323364 0.008385686:-78.3323364
        4 0.0523359207:-156.664688 0.0038899035:-156.664673 0.00569689513:-156.664673 0.00569689513:-156.664673 0.0167339021:-156.664673 0.0181431642:-156.664673 0.0153840284:-156.664673 0.0206113574:-156.664673
        8 0.0539933292:-313.329376 0.00267904061:-313.329346 0.000794552157:-313.329346 0.00105077532:-313.329346 0.00420262105:-313.329346 0.00524710421:-313.329346 0.0206113574:-313.329346 0.0100295869:-313.329346
        16 0.0514426568:-626.658752 0.00078380974:-626.658691 0.00184236363:-626.658691 0.00206019634:-626.658691 0.00569689513:-626.658691 0.0100295869:-626.658691 0.0103336739:-626.658691 0.0100295869:-626.658691
        32 0.0539933292:-1253.3175 0.000613150024:-1239.18054 0.000707352431:-1253.31738 0.00173826182:-1253.31738 0.0038899035:-1253.31738 0.0126083953:-1239.18066 0.0153906684:-1253.31738 0.0117745028:-1253.31738
        64 0.0514426568:-2506.63501 0.000535257439:-2363.82715 0.000391273557:-2432.67578 0.000497675646:-2492.49658 0.000958603984:-2506.63477 0.0211429025:-2407.67529 0.00889621787:-2492.4978 0.00420262105:-2506.63477
        128 0.0539933292:-5013.27002 0.000391273557:-4376.40869 0.000465155045:-4676.68457 0.000465155045:-4856.0791 0.000497675646:-5012.47754 0.0352960753:-4686.77197 0.0230251372:-4829.4873 0.00420262105:-5013.26953
        256 0.0535734461:-10026.54 0.000259423615:-7630.57666 0.000364455318:-8806.82617 0.000508974093:-9211.86523 0.000391273557:-9951.92969 0.0573974738:-8700.07031 0.0352960753:-9155.50586 0.00682147123:-9947.86719
        512 0.0539933292:-20053.0801 0.00019644884:-12107.1611 0.000259423615:-14824.4805 0.000382378368:-17493.5273 0.000391273557:-19234.1758 0.0727184623:-14754.8232 0.0499997795:-17478.293 0.0140399284:-19207.8125
        1024 0.0539933292:-40106.1602 0.000136021634:-19991.5566 0.000194684936:-23779.7031 0.000281014353:-29161.6094 0.000398954758:-36997.6836 0.105930741:-23190.0039 0.0750725449:-28952.5957 0.0292888055:-37069.1172
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
        (0.0260507322, -2305.32495), (0.0363653451, -2336.7644), (0.0260507322, -2467.29102),
        (0.0352960753, -2506.63477), (0.0352960753, -2506.63477), (0.0352960753, -2506.63477),
    ),
    64: (
        (0.0260507322, -2389.93726), (0.0352960753, -2421.78149), (0.0352960753, -2478.36108),
        (0.0352960753, -2506.63477), (0.0352960753, -2506.63477), (0.0352960753, -2506.63477),
    ),
}  # fmt: skip
ANGLE_PROJECTION = {16: (0.00184236363, -2506.63477), 64: (0.0352960753, -2506.63477)}
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
            word("Fig. 4", "data set", "none", "a function in closed form", setting=function),
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
    word("Fig. 5", "data set", "none", "a function in closed form", setting="angles"),
)  # fmt: skip
APPROXIMATION_FACTS = (
    *(
        fact
        for method in (FG, *map(mean, TANGENTS), *map(projection, TANGENTS))
        for fact in (
            Fact("Fig. 3, caption", "repetitions", 1_000, "1,000 seeds", method, "approximation"),
            Fact("approximation_quality.py", "independent seeds", 1, "seed 0, one generator; :40-54",
                 method, "approximation"),
        )
    ),
    word("Fig. 3", "data set", "none", "a gradient that is given", setting="approximation"),
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

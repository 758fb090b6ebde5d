"""Update rules in lockstep with `torch.optim`: three rates in one stack against three separate runs.

Rules that `torch.optim` lacks are held to their formulas, written out one rate at a time.
"""

import copy
import itertools
from collections.abc import Callable

import pytest
import torch
from references import draw
from torch import Tensor

from repro.autodiff import Params
from repro.optimizers import OPTIMIZERS, Adam, LookAhead, Optimizer, Sgd, build

RATES = (0.003, 0.05, 0.2)
STEPS = 50
MakeReference = Callable[[list[Tensor], float], torch.optim.Optimizer]

LOCKSTEP: dict[str, tuple[Optimizer, MakeReference]] = {
    "sgd": (Sgd(), torch.optim.SGD),
    "weight decay": (
        Sgd(weight_decay=0.1),
        lambda p, lr: torch.optim.SGD(p, lr, weight_decay=0.1),
    ),
    "momentum": (Sgd(momentum=0.9), lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)),
    "momentum and weight decay": (
        Sgd(momentum=0.5, weight_decay=0.01),
        lambda p, lr: torch.optim.SGD(p, lr, momentum=0.5, weight_decay=0.01),
    ),
    "nesterov": (
        Sgd(momentum=0.9, nesterov=True),
        lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True),
    ),
    "nesterov and weight decay": (
        Sgd(momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    "adam": (Adam(), torch.optim.Adam),
    "adam and weight decay": (
        Adam(beta1=0.8, beta2=0.95, epsilon=1e-3, weight_decay=0.1),
        lambda p, lr: torch.optim.Adam(p, lr, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1),
    ),
}
RULES: dict[str, Optimizer] = {
    **{name: optimizer for name, (optimizer, _) in LOCKSTEP.items()},
    "look-ahead": LookAhead(momentum=0.9),
    "adam, epsilon inside": Adam(epsilon=1e-2, epsilon_inside=True),
}


def slope(leaf: Tensor, step: int) -> Tensor:
    """A gradient that depends on where the optimizer is, so that errors would feed back."""
    return (leaf + step).sin() + 0.1 * leaf


def starts(dtype: torch.dtype) -> dict[str, Tensor]:
    return {"weight": draw(3, 4, 2, dtype=dtype), "bias": draw(3, 2, seed=1, dtype=dtype)}


@pytest.mark.parametrize("name", LOCKSTEP)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_lockstep_with_torch(name: str, dtype: torch.dtype, rtol: float) -> None:
    optimizer, make_reference = LOCKSTEP[name]
    params = starts(dtype)
    separate = [[leaf[r].clone().requires_grad_() for leaf in params.values()] for r in range(3)]
    references = [make_reference(p, lr) for p, lr in zip(separate, RATES, strict=True)]
    state = optimizer.init(params)
    for step in range(STEPS):
        gradient: Params = {n: slope(leaf, step) for n, leaf in params.items()}
        optimizer.update(gradient, state, params, torch.tensor(RATES, dtype=dtype))
        for reference, alone in zip(references, separate, strict=True):
            for leaf in alone:
                leaf.grad = slope(leaf.detach(), step)
            reference.step()
        for index, leaf in enumerate(params.values()):
            expected = torch.stack([alone[index].detach() for alone in separate])
            torch.testing.assert_close(leaf, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_a_replica_alone_takes_the_steps_it_takes_in_a_stack(
    name: str, dtype: torch.dtype, rtol: float
) -> None:
    optimizer, together = RULES[name], starts(dtype)
    alone = {n: leaf[1:2].clone() for n, leaf in together.items()}
    states = optimizer.init(together), optimizer.init(alone)
    for step in range(STEPS):
        rates = torch.tensor(RATES, dtype=dtype) / (1 + step)
        for params, state, rate in (
            (together, states[0], rates),
            (alone, states[1], rates[1:2]),
        ):
            gradient: Params = {n: slope(leaf, step) for n, leaf in params.items()}
            optimizer.update(gradient, state, params, rate)
        for n, leaf in alone.items():
            torch.testing.assert_close(leaf[0], together[n][1], rtol=rtol, atol=rtol)


@pytest.mark.parametrize("name", RULES)
def test_the_layout_of_a_gradient_changes_nothing(name: str) -> None:
    # convolutions give gradients with channels last
    optimizer, found = RULES[name], []
    slopes = draw(1, 3, 4, 2, 2)
    last = slopes[0].contiguous(memory_format=torch.channels_last)[None]
    assert torch.equal(last, slopes)
    assert last.stride() != slopes.stride()
    for gradient in (slopes, last):
        params = draw(1, 3, 4, 2, 2, seed=1)
        state = optimizer.init(params)
        for _ in range(2):
            optimizer.update(gradient, state, params, torch.tensor([0.1], dtype=torch.float64))
        found.append(params)
    assert torch.equal(*found)


@pytest.mark.parametrize("name", RULES)
def test_the_layout_of_a_parameter_changes_nothing(name: str) -> None:
    optimizer, found = RULES[name], []
    start, slopes = draw(1, 3, 4, seed=1), draw(1, 3, 4)
    transposed = start.mT.contiguous().mT
    assert torch.equal(transposed, start)
    assert not transposed.is_contiguous()
    for weight in (start.clone(), transposed):
        # beside one that lies in order
        params: Params = {"weight": weight, "bias": draw(1, 4, seed=2)}
        state = optimizer.init(params)
        for _ in range(2):
            gradient: Params = {"weight": slopes, "bias": draw(1, 4, seed=3)}
            optimizer.update(gradient, state, params, torch.tensor([0.1], dtype=torch.float64))
        found.append(params)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("name", LOCKSTEP)
def test_rates_may_change_from_step_to_step(name: str) -> None:
    optimizer, make_reference = LOCKSTEP[name]
    params = starts(torch.float64)
    alone = [leaf[1].clone().requires_grad_() for leaf in params.values()]
    reference, state = make_reference(alone, RATES[1]), optimizer.init(params)
    for step in range(5):
        rates = torch.tensor(RATES, dtype=torch.float64) / (1 + step)
        optimizer.update({n: slope(p, step) for n, p in params.items()}, state, params, rates)
        for group in reference.param_groups:
            group["lr"] = RATES[1] / (1 + step)
        for leaf in alone:
            leaf.grad = slope(leaf.detach(), step)
        reference.step()
    for index, leaf in enumerate(params.values()):
        torch.testing.assert_close(leaf[1], alone[index].detach(), rtol=1e-12, atol=1e-12)


def decaying(step: int) -> Tensor:
    return torch.tensor(RATES, dtype=torch.float64) / (1 + step)


def constant(step: int) -> Tensor:
    del step
    return torch.tensor(RATES, dtype=torch.float64)


@pytest.mark.parametrize("momentum", [0.367, 0.9])
@pytest.mark.parametrize("rates", [constant, decaying])
def test_look_ahead_follows_its_formula(rates: Callable[[int], Tensor], momentum: float) -> None:
    optimizer, ahead = LookAhead(momentum), starts(torch.float64)
    state = optimizer.init(ahead)
    theta = {name: leaf.clone() for name, leaf in ahead.items()}
    velocity = {name: torch.zeros_like(leaf) for name, leaf in ahead.items()}
    for step in range(STEPS):
        optimizer.update({n: slope(p, step) for n, p in ahead.items()}, state, ahead, rates(step))
        for name, replica in itertools.product(theta, range(3)):
            at, v = theta[name][replica], velocity[name][replica]
            v = momentum * v - rates(step)[replica] * slope(at + momentum * v, step)
            theta[name][replica], velocity[name][replica] = at + v, v
        judged = optimizer.evaluated(ahead, state)
        assert isinstance(judged, dict)
        for name, leaf in theta.items():
            torch.testing.assert_close(judged[name], leaf, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(
                ahead[name], leaf + momentum * velocity[name], rtol=1e-12, atol=1e-12
            )


@pytest.mark.parametrize("rates", [constant, decaying])
def test_look_ahead_points_are_nesterovs_iterates_at_a_constant_rate(
    rates: Callable[[int], Tensor],
) -> None:
    points: dict[str, Tensor] = {}
    for name, optimizer in (
        ("look-ahead", LookAhead(momentum=0.9)),
        ("nesterov", Sgd(momentum=0.9, nesterov=True)),
    ):
        params = starts(torch.float64)
        state = optimizer.init(params)
        for step in range(STEPS):
            optimizer.update(
                {n: slope(p, step) for n, p in params.items()}, state, params, rates(step)
            )
        points[name] = params["weight"]
    close = torch.isclose(points["look-ahead"], points["nesterov"], rtol=1e-10, atol=1e-10)
    assert bool(close.all()) == (rates is constant)


@pytest.mark.parametrize("rates", [constant, decaying])
def test_adam_with_epsilon_inside_follows_its_formula(rates: Callable[[int], Tensor]) -> None:
    beta1, beta2, epsilon = 0.8, 0.95, 0.3
    optimizer, params = Adam(beta1, beta2, epsilon, epsilon_inside=True), starts(torch.float64)
    state = optimizer.init(params)
    naive = {name: leaf.clone() for name, leaf in params.items()}
    first, second = ({name: torch.zeros_like(p) for name, p in naive.items()} for _ in range(2))
    for step in range(STEPS):
        optimizer.update({n: slope(p, step) for n, p in params.items()}, state, params, rates(step))
        for name, replica in itertools.product(naive, range(3)):
            g = slope(naive[name][replica], step)
            m = first[name][replica] = beta1 * first[name][replica] + (1 - beta1) * g
            v = second[name][replica] = beta2 * second[name][replica] + (1 - beta2) * g**2
            m_hat, v_hat = m / (1 - beta1 ** (step + 1)), v / (1 - beta2 ** (step + 1))
            naive[name][replica] -= rates(step)[replica] * m_hat / torch.sqrt(v_hat + epsilon)
        for name, leaf in naive.items():
            torch.testing.assert_close(params[name], leaf, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_judging_moves_nothing(name: str) -> None:
    optimizer = RULES[name]
    params: Params = starts(torch.float64)
    assert isinstance(params, dict)
    state = optimizer.init(params)
    judged = optimizer.evaluated(params, state)
    assert isinstance(judged, dict)
    assert all(torch.equal(judged[n], params[n]) for n in params)  # no velocity before a step
    optimizer.update({n: slope(p, 0) for n, p in params.items()}, state, params, constant(0))
    before = copy.deepcopy((params, state))
    judged = optimizer.evaluated(params, state)
    torch.testing.assert_close((params, state), before, rtol=0.0, atol=0.0)
    assert isinstance(judged, dict)
    assert list(judged) == list(params)
    if not isinstance(optimizer, LookAhead):
        assert judged is params


@pytest.mark.parametrize("name", RULES)
def test_a_tensor_is_updated_in_place_and_the_gradient_left_alone(name: str) -> None:
    optimizer = RULES[name]
    params = draw(2, 3)
    where, before = params.data_ptr(), params.clone()
    gradient = draw(2, 3, seed=1)
    kept = gradient.clone()
    state = optimizer.init(params)
    assert torch.equal(params, before)
    for _ in range(3):
        optimizer.update(gradient, state, params, torch.full((2,), 0.1, dtype=torch.float64))
    assert params.data_ptr() == where
    assert not torch.equal(params, before)
    assert torch.equal(gradient, kept)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("num_replicas", [1, 2])
def test_steps_leave_no_graph(name: str, num_replicas: int) -> None:
    optimizer, params = RULES[name], draw(num_replicas, 3).requires_grad_()
    state = optimizer.init(params)
    (gradient,) = torch.autograd.grad((params**3).sum(), params, create_graph=True)
    assert gradient.requires_grad
    for _ in range(2):
        optimizer.update(gradient, state, params, torch.full((num_replicas,), 0.1))
    assert params.is_leaf
    kept = [leaf for leaves in state.values() if isinstance(leaves, list) for leaf in leaves]
    assert not any(leaf.requires_grad for leaf in kept)
    judged = optimizer.evaluated(params, state)
    assert isinstance(judged, torch.Tensor)
    assert judged is params or not judged.requires_grad


@pytest.mark.parametrize("name", RULES)
def test_a_diverged_replica_spoils_itself_alone(name: str) -> None:
    optimizer = RULES[name]
    rates = torch.tensor(RATES, dtype=torch.float64)
    well, spoilt = starts(torch.float64), starts(torch.float64)
    for params in (well, spoilt):
        state = optimizer.init(params)
        for step in range(3):
            gradient = {n: slope(leaf, step) for n, leaf in params.items()}
            if params is spoilt:
                gradient["weight"][0] = torch.nan
            optimizer.update(gradient, state, params, rates)
    assert spoilt["weight"][0].isnan().all()
    assert torch.equal(well["weight"][1:], spoilt["weight"][1:])
    assert torch.equal(well["bias"], spoilt["bias"])


def test_one_step_of_each_by_hand() -> None:
    def stepped(optimizer: Optimizer) -> float:
        params = torch.tensor([[1.0]], dtype=torch.float64)
        half = torch.tensor([[0.5]], dtype=torch.float64)
        optimizer.update(
            half, optimizer.init(params), params, torch.tensor([0.1], dtype=torch.float64)
        )
        return params.item()

    assert stepped(Sgd()) == pytest.approx(1.0 - 0.1 * 0.5)
    assert stepped(Sgd(weight_decay=0.2)) == pytest.approx(1.0 - 0.1 * (0.5 + 0.2))
    assert stepped(Sgd(momentum=0.9)) == pytest.approx(1.0 - 0.1 * 0.5)
    assert stepped(Sgd(momentum=0.9, nesterov=True)) == pytest.approx(1.0 - 0.1 * 0.5 * 1.9)
    # one step, and the look ahead along it
    assert stepped(LookAhead(momentum=0.9)) == pytest.approx(1.0 - 0.1 * 0.5 * 1.9)
    assert stepped(Adam()) == pytest.approx(1.0 - 0.1, rel=1e-6)  # the first step is the rate
    inside = Adam(epsilon=0.11, epsilon_inside=True)
    assert stepped(inside) == pytest.approx(1.0 - 0.1 * 0.5 / 0.6)  # 0.25 + 0.11 = 0.6^2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sgd", {"momentum": 1.0}, r"`momentum` must be in \[0, 1\). Found 1.0."),
        ("sgd", {"momentum": -0.1}, r"`momentum` must be in \[0, 1\). Found -0.1."),
        ("sgd", {"momentum": float("nan")}, r"`momentum` must be in \[0, 1\). Found nan."),
        ("sgd", {"nesterov": True}, r"Nesterov's method needs `momentum` above 0. Found 0.0."),
        ("look_ahead", {"momentum": 0.0}, r"`momentum` must be in \(0, 1\). Found 0.0."),
        ("look_ahead", {"momentum": 1.0}, r"`momentum` must be in \(0, 1\). Found 1.0."),
        ("look_ahead", {"momentum": -0.1}, r"`momentum` must be in \(0, 1\). Found -0.1."),
        ("look_ahead", {"momentum": float("nan")}, r"`momentum` must be in \(0, 1\). Found nan."),
        ("adam", {"beta1": 1.0}, r"`beta1` must be in \[0, 1\). Found 1.0."),
        ("adam", {"beta2": -1.0}, r"`beta2` must be in \[0, 1\). Found -1.0."),
        ("lion", {}, r"Unknown optimizer 'lion'. Choose from: sgd, look_ahead, adam."),
    ],
)
def test_bad_settings(name: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_that_is_no_tensor_and_parameters_in_a_list_are_refused(name: str) -> None:
    optimizer = build(name, **({"momentum": 0.9} if name == "look_ahead" else {}))
    params = torch.ones(1, 3)
    state = optimizer.init(params)
    with pytest.raises(
        TypeError,
        match=r"^`learning_rate` is a tensor of shape \(R,\), .* Found float: for one replica, give .*tensor\(\[0\.1\]\)\.$",
    ):
        optimizer.update(params, state, params, 0.1)  # type: ignore[arg-type]
    assert torch.equal(params, torch.ones(1, 3))
    with pytest.raises(
        TypeError,
        match=r"^Parameters are a tensor or a dict of tensors\. Found list: of a module give ",
    ):
        optimizer.update([params], state, [params], torch.tensor([0.1]))  # type: ignore[arg-type]
    torch.testing.assert_close(state, optimizer.init(params), rtol=0, atol=0)  # no step was counted


def test_names() -> None:
    assert list(OPTIMIZERS) == ["sgd", "look_ahead", "adam"]
    assert build("sgd", momentum=0.9) == Sgd(momentum=0.9)
    assert build("look_ahead", momentum=0.5) == LookAhead(momentum=0.5)
    assert build("adam") == Adam(beta1=0.9, beta2=0.999, epsilon=1e-8, epsilon_inside=False)

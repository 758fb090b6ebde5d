"""The plain loop computes what our estimators and optimizers do: the same losses, gradients and parameters."""

from itertools import islice
from typing import Any

import pytest
import torch
from references import draw, generators, laid_out_like
from torch import Tensor, nn

from repro import estimators, models, optimizers, plain
from repro.autodiff import Params

CPU = torch.device("cpu")
IMAGE = (1, 16, 16)
NETWORKS: dict[str, dict[str, int]] = {
    "logistic_regression": {},
    "mlp": {"width": 12, "depth": 2},
    "cnn": {"channels": 3, "width": 7},
    "vgg": {"channels": 2, "width": 5},
}
RATE = torch.tensor([0.05], dtype=torch.float64)


class Case:
    """One network, its parameters for us and for `torch.nn`, and a mini-batch."""

    def __init__(self, name: str) -> None:
        self.network = models.build(name, IMAGE, 10, **NETWORKS[name])
        self.params = self.network.start(generators(1), torch.float64, CPU)
        self.model = plain.module(self.network, self.params)
        self.images = draw(5, *IMAGE, seed=1)
        self.labels = torch.tensor([1, 0, 7, 7, 3])

    def objective(self, params: Params) -> Tensor:
        assert isinstance(params, dict)
        logits = self.network(params, self.images[None])
        return nn.functional.cross_entropy(logits[0], self.labels)[None]

    def laid_out(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Our leaves of the only replica, by the names and in the layout of the module."""
        named = zip(self.model.named_parameters(), values.values(), strict=True)
        return {name: laid_out_like(p, leaf[0]) for (name, p), leaf in named}

    def gradients(self) -> dict[str, Tensor]:
        return {name: p.grad for name, p in self.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", NETWORKS)
def test_backpropagation_is_ours(name: str) -> None:
    case = Case(name)
    ours = estimators.Backpropagation()(case.objective, case.params)
    for _ in range(2):  # gradients do not pile up
        loss = plain.backpropagation(case.model, case.images, case.labels)
    torch.testing.assert_close(loss, ours.value[0], rtol=1e-12, atol=0)
    assert isinstance(ours.gradient, dict)
    torch.testing.assert_close(
        case.gradients(), case.laid_out(ours.gradient), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("tangents", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_forward_gradient_is_ours_at_equal_tangents(name: str, tangents: int) -> None:
    case = Case(name)
    estimator = estimators.ForwardGradient(num_tangents=tangents)
    ours = estimator(case.objective, case.params, generators(1, seed=5))
    flat = estimator.draw(case.params, generators(1, seed=5))[0]
    sizes = [leaf[0].numel() for leaf in case.params.values()]
    directions = [
        case.laid_out(
            {
                key: piece.view(leaf.shape)
                for (key, leaf), piece in zip(case.params.items(), v.split(sizes), strict=True)
            }
        )
        for v in flat
    ]
    loss = plain.forward_gradient(case.model, case.images, case.labels, directions)
    torch.testing.assert_close(loss, ours.value[0], rtol=1e-12, atol=0)
    assert isinstance(ours.gradient, dict)
    torch.testing.assert_close(
        case.gradients(), case.laid_out(ours.gradient), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("sgd", {}),
        ("sgd", {"momentum": 0.9, "nesterov": True}),
        ("adam", {}),
        ("adam", {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-4}),
    ],
)
def test_three_steps_end_where_ours_do(name: str, options: dict[str, Any]) -> None:
    case = Case("mlp")
    rule = plain.optimizer(name, case.model, float(RATE), **options)
    ours = optimizers.build(name, **options)
    state = ours.init(case.params)
    for _ in range(3):
        plain.backpropagation(case.model, case.images, case.labels)
        rule.step()
        estimate = estimators.Backpropagation()(case.objective, case.params)
        ours.update(estimate.gradient, state, case.params, RATE)
    # Adam's own kernel reads a bias-corrected rate in float32
    torch.testing.assert_close(
        {name: p.detach() for name, p in case.model.named_parameters()},
        case.laid_out(case.params),
        rtol=1e-5,
        atol=1e-7,
    )


def test_a_module_has_its_own_parameters() -> None:
    network = models.build("mlp", IMAGE, 10, width=4, depth=1)
    params = network.start(generators(2), torch.float64, CPU)
    first, second = (plain.module(network, params, replica) for replica in (0, 1))
    before = params["0.weight"].clone()
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert torch.equal(params["0.weight"], before)
    assert torch.equal(next(second.parameters()), before[1].mT)


def test_directions_are_standard_normal_and_differ() -> None:
    case = Case("mlp")
    first, second = plain.directions(case.model, 2, generators(1)[0])
    assert first.keys() == dict(case.model.named_parameters()).keys()
    numbers = torch.cat([leaf.flatten() for leaf in (*first.values(), *second.values())])
    assert abs(float(numbers.mean())) < 4 / len(numbers) ** 0.5
    assert abs(float(numbers.var()) - 1) < 4 * (2 / len(numbers)) ** 0.5
    assert not torch.equal(first["1.weight"], second["1.weight"])


@pytest.mark.parametrize(("drop_last", "sizes"), [(True, [4, 4]), (False, [4, 4, 2])])
def test_batches_go_through_all_examples_epoch_after_epoch(
    drop_last: bool, sizes: list[int]
) -> None:
    labels = torch.arange(10)
    source = plain.batches(labels[:, None].float(), labels, 4, drop_last, generators(1)[0])
    epochs = [list(islice(source, len(sizes))) for _ in range(2)]
    for epoch in epochs:
        assert [len(part) for _, part in epoch] == sizes
        assert all(torch.equal(images[:, 0].long(), part) for images, part in epoch)
        seen = torch.cat([part for _, part in epoch])
        assert len(set(seen.tolist())) == sum(sizes)
    assert not torch.equal(epochs[0][0][1], epochs[1][0][1])  # shuffled anew


def test_optimizers_that_torch_lacks_are_refused() -> None:
    model = nn.Linear(1, 1)
    message = r"has the optimizers sgd, adam of torch.optim only. Found 'look_ahead'."
    with pytest.raises(ValueError, match=message):
        plain.optimizer("look_ahead", model, 0.1, momentum=0.9)
    with pytest.raises(ValueError, match="Found 'adam', epsilon_inside"):
        plain.optimizer("adam", model, 0.1, epsilon_inside=True)

"""Sampling runs: their curves against the estimates themselves, and against the theorem."""

import dataclasses

import pytest
import references
import torch
from references import beale_gradient, draw

from repro.problems.closed_form import beale
from repro.protocol import ClosedForm, Method, RunSpec, Sampling, Training, settings, use
from repro.results import Record
from repro.sampling import KEPT_ESTIMATES, sample
from repro.training import Interrupted, tangent_generator

CPU = torch.device("cpu")
POINT = (1.5, -0.1)
BEALE = ClosedForm("test", "beale", POINT)
GRADIENT = beale_gradient(*POINT)


def run(
    num_draws: int = 1_000,
    problem: ClosedForm = BEALE,
    **estimator: str | int,
) -> RunSpec:
    method = Method("forward gradient", use("forward_gradient", **estimator), use("sgd"))
    task = Sampling(num_draws)
    return RunSpec(
        "test", "published", "smoke", "test", "report", problem, method, settings(), 0, task
    )


def one(spec: RunSpec) -> tuple[Record, dict[str, dict[int, float]]]:
    (record,) = sample([spec], CPU)
    return record, {c.metric: dict(zip(c.steps, c.values, strict=True)) for c in record.curves}


def test_curves_are_of_the_naive_estimates() -> None:
    spec = run()
    _, curves = one(spec)
    generator = tangent_generator(spec, CPU)
    point = torch.tensor(POINT, dtype=torch.float64)
    naive = torch.stack(
        [
            references.forward_gradient(
                beale, point, torch.randn(1, 2, generator=generator, dtype=torch.float64), "mean"
            )
            for _ in range(1_000)
        ]
    )
    exact = torch.tensor(GRADIENT, dtype=torch.float64)
    powers = [2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert list(curves["relative_error"]) == powers
    for axis in range(2):
        kept = curves[f"estimate_{axis}"]
        assert list(kept) == list(range(KEPT_ESTIMATES))
        assert list(kept.values()) == pytest.approx(naive[:KEPT_ESTIMATES, axis].tolist())
        assert curves[f"gradient_{axis}"] == {0: pytest.approx(GRADIENT[axis])}
        for n in powers:
            assert curves[f"mean_{axis}"][n] == pytest.approx(naive[:n, axis].mean().item())
            assert curves[f"variance_{axis}"][n] == pytest.approx(naive[:n, axis].var().item())
    for n in powers:
        error = (naive[:n].mean(0) - exact).norm() / exact.norm()
        assert curves["relative_error"][n] == pytest.approx(error.item())


def test_mean_and_variance_are_those_of_the_theorem() -> None:
    n = 2**11
    _, curves = one(run(n))
    squared = sum(g**2 for g in GRADIENT)
    for axis, slope in enumerate(GRADIENT):
        variance = squared + slope**2
        assert abs(curves[f"mean_{axis}"][n] - slope) < 4 * (variance / n) ** 0.5
        # the fourth moment of a product of normals is at most 105 |g|^4: its standard error, at most
        assert abs(curves[f"variance_{axis}"][n] - variance) < 4 * (105 * squared**2 / n) ** 0.5


def test_projection_on_both_dimensions_has_no_error() -> None:
    _, curves = one(run(16, aggregation="orthogonal_projection", num_tangents=2))
    assert max(curves["relative_error"].values()) < 1e-9


def test_a_record_states_cost() -> None:
    record, _ = one(run(10, num_tangents=3))
    assert record.status == "done"
    expected = {"num_parameters": 2, "num_steps": 10, "forward_passes": 70.0, "tangents": 30.0}
    assert {name: record.measured[name] for name in expected} == expected
    assert record.measured["value"] == pytest.approx(float(beale(torch.tensor(POINT))), rel=1e-6)


@pytest.mark.parametrize(("num_draws", "counts"), [(2, [2]), (3, [2]), (4, [2, 4]), (9, [2, 4, 8])])
def test_counts_are_the_powers_of_two(num_draws: int, counts: list[int]) -> None:
    _, curves = one(run(num_draws))
    assert list(curves["mean_0"]) == counts
    assert list(curves["estimate_0"]) == list(range(num_draws))


def test_two_components_are_kept_of_many() -> None:
    start = tuple(draw(5).tolist())
    record, curves = one(run(8, ClosedForm("test", "rosenbrock", start)))
    assert {"mean_0", "mean_1"} <= set(curves)
    assert "mean_2" not in curves
    assert record.measured["num_parameters"] == 5


def test_repetitions_draw_apart_and_again_the_same() -> None:
    first, second = run(8), dataclasses.replace(run(8), repetition=1)
    done: list[int] = []
    records = sample([first, second, first], CPU, on_steps=done.append)
    assert [record.spec for record in records] == [first, second, first]
    assert records[0].curves == records[2].curves != records[1].curves
    assert done == [8, 8, 8]


def test_stopping_keeps_nothing() -> None:
    with pytest.raises(Interrupted):
        sample([run(2), run(2)], CPU, should_stop=lambda: True)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"`num_draws` must be at least 2. Found 1."):
        Sampling(1)
    training = dataclasses.replace(run(), task=Training(1, 1))
    with pytest.raises(ValueError, match=r"Expected a sampling run. Found Training."):
        sample([training], CPU)
    unknown = dataclasses.replace(run(2), method=Method("m", use("evolution"), use("sgd")))
    with pytest.raises(ValueError, match="Unknown estimator 'evolution'"):
        sample([unknown], CPU)

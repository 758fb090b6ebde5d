"""Runs and tangents that do not fit in memory together are trained in parts, to the same rows."""

from typing import Any

import pytest
import torch
from training_cases import CPU, FORWARD, MLP, PROJECTED, measured, run

from repro import training
from repro.protocol import RunSpec
from repro.results import Record
from repro.training import train, train_within_memory


class Memory:
    """A device that holds so many runs, and tangents of a run, at once."""

    def __init__(self, runs: int, tangents: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs, self.tangents = runs, tangents
        self.attempts: list[tuple[int, int]] = []
        self._train = train
        monkeypatch.setattr(training, "train", self)

    def __call__(
        self, specs: list[RunSpec], device: torch.device, *, chunk_size: int | None, **how: Any
    ) -> list[Record]:
        tangents = chunk_size or int(
            str(specs[0].method.estimator.options().get("num_tangents", 1))
        )
        self.attempts.append((len(specs), tangents))
        if len(specs) > self.runs or tangents > self.tangents:
            # CUDA's allocator, its driver, and that of this machine
            raise (
                torch.OutOfMemoryError("CUDA out of memory"),
                RuntimeError("CUDA error: out of memory"),
                RuntimeError("alloc_cpu.cpp: DefaultCPUAllocator: can't allocate memory"),
            )[len(self.attempts) % 3]
        return self._train(specs, device, chunk_size=chunk_size, **how)


def test_runs_that_do_not_fit_together_train_in_smaller_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    specs = [run(MLP, FORWARD, repetition=r) for r in range(5)]
    expected = train(specs, CPU)
    memory = Memory(2, 1, monkeypatch)
    with pytest.warns(RuntimeWarning) as caught:
        records = train_within_memory(specs, CPU)
    assert memory.attempts == [(5, 1), (3, 1), (2, 1), (1, 1), (2, 1)]
    assert [str(warning.message) for warning in caught] == [
        "test: forward gradient: 5 runs together do not fit in memory; trying 3.",
        "test: forward gradient: 3 runs together do not fit in memory; trying 2.",
    ]
    assert [record.spec for record in records] == specs
    for mine, theirs in zip(records, expected, strict=True):
        assert measured(mine, "score") == pytest.approx(measured(theirs, "score"), rel=1e-5)


def test_tangents_that_do_not_fit_are_carried_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    (expected,) = train([run(MLP, PROJECTED)], CPU)
    memory = Memory(1, 1, monkeypatch)
    with pytest.warns(RuntimeWarning) as caught:
        (record,) = train_within_memory([run(MLP, PROJECTED)], CPU)
    assert [str(warning.message) for warning in caught] == [
        "test: projected: 3 tangents at once do not fit in memory; trying 2.",
        "test: projected: 2 tangents at once do not fit in memory; trying 1.",
    ]
    assert memory.attempts == [(1, 3), (1, 2), (1, 1)]
    assert record.spec == expected.spec  # how it was computed is no part of what was computed
    assert measured(record, "score") == pytest.approx(measured(expected, "score"), rel=1e-5)


def test_a_run_that_does_not_fit_at_all_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Memory(0, 1, monkeypatch)
    with pytest.raises(OSError, match="does not fit") as caught:
        train_within_memory([run(MLP, FORWARD)], CPU)
    assert str(caught.value) == (
        "test: forward gradient does not fit in the memory of cpu alone. "
        "Use another device or a smaller scale."
    )

"""What every test gets, with PyTorch or without.

A module that imports PyTorch is skipped where it is not installed; a test that needs it only when it runs
is marked `torch`. Slow tests run with `--runslow`, tests marked `data` where REPRO_DATA_DIR holds MNIST.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")  # no test opens a window

TRAIN = ("torch", "optuna", "pooch", "requests", "sklearn")  # what the extra `train` brings
HAS_TORCH = find_spec("torch") is not None
MNIST = "train-images-idx3-ubyte"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="run the tests marked slow, too")


class _SkipWhatNeeds:
    """The last resort of imports: what belongs to `train` and is not installed skips the module."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in TRAIN:
            pytest.skip(f"{name} is not installed", allow_module_level=True)
        return None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    # while collecting only: a test that reaches PyTorch where it must not has to fail
    sys.meta_path.append(_SkipWhatNeeds)
    try:
        return (yield)
    finally:
        sys.meta_path.remove(_SkipWhatNeeds)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = {
        "slow": None if config.getoption("--runslow") else "slow; needs --runslow",
        "data": None if _has_mnist() else f"REPRO_DATA_DIR does not hold {MNIST}",
        "torch": None if HAS_TORCH else "torch is not installed",
    }
    for item in items:
        for marker, reason in missing.items():
            if reason is not None and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


def _has_mnist() -> bool:
    folder = os.environ.get("REPRO_DATA_DIR")
    if not folder:
        return False
    places = (Path(folder, *parts) for parts in ((), ("mnist",), ("MNIST", "raw")))
    return any(Path(place, MNIST + end).is_file() for place in places for end in ("", ".gz"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Sums come out alike on every machine."""
    torch = sys.modules.get("torch")  # importing it takes seconds, and not every test needs it
    if torch is not None:
        torch.set_num_threads(1)

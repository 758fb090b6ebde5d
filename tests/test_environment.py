"""What a row says of where it was made."""

import gc
import os
import platform
import re
import subprocess
import sys
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import repro
from repro import environment
from repro.results import ENVIRONMENT

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    for cached in (environment.commit, environment.device_name):
        cached.cache_clear()
    yield
    for cached in (environment.commit, environment.device_name):
        cached.cache_clear()


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    command = ["git", "-C", str(root), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own, of which `repro.environment` takes itself to be a part."""
    root = tmp_path / "checkout"
    (root / "repro").mkdir(parents=True)
    (root / "studies").mkdir()
    for name in ("repro/code.py", "studies/study.py", "README.md"):
        (root / name).write_text("1\n")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(environment, "__file__", str(root / "repro" / "environment.py"))
    return root


def commit_all(root: Path) -> str:
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message", "one")
    return git(root, "rev-parse", "--short=12", "HEAD")


def test_the_commit_of_the_code_is_named(checkout: Path) -> None:
    head = commit_all(checkout)
    assert re.fullmatch(r"[0-9a-f]{12}", head)
    assert environment.commit() == head


@pytest.mark.parametrize("name", ["repro/code.py", "studies/study.py"])
def test_changed_code_is_marked(checkout: Path, name: str) -> None:
    head = commit_all(checkout)
    (checkout / name).write_text("2\n")
    assert environment.commit() == head + "+"


def test_other_changes_are_not_marked(checkout: Path) -> None:
    head = commit_all(checkout)
    (checkout / "README.md").write_text("2\n")
    assert environment.commit() == head


def test_the_index_is_read_and_never_locked_or_written(checkout: Path) -> None:
    commit_all(checkout)
    code, index = checkout / "repro" / "code.py", checkout / ".git" / "index"
    before = index.read_bytes()
    os.utime(code, (1, 1))  # git status would note that the content is the same
    environment.commit()
    assert index.read_bytes() == before
    git(checkout, "status")
    assert index.read_bytes() != before


def test_without_a_repository_there_is_no_commit(checkout: Path) -> None:
    assert (checkout / "repro").exists()
    assert environment.commit() == ""


def test_without_a_first_commit_there_is_no_commit(checkout: Path) -> None:
    git(checkout, "init", "--quiet")
    assert environment.commit() == ""


def test_without_git_there_is_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_all(checkout)
    monkeypatch.setenv("PATH", str(checkout))
    assert environment.commit() == ""


def test_every_environment_column_is_described() -> None:
    described = environment.describe(CPU)
    assert set(described) == set(ENVIRONMENT) - {"group_size", "finished"}
    kinds = {"str": str, "int64": int, "float64": float}
    for name, value in described.items():
        assert isinstance(value, kinds[ENVIRONMENT[name]]), name
    assert described["torch"] == torch.__version__
    assert described["python"] == platform.python_version()
    assert described["repro"] == repro.__version__
    assert described["num_threads"] == torch.get_num_threads()
    assert described["device"]


def test_threads_are_those_of_the_moment() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        assert environment.describe(CPU)["num_threads"] == before + 1
    finally:
        torch.set_num_threads(before)


def test_the_device_is_named_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError

    monkeypatch.setattr(Path, "read_text", refuse)
    assert environment.device_name(CPU) == (platform.processor() or platform.machine())


def test_the_time_is_utc_to_the_second() -> None:
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", environment.now())


def test_the_cpu_needs_no_waiting() -> None:
    environment.synchronize(CPU)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
def test_memory_that_a_step_gives_back_is_not_cleared_again() -> None:
    program = """
import resource, torch
from repro.environment import set_up_process

def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(2**24).fill_(1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

anew = min(pages() for _ in range(10))
set_up_process()
print(anew, min(pages() for _ in range(10)))
"""
    command = [sys.executable, "-c", program]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    anew, again = map(int, shown.split())
    # 64 MiB are 16,384 pages of 4 KiB, or fewer larger ones
    assert anew > 10 * max(again, 1)


def test_memory_that_cannot_be_given_back_hides_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse() -> None:
        asked.append(True)
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    monkeypatch.setattr(torch.cuda, "empty_cache", refuse)
    environment.give_memory_back(CPU)
    assert not asked
    environment.give_memory_back(torch.device("cuda"))
    assert asked


def test_memory_of_an_attempt_that_is_left_in_a_cycle_is_given_back() -> None:
    class Attempt:
        def __init__(self) -> None:
            self.itself = self

    attempt = Attempt()
    kept = weakref.ref(attempt)
    gc.disable()
    try:
        del attempt
        assert kept() is not None
        environment.give_memory_back(CPU)
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"), True),
        (RuntimeError("CUDA driver error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling"), True),
        (
            RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
            True,
        ),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), False),
        (RuntimeError("CUDA error: unspecified launch failure"), False),
    ],
)
def test_memory_that_ran_out_is_known_by_all_its_names(
    error: RuntimeError, is_memory: bool
) -> None:
    assert environment.is_out_of_memory(error) == is_memory


def test_float32_is_multiplied_in_float32_and_no_version_warns_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    flags.allow_tf32 = cudnn.allow_tf32 = True
    set_flag: Any = type(flags).__setattr__

    def warn_and_set(self: Any, name: str, value: object) -> None:  # as PyTorch 2.9.0 does
        warnings.warn("Please use the new API settings to control TF32 behavior", stacklevel=1)
        set_flag(self, name, value)

    monkeypatch.setattr(type(flags), "__setattr__", warn_and_set)
    environment.set_up_process()  # a warning is an error here
    assert (flags.allow_tf32, cudnn.allow_tf32) == (False, False)
    # what a product or a convolution asks for, from PyTorch 2.9 on
    if (precision := getattr(torch._C, "_get_fp32_precision_getter", None)) is not None:
        assert "tf32" not in [precision("cuda", kind) for kind in ("matmul", "conv", "rnn")]

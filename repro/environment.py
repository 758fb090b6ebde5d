"""What a number was made with: versions, device, threads, what else the machine was doing; and how a process is set up."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import multiprocessing
import os
import platform
import subprocess
import warnings
from datetime import UTC, datetime
from pathlib import Path

import torch

import repro

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's malloc.h


@functools.cache
def commit() -> str:
    """Return the commit of the code that runs, `+` appended where files were changed since."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return ""
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(
            root,
            "status",
            "--porcelain",
            "--untracked-files=all",
            "--",
            "repro/*.py",
            "studies/*.py",
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    # without its optional lock: killed while it holds it, this process would leave the repository locked
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@functools.cache
def device_name(device: torch.device) -> str:
    """Return the model of a device, as its maker calls it."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe(device: torch.device) -> dict[str, str | int | float]:
    """Return the environment columns of a run that starts now.

    Args:
        device: Where it runs.

    Returns:
        Values of `repro.results.ENVIRONMENT`, except the group's size and the finish.
    """
    return {
        "commit": commit(),
        "repro": repro.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": device_name(device),
        "num_threads": torch.get_num_threads(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan"),
    }


def now() -> str:
    """Return the time in UTC, to the second, in ISO 8601."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def end_with_parent() -> None:
    """End this process, whatever it does, when the one that started it ends: nobody reads it any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def set_up_process() -> None:
    """Give all methods the same arithmetic and the same memory.

    CUDA multiplies float32 in float32, not TF32. On a CPU, memory that a step gives back stays with the process: glibc
    returns blocks above 32 MiB to the system at once, which clears them page by page when the next step asks again.
    Large gradients cost half a step of backpropagation that way, and tangents a third of their drawing.
    """
    with warnings.catch_warnings():
        # some versions warn of these flags, but all know them, and after the newer ones alone nobody may read them
        warnings.simplefilter("ignore")
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    _keep_memory()


@functools.cache
def _keep_memory() -> None:
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether memory is what an error of PyTorch is about; only its CUDA allocator has a type for that."""
    words = (
        "CUDA error: out of memory",
        "CUDA driver error: out of memory",
        "_STATUS_ALLOC_FAILED",
        "_ALLOCATION_FAILED",  # of cuDNN, from 9 on
        # of a convolution, of which PyTorch tries one algorithm after another until one has the memory that it needs
        "unable to find an engine to execute this computation",
        "DefaultCPUAllocator: ",
    )
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


def give_memory_back(device: torch.device) -> None:
    """Free on a device what nothing refers to and what PyTorch keeps there for later; where it cannot, that stays."""
    # what an attempt left in cycles, as of frames in which something was imported, is as large as the attempt
    gc.collect()
    if device.type == "cuda":
        # it refuses after a recording that did not end: what is wrong then is said where memory is missing
        with contextlib.suppress(RuntimeError):
            torch.cuda.empty_cache()


def synchronize(device: torch.device) -> None:
    """Wait until a device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

"""Checkpoints: what a run under way leaves behind, so that it goes on where it was and not at its start.

A checkpoint is a copy of everything that the rest of a run depends on, written whole and renamed into place. It
is kept beside the finished runs until they are there, one file for the runs that train together, and it is
no result: one that is damaged, or was made for other runs, by other code or on another kind of device, is
named and not used, and the runs start anew.

A file is one line of JSON, which says what it belongs to and holds the checksum of the rest, and then tensors
as PyTorch saves them. They are read with `weights_only`, which builds tensors and plain containers and calls
nothing that a file names.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from repro.protocol import RunSpec
from repro.results import remove_leftovers, write_whole

SCHEMA = 2
"""Version of the files; any other is not used."""

FOLDER = "checkpoints"
"""Where they lie in a store; no finished run has such a name."""

ARITHMETIC = (
    "aggregation/*.py",
    "autodiff/*.py",
    "checkpoints.py",
    "datasets/*.py",
    "engine.py",
    "estimators/*.py",
    "models/*.py",
    "optimizers.py",
    "problems/*.py",
    "protocol/*.py",
    "stopping.py",
    "tangents.py",
    "training/*.py",
)
"""Sources that decide what the rest of a run gives."""

State = Mapping[str, Any]
"""What is kept: tensors, numbers and strings in lists and dicts."""


@functools.cache
def code_version() -> str:
    """Return a digest of the sources that a run's numbers depend on."""
    root = Path(__file__).parent
    paths = sorted(path for pattern in ARITHMETIC for path in root.glob(pattern))
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


class _RefusedError(Exception):
    """A file that is not used; the message says why."""


class Checkpoint:
    """The checkpoint of some runs that train together.

    Attributes:
        path: The file.
        of_part: Whether the runs are a part of a group, whose other parts are still to come when these have ended.
        earlier_seconds: Seconds that the runs had taken when they were taken up again.
        earlier_processor_seconds: Those of them in which a processor was at work for them.
    """

    def __init__(
        self, path: Path, belongs: Mapping[str, object], every: float, *, of_part: bool = False
    ) -> None:
        """Name the file; its folder is made at the first save.

        Args:
            path: The file.
            belongs: What a file must have been made for to be used; plain JSON.
            every: Seconds between two checkpoints.
            of_part: See the class.
        """
        self.path, self.of_part = path, of_part
        self._belongs, self._every = dict(belongs), every
        self.earlier_seconds = self.earlier_processor_seconds = 0.0
        self._begun = self._last = time.monotonic()
        self._processor_begun = time.process_time()
        self._failed = False

    def load(self) -> tuple[int, State] | None:
        """Return the steps done and what was kept; `None` without a file, or with a warning that says why."""
        try:
            remove_leftovers(self.path)
            return self._read(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
        except _RefusedError as error:
            reason = str(error)
        warnings.warn(
            f"The checkpoint {self.path} {reason}. It is not used: its runs start anew, and their next "
            "checkpoint replaces it.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None

    def _read(self, content: bytes) -> tuple[int, State]:
        line, _, body = content.partition(b"\n")
        about = _about(line)
        # byte by byte: in another last digit a number may be the same
        if about is None or line != _encode({"sha256": _digest(about, body), "about": about}):
            raise _RefusedError("is truncated or damaged")
        found = about["belongs"]
        differ = [name for name, value in self._belongs.items() if found.get(name) != value]
        if about["schema"] != SCHEMA or differ:
            raise _RefusedError(f"was made for other {' and '.join(differ) or 'readers'}")
        try:
            state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
        except Exception as error:
            raise _RefusedError(f"holds no tensors ({type(error).__name__})") from error
        self.earlier_seconds = about["seconds"]
        self.earlier_processor_seconds = about["processor_seconds"]
        return about["step"], state

    def is_due(self) -> bool:
        """Tell whether it is time for the next one."""
        return time.monotonic() - self._last >= self._every

    def save(self, step: int, state: State) -> None:
        """Replace the file; where that fails the run goes on, with a warning the first time.

        Args:
            step: Steps done, at least 1.
            state: What to keep.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        body = buffer.getvalue()
        processor = time.process_time() - self._processor_begun
        about = {
            "schema": SCHEMA,
            "step": step,
            "seconds": self.earlier_seconds + time.monotonic() - self._begun,
            "processor_seconds": self.earlier_processor_seconds + processor,
            "belongs": self._belongs,
        }
        head = {"sha256": _digest(about, body), "about": about}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, _encode(head) + b"\n" + body)
        except OSError as error:
            if not self._failed:
                warnings.warn(
                    f"The checkpoint {self.path} cannot be written ({error.strerror or error}). The runs go "
                    "on; stopped now, they would start from the last one, or anew.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self._failed = True
        self._last = time.monotonic()


class Checkpoints:
    """The checkpoints of a group: one, or several where its runs do not fit in memory together."""

    def __init__(self, store: Path, every: float, group: Sequence[RunSpec] = ()) -> None:
        """Say where and how often.

        Args:
            store: Folder of the finished runs.
            every: Seconds between two checkpoints of the same runs; 0 for none at all.
            group: The runs, by whose name the files of its parts are found, too.
        """
        self._directory, self._every = store / FOLDER, every
        self._group = name_of(group) if group else ""
        self._used: dict[Path, Checkpoint] = {}

    @property
    def earlier_seconds(self) -> float:
        """Seconds that its runs had taken when they were taken up again."""
        return sum(checkpoint.earlier_seconds for checkpoint in self._used.values())

    @property
    def earlier_processor_seconds(self) -> float:
        """Those of them in which a processor was at work for them."""
        return sum(checkpoint.earlier_processor_seconds for checkpoint in self._used.values())

    def of(
        self, specs: Sequence[RunSpec], device: torch.device, chunk_size: int | None
    ) -> Checkpoint | None:
        """Return the checkpoint of runs that train together; `None` if there shall be none.

        Args:
            specs: The runs, in stacking order.
            device: Where they train.
            chunk_size: Tangents carried at once.

        Returns:
            The checkpoint.
        """
        if not self._every:
            return None
        belongs = {
            "runs": [spec.key for spec in specs],
            "tangents at once": chunk_size,
            "device": device.type,
            "PyTorch": torch.__version__,
            "code": code_version(),
        }
        name = name_of(specs, chunk_size)
        of_part = bool(self._group) and name != self._group
        if of_part:
            name = f"{self._group}-{name}"
        path = self._directory / f"{name}.checkpoint"
        made = Checkpoint(path, belongs, self._every, of_part=of_part)
        return self._used.setdefault(path, made)

    def remove(self) -> None:
        """Remove what was used: the runs are finished and kept."""
        for path in self._used:
            _unlink(path)


def name_of(specs: Sequence[RunSpec], chunk_size: int | None = None) -> str:
    """Return the name of a group of runs: a digest of their keys, in order, and of how they train."""
    words = [*(spec.key for spec in specs), *([] if chunk_size is None else [str(chunk_size)])]
    return hashlib.sha256(" ".join(words).encode()).hexdigest()


def steps_done(store: Path, specs: Sequence[RunSpec]) -> int:
    """Return how far the runs of a group were at their last checkpoint, 0 without any; of its parts, in all."""
    name = name_of(specs)
    whole = _peek(store / FOLDER / f"{name}.checkpoint")
    if whole is not None:
        return int(whole["step"])
    parts = map(_peek, (store / FOLDER).glob(f"{name}-*.checkpoint"))
    return sum(int(about["step"]) for about in parts if about is not None)


def sweep(store: Path, is_finished: Callable[[str], bool]) -> None:
    """Remove checkpoints whose runs are all finished: who removes them may be killed before.

    Args:
        store: Folder of the finished runs.
        is_finished: Whether the run of a key is among them.
    """
    for path in (store / FOLDER).glob("*.checkpoint"):
        about = _peek(path)
        if about is not None and all(map(is_finished, about["belongs"]["runs"])):
            _unlink(path)


def _peek(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as stream:
            return _about(stream.readline())
    except OSError:
        return None


def _about(line: bytes) -> dict[str, Any] | None:
    """Return what a first line says, if it has the form of one."""
    about = _json(line).get("about")
    match about:
        case {
            "schema": int(),
            "step": int(),
            "seconds": float(),
            "belongs": {"runs": [str(), *_]},
        }:
            assert isinstance(about, dict)
            return about
    return None


def _json(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _encode(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _digest(about: Mapping[str, object], body: bytes) -> str:
    digest = hashlib.sha256(_encode(about))
    digest.update(body)
    return digest.hexdigest()


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        warnings.warn(
            f"The checkpoint {path} of finished runs cannot be removed ({error.strerror or error}). Remove "
            "it by hand.",
            RuntimeWarning,
            stacklevel=3,
        )

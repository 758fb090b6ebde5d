"""Files that the user names to be written: refused before the work, written at once after it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from repro.cli.shared import UNREAD
from repro.results import write_whole


def require_writable(option: str, path: Path) -> None:
    """Refuse what cannot be written.

    Args:
        option: The option that named it.
        path: The file.

    Raises:
        ValueError: If it is a folder, or lies where nothing can be written.
    """
    if path.is_dir():
        raise ValueError(f"`{option}` expects a file. Found the folder {path}.")
    above = next(p for p in path.resolve().parents if p.exists())
    if not above.is_dir() or not (path.exists() or os.access(above, os.W_OK)):
        raise ValueError(f"`{option}` cannot write {path}: {above} is no folder to write in.")


def write_out(path: Path, content: bytes) -> None:
    """Write a file at once; through a link, or into a pipe or a device, which stay what they are.

    Args:
        path: The file; folders on the way are made.
        content: What it holds.

    Raises:
        SystemExit: If it is what the process prints to, and whoever read that has gone.
    """
    if stream := next((fd for fd in (1, 2) if _is_open_as(path, fd)), None):
        sys.stdout.flush()
        try:
            with os.fdopen(os.dup(stream), "wb") as output:
                output.write(content)
        except BrokenPipeError:  # as where tables are printed
            raise SystemExit(UNREAD) from None
    elif path.exists() and not path.is_file():
        path.write_bytes(content)
    else:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)


def _is_open_as(path: Path, descriptor: int) -> bool:
    """Tell whether a path is what this process writes to, so that replacing it would lose what is printed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False

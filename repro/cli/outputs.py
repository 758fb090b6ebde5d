"""Output files that the user names, or `-`: refused before the work if they cannot be written, written whole after it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from repro.cli.shared import UNREAD, tell
from repro.results import write_whole

STDOUT = Path("-")
"""What stands for standard output, which then holds nothing else: what people are to read goes to standard error."""
OPTIONS = ("json", "markdown")
"""Options of any verb that name a file to be written."""


def takes_stdout(options: argparse.Namespace) -> bool:
    """Tell whether a file to be written is standard output."""
    return any(getattr(options, name, None) == STDOUT for name in OPTIONS)


def require_writable(option: str, path: Path) -> None:
    """Refuse what cannot be written.

    Args:
        option: The option that named it.
        path: The file.

    Raises:
        ValueError: If it is a folder, or lies where nothing can be written.
    """
    if path == STDOUT:
        return
    if path.is_dir():
        raise ValueError(f"`{option}` expects a file. Found the folder {path}.")
    above = next(p for p in path.resolve().parents if p.exists())
    if not above.is_dir() or not (path.exists() or os.access(above, os.W_OK)):
        raise ValueError(f"`{option}` cannot write {path}: {above} is no folder to write in.")


def write_out(path: Path, content: bytes, console: Console) -> None:
    """Write a file at once and say so; through a link, or into a pipe or a device, which stay what they are.

    Args:
        path: The file, or `STDOUT`; folders on the way are made.
        content: What it holds.
        console: Where it is said.

    Raises:
        SystemExit: If it is what the process prints to, and whoever read that has gone.
    """
    if path == STDOUT:
        _print(content)
        return
    if stream := next((fd for fd in (1, 2) if _is_open_as(path, fd)), None):
        _print(content, stream)
    elif path.exists() and not path.is_file():
        path.write_bytes(content)
    else:
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)
    tell(f"written: {path}", console)


def _print(content: bytes, descriptor: int | None = None) -> None:
    """Write to an open stream, standard output by default, behind what was printed before."""
    sys.stdout.flush()
    try:
        if descriptor is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        else:
            with os.fdopen(os.dup(descriptor), "wb") as output:
                output.write(content)
    except BrokenPipeError:  # as where tables are printed
        raise SystemExit(UNREAD) from None


def _is_open_as(path: Path, descriptor: int) -> bool:
    """Tell whether a path is what this process writes to, so that replacing it would lose what is printed."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False

"""The command line: one verb per stage, help that teaches, one clear line for any error that a user can cause.

Exit status: 0 done, 1 a check or a run failed, 2 bad usage, 3 stopped early with everything finished so far kept.
"""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from repro.cli.outputs import takes_stdout
from repro.cli.parsing import make_parser, named
from repro.cli.shared import DONE, FAILED, STOPPED, UNREAD, USAGE, complain, fault_of, place_of

__all__ = ["DONE", "FAILED", "STOPPED", "USAGE", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Words of the command line; those of the process by default.

    Returns:
        The exit status.
    """
    _open_streams()
    try:
        try:
            return _answer(arguments)
        finally:
            sys.stdout.flush()
    except OSError as error:
        # what is still buffered goes nowhere, or the interpreter would complain again when it exits
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return UNREAD if isinstance(error, BrokenPipeError) else FAILED


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Stop quietly, by an exception that no handler of errors catches."""
        self.quiet = True
        raise SystemExit(UNREAD)


def _answer(arguments: Sequence[str] | None) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        # the encoding of a pipe may lack arrows and boxes, as on Windows: a question mark is better than an error
        sys.stdout.reconfigure(errors="replace")
    options = make_parser().parse_args(arguments)
    told = sys.stderr if takes_stdout(options) else sys.stdout
    # tables get room in a file or a pipe; a terminal has its own width
    console = _Console(file=told, width=None if told.isatty() else 140)
    try:
        _settle_store(options)
        status: int = named(options.verb)(options, console)
        return status
    except KeyboardInterrupt:
        return complain("stopped; finished runs are kept", STOPPED)
    except ModuleNotFoundError as error:
        _reraise_for_debugging()
        return complain(_without(error), USAGE)
    except OSError as error:
        _reraise_for_debugging()
        return complain(_in_words(error), FAILED if error.errno in FULL else USAGE)
    except ValueError as error:
        _reraise_for_debugging()
        return complain(f"{place_of(error)}{error}", USAGE)
    except Exception as error:  # a module of a user can raise anything
        _reraise_for_debugging()
        if fault := fault_of(error):
            return complain(fault, USAGE)
        raise  # a fault of this package, which is to be reported with its traceback


def _without(error: ModuleNotFoundError) -> str:
    missing = error.name or "a module"
    if missing.partition(".")[0] in OURS:
        return fault_of(error) or f"{error}."
    return (
        f"this needs {missing}, which is not installed. Install the training extra: "
        "python -m pip install -e '.[train]' -c constraints.txt"
    )


def _reraise_for_debugging() -> None:
    if os.environ.get("REPRO_DEBUG"):
        raise  # noqa: PLE0704 - called from an except clause


def _open_streams() -> None:
    """Open output streams for a process started without any, or the first file it opens would get their number."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            stream = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the process ends
            setattr(sys, name, stream)


OURS = {"repro", "studies", "figures"}
"""Packages that are here: of a module that they lack, the name is wrong."""
FULL = {errno.ENOSPC, errno.EDQUOT}
"""Errors of a full disk, which is no fault of usage."""
MENDS = {
    errno.EACCES: "Change its permissions, or name another place.",
    errno.EPERM: "Change its permissions, or name another place.",
    errno.EROFS: "Name a place that can be written to.",
    errno.ENOTDIR: "A part of that path is a file: name another.",
    errno.EISDIR: "Name a file.",
    errno.EEXIST: "A file is where a folder is to be: move it away.",
    errno.ENOENT: "Check the name.",
    errno.EFBIG: "A limit on the size of files stops it: raise it (`ulimit -f`) and run the same command again.",
    **dict.fromkeys(FULL, "Make room and run the same command again."),
}


def _in_words(error: OSError) -> str:
    """Return what the system refused and how to mend it; an error with a message of its own keeps that."""
    if error.strerror is None:
        return str(error)
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror}. {MENDS.get(error.errno or 0, '')}"


def _settle_store(options: argparse.Namespace) -> None:
    """Put in the default if no store was named; a named one has to exist for a verb that only reads."""
    if not hasattr(options, "store"):
        return
    is_default = options.store is None
    if is_default:
        options.store = options.default_store
    expected = "`--store` expects a folder of finished runs"
    if options.store.exists():
        if not options.store.is_dir():
            raise ValueError(f"{expected}. Found the file {options.store}.")
    elif options.only_reads and not is_default:
        # a misspelt name would be taken for an empty store
        raise ValueError(
            f"{expected}. Found nothing at {options.store}. Correct the name, or let `repro run` make it."
        )
    if getattr(options, "folders", None) and not is_default:
        raise ValueError("`--from` takes its rows from folders instead of `--store`. Found both.")

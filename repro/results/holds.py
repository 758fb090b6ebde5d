"""Work that only one process may do at a time: a lock in a shared folder, with the name of its holder.

The lock is the operating system's, so it ends with the process that holds it, however that ends, and depends on no
clock. The name beside it is for people.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import json
import os
import socket
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}
"""What file systems say that have no locks."""


class HeldError(ValueError):
    """Somebody else does it already; the message says who."""


@contextlib.contextmanager
def hold(
    folder: Path, name: str, what: str, *, option: str = "--store", traceless: bool = False
) -> Iterator[None]:
    """Be the only process that does something, while the block lasts.

    Args:
        folder: A folder that all processes share which may want to do it; created if missing.
        name: What it is called there; a path below the folder.
        what: What is done, in words that begin a sentence: "x is searched".
        option: The option that names the folder.
        traceless: Whether nothing may stay in the folder. On a network's file system that shows a removal late,
            somebody else may then come in at the very end.

    Yields:
        Nothing.

    Raises:
        HeldError: If another process does it.
        OSError: If nothing can be written to the folder.
    """
    from filelock import FileLock, Timeout

    path = folder / name
    holder = path.with_name(f"{path.name}.json")
    locked = path.with_name(f"{path.name}.lock")
    traces = [locked] if traceless else []
    # a lock that is only a file would outlive a process that is killed
    lock = FileLock(locked, mode=0o664, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise HeldError(
            f"{what} already, by {_who(holder)}. Wait for it or stop it; nothing was done."
        ) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
            raise OSError(
                f"{folder} takes no files ({error.strerror or error}). Give `{option}` a folder that you can "
                "write to."
            ) from error
        warnings.warn(
            f"The file system of {path.parent} has no locks: see to it yourself that {what} only once.",
            RuntimeWarning,
            stacklevel=3,
        )
        try:
            yield
        finally:
            _remove(*traces)
        return
    try:
        with contextlib.suppress(OSError):  # for people only
            holder.write_bytes(json.dumps(_myself()).encode())
        yield
    finally:
        # who waits for a lock whose file is gone sees that, and makes another
        _remove(holder, *traces)
        lock.release()


def _remove(*paths: Path) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            path.unlink()


def _myself() -> dict[str, str | int]:
    try:
        user = getpass.getuser()
    except (OSError, KeyError, ImportError):  # a user without a name, as in some containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "somebody"
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return {"process": os.getpid(), "host": socket.gethostname(), "user": user, "since": since}


def _who(holder: Path) -> str:
    try:
        found = json.loads(holder.read_bytes())
        return f"process {found['process']} of {found['user']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a process that has not said its name"

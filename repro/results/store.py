"""A folder of finished runs, one file each, written whole and renamed into place: any number of processes may write."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from repro.results.records import Record, RejectedFileError, encode, read_record

GONE = "gone while the store was read, or a link to nothing."
"""Message about a file that was there a moment ago."""
_FOLDERS = tuple(f"{number:02x}" for number in range(256))


class Store:
    """A folder of finished runs, one file each; safe for any number of writers."""

    def __init__(self, directory: Path) -> None:
        """Name the folder; it is made at the first write."""
        self.directory = directory

    def path(self, key: str) -> Path:
        """Return where the run of that key is or would be kept."""
        return self.directory / key[:2] / f"{key}.json"

    def __contains__(self, key: str) -> bool:
        """Whether a usable record of that key is here; unlike `is_finished`, silent about a file that cannot be used."""
        try:
            return self.is_finished(key)
        except RejectedFileError:
            return False

    def is_finished(self, key: str) -> bool:
        """Tell whether the run of that key is finished: its record is here, and can be read.

        Args:
            key: Of a run.

        Returns:
            Whether it is.

        Raises:
            RejectedFileError: If its file cannot be used: it would neither be read nor written over.
        """
        try:
            read_record(self.path(key))
        except FileNotFoundError:
            return False
        return True

    def write(self, record: Record) -> Path:
        """Write a finished run, whole or not at all.

        Args:
            record: The run and what it gave.

        Returns:
            The file.

        Raises:
            RejectedFileError: If an unusable file already has that name; it is left as it is.
        """
        path = self.path(record.spec.key)
        if path.exists():
            read_record(path)  # an unusable file must not be overwritten silently
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, encode(record).encode())
        return path

    def files(self) -> list[Path]:
        """Return the files of finished runs, sorted by key."""
        return [self.directory / folder / entry.name for folder, entry in self._entries()]

    def look(self) -> Iterator[tuple[str, str, os.stat_result | None]]:
        """Yield folder, name and what the system knows of every file, sorted by key; `None` for a link to nothing."""
        for folder, entry in self._entries():
            try:
                yield folder, entry.name, entry.stat()
            except OSError:
                yield folder, entry.name, None

    def _entries(self) -> Iterator[tuple[str, os.DirEntry[str]]]:
        # by names, not paths: a store may have very many
        for folder in _FOLDERS:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                with os.scandir(self.directory / folder) as found:
                    entries = [entry for entry in found if entry.name.endswith(".json")]
                for entry in sorted(entries, key=lambda entry: entry.name):
                    yield folder, entry


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file's content atomically: a reader sees the old bytes or the new ones.

    Args:
        path: The file; its folder must exist.
        content: The bytes.
    """
    with writing_whole(path) as stream:
        stream.write(content)


@contextlib.contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Replace a file's content atomically by what is written meanwhile, or leave it as it is after an exception.

    Args:
        path: The file; its folder must exist.

    Yields:
        Where to write.
    """
    # not `tempfile`, whose files nobody else on a shared store could read
    temporary = path.parent / f"{_temporary(path)}{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _temporary(path: Path) -> str:
    return f".{path.name[:16]}-"


def remove_leftovers(path: Path) -> None:
    """Remove the files that killed writers of a file left; a writer at work has to write again."""
    for leftover in path.parent.glob(f"{_temporary(path)}*"):
        leftover.unlink(missing_ok=True)


def read_store(directory: Path) -> tuple[list[Record], tuple[str, ...]]:
    """Return the usable records of a store, and a line for every file that is not.

    Args:
        directory: Folder of a `Store`; it need not exist.

    Returns:
        Records sorted by key, and the problems.
    """
    records: dict[str, Record] = {}
    problems = []
    for path in Store(directory).files():
        try:
            record = read_record(path)
        except RejectedFileError as error:
            problems.append(str(error))
        except FileNotFoundError:
            problems.append(f"{path}: {GONE}")
        else:
            records[record.spec.key] = record  # a copy in another folder is the same run
    return list(records.values()), tuple(problems)

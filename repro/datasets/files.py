"""Where the publishers' files lie, and how missing ones come: over HTTPS, against the publisher's hash."""

import textwrap
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pooch  # type: ignore[import-untyped]
from rich.console import Console
from rich.progress import Progress

from repro.datasets.decoding import CIFAR10, CIFAR10_ARCHIVE, CIFAR10_FOLDER, MNIST, DataError

# Tried in turn; the first is the one that error messages name.
MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "cifar10": ("https://www.cs.toronto.edu/~kriz/",),
}
HASHES = {
    f"{MNIST[0]}.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    f"{MNIST[1]}.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    f"{MNIST[2]}.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    f"{MNIST[3]}.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    # MD5 is all its publisher states; the content digest is what decides.
    CIFAR10_ARCHIVE: "md5:c32a1d4ab5d03f1284b67883e8d87530",
}
RETRIES = 2  # of each mirror, after 1 and 2 seconds
TIMEOUT = 30.0  # seconds without a byte


def find(name: str, root: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Return the files that are there, as their reader takes them, and the archives to fetch."""
    if name == "mnist":
        folders = (root / "mnist", root, root / "MNIST" / "raw")
        found = {file: _first(folders, f"{file}.gz", file) for file in MNIST}
        missing = tuple(f"{file}.gz" for file, path in found.items() if path is None)
        return tuple(path for path in found.values() if path is not None), missing
    tops = (root / "cifar10", root)
    places = (*(top / CIFAR10_FOLDER for top in tops), *tops)
    batches = tuple(path for file in CIFAR10 if (path := _first(places, file)) is not None)
    if len(batches) == len(CIFAR10):
        return batches, ()
    archive = _first(tops, CIFAR10_ARCHIVE)
    return ((), (CIFAR10_ARCHIVE,)) if archive is None else ((archive,), ())


def _first(folders: Iterable[Path], *names: str) -> Path | None:
    paths = (folder / name for folder in folders for name in names)
    return next((path for path in paths if path.is_file()), None)


def download_missing(name: str, missing: tuple[str, ...], folder: Path, *, allowed: bool) -> None:
    """Fetch the missing archives into the folder, or say what to put there by hand."""
    problem = None if allowed else "downloading is switched off"
    for file in missing:
        problem = problem or _fetch(file, MIRRORS[name], folder)
    if problem is not None:
        still = [file for file in missing if not (folder / file).is_file()]
        raise DataError(
            f"{name}: expected {', '.join(still)} in {folder}, found nothing, and {problem}. Put "
            f"{' and '.join(MIRRORS[name][0] + file for file in still)} there by hand, or set "
            "REPRO_DATA_DIR to a folder that has the data."
        )


def _fetch(file: str, mirrors: tuple[str, ...], folder: Path) -> str | None:
    """Download a file from the first mirror that has it, or return what went wrong."""
    pooch.get_logger().setLevel("WARNING")  # the progress bar says the rest
    problem = ""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:  # none in a log
        downloader = pooch.HTTPDownloader(
            progressbar=_ProgressBar(progress, file),
            chunk_size=2**16,
            timeout=TIMEOUT,
            hooks={"response": _refuse_plain_http},
        )
        for mirror in mirrors:
            source = pooch.create(
                folder, mirror, registry={file: HASHES[file]}, retry_if_failed=RETRIES
            )
            try:
                source.fetch(file, downloader=downloader)
            except (OSError, ValueError) as error:  # no network or no room; other bytes
                problem = f"{type(error).__name__}: {textwrap.shorten(str(error), 200)}"
            else:
                return None
    return f"the download failed ({problem})"


def _refuse_plain_http(response: Any, **_: object) -> None:
    if not response.url.startswith("https://"):
        raise ValueError(f"expected a source on HTTPS, was sent on to {response.url}")


class _ProgressBar:
    """What pooch asks of a progress bar, drawn by rich; every attempt starts it again."""

    def __init__(self, progress: Progress, description: str) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=None)

    @property
    def total(self) -> float | None:
        return self._progress.tasks[self._task].total

    @total.setter
    def total(self, num_bytes: float) -> None:
        self._progress.reset(self._task, total=num_bytes or None)

    def update(self, num_bytes: int) -> None:
        self._progress.advance(self._task, num_bytes)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Do nothing: the `Progress` outlives the attempts and closes itself."""


def set_aside(files: tuple[Path, ...]) -> bool:
    """Rename files so that they are never read again, and return whether it could."""
    try:
        for file in files:
            with suppress(FileNotFoundError):  # another process was first
                file.replace(file.with_name(f"{file.name}.rejected"))
    except OSError:
        return False
    return True

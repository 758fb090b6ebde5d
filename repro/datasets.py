"""A data set is its decoded content, not the file it came in.

Two copies of MNIST may differ in container, compression and order and still be the same 70,000
labelled images. So a copy is accepted by the *content digest* of what it decodes to, which ignores
order, and its examples are then put in the one order that every genuine copy shares: that of the
SHA-256 of each image's bytes. Whatever is drawn from them afterwards, a split or a batch, is
therefore the same on every machine.

Files are looked for in one *data folder*: the ``directory`` argument, else ``$REPRO_DATA_DIR``,
else the user's cache folder for ``repro``. What is missing there is downloaded into it, over HTTPS
and against the publisher's hash. Nothing is ever unpickled and nothing is unpacked onto the disk:
members of an archive are read by name from a fixed list. ``digits`` comes with scikit-learn and
needs neither files nor a network.

>>> digits = load("digits")
>>> tuple(digits.train_images.shape), tuple(digits.test_images.shape)
((1297, 1, 8, 8), (500, 1, 8, 8))
"""

import gzip
import hashlib
import math
import os
import tarfile
import textwrap
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pooch  # type: ignore[import-untyped]
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

NAMES: tuple[str, ...] = ("mnist", "cifar10", "digits")

_SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "digits": (1, 8, 8)}  # C, H, W
_NUM_CLASSES = 10  # of each of the three
_DIGESTS = {
    ("mnist", "train"): "7075cdf5e5e7336b4242e26db089b6876dc0e884074c1114830c7a6265ac4307",
    ("mnist", "test"): "386470d1edcb38c2448bd0b24549e31556bf28f9385ea19e4dcd48d1d8764aa1",
    ("cifar10", "train"): "da4deb04c6280f774a388b07610759a5ae01a9710fc03d6ad017e9f61b5d8c6c",
    ("cifar10", "test"): "c570203eec5823a6c731546f5c4e31127f0555462fa8fcb643b37d5e4372b070",
    ("digits", "train"): "abe41a52cb100c038816495a555b51657cf57340ebba37b617e2260432679fca",
    ("digits", "test"): "a438b8dbe7a52e559f925831bd77ef10319e4839a749276dbae5ea037cbf4a46",
}

_MNIST = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_CIFAR10 = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
_CIFAR10_FOLDER = "cifar-10-batches-bin"
_CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
_CIFAR10_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, the green and the blue plane
_MAX_BYTES = {"mnist": 16 + 60_000 * 28 * 28, "cifar10": 10_000 * _CIFAR10_RECORD}  # decompressed
_DIGITS_TRAIN = 1_297  # of 1,797

# Tried in turn; the first is the one that error messages name.
_MIRRORS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "cifar10": ("https://www.cs.toronto.edu/~kriz/",),
}
_HASHES = {
    f"{_MNIST[0]}.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    f"{_MNIST[1]}.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    f"{_MNIST[2]}.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    f"{_MNIST[3]}.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    # MD5 is all its publisher states; the content digest is what decides.
    _CIFAR10_ARCHIVE: "md5:c32a1d4ab5d03f1284b67883e8d87530",
}
_RETRIES = 2  # of each mirror, after 1 and 2 seconds
_TIMEOUT = 30.0  # seconds without a byte

_Bytes = npt.NDArray[np.uint8]


class DataError(ValueError):
    """The data cannot be had; the message says what was expected, what was found, and the mend."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images: training and test examples, each in the order of the images' SHA-256.

    Whoever loads the data set in this process shares the tensors: read them, never write to them.

    Attributes:
        name: One of `NAMES`.
        train_images: Shape (n, C, H, W), uint8, from 0 to 255.
        train_labels: Shape (n,), int64, from 0 to `num_classes` - 1.
        test_images: Shape (m, C, H, W), uint8.
        test_labels: Shape (m,), int64.
        num_classes: How many classes there are.
    """

    name: str
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    num_classes: int


@dataclass(frozen=True, eq=False)
class Split:
    """The n training examples of a `Dataset`, divided in two.

    Attributes:
        train: Indices of the examples to train on, shape (n - validation_size,), int64.
        validation: Indices of the examples to select by, shape (validation_size,), int64.
    """

    train: Tensor
    validation: Tensor


def load(name: str, *, directory: Path | None = None, download: bool = True) -> Dataset:
    """Returns a data set, verified, in the order that every genuine copy shares.

    Args:
        name: One of `NAMES`.
        directory: The data folder; without it ``$REPRO_DATA_DIR``, and without that the user's
            cache folder. The publisher's files may lie in it, in its folder ``mnist`` or
            ``cifar10``, or where torchvision puts them (``MNIST/raw``); MNIST with or without
            ``.gz``, CIFAR-10 as the binary version's ``.tar.gz`` or as its ``.bin`` files.
        download: Whether files that are missing may be downloaded into the data folder.

    Returns:
        The data set, on the CPU. Loading it again in the same process costs nothing.

    Raises:
        DataError: If there is no such data set; if its files are missing and cannot be
            downloaded; or if they are unreadable, damaged or not genuine. Such files are not used.
            Those in our own cache folder are renamed to end in ``.rejected``; those in a folder
            that the user named are left as they are.
    """
    if name not in NAMES:
        raise DataError(f"load: expected `name` to be one of {', '.join(NAMES)}; found {name!r}.")
    if name == "digits":
        return _load_digits()
    chosen = directory or os.environ.get("REPRO_DATA_DIR")
    root = Path(chosen or pooch.os_cache("repro")).expanduser().resolve()
    files, missing = _find(name, root)
    if missing:
        _download(name, missing, root / name, allowed=download)
        files, _ = _find(name, root)
    try:
        return _read(name, files)
    except _DamageError as damage:
        if not chosen and _set_aside(damage.files):
            mend = "Not used, and renamed to end in .rejected: load again to download afresh."
        else:
            mend = f"Not used, and left as found: replace by a copy from {_MIRRORS[name][0]}."
        raise DataError(f"{name}: {damage}. {mend}") from damage


def split(dataset: Dataset, validation_size: int, generator: torch.Generator) -> Split:
    """Draws the validation examples out of the training examples, by one random permutation.

    Args:
        dataset: The data set, with n training examples.
        validation_size: How many to set apart, from 0 to n - 1.
        generator: Source of the permutation; the indices are on its device.

    Returns:
        The first `validation_size` indices of the permutation as `validation`, the rest as `train`.

    Raises:
        ValueError: If `validation_size` is negative or leaves no example to train on.
    """
    n = len(dataset.train_images)
    if not 0 <= validation_size < n:
        raise ValueError(
            f"split: expected `validation_size` from 0 to {n - 1}, as {dataset.name} has {n} "
            f"training examples; found {validation_size}."
        )
    permutation = torch.randperm(n, generator=generator, device=generator.device)
    return Split(train=permutation[validation_size:], validation=permutation[:validation_size])


def scale_inputs(images: Tensor, scaling: str, reference: Tensor) -> Tensor:
    """Turns images into the numbers that a network reads.

    The mean and the standard deviation come from exact integer sums, in float64; they depend on
    neither the order of the examples nor the device.

    Args:
        images: Shape (n, C, H, W), uint8.
        scaling: ``"unit"`` divides by 255; ``"standardised"`` then subtracts the mean of the
            channel over the reference and divides by its standard deviation (with divisor n).
        reference: The training images, shape (m, C, H, W), uint8; ``"unit"`` does not read them.

    Returns:
        Shape (n, C, H, W), float32, on the device of `images`.

    Raises:
        ValueError: If `scaling` is unknown, images are not uint8 of shape (n, C, H, W), the
            channels of the two differ in number, or a channel of the reference is constant.
    """
    if scaling not in {"unit", "standardised"}:
        raise ValueError(
            f"scale_inputs: expected `scaling` to be one of unit, standardised; found {scaling!r}."
        )
    for label, tensor in (("images", images), ("reference", reference)):
        if tensor.ndim != 4 or tensor.dtype != torch.uint8 or tensor.shape[1] != images.shape[1]:
            raise ValueError(
                f"scale_inputs: expected `{label}` of shape (n, C, H, W), uint8, with the channels "
                f"of `images`; found {tuple(tensor.shape)}, {tensor.dtype}."
            )
    # In units of a byte, where dividing image, mean and deviation by 255 cancels.
    moments = [(0.0, 255.0)] * images.shape[1]
    if scaling == "standardised":
        moments = [_mean_and_deviation(channel) for channel in reference.unbind(1)]
    if not all(deviation > 0 for _, deviation in moments):
        raise ValueError(
            "scale_inputs: expected every channel of `reference` to vary; found the standard "
            f"deviations {[deviation for _, deviation in moments]}."
        )
    # Tensors on the device, not numbers: by a number, CUDA multiplies with its rounded inverse.
    means, deviations = torch.tensor(moments, device=images.device).T[..., None, None]
    return images.float().sub_(means).div_(deviations)


def content_digest(images: _Bytes, labels: npt.NDArray[np.integer[Any]]) -> str:
    """Identifies a collection of labelled images, whatever their order.

    It is the SHA-256 over the concatenation of the SHA-256 of the image and the label byte of all
    examples, sorted by the former.

    Args:
        images: One image a row, shape (n, bytes), uint8.
        labels: Shape (n,), integers from 0 to 255.

    Returns:
        The digest, 64 hexadecimal digits.

    Raises:
        ValueError: If the arrays do not have these shapes, types and ranges.
    """
    if images.ndim != 2 or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise ValueError(
            "content_digest: expected images of shape (n, bytes), uint8, and labels of shape (n,); "
            f"found {images.shape}, {images.dtype}, and {labels.shape}."
        )
    if labels.dtype.kind not in "iu" or np.any((labels < 0) | (labels > 255)):
        raise ValueError("content_digest: expected integer labels from 0 to 255; found others.")
    return _canonical_order(images, labels.astype(np.uint8))[1]


def _mean_and_deviation(channel: Tensor) -> tuple[float, float]:
    counts: list[int] = torch.bincount(channel.flatten(), minlength=256).tolist()
    n = max(sum(counts), 1)
    first = sum(count * value for value, count in enumerate(counts))
    second = sum(count * value**2 for value, count in enumerate(counts))
    return first / n, math.sqrt(n * second - first**2) / n


# Finding and fetching.


def _find(name: str, root: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Returns the files that are there, as their reader takes them, and the archives to fetch."""
    if name == "mnist":
        folders = (root / "mnist", root, root / "MNIST" / "raw")
        found = {file: _first(folders, f"{file}.gz", file) for file in _MNIST}
        missing = tuple(f"{file}.gz" for file, path in found.items() if path is None)
        return tuple(path for path in found.values() if path is not None), missing
    tops = (root / "cifar10", root)
    places = (*(top / _CIFAR10_FOLDER for top in tops), *tops)
    batches = tuple(path for file in _CIFAR10 if (path := _first(places, file)) is not None)
    if len(batches) == len(_CIFAR10):
        return batches, ()
    archive = _first(tops, _CIFAR10_ARCHIVE)
    return ((), (_CIFAR10_ARCHIVE,)) if archive is None else ((archive,), ())


def _first(folders: Iterable[Path], *names: str) -> Path | None:
    paths = (folder / name for folder in folders for name in names)
    return next((path for path in paths if path.is_file()), None)


# Fetches the missing archives into the folder, or says what to put there by hand.
def _download(name: str, missing: tuple[str, ...], folder: Path, *, allowed: bool) -> None:
    problem = None if allowed else "downloading is switched off"
    for file in missing:
        problem = problem or _fetch(file, _MIRRORS[name], folder)
    if problem is not None:
        still = [file for file in missing if not (folder / file).is_file()]
        raise DataError(
            f"{name}: expected {', '.join(still)} in {folder}, found nothing, and {problem}. Put "
            f"{' and '.join(_MIRRORS[name][0] + file for file in still)} there by hand, or set "
            "REPRO_DATA_DIR to a folder that has the data."
        )


# Downloads a file from the first mirror that has it, or returns what went wrong.
def _fetch(file: str, mirrors: tuple[str, ...], folder: Path) -> str | None:
    pooch.get_logger().setLevel("WARNING")  # the progress bar says the rest
    problem = ""
    with Progress(console=Console(stderr=True)) as progress:
        downloader = pooch.HTTPDownloader(
            progressbar=_ProgressBar(progress, file),
            chunk_size=2**16,
            timeout=_TIMEOUT,
            hooks={"response": _refuse_plain_http},
        )
        for mirror in mirrors:
            source = pooch.create(
                folder, mirror, registry={file: _HASHES[file]}, retry_if_failed=_RETRIES
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
        """Does nothing: the `Progress` outlives the attempts and closes itself."""


# Renames files so that they are never read again, and returns whether it could.
def _set_aside(files: tuple[Path, ...]) -> bool:
    try:
        for file in files:
            with suppress(FileNotFoundError):  # another process was first
                file.replace(file.with_name(f"{file.name}.rejected"))
    except OSError:
        return False
    return True


# Reading and verifying.


class _DamageError(Exception):
    """Files that are not what they should be: what was expected and found, without the mend."""

    def __init__(self, message: str, *files: Path) -> None:
        super().__init__(message)
        self.files = files


class _Part(NamedTuple):
    """The training or the test examples, as decoded."""

    images: _Bytes  # (n, bytes)
    labels: _Bytes  # (n,)
    files: tuple[Path, ...]


@cache
def _read(name: str, files: tuple[Path, ...]) -> Dataset:
    return _verified(name, *(_read_mnist if name == "mnist" else _read_cifar10)(files))


# scikit-learn's digits, each value v from 0 to 16 as the byte (255 v + 8) // 16. In the order of
# the SHA-256 of these bytes, the first 1,297 are the training, the last 500 the test examples.
@cache
def _load_digits() -> Dataset:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    values, classes = load_digits(return_X_y=True)
    images = ((values.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
    labels = classes.astype(np.uint8)
    order, _ = _canonical_order(images, labels)
    train, test = (
        _Part(images[chosen], labels[chosen], (Path("scikit-learn"),))
        for chosen in (order[:_DIGITS_TRAIN], order[_DIGITS_TRAIN:])
    )
    try:
        return _verified("digits", train, test)
    except _DamageError as damage:
        raise DataError(f"digits: {damage}. Install scikit-learn again.") from damage


def _verified(name: str, train: _Part, test: _Part) -> Dataset:
    return Dataset(
        name, *_ordered(name, "train", train), *_ordered(name, "test", test), _NUM_CLASSES
    )


# The images and labels in their order, once their content is what it should be.
def _ordered(name: str, which: str, part: _Part) -> tuple[Tensor, Tensor]:
    order, digest = _canonical_order(part.images, part.labels)
    if digest != _DIGESTS[name, which]:
        raise _DamageError(
            f"expected {which} examples with the content digest {_DIGESTS[name, which]}, found "
            f"{digest} in {', '.join(map(str, part.files))}",
            *part.files,
        )
    images = part.images[order].reshape(-1, *_SHAPES[name])
    return torch.from_numpy(images), torch.from_numpy(part.labels[order].astype(np.int64))


def _canonical_order(images: _Bytes, labels: _Bytes) -> tuple[npt.NDArray[np.int64], str]:
    """Returns the indices that sort by SHA-256 of the image (then by label), and the digest."""
    entries = [
        hashlib.sha256(image).digest() + bytes((label,))
        for image, label in zip(np.ascontiguousarray(images), labels.tolist(), strict=True)
    ]
    order = sorted(range(len(entries)), key=entries.__getitem__)
    digest = hashlib.sha256(b"".join(entries[index] for index in order)).hexdigest()
    return np.array(order, dtype=np.int64), digest


def _read_mnist(files: tuple[Path, ...]) -> tuple[_Part, _Part]:
    return _mnist_part(*files[:2]), _mnist_part(*files[2:])


def _mnist_part(images_file: Path, labels_file: Path) -> _Part:
    images = _decode_idx(images_file, 3)
    labels = _decode_idx(labels_file, 1)
    if images.shape != (len(labels), 28, 28):
        raise _DamageError(
            f"expected images of shape ({len(labels)}, 28, 28) in {images_file}, as {labels_file} "
            f"has {len(labels)} labels, found {images.shape}",
            images_file,
            labels_file,
        )
    return _Part(images.reshape(len(images), 28 * 28), labels, (images_file, labels_file))


# An idx file starts with two zero bytes, the type (8: unsigned byte), the number of dimensions, and
# each dimension as a big-endian number of 4 bytes; the values follow, the last dimension fastest.
def _decode_idx(file: Path, num_dimensions: int) -> _Bytes:
    content = _content(file, _MAX_BYTES["mnist"])
    start = 4 + 4 * num_dimensions
    magic = bytes((0, 0, 8, num_dimensions))
    if len(content) < start or not content.startswith(magic):
        raise _DamageError(
            f"expected an idx header of {start} bytes, {magic.hex()} first, in {file}, found "
            f"{content[:start].hex() or 'nothing'}",
            file,
        )
    sizes = np.frombuffer(content, ">u4", num_dimensions, offset=4).tolist()
    if len(content) != start + math.prod(sizes):
        raise _DamageError(
            f"expected {start + math.prod(sizes)} bytes in {file}, as its header states the sizes "
            f"{sizes}, found {len(content)}",
            file,
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def _read_cifar10(files: tuple[Path, ...]) -> tuple[_Part, _Part]:
    if len(files) == 1:
        contents, files = _members(files[0]), files * len(_CIFAR10)
    else:
        contents = [_content(file, _MAX_BYTES["cifar10"]) for file in files]
    for name, content, file in zip(_CIFAR10, contents, files, strict=True):
        if len(content) % _CIFAR10_RECORD:
            raise _DamageError(
                f"expected whole records of {_CIFAR10_RECORD} bytes in the batch {name} of {file}, "
                f"found {len(content)} bytes",
                file,
            )
    train, test = (
        np.frombuffer(part, np.uint8).reshape(-1, _CIFAR10_RECORD)
        for part in (b"".join(contents[:-1]), contents[-1])
    )
    train_files = tuple(dict.fromkeys(files[:-1]))
    return _Part(train[:, 1:], train[:, 0], train_files), _Part(test[:, 1:], test[:, 0], files[-1:])


# Reads the six batches out of the publisher's archive, and nothing else it may hold.
def _members(file: Path) -> list[bytes]:
    contents: dict[str, bytes] = {}
    names = [f"{_CIFAR10_FOLDER}/{name}" for name in _CIFAR10]
    with _reading(file), tarfile.open(file, "r:gz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None and member.name in names:
                contents[member.name] = _read_up_to(_MAX_BYTES["cifar10"], stream.read, file)
    absent = [name for name in names if name not in contents]
    if absent:
        raise _DamageError(
            f"expected {', '.join(absent)} inside {file}, found no such member", file
        )
    return [contents[name] for name in names]


# Reads a file, through gzip where its name says so.
def _content(file: Path, limit: int) -> bytes:
    with _reading(file), gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        return _read_up_to(limit, stream.read, file)


# A limit, so that no small archive can fill the memory.
def _read_up_to(limit: int, read: Callable[[int], bytes], file: Path) -> bytes:
    content = read(limit + 1)
    if len(content) > limit:
        raise _DamageError(f"expected at most {limit} bytes in {file}, found more", file)
    return content


# Says in our words what goes wrong while reading a file.
@contextmanager
def _reading(file: Path) -> Iterator[None]:
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise _DamageError(f"expected a whole archive in {file}, found: {error}", file) from error
    except OSError as error:
        raise DataError(
            f"expected to read {file}, found: {error}. Check its permissions."
        ) from error

"""The publishers' files, read: MNIST's idx, CIFAR-10's records, each checked before it is believed."""

import gzip
import hashlib
import math
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MNIST = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CIFAR10 = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CIFAR10_FOLDER = "cifar-10-batches-bin"
CIFAR10_ARCHIVE = "cifar-10-binary.tar.gz"
_CIFAR10_RECORD = 1 + 3 * 32 * 32  # bytes: the label, then the red, the green and the blue plane
MAX_BYTES = {"mnist": 16 + 60_000 * 28 * 28, "cifar10": 10_000 * _CIFAR10_RECORD}  # decompressed

Bytes = npt.NDArray[np.uint8]


class DataError(ValueError):
    """The data cannot be had; the message says what was expected, what was found, and the mend."""


class DamageError(Exception):
    """Files that are not what they should be: what was expected and found, without the mend."""

    def __init__(self, message: str, *files: Path) -> None:
        """Say it, and of which files."""
        super().__init__(message)
        self.files = files


class Part(NamedTuple):
    """The training or the test examples, as decoded."""

    images: Bytes  # (n, bytes)
    labels: Bytes  # (n,)
    files: tuple[Path, ...]


def canonical_order(images: Bytes, labels: Bytes) -> tuple[npt.NDArray[np.int64], str]:
    """Return the indices that sort by SHA-256 of the image (then by label), and the digest."""
    entries = [
        hashlib.sha256(image).digest() + bytes((label,))
        for image, label in zip(np.ascontiguousarray(images), labels.tolist(), strict=True)
    ]
    order = sorted(range(len(entries)), key=entries.__getitem__)
    digest = hashlib.sha256(b"".join(entries[index] for index in order)).hexdigest()
    return np.array(order, dtype=np.int64), digest


def read_mnist(files: tuple[Path, ...]) -> tuple[Part, Part]:
    """Return the training and the test examples of the four files of images and labels, in turn."""
    return _mnist_part(*files[:2]), _mnist_part(*files[2:])


def _mnist_part(images_file: Path, labels_file: Path) -> Part:
    images = _decode_idx(images_file, 3)
    labels = _decode_idx(labels_file, 1)
    if images.shape != (len(labels), 28, 28):
        raise DamageError(
            f"expected images of shape ({len(labels)}, 28, 28) in {images_file}, as {labels_file} "
            f"has {len(labels)} labels, found {images.shape}",
            images_file,
            labels_file,
        )
    return Part(images.reshape(len(images), 28 * 28), labels, (images_file, labels_file))


def _decode_idx(file: Path, num_dimensions: int) -> Bytes:
    """Return the values of an idx file."""
    # It starts with two zero bytes, the type (8: unsigned byte), the number of dimensions, and each
    # dimension as a big-endian number of 4 bytes; the values follow, the last dimension fastest.
    content = _content(file, MAX_BYTES["mnist"])
    start = 4 + 4 * num_dimensions
    magic = bytes((0, 0, 8, num_dimensions))
    if len(content) < start or not content.startswith(magic):
        raise DamageError(
            f"expected an idx header of {start} bytes, {magic.hex()} first, in {file}, found "
            f"{content[:start].hex() or 'nothing'}",
            file,
        )
    sizes = np.frombuffer(content, ">u4", num_dimensions, offset=4).tolist()
    if len(content) != start + math.prod(sizes):
        raise DamageError(
            f"expected {start + math.prod(sizes)} bytes in {file}, as its header states the sizes "
            f"{sizes}, found {len(content)}",
            file,
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(sizes)


def read_cifar10(files: tuple[Path, ...]) -> tuple[Part, Part]:
    """Return the training and the test examples of the six batches, or of the archive that has them."""
    if len(files) == 1:
        contents, files = _members(files[0]), files * len(CIFAR10)
    else:
        contents = [_content(file, MAX_BYTES["cifar10"]) for file in files]
    for name, content, file in zip(CIFAR10, contents, files, strict=True):
        if len(content) % _CIFAR10_RECORD:
            raise DamageError(
                f"expected whole records of {_CIFAR10_RECORD} bytes in the batch {name} of {file}, "
                f"found {len(content)} bytes",
                file,
            )
    train, test = (
        np.frombuffer(part, np.uint8).reshape(-1, _CIFAR10_RECORD)
        for part in (b"".join(contents[:-1]), contents[-1])
    )
    train_files = tuple(dict.fromkeys(files[:-1]))
    return Part(train[:, 1:], train[:, 0], train_files), Part(test[:, 1:], test[:, 0], files[-1:])


def _members(file: Path) -> list[bytes]:
    """Read the six batches out of the publisher's archive, and nothing else it may hold."""
    contents: dict[str, bytes] = {}
    names = [f"{CIFAR10_FOLDER}/{name}" for name in CIFAR10]
    with _reading(file), tarfile.open(file, "r:gz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None and member.name in names:
                contents[member.name] = _read_up_to(MAX_BYTES["cifar10"], stream.read, file)
    absent = [name for name in names if name not in contents]
    if absent:
        raise DamageError(f"expected {', '.join(absent)} inside {file}, found no such member", file)
    return [contents[name] for name in names]


def _content(file: Path, limit: int) -> bytes:
    """Read a file, through gzip where its name says so."""
    with _reading(file), gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        return _read_up_to(limit, stream.read, file)


def _read_up_to(limit: int, read: Callable[[int], bytes], file: Path) -> bytes:
    """Read up to a limit, so that no small archive can fill the memory."""
    content = read(limit + 1)
    if len(content) > limit:
        raise DamageError(f"expected at most {limit} bytes in {file}, found more", file)
    return content


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Say in our words what goes wrong while reading a file."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DamageError(f"expected a whole archive in {file}, found: {error}", file) from error
    except OSError as error:
        raise DataError(
            f"expected to read {file}, found: {error}. Check its permissions."
        ) from error

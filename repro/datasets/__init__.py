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

import math
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pooch  # type: ignore[import-untyped]
import torch
from torch import Tensor

from repro.datasets.decoding import (
    DamageError,
    DataError,
    Part,
    canonical_order,
    read_cifar10,
    read_mnist,
)
from repro.datasets.files import MIRRORS, download_missing, find, set_aside

__all__ = [
    "NAMES",
    "DataError",
    "Dataset",
    "Split",
    "load",
    "scale_inputs",
    "split",
]

NAMES: tuple[str, ...] = ("mnist", "cifar10", "digits")

_SHAPES = {"mnist": (1, 28, 28), "cifar10": (3, 32, 32), "digits": (1, 8, 8)}  # C, H, W
_DIGITS_TRAIN = 1_297  # of 1,797
_NUM_CLASSES = 10  # of each of the three
_DIGESTS = {
    ("mnist", "train"): "7075cdf5e5e7336b4242e26db089b6876dc0e884074c1114830c7a6265ac4307",
    ("mnist", "test"): "386470d1edcb38c2448bd0b24549e31556bf28f9385ea19e4dcd48d1d8764aa1",
    ("cifar10", "train"): "da4deb04c6280f774a388b07610759a5ae01a9710fc03d6ad017e9f61b5d8c6c",
    ("cifar10", "test"): "c570203eec5823a6c731546f5c4e31127f0555462fa8fcb643b37d5e4372b070",
    ("digits", "train"): "abe41a52cb100c038816495a555b51657cf57340ebba37b617e2260432679fca",
    ("digits", "test"): "a438b8dbe7a52e559f925831bd77ef10319e4839a749276dbae5ea037cbf4a46",
}


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
    """Return a data set, verified, in the order that every genuine copy shares.

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
    files, missing = find(name, root)
    if missing:
        download_missing(name, missing, root / name, allowed=download)
        files, _ = find(name, root)
    try:
        return _read(name, files)
    except DamageError as damage:
        if not chosen and set_aside(damage.files):
            mend = "Not used, and renamed to end in .rejected: load again to download afresh."
        else:
            mend = f"Not used, and left as found: replace by a copy from {MIRRORS[name][0]}."
        raise DataError(f"{name}: {damage}. {mend}") from damage


def split(dataset: Dataset, validation_size: int, generator: torch.Generator) -> Split:
    """Draw the validation examples out of the training examples, by one random permutation.

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
    """Turn images into the numbers that a network reads.

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


def _mean_and_deviation(channel: Tensor) -> tuple[float, float]:
    counts: list[int] = torch.bincount(channel.flatten(), minlength=256).tolist()
    n = max(sum(counts), 1)
    first = sum(count * value for value, count in enumerate(counts))
    second = sum(count * value**2 for value, count in enumerate(counts))
    return first / n, math.sqrt(n * second - first**2) / n


@cache
def _read(name: str, files: tuple[Path, ...]) -> Dataset:
    return _verified(name, *(read_mnist if name == "mnist" else read_cifar10)(files))


@cache
def _load_digits() -> Dataset:
    """Return scikit-learn's digits, each value v from 0 to 16 as the byte (255 v + 8) // 16."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    values, classes = load_digits(return_X_y=True)
    images = ((values.astype(np.int64) * 255 + 8) // 16).astype(np.uint8)
    labels = classes.astype(np.uint8)
    # in the order of the SHA-256 of the bytes, the first are the training, the last the test examples
    order, _ = canonical_order(images, labels)
    train, test = (
        Part(images[chosen], labels[chosen], (Path("scikit-learn"),))
        for chosen in (order[:_DIGITS_TRAIN], order[_DIGITS_TRAIN:])
    )
    try:
        return _verified("digits", train, test)
    except DamageError as damage:
        raise DataError(f"digits: {damage}. Install scikit-learn again.") from damage


def _verified(name: str, train: Part, test: Part) -> Dataset:
    return Dataset(
        name, *_ordered(name, "train", train), *_ordered(name, "test", test), _NUM_CLASSES
    )


def _ordered(name: str, which: str, part: Part) -> tuple[Tensor, Tensor]:
    """Return the images and labels in their order, once their content is what it should be."""
    order, digest = canonical_order(part.images, part.labels)
    if digest != _DIGESTS[name, which]:
        raise DamageError(
            f"expected {which} examples with the content digest {_DIGESTS[name, which]}, found "
            f"{digest} in {', '.join(map(str, part.files))}",
            *part.files,
        )
    images = part.images[order].reshape(-1, *_SHAPES[name])
    return torch.from_numpy(images), torch.from_numpy(part.labels[order].astype(np.int64))

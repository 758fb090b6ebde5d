"""Data sets: only genuine content is used, in one order, however it comes."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_data import Fake, assert_genuine, assert_same, make_fake, write
from fake_data import sandbox as sandbox

from repro import datasets
from repro.datasets import NAMES, DataError, load, scale_inputs
from repro.datasets.decoding import canonical_order

# Content and order.


def test_content_digest_is_the_hash_of_the_sorted_hashes() -> None:
    images = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    entries = [hashlib.sha256(b"\1\2").digest() + b"\5", hashlib.sha256(b"\3\4").digest() + b"\6"]
    expected = hashlib.sha256(b"".join(sorted(entries))).hexdigest()
    assert canonical_order(images, np.array([5, 6], dtype=np.uint8))[1] == expected


def test_content_digest_ignores_order_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 6), dtype=np.uint8)
    images[3] = images[4]  # equal images with different labels have no order of their own
    labels = np.arange(20, dtype=np.uint8)
    digest = canonical_order(images, labels)[1]
    order = rng.permutation(20)
    assert canonical_order(images[order], labels[order])[1] == digest
    assert canonical_order(np.asfortranarray(images), labels)[1] == digest
    assert canonical_order(images, labels[order])[1] != digest
    assert canonical_order(images ^ np.uint8(1), labels)[1] != digest
    assert canonical_order(images[1:], labels[1:])[1] != digest


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_order_of_the_files_does_not_matter(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = make_fake(name, monkeypatch)
    flipped = Fake(
        name,
        (fake.images[0][::-1], fake.images[1][::-1]),
        (fake.labels[0][::-1], fake.labels[1][::-1]),
    )
    one = load(name, directory=write(tmp_path / "a", fake.contents()))
    two = load(name, directory=write(tmp_path / "b", flipped.contents()))
    assert_genuine(one, fake)
    assert_same(one, two)


# Digits.


def test_digits() -> None:
    digits = load("digits", download=False)
    assert digits.train_images.shape == (1297, 1, 8, 8)
    assert digits.test_images.shape == (500, 1, 8, 8)
    images = torch.cat([digits.train_images, digits.test_images])
    # 0..16 as 0..255, one byte each
    assert sorted(set(images.flatten().tolist())) == [int(255 * v / 16 + 0.5) for v in range(17)]
    hashes = [hashlib.sha256(image.numpy().tobytes()).digest() for image in images]
    assert hashes == sorted(hashes)
    for labels in (digits.train_labels, digits.test_labels):
        assert labels.bincount().min() > len(labels) / 13  # no class is left out
    assert load("digits") is digits


def test_digits_do_not_depend_on_the_order_they_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    values, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(1).permutation(len(values))
    monkeypatch.setattr(
        "sklearn.datasets.load_digits", lambda return_X_y: (values[order], classes[order])
    )
    assert_same(datasets._load_digits.__wrapped__(), load("digits"))


def test_altered_digits_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.datasets import load_digits

    values, classes = load_digits(return_X_y=True)
    values[17, 5] = 16 - values[17, 5]
    monkeypatch.setattr("sklearn.datasets.load_digits", lambda return_X_y: (values, classes))
    message = r"digits: expected .* content digest .* found .* Install scikit-learn again\."
    with pytest.raises(DataError, match=message):
        datasets._load_digits.__wrapped__()


def test_unknown_name_lists_the_choices() -> None:
    assert NAMES == ("mnist", "cifar10", "digits")
    with pytest.raises(DataError, match="one of mnist, cifar10, digits; found 'imagenet'"):
        load("imagenet")


# The real thing.

_REAL_DATA = os.environ.get("REPRO_DATA_DIR")
needs_data = pytest.mark.skipif(not _REAL_DATA, reason="REPRO_DATA_DIR is not set")


@needs_data
@pytest.mark.parametrize(
    ("name", "shape", "means", "deviations"),
    [
        ("mnist", (1, 28, 28), (0.1306604763,), (0.3081078039,)),
        (
            "cifar10",
            (3, 32, 32),
            (0.49139968, 0.48215841, 0.44653091),
            (0.24703223, 0.24348513, 0.26158784),
        ),
    ],
)
def test_real_data(
    name: str, shape: tuple[int, ...], means: tuple[float, ...], deviations: tuple[float, ...]
) -> None:
    dataset = load(name, directory=Path(str(_REAL_DATA)), download=False)
    num_train = 60_000 if name == "mnist" else 50_000
    assert dataset.train_images.shape == (num_train, *shape)
    assert dataset.test_images.shape == (10_000, *shape)
    if name == "cifar10":
        assert dataset.train_labels.bincount().tolist() == [5_000] * 10
        assert dataset.test_labels.bincount().tolist() == [1_000] * 10
    first, last = (
        hashlib.sha256(dataset.train_images[i].numpy().tobytes()).digest() for i in (0, -1)
    )
    assert first[0] == 0
    assert last[0] == 255
    images = dataset.train_images[:100]
    scaled = scale_inputs(images, "standardised", dataset.train_images).double()
    mean, deviation = (torch.tensor(x).double()[:, None, None] for x in (means, deviations))
    torch.testing.assert_close(scaled * deviation + mean, images.double() / 255, rtol=0, atol=1e-6)

"""Tiny data sets that pass for genuine ones, a server that has them, and a sandbox without any, for tests of data sets.

A test module takes a fixture from here under its own name: `from fake_data import sandbox as sandbox`.
"""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import requests
import torch
from torch import Tensor

from repro import datasets
from repro.datasets import Dataset, files
from repro.datasets.decoding import canonical_order

Bytes = npt.NDArray[np.uint8]
SIZES = {"mnist": 28 * 28, "cifar10": 3 * 32 * 32}
TRAIN_IMAGES = "train-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"


def refuse_to_connect(url: str, **_: object) -> requests.Response:
    raise requests.ConnectionError(f"no route to {url}")


@pytest.fixture(autouse=True)
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No network, no waiting, no REPRO_DATA_DIR, and a cache folder of the test's own."""
    cache = tmp_path / "cache"
    monkeypatch.delenv("REPRO_DATA_DIR", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda _: cache)
    monkeypatch.setattr("requests.get", refuse_to_connect)
    monkeypatch.setattr("time.sleep", lambda _: None)
    return cache


@dataclass(frozen=True)
class Fake:
    """A tiny data set that passes for a genuine one: 5 (or 10) training and 2 test examples."""

    name: str
    images: tuple[Bytes, Bytes]
    labels: tuple[Bytes, Bytes]

    def contents(self) -> dict[str, bytes]:
        """The publisher's files, decompressed."""
        if self.name == "mnist":
            files = {}
            for which, images, labels in zip(
                ("train", "t10k"), self.images, self.labels, strict=True
            ):
                files[f"{which}-images-idx3-ubyte"] = idx(images.reshape(-1, 28, 28))
                files[f"{which}-labels-idx1-ubyte"] = idx(labels)
            return files
        train, test = (
            np.concatenate([labels[:, None], images], axis=1)
            for images, labels in zip(self.images, self.labels, strict=True)
        )
        batches = {f"data_batch_{k}.bin": train[2 * k - 2 : 2 * k].tobytes() for k in range(1, 6)}
        return batches | {"test_batch.bin": test.tobytes()}

    def archives(self) -> dict[str, bytes]:
        """The publisher's downloads."""
        if self.name == "mnist":
            # without the second at which they are packed: what is served later is what was hashed
            packed = {file: gzip.compress(data, mtime=0) for file, data in self.contents().items()}
            return {f"{file}.gz": data for file, data in packed.items()}
        members = {f"cifar-10-batches-bin/{file}": d for file, d in self.contents().items()}
        return {"cifar-10-binary.tar.gz": tar(members)}


def idx(values: Bytes) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes((0, 0, 8, values.ndim)) + sizes + values.tobytes()


def tar(members: dict[str, bytes], *extra: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info in extra:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(stream.getvalue(), mtime=0)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def make_fake(name: str, monkeypatch: pytest.MonkeyPatch) -> Fake:
    rng = np.random.default_rng(7)
    sizes = (5 if name == "mnist" else 10, 2)
    images = [rng.integers(0, 256, (n, SIZES[name]), dtype=np.uint8) for n in sizes]
    labels = [rng.integers(0, 10, n, dtype=np.uint8) for n in sizes]
    fake = Fake(name, (images[0], images[1]), (labels[0], labels[1]))
    for k, which in enumerate(("train", "test")):
        digest = canonical_order(images[k], labels[k])[1]
        monkeypatch.setitem(datasets._DIGESTS, (name, which), digest)
    for file, data in fake.archives().items():
        monkeypatch.setitem(files.HASHES, file, hashlib.sha256(data).hexdigest())
    return fake


@pytest.fixture
def mnist(monkeypatch: pytest.MonkeyPatch) -> Fake:
    return make_fake("mnist", monkeypatch)


@pytest.fixture
def cifar10(monkeypatch: pytest.MonkeyPatch) -> Fake:
    return make_fake("cifar10", monkeypatch)


def tensors(dataset: Dataset) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        dataset.train_images,
        dataset.train_labels,
        dataset.test_images,
        dataset.test_labels,
    )


def assert_same(a: Dataset, b: Dataset) -> None:
    assert a.name == b.name
    for x, y in zip(tensors(a), tensors(b), strict=True):
        assert torch.equal(x, y)


def assert_genuine(dataset: Dataset, fake: Fake) -> None:
    """The images of the fake, ordered by their SHA-256, each with its label."""
    assert dataset.name == fake.name
    assert dataset.num_classes == 10
    pairs = (tensors(dataset)[:2], tensors(dataset)[2:])
    for (images, labels), rows, marks in zip(pairs, fake.images, fake.labels, strict=True):
        hashes = [hashlib.sha256(row.tobytes()).digest() for row in rows]
        order = sorted(range(len(rows)), key=hashes.__getitem__)
        assert images.dtype == torch.uint8
        assert labels.dtype == torch.int64
        assert np.array_equal(images.flatten(1).numpy(), rows[order])
        assert labels.tolist() == marks[order].tolist()


class Server:
    """Stands in for `requests.get`: serves what it holds, refuses the rest, and counts."""

    def __init__(self, pages: dict[str, bytes], redirect: str = "") -> None:
        self.pages = pages
        self.redirect = redirect
        self.requests: list[str] = []

    def __call__(
        self, url: str, hooks: dict[str, Callable[..., None]], **_: object
    ) -> requests.Response:
        self.requests.append(url)
        if url not in self.pages:
            refuse_to_connect(url)
        response = requests.Response()
        response.status_code = 200
        response.url = self.redirect or url
        response.raw = io.BytesIO(self.pages[url])
        response.headers["content-length"] = str(len(self.pages[url]))
        hooks["response"](response, timeout=None)  # as requests does for every response
        return response

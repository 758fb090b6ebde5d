"""Datasets: only genuine content is used, in one order, and every failure says how to mend it."""

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import requests
import torch
from torch import Tensor

from repro import datasets
from repro.datasets import (
    NAMES,
    DataError,
    Dataset,
    Split,
    decoding,
    files,
    load,
    scale_inputs,
    split,
)
from repro.datasets.decoding import canonical_order

_REAL_DATA = os.environ.get("REPRO_DATA_DIR")
needs_data = pytest.mark.skipif(not _REAL_DATA, reason="REPRO_DATA_DIR is not set")

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


# Finding.


@pytest.mark.parametrize("folder", ["mnist", ".", "MNIST/raw"])
@pytest.mark.parametrize("compressed", [True, False])
def test_mnist_layouts(folder: str, compressed: bool, mnist: Fake, tmp_path: Path) -> None:
    write(tmp_path / folder, mnist.archives() if compressed else mnist.contents())
    assert_genuine(load("mnist", directory=tmp_path, download=False), mnist)


@pytest.mark.parametrize(
    "folder", ["cifar10/cifar-10-batches-bin", "cifar-10-batches-bin", "cifar10", "."]
)
def test_cifar10_layouts(folder: str, cifar10: Fake, tmp_path: Path) -> None:
    write(tmp_path / folder, cifar10.contents())
    assert_genuine(load("cifar10", directory=tmp_path, download=False), cifar10)


@pytest.mark.parametrize("folder", ["cifar10", "."])
def test_cifar10_archive(folder: str, cifar10: Fake, tmp_path: Path) -> None:
    write(tmp_path / folder, cifar10.archives())
    assert_genuine(load("cifar10", directory=tmp_path, download=False), cifar10)


def test_an_archive_stands_in_for_missing_batches(cifar10: Fake, tmp_path: Path) -> None:
    write(tmp_path, cifar10.contents() | cifar10.archives())
    (tmp_path / "data_batch_3.bin").unlink()
    assert_genuine(load("cifar10", directory=tmp_path, download=False), cifar10)


def test_the_data_folder_is_the_argument_then_the_variable_then_the_cache(
    mnist: Fake, tmp_path: Path, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def assert_missing_in(folder: Path, directory: Path | None = None) -> None:
        with pytest.raises(DataError, match=f"in {folder}/mnist, found nothing"):
            load("mnist", directory=directory)

    assert_missing_in(sandbox)
    monkeypatch.setenv("REPRO_DATA_DIR", str(tmp_path / "variable"))
    write(sandbox, mnist.contents())
    assert_missing_in(tmp_path / "variable")
    write(tmp_path / "variable", mnist.contents())
    assert_missing_in(tmp_path / "argument", tmp_path / "argument")
    assert_genuine(load("mnist"), mnist)


def test_the_data_folder_may_lie_in_the_home_folder(
    mnist: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REPRO_DATA_DIR", "~/data")
    write(tmp_path / "data", mnist.contents())
    assert_genuine(load("mnist", download=False), mnist)


def test_loading_again_reads_nothing(mnist: Fake, tmp_path: Path) -> None:
    write(tmp_path, mnist.archives())
    assert load("mnist", directory=tmp_path) is load("mnist", directory=tmp_path, download=False)


def test_unknown_name_lists_the_choices() -> None:
    assert NAMES == ("mnist", "cifar10", "digits")
    with pytest.raises(DataError, match="one of mnist, cifar10, digits; found 'imagenet'"):
        load("imagenet")


# Downloading.


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


def test_downloads_into_the_cache_once(
    cifar10: Fake, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = files.MIRRORS["cifar10"][0]
    server = Server({mirror + file: data for file, data in cifar10.archives().items()})
    monkeypatch.setattr("requests.get", server)
    assert_genuine(load("cifar10"), cifar10)
    assert [path.name for path in (sandbox / "cifar10").iterdir()] == ["cifar-10-binary.tar.gz"]
    datasets._read.cache_clear()
    assert_genuine(load("cifar10"), cifar10)
    assert server.requests == [f"{mirror}cifar-10-binary.tar.gz"]


def test_falls_back_on_the_mirror_and_fetches_only_what_is_missing(
    mnist: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = mnist.archives()
    write(tmp_path, mnist.contents())
    (tmp_path / TRAIN_LABELS).unlink()
    first, second = files.MIRRORS["mnist"]
    server = Server({second + file: data for file, data in archives.items()})
    monkeypatch.setattr("requests.get", server)
    assert_genuine(load("mnist", directory=tmp_path), mnist)
    retried = 1 + files.RETRIES
    assert server.requests == [f"{first}{TRAIN_LABELS}.gz"] * retried + [
        f"{second}{TRAIN_LABELS}.gz"
    ]
    assert (tmp_path / "mnist" / f"{TRAIN_LABELS}.gz").is_file()


def test_missing_without_a_network_names_file_address_and_folder(sandbox: Path) -> None:
    address = "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz"
    with pytest.raises(DataError) as caught:
        load("mnist")
    message = str(caught.value)
    assert message.count("\n") == 0
    assert message.startswith(
        "mnist: expected train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, "
        "t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz in "
        f"{sandbox}/mnist, found nothing, and the download failed (ConnectionError: no route to"
    )
    assert f"Put {address} and " in message
    assert message.endswith("or set REPRO_DATA_DIR to a folder that has the data.")


def test_what_was_fetched_before_the_network_failed_is_not_asked_for(
    mnist: Fake, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, mirror = f"{TRAIN_IMAGES}.gz", files.MIRRORS["mnist"][0]
    monkeypatch.setattr("requests.get", Server({mirror + file: mnist.archives()[file]}))
    with pytest.raises(DataError, match=f"mnist: expected {TRAIN_LABELS}.gz, ") as caught:
        load("mnist")
    assert TRAIN_IMAGES not in str(caught.value)
    assert [path.name for path in (sandbox / "mnist").iterdir()] == [file]


def test_no_download_where_it_is_switched_off(
    sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server({})
    monkeypatch.setattr("requests.get", server)
    message = (
        f"expected cifar-10-binary.tar.gz in {sandbox}/cifar10, found nothing, and downloading is "
        "switched off. Put https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz there by hand"
    )
    with pytest.raises(DataError, match=message):
        load("cifar10", download=False)
    assert server.requests == []
    assert not sandbox.exists()


def test_a_download_with_another_hash_is_not_kept(
    cifar10: Fake, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = files.MIRRORS["cifar10"][0] + "cifar-10-binary.tar.gz"
    monkeypatch.setattr("requests.get", Server({address: b"<html>Log in to the Wi-Fi"}))
    with pytest.raises(
        DataError, match=r"download failed \(ValueError: .*does not match the known"
    ):
        load("cifar10")
    assert list((sandbox / "cifar10").iterdir()) == []


def test_a_download_never_leaves_https(cifar10: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = files.MIRRORS["cifar10"][0]
    pages = {mirror + file: data for file, data in cifar10.archives().items()}
    monkeypatch.setattr("requests.get", Server(pages, redirect="http://elsewhere.example/x"))
    with pytest.raises(DataError, match="expected a source on HTTPS, was sent on to http://else"):
        load("cifar10")
    assert all(url.startswith("https://") for urls in files.MIRRORS.values() for url in urls)


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "mnist").write_text("in the way")
    with pytest.raises(DataError, match=r"the download failed \((FileExists|NotADirectory)Error"):
        load("mnist", directory=tmp_path)


# Damage.


def damaged_mnist(mnist: Fake) -> Iterator[tuple[str, bytes, str]]:
    archive = mnist.archives()[f"{TRAIN_IMAGES}.gz"]
    content = mnist.contents()[TRAIN_IMAGES]
    file = f"{TRAIN_IMAGES}.gz"
    yield file, archive[:-30], "expected a whole archive in .*train-images.*gz, found: Compressed"
    yield file, b"<html>", "expected a whole archive in .*gz, found: Not a gzipped file"
    wrong = archive[:-8] + bytes(4) + archive[-4:]
    yield file, wrong, "expected a whole archive in .*gz, found: CRC check failed"
    wrong = archive[:10] + b"\xff" * 9 + archive[19:]
    yield file, wrong, "expected a whole archive in .*gz, found: .* invalid block type"
    yield TRAIN_IMAGES, content[:-1], r"expected 3936 bytes in .*sizes \[5, 28, 28\], found 3935\."
    yield TRAIN_IMAGES, content + b"\0", r"expected 3936 bytes in .*, found 3937\."
    yield TRAIN_IMAGES, content[:9], r"idx header of 16 bytes, 00000803 first, in .*found 00000803"
    yield TRAIN_IMAGES, b"", "idx header of 16 bytes, 00000803 first, in .*found nothing"
    yield TRAIN_IMAGES, b"\0\0\x0d" + content[3:], "00000803 first, in .*found 00000d03"
    yield TRAIN_IMAGES, b"\0\0\x08\x01" + content[4:], "00000803 first, in .*found 00000801"
    lie = content[:4] + b"\xff" * 12 + content[16:]
    yield TRAIN_IMAGES, lie, r"expected 79228162458924105385300197391 bytes .*, found 3936\."
    wide = idx(np.zeros((5, 28, 27), np.uint8))
    yield TRAIN_IMAGES, wide, r"expected images of shape \(5, 28, 28\).*found \(5, 28, 27\)"
    few = idx(mnist.labels[0][:4])
    yield TRAIN_LABELS, few, r"expected images of shape \(4, 28, 28\) .* has 4 labels"
    other = idx(mnist.labels[0] ^ np.uint8(1))
    yield TRAIN_LABELS, other, "train examples with the content digest [0-9a-f]{64}, found .* in "


@pytest.mark.parametrize("case", range(14))
def test_damaged_mnist(case: int, mnist: Fake, tmp_path: Path) -> None:
    cases = list(damaged_mnist(mnist))
    assert len(cases) == 14
    file, content, message = cases[case]
    write(tmp_path, mnist.contents())
    (tmp_path / TRAIN_IMAGES).unlink()
    write(tmp_path, {f"{TRAIN_IMAGES}.gz": mnist.archives()[f"{TRAIN_IMAGES}.gz"]})
    if not file.endswith(".gz"):
        (tmp_path / f"{TRAIN_IMAGES}.gz").unlink()
        write(tmp_path, {TRAIN_IMAGES: mnist.contents()[TRAIN_IMAGES]})
    write(tmp_path, {file: content})
    with pytest.raises(DataError, match=f"^mnist: .*{message}") as caught:
        load("mnist", directory=tmp_path)
    assert str(caught.value).endswith(
        "Not used, and left as found: replace by a copy from "
        "https://ossci-datasets.s3.amazonaws.com/mnist/."
    )
    assert (tmp_path / file).read_bytes() == content  # the user's own: untouched


def test_damaged_cifar10_batch(cifar10: Fake, tmp_path: Path) -> None:
    contents = cifar10.contents()
    contents["data_batch_2.bin"] = contents["data_batch_2.bin"][:-1]
    message = r"whole records of 3073 bytes in the batch data_batch_2.bin of .*, found 6145 bytes\."
    with pytest.raises(DataError, match=message):
        load("cifar10", directory=write(tmp_path, contents))


def test_cifar10_test_batch_in_the_place_of_another(cifar10: Fake, tmp_path: Path) -> None:
    contents = cifar10.contents()
    contents["test_batch.bin"] = contents["data_batch_1.bin"]
    message = r"expected test examples with the content digest .*found \w+ in \S+/test_batch.bin\. "
    with pytest.raises(DataError, match=message):
        load("cifar10", directory=write(tmp_path, contents))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: data[: len(data) // 2], "expected a whole archive in .*, found"),
        (lambda data: b"<html>" + data, "expected a whole archive in .*, found: not a gzip file"),
        (lambda _: gzip.compress(b"no tar" * 99), "expected a whole archive in .*, found"),
        (
            lambda _: tar({"other": b"1"}),
            "expected cifar-10-batches-bin/data_batch_1.bin, .*inside",
        ),
        (
            lambda data: tar({"cifar-10-batches-bin/data_batch_1.bin": data}),
            "expected cifar-10-batches-bin/data_batch_2.bin, .*inside",
        ),
    ],
)
def test_damaged_cifar10_archive(
    spoil: Callable[[bytes], bytes], message: str, cifar10: Fake, tmp_path: Path
) -> None:
    archives = {file: spoil(data) for file, data in cifar10.archives().items()}
    with pytest.raises(DataError, match=message):
        load("cifar10", directory=write(tmp_path, archives))


def test_only_the_listed_members_of_an_archive_are_read(cifar10: Fake, tmp_path: Path) -> None:
    hostile = tarfile.TarInfo("../escaped")
    hostile.size = 3
    link = tarfile.TarInfo("cifar-10-batches-bin/data_batch_1.bin")
    link.type = tarfile.SYMTYPE
    link.linkname = "/etc/passwd"
    members = {f"cifar-10-batches-bin/{f}": data for f, data in cifar10.contents().items()}
    folder = write(tmp_path / "data", {"cifar-10-binary.tar.gz": tar(members, hostile, link)})
    assert_genuine(load("cifar10", directory=folder), cifar10)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert [path.name for path in folder.iterdir()] == ["cifar-10-binary.tar.gz"]


def test_a_small_archive_cannot_fill_the_memory(
    mnist: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = max(map(len, mnist.contents().values()))
    monkeypatch.setitem(decoding.MAX_BYTES, "mnist", largest - 1)
    with pytest.raises(DataError, match=rf"expected at most {largest - 1} bytes in .*, found more"):
        load("mnist", directory=write(tmp_path, mnist.archives()))
    monkeypatch.setitem(decoding.MAX_BYTES, "mnist", largest)
    assert_genuine(load("mnist", directory=tmp_path), mnist)


def test_members_of_an_archive_come_in_any_order_beside_larger_ones(
    cifar10: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = cifar10.contents()
    largest = max(map(len, contents.values()))
    monkeypatch.setitem(decoding.MAX_BYTES, "cifar10", largest)
    members = {f"cifar-10-batches-bin/{file}": data for file, data in reversed(contents.items())}
    archive = tar({"cifar-10-batches-bin/readme.html": bytes(largest + 1)} | members)
    folder = write(tmp_path, {"cifar-10-binary.tar.gz": archive})
    assert_genuine(load("cifar10", directory=folder), cifar10)


def test_damage_in_the_cache_is_set_aside_and_fetched_again(
    mnist: Fake, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(sandbox / "mnist", mnist.archives())
    damaged = folder / f"{TRAIN_IMAGES}.gz"
    damaged.write_bytes(b"broken")
    message = r"Not used, and renamed to end in \.rejected: load again to download afresh\."
    with pytest.raises(DataError, match=message):
        load("mnist")
    assert not damaged.exists()
    assert (folder / f"{TRAIN_IMAGES}.gz.rejected").read_bytes() == b"broken"
    assert len(list(folder.iterdir())) == 4  # the others stay
    with pytest.raises(DataError, match=f"expected {damaged.name} in .*found nothing"):
        load("mnist")
    mirror = files.MIRRORS["mnist"][0]
    pages = {mirror + file: data for file, data in mnist.archives().items()}
    monkeypatch.setattr("requests.get", Server(pages))
    assert_genuine(load("mnist"), mnist)


def test_a_cache_that_cannot_be_written_is_left_as_found(
    mnist: Fake, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = mnist.archives() | {f"{TRAIN_IMAGES}.gz": b"broken"}
    write(sandbox / "mnist", archives)

    def refuse(*_: object) -> Path:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(DataError, match="Not used, and left as found"):
        load("mnist")


def test_an_unreadable_file_is_neither_damaged_nor_renamed(
    mnist: Fake, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(sandbox / "mnist", mnist.archives())

    def refuse(path: Path) -> gzip.GzipFile:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("gzip.open", refuse)
    with pytest.raises(DataError, match=r"expected to read .*, found: .*denied.*permissions\."):
        load("mnist")
    assert len(list(folder.glob("*.gz"))) == 4


# Splitting and scaling.


def test_split_is_one_permutation_cut_in_two() -> None:
    digits = load("digits")
    n = len(digits.train_images)
    drawn = split(digits, 297, torch.Generator().manual_seed(3))
    permutation = torch.randperm(n, generator=torch.Generator().manual_seed(3))
    assert isinstance(drawn, Split)
    assert torch.equal(drawn.validation, permutation[:297])
    assert torch.equal(drawn.train, permutation[297:])
    assert drawn.train.dtype == drawn.validation.dtype == torch.int64
    assert torch.cat([drawn.train, drawn.validation]).sort().values.tolist() == list(range(n))


def test_split_of_nothing() -> None:
    drawn = split(load("digits"), 0, torch.Generator())
    assert len(drawn.validation) == 0
    assert len(drawn.train) == 1297


@pytest.mark.parametrize("size", [-1, 1297, 5000])
def test_split_rejects(size: int) -> None:
    message = f"`validation_size` from 0 to 1296, as digits has 1297 .*; found {size}"
    with pytest.raises(ValueError, match=message):
        split(load("digits"), size, torch.Generator())


def random_images(n: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, 4, 5), generator=generator, dtype=torch.uint8)
    images[:, 1] //= 7  # channels that differ
    return images


def test_unit_scaling_divides_by_255() -> None:
    images = random_images(4, 0)
    scaled = scale_inputs(images, "unit", images[:0])
    assert scaled.dtype == torch.float32
    assert torch.equal(scaled, images.float() / torch.tensor(255.0))
    assert torch.equal(images, random_images(4, 0))  # not in place


def test_standardised_scaling_uses_the_reference() -> None:
    images, reference = random_images(4, 0), random_images(50, 1)
    scaled = scale_inputs(images, "standardised", reference)
    unit = reference.double() / 255
    mean = unit.mean((0, 2, 3), keepdim=True)
    deviation = unit.std((0, 2, 3), correction=0, keepdim=True)
    assert scaled.dtype == torch.float32
    torch.testing.assert_close(
        scaled.double(), (images.double() / 255 - mean) / deviation, rtol=1e-6, atol=1e-7
    )


def test_standardised_scaling_is_the_same_in_any_order() -> None:
    images, reference = random_images(4, 0), random_images(50, 1)
    scaled = scale_inputs(images, "standardised", reference)
    assert torch.equal(scale_inputs(images, "standardised", reference.flip(0, 2, 3)), scaled)
    assert scale_inputs(images[:0], "standardised", reference).shape == (0, 3, 4, 5)


@pytest.mark.parametrize(
    ("images", "scaling", "reference", "message"),
    [
        (random_images(2, 0), "zca", random_images(2, 0), "one of unit, standardised; found 'zca'"),
        (random_images(2, 0).float(), "unit", random_images(2, 0), "`images` .*uint8.*float32"),
        (random_images(2, 0)[0], "unit", random_images(2, 0), r"`images` .*found \(3, 4, 5\)"),
        (random_images(2, 0), "unit", random_images(2, 0)[:, :1], r"`reference` .*\(2, 1, 4, 5\)"),
        (random_images(2, 0), "standardised", random_images(0, 0), "every channel .* to vary"),
        (
            random_images(2, 0),
            "standardised",
            random_images(2, 0) * torch.tensor([1, 0, 1], dtype=torch.uint8)[:, None, None],
            r"every channel of `reference` to vary; found .*, 0\.0, ",
        ),
    ],
)
def test_scale_inputs_rejects(
    images: Tensor, scaling: str, reference: Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scale_inputs(images, scaling, reference)


# The real thing.


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

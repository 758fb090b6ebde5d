"""Damaged, hostile or foreign files are never taken for data; what is the user's own is left as found."""

import gzip
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_data import TRAIN_IMAGES, TRAIN_LABELS, Fake, Server, assert_genuine, idx, tar, write
from fake_data import cifar10 as cifar10
from fake_data import mnist as mnist
from fake_data import sandbox as sandbox

from repro.datasets import DataError, decoding, files, load


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

"""Where the files of a data set are looked for, and how missing ones are downloaded; each failure says how to mend it."""

from pathlib import Path

import pytest
from fake_data import TRAIN_IMAGES, TRAIN_LABELS, Fake, Server, assert_genuine, write
from fake_data import cifar10 as cifar10
from fake_data import mnist as mnist
from fake_data import sandbox as sandbox

from repro import datasets
from repro.datasets import DataError, files, load

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


# Downloading.


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

"""What goes wrong is named in a line, and the other groups go on."""

import re
import shutil
import signal
from pathlib import Path

import pytest
import requests
import torch
from small_runs import STUDY, counts, no_event, rows, small, stamps
from small_runs import events as events
from small_runs import same_threads as same_threads
from small_runs import store as store
from small_runs import undisturbed as undisturbed

from repro.execution import check_device, execute, form_groups, run_group
from repro.protocol import RunSpec, expand
from repro.results import Store


@pytest.fixture
def mnist() -> tuple[RunSpec, ...]:
    return expand(STUDY, "full", only=["logistic"])


def test_missing_data_is_one_error(
    mnist: tuple[RunSpec, ...], store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str, **_: object) -> requests.Response:
        raise requests.ConnectionError(f"no route to {url}")

    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("REPRO_DATA_DIR", str(tmp_path / "empty"))
    monkeypatch.setattr("requests.get", refuse)
    monkeypatch.setattr("time.sleep", lambda _: None)
    outcome = execute(mnist, store)
    assert counts(outcome) == (0, 0, 0, 0)
    names = [failure.name for failure in outcome.failures]
    assert names == [
        "baydin2022 logistic: backpropagation (5 runs)",
        "baydin2022 logistic: forward gradient (5 runs)",
    ]
    for failure in outcome.failures:
        assert "mnist" in failure.reason
        assert "\n" not in failure.reason
    assert not store.directory.exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_group_that_fails_is_named_and_the_others_go_on(
    mnist: tuple[RunSpec, ...],
    undisturbed: Store,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / f"{part}-ubyte").write_bytes(b"not MNIST")
    monkeypatch.setenv("REPRO_DATA_DIR", str(tmp_path))
    before = signal.getsignal(signal.SIGINT)
    outcome = execute((*mnist, *small()), store, workers=workers)
    assert counts(outcome) == (10, 0, 0, 0)
    assert rows(store) == rows(undisturbed)
    assert sorted(failure.name for failure in outcome.failures) == [
        "baydin2022 logistic: backpropagation (5 runs)",
        "baydin2022 logistic: forward gradient (5 runs)",
    ]
    for failure in outcome.failures:
        assert re.search(r"mnist: .*Not used, and left as found", failure.reason)
    assert (outcome.lost, outcome.halted) == ((), False)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_of_the_code_names_its_kind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("repro.training.train", fail)
    file = Path(__file__)
    monkeypatch.chdir(file.parent)
    outcome = execute(small()[-2:], store)
    (failure,) = outcome.failures
    line = fail.__code__.co_firstlineno + 1
    assert failure.reason == (
        f"ZeroDivisionError: by zero ({file.name}, line {line}; REPRO_DEBUG=1 shows the traceback)"
    )


def test_an_error_within_pytorch_names_the_line_that_called_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        torch.nn.functional.cross_entropy(torch.zeros(2, 3), "labels")  # type: ignore[arg-type]

    monkeypatch.setattr("repro.training.train", fail)
    monkeypatch.chdir(tmp_path)
    (failure,) = execute(small()[-2:], store).failures
    line = fail.__code__.co_firstlineno + 1
    assert failure.reason.startswith("TypeError: ")
    assert f"({Path(__file__).as_posix()}, line {line}; REPRO_DEBUG=1" in failure.reason


def test_an_unusable_file_is_named_before_any_work(undisturbed: Store, store: Store) -> None:
    shutil.copytree(undisturbed.directory, store.directory)
    path = store.path(small()[3].key)
    path.write_bytes(path.read_bytes()[:50])
    store.path(small()[7].key).unlink()
    before = stamps(store)
    outcome = execute(small(), store, on_event=no_event)
    (failure,) = outcome.failures
    assert re.search(r"truncated or foreign.*Move it away to run it again", failure.reason)
    assert str(path) in failure.reason
    assert counts(outcome) == (0, 0, 0, 0)
    assert stamps(store) == before


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_at_least_one_worker(store: Store, workers: int) -> None:
    with pytest.raises(ValueError, match=rf"^`workers` must be at least 1\. Found {workers}\.$"):
        execute(small(), store, workers=workers)


def test_unknown_devices_name_the_choices(store: Store) -> None:
    with pytest.raises(ValueError, match=r"^Unknown device 'tpu'\. Choose from: cpu, cuda\.$"):
        execute(small(), store, device="tpu")
    assert not store.directory.exists()


def test_an_absent_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match=r"^Device 'cuda' was asked for.* Use `--device cpu`\.$"):
        check_device("cuda")
    check_device("cpu")


def test_timing_for_another_device_says_so(store: Store) -> None:
    runs = expand(STUDY, "smoke", only=["run-time-beale"], device="cuda")
    (failure,) = execute(runs, store).failures
    assert failure.reason == "These runs time the device 'cuda'. Found 'cpu'."


def test_a_device_that_fails_is_named_and_what_finished_is_kept(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = form_groups(expand(STUDY, "smoke", only=["beale"]))

    def vanish(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure\nCompile with ...")

    run_group(first, store, "cpu", lambda steps: None, lambda: False)
    monkeypatch.setattr("repro.training.train", vanish)
    with pytest.raises(OSError, match="failed") as caught:
        run_group(second, store, "cpu", lambda steps: None, lambda: False)
    assert str(caught.value) == (
        "The device cpu failed (CUDA error: unspecified launch failure). Finished runs are kept: the same "
        "command carries on from them once the device answers again."
    )
    assert {path.stem for path in store.files()} == {spec.key for spec in first}

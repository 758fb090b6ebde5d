"""`repro run` of many experiments: stopped, killed, out of room or partly failing, it keeps what finished and says the rest."""

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import studies
from repro import cli
from repro.protocol import comparisons, expand
from repro.results import ENVIRONMENT, Store, read_store

pytest.importorskip("torch")
pytest.importorskip("optuna")

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 300.0  # seconds; a busy machine may take a minute to start two workers
EXPERIMENTS = "beale,rosenbrock,logistic,mlp-2e-4,nn-sgd,tuned-nn-sgd,run-time-beale"
COMMAND = ["run", "all", "--scale", "smoke", "--only", EXPERIMENTS]


def rows(store: Path) -> dict[str, Any]:
    """What must not depend on where and when a run happened; reading checks that every file is whole."""
    records, problems = read_store(store)
    assert problems == ()
    elsewhere = (*ENVIRONMENT, "seconds", "wall_seconds", "processor_seconds", "peak_bytes")
    return {
        r.spec.key: (
            r.status,
            sorted((k, v) for k, v in r.measured.items() if k not in elsewhere),
            repr(r.curves),
        )
        for r in records
        if "step_seconds" not in r.measured
    }


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("undisturbed")
    assert cli.main([*COMMAND, "--workers", "1", "--store", str(store)]) == 0
    return store


@contextlib.contextmanager
def started(folder: Path, *words: str, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, in another folder."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        [sys.executable, "-m", "repro", *COMMAND, *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **more,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def said_to_be_done(shown: str) -> int:
    """How many runs the lines of finished groups speak of."""
    counts = re.findall(r"^.*\): (.*(?:done|diverged))$", shown, re.MULTILINE)
    return sum(int(n) for line in counts for n in re.findall(r"(\d+) (?:done|diverged)", line))


@pytest.mark.parametrize("whole_group", [False, True], ids=["coordinator", "process group"])
def test_told_to_end_it_keeps_what_finished_names_the_rest_and_carries_on(
    undisturbed: Path, tmp_path: Path, whole_group: bool
) -> None:
    store = Store(tmp_path / "store")
    with started(tmp_path, "--workers", "2") as process:
        wait_for(lambda: len(store.files()) >= 6, process)
        if whole_group:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        shown, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, shown + errors
    assert "Traceback" not in errors
    assert "stopped early: the same command carries on" in shown
    kept = rows(store.directory)
    assert kept.items() <= rows(undisturbed).items()
    named = re.findall(r"^not finished: (.*)$", shown, re.MULTILINE)
    assert len(named) <= 2  # as many as there were workers
    if not whole_group:  # workers that the signal reached as well are gone before they can be asked
        assert set(named) <= set(re.findall(r"^stopping: (.*)$", shown, re.MULTILINE))
    assert said_to_be_done(shown) == len(store.files())
    command = [*COMMAND, "--workers", "1", "--store", str(store.directory)]
    assert cli.main(command) == 0
    assert rows(store.directory) == rows(undisturbed)


def test_killed_it_has_kept_all_that_it_said_was_done(undisturbed: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with started(tmp_path, "--workers", "2") as process:
        wait_for(lambda: len(store.files()) >= 6, process)
        os.killpg(process.pid, signal.SIGKILL)
        shown, _ = process.communicate(timeout=PATIENCE)
    kept = rows(store.directory)
    assert kept.items() <= rows(undisturbed).items()
    assert said_to_be_done(shown) <= len(store.files())
    assert cli.main([*COMMAND, "--workers", "1", "--store", str(store.directory)]) == 0
    assert rows(store.directory) == rows(undisturbed)


def test_a_killed_worker_costs_what_was_under_way(undisturbed: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with started(tmp_path, "--workers", "2") as process:
        wait_for(lambda: len(store.files()) >= 6 and len(workers(process.pid)) > 1, process)
        os.kill(max(workers(process.pid)), signal.SIGKILL)
        shown, errors = process.communicate(timeout=PATIENCE)
    lines = [line for line in errors.splitlines() if line.startswith("repro: ")]
    assert len(lines) <= 2  # as many as there were workers
    for line in lines:
        assert re.search(
            r"\): a worker was ended from outside, most likely for lack of memory", line
        )
    assert process.returncode == (1 if lines else 0), shown + errors
    assert cli.main([*COMMAND, "--workers", "1", "--store", str(store.directory)]) == 0
    assert rows(store.directory) == rows(undisturbed)


def workers(coordinator: int) -> list[int]:
    """Processes that train for a coordinator."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            words = (path.parent / "cmdline").read_bytes()
            if int(fields[1]) == coordinator and b"spawn_main" in words:
                found.append(int(path.parent.name))
    return found


def test_on_a_full_disk_it_stops_at_once_and_says_so(undisturbed: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def leave_little_room() -> None:
        # no file may be longer: what is written breaks off midway, as on a disk that fills up
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))

    with started(tmp_path, "--workers", "2", preexec_fn=leave_little_room) as process:
        shown, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, shown + errors
    assert re.search(r"takes no more files \(File too large\)", errors)
    assert "make room and run the same command again" in errors
    assert "Traceback" not in errors
    assert rows(store.directory).items() <= rows(undisturbed).items()
    assert not list(store.directory.glob("*/.*"))  # nothing half-written stays
    left = re.search(r"(\d+) left", shown)
    assert left is not None
    assert int(left[1]) > 4  # it did not go on in vain
    assert cli.main([*COMMAND, "--workers", "1", "--store", str(store.directory)]) == 0
    assert rows(store.directory) == rows(undisturbed)


def test_what_fails_is_one_line_at_the_end_and_the_rest_is_done(
    undisturbed: Path,
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from repro import training

    def train(specs: Any, *arguments: Any, **more: Any) -> Any:
        if specs[0].experiment in ("logistic", "tuned-nn-sgd"):
            raise RuntimeError("the kernel\nis broken")
        return real(specs, *arguments, **more)

    real = training.train
    monkeypatch.setattr(training, "train", train)
    assert cli.main([*COMMAND, "--workers", "1"]) == 1
    errors = capsys.readouterr().err.splitlines()
    # two stacks of logistic regression, four trials of three methods
    assert len(errors) == 2 + 3 * 4
    assert all(": RuntimeError: the kernel is broken (" in line for line in errors)
    stem = "repro: baydin2022 logistic: "
    assert sum(line.startswith(stem) for line in errors) == 2
    kept = rows(elsewhere / "store")
    assert kept.items() <= rows(undisturbed).items()
    monkeypatch.undo()
    monkeypatch.chdir(elsewhere)
    assert cli.main([*COMMAND, "--workers", "1"]) == 0
    assert rows(elsewhere / "store") == rows(undisturbed)


def test_missing_data_costs_its_own_experiments_only(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from repro import datasets

    def load(name: str) -> Any:
        raise datasets.DataError(f"{name} is nowhere.\nPut it somewhere.")

    monkeypatch.setattr(datasets, "load", load)
    chosen = ["run", "baydin2022", "--scale", "smoke", "--workers", "1", "--only"]
    assert cli.main([*chosen, "beale,logistic"]) == 1
    assert capsys.readouterr().err == "repro: logistic: digits is nowhere. Put it somewhere.\n"
    assert len(Store(elsewhere / "store").files()) == 4
    assert cli.main([*chosen, "logistic,mlp-2e-4"]) == 2  # nothing at all can be run
    assert capsys.readouterr().err == "repro: digits is nowhere. Put it somewhere.\n"


def test_a_run_that_takes_longer_than_the_limit_is_not_begun(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prices = {"beale": 100.0, "rosenbrock": 0.1}
    monkeypatch.setattr("repro.pricing.Prices.__call__", lambda self, spec: prices[spec.experiment])
    chosen = ["run", "baydin2022", "--scale", "smoke", "--only", "beale,rosenbrock"]
    limited = [*chosen, "--workers", "1", "--time-limit", "60s"]
    assert cli.main(limited) == 3
    shown = capsys.readouterr().out
    assert "the shortest run left takes about 3m, more than was left of the time limit" in shown
    assert {path.stem for path in Store(elsewhere / "store").files()} == {
        spec.key for spec in expand(studies.get("baydin2022"), "smoke", only=["rosenbrock"])
    }
    assert cli.main(limited) == 2  # or whoever repeats the command would do so for ever
    assert "takes about 3m. Give `--time-limit` more than that." in capsys.readouterr().err


def test_what_other_devices_take_keeps_no_run_from_being_begun(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("repro.pricing.Prices.__call__", lambda self, spec: 1_000.0)
    monkeypatch.setattr("repro.environment.device_name", lambda device: "a GPU that nobody timed")
    chosen = ["run", "baydin2022", "--scale", "smoke", "--only", "beale", "--workers", "1"]
    assert cli.main([*chosen, "--time-limit", "1h"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "a GPU that nobody timed has no rows: runs are ordered by the speeds of other devices, and `--time-limit` keeps "
        "none from starting"
    ) in shown
    assert len(Store(elsewhere / "store").files()) == 4
    # without a limit nothing is said: any run is begun in any case
    assert cli.main(chosen) == 0
    assert "nobody timed" not in capsys.readouterr().out


def test_all_studies_are_filtered_by_what_each_of_them_has(
    undisturbed: Path, capsys: pytest.CaptureFixture[str], elsewhere: Path
) -> None:
    every = [studies.get(name) for name in studies.names()]
    names = EXPERIMENTS.split(",")
    given = {
        spec.key for study in every for spec in expand(study, "smoke") if spec.experiment in names
    }
    assert given <= {path.stem for path in Store(undisturbed).files()}
    searched = [c.experiment.name for study in every for c in comparisons(study, "smoke")]
    assert "tuned-nn-sgd" in searched
    assert cli.main(["status", "all", "--only", "beale,nothing"]) == 2
    assert "Unknown experiment of any study 'nothing'." in capsys.readouterr().err
    assert cli.main(["status", "all", "--only", "beale", "--arm", "matched"]) == 2
    assert "Drop one of them." in capsys.readouterr().err
    assert cli.main(["status", "all", "--only", "beale", "--arm", "tuned,cost"]) == 2
    assert capsys.readouterr().err == (
        "repro: No run of baydin2022 has an arm among tuned and an experiment among beale. Drop one of the filters.\n"
    )
    assert not list(elsewhere.iterdir())

"""What Optuna itself notes at trials and users add: constraints, grids, data sets and settings are read as they are meant."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from outsiders import of_rule

from repro.audit import optuna_files, optuna_marks
from repro.audit.evidence import Range

if TYPE_CHECKING:
    import optuna

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None, reason="needs Optuna to write a search"
)

Objective = Callable[["optuna.Trial"], float]
KINDS = ("x.db", "x.journal")


def objective(trial: optuna.Trial) -> float:
    """Return a score that is lowest at a rate of 0.03."""
    rate = trial.suggest_float("lr", 1e-5, 1.0, log=True)
    return 0.3 + 0.2 * abs(math.log10(rate / 0.03))


def write(
    path: Path,
    *studies: tuple[str, Any, int, dict[str, Any]],
    constraints: dict[str, float] | None = None,
) -> str:
    """Write studies, each with a sampler, a number of trials and user attributes of every trial; return where.

    Constraints are largest rates, by the key under which Optuna notes how far a trial is above.
    """
    constraints = constraints or {}
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    url = f"sqlite:///{path}" if path.suffix == ".db" else str(path)
    storage: Any = url
    if path.suffix != ".db":
        storage = optuna.storages.JournalStorage(JournalFileBackend(url))
    for name, sampler, num, attributes in studies:
        study = optuna.create_study(storage=storage, study_name=name, sampler=sampler)

        def run(trial: optuna.Trial, attributes: dict[str, Any] = attributes) -> float:
            for key, value in attributes.items():
                trial.set_user_attr(key, value)
            score = objective(trial)
            for key, most in constraints.items():
                above = trial.params["lr"] - most
                noted = [above] if key == "constraints" else above
                trial.storage.set_trial_system_attr(trial._trial_id, key, noted)
            return score

        study.optimize(run, n_trials=num)
    return url


def random() -> Any:
    """Return a sampler of random values."""
    import optuna

    return optuna.samplers.RandomSampler(seed=1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["constraints", "constraints:rate"])  # before Optuna 5, and since
def test_a_trial_that_broke_a_constraint_is_no_winner(kind: str, key: str, tmp_path: Path) -> None:
    import optuna

    url = write(tmp_path / kind, ("a", random(), 12, {}), constraints={key: 0.01})
    best = optuna.load_study(study_name="a", storage=url if kind.endswith(".db") else journal(url))
    evidence = optuna_files.from_storages([url], {})
    assert evidence.number("best lr", "a") == pytest.approx(best.best_params["lr"])
    broken = sum(t.params["lr"] > 0.01 for t in best.trials)
    assert any(f"study 'a': {broken} trial" in n and "cannot win" in n for n in evidence.notes)


def test_marks_that_mean_nothing_are_left_alone() -> None:
    texts = {
        "constraints": ['"x"', "null", "[null, 1]"],
        "search_space": ["3", "{}", '{"lr": ["x"]}'],
    }
    for key, values in texts.items():
        for value in values:
            marks = pd.DataFrame({"trial_id": [0], "key": [key], "value": [value]})
            declared = {("a", "lr"): Range(0.0, 1.0, log=False)}
            assert optuna_marks.infeasible(marks) == ({0} if "1" in value else set())
            assert optuna_marks.ranges_of_grids(marks, pd.Series(["a"]), declared) == {}


def journal(path: str) -> Any:
    """Return a journal as Optuna opens it."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    return optuna.storages.JournalStorage(JournalFileBackend(path))


@pytest.mark.parametrize("kind", KINDS)
def test_a_grid_is_the_range_of_its_values(kind: str, tmp_path: Path) -> None:
    import optuna

    grids = ([1e-4, 1e-3, 1e-2, 1e-1], [0.02, 0.03, 0.04, 0.05])
    samplers = [optuna.samplers.GridSampler({"lr": grid}) for grid in grids]
    url = write(tmp_path / kind, *((n, s, 4, {}) for n, s in zip("ab", samplers, strict=True)))
    evidence = optuna_files.from_storages([url], {})
    status, text = of_rule(evidence, "space")
    assert status == "warn"
    assert "lr searched over [0.0001, 0.1] for a, [0.02, 0.05] for b" in text
    assert evidence.word("sampler", "a") == "grid"
    narrow = optuna.samplers.GridSampler({"lr": [1e-4, 1e-3, 1e-2]})
    url = write(tmp_path / f"narrow-{kind}", ("a", narrow, 3, {}))
    told = "a: lr = 0.01 in [0.0001, 0.01], at the upper bound"
    assert of_rule(optuna_files.from_storages([url], {}), "edge") == ("fail", told)


@pytest.mark.parametrize("kind", KINDS)
def test_studies_on_several_data_sets_are_refused(kind: str, tmp_path: Path) -> None:
    url = write(
        tmp_path / kind,
        *((f"{d}-{m}", random(), 3, {"dataset": d}) for d in ("mnist", "cifar") for m in "ab"),
    )
    told = (
        r"expected trials on one problem. Found several in the user attribute 'dataset' \(mnist, cifar\). Audit the studies of "
        "one at a time, by `--studies`; or say `--map settings=dataset` if it is no problem"
    )
    with pytest.raises(ValueError, match=told):
        optuna_files.from_storages([url], {})
    evidence = optuna_files.from_storages([url], {}, only=["mnist-a", "mnist-b"])
    assert evidence.methods == ("mnist-a", "mnist-b")
    assert not any("is not read" in note for note in evidence.notes)
    evidence = optuna_files.from_storages([url], {"settings": "dataset"})
    assert of_rule(evidence, "settings")[0] == "fail"


@pytest.mark.parametrize("kind", KINDS)
def test_studies_of_one_name_are_called_after_their_files(kind: str, tmp_path: Path) -> None:
    urls = []
    for method in ("sgd", "adam"):
        (tmp_path / method).mkdir()
        urls.append(write(tmp_path / method / kind, ("search", random(), 3, {})))
    assert optuna_files.from_storages(urls, {}).methods == ("sgd", "adam")
    assert optuna_files.from_storages(urls, {}, only=["search"]).methods == ("sgd", "adam")
    write(tmp_path / "adam" / kind, ("more", random(), 3, {}))
    names = ("sgd search", "adam search", "more")
    assert optuna_files.from_storages(urls, {}).methods == names


@pytest.mark.parametrize("kind", KINDS)
def test_user_attributes_may_be_settings(kind: str, tmp_path: Path) -> None:
    studies = (("a", random(), 3, {"batch": 64, "warm": True}), ("b", random(), 3, {"batch": 512, "warm": True}))  # fmt: skip
    url = write(tmp_path / kind, *studies)
    told = (
        "user attribute 'batch' is not read, and every method has one value of it: 64 for a, 512 for b; if it is a setting, add "
        "`--map settings=batch`"
    )
    assert told in optuna_files.from_storages([url], {}).notes
    evidence = optuna_files.from_storages([url], {"settings": "batch:warm"})
    assert of_rule(evidence, "settings") == ("fail", "batch: 64 for a, 512 for b")
    with pytest.raises(ValueError, match="no user attribute 'size' for 'settings'"):
        optuna_files.from_storages([url], {"settings": "size"})

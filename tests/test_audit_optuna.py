"""Anybody's Optuna storage: read as it stands, never changed, and refused where it means nothing."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from outsiders import EXAMPLES, digest, of_rule, statuses

from repro.audit import optuna_files, report
from repro.cli import DONE, FAILED, main

needs_optuna = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None, reason="needs Optuna to write a search"
)


# --- storages and journals, as Optuna lays them out ---------------------------------------------------------


def write_storage(path: Path, *, num: int = 0, schema: int = 12) -> Path:
    """Write a SQLite storage of two studies as Optuna lays it out, with `num` trials each."""
    with sqlite3.connect(path) as connection:
        connection.executescript(
            """
            CREATE TABLE version_info (version_info_id INTEGER PRIMARY KEY, schema_version INTEGER,
                library_version VARCHAR(256));
            CREATE TABLE studies (study_id INTEGER PRIMARY KEY, study_name VARCHAR(512));
            CREATE TABLE study_directions (study_direction_id INTEGER PRIMARY KEY, direction VARCHAR(8),
                study_id INTEGER, objective INTEGER);
            CREATE TABLE trials (trial_id INTEGER PRIMARY KEY, number INTEGER, study_id INTEGER,
                state VARCHAR(8), datetime_start DATETIME, datetime_complete DATETIME);
            CREATE TABLE trial_params (param_id INTEGER PRIMARY KEY, trial_id INTEGER, param_name VARCHAR(512),
                param_value FLOAT, distribution_json TEXT);
            CREATE TABLE trial_values (trial_value_id INTEGER PRIMARY KEY, trial_id INTEGER, objective INTEGER,
                value FLOAT, value_type VARCHAR(7));
            CREATE TABLE trial_intermediate_values (trial_intermediate_value_id INTEGER PRIMARY KEY,
                trial_id INTEGER, step INTEGER, intermediate_value FLOAT, intermediate_value_type VARCHAR(7));
            CREATE TABLE trial_user_attributes (trial_user_attribute_id INTEGER PRIMARY KEY,
                trial_id INTEGER, key VARCHAR(512), value_json TEXT);
            CREATE TABLE trial_system_attributes (trial_system_attribute_id INTEGER PRIMARY KEY,
                trial_id INTEGER, key VARCHAR(512), value_json TEXT);
            """
        )
        connection.execute("INSERT INTO version_info VALUES (1, ?, '5.0.0')", (schema,))
        space = json.dumps(
            {
                "name": "FloatDistribution",
                "attributes": {"step": None, "low": 1e-6, "high": 1.0, "log": True},
            }
        )
        generator = np.random.default_rng(0)
        for study, name in ((1, "adam"), (2, "sgd")):
            connection.execute("INSERT INTO studies VALUES (?, ?)", (study, name))
            connection.execute(
                "INSERT INTO study_directions VALUES (?, 'MINIMIZE', ?, 0)", (study, study)
            )
            ids = range(study * 10**6, study * 10**6 + num)
            exponents = generator.permutation(num) / max(num, 1) * 6 - 6 if num else np.zeros(0)
            scores = (exponents + 3 + 0.1 * study) ** 2 + 0.1
            start, end = "2026-01-01 00:00:00.000000", "2026-01-01 00:00:10.000000"
            connection.executemany(
                "INSERT INTO trials VALUES (?, ?, ?, 'COMPLETE', ?, ?)",
                [(i, n, study, start, end) for n, i in enumerate(ids)],
            )
            connection.executemany(
                "INSERT INTO trial_params VALUES (?, ?, 'lr', ?, ?)",
                [(i, i, float(10**e), space) for i, e in zip(ids, exponents, strict=True)],
            )
            connection.executemany(
                "INSERT INTO trial_values VALUES (?, ?, 0, ?, 'FINITE')",
                [(i, i, float(s)) for i, s in zip(ids, scores, strict=True)],
            )
            connection.executemany(
                "INSERT INTO trial_intermediate_values VALUES (?, ?, ?, 0.5, 'FINITE')",
                [(4 * i + k, i, k) for i in ids for k in range(4)],
            )
    return path


# --- what Optuna itself wrote -------------------------------------------------------------------------------


@needs_optuna
@pytest.mark.parametrize("name", ["search.db", "search.journal"])
def test_an_outsider_s_optuna_search_is_audited_in_one_command(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("outsider", EXAMPLES / "audit_optuna.py")
    assert spec is not None
    assert spec.loader is not None
    outsider = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(outsider)
    path = tmp_path / name
    outsider.main(str(path))
    before = digest(path)
    url = f"sqlite:///{path}" if name.endswith(".db") else str(path)
    assert main(["audit", "--optuna", url, "--json", str(tmp_path / "audit.json")]) == FAILED
    assert "24 trials for momentum, 8 trials for plain" in " ".join(capsys.readouterr().out.split())
    assert digest(path) == before
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")) == sorted(
        ["audit.json", name]
    )
    (audited,) = json.loads((tmp_path / "audit.json").read_text())["comparisons"]
    found = {f["rule"]: f["status"] for f in audited["findings"]}
    assert found["budget"] == "fail"
    assert found["space"] == "warn"
    assert audited["methods"] == ["plain", "momentum"]


@needs_optuna
def test_what_is_read_from_a_storage_is_what_optuna_says(tmp_path: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    study = optuna.create_study(study_name="one", storage=storage, direction="maximize")

    def objective(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("opt", ["adam", "sgd", None])
        rate = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        depth = trial.suggest_int("depth", 1, 4)
        trial.set_user_attr("run_seed", trial.number % 3)
        if trial.number == 4:
            raise optuna.TrialPruned
        if trial.number == 5:
            return float("nan")
        if trial.number == 6:
            return float("inf")
        return rate * depth * (kind == "adam")

    study.optimize(objective, n_trials=12)
    study.enqueue_trial({"lr": 0.1})
    evidence = optuna_files.from_storages([storage], {"seed": "run_seed"})
    rows = evidence.runs
    assert len(rows) == 13
    for trial, (_, row) in zip(study.trials, rows.iterrows(), strict=True):
        assert row["number"] == trial.number
        assert row["param lr"] == trial.params.get("lr") or np.isnan(row["param lr"])
        if trial.value is not None and np.isfinite(trial.value):
            assert row["score"] == -trial.value  # turned, so that smaller is better
            assert row["param opt"] == str(trial.params["opt"])
            assert row["seed"] == str(trial.number % 3)
    assert rows["status"].tolist()[4:7] == ["pruned", "failed", "diverged"]
    assert rows["status"].iloc[12] == "running"
    best = evidence.number("best lr", "one")
    assert best == max((t for t in study.trials if t.number not in {4, 5, 6, 12}), key=lambda t: t.value or 0.0).params["lr"]  # fmt: skip
    assert evidence.number("searched from lr", "one") == 1e-4
    assert evidence.word("scale of lr", "one") == "log"
    assert evidence.word("scale of depth", "one") == "linear"
    split = optuna_files.from_storages([storage], {"method": "opt"})
    assert set(split.methods) <= {"adam", "sgd", "None"}
    assert "param opt" not in split.runs


@needs_optuna
def test_a_journal_and_a_database_of_one_study_say_the_same(tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    database = f"sqlite:///{tmp_path / 'x.db'}"
    study = optuna.create_study(study_name="s", storage=database)
    study.optimize(lambda t: t.suggest_float("lr", 1e-3, 1.0, log=True) ** 2, n_trials=8)
    backend = JournalFileBackend(str(tmp_path / "x.journal"))
    optuna.copy_study(
        from_study_name="s",
        from_storage=database,
        to_storage=optuna.storages.JournalStorage(backend),
    )
    one, other = (
        optuna_files.from_storages([str(tmp_path / name)], {}).runs
        for name in ("x.db", "x.journal")
    )
    columns = ["method", "number", "status", "score", "param lr"]
    pd.testing.assert_frame_equal(one[columns], other[columns])
    assert one["seconds"].to_numpy() == pytest.approx(other["seconds"].to_numpy(), abs=1e-3)


def test_a_winner_that_lacks_a_conditional_hyperparameter_has_no_edge_of_it(tmp_path: Path) -> None:
    path = write_storage(tmp_path / "a.db", num=8)
    space = {"name": "FloatDistribution", "attributes": {"step": None, "low": 0.0, "high": 500.0, "log": False}}  # fmt: skip
    words = {"name": "CategoricalDistribution", "attributes": {"choices": ["a", "b", "c"]}}
    with sqlite3.connect(path) as connection:
        for study in (1, 2):
            ((best,),) = connection.execute(
                "SELECT trial_id FROM trial_values WHERE trial_id / 1000000 = ? ORDER BY value LIMIT 1", (study,)
            ).fetchall()  # fmt: skip
            # the winner of the first study draws neither
            ids = [i for i in range(study * 10**6, study * 10**6 + 8) if study == 2 or i != best]
            connection.executemany(
                "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) VALUES (?, ?, ?, ?)",
                [(i, "warmup", 250.0 + i % 8, json.dumps(space)) for i in ids]
                + [(i, "kind", i % 3, json.dumps(words)) for i in ids],
            )
    evidence = optuna_files.from_storages([str(path)], {})
    assert evidence.word("best warmup", "adam") == evidence.word("best kind", "adam") == "none"
    status, text = of_rule(evidence, "edge")
    assert status == "pass"
    assert "adam: the winner uses no warmup" in text
    assert "sgd: warmup = " in text


@needs_optuna
@pytest.mark.parametrize("kind", ["db", "journal"])
def test_trials_that_no_sampler_chose_are_counted(kind: str, tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    path = tmp_path / f"x.{kind}"
    storage = (
        optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        if kind == "journal"
        else f"sqlite:///{path}"
    )
    for name in ("plain", "ours"):
        study = optuna.create_study(study_name=name, storage=storage)
        if name == "ours":
            study.enqueue_trial({"lr": 0.1})
        study.optimize(lambda t: t.suggest_float("lr", 1e-3, 1.0, log=True) ** 2, n_trials=4)
    evidence = optuna_files.from_storages([str(path)], {})
    assert evidence.number("trials", "ours") == 4
    assert of_rule(evidence, "space") == (
        "warn",
        "trials whose values were given, not sampled: 0 for plain, 1 for ours",
    )


@needs_optuna
@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_sampler_is_known_by_the_marks_it_leaves(kind: str, tmp_path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = tmp_path / "a"
    storage = (
        optuna.storages.JournalStorage(JournalFileBackend(str(path)))
        if kind == "journal"
        else f"sqlite:///{path}"
    )
    samplers = {
        "gridded": optuna.samplers.GridSampler({"lr": [1e-3, 1e-2, 1e-1, 1.0]}),
        "random": optuna.samplers.RandomSampler(0),
        "evolved": optuna.samplers.NSGAIISampler(seed=0, population_size=2),
    }
    for name, sampler in samplers.items():
        study = optuna.create_study(storage=storage, study_name=name, sampler=sampler)
        study.optimize(lambda t: t.suggest_float("lr", 1e-3, 1.0, log=True) ** 2, n_trials=4)
    both = optuna_files.from_storages([str(path)], {}, ["gridded", "evolved"])
    assert [both.word("sampler", m) for m in both.methods] == ["grid", "NSGA-II"]
    assert of_rule(both, "space") == ("warn", "sampler: grid for gridded, NSGA-II for evolved")
    # random draws leave no mark: nobody knows, and a user may say so
    one = optuna_files.from_storages([str(path)], {}, ["gridded", "random"])
    assert of_rule(one, "space")[0] == "unknown"
    assert not one.word("sampler", "random")
    none = optuna_files.from_storages([str(path)], {}, ["random"])
    assert not none.word("sampler", "random")


@pytest.mark.parametrize(
    ("key", "sampler"),
    [
        ("gp:relative_params:0", "Gaussian process"),
        ("tpe:relative_params:0", "TPE"),
        ("cma:generation", "CMA-ES"),
        ("sepcma:generation", "CMA-ES, separable"),
        ("nsga2:generation", "NSGA-II"),
        ("grid_identity", ""),
        ("constraints", ""),
    ],
)
def test_marks_of_samplers(key: str, sampler: str, tmp_path: Path) -> None:
    path = write_storage(tmp_path / "a.db", num=4)
    with sqlite3.connect(path) as connection:
        connection.execute(  # at the last trial: the first are often random
            "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (1000003, ?, '1')",
            (key,),
        )
    assert optuna_files.from_storages([str(path)], {}).word("sampler", "adam") == sampler


def test_as_many_given_trials_for_every_method_are_no_fault(tmp_path: Path) -> None:
    path = write_storage(tmp_path / "a.db", num=4)
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO trial_system_attributes (trial_id, key, value_json) VALUES (?, 'fixed_params', '{}')",
            [(1000000,), (2000000,)],
        )
    evidence = optuna_files.from_storages([str(path)], {})
    assert evidence.number("enqueued trials", "adam") == 1
    assert of_rule(evidence, "space")[0] == "pass"


@pytest.mark.parametrize("attribute", ["", "steps"])
def test_reports_of_trials_are_their_length_where_nothing_else_is(
    attribute: str, tmp_path: Path
) -> None:
    path = write_storage(tmp_path / "a.db", num=4)
    told = optuna_files.from_storages([str(path)], {})
    assert told.number("trial steps", "adam") == 4
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, '10')",
            [(s * 10**6 + i, k) for s in (1, 2) for i in range(4) for k in ("epochs", attribute)],
        )
    told = optuna_files.from_storages([str(path)], {})
    assert told.number("trial epochs", "adam") == 10
    assert told.number("trial steps", "adam") == (10 if attribute else None)


@pytest.mark.parametrize("unit", ["epochs", "steps"])
@pytest.mark.parametrize(
    ("stated", "reports", "searched"),
    [
        ("20", 2, 50),  # four reports in 20 epochs: two reports are 10 epochs
        ("7", 2, 47),  # it says itself how far it came
        ("20", 0, 60),  # nothing was reported
    ],
)
def test_a_pruned_trial_counts_as_far_as_it_reported(
    unit: str, stated: str, reports: int, searched: float, tmp_path: Path
) -> None:
    path = write_storage(tmp_path / "a.db", num=3)
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, ?, ?)",
            [
                (s * 10**6 + i, unit, stated if (s, i) == (1, 2) else "20")
                for s in (1, 2)
                for i in range(3)
            ],
        )
        connection.execute("UPDATE trials SET state = 'PRUNED' WHERE trial_id = 1000002")
        connection.execute(
            "DELETE FROM trial_intermediate_values WHERE trial_id = 1000002 AND step >= ?",
            (reports,),
        )
    told = optuna_files.from_storages([str(path)], {})
    assert told.number(f"search {unit}", "adam") == searched
    assert told.number(f"search {unit}", "sgd") == 60
    assert told.number(f"trial {unit}", "adam") == 20


def test_how_far_pruned_trials_came_is_unknown_if_none_ended(tmp_path: Path) -> None:
    path = write_storage(tmp_path / "a.db", num=3)
    with sqlite3.connect(path) as connection:
        connection.executemany(
            "INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES (?, 'epochs', '20')",
            [(s * 10**6 + i,) for s in (1, 2) for i in range(3)],
        )
        connection.execute("UPDATE trials SET state = 'PRUNED' WHERE study_id = 1")
    told = optuna_files.from_storages([str(path)], {})
    assert told.number("search epochs", "adam") is None
    assert told.number("search epochs", "sgd") == 60
    assert statuses(told)["budget"] == "unknown"


def write_choices(path: Path, choices: list[float]) -> Path:
    """Write a journal of one study with two trials a choice, the later choices the better, beside an empty study."""
    distribution = json.dumps(
        {"name": "CategoricalDistribution", "attributes": {"choices": choices}}
    )
    records: list[dict[str, object]] = [
        {"op_code": 0, "study_name": name, "directions": [1]} for name in ("s", "empty")
    ]
    for n in range(2 * len(choices)):
        place = n % len(choices)
        records += [
            {"op_code": 4, "study_id": 0},
            {"op_code": 5, "trial_id": n, "param_name": "bs", "param_value_internal": place, "distribution": distribution},
            {"op_code": 8, "trial_id": n, "user_attr": {"seed": 1234567890123456780 + n} if n else {}},
            {"op_code": 6, "trial_id": n, "state": 1, "values": [1.0 / (1 + place + n)]},
        ]  # fmt: skip
    path.write_text("".join(json.dumps({"worker_id": "w", **r}) + "\n" for r in records))
    return path


def test_choices_of_a_study_are_declared_and_two_have_no_bound(tmp_path: Path) -> None:
    two = optuna_files.from_storages([str(write_choices(tmp_path / "2", [32, 64]))], {})
    assert statuses(two)["edge"] == "unknown"
    assert two.word("best bs", "s") == "64"
    path = write_choices(tmp_path / "4", [0.001, 0.01, 0.1, 1.0])
    many = {
        f.rule.name: f for f in report.audit(optuna_files.from_storages([str(path)], {})).findings
    }
    assert many["edge"].status == "fail"
    assert "bs = 1 in [0.001, 1], at the upper bound" in many["edge"].text


def test_a_choice_that_every_trial_happened_to_draw_is_no_setting(tmp_path: Path) -> None:
    """Whether trials of `a` and `b` all draw one of two choices is luck; of one choice there is none."""

    def found(choices: dict[str, list[str]]) -> dict[str, str]:
        records: list[dict[str, object]] = []
        for study, (name, own) in enumerate(choices.items()):
            space = {"name": "CategoricalDistribution", "attributes": {"choices": own}}
            lr = {
                "name": "FloatDistribution",
                "attributes": {"low": 1e-4, "high": 1.0, "log": True, "step": None},
            }
            records.append({"op_code": 0, "study_name": name, "directions": [1]})
            records += [
                {
                    "op_code": 4, "study_id": study, "state": 1, "value": abs(n - 2.0),
                    "params": {"act": own.index(name), "lr": 10.0 ** (n - 4)},
                    "distributions": {"act": json.dumps(space), "lr": json.dumps(lr)},
                }
                for n in range(4)
            ]  # fmt: skip
        path = tmp_path / "journal.log"
        path.write_text("".join(json.dumps({"worker_id": "w", **r}) + "\n" for r in records))
        evidence = optuna_files.from_storages([str(path)], {})
        findings = report.audit(evidence).findings
        return {f.rule.name: f.text for f in findings if f.status in ("warn", "fail")}

    assert found({"a": ["a", "b"], "b": ["a", "b"]}) == {}
    spoken = found({"a": ["a"], "b": ["b"]})
    assert spoken["settings"] == "act: a for a, b for b"
    assert spoken.keys() == {"settings", "baseline"}


def test_an_empty_study_is_said_and_seeds_of_attributes_keep_their_digits(tmp_path: Path) -> None:
    path = write_choices(tmp_path / "x", [32, 64])
    evidence = optuna_files.from_storages([str(path)], {})
    assert evidence.notes[0] == "study 'empty' has no trials: left out"
    seeds = evidence.runs["seed"].tolist()
    assert seeds == ["", "1234567890123456781", "1234567890123456782", "1234567890123456783"]


def test_of_one_study_every_method_has_the_ranges_of_its_own_trials(tmp_path: Path) -> None:
    def journal(*records: dict[str, object]) -> Path:
        path = tmp_path / "one.journal"
        path.write_text("".join(json.dumps({"worker_id": "w", **r}) + "\n" for r in records))
        return path

    def distribution(high: float) -> str:
        attributes = {"step": None, "low": 1e-5, "high": high, "log": True}
        return json.dumps({"name": "FloatDistribution", "attributes": attributes})

    start, end = "2026-01-01T00:00:00.000000", "2026-01-01T00:00:10.000000"
    opt = json.dumps(
        {"name": "CategoricalDistribution", "attributes": {"choices": ["new", "base"]}}
    )
    lines: list[dict[str, object]] = [{"op_code": 0, "study_name": "s", "directions": [1]}]
    for n in range(20):
        high = (1.0, 1e-3)[n % 2]
        lines += [
            {"op_code": 4, "study_id": 0, "datetime_start": start},
            {"op_code": 5, "trial_id": n, "param_name": "opt", "param_value_internal": n % 2, "distribution": opt},
            {"op_code": 5, "trial_id": n, "param_name": "lr", "distribution": distribution(high),
             "param_value_internal": high * 10 ** (-(n // 2) / 4)},
            {"op_code": 8, "trial_id": n, "user_attr": {"diverged": n == 7}},
            {"op_code": 6, "trial_id": n, "state": 1, "values": [0.1 + n], "datetime_complete": end},
        ]  # fmt: skip
    evidence = optuna_files.from_storages([str(journal(*lines))], {"method": "opt"})
    assert evidence.number("searched to lr", "new") == 1.0
    assert evidence.number("searched to lr", "base") == 1e-3
    found = statuses(evidence)
    assert (found["space"], found["edge"]) == ("warn", "fail")
    lost = evidence.runs[evidence.runs["status"] == "diverged"]
    assert lost["method"].tolist() == ["base"]


def write_journal(path: Path, methods: list[str | None], states: list[int]) -> Path:
    """Write a journal of one study `s`, a trial for each method, which is a user attribute `opt` where it is known."""
    records: list[dict[str, object]] = [{"op_code": 0, "study_name": "s", "directions": [1]}]
    for n, (method, state) in enumerate(zip(methods, states, strict=True)):
        records.append({"op_code": 4, "study_id": 0})
        if method is not None:
            records.append({"op_code": 8, "trial_id": n, "user_attr": {"opt": method}})
        records.append({"op_code": 6, "trial_id": n, "state": state, "values": [0.1 + n]})
    path.write_text("".join(json.dumps({"worker_id": "w", **r}) + "\n" for r in records))
    return path


def test_finished_trials_of_no_method_are_left_out_and_counted(tmp_path: Path) -> None:
    done, failed, waiting = 1, 3, 4
    path = write_journal(
        tmp_path / "x.journal",
        ["a", None, "b", None, None, "a"],
        [done, done, done, failed, waiting, done],
    )
    evidence = optuna_files.from_storages([str(path)], {"method": "opt"})
    assert evidence.runs["method"].tolist() == ["a", "b", "a"]
    assert evidence.notes[0] == (
        "study 's': 2 of 5 finished trials have no 'opt', which `--map method=` names: left out, and missing from "
        "every count"
    )
    whole = write_journal(tmp_path / "y.journal", ["a", "b", None], [done, done, waiting])
    notes = optuna_files.from_storages([str(whole)], {"method": "opt"}).notes
    assert not any("left out" in note for note in notes)  # what waits has not been asked yet


def test_a_study_without_the_method_in_any_finished_trial_is_refused(tmp_path: Path) -> None:
    path = write_journal(tmp_path / "x.journal", [None, None, "a"], [1, 1, 4])
    with pytest.raises(
        ValueError, match=r"Study 's' has no .* 'opt' for `--map method=` in any finished trial"
    ):
        optuna_files.from_storages([str(path)], {"method": "opt"})


# --- what cannot be read, or is being written ---------------------------------------------------------------


@pytest.mark.parametrize(("schema", "word"), [(13, "newer"), (9, "older")])
def test_a_storage_of_another_schema_is_refused(schema: int, word: str, tmp_path: Path) -> None:
    path = write_storage(tmp_path / "x.db", num=2, schema=schema)
    before = digest(path)
    with pytest.raises(
        ValueError, match=rf"x\.db: expected schema 12 .* Found {schema}, which is {word}"
    ):
        optuna_files.from_storages([str(path)], {})
    assert digest(path) == before


def test_a_locked_storage_is_said_and_left_alone(tmp_path: Path) -> None:
    path = write_storage(tmp_path / "x.db", num=2)
    before = digest(path)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(ValueError, match=r"x\.db: another program has locked it\. Wait until"):
            optuna_files.from_storages([str(path)], {})
    finally:
        writer.close()
    assert digest(path) == before


@pytest.mark.parametrize("mode", [0o444, 0o400])
def test_a_read_only_storage_in_a_read_only_folder_is_read(mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    path = write_storage(folder / "x.db", num=8)
    path.chmod(mode)
    folder.chmod(0o555)
    try:
        assert statuses(optuna_files.from_storages([str(path)], {}))["budget"] == "pass"
        assert [p.name for p in folder.iterdir()] == ["x.db"]
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        (
            "UPDATE study_directions SET direction = 'MAXIMIZE' WHERE study_id = 2",
            "some studies maximise and others minimise",
        ),
        (
            "INSERT INTO study_directions VALUES (3, 'MINIMIZE', 1, 1)",
            "has 2 objectives, and a comparison needs exactly one. Choose other studies with `--studies`, or",
        ),
        ("UPDATE trials SET state = 'MELTED' WHERE trial_id = 1000000", "unknown state 'MELTED'"),
        ("DELETE FROM trials", "holds no trials"),
        (
            "DROP TABLE trial_params",
            "expected an Optuna storage. Found a SQLite file of another kind",
        ),
    ],
)
def test_a_storage_that_cannot_be_compared_is_refused(
    statement: str, message: str, tmp_path: Path
) -> None:
    path = write_storage(tmp_path / "x.db", num=4)
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    with pytest.raises(ValueError, match=message):
        optuna_files.from_storages([str(path)], {})


def test_a_damaged_storage_is_refused(tmp_path: Path) -> None:
    path = write_storage(tmp_path / "x.db", num=200)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    with pytest.raises(ValueError, match=r"x\.db: "):
        optuna_files.from_storages([str(path)], {})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"op_code": 99}',
            "operation 99 is unknown, and may be one of a newer Optuna. Export the trials",
        ),
        (
            '{"op_code": 5, "trial_id": 7}',
            "is not an entry of an Optuna journal as Optuna 3 to 5 write it: it has no 'param_value_internal'.",
        ),
        (
            '{"op_code": 7, "trial_id": 700000, "step": 0, "intermediate_value": 1.0}',
            "it belongs to a study or a trial that no line above it creates.",
        ),
        ('{"op_code": 4, "study_id": 0, "values": 1.0}', "a value in it has the wrong type."),
        ("{}", "is JSON, but not an entry of one."),
        ("nonsense", "is not JSON. If it is a table of trials"),
    ],
)
def test_a_journal_of_another_kind_is_refused(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    shutil.copy(EXAMPLES / "search.journal", path)
    with path.open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(ValueError, match=message):
        optuna_files.from_storages([str(path)], {})


def test_a_journal_that_is_being_written_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    shutil.copy(EXAMPLES / "search.journal", path)
    whole = optuna_files.from_storages([str(path)], {}).runs
    with path.open("a") as stream:
        stream.write('{"op_code": 4, "stu')
    pd.testing.assert_frame_equal(optuna_files.from_storages([str(path)], {}).runs, whole)


# --- size ---------------------------------------------------------------------------------------------------


def test_the_cost_of_the_audit_grows_no_faster_than_the_trials(tmp_path: Path) -> None:
    few, many = (
        optuna_files.from_storages([str(write_storage(tmp_path / f"{n}.db", num=n))], {})
        for n in (50, 5_000)
    )
    assert len(many.runs) == 100 * len(few.runs)
    assert len(many.facts) == len(few.facts)  # no fact a trial
    assert statuses(few) == statuses(many)


def test_nothing_fails_exits_with_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_storage(tmp_path / "x.db", num=16)
    assert main(["audit", "--optuna", str(path)]) == DONE
    assert "fail: 0" in capsys.readouterr().out

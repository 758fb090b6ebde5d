"""Anybody's finished search: read as it stands, never changed, and refused with one clear line where it means nothing."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from repro.audit import mapping, optuna_files, report, stated, table_files, trials
from repro.audit.evidence import Evidence, Range
from repro.cli import DONE, FAILED, USAGE, main

EXAMPLES = Path("examples")
needs_optuna = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None, reason="needs Optuna to write a search"
)


def statuses(evidence: Evidence) -> dict[str, str]:
    return {f.rule.name: f.status for f in report.audit(evidence).findings}


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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


# --- an outsider's search, in one command ----------------------------------------------------------------


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


# --- the examples that ship ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--optuna", "examples/search.journal"],
        ["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state"],
    ],
)
def test_the_shipped_examples_are_audited(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *arguments, "--checklists"]) == FAILED
    out = " ".join(capsys.readouterr().out.split())
    assert "24 trials for momentum, 8 trials for plain" in out
    assert "at the upper" in out
    assert "blank" in out


def test_the_readme_s_commands_are_those_tested() -> None:
    text = Path("README.md").read_text(encoding="utf-8")
    assert "audit --optuna examples/search.journal" in text
    assert "--csv examples/trials.csv --map method=opt,score=value,status=state" in text


# --- tables of trials --------------------------------------------------------------------------------------


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "opt": ["a", "a", "a", "b", "b", "b"],
            "val_loss": [0.5, 0.3, 0.4, 0.6, 0.2, 0.7],
            "lr": [0.01, 0.1, 1.0, 0.01, 0.1, 1.0],
            "trial": [0, 1, 2, 0, 1, 2],
        }
    )


MAP = {"method": "opt", "score": "val_loss", "number": "trial", "params": "lr"}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "jsonl"])
def test_every_format_reads_the_same(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"trials.{suffix}"
    match suffix:
        case "csv" | "tsv":
            table().to_csv(path, index=False, sep="," if suffix == "csv" else "\t")
        case "parquet":
            table().to_parquet(path)
        case _:
            table().to_json(path, orient="records", lines=True)
    before = digest(path)
    evidence = trials.from_table(table_files.read_table(path), MAP, path.name)
    assert digest(path) == before
    assert evidence.methods == ("a", "b")
    assert evidence.number("best lr", "b") == 0.1
    assert evidence.number("trials", "a") == 3


def read(path: Path, text: str, **columns: str) -> Evidence:
    """Return the evidence of a file with this text."""
    path.write_text(text, encoding="utf-8")
    return trials.from_table(table_files.read_table(path), columns, path.name)


def test_a_comma_at_the_end_of_rows_shifts_no_column(tmp_path: Path) -> None:
    evidence = read(tmp_path / "x.csv", "method,score,seed\na,0.5,1,\nb,0.4,2,\n")
    assert evidence.runs["score"].tolist() == [0.5, 0.4]
    assert evidence.methods == ("a", "b")


def test_a_method_may_be_called_as_a_missing_value_is(tmp_path: Path) -> None:
    text = "method,score,lr\nNone,0.5,NA\nNA,0.4,0.1\nnull,NaN,0.2\n"
    evidence = read(tmp_path / "x.csv", text, params="lr")
    assert evidence.methods == ("None", "NA", "null")
    assert evidence.runs["param lr"].isna().tolist() == [True, False, False]
    assert evidence.runs["status"].tolist() == ["done", "done", "diverged"]


def test_seeds_beside_a_blank_keep_all_their_digits(tmp_path: Path) -> None:
    seeds = (1234567890123456780, 1234567890123456781, None)
    frame = pd.DataFrame(
        {"method": ["a"] * 3, "score": [0.1, 0.2, 0.3], "role": ["report", "report", "tune"]}
    )
    frame["seed"] = pd.array(seeds, dtype="Int64")
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_json(tmp_path / "x.jsonl", orient="records", lines=True)
    for name in ("x.csv", "x.parquet", "x.jsonl"):
        evidence = trials.from_table(table_files.read_table(tmp_path / name), {}, name)
        assert evidence.runs["seed"].tolist() == ["1234567890123456780", "1234567890123456781", ""]


def test_objects_in_json_are_columns_and_lists_are_words(tmp_path: Path) -> None:
    records = [
        {"method": "a", "score": 0.5, "params": {"lr": 0.1, "betas": [0.9, 0.99]}},
        {"method": "a", "score": 0.4, "params": {"lr": 0.2, "betas": [0.9, 0.999]}},
        {"method": "b", "score": 0.3, "params": {"lr": 0.4}, "settings": {"batch": 32}},
    ]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    evidence = read(tmp_path / "x.jsonl", lines)
    assert evidence.number("searched to lr", "a") == 0.2
    assert evidence.word("best betas", "a") == "[0.9, 0.999]"
    assert evidence.number("tuned with batch", "b") == 32
    whole = read(tmp_path / "x.json", json.dumps(records, indent=1))
    pd.testing.assert_frame_equal(whole.runs, evidence.runs)
    one = read(tmp_path / "x.jsonl", lines, params="params.lr")
    assert [c for c in one.runs if str(c).startswith("param ")] == ["param lr"]
    pd.DataFrame(records).to_parquet(tmp_path / "x.parquet")
    nested = table_files.read_table(tmp_path / "x.parquet")
    assert nested["params.lr"].tolist() == [0.1, 0.2, 0.4]


def test_a_list_as_a_setting_is_a_word(tmp_path: Path) -> None:
    lines = "".join(
        json.dumps({"method": m, "score": 0.5, "betas": [0.9, b]}) + "\n"
        for m, b in (("a", 0.99), ("b", 0.999))
    )
    evidence = read(tmp_path / "x.jsonl", lines, settings="betas")
    assert evidence.word("tuned with betas", "b") == "[0.9, 0.999]"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "method,score\na,0.5\nr1,b,0.4\n", "line 3 has 3 fields under a header of 2"),
        ("x.csv", "run,method,score\nr0,a,0.5,7\nr1,b,0.4,8\n", "line 2 has 4 fields under a header of 3"),
        ("x.csv", "method,score,score\na,0.5,0.1\n", "two columns are called 'score'; rename one"),
        ("x.csv", "method;score\na;0.5\n", "expected commas between columns, found semicolons"),
        ("x.csv", "method;score\na;0,5\n", "expected commas between columns, found semicolons"),
        ("x.csv", "method,score\na,50%\n", "Found '50%' in row 1. Write plain numbers, and leave blank"),
        ("x.tsv", "method,score\na,0.5\n", "expected tabs between columns, found commas"),
        ("x.csv", "method,score,epochs\na,0.5,1" + 400 * "0" + "\n", "'epochs' needs numbers. Found '1000"),
        ("x.jsonl", "[1, 2]", "expected objects, one a row; found '1'"),
        ("x.jsonl", '{"method": "a"\n', "line 1 is no JSON"),
        ("x.jsonl", '{"a.b": 1, "a": {"b": 2}}', "two columns are called 'a.b'"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_is_refused(
    name: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(text)
    assert main(["audit", "--csv", str(tmp_path / name)]) == USAGE
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_another_encoding_and_a_folder_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.csv").write_bytes("method,score\nFørland,0.5\n".encode("latin-1"))
    (tmp_path / "y.csv").mkdir()
    assert main(["audit", "--csv", str(tmp_path / "x.csv")]) == USAGE
    assert "expected UTF-8. Found the byte 0xf8" in capsys.readouterr().err
    assert main(["audit", "--csv", str(tmp_path / "y.csv")]) == USAGE
    assert "expected a file. Found a folder" in capsys.readouterr().err


def test_larger_may_be_better() -> None:
    accuracy = table().assign(val_loss=lambda t: 1 - t["val_loss"])
    evidence = trials.from_table(accuracy, MAP, "x", maximise=True)
    assert evidence.number("best lr", "a") == 0.1
    assert evidence.number("best search score", "a") == pytest.approx(-0.7)


def test_scores_of_a_maximised_search_are_shown_as_they_were_given() -> None:
    rows = pd.DataFrame(
        {
            "method": ["a"] * 4 + ["b"] * 4, "score": [0.6, 0.9, 0.7, 0.8, 0.5, 0.55, 0.52, 0.6],
            "seconds": [1.0] * 8,
        }
    )  # fmt: skip
    facts = stated.parse_facts(["chance loss=2.3"])
    found = {
        f.rule.name: f
        for f in report.audit(trials.from_table(rows, {}, "x", maximise=True, facts=facts)).findings
    }
    assert "a 0.9, b 0.6 after 4 s of trials each" in [p.text for p in found["rank"].parts]
    # an accuracy is no loss: that it lies below that of guessing says nothing
    assert found["learned"].status == "unknown"
    assert found["learned"].text == (
        "a: was selected at 0.9, which is no loss in nats to hold against that of guessing; "
        "b: was selected at 0.6, which is no loss in nats to hold against that of guessing"
    )
    losses = rows.assign(score=-4 * rows["score"])
    turned = trials.from_table(losses, {}, "x", maximise=True, facts=facts)
    (learned,) = (f for f in report.audit(turned).findings if f.rule.name == "learned")
    assert (learned.status, learned.text) == (
        "warn",
        "a was selected at -2.4; guessing gives 2.3",
    )


def test_columns_of_optuna_s_own_export_need_a_map_of_two() -> None:
    frame = table().rename(columns={"lr": "params_lr", "trial": "number", "val_loss": "value"})
    evidence = trials.from_table(frame, {"method": "opt", "score": "value"}, "x")
    assert evidence.number("best lr", "a") == 0.1


def test_scores_that_are_missing_nan_or_infinite_are_divergence_and_said() -> None:
    frame = table()
    frame["val_loss"] = [np.nan, 0.3, np.inf, 0.6, -np.inf, None]
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.runs["status"].tolist() == [
        "diverged", "done", "diverged", "done", "diverged", "diverged",
    ]  # fmt: skip
    assert any("4 scores are missing, NaN or infinite" in note for note in evidence.notes)
    assert evidence.number("trials", "a") == 3  # they were budget
    assert evidence.number("best lr", "b") == 0.01


def test_one_method_and_no_reports_are_said() -> None:
    evidence = trials.from_table(table()[:3], MAP, "x")
    assert any("one method only (a)" in note for note in evidence.notes)
    assert any("no reported runs" in note for note in evidence.notes)


def test_a_stated_fact_counts() -> None:
    facts = stated.parse_facts(["selection split=test", "chance loss=2.3"])
    evidence = trials.from_table(table(), MAP, "x", facts=facts)
    assert statuses(evidence)["selection"] == "fail"
    assert evidence.number("chance loss", "a") == 2.3


def test_a_fact_that_says_what_the_rows_say_is_taken() -> None:
    facts = stated.parse_facts(
        ["trials=3", "trial epochs=5", "best lr=0.1", "searched from lr=0.01"]
    )
    assert statuses(trials.from_table(table(), MAP, "x", facts=facts))["budget"] == "pass"


def test_a_stated_seed_keeps_all_its_digits() -> None:
    columns: dict[str, Any] = {"method": ["a"] * 2, "score": [0.1, 0.2], "role": ["report"] * 2}
    rows = pd.DataFrame({**columns, "seed": [1234567, 1234567890123456781]})

    def separate(*seeds: str) -> str:
        facts = stated.parse_facts([f"tuning seed={seed}" for seed in seeds])
        return statuses(trials.from_table(rows, {}, "x", facts=facts))["seeds"]

    assert separate("1234567") == "fail"
    assert separate("1", "1234567890123456781") == "fail"
    assert separate("1", "1234567890123456780", "1234568") == "pass"


def test_every_quantity_is_listed_with_what_it_may_be(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--facts"]) == DONE
    out = " ".join(capsys.readouterr().out.split())
    assert "selection split" in out
    assert "one of validation, test, train" in out
    for quantity, (expected, _) in stated.quantities().items():
        name = quantity.replace("*", "lr")
        if expected.startswith("one of"):
            good = expected.removeprefix("one of ").split(", ")[0]
        else:
            good = "3"
        assert stated.parse_facts([f"{name}={good}"])[0].quantity == name


def test_a_table_of_final_results_is_audited_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "final.csv"
    rows = [f"{m},{s},0.{5 + s}{ord(m)}\n" for m in "ab" for s in range(3)]
    path.write_text("method,seed,score\n" + "".join(rows))
    assert main(["audit", "--csv", str(path)]) in (DONE, FAILED)
    assert "`--reported` takes every row for a reported run" in " ".join(
        capsys.readouterr().out.split()
    )
    evidence = trials.from_table(table_files.read_table(path), {}, path.name, reported=True)
    assert evidence.number("repetitions", "a") == 3
    assert evidence.number("trials", "a") is None
    assert not any("no reported runs" in note for note in evidence.notes)
    assert main(["audit", "--csv", str(path), "--reported"]) in (DONE, FAILED)
    assert "no reported runs" not in capsys.readouterr().out


def test_a_word_among_numbers_is_said() -> None:
    frame = table().assign(lr=["0.01", "0.1", "1", "0.01", "default", "1"])
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.notes[0].startswith("lr: 'default' in row 5 is no number, so its values are")
    words = table().assign(lr=["low", "mid", "high", "low", "1", "high"])
    assert not any("is no number" in note for note in trials.from_table(words, MAP, "x").notes)


@pytest.mark.parametrize(
    ("epochs", "steps", "status", "text"),
    [
        (10, 100, "pass", ""),
        (10, 2000, "warn", "6000 steps of search for b, 300 steps of search for a"),
        (40, 100, "fail", "120 epochs of search for b, 30 epochs of search for a"),
    ],
)
def test_lengths_are_compared_in_epochs_and_in_steps(
    epochs: int, steps: int, status: str, text: str
) -> None:
    frame = table().assign(epochs=[10] * 3 + [epochs] * 3, steps=[100] * 3 + [steps] * 3)
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.number("search epochs", "b") == 3 * epochs
    assert evidence.number("trial steps", "b") == steps
    assert not any("steps" in note for note in evidence.notes)
    (finding,) = [f for f in report.audit(evidence).findings if f.rule.name == "budget"]
    assert finding.status == status
    assert text in finding.text


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


def test_stated_epochs_hide_no_steps() -> None:
    frame = table().assign(steps=[100] * 3 + [400] * 3)
    facts = stated.parse_facts(["trial epochs=10"])
    assert statuses(trials.from_table(frame, MAP, "x", facts=facts))["budget"] == "warn"
    assert statuses(trials.from_table(frame, MAP, "x"))["budget"] == "fail"


def test_trials_whose_length_is_known_of_some_methods_are_no_equal_budget() -> None:
    frame = table().assign(epochs=[10.0] * 3 + [np.nan] * 3)
    (finding,) = [
        f
        for f in report.audit(trials.from_table(frame, MAP, "x")).findings
        if f.rule.name == "budget"
    ]
    assert (finding.status, finding.text) == ("unknown", "trial epochs of b: not in the evidence")


def of_rule(evidence: Evidence, name: str) -> tuple[str, str]:
    """Return the status and the text of one rule."""
    return next((f.status, f.text) for f in report.audit(evidence).findings if f.rule.name == name)


def test_equal_counts_of_trials_of_unknown_length_are_no_equal_budget() -> None:
    told = (
        "unknown",
        "3 trials for every method, and how long one was is not in the evidence: `trial epochs` or `trial steps`",
    )
    assert of_rule(trials.from_table(table(), MAP, "x"), "budget") == told
    uneven = trials.from_table(table()[:5], MAP, "x")
    assert of_rule(uneven, "budget") == ("fail", "3 trials for a, 2 trials for b")
    facts = stated.parse_facts(["trial steps=100"])
    long = of_rule(trials.from_table(table(), MAP, "x", facts=facts), "budget")
    assert long == ("pass", "3 trials for every method; 300 steps of search for every method")


def test_one_method_has_no_budget_to_be_compared() -> None:
    evidence = trials.from_table(table()[:3].assign(epochs=10), MAP, "x")
    assert of_rule(evidence, "budget") == (
        "unknown",
        "3 trials for a, with no other to compare it with; 30 epochs of search for a, with no other to compare it with",
    )


@pytest.mark.parametrize(
    ("low", "high", "log", "inside", "outer"),
    [
        (1e-300, 1e300, True, 1.0, 1e290),
        (5e-324, 1.7e308, True, 1e-10, 1e-320),
        (-1.7e308, 1.7e308, False, 0.0, 1.6e308),
    ],
)
def test_ranges_wider_than_a_double_have_an_inside_and_an_edge(
    low: float, high: float, log: bool, inside: float, outer: float
) -> None:
    def found(best: float) -> dict[str, str]:
        rows = pd.DataFrame(
            {"method": ["a"] * 2 + ["b"] * 2, "score": [0.1, 0.2] * 2, "param lr": [best, inside] * 2}
        )  # fmt: skip
        ranges = {("a", "lr"): Range(low, high, log), ("b", "lr"): Range(low, high / 2, log)}
        return statuses(trials.from_rows(rows, ranges, "x"))

    assert found(inside)["edge"] == "pass"
    assert found(outer)["edge"] == ("fail" if log else "warn")
    assert found(inside)["space"] == "warn"


@pytest.mark.parametrize("column", ["epochs", "steps", "seconds"])
@pytest.mark.parametrize("beside", ["epochs", "seconds"])
def test_a_length_below_zero_is_refused(column: str, beside: str) -> None:
    frame = table().assign(**{beside: 5} | {column: [5, 5, -40, 5, 5, 5]})
    message = f"column '{column}' needs numbers of 0 or more. Found -40 in row 3"
    with pytest.raises(ValueError, match=message):
        trials.from_table(frame, MAP, "x")


def test_columns_with_commas_and_colons_can_be_mapped() -> None:
    frame = table().rename(columns={"val_loss": "val/top1, %", "lr": "optim:lr"})
    frame = frame.assign(depth=[1, 2, 3] * 2)
    columns = mapping.parse_map(
        ["method=opt,score=val/top1, %,number=trial", "params=depth:optim:lr"]
    )
    assert columns["score"] == "val/top1, %"
    evidence = trials.from_table(frame, columns, "x", maximise=False)
    assert evidence.number("best optim:lr", "b") == 0.1
    assert evidence.number("best depth", "b") == 2


def test_states_of_wandb_are_understood() -> None:
    states = ["finished", "crashed", "killed", "failed", "running", "finished"]
    evidence = trials.from_table(table().assign(state=states), {**MAP, "status": "state"}, "x")
    assert evidence.runs["status"].tolist() == [
        "done", "failed", "failed", "failed", "running", "done",
    ]  # fmt: skip


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


def test_an_empty_study_is_said_and_seeds_of_attributes_keep_their_digits(tmp_path: Path) -> None:
    path = write_choices(tmp_path / "x", [32, 64])
    evidence = optuna_files.from_storages([str(path)], {})
    assert evidence.notes[0] == "study 'empty' has no trials: left out"
    seeds = evidence.runs["seed"].tolist()
    assert seeds == ["", "1234567890123456781", "1234567890123456782", "1234567890123456783"]


def trials_of(**columns: Any) -> Evidence:
    rows = pd.DataFrame(columns)
    return trials.from_table(rows, {name: name for name in columns if name in mapping.KEYS}, "x")


def test_large_seeds_keep_all_their_digits() -> None:
    seeds = [20260001.0, 20260002.0, np.nan, np.nan]
    evidence = trials_of(
        method=["a", "a", "a", "a"], score=[0.1, 0.2, 0.3, 0.4],
        role=["report", "report", None, "tune"], seed=seeds, status=[None, "done", "done", None],
    )  # fmt: skip
    assert evidence.runs["seed"].tolist() == ["20260001", "20260002", "", ""]
    # a blank is what a missing column is: a trial, which ended as its score says
    assert evidence.runs["role"].tolist() == ["report", "report", "tune", "tune"]
    assert set(evidence.runs["status"]) == {"done"}


def test_of_trials_that_share_the_best_score_the_reported_one_is_the_winner() -> None:
    evidence = trials.from_table(
        pd.DataFrame(
            {
                "method": ["a"] * 5, "score": [0.95, 0.95, 0.9, 0.94, 0.95], "lr": [0.001, 0.01, 0.1, 0.01, 0.01],
                "role": ["tune"] * 3 + ["report"] * 2, "nesterov": [False, True, True, True, True],
            }
        ),
        {"params": "lr:nesterov"},
        "x",
        maximise=True,
    )  # fmt: skip
    assert evidence.number("best lr", "a") == 0.01
    assert statuses(evidence)["winner"] == "pass"
    assert evidence.fact("searched from nesterov", "a") is None  # no range of a yes and a no


def test_scores_of_few_digits_agree_by_chance_and_lost_ones_are_no_copies() -> None:
    def repetitions(scores: list[float]) -> str:
        runs: dict[str, Any] = {
            "method": ["a"] * 6,
            "score": scores,
            "role": ["report"] * 6,
            "seed": [*range(6)],
        }
        return statuses(trials_of(**runs))["repetitions"]

    assert repetitions([0.043, 0.043, 0.05, 0.069, 0.069, 0.041]) == "pass"
    assert repetitions([0.0431234, 0.0431234, 0.05, 0.069, 0.0692, 0.041]) == "fail"
    assert repetitions([0.043] * 6) == "warn"
    assert repetitions([np.inf, np.inf, 0.0512345, 0.069, 0.06912345, 0.041]) == "pass"


def test_copies_are_found_whichever_way_scores_are_better() -> None:
    def repetitions(
        scores: list[float], status: str = "done", *, maximise: bool
    ) -> tuple[str, str]:
        rows = pd.DataFrame(
            {
                "method": ["a"] * 6, "score": scores, "role": ["report"] * 6, "seed": [*range(6)],
                "status": [status] * 6,
            }
        )  # fmt: skip
        evidence = trials.from_table(rows, {}, "x", maximise=maximise)
        (found,) = (f for f in report.audit(evidence).findings if f.rule.name == "repetitions")
        return found.status, found.text

    copied = ("fail", "a: 5 repetitions equal another to the last digit")
    assert repetitions([0.93217] * 6, maximise=True) == copied
    assert repetitions([1 - 0.93217] * 6, maximise=False) == copied
    # what was given as negative is a value of a function, in which descents from one start may end
    for maximise in (True, False):
        assert repetitions([-39.16617] * 6, maximise=maximise)[0] == "pass"
    # the limit that stands for what diverged is no result
    assert repetitions([1000.00001] * 6, "diverged", maximise=False)[0] == "pass"
    for maximise in (True, False):
        assert repetitions([0.02] * 6, maximise=maximise) == (
            "warn",
            "a: all 6 repetitions score 0.02: copies, or too few digits to tell them apart",
        )


def sampled(b: list[float], *, log: bool = True) -> tuple[str, str]:
    """Return what `space` says of 20 rates of `a` over a declared range on a log scale, and of some of `b`."""
    a = list(np.logspace(-6, 1, 20))
    rows = pd.DataFrame(
        {
            "method": ["a"] * 20 + ["b"] * len(b), "param lr": [*a, *b],
            "score": np.linspace(0.5, 0.9, 20 + len(b)), "number": [*range(20), *range(len(b))],
        }
    )  # fmt: skip
    ranges = {("a", "lr"): Range(1e-6, 10, log=True), ("b", "lr"): Range(1e-6, 10, log=log)}
    found = report.audit(trials.from_rows(rows, ranges, "x")).findings
    return next((f.status, f.text) for f in found if f.rule.name == "space")


def test_a_range_is_the_same_on_the_same_scale_only() -> None:
    rates = list(np.logspace(-6, 1, 20))
    assert sampled(rates) == ("pass", "lr over [1e-06, 10] for all")
    told = ("warn", "lr sampled on a log scale for a, on a linear scale for b")
    assert sampled(list(np.linspace(1e-6, 10, 20)), log=False) == told


def test_ranges_that_differ_have_their_trials_a_decade_on_a_log_scale_alone() -> None:
    rows = pd.DataFrame(
        {"method": ["a"] * 8 + ["b"] * 8, "score": np.linspace(0.5, 0.9, 16), "lr": [*np.logspace(-4, 0, 8), *np.logspace(-2, 0, 8)],
         "momentum": [*np.linspace(0.1, 0.9, 8), *np.linspace(0.5, 0.9, 8)]}
    )  # fmt: skip
    evidence = trials.from_table(rows, {"params": "lr:momentum"}, "x")
    (space,) = (f for f in report.audit(evidence).findings if f.rule.name == "space")
    (rate, momentum) = (p.values for p in space.parts if p.status == "warn")
    assert rate == pytest.approx({"lr, trials a decade, a": 2, "lr, trials a decade, b": 4})
    assert momentum == {}


def test_the_scale_of_a_range_that_was_only_observed_is_a_guess() -> None:
    rows = pd.DataFrame(
        {
            "method": ["a"] * 5 + ["b"] * 5, "score": np.linspace(0.5, 0.9, 10),
            "lr": [0.1, 0.3, 0.5, 0.8, 1.0, 0.12, 0.3, 0.5, 0.8, 1.0],
        }
    )  # fmt: skip
    evidence = trials.from_table(rows, {"params": "lr"}, "x")
    assert (evidence.word("scale of lr", "a"), evidence.word("scale of lr", "b")) == (
        "log",
        "linear",
    )
    assert statuses(evidence)["space"] == "pass"


def test_a_grid_of_few_values_is_no_search_as_dense_as_one_of_many() -> None:
    few = list(np.logspace(-6, 1, 5))
    told = ("warn", "lr tried at 20 values in 20 trials for a, 5 values in 20 trials for b")
    assert sampled(few * 4) == told
    # fewer trials are the budget's, and no other way to sample
    assert sampled(few)[0] == "pass"
    assert sampled([*few, *np.logspace(-5, 0, 6)] * 2)[0] == "pass"


def grid(rates: list[float], seeds: int, noise: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Return one row for every rate and seed, without numbers, seed by seed; the best rate is 0.01 but for noise."""
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {
                "method": "a", "role": "tune", "params_lr": rate, "seed": s, "steps": 10,
                "score": 1 + (np.log10(rate) + 2) ** 2 + noise * generator.normal(), "seconds": 1.0,
            }
            for s in range(seeds)
            for rate in rates
        ]
    )  # fmt: skip


def test_one_setting_under_several_seeds_is_one_trial() -> None:
    three = grid(list(np.logspace(-4, -1, 10)), 3)
    many = grid(list(np.logspace(-4, -1, 30)), 1).assign(method="b")
    evidence = trials.from_table(pd.concat([three, many], ignore_index=True), {}, "x")
    assert (evidence.number("trials", "a"), evidence.number("trials", "b")) == (10, 30)
    assert evidence.number("search steps", "a") == evidence.number("search steps", "b") == 300
    assert statuses(evidence)["budget"] == "fail"
    assert any(
        "one setting under several seeds is taken for one trial" in n for n in evidence.notes
    )
    assert not any("several seeds" in n for n in trials.from_table(many, {}, "x").notes)
    # with a seed that stands twice, or without seeds, a setting was tried again
    again = trials.from_table(pd.concat([three, three], ignore_index=True), {}, "x")
    assert again.number("trials", "a") == 20
    apart = trials.from_table(three.drop(columns="seed"), {}, "x")
    assert apart.number("trials", "a") == 30
    # whoever numbers trials says what one is
    told = trials.from_table(three.assign(number=range(30)), {}, "x")
    assert told.number("trials", "a") == 30


def test_a_trial_that_repeats_another_under_all_its_seeds_is_one_repeated_trial() -> None:
    rates = list(np.logspace(-4, -1, 10))
    rows = pd.concat([grid(rates, 3), grid(rates[:4], 3)], ignore_index=True)
    assert trials.from_table(rows, {}, "x").number("repeated trials", "a") == 4


@pytest.mark.parametrize("seed", range(5))
def test_the_winner_is_the_best_mean_over_seeds_and_no_lucky_one(seed: int) -> None:
    rows = grid(list(np.logspace(-4, 0, 9)), 3, noise=1.0, seed=seed)
    means = rows.groupby("params_lr")["score"].mean()
    best = float(means.index[int(means.argmin())])
    reported = pd.DataFrame(
        {"method": "a", "role": "report", "params_lr": best, "seed": range(100, 106), "score": 1.0}
    )
    evidence = trials.from_table(pd.concat([rows, reported]), {}, "x")
    assert evidence.number("best lr", "a") == best
    assert evidence.number("best search score", "a") == pytest.approx(means.min())
    assert statuses(evidence)["winner"] == "pass"


def test_a_stated_range_takes_the_place_of_what_was_seen() -> None:
    rows = pd.DataFrame(
        {"method": ["a"] * 4, "score": [0.4, 0.3, 0.2, 0.1], "lr": [0.1, 0.2, 0.3, 0.4]}
    )
    seen = trials.from_table(rows, {"params": "lr"}, "x")
    assert (seen.number("searched from lr", "a"), statuses(seen)["edge"]) == (0.1, "warn")
    facts = stated.parse_facts(["searched from lr=0.001", "searched to lr=10", "scale of lr=log"])
    told = trials.from_table(rows, {"params": "lr"}, "x", facts=facts)
    assert told.number("searched from lr", "a") == 0.001
    assert statuses(told)["edge"] == "pass"


def test_the_edge_of_a_range_that_was_only_observed_warns_and_a_declared_one_fails() -> None:
    rows = pd.DataFrame(
        {
            "method": ["a"] * 4 + ["b"] * 4, "score": [0.4, 0.3, 0.2, 0.1] * 2,
            "lr": [0.001, 0.01, 0.1, 1.0, 0.1, 0.2, 0.5, 1.0],
        }
    )  # fmt: skip

    def found(*facts: str) -> dict[str, tuple[str, str]]:
        told = stated.parse_facts(["equivalent lr=40", *facts])
        evidence = trials.from_table(rows, {"params": "lr"}, "x", facts=told)
        return {f.rule.name: (f.status, f.text) for f in report.audit(evidence).findings}

    seen = found()
    assert seen["edge"][0] == "warn"
    assert "a: lr = 1 in observed [0.001, 1], at the upper bound" in seen["edge"][1]
    assert "lr up to 1, as observed; the bound binds" in seen["edge"][1]
    assert seen["space"][1] == "lr searched over observed [0.001, 1] for a, observed [0.1, 1] for b"
    told = found("searched from lr=0.001", "searched to lr=1", "scale of lr=log")
    assert told["edge"][0] == "fail"
    assert "lr = 1 in [0.001, 1], at the upper bound" in told["edge"][1]
    assert "lr up to 1; the bound binds" in told["edge"][1]
    assert told["space"] == ("pass", "lr over [0.001, 1] for all")


def test_numbers_of_one_search_for_several_methods_have_no_gaps() -> None:
    columns: dict[str, Any] = {"method": ["a", "b"] * 3, "score": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    assert statuses(trials_of(**columns, number=[0, 1, 2, 3, 4, 5]))["survivors"] == "pass"
    assert statuses(trials_of(**columns, number=[0, 1, 2, 3, 4, 6]))["survivors"] == "fail"


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


@pytest.mark.parametrize("option", ["--json", "--markdown"])
def test_what_is_audited_is_never_written_over(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "own.csv"
    shutil.copy(EXAMPLES / "trials.csv", path)
    before = digest(path)
    command = ["audit", "--csv", str(path), "--map", "method=opt,score=value,status=state"]
    assert main([*command, option, str(path)]) == USAGE
    assert "is what is audited, and is only read" in capsys.readouterr().err
    assert digest(path) == before


OWN = ["audit", "--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state"]


def test_outputs_are_written_through_links_and_into_pipes(tmp_path: Path) -> None:
    target, link, pipe = (tmp_path / name for name in ("kept.json", "link.json", "pipe"))
    target.write_text("old")
    link.symlink_to(target)
    os.mkfifo(pipe)
    received: list[str] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()
    assert main([*OWN, "--json", str(link), "--markdown", str(pipe)]) == FAILED
    reader.join(timeout=10)
    assert received[0].startswith("# ")
    assert link.is_symlink()
    assert "comparisons" in json.loads(target.read_text())
    assert pipe.is_fifo()


def test_an_output_that_is_where_the_report_goes_keeps_both(tmp_path: Path) -> None:
    path = tmp_path / "both.txt"
    with path.open("wb") as stream:
        command = [sys.executable, "-m", "repro", *OWN, "--json", str(path)]
        assert subprocess.run(command, stdout=stream, check=False).returncode == FAILED
    text = path.read_text(encoding="utf-8")
    assert "Is it fair?" in text
    assert '"comparisons"' in text
    assert "written: " in text


def test_outputs_that_cannot_be_written_are_refused_before_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "x.out")
    for outputs, message in (
        (["--json", str(tmp_path)], "`--json` expects a file. Found the folder"),
        (["--markdown", str(tmp_path / "file" / "x.md")], "file is no folder to write in"),
        (["--json", str(tmp_path / "x.out"), "--markdown", str(tmp_path / "link")], "expect a file each"),
    ):  # fmt: skip
        assert main([*OWN, *outputs]) == USAGE
        captured = capsys.readouterr()
        assert message in captured.err
        assert captured.err.count("\n") == 1
        assert captured.out == ""
    assert (tmp_path / "file").read_text() == "kept"


def test_names_in_brackets_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "res[red].csv"
    path.write_text("method,score,seed\nours[/v2],0.5,1\nours[/v2],0.5,2\n")
    assert main(["audit", "--csv", str(path), "--checklists"]) in (DONE, FAILED)
    out = " ".join(capsys.readouterr().out.split())
    assert "Is it fair? res[red].csv" in out
    assert "Checklists, filled from res[red].csv" in out
    assert "one method only (ours[/v2])" in out


# --- bad input: one line, and exit status 2 ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "columns", "message"),
    [
        (lambda t: t, {**MAP, "score": "loss"}, "no column 'loss' for 'score'"),
        (lambda t: t, {**MAP, "score": "val_los"}, "did you mean 'val_loss'?"),
        (lambda t: t.drop(columns="opt"), {"score": "val_loss"}, "no column 'method' for 'method'"),
        (lambda t: t, {**MAP, "params": "lr:beta"}, "no column 'beta' for 'params'"),
        (lambda t: t.assign(state="exploded"), {**MAP, "status": "state"}, "unknown status 'exploded' in row 1"),
        (lambda t: t.assign(part="dev"), {**MAP, "role": "part"}, "unknown role 'dev' in row 1"),
        (lambda t: t.assign(val_loss=list("123x56")), MAP, "needs numbers. Found 'x' in row 4"),
        (lambda t: t.assign(trial=0), MAP, "trial 0 of 'a' stands twice (rows 1, 2, 3)"),
        (lambda t: t.assign(opt=[None, *"aabbb"]), MAP, "row 1 names no method"),
        (lambda t: t[:0], MAP, "holds no trials"),
    ],
)  # fmt: skip
def test_a_table_that_means_nothing_is_refused_in_one_line(
    change: object,
    columns: dict[str, str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert callable(change)
    path = tmp_path / "trials.csv"
    change(table()).to_csv(path, index=False)
    pairs = ",".join(f"{key}={column}" for key, column in columns.items())
    before = digest(path)
    assert main(["audit", "--csv", str(path), "--map", pairs]) == USAGE
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert "trials.csv" in captured.err
    assert digest(path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv", "nowhere.csv"], "nowhere.csv: no such file"),
        (["--csv", "README.md"], "expected a file .csv, .tsv, .parquet or .jsonl. Found '.md'"),
        (["--optuna", "nowhere.db"], "nowhere.db: no such file"),
        (["--optuna", "examples"], "examples: expected a file. Found a folder"),
        (["--optuna", "examples/search.journal", "--map", "seed=nope"], "no user attribute 'nope' for 'seed'"),
        (["--csv", "examples/trials.csv", "--studies", "x"], "`--studies` belongs to `--optuna`"),
        (["--reported"], "`--reported` belongs to `--optuna` or `--csv`"),
        (["--csv", "examples/trials.csv", "--map", "method=opt", "score=value"],
         "in quotes where one has a blank. Found 'score=value' after a blank"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score"], "KEY=COLUMN pairs separated by commas"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=zz"], "`--map score=COLUMN`. Columns: number"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=opt"],
         "diverged, nan, inf; failed, fail, error, errored, crashed, killed"),
        (["--csv", "examples/trials.csv", "--reported", "--map", "method=opt,score=value,role=state"],
         "takes every row for a reported run. Found a column of roles"),
        (["--optuna", "mysql://host/db"], "Expected sqlite:///FILE or the path of a journal"),
        (["--optuna", "README.md"], "line 1 is no JSON"),
        (["--optuna", "x.db", "--csv", "y.csv"], "either `--optuna` or `--csv`"),
        (["--map", "method=opt"], "`--map` belongs to `--optuna` or `--csv`"),
        (["--csv", "examples/trials.csv", "--map", "method"], "KEY=COLUMN pairs"),
        (["--csv", "examples/trials.csv", "--map", "mehtod=opt"], "knows no key 'mehtod'"),
        (["--csv", "examples/trials.csv", "--map", "method=a,method=b"], "names 'method' twice"),
        (["--csv", "examples/trials.csv", "--fact", "selection splitt=test"], "Closest: selection split"),
        (["--csv", "examples/trials.csv", "--fact", "selection split=Test"], "expects one of validation, test, train"),
        (["--csv", "examples/trials.csv", "--fact", "chance loss=0"], "expects a number above 0. Found '0'"),
        (["--csv", "examples/trials.csv", "--fact", "published score=high"], "expects a number. Found 'high'"),
        (["--csv", "examples/trials.csv", "--fact", "repetitions=inf"], "expects a finite number"),
        (["--csv", "examples/trials.csv", "--fact", "published score=inf"], "expects a finite number"),
        (["--csv", "examples/trials.csv", "--fact", "repetitions=-3"], "expects a whole number, at least 1"),
        (["--csv", "examples/trials.csv", "--fact", "published decimals=-1.5"], "at least 0, at most 17. Found '-1.5'"),
        (["--csv", "examples/trials.csv", "--fact", "time-to-loss ratio=-1"], "expects a number above 0"),
        (["--csv", "examples/trials.csv", "--fact", "interval multiplier=-1.96"], "expects a number above 0"),
        (["--csv", "examples/trials.csv", "--fact", "synchronised timing=7"], "expects one of 0, 1. Found '7'"),
        (["--csv", "examples/trials.csv", "--fact", "timed steps=-4"], "expects a whole number, at least 0"),
        (["--csv", "examples/trials.csv", "--fact", "tuning seed=1.5"], "expects a whole number. Found '1.5'"),
        (["--csv", "examples/trials.csv", "--fact", "best *=1"], "knows no quantity 'best *'"),
        (["--csv", "examples/trials.csv", "--fact", "reported curve=1"], "`repro audit --facts` lists all"),
        (["--csv", "examples/trials.csv", "--fact", "repetitions=3", "--fact", "repetitions=4"],
         "states 'repetitions' twice: 3 and 4"),
        (["--csv", "examples/trials.csv", "--fact", "selection examples=500", "--fact", "selection split size=100"],
         "expects 'selection examples' no larger than 'selection split size'. Found 500 and 100"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state", "--fact", "trials=99"],
         "`--fact 'trials=99'` contradicts what was read: 8 for 'plain'"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state", "--fact", "best lr=0.5"],
         "`--fact 'best lr=0.5'` contradicts what was read"),
        (["--csv", "examples/trials.csv", "--map", "method=opt,score=value,status=state",
          "--fact", "searched to lr=0.0001185341858101039"], "leaves out lr = "),
        (["--optuna", "examples/search.journal", "--fact", "searched to lr=7"], "contradicts what was read"),
        (["--csv", "examples/trials.csv", "--fact", "searched from lr=1", "--fact", "searched to lr=1"],
         "expects 'searched from lr' below 'searched to lr'. Found 1 and 1"),
        (["--optuna", "examples/search.journal", "--map", "score=val_loss"], "names user attributes: method, seed"),
        (["--csv", "examples/trials.csv", "rike2022"], "audited by itself"),
        (["--optuna", "examples/search.journal", "--studies", "x"], "no study 'x'. Choose from: plain, momentum"),
        (["--optuna", "examples/search.journal", "--map", "method=x"], "no hyperparameter or user attribute 'x'"),
        (["--optuna", "examples/search.journal", "examples/search.journal"], "is in two storages"),
        (["--optuna", "examples/search.journal", "--maximise"], "says itself whether it maximises"),
        (["rike2023"], "Unknown comparison 'rike2023'"),
        (["--explain", "budgte"], "Unknown rule 'budgte'. Choose from: "),
    ],
)  # fmt: skip
def test_bad_usage_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *arguments]) == USAGE
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


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
        with pytest.raises(ValueError, match=r"x\.db: locked by another program"):
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
            "directions are mixed",
        ),
        (
            "INSERT INTO study_directions VALUES (3, 'MINIMIZE', 1, 1)",
            "has 2 objectives; a comparison has one. Leave it out with `--studies`",
        ),
        ("UPDATE trials SET state = 'MELTED' WHERE trial_id = 1000000", "unknown state 'MELTED'"),
        ("DELETE FROM trials", "holds no trials"),
        ("DROP TABLE trial_params", "not an Optuna storage"),
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
        ('{"op_code": 99}', "unknown operation 99, of a newer Optuna"),
        ('{"op_code": 5, "trial_id": 7}', "is not an entry"),
        ("{}", "is no entry of an Optuna journal"),
        ("nonsense", "is no JSON"),
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


# --- size ------------------------------------------------------------------------------------------------------


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


def test_an_infinite_hyperparameter_bounds_no_range() -> None:
    frame = table().assign(lr=[0.01, 0.1, np.inf, 0.01, 0.1, 1.0])
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.number("searched to lr", "a") == 0.1
    assert statuses(evidence)["space"] == "warn"  # other ranges, and none of them fixed
    report_of_a = {"opt": "a", "val_loss": 0.3, "role": "report", "lr": np.inf, "seed": 9}
    tried = table().assign(lr=[0.1, np.inf, 1.0, 0.1, 1.0, 2.0], role="tune")
    told = trials.from_table(pd.concat([tried, pd.DataFrame([report_of_a])]), MAP, "x")
    assert told.word("best lr", "a") == told.word("used lr", "a") == "inf"
    (finding,) = [f for f in report.audit(told).findings if f.rule.name == "winner"]
    assert [part.text for part in finding.parts if part.method == "a"] == [
        "lr: found inf, used inf"
    ]
    never = table().assign(lr=np.inf)
    assert statuses(trials.from_table(never, MAP, "x"))["space"] == "unknown"


def test_trials_that_wait_are_no_trials_of_a_ranking() -> None:
    scores = {"a": [0.5, 0.4, 0.3, 0.2, 0.05, 0.1], "b": [0.4, 0.3, 0.25, 0.15, 0.1, 0.2]}
    rows = [
        {"method": m, "score": s, "number": i, "status": "done"}
        for m, own in scores.items()
        for i, s in enumerate(own)
    ]
    rows += [
        {"method": m, "score": None, "number": 6 + i, "status": "waiting"}
        for m in scores
        for i in range(20)
    ]
    for num in (len(rows), 12):
        (finding,) = [
            f
            for f in report.audit(trials.from_table(pd.DataFrame(rows[:num]), {}, "x")).findings
            if f.rule.name == "rank"
        ]
        assert finding.status == "warn"
        assert "a is ahead of b from trial 5 of 6 on" in finding.text


def test_trials_may_have_names() -> None:
    frame = table().assign(trial=["x_01", "x_00", "7"] * 2)
    evidence = trials.from_table(frame, MAP, "x")
    assert evidence.number("trials", "a") == 3
    assert statuses(evidence)["rank"] == statuses(trials.from_table(table(), MAP, "x"))["rank"]
    # no number tells whether a name is missing
    assert statuses(evidence)["survivors"] == "unknown"
    repeated = pd.concat([frame.assign(seed=0), frame.assign(seed=1)])
    twice = trials.from_table(repeated, MAP, "x")
    assert twice.number("trials", "a") == 3
    assert not any("no numbers" in note for note in twice.notes)
    epochs = pd.concat([frame, frame], ignore_index=True)
    message = (
        r"trial x_01 of 'a' stands twice \(rows 1, 7\)\. Remove the copies, map `epoch` where a row is one, map a column "
        "`seed` or `role` that tells them apart, or audit one problem at a time"
    )
    with pytest.raises(ValueError, match=message):
        trials.from_table(epochs, MAP, "x")

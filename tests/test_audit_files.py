"""Anybody's table of trials as a file: read as it stands, never changed, or refused in one clear line."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from outsiders import MAP, digest, table

from repro.audit import table_files, trials
from repro.audit.evidence import Evidence
from repro.cli import USAGE, main


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
        ("x.csv", "method,score\na,0.5\nr1,b,0.4\n", "line 3 has 3 cells, but the header has 2"),
        ("x.csv", "run,method,score\nr0,a,0.5,7\nr1,b,0.4,8\n", "line 2 has 4 cells, but the header has 3"),
        ("x.csv", "method,score,score\na,0.5,0.1\n", "two columns are called 'score'; rename one"),
        ("x.csv", "method,score\na,50%\n", "Found '50%' in row 1. Write plain numbers, and leave blank"),
        ("x.csv", "method,score,params_p\na,1,\nb,2,50%\n", "column 'params_p' needs numbers. Found '50%' in row 2. Leave percent signs out."),
        ("x.csv", "method,score\na,1\nmethod,score\nb,2\n", "Found 'score' in row 2. The header stands there again: leave that row out."),
        ("x.csv", "method,score\n,1\nb,2\n", "row 1 names no method. Fill in its column 'method', or leave the row out."),
        ("x.tsv", "method,score\na,0.5\n", "cannot be read as TSV: expected tabs between the columns, found commas"),
        ("x.csv", "method,score,epochs\na,0.5,1" + 400 * "0" + "\n", "'epochs' needs numbers. Found '1000"),
        ("x.jsonl", "[1, 2]", "expected one JSON object per row, found '1'"),
        ("x.jsonl", '{"method": "a"\n', "line 1 is not JSON"),
        ("x.jsonl", '{"a.b": 1, "a": {"b": 2}}', "two columns are called 'a.b'"),
        ("x.csv", "", "x.csv: holds no trials."),
        ("x.csv", "method,score\n", "x.csv: holds no trials."),
        ("x.csv", "# of May\nmethod,score\na,1\n", "the first line should name the columns, but '# of May' stands above line 2; delete what"),
        ("x.csv", "method   score\na   1\n", "expected commas between the columns, found only blanks in 'method score'; save the table with commas"),
        ("x.csv", "a,0.5\nb,0.4\n", "or write names above the first row, which seems to have taken their place"),
        ("x.csv", 'method,score\n"a,1\nb,2\n', "the quoted cell that begins in row 1 has no closing quotation mark; add it."),
        ("x.csv", "method,score\na,1\n\0\0\0", "line 3 contains zero bytes, as when writing was cut off; delete that line."),
        ("x.csv", 'method,score,params_n\na,1,"1,000"\n', "Write decimal points, not commas, and nothing between thousands."),
        ("x.csv", "method,score,config,config.lr\na,1,{'lr': 1},2\n", "two columns are called 'config.lr'"),
        ("x.json", '{"runs": [{"method": "a"}]}', "found a single object that contains the list 'runs'; save that list by itself."),
        ("x.json", "[" * 100_000, "cannot be read as JSON: "),
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
    assert "expected text in UTF-8. Found the byte 0xf8" in capsys.readouterr().err
    assert main(["audit", "--csv", str(tmp_path / "y.csv")]) == USAGE
    assert "expected a file. Found a folder" in capsys.readouterr().err


# --- as people save them ------------------------------------------------------------------------------------

COMMAS = "method;score;lr\nrén;0,5;0,01\nb;1,25;1E-3\n"
POINTS = "method,score,lr\nrén,0.5,0.01\nb,1.25,1E-3\n"


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # the same in every process that collects tests


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv.gz", packed(POINTS.encode())),
        ("x.CSV.GZ", POINTS.encode()),  # a browser unpacks what it loads
        ("x.csv", packed(POINTS.encode())),
        ("x.tsv.gz", packed(POINTS.replace(",", "\t").encode())),
        ("x.csv", POINTS.encode("utf-8-sig")),
        ("x.csv", POINTS.encode("utf-16")),
        ("x.txt", POINTS.replace(",", "\t").replace("\n", "\r\n").encode("utf-16")),
        ("x.csv.gz", packed(POINTS.encode("utf-16"))),
        ("x.csv", POINTS.replace(",", ";").encode()),
        ("x.csv", COMMAS.encode()),
        ("x.csv", COMMAS.replace("\n", "\r").encode("utf-8-sig")),
        ("x.csv", b"sep=;\r\n" + COMMAS.encode()),
        ("x.csv", COMMAS.replace("score", '"score"').encode()),
    ],
)
def test_a_table_is_read_however_it_was_saved(name: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    evidence = trials.from_table(table_files.read_table(path), {"params": "lr"}, name)
    assert evidence.methods == ("rén", "b")
    assert evidence.runs["score"].tolist() == [0.5, 1.25]
    assert evidence.runs["param lr"].tolist() == [0.01, 0.001]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "ndjson"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_objects_are_read_however_they_were_saved(
    suffix: str, encoding: str, tmp_path: Path
) -> None:
    text = table().to_json(orient="records", lines=suffix != "json")
    path = tmp_path / f"x.{suffix}.gz"
    path.write_bytes(packed(text.encode(encoding)))
    pd.testing.assert_frame_equal(table_files.read_table(path), table())


@pytest.mark.parametrize(
    "cells",
    [
        "1,234;5",  # commas between thousands
        "0,5;0.01",  # two ways to write numbers in one file
        "64,64;128,128",  # lists
        "1.234,5;0,1",
        "0,5 %;1",
    ],
)
def test_commas_that_may_be_no_decimal_ones_are_refused_as_they_stand(
    cells: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"method;score;lr\na;{cells}\n")
    assert main(["audit", "--csv", str(path)]) == USAGE
    error = capsys.readouterr().err
    assert "column 'score' needs numbers. Found " in error
    assert "Write decimal points, not commas, and nothing between thousands." in error
    assert error.count("\n") == 1


def test_a_list_beside_numbers_with_points_is_no_number(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("method;score;layers;seed\na;0.5;0,64;1,5\nNone;inf;64,64;2\n")
    read = table_files.read_table(path)
    assert read["layers"].tolist() == ["0,64", "64,64"]
    path.write_text(path.read_text().replace("0.5", "0,5"))
    read = table_files.read_table(path)
    assert read["layers"].tolist() == [0.64, 64.64]
    assert read["seed"].tolist() == ["1,5", "2"]
    assert read["method"].tolist() == ["a", "None"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"method;score;steps\na;0,5;1.234\n", "has '1.234' in row 1, and other numbers have decimal commas"),
        ("x.csv", b"method\tscore\na\t0.5\n", "found tabs; save the table with commas, or rename the file to *.tsv."),
        ("x.txt", b"method,score\na,0.5\n", "found commas; save the table with tabs, or rename the file to *.csv."),
        ("x.csv", POINTS.encode("utf-16-le"), "it is neither UTF-8 nor UTF-16 with a byte order mark; save the file as UTF-8."),
        ("x.csv", POINTS.encode("utf-16")[:-1], "Save the file as UTF-8"),
        ("x.csv", b"PK\x03\x04\x14\x00", "by its first bytes it is an Excel workbook, or a ZIP archive, not text; save the table as CSV"),
        ("x.csv.gz", packed(POINTS.encode())[:-9], "expected a complete gzip file. Found one that is cut short or damaged"),
        ("x.json.gz", packed(b"[1]")[:-4] + b"1234", "Found one that is cut short or damaged"),
        ("x.xlsx", b"PK\x03\x04", "Found '.xlsx'. Save the sheet as CSV."),
        ("x.csv.zip", b"PK\x03\x04", "Found '.zip'. Unpack it, or compress the table itself with gzip"),
        ("x.parquet.gz", b"", "Found '.parquet.gz'. Unpack it"),
        ("x.db", b"", "Found '.db'. If it is an Optuna storage, `--optuna` reads it."),
        ("table", b"", "that ends in .csv, .tsv, .parquet or .jsonl. Found no suffix. Save the table as one of these."),
        ("x.parquet", POINTS.encode(), "cannot be read as Parquet: "),
        ("x.pkl", b"", "Found '.pkl'. Save the table as one of these."),
    ],
)  # fmt: skip
def test_how_a_file_was_saved_is_said_where_it_cannot_be_read(
    name: str,
    content: bytes,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["audit", "--csv", str(path)]) == USAGE
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# --- as trackers and people write them ----------------------------------------------------------------------


@pytest.mark.parametrize("write", [str, json.dumps])
def test_objects_in_cells_of_an_export_of_wandb_are_columns(
    write: Callable[[object], str], tmp_path: Path
) -> None:
    losses = [0.5, 0.1, math.nan, 0.3]
    rows = [
        {
            "summary": write({"val_loss": loss, "_wandb": {"runtime": 7}}),
            "config": write({"optimizer": "ab"[n % 2], "lr": 10.0**-n, "clip": math.inf}),
            "name": f"run-{n}",
        }
        for n, loss in enumerate(losses)
    ]
    rows[1]["summary"] = ""  # what crashed has none
    pd.DataFrame(rows).to_csv(tmp_path / "x.csv")
    columns = {"method": "optimizer", "score": "summary.val_loss", "params": "lr:clip"}
    evidence = trials.from_table(table_files.read_table(tmp_path / "x.csv"), columns, "x")
    assert evidence.methods == ("a", "b")
    assert evidence.runs["status"].tolist() == ["done", "diverged", "diverged", "done"]
    assert evidence.number("best lr", "b") == pytest.approx(1e-3)
    assert set(evidence.runs["param clip"]) == {math.inf}


def test_a_column_of_which_a_cell_is_no_object_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "method,score,config\na,0.5,{'lr': 1}\nb,0.4,{'lr': <object>}\n"
    )
    read = table_files.read_table(tmp_path / "x.csv")
    assert read["config"].tolist() == ["{'lr': 1}", "{'lr': <object>}"]


@pytest.mark.parametrize("orient", ["columns", "records"])
def test_what_pandas_writes_is_read_row_by_row(orient: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(json.loads(table().to_json()), indent=1))
    if orient == "records":
        (tmp_path / "x.json").write_text(table().to_json(orient="records"))
    pd.testing.assert_frame_equal(table_files.read_table(tmp_path / "x.json"), table())


def test_what_rows_were_grouped_by_is_a_column(tmp_path: Path) -> None:
    table().set_index("opt").to_parquet(tmp_path / "x.parquet")
    pd.testing.assert_frame_equal(table_files.read_table(tmp_path / "x.parquet"), table())


def test_a_table_of_thousands_of_columns_is_audited(tmp_path: Path) -> None:
    wide = pd.DataFrame({f"config.p{n}": [n, n + 1] for n in range(1_000)})
    frame = pd.concat([pd.DataFrame({"method": ["a", "b"], "score": [0.5, 0.4]}), wide], axis=1)
    frame.to_csv(tmp_path / "x.csv", index=False)
    evidence = trials.from_table(table_files.read_table(tmp_path / "x.csv"), {}, "x")
    assert len(evidence.runs.filter(like="param ").columns) == 1_000


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("np.float64(0.1)", 0.1),
        ("numpy.float32(1e-05)", 1e-5),
        ("np.int64(-3)", -3.0),
        ("np.float64(inf)", math.inf),
        ("np.inf", math.inf),
        ("np.array(0.1)", 0.1),
        ("tensor(0.1)", 0.1),
        ("tensor(0.1, device='cuda:0')", 0.1),
        ("Array(0.1, dtype=float32)", 0.1),
    ],
)
def test_numbers_as_libraries_of_arrays_write_them_are_numbers(
    cell: str, value: float, tmp_path: Path
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f'method,params.lr,score\na,"{cell}",1\na,0.2,"{cell}"\nb,0.1,2\n')
    table = table_files.read_table(path)
    assert table["params.lr"].tolist() == [value, 0.2, 0.1]
    assert table["score"].tolist() == [1.0, value, 2.0]


def test_objects_with_scalars_of_numpy_are_unfolded(tmp_path: Path) -> None:
    path = tmp_path / "wandb.csv"
    config = (
        "{'lr': np.float64(0.1), 'on': np.True_, 'opt': np.str_('adam'), 'bad': np.float64(nan)}"
    )
    path.write_text(f'name,config,summary\nr1,"{config}","{{\'loss\': np.float32(0.5)}}"\n')
    (row,) = table_files.read_table(path).to_dict("records")
    assert math.isnan(row.pop("config.bad"))
    assert row == {"name": "r1", "config.lr": 0.1, "config.on": True, "config.opt": "adam", "summary.loss": 0.5}  # fmt: skip


def test_words_and_names_keep_what_only_looks_like_a_scalar(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        'method,seed,score,note\nnp.inf,np.int64(12345678901234567890),1,"np.array([1, 2])"\n'
        "tensorflow,7,2,np.sqrt(x)\n"
    )
    table = table_files.read_table(path)
    assert table["note"].tolist() == ["np.array([1, 2])", "np.sqrt(x)"]
    assert table["seed"].tolist() == ["12345678901234567890", "7"]
    assert table["method"].tolist() == ["np.inf", "tensorflow"]


@pytest.mark.parametrize("name", ["opt_kwargs", "config.opt_kwargs", "config.opt_kwargs.value"])
def test_a_dictionary_in_a_cell_is_a_column_for_each_entry(name: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    lines = [f"opt,{name},score"]
    for opt in ("sgd", "adam"):
        lines += [
            f"{opt},\"{{'lr': {lr}, 'nesterov': True, 'inner': {{'eps': np.float64(1e-8)}}}}\",{lr}"
            for lr in (0.1, 0.01, 0.001)
        ]
        lines.append(f"{opt},,0.5")
    path.write_text("\n".join(lines))
    table = table_files.read_table(path, "opt")
    whole = name.removesuffix(".value")
    assert [c for c in table if str(c).startswith(whole)] == [
        f"{whole}.lr", f"{whole}.nesterov", f"{whole}.inner.eps",
    ]  # fmt: skip
    evidence = trials.from_table(table, {"method": "opt", "params": whole}, "x")
    short = whole.removeprefix("config.")
    assert evidence.number(f"best {short}.lr", "adam") == 0.001
    assert evidence.number(f"searched to {short}.lr", "sgd") == 0.1


@pytest.mark.parametrize("cell", ["{a}", "{1, 2}", "default"])
def test_words_in_braces_are_no_dictionaries(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"method,kind,score\nsgd,{{'lr': 1}},0.1\nadam,\"{cell}\",0.2")
    assert table_files.read_table(path)["kind"].tolist() == ["{'lr': 1}", cell]


def test_an_entry_that_is_a_column_already_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("method,kw,kw.lr,score\nsgd,{'lr': 1},1,0.1\nadam,{'lr': 2},2,0.2")
    with pytest.raises(
        ValueError, match=r"t\.csv: cannot be read as CSV: two columns are called 'kw\.lr'; rename"
    ):
        table_files.read_table(path)


def test_hyperparameters_that_scikit_learn_writes_twice_count_once(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    for header, columns in (("param_lr", ["param_lr"]), ("score_2", ["params.lr"])):
        path.write_text(
            f"method,params,{header},score\nsgd,{{'lr': 1}},1,0.1\nadam,{{'lr': 2}},2,0.2"
        )
        table = table_files.read_table(path)
        assert [c for c in table if str(c).startswith("param") and c != "params"] == columns
        evidence = trials.from_table(table, {}, "x")
        assert [c for c in evidence.runs if str(c).startswith("param ")] == ["param lr"]

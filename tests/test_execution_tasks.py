"""Groups as files for other schedulers, and records that are damaged: named, and nothing is lost by them."""

import re
import shutil
from pathlib import Path

import pytest
from small_runs import endless, small, stamps
from small_runs import events as events
from small_runs import same_threads as same_threads
from small_runs import store as store
from small_runs import undisturbed as undisturbed

from repro import cli, execution
from repro.checkpoints import steps_done
from repro.execution import describe, execute, form_groups, run_group
from repro.results import Record, RejectedFileError, Store


def damaged(store: Store, key: str) -> Path:
    path = store.path(key)
    path.write_bytes(path.read_bytes()[:50])
    return path


def test_a_worker_refuses_a_store_that_takes_no_files_before_any_work(
    undisturbed: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, store = tmp_path / "0.json", tmp_path / "new"
    execution.write_task(file, form_groups(small())[0])
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr(execution, "work_on", lambda *given, **more: pytest.fail("work was done"))
    assert cli.main(["worker", str(file), "--store", str(store)]) == 2
    assert capsys.readouterr().err == (
        f"repro: {store} takes no files: it is read-only. Give `--store` a folder that you can write to; "
        "nothing was run.\n"
    )
    monkeypatch.undo()
    # where nothing is missing, nothing has to be kept
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert cli.main(["worker", str(file), "--store", str(undisturbed.directory)]) == 0
    assert "done before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"schema": 1, "runs": []}', "Found no runs. Write it again."),
        ('{"schema": 1, "runs": [3]}', "Found no runs. Write it again."),
        ('{"schema": 2, "runs": ["{}"]}', "Found schema 2. Write it again."),
    ],
)
def test_a_task_without_runs_or_of_another_schema_says_which(
    content: str, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "task.json"
    path.write_text(content)
    with pytest.raises(RejectedFileError, match=re.escape(f"with schema 1. {found}")):
        execution.read_task(path)


def test_a_worker_names_a_damaged_record_and_goes_on(
    undisturbed: Store, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(undisturbed.directory, store.directory)
    first, second, *_ = (group for group in form_groups(small()) if len(group) == 2)
    path = damaged(store, first[1].key)
    store.path(first[0].key).unlink()
    files = []
    for number, group in enumerate((first, second)):
        files.append(str(tmp_path / f"{number}.json"))
        execution.write_task(Path(files[-1]), group)
    before = stamps(store)
    assert cli.main(["worker", *files, "--store", str(store.directory)]) == 1
    shown = capsys.readouterr()
    assert f"repro: {describe(first)}: {path}: not a finished run" in shown.err
    assert shown.out == f"{describe(second)}: done before\n"
    assert stamps(store) == before  # nor was anything run that could not be kept


def test_a_damaged_record_keeps_the_checkpoint_of_its_runs(store: Store) -> None:
    group = form_groups(endless())[0]
    asked = iter([False])
    run_group(group, store, "cpu", lambda steps: None, lambda: next(asked, True))
    assert (step := steps_done(store.directory, group))
    for spec in group:
        store.write(Record(spec, "done", {"score": 1.0}, ()))
    damaged(store, group[0].key)
    execute(small(), store, time_limit=0.0)
    assert steps_done(store.directory, group) == step

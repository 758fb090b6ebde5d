"""Before days of work, minutes of it: everything that is declared runs once, to its end, by two workers."""

from pathlib import Path

import pytest

import studies
from repro import cli
from repro.campaign import survey
from repro.protocol import comparisons, expand
from repro.results import read_store, tabulate

pytest.importorskip("torch")
pytest.importorskip("optuna")


@pytest.mark.slow
def test_every_declared_experiment_runs_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["all", "--scale", "smoke", "--workers", "2"]
    status = cli.main(["run", *command])
    shown = capsys.readouterr()
    assert status == 0, shown.out + shown.err
    assert shown.err == ""

    records, problems = read_store(tmp_path / "store")
    assert problems == ()
    runs, _ = tabulate(records)
    every = [studies.get(name) for name in studies.names()]
    specs = [spec for study in every for spec in expand(study, "smoke")]
    searched = [comparison for study in every for comparison in comparisons(study, "smoke")]
    work = survey(specs, searched, runs)
    assert {(w.study, w.experiment) for w in work} == {
        (study.name, experiment.name) for study in every for experiment in study.experiments
    }
    for w in work:
        assert w.left == (), w.experiment
        assert all(w.done.values()), w.experiment
    assert set(runs["key"]) >= {spec.key for spec in specs}
    assert (runs["wall_seconds"] > 0).all()  # what prices the next campaign
    timed = runs["task"] == "timing"
    assert (runs["processor_seconds"] > 0)[~timed].all()
    assert runs["processor_seconds"].isna()[timed].all()

    assert cli.main(["status", *command]) == 0
    assert "nothing is missing" in capsys.readouterr().out
    assert cli.main(["run", *command]) == 0
    assert f"0 runs done (0 diverged), {len(runs)} were done before, 0 left" in " ".join(
        capsys.readouterr().out.split()
    )
    assert cli.main(["publish", "--to", "rows"]) == 0
    assert len(list((tmp_path / "rows").iterdir())) == 2 * len(every)

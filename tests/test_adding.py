"""The page on adding a paper, a method and an estimator does what it says, block by block."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "adding.md"
BLOCK = re.compile(r"^```(\w+)(?: ([^\n]*))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STATUSES = {"python -m repro claims": 1}  # a claim without a committed verdict


@pytest.mark.torch
def test_every_block_works_in_a_fresh_copy(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    for name in ("repro", "studies", "figures", "paper"):
        ignored = shutil.ignore_patterns("build", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    shutil.copy(ROOT / "README.md", tmp_path)
    said = {}
    for language, info, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if language == "console":
            for command in code.splitlines():
                said[command] = run(command, tmp_path)
            continue
        assert language == "python"
        target = tmp_path / info.removeprefix("append to ")
        assert target.exists() == info.startswith("append to ")
        with target.open("a", encoding="utf-8") as stream:
            stream.write(f"\n\n{code}" if info.startswith("append to ") else code)
    assert "6 runs done" in said["python -m repro run someone2030 --scale smoke --workers 1"]
    assert "nothing is missing" in said["python -m repro status someone2030 --scale smoke"]
    verdict = "verdict changed someone2030 claim 1: no verdict committed"
    assert verdict in said["python -m repro claims"]
    for method in ("four tangents", "central difference"):
        command = f'python -m repro run someone2030 --scale smoke --method "{method}" --workers 1'
        assert "3 runs done" in said[command]
    command = (
        "python -m repro run someone2030 --scale smoke --only booth --method median --workers 1"
    )
    assert "3 runs done" in said[command]
    code = (
        "import torch; from repro import models; network = models.build('sines', (1, 8, 8), 10, width=4); "
        "start = network.start([torch.Generator()], torch.float32, torch.device('cpu')); "
        "print(*network(start, torch.ones(1, 3, 1, 8, 8)).shape)"
    )
    assert run(f'python -c "{code}"', tmp_path) == "1 3 10"
    for suffix in ("svg", "pdf", "png", "csv"):
        assert (tmp_path / f"figures/build/someone2030_fig1.{suffix}").exists()
    assert "not run" not in (tmp_path / "figures/build/someone2030_fig1.csv").read_text()


def test_the_estimator_gives_a_replica_what_it_gets_alone(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from asserts import assert_replicas_independent, assert_shared_draws
    from estimator_cases import objective
    from references import draw

    (code,) = (
        code
        for _, info, code in BLOCK.findall(PAGE.read_text(encoding="utf-8"))
        if info == "repro/estimators/central_difference.py"
    )
    (tmp_path / "central_difference.py").write_text(code, encoding="utf-8")
    estimator = runpy.run_path(str(tmp_path / "central_difference.py"))["CentralDifference"]()
    params = {"weight": draw(3, 2, 2), "bias": draw(3, 2, seed=1)}
    assert_shared_draws(estimator, objective, params)
    assert_replicas_independent(estimator, objective, params, [5, 6, 7])


def run(command: str, folder: Path) -> str:
    done = subprocess.run(
        command.replace("python", f'"{sys.executable}"', 1),
        shell=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == STATUSES.get(command, 0), done.stdout + done.stderr
    return " ".join(done.stdout.split())

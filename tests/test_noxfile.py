"""What nox builds an environment for, it builds when it is asked to, and says so only then."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nox")

NOXFILE = Path(__file__).resolve().parent.parent / "noxfile.py"
PYPROJECT = """\
[project]
dependencies = ["pip"]
[project.optional-dependencies]
train = []
slurm = []
[dependency-groups]
"""
"""Of a project that needs what every environment has, so that nothing is downloaded."""


def test_an_environment_counts_as_installed_only_if_something_was(tmp_path: Path) -> None:
    shutil.copy(NOXFILE, tmp_path)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "constraints.txt").touch()

    def installs(*options: str) -> bool:
        command = [sys.executable, "-m", "nox", *options, "--session", "venv-light"]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return "pip install" in ran.stdout + ran.stderr

    assert installs()
    assert not installs()
    (tmp_path / "constraints.txt").write_text("# other versions\n")
    assert not installs("-R")
    assert installs()

"""An empty folder to give commands in, for tests of the command line.

A test module takes the fixture from here under its own name: `from elsewhere import elsewhere as elsewhere`.
"""

from pathlib import Path

import pytest


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path

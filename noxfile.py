"""Verbs of the project; what they do is in `python -m repro`, what they need in pyproject.toml.

Two environments serve them all: `venv-light` redraws the paper and has no PyTorch, `venv-train` makes new
rows and runs the tests. A verb builds the one it needs on first use and again when what is required changes.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["reproduce"]
nox.options.default_venv_backend = "virtualenv"  # comes with nox, so nothing else need be installed
nox.options.reuse_venv = "yes"

CONSTRAINTS = Path("constraints.txt")
PARALLEL = ("--numprocesses=auto", "--dist=loadfile")
"""Each file of tests stays in one process: some share what takes long to start."""
PYPROJECT = nox.project.load_toml("pyproject.toml")
LIGHT: list[str] = PYPROJECT["project"]["dependencies"]
TRAIN: list[str] = PYPROJECT["project"]["optional-dependencies"]["train"]
SLURM: list[str] = PYPROJECT["project"]["optional-dependencies"]["slurm"]


def groups(*names: str) -> list[str]:
    """Return the requirements of dependency groups."""
    return list(nox.project.dependency_groups(PYPROJECT, *names))


def install(session: nox.Session, *requirements: str) -> None:
    """Install requirements at the versions behind the committed results, unless they are installed."""
    # pip takes seconds to find that nothing changed, more than redrawing nothing does
    wanted = "\n".join([*requirements, CONSTRAINTS.read_text()])
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    stamp = Path(session.virtualenv.location) / "installed.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    session.install("-c", str(CONSTRAINTS), *requirements)
    # an install, too, so that `nox -R`, which leaves those out, does not say that it was done
    write = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.argv[2])"
    session.run_install("python", "-c", write, str(stamp), digest, silent=True, log=False)


def python(session: nox.Session, environment: str, *arguments: str) -> None:
    """Run Python in the environment of another session."""
    folder = "Scripts" if os.name == "nt" else "bin"
    interpreter = session.cache_dir.parent / environment / folder / "python"
    session.run(str(interpreter), *arguments, external=True)


@nox.session(name="venv-light", default=False)
def venv_light(session: nox.Session) -> None:
    """Environment that redraws: no PyTorch."""
    install(session, *LIGHT)


@nox.session(name="venv-train", default=False)
def venv_train(session: nox.Session) -> None:
    """Environment that makes new rows, tests and checks types."""
    install(session, *LIGHT, *TRAIN, *SLURM, *groups("test", "types"))


@nox.session(venv_backend="none", requires=["venv-light"])
def reproduce(session: nox.Session) -> None:
    """Build figures, tables, verdicts, the paper and the page from the published rows."""
    python(session, "venv-light", "-m", "repro", "reproduce", *session.posargs)


@nox.session(venv_backend="none", requires=["venv-light"], default=False)
def figures(session: nox.Session) -> None:
    """Draw the figures: all, or `-- NAME ...`."""
    python(session, "venv-light", "-m", "repro", "figures", *session.posargs)


@nox.session(venv_backend="none", requires=["venv-light"], default=False)
def tables(session: nox.Session) -> None:
    """Write the tables: all, or `-- NAME ...`."""
    python(session, "venv-light", "-m", "repro", "tables", *session.posargs)


@nox.session(venv_backend="none", requires=["venv-light"], default=False)
def paper(session: nox.Session) -> None:
    """Build the paper and the results page, with everything that they show."""
    python(session, "venv-light", "-m", "repro", "paper", *session.posargs)


@nox.session(venv_backend="none", requires=["venv-train"], default=False)
def verify(session: nox.Session) -> None:
    """Build everything anew and compare it with the manifest; then run a sample of the rows again."""
    python(session, "venv-train", "-m", "repro", "verify", *session.posargs)


@nox.session(venv_backend="none", requires=["venv-light"], default=False)
def claims(session: nox.Session) -> None:
    """Judge the claims, print the verdicts, and fail where a committed one no longer holds."""
    python(session, "venv-light", "-m", "repro", "claims", *session.posargs)


@nox.session(venv_backend="none", requires=["venv-light"], default=False)
def audit(session: nox.Session) -> None:
    """Say whether comparisons are fair, ours, the papers', anybody's: `-- [TARGET ...] [--optuna URL]`."""
    python(session, "venv-light", "-m", "repro", "audit", *session.posargs)


@nox.session(venv_backend="none", requires=["venv-train"], default=False)
def run(session: nox.Session) -> None:
    """Run what a study declares and nobody ran yet: `-- STUDY [--scale ...]`."""
    python(session, "venv-train", "-m", "repro", "run", *session.posargs)


@nox.session(venv_backend="none", requires=["venv-train"], default=False)
def bench(session: nox.Session) -> None:
    """Time every step anew, beside its limit and a plain PyTorch loop: `-- [--only ... --strict]`."""
    python(session, "venv-train", "-m", "repro", "bench", *session.posargs)


@nox.session(venv_backend="none", requires=["venv-train"], default=False)
def tests(session: nox.Session) -> None:
    """Test everything; slow tests with `-- --runslow`."""
    session.env.setdefault("OMP_NUM_THREADS", "1")  # the cores are taken by files of tests
    python(session, "venv-train", "-m", "pytest", *PARALLEL, *session.posargs)


@nox.session(venv_backend="none", requires=["venv-train"], default=False)
def chaos(session: nox.Session) -> None:
    """Kill runs, searches and publications 200 times at random: nothing may be lost or wrong."""
    session.env.setdefault("REPRO_CHAOS_KILLS", "200")
    python(session, "venv-train", "-m", "pytest", "tests/test_chaos.py", *session.posargs)


@nox.session(default=False)
def tests_without_torch(session: nox.Session) -> None:
    """Test where PyTorch is not installed: redrawing must work there."""
    install(session, *LIGHT, *groups("test"))
    session.run("python", "-m", "pytest", *PARALLEL, *(session.posargs or ["tests"]))


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Check style and format; mend both with `-- --fix`."""
    install(session, *groups("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]))


@nox.session(venv_backend="none", requires=["venv-train"], default=False)
def types(session: nox.Session) -> None:
    """Check types."""
    python(session, "venv-train", "-m", "mypy", *session.posargs)

"""The order of imports, read from the sources: a module imports only what stands above it.

What is promised by it: redrawing needs no PyTorch, a problem knows no estimator, a study is a declaration,
a figure is a function of the rows.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

TORCH_FREE = (
    "protocol",
    "results",
    "publishing",
    "stats",
    "tables",
    "measures",
    "claims",
    "pricing",
    "campaign",
    "audit",
    "report",
)
"""Modules of `repro` that never reach PyTorch, in their order."""

ORDER = (
    *TORCH_FREE,
    "datasets",
    "environment",
    "autodiff",
    "models",
    "tangents",
    "aggregation",
    "estimators",
    "optimizers",
    "problems",
    "engine",
    "stopping",
    "checkpoints",
    "training",
    "sampling",
    "approximation",
    "limits",
    "plain",
    "timing",
    "search",
    "execution",
    "rerun",
    "progress",
    "cli",
    "__main__",
)
"""Modules and packages of `repro`; each imports only those before it. `repro` itself may be imported by all."""

LAZY = ("repro", "execution", "progress", "cli", "__main__")
"""They reach PyTorch only from within functions, so that importing them does not."""

SOLE_IMPORTERS = {
    "torch.func": ("autodiff", "plain"),  # the plain loop uses none of ours
    "torch.autograd.forward_ad": ("autodiff",),
    "optuna": ("search",),
}
METHODS = ("tangents", "aggregation", "estimators", "optimizers")
DRAWING = ("numpy", "pandas", "matplotlib", "seaborn")


class Import(NamedTuple):
    """Names that one statement imports; `deferred` if importing the module does not execute it."""

    line: int
    names: tuple[str, ...]  # of `from a import b`: both `a` and `a.b`, since `b` may be a module
    deferred: bool


def imports(source: str, package: str) -> Iterator[Import]:
    """Yield every import of a source, and every `torch.x` that it spells out."""
    yield from _imports(ast.parse(source), package, deferred=False)


def _imports(node: ast.AST, package: str, deferred: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                yield Import(child.lineno, tuple(a.name for a in child.names), deferred)
            case ast.ImportFrom():
                names = _names_of(child, package)
                yield Import(child.lineno, names, deferred)
            case ast.Attribute() if (name := ast.unparse(child)) in SOLE_IMPORTERS:
                yield Import(child.lineno, (name,), deferred)
            case ast.If() if ast.unparse(child.test).endswith("TYPE_CHECKING"):
                for statement in child.body:
                    yield from _imports(ast.Module([statement], []), package, deferred=True)
                for statement in child.orelse:
                    yield from _imports(ast.Module([statement], []), package, deferred)
                continue
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(child, package, deferred or function)


def _names_of(statement: ast.ImportFrom, package: str) -> tuple[str, ...]:
    parents = package.split(".")
    parents = parents[: len(parents) - statement.level + 1] if statement.level else []
    module = ".".join([*parents, *([statement.module] if statement.module else [])])
    return module, *(f"{module}.{alias.name}" for alias in statement.names)


def module_of(path: str) -> str:
    """Return the dotted name of a source; packages without `__init__`."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def layer_of(name: str) -> str | None:
    """Return the layer of `repro` that a dotted name belongs to; `repro` for names of the root."""
    top, *rest = name.split(".")
    if top != "repro":
        return None
    return rest[0] if rest and rest[0] in ORDER else "repro"


def within(name: str, *modules: str) -> bool:
    """Tell whether a dotted name is one of the modules, or in one."""
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


def faults(path: str, source: str) -> list[str]:
    """Return what a source imports against the rules, one line each."""
    module = module_of(path)
    package = module if path.endswith("__init__.py") else module.rpartition(".")[0]
    rules = {"repro": _faults_of_library, "studies": _faults_of_study, "figures": _faults_of_figure}
    judge = rules[module.split(".", maxsplit=1)[0]]
    found = []
    for statement in imports(source, package):
        reasons = judge(module, statement)
        found += [f"{path}:{statement.line}: {reason}" for reason in dict.fromkeys(reasons)]
    return found


def _faults_of_library(module: str, statement: Import) -> Iterator[str]:
    layer = layer_of(module)
    assert layer is not None
    above = ORDER[: ORDER.index(layer)] if layer in ORDER else ()
    for name in statement.names:
        for sole, importers in SOLE_IMPORTERS.items():
            if within(name, sole) and layer not in importers:
                yield f"only {' and '.join(importers)} may import {sole}"
        if within(name, "torch", "optuna") and layer in TORCH_FREE:
            yield f"{layer} promises to work without {name.split('.', maxsplit=1)[0]}"
        if within(name, "torch", "optuna") and layer in LAZY and not statement.deferred:
            yield f"{layer} imports {name} only within functions"
        if within(name, "studies", "figures") and layer != "cli":
            yield f"the library knows no {name.split('.', maxsplit=1)[0]}; only cli does"
        target = layer_of(name)
        if target is None or target in ("repro", layer):
            continue
        if layer == "problems" and target in METHODS:
            yield f"a problem knows no {target}"
        if layer != "repro" and target not in above:  # the root is the door to everything
            yield f"{layer} stands above {target}"
        if layer in LAZY and not statement.deferred and target not in (*TORCH_FREE, *LAZY):
            yield f"{layer} imports {target}, which imports torch, only within functions"


def _faults_of_study(module: str, statement: Import) -> Iterator[str]:
    del module
    for name in statement.names:
        top = name.split(".", maxsplit=1)[0]
        if top not in sys.stdlib_module_names and not within(
            name, "repro.protocol", "studies.facts", "studies.parts"
        ):
            yield f"a study imports repro.protocol, studies.facts and studies.parts only, not {name}"


def _faults_of_figure(module: str, statement: Import) -> Iterator[str]:
    del module
    ours = ("repro.results", "repro.stats", "repro.tables", "repro.measures", "figures")
    for name in statement.names:
        top = name.split(".", maxsplit=1)[0]
        if name == "repro" and len(statement.names) > 1:
            continue  # of `from repro import results`: the second name tells
        if top not in sys.stdlib_module_names and not within(name, *ours, *DRAWING):
            yield f"a figure imports {', '.join(ours)} and {', '.join(DRAWING)} only, not {name}"


SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("repro", "studies", "figures")
    for path in (ROOT / package).rglob("*.py")
)


def test_the_page_on_the_order_names_every_module() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert (*re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE), "__main__") == ORDER


@pytest.mark.parametrize("path", SOURCES)
def test_imports_follow_the_order(path: str) -> None:
    assert faults(path, (ROOT / path).read_text(encoding="utf-8")) == []


def test_every_module_has_a_place_in_the_order() -> None:
    modules = [module_of(path).split(".") for path in SOURCES if path.startswith("repro/")]
    assert {parts[1] for parts in modules if len(parts) > 1} - set(ORDER) == set()


@pytest.mark.parametrize(
    ("path", "source", "reason"),
    [
        ("repro/protocol.py", "from repro import results", "protocol stands above results"),
        ("repro/tangents.py", "import repro.estimators as e", "tangents stands above estimators"),
        ("repro/tangents.py", "from .estimators import Cost", "tangents stands above estimators"),
        ("repro/training.py", "def f():\n    from repro import cli", "training stands above cli"),
        (
            "repro/problems/quadratic.py",
            "from repro.search import s",
            "problems stands above search",
        ),
        (
            "repro/problems/quadratic.py",
            "from repro import optimizers",
            "a problem knows no optimizers",
        ),
        ("repro/stats.py", "def f():\n    import torch", "stats promises to work without torch"),
        ("repro/audit/rules.py", "import torch.nn as nn", "audit promises to work without torch"),
        ("repro/results.py", "from torch import Tensor", "results promises to work without torch"),
        ("repro/cli/runs.py", "import torch", "cli imports torch only within functions"),
        (
            "repro/cli/runs.py",
            "from repro import datasets",
            "cli imports datasets, which imports torch",
        ),
        (
            "repro/execution.py",
            "class A:\n    from repro import training",
            "execution imports training",
        ),
        (
            "repro/__init__.py",
            "from repro.estimators import Cost",
            "repro imports estimators, which",
        ),
        (
            "repro/cli/runs.py",
            "if not TYPE_CHECKING_OFF:\n    import torch",
            "cli imports torch only",
        ),
        (
            "repro/estimators.py",
            "from torch.func import jvp",
            "only autodiff and plain may import torch.func",
        ),
        (
            "repro/estimators.py",
            "from torch import func",
            "only autodiff and plain may import torch.func",
        ),
        (
            "repro/training.py",
            "import torch\nx = torch.func.vmap",
            "2: only autodiff and plain may import torch.func",
        ),
        (
            "repro/models/layers.py",
            "from torch.autograd import forward_ad",
            "only autodiff may import",
        ),
        ("repro/cli/runs.py", "def f():\n    import optuna", "only search may import optuna"),
        ("repro/results.py", "import studies", "the library knows no studies"),
        (
            "studies/someone2030.py",
            "from repro.results import load",
            "a study imports repro.protocol",
        ),
        ("studies/someone2030.py", "import numpy", "a study imports repro.protocol"),
        ("figures/fig1.py", "from repro.protocol import Study", "a figure imports"),
        ("figures/fig1.py", "from repro import claims", "a figure imports"),
        ("figures/fig1.py", "import studies", "a figure imports"),
        ("figures/fig1.py", "def draw():\n    import torch", "a figure imports"),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str, reason: str) -> None:
    (fault, *_) = faults(path, source)
    assert reason in fault


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("repro/results.py", "from repro.protocol import RunSpec"),
        ("repro/environment.py", "import torch\nimport repro"),
        ("repro/autodiff.py", "from torch.func import jvp\nfrom torch.autograd import forward_ad"),
        ("repro/training.py", "from repro import estimators, problems"),
        ("repro/problems/__init__.py", "from .closed_form import ClosedFormProblem"),
        ("repro/problems/quadratic.py", "from ..autodiff import Params"),
        (
            "repro/cli/runs.py",
            "import studies\ndef f():\n    import figures, torch\n    from . import datasets",
        ),
        ("repro/cli/runs.py", "if TYPE_CHECKING:\n    from repro.training import train"),
        ("repro/__init__.py", "def __getattr__(name):\n    from repro import estimators"),
        (
            "studies/someone2030.py",
            "from dataclasses import replace\nfrom repro.protocol import Study",
        ),
        (
            "figures/fig1.py",
            "import seaborn as sns\nfrom repro import stats\nfrom figures.style import a",
        ),
    ],
)
def test_a_right_import_passes(path: str, source: str) -> None:
    assert faults(path, source) == []


def test_redrawing_loads_no_pytorch() -> None:
    program = (
        "import sys, figures, repro.claims, repro.cli, repro.results, studies\n"
        "print(*(studies.get(name).name for name in studies.names()))\n"
        "sys.exit(', '.join({'torch', 'pooch', 'sklearn', 'optuna'} & set(sys.modules)) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "baydin2022" in done.stdout.split()

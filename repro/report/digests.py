"""Digests of what a file was made from: sources, rows and libraries.

A step of the build is repeated only if the digest of its inputs has changed. The digest of code covers a module and
everything that it imports from these packages, as far as the sources tell; a change elsewhere redraws nothing.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pandas as pd

from repro.results import Store

ROOT = Path(__file__).resolve().parent.parent.parent
"""The folder of the packages."""

LIBRARIES = (
    "matplotlib",
    "numpy",
    "opda",
    "pandas",
    "pillow",
    "pyarrow",
    "scipy",
    "seaborn",
    "typst",
)
"""Libraries whose version can change a byte of what is built."""


def of(*parts: str | bytes) -> str:
    """Return the SHA-256 of some parts, each with its length, so that parts cannot run together."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(content)}:".encode() + content)
    return digest.hexdigest()


def of_file(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_rows(published: Path, store: Path | None) -> str:
    """Return the digest of the rows that a build sees.

    Args:
        published: Folder of the snapshot.
        store: Folder of finished runs, which are told apart by name, size and time.

    Returns:
        A digest.
    """
    parts = [f"{p.name} {of_file(p)}" for p in sorted(published.glob("*.parquet"))]
    for _, name, facts in Store(store).look() if store is not None else ():
        # a file that has gone is named when the rows are read
        known = f"{facts.st_size} {facts.st_mtime_ns}" if facts is not None else "gone"
        parts.append(f"{name} {known}")
    return of(*parts)


def of_facts(facts: pd.DataFrame) -> str:
    """Return the digest of what papers state, which figures draw beside the rows, from its table."""
    return of(facts.to_csv(index=False))


def of_module(name: str, root: Path = ROOT) -> str:
    """Return the digest of a module and of all modules of these packages that it imports.

    Args:
        name: Dotted name.
        root: The folder of the packages.

    Returns:
        A digest.
    """
    paths = sorted(_closure(root, name))
    return of(*(f"{path.relative_to(root)} {of_file(path)}" for path in paths))


def libraries(names: Iterable[str] = LIBRARIES) -> Mapping[str, str]:
    """Return the installed version of libraries, `absent` for one that is not installed."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _closure(root: Path, name: str) -> set[Path]:
    """Return the sources that importing a module may execute, including late imports."""
    found: set[Path] = set()
    waiting = [name]
    while waiting:
        paths = set(_sources(root, waiting.pop())) - found
        found |= paths
        waiting += (imported for path in paths for imported in _imports(root, path))
    return found


def _sources(root: Path, name: str) -> Iterator[Path]:
    """Yield the file of a dotted name and those of the packages above it, if they are among these packages."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        folder = root.joinpath(*parts[:end])
        for path in (folder / "__init__.py", folder.with_suffix(".py")):
            if path.is_file():
                yield path


@functools.cache
def _imports(root: Path, path: Path) -> tuple[str, ...]:
    if path == root / "repro" / "__init__.py":
        return ()  # the door to everything, which it opens only when asked
    names: list[str] = []
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                names += (alias.name for alias in node.names)
            case ast.ImportFrom():
                above = package[: len(package) - node.level + 1] if node.level else ()
                module = ".".join([*above, *([node.module] if node.module else [])])
                names += (f"{module}.{alias.name}" for alias in node.names)
    return tuple(names)

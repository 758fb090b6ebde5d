"""The manifest: digests of all that is built from the published rows, layer by layer, so that a difference has a name.

Rows give the values behind a figure; code, libraries and fonts draw them. The committed manifest holds a digest of
each of these layers and of each file. If a file differs, the cause is the lowest layer that differs. Rows have one
digest per run and one per column, so that a changed cell can be named.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from repro.report import digests
from repro.results import write_whole

SCHEMA = 1
RUN_DIGITS = 6
"""Hexadecimal digits of a run's digest, which locates a change; the column's digest proves it."""
DATES = re.compile(rb"D:\d{8,14}|\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?")
"""How PDF, SVG and text write a date or time."""
GROUP = ["experiment", "method", "role"]


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference from the manifest.

    Attributes:
        layer: `rows`, `values`, `code`, `library version`, `font`, `time stamp` or `unknown`.
        what: What differs, and how.
    """

    layer: str
    what: str

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.layer}: {self.what}"


def of_build(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    code: Mapping[str, str],
    figures: Path,
    built: Path,
) -> dict[str, Any]:
    """Return the manifest of a build.

    Args:
        runs: The published runs.
        curves: Their curves.
        code: Digest of the code that makes a figure or table, by name.
        figures: Folder of the figures.
        built: Folder of everything else.

    Returns:
        The manifest, as values for JSON.
    """
    outputs = [
        *(p for p in sorted(figures.iterdir()) if p.suffix in (".csv", ".svg", ".pdf", ".png")),
        *(p for p in sorted((built / "tables").iterdir()) if not p.name.startswith(".")),
        *(built / name for name in ("claims.json", "paper.json", "index.html", "paper.pdf")),
    ]
    return {
        "schema": SCHEMA,
        "environment": environment(),
        "fonts": _fonts(),
        "code": dict(sorted(code.items())),
        "rows": {
            study: _rows(own, curves[curves["key"].isin(set(own["key"]))])
            for study, own in sorted((str(s), f) for s, f in runs.groupby("study"))
        },
        "files": {
            f"{path.parent.name}/{path.name}": [_short(path.read_bytes()), _undated(path)]
            for path in outputs
            if path.exists()
        },
    }


def environment() -> dict[str, str]:
    """Return the environment of a build: Python, machine and libraries."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "python": python,
        "machine": f"{platform.system()} {platform.machine()}",
        **digests.libraries(),
    }


def write(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write a manifest to be committed."""
    write_whole(path, (json.dumps(manifest, indent=1) + "\n").encode())


def read(path: Path) -> dict[str, Any]:
    """Return the committed manifest.

    Args:
        path: The file.

    Returns:
        The manifest.

    Raises:
        ValueError: If the file is missing or not a manifest.
    """
    mend = "`repro verify --update` writes it."
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: the manifest is missing. {mend}") from None
    except ValueError as error:
        raise ValueError(f"{path}: expected a manifest, found no JSON ({error}). {mend}") from error
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: expected a manifest of schema {SCHEMA}, found another. {mend}")
    return content


# Rows


def _rows(runs: pd.DataFrame, curves: pd.DataFrame) -> dict[str, Any]:
    runs = runs.sort_values("key", kind="stable")
    header, *lines = _csv(runs)
    columns = {
        name: _short("\n".join(line[i] for line in lines).encode()) for i, name in enumerate(header)
    }
    columns |= {
        f"curves.{name}": _short("\n".join(values).encode())
        for name, values in _columns_of(curves.sort_values(["key", "split", "metric", "step"]))
    }
    points = _points(curves)
    own = {line[header.index("key")]: _run_digest(line, points) for line in lines}
    groups: dict[str, str] = {}
    for record in runs[["key", *GROUP]].itertuples(index=False):
        name = " · ".join(str(part) for part in record[1:])
        groups[name] = groups.get(name, "") + own[str(record[0])]
    return {"runs": len(runs), "columns": columns, "groups": dict(sorted(groups.items()))}


def _run_digest(line: Sequence[str], points: Mapping[str, str]) -> str:
    text = "\x1f".join(line) + points.get(line[0], "")
    return hashlib.sha256(text.encode()).hexdigest()[:RUN_DIGITS]


def _points(curves: pd.DataFrame) -> dict[str, str]:
    """Return a digest of the curves of each run."""
    found: dict[str, Any] = {}
    ordered = curves.sort_values(["key", "split", "metric", "step"], kind="stable")
    for line in ordered.to_csv(index=False, header=False, lineterminator="\n").splitlines():
        key, _, rest = line.partition(",")
        found.setdefault(key, hashlib.sha256()).update(rest.encode() + b"\n")
    return {key: digest.hexdigest() for key, digest in found.items()}


def _csv(frame: pd.DataFrame) -> list[list[str]]:
    # text as CSV has it: exact floats, the same with every version of pandas
    return list(csv.reader(io.StringIO(frame.to_csv(index=False, lineterminator="\n"))))


def _columns_of(frame: pd.DataFrame) -> Iterator[tuple[str, list[str]]]:
    for name in frame.columns:
        exact = frame[name].map(repr) if frame[name].dtype == float else frame[name].astype(str)
        yield str(name), exact.tolist()


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _undated(path: Path) -> str:
    return _short(DATES.sub(b"", path.read_bytes()))


def _fonts() -> dict[str, str]:
    """Return digests of the fonts in figures; Typst brings its own."""
    import matplotlib as mpl

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return {p.name: _short(p.read_bytes()) for p in sorted(folder.glob("DejaVuSans*.ttf"))}


# Comparison


def compare(
    expected: Mapping[str, Any], found: Mapping[str, Any], runs: pd.DataFrame
) -> tuple[Difference, ...]:
    """Return what differs, the lowest layer first, then every file that differs with the layer that caused it.

    Args:
        expected: The committed manifest.
        found: The manifest of a rebuild.
        runs: The runs it was built from, to name those that differ.

    Returns:
        Differences; none if every file is identical and the rows are the committed ones.
    """
    rows = list(_row_differences(expected["rows"], found["rows"], runs))
    files = {
        name: pair
        for name in sorted({*expected["files"], *found["files"]})
        if (pair := (expected["files"].get(name), found["files"].get(name)))[0] != pair[1]
    }
    if not rows and not files:
        return ()
    causes = [Difference("rows", line) for line in rows]
    libraries = [
        Difference("library version", line) for line in _changes(expected, found, "environment")
    ]
    fonts = [Difference("font", line) for line in _changes(expected, found, "fonts")]
    code = set(_changed(expected["code"], found["code"]))
    told = [
        Difference(
            _layer(name, pair, files, bool(rows), code, libraries, fonts), _spell(name, pair)
        )
        for name, pair in files.items()
    ]
    return (*causes, *libraries, *fonts, *told)


def _layer(
    name: str,
    pair: tuple[Any, Any],
    files: Mapping[str, Any],
    rows: bool,
    code: set[str],
    libraries: Sequence[Difference],
    fonts: Sequence[Difference],
) -> str:
    old, new = pair
    if old and new and old[1] == new[1]:
        return "time stamp"
    folder, file = name.split("/")
    stem = file.rsplit(".", 1)[0]
    drawn_only = (
        folder == "build" and not file.endswith(".csv") and f"{folder}/{stem}.csv" not in files
    )
    if rows and not drawn_only:
        return "rows"
    if stem in code:
        return "code"
    if libraries:
        return "library version"
    if fonts:
        return "font"
    return "unknown" if drawn_only else "values"


def _spell(name: str, pair: tuple[Any, Any]) -> str:
    old, new = pair
    if old is None:
        return f"{name} is not in the manifest"
    return f"{name} was not built" if new is None else f"{name} differs"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in sorted({*old, *new}) if old.get(name) != new.get(name))


def _changes(expected: Mapping[str, Any], found: Mapping[str, Any], part: str) -> Iterator[str]:
    old, new = expected[part], found[part]
    for name in _changed(old, new):
        yield f"{name} {old.get(name, 'absent')} in the manifest, {new.get(name, 'absent')} here"


def _row_differences(
    expected: Mapping[str, Any], found: Mapping[str, Any], runs: pd.DataFrame
) -> Iterator[str]:
    for study in _changed(expected, found):
        if study not in expected or study not in found:
            there = "only here" if study in found else "only in the manifest"
            yield f"{study}: the study is {there}"
            continue
        old, new = expected[study], found[study]
        columns = ", ".join(_changed(old["columns"], new["columns"]))
        own = runs[runs["study"] == study].sort_values("key", kind="stable")
        names = own[GROUP].agg(" · ".join, axis=1)
        for group in _changed(old["groups"], new["groups"]):
            before, after = (_split(side["groups"].get(group, "")) for side in (old, new))
            if len(before) != len(after):
                yield f"{study} {group}: {len(before)} runs in the manifest, {len(after)} here"
                continue
            members = own[names == group]
            pairs = zip(members["key"], members["repetition"], before, after, strict=True)
            for key, repetition, was, now in pairs:
                if was != now:
                    place = f"{study} {group}, repetition {repetition} (run {key[:12]})"
                    yield f"{place}: differs in {columns or 'what no column tells'}"
        if old["groups"] == new["groups"]:
            yield f"{study}: differs in {columns or 'the number of runs'}"


def _split(digits: str) -> list[str]:
    return [digits[i : i + RUN_DIGITS] for i in range(0, len(digits), RUN_DIGITS)]

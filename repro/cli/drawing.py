"""Drawing figures in parallel, one process per core; figures that are up to date are kept as they are."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pandas as pd

from repro.cli.shared import fault_of
from repro.report import digests, provenance
from repro.report.paper import Listed
from repro.results import Results, write_whole

SUFFIXES = ("csv", "pdf", "svg", "png")


def code_behind(name: str) -> str:
    """Return the digest of the code and the libraries that a figure or table is made with."""
    libraries = json.dumps(dict(digests.libraries()))
    # `figures` finds its modules by name, so the closure starts at the figure's own
    return digests.of(digests.of_module(f"figures.{name}"), libraries)


def read_json(path: Path) -> dict[str, Any]:
    """Return what a build noted about itself; nothing if that cannot be read, as it is only a cache."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """Return the digests of the files that are there."""
    return {suffix: digests.of_file(path) for suffix, path in files.items() if path.exists()}


class Drawing:
    """Figures being drawn: those out of date go to the pool, the others are kept as they are."""

    def __init__(self, results: Results, data: str, directory: Path, workers: int) -> None:
        """See which figures are out of date.

        Args:
            results: The tables.
            data: Digest of them.
            directory: Where the figures lie.
            workers: Processes that draw; 1 draws in this one.
        """
        import figures

        self.figures: dict[str, Listed] = {}
        self.drawn: list[str] = []
        self._results, self._directory = results, directory
        self._stamp = directory / ".digests.json"
        self._known = read_json(self._stamp)
        self._code = {name: code_behind(name) for name in figures.names()}
        self._inputs = {name: digests.of(data, code) for name, code in self._code.items()}
        waiting = [name for name in figures.names() if not self._is_current(name)]
        # figures whose rows decide how many panels they have take longest, so they come first
        self._waiting = sorted(waiting, key=lambda n: not hasattr(figures.module_of(n), "layout"))
        for name in set(figures.names()) - set(self._waiting):
            self.figures[name] = Listed.parse(self._known[name]["figure"])
        self._workers = min(workers, len(self._waiting))
        self._pool: ProcessPoolExecutor | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="repro-")
        self._futures: dict[str, Future[_Outcome]] = {}

    def __enter__(self) -> Drawing:
        if self._workers > 1:
            # through a file: sending them to each process would wait until it has started
            sent = Path(self._scratch.name) / "results"
            sent.write_bytes(pickle.dumps(self._results, pickle.HIGHEST_PROTOCOL))
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_receive,
                initargs=(sent,),
            )
            # if a process is lost already, the figures that wait for it report it
            with contextlib.suppress(BrokenProcessPool):
                for name in self._waiting:
                    self._futures[name] = self._pool.submit(
                        _draw, name, self._directory, self._values(name)
                    )
        return self

    def __exit__(self, *exception: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._scratch.cleanup()

    def wait(self) -> Iterator[tuple[int, int]]:
        """Collect the figures; yield how many are done, and of how many.

        Yields:
            Both numbers.

        Raises:
            OSError: If a process that draws was killed.
        """
        _received[:] = [self._results]
        total = len(self._waiting)
        yield 0, total
        for done, name in enumerate(self._waiting, 1):
            if name in self._futures:
                outcome = self._outcome(name)
            else:
                outcome = _draw(name, self._directory, self._values(name))
            self._keep(name, outcome)
            yield done, total
        if self._waiting:
            write_whole(self._stamp, json.dumps(self._known).encode())

    def _outcome(self, name: str) -> _Outcome:
        try:
            return self._futures[name].result()
        except BrokenProcessPool:
            raise OSError(
                f"expected the figure {name} from one of {self._workers} processes, found that one was killed, "
                "perhaps for lack of memory. Run it again, with `--workers 1` if need be."
            ) from None

    def showing(self, experiments: Sequence[tuple[str, str]]) -> tuple[str, ...]:
        """Return the figures that show rows of any of these experiments."""
        wanted = set(experiments)
        return tuple(
            name
            for name, figure in sorted(self.figures.items())
            if wanted & {(source.study, source.experiment) for source in figure.sources}
        )

    def _files(self, name: str) -> dict[str, Path]:
        return {suffix: self._directory / f"{name}.{suffix}" for suffix in SUFFIXES}

    def _is_current(self, name: str) -> bool:
        known = self._known.get(name, {})
        same = known.get("inputs") == self._inputs[name]
        return bool(same and known.get("files") == digests_of(self._files(name)))

    def _values(self, name: str) -> str:
        """Return the digest of the values that the files of a figure show, if its code drew them."""
        known = self._known.get(name, {})
        same = known.get("code") == self._code[name]
        return (
            known["values"] if same and known.get("files") == digests_of(self._files(name)) else ""
        )

    def _keep(self, name: str, outcome: _Outcome) -> None:
        figure = Listed(name, outcome.title, outcome.missing, outcome.sources)
        self.figures[name] = figure
        if outcome.drawn:
            self.drawn.append(name)
        self._known[name] = {
            "inputs": self._inputs[name],
            "code": self._code[name],
            "values": outcome.values,
            "files": digests_of(self._files(name)),
            "figure": dataclasses.asdict(figure),
        }


@dataclasses.dataclass(frozen=True)
class _Outcome:
    values: str
    drawn: bool
    title: str
    missing: str
    sources: tuple[provenance.Source, ...]


_received: list[Results] = []


def _receive(sent: Path) -> None:
    _received[:] = [pickle.loads(sent.read_bytes())]  # of our own making, just now


def _draw(name: str, directory: Path, known_values: str) -> _Outcome:
    try:
        return _drawn(name, directory, known_values)
    except Exception as error:
        # a module of a user can raise anything, and its traceback does not leave a process
        if fault := fault_of(error):
            raise ValueError(fault) from error
        raise


def _drawn(name: str, directory: Path, known_values: str) -> _Outcome:
    import figures

    (results,) = _received
    module = figures.module_of(name)
    rows, sources = provenance.watch(module.select, results)
    csv = figures.to_csv(rows)
    values = digests.of(csv)
    if values != known_values:
        figures.write(name, directory, {"csv": csv, **figures.render(module, rows)})
    title = figures.caption_of(module, rows)
    return _Outcome(values, values != known_values, title, _missing(rows), sources)


def _missing(rows: pd.DataFrame) -> str:
    """Say which parts of a figure show "not run"."""
    from figures.selection import NOT_OURS

    if "kind" not in rows:
        return "" if len(rows) else "all of it"
    absent = rows[rows["kind"] == "not run"]
    if absent.empty:
        return ""
    if rows["kind"].isin(NOT_OURS).all():
        return "all of it"
    places = (
        ": ".join(p for p in pair if p)
        for pair in zip(absent["panel"], absent["series"], strict=True)
    )
    return "; ".join(dict.fromkeys(places))

"""A group of runs as a file, and how one process works it off without a coordinator.

`repro tasks` writes such files; `repro worker` and every task of a cluster read them. A file says which runs belong
together and nothing else: where their finished runs and checkpoints are follows from their keys. So a file may be
worked off again, or by two processes at once, with the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from repro.execution.groups import CHECKPOINT_EVERY, Group
from repro.execution.workers import Ended, run_here
from repro.protocol import parse_run
from repro.results import RejectedFileError, Store, write_whole

SCHEMA = 1
"""Version of the files; any other is refused."""


def write_task(path: Path, group: Group) -> None:
    """Write a group as a file, whole or not at all.

    Args:
        path: The file; its folder must exist.
        group: Runs that belong together.
    """
    content = {"schema": SCHEMA, "runs": [spec.canonical_json() for spec in group]}
    write_whole(path, json.dumps(content).encode())


def read_task(path: Path) -> Group:
    """Return the group that a file holds.

    Args:
        path: A file that `write_task` wrote.

    Returns:
        The runs, in their order.

    Raises:
        RejectedFileError: If it is none.
    """
    expected = f"{path}: expected a file that `repro tasks` wrote"
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise RejectedFileError(f"{expected}. It cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise RejectedFileError(f"{expected}. Found one that is truncated or foreign.") from error
    match content:
        case {"schema": 1, "runs": [str(), *_] as runs} if all(isinstance(r, str) for r in runs):
            try:
                return tuple(map(parse_run, runs))
            except (ValueError, TypeError) as error:
                raise RejectedFileError(f"{expected}. {error}") from error
        case {"schema": found, "runs": _}:
            told = "no runs" if found == SCHEMA else f"schema {found!r}"
            raise RejectedFileError(
                f"{expected} with schema {SCHEMA}. Found {told}. Write it again."
            )
    raise RejectedFileError(f"{expected}. Found other JSON.")


def work_on(
    group: Group,
    store: Store,
    device: str,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    checkpoint_every: float = CHECKPOINT_EVERY,
) -> Ended:
    """Run what is missing of a group in this process.

    Args:
        group: Runs that belong together.
        store: Where finished runs and checkpoints are.
        device: `cpu` or `cuda`.
        should_stop: Whether to leave a checkpoint and stop.
        checkpoint_every: Seconds between two checkpoints, 0 for none.

    Returns:
        How it ended: with the statuses of the runs written now, or an error; with neither if it was
        stopped, or if nothing was missing.
    """
    try:
        if is_finished(group, store):
            return Ended(0)
    except RejectedFileError as error:
        return Ended(0, error=str(error))
    return run_here(0, group, store, device, lambda steps: None, should_stop, checkpoint_every)


def is_finished(group: Group, store: Store) -> bool:
    """Tell whether every run of a group is finished; a `RejectedFileError` names a file that cannot be used."""
    # every file is read: one that is damaged may stand behind one that is missing
    finished = [store.is_finished(spec.key) for spec in group]
    return all(finished)

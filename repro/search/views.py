"""Finished trials as Optuna shows them: studies in memory, and a journal for its dashboard."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from repro.protocol import SAMPLER, Comparison
from repro.search.asking import Scores, distributions, quiet
from repro.search.course import advance


def to_optuna(
    comparison: Comparison, scores: Scores, storage: optuna.storages.BaseStorage | None = None
) -> dict[str, optuna.Study]:
    """Return the finished trials of a comparison as Optuna studies, for `optuna.visualization`.

    A trial's value is the mean over its runs. Where the best trials are run again, the winner is the best of those whose
    attribute `final` is true; a trial that was run once may have a lower value by luck.

    Args:
        comparison: The searched experiment.
        scores: Looks finished runs up.
        storage: Where the studies are put; in memory by default.

    Returns:
        A study by method, named `study/experiment/scale/method`.
    """
    progress = advance(comparison, scores)
    prefix = (
        f"{comparison.study}/{comparison.experiment.name}"
        f"/{comparison.experiment.label(comparison.scale)}"
    )
    studies = {}
    for method, trials in progress.trials.items():
        with quiet():
            study = optuna.create_study(
                study_name=f"{prefix}/{method}", storage=storage, direction="minimize"
            )
        for trial in trials:
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(trial.values),
                    distributions=distributions(trial.space),
                    value=trial.score,
                    user_attrs={
                        "diverged": trial.diverged,
                        "final": trial.final,
                        "sampler": SAMPLER,
                    },
                )
            )
        studies[method] = study
    return studies


def write_journal(comparisons: Iterable[Comparison], scores: Scores, path: Path) -> None:
    """Write the finished trials of comparisons as a journal file, which `optuna-dashboard` opens.

    The file is only a view: it is written whole every time, and never read back.

    Args:
        comparisons: The searched experiments.
        scores: Looks finished runs up.
        path: The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}-{secrets.token_hex(8)}"
    try:
        backend = JournalFileBackend(str(temporary), JournalFileOpenLock(str(temporary)))
        storage = optuna.storages.JournalStorage(backend)
        for comparison in comparisons:
            to_optuna(comparison, scores, storage)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

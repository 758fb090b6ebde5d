"""A search as anybody would write it, to try `repro audit --optuna` and `--csv` on.

Two optimizers on a noisy quadratic, each an Optuna study, with pruning and two threads. It is not fair, and the audit
says where. `python examples/audit_optuna.py search.db trials.csv` writes a storage (a journal, if it is called
`x.journal`) and a table of the trials; `search.journal` and `trials.csv` here are of one such run.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable

import optuna
import pandas as pd
from optuna.storages.journal import JournalFileBackend


def train(rate: float, momentum: float, report: Callable[[int, float], None]) -> float:
    """Return the loss after 10 epochs of descent on a quadratic, infinite where it diverged."""
    position, velocity = 3.0, 0.0
    noise = random.Random(0)
    for epoch in range(10):
        velocity = momentum * velocity - rate * (2 * position + noise.gauss(0.0, 0.1))
        position += velocity
        if abs(position) > 1e6:
            return math.nan
        report(epoch, position**2)
    return position**2


def objective(momentum: float, high: float) -> Callable[[optuna.Trial], float]:
    """Return the objective of one optimizer."""

    def score(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("lr", 1e-5, high, log=True)

        def report(epoch: int, loss: float) -> None:
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        return train(rate, momentum, report)

    return score


def main(path: str, table: str | None = None) -> None:
    """Search both optimizers: the new one longer, and over a wider range; write a storage, and a table of trials."""
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    storage: str | optuna.storages.JournalStorage = f"sqlite:///{path}"
    if path.endswith(".journal"):
        storage = optuna.storages.JournalStorage(JournalFileBackend(path))
    frames = []
    for name, momentum, high, trials in (("plain", 0.0, 1e-2, 8), ("momentum", 0.9, 1.0, 24)):
        study = optuna.create_study(
            study_name=name, storage=storage, pruner=optuna.pruners.MedianPruner(n_startup_trials=5)
        )
        study.optimize(objective(momentum, high), n_trials=trials, n_jobs=2)
        frames.append(
            study.trials_dataframe(("number", "value", "params", "state")).assign(opt=name)
        )
    if table is not None:
        pd.concat(frames).to_csv(table, index=False)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Equal-budget search: Optuna proposes, the rows decide, and nothing else is remembered.

A search has no state of its own. Trials come from a scrambled Sobol sequence, asked for in fixed batches and
told in trial order, so its whole course follows from its declaration and the scores of finished runs:
`advance` replays it from these and says what has to be run next. Interrupted, resumed, repeated, or with any
number of workers, it proposes the same trials and never one more.

Only this package imports Optuna. `to_optuna` shows finished trials as Optuna studies, for
`optuna.visualization`, and `write_journal` as a file that `optuna-dashboard` opens.
"""

from repro.search.asking import Score, Scored, Scores
from repro.search.course import Progress, advance, is_near, refuse_other_searches
from repro.search.views import to_optuna, write_journal

__all__ = [
    "Progress",
    "Score",
    "Scored",
    "Scores",
    "advance",
    "is_near",
    "refuse_other_searches",
    "to_optuna",
    "write_journal",
]

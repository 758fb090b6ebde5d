"""Early stopping: a run ends once its validation loss has not fallen for a while, and its best epoch is kept.

The rule of Flügel et al. (2024, `nn_training/train.py`): after every evaluation, that of the start among them, the
validation loss is compared with the lowest so far; after as many evaluations in a row without a lower one the run
ends. Which epoch is then reported is not in their code, so both are: the last, and the one of the lowest
validation loss, whose parameters are kept for it.

Replicas end one by one. Those that have ended are trained on beside the others, since a stack costs the same, and
nothing of what becomes of them is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class EarlyStopping:
    """Follows the validation losses of `R` replicas."""

    def __init__(self, patience: int, limit: float, num_replicas: int) -> None:
        """Start with nothing seen.

        Args:
            patience: Evaluations in a row without a lower loss after which a replica ends; 0 for never.
            limit: Loss at or above which a replica counts as diverged; 0 for none but infinity.
            num_replicas: `R`.
        """
        self.patience, self.limit = patience, limit or torch.inf
        self.lowest = torch.full((num_replicas,), torch.inf, dtype=torch.float64)
        """Lowest validation loss of each replica, `(R,)`."""
        self.best_step = [0] * num_replicas
        """Step after which it was seen."""
        self._waited = [0] * num_replicas
        self._kept: list[Tensor] = []

    def note(
        self, step: int, losses: Tensor, running: Sequence[bool], tensors: Sequence[Tensor]
    ) -> tuple[list[int], list[int]]:
        """Take the validation losses after a step.

        Args:
            step: Updates made.
            losses: Shape `(R,)`.
            running: Which replicas have not ended.
            tensors: What was evaluated, each `(R, ...)`; copied where a loss is the lowest so far.

        Returns:
            The replicas that end here, and those that diverge here.
        """
        seen = losses.to("cpu", torch.float64)
        better = (seen < self.lowest) & torch.tensor(running)
        self.lowest = torch.where(better, seen, self.lowest)
        self._keep(better, tensors)
        ended, lost = [], []
        for replica, loss in enumerate(seen.tolist()):
            if not running[replica]:
                continue
            if better[replica]:
                self.best_step[replica], self._waited[replica] = step, 0
            else:
                self._waited[replica] += 1
            if not loss < self.limit:
                lost.append(replica)
            elif 0 < self.patience <= self._waited[replica]:
                ended.append(replica)
        return ended, lost

    def _keep(self, better: Tensor, tensors: Sequence[Tensor]) -> None:
        if not self._kept:
            self._kept = [tensor.clone() for tensor in tensors]
        elif better.any():
            rows = better.nonzero().squeeze(1).to(tensors[0].device)
            for kept, tensor in zip(self._kept, tensors, strict=True):
                kept[rows] = tensor[rows]

    def best(self) -> list[Tensor]:
        """Return what was evaluated where each replica's loss was lowest, each `(R, ...)`."""
        return self._kept

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all that `restore` takes, on the CPU."""
        return {
            "lowest": self.lowest.clone(),
            "best_step": list(self.best_step),
            "waited": list(self._waited),
            "kept": [tensor.to("cpu", copy=True) for tensor in self._kept],
        }

    def restore(self, state: Mapping[str, Any], like: Tensor) -> None:
        """Go on from a state that was kept.

        Args:
            state: Of `state_dict`.
            like: A tensor on the device where what is evaluated lies.
        """
        self.lowest = state["lowest"]
        self.best_step, self._waited = list(state["best_step"]), list(state["waited"])
        self._kept = [tensor.to(like.device, copy=True) for tensor in state["kept"]]

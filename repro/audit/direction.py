"""Are larger scores better? If the user does not say, the name of the score may."""

from __future__ import annotations

import re

GAINS = {
    "acc", "accuracy", "acc1", "acc5", "top1", "top5", "auc", "auroc", "auprc", "roc", "f1", "f1score", "precision", "recall",
    "map", "ap", "iou", "miou", "dice", "bleu", "rouge", "psnr", "ssim", "r2", "reward", "return", "returns", "correct",
    "kappa", "mcc", "ndcg", "mrr", "elo",
}  # fmt: skip
"""Words in the names of scores for which larger is better."""
LOSSES = {
    "loss", "losses", "err", "error", "errors", "mse", "rmse", "mae", "mape", "nll", "bce", "ce", "ppl", "perplexity", "regret",
    "cost", "wer", "cer", "fid", "deviance", "bpb", "bpc", "bpd", "crossentropy", "entropy", "residual", "distance", "energy",
    "misclassification", "risk", "logloss",
}  # fmt: skip
"""Words in the names of scores for which smaller is better."""
SKLEARN = re.compile(r"(mean|split\d+)_(test|train)_\w+|neg_\w+")
"""What scikit-learn calls its scores, for which larger is always better."""


def by_name(column: str) -> bool | None:
    """Return whether the name of a score says that larger is better; `None` if it says neither."""
    words = set(re.split(r"[\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", column).lower()))
    # scikit-learn's names come first: it turns a loss so that larger is better
    if SKLEARN.search(column.lower()):
        return True
    if words & LOSSES:
        return False
    return True if words & GAINS else None


def is_gain(column: str, *, maximise: bool | None, name: str) -> tuple[bool, str]:
    """Return whether larger scores are better, and a note if that was assumed.

    Args:
        column: What the score is called.
        maximise: What the user says, if anything.
        name: What to call the file.

    Returns:
        Whether they are; and the note, empty if the user or the name of a loss says so.

    Raises:
        ValueError: If the score's name says that larger is better, and the user does not say it.
    """
    if maximise is not None:
        return maximise, ""
    gain = by_name(column)
    if gain:
        raise ValueError(
            f"{name}: the score {column!r} is larger where it is better, by its name. Say `--maximise`, or `--minimise` "
            "if that is not so."
        )
    if gain is not None:
        return False, ""
    return False, f"smaller values of {column!r} are taken for better ones; `--maximise` turns that"

"""A network trained to classify images: data on the device, splits and batches per repetition.

There is no loader: images lie on the device as one tensor, a mini-batch is one gather, and an epoch is one
permutation of the training split drawn from the repetition's own generator.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from repro import datasets, models, protocol
from repro.autodiff import Layered, Params
from repro.protocol import Replica

EVALUATION_BATCH = 1_000
"""Images evaluated at once; bounds the memory of an evaluation, changes no number."""


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of examples in nats.

    Args:
        logits: Shape `(..., classes)`.
        labels: Shape `(...)`.

    Returns:
        Shape `(...)`.
    """
    losses = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return losses.view(labels.shape)


def clamped_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of probabilities clamped to `[eps, 1 - eps]`, in nats.

    `eps` is the spacing of the floating-point type at one, so that in float32 a loss lies in
    [1.19e-7, 15.942]; outside the range it is flat, and an example there gives no derivative (the loss
    of the forward-gradient runs of Rike & Førland 2022).

    Args:
        logits: Shape `(..., classes)`.
        labels: Shape `(...)`.

    Returns:
        Shape `(...)`.
    """
    eps = torch.finfo(logits.dtype).eps
    probabilities = logits.softmax(-1).gather(-1, labels[..., None]).squeeze(-1)
    return -probabilities.clamp(eps, 1.0 - eps).log()


LOSSES = {"cross_entropy": cross_entropy, "clamped_cross_entropy": clamped_cross_entropy}


class ClassificationProblem:
    """Images, labels, a network and its loss, for stacked replicas."""

    def __init__(
        self, declared: protocol.Classification, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Load the data onto the device and build the network.

        Args:
            declared: The declaration.
            device: Where data and parameters live.
            dtype: Floating-point type.

        Raises:
            ValueError: If the declaration names a loss, network, validation or batch size that cannot be.
        """
        if declared.loss not in LOSSES:
            raise ValueError(f"Unknown loss {declared.loss!r}. Choose from: {', '.join(LOSSES)}.")
        self.loss = LOSSES[declared.loss]
        self.declared = declared
        self.device, self.dtype = device, dtype
        self.dataset = datasets.load(declared.dataset)
        images = self.dataset.train_images
        available = images.shape[0] - declared.validation_size
        if not 1 <= declared.validation_size < images.shape[0]:
            raise ValueError(
                f"`validation_size` must be in [1, {images.shape[0] - 1}], of the training images of {declared.dataset}: losses "
                f"are judged on that split, and the rest is trained on. Found {declared.validation_size}."
            )
        if not 1 <= declared.batch_size <= available:
            raise ValueError(
                f"`batch_size` must be in [1, {available}], the training split of "
                f"{declared.dataset}. Found {declared.batch_size}."
            )
        there = images.to(device)  # as bytes: a quarter of what is sent
        scale = functools.partial(
            datasets.scale_inputs, scaling=declared.input_scaling, reference=there
        )
        self.train_images = scale(there).to(dtype)
        self.train_labels = self.dataset.train_labels.to(device)
        self.test_images = scale(self.dataset.test_images.to(device)).to(dtype)
        self.test_labels = self.dataset.test_labels.to(device)
        self.network = models.build(
            declared.network.name,
            tuple(images.shape[1:]),
            self.dataset.num_classes,
            **declared.network.options(),
        )
        # not `functools.cache` of a method: the cycle would keep the images until a garbage collection
        self._splits: dict[Replica, datasets.Split] = {}
        whole, rest = divmod(available, declared.batch_size)
        self.steps_per_epoch = whole + (0 if declared.drop_last else rest > 0)

    def _generator(self, purpose: str, replica: Replica) -> torch.Generator:
        seed = protocol.derive_seed(purpose, self.declared.name, replica.role, replica.repetition)
        return torch.Generator().manual_seed(seed)

    def _split(self, replica: Replica) -> datasets.Split:
        if replica not in self._splits:
            generator = self._generator("split", replica)
            size = self.declared.validation_size
            self._splits[replica] = datasets.split(self.dataset, size, generator)
        return self._splits[replica]

    def start(self, replicas: Sequence[Replica]) -> Params:
        """Return initial parameters, leaves `(R, ...)`, drawn per repetition."""
        generators = [self._generator("start", replica) for replica in replicas]
        return self.network.start(generators, self.dtype, self.device)

    def statistics(self, num_replicas: int) -> dict[str, Tensor]:
        """Return the network's running statistics before any step, leaves `(R, ...)`; none for most networks."""
        return self.network.statistics(num_replicas, self.dtype, self.device)

    def batches(self, replicas: Sequence[Replica]) -> Iterator[Tensor]:
        """Yield the mini-batches of training, epoch after epoch.

        Args:
            replicas: One a stacked run; replicas of one repetition see the same batches.

        Yields:
            Rows of the training images, `(R, n)`, for `objective`.
        """
        size = self.declared.batch_size
        # replicas of one repetition, as the trials of a search are, share their order
        alone = list(dict.fromkeys(replicas))
        shared = [alone.index(replica) for replica in replicas]
        order = [self._generator("order", replica) for replica in alone]
        rows = [self._split(replica).train for replica in alone]
        end = rows[0].shape[0]
        last = end - end % size if self.declared.drop_last else end
        while True:
            permuted = [
                row[torch.randperm(end, generator=generator)]
                for row, generator in zip(rows, order, strict=True)
            ]
            # all at once, when all are drawn: what is sent to a GPU waits until it has done what it was given
            epoch = torch.stack(permuted).to(self.device)
            if len(alone) < len(replicas):
                epoch = torch.stack([epoch[index] for index in shared])
            for begin in range(0, last, size):
                yield epoch[:, begin : min(begin + size, last)]

    def objective(self, rows: Tensor) -> Layered:
        """Return the mean loss on given examples as a function of the parameters, block by block.

        Args:
            rows: Rows of the training images, `(R, n)`.

        Returns:
            A function from leaves `(R, ...)` to losses `(R,)`.
        """
        images, labels = self.train_images[rows], self.train_labels[rows]
        return self.network.objective(images, lambda logits: self.loss(logits, labels))

    @torch.no_grad()
    def evaluate(
        self, params: Params, replicas: Sequence[Replica], split: str
    ) -> dict[str, Tensor]:
        """Return loss and accuracy over all examples of a split, each `(R,)`.

        Args:
            params: Leaves `(R, ...)`, with the running statistics of a network that has some.
            replicas: One a stacked run; they decide the validation examples.
            split: `training`, `validation` or `test`.

        Returns:
            `loss`, the mean loss in nats, and `accuracy`, a fraction; summed in float64.

        Raises:
            ValueError: If the split is none of these.
        """
        rows = self._rows(replicas, split)
        losses, correct = self._judge(params, rows, split)
        return {
            "loss": losses.sum(1, dtype=torch.float64) / rows.shape[1],
            "accuracy": correct.sum(1, dtype=torch.float64) / rows.shape[1],
        }

    @torch.no_grad()
    def look_at_test(
        self, params: Params, replicas: Sequence[Replica], step: int
    ) -> dict[str, Tensor]:
        """Return what a paper that looks at the test split while it trains would print, each `(R,)`.

        Args:
            params: As of `evaluate`.
            replicas: One a stacked run; they decide the order of the test images, with the step.
            step: The step after which this is.

        Returns:
            As `evaluate`, and `last_batch_loss`: the mean loss over the last mini-batch alone of a
            shuffled pass, the slip of Rike & Førland (2022), who print the loss of 16 images.
        """
        rows = self._rows(replicas, "test")
        losses, correct = self._judge(params, rows, "test")
        num = rows.shape[1]
        last = num % self.declared.batch_size or self.declared.batch_size
        chosen = torch.stack(
            [torch.randperm(num, generator=self._generator(f"test order {step}", replica))[:last]
             for replica in replicas]
        ).to(self.device)  # fmt: skip
        return {
            "loss": losses.mean(1, dtype=torch.float64),
            "accuracy": correct.mean(1, dtype=torch.float64),
            "last_batch_loss": losses.gather(1, chosen).mean(1, dtype=torch.float64),
        }

    def _rows(self, replicas: Sequence[Replica], split: str) -> Tensor:
        if split not in ("training", "validation", "test"):
            raise ValueError(f"Unknown split {split!r}. Choose from: training, validation, test.")
        if split == "test":
            return torch.arange(self.test_labels.shape[0]).expand(len(replicas), -1)
        splits = [self._split(replica) for replica in replicas]
        return torch.stack([s.train if split == "training" else s.validation for s in splits])

    def _judge(self, params: Params, rows: Tensor, split: str) -> tuple[Tensor, Tensor]:
        """Return losses and correctness of every example, `(R, n)`."""
        assert isinstance(params, dict)
        on_test = split == "test"
        images = self.test_images if on_test else self.train_images
        labels = self.test_labels if on_test else self.train_labels
        losses, correct = [], []
        for chunk in torch.split(rows.to(self.device), EVALUATION_BATCH, dim=1):
            logits = self.network(params, images[chunk])
            losses.append(self.loss(logits, labels[chunk]))
            correct.append(logits.argmax(-1) == labels[chunk])
        return torch.cat(losses, dim=1), torch.cat(correct, dim=1)

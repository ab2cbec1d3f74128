"""The data of a training, in parts: what is learnt from, what epochs are compared on, what nothing was seen of."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xai.data.dataset import DataSet, Skipped, check_any_read, digest_of
from xai.errors import UsageError
from xai.models.model import Model
from xai.runtime import Runtime

HELD_OUT, VALIDATION = 5, 10  # one of so many
MOST_VALIDATION = 500  # more would take longer than they tell
IN_MEMORY = 4 * 2**30  # bytes of images; more are read again in every epoch
CHUNK = 256
HELD_OUT_MOST = 2**30  # bytes of held-out images that are written


@dataclass(frozen=True)
class Split:
    """The three parts.

    Args:
        training: learnt from.
        validation: what epochs are compared on.
        held_out: what the outcome is measured on.
        split_off: whether the held-out part comes from the same data.
    """

    training: DataSet
    validation: DataSet
    held_out: DataSet
    split_off: bool


def split(data: DataSet, held: DataSet | None, runtime: Runtime) -> Split:
    """Return data in parts, drawn by the run's seed.

    Args:
        data: with labels.
        held: images that nothing was seen of; default a fifth of the data.
        runtime: of the seed.

    Raises:
        UsageError: entries have no label, or there are too few.
    """
    data.require_labels()
    if held is not None:
        held.require_labels()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(runtime.seed)).tolist()
    own = 0 if held is not None else len(data) // HELD_OUT
    compared = min(MOST_VALIDATION, (len(data) - own) // VALIDATION)
    if not compared or (held is None and not own):
        least = VALIDATION if held is not None else VALIDATION * HELD_OUT // (HELD_OUT - 1)
        raise UsageError(
            f"{data.source} holds {len(data)} images; expected at least {least}: some are held out to compare epochs, "
            "and to measure the outcome"
        )
    taken, watched, rest = order[:own], order[own : own + compared], order[own + compared :]
    return Split(
        data.taken(sorted(rest), ""),
        data.taken(sorted(watched), ""),
        held if held is not None else data.taken(sorted(taken), f"{own} of {len(data)} entries were held out"),
        held is None,
    )


class Loaded:
    """Images that are trained on: in memory, or read again batch by batch where they are too many.

    Args:
        data: with labels.
        device: where batches go.
        runtime: is told of progress.

    Raises:
        RefusedFileError: none could be read.
        UsageError: they are of one class only.
    """

    def __init__(self, data: DataSet, device: torch.device, runtime: Runtime) -> None:
        self._data, self._device = data, device
        whole = 4 * len(data) * int(np.prod(data.input.shape)) <= IN_MEMORY
        inputs, labels, digests = [], [], []
        self.places: list[int] = []
        self.skipped: list[Skipped] = []
        self.seen: set[str] = set()  # digests of the images
        for part in data.shards(CHUNK):
            shard = data.read_many(part)
            self.places += shard.indices
            labels += [_label(label, data) for label in shard.labels]
            digests.append(shard.digests)
            self.seen |= {sample.digest for sample in shard.samples}
            self.skipped += shard.skipped
            inputs += [shard.inputs.clone()] if whole else []
            runtime.progress("reading", part.stop, len(data))
        check_any_read(data, self.skipped)
        self.digest = digest_of(digests)
        self.labels = torch.tensor(labels, device=device)
        self._inputs = torch.cat(inputs) if whole else None

    def __len__(self) -> int:
        """Return how many could be read."""
        return len(self.places)

    def take(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (n, ...) in input units and labels (n,)."""
        if self._inputs is not None:
            inputs = self._inputs[indices]
        else:
            inputs = self._data.read_many([self.places[index] for index in indices]).inputs
        return inputs.to(self._device), self.labels[indices]

    def all(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return all of them."""
        return self.take(range(len(self)))


def check_classes(labels: torch.Tensor, model: Model, source: str) -> tuple[str, ...]:
    """Raise UsageError where there is nothing to tell apart; return what must be said of the classes.

    Args:
        labels: (n,) of the images that are trained on.
        model: whose classes they are.
        source: of the data, as the user wrote it.
    """
    there = sorted(set(labels.tolist()))
    if len(there) < 2:
        only = model.answers[there[0]]
        raise UsageError(
            f"all images of {source} that are trained on are of one class, {only!r}; expected at least two classes"
        )
    missing = [name for index, name in enumerate(model.answers) if index not in there]
    if not missing:
        return ()
    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return (f"no image that is trained on is of {shown}: the network forgets what it knew of it",)


def archived(part: Loaded) -> bytes | None:
    """Return images and labels as an .npz file that every verb reads; None if it would be large.

    Pixels are bytes where that loses nothing.
    """
    x, labels = part.all()
    inputs = x.cpu().numpy()
    pixels = np.round(inputs * 255)
    if inputs.ndim == 4 and inputs.shape[1] in (1, 3) and np.array_equal((pixels / 255).astype(np.float32), inputs):
        inputs = np.ascontiguousarray(np.moveaxis(pixels.astype(np.uint8), 1, 3))
        inputs = inputs[..., 0] if inputs.shape[3] == 1 else inputs
    if inputs.nbytes > HELD_OUT_MOST:
        return None
    content = io.BytesIO()
    np.savez_compressed(content, x=inputs, y=labels.cpu().numpy())
    return content.getvalue()


def _label(label: int | None, data: DataSet) -> int:
    if label is None:
        raise UsageError(f"labels are needed, and an entry of {data.source} has none")
    return label

"""One pass over a data set: in batches, of which only the highest so far and some entries' features are kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from xai.data.dataset import DataSet, Shard, Skipped, check_any_read, digest_of
from xai.data.labels import NONE
from xai.errors import AnalysisError
from xai.models.features import BATCH, Place, kept
from xai.models.graph import Tapped
from xai.models.model import Model
from xai.robustness.ood.features import content_keys
from xai.runtime import Runtime

MOST = 10_000  # entries whose features are kept, to compare the data with themselves
BLOCK = 512  # of them that are compared with all at once


@dataclass(frozen=True)
class Seen:
    """What the network holds for some inputs.

    Args:
        directions: (n, d) float32, features at length one; (n, 0) where none are looked at.
        means: (n, channels) float64, of a layer over places; (n, 0) where none is looked at.
        answers: (n,) int64, places among the model's answers.
        usable: (n,) bool, whether all of it are numbers.
    """

    directions: torch.Tensor
    means: torch.Tensor
    answers: torch.Tensor
    usable: torch.Tensor


@dataclass(frozen=True)
class Eye:
    """What looks at inputs.

    Args:
        model: with a graph.
        features: where features are read, None: nowhere.
        layer: whose channels are looked at, None: none.
    """

    model: Model
    features: Place | None
    layer: Place | None

    def see(self, x: torch.Tensor) -> Seen:
        """Look at inputs (n, ...), in one forward pass."""
        values: dict[str, torch.Tensor] = {}
        nodes = [place.node for place in (self.features, self.layer) if place is not None]
        with torch.no_grad():
            outputs = Tapped(self.model.needed_graph().module, kept(values, nodes)).run(x.to(self.model.device))
            rows, means = (
                torch.zeros((len(x), 0), dtype=torch.float64)
                if place is None
                else place.pooled(values[place.node]).cpu()
                for place in (self.features, self.layer)
            )
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=1e-12)
        usable = outputs.isfinite().all(1).cpu() & rows.isfinite().all(1) & means.isfinite().all(1)
        return Seen((rows / length).float(), means, answers_of(self.model, outputs), usable)


def answers_of(model: Model, outputs: torch.Tensor) -> torch.Tensor:
    """Return which of the model's answers outputs (n, classes) give, (n,) int64."""
    if len(model.answers) == outputs.shape[1]:
        return outputs.argmax(1).cpu()
    return torch.tensor([int(model.answer(row) == model.classes[0]) for row in outputs])


class Top:
    """The highest values of some rows, kept while they come; of equal ones those that came first.

    Args:
        rows: how many.
        count: that are kept of each.
    """

    def __init__(self, rows: int, count: int) -> None:
        self._count = count
        self.values = torch.zeros((rows, 0), dtype=torch.float64)
        self.places = torch.zeros((rows, 0), dtype=torch.int64)

    def add(self, values: torch.Tensor, places: torch.Tensor) -> None:
        """Look at values (rows, n) of the places (n,)."""
        together = torch.cat([self.values, values.double()], dim=1)
        where = torch.cat([self.places, places.expand(len(values), -1)], dim=1)
        order = together.argsort(dim=1, descending=True, stable=True)[:, : self._count]
        self.values, self.places = together.gather(1, order), where.gather(1, order)


@dataclass
class Reading:
    """What a pass over the data keeps.

    Args:
        data: that are read.
        eye: that looks at them.
        asked: (m, d) directions of the inputs.
        keys: (m,) of the inputs, see `content_keys`.
        channels: of the layer, that are looked at.
        near: the entries that are most alike, by input.
        strong: the entries with the highest mean, by channel.
        runtime: seed, memory, progress.
    """

    data: DataSet
    eye: Eye
    asked: torch.Tensor
    keys: torch.Tensor
    channels: Sequence[int]
    near: Top
    strong: Top
    runtime: Runtime
    labels: np.ndarray = field(init=False)  # (entries,) NONE where not known
    answers: np.ndarray = field(init=False)  # (entries,) NONE where not read
    same: dict[int, list[int]] = field(default_factory=dict)  # entries that are an input's very picture
    skipped: list[Skipped] = field(default_factory=list)
    pictures: dict[int, np.ndarray] = field(default_factory=dict)  # thumbnails of the entries that are shown
    unusable: int = 0  # entries whose outputs or features are no numbers
    _digests: list[bytes] = field(default_factory=list)
    _rows: list[torch.Tensor] = field(default_factory=list)
    _row_keys: list[torch.Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.labels, self.answers = (np.full(len(self.data), NONE, dtype=np.int32) for _ in range(2))

    def run(self) -> None:
        """Read the data.

        Raises:
            RefusedFileError: no entry could be read.
            AnalysisError: the network gives numbers for none.
        """
        for indices in self.data.shards(BATCH):
            self.runtime.progress("reading the reference", indices.start, len(self.data))
            part = self.data.read_many(indices)
            self.skipped += part.skipped
            self._digests.append(part.digests)
            with self.runtime.seeded("reference", str(indices.start)):
                self._look(part)
        check_any_read(self.data, self.skipped)
        if not self.read:
            raise AnalysisError("the network gives NaN or infinite values for every entry of the reference")

    @property
    def digest(self) -> str:
        """sha256 of what was read."""
        return digest_of(self._digests)

    @property
    def read(self) -> int:
        """How many entries were looked at."""
        return int((self.answers != NONE).sum())

    @cached_property
    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """How alike the nearest entry is that is another picture: of each input (m,), and of the kept entries (n,).

        Of both it is looked for among the entries that are kept; -inf where there is no other picture.
        """
        rows = torch.cat([*self._rows, self.asked[:0]]).double()
        keys = torch.cat([*self._row_keys, self.keys[:0]])
        asked = _nearest(self.asked.double(), self.keys, rows, keys)
        own = [
            _nearest(some, names, rows, keys) for some, names in zip(rows.split(BLOCK), keys.split(BLOCK), strict=True)
        ]
        return asked.numpy(), torch.cat([*own, asked[:0]]).numpy()

    def others(self, place: int) -> np.ndarray:
        """Return how alike the nearest other is of each kept entry that has one and is not the very input (n,)."""
        own = self.nearest[1]
        is_other = (torch.cat([*self._row_keys, self.keys[:0]]) != self.keys[place]).numpy()
        found: np.ndarray = own[is_other & np.isfinite(own)]
        return found

    def _look(self, part: Shard) -> None:
        size = self.runtime.batch(self.eye.model.bytes_per_input, BATCH)
        for place in range(0, len(part.samples), size):
            indices = torch.tensor(part.indices[place : place + size])
            x = part.inputs[place : place + size]
            seen, keys = self.eye.see(x), content_keys(x)
            self._note(seen, keys, indices)
            for index, sample in zip(indices.tolist(), part.samples[place : place + size], strict=True):
                self.labels[index] = NONE if sample.label is None else sample.label

    def _note(self, seen: Seen, keys: torch.Tensor, indices: torch.Tensor) -> None:
        usable = seen.usable
        self.unusable += int((~usable).sum())
        places = indices[usable]
        self.answers[places.numpy()] = seen.answers[usable].numpy()
        directions = seen.directions[usable]
        self.near.add(self.asked.double() @ directions.double().T, places)
        self.strong.add(seen.means[usable][:, self.channels].T, places)
        for mine, theirs in (self.keys[:, None] == keys[usable]).nonzero().tolist():
            self.same.setdefault(mine, []).append(int(places[theirs]))
        chosen = self._is_kept(places)
        self._rows.append(directions[chosen])
        self._row_keys.append(keys[usable][chosen])

    def _is_kept(self, places: torch.Tensor) -> torch.Tensor:
        """Say of which entries the features are kept: of all, or of so many that are spread evenly."""
        total = max(len(self.data), MOST)
        return places * MOST // total != (places - 1) * MOST // total

    def shown(self) -> Iterator[int]:
        """Yield the entries that are shown, each once."""
        yield from dict.fromkeys([*self.near.places.flatten().tolist(), *self.strong.places.flatten().tolist()])


def _nearest(wanted: torch.Tensor, names: torch.Tensor, rows: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """Return the highest cosine of directions (m, d) with those of other pictures (n, d): (m,)."""
    alike = (wanted @ rows.T).masked_fill(names[:, None] == keys, -torch.inf)
    return torch.cat([alike, torch.full((len(wanted), 1), -torch.inf, dtype=alike.dtype)], dim=1).amax(1)

"""Data sets: opened at once, read by index and in shards, by any number of processes.

    data = open_data("photos/", model).limited(1000)
    for shard in data.shards(256):
        part = data.read_many(shard)        # part.inputs (n, *shape), part.samples, part.skipped

A data set is picklable, and holds a list of entries and no picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.data.contents import Content, Entry
from xai.data.kinds.base import open_content
from xai.data.labels import NONE, Label, WrongLabelError, class_indices, resolved
from xai.data.samples import Sample
from xai.errors import RefusedFileError, UsageError, XaiError
from xai.models.card import Input
from xai.models.images import Prepared, prepare, prepare_mask
from xai.models.model import Model
from xai.models.safety import sha256
from xai.text import storable


@dataclass(frozen=True)
class Skipped:
    """An entry that could not be read.

    Args:
        index: of the entry in its data set.
        id: what the entry is called.
        source: where it comes from.
        reason: why, in one line.
    """

    index: int
    id: str
    source: str
    reason: str


@dataclass(frozen=True)
class Shard:
    """What was read of some entries, in their order.

    Args:
        indices: of those that could be read.
        samples: those; their inputs are views of `inputs`.
        inputs: (len(samples), *shape) float32 in input units.
        skipped: those that could not be read.
        digests: 32 bytes for each entry, read or skipped; see `digest_of`.
    """

    indices: tuple[int, ...]
    samples: tuple[Sample, ...]
    inputs: torch.Tensor
    skipped: tuple[Skipped, ...]
    digests: bytes

    @property
    def labels(self) -> tuple[int | None, ...]:
        """The class of each sample, None where it is not known."""
        return tuple(sample.label for sample in self.samples)


@dataclass(frozen=True, eq=False)
class DataSet:
    """Inputs for a model, by index from 0. See `open_data`.

    Args:
        content: the entries.
        input: what the model takes.
        classes: that labels name: the model's answers.
        source: what was opened, as the user wrote it.
        kind: what kind of data it is.
        notes: what must be said of the whole: what was left out, which part was taken.
        labels: (entries,) int32, the class of each entry, NONE where it has none; None if they are told one by one.
        chosen: the entries that are taken, rising.
        foreign: whether the labels are no classes of the model: no sample has one, parts are taken evenly from them.
    """

    content: Content
    input: Input
    classes: tuple[str, ...]
    source: str
    kind: str
    notes: tuple[str, ...]
    labels: np.ndarray | None
    chosen: Sequence[int] | np.ndarray
    foreign: bool = False

    def __len__(self) -> int:
        return len(self.chosen)

    def id(self, index: int) -> str:
        """Return what an entry is called, without reading it: unique, and the same wherever the data lie."""
        return self.content.id(self._place(index))

    def read(self, index: int) -> Sample:
        """Read one entry.

        Raises:
            RefusedFileError: it is damaged, unsafe, or no input of the model.
            UsageError: its file does not exist, it does not fit the model, or its label is no class of the model.
            OSError: its file cannot be had from the system.
        """
        place = self._place(index)
        entry = self.content.entry(place)
        path = Path(entry.image) if isinstance(entry.image, str | Path) else None
        prepared = prepare(entry.image, self.input)
        digest = entry.digest or (sha256(path) if path else _digest(prepared.tensor))
        mask = self.content.mask(place)
        sample = self._sample(place, digest, replace(prepared, treatments=(*entry.treatments, *prepared.treatments)))
        return replace(
            sample, label=self._label(place, entry), mask=None if mask is None else prepare_mask(mask, self.input)
        )

    def read_many(self, indices: Sequence[int]) -> Shard:
        """Read entries; what cannot be read is listed and never stops the others.

        The samples are those that `read` gives, many times faster where the data are an array of the model's own size.

        Args:
            indices: of `shards`, or any others, each from 0 to len - 1.

        Raises:
            UsageError: a label, told only by the entry itself, is no class of the model.
        """
        together = self._together(indices)
        return together if together is not None else self._one_by_one(indices)

    def shards(self, size: int) -> list[range]:
        """Return the fixed ranges of indices, `size` entries each, that together are the data set."""
        if size < 1:
            raise UsageError(f"expected shards of at least 1 entry, received {size}")
        return [range(start, min(start + size, len(self))) for start in range(0, len(self), size)]

    def limited(self, count: int | None) -> DataSet:
        """Return a part of that many entries: the first ones; of a folder a class the first ones of each.

        Nothing is drawn, so it is the same part each time. Files of pictures come in the order of their names, arrays
        and manifests as they are written. Where a folder a class gives the labels, the first of each class are taken,
        then the second of each and so on, since the first ones of all would be of one class. The order stays.

        Raises:
            UsageError: the count is below 1.
        """
        if count is not None and count < 1:
            raise UsageError(f"expected a limit of at least 1, received {count}")
        if count is None or count >= len(self):
            return self
        even = self.content.spread and self.labels is not None
        places = np.asarray(self.chosen)
        part = places[_evenly(self.labels[places], count)] if even and self.labels is not None else places[:count]
        how = "the first of each class" if even else "the first"
        note = f"{count} of {len(self)} entries were taken: {how}"
        return replace(self, chosen=part, notes=(*self.notes, note))

    def taken(self, indices: Sequence[int], note: str) -> DataSet:
        """Return a part: the entries of some indices, in that order.

        Args:
            indices: each from 0 to len - 1.
            note: what must be said of the part, "" for nothing.
        """
        chosen = np.asarray(self.chosen)[np.asarray(indices, dtype=np.int64)]
        return replace(self, chosen=chosen, notes=(*self.notes, note) if note else self.notes)

    def require_labels(self) -> None:
        """Raise UsageError, with what to do, unless every entry has a label, as far as that is known unread."""
        if self.labels is not None and not self.foreign:
            missing = int((self.labels[np.asarray(self.chosen)] == NONE).sum())
        else:
            missing = 0 if self._first_is_labelled() else len(self)
        if missing:
            where = f"{missing} of {len(self)} entries" if missing < len(self) else "the entries"
            raise UsageError(
                f"labels are needed, and {where} of {self.source} have none; give a folder with a sub-folder a class, "
                "a CSV file with columns path and label, or the file of labels"
            )

    @cached_property
    def listing(self) -> str:
        """sha256 of what is known unread: ids, labels, groups, sizes and times of writing of files.

        Equal listings let a killed run go on; that the same was read in both, `digest_of` says.
        """
        sha = hashlib.sha256(f"{self.kind}\0{len(self)}\0".encode())
        for place in map(int, self.chosen):
            label = "" if self.labels is None else self.labels[place]
            known = (self.content.id(place), label, self.content.group(place) or "", self.content.stamp(place))
            sha.update("\0".join(map(str, known)).encode("utf-8", "backslashreplace") + b"\n")
        return sha.hexdigest()

    def _place(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise UsageError(f"there is no entry {index}; {self.source} has {len(self)}, from 0 to {len(self) - 1}")
        return int(self.chosen[index])

    def _sample(self, place: int, digest: str, prepared: Prepared) -> Sample:
        return Sample(
            id=self.content.id(place),
            source=self.content.source(place),
            digest=digest,
            input=prepared.tensor,
            treatments=prepared.treatments,
            label=self._label(place, None),
            group=self.content.group(place),
        )

    def _label(self, place: int, entry: Entry | None) -> int | None:
        if self.foreign:
            return None
        if self.labels is not None:
            index = int(self.labels[place])
        else:
            written = entry.label if entry else None
            index = _class(written, self.classes, f"{self.source}, {self.content.id(place)}")
        return None if index == NONE else index

    def _together(self, indices: Sequence[int]) -> Shard | None:
        places = [self._place(index) for index in indices]
        found = self.content.many(places, self.input) if places else None
        if found is None:
            return None
        prepared, digests = found
        samples = [
            self._sample(place, digest, Prepared(tensor, prepared.treatments))
            for place, digest, tensor in zip(places, digests, prepared.tensor, strict=True)
        ]
        return Shard(
            tuple(indices), tuple(samples), prepared.tensor, (), b"".join(_entry_digest(sample) for sample in samples)
        )

    def _one_by_one(self, indices: Sequence[int]) -> Shard:
        inputs = torch.empty((len(indices), *self.input.shape))
        samples: list[Sample] = []
        read: list[int] = []
        skipped: list[Skipped] = []
        digests: list[bytes] = []
        for index in indices:
            try:
                sample = self.read(index)
            except WrongLabelError:
                raise
            except (XaiError, OSError, ValueError) as error:
                skipped.append(self._skipped(index, error))
                digests.append(self._skipped_digest(index))
                continue
            inputs[len(samples)] = sample.input
            samples.append(replace(sample, input=inputs[len(samples)]))
            read.append(index)
            digests.append(_entry_digest(sample))
        return Shard(tuple(read), tuple(samples), inputs[: len(samples)], tuple(skipped), b"".join(digests))

    def _skipped(self, index: int, error: Exception) -> Skipped:
        place = self._place(index)
        reason = storable(" ".join(str(error).split())[:500]) or type(error).__name__
        return Skipped(index, self.content.id(place), self.content.source(place), reason)

    def _skipped_digest(self, index: int) -> bytes:
        """Return a digest of what was skipped: of its bytes, where they can be had."""
        place = self._place(index)
        try:
            entry = self.content.entry(place)
            path = Path(entry.image) if isinstance(entry.image, str | Path) else None
            digest = entry.digest or (sha256(path) if path and path.is_file() else "")  # a pipe would never end
        except (XaiError, OSError, ValueError):
            digest = ""
        return hashlib.sha256(f"skipped\0{self.content.id(place)}\0{digest}".encode()).digest()

    def _first_is_labelled(self) -> bool:
        try:
            return self.content.entry(self._place(0)).label is not None
        except (XaiError, OSError, ValueError):
            return True  # it will be skipped when it is read


def open_data(data: Any, model: Model, *, labels: str | Path | None = None, foreign: bool = False) -> DataSet:
    """Open a data set for a model; nothing but its list of entries is read.

    Args:
        data: a file of one input; a folder of pictures, or with a sub-folder of pictures a class; a CSV or JSON file
            of paths, labels, groups and masks; an .npz, .npy or idx file of many inputs, or a folder that holds the
            latter; "sample:NAME". In Python, too: a pair of inputs and labels (arrays or tensors), a torch Dataset, a
            list of pictures, or a single one. See xai.data.kinds.
        model: whose inputs and classes they become.
        labels: .npy or idx file with a label each, for an array that does not bring them.
        foreign: whether the images are of no class of the model: their labels, if there are some, are not looked up.

    Raises:
        UsageError: the data do not exist, hold nothing, or a label is no class of the model.
        RefusedFileError: a file is damaged, unsafe, or not what it seems.
    """
    shown = storable(str(data)) if isinstance(data, str | Path) else f"<{type(data).__name__}>"
    content, kind = open_content(data, model.input, None if labels is None else Path(labels))
    if not len(content):
        raise UsageError(f"{shown} holds nothing that could be read")
    return DataSet(
        content=content,
        input=model.input,
        classes=model.answers,
        source=shown,
        kind=kind,
        notes=content.notes,
        labels=_foreign(content) if foreign else _labels(content, model.answers, shown),
        chosen=range(len(content)),
        foreign=foreign,
    )


def digest_of(digests: Iterable[bytes]) -> str:
    """Return the sha256 of a data set, from the `Shard.digests` of all its shards in their order.

    It changes with every byte, label, group, name or mask, and with the order; not with the size of the shards. Each
    entry is digested while it is read, so whoever reads the shards keeps 32 bytes an entry and needs no second pass.
    Files are digested right after they were decoded, when the system still has their bytes in memory.
    """
    sha = hashlib.sha256()
    for part in digests:
        sha.update(part)
    return sha.hexdigest()


def check_any_read(data: DataSet, skipped: Sequence[Skipped]) -> None:
    """Raise RefusedFileError, with the first reason, if every entry of a data set was skipped."""
    if skipped and len(skipped) == len(data):
        first = min(skipped, key=lambda one: one.index)
        raise RefusedFileError(
            f"none of the {len(data)} entries of {data.source} could be read; the first, {first.id}: {first.reason}"
        )


def _labels(content: Content, classes: tuple[str, ...], source: str) -> np.ndarray | None:
    if content.labels is None:
        return None
    if len(content.labels) != len(content):
        raise UsageError(f"{source} has {len(content)} inputs and {len(content.labels)} labels")
    try:
        return resolved(content.labels, classes)
    except UsageError as error:
        raise WrongLabelError(f"labels of {source}: {error}") from error


def _foreign(content: Content) -> np.ndarray | None:
    """Return a number for each distinct label of images that are of no class of the model."""
    if content.labels is None:
        return None
    return np.unique(list(map(str, content.labels)), return_inverse=True)[1].astype(np.int32)


def _class(label: Label, classes: tuple[str, ...], where: str) -> int:
    try:
        return class_indices([label], classes)[label]
    except UsageError as error:
        raise WrongLabelError(f"label of {where}: {error}") from error


def _evenly(labels: np.ndarray, count: int) -> np.ndarray:
    """Return which `count` of labels (n,) are taken, rising: the first of each label, the second of each, ..."""
    by_label = np.argsort(labels, kind="stable")
    ordered = labels[by_label]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ranks = np.empty(len(labels), dtype=np.int64)
    ranks[by_label] = np.arange(len(labels)) - np.repeat(starts, np.diff(np.r_[starts, len(labels)]))
    taken: np.ndarray = np.sort(np.lexsort((labels, ranks))[:count])
    return taken


def _digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def _entry_digest(sample: Sample) -> bytes:
    mask = b"" if sample.mask is None else sample.mask.tobytes()
    return hashlib.sha256(f"{sample.id}\0{sample.label}\0{sample.group!r}\0{sample.digest}\0".encode() + mask).digest()

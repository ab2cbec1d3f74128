"""The pictures of a bundled sample, or labelled ones that no training saw."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from xai.data.contents import Content, Entry, Files, Stack
from xai.data.kinds.base import Kind, no_labels
from xai.errors import UsageError, unknown
from xai.models.card import Input
from xai.models.images import Prepared
from xai.models.samples import sample_held_out, sample_images, sample_masks, sample_names

MOST = 20_000  # pictures: they are in memory
_RANGE = re.compile(r"(\d{1,9})-(\d{1,9})")


class Bundled(Kind):
    """The pictures of a bundled sample, with their masks where it has them; or numbered ones with labels."""

    name = "sample"
    summary = "sample:NAME, or labelled test pictures as sample:NAME:0-200"

    def recognises(self, source: object) -> bool:
        """Say whether a sample is named."""
        return isinstance(source, str) and source.startswith("sample:")

    def open(self, source: str, spec: Input, labels: Path | None) -> Content:
        """Return the pictures; raise UsageError if there is no such sample."""
        no_labels("a bundled sample", labels)
        name, _, part = source.removeprefix("sample:").partition(":")
        if name not in sample_names():
            raise unknown("sample", name, sample_names())
        if part:
            return _numbered(name, part, spec)
        pictures = sample_images(name)
        return Files(pictures[0].parent, [path.name for path in pictures], masks=[_mask(path) for path in pictures])


class Numbered(Content):
    """Test pictures of a sample, each with its number.

    Args:
        name: of the sample.
        first: number of the first one.
        stack: their pixels and labels.
    """

    def __init__(self, name: str, first: int, stack: Stack) -> None:
        self._name, self._first, self._stack, self.labels = name, first, stack, stack.labels

    def __len__(self) -> int:
        return len(self._stack)

    def id(self, index: int) -> str:
        """Return the number among all test pictures."""
        return f"test/{self._first + index}"

    def source(self, index: int) -> str:
        """Return what names this picture alone."""
        number = self._first + index
        return f"sample:{self._name}:{number}-{number + 1}"

    def entry(self, index: int) -> Entry:
        """Return the picture."""
        return self._stack.entry(index)

    def stamp(self, index: int) -> str:
        """Return the pixels' digest."""
        return self._stack.stamp(index)

    def many(self, indices: Sequence[int], spec: Input) -> tuple[Prepared, list[str]] | None:
        """Return pictures prepared together."""
        return self._stack.many(indices, spec)


def _numbered(name: str, part: str, spec: Input) -> Content:
    """Return test pictures by their numbers."""
    found = _RANGE.fullmatch(part)
    first, last = map(int, found.groups()) if found else (0, 0)
    if not 0 < last - first <= MOST:
        raise UsageError(f"sample:{name}:{part}: expected numbers from and to, as sample:{name}:0-200; at most {MOST}")
    images, labels = sample_held_out(name, first, last)
    if len(images) < last - first:
        raise UsageError(f"sample:{name}:{part}: the sample has {first + len(images)} test pictures at most")
    return Numbered(name, first, Stack(images.numpy(), name, spec, labels.numpy()))


def _mask(picture: Path) -> str | None:
    folder = sample_masks(picture)
    return str(folder / picture.name) if folder and (folder / picture.name).is_file() else None

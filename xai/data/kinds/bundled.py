"""The pictures of a bundled sample."""

from __future__ import annotations

from pathlib import Path

from xai.data.contents import Content, Files
from xai.data.kinds.base import Kind, no_labels
from xai.errors import unknown
from xai.models.card import Input
from xai.models.samples import sample_images, sample_masks, sample_names


class Bundled(Kind):
    """The pictures of a bundled sample, with their masks where it has them."""

    name = "sample"
    summary = "sample:NAME"

    def recognises(self, source: object) -> bool:
        """Say whether a sample is named."""
        return isinstance(source, str) and source.startswith("sample:")

    def open(self, source: str, spec: Input, labels: Path | None) -> Content:  # noqa: ARG002  # every picture fits
        """Return the pictures; raise UsageError if there is no such sample."""
        no_labels("a bundled sample", labels)
        name = source.removeprefix("sample:")
        if name not in sample_names():
            raise unknown("sample", name, sample_names())
        pictures = sample_images(name)
        return Files(pictures[0].parent, [path.name for path in pictures], masks=[_mask(path) for path in pictures])


def _mask(picture: Path) -> str | None:
    folder = sample_masks(picture)
    return str(folder / picture.name) if folder and (folder / picture.name).is_file() else None

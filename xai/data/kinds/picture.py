"""One input in a file."""

from __future__ import annotations

from pathlib import Path

from xai.data.contents import Content, Files
from xai.data.kinds.base import Kind, no_labels
from xai.models.card import Input
from xai.models.safety import Peek

_SIGNS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


class Picture(Kind):
    """A picture, a DICOM image or a tensor of torch.save; an array, see the kinds of arrays."""

    name = "picture"
    summary = "a picture (PNG, JPEG, WEBP, BMP, TIFF, DICOM) or a tensor of torch.save"

    def recognises(self, source: object) -> bool:
        """Say whether the file begins as a picture does, or is a torch archive."""
        if not isinstance(source, Peek):
            return False
        bitmap = source.head.startswith(b"BM") and b"\0" in source.head
        dicom = source.head[128:132] == b"DICM"
        return source.head.startswith(_SIGNS) or bitmap or dicom or "data.pkl" in source.names

    def open(self, source: Peek, spec: Input, labels: Path | None) -> Content:  # noqa: ARG002  # every picture fits
        """Return the one file."""
        no_labels("a single picture", labels)
        return Files(source.path.parent, [source.path.name])

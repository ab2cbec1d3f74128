"""An idx file of pictures (LeCun's MNIST and its kin), with the idx file of labels beside it."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from xai.data.contents import Content, Stack
from xai.data.kinds.base import Kind
from xai.data.labels import as_labels, check_labels
from xai.data.stacks import check_stack
from xai.data.stored import Stored, idx_dimensions, read_array, read_idx
from xai.errors import UsageError
from xai.models.card import Input
from xai.models.safety import Peek

_SUFFIX = re.compile(r"([.-]idx\d-ubyte)?(\.gz)?$")
_IMAGES = re.compile(r"images?[.-]idx\d-ubyte(\.gz)?$")


class Idx(Kind):
    """An idx file, also as .gz: t10k-images-idx3-ubyte.gz finds t10k-labels-idx1-ubyte, or that as .gz, beside it."""

    name = "idx"
    summary = "an idx file (MNIST), also as .gz, or a folder that holds one"

    def recognises(self, source: object) -> bool:
        """Say whether the file is an idx file."""
        return isinstance(source, Peek) and idx_dimensions(source.head) > 0

    def open(self, source: Peek, spec: Input, labels: Path | None) -> Content:
        """Return the pictures; a compressed file is unpacked once, when the first of them is read."""
        if idx_dimensions(source.head) == 1:
            raise UsageError(f"data {source.path} are labels; name the idx file of the pictures")
        beside = labels or _beside(source.path)
        known = as_labels(read_array(beside, check_labels)) if beside else None
        stored = Stored(source.path, read_idx, partial(check_stack, spec=spec))
        content = Stack(stored, _SUFFIX.sub("", source.path.name), spec, known)
        content.notes = (f"labels taken from {beside}, which lies beside it",) if beside and not labels else ()
        return content


def _beside(path: Path) -> Path | None:
    start, found = _IMAGES.sub("", path.name), _IMAGES.search(path.name)
    if not found:
        return None
    mark = "." if ".idx" in found[0] else "-"
    names = (f"{start}labels{mark}idx1-ubyte{packed}" for packed in ("", ".gz"))
    return next((file for file in map(path.with_name, names) if file.is_file()), None)

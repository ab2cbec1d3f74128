"""A .npy file of inputs, with a .npy of labels beside it if there is one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from xai.data.contents import Content, Files, Stack
from xai.data.kinds.base import Kind
from xai.data.labels import as_labels, check_labels
from xai.data.stacks import check_plain, check_stack, how_read, is_one_input
from xai.data.stored import Stored, map_npy, read_array
from xai.models.card import Input
from xai.models.safety import Peek

_PAIRS = (("x", "y"), ("images", "labels"), ("data", "labels"))


class Npy(Kind):
    """A .npy file, memory-mapped: bytes (n, height, width[, channels]), or input units (n, *shape).

    Labels are those of the file beside it that is called alike: X.npy and y.npy, test_X.npy and test_y.npy, images.npy
    and labels.npy, photos.npy and photos_labels.npy or photos_y.npy. An array that can be one input is one, unless
    labels of its length come along.
    """

    name = "npy"
    summary = "a .npy file of inputs (n, ...)"

    def recognises(self, source: object) -> bool:
        """Say whether the file is an array."""
        return isinstance(source, Peek) and source.head.startswith(b"\x93NUMPY")

    def open(self, source: Peek, spec: Input, labels: Path | None) -> Content:
        """Return the inputs."""
        beside = labels or _beside(source.path)
        known = as_labels(read_array(beside, check_labels)) if beside else None
        array = map_npy(source.path, check_plain)
        told = how_read(array.dtype, array.shape, spec)
        one = is_one_input(array.dtype, array.shape, spec)
        if one and (known is None or len(known) != len(array)):
            return Files(source.path.parent, [source.path.name], notes=told)
        stored = Stored(source.path, map_npy, partial(check_stack, spec=spec))
        content = Stack(stored, source.path.stem, spec, known)
        if beside is None:
            content.notes = told
        elif not labels:
            content.notes = (f"labels taken from {beside}, which lies beside it",)
        return content


def _beside(path: Path) -> Path | None:
    """Return the file of labels beside a file of inputs."""
    stem, names = path.stem, [f"{path.stem}_labels", f"{path.stem}_y"]
    for inputs, labels in _PAIRS:
        if stem.lower() == inputs or stem.lower().endswith((f"_{inputs}", f"-{inputs}")):
            names.append(stem[: -len(inputs)] + labels)
    return next((file for file in (path.with_name(f"{name}.npy") for name in names) if file.is_file()), None)

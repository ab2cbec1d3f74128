"""An .npz file of inputs, and of labels if it has them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xai.data.contents import Content, Files, Stack
from xai.data.kinds.base import Kind
from xai.data.labels import as_labels, check_labels
from xai.data.stacks import check_stack, how_read, is_one_input
from xai.data.stored import Member, Stored, npz_names, read_array
from xai.errors import RefusedFileError
from xai.models.card import Input
from xai.models.safety import Peek

_INPUTS, _LABELS = ("x", "images", "data", "x_test"), ("y", "labels", "label", "targets", "y_test")


class Npz(Kind):
    """An .npz file: inputs as x, images or data, labels as y or labels; or a single array without labels.

    Bytes (n, height, width[, channels]) are pictures; other numbers are in input units, (n, *shape) of the model, or
    with the channels last. A single array that can be one input is one.
    """

    name = "npz"
    summary = "an .npz file of x (n, ...) and y (n,)"

    def recognises(self, source: object) -> bool:
        """Say whether the file is an archive of arrays."""
        return isinstance(source, Peek) and any(name.endswith(".npy") for name in source.names)

    def open(self, source: Peek, spec: Input, labels: Path | None) -> Content:
        """Return the inputs; they are read once, when the first of them is."""
        names = npz_names(source.path)
        inputs = _named(names, _INPUTS) or (names[0] if len(names) == 1 else None)
        if inputs is None:
            shown = ", ".join(names[:5])
            raise RefusedFileError(f"data {source.path} hold {shown}; expected arrays x (inputs) and y (labels)")
        own = _named(names, _LABELS)
        known = read_array(labels, check_labels) if labels else None
        if known is None and own is not None and own != inputs:
            known = Member(own)(source.path, check_labels)
        read = Member(inputs)
        one, told = _seen(source.path, read, spec) if known is None and len(names) == 1 else (False, ())
        if one:
            return Files(source.path.parent, [source.path.name], notes=told)
        stored = Stored(source.path, read, partial(check_stack, spec=spec))
        content = Stack(stored, source.path.stem, spec, None if known is None else as_labels(known))
        content.notes = told
        return content


def _named(names: list[str], wanted: tuple[str, ...]) -> str | None:
    return next((name for one in wanted for name in names if name.lower() == one), None)


def _seen(path: Path, read: Member, spec: Input) -> tuple[bool, tuple[str, ...]]:
    """Return whether an array is one input, and what must be said of that."""
    seen: list[tuple[bool, tuple[str, ...]]] = []

    def look(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        seen.append((is_one_input(dtype, shape, spec), how_read(dtype, shape, spec)))
        if not seen[0][0]:
            check_stack(dtype, shape, spec)

    read(path, look)
    return seen[0]

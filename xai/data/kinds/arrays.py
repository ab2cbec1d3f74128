"""Arrays and tensors that are live: inputs, or a pair of inputs and labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from xai.data.contents import Content, Objects, Stack
from xai.data.kinds.base import Kind
from xai.data.labels import Label, as_labels, check_labels, plain
from xai.data.stacks import Numbers, check_stack, how_read, is_one_input, is_pair
from xai.data.stored import read_array
from xai.errors import UsageError
from xai.models.card import Input
from xai.models.pictures.arrays import numpy_type


class Arrays(Kind):
    """An array or tensor (n, ...), alone or as a tuple with labels (n,); one that can be one input is one."""

    name = "arrays"
    summary = "arrays (x, y)"

    def recognises(self, source: object) -> bool:
        """Say whether it is an array, or a tuple of one with labels."""
        return isinstance(source, Numbers) or is_pair(source)

    def open(self, source: Numbers | tuple[Numbers, object], spec: Input, labels: Path | None) -> Content:
        """Return the inputs."""
        x, y = source if isinstance(source, tuple) else (source, None)
        array = _array(x)
        known: Sequence[Label] | np.ndarray | None = as_labels(read_array(labels, check_labels)) if labels else None
        if y is not None:
            known = as_labels(_array(y)) if isinstance(y, Numbers) else [plain(one) for one in y]  # type: ignore[attr-defined]  # a list, see is_pair
        if known is None and is_one_input(array.dtype, array.shape, spec):
            content: Content = Objects([x], "image")
        else:
            check_stack(array.dtype, array.shape, spec)
            content = Stack(array, "image", spec, known)
        content.notes = how_read(array.dtype, array.shape, spec) if known is None else ()
        return content


def _array(numbers: Numbers) -> np.ndarray:
    if isinstance(numbers, np.ndarray):
        return numbers
    numpy_type(numbers)  # raises UsageError for what is not dense or no numbers
    plain_numbers = numbers.float() if numbers.dtype == torch.bfloat16 else numbers
    if numbers.is_complex():
        raise UsageError(f"expected real numbers, received {numbers.dtype}")
    array: np.ndarray = plain_numbers.numpy(force=True)
    return array

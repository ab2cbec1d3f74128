"""Labels as data sets write them: names or numbers, turned into indices of the model's classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from xai.errors import UsageError, unknown
from xai.models.targets import find_target

Label: TypeAlias = str | int | None
NONE = -1  # stands for "no label" in arrays of indices


class WrongLabelError(UsageError):
    """A label is no class of the model: told at once, since the data as a whole do not fit (exit code 2)."""


def class_indices(labels: Iterable[Label], classes: tuple[str, ...]) -> dict[Label, int]:
    """Return the index of each distinct label among the classes; of None, NONE.

    A text is a class's name. A text of digits is an index, unless any of the texts of digits is a class's name: then
    all of them are names, since a folder "1" beside a class "1" of ten that begin at "1" must not become the second.

    Args:
        labels: distinct labels; whole numbers are indices.
        classes: the model's.

    Raises:
        UsageError: there is no such class, or two classes have that name.
    """
    distinct = list(labels)
    named = any(isinstance(label, str) and label.isdecimal() and label in classes for label in distinct)
    return {label: _index(label, classes, named) for label in distinct}


def resolved(labels: Sequence[Label] | np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Return labels as int32 indices of classes, NONE where there is no label; raises as `class_indices`."""
    if isinstance(labels, np.ndarray):
        distinct, places = np.unique(labels, return_inverse=True)
        indices = class_indices(distinct.tolist(), classes)
        return np.array(list(indices.values()), dtype=np.int32)[places.reshape(-1)]
    indices = class_indices(dict.fromkeys(labels), classes)
    return np.fromiter((indices[label] for label in labels), dtype=np.int32, count=len(labels))


def plain(label: object) -> Label:
    """Return a label as Python writes it; raise WrongLabelError for what is neither name nor index."""
    if isinstance(label, torch.Tensor | np.ndarray | np.generic) and label.ndim == 0:
        label = label.item()
    if label is None or isinstance(label, str) or (isinstance(label, int) and not isinstance(label, bool)):
        return label
    raise WrongLabelError(f"expected a class's name or index as label, received {str(label)[:60]!r}")


def check_labels(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Raise UsageError unless an array of that type and shape can hold a label an entry: before any is read."""
    one_each = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
    if dtype.hasobject or dtype.kind not in "iufU" or not one_each:
        raise UsageError(f"expected labels (n,), indices or names of classes, received {dtype} of {shape}")


def as_labels(array: np.ndarray) -> np.ndarray:
    """Return an array of labels, (n,) or (n, 1), as whole numbers or names; raise UsageError if it holds others."""
    check_labels(array.dtype, array.shape)
    labels = np.array(array).reshape(-1)
    if labels.dtype.kind != "f":
        return labels
    if not (np.isfinite(labels).all() and (labels == np.round(labels)).all() and np.abs(labels).max(initial=0) < 2**53):
        raise UsageError("expected whole numbers as labels, indices of classes")
    return labels.astype(np.int64)


def _index(label: Label, classes: tuple[str, ...], named: bool) -> int:
    if label is None:
        return NONE
    if isinstance(label, str):
        is_number = label.isascii() and label.isdecimal() and not named
        if label not in classes and not is_number:
            raise unknown("class", label, classes)
        if classes.count(label) > 1:
            places = ", ".join(str(place) for place, name in enumerate(classes) if name == label)
            raise UsageError(f"the model has several classes named {label!r}; say which by its index: {places}")
    return find_target(label, classes).index

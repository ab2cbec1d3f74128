"""Arrays of many inputs: which there are, and how they become the model's input together."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from xai.errors import UsageError, XaiError
from xai.models.card import Input
from xai.models.images import Prepared, prepare
from xai.models.pictures.arrays import are_pixels
from xai.models.values import clipped, rounding

Numbers: TypeAlias = np.ndarray | torch.Tensor
_CHANNELS = (1, 2, 3, 4)


def check_plain(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:  # noqa: ARG001  # the signature of a Check
    """Raise UsageError unless an array is one of numbers."""
    if dtype.hasobject:
        raise UsageError("it holds Python objects (dtype object), and opening them could run code; save numbers")
    if dtype.kind not in "biuf":
        raise UsageError(f"expected numbers, received dtype {dtype}")


def check_stack(dtype: np.dtype[Any], shape: tuple[int, ...], spec: Input) -> None:
    """Raise UsageError unless an array of that type and shape holds inputs, first dimension: before any is read."""
    check_plain(dtype, shape)
    if 0 in shape or len(shape) < 2:
        raise UsageError(f"expected inputs along the first dimension, received an array of {shape}")
    if are_pixels(dtype, spec):
        if len(shape) not in (3, 4) or math.prod(shape[1:]) > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise UsageError(f"expected pictures, (n, height, width[, channels]) of {dtype}, received {shape}")
    elif shape[1:] not in _accepted(spec):
        shapes = " or ".join(str(("n", *one)) for one in dict.fromkeys(_accepted(spec))).replace("'", "")
        raise UsageError(f"the model takes inputs of shape {spec.shape}: expected {shapes}, received {shape}")


def is_one_input(dtype: np.dtype[Any], shape: tuple[int, ...], spec: Input) -> bool:
    """Say whether an array without labels is one input, as `xai explain` reads it, and not several.

    Bytes (n, height, width) of the model's own size are n pictures of its one channel, whatever n is.
    """
    if not are_pixels(dtype, spec):
        return shape in (spec.shape, (1, *spec.shape))
    if len(shape) != 3 or shape == spec.shape:
        return len(shape) in (2, 3)
    channels = {spec.shape[0], *_CHANNELS}
    return bool({shape[0], shape[2]} & channels) and (1, *shape[1:]) != spec.shape


def how_read(dtype: np.dtype[Any], shape: tuple[int, ...], spec: Input) -> tuple[str, ...]:
    """Say as what an array without labels was read, where it could be one picture and several; () where it could not.

    Args:
        dtype: its type.
        shape: its shape.
        spec: the input that the model declares.
    """
    one = is_one_input(dtype, shape, spec)
    if not are_pixels(dtype, spec) or len(shape) != 3 or shape[0] not in _CHANNELS[1:] or shape[0] == spec.shape[0]:
        return ()
    if one and shape[2] in {spec.shape[0], *_CHANNELS}:
        return ()
    count, *size = shape
    single, several = f"one picture of {count} channels", f"{count} pictures of one channel"
    if one:
        return (
            f"an array of {shape} was read as {single}; if it holds {several}, give ({count}, {size[0]}, {size[1]}, 1)",
        )
    return (f"an array of {shape} was read as {several}; if it is {single}, give ({size[0]}, {size[1]}, {count})",)


def is_pair(source: object) -> bool:
    """Say whether a live object is (x, y): numbers, and a label for each of them or None."""
    if not (isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], Numbers)):
        return False
    y = source[1]
    if isinstance(y, Numbers):
        return y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1)
    return y is None or (isinstance(y, list) and not any(isinstance(one, Numbers) and one.ndim for one in y[:1]))


def oriented(item: np.ndarray, spec: Input) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return one item of a stack with dimensions as `prepare` wants them, and what was done to it."""
    return _turned(item[None], spec)[0][0], _turned(item[None], spec)[1]


def prepare_stack(items: np.ndarray, spec: Input) -> Prepared | None:
    """Return inputs (n, *shape) prepared together, or None where they must be prepared one by one.

    The tensors are those that `prepare` gives, bit for bit: they go through the same operations, and the first of them
    is compared. One by one are prepared: what is resized, has alpha or 16 bits, or holds a value that is refused.

    Args:
        items: (n, ...) as `check_stack` wants it, n at least 1.
        spec: the input that the model declares.
    """
    turned, notes = _turned(items, spec)
    try:
        first = prepare(np.array(turned[0]), spec)
    except XaiError:
        return None
    together = _pixels(turned, spec) if are_pixels(items.dtype, spec) else _numbers(turned, spec)
    if together is None or not torch.equal(together[0], first.tensor):
        return None
    return Prepared(together, (*notes, *first.treatments))


def _accepted(spec: Input) -> list[tuple[int, ...]]:
    """Return the shapes that an item of numbers may have: the model's, or a picture's as others write it."""
    if not spec.is_picture:
        return [spec.shape]
    channels, height, width = spec.shape
    return [spec.shape, (height, width, channels), *([(height, width)] if channels == 1 else [])]


def _turned(items: np.ndarray, spec: Input) -> tuple[np.ndarray, tuple[str, ...]]:
    if are_pixels(items.dtype, spec) or items.shape[1:] == spec.shape:
        return items, ()
    if items.ndim == 3:
        return items[:, None], ("(height, width) taken as one channel",)
    return np.moveaxis(items, 3, 1), ("channels brought from last to first",)


def _pixels(items: np.ndarray, spec: Input) -> torch.Tensor | None:
    """Return pictures of bytes, of the model's size, as its input."""
    channels, height, width = spec.shape
    last = items[..., None] if items.ndim == 3 else items
    planes = items if items.shape[1:] == spec.shape else np.moveaxis(last, 3, 1)
    if items.dtype != np.uint8 or planes.shape[1] not in (1, channels) or planes.shape[2:] != (height, width):
        return None
    pixels = torch.from_numpy(np.ascontiguousarray(planes).astype(np.float32)) / 255.0
    low, high = spec.span
    scaled = pixels if (low, high) == (0.0, 1.0) else clipped(pixels * (high - low) + low, low, high)
    return scaled.expand(-1, channels, -1, -1).contiguous()


def _numbers(items: np.ndarray, spec: Input) -> torch.Tensor | None:
    """Return numbers in input units as float32, if all of them are values that an input may have."""
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused one by one
        tensor = torch.from_numpy(np.array(items, dtype=np.float32, order="C"))
    if not torch.isfinite(tensor).all():
        return None
    if spec.range is None:
        return tensor
    (low, high), slack = spec.range, rounding(*spec.range)
    fits = tensor.min() >= low - slack and tensor.max() <= high + slack
    return clipped(tensor, low, high) if fits else None

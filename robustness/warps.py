"""Pictures that are moved, turned and stretched: values read between pixels, linearly."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from scipy.ndimage import map_coordinates

Border: TypeAlias = Literal["black", "edge", "reflect"]
BORDERS = "black (the range's lowest value), edge (the outermost pixels) or reflect (the picture mirrored)"
_MODES: dict[Border, Literal["constant", "nearest", "reflect"]] = {
    "black": "constant",
    "edge": "nearest",
    "reflect": "reflect",
}


def resampled(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return (..., len(rows), len(columns)) of x (..., height, width) at places inside the picture, in pixels."""
    return _along(_along(x, rows, -2), columns, -1)


def magnified(size: int, factor: float) -> np.ndarray:
    """Return where a side's pixels come from, (size,), counted from 0 in the part that fills it when magnified.

    The part has `kept(size, factor)` whole pixels. They become so many whole pixels that the outermost stay in place,
    and the middle ones of these are shown: what the published programs do, half a pixel off the centre at times.

    Args:
        size: of the side, in pixels.
        factor: at least 1.
    """
    part = kept(size, factor)
    whole = math.floor(part * factor + 0.5)
    return (np.arange(size) + (whole - size) // 2) * ((part - 1) / max(1, whole - 1))


def kept(size: int, factor: float) -> int:
    """Return how many pixels of a side fill it when they are magnified."""
    return math.ceil(size / factor)


def warped(x: np.ndarray, places: np.ndarray, border: Border) -> np.ndarray:
    """Return x (channels, height, width) read at places (2, height, width): row and column of each pixel's source."""
    exact = np.round(places, 9)  # a quarter turn's sine is not quite 1, and what is just outside would be border
    mode = _MODES[border]
    return np.stack([map_coordinates(channel, exact, order=1, mode=mode) for channel in x])


def about_centre(shape: tuple[int, ...], matrix: np.ndarray) -> np.ndarray:
    """Return the sources (2, height, width) of a linear map that keeps the centre.

    Args:
        shape: ends in height, width.
        matrix: (2, 2), from (row, column) offsets in the result to offsets in the picture.
    """
    centre = (np.array(shape[-2:], dtype=float) - 1) / 2
    offsets = np.indices(shape[-2:]) - centre[:, None, None]
    return np.asarray(np.tensordot(matrix, offsets, axes=1) + centre[:, None, None])


def _along(x: np.ndarray, places: np.ndarray, axis: int) -> np.ndarray:
    """Interpolate along one of the last two axes."""
    last = x.shape[axis] - 1
    below = np.clip(np.floor(places).astype(int), 0, max(0, last - 1))
    share = places - below
    if axis == -2:
        share = share[:, None]
    lower, upper = x.take(below, axis), x.take(np.minimum(below + 1, last), axis)
    return np.asarray(lower + share * (upper - lower))

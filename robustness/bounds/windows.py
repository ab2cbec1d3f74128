"""Rows for numbers of a map that lie close together: their coefficients fill a window of every map before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import pad

from xai.robustness.bounds.affine import Arranged, Convolution, Scale, Sum
from xai.robustness.bounds.elementwise import Lines
from xai.robustness.bounds.maximum import Highest, Maximum
from xai.robustness.bounds.operation import Operation, Relaxation, total

SMALLEST_MAP = 16  # places; below, a window is hardly smaller than the map
ROWS = 256  # at once: more would spread over more places


@dataclass(frozen=True)
class Window:
    """Places of a map (..., height, width): rows top to bottom and columns left to right, the ends left out."""

    top: int
    bottom: int
    left: int
    right: int

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the part of a tensor (..., height, width); an axis of one place stands for all."""
        if tensor.ndim and tensor.shape[-1] > 1:
            tensor = tensor[..., self.left : self.right]
        if tensor.ndim > 1 and tensor.shape[-2] > 1:
            tensor = tensor[..., self.top : self.bottom, :]
        return tensor

    def around(self, other: Window) -> Window:
        """Return the smallest window that holds both."""
        return Window(
            min(self.top, other.top),
            max(self.bottom, other.bottom),
            min(self.left, other.left),
            max(self.right, other.right),
        )

    def filled(self, part: torch.Tensor, inner: Window) -> torch.Tensor:
        """Return a tensor of this window with zeros around the part that lies in another."""
        edges = (inner.left - self.left, self.right - inner.right, inner.top - self.top, self.bottom - inner.bottom)
        return pad(part, edges) if any(edges) else part


@dataclass(frozen=True)
class Patch:
    """Coefficients of one sample.

    Args:
        rows: (rows, 1, 1, channels, height, width), the window's part of the map.
        window: where it lies.
    """

    rows: torch.Tensor
    window: Window

    def __add__(self, other: Patch) -> Patch:
        """Return the sum over the window that holds both."""
        window = self.window.around(other.window)
        return Patch(window.filled(self.rows, self.window) + window.filled(other.rows, other.window), window)

    def whole(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return the coefficients of the whole map."""
        return Window(0, shape[-2], 0, shape[-1]).filled(self.rows, self.window)


Gone = tuple[Sequence[Patch | None], torch.Tensor]


def is_map(shape: tuple[int, ...]) -> bool:
    """Say whether a value (1, channels, height, width) is a map that is worth windows."""
    return len(shape) == 4 and shape[0] == 1 and shape[-2] * shape[-1] >= SMALLEST_MAP


def patches(wanted: torch.Tensor, most: int) -> Iterator[tuple[Patch, torch.Tensor]]:
    """Yield rows for wanted numbers of a map, tile by tile, with the numbers' places in the flat map.

    Args:
        wanted: (channels, height, width) bool.
        most: how many rows at once.
    """
    channels, height, width = wanted.shape
    side = max(1, int((min(ROWS, most) / channels) ** 0.5))
    for top in range(0, height, side):
        for left in range(0, width, side):
            window = Window(top, min(top + side, height), left, min(left + side, width))
            numbers = window.of(wanted).nonzero()
            for part in numbers.split(most) if len(numbers) else ():
                tile = (channels, window.bottom - top, window.right - left)
                rows = torch.zeros((len(part), *tile), dtype=torch.float64, device=wanted.device)
                rows[(torch.arange(len(part), device=wanted.device), *part.T)] = 1.0
                places = part[:, 0] * height * width + (part[:, 1] + top) * width + part[:, 2] + left
                yield Patch(rows[:, None, None], window), places


def back(operation: Operation, relaxation: Relaxation, patch: Patch) -> Gone | None:
    """Return what goes back through a step, and the constant (rows, 1); None if the step needs the whole map.

    An input that the window does not look at has None.
    """
    if isinstance(operation, Convolution):
        return _through_convolution(operation, patch)
    if isinstance(operation, Maximum) and isinstance(relaxation, Highest):
        return _through_maximum(operation, relaxation, patch)
    if isinstance(operation, Arranged):
        return _through_moves(operation, patch)
    if isinstance(relaxation, Lines):
        (rows,), constant = relaxation.cropped(patch.window.of).pull(patch.rows)
    elif isinstance(operation, Scale):
        (rows,), constant = operation.cropped(patch.window.of).pull(patch.rows)
    elif isinstance(operation, Sum):
        both, constant = operation.pull(patch.rows)
        return [replace(patch, rows=rows) for rows in both], constant
    else:
        return None
    return [Patch(rows, patch.window)], constant


def _through_moves(step: Arranged, patch: Patch) -> Gone | None:
    if step.origins is None or any(len(shape) != 4 or shape[0] != 1 for shape in step.shapes):
        return None
    places, constants = step.origins
    window = patch.window.of
    found = [
        _moved(patch.rows, window(place).flatten(), shape) for place, shape in zip(places, step.shapes, strict=True)
    ]
    return found, total(patch.rows, window(constants).to(patch.rows))


def _moved(rows: torch.Tensor, places: torch.Tensor, shape: tuple[int, ...]) -> Patch | None:
    """Return rows put where their numbers come from in a map of some shape; None if none come from it."""
    places = places.to(rows.device)
    (taken,) = torch.nonzero(places >= 0, as_tuple=True)
    if len(taken) == 0:
        return None
    _, channels, height, width = shape
    places = places[taken]
    channel, y, x = places // (height * width), places // width % height, places % width
    window = Window(int(y.min()), int(y.max()) + 1, int(x.min()), int(x.max()) + 1)
    tall, wide = window.bottom - window.top, window.right - window.left
    inner = (channel * tall + y - window.top) * wide + x - window.left
    flat = rows.new_zeros(len(rows), channels * tall * wide)
    flat.index_add_(1, inner, rows.flatten(1)[:, taken])
    return Patch(flat.reshape(*rows.shape[:3], channels, tall, wide), window)


def _through_maximum(step: Maximum, relaxation: Highest, patch: Patch) -> Gone | None:
    if not step.is_plain:
        return None
    window = patch.window
    part, seen = step.cropped(window.top, window.bottom, window.left, window.right)
    slope = relaxation.slope[..., window.top : window.bottom, window.left : window.right, :]
    chosen, constant = window.of(relaxation.chosen), window.of(relaxation.constant)
    own = replace(relaxation, step=part, chosen=chosen, slope=slope, constant=constant)
    (rows,), found = own.pull(patch.rows)
    return [Patch(rows, Window(*seen))], found


def _through_convolution(step: Convolution, patch: Patch) -> Gone | None:
    if not step.is_plain:
        return None
    rows, (top, left) = step.spread(patch.rows, (patch.window.top, patch.window.left))
    height, width = step.shape[-2:]
    window = Window(max(top, 0), min(top + rows.shape[-2], height), max(left, 0), min(left + rows.shape[-1], width))
    none = rows.new_zeros(rows.shape[:2], dtype=torch.float64)
    constant = none if step.bias is None else total(patch.rows, step.bias)
    if window.bottom <= window.top or window.right <= window.left:
        return [None], constant  # it sees nothing but padding
    inside = rows[..., window.top - top : window.bottom - top, window.left - left : window.right - left]
    return [Patch(inside, window)], constant

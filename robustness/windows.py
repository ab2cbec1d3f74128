"""Windows of a picture: where a random search changes numbers, and the hills that it puts there."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch.nn.functional import pad

Picture = tuple[int, int, int]


def picture(shape: torch.Size) -> Picture:
    """Return (channels, rows, columns) as which the numbers of an input of that shape are laid out.

    The last two axes are rows and columns, those before them channels; numbers without rows are one row.
    """
    rows = shape[-2] if len(shape) > 1 else 1
    return math.prod(shape[:-2]), rows, shape[-1]


def square(share: float, rows: int, columns: int, *, centred: bool) -> tuple[int, int]:
    """Return (height, width) of the square that covers a share of rows x columns, as many as there are.

    Where rows or columns are too few for it, the other side is as long as it takes.

    Args:
        share: in (0, 1].
        rows: of the picture.
        columns: of the picture.
        centred: whether it has a middle: its side is odd, 3 at least.
    """
    area = share * rows * columns
    side = max(round(math.sqrt(area)), 3 if centred else 1)
    side += centred and side % 2 == 0
    if rows < side:
        return rows, min(max(side, round(area / rows)), columns)
    return min(rows, max(side, round(area / columns))) if columns < side else side, min(side, columns)


@lru_cache(maxsize=256)
def hills(height: int, width: int, order: int, steepness: int) -> torch.Tensor:
    """Return two hills side by side, one up and one down, (height, width), together of p-norm one.

    Args:
        height: of both together; the first has half of it, rounded down.
        width: of each.
        order: p.
        steepness: of a hill: k numbers from its middle it is as high as the sum of (j + 1)^-steepness over j >= k.
    """
    first = _hill(height // 2, width, order, steepness)
    both = torch.cat((first, -_hill(height - height // 2, width, order, steepness)))
    return both / both.abs().pow(order).sum().pow(1 / order)


def _hill(height: int, width: int, order: int, steepness: int) -> torch.Tensor:
    away = torch.maximum(
        (torch.arange(height) - height // 2).abs()[:, None], (torch.arange(width) - width // 2).abs()[None]
    )
    falls = torch.arange(1.0, max(height, width) // 2 + 2) ** -steepness
    hill = falls.flip(0).cumsum(0).flip(0)[away]
    return hill / hill.pow(order).sum().pow(1 / order) if height else hill


@lru_cache(maxsize=64)
def either_way(sizes: tuple[tuple[int, int], ...], order: int, steepness: int) -> torch.Tensor:
    """Return the hills of each size, side by side and one above the other, (sizes, 2, height, width), padded."""
    height, width = max(size[0] for size in sizes), max(size[1] for size in sizes)
    return torch.stack(
        [
            torch.stack([pad(way, (0, width - way.shape[1], 0, height - way.shape[0])) for way in ways])
            for ways in (
                (hills(high, wide, order, steepness), hills(wide, high, order, steepness).T) for high, wide in sizes
            )
        ]
    )


def corner(size: torch.Tensor, rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """Return the upper left corners (n, 2) of windows of size (n, 2), drawn uniformly from where they fit."""
    places = torch.tensor([rows, columns], device=size.device) - size + 1
    drawn = torch.rand(size.shape, device=size.device, generator=generator)
    return torch.minimum((drawn * places).long(), places - 1)  # a product may round up to the end


def covered(start: torch.Tensor, size: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return which numbers windows with corners (n, 2) and size (n, 2) cover, (n, 1, rows, columns) bool."""
    lines = [
        (places >= start[:, axis, None]) & (places < (start + size)[:, axis, None])
        for axis, places in enumerate(torch.arange(count, device=size.device) for count in (rows, columns))
    ]
    return (lines[0][:, :, None] & lines[1][:, None, :])[:, None]


def placed(patterns: torch.Tensor, start: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return patterns (n, height, width) with their corners at (n, 2), (n, 1, rows, columns).

    What lies outside of a pattern is undefined.
    """
    row = (torch.arange(rows, device=start.device) - start[:, :1]).clamp(0, patterns.shape[1] - 1)
    column = (torch.arange(columns, device=start.device) - start[:, 1:]).clamp(0, patterns.shape[2] - 1)
    lanes = torch.arange(len(start), device=start.device)
    return patterns[lanes[:, None, None], row[:, :, None], column[:, None, :]][:, None]

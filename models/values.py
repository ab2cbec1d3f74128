"""The values that an input may have, to the last bit: a range declared as 64-bit numbers, for inputs of fewer."""

from __future__ import annotations

import torch

ROUNDING = 1e-6  # of the range's largest number, 1 at least: what a value may lie outside of it and be taken for within


def inward(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """Return the lowest and highest number of that type within [low, high]."""
    limits = torch.tensor([low, high], dtype=torch.float64)
    found = limits.to(dtype)
    outside = (found.double() - limits) * torch.tensor([1, -1]) < 0
    lowest, highest = torch.where(outside, torch.nextafter(found, found.flip(0)), found).tolist()
    return lowest, highest


def clipped(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return x with every value moved into [low, high]."""
    return x.clamp(*inward(low, high, x.dtype))


def rounding(low: float, high: float) -> float:
    """Return by how much a value may lie outside of [low, high] because it was rounded."""
    return ROUNDING * max(1.0, abs(low), abs(high))

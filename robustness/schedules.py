"""How numbers change over the steps of an attempt; every attempt is at a step of its own."""

from __future__ import annotations

import math

import torch


def cosine(step: torch.Tensor, steps: int, first: float, last: float) -> torch.Tensor:
    """Return (n,) float64 from first, at step 0, to last, at step `steps`, along half a cosine."""
    return last + (first - last) * (1 + torch.cos(math.pi * step.double() / steps)) / 2

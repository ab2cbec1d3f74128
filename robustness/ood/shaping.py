"""Shaping of features by their highest values, which detectors share."""

from __future__ import annotations

import torch

_LARGEST = 50.0  # of a ratio, whose exponential is taken: only features that are negative reach it


def highest(features: torch.Tensor, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return values and places (n, k) of the highest of features (n, d), unordered: all but a share, one at least."""
    count = features.shape[1] - round(features.shape[1] * share)
    return features.topk(max(1, count), dim=1, sorted=False)


def ratio(features: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the sum of features (n, d) over that of their highest values (n, k): (n,), 1 where that is not above 0."""
    high = values.sum(1)
    return torch.where(high > 0, features.sum(1) / high.clamp(min=1e-300), torch.ones_like(high)).clamp(max=_LARGEST)

"""Maps at a small resolution, and their bytes as text for what outlives a killed run."""

from __future__ import annotations

import base64

import numpy as np
import torch

SIDE = 32  # rows and columns of a small map at most


def small_shape(height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of the small map of an input: its own, or as many as SIDE allows, in proportion."""
    factor = min(1.0, SIDE / max(height, width))
    return max(1, round(factor * height)), max(1, round(factor * width))


def shrunk(map_: np.ndarray) -> np.ndarray:
    """Return the means of a map (height, width) over the areas of its small map, float32."""
    small: np.ndarray = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(map_)[None], small_shape(*map_.shape))[
        0
    ].numpy()
    return small


def packed(maps: np.ndarray) -> str:
    """Return float32 maps as text, without loss."""
    return base64.b64encode(np.ascontiguousarray(maps, dtype="<f4").tobytes()).decode()


def unpacked(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Return the maps (n, rows, columns) that were packed."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4").reshape(-1, *shape)


def positive(maps: np.ndarray) -> np.ndarray:
    """Return what of maps (n, rows, columns) speaks for their targets, float64, each summing to one, or all zeros."""
    kept = np.clip(maps.astype(np.float64), 0, None)
    totals = kept.sum(axis=(1, 2), keepdims=True)
    shares: np.ndarray = np.divide(kept, totals, out=np.zeros_like(kept), where=totals > 0)
    return shares

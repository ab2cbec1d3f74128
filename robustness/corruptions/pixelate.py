"""Pixelate: a picture of fewer pixels, enlarged."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c


class Strength(NamedTuple):
    """Share of the rows and columns that is left."""

    left: float


class Pixelate(Corruption):
    """Pixelate."""

    about = Method(
        name="pixelate",
        title="Pixelate",
        summary="Shrinks the picture and enlarges it without smoothing: a picture of too low a resolution.",
        limits="A low-resolution camera would not give blocks with sharp edges; an upscaled picture often is smoothed.",
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(Strength(0.95), Strength(0.9), Strength(0.85), Strength(0.75), Strength(0.65))
    large = imagenet_c(Strength(0.6), Strength(0.5), Strength(0.4), Strength(0.3), Strength(0.25))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Average over boxes, and repeat."""
        return np.stack([pixelated(channel, how.row.left) for channel in x])


def pixelated(channel: np.ndarray, left: float) -> np.ndarray:
    """Return a channel (height, width) of which that share of the rows and columns is left."""
    height, width = channel.shape
    size = max(1, int(width * left)), max(1, int(height * left))
    small = Image.fromarray(channel.astype(np.float32)).resize(size, Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX), dtype=float)

"""JPEG compression."""

from __future__ import annotations

from io import BytesIO
from typing import NamedTuple

import numpy as np
from PIL import Image

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c


class Strength(NamedTuple):
    """Pillow's JPEG quality."""

    quality: int


class JpegCompression(Corruption):
    """JPEG compression."""

    about = Method(
        name="jpeg_compression",
        title="JPEG compression",
        summary="Stores the picture as a JPEG file of low quality and reads it again.",
        limits=(
            "Rounds to 256 levels, whatever the quality. Three channels are stored as a colour picture with colours at "
            "half the resolution; of any other number each is stored by itself, as grey. Blocks have 8 x 8 pixels at "
            "any size."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(Strength(80), Strength(65), Strength(58), Strength(50), Strength(40))
    large = imagenet_c(Strength(25), Strength(18), Strength(15), Strength(10), Strength(7))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Store and read."""
        pixels = np.round(x * 255).astype(np.uint8)
        if len(x) == 3:
            stored = through_jpeg(pixels.transpose(1, 2, 0), how.row.quality).transpose(2, 0, 1)
        else:
            stored = np.stack([through_jpeg(channel, how.row.quality) for channel in pixels])
        return stored / 255


def through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Return pixels (height, width[, 3]) uint8 as a JPEG file gives them back."""
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))

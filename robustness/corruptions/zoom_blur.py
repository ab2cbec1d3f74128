"""Zoom blur: the camera moves towards the scene."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c
from xai.robustness.warps import kept, magnified, resampled


class Strength(NamedTuple):
    """How many pictures are averaged, and by how much each is larger than the one before."""

    pictures: int
    step: float


class ZoomBlur(Corruption):
    """Zoom blur."""

    about = Method(
        name="zoom_blur",
        title="Zoom blur",
        summary="Averages the picture with enlargements of itself: a camera that moves fast towards the scene.",
        limits=(
            "The motion is towards the centre. Enlargements are cut out at whole pixels, as in the published program, "
            "which in small pictures moves them by up to half a pixel."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(Strength(7, 0.01), Strength(12, 0.01), Strength(16, 0.01), Strength(21, 0.01), Strength(26, 0.01))
    large = imagenet_c(
        Strength(12, 0.01), Strength(16, 0.01), Strength(11, 0.02), Strength(13, 0.02), Strength(11, 0.03)
    )

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Average x, which counts twice, and its enlargements."""
        total = 2 * x
        for number in range(1, how.row.pictures):
            total += enlarged(x, 1 + number * how.row.step)
        return np.asarray(total / (how.row.pictures + 1))


def enlarged(x: np.ndarray, factor: float) -> np.ndarray:
    """Return the middle of x (channels, height, width), enlarged by a factor of at least 1 to the size of x."""
    rows, columns = ((size - kept(size, factor)) // 2 + magnified(size, factor) for size in x.shape[1:])
    return resampled(x, rows, columns)

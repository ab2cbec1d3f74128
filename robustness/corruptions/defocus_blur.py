"""Defocus blur: a picture out of focus."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c
from xai.robustness.filters import convolved, scaled


class Strength(NamedTuple):
    """Radius of the disk and the Gaussian that smooths its rim, in pixels."""

    radius: float
    smoothing: float


class DefocusBlur(Corruption):
    """Defocus blur."""

    about = Method(
        name="defocus_blur",
        title="Defocus blur",
        summary="Averages over a disk around each pixel: a lens that is out of focus.",
        limits=(
            "All of the picture is equally far away, so all of it is equally blurred. At sizes other than 32 and 224 "
            "pixels the disk is scaled by area."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(Strength(0.3, 0.4), Strength(0.4, 0.5), Strength(0.5, 0.6), Strength(1, 0.2), Strength(1.5, 0.1))
    large = imagenet_c(Strength(3, 0.1), Strength(4, 0.5), Strength(6, 0.5), Strength(8, 0.5), Strength(10, 0.5))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Convolve with the disk."""
        return convolved(x, scaled(disk(how.row.radius, how.row.smoothing), how.scale), "reflect")


def disk(radius: float, smoothing: float) -> np.ndarray:
    """Return a kernel of odd sides whose sum is 1: a disk of pixels, its rim smoothed over the nearest neighbours.

    Args:
        radius: of the disk, in pixels; pixels count whose centres lie in it.
        smoothing: standard deviation of a Gaussian, cut at one pixel, or at two for radii above 8.
    """
    reach = 1 if radius <= 8 else 2
    half = math.floor(radius) + reach
    offsets = np.arange(-half, half + 1)
    inside = (offsets**2 + offsets[:, None] ** 2 <= radius**2).astype(float)
    return np.asarray(gaussian_filter(inside / inside.sum(), smoothing, mode="constant", radius=reach))

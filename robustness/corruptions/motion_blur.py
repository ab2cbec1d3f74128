"""Motion blur: the camera moves while the shutter is open."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c
from xai.robustness.filters import convolved, motion, scaled


class Strength(NamedTuple):
    """Half the length of the line and its Gaussian's standard deviation, in pixels."""

    radius: int
    sigma: float


class MotionBlur(Corruption):
    """Motion blur."""

    about = Method(
        name="motion_blur",
        title="Motion blur",
        summary="Smears the picture along a line of random direction, at most 45 degrees from the horizontal.",
        limits=(
            "The motion is straight, and the same all over the picture; what moves by itself before a still background "
            "is another matter."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(Strength(6, 1), Strength(6, 1.5), Strength(6, 2), Strength(8, 2), Strength(9, 2.5))
    large = imagenet_c(Strength(10, 3), Strength(15, 5), Strength(15, 8), Strength(15, 12), Strength(20, 15))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Convolve with a line."""
        line = motion(how.row.radius, how.row.sigma, how.rng.uniform(-45, 45))
        return convolved(x, scaled(line, how.scale), "edge")

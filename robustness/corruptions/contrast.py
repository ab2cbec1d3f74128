"""Contrast: a washed-out picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c


class Strength(NamedTuple):
    """Share of the contrast that is left."""

    left: float


class Contrast(Corruption):
    """Contrast."""

    about = Method(
        name="contrast",
        title="Contrast",
        summary="Draws every pixel towards its channel's mean over the picture.",
        limits=(
            "Too much contrast is not tried; nothing is lost but what 8 bits would round away, so a network that "
            "normalises each picture by itself sees no change."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(Strength(0.75), Strength(0.5), Strength(0.4), Strength(0.3), Strength(0.15))
    large = imagenet_c(Strength(0.4), Strength(0.3), Strength(0.2), Strength(0.1), Strength(0.05))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Shrink the differences from the mean."""
        mean = x.mean(axis=(1, 2), keepdims=True)
        return np.asarray(mean + how.row.left * (x - mean))

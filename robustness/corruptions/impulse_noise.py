"""Impulse noise: salt and pepper."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c


class Strength(NamedTuple):
    """Share of the values that are lost."""

    amount: float


class ImpulseNoise(Corruption):
    """Impulse noise."""

    about = Method(
        name="impulse_noise",
        title="Impulse noise",
        summary="Sets a random share of the values to the lowest or the highest of the range: bit errors, dead pixels.",
        limits=(
            "Each channel of a pixel is hit by itself, as in the published data set; a dead pixel of a real sensor "
            "stays where it is from picture to picture."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    pictures_only = False
    small = cifar_c(Strength(0.01), Strength(0.02), Strength(0.03), Strength(0.05), Strength(0.07))
    large = imagenet_c(Strength(0.03), Strength(0.06), Strength(0.09), Strength(0.17), Strength(0.27))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Set values to 0 or 1 with equal chance."""
        hit = how.rng.random(x.shape) < how.row.amount
        return np.where(hit, how.rng.integers(0, 2, x.shape), x)

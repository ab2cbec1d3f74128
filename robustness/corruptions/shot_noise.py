"""Shot noise: light comes in quanta."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c


class Strength(NamedTuple):
    """How many quanta the range's highest value stands for."""

    quanta: float


class ShotNoise(Corruption):
    """Shot noise."""

    about = Method(
        name="shot_noise",
        title="Shot noise",
        summary=(
            "Replaces each value by a count of light quanta with that mean: bright places are noisier, dark ones "
            "noisier for their brightness."
        ),
        limits=(
            "It takes the values for amounts of light; those of a picture are usually gamma-corrected, as in the "
            "published data set, and then are not."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    pictures_only = False
    small = cifar_c(Strength(500), Strength(250), Strength(100), Strength(75), Strength(50))
    large = imagenet_c(Strength(60), Strength(25), Strength(12), Strength(5), Strength(3))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Count quanta."""
        return how.rng.poisson(x * how.row.quanta) / how.row.quanta

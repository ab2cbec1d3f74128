"""Gaussian noise: a sensor in low light."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c


class Strength(NamedTuple):
    """Standard deviation, as a share of the input's range."""

    sigma: float


class GaussianNoise(Corruption):
    """Gaussian noise."""

    about = Method(
        name="gaussian_noise",
        title="Gaussian noise",
        summary="Adds to each value an independent Gaussian number: what electronics do in low light.",
        limits=(
            "A real sensor's noise depends on brightness and on neighbouring pixels; values that leave the range are "
            "clipped, which makes the noise a little smaller than stated near black and white."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    pictures_only = False
    small = cifar_c(Strength(0.04), Strength(0.06), Strength(0.08), Strength(0.09), Strength(0.1))
    large = imagenet_c(Strength(0.08), Strength(0.12), Strength(0.18), Strength(0.26), Strength(0.38))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Add noise."""
        return x + how.row.sigma * how.rng.standard_normal(x.shape)

"""Brightness: too much light."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c


class Strength(NamedTuple):
    """What is added, as a share of the range."""

    added: float


class Brightness(Corruption):
    """Brightness."""

    about = Method(
        name="brightness",
        title="Brightness",
        summary=(
            "Raises the brightest channel of each pixel by the same amount and the others in proportion: more light, "
            "the same hue."
        ),
        limits="Too little light is not tried. Of pictures that have not three channels, all count as colours.",
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(Strength(0.05), Strength(0.1), Strength(0.15), Strength(0.2), Strength(0.3))
    large = imagenet_c(Strength(0.1), Strength(0.2), Strength(0.3), Strength(0.4), Strength(0.5))

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Raise the value of hue, saturation and value; it is the highest channel."""
        value = x.max(axis=0)
        raised = np.minimum(value + how.row.added, 1)
        return np.asarray(np.where(value > 0, x * (raised / np.where(value > 0, value, 1)), raised))

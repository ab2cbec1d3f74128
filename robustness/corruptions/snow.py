"""Snow: flakes that fall in front of a whitened scene."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from xai.registry import Kind, Method
from xai.robustness.corruptions.base import HENDRYCKS_DIETTERICH, Corruption, How, cifar_c, imagenet_c
from xai.robustness.filters import convolved, motion, scaled
from xai.robustness.warps import kept, magnified, resampled


class Strength(NamedTuple):
    """Mean and deviation of a noise, its magnification, and where it makes flakes; their motion; the scene's share."""

    mean: float
    sigma: float
    magnification: float
    threshold: float
    radius: int
    motion: float
    scene: float


class Snow(Corruption):
    """Snow."""

    about = Method(
        name="snow",
        title="Snow",
        summary="Whitens the scene and lets bright flakes fall in front of it, smeared along their way.",
        limits=(
            "Drawn, not photographed: nothing is hidden by depth, and nothing lies on the ground. Flakes are in front "
            "of every pixel alike."
        ),
        source=HENDRYCKS_DIETTERICH,
        kind=Kind.STATISTICAL,
        default=True,
    )
    small = cifar_c(
        Strength(0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        Strength(0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        Strength(0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        Strength(0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        Strength(0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )
    large = imagenet_c(
        Strength(0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        Strength(0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        Strength(0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        Strength(0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        Strength(0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )

    def corrupt(self, x: np.ndarray, how: How[Strength]) -> np.ndarray:
        """Whiten, and add the flakes twice, the second time upside down."""
        flakes = falling(x.shape[1:], how)
        white = np.maximum(x, 1.5 * luminance(x) + 0.5)
        return np.asarray(how.row.scene * x + (1 - how.row.scene) * white + flakes + np.rot90(flakes, 2))


def falling(shape: tuple[int, ...], how: How[Strength]) -> np.ndarray:
    """Return a layer of flakes (height, width) in [0, 1]: magnified noise above the threshold, blurred by motion."""
    magnification = max(1.0, how.row.magnification * how.scale)
    noise = how.rng.normal(how.row.mean, how.row.sigma, [kept(size, magnification) for size in shape])
    rows, columns = (magnified(size, magnification) for size in shape)
    layer = resampled(noise, rows, columns)
    layer = np.where(layer < how.row.threshold, 0, np.minimum(layer, 1))
    line = motion(how.row.radius, how.row.motion, how.rng.uniform(-135, -45))
    blurred: np.ndarray = convolved(layer[None], scaled(line, how.scale), "edge")[0]
    return blurred


def luminance(x: np.ndarray) -> np.ndarray:
    """Return the brightness (height, width) of x (channels, height, width): of colours as seen, else the mean."""
    if len(x) == 3:
        return np.asarray(np.tensordot([0.299, 0.587, 0.114], x, axes=1))
    return np.asarray(x.mean(axis=0))
